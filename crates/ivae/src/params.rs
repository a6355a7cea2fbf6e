use std::f32::consts::PI;

use parsimon_nets::{Activation, POSE};
use parsimon_objective::Weight;
use serde::{Deserialize, Serialize};

use crate::prior::{SIZES, parts};
use crate::{BoundaryCost, Condition, Error, Inference, Invariances, Noise, Prior, Result};

/// Parameters of an invariant VAE.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Params {
    /// Height, width, channels of a patch; height 1 for spectra.
    pub size: (usize, usize, usize),
    /// Which variations are trivial.
    pub invariances: Invariances,
    /// Number of content latents z; 1 to 1000, default 2.
    pub latent: usize,
    /// Filters of convolutions of 3×3 pixels before the hidden layers of the encoder; up to 8 of 1 to 4096, default none.
    #[serde(default)]
    pub convolutions: Vec<usize>,
    /// What decodes where there are no invariances; default dense layers.
    #[serde(default)]
    pub decoder: DecoderKind,
    /// Units of the hidden layers of encoder and decoder; default 128, 128.
    pub hidden: Vec<usize>,
    /// Non-linearity of the hidden layers; default tanh.
    #[serde(default)]
    pub activation: Activation,
    /// Whether pose and content reach every layer of the decoder; default no. Needs an invariance.
    #[serde(default)]
    pub skip: bool,
    /// Likelihood; default Bernoulli.
    pub noise: Noise,
    /// Weight β of the divergence; above 0, default 1: the ELBO itself.
    pub beta: f32,
    /// Share of the epochs over which β rises from 0, and the capacity to its end; 0 to 1, default 0.
    #[serde(default)]
    pub warm_up: f64,
    /// Divergence in nats that is free, at the end of the warm-up; then the loss holds β·|KL − capacity|. 0 and more;
    /// default none.
    #[serde(default)]
    pub capacity: Option<f32>,
    /// Prior widths.
    pub prior: Prior,
    /// How the pose is found; default from one look at the patch.
    #[serde(default)]
    pub inference: Inference,
    /// Whether the encoder looks at the patch about the middle of its object in place of its own, for objects far off; default
    /// no. Needs translation.
    #[serde(default)]
    pub centred: bool,
    /// Whether the encoder gives a point in place of a distribution, and nothing weighs but the likelihood: an autoencoder;
    /// default no. Needs [`Inference::Plain`].
    #[serde(default)]
    pub deterministic: bool,
    /// Channels of what is decoded, where that is something else than what is encoded, such as the same patch without noise;
    /// 1 to 16, default none. Needs [`Inference::Plain`].
    #[serde(default)]
    pub goal_channels: Option<usize>,
    /// What encoder and decoder are told of each sample; default nothing.
    #[serde(default)]
    pub condition: Condition,
    /// What it costs that latents of neighbouring sites differ; default nothing. Needs [`Examples::beside`](crate::Examples::beside).
    #[serde(default)]
    pub boundary: Option<BoundaryCost>,
}

/// What decodes where there are no invariances; with them it is a function of coordinates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DecoderKind {
    /// Dense layers.
    #[default]
    Dense,
    /// Dense layers to a coarse grid, and the convolutions of the encoder in reverse; needs some, and no invariances.
    Convolutional,
}

impl Params {
    /// A model of rotation and translation for patches of this height, width and number of channels.
    pub fn new(size: (usize, usize, usize)) -> Self {
        Self {
            size,
            invariances: Invariances { rotation: true, translation: true, scale: false },
            latent: 2,
            convolutions: Vec::new(),
            decoder: DecoderKind::Dense,
            hidden: vec![128, 128],
            activation: Activation::Tanh,
            skip: false,
            noise: Noise::Bernoulli,
            beta: 1.0,
            warm_up: 0.0,
            capacity: None,
            prior: Prior::default(),
            inference: Inference::Plain,
            centred: false,
            deterministic: false,
            goal_channels: None,
            condition: Condition::default(),
            boundary: None,
        }
    }

