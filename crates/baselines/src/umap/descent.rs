//! Neighbours drawn together, others pushed apart, at random and often.

use ndarray::Array2;
use pulp::{Arch, NullaryFnOnce};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

use super::curve::power;
use crate::affinities::Affinities;

/// Rows of a task, which share a stream of random numbers.
const BLOCK: usize = 128;
/// Rows pushed from for each that is drawn to.
const OTHERS: usize = 5;
/// Rows that push at once.
const AT_ONCE: usize = 8 * OTHERS;
/// Longest part of a step along one axis.
const LONGEST: f32 = 4.0;
/// Squared distance below which rows are at one place.
const TOUCH: f32 = 1e-20;

/// The curve 1/(1 + a x^2b).
#[derive(Debug, Clone, Copy)]
pub(super) struct Curve {
    pub(super) a: f32,
    pub(super) b: f32,
}

/// From `start` (N, D), so many rounds, whose steps shrink to nothing.
///
/// In a round every row moves on its own, the others where the last round left them: the result does not depend on
/// which thread moves which rows. In R rounds a pair is met ⌊R w⌋ times, w its weight over the largest. As both ends of a
/// pair belong to it twice, once from each side, a row is drawn to the other twice.
pub(super) fn descend<const D: usize>(
    graph: &Affinities,
    start: &Array2<f64>,
    rounds: usize,
    curve: Curve,
    seed: u64,
) -> Array2<f64> {
    let n = start.nrows();
    let mut places: Vec<[f32; D]> = start.rows().into_iter().map(|r| std::array::from_fn(|d| r[d] as f32)).collect();
    let mut next = places.clone();
    let mut streams: Vec<ChaCha8Rng> = (0..n.div_ceil(BLOCK) as u64)
        .map(|block| {
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            rng.set_stream(block + 1);
            rng
        })
        .collect();
    let largest = graph.values.iter().fold(0.0f32, |largest, v| largest.max(*v));
    let rates: Vec<f32> = graph.values.iter().map(|v| v / largest).collect();
    for round in 0..rounds {
        let length = 1.0 - round as f32 / rounds as f32;
        let blocks = next.par_chunks_mut(BLOCK).zip(&mut streams).enumerate();
        blocks.for_each(|(block, (next, rng))| {
            Arch::new().dispatch(Round {
                graph,
                rates: &rates,
                places: &places,
                next,
                first: block * BLOCK,
                rng,
                curve,
                length,
                round,
            });
        });
        std::mem::swap(&mut places, &mut next);
    }
    Array2::from_shape_fn((n, D), |(i, d)| places[i][d].into())
}

/// Whether a pair of this weight is met in a round, of those numbered from 0: where rounds times weight passes a whole
/// number, which in f64 is exact.
#[inline(always)]
fn met(rate: f32, round: usize) -> bool {
    let passed = |rounds: usize| (rounds as f64 * f64::from(rate)).floor();
    passed(round + 1) > passed(round)
}

/// A block of rows, and all that moves them.
struct Round<'a, const D: usize> {
    graph: &'a Affinities,
    rates: &'a [f32],
    places: &'a [[f32; D]],
    next: &'a mut [[f32; D]],
    first: usize,
    rng: &'a mut ChaCha8Rng,
    curve: Curve,
    length: f32,
    round: usize,
}

// A closure may be left outside of what is compiled for the machine; this cannot.
impl<const D: usize> NullaryFnOnce for Round<'_, D> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let rows = self.places.len() as u32;
        for (i, next) in self.next.iter_mut().enumerate() {
            let row = self.first + i;
            let (mut own, mut others, mut waiting) = (self.places[row], [[0.0f32; AT_ONCE]; D], 0);
            for at in self.graph.starts[row]..self.graph.starts[row + 1] {
                if !met(self.rates[at], self.round) {
                    continue;
                }
                let other = &self.places[self.graph.columns[at] as usize];
                pull(&mut own, other, self.curve, self.length);
                pull(&mut own, other, self.curve, self.length);
                for _ in 0..OTHERS {
                    let drawn = self.rng.gen_range(0..rows) as usize;
                    for (others, place) in others.iter_mut().zip(&self.places[drawn]) {
                        others[waiting] = *place;
                    }
                    // A row that meets itself is not pushed.
                    waiting += usize::from(drawn != row);
                }
                if waiting + OTHERS > AT_ONCE {
                    push(&mut own, &others, waiting, self.curve, self.length);
                    waiting = 0;
                }
            }
            push(&mut own, &others, waiting, self.curve, self.length);
            *next = own;
        }
    }
}

#[inline(always)]
fn pull<const D: usize>(own: &mut [f32; D], other: &[f32; D], curve: Curve, length: f32) {
    let mut square = 0.0f32;
    for d in 0..D {
        square = (own[d] - other[d]).mul_add(own[d] - other[d], square);
    }
    if square <= TOUCH {
        return;
    }
    let power = power(square, curve.b);
    let force = -2.0 * curve.a * curve.b * power / (square * curve.a.mul_add(power, 1.0));
    for d in 0..D {
        own[d] += length * (force * (own[d] - other[d])).clamp(-LONGEST, LONGEST);
    }
}

