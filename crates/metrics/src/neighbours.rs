use std::collections::BTreeMap;
use std::num::NonZero;

use kiddo::{ImmutableKdTree, SquaredEuclidean};
use ndarray::{Array1, ArrayView1, ArrayView2, Axis};
use parsimon_core::{BoxError, Classify, Embedding};

use crate::error::{all_finite, same_shape};
use crate::{Error, Result};

/// Finds the rows nearest to a point.
pub(crate) trait Nearest: Send + Sync {
    /// Rows of the `k` nearest points, nearest first.
    fn nearest(&self, point: &[f64], k: NonZero<usize>) -> Vec<usize>;
}

/// A k-d tree over `D` dimensions; points of fewer are padded with zeros, which changes no distance.
struct Tree<const D: usize>(ImmutableKdTree<f64, D>);

fn padded<const D: usize>(point: &[f64]) -> [f64; D] {
    let mut out = [0.0; D];
    out.iter_mut().zip(point).for_each(|(o, p)| *o = *p);
    out
}

/// Every distance computed: in many dimensions no tree does better.
struct Exhaustive(Vec<Vec<f64>>);

impl Nearest for Exhaustive {
    fn nearest(&self, point: &[f64], k: NonZero<usize>) -> Vec<usize> {
        let distance = |row: &Vec<f64>| row.iter().zip(point).map(|(a, b)| (a - b).powi(2)).sum::<f64>();
        let mut order: Vec<(f64, usize)> = self.0.iter().map(distance).zip(0..).collect();
        let compare = |a: &(f64, usize), b: &(f64, usize)| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1));
        let k = k.get().min(order.len());
        if k < order.len() {
            order.select_nth_unstable_by(k, compare);
            order.truncate(k);
        }
        order.sort_by(compare);
        order.into_iter().map(|(_, row)| row).collect()
    }
}

macro_rules! tree {
    ($($d:literal),+) => {
        $(impl Nearest for Tree<$d> {
            fn nearest(&self, point: &[f64], k: NonZero<usize>) -> Vec<usize> {
                let found = self.0.query(&padded::<$d>(point)).nearest_n::<SquaredEuclidean<f64>>(k).execute();
                found.iter().map(|n| n.item as usize).collect()
            }
        })+
        pub(crate) fn index(rows: Vec<Vec<f64>>, dimensions: usize) -> Result<Box<dyn Nearest>> {
            $(if dimensions <= $d {
                let points: Vec<[f64; $d]> = rows.iter().map(|r| padded(r)).collect();
                let tree = ImmutableKdTree::new_from_slice(&points).map_err(|e| Error::Index(e.to_string()))?;
                return Ok(Box::new(Tree::<$d>(tree)));
            })+
            Ok(Box::new(Exhaustive(rows)))
        }
    };
}
tree!(2, 3, 4, 8, 16);

/// Brings each column to mean 0 and standard deviation 1 of the rows it was made from; constant columns become 0.
pub(crate) struct Standardise {
    mean: Vec<f64>,
    sd: Vec<f64>,
}

impl Standardise {
    pub(crate) fn of(rows: &[Vec<f64>], columns: usize) -> Self {
        let n = rows.len() as f64;
        let column = |c: usize| rows.iter().filter_map(move |r| r.get(c).copied());
        let mean: Vec<f64> = (0..columns).map(|c| column(c).sum::<f64>() / n).collect();
        let variance = |(c, m): (usize, &f64)| column(c).map(|v| (v - m).powi(2)).sum::<f64>() / n;
        let sd = mean.iter().enumerate().map(variance).map(f64::sqrt).collect();
        Self { mean, sd }
    }

    pub(crate) fn apply(&self, row: &[f64]) -> Vec<f64> {
        let scaled = |((v, m), sd): ((&f64, &f64), &f64)| if *sd > 1e-12 * m.abs() { (v - m) / sd } else { 0.0 };
        row.iter().zip(&self.mean).zip(&self.sd).map(scaled).collect()
    }
}

pub(crate) fn rows(what: &'static str, points: ArrayView2<'_, f32>) -> Result<Vec<Vec<f64>>> {
    all_finite(what, points.iter().map(|&v| v.into()))?;
    Ok(points.axis_iter(Axis(0)).map(|r| r.iter().map(|&v| v.into()).collect()).collect())
}

