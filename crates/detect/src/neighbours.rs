use std::collections::BTreeMap;
use std::num::NonZero;

use kiddo::{ImmutableKdTree, SquaredEuclidean};
use ndarray::ArrayView2;
use parsimon_core::{NeighbourGraph, Pair, Sites};

/// Points of a plane, arranged for neighbour queries.
pub(crate) struct Neighbours<'a> {
    points: &'a [[f64; 2]],
    /// `None` if there are no points.
    tree: Option<ImmutableKdTree<f64, 2>>,
}

impl<'a> Neighbours<'a> {
    pub(crate) fn new(points: &'a [[f64; 2]]) -> Self {
        let tree = if points.is_empty() { None } else { ImmutableKdTree::new_from_slice(points).ok() };
        Self { points, tree }
    }

    /// Index and distance of the points within `radius` of point `index`, itself left out, nearest first.
    pub(crate) fn within(&self, index: usize, radius: f64) -> Vec<(usize, f64)> {
        let Some(tree) = &self.tree else { return Vec::new() };
        let found = tree.query(&self.points[index]).within::<SquaredEuclidean<f64>>(radius * radius).execute();
        found.into_iter().map(|n| (n.item as usize, n.distance.sqrt())).filter(|&(i, _)| i != index).collect()
    }

    /// Distance of the nearest other point; infinite if there is none.
    pub(crate) fn nearest(&self, index: usize) -> f64 {
        let (Some(tree), Some(two)) = (&self.tree, NonZero::new(2)) else { return f64::INFINITY };
        let found = tree.query(&self.points[index]).nearest_n::<SquaredEuclidean<f64>>(two).execute();
        found.get(1).map_or(f64::INFINITY, |n| n.distance.sqrt())
    }
}

/// Distance of each site to the nearest other site of its frame, in pixels; infinite if it is alone.
pub fn nearest_neighbour_distances(sites: &Sites) -> Vec<f64> {
    let mut frames: Vec<usize> = sites.iter().map(|s| s.frame).collect();
    frames.sort_unstable();
    frames.dedup();
    let mut distances = vec![f64::INFINITY; sites.len()];
    for frame in frames {
        let rows: Vec<usize> = (0..sites.len()).filter(|&i| sites.as_slice()[i].frame == frame).collect();
        let points: Vec<[f64; 2]> = rows.iter().map(|&i| sites.as_slice()[i]).map(|s| [s.y, s.x]).collect();
        let near = Neighbours::new(&points);
        for (k, &row) in rows.iter().enumerate() {
            distances[row] = near.nearest(k);
        }
    }
    distances
}

/// Neighbours at most this many times the median distance of nearest ones apart: the first shell of a square lattice reaches
/// to 1, the second begins at √2, and strain moves both a little.
const SHELL: f64 = 1.25;

/// Neighbours of each site in its frame, of its own kind if kinds are given: those in the first shell.
///
/// A pair's common side is d·tan(π/k), with d their distance and k the upper quartile of the numbers of neighbours: that of two
/// cells of a regular lattice.
///
/// # Shapes
/// `kinds`: one per site.
///
/// # Errors
/// If there is not one kind per site.
pub fn neighbour_graph(sites: &Sites, kinds: Option<&[i64]>) -> parsimon_core::Result<NeighbourGraph> {
    if let Some(found) = kinds.map(<[i64]>::len).filter(|n| *n != sites.len()) {
        let what = "kinds of the sites".to_owned();
        return Err(parsimon_core::Error::Length { what, found, expected: sites.len() });
    }
    let kinds = kinds.map_or_else(|| vec![0; sites.len()], <[i64]>::to_vec);
    let mut groups: BTreeMap<(usize, i64), Vec<usize>> = BTreeMap::new();
    for (i, site) in sites.iter().enumerate() {
        groups.entry((site.frame, kinds[i])).or_default().push(i);
    }
    let mut pairs = Vec::new();
    for rows in groups.values() {
        let points: Vec<[f64; 2]> = rows.iter().map(|&i| sites.as_slice()[i]).map(|s| [s.y, s.x]).collect();
        let near = Neighbours::new(&points);
        let nearest = (0..rows.len()).map(|k| near.nearest(k)).filter(|d| d.is_finite()).collect();
        // Sites in one place would all be neighbours of each other.
        let Some(spacing) = median(nearest).filter(|s| *s > 0.0) else { continue };
        let shells: Vec<Vec<(usize, f64)>> = (0..rows.len()).map(|k| near.within(k, SHELL * spacing)).collect();
        let mut numbers: Vec<usize> = shells.iter().map(Vec::len).collect();
        numbers.sort_unstable();
        // Those at the border have fewer.
        let coordination = numbers.get(3 * numbers.len() / 4).copied().unwrap_or(0).max(3);
        let side = (std::f64::consts::PI / coordination as f64).tan();
        for (k, shell) in shells.iter().enumerate() {
            let after = shell.iter().filter(|(other, _)| *other > k);
            pairs.extend(after.map(|&(other, d)| Pair { a: rows[k], b: rows[other], side: d * side }));
        }
    }
    pairs.sort_by_key(|p| (p.a, p.b));
    NeighbourGraph::new(kinds, pairs)
}

