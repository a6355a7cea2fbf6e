//! Where the units of a map lie, and the surface they span.

use ndarray::{Array1, ArrayView1, ArrayView2};

/// How the units of a map lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Grid {
    /// Unit (i, j) lies at y = i, x = j.
    #[default]
    Rectangular,
    /// Unit (i, j) lies at y = i·√3/2, x = j, half a step further right in odd rows: all six neighbours are at distance
    /// 1.
    Hexagonal,
}

/// Places of units on the grid.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Places {
    /// (y, x) of each unit.
    pub(crate) of: Vec<[f64; 2]>,
    sides: (usize, usize),
    grid: Grid,
}

impl Places {
    pub(crate) fn new(rows: usize, columns: usize, grid: Grid) -> Self {
        let place = |u: usize| {
            let (i, j) = (u / columns, u % columns);
            match grid {
                Grid::Rectangular => [i as f64, j as f64],
                Grid::Hexagonal => [i as f64 * 0.75f64.sqrt(), j as f64 + 0.5 * (i % 2) as f64],
            }
        };
        Self { of: (0..rows * columns).map(place).collect(), sides: (rows, columns), grid }
    }

    /// Squared distance of two units on the grid.
    pub(crate) fn square(&self, u: usize, v: usize) -> f64 {
        let (a, b) = (self.of[u], self.of[v]);
        (a[0] - b[0]).powi(2) + (a[1] - b[1]).powi(2)
    }

    /// Units at one step from `u`, ascending: four, or six of a hexagonal grid; fewer at the edges.
    pub(crate) fn neighbours(&self, u: usize) -> impl Iterator<Item = usize> {
        let (rows, columns) = self.sides;
        let (i, j) = (u / columns, u % columns);
        // Columns of the neighbours in the next rows, less `j`; odd rows lie half a step further right.
        let beside = match self.grid {
            Grid::Rectangular => [Some(0), None],
            Grid::Hexagonal if i % 2 == 0 => [Some(-1), Some(0)],
            Grid::Hexagonal => [Some(0), Some(1)],
        };
        let of_row = |by: isize| beside.map(|off| off.map(|off| (by, off)));
        let steps = of_row(-1).into_iter().chain([Some((0, -1)), Some((0, 1))]).chain(of_row(1)).flatten();
        steps.filter_map(move |(down, right): (isize, isize)| {
            let (i, j) = (i.checked_add_signed(down)?, j.checked_add_signed(right)?);
            (i < rows && j < columns).then_some(i * columns + j)
        })
    }
}

/// The plane through a unit and its neighbours.
pub(crate) struct Tangent {
    /// Change of the row per step along y and x.
    slopes: [Array1<f64>; 2],
    /// Inverse of the products of the slopes.
    inverse: [[f64; 2]; 2],
}

/// Inverse of a symmetric 2×2 matrix that may be singular: what is small beside the rest is kept from exploding. Zeros
/// of zeros.
fn inverse([[a, b], [_, c]]: [[f64; 2]; 2]) -> [[f64; 2]; 2] {
    let trace = a + c;
    if trace <= 0.0 {
        return [[0.0; 2]; 2];
    }
    // In units of the trace, which keeps products in range.
    let (a, b, c) = (a / trace + 1e-6, b / trace, c / trace + 1e-6);
    let determinant = a * c - b * b;
    [[c, -b], [-b, a]].map(|row| row.map(|v| v / determinant / trace))
}

