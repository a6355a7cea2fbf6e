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

/// Places of units on the grid, (y, x).
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Places(pub(crate) Vec<[f64; 2]>);

impl Places {
    pub(crate) fn new(rows: usize, columns: usize, grid: Grid) -> Self {
        let place = |u: usize| {
            let (i, j) = (u / columns, u % columns);
            match grid {
                Grid::Rectangular => [i as f64, j as f64],
                Grid::Hexagonal => [i as f64 * 0.75f64.sqrt(), j as f64 + 0.5 * (i % 2) as f64],
            }
        };
        Self((0..rows * columns).map(place).collect())
    }

    /// Squared distance of two units on the grid.
    pub(crate) fn square(&self, u: usize, v: usize) -> f64 {
        let (a, b) = (self.0[u], self.0[v]);
        (a[0] - b[0]).powi(2) + (a[1] - b[1]).powi(2)
    }

    /// Units at one step from `u`: four, or six of a hexagonal grid.
    pub(crate) fn neighbours(&self, u: usize) -> impl Iterator<Item = usize> {
        (0..self.0.len()).filter(move |v| *v != u && self.square(u, *v) < 1.01)
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
    let ridge = 1e-6 * (a + c);
    let (a, c) = (a + ridge, c + ridge);
    let determinant = a * c - b * b;
    if determinant > 0.0 { [[c, -b], [-b, a]].map(|row| row.map(|v| v / determinant)) } else { [[0.0; 2]; 2] }
}

impl Tangent {
    pub(crate) fn new(unit: usize, units: ArrayView2<'_, f64>, places: &Places) -> Self {
        let mut moments = [[0.0; 2]; 2];
        let mut sums = [Array1::zeros(units.ncols()), Array1::zeros(units.ncols())];
        for v in places.neighbours(unit) {
            let step = [0, 1].map(|axis| places.0[v][axis] - places.0[unit][axis]);
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
        }
    }

    #[test]
    fn steps_along_an_oblique_plane_are_found() {
        let (along_y, along_x) = (array![1.0, 0.0, 2.0], array![1.0, 3.0, 0.0]);
        for grid in [Grid::Rectangular, Grid::Hexagonal] {
            let places = Places::new(3, 3, grid);
            let at = |[y, x]: [f64; 2]| &along_y * y + &along_x * x;
            let mut units = Array2::zeros((9, 3));
            units.outer_iter_mut().zip(&places.0).for_each(|(mut unit, place)| unit.assign(&at(*place)));
            let tangent = Tangent::new(4, units.view(), &places);
            let steps = tangent.steps(at([0.3, -0.4]).view());
            assert!((steps[0] - 0.3).abs() < 1e-4 && (steps[1] + 0.4).abs() < 1e-4, "{grid:?}: {steps:?}");
            assert_eq!(tangent.steps(at([9.0, -9.0]).view()), [0.5, -0.5]);
        }
        let same = Tangent::new(4, Array2::ones((9, 3)).view(), &Places::new(3, 3, Grid::Rectangular));
        assert_eq!(same.steps(along_y.view()), [0.0, 0.0]);
    }
}
