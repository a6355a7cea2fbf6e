use crate::{Error, Result};

/// What counts as a candidate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Method {
    /// Maxima of the scale-normalised Laplacian of Gaussian over several scales; each site selects its width.
    #[default]
    LogBlobs,
    /// Maxima of the image smoothed with a Gaussian of the smallest scale, above the background.
    Maxima,
}

/// Whether atoms are brighter or darker than what is between them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Polarity {
    /// Told from the image.
    #[default]
    Auto,
    /// Bright atoms, as in HAADF.
    Bright,
    /// Dark atoms, as in ABF.
    Dark,
}

/// How sites are found; the default decides everything from the image.
#[derive(Debug, Clone, PartialEq)]
pub struct Params {
    /// What counts as a candidate. Default [`Method::LogBlobs`].
    pub method: Method,
    /// Bright or dark atoms. Default [`Polarity::Auto`].
    pub polarity: Polarity,
    /// Smallest and largest width σ of an atom in pixels, from 0.5 to half the shorter side of the
    /// image. Default: around the width seen in the image.
    pub sigma: Option<(f64, f64)>,
    /// Least height of an atom above its surroundings, in the values of the image, above 0. Default: from the noise
    /// and from the gap between atoms and the rest.
    pub threshold: Option<f64>,
    /// Least distance of two sites in pixels, above 0. Default: twice the width σ of
    /// the stronger.
    pub min_distance: Option<f64>,
    /// Sites nearer than this to the border are left out; pixels, 0 or more. Default: the smallest width σ.
    pub border: Option<f64>,
    /// Width σ of the Gaussian that follows the background, in pixels; 0: remove none. Default: 1.25 lattice
    /// spacings, at least 4 σ; 8 σ without a lattice.
    pub background: Option<f64>,
    /// Whether positions are refined to a fraction of a pixel by a Gaussian fit. Default true.
    pub refine: bool,
}

impl Default for Params {
    fn default() -> Self {
        Self {
            method: Method::default(),
            polarity: Polarity::default(),
            sigma: None,
            threshold: None,
            min_distance: None,
            border: None,
            background: None,
            refine: true,
        }
    }
}

/// Smallest blob width that pixels can carry.
pub(crate) const SMALLEST_SIGMA: f64 = 0.5;

impl Params {
    /// Fails on the first number outside its range.
    pub(crate) fn check(&self) -> Result<()> {
        let positive = |x: f64| x.is_finite() && x > 0.0;
        let not_negative = |x: f64| x.is_finite() && x >= 0.0;
        let reject = |name, value, accepted| Err(Error::Parameter { name, value, accepted });
        if let Some((low, high)) = self.sigma {
            if !(low.is_finite() && low >= SMALLEST_SIGMA) {
                return reject("smallest sigma", low, "0.5 px and more");
            }
            if !(high.is_finite() && high >= low) {
                return reject("largest sigma", high, "the smallest sigma and more");
            }
        }
        match self {
            Self { threshold: Some(t), .. } if !positive(*t) => reject("threshold", *t, "finite numbers above 0"),
            Self { min_distance: Some(d), .. } if !positive(*d) => reject("min_distance", *d, "finite numbers above 0"),
            Self { border: Some(b), .. } if !not_negative(*b) => reject("border", *b, "finite numbers from 0"),
            Self { background: Some(b), .. } if !not_negative(*b) => reject("background", *b, "finite numbers from 0"),
            _ => Ok(()),
        }
    }
}
