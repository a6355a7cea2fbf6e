use ndarray::ArrayView2;

use crate::neighbours::nearest;
use crate::params::{Check, Method, Params, speaks_linfa};
use crate::placed::{Placed, few_dimensions};
use crate::rows::{RowEmbedding, RowModel, at_least, measurable};
use crate::{Error, Result};

mod curve;
mod descent;
mod graph;
mod start;

use descent::{Curve, descend};
use graph::{memberships, union};
use start::spectral_start;

/// UMAP: places whose fuzzy neighbourhoods are those of the rows.
///
/// Among its nearest rows, wⱼ|ᵢ = exp(−max(0, dᵢⱼ − ρᵢ)/σᵢ) with ρᵢ the least distance above 0 and σᵢ such that they sum
/// to log₂ of the number of neighbours; wᵢⱼ = wⱼ|ᵢ + wᵢ|ⱼ − wⱼ|ᵢ wᵢ|ⱼ. Places belong together by vᵢⱼ = 1/(1 + a |yᵢ −
/// yⱼ|^2b), which a and b make 1 within `min_dist` and let decay over `spread`. Sought is the least cross entropy of w and
/// v by stochastic descent: in R rounds each pair is drawn together ⌊R wᵢⱼ/max w⌋ times, and five rows drawn by chance push
/// each time.
///
/// It begins from the eigenvectors of the normalised Laplacian of w, each column stretched to 0 to 10. Parts of the graph
/// that nothing joins begin on their own, about the principal scores of their mean rows; those of fewer than 32 rows by
/// chance.
///
/// Columns of the embedding are `umap1`, `umap2`, …, in units of the spread. Only the rows of the fit have been placed
/// so: a further row goes to the mean of the places of its nearest rows weighted by wⱼ|ᵢ, a row equal to one of the fit,
/// within 1e−12 of their lengths, to its place, of several equal ones that of the first. A chance of 0.01 in the start lets
/// equal rows come apart. Memory and time of a round are in proportion to N·neighbours, with N·D of a copy of the rows, the
/// time of the search for neighbours to N²·D.
///
/// Reference: McInnes, Healy & Melville 2018, arXiv 1802.03426.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Umap {
    dimensions: usize,
    neighbours: usize,
    min_dist: f64,
    spread: f64,
    rounds: Option<usize>,
    seed: u64,
}

impl Umap {
    /// Two dimensions, 15 neighbours; of 2 rows at least.
    pub fn params() -> Params<Self> {
        Params(Self { dimensions: 2, neighbours: 15, min_dist: 0.1, spread: 1.0, rounds: None, seed: 0 })
    }
}

impl Params<Umap> {
    /// Numbers of a place, 1 to 3; default 2.
    pub fn dimensions(mut self, dimensions: usize) -> Self {
        self.0.dimensions = dimensions;
        self
    }

    /// Rows of a neighbourhood, the one in its middle among them, 2 to N; default 15.
    pub fn neighbours(mut self, neighbours: usize) -> Self {
        self.0.neighbours = neighbours;
        self
    }

    /// Distance of places up to which rows are neighbours in full, 0 to the spread; default 0.1.
    pub fn min_dist(mut self, min_dist: f64) -> Self {
        self.0.min_dist = min_dist;
        self
    }

    /// Distance over which places cease to be neighbours, 0.01 to 100; default 1.
    pub fn spread(mut self, spread: f64) -> Self {
        self.0.spread = spread;
        self
    }

    /// Rounds, 1 to 1,000,000; default 500, of more than 10,000 rows 200.
    pub fn rounds(mut self, rounds: usize) -> Self {
        self.0.rounds = Some(rounds);
        self
    }

    /// Seed of the chance in the start and of the rows that push; default 0.
    pub fn seed(mut self, seed: u64) -> Self {
        self.0.seed = seed;
        self
    }
}

impl Check for Umap {
    fn check(&self) -> Result<()> {
        few_dimensions(self.dimensions)?;
        if self.neighbours < 2 {
            return Err(Error::parameter("number of neighbours", self.neighbours, "2 to the number of rows"));
        }
        if !(0.01..=100.0).contains(&self.spread) {
            return Err(Error::parameter("spread", self.spread, "0.01 to 100"));
        }
        if !(0.0..=self.spread).contains(&self.min_dist) {
            return Err(Error::parameter("min_dist", self.min_dist, format!("0 to the spread, {}", self.spread)));
        }
        match self.rounds {
            Some(rounds) if !(1..=1_000_000).contains(&rounds) => {
                Err(Error::parameter("number of rounds", rounds, "1 to 1000000"))
            }
            _ => Ok(()),
        }
    }
}

/// Rows with their places.
#[derive(Debug, Clone, PartialEq)]
pub struct UmapModel {
    placed: Placed,
    curve: (f64, f64),
}

impl UmapModel {
    /// Places of the rows of the fit, (N, dimensions).
    pub fn places(&self) -> ArrayView2<'_, f64> {
        self.placed.places()
    }

    /// a and b of the curve.
    pub fn curve(&self) -> (f64, f64) {
        self.curve
    }
}

impl Method for Umap {
    type Model = UmapModel;

