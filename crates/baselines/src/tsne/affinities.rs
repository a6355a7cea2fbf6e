//! How much rows belong together: Gaussians as wide as the density around each row asks for.

use ndarray::{Array2, Axis};
use rayon::prelude::*;

use crate::affinities::Affinities;
use crate::neighbours::Neighbours;

/// Nats by which the entropy may miss that of the perplexity.
const TOLERANCE: f64 = 1e-6;

/// pⱼ = exp(−β dⱼ²) / Σₖ exp(−β dₖ²), of that β for which the entropy −Σ pⱼ ln pⱼ is ln `perplexity`. Equal distances
/// have one entropy, whatever β: then all pⱼ are equal.
pub(crate) fn conditional(distances: &[f64], perplexity: f64) -> Vec<f64> {
    let least = distances.iter().fold(f64::INFINITY, |least, d| least.min(*d));
    // Differences of squares, without their cancellation.
    let squares: Vec<f64> = distances.iter().map(|d| (d - least) * (d + least)).collect();
    let mean = squares.iter().sum::<f64>() / squares.len() as f64;
    let mut weights = vec![1.0; squares.len()];
    if mean > 0.0 {
        let (mut low, mut high, mut beta) = (0.0, f64::INFINITY, 1.0);
        for _ in 0..200 {
            let (mut sum, mut first, mut second) = (0.0, 0.0, 0.0);
            for (weight, square) in weights.iter_mut().zip(&squares) {
                let square = square / mean;
                *weight = (-beta * square).exp();
                sum += *weight;
                first += *weight * square;
                second += *weight * square * square;
            }
            let (first, second) = (first / sum, second / sum);
            let off = sum.ln() + beta * first - perplexity.ln();
            if off.abs() < TOLERANCE {
                break;
            }
            *(if off > 0.0 { &mut low } else { &mut high }) = beta;
            // Newton's step: dH/dβ = −β · variance of the squares.
            let newton = beta + off / (beta * (second - first * first));
            beta = if newton > low && newton < high {
                newton.min(4.0 * beta)
            } else if high.is_finite() {
                0.5 * (low + high)
            } else {
                4.0 * beta
            };
        }
    }
    let sum: f64 = weights.iter().sum();
    weights.into_iter().map(|w| w / sum).collect()
}

/// pᵢⱼ = (pⱼ|ᵢ + pᵢ|ⱼ) / 2N over the neighbours; together 1.
pub(crate) fn joint(near: &Neighbours, perplexity: f64) -> Affinities {
    let mut weights = Array2::zeros(near.distances.dim());
    let rows = weights.axis_iter_mut(Axis(0)).into_par_iter().zip(near.distances.axis_iter(Axis(0)));
    rows.for_each(|(mut row, distances)| {
        let found = conditional(&distances.to_vec(), perplexity);
        row.iter_mut().zip(found).for_each(|(w, p)| *w = p);
    });
    let twice = 2.0 * near.rows.nrows() as f64;
    Affinities::symmetric(near, &weights, |to, from| (to + from) / twice)
}

#[cfg(test)]
mod tests {
    use ndarray::{Array2, array};

    use super::*;
    use crate::neighbours::nearest;

    #[test]
    fn the_entropy_is_that_of_the_perplexity() {
        for scale in [1e-120, 1e-3, 1.0, 1e120] {
            for shift in [0.0, 1.0, 300.0] {
                let distances: Vec<f64> = (0..90).map(|i| scale * (shift + f64::from(i * i % 37) / 7.0)).collect();
                for perplexity in [3.5, 30.0, 89.0] {
                    let p = conditional(&distances, perplexity);
                    let entropy: f64 = p.iter().map(|p| -p * p.max(1e-300).ln()).sum();
                    assert!((entropy - perplexity.ln()).abs() < 1e-5, "{scale} {shift} {perplexity} {}", entropy.exp());
                }
            }
        }
    }

    #[test]
    fn what_no_width_can_reach_stays_finite() {
        assert_eq!(conditional(&[0.0; 4], 2.0), [0.25; 4]);
        assert_eq!(conditional(&[3.0; 4], 2.0), [0.25; 4]);
        // Four rows are nearest, equally so: fewer cannot be had.
        let p = conditional(&[0.0, 0.0, 0.0, 0.0, 1.0, 2.0], 2.0);
        assert!(p[..4].iter().all(|p| (p - 0.25).abs() < 1e-6), "{p:?}");
        let p = conditional(&[1.0, 2.0, 3.0], 1.0);
        assert!(p[0] > 0.999 && p.iter().all(|p| p.is_finite()), "{p:?}");
    }

    #[test]
    fn joint_affinities_sum_to_one() {
        let rows = Array2::from_shape_fn((40, 3), |(i, j)| ((i * 7 + j * 11) % 23) as f64);
        let found = joint(&nearest(rows.view(), None, 12), 4.0);
        assert!((found.values.iter().map(|v| f64::from(*v)).sum::<f64>() - 1.0).abs() < 1e-6);
        let pair = joint(&nearest(array![[0.0], [1.0], [2.5], [9.0]].view(), None, 3), 1.5);
        assert_eq!(pair.row(0).1[0], pair.row(1).1[0]);
    }
}
