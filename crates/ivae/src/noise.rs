use std::str::FromStr;

use parsimon_nets::Likelihood;
use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// How a pixel's value spreads around the decoder's output.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Noise {
    /// Cross entropy; the decoder gives values in \[0,1\]. The default.
    Bernoulli,
    /// A density over \[0,1\], of which cross entropy is all but the normalisation.
    #[serde(rename = "continuous-bernoulli")]
    ContinuousBernoulli,
    /// Gaussian of this σ in units of \[0,1\]; above 0.
    Gaussian(f32),
    /// Gaussian whose σ is learned, one for each channel.
    GaussianLearned,
    /// Counts, of which a value of 1 stands for so many; above 0.
    Poisson(f32),
}

impl FromStr for Noise {
    type Err = Error;

    /// `bernoulli`, `continuous-bernoulli`, `gaussian` (σ learned), `gaussian=0.1` or `poisson=200`.
    fn from_str(text: &str) -> Result<Self> {
        let (name, number) = match text.split_once('=') {
            Some((name, number)) => (name, Some(number.parse::<f32>())),
            None => (text, None),
        };
        match (name, number) {
            ("bernoulli", None) => Ok(Self::Bernoulli),
            ("continuous-bernoulli", None) => Ok(Self::ContinuousBernoulli),
            ("gaussian", None) => Ok(Self::GaussianLearned),
            ("gaussian", Some(Ok(sd))) => Ok(Self::Gaussian(sd)),
            ("poisson", Some(Ok(counts))) => Ok(Self::Poisson(counts)),
            _ => {
                let (what, value) = ("likelihood", format!("`{text}`"));
                let accepted = "bernoulli, continuous-bernoulli, gaussian, gaussian=SIGMA, poisson=COUNTS";
                Err(Error::Parameter { what, value, accepted })
            }
        }
    }
}

impl Noise {
    pub(crate) fn likelihood(self) -> Likelihood {
        match self {
            Self::Bernoulli => Likelihood::Bernoulli,
            Self::ContinuousBernoulli => Likelihood::ContinuousBernoulli,
            Self::Gaussian(_) | Self::GaussianLearned => Likelihood::Gaussian,
            Self::Poisson(counts) => Likelihood::Poisson(counts),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn likelihoods_are_read() {
        for (text, noise) in [
            ("bernoulli", Noise::Bernoulli),
            ("continuous-bernoulli", Noise::ContinuousBernoulli),
            ("gaussian", Noise::GaussianLearned),
            ("gaussian=0.1", Noise::Gaussian(0.1)),
            ("poisson=200", Noise::Poisson(200.0)),
        ] {
            assert_eq!(text.parse::<Noise>().unwrap(), noise);
        }
        for text in ["poisson", "poisson=x", "gaussian=x", "bernoulli=1", "laplace", ""] {
            assert!(text.parse::<Noise>().is_err(), "{text}");
        }
    }
}