/// The k-nearest-neighbour classifier: the commonest class among the k nearest known samples.
///
/// Columns are standardised over the known samples; distances are Euclidean; among equally common classes the lowest
/// wins. An angle enters as the number it is: hand over its sine and cosine where the wrap matters.
pub struct NearestNeighbours {
    columns: Vec<String>,
    k: NonZero<usize>,
    scale: Standardise,
    index: Box<dyn Nearest>,
    labels: Vec<i64>,
}

impl std::fmt::Debug for NearestNeighbours {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let samples = self.labels.len();
        f.debug_struct("NearestNeighbours")
            .field("columns", &self.columns)
            .field("k", &self.k)
            .field("samples", &samples)
            .finish_non_exhaustive()
    }
}

impl NearestNeighbours {
    /// Learns the classes of the rows of `latents` from the named columns; rows with label −1 are left out.
    ///
    /// # Errors
    /// If a column is missing, no column is named, the lengths differ, or `k` is not 1 to the number of known labels.
    pub fn fit(latents: &Embedding, columns: &[&str], labels: ArrayView1<'_, i64>, k: usize) -> Result<Self> {
        let mut fitted = Self::on_rows(latents.matrix(columns)?.view(), labels, k)?;
        fitted.columns = columns.iter().map(|&c| c.to_owned()).collect();
        Ok(fitted)
    }

    fn on_rows(points: ArrayView2<'_, f32>, labels: ArrayView1<'_, i64>, k: usize) -> Result<Self> {
        same_shape("labels", labels.shape(), &[points.nrows()])?;
        let columns = points.ncols();
        if columns == 0 {
            return Err(Error::TooFew { what: "columns", needed: 1 });
        }
        let all = rows("training points", points)?;
        let (known, labels): (Vec<_>, Vec<_>) = all.into_iter().zip(labels).filter(|&(_, &l)| l != -1).unzip();
        let labels: Vec<i64> = labels.into_iter().copied().collect();
        let k = match NonZero::new(k) {
            Some(valid) if k <= labels.len() => valid,
            _ => {
                let accepted = format!("1 to {}, the number of known labels", labels.len());
                return Err(Error::Parameter { name: "number of neighbours", value: k as f64, accepted });
            }
        };
        let scale = Standardise::of(&known, columns);
        let index = index(known.iter().map(|r| scale.apply(r)).collect(), columns)?;
        Ok(Self { columns: Vec::new(), k, scale, index, labels })
    }

    fn vote(&self, neighbours: impl Iterator<Item = usize>) -> i64 {
        let mut votes: BTreeMap<i64, usize> = BTreeMap::new();
        neighbours.filter_map(|row| self.labels.get(row)).for_each(|&label| *votes.entry(label).or_default() += 1);
        // The last maximum wins, so going down the labels lets the lowest win.
        votes.into_iter().rev().max_by_key(|&(_, count)| count).map_or(-1, |(label, _)| label)
    }

    fn class_of(&self, row: &[f64]) -> i64 {
        self.vote(self.index.nearest(&self.scale.apply(row), self.k).into_iter())
    }
}

impl Classify for NearestNeighbours {
    fn classify(&self, latents: &Embedding) -> std::result::Result<Array1<i64>, BoxError> {
        let names: Vec<&str> = self.columns.iter().map(String::as_str).collect();
        let points = rows("points", latents.matrix(&names)?.view())?;
        Ok(points.iter().map(|row| self.class_of(row)).collect())
    }
}

