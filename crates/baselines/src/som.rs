use ndarray::linalg::general_mat_mul;
use ndarray::{Array2, ArrayView1, ArrayView2, Axis, s};
use rayon::prelude::*;

use crate::grid::{Grid, Places, Tangent};
use crate::neighbours::nearest;
use crate::params::{Check, Method, Params, predicts_with_linfa, speaks_linfa};
use crate::products::product;
use crate::rows::{RowEmbedding, RowModel, fitting, squarable};
use crate::solve::directions;
use crate::{Error, Result};

/// Self-organising map: units of a grid, each with a row of its own, neighbours on the grid alike.
///
/// In a round each row finds its best unit b(i) = argminᵤ |xᵢ − wᵤ|; then each unit becomes the mean of all rows,
/// weighted by how near their units are to it on the grid: wᵤ = Σᵢ h(u, b(i)) xᵢ / Σᵢ h(u, b(i)), h = exp(−d²/2σ²). σ
/// shrinks geometrically from the first round to the last. The units begin on the plane of the first two principal
/// components, so nothing is random.
///
/// The columns `som_y`, `som_x` are the place of the best unit on the grid, refined: to the nearest point of the plane
/// through the unit and its neighbours, half a step away at most along each axis. The class is the unit itself,
/// row·columns + column.
///
/// Rounds are in f32 about the mean, distances of the embedding in f64.
///
/// References: Kohonen 1982, Biol. Cybern. 43, 59; Kohonen, Self-Organizing Maps, 3rd ed. (2001), batch map in section
/// 3.6.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Som {
    rows: usize,
    columns: usize,
    grid: Grid,
    rounds: usize,
    first_width: Option<f64>,
    last_width: f64,
}

/// Units of a map at most.
const MOST: usize = 10_000;
/// Rows or units of a block, which a thread works on.
const BLOCK: usize = 256;

impl Som {
    /// A map of so many rows and columns of units, 1 and more, 10,000 units at most.
    pub fn params(rows: usize, columns: usize) -> Params<Self> {
        let grid = Grid::Rectangular;
        Params(Self { rows, columns, grid, rounds: 50, first_width: None, last_width: 0.5 })
    }
}

impl Params<Som> {
    /// How the units lie; default rectangular.
    pub fn grid(mut self, grid: Grid) -> Self {
        self.0.grid = grid;
        self
    }

    /// Rounds, 1 to 1,000,000; default 50.
    pub fn rounds(mut self, rounds: usize) -> Self {
        self.0.rounds = rounds;
        self
    }

    /// σ of the first round and of the last, in steps of the grid, 0.01 to 10,000; default a quarter of the longer
    /// side, but at least 1, and 0.5.
    ///
    /// A larger last one makes a smoother map, a smaller one fits the rows more closely.
    pub fn neighbourhood(mut self, first: f64, last: f64) -> Self {
        (self.0.first_width, self.0.last_width) = (Some(first), last);
        self
    }
}

impl Check for Som {
    fn check(&self) -> Result<()> {
        for (what, side) in [("rows of the map", self.rows), ("columns of the map", self.columns)] {
            if !(1..=MOST).contains(&side) {
                return Err(Error::parameter(what, side, format!("1 to {MOST}")));
            }
        }
        if self.rows * self.columns > MOST {
            return Err(Error::parameter("number of units", self.rows * self.columns, format!("1 to {MOST}")));
        }
        if !(1..=1_000_000).contains(&self.rounds) {
            return Err(Error::parameter("number of rounds", self.rounds, "1 to 1000000"));
        }
        for width in [self.first_width.unwrap_or(1.0), self.last_width] {
            if !(0.01..=1e4).contains(&width) {
                return Err(Error::parameter("width of the neighbourhood", width, "0.01 to 10000"));
            }
        }
        Ok(())
    }
}

/// Units that were found.
#[derive(Debug, Clone, PartialEq)]
pub struct SomModel {
    sides: (usize, usize),
    places: Places,
    units: Array2<f64>,
    quantisation: f64,
    topographic: f64,
}

impl SomModel {
    /// Rows and columns of the map.
    pub fn sides(&self) -> (usize, usize) {
        self.sides
    }

