use ndarray::{Array2, ArrayView2};

use crate::neighbours::nearest;
use crate::params::{Check, Method, Params, speaks_linfa};
use crate::placed::{Placed, few_dimensions, principal_start};
use crate::rows::{RowEmbedding, RowModel, at_least, measurable};
use crate::{Error, Result};

mod affinities;
mod descent;
mod repulsion;

use affinities::{conditional, joint};
use descent::descend;

/// t-SNE: places for which neighbours stay neighbours.
///
/// Rows belong together by pⱼ|ᵢ ∝ exp(−βᵢ |xᵢ − xⱼ|²), over the nearest 3·perplexity rows, with βᵢ such that the
/// entropy is that of `perplexity` rows; pᵢⱼ = (pⱼ|ᵢ + pᵢ|ⱼ)/2N. Places belong together by qᵢⱼ ∝ 1/(1 + |yᵢ − yⱼ|²).
/// Sought are places of the least KL(P‖Q) = Σ pᵢⱼ ln(pᵢⱼ/qᵢⱼ), from the principal components down the gradient with
/// momentum; in the first 250 rounds P counts twelvefold. It ends early once 50 rounds take less than 1e−4 of the
/// divergence away. Of the places after every 50 rounds the best are kept.
///
/// Columns of the embedding are `tsne1`, `tsne2`, …, in no units. Only the rows of the fit have been placed so: a
/// further row goes to the mean of the places of its nearest 3·perplexity rows weighted by pⱼ|ᵢ, a row equal to one of
/// the fit, within 1e−12 of their lengths, to its place, of several equal ones that of the first. A chance of a hundredth in
/// the start lets equal rows come apart. Memory is in proportion to N·perplexity, with N·D of a copy of the rows, the time
/// of a round to N log N, of the search for neighbours to N²·D.
///
/// References: van der Maaten & Hinton 2008, J. Mach. Learn. Res. 9, 2579; van der Maaten 2014, ibid. 15, 3221 (trees);
/// Belkina et al. 2019, Nat. Commun. 10, 5415 (learning rate).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TSne {
    dimensions: usize,
    perplexity: f64,
    rounds: usize,
    rate: Option<f64>,
    seed: u64,
}

impl TSne {
    /// Two dimensions, perplexity 30; of 4 rows at least.
    pub fn params() -> Params<Self> {
        Params(Self { dimensions: 2, perplexity: 30.0, rounds: 1000, rate: None, seed: 0 })
    }
}

impl Params<TSne> {
    /// Numbers of a place, 1 to 3; default 2.
    pub fn dimensions(mut self, dimensions: usize) -> Self {
        self.0.dimensions = dimensions;
        self
    }

    /// Rows that count as neighbours, 1 to (N − 1)/3 of N rows; default 30.
    pub fn perplexity(mut self, perplexity: f64) -> Self {
        self.0.perplexity = perplexity;
        self
    }

    /// Rounds at most, 1 to 1,000,000; default 1,000. The first 250 only sort the rows.
    pub fn rounds(mut self, rounds: usize) -> Self {
        self.0.rounds = rounds;
        self
    }

    /// Length of a step, above 0 to 1,000,000; default N/48, after 500 rounds N/12, at least 50.
    pub fn learning_rate(mut self, rate: f64) -> Self {
        self.0.rate = Some(rate);
        self
    }

    /// Seed of the chance in the start; default 0.
    pub fn seed(mut self, seed: u64) -> Self {
        self.0.seed = seed;
        self
    }
}

impl Check for TSne {
    fn check(&self) -> Result<()> {
        few_dimensions(self.dimensions)?;
        if !(self.perplexity.is_finite() && self.perplexity >= 1.0) {
            return Err(Error::parameter("perplexity", self.perplexity, "1 to a third of the other rows"));
        }
        if !(1..=1_000_000).contains(&self.rounds) {
            return Err(Error::parameter("number of rounds", self.rounds, "1 to 1000000"));
        }
        match self.rate {
            Some(rate) if !(rate > 0.0 && rate <= 1e6) => {
                Err(Error::parameter("learning rate", rate, "above 0 to 1000000"))
            }
            _ => Ok(()),
        }
    }
}

/// Rows with their places.
#[derive(Debug, Clone, PartialEq)]
pub struct TSneModel {
    placed: Placed,
    perplexity: f64,
    divergence: f64,
    rounds: usize,
}

impl TSneModel {
    /// Places of the rows of the fit, (N, dimensions), about their mean.
    pub fn places(&self) -> ArrayView2<'_, f64> {
        self.placed.places()
    }

    /// KL(P‖Q), nats; the sum over q is by trees, to about 1e−3.
    pub fn divergence(&self) -> f64 {
        self.divergence
    }

    /// Rounds that it took.
    pub fn rounds(&self) -> usize {
        self.rounds
    }
}

impl Method for TSne {
    type Model = TSneModel;

