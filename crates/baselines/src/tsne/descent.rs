//! Down the gradient of the divergence.

use ndarray::Array2;
use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

use super::repulsion::Cells;
use crate::affinities::Affinities;

/// Rounds in which rows that belong together are drawn together more than they should be, and how much more.
pub(super) const EARLY: (usize, f32) = (250, 12.0);
/// Rounds after which the shape stands and steps may be longer.
const LATE: usize = 500;
/// Rounds after which rows are grouped anew, and centred.
const GROUPED: usize = 10;
/// Standard deviation along an axis below which it is stretched: far below 1, so only shape counts.
const LEAST: f64 = 1e-5;
/// Rounds between two looks at the divergence.
const LOOK: usize = 50;
/// Part of the divergence that so many rounds must take away.
const PROGRESS: f64 = 1e-4;
/// Cells below this part of their distance act as one.
const COARSENESS: f32 = 0.5;
/// The same for the divergence that is told.
const FINE: f32 = 0.1;
/// Neighbours that are gathered at a time.
const GATHERED: usize = 128;
/// Rows of a task.
const BLOCK: usize = 256;

/// Places that were found.
pub(super) struct Found {
    pub(super) places: Array2<f64>,
    pub(super) divergence: f64,
    pub(super) rounds: usize,
}

/// Where the rows are, and how they move.
struct State<const D: usize> {
    places: Vec<[f32; D]>,
    next: Vec<[f32; D]>,
    steps: Vec<[f32; D]>,
    gains: Vec<[f32; D]>,
    cells: Cells<D>,
}

/// From `start` (N, D), at most so many rounds, early and late at these rates: the best places of those looked at. Nothing
/// if the places grow beyond all bounds.
pub(super) fn descend<const D: usize>(
    p: &Affinities,
    start: &Array2<f64>,
    rounds: usize,
    rates: (f64, f64),
) -> Option<Found> {
    let n = start.nrows();
    let places: Vec<[f32; D]> = start.rows().into_iter().map(|r| std::array::from_fn(|d| r[d] as f32)).collect();
    let mut state = State {
        next: places.clone(),
        places,
        steps: vec![[0.0; D]; n],
        gains: vec![[1.0; D]; n],
        cells: Cells::new(n),
    };
    let (mut last, mut done) = (f64::INFINITY, 0);
    let mut best = (f64::INFINITY, Vec::new());
    while done < rounds {
        if done == EARLY.0 {
            state.steps.fill([0.0; D]);
            state.gains.fill([1.0; D]);
        }
        if done % GROUPED == 0 {
            state.centre();
            state.cells.group(&state.places);
        }
        let (exaggeration, momentum) = if done < EARLY.0 { (EARLY.1, 0.5) } else { (1.0, 0.8) };
        let rate = if done < LATE { rates.0 } else { rates.1 };
        state.step(p, exaggeration, momentum, rate as f32);
        done += 1;
        if done > EARLY.0 && (done % LOOK == 0 || done == rounds) {
            let now = state.divergence(p, COARSENESS);
            if !now.is_finite() {
                return None;
            }
            if now < best.0 {
                best.0 = now;
                best.1.clone_from(&state.places);
            }
            if done < rounds && last - now <= PROGRESS * now.abs() {
                break;
            }
            // Longer steps may first lead up.
            last = if done == LATE { f64::INFINITY } else { now };
        }
    }
    if !best.1.is_empty() {
        state.places = best.1;
    }
    state.centre();
    state.cells.group(&state.places);
    let divergence = state.divergence(p, FINE);
    let places = Array2::from_shape_fn((n, D), |(i, d)| state.places[i][d].into());
    let found = Found { places, divergence, rounds: done };
    (divergence.is_finite() && found.places.iter().all(|v| v.is_finite())).then_some(found)
}

impl<const D: usize> State<D> {
    /// Moves the places about their mean, which leaves f32 its digits. Early, rows without clusters are drawn together
    /// to nothing: an axis that has become short is stretched, orthogonal to those before it, as a power iteration
    /// does.
    fn centre(&mut self) {
        let n = self.places.len() as f64;
        let product = |places: &[[f32; D]], d: usize, e: usize| -> f64 {
            places.iter().map(|y| f64::from(y[d]) * f64::from(y[e])).sum()
        };
        for d in 0..D {
            let mean = self.places.iter().map(|y| f64::from(y[d])).sum::<f64>() / n;
            self.places.iter_mut().for_each(|y| y[d] = (f64::from(y[d]) - mean) as f32);
            if (product(&self.places, d, d) / n).sqrt() >= LEAST {
                continue;
            }
            for e in 0..d {
                let part = (product(&self.places, d, e) / product(&self.places, e, e)) as f32;
                if part.is_finite() {
                    self.places.iter_mut().for_each(|y| y[d] -= part * y[e]);
                }
            }
            let stretch = LEAST / (product(&self.places, d, d) / n).sqrt();
            if stretch.is_finite() {
                self.places.iter_mut().for_each(|y| y[d] = (f64::from(y[d]) * stretch) as f32);
            }
        }
    }