    /// What the units became, row of units after row, (units, D).
    pub fn units(&self) -> ArrayView2<'_, f64> {
        self.units.view()
    }

    /// Place of a unit on the grid, (y, x); none if there is no such unit.
    pub fn place(&self, unit: usize) -> Option<(f64, f64)> {
        self.places.0.get(unit).map(|[y, x]| (*y, *x))
    }

    /// Mean distance of the rows of the fit to their best units.
    pub fn quantisation_error(&self) -> f64 {
        self.quantisation
    }

    /// Fraction of the rows of the fit whose two best units do not touch, even with a corner.
    pub fn topographic_error(&self) -> f64 {
        self.topographic
    }

    /// Mean distance of each unit to those one step away, in the units of the rows: ridges part clusters.
    ///
    /// # Shapes
    /// (rows of the map, columns of the map).
    ///
    /// Reference: Ultsch & Siemon 1990, INNC Paris, 305.
    pub fn u_matrix(&self) -> Array2<f64> {
        Array2::from_shape_fn(self.sides, |(i, j)| {
            let u = i * self.sides.1 + j;
            let distance = |v: usize| (&self.units.row(u) - &self.units.row(v)).mapv(|d| d * d).sum().sqrt();
            let (sum, count) = self.places.neighbours(u).fold((0.0, 0), |(sum, n), v| (sum + distance(v), n + 1));
            sum / f64::from(count.max(1))
        })
    }
}

impl Method for Som {
    type Model = SomModel;

    fn fit_rows(&self, rows: ArrayView2<'_, f64>) -> Result<SomModel> {
        squarable(rows)?;
        let mean = rows.sum_axis(Axis(0)) / rows.nrows() as f64;
        let mut centred = &rows - &mean;
        let spread = centred.iter().fold(0.0, |most: f64, v| most.max(v.abs()));
        // Equal rows differ from their mean by its rounding.
        let level = mean.iter().fold(0.0, |most: f64, v| most.max(v.abs()));
        let unit = if spread > 1e-14 * level { spread } else { 1.0 };
        centred /= unit;
        let places = Places::new(self.rows, self.columns, self.grid);
        let mut units = self.plane(&centred, spread > 1e-14 * level)?;
        let narrow = centred.mapv(|v| v as f32);
        let first = self.first_width.unwrap_or((self.rows.max(self.columns) as f64 / 4.0).max(1.0));
        for round in 0..self.rounds {
            let part = round as f64 / (self.rounds - 1).max(1) as f64;
            let width = first * (self.last_width / first).powf(part);
            let best = best_units(narrow.view(), units.view());
            organise(&mut units, centred.view(), &best, &places, width);
        }
        let units = units * unit + &mean;
        let near = nearest(rows.view(), Some(units.view()), units.nrows().min(2));
        let quantisation = near.distances.column(0).sum() / rows.nrows() as f64;
        let reach = if self.grid == Grid::Hexagonal { 1.01 } else { 2.01 };
        let apart = |best: ArrayView1<'_, usize>| best.len() == 2 && places.square(best[0], best[1]) > reach;
        let topographic = near.rows.outer_iter().filter(|best| apart(*best)).count() as f64 / rows.nrows() as f64;
        Ok(SomModel { sides: (self.rows, self.columns), places, units, quantisation, topographic })
    }
}

impl Som {
    /// Units on the plane of the first two principal components, the first along the longer side.
    fn plane(&self, centred: &Array2<f64>, varied: bool) -> Result<Array2<f64>> {
        let (n, d) = centred.dim();
        let mut units = Array2::zeros((self.rows * self.columns, d));
        let wanted = 2.min(d).min(n - 1);
        if wanted == 0 || !varied {
            return Ok(units);
        }
        let (_, axes) = match directions(centred, wanted) {
            Err(Error::Rank { rank, .. }) if rank > 0 => directions(centred, rank)?,
            found => found?,
        };
        let scores = product(centred.view(), axes.t());
        for (k, (axis, score)) in axes.outer_iter().zip(scores.axis_iter(Axis(1))).enumerate() {
            // As wide as if the rows were spread evenly.
            let half_width = (3.0 * score.dot(&score) / n as f64).sqrt();
            let along_x = (self.columns >= self.rows) == (k == 0);
            for (u, mut row) in units.outer_iter_mut().enumerate() {
                let (at, side) = if along_x { (u % self.columns, self.columns) } else { (u / self.columns, self.rows) };
                let from_centre = if side > 1 { 2.0 * at as f64 / (side - 1) as f64 - 1.0 } else { 0.0 };
                row.scaled_add(from_centre * half_width, &axis);
            }
        }
        Ok(units)
    }
}