/// Away from the first so many of the others, at once.
#[inline(always)]
fn push<const D: usize>(own: &mut [f32; D], others: &[[f32; AT_ONCE]; D], waiting: usize, curve: Curve, length: f32) {
    let mut forces = [0.0f32; AT_ONCE];
    let forces = &mut forces[..waiting];
    for (own, others) in own.iter().zip(others) {
        for (square, other) in forces.iter_mut().zip(others) {
            *square += (own - other) * (own - other);
        }
    }
    for force in forces.iter_mut() {
        let square = *force;
        let power = power(square.max(TOUCH), curve.b);
        *force = 2.0 * curve.b / ((0.001 + square) * curve.a.mul_add(power, 1.0));
    }
    for (own, others) in own.iter_mut().zip(others) {
        let mut sum = 0.0;
        for (force, other) in forces.iter().zip(others) {
            sum += (force * (*own - other)).clamp(-LONGEST, LONGEST);
        }
        *own += length * sum;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_are_met_as_often_as_their_weight_says() {
        for rounds in [1usize, 60, 500, 20_000] {
            for rate in [1.0f32, 0.999, 0.5, 1.0 / 3.0, 0.1, 0.003, 1.0 / 500.0, 1e-4, 1e-9, 0.0] {
                let times = (0..rounds).filter(|round| met(rate, *round)).count();
                assert_eq!(times, (rounds as f64 * f64::from(rate)).floor() as usize, "{rate} in {rounds} rounds");
            }
        }
        assert!(met(1.0, 0) && (0..500).all(|round| !met(1e-9, round)));
    }

    const CURVE: Curve = Curve { a: 1.577, b: 0.895 };

    /// ln v of two places, v = 1/(1 + a |y − z|^2b).
    fn log_membership<const D: usize>(y: &[f64; D], z: &[f64; D]) -> f64 {
        let square: f64 = y.iter().zip(z).map(|(y, z)| (y - z) * (y - z)).sum();
        -(f64::from(CURVE.a) * square.powf(f64::from(CURVE.b))).ln_1p()
    }

    fn gradient<const D: usize>(of: impl Fn(&[f64; D]) -> f64, at: [f64; D]) -> [f64; D] {
        std::array::from_fn(|d| {
            let moved = |by: f64| {
                let mut at = at;
                at[d] += by;
                of(&at)
            };
            (moved(1e-5) - moved(-1e-5)) / 2e-5
        })
    }

    fn forces_are_gradients<const D: usize>() {
        for scale in [0.1, 0.5, 1.0, 4.0] {
            let y: [f64; D] = std::array::from_fn(|d| scale * (0.5 - 0.4 * d as f64));
            let z: [f64; D] = std::array::from_fn(|d| scale * (-0.3 + 0.5 * d as f64));
            let narrow = |of: [f64; D]| of.map(|v| v as f32);
            let agree = |found: [f32; D], expected: [f64; D]| {
                let expected = expected.map(|g| g.clamp(-f64::from(LONGEST), f64::from(LONGEST)));
                let largest = expected.iter().fold(0.0, |most: f64, v| most.max(v.abs()));
                for (d, (found, expected)) in found.iter().zip(expected).enumerate() {
                    let found = f64::from(*found) - y[d];
                    assert!((found - expected).abs() < 1e-3 * largest, "{found}, not {expected}");
                }
            };
            let mut own = narrow(y);
            pull(&mut own, &narrow(z), CURVE, 1.0);
            agree(own, gradient(|y| log_membership(y, &z), y));
            // The 0.001 that keeps near places from flying apart takes its part.
            let square: f64 = y.iter().zip(&z).map(|(y, z)| (y - z) * (y - z)).sum();
            let far = gradient(|y| (-log_membership(y, &z).exp()).ln_1p(), y).map(|g| g * square / (0.001 + square));
            let (mut own, mut others) = (narrow(y), [[0.0; AT_ONCE]; D]);
            (0..D).for_each(|d| (others[d][0], others[d][1]) = (z[d] as f32, 7.0));
            push(&mut own, &others, 1, CURVE, 1.0);
            agree(own, far);
            // Several push at once, a row at the same place not at all.
            let mut own = narrow(y);
            (0..D).for_each(|d| (others[d][1], others[d][2]) = (y[d] as f32, z[d] as f32));
            push(&mut own, &others, 3, CURVE, 0.5);
            agree(own, far);
        }
    }

    #[test]
    fn forces_are_gradients_of_the_cross_entropy() {
        forces_are_gradients::<1>();
        forces_are_gradients::<2>();
        forces_are_gradients::<3>();
    }

    #[test]
    fn no_step_is_longer_than_it_may_be() {
        let mut own = [0.001f32, -0.002];
        let mut others = [[0.0; AT_ONCE]; 2];
        others[0][0] = 0.002;
        push(&mut own, &others, 1, Curve { a: 100.0, b: 0.9 }, 1.0);
        assert!(own[0] >= 0.001 - LONGEST && own[1] >= -0.002 - LONGEST && own[1] < -1.0, "{own:?}");
    }
}
