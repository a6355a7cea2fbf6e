use ndarray::{Array1, Array2, ArrayView1, ArrayView2, Axis, s};
use rayon::prelude::*;

use crate::geodesics::Graph;
use crate::krylov::largest;
use crate::neighbours::nearest;
use crate::params::{Check, Method, Params, speaks_linfa};
use crate::rows::{RowEmbedding, RowModel, at_least, fitting, measurable};
use crate::solve::point_up;
use crate::{Error, Result};

/// Isomap: columns whose distances are those along the data, not through the gaps between.
///
/// The graph joins each row to its nearest rows, either way. gᵢⱼ is the shortest path between rows i and j. The kernel
/// −½ J (g∘g) J, with J = 1 − 1·1ᵀ/N, has eigenvalues λ and eigenvectors v; the columns `isomap1`, `isomap2`, … are
/// √λ·v, largest first, with the number of largest magnitude positive.
///
/// A graph of several components is mended: each two of them are joined by an edge between their nearest rows, and the
/// model tells how many there were. With more than one, distances between them are guesses; more neighbours may help.
///
/// A further row reaches the rows of the fit through its own nearest ones: δᵢ = minⱼ (|x − xⱼ| + gⱼᵢ). Its column is
/// Σᵢ (ḡᵢ − δᵢ²) vᵢ / (2√λ), with ḡᵢ the mean of g²ᵢⱼ over j; a row of the fit gets the column it had.
///
/// Memory of the fit and of the model: 4·N² bytes for the paths (f32, in units of the longest edge), and the rows. C
/// components of the graph have C(C − 1)/2 edges between them, of up to 72 bytes in the fit; each has more rows than there
/// are neighbours k, so that at worst, as with many copies of each row, this is 36·(N/(k + 1))² bytes more, and the search
/// for the edges takes as long as that for all neighbours.
///
/// References: Tenenbaum, de Silva & Langford 2000, Science 290, 2319; Bengio et al. 2003, NIPS 16 (further rows).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Isomap {
    dimensions: usize,
    neighbours: usize,
}

/// Rows of a block, which a thread works on.
const BLOCK: usize = 64;
/// Eigenvalues below this part of the largest are rounding of the paths.
const ROUNDING: f64 = 1e-6;
/// Largest residual of an eigenvector, relative to the largest eigenvalue.
const TOLERANCE: f64 = 1e-8;

impl Isomap {
    /// So many columns, 1 to N − 1 of N rows, over 10 neighbours; of 2 rows at least. Eigenvalues below 10⁻⁶ of the largest are
    /// rounding of the paths, and [`Error::Rank`] tells how many there are without them.
    pub fn params(dimensions: usize) -> Params<Self> {
        Params(Self { dimensions, neighbours: 10 })
    }
}

impl Params<Isomap> {
    /// Nearest rows each row is joined to, 1 to N − 1; default 10.
    pub fn neighbours(mut self, neighbours: usize) -> Self {
        self.0.neighbours = neighbours;
        self
    }
}

impl Check for Isomap {
    fn check(&self) -> Result<()> {
        if self.dimensions == 0 {
            return Err(Error::parameter("number of dimensions", 0, "1 and more"));
        }
        if self.neighbours == 0 {
            return Err(Error::parameter("number of neighbours", 0, "1 and more"));
        }
        Ok(())
    }
}

/// A map that was found, with the rows and paths it rests on.
#[derive(Debug, Clone, PartialEq)]
pub struct IsomapModel {
    rows: Array2<f64>,
    neighbours: usize,
    /// Between the rows, in units of `unit`.
    paths: Array2<f32>,
    unit: f64,
    components: usize,
    values: Array1<f64>,
    /// v / (2√λ), in the units of the paths.
    projection: Array2<f64>,
    /// Σᵢ ḡᵢ vᵢ / (2√λ).
    offset: Array1<f64>,
}

impl IsomapModel {
    /// Connected components of the graph of neighbours, before they were joined; 1 is as it should be.
    pub fn connected_components(&self) -> usize {
        self.components
    }

    /// Eigenvalues of the kernel, largest first: the sum of the squares of each column.
    pub fn eigenvalues(&self) -> ArrayView1<'_, f64> {
        self.values.view()
    }

    /// Length of the shortest path between two rows of the fit, in the units of the data; none if there is no such row.
    pub fn geodesic(&self, from: usize, to: usize) -> Option<f64> {
        self.paths.get((from, to)).map(|length| f64::from(*length) * self.unit)
    }
}

impl Method for Isomap {
    type Model = IsomapModel;