/// The unit nearest to each row; of equals the first.
fn best_units(rows: ArrayView2<'_, f32>, units: ArrayView2<'_, f64>) -> Vec<usize> {
    let units = units.mapv(|v| v as f32);
    let halves: Vec<f32> = units.outer_iter().map(|w| 0.5 * w.dot(&w)).collect();
    let of_block = |rows: ArrayView2<'_, f32>| -> Vec<usize> {
        let mut along = Array2::zeros((rows.nrows(), units.nrows()));
        general_mat_mul(1.0, &rows, &units.t(), 0.0, &mut along);
        let best = |along: ArrayView1<'_, f32>| {
            let (mut best, mut least) = (0, f32::INFINITY);
            for (u, (half, dot)) in halves.iter().zip(along).enumerate() {
                if half - dot < least {
                    (best, least) = (u, half - dot);
                }
            }
            best
        };
        along.outer_iter().map(best).collect()
    };
    let blocks: Vec<Vec<usize>> = rows.axis_chunks_iter(Axis(0), BLOCK).into_par_iter().map(of_block).collect();
    blocks.concat()
}

/// Moves each unit to the mean of the rows, weighted by the distance of their best units from it on the grid.
fn organise(units: &mut Array2<f64>, rows: ArrayView2<'_, f64>, best: &[usize], places: &Places, width: f64) {
    let mut of_unit: Vec<Vec<usize>> = vec![Vec::new(); units.nrows()];
    best.iter().enumerate().for_each(|(row, unit)| of_unit[*unit].push(row));
    let hit: Vec<usize> = (0..units.nrows()).filter(|u| !of_unit[*u].is_empty()).collect();
    // The last column counts.
    let d = rows.ncols();
    let mut sums = Array2::zeros((hit.len(), d + 1));
    sums.axis_iter_mut(Axis(0)).into_par_iter().zip(&hit).for_each(|(mut sum, unit)| {
        let own = &of_unit[*unit];
        own.iter().for_each(|row| sum.slice_mut(s![..d]).scaled_add(1.0, &rows.row(*row)));
        sum[d] = own.len() as f64;
    });
    units.axis_chunks_iter_mut(Axis(0), BLOCK).into_par_iter().enumerate().for_each(|(block, mut units)| {
        let weight = |u: usize, v: usize| (-places.square(block * BLOCK + u, hit[v]) / (2.0 * width * width)).exp();
        let weights = Array2::from_shape_fn((units.nrows(), hit.len()), |(u, v)| weight(u, v));
        for (mut unit, sum) in units.outer_iter_mut().zip(weights.dot(&sums).outer_iter()) {
            // A unit that is too far from all rows stays where it is.
            if sum[d] > 1e-280 {
                unit.assign(&(&sum.slice(s![..d]) / sum[d]));
            }
        }
    });
}

impl RowModel for SomModel {
    fn width(&self) -> usize {
        self.units.ncols()
    }

    fn names(&self) -> Vec<String> {
        ["som_y", "som_x"].map(String::from).to_vec()
    }

    fn embed_rows(&self, rows: ArrayView2<'_, f64>) -> Result<RowEmbedding> {
        fitting(rows, self.width())?;
        squarable(rows)?;
        let classes: Vec<usize> = nearest(rows.view(), Some(self.units.view()), 1).rows.into_iter().collect();
        let tangents: Vec<Tangent> = (0..self.units.nrows())
            .into_par_iter()
            .map(|unit| Tangent::new(unit, self.units.view(), &self.places))
            .collect();
        let mut columns = Array2::zeros((rows.nrows(), 2));
        let places = columns.axis_iter_mut(Axis(0)).into_par_iter().zip(rows.axis_iter(Axis(0))).zip(&classes);
        places.for_each(|((mut place, row), &unit)| {
            let steps = tangents[unit].steps((&row - &self.units.row(unit)).view());
            (0..2).for_each(|axis| place[axis] = self.places.0[unit][axis] + steps[axis]);
        });
        let classes = classes.into_iter().map(|unit| unit as i64).collect();
        Ok(RowEmbedding { columns, deviations: None, classes: Some(classes) })
    }

    /// The units.
    fn patterns(&self) -> Option<Array2<f64>> {
        Some(self.units.clone())
    }
}

speaks_linfa!(Som, SomModel);
predicts_with_linfa!(SomModel);

