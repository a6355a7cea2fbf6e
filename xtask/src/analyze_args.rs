use std::path::PathBuf;

use clap::{Args, ValueEnum};
use parsimon_io::RawLayout;

use crate::training_args::TrainingArgs;

/// Options of `analyze`.
#[derive(Debug, Args)]
pub struct AnalyzeArgs {
    /// Image: DM3, DM4, TIFF, PNG, NPY, NPZ, HyperSpy HDF5, or raw numbers with --raw
    #[arg(required_unless_present = "demo", conflicts_with = "demo")]
    pub file: Option<PathBuf>,
    /// Analyse the demo image, whose truth is known, and score the result against it
    #[arg(long)]
    pub demo: bool,
    /// Directory for the results
    #[arg(long, default_value = "out")]
    pub out: PathBuf,
    /// Layout of raw numbers: TYPE,ROWSxCOLUMNS, then any of skip=BYTES, scale=NUMBER and unit=UNIT
    #[arg(long, value_name = "LAYOUT", conflicts_with_all = ["demo", "frame"])]
    pub raw: Option<RawLayout>,
    /// Frame of a movie, from 0
    #[arg(long, conflicts_with = "demo")]
    pub frame: Option<usize>,
    /// Pixel size of the image, number and unit, for files that do not say it
    #[arg(long, value_name = "SIZE", conflicts_with = "demo")]
    pub pixel: Option<PixelSize>,
    /// Bright or dark atoms
    #[arg(long, value_enum, default_value_t = PolarityArg::Auto)]
    pub polarity: PolarityArg,
    /// How candidates are found
    #[arg(long, value_enum, default_value_t = MethodArg::Log)]
    pub method: MethodArg,
    /// Smallest and largest width σ of an atom in pixels, such as 2,4 [default: from the image]
    #[arg(long, value_delimiter = ',', num_args = 1..=2)]
    pub sigma: Option<Vec<f64>>,
    /// Least height of an atom, in the values of the image [default: from the image]
    #[arg(long)]
    pub threshold: Option<f64>,
    /// Least distance of two atoms in pixels [default: from the image]
    #[arg(long)]
    pub min_distance: Option<f64>,
    /// Side of a patch in pixels [default: from the lattice spacing]
    #[arg(long)]
    pub window: Option<usize>,
    /// Cut patches from the image less its slow background, such as the tilt of a scanned surface
    #[arg(long)]
    pub flatten: bool,
    /// How patches are brought to the range 0 to 1
    #[arg(long, value_enum, default_value_t = NormaliseArg::Global)]
    pub normalise: NormaliseArg,
    /// Training
    #[command(flatten)]
    pub training: TrainingArgs,
}

/// A length such as `0.0125nm`.
#[derive(Debug, Clone, PartialEq)]
pub struct PixelSize {
    /// Number.
    pub size: f64,
    /// Unit.
    pub unit: String,
}

impl std::str::FromStr for PixelSize {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let split = text.find(|c: char| c.is_alphabetic() && !matches!(c, 'e' | 'E')).unwrap_or(text.len());
        let (number, unit) = text.split_at(split);
        let size: f64 = number.trim().parse().map_err(|_| format!("`{text}` is not a length such as 0.0125nm"))?;
        if !(size.is_finite() && size > 0.0) || unit.is_empty() {
            return Err(format!("`{text}` is not a length above 0 with a unit, such as 0.0125nm"));
        }
        Ok(Self { size, unit: unit.trim().to_owned() })
    }
}

/// Bright or dark atoms.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum PolarityArg {
    /// Told from the image.
    Auto,
    /// Bright, as in HAADF.
    Bright,
    /// Dark, as in ABF.
    Dark,
}

/// How candidates are found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum MethodArg {
    /// Multi-scale Laplacian of Gaussian.
    Log,
    /// Local maxima.
    Maxima,
}

/// How patches are brought to the range 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum NormaliseArg {
    /// One range for all patches: intensities stay comparable.
    Global,
    /// Each patch by its own range: only the form remains.
    Patch,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pixel_sizes_are_read() {
        let read = |t: &str| t.parse::<PixelSize>().map(|p| (p.size, p.unit));
        assert_eq!(read("0.0125nm"), Ok((0.0125, "nm".to_owned())));
        assert_eq!(read("1.25e-2 nm"), Ok((0.0125, "nm".to_owned())));
        for bad in ["nm", "0nm", "-1nm", "3", "x1nm"] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }
}
