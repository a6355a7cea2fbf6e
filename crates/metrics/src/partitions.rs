use std::collections::BTreeMap;

use ndarray::ArrayView1;
use parsimon_core::NeighbourGraph;

use crate::error::same_shape;
use crate::{Error, Result};

/// Adjusted Rand index of two partitions: 1 if they are the same up to names, 0 on average for random ones.
///
/// With n_ij the samples in class i and cluster j, a_i and b_j their sums, and C(n) = n(n−1)/2:
/// (Σ C(n_ij) − e) / (½ (Σ C(a_i) + Σ C(b_j)) − e), where e = Σ C(a_i) · Σ C(b_j) / C(n).
/// Rows whose `truth` is −1 (unknown) are left out; a −1 in `found` is a cluster like any other.
///
/// # Shapes
/// Both of length N.
///
/// # Errors
/// If the lengths differ or no truth is known.
///
/// Reference: Hubert & Arabie, J. Classif. 2, 193 (1985).
pub fn adjusted_rand_index(truth: ArrayView1<'_, i64>, found: ArrayView1<'_, i64>) -> Result<f64> {
    same_shape("found classes", found.shape(), truth.shape())?;
    let mut cells: BTreeMap<(i64, i64), u64> = BTreeMap::new();
    let (mut rows, mut columns): (BTreeMap<i64, u64>, BTreeMap<i64, u64>) = Default::default();
    for (&t, &f) in truth.iter().zip(found).filter(|&(&t, _)| t != -1) {
        *cells.entry((t, f)).or_default() += 1;
        *rows.entry(t).or_default() += 1;
        *columns.entry(f).or_default() += 1;
    }
    let n: u64 = rows.values().sum();
    if n == 0 {
        return Err(Error::TooFew { what: "known classes", needed: 1 });
    }
    let pairs = |n: u64| n as f64 * (n as f64 - 1.0) / 2.0;
    let together: f64 = cells.values().copied().map(pairs).sum();
    let a: f64 = rows.values().copied().map(pairs).sum();
    let b: f64 = columns.values().copied().map(pairs).sum();
    // The same pairs together in both: equal partitions, trivial ones included.
    if together == a && together == b {
        return Ok(1.0);
    }
    let expected = a * b / pairs(n);
    Ok((together - expected) / (0.5 * (a + b) - expected))
}

/// Length of the boundaries between classes of neighbouring sites, in pixels: Σ of the sides of pairs whose classes differ.
/// Pairs with a site of unknown class (−1) are left out.
///
/// # Shapes
/// `class`: one per site of the graph.
///
/// # Errors
/// If the lengths differ.
pub fn boundary_length(graph: &NeighbourGraph, class: ArrayView1<'_, i64>) -> Result<f64> {
    same_shape("classes of the sites", class.shape(), &[graph.sites()])?;
    let apart = |p: &&parsimon_core::Pair| class[p.a] != class[p.b] && class[p.a] != -1 && class[p.b] != -1;
    Ok(graph.pairs().iter().filter(apart).map(|p| p.side).sum())
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::{Array1, arr1};
    use proptest::prelude::*;

    fn ari(truth: &[i64], found: &[i64]) -> f64 {
        adjusted_rand_index(arr1(truth).view(), arr1(found).view()).unwrap()
    }

    #[test]
    fn a_wall_is_as_long_as_the_sides_it_runs_along() {
        let pair = |a, b, side| parsimon_core::Pair { a, b, side };
        let graph = NeighbourGraph::new(vec![0; 4], vec![pair(0, 1, 2.0), pair(1, 2, 3.0), pair(2, 3, 5.0)]).unwrap();
        let length = |class: &[i64]| boundary_length(&graph, arr1(class).view());
        assert_eq!(length(&[0, 0, 1, 1]).unwrap(), 3.0);
        assert_eq!(length(&[0, 1, 0, 1]).unwrap(), 10.0);
        assert_eq!(length(&[0, 0, -1, 1]).unwrap(), 0.0);
        assert!(length(&[0, 1]).is_err());
    }

    #[test]
    fn agrees_with_scikit_learn() {
        // sklearn.metrics.adjusted_rand_score, version 1.9.1
        let cases: [(&[i64], &[i64], f64); 7] = [
            (&[0, 0, 1, 1], &[0, 0, 1, 2], 0.5714285714285714),
            (&[0, 0, 1, 2], &[0, 0, 1, 1], 0.5714285714285714),
            (&[0, 0, 0, 0], &[0, 1, 2, 3], 0.0),
            (&[0, 0, 1, 1], &[0, 1, 0, 1], -0.5),
            (&[0, 0, 0, 1, 1, 1, 2, 2, 2, 2], &[1, 1, 0, 0, 0, 2, 2, 2, 2, 1], 0.20454545454545456),
            (&[0, 1, 2, 3], &[3, 1, 0, 2], 1.0),
            (&[0, 0, 0], &[1, 1, 1], 1.0),
        ];
        for (truth, found, expected) in cases {
            assert!((ari(truth, found) - expected).abs() < 1e-12, "{truth:?} {found:?}");
        }
    }

    #[test]
    fn unknown_truth_is_left_out_and_clusters_of_noise_count() {
        assert_eq!(ari(&[0, 0, 1, 1, -1, -1], &[5, 5, 7, 7, 5, 9]), 1.0);
        assert_eq!(ari(&[0, 0, 1, 1], &[-1, -1, 4, 4]), 1.0);
    }

    #[test]
    fn lengths_and_unknowns_are_checked() {
        let (two, three) = (arr1(&[0, 1]), arr1(&[0, 1, 2]));
        assert!(matches!(adjusted_rand_index(two.view(), three.view()), Err(Error::Shape { .. })));
        let unknown = Array1::from_elem(2, -1);
        assert!(matches!(adjusted_rand_index(unknown.view(), two.view()), Err(Error::TooFew { .. })));
    }

    proptest! {
        #[test]
        fn names_of_clusters_do_not_matter(pairs in prop::collection::vec((0i64..4, 0i64..4), 2..40)) {
            let (a, b): (Vec<_>, Vec<_>) = pairs.into_iter().unzip();
            let renamed: Vec<_> = b.iter().map(|c| 10 - 3 * c).collect();
            let score = ari(&a, &b);
            prop_assert!((-1.0..=1.0).contains(&score));
            prop_assert!((score - ari(&a, &renamed)).abs() < 1e-12);
            prop_assert!((score - ari(&b, &a)).abs() < 1e-12);
        }
    }
}
