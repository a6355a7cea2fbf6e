use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

pub use crate::analyze_args::{AnalyzeArgs, MethodArg, NormaliseArg, PolarityArg};
pub use crate::compare::CompareArgs;
pub use crate::training_args::{CentringArg, DecoderArg, InferenceArg, LikelihoodArg, PrecisionArg, TrainingArgs};

/// From microscopy images to a few meaningful numbers per atom.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", version)]
pub struct Cli {
    /// Number of threads [default: all cores]. Results do not depend on it.
    #[arg(long, global = true)]
    pub threads: Option<usize>,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Find atoms, cut patches, train an invariant VAE and draw its latents on the image
    #[command(
        allow_negative_numbers = true,
        after_help = "Examples:\n  cargo xtask analyze --demo --out out/demo\n  cargo xtask analyze image.dm3 --out out/image\n  cargo xtask analyze stm.dat --raw f64le,256x256,skip=8 --out out/stm"
    )]
    Analyze(Box<AnalyzeArgs>),
    /// Train a model on a data file
    #[command(
        allow_negative_numbers = true,
        after_help = "Example:\n  cargo xtask train ivae cards3.npz --invariances r,t --epochs 60 --out run"
    )]
    Train(TrainArgs),
    /// Latents of data by a trained model
    #[command(
        allow_negative_numbers = true,
        after_help = "Example:\n  cargo xtask encode run cards3.npz --out latents.npz"
    )]
    Encode(EncodeArgs),
    /// Images of latents by a trained model
    #[command(
        allow_negative_numbers = true,
        after_help = "Example:\n  cargo xtask decode run latents.npz --out images.npy"
    )]
    Decode(DecodeArgs),
    /// Move samples along the direction from one class to another, and decode them on the way
    #[command(
        allow_negative_numbers = true,
        after_help = "Example:\n  cargo xtask attribute run cards3.npz --from 0 --to 3 --out out/attribute\nWrites attribute.png, its images (.npy) and latents (.npz), and direction.csv."
    )]
    Attribute(AttributeArgs),
    /// Decode samples on the way from one to the next
    #[command(
        allow_negative_numbers = true,
        after_help = "Example:\n  cargo xtask interpolate run cards3.npz --rows 3,17,40 --out out/between\nWrites interpolation.png, its images (.npy) and latents (.npz)."
    )]
    Interpolate(InterpolateArgs),
    /// What a trained model makes of images: without noise, in colour, or whatever else it was trained towards
    #[command(
        allow_negative_numbers = true,
        after_help = "Example:\n  cargo xtask train ae pairs.npz --latent 16 --out run       # `images` and `goals`\n  cargo xtask translate run noisy.npz --out clean.npy"
    )]
    Translate(TranslateArgs),
    /// Make data whose truth is known
    #[command(
        allow_negative_numbers = true,
        after_help = "Examples:\n  cargo xtask dataset cards3 --size 28 --per-suit 750 --seed 0 --out cards3.npz\n  cargo xtask dataset perovskite --out perovskite.npz\n  cargo xtask dataset spectrum-image --size 64 --counts 10000 --out scan.npz"
    )]
    Dataset(DatasetArgs),
    /// Train a model, and show how its manifold and its latents come about
    #[command(
        allow_negative_numbers = true,
        after_help = "Example:\n  cargo xtask animate ivae cards4.npz --epochs 60 --out run\nWrites the run directory as `train` does, and training.gif and training.png (APNG) in it."
    )]
    Animate(AnimateArgs),
    /// Train several models on several data sets from several seeds, and score what they find
    #[command(
        allow_negative_numbers = true,
        after_help = "Examples:\n  cargo xtask experiment cards --out out/cards\n  cargo xtask experiment shift --seeds 1 --out out/shift\n  cargo xtask experiment unmix-synthetic --out out/unmixed\n  cargo xtask experiment my.toml --out out/mine\nWrites table.csv (a line for each training), summary.md (means over the seeds), latents.png, maps.png of data from a micrograph, sweep_*.png of scores against a number of the models, data/ and runs/, where an animation is training.gif and a comparison index.html. What is there already is not trained again."
    )]
    Experiment(ExperimentArgs),
    /// Fit several methods to the same samples, and compare what they find, in one table and one report
    #[command(
        allow_negative_numbers = true,
        after_help = "Examples:\n  cargo xtask compare digits.npz --truth labels --methods pca,nmf,kmeans,gmm,vae,ivae --out out/digits\n  cargo xtask compare scan.bcf --steps crop=0.25..10keV --methods pca,nmf,kmeans --components 4 --out out/scan\nWrites table.csv (a line for each method), index.html, a METHOD.npz of the columns and a METHOD_patterns.npy of the components, endmembers or centres of each, METHOD_maps.npy of the components of a spectrum image, axes.csv of scans and spectra, and figures/; METHOD_origin.npy is what components are added to, as the mean to principal components, and factors.npy what steps divided the pixels of a scan by. An earlier comparison in the directory is replaced, also by one in which some, but not all, methods fail."
    )]
    Compare(Box<CompareArgs>),
    /// Time training, and PyTorch's beside it
    #[command(
        allow_negative_numbers = true,
        after_help = "Examples:\n  cargo xtask bench\n  cargo xtask bench --peer-python peer/bin/python --out out/bench\n  cargo xtask bench --quality cards3.npz --peer-python peer/bin/python\n  cargo xtask bench --classical --peer-python peer/bin/python"
    )]
    Bench(BenchArgs),
}

