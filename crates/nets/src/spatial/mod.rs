mod composed;
mod fused;
mod kernels;
mod paired;
mod plan;
mod pose;
mod single;
#[cfg(test)]
mod tests;

use dfdx::tensor::Tape;
use rand::Rng;

use crate::dense::{shape, uniform};
use crate::likelihood::MAX_CHANNELS;
use crate::{Activation, Compute, Dense, Error, Matrix, Parameters, Result, Rows, Scored, Target};

pub(crate) use composed::composed;
pub(crate) use fused::{fused_outputs, fused_score};

/// A decoder that is a function of coordinates: content z gives an object, the pose tells where it lies in the patch.
///
/// With p a pixel of the patch (x to the right, y down, in half-widths of the longer side between pixel centres), the
/// object is seen at q = e^−λ R(−γ) (p − Δ), where R(γ) turns counter-clockwise on the screen, and
///
/// ```text
/// h = f(q·Q + z·Z + b),   h ← f(h·W + b) for each hidden layer,   output = h·O + o.
/// ```
///
/// With skips, coordinates and content reach every hidden layer: h ← f(h·W + q·Q′ + z·Z′ + b).
///
/// # Shapes
/// Placed latents (rows, 4 + content): columns γ (rad), Δx, Δy (half-widths of the patch), λ = ln scale, then z.
/// Outputs (rows, pixels·channels), pixels row by row, channels fastest.
///
/// References: Bepler et al. 2019, arXiv 1909.11663; skips: Dieng et al. 2018, arXiv 1807.04863.
#[derive(Debug, Clone)]
pub struct SpatialDecoder<D: Compute> {
    /// Q and b; (2, hidden₀).
    pub coordinate: Dense<D>,
    /// Z, (content, hidden₀).
    pub content: Matrix<D>,
    /// The hidden layers.
    pub hidden: Vec<Dense<D>>,
    /// What coordinates and content add to each hidden layer; empty without skips.
    pub skips: Vec<Skip<D>>,
    /// O and o; (hidden, channels).
    pub output: Dense<D>,
    /// Pixel coordinates (pixels, 2): x, y.
    pub grid: Matrix<D>,
}

/// A way for coordinates and content past the layers below.
#[derive(Debug, Clone)]
pub struct Skip<D: Compute> {
    /// Q′, (2, outputs).
    pub coordinate: Matrix<D>,
    /// Z′, (content, outputs).
    pub content: Matrix<D>,
}

/// Half-width of the first weights of the coordinates. With the usual 1/√2 a decoder learns smooth objects first: cards 3
/// stood at 121 nats after 6 epochs, and at 117 and 108 with 2 and 5 (one seed). Larger values were hardly tried.
const COORDINATE_SPREAD: f32 = 5.0;

/// Number of pose columns before the content: γ, Δx, Δy, λ.
pub const POSE: usize = 4;

/// Coordinates (x, y) of the pixels of a patch about its centre, row by row; the longer side goes from −1 to 1, and both
/// have one unit, so that a rotation is one on the screen.
pub fn grid(height: usize, width: usize) -> Vec<f32> {
    let half_width = 0.5 * (height.max(width).max(2) - 1) as f32;
    let at = |i: usize, n: usize| (i as f32 - 0.5 * (n - 1) as f32) / half_width;
    (0..height * width).flat_map(|p| [at(p % width, width), at(p / width, height)]).collect()
}

impl<D: Compute> SpatialDecoder<D> {
    /// A decoder with random weights.
    ///
    /// # Errors
    /// If a size is zero, there are more than 16 channels, or the device fails.
    pub fn new(
        device: &D,
        (height, width, channels): (usize, usize, usize),
        content: usize,
        hidden: &[usize],
        activation: Activation,
        rng: &mut impl Rng,
    ) -> Result<Self> {
        let bad = |what, value: String, accepted| Err(Error::Parameter { what, value, accepted });
        let (Some(&first), Some(&last)) = (hidden.first(), hidden.last()) else {
            return bad("hidden layers of the decoder", "none".into(), "one or more");
        };
        if hidden.contains(&0) || height * width == 0 || content == 0 {
            return bad("a size of the decoder", "0".into(), "1 and more");
        }
        if !(1..=MAX_CHANNELS).contains(&channels) {
            return bad("channels", channels.to_string(), "1 to 16");
        }
        let coordinate = Dense {
            weight: uniform(device, 2, first, COORDINATE_SPREAD, rng)?,
            bias: uniform(device, 1, first, 0.5f32.sqrt(), rng)?,
            activation,
        };
        let content = uniform(device, content, first, 1.0 / (content as f32).sqrt(), rng)?;
        let sizes = std::iter::once(&first).chain(hidden).zip(hidden);
        let hidden = sizes.map(|(&i, &o)| Dense::new(device, i, o, activation, rng)).collect::<Result<_>>()?;
        let output = Dense::new(device, last, channels, Activation::Identity, rng)?;
        let grid = crate::matrix(device, grid(height, width), height * width, 2)?;
        Ok(Self { coordinate, content, hidden, skips: Vec::new(), output, grid })
    }

