use ndarray::linalg::general_mat_mul;
use ndarray::{Array2, ArrayView1, ArrayView2, Axis, s};
use rayon::prelude::*;

use crate::grid::{Grid, Places, Tangent};
use crate::neighbours::{nearest, squared_distance};
use crate::params::{Check, Method, Params, predicts_with_linfa, speaks_linfa};
use crate::products::{mean, product, varies};
use crate::rows::{RowEmbedding, RowModel, fitting, measurable};
use crate::solve::up_to;
use crate::{Error, Result};

/// Self-organising map: units of a grid, each with a row of its own, neighbours on the grid alike.
///
/// In a round each row finds its best unit b(i) = argminᵤ |xᵢ − wᵤ|; then each unit becomes the mean of all rows,
/// weighted by how near their units are to it on the grid: wᵤ = Σᵢ h(u, b(i)) xᵢ / Σᵢ h(u, b(i)), h = exp(−d²/2σ²). σ
/// shrinks geometrically from the first round to the last; a single round is the last. The units begin on the plane of the
/// first two principal components, so nothing is random; of equal rows, or one, all in one place. Units that get no rows
/// follow their neighbours on the grid, or stay where they are if these are too far.
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
        self.places.of.get(unit).map(|[y, x]| (*y, *x))
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
            let distance = |v: usize| squared_distance(self.units.row(u), self.units.row(v)).sqrt();
            let (sum, count) = self.places.neighbours(u).fold((0.0, 0), |(sum, n), v| (sum + distance(v), n + 1));
            sum / f64::from(count.max(1))
        })
    }
}

impl Method for Som {
    type Model = SomModel;

    fn fit_rows(&self, rows: ArrayView2<'_, f64>) -> Result<SomModel> {
        measurable(rows)?;
        let mean = mean(rows);
        let varied = varies(rows, &mean);
        let mut centred = &rows - &mean;
        let unit = if varied { centred.iter().fold(0.0, |most: f64, v| most.max(v.abs())) } else { 1.0 };
        centred /= unit;
        let places = Places::new(self.rows, self.columns, self.grid);
        let mut units = self.plane(&centred, varied)?;
        let narrow = centred.mapv(|v| v as f32);
        let first = self.first_width.unwrap_or((self.rows.max(self.columns) as f64 / 4.0).max(1.0));
        for round in 0..self.rounds {
            let part = if self.rounds > 1 { round as f64 / (self.rounds - 1) as f64 } else { 1.0 };
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
        let (_, axes) = up_to(centred, wanted)?;
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
        let classes: Vec<usize> = nearest(rows.view(), Some(self.units.view()), 1).rows.into_iter().collect();
        let mut hit = vec![false; self.units.nrows()];
        classes.iter().for_each(|unit| hit[*unit] = true);
        let of_unit = |(unit, hit): (usize, bool)| hit.then(|| Tangent::new(unit, self.units.view(), &self.places));
        let tangents: Vec<Option<Tangent>> = hit.into_par_iter().enumerate().map(of_unit).collect();
        let mut columns = Array2::zeros((rows.nrows(), 2));
        let places = columns.axis_iter_mut(Axis(0)).into_par_iter().zip(rows.axis_iter(Axis(0))).zip(&classes);
        places.for_each(|((mut place, row), &unit)| {
            let off = &row - &self.units.row(unit);
            let steps = tangents[unit].as_ref().map_or([0.0; 2], |tangent| tangent.steps(off.view()));
            (0..2).for_each(|axis| place[axis] = self.places.of[unit][axis] + steps[axis]);
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
mod tests;
