use clap::{Args, ValueEnum};
use parsimon_ivae::{BoundaryCost, Invariances, Noise};
use parsimon_nets::Activation;

/// Options of training that `train` and `analyze` share.
#[derive(Debug, Clone, Args)]
pub struct TrainingArgs {
    /// Trivial variations, each with a latent of its own: r (rotation), t (translation), s (scale); none: a plain VAE
    /// [default: r,t; t of spectra; none of ae, vae and cvae]
    #[arg(long)]
    pub invariances: Option<Invariances>,
    /// Number of content latents
    #[arg(long, default_value_t = 2)]
    pub latent: usize,
    /// Filters of convolutions before the hidden layers of the encoder, such as 32,64,64: 3×3 pixels, pooled in between
    #[arg(long, value_delimiter = ',')]
    pub convolutions: Vec<usize>,
    /// What decodes where there are no invariances [default: convolutional if there are several convolutions]
    #[arg(long, value_enum)]
    pub decoder: Option<DecoderArg>,
    /// Units of the hidden layers, of the encoder and, in reverse, of the decoder
    #[arg(long, value_delimiter = ',', default_value = "128,128")]
    pub hidden: Vec<usize>,
    /// Non-linearity of the hidden layers
    #[arg(long, value_enum, default_value_t = ActivationArg::Tanh)]
    pub activation: ActivationArg,
    /// Pose and content reach every layer of the decoder, past the layers below
    #[arg(long)]
    pub skip: bool,
    /// bernoulli, continuous-bernoulli, gaussian (σ learned), gaussian=SIGMA, poisson (data that are counts) or
    /// poisson=COUNTS (of the largest value) [default: bernoulli in train of images, else gaussian]
    #[arg(long)]
    pub likelihood: Option<LikelihoodArg>,
    /// Weight of the divergence; 1 is the ELBO itself
    #[arg(long, default_value_t = 1.0)]
    pub beta: f32,
    /// Share of the epochs over which that weight rises from 0, or the capacity to its end
    #[arg(long, default_value_t = 0.0)]
    pub warm_up: f64,
    /// Divergence in nats that is free: the loss then holds β·|KL − capacity|
    #[arg(long)]
    pub capacity: Option<f32>,
    /// How the encoder finds the pose: views weighs several views of the patch, turned, from other places or of other sizes, for
    /// models without convolutions; plain reads it off the patch, which is often trapped at a wrong angle where objects turn
    /// freely [default: views with r, unless the prior of the angle is narrower than 0.5 rad, and of spectra whose prior of
    /// the shift is 0.2 half-widths and wider; else plain]
    #[arg(long, value_enum)]
    pub inference: Option<InferenceArg>,
    /// Whether the encoder looks at a patch about the middle of its object, for t and objects far off [default: on if the
    /// prior of the shift is 0.2 half-widths and wider, unless views are taken from several places; in analyze off, where
    /// neighbours surround an atom]
    #[arg(long, value_enum)]
    pub centring: Option<CentringArg>,
    /// Number of angles of the views, for r [default: 16]
    #[arg(long)]
    pub views: Option<usize>,
    /// Number of places along either axis from which views are taken, for t and objects far off [default: 1 with r; without,
    /// 16 of spectra and 5 of images]
    #[arg(long)]
    pub shift_views: Option<usize>,
    /// Number of sizes of the views, for s and objects of very different sizes [default: 1 with r or t, else 5]
    #[arg(long)]
    pub scale_views: Option<usize>,
    /// Turns by so many equal parts of a full one leave every object as it was, such as 4 for square lattices
    #[arg(long, default_value_t = 1)]
    pub symmetry: usize,
    /// Prior width of the angle, in rad, or uniform [default: in train uniform with views, else 1; in analyze 0.1, because
    /// a crystal turns little]
    #[arg(long, value_name = "RAD", value_parser = prior_angle)]
    pub prior_angle: Option<f32>,
    /// Prior width of either shift, in half-widths of the patch [default: 0.1]
    #[arg(long)]
    pub prior_shift: Option<f32>,
    /// Prior width of the shift down, if another than that to the right; needs --inference plain
    #[arg(long)]
    pub prior_shift_down: Option<f32>,
    /// Prior width of ln scale [default: 0.1]
    #[arg(long)]
    pub prior_scale: Option<f32>,
    /// What a boundary in the maps of the latents costs, in nats per site and side of a cell: neighbouring sites of one kind
    /// (`labels`) then differ only where the data say so; needs `sites` in the data
    #[arg(long, value_name = "WEIGHT")]
    pub boundary: Option<f32>,
    /// What counts as a boundary, in spreads of the latents
    #[arg(long, default_value_t = 1.0, requires = "boundary")]
    pub boundary_width: f32,
    /// Latents whose boundaries cost [default: the content]
    #[arg(long, value_delimiter = ',', value_name = "LATENTS", requires = "boundary")]
    pub boundary_of: Vec<String>,
    /// Shares of the epochs between which that cost rises from nothing
    #[arg(long, value_parser = rise, default_value = "0.2,0.5", value_name = "FROM,UNTIL", requires = "boundary")]
    pub boundary_rise: (f64, f64),
    /// Gaussians of which the prior of the content is made, learned with the model; 1: N(0,1)
    #[arg(long, default_value_t = 1)]
    pub prior_components: usize,
    /// Passes over the training rows [default: 60 in train, or what a resumed training was to have; in analyze 40 to 200, more for
    /// fewer patches]
    #[arg(long)]
    pub epochs: Option<usize>,
    /// Rows of a step [default: 50, or 100 where a step decodes every pixel, or fewer if there are few rows]
    #[arg(long)]
    pub batch: Option<usize>,
    /// Step size of Adam [default: 0.002 for 50 rows, 0.001 for few rows or where a step decodes every pixel]
    #[arg(long)]
    pub lr: Option<f32>,
    /// Share of the epochs, the last ones, over which the step size falls towards 0
    #[arg(long, default_value_t = 0.25)]
    pub settle: f64,
    /// How much of a running mean of the weights stays from step to step, such as 0.99; 0: no mean
    #[arg(long, default_value_t = 0.0)]
    pub average: f32,
    /// Seed of weights, order and noise
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// Share of the rows, the last ones, never trained on
    #[arg(long, default_value_t = 0.1)]
    pub holdout: f64,
    /// Stop after so many epochs without a better held-out loss, and keep the best
    #[arg(long)]
    pub patience: Option<usize>,
    /// Models started from different seeds; the best is trained on
    #[arg(long)]
    pub starts: Option<usize>,
    /// Share of the pixels that a step decodes, at least 60, drawn anew for each patch [default: 0.1; all without invariances]
    #[arg(long)]
    pub pixels: Option<f64>,
    /// Every pixel in every step: slower to the same −ELBO, without the noise of the draw
    #[arg(long, conflicts_with = "pixels")]
    pub exact: bool,
    /// Numbers of the decoder's large products while it trains; bf16 is faster where the CPU has AVX512-BF16
    #[arg(long, value_enum, default_value_t = PrecisionArg::F32)]
    pub precision: PrecisionArg,
}

