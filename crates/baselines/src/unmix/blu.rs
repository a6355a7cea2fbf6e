use ndarray::{Array2, ArrayView2, Axis};
use ndarray_stats::QuantileExt;
use rayon::prelude::*;

use crate::params::{Check, Method, Params, speaks_linfa};
use crate::rows::squarable;
use crate::unmix::blu_model::{BluModel, Trace};
use crate::unmix::chain::Chain;
use crate::unmix::fcls::{Fcls, enough};
use crate::unmix::histograms::MOST_SAMPLES;
use crate::unmix::noise::Noise;
use crate::unmix::space::Projected;
use crate::{Error, Result};

/// Bayesian linear unmixing:
///
/// ```text
/// y = Σ aᵣ mᵣ + noise,    aᵣ ≥ 0,    Σ aᵣ = 1,    mᵣ ≥ 0
/// ```
///
/// Endmembers mᵣ lie in the plane of the R − 1 directions in which the data vary most, where their prior is next to
/// flat as long as no channel is negative; an endmember is absent from a row with a probability that is learnt, and
/// abundances are uniform on the simplex of those present; the variance σ² of the noise has Jeffreys' prior. A Markov
/// chain from N-FINDR and least squares draws all of them from the posterior: abundances along the axes of the plane
/// and along the simplex's edges, endmembers axis by axis, σ², and then the simplex as a whole with its mixtures in
/// place. The posterior of endmembers is the smallest simplex that holds the rows up to the noise, and needs no pure
/// rows, but rows at each of its faces.
///
/// Rows are taken to be independent of each other and uniform on the simplex of what they hold, its corners as
/// populated as the rest: by that, their number tells the size of the simplex. Where pixels resemble their neighbours,
/// or no row is pure, intervals are too narrow, and more samples do not mend it. Of images of 32×32 smooth spectra with
/// pure regions, those of 95 % held 94 to 95 % of the true abundances at any noise; with no row purer than 85 %, 79 to
/// 86 %, and of one image in five a half or less at little noise, endmembers being far off. Of independent rows that
/// were uniform on the whole simplex they held 95 %, and 87 % at the least noise.
///
/// Columns are the means `a1`, `a2`, … of the abundances with their standard deviations, endmembers in the order of
/// their mean abundance at the start. Rows of the fit have the posterior itself; of several equal ones each has that of the
/// first, though the chain drew each by itself. Further rows are sampled for draws of the endmembers and σ² from the chain,
/// so their deviations hold what is not known of the endmembers.
///
/// Noise after the subtraction of a background goes below zero: such rows are taken as they are, to cut them would make
/// every dark channel too bright. The mean spectrum must not be negative, but for 5 % of it.
///
/// Memory: three copies of the data to find the plane (twice if the noise is not told), then N·R·160 bytes whatever the
/// number of samples S, and 8·(R² + 1)·S bytes of endmembers, odds and σ² along the chain. Intervals come from histograms
/// of 64 bins, whose width is 0.19 of the standard deviation during the burn-in or less, and doubles each time that a
/// sample falls outside all of them; ends are good to a bin and 10⁻⁶.
///
/// Reference: Dobigeon, Moussaoui, Coulon, Tourneret & Hero 2009, IEEE Trans. Signal Process. 57, 4355.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Blu {
    endmembers: usize,
    noise: Option<Noise>,
    absence: bool,
    burn_in: usize,
    samples: usize,
    seed: u64,
}

/// Part of the mean spectrum that may be negative.
const NEGATIVE: f64 = 0.05;

impl Blu {
    /// So many endmembers, 2 to the number of rows, and at most one more than directions along which they vary.
    pub fn params(endmembers: usize) -> Params<Self> {
        Params(Self { endmembers, noise: None, absence: true, burn_in: 1000, samples: 2000, seed: 0 })
    }
}

impl Params<Blu> {
    /// How the noise depends on the place; by default what makes the data likelier, and [`Noise::Uniform`] where only rounding lies
    /// outside the plane, or where the weights of [`Noise::Counts`] hide a direction.
    pub fn noise(mut self, noise: Noise) -> Self {
        self.0.noise = Some(noise);
        self
    }