/// Steps of a way, which has two ends.
fn steps(text: &str) -> Result<usize, String> {
    let count = text.parse().ok().filter(|n| (2..=100).contains(n));
    count.ok_or_else(|| format!("`{text}` steps, accepted are 2 to 100"))
}

/// Options of `train`.
#[derive(Debug, Clone, Args)]
pub struct TrainArgs {
    /// Kind of model
    #[arg(value_enum)]
    pub model: ModelArg,
    /// Data file: .npz with `images` or `spectra`, .npy of 3 or 4 dimensions (images) or 2 (spectra), or IDX images
    pub data: PathBuf,
    /// Run directory
    #[arg(long)]
    pub out: PathBuf,
    /// Training
    #[command(flatten)]
    pub training: TrainingArgs,
    /// What encoder and decoder are told of each sample, so that the latents need not say it: labels (classes from 0),
    /// targets (continuous factors), or both
    #[arg(long, value_enum, value_delimiter = ',')]
    pub condition: Vec<ConditionArg>,
    /// Go on from the checkpoint in the run directory, as if training had never stopped; with higher --epochs it goes on as
    /// the schedule of the longer training says
    #[arg(long)]
    pub resume: bool,
}

/// What a model can be conditioned on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ConditionArg {
    /// The class of each sample.
    Labels,
    /// The continuous targets.
    Targets,
}

/// Kinds of model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ModelArg {
    /// Invariant VAE: rVAE, tVAE, trVAE and scale.
    Ivae,
    /// Autoencoder: a plain VAE whose encoder gives a point, and whose loss is the likelihood alone.
    Ae,
    /// Plain VAE: an invariant one without invariances.
    Vae,
    /// Conditional VAE: an invariant one that is told what --condition says.
    Cvae,
}

/// Options of `encode`.
#[derive(Debug, Args)]
pub struct EncodeArgs {
    /// Run directory
    pub run: PathBuf,
    /// Data file
    pub data: PathBuf,
    /// Also so many directions, 1 to 12, that each object may point in, the likeliest first, with their probabilities: angle_1,
    /// angle_1_p, angle_2, …; of models that take views. All views are weighed for them, while `angle` is the best of the eight
    /// that the encoder thinks likeliest
    #[arg(long, value_name = "COUNT")]
    pub modes: Option<usize>,
    /// Latents, .npz
    #[arg(long)]
    pub out: PathBuf,
}

/// Options of `translate`.
#[derive(Debug, Args)]
pub struct TranslateArgs {
    /// Run directory
    pub run: PathBuf,
    /// Data file
    pub data: PathBuf,
    /// Images, .npy; values from 0 to 1, which stand for the least and the greatest of what was trained on
    #[arg(long)]
    pub out: PathBuf,
}

/// Options of `decode`.
#[derive(Debug, Args)]
pub struct DecodeArgs {
    /// Run directory
    pub run: PathBuf,
    /// Latents, .npz
    pub latents: PathBuf,
    /// Images, .npy; values from 0 to 1, which stand for the least and the greatest of what was trained on
    #[arg(long)]
    pub out: PathBuf,
}

/// Options of `attribute`.
#[derive(Debug, Args)]
pub struct AttributeArgs {
    /// Run directory
    pub run: PathBuf,
    /// Data file with `labels`
    pub data: PathBuf,
    /// Class that is moved
    #[arg(long)]
    pub from: i64,
    /// Class towards which it is moved
    #[arg(long)]
    pub to: i64,
    /// Rows of the data, from 0 [default: the first six of the class]
    #[arg(long, value_delimiter = ',')]
    pub rows: Vec<usize>,
    /// Images of each row, from a quarter of the way before the class to a quarter beyond the other
    #[arg(long, default_value_t = 7, value_parser = steps)]
    pub steps: usize,
    /// Directory for the results
    #[arg(long)]
    pub out: PathBuf,
}

/// Options of `interpolate`.
#[derive(Debug, Args)]
pub struct InterpolateArgs {
    /// Run directory
    pub run: PathBuf,
    /// Data file
    pub data: PathBuf,
    /// Rows of the data, from 0, two and more
    #[arg(long, value_delimiter = ',')]
    pub rows: Vec<usize>,
    /// Images from one to the next, both included
    #[arg(long, default_value_t = 9, value_parser = steps)]
    pub steps: usize,
    /// Directory for the results
    #[arg(long)]
    pub out: PathBuf,
}