    /// Checks every parameter against its range.
    ///
    /// # Errors
    /// If one is outside.
    pub fn check(&self) -> Result<()> {
        let bad = |what, value: String, accepted| Err(Error::Parameter { what, value, accepted });
        let (height, width, channels) = self.size;
        if height < 1 || width < 2 || height.saturating_mul(width) > 1 << 20 {
            return bad("patch size", format!("{height}×{width}"), "2×2 to 1024×1024, or 1×2 to 1×1048576 for spectra");
        }
        if height == 1 && self.invariances.rotation {
            return bad("invariances", self.invariances.to_string(), "t, s or none for spectra, which do not turn");
        }
        if !(1..=16).contains(&channels) {
            return bad("channels", channels.to_string(), "1 to 16");
        }
        if let Some(channels) = self.goal_channels.filter(|c| !(1..=16).contains(c)) {
            return bad("channels of the goals", channels.to_string(), "1 to 16");
        }
        if (self.deterministic || self.goal_channels.is_some()) && self.views().is_some() {
            return bad("inference", "views".into(), "plain for an autoencoder, and for goals other than the patches");
        }
        if !(1..=1000).contains(&self.latent) {
            return bad("latent", self.latent.to_string(), "1 to 1000");
        }
        if self.hidden.is_empty() || self.hidden.iter().any(|h| !(1..=1 << 14).contains(h)) {
            return bad("hidden", format!("{:?}", self.hidden), "one or more layers of 1 to 16384 units");
        }
        if self.convolutions.len() > 8 || self.convolutions.iter().any(|f| !(1..=4096).contains(f)) {
            return bad("convolutions", format!("{:?}", self.convolutions), "up to 8 layers of 1 to 4096 filters");
        }
        if self.decoder == DecoderKind::Convolutional {
            if !self.invariances.none() {
                return bad("decoder", "convolutional".into(), "one of coordinates for a model with invariances");
            }
            if self.convolutions.is_empty() {
                return bad("decoder", "convolutional".into(), "dense for a model without convolutions");
            }
        }
        if self.centred && !self.invariances.translation {
            return bad("centring", "on".into(), "off without translation, which says how far an object lay off");
        }
        if self.skip && self.invariances.none() {
            return bad("skip", "on".into(), "off without invariances, whose decoder alone has skips");
        }
        if let Some(grid) = self.views() {
            self.check_views(grid)?;
        }
        if let Some(down) = self.prior.shift_down
            && (self.views().is_some_and(|grid| grid.angles > 1) || self.size.0 == 1 || !self.invariances.translation)
        {
            let accepted = "none for views that are turned, for spectra, and without translation";
            return bad("prior of the shift down", down.to_string(), accepted);
        }
        if self.prior.symmetry != 1 && !self.invariances.rotation {
            return bad("symmetry", self.prior.symmetry.to_string(), "1 without rotation");
        }
        if !(1..=100).contains(&self.prior.components) {
            return bad("components of the prior", self.prior.components.to_string(), "1 to 100");
        }
        if self.prior.components > 1 && self.deterministic {
            return bad("components of the prior", self.prior.components.to_string(), "1 for an autoencoder");
        }
        if !(1..=12).contains(&self.prior.symmetry) {
            return bad("symmetry", self.prior.symmetry.to_string(), "1 to 12");
        }
        if !(0.0..=1.0).contains(&self.warm_up) {
            return bad("warm-up", self.warm_up.to_string(), "0 to 1");
        }
        if let Some(capacity) = self.capacity.filter(|c| !(c.is_finite() && *c >= 0.0)) {
            return bad("capacity", capacity.to_string(), "finite numbers from 0");
        }
        self.condition.check()?;
        if let Some(boundary) = &self.boundary {
            boundary.check(self)?;
        }
        let angle = if self.prior.angle == f32::INFINITY { 1.0 } else { self.prior.angle };
        let mut positive = vec![
            ("beta", self.beta),
            ("prior of the angle", angle),
            ("prior of the shift", self.prior.shift),
            ("prior of the shift down", self.prior.shifts()[1]),
            ("prior of the scale", self.prior.scale),
        ];
        match self.noise {
            Noise::Gaussian(sd) => positive.push(("σ of the likelihood", sd)),
            Noise::Poisson(counts) => positive.push(("counts of the likelihood", counts)),
            _ => {}
        }
        match positive.into_iter().find(|(_, v)| !(v.is_finite() && *v > 0.0)) {
            Some((what, value)) => bad(what, value.to_string(), "finite numbers above 0"),
            None => Ok(()),
        }
    }

    /// How the divergence weighs when a share of the epochs is over.
    pub(crate) fn weight(&self, done: f64) -> Weight {
        let risen = if self.warm_up > 0.0 { (done / self.warm_up).min(1.0) as f32 } else { 1.0 };
        match self.capacity {
            Some(capacity) => Weight { beta: self.beta, capacity: Some(capacity * risen) },
            None => Weight { beta: self.beta * risen, capacity: None },
        }
    }

    /// Names of the latents in the order of the encoder's outputs.
    pub fn columns(&self) -> Vec<String> {
        let Invariances { rotation, translation, scale } = self.invariances;
        // Spectra shift along one axis only.
        let down = translation && self.size.0 > 1;
        let pose = [(rotation, "angle"), (translation, "dx"), (down, "dy"), (scale, "scale")];
        let pose = pose.into_iter().filter(|(on, _)| *on).map(|(_, name)| name.to_owned());
        pose.chain((1..=self.latent).map(|i| format!("z{i}"))).collect()
    }