    /// ∂KL/∂yᵢ = 4 Σⱼ (a pᵢⱼ qᵢⱼ − qᵢⱼ²/Z) (yᵢ − yⱼ), a the exaggeration; a step against it, longer the longer it
    /// points one way.
    fn step(&mut self, p: &Affinities, exaggeration: f32, momentum: f32, rate: f32) {
        let total = self.cells.push(&self.places, COARSENESS) as f32;
        let (places, cells) = (&self.places, &self.cells);
        let moving = self.next.par_chunks_mut(BLOCK).zip(self.steps.par_chunks_mut(BLOCK));
        moving.zip(self.gains.par_chunks_mut(BLOCK)).enumerate().for_each(|(block, ((next, steps), gains))| {
            for (i, ((next, step), gain)) in next.iter_mut().zip(steps).zip(gains).enumerate() {
                let row = block * BLOCK + i;
                let (columns, values) = p.row(row);
                let pull = Arch::new().dispatch(Pull { own: places[row], places, columns, values });
                let push = cells.on(row);
                for d in 0..D {
                    let gradient = 4.0 * (exaggeration * pull[d] - push[d] / total);
                    gain[d] = if gradient * step[d] < 0.0 { gain[d] + 0.2 } else { (gain[d] * 0.8).max(0.01) };
                    step[d] = momentum * step[d] - rate * gain[d] * gradient;
                    next[d] = places[row][d] + step[d];
                }
            }
        });
        std::mem::swap(&mut self.places, &mut self.next);
    }

    /// Σᵢⱼ pᵢⱼ ln(pᵢⱼ Z / qᵢⱼ).
    fn divergence(&mut self, p: &Affinities, coarseness: f32) -> f64 {
        let total = self.cells.push(&self.places, coarseness).ln();
        let places = &self.places;
        let of_row = |i: usize| -> f64 {
            let (columns, values) = p.row(i);
            let of = |(j, p): (&u32, &f32)| {
                let square: f32 = places[i].iter().zip(&places[*j as usize]).map(|(a, b)| (a - b) * (a - b)).sum();
                let p = f64::from(*p);
                if p > 0.0 { p * (p.ln() + f64::from(1.0 + square).ln() + total) } else { 0.0 }
            };
            columns.iter().zip(values).map(of).sum()
        };
        let parts: Vec<f64> = (0..places.len()).into_par_iter().with_min_len(BLOCK).map(of_row).collect();
        parts.iter().sum()
    }
}

/// A row, and those that it belongs together with.
struct Pull<'a, const D: usize> {
    own: [f32; D],
    places: &'a [[f32; D]],
    columns: &'a [u32],
    values: &'a [f32],
}

impl<const D: usize> WithSimd for Pull<'_, D> {
    /// Σⱼ pᵢⱼ qᵢⱼ (yᵢ − yⱼ).
    type Output = [f32; D];

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> [f32; D] {
        let (zero, one) = (simd.splat_f32s(0.0), simd.splat_f32s(1.0));
        let mut sums = [zero; D];
        let (mut others, mut weights) = ([[0.0f32; GATHERED]; D], [0.0f32; GATHERED]);
        for (columns, values) in self.columns.chunks(GATHERED).zip(self.values.chunks(GATHERED)) {
            let mut filled = 0;
            for (column, value) in columns.iter().zip(values) {
                for (others, place) in others.iter_mut().zip(&self.places[*column as usize]) {
                    others[filled] = *place;
                }
                weights[filled] = *value;
                filled += 1;
            }
            // What is left of a longer chunk weighs nothing.
            for weight in &mut weights[filled..] {
                *weight = 0.0;
            }
            for (at, weight) in S::as_simd_f32s(&weights).0[..filled.div_ceil(S::F32_LANES)].iter().enumerate() {
                let (mut square, mut off) = (one, [zero; D]);
                for d in 0..D {
                    off[d] = simd.sub_f32s(simd.splat_f32s(self.own[d]), S::as_simd_f32s(&others[d]).0[at]);
                    square = simd.mul_add_f32s(off[d], off[d], square);
                }
                let weight = simd.div_f32s(*weight, square);
                for d in 0..D {
                    sums[d] = simd.mul_add_f32s(weight, off[d], sums[d]);
                }
            }
        }
        let mut pull = [0.0; D];
        for (pull, sum) in pull.iter_mut().zip(sums) {
            *pull = simd.reduce_sum_f32s(sum);
        }
        pull
    }
}