/// Options of `animate`.
#[derive(Debug, Args)]
pub struct AnimateArgs {
    /// Training
    #[command(flatten)]
    pub train: TrainArgs,
    /// Epochs between two frames
    #[arg(long, default_value_t = 2)]
    pub every: usize,
}

/// Options of `experiment`.
#[derive(Debug, Args)]
pub struct ExperimentArgs {
    /// animate, cards, compare-digits, compare-walls, digits, far, shift, unmix-chevkinite, unmix-synthetic or walls, or a file
    /// like those in xtask/experiments
    pub name: String,
    /// Trainings of each model [default: as the experiment says]
    #[arg(long)]
    pub seeds: Option<u64>,
    /// Epochs of every training [default: as the experiment says]
    #[arg(long)]
    pub epochs: Option<usize>,
    /// The file that takes the place of those the experiment names
    #[arg(long, value_name = "FILE")]
    pub data: Option<PathBuf>,
    /// Directory for the results
    #[arg(long)]
    pub out: PathBuf,
}

/// Options of `bench`.
#[derive(Debug, Args)]
pub struct BenchArgs {
    /// A Python with torch, to time the same models there in the same minutes
    #[arg(long, value_name = "PATH")]
    pub peer_python: Option<PathBuf>,
    /// Only the cases whose name holds this word
    #[arg(long)]
    pub only: Option<String>,
    /// Instead, train on this file by default and with --exact, three seeds each, and draw the held-out −ELBO against
    /// seconds; the Python then needs pyroved
    #[arg(long, value_name = "DATA", conflicts_with = "only")]
    pub quality: Option<PathBuf>,
    /// Instead, fit the classical methods to 5,000 rows of rank 20 and to as many digits, and score them; the Python then needs
    /// scikit-learn and umap-learn
    #[arg(long, conflicts_with_all = ["only", "quality"])]
    pub classical: bool,
    /// Passes over the training rows with --quality
    #[arg(long, default_value_t = 60, requires = "quality")]
    pub epochs: usize,
    /// Directory for the table
    #[arg(long, default_value = "out/bench")]
    pub out: PathBuf,
}

/// Options of `dataset`.
#[derive(Debug, Args)]
pub struct DatasetArgs {
    /// What to make
    #[arg(value_enum)]
    pub name: DatasetName,
    /// Side of the images in pixels [default: 28 for cards and patches, 64 for spectrum-image, 512 else], or channels of a
    /// spectrum of peaks [default: 128]
    #[arg(long)]
    pub size: Option<usize>,
    /// Counts of electrons in a pixel of brightness 1, of a lattice [default: 10], at the top of an atom, of walls [default: 10],
    /// or in a spectrum of spectrum-image on average [default: 10000]
    #[arg(long)]
    pub counts: Option<f64>,
    /// Channels of spectrum-image, 64 to 1024 [default: 256]
    #[arg(long)]
    pub channels: Option<usize>,
    /// Materials that spectrum-image is mixed of, 2 to 8 [default: 4]
    #[arg(long)]
    pub endmembers: Option<usize>,
    /// Greatest share of a material in any pixel of spectrum-image, above 0.5 to 1 [default: 1]
    #[arg(long)]
    pub purest: Option<f64>,
    /// Cards of each suit, or spectra of each shape [default: 750]; a quarter of the patches of a lattice
    #[arg(long)]
    pub per_suit: Option<usize>,
    /// Seed of everything random
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// File to write, .npz
    #[arg(long)]
    pub out: PathBuf,
}

/// Data to make.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum DatasetName {
    /// Rotation ±12°, shear ±1°.
    Cards1,
    /// Rotation ±12°, shear ±20°.
    Cards2,
    /// Rotation ±120°, shear ±1°.
    Cards3,
    /// Rotation ±120°, shear ±20°.
    Cards4,
    /// Spectra of two peaks that drift, of two shapes.
    Peaks,
    /// Patches of a lattice as counts of electrons, and without noise.
    Lattice,
    /// Patches of a lattice in grey, and in colour.
    LatticeGrey,
    /// Patches of a lattice in colour: a channel for each element.
    LatticeColour,
    /// Perovskite with ferroelectric domains, HAADF.
    Perovskite,
    /// Patches around the atoms of the same at a low dose, their sublattice as class, and the image.
    Walls,
    /// Graphene doped with silicon and nitrogen.
    Graphene,
    /// Scan of energy-loss spectra, mixed of materials whose spectra and shares are known.
    SpectrumImage,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn contradictory_options_are_rejected() {
        for line in ["analyze", "analyze a.dm3 --demo", "analyze a.dat --raw u8,2x2 --frame 1", "train ivae d.npz"] {
            let words = std::iter::once("xtask").chain(line.split_whitespace());
            assert!(Cli::try_parse_from(words).is_err(), "{line}");
        }
    }
}