    fn fit_rows(&self, rows: ArrayView2<'_, f64>) -> Result<IsomapModel> {
        measurable(rows)?;
        at_least(rows, 2)?;
        let (n, k) = (rows.nrows(), self.dimensions);
        for (what, value) in [("number of dimensions", k), ("number of neighbours", self.neighbours)] {
            if value >= n {
                return Err(Error::parameter(what, value, format!("1 to {} for {n} rows", n - 1)));
            }
        }
        let mut paths = square(n)?;
        let graph = Graph::new(rows, &nearest(rows, None, self.neighbours));
        graph.shortest_paths(&mut paths);
        let (values, vectors) = largest(|x| centred_product(&paths, x), n, k)?;
        let rank = values.iter().filter(|v| **v > ROUNDING * values[0]).count();
        if rank < k {
            return Err(Error::Rank { components: k, rank });
        }
        verified(&paths, &values, &vectors)?;
        let mut vectors = vectors.reversed_axes();
        point_up(&mut vectors);
        let projection = vectors.reversed_axes() / values.mapv(|v| 2.0 * v.sqrt());
        let means = squared_product(paths.view(), Array2::from_elem((n, 1), 1.0 / n as f64).view());
        let offset = projection.t().dot(&means.column(0));
        Ok(IsomapModel {
            rows: rows.to_owned(),
            neighbours: self.neighbours,
            paths,
            unit: graph.unit,
            components: graph.components,
            values: values * (graph.unit * graph.unit),
            projection,
            offset,
        })
    }
}

/// N² zeros, or an error where the memory is not there.
fn square(n: usize) -> Result<Array2<f32>> {
    let refused = || Error::parameter("number of rows", n, "those whose N² paths of 4 bytes fit the memory");
    let mut zeros: Vec<f32> = Vec::new();
    let cells = n.checked_mul(n).filter(|_| u32::try_from(n).is_ok()).ok_or_else(refused)?;
    zeros.try_reserve_exact(cells).map_err(|_| refused())?;
    zeros.resize(cells, 0.0);
    Array2::from_shape_vec((n, n), zeros).map_err(|_| refused())
}

/// (g∘g)·x, of rows g of paths.
fn squared_product(paths: ArrayView2<'_, f32>, x: ArrayView2<'_, f64>) -> Array2<f64> {
    let mut out = Array2::zeros((paths.nrows(), x.ncols()));
    let blocks = out.axis_chunks_iter_mut(Axis(0), BLOCK).into_par_iter().zip(paths.axis_chunks_iter(Axis(0), BLOCK));
    blocks.for_each(|(mut out, paths)| out.assign(&paths.mapv(|g| f64::from(g) * f64::from(g)).dot(&x)));
    out
}

/// Fails unless these are eigenvalues and orthonormal eigenvectors (N, k) of the kernel, largest first.
fn verified(paths: &Array2<f32>, values: &Array1<f64>, vectors: &Array2<f64>) -> Result<()> {
    let overlap = vectors.t().dot(vectors) - Array2::<f64>::eye(values.len());
    let residuals = centred_product(paths, vectors.view()) - &(vectors * values);
    let largest = values.first().copied().unwrap_or(0.0);
    let solved = overlap.iter().all(|o| o.abs() <= TOLERANCE)
        && residuals.iter().all(|r| r.abs() <= TOLERANCE * largest)
        && values.windows(2).into_iter().all(|w| w[0] >= w[1]);
    let failed = || Error::Solver(format!("{} columns of largest variance were not found", values.len()));
    solved.then_some(()).ok_or_else(failed)
}

/// −½ J (g∘g) J·x.
fn centred_product(paths: &Array2<f32>, x: ArrayView2<'_, f64>) -> Array2<f64> {
    let centred = |x: ArrayView2<'_, f64>| &x - &(x.sum_axis(Axis(0)) / x.nrows() as f64);
    centred(squared_product(paths.view(), centred(x).view()).view()) * -0.5
}

impl IsomapModel {
    /// Paths from rows to all rows of the fit.
    fn paths_of<'a>(&'a self, rows: ArrayView2<'a, f64>) -> Array2<f32> {
        let near = nearest(rows, Some(self.rows.view()), self.neighbours);
        let mut out = Array2::from_elem((rows.nrows(), self.rows.nrows()), f32::INFINITY);
        out.axis_iter_mut(Axis(0)).into_par_iter().enumerate().for_each(|(i, mut out)| {
            for (&j, &first) in near.rows.row(i).iter().zip(near.distances.row(i)) {
                // Farther than any path, and its square is still a number.
                let first = (first / self.unit).min(1e30) as f32;
                out.zip_mut_with(&self.paths.row(j), |path, rest| *path = path.min(first + rest));
                if first == 0.0 {
                    break;
                }
            }
        });
        out
    }
}

impl RowModel for IsomapModel {
    fn width(&self) -> usize {
        self.rows.ncols()
    }

    fn names(&self) -> Vec<String> {
        (1..=self.values.len()).map(|i| format!("isomap{i}")).collect()
    }

