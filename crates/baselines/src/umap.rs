use ndarray::{ArrayView2, Axis};

use crate::neighbours::nearest;
use crate::params::{Check, Method, Params, speaks_linfa};
use crate::placed::{Placed, few_dimensions, moderate, principal_start};
use crate::rows::{RowEmbedding, RowModel};
use crate::{Error, Result};

mod curve;
mod descent;
mod graph;

use descent::{Curve, descend};
use graph::{memberships, union};

/// UMAP: places whose fuzzy neighbourhoods are those of the rows.
///
/// Among its nearest rows, wⱼ|ᵢ = exp(−max(0, dᵢⱼ − ρᵢ)/σᵢ) with ρᵢ the distance of the nearest and σᵢ such that they
/// sum to log₂ of the number of neighbours; wᵢⱼ = wⱼ|ᵢ + wᵢ|ⱼ − wⱼ|ᵢ wᵢ|ⱼ. Places belong together by vᵢⱼ = 1/(1 + a |yᵢ
/// − yⱼ|^2b), which a and b make 1 within `min_dist` and let decay over `spread`. Sought is the least cross entropy of
/// w and v, from the principal components by stochastic descent: each pair is drawn together as often as its weight
/// says, and five rows drawn by chance push each time.
///
/// Columns of the embedding are `umap1`, `umap2`, …, in units of the spread. Only the rows of the fit have been placed
/// so: a further row goes to the mean of the places of its nearest rows weighted by wⱼ|ᵢ, a row equal to one of the fit
/// to its place. A chance of a hundredth in the start lets equal rows come apart. Memory and time of a round are in
/// proportion to N·neighbours, the time of the search for neighbours to N²·D.
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
    /// Two dimensions, 15 neighbours.
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
        let n = rows.nrows();
        if self.neighbours > n || n < 2 {
            let accepted = format!("2 to {n} for {n} rows");
            return Err(Error::parameter("number of neighbours", self.neighbours, accepted));
        }
        moderate(rows)?;
        let rounds = self.rounds.unwrap_or(if n > 10_000 { 200 } else { 500 });
        let graph = union(&nearest(rows, None, self.neighbours - 1));
        let mut start = principal_start(rows, self.dimensions, self.seed)?;
        for mut column in start.axis_iter_mut(Axis(1)) {
            let low = column.iter().fold(f64::INFINITY, |low, v| low.min(*v));
            let width = column.iter().fold(f64::NEG_INFINITY, |high, v| high.max(*v)) - low;
            column.mapv_inplace(|v| 10.0 * (v - low) / width.max(f64::MIN_POSITIVE));
        }
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
    use linfa::traits::{Fit, Transformer};
    use ndarray::Array2;

    use super::*;
    use crate::placed::made;

    #[test]
    fn clusters_stay_apart() {
        for dimensions in 1..=3 {
            let model = Umap::params().dimensions(dimensions).fit_matrix(made::balls(400).view()).unwrap();
            // Along a line, clusters cannot go around each other.
            let least = if dimensions == 1 { 0.9 } else { 1.0 };
            let kept = made::kept_apart(model.places());
            assert!(kept >= least, "{dimensions} dimensions: {kept}");
        }
    }

    #[test]
    fn a_rolled_sheet_is_trustworthy() {
        let rows = made::roll(800);
        let model = Umap::params().fit_matrix(rows.view()).unwrap();
        let found = made::trustworthiness(rows.view(), model.places(), 10);
        assert!(found > 0.98, "{found}");
        assert!((model.curve().0 - 1.577).abs() < 1e-3);
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
    fn the_same_bits_whatever_the_number_of_threads() {
        let rows = made::roll(1300);
        let fit = |seed: u64| Umap::params().seed(seed).rounds(60).fit_matrix(rows.view()).unwrap();
        let one = made::with_threads(1, || fit(3));
        assert_eq!(one, made::with_threads(2, || fit(3)));
        assert_ne!(one, fit(4));
    }

    #[test]
    fn rows_of_the_fit_keep_their_places_and_others_join_their_cluster() {
        let rows = made::balls(240);
        let model = Umap::params().dimensions(3).fit(&linfa::DatasetBase::from(rows.clone())).unwrap();
        assert_eq!(model.names(), ["umap1", "umap2", "umap3"]);
        assert_eq!(model.transform(&rows).unwrap(), model.places());
        let near = model.transform(&(&rows + 0.01)).unwrap();
        for (place, row) in near.rows().into_iter().zip(0..) {
            let distance = |j: usize| (&place - &model.places().row(j)).mapv(|v| v * v).sum();
            let nearest = (0..240).min_by(|a, b| distance(*a).total_cmp(&distance(*b))).unwrap();
            assert_eq!(nearest % 4, row % 4);
        }
        assert_eq!(model.transform(&Array2::zeros((2, 5))), Err(Error::Width { found: 5, expected: 10 }));
    }

    #[test]
    fn equal_rows_are_placed() {
        let copies = Array2::from_shape_fn((200, 3), |(i, j)| (i % 4 * (j + 1)) as f64);
        for rows in [Array2::from_elem((120, 2), 0.1), copies] {
            for dimensions in 1..=3 {
                let model = Umap::params().dimensions(dimensions).rounds(60).fit_matrix(rows.view()).unwrap();
                assert!(model.places().iter().all(|v| v.is_finite()));
                assert!(model.embed_rows((&rows + 0.5).view()).unwrap().columns.iter().all(|v| v.is_finite()));
            }
        }
    }

    #[test]
    fn what_the_rows_cannot_support_is_rejected() {
        let rows = made::roll(12);
        let refused =
            |params: Params<Umap>, rows: ArrayView2<'_, f64>| params.fit_matrix(rows).unwrap_err().to_string();
        let ok = || Umap::params().neighbours(5);
        assert!(refused(Umap::params(), rows.view()).contains("neighbours is 15, accepted are 2 to 12 for 12 rows"));
        assert!(refused(ok(), made::roll(1).view()).contains("2 to 1 for 1 rows"));
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
        assert!(refused(ok(), bad.view()).contains("largest magnitude"));
        // The least that can be placed, all rows neighbours.
        for n in [2, 3] {
            let model = Umap::params().neighbours(n).fit_matrix(made::roll(n).view()).unwrap();
            assert!(model.places().iter().all(|v| v.is_finite()));
        }
    }
}