    fn fit_rows(&self, rows: ArrayView2<'_, f64>) -> Result<TSneModel> {
        measurable(rows)?;
        at_least(rows, 4)?;
        let n = rows.nrows();
        let largest = (n - 1) as f64 / 3.0;
        if self.perplexity > largest {
            let accepted = format!("1 to {largest} for {n} rows");
            return Err(Error::parameter("perplexity", self.perplexity, accepted));
        }
        let neighbours = ((3.0 * self.perplexity) as usize).min(n - 1);
        let affinities = joint(&nearest(rows, None, neighbours), self.perplexity);
        let start = principal_start(rows, self.dimensions, self.seed)? * 1e-4;
        let by_rows = |per: f64| self.rate.unwrap_or((n as f64 / per).max(50.0));
        let rates = (by_rows(48.0), by_rows(12.0));
        let found = match self.dimensions {
            1 => descend::<1>(&affinities, &start, self.rounds, rates),
            2 => descend::<2>(&affinities, &start, self.rounds, rates),
            _ => descend::<3>(&affinities, &start, self.rounds, rates),
        };
        let Some(found) = found else {
            return Err(Error::parameter(
                "learning rate",
                rates.1,
                "smaller ones: with this one places grew beyond bounds",
            ));
        };
        Ok(TSneModel {
            placed: Placed::new(rows, found.places, neighbours),
            perplexity: self.perplexity,
            divergence: found.divergence,
            rounds: found.rounds,
        })
    }
}

impl RowModel for TSneModel {
    fn width(&self) -> usize {
        self.placed.width()
    }

    fn names(&self) -> Vec<String> {
        self.placed.names("tsne")
    }

    fn embed_rows(&self, rows: ArrayView2<'_, f64>) -> Result<RowEmbedding> {
        let places: Array2<f64> = self.placed.place(rows, |distances| conditional(distances, self.perplexity))?;
        Ok(RowEmbedding::of(places))
    }
}

speaks_linfa!(TSne, TSneModel);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::placed::made;

    #[test]
    fn places_are_as_good_as_they_should_be() {
        made::clusters_stay_apart(|dimensions| TSne::params().dimensions(dimensions));
        made::a_rolled_sheet_is_trustworthy(TSne::params(), 0.99, 0.98);
        made::further_rows_join_their_cluster(TSne::params().dimensions(3), "tsne");
        made::equal_rows_are_placed(|dimensions| TSne::params().dimensions(dimensions).rounds(300));
    }

    #[test]
    fn the_same_bits_whatever_the_number_of_threads() {
        made::threads_change_no_bit(|seed| TSne::params().seed(seed).rounds(300));
    }

    #[test]
    fn the_divergence_and_the_rounds_are_told() {
        let model = TSne::params().fit_matrix(made::roll(500).view()).unwrap();
        assert!((0.1..1.5).contains(&model.divergence()), "{}", model.divergence());
        assert!(model.rounds() > 250 && model.rounds() <= 1000);
        let short = TSne::params().rounds(260).fit_matrix(made::roll(500).view()).unwrap();
        assert!(short.rounds() == 260 && short.divergence() > model.divergence());
    }

    #[test]
    fn few_rows_come_to_rest_at_any_rate() {
        for n in [5, 8, 20] {
            let fit = |rate: f64| TSne::params().perplexity(1.2).learning_rate(rate).fit_matrix(made::roll(n).view());
            let (slow, fast) = (fit(50.0).unwrap(), fit(1e6).unwrap());
            assert!(slow.places().iter().chain(&fast.places()).all(|v| v.is_finite()));
            assert!(slow.divergence() >= 0.0 && fast.divergence() >= 0.0);
        }
    }

    #[test]
    fn rows_without_structure_fill_their_dimensions() {
        // All that draws them together early draws them to one place.
        let rows = Array2::from_shape_fn((700, 20), |(i, j)| (((i * 31 + 7) * (j * 57 + 11)) % 1009) as f64);
        let model = TSne::params().fit_matrix(rows.view()).unwrap();
        let spread: Vec<f64> = model.places().columns().into_iter().map(|c| c.std(0.0)).collect();
        assert!(spread.iter().all(|s| *s > 3.0), "{spread:?}");
    }

    #[test]
    fn what_the_rows_cannot_support_is_rejected() {
        let rows = made::roll(60);
        let refused =
            |params: Params<TSne>, rows: ArrayView2<'_, f64>| params.fit_matrix(rows).unwrap_err().to_string();
        let ok = || TSne::params().perplexity(5.0);
        for perplexity in [0.0, 0.99, 19.7, 30.0, f64::INFINITY, f64::NAN] {
            let message = refused(ok().perplexity(perplexity), rows.view());
            assert!(message.contains(&format!("perplexity is {perplexity},")), "{message}");
        }
        assert!(refused(TSne::params(), rows.view()).contains("1 to 19.666666666666668 for 60 rows"));
        assert!(refused(ok(), made::roll(1).view()).contains("rows is 1, accepted are at least 4 rows"));
        for (params, part) in [
            (ok().dimensions(0), "dimensions is 0, accepted are 1 to 3"),
            (ok().dimensions(4), "dimensions is 4"),
            (ok().rounds(0), "rounds is 0, accepted are 1 to 1000000"),
            (ok().learning_rate(0.0), "learning rate is 0, accepted are above 0"),
            (ok().learning_rate(f64::NAN), "learning rate is NaN"),
            (ok().learning_rate(2e6), "learning rate is 2000000"),
        ] {
            let message = refused(params, rows.view());
            assert!(message.contains(part), "{message}");
        }
        assert_eq!(ok().fit_matrix(Array2::zeros((0, 3)).view()).unwrap_err(), Error::Empty { rows: 0, columns: 3 });
        let mut bad = rows.clone();
        bad[(7, 1)] = f64::NAN;
        assert_eq!(ok().fit_matrix(bad.view()).unwrap_err(), Error::NotFinite { row: 7 });
        bad[(7, 1)] = -1e200;
        assert!(refused(ok(), bad.view()).contains("-1e140 to 1e140"));
        // The least that can be placed.
        for n in [4, 5] {
            let model = TSne::params().perplexity(1.0).fit_matrix(made::roll(n).view()).unwrap();
            assert!(model.places().iter().all(|v| v.is_finite()));
        }
    }
}