#[cfg(test)]
mod tests {
    use ndarray::Array4;
    use parsimon_core::{Embed, Patches, Scaling};
    use rand::{Rng, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    /// A rectangle, longer in its first direction, in five dimensions; its coordinates.
    fn plane(n: usize) -> (Array2<f64>, Array2<f64>) {
        let mut rng = ChaCha8Rng::seed_from_u64(6);
        let places = Array2::from_shape_fn((n, 2), |(_, j)| rng.gen_range(-1.0..1.0) * if j == 0 { 2.0 } else { 1.0 });
        let axes = ndarray::array![[0.6, 0.0, 0.8, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0, 0.0]];
        let noise = Array2::from_shape_fn((n, 5), |_| 10.0 + rng.gen_range(-0.02..0.02));
        (places.dot(&axes) + noise, places)
    }

    fn correlation(a: ArrayView1<'_, f64>, b: ArrayView1<'_, f64>) -> f64 {
        let centred = |v: ArrayView1<'_, f64>| &v - v.sum() / v.len() as f64;
        let (a, b) = (centred(a), centred(b));
        a.dot(&b) / (a.dot(&a) * b.dot(&b)).sqrt()
    }

    #[test]
    fn a_plane_is_mapped_in_order() {
        let (rows, places) = plane(1500);
        for grid in [Grid::Rectangular, Grid::Hexagonal] {
            let model = Som::params(8, 16).grid(grid).fit_matrix(rows.view()).unwrap();
            assert!(model.topographic_error() < 0.03, "{grid:?}: {}", model.topographic_error());
            // Cells of 4/16 by 2/8 have a mean distance to their centres of 0.38 sides.
            assert!(model.quantisation_error() < 0.125, "{grid:?}: {}", model.quantisation_error());
            let found = model.embed_rows(rows.view()).unwrap();
            let (y, x) = (found.columns.column(0), found.columns.column(1));
            assert!(correlation(x, places.column(0)).abs() > 0.995, "{}", correlation(x, places.column(0)));
            assert!(correlation(y, places.column(1)).abs() > 0.99, "{}", correlation(y, places.column(1)));
            for (columns, class) in found.columns.outer_iter().zip(found.classes.unwrap()) {
                let (y, x) = model.place(class as usize).unwrap();
                assert!((columns[0] - y).abs() <= 0.5 && (columns[1] - x).abs() <= 0.5);
            }
        }
    }

    #[test]
    fn a_ring_is_mapped_in_order() {
        let turn = |i: usize| i as f64 * 2.399_963;
        let rows = Array2::from_shape_fn((800, 2), |(i, j)| if j == 0 { turn(i).sin() } else { turn(i).cos() });
        let model = Som::params(6, 6).fit_matrix(rows.view()).unwrap();
        assert!(model.topographic_error() < 0.05, "{}", model.topographic_error());
        assert!(model.quantisation_error() < 0.2, "{}", model.quantisation_error());
        // What is near on the ring is near on the map.
        let found = model.embed_rows(rows.view()).unwrap().columns;
        let mut order: Vec<usize> = (0..800).collect();
        order.sort_by(|a, b| (turn(*a) % std::f64::consts::TAU).total_cmp(&(turn(*b) % std::f64::consts::TAU)));
        let step = |w: &[usize]| (&found.row(w[0]) - &found.row(w[1])).mapv(|d| d * d).sum().sqrt();
        let far = order.windows(2).filter(|w| step(w) > 1.5).count();
        assert!(far < 8, "{far} breaks");
    }

    #[test]
    fn refined_places_are_finer_than_the_grid() {
        let (rows, places) = plane(1500);
        let model = Som::params(4, 8).fit_matrix(rows.view()).unwrap();
        let found = model.embed_rows(rows.view()).unwrap();
        let coarse = found.classes.unwrap().mapv(|c| model.place(c as usize).unwrap().1);
        let [fine, coarse] = [found.columns.column(1), coarse.view()].map(|x| correlation(x, places.column(0)).abs());
        assert!(1.0 - fine < 0.5 * (1.0 - coarse), "{fine} beside {coarse}");
    }

    #[test]
    fn a_ridge_of_the_u_matrix_parts_two_groups() {
        let (mut rows, _) = plane(600);
        rows.slice_mut(s![..300, ..]).mapv_inplace(|v| v + 20.0);
        let model = Som::params(3, 9).fit_matrix(rows.view()).unwrap();
        let heights = model.u_matrix().mean_axis(Axis(0)).unwrap();
        assert!(heights.slice(s![3..6]).sum() > 3.0 * (heights[0] + heights[1] + heights[7] + heights[8]), "{heights}");
        let line = Som::params(1, 3).neighbourhood(1.0, 0.1).fit_matrix(rows.view()).unwrap();
        let step = |a: usize, b: usize| (&line.units().row(a) - &line.units().row(b)).mapv(|d| d * d).sum().sqrt();
        let expected = [step(0, 1), (step(0, 1) + step(1, 2)) / 2.0, step(1, 2)];
        assert!(line.u_matrix().iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-12));
    }