impl TrainingArgs {
    /// What boundaries cost, if anything.
    pub fn boundary(&self) -> Option<BoundaryCost> {
        let (latents, width, rise) = (self.boundary_of.clone(), self.boundary_width, self.boundary_rise);
        self.boundary.map(|weight| BoundaryCost { weight, latents, width, rise })
    }

    /// The invariances given, or those of an invariant VAE.
    pub fn invariances(&self) -> Invariances {
        self.invariances.unwrap_or(Invariances { rotation: true, translation: true, scale: false })
    }
}

/// Two numbers.
fn rise(text: &str) -> Result<(f64, f64), String> {
    let pair = text.split_once(',').and_then(|(from, until)| Some((from.parse().ok()?, until.parse().ok()?)));
    pair.ok_or_else(|| format!("`{text}` is not two shares such as 0.2,0.5"))
}

/// A width, or infinity for `uniform`.
fn prior_angle(text: &str) -> Result<f32, String> {
    let wrong = || format!("`{text}` is neither a width in rad nor `uniform`");
    if text == "uniform" { Ok(f32::INFINITY) } else { text.parse().map_err(|_| wrong()) }
}

/// Ways to find the pose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum InferenceArg {
    /// At one look.
    Plain,
    /// From several views.
    Views,
}

/// Decoders.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum DecoderArg {
    /// Dense layers.
    Dense,
    /// The convolutions of the encoder in reverse.
    Convolutional,
}

/// Whether objects are sought.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum CentringArg {
    /// Objects are sought.
    On,
    /// Objects are taken to lie in the middle.
    Off,
}

/// Non-linearities.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ActivationArg {
    /// tanh x.
    Tanh,
    /// max(x, 0).
    Relu,
    /// x, or x/100 below zero.
    LeakyRelu,
    /// ln(1 + eˣ).
    Softplus,
    /// x times the normal distribution function, nearly.
    Gelu,
}

impl From<ActivationArg> for Activation {
    fn from(arg: ActivationArg) -> Self {
        match arg {
            ActivationArg::Tanh => Self::Tanh,
            ActivationArg::Relu => Self::Relu,
            ActivationArg::LeakyRelu => Self::LeakyRelu,
            ActivationArg::Softplus => Self::Softplus,
            ActivationArg::Gelu => Self::Gelu,
        }
    }
}

/// Likelihood of the data.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum LikelihoodArg {
    /// All that is said of it.
    Known(Noise),
    /// Poisson, with the counts that the data hold.
    Counts,
}

impl std::str::FromStr for LikelihoodArg {
    type Err = parsimon_ivae::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "poisson" { Ok(Self::Counts) } else { text.parse().map(Self::Known) }
    }
}

/// Numbers of the large products.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum PrecisionArg {
    /// 24 bits of precision.
    F32,
    /// 8 bits of precision, summed in f32.
    Bf16,
}