    fn fit_rows(&self, rows: ArrayView2<'_, f64>) -> Result<UmapModel> {
        measurable(rows)?;
        at_least(rows, 2)?;
        let n = rows.nrows();
        if self.neighbours > n {
            let accepted = format!("2 to {n} for {n} rows");
            return Err(Error::parameter("number of neighbours", self.neighbours, accepted));
        }
        let rounds = self.rounds.unwrap_or(if n > 10_000 { 200 } else { 500 });
        let all = union(&nearest(rows, None, self.neighbours - 1));
        // What would never be met shapes the start neither.
        let largest = all.values.iter().fold(0.0f32, |largest, v| largest.max(*v));
        let graph = all.part(&Vec::from_iter(0..n), largest / rounds as f32);
        let start = spectral_start(rows, &graph, self.dimensions, self.seed)?;
        let (a, b) = curve::fit(self.min_dist, self.spread);
        let curve = Curve { a: a as f32, b: b as f32 };
        let places = match self.dimensions {
            1 => descend::<1>(&graph, &start, rounds, curve, self.seed),
            2 => descend::<2>(&graph, &start, rounds, curve, self.seed),
            _ => descend::<3>(&graph, &start, rounds, curve, self.seed),
        };
        Ok(UmapModel { placed: Placed::new(rows, places, self.neighbours), curve: (a, b) })
    }
}

impl RowModel for UmapModel {
    fn width(&self) -> usize {
        self.placed.width()
    }

    fn names(&self) -> Vec<String> {
        self.placed.names("umap")
    }

    fn embed_rows(&self, rows: ArrayView2<'_, f64>) -> Result<RowEmbedding> {
        Ok(RowEmbedding::of(self.placed.place(rows, memberships)?))
    }
}

speaks_linfa!(Umap, UmapModel);

#[cfg(test)]
mod tests {
    use ndarray::Array2;

    use super::*;
    use crate::placed::made;

    #[test]
    fn places_are_as_good_as_they_should_be() {
        made::clusters_stay_apart(|dimensions| Umap::params().dimensions(dimensions));
        made::a_rolled_sheet_is_trustworthy(Umap::params(), 0.98, 0.97);
        made::further_rows_join_their_cluster(Umap::params().dimensions(3), "umap");
        made::equal_rows_are_placed(|dimensions| Umap::params().dimensions(dimensions).rounds(60));
    }

    #[test]
    fn the_same_bits_whatever_the_number_of_threads() {
        made::threads_change_no_bit(|seed| Umap::params().seed(seed).rounds(60));
    }

    #[test]
    fn the_curve_is_told() {
        let model = Umap::params().rounds(1).fit_matrix(made::roll(50).view()).unwrap();
        assert!((model.curve().0 - 1.577).abs() < 1e-3 && (model.curve().1 - 0.895).abs() < 1e-3);
    }

    #[test]
    fn a_larger_distance_spreads_the_places_evenly() {
        let rows = made::roll(400);
        let apart = |min_dist: f64| {
            let model = Umap::params().min_dist(min_dist).fit_matrix(rows.view()).unwrap();
            nearest(model.places(), None, 1).distances.mean().unwrap()
        };
        assert!(apart(0.8) > 2.0 * apart(0.0));
    }

    #[test]
    fn what_the_rows_cannot_support_is_rejected() {
        let rows = made::roll(12);
        let refused =
            |params: Params<Umap>, rows: ArrayView2<'_, f64>| params.fit_matrix(rows).unwrap_err().to_string();
        let ok = || Umap::params().neighbours(5);
        assert!(refused(Umap::params(), rows.view()).contains("neighbours is 15, accepted are 2 to 12 for 12 rows"));
        assert!(refused(ok(), made::roll(1).view()).contains("rows is 1, accepted are at least 2 rows"));
        for (params, part) in [
            (ok().neighbours(0), "neighbours is 0, accepted are 2"),
            (ok().neighbours(1), "neighbours is 1, accepted are 2"),
            (ok().dimensions(0), "dimensions is 0, accepted are 1 to 3"),
            (ok().dimensions(4), "dimensions is 4"),
            (ok().min_dist(-0.1), "min_dist is -0.1, accepted are 0 to the spread, 1"),
            (ok().min_dist(1.1), "min_dist is 1.1"),
            (ok().min_dist(f64::NAN), "min_dist is NaN"),
            (ok().spread(0.0), "spread is 0, accepted are 0.01 to 100"),
            (ok().spread(f64::NAN), "spread is NaN"),
            (ok().rounds(0), "rounds is 0, accepted are 1 to 1000000"),
        ] {
            let message = refused(params, rows.view());
            assert!(message.contains(part), "{message}");
        }
        assert_eq!(ok().fit_matrix(Array2::zeros((0, 3)).view()).unwrap_err(), Error::Empty { rows: 0, columns: 3 });
        let mut bad = rows.clone();
        bad[(7, 1)] = f64::INFINITY;
        assert_eq!(ok().fit_matrix(bad.view()).unwrap_err(), Error::NotFinite { row: 7 });
        bad[(7, 1)] = 1e200;
        assert!(refused(ok(), bad.view()).contains("-1e140 to 1e140"));
        // The least that can be placed, all rows neighbours.
        for n in [2, 3] {
            let model = Umap::params().neighbours(n).fit_matrix(made::roll(n).view()).unwrap();
            assert!(model.places().iter().all(|v| v.is_finite()));
        }
    }
}