    /// The same decoder with skips, whose weights are random.
    ///
    /// # Errors
    /// If the device fails.
    pub fn with_skips(mut self, rng: &mut impl Rng) -> Result<Self> {
        let (device, content) = (self.grid.device().clone(), self.content_size());
        let skips = self.hidden.iter().map(|layer| {
            let (inputs, outputs) = shape(&layer.weight);
            let limit = 1.0 / (inputs as f32).sqrt();
            Ok(Skip {
                coordinate: uniform(&device, 2, outputs, limit, rng)?,
                content: uniform(&device, content, outputs, limit, rng)?,
            })
        });
        self.skips = skips.collect::<Result<_>>()?;
        Ok(self)
    }

    /// The same decoder with outputs that begin about these, which are repeated to the number of channels.
    ///
    /// # Errors
    /// If their number does not divide that of the channels.
    pub fn beginning_at(mut self, outputs: &[f32]) -> Result<Self> {
        self.output = self.output.beginning_at(outputs)?;
        Ok(self)
    }

    /// Number of content latents.
    pub fn content_size(&self) -> usize {
        shape(&self.content).0
    }

    /// Pixels and channels of the output.
    pub fn output_size(&self) -> (usize, usize) {
        (shape(&self.grid).0, shape(&self.output.weight).1)
    }

    /// Weighted log-likelihood of the target given placed latents, differentiable in them, in every weight and in
    /// the target's ln σ. Where the target holds n of N pixels it is multiplied by N/n, so that its mean over pixels drawn
    /// at random is that of all.
    ///
    /// # Errors
    /// If a shape does not fit, a parameter of the likelihood is outside its range, or the device fails.
    pub fn score<T: Tape<f32, D>>(&self, placed: Rows<D, T>, target: &Target<'_, D>) -> Result<Scored<D, T>> {
        target.likelihood.check()?;
        let rows = self.check(shape(&placed))?;
        let (all, channels) = self.output_size();
        let pixels = target.pixels.map_or(all, |p| p.len() / rows);
        if let Some(picked) = target.pixels {
            if picked.is_empty() || picked.len() != pixels * rows {
                let what = "pixels of the target".to_owned();
                return Err(Error::Shape { what, found: vec![picked.len()], expected: vec![rows, pixels.max(1)] });
            }
            if let Some(pixel) = picked.iter().find(|p| **p as usize >= all) {
                let what = "pixel of the target";
                return Err(Error::Parameter { what, value: pixel.to_string(), accepted: "pixels of the patch" });
            }
        }
        let expected = [vec![rows, pixels * channels], vec![rows], vec![1, channels]];
        let (data, log_sd) = (target.data.shape(), shape(target.log_sd));
        let found = [vec![data.0, data.1], vec![target.weights.len()], vec![log_sd.0, log_sd.1]];
        for ((what, found), expected) in ["target", "weights of the rows", "ln σ"].into_iter().zip(found).zip(expected)
        {
            if found != expected {
                return Err(Error::Shape { what: what.to_owned(), found, expected });
            }
        }
        if target.pixels.is_none() {
            return D::spatial_score(self, placed, target);
        }
        let scale = all as f32 / pixels as f32;
        let weights: Vec<f32> = target.weights.iter().map(|w| w * scale).collect();
        let mut scored = D::spatial_score(self, placed, &Target { weights: &weights, ..*target })?;
        scored.rows.iter_mut().for_each(|log_p| *log_p *= scale);
        Ok(scored)
    }

    /// Outputs (rows·pixels·channels) of placed latents: logits or means, as the likelihood reads them.
    ///
    /// # Errors
    /// If a shape does not fit, or the device fails.
    pub fn outputs(&self, placed: &Matrix<D>) -> Result<Vec<f32>> {
        self.check(shape(placed))?;
        D::spatial_outputs(self, placed)
    }

    fn check(&self, (rows, columns): (usize, usize)) -> Result<usize> {
        let expected = POSE + self.content_size();
        if rows == 0 || columns != expected {
            let what = "placed latents".to_owned();
            return Err(Error::Shape { what, found: vec![rows, columns], expected: vec![rows.max(1), expected] });
        }
        Ok(rows)
    }
}

impl<D: Compute> Parameters<D> for SpatialDecoder<D> {
    fn visit(&self, prefix: &str, f: &mut dyn FnMut(String, &Matrix<D>)) {
        self.coordinate.visit(&format!("{prefix}.coordinate"), f);
        f(format!("{prefix}.content"), &self.content);
        for (i, layer) in self.hidden.iter().enumerate() {
            layer.visit(&format!("{prefix}.hidden{i}"), f);
        }
        for (i, skip) in self.skips.iter().enumerate() {
            f(format!("{prefix}.skip{i}.coordinate"), &skip.coordinate);
            f(format!("{prefix}.skip{i}.content"), &skip.content);
        }
        self.output.visit(&format!("{prefix}.output"), f);
    }

    fn visit_mut(&mut self, prefix: &str, f: &mut dyn FnMut(String, &mut Matrix<D>)) {
        self.coordinate.visit_mut(&format!("{prefix}.coordinate"), f);
        f(format!("{prefix}.content"), &mut self.content);
        for (i, layer) in self.hidden.iter_mut().enumerate() {
            layer.visit_mut(&format!("{prefix}.hidden{i}"), f);
        }
        for (i, skip) in self.skips.iter_mut().enumerate() {
            f(format!("{prefix}.skip{i}.coordinate"), &mut skip.coordinate);
            f(format!("{prefix}.skip{i}.content"), &mut skip.content);
        }
        self.output.visit_mut(&format!("{prefix}.output"), f);
    }
}