    /// Whether an endmember may be wholly absent from a row, with a probability that is learnt; default true. Else
    /// abundances are uniform on the simplex, as published: then regions of one or two endmembers alone push the
    /// simplex outwards.
    pub fn absence(mut self, absence: bool) -> Self {
        self.0.absence = absence;
        self
    }

    /// Rounds of the chain that are forgotten, 10 to 1,000,000; default 1,000.
    pub fn burn_in(mut self, rounds: usize) -> Self {
        self.0.burn_in = rounds;
        self
    }

    /// Rounds of the chain that are kept, 10 to 65,535; default 2,000.
    pub fn samples(mut self, rounds: usize) -> Self {
        self.0.samples = rounds;
        self
    }

    /// Seed of the chain, and of the draws of further rows; default 0.
    pub fn seed(mut self, seed: u64) -> Self {
        self.0.seed = seed;
        self
    }
}

impl Check for Blu {
    fn check(&self) -> Result<()> {
        if self.endmembers < 2 {
            return Err(Error::parameter("number of endmembers", self.endmembers, "2 and more"));
        }
        if !(10..=1_000_000).contains(&self.burn_in) {
            return Err(Error::parameter("rounds of burn-in", self.burn_in, "10 to 1000000"));
        }
        if !(10..=MOST_SAMPLES).contains(&self.samples) {
            return Err(Error::parameter("number of samples", self.samples, format!("10 to {MOST_SAMPLES}")));
        }
        Ok(())
    }
}

impl Method for Blu {
    type Model = BluModel;

    fn fit_rows(&self, rows: ArrayView2<'_, f64>) -> Result<BluModel> {
        squarable(rows)?;
        enough(rows, self.endmembers)?;
        not_below_zero(rows)?;
        let (data, noise) = match self.noise {
            Some(noise) => (Projected::of(rows, self.endmembers, noise)?, noise),
            None => Projected::of_likelier(rows, self.endmembers)?,
        };
        let (start, shares) = Fcls::new(self.endmembers, self.seed).start(&data)?;
        // Inside the pool of threads a round does not wait for it again and again.
        let (chain, trace, shares) =
            rayon::scope(|_| self.run(Chain::new(&data, start.view(), shares.view(), self.seed)));
        let blocks = chain.blocks;
        Ok(BluModel::new(rows, self.seed, (data.space, noise), &blocks, &trace, shares))
    }
}

impl Blu {
    /// The chain at its end, what it went through, and the mean of AᵀWA.
    fn run<'a>(&self, mut chain: Chain<'a>) -> (Chain<'a>, Trace, Array2<f64>) {
        let quarter = self.burn_in as f64 / 4.0;
        for round in 0..self.burn_in {
            // First the simplex grows around all rows, which goes faster with nothing absent.
            let progress = round as f64 / quarter - 1.0;
            let absence = self.absence && progress >= 0.0;
            if absence {
                chain.cool(progress);
            }
            chain.round(absence);
            if 2 * round >= self.burn_in {
                chain.blocks.par_iter_mut().for_each(|b| b.record());
            }
        }
        chain.blocks.iter_mut().for_each(|b| b.begin());
        let mut trace = Trace::default();
        let mut shares = Array2::zeros(chain.shares.raw_dim());
        for _ in 0..self.samples {
            chain.round(self.absence);
            chain.blocks.par_iter_mut().for_each(|b| b.record());
            trace.push(&chain);
            shares += &chain.shares;
        }
        (chain, trace, shares / self.samples as f64)
    }
}

/// Fails if too much of the mean spectrum is negative for a mixture of spectra that are not.
fn not_below_zero(rows: ArrayView2<'_, f64>) -> Result<()> {
    let mean = rows.sum_axis(Axis(0)) / rows.nrows() as f64;
    let (below, all) = mean.iter().fold((0.0, 0.0), |(b, a), m| (b - m.min(0.0), a + m.abs()));
    let worst = mean.argmin().unwrap_or(0);
    if below > NEGATIVE * all {
        return Err(Error::NegativeMean { channel: worst, value: mean[worst], share: below / all, accepted: NEGATIVE });
    }
    Ok(())
}

speaks_linfa!(Blu, BluModel);