/// Middle value (the upper of two); `None` without values.
pub(crate) fn median(mut values: Vec<f64>) -> Option<f64> {
    let middle = values.len() / 2;
    if values.is_empty() { None } else { Some(*values.select_nth_unstable_by(middle, f64::total_cmp).1) }
}

/// About `n` of the values, evenly spread. The step and the width of a row have no common divisor, so that the sample
/// does not walk down a few columns.
pub(crate) fn sample<T: Copy>(values: ArrayView2<'_, T>, n: usize) -> impl Iterator<Item = T> {
    let divide = |a: usize, b: usize| -> usize {
        let (mut a, mut b) = (a, b);
        while b > 0 {
            (a, b) = (b, a % b);
        }
        a
    };
    let about = (values.len() / n).max(1);
    let step = (about..).find(|&step| divide(step, values.ncols()) <= 1).unwrap_or(1);
    values.into_iter().copied().step_by(step)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::Array2;
    use parsimon_core::{Refinement, Site};

    #[test]
    fn a_sample_sees_every_column() {
        for (rows, columns) in [(100, 400), (300, 512), (90, 625), (1, 7), (40, 1)] {
            let column = Array2::from_shape_fn((rows, columns), |(_, x)| x);
            let mut seen: Vec<usize> = sample(column.view(), 4000).collect();
            let count = seen.len();
            seen.sort_unstable();
            seen.dedup();
            assert!(
                seen.len() == columns && count * 3 >= (rows * columns).min(4000),
                "{rows}×{columns}: {}",
                seen.len()
            );
        }
    }

    fn site(frame: usize, y: f64, x: f64) -> Site {
        Site { frame, y, x, intensity: 1.0, width: 1.0, quality: 1.0, refinement: Refinement::None }
    }

    #[test]
    fn neighbours_are_sought_within_the_frame() {
        let sites =
            Sites::new(vec![site(0, 0.0, 0.0), site(1, 0.0, 1.0), site(0, 3.0, 4.0), site(2, 9.0, 9.0)]).unwrap();
        assert_eq!(nearest_neighbour_distances(&sites), [5.0, f64::INFINITY, 5.0, f64::INFINITY]);
        assert!(nearest_neighbour_distances(&Sites::default()).is_empty());
    }

    #[test]
    fn graphs_join_the_first_shell_of_each_kind_and_frame() {
        let square = |frame, kind: f64| {
            (0..36).map(move |i| site(frame, 4.0 * f64::from(i / 6) + kind, 4.2 * f64::from(i % 6) + kind))
        };
        let sites = Sites::new(square(0, 0.0).chain(square(0, 2.0)).chain(square(1, 0.0)).collect()).unwrap();
        let kinds: Vec<i64> = (0..108).map(|i| i64::from((36..72).contains(&i))).collect();
        let graph = neighbour_graph(&sites, Some(&kinds)).unwrap();
        assert_eq!(graph.pairs().len(), 3 * 60);
        for pair in graph.pairs() {
            assert_eq!(pair.a / 36, pair.b / 36);
            // Cells of a square lattice: the side is as long as the way from one to the next.
            let (a, b) = (sites.as_slice()[pair.a], sites.as_slice()[pair.b]);
            assert!((pair.side - (a.y - b.y).hypot(a.x - b.x)).abs() < 1e-9);
        }
        let hexagonal = (0..100).map(|i| {
            let (row, column) = (f64::from(i / 10), f64::from(i % 10));
            site(0, row * 3f64.sqrt() / 2.0, column + 0.5 * (row % 2.0))
        });
        let graph = neighbour_graph(&Sites::new(hexagonal.collect()).unwrap(), None).unwrap();
        assert!((graph.median_side().unwrap() - 1.0 / 3f64.sqrt()).abs() < 1e-9);
        assert!(neighbour_graph(&sites, Some(&kinds[1..])).is_err());
        assert!(neighbour_graph(&Sites::new(vec![site(0, 1.0, 1.0)]).unwrap(), None).unwrap().pairs().is_empty());
        let one_place = Sites::new(vec![site(0, 1.0, 1.0); 500]).unwrap();
        assert!(neighbour_graph(&one_place, None).unwrap().pairs().is_empty());
        assert!(neighbour_graph(&Sites::default(), None).unwrap().pairs().is_empty());
    }

    #[test]
    fn thousands_of_points_in_one_row_or_one_place_do_no_harm() {
        let row: Vec<[f64; 2]> = (0..5000).map(|i| [7.0, 2.0 * f64::from(i)]).collect();
        let near = Neighbours::new(&row);
        assert_eq!(near.nearest(2500), 2.0);
        assert_eq!(near.within(2500, 4.5).len(), 4);
        let place = vec![[1.0, 1.0]; 3000];
        assert_eq!(Neighbours::new(&place).nearest(17), 0.0);
    }
}