    /// Height, width, channels of what is decoded.
    pub fn decoded(&self) -> (usize, usize, usize) {
        (self.size.0, self.size.1, self.goal_channels.unwrap_or(self.size.2))
    }

    /// Inputs of the decoder: pose if it has any, content, condition.
    pub(crate) fn decoder_inputs(&self) -> usize {
        self.first_content() + self.latent + self.condition.inputs()
    }

    /// The first of these that is content.
    pub(crate) fn first_content(&self) -> usize {
        if self.invariances.none() { 0 } else { POSE }
    }

    /// Latents that are shifts: which (right, down) of what is off, and the prior width.
    pub(crate) fn shifts(&self) -> Vec<Option<(usize, f32)>> {
        let axis = |name: &str| ["dx", "dy"].iter().position(|shift| *shift == name);
        let widths = self.places();
        self.columns().iter().zip(widths).map(|(name, (_, width))| axis(name).map(|axis| (axis, width))).collect()
    }

    /// Where each latent goes among the decoder's inputs (γ, Δx, Δy, ln scale, z…, or z… alone), and its prior width.
    pub(crate) fn places(&self) -> Vec<(usize, f32)> {
        let Prior { angle, scale, symmetry, .. } = self.prior;
        let [right, down] = self.prior.shifts();
        // Within a view: half the step to the next, so that together they make an even density, if the prior is as wide.
        let angle = match self.views() {
            Some(grid) => angle.min(PI / (grid.angles * symmetry) as f32),
            None if self.circle().is_some() => 1.0,
            None => angle,
        };
        let grid = self.views().unwrap_or_default();
        let [by_column, by_row] = self.shift_parts();
        let (right, down) = (right.min(by_column.half), down.min(by_row.half));
        let scale = scale.min(parts(scale, grid.scales, SIZES).half);
        let place = |name: String| match name.as_str() {
            "angle" => (0, angle),
            "dx" => (1, right),
            "dy" => (2, down),
            "scale" => (3, scale),
            _ => (0, 0.0),
        };
        let pose = self.columns().len() - self.latent;
        let pose = self.columns().into_iter().take(pose).map(place);
        pose.chain((0..self.latent).map(|i| (self.first_content() + i, 1.0))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ViewGrid;

    #[test]
    fn every_rejection() {
        let base = Params::new((8, 8, 1));
        base.check().unwrap();
        let prior = |angle| Prior { angle, ..Prior::default() };
        let views = |angles, shifts, scales| Inference::Views(ViewGrid { angles, shifts, scales });
        let cost = |weight, latent: &str, rise| {
            Some(BoundaryCost { latents: vec![latent.into()], rise, ..BoundaryCost::new(weight) })
        };
        for (params, word) in [
            (Params { size: (8, 1, 1), ..base.clone() }, "patch size"),
            (Params { size: (1, 8, 1), ..base.clone() }, "invariances"),
            (Params { size: (4096, 4096, 1), ..base.clone() }, "patch size"),
            (Params { size: (8, 8, 0), ..base.clone() }, "channels"),
            (Params { latent: 0, ..base.clone() }, "latent"),
            (Params { decoder: DecoderKind::Convolutional, convolutions: vec![4], ..base.clone() }, "decoder"),
            (
                Params { decoder: DecoderKind::Convolutional, invariances: Invariances::default(), ..base.clone() },
                "decoder",
            ),
            (Params { centred: true, invariances: "r".parse().unwrap(), ..base.clone() }, "centring"),
            (
                Params {
                    prior: Prior { shift_down: Some(0.1), ..prior(1.0) },
                    inference: views(8, 1, 1),
                    ..base.clone()
                },
                "prior of the shift down",
            ),
            (
                Params { prior: Prior { shift_down: Some(-0.1), ..prior(1.0) }, ..base.clone() },
                "prior of the shift down",
            ),
            (Params { goal_channels: Some(0), ..base.clone() }, "channels of the goals"),
            (Params { deterministic: true, inference: views(8, 1, 1), ..base.clone() }, "inference"),
            (Params { hidden: vec![], ..base.clone() }, "hidden"),
            (Params { hidden: vec![8, 0], ..base.clone() }, "hidden"),
            (Params { beta: f32::NAN, ..base.clone() }, "beta"),
            (Params { warm_up: 1.5, ..base.clone() }, "warm-up"),
            (Params { warm_up: f64::NAN, ..base.clone() }, "warm-up"),
            (Params { capacity: Some(-1.0), ..base.clone() }, "capacity"),
            (Params { capacity: Some(f32::INFINITY), ..base.clone() }, "capacity"),
            (Params { boundary: cost(0.0, "z1", (0.0, 1.0)), ..base.clone() }, "weight of boundaries"),
            (Params { boundary: cost(f32::NAN, "z1", (0.0, 1.0)), ..base.clone() }, "weight of boundaries"),
            (Params { boundary: cost(1.0, "z3", (0.0, 1.0)), ..base.clone() }, "latent whose boundaries cost"),
            (
                Params {
                    boundary: cost(1.0, "angle", (0.0, 1.0)),
                    prior: Prior { symmetry: 4, ..prior(1.0) },
                    ..base.clone()
                },
                "latent whose boundaries cost",
            ),
            (Params { boundary: cost(1.0, "z1", (0.5, 0.2)), ..base.clone() }, "rise of the cost"),
            (Params { boundary: cost(1.0, "z1", (0.5, f64::NAN)), ..base.clone() }, "rise of the cost"),
            (Params { prior: prior(0.0), ..base.clone() }, "prior of the angle"),
            (Params { prior: prior(f32::NEG_INFINITY), ..base.clone() }, "prior of the angle"),
            (Params { prior: Prior { components: 0, ..prior(1.0) }, ..base.clone() }, "components of the prior"),
            (
                Params { prior: Prior { components: 2, ..prior(1.0) }, deterministic: true, ..base.clone() },
                "components of the prior",
            ),
            (Params { prior: Prior { shift: -1.0, ..prior(1.0) }, ..base.clone() }, "prior of the shift"),
            (Params { prior: Prior { scale: f32::NAN, ..prior(1.0) }, ..base.clone() }, "prior of the scale"),
            (Params { inference: views(1, 1, 1), ..base.clone() }, "views from angles"),
            (Params { inference: views(8, 0, 1), ..base.clone() }, "views from places"),
            (Params { inference: views(8, 2, 1), centred: true, ..base.clone() }, "views from places"),
            (Params { inference: views(8, 1, 2), ..base.clone() }, "views of sizes"),
            (Params { inference: views(8, 12, 1), ..base.clone() }, "views"),
            (
                Params { inference: views(1, 3, 17), invariances: "t,s".parse().unwrap(), ..base.clone() },
                "views of sizes",
            ),
            (
                Params { inference: views(2, 3, 1), invariances: "t".parse().unwrap(), ..base.clone() },
                "views from angles",
            ),
            (Params { inference: views(8, 1, 1), convolutions: vec![4], ..base.clone() }, "views"),
            (Params { inference: views(1, 1, 1), invariances: Invariances::default(), ..base.clone() }, "views"),
            (
                Params {
                    prior: Prior { symmetry: 4, ..prior(1.0) },
                    invariances: "t".parse().unwrap(),
                    ..base.clone()
                },
                "symmetry",
            ),
            (Params { prior: Prior { symmetry: 0, ..prior(1.0) }, ..base.clone() }, "symmetry"),
            (Params { noise: Noise::Gaussian(0.0), ..base.clone() }, "σ of the likelihood"),
            (Params { noise: Noise::Poisson(f32::NAN), ..base.clone() }, "counts of the likelihood"),
        ] {
            let message = params.check().unwrap_err().to_string();
            assert!(message.starts_with(word), "{message}");
        }
    }

    #[test]
    fn the_divergence_gains_weight_over_the_warm_up() {
        let params = Params { beta: 4.0, warm_up: 0.5, ..Params::new((8, 8, 1)) };
        let at = |params: &Params, done| (params.weight(done).beta, params.weight(done).capacity);
        assert_eq!([0.0, 0.25, 0.5, 1.0].map(|d| at(&params, d).0), [0.0, 2.0, 4.0, 4.0]);
        let free = Params { capacity: Some(20.0), ..params };
        assert_eq!([0.0, 0.25, 1.0].map(|d| at(&free, d)), [(4.0, Some(0.0)), (4.0, Some(10.0)), (4.0, Some(20.0))]);
        assert_eq!(at(&Params::new((8, 8, 1)), 0.0), (1.0, None));
    }

    #[test]
    fn latents_find_their_places() {
        let mut params = Params::new((8, 8, 1));
        params.invariances = "t,s".parse().unwrap();
        assert_eq!(params.columns(), ["dx", "dy", "scale", "z1", "z2"]);
        assert_eq!(params.places(), [(1, 0.1), (2, 0.1), (3, 0.1), (4, 1.0), (5, 1.0)]);
        let spectra = Params { size: (1, 64, 1), ..params };
        spectra.check().unwrap();
        assert_eq!(spectra.columns(), ["dx", "scale", "z1", "z2"]);
    }
}
