/// Height, y, x, σ and background of `A·exp(−((Y−y)² + (X−x)²)/2σ²) + b`.
pub(crate) type Gaussian = [f64; 5];

/// A rectangle of pixels about an atom, with what the fit may look at.
pub(crate) struct Window {
    pub(crate) top: usize,
    pub(crate) left: usize,
    pub(crate) rows: usize,
    pub(crate) columns: usize,
    /// Values, row by row.
    pub(crate) data: Vec<f64>,
    /// Whether the pixel counts.
    pub(crate) used: Vec<bool>,
}

impl Window {
    /// `exp(−(i − centre)²/2σ²)` for the rows and the columns of the window: their products are the Gaussian.
    fn profiles(&self, y: f64, x: f64, sigma: f64) -> (Vec<f64>, Vec<f64>) {
        let line = |start: usize, n: usize, centre: f64| {
            (0..n).map(|i| (-0.5 * (((start + i) as f64 - centre) / sigma).powi(2)).exp()).collect()
        };
        (line(self.top, self.rows, y), line(self.left, self.columns, x))
    }

    /// Takes another atom, without its background, off the data.
    pub(crate) fn subtract(&mut self, [height, y, x, sigma, _]: Gaussian) {
        let (py, px) = self.profiles(y, x, sigma);
        for (row, ey) in self.data.chunks_mut(self.columns).zip(py) {
            row.iter_mut().zip(&px).for_each(|(d, ex)| *d -= height * ey * ex);
        }
    }

    /// Sum of squares, and with it gradient and Hessian (Gauss–Newton) if asked for.
    fn cost(&self, p: &Gaussian, mut normal: Option<(&mut [f64; 5], &mut [[f64; 5]; 5])>) -> f64 {
        let [height, y, x, sigma, base] = *p;
        let (py, px) = self.profiles(y, x, sigma);
        let inverse = 1.0 / (sigma * sigma);
        let mut sum = 0.0;
        for (i, ey) in py.iter().enumerate() {
            let dy = (self.top + i) as f64 - y;
            for (j, ex) in px.iter().enumerate() {
                let k = i * self.columns + j;
                if !self.used[k] {
                    continue;
                }
                let dx = (self.left + j) as f64 - x;
                let bell = ey * ex;
                let residual = self.data[k] - height * bell - base;
                sum += residual * residual;
                if let Some((gradient, hessian)) = &mut normal {
                    let slope = height * bell * inverse;
                    let row = [bell, slope * dy, slope * dx, slope * (dy * dy + dx * dx) / sigma, 1.0];
                    for (a, ra) in row.iter().enumerate() {
                        gradient[a] += ra * residual;
                        for (b, rb) in row.iter().enumerate().take(a + 1) {
                            hessian[a][b] += ra * rb;
                        }
                    }
                }
            }
        }
        sum
    }

    /// Height and background of least squares for a given place and width, and the share of the variance explained.
    pub(crate) fn linear(&self, y: f64, x: f64, sigma: f64) -> Option<(f64, f64, f64)> {
        let (py, px) = self.profiles(y, x, sigma);
        let (mut n, mut sg, mut sgg, mut sd, mut sdd, mut sgd) = (0.0, 0.0, 0.0, 0.0, 0.0, 0.0);
        for (k, (&d, _)) in self.data.iter().zip(&self.used).enumerate().filter(|(_, (_, used))| **used) {
            let g = py[k / self.columns] * px[k % self.columns];
            n += 1.0;
            sg += g;
            sgg += g * g;
            sd += d;
            sdd += d * d;
            sgd += g * d;
        }
        let (vg, vd, covariance) = (sgg - sg * sg / n, sdd - sd * sd / n, sgd - sg * sd / n);
        if !(vg > 1e-12 && vd > 0.0) {
            return None;
        }
        let height = covariance / vg;
        let explained = (covariance * covariance / (vg * vd)).clamp(0.0, 1.0);
        Some((height, (sd - height * sg) / n, if height > 0.0 { explained } else { 0.0 }))
    }