    fn embed_rows(&self, rows: ArrayView2<'_, f64>) -> Result<RowEmbedding> {
        fitting(rows, self.width())?;
        let mut columns = Array2::zeros((rows.nrows(), self.values.len()));
        // Paths of a few rows at a time: those of all would be N² once more.
        for (first, part) in rows.axis_chunks_iter(Axis(0), 16 * BLOCK).enumerate() {
            let along = squared_product(self.paths_of(part).view(), self.projection.view());
            let here = first * 16 * BLOCK..first * 16 * BLOCK + part.nrows();
            columns.slice_mut(s![here, ..]).assign(&((&self.offset - &along) * self.unit));
        }
        Ok(RowEmbedding::of(columns))
    }
}

speaks_linfa!(Isomap, IsomapModel);

#[cfg(test)]
mod tests {
    use ndarray::Array4;
    use parsimon_core::{Embed, Patches, Scaling};
    use parsimon_metrics::correlation;
    use rand::{Rng, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;
    use crate::Pca;

    /// A rolled sheet, and the length along it of each row.
    fn swiss_roll(n: usize) -> (Array2<f64>, Array1<f64>) {
        let mut rng = ChaCha8Rng::seed_from_u64(2);
        let turns = Array1::from_shape_fn(n, |_| std::f64::consts::PI * rng.gen_range(1.5..4.5));
        let rows = Array2::from_shape_fn((n, 3), |(i, j)| match j {
            0 => turns[i] * turns[i].cos(),
            1 => rng.gen_range(0.0..21.0),
            _ => turns[i] * turns[i].sin(),
        });
        (rows, turns.mapv(|t: f64| 0.5 * (t * (1.0 + t * t).sqrt() + t.asinh())))
    }

    #[test]
    fn a_swiss_roll_is_unrolled_and_further_rows_with_it() {
        let (rows, length) = swiss_roll(1500);
        let model = Isomap::params(2).fit_matrix(rows.slice(s![..1200, ..])).unwrap();
        assert_eq!(model.connected_components(), 1);
        let columns = model.embed_rows(rows.view()).unwrap().columns;
        for part in [s![..1200], s![1200..]] {
            let r = correlation(columns.slice(s![.., 0]).slice(part), length.slice(part)).unwrap().abs();
            assert!(r >= 0.99, "{r}");
        }
        // A row of the fit has the column of the fit: its squares sum to the eigenvalue.
        let sums = columns.slice(s![..1200, ..]).map_axis(Axis(0), |c| c.dot(&c));
        assert!(sums.iter().zip(model.eigenvalues()).all(|(s, v)| (s / v - 1.0).abs() < 1e-6), "{sums}");
        for column in columns.slice(s![..1200, ..]).axis_iter(Axis(1)) {
            let far = column.iter().copied().fold(0.0, |far: f64, v| if v.abs() > far.abs() { v } else { far });
            assert!(far > 0.0);
        }
    }

    #[test]
    fn all_rows_as_neighbours_give_the_scores_of_principal_components() {
        let mut rng = ChaCha8Rng::seed_from_u64(4);
        for n in [90, 300] {
            let rows = Array2::from_shape_fn((n, 6), |(_, j)| 5.0 + rng.gen_range(-1.0..1.0) / (1.0 + j as f64));
            let model = Isomap::params(3).neighbours(n - 1).fit_matrix(rows.view()).unwrap();
            let pca = Pca::params(3).fit_matrix(rows.view()).unwrap();
            let more = Array2::from_shape_fn((20, 6), |(i, j)| rows[(i, j)]);
            let (found, expected) = (model.embed_rows(more.view()).unwrap(), pca.embed_rows(more.view()).unwrap());
            for (a, b) in found.columns.axis_iter(Axis(1)).zip(expected.columns.axis_iter(Axis(1))) {
                let sign = a.dot(&b).signum();
                assert!(a.iter().zip(b).all(|(a, b)| (a - sign * b).abs() < 1e-5), "{a} is not {b}");
            }
        }
    }

    #[test]
    fn components_apart_are_joined_and_counted() {
        let (mut rows, _) = swiss_roll(400);
        rows.slice_mut(s![..200, ..]).mapv_inplace(|v| v + 1000.0);
        let model = Isomap::params(1).neighbours(8).fit_matrix(rows.view()).unwrap();
        assert_eq!(model.connected_components(), 2);
        let columns = model.embed_rows(rows.view()).unwrap().columns;
        let sides = |part: ArrayView2<'_, f64>| part.iter().all(|v| (*v > 0.0) == (part[(0, 0)] > 0.0));
        assert!(sides(columns.slice(s![..200, ..])) && sides(columns.slice(s![200.., ..])));
        assert!(columns[(0, 0)] * columns[(399, 0)] < 0.0);
        assert!(model.geodesic(0, 399).unwrap() > 1000.0 && model.geodesic(0, 400).is_none());
    }

    #[test]
    fn a_wrong_answer_is_not_taken_for_a_solution() {
        let (rows, _) = swiss_roll(100);
        let model = Isomap::params(3).fit_matrix(rows.view()).unwrap();
        let values = &model.values / (model.unit * model.unit);
        let vectors = &model.projection * &values.mapv(|v| 2.0 * v.sqrt());
        let accepted = |values: &Array1<f64>, vectors: &Array2<f64>| verified(&model.paths, values, vectors).is_ok();
        assert!(accepted(&values, &vectors));
        assert!(!accepted(&(&values * 1.001), &vectors));
        assert!(!accepted(&values, &(&vectors * 1.001)));
        let back = |i: usize| 2 - i;
        let turned = Array2::from_shape_fn(vectors.dim(), |(i, j)| vectors[(i, back(j))]);
        assert!(!accepted(&Array1::from_shape_fn(3, |i| values[back(i)]), &turned));
    }

    #[test]
    fn the_number_of_threads_changes_no_bit() {
        let (rows, _) = swiss_roll(500);
        let fitted = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| {
                let model = Isomap::params(2).fit_matrix(rows.view()).unwrap();
                (model.embed_rows(rows.view()).unwrap(), model)
            })
        };
        assert!(fitted(1) == fitted(2));
    }

    #[test]
    fn copies_and_far_rows_give_numbers() {
        let (rows, _) = swiss_roll(40);
        // Each row thirty times: whole neighbourhoods at distance 0.
        let copies = Array2::from_shape_fn((1200, 3), |(i, j)| rows[(i / 30, j)]);
        let model = Isomap::params(2).fit_matrix(copies.view()).unwrap();
        assert_eq!(model.connected_components(), 40);
        let columns = model.embed_rows(copies.view()).unwrap().columns;
        assert!(columns.iter().all(|v| v.is_finite()) && (columns[(0, 0)] - columns[(29, 0)]).abs() < 1e-6);
        let far = Array2::from_elem((1, 3), 1e139);
        assert!(model.embed_rows(far.view()).unwrap().columns.iter().all(|v| v.is_finite()));
        for n in [20, 300] {
            let equal = Isomap::params(1).fit_matrix(Array2::from_elem((n, 3), 0.1).view());
            assert_eq!(equal, Err(Error::Rank { components: 1, rank: 0 }));
            let line = Array2::from_shape_fn((n, 3), |(i, j)| (i * (j + 1)) as f64);
            let two = Isomap::params(2).fit_matrix(line.view());
            assert_eq!(two, Err(Error::Rank { components: 2, rank: 1 }), "{n}");
        }
    }

    #[test]
    fn what_the_rows_cannot_support_is_rejected() {
        let (rows, _) = swiss_roll(12);
        let refused =
            |params: Params<Isomap>, rows: ArrayView2<'_, f64>| params.fit_matrix(rows).unwrap_err().to_string();
        let of = |k: usize, neighbours: usize| refused(Isomap::params(k).neighbours(neighbours), rows.view());
        assert!(of(0, 5).contains("dimensions is 0"));
        assert!(of(2, 0).contains("neighbours is 0"));
        assert!(of(12, 5).contains("dimensions is 12, accepted are 1 to 11 for 12 rows"));
        assert!(of(2, 12).contains("neighbours is 12, accepted are 1 to 11 for 12 rows"));
        assert!(of(usize::MAX, usize::MAX).contains("1 to 11"));
        assert!(refused(Isomap::params(1), rows.slice(s![..1, ..])).contains("rows is 1, accepted are at least 2"));
        assert!(refused(Isomap::params(1), Array2::from_elem((20, 2), 1e300).view()).contains("1e140"));
        let mut bad = rows.clone();
        bad[(3, 1)] = f64::NAN;
        assert_eq!(Isomap::params(1).fit_matrix(bad.view()), Err(Error::NotFinite { row: 3 }));
        let model = Isomap::params(1).fit_matrix(rows.view()).unwrap();
        assert_eq!(model.embed_rows(Array2::zeros((2, 5)).view()), Err(Error::Width { found: 5, expected: 3 }));
        assert_eq!(model.embed_rows(bad.view()), Err(Error::NotFinite { row: 3 }));
    }

    #[test]
    fn patches_have_its_columns() {
        let images = Array4::from_shape_fn((30, 4, 4, 1), |(n, y, x, _)| ((n * (y + 1) + x) as f32 * 0.05).sin().abs());
        let patches = Patches::new(images, Scaling::unit(1)).unwrap();
        let embedding = Isomap::params(2).fit_patches(&patches).unwrap().embed(&patches).unwrap();
        assert_eq!(embedding.columns().iter().map(|c| c.name.as_str()).collect::<Vec<_>>(), ["isomap1", "isomap2"]);
    }
}
