//! Shortest paths between rows, along the edges of a graph of nearest rows.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use ndarray::{Array2, ArrayView2, Axis};
use rayon::prelude::*;

use crate::forest::Forest;
use crate::neighbours::{Neighbours, nearest};

/// Rows and columns of a block that two matrices of distances share a cache with.
const BLOCK: usize = 64;

/// A graph whose edges lead both ways; lengths are in units of the longest edge, so that f32 holds the squares of
/// paths.
pub(crate) struct Graph {
    edges: Vec<Vec<(u32, f32)>>,
    /// Length of the longest edge, 1 if all are 0.
    pub(crate) unit: f64,
    /// Connected components before they were joined.
    pub(crate) components: usize,
}

impl Graph {
    /// Each row with its `near` ones. Components are joined, each with each, by an edge between their nearest rows.
    pub(crate) fn new(rows: ArrayView2<'_, f64>, near: &Neighbours) -> Self {
        let n = rows.nrows();
        let mut long: Vec<Vec<(u32, f64)>> = vec![Vec::new(); n];
        let mut join = |i: usize, j: usize, length: f64| {
            long[i].push((j as u32, length));
            long[j].push((i as u32, length));
        };
        let forest = Forest::new(n);
        for (i, (others, lengths)) in near.rows.outer_iter().zip(near.distances.outer_iter()).enumerate() {
            for (&j, &length) in others.iter().zip(lengths) {
                join(i, j, length);
                forest.join(i, j);
            }
        }
        let mut members: Vec<Vec<usize>> = vec![Vec::new(); n];
        for i in 0..n {
            members[forest.root(i)].push(i);
        }
        members.retain(|m| !m.is_empty());
        for (i, j, length) in bridges(rows, &members) {
            join(i, j, length);
        }
        let longest = long.iter().flatten().map(|e| e.1).fold(0.0, f64::max);
        let unit = if longest > 0.0 { longest } else { 1.0 };
        let shortened = |mut edges: Vec<(u32, f64)>| -> Vec<(u32, f32)> {
            edges.sort_unstable_by(|a, b| a.0.cmp(&b.0).then(a.1.total_cmp(&b.1)));
            edges.dedup_by_key(|e| e.0);
            edges.into_iter().map(|(j, length)| (j, (length / unit) as f32)).collect()
        };
        Self { edges: long.into_iter().map(shortened).collect(), unit, components: members.len() }
    }

    /// Lengths of the shortest paths between all rows, in `unit`s: exactly symmetric, in `out` of N² zeros.
    ///
    /// Dijkstra's algorithm from each row, with a binary heap.
    pub(crate) fn shortest_paths(&self, out: &mut Array2<f32>) {
        out.axis_iter_mut(Axis(0)).into_par_iter().enumerate().for_each_init(
            BinaryHeap::new,
            |heap, (from, mut row)| {
                if let Some(row) = row.as_slice_mut() {
                    self.paths_from(from, row, heap);
                }
            },
        );
        // A path there and back adds the same lengths in another order.
        let n = out.nrows();
        for top in (0..n).step_by(BLOCK) {
            for left in (0..=top).step_by(BLOCK) {
                for i in top..(top + BLOCK).min(n) {
                    for j in left..(left + BLOCK).min(i) {
                        out[(i, j)] = out[(j, i)];
                    }
                }
            }
        }
    }

    fn paths_from(&self, from: usize, out: &mut [f32], heap: &mut BinaryHeap<Reverse<u64>>) {
        // Bits of floats that are not negative are in the order of the floats.
        let key = |length: f32, row: u32| Reverse(u64::from(length.to_bits()) << 32 | u64::from(row));
        out.fill(f32::INFINITY);
        out[from] = 0.0;
        heap.push(key(0.0, from as u32));
        while let Some(Reverse(next)) = heap.pop() {
            let (length, row) = (f32::from_bits((next >> 32) as u32), (next & 0xffff_ffff) as usize);
            if length > out[row] {
                continue;
            }
            for &(j, edge) in &self.edges[row] {
                let longer = length + edge;
                if longer < out[j as usize] {
                    out[j as usize] = longer;
                    heap.push(key(longer, j));
                }
            }
        }
    }
}

/// The nearest rows of each two components, with their distance.
fn bridges(rows: ArrayView2<'_, f64>, members: &[Vec<usize>]) -> Vec<(usize, usize, f64)> {
    let mut component = vec![0; rows.nrows()];
    for (c, own) in members.iter().enumerate() {
        own.iter().for_each(|i| component[*i] = c);
    }
    let mut out = Vec::new();
    for (c, own) in members.iter().enumerate().skip(1) {
        let earlier: Vec<usize> = members[..c].iter().flatten().copied().collect();
        let near = nearest(rows.select(Axis(0), &earlier).view(), Some(rows.select(Axis(0), own).view()), 1);
        let mut best: Vec<Option<(usize, usize, f64)>> = vec![None; c];
        for (&i, (&j, &length)) in earlier.iter().zip(near.rows.iter().zip(&near.distances)) {
            let best = &mut best[component[i]];
            if best.is_none_or(|(_, _, least)| length < least) {
                *best = Some((i, own[j], length));
            }
        }
        out.extend(best.into_iter().flatten());
    }
    out
}

#[cfg(test)]
mod tests {
    use rand::{Rng, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    #[test]
    fn paths_are_those_of_floyd_and_warshall() {
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        // Three groups far apart, so that components are joined.
        let rows = Array2::from_shape_fn((150, 3), |(i, _)| rng.gen_range(-1.0..1.0) + 50.0 * (i % 3) as f64);
        let near = nearest(rows.view(), None, 6);
        let graph = Graph::new(rows.view(), &near);
        assert_eq!(graph.components, 3);
        let mut slow = Array2::from_elem((150, 150), f64::INFINITY);
        let distance = |i: usize, j: usize| (&rows.row(i) - &rows.row(j)).mapv(|v| v * v).sum().sqrt();
        for i in 0..150 {
            slow[(i, i)] = 0.0;
            for &j in near.rows.row(i) {
                (slow[(i, j)], slow[(j, i)]) = (distance(i, j), distance(i, j));
            }
        }
        for (a, b) in [(0, 1), (0, 2), (1, 2)] {
            let pairs = (a..150).step_by(3).flat_map(|i| (b..150).step_by(3).map(move |j| (i, j)));
            let (i, j) = pairs.min_by(|p, q| distance(p.0, p.1).total_cmp(&distance(q.0, q.1))).unwrap();
            (slow[(i, j)], slow[(j, i)]) = (distance(i, j), distance(i, j));
        }
        for k in 0..150 {
            for i in 0..150 {
                for j in 0..150 {
                    slow[(i, j)] = f64::min(slow[(i, j)], slow[(i, k)] + slow[(k, j)]);
                }
            }
        }
        let mut fast = Array2::zeros((150, 150));
        graph.shortest_paths(&mut fast);
        assert_eq!(fast, fast.t());
        assert!(fast.iter().zip(&slow).all(|(f, s)| (f64::from(*f) * graph.unit - s).abs() < 1e-5 * s.max(1.0)));
    }
}