/// Fraction of rows whose class is the commonest of their k nearest *other* rows (leave-one-out).
///
/// Columns are standardised over all known rows; rows with label −1 are left out.
///
/// # Shapes
/// `points` N×D, `labels` N.
///
/// # Errors
/// If the lengths differ, a value is not finite, or `k` is not 1 to one below the number of known labels.
pub fn nearest_neighbour_accuracy(points: ArrayView2<'_, f32>, labels: ArrayView1<'_, i64>, k: usize) -> Result<f64> {
    let model = NearestNeighbours::on_rows(points, labels, k)?;
    let known = model.labels.len();
    let Some(more) = NonZero::new(k + 1).filter(|more| more.get() <= known) else {
        let accepted = format!("1 to {}, one below the number of known labels", known.saturating_sub(1));
        return Err(Error::Parameter { name: "number of neighbours", value: k as f64, accepted });
    };
    let all = rows("points", points)?;
    let known_rows = all.iter().zip(labels).filter(|&(_, &l)| l != -1);
    let right = known_rows.enumerate().filter(|(index, (row, label))| {
        let neighbours = model.index.nearest(&model.scale.apply(row), more);
        // Among more than k equal points the row itself may be missing: k of the others are there in any case.
        model.vote(neighbours.into_iter().filter(|n| n != index).take(k)) == **label
    });
    Ok(right.count() as f64 / known as f64)
}

