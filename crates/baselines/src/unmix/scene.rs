//! A spectrum image whose endmembers and abundances are known, for the tests.

use ndarray::{Array2, ArrayView2};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::{Poisson, StandardNormal};

/// Spectra of a square image, and what they are made of.
pub struct Scene {
    /// Without noise, (N, D).
    pub clean: Array2<f64>,
    pub endmembers: Array2<f64>,
    pub abundances: Array2<f64>,
}

/// Energy-loss spectra: plasmon peaks and edges on a falling background.
fn spectra(r: usize, d: usize) -> Array2<f64> {
    Array2::from_shape_fn((r, d), |(i, l)| {
        let x = l as f64 / d as f64;
        let peak = |at: f64, width: f64| (-0.5 * ((x - at) / width).powi(2)).exp();
        let at = 0.12 + 0.09 * i as f64;
        let edge = 0.35 + 0.5 * i as f64 / r as f64;
        let step = if x > edge { (-3.0 * (x - edge)).exp() } else { 0.0 };
        0.25 * (-2.5 * x).exp() + 0.8 * peak(at, 0.04 + 0.01 * i as f64) + 0.5 * step + 0.4 * peak(edge + 0.02, 0.012)
    })
}

impl Scene {
    /// Smooth abundances that are uniform on the simplex taken one by one; and, on the left quarter, sharp regions of
    /// one or two endmembers. No abundance above `purest`.
    pub fn new(side: usize, r: usize, d: usize, purest: f64, seed: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let n = side * side;
        let mut abundances = Array2::zeros((n, r));
        for i in 0..r {
            let waves: Vec<[f64; 4]> = (0..30)
                .map(|_| {
                    let mut normal = || rng.sample::<f64, _>(StandardNormal);
                    [9.0 * normal(), 9.0 * normal(), 10.0 * normal(), normal()]
                })
                .collect();
            let field = |p: usize| {
                let (y, x) = ((p / side) as f64 / side as f64, (p % side) as f64 / side as f64);
                waves.iter().map(|[u, v, phase, height]| height * (u * y + v * x + phase).sin()).sum::<f64>()
            };
            let mut order: Vec<(f64, usize)> = (0..n).map(|p| (field(p), p)).collect();
            order.sort_by(|a, b| a.0.total_cmp(&b.0));
            // Exponential numbers over their sum are uniform on the simplex.
            for (rank, (_, p)) in order.into_iter().enumerate() {
                abundances[(p, i)] = -((rank as f64 + 0.5) / n as f64).ln();
            }
        }
        for (p, mut a) in abundances.rows_mut().into_iter().enumerate() {
            let (y, x) = (p / side, p % side);
            if 4 * x < side {
                let region = 2 * r * y / side;
                a.fill(0.0);
                a[region / 2] = 1.0;
                if region % 2 == 1 {
                    a[(region / 2 + 1) % r] = 0.7;
                }
            }
            let sum = a.sum();
            a /= sum;
            for i in 0..r {
                if a[i] > purest {
                    let rest = 1.0 - a[i];
                    let more = a[i] - purest;
                    a[i] = purest;
                    if rest > 0.0 {
                        for j in (0..r).filter(|j| *j != i) {
                            a[j] *= 1.0 + more / rest;
                        }
                    } else {
                        a[(i + 1) % r] = more;
                    }
                }
            }
        }
        let endmembers = spectra(r, d);
        Self { clean: abundances.dot(&endmembers), endmembers, abundances }
    }

    /// With normal noise of this deviation.
    pub fn with_noise(&self, sd: f64, seed: u64) -> Array2<f64> {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        self.clean.mapv(|v| v + sd * rng.sample::<f64, _>(StandardNormal))
    }

    /// Counts, `per_unit` for a value of 1.
    pub fn counted(&self, per_unit: f64, seed: u64) -> Array2<f64> {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        self.clean.mapv(|v| rng.sample(Poisson::new(v * per_unit + 1e-12).unwrap()) / per_unit)
    }

    /// Which of the found endmembers each true one is, by the least sum of angles.
    pub fn order(&self, found: ArrayView2<'_, f64>) -> Vec<usize> {
        let r = self.endmembers.nrows();
        let mut best = (f64::MAX, Vec::new());
        let mut order: Vec<usize> = (0..r).collect();
        permute(&mut order, 0, &mut |order| {
            let sum: f64 = (0..r).map(|i| self.angle(found, i, order[i])).sum();
            if sum < best.0 {
                best = (sum, order.to_vec());
            }
        });
        best.1
    }

    fn angle(&self, found: ArrayView2<'_, f64>, i: usize, j: usize) -> f64 {
        let (a, b) = (self.endmembers.row(i), found.row(j));
        (a.dot(&b) / (a.dot(&a) * b.dot(&b)).sqrt()).clamp(-1.0, 1.0).acos()
    }

    /// Mean spectral angle of the endmembers in rad, and RMSE of the abundances.
    pub fn errors(&self, found: ArrayView2<'_, f64>, abundances: ArrayView2<'_, f64>) -> (f64, f64) {
        let order = self.order(found);
        let angle = (0..order.len()).map(|i| self.angle(found, i, order[i])).sum::<f64>() / order.len() as f64;
        let off = &self.abundances - &abundances.select(ndarray::Axis(1), &order);
        (angle, off.mapv(|d| d * d).mean().unwrap().sqrt())
    }

    /// Share of the true abundances within intervals.
    pub fn coverage(&self, found: ArrayView2<'_, f64>, low: ArrayView2<'_, f64>, high: ArrayView2<'_, f64>) -> f64 {
        let order = self.order(found);
        let held = self.abundances.indexed_iter().filter(|((n, r), a)| {
            let at = (*n, order[*r]);
            low[at] <= **a && **a <= high[at]
        });
        held.count() as f64 / self.abundances.len() as f64
    }
}

fn permute(order: &mut [usize], from: usize, visit: &mut impl FnMut(&[usize])) {
    if from == order.len() {
        return visit(order);
    }
    for i in from..order.len() {
        order.swap(from, i);
        permute(order, from + 1, visit);
        order.swap(from, i);
    }
}