    /// Levenberg–Marquardt from `start`, with the width free or held; `None` if it does not settle.
    ///
    /// Marquardt, J. Soc. Ind. Appl. Math. 11, 431 (1963).
    pub(crate) fn fit(&self, start: Gaussian, free_width: bool) -> Option<Gaussian> {
        let mut p = start;
        let mut damping = 1e-3;
        for _ in 0..STEPS {
            let (mut gradient, mut hessian) = ([0.0; 5], [[0.0; 5]; 5]);
            let cost = self.cost(&p, Some((&mut gradient, &mut hessian)));
            if !free_width {
                gradient[WIDTH] = 0.0;
                (0..5).for_each(|k| hessian[WIDTH.max(k)][WIDTH.min(k)] = f64::from(u8::from(k == WIDTH)));
            }
            let (next, step) = loop {
                let step = solve(&hessian, &gradient, damping)?;
                let mut next = p;
                next.iter_mut().zip(step).for_each(|(v, s)| *v += s);
                // The width must not pass through 0, and no step may leave the window.
                let sane =
                    next[3] > 0.2 * start[3] && next[3] < 5.0 * start[3] && step[1].hypot(step[2]) < 2.0 * start[3];
                if sane && self.cost(&next, None) <= cost {
                    break (next, step);
                }
                damping *= 8.0;
                if damping >= 1e8 {
                    // No downhill step is left: a minimum, if the gradient says so.
                    return flat(&gradient, &hessian, cost).then_some(p);
                }
            };
            p = next;
            damping = (0.2 * damping).max(1e-9);
            if step[1].abs().max(step[2].abs()).max(step[3].abs()) < TOLERANCE {
                return p.iter().all(|v| v.is_finite()).then_some(p);
            }
        }
        None
    }
}

/// Index of σ.
const WIDTH: usize = 3;
/// Most steps of a fit.
const STEPS: usize = 40;
/// A fit has settled when place and width move less than this, in pixels.
const TOLERANCE: f64 = 1e-4;

/// Whether every scaled component of the gradient is negligible.
fn flat(gradient: &[f64; 5], hessian: &[[f64; 5]; 5], cost: f64) -> bool {
    (0..5).all(|a| gradient[a].abs() <= 1e-5 * (hessian[a][a] * cost).sqrt() + 1e-12)
}

/// Solves `(H + damping·diag H) step = gradient` by Cholesky; `H` by its lower half.
fn solve(hessian: &[[f64; 5]; 5], gradient: &[f64; 5], damping: f64) -> Option<[f64; 5]> {
    let mut l = [[0.0; 5]; 5];
    for i in 0..5 {
        for j in 0..=i {
            let diagonal = if i == j { 1.0 + damping } else { 1.0 };
            let sum = hessian[i][j] * diagonal - (0..j).map(|k| l[i][k] * l[j][k]).sum::<f64>();
            if i == j {
                if sum.is_nan() || sum <= 0.0 {
                    return None;
                }
                l[i][i] = sum.sqrt();
            } else {
                l[i][j] = sum / l[j][j];
            }
        }
    }
    let mut step = *gradient;
    for i in 0..5 {
        step[i] = (step[i] - (0..i).map(|k| l[i][k] * step[k]).sum::<f64>()) / l[i][i];
    }
    for i in (0..5).rev() {
        step[i] = (step[i] - (i + 1..5).map(|k| l[k][i] * step[k]).sum::<f64>()) / l[i][i];
    }
    step.iter().all(|s| s.is_finite()).then_some(step)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn window(p: Gaussian) -> Window {
        let mut w =
            Window { top: 3, left: 5, rows: 19, columns: 17, data: vec![p[4]; 19 * 17], used: vec![true; 19 * 17] };
        w.subtract([-p[0], p[1], p[2], p[3], 0.0]);
        w
    }

    proptest! {
        #[test]
        fn the_gradient_is_that_of_the_cost(
            p in (0.5f64..3.0, 9.0f64..15.0, 10.0f64..16.0, 1.0f64..4.0, -1.0f64..1.0),
        ) {
            let w = window([1.0, 12.0, 13.0, 2.0, 0.1]);
            let p = [p.0, p.1, p.2, p.3, p.4];
            let (mut gradient, mut hessian) = ([0.0; 5], [[0.0; 5]; 5]);
            w.cost(&p, Some((&mut gradient, &mut hessian)));
            for a in 0..5 {
                let moved = |h: f64| { let mut q = p; q[a] += h; w.cost(&q, None) };
                let numeric = (moved(1e-5) - moved(-1e-5)) / 2e-5;
                prop_assert!((numeric + 2.0 * gradient[a]).abs() < 1e-5 * (1.0 + numeric.abs()), "{} {}", a, numeric);
            }
        }

        #[test]
        fn a_noiseless_gaussian_is_recovered(
            p in (0.5f64..3.0, 10.5f64..13.5, 11.5f64..14.5, 1.2f64..3.5, -1.0f64..1.0),
        ) {
            let truth = [p.0, p.1, p.2, p.3, p.4];
            let found = window(truth).fit([1.0, 12.0, 13.0, 2.0, 0.0], true).unwrap();
            for (f, t) in found.iter().zip(truth) { prop_assert!((f - t).abs() < 1e-3, "{:?} {:?}", found, truth); }
            let held = window(truth).fit([1.0, 12.0, 13.0, 1.1 * truth[3], 0.0], false).unwrap();
            prop_assert!(held[3] == 1.1 * truth[3] && (held[1] - truth[1]).abs() < 1e-2, "{:?} {:?}", held, truth);
        }
    }
}