/// [`nearest_neighbour_accuracy`] of only those rows whose `group` is `of`, such as the domains within one sublattice.
///
/// # Shapes
/// `points` N×D, `labels` and `group` N.
///
/// # Errors
/// As [`nearest_neighbour_accuracy`].
pub fn accuracy_within(
    points: ArrayView2<'_, f32>,
    labels: ArrayView1<'_, i64>,
    (group, of): (ArrayView1<'_, i64>, i64),
    k: usize,
) -> Result<f64> {
    same_shape("group", &[group.len()], &[points.nrows()])?;
    same_shape("labels", &[labels.len()], &[points.nrows()])?;
    let rows: Vec<usize> = (0..group.len()).filter(|&row| group[row] == of).collect();
    nearest_neighbour_accuracy(points.select(Axis(0), &rows).view(), labels.select(Axis(0), &rows).view(), k)
}

/// Fraction of test rows whose class is the commonest of their k nearest training rows.
///
/// Columns are standardised over the known training rows; rows with label −1 are left out of both.
///
/// # Shapes
/// Points N×D and M×D, labels N and M.
///
/// # Errors
/// If shapes do not fit, a value is not finite, no test label is known, or `k` is not 1 to the number of known
/// training labels.
pub fn held_out_accuracy(
    train: (ArrayView2<'_, f32>, ArrayView1<'_, i64>),
    test: (ArrayView2<'_, f32>, ArrayView1<'_, i64>),
    k: usize,
) -> Result<f64> {
    let model = NearestNeighbours::on_rows(train.0, train.1, k)?;
    same_shape("test points", test.0.shape(), &[test.1.len(), train.0.ncols()])?;
    let points = rows("test points", test.0)?;
    let (mut right, mut all) = (0usize, 0usize);
    for (row, &label) in points.iter().zip(test.1).filter(|&(_, &l)| l != -1) {
        all += 1;
        right += usize::from(model.class_of(row) == label);
    }
    if all == 0 {
        return Err(Error::TooFew { what: "known test labels", needed: 1 });
    }
    Ok(right as f64 / all as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::{Array2, arr1, array, s};
    use proptest::prelude::*;

    /// The points of the scikit-learn reference: uniform numbers of a linear congruential generator, the first column
    /// moved by class, the second wide.
    fn reference(dimensions: usize) -> (Array2<f32>, Array1<i64>) {
        let mut state = 12345u64;
        let mut next = || {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (state >> 40) as f32 / (1u64 << 24) as f32
        };
        let mut points = Array2::from_shape_fn((90, dimensions), |_| next());
        for (row, mut point) in points.rows_mut().into_iter().enumerate() {
            point[0] += 0.5 * (row % 3) as f32;
            point[1] *= 8.0;
        }
        (points, (0..90).map(|i| i % 3).collect())
    }

    #[test]
    fn agrees_with_scikit_learn() {
        // StandardScaler, then KNeighborsClassifier, version 1.9.1: dimensions, k, right by leave-one-out of 90,
        // right of the last 30 from the first 60.
        let expected = [
            (2, 1, 58, 19),
            (2, 4, 57, 19),
            (2, 7, 64, 19),
            (5, 1, 50, 17),
            (5, 4, 48, 15),
            (5, 7, 55, 16),
            (20, 1, 31, 10),
            (20, 4, 41, 12),
            (20, 7, 40, 10),
        ];
        for (dimensions, k, one_out, held_out) in expected {
            let (points, labels) = reference(dimensions);
            let accuracy = nearest_neighbour_accuracy(points.view(), labels.view(), k).unwrap();
            assert_eq!((90.0 * accuracy).round() as i32, one_out, "{dimensions} dimensions, k = {k}");
            let train = (points.slice(s![..60, ..]), labels.slice(s![..60]));
            let test = (points.slice(s![60.., ..]), labels.slice(s![60..]));
            let accuracy = held_out_accuracy(train, test, k).unwrap();
            assert_eq!((30.0 * accuracy).round() as i32, held_out, "{dimensions} dimensions, k = {k}");
        }
    }

    #[test]
    fn unknown_labels_constant_columns_and_equal_points_are_harmless() {
        let points = array![[0.0f32, 5.0], [0.1, 5.0], [1.0, 5.0], [1.1, 5.0], [0.05, 5.0]];
        let labels = arr1(&[0i64, 0, 1, 1, -1]);
        assert_eq!(nearest_neighbour_accuracy(points.view(), labels.view(), 1).unwrap(), 1.0);
        let equal = Array2::<f32>::zeros((40, 3));
        let labels: Array1<i64> = Array1::from_elem(40, 3);
        assert_eq!(nearest_neighbour_accuracy(equal.view(), labels.view(), 39).unwrap(), 1.0);
    }

    #[test]
    fn the_classifier_names_its_columns() {
        let mut latents = Embedding::new(4);
        latents.push("z1", arr1(&[0.0, 0.1, 5.0, 5.1]), None).unwrap();
        latents.push("z2", arr1(&[9.0, -9.0, 9.0, -9.0]), None).unwrap();
        let labels = arr1(&[4i64, 4, 2, 2]);
        let model = NearestNeighbours::fit(&latents, &["z1"], labels.view(), 1).unwrap();
        let mut new = Embedding::new(2);
        new.push("z1", arr1(&[4.0, 1.0]), None).unwrap();
        assert_eq!(model.classify(&new).unwrap(), arr1(&[2, 4]));
        assert!(model.classify(&Embedding::new(2)).unwrap_err().to_string().contains("z1"));
        // Two against two: the lowest class wins, as scikit-learn has it.
        let even = NearestNeighbours::fit(&latents, &["z1"], labels.view(), 4).unwrap();
        assert_eq!(even.classify(&new).unwrap(), arr1(&[2, 2]));
    }

    #[test]
    fn bad_input_is_rejected() {
        let (points, labels) = reference(2);
        for k in [0, 90, usize::MAX - 1] {
            let error = nearest_neighbour_accuracy(points.view(), labels.view(), k).unwrap_err();
            assert!(matches!(error, Error::Parameter { .. }), "{error}");
        }
        let short = labels.slice(s![..3]);
        assert!(matches!(nearest_neighbour_accuracy(points.view(), short, 1), Err(Error::Shape { .. })));
        let mut nan = points.clone();
        nan[[3, 1]] = f32::NAN;
        assert!(matches!(
            nearest_neighbour_accuracy(nan.view(), labels.view(), 1),
            Err(Error::NotFinite { index: 7, .. })
        ));
        let train = (points.view(), labels.view());
        let unknown = Array1::from_elem(90, -1);
        assert!(matches!(held_out_accuracy(train, (points.view(), unknown.view()), 1), Err(Error::TooFew { .. })));
        let narrow = points.slice(s![.., ..1]);
        assert!(matches!(held_out_accuracy(train, (narrow, labels.view()), 1), Err(Error::Shape { .. })));
        let none = Array2::<f32>::zeros((90, 0));
        assert!(matches!(nearest_neighbour_accuracy(none.view(), labels.view(), 1), Err(Error::TooFew { .. })));
    }

    proptest! {
        #[test]
        fn the_tree_finds_what_an_exhaustive_search_finds(
            points in prop::collection::vec(prop::collection::vec(-1e3f64..1e3, 3), 5..120), k in 1usize..5,
        ) {
            let tree = index(points.clone(), 3).unwrap();
            let all = Exhaustive(points.clone());
            let k = NonZero::new(k).unwrap();
            for point in &points {
                prop_assert_eq!(tree.nearest(point, k), all.nearest(point, k));
            }
        }
    }
}