    #[test]
    fn the_last_units_are_weighted_means() {
        let (rows, _) = plane(200);
        // A neighbourhood of nobody else: the best unit is the mean of its rows, as in k-means.
        let model = Som::params(2, 2).rounds(60).neighbourhood(1.0, 0.01).fit_matrix(rows.view()).unwrap();
        let classes = model.embed_rows(rows.view()).unwrap().classes.unwrap();
        for (u, unit) in model.units().outer_iter().enumerate() {
            let own: Vec<usize> = (0..200).filter(|i| classes[*i] == u as i64).collect();
            let mean = rows.select(Axis(0), &own).mean_axis(Axis(0)).unwrap();
            assert!((&unit - &mean).iter().all(|d| d.abs() < 0.05), "{unit} is not {mean}");
        }
    }

    #[test]
    fn the_number_of_threads_changes_no_bit() {
        let (rows, _) = plane(700);
        let fitted = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| {
                let model = Som::params(5, 7).rounds(10).fit_matrix(rows.view()).unwrap();
                (model.embed_rows(rows.view()).unwrap(), model)
            })
        };
        assert!(fitted(1) == fitted(2));
    }

    #[test]
    fn few_equal_and_straight_rows_give_numbers() {
        let (rows, _) = plane(50);
        let line = Array2::from_shape_fn((50, 3), |(i, j)| (i * (j + 1)) as f64 * 1e100);
        let cases = [
            rows.slice(s![..1, ..]).to_owned(),
            rows.slice(s![..2, ..]).to_owned(),
            rows.slice(s![.., ..1]).to_owned(),
            Array2::from_elem((40, 3), 0.1),
            Array2::zeros((3, 2)),
            line,
        ];
        for rows in cases {
            for (h, w) in [(1, 1), (1, 5), (4, 1), (6, 5)] {
                for grid in [Grid::Rectangular, Grid::Hexagonal] {
                    let model = Som::params(h, w).grid(grid).fit_matrix(rows.view()).unwrap();
                    let found = model.embed_rows(rows.view()).unwrap();
                    assert!(model.units().iter().chain(&found.columns).chain(&model.u_matrix()).all(|v| v.is_finite()));
                    assert!(model.quantisation_error().is_finite() && model.topographic_error() <= 1.0);
                }
            }
        }
    }

    #[test]
    fn bad_parameters_and_rows_are_rejected() {
        let (rows, _) = plane(20);
        let refused = |params: Params<Som>| params.fit_matrix(rows.view()).unwrap_err().to_string();
        assert!(refused(Som::params(0, 3)).contains("rows of the map is 0"));
        assert!(refused(Som::params(3, 0)).contains("columns of the map is 0"));
        assert!(refused(Som::params(usize::MAX, 2)).contains("1 to 10000"));
        assert!(refused(Som::params(101, 100)).contains("units is 10100, accepted are 1 to 10000"));
        assert!(refused(Som::params(2, 2).rounds(0)).contains("rounds is 0"));
        for width in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            let expected = format!("neighbourhood is {width}, accepted are 0.01 to 10000");
            assert!(refused(Som::params(2, 2).neighbourhood(width, 1.0)).contains(&expected));
            assert!(refused(Som::params(2, 2).neighbourhood(1.0, width)).contains(&expected));
        }
        let mut bad = rows.clone();
        bad[(6, 0)] = f64::NAN;
        assert_eq!(Som::params(2, 2).fit_matrix(bad.view()), Err(Error::NotFinite { row: 6 }));
        bad[(6, 0)] = 1e200;
        assert!(Som::params(2, 2).fit_matrix(bad.view()).unwrap_err().to_string().contains("1e140"));
        let model = Som::params(2, 2).fit_matrix(rows.view()).unwrap();
        assert_eq!(model.embed_rows(Array2::zeros((2, 3)).view()), Err(Error::Width { found: 3, expected: 5 }));
        assert!(model.place(4).is_none());
    }

    #[test]
    fn patches_have_places_and_classes() {
        let images = Array4::from_shape_fn((30, 4, 4, 1), |(n, y, x, _)| ((n * (y + 1) + x) as f32 * 0.05).sin().abs());
        let patches = Patches::new(images, Scaling::unit(1)).unwrap();
        let model = Som::params(3, 4).fit_patches(&patches).unwrap();
        let embedding = model.embed(&patches).unwrap();
        assert_eq!(embedding.columns().iter().map(|c| c.name.as_str()).collect::<Vec<_>>(), ["som_y", "som_x"]);
        assert!(embedding.class().unwrap().iter().all(|c| (0..12).contains(c)));
        assert_eq!(model.patterns().unwrap().dim(), (12, 4, 4, 1));
    }
}
