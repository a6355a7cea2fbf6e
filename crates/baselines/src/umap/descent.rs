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
/// which thread moves which rows. A pair is met as often as its weight over the largest says. As both ends of a pair
/// belong to it twice, once from each side, a row is drawn to the other twice.
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
        let (now, before) = (self.round as f32, self.round as f32 - 1.0);
        let rows = self.places.len() as u32;
        for (i, next) in self.next.iter_mut().enumerate() {
            let row = self.first + i;
            let (mut own, mut others, mut waiting) = (self.places[row], [[0.0f32; AT_ONCE]; D], 0);
            for at in self.graph.starts[row]..self.graph.starts[row + 1] {
                // Never for what is too light to be met in all the rounds.
                if (now * self.rates[at]).floor() <= (before * self.rates[at]).floor() {
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