impl Tangent {
    pub(crate) fn new(unit: usize, units: ArrayView2<'_, f64>, places: &Places) -> Self {
        let mut moments = [[0.0; 2]; 2];
        let mut sums = [Array1::zeros(units.ncols()), Array1::zeros(units.ncols())];
        for v in places.neighbours(unit) {
            let step = [0, 1].map(|axis| places.of[v][axis] - places.of[unit][axis]);
            let change = &units.row(v) - &units.row(unit);
            for i in 0..2 {
                sums[i].scaled_add(step[i], &change);
                (0..2).for_each(|j| moments[i][j] += step[i] * step[j]);
            }
        }
        let of_moments = inverse(moments);
        let slopes = of_moments.map(|[y, x]| &sums[0] * y + &sums[1] * x);
        let products = [0, 1].map(|i| [0, 1].map(|j| slopes[i].dot(&slopes[j])));
        Self { slopes, inverse: inverse(products) }
    }

    /// How far along y and x the nearest point of the plane is.
    pub(crate) fn steps(&self, from_unit: ArrayView1<'_, f64>) -> [f64; 2] {
        let along = [0, 1].map(|i: usize| self.slopes[i].dot(&from_unit));
        self.inverse.map(|row| (row[0] * along[0] + row[1] * along[1]).clamp(-0.5, 0.5))
    }
}

#[cfg(test)]
mod tests {
    use ndarray::{Array2, array};

    use super::*;

    #[test]
    fn units_have_four_or_six_neighbours_at_distance_one() {
        for (grid, inside, corner) in [(Grid::Rectangular, 4, 2), (Grid::Hexagonal, 6, 2)] {
            let places = Places::new(4, 5, grid);
            assert_eq!((places.neighbours(7).count(), places.neighbours(0).count()), (inside, corner), "{grid:?}");
            assert!(places.neighbours(7).all(|v| (places.square(7, v) - 1.0).abs() < 1e-12));
            for (rows, columns) in [(1, 1), (1, 6), (6, 1), (2, 2), (4, 5), (5, 4)] {
                let places = Places::new(rows, columns, grid);
                for u in 0..rows * columns {
                    let expected: Vec<usize> =
                        (0..rows * columns).filter(|v| *v != u && places.square(u, *v) < 1.01).collect();
                    assert_eq!(places.neighbours(u).collect::<Vec<_>>(), expected, "{grid:?} {rows}×{columns}, {u}");
                }
            }
        }
    }

    #[test]
    fn steps_along_an_oblique_plane_are_found() {
        let (along_y, along_x) = (array![1.0, 0.0, 2.0], array![1.0, 3.0, 0.0]);
        for grid in [Grid::Rectangular, Grid::Hexagonal] {
            let places = Places::new(3, 3, grid);
            let at = |[y, x]: [f64; 2]| &along_y * y + &along_x * x;
            let mut units = Array2::zeros((9, 3));
            units.outer_iter_mut().zip(&places.of).for_each(|(mut unit, place)| unit.assign(&at(*place)));
            let tangent = Tangent::new(4, units.view(), &places);
            let steps = tangent.steps(at([0.3, -0.4]).view());
            assert!((steps[0] - 0.3).abs() < 1e-4 && (steps[1] + 0.4).abs() < 1e-4, "{grid:?}: {steps:?}");
            assert_eq!(tangent.steps(at([9.0, -9.0]).view()), [0.5, -0.5]);
        }
        for scale in [1e-130, 1e-100, 1e100, 1e130] {
            let places = Places::new(3, 3, Grid::Rectangular);
            let at = |[y, x]: [f64; 2]| (&along_y * y + &along_x * x) * scale;
            let mut units = Array2::zeros((9, 3));
            units.outer_iter_mut().zip(&places.of).for_each(|(mut unit, place)| unit.assign(&at(*place)));
            let steps = Tangent::new(4, units.view(), &places).steps(at([0.3, -0.4]).view());
            assert!((steps[0] - 0.3).abs() < 1e-4 && (steps[1] + 0.4).abs() < 1e-4, "{scale:e}: {steps:?}");
        }
        let same = Tangent::new(4, Array2::ones((9, 3)).view(), &Places::new(3, 3, Grid::Rectangular));
        assert_eq!(same.steps(along_y.view()), [0.0, 0.0]);
    }
}