#[cfg(test)]
mod tests {
    use rand::{Rng, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;
    use crate::neighbours::nearest;
    use crate::tsne::affinities::joint;

    /// KL(P‖Q), all pairs.
    fn oracle(p: &Array2<f64>, y: &Array2<f64>) -> f64 {
        let q = |i: usize, j: usize| 1.0 / (1.0 + (&y.row(i) - &y.row(j)).mapv(|v| v * v).sum());
        let pairs = || (0..y.nrows()).flat_map(|i| (0..y.nrows()).filter(move |j| *j != i).map(move |j| (i, j)));
        let total: f64 = pairs().map(|(i, j)| q(i, j)).sum();
        pairs().filter(|at| p[*at] > 0.0).map(|(i, j)| p[(i, j)] * (p[(i, j)] * total / q(i, j)).ln()).sum()
    }

    /// Looks at every so many of the rows.
    fn agrees<const D: usize>(n: usize, neighbours: usize, every: usize, [absolute, relative]: [f64; 2]) {
        let mut rng = ChaCha8Rng::seed_from_u64(5);
        let rows = Array2::from_shape_simple_fn((n, 4), || rng.gen_range(-1.0..1.0));
        let p = joint(&nearest(rows.view(), None, neighbours), neighbours as f64 / 3.0);
        let mut full = Array2::zeros((n, n));
        for i in 0..n {
            p.row(i).0.iter().zip(p.row(i).1).for_each(|(j, v)| full[(i, *j as usize)] = f64::from(*v));
        }
        let y = Array2::from_shape_simple_fn((n, D), || f64::from(rng.gen_range(-2.0f32..2.0)));
        let places: Vec<[f32; D]> = y.rows().into_iter().map(|r| std::array::from_fn(|d| r[d] as f32)).collect();
        let (steps, gains) = (vec![[0.0; D]; n], vec![[1.25; D]; n]);
        let mut state = State { next: places.clone(), places, steps, gains, cells: Cells::new(n) };
        state.cells.group(&state.places);
        let expected = oracle(&full, &y);
        assert!((state.divergence(&p, FINE) - expected).abs() < (1e-5 + 1e-2 * relative) * expected);
        // Without momentum and with a gain of 1.25·0.8, the step is the gradient.
        state.step(&p, 1.0, 0.0, 1.0);
        for ((i, d), at) in y.indexed_iter().filter(|((i, _), _)| i % every == 0) {
            let moved = |by: f64| {
                let mut y = y.clone();
                y[(i, d)] = at + by;
                oracle(&full, &y)
            };
            let gradient = (moved(1e-4) - moved(-1e-4)) / 2e-4;
            let found = -f64::from(state.steps[i][d]);
            assert!((found - gradient).abs() < absolute + relative * gradient.abs(), "{found}, not {gradient}");
        }
    }

    #[test]
    fn divergence_and_gradient_are_those_of_all_pairs() {
        agrees::<1>(14, 9, 1, [1e-5, 1e-3]);
        agrees::<2>(15, 9, 1, [1e-5, 1e-3]);
        agrees::<3>(16, 9, 1, [1e-5, 1e-3]);
        // More neighbours than are gathered at a time; far rows act together.
        agrees::<2>(170, GATHERED + 21, 17, [5e-5, 2e-2]);
    }

    #[test]
    fn the_places_kept_are_the_best_and_longer_steps_are_given_time() {
        let mut rng = ChaCha8Rng::seed_from_u64(9);
        let rows = Array2::from_shape_fn((300, 5), |(i, _)| 4.0 * (i % 3) as f64 + rng.gen_range(-1.0..1.0));
        let p = joint(&nearest(rows.view(), None, 30), 10.0);
        let start = Array2::from_shape_simple_fn((300, 2), || rng.gen_range(-1e-4..1e-4));
        let found = |rounds: usize, late: f64| descend::<2>(&p, &start, rounds, (5.0, late)).unwrap();
        let middle = found(LATE, 5.0);
        assert_eq!(middle.rounds, LATE);
        for late in [20.0, 200.0, 2000.0] {
            let end = found(1000, late);
            assert!(end.rounds > LATE + LOOK, "{late}: {}", end.rounds);
            assert!(end.divergence <= middle.divergence + 1e-3, "{late}: {} {}", end.divergence, middle.divergence);
        }
    }

    #[test]
    fn short_axes_are_stretched_and_stay_apart() {
        let places: Vec<[f32; 2]> = (0..10).map(|i| [1.0 + 1e-6 * i as f32, 1e-9 * (i * i) as f32]).collect();
        let zero = vec![[0.0; 2]; 10];
        let mut state = State { next: places.clone(), places, steps: zero.clone(), gains: zero, cells: Cells::new(10) };
        state.centre();
        for (d, e, expected) in [(0, 0, 1e-10), (1, 1, 1e-10), (0, 1, 0.0)] {
            let found = state.places.iter().map(|y| f64::from(y[d] * y[e])).sum::<f64>() / 10.0;
            assert!((found - expected).abs() < 1e-13, "{found:e}, not {expected:e}");
        }
        state.places = vec![[3.0; 2]; 10];
        state.centre();
        assert_eq!(state.places, [[0.0; 2]; 10]);
    }
}
