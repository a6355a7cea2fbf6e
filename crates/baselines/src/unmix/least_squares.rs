use ndarray::{Array2, ArrayView2, Axis};
use rayon::prelude::*;

use crate::products::BLOCK;

/// Beyond so many times its size, a point's place along the simplex is lost in its rounding.
const FAR: f64 = 1e12;

/// Abundances of points among R vertices: the a ≥ 0 with Σa = 1 that makes |z − Tᵀa|² least.
///
/// A point beyond 10¹² times the size of the simplex is brought there: its own rounding leaves no more of it.
///
/// An active set of the R×R normal equations, which ends where the conditions of Karush, Kuhn and Tucker hold to
/// rounding.
///
/// # Shapes
/// (N, R − 1), (R, R − 1) → (N, R).
///
/// Reference: Heinz & Chang 2001, IEEE Trans. Geosci. Remote Sens. 39, 529.
pub(crate) fn abundances(points: ArrayView2<'_, f64>, vertices: ArrayView2<'_, f64>) -> Array2<f64> {
    let problem = Problem::new(vertices);
    let mut out = Array2::zeros((points.nrows(), vertices.nrows()));
    let blocks = out.axis_chunks_iter_mut(Axis(0), BLOCK).into_par_iter();
    blocks.zip(points.axis_chunks_iter(Axis(0), BLOCK)).for_each(|(mut out, points)| {
        let along = points.dot(&vertices.t());
        let mut work = Work::new(problem.r);
        for (mut a, c) in out.rows_mut().into_iter().zip(along.rows()) {
            let size = c.iter().fold(0.0, |size: f64, c| size.max(c.abs()));
            let near = (FAR * problem.scale / size).min(1.0);
            work.target.iter_mut().zip(c).for_each(|(t, c)| *t = near * c);
            problem.solve(&mut work);
            let sum: f64 = work.a.iter().sum();
            a.iter_mut().zip(&work.a).for_each(|(a, w)| *a = *w / sum);
        }
    });
    out
}

/// The normal equations G·a = c + ν, in which any number may be added to all of G, because Σa is 1.
struct Problem {
    r: usize,
    gram: Vec<f64>,
    /// Size of the numbers of G.
    scale: f64,
}

/// What one row needs, made once for many.
struct Work {
    target: Vec<f64>,
    a: Vec<f64>,
    /// The solution on the free numbers, and what it gains with ν.
    x: Vec<f64>,
    gain: Vec<f64>,
    free: Vec<usize>,
    factor: Vec<f64>,
}

impl Work {
    fn new(r: usize) -> Self {
        let zeros = vec![0.0; r];
        Self {
            target: zeros.clone(),
            a: zeros.clone(),
            x: zeros.clone(),
            gain: zeros,
            free: Vec::with_capacity(r),
            factor: vec![0.0; r * r],
        }
    }
}

impl Problem {
    fn new(vertices: ArrayView2<'_, f64>) -> Self {
        let gram = vertices.dot(&vertices.t());
        let r = vertices.nrows();
        let scale = gram.diag().sum() / r as f64;
        Self { r, gram: gram.iter().map(|g| g + scale).collect(), scale }
    }

    fn solve(&self, work: &mut Work) {
        work.free.clear();
        work.free.extend(0..self.r);
        self.solve_free(work);
        if work.x.iter().all(|x| *x >= 0.0) {
            work.a.copy_from_slice(&work.x);
            return;
        }
        let sum: f64 = work.x.iter().map(|x| x.max(0.0)).sum();
        work.a.iter_mut().zip(&work.x).for_each(|(a, x)| *a = x.max(0.0) / sum);
        let a = &work.a;
        work.free.retain(|i| a[*i] > 0.0);
        let size = work.target.iter().fold(self.scale, |m, c| m.max(c.abs()));
        // Each round lowers the sum of squares, so no free set comes twice; the end is for rounding.
        for _ in 0..10 * self.r + 20 {
            self.solve_free(work);
            match self.step(work) {
                Some(emptied) => work.free.retain(|i| *i != emptied),
                None => match self.wanted(work, 1e-13 * size) {
                    Some(i) => work.free.push(i),
                    None => return,
                },
            }
        }
    }

    /// Moves towards the solution until a number is 0, which it tells; to the solution if none is.
    fn step(&self, work: &mut Work) -> Option<usize> {
        let (mut length, mut emptied) = (1.0, None);
        for (&i, &x) in work.free.iter().zip(&work.x) {
            if x < 0.0 {
                let until = work.a[i] / (work.a[i] - x);
                if until < length || emptied.is_none() {
                    (length, emptied) = (until, Some(i));
                }
            }
        }
        for (&i, &x) in work.free.iter().zip(&work.x) {
            work.a[i] = if emptied == Some(i) { 0.0 } else { (work.a[i] + length * (x - work.a[i])).max(0.0) };
        }
        emptied
    }

    /// The number at 0 that lowers the sum of squares fastest when it grows.
    fn wanted(&self, work: &Work, tolerance: f64) -> Option<usize> {
        let slope = |i: usize| {
            let row = &self.gram[i * self.r..][..self.r];
            row.iter().zip(&work.a).map(|(g, a)| g * a).sum::<f64>() - work.target[i]
        };
        let level = work.free.iter().map(|i| slope(*i)).sum::<f64>() / work.free.len() as f64;
        let fixed = (0..self.r).filter(|i| !work.free.contains(i)).map(|i| (slope(i), i));
        fixed.filter(|(s, _)| *s < level - tolerance).min_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, i)| i)
    }

    /// The solution without bounds on the free numbers, the others being 0.
    fn solve_free(&self, work: &mut Work) {
        let Work { target, x, gain, free, factor, .. } = work;
        let n = free.len();
        for (row, &i) in free.iter().enumerate() {
            for (column, &j) in free[..=row].iter().enumerate() {
                let dot: f64 = (0..column).map(|m| factor[row * n + m] * factor[column * n + m]).sum();
                let left = self.gram[i * self.r + j] - dot;
                factor[row * n + column] = if row == column {
                    left.max(1e-15 * self.scale + f64::MIN_POSITIVE).sqrt()
                } else {
                    left / factor[column * n + column]
                };
            }
        }
        x.truncate(0);
        x.extend(free.iter().map(|i| target[*i]));
        gain.truncate(0);
        gain.resize(n, 1.0);
        for side in [&mut *x, &mut *gain] {
            for i in 0..n {
                let dot: f64 = (0..i).map(|m| factor[i * n + m] * side[m]).sum();
                side[i] = (side[i] - dot) / factor[i * n + i];
            }
            for i in (0..n).rev() {
                let dot: f64 = (i + 1..n).map(|m| factor[m * n + i] * side[m]).sum();
                side[i] = (side[i] - dot) / factor[i * n + i];
            }
        }
        let more = (1.0 - x.iter().sum::<f64>()) / gain.iter().sum::<f64>();
        x.iter_mut().zip(gain.iter()).for_each(|(x, g)| *x += more * g);
    }
}

#[cfg(test)]
mod tests {
    use ndarray::Array1;
    use rand::{Rng, SeedableRng};
    use rand_chacha::ChaCha8Rng;
    use rand_distr::{Exp1, StandardNormal};

    use super::*;

    #[test]
    fn the_conditions_of_the_least_hold() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        for r in [2, 3, 4, 7, 12] {
            let vertices = Array2::from_shape_fn((r, r - 1), |_| rng.sample::<f64, _>(StandardNormal));
            let mut points = Array2::from_shape_fn((2000, r - 1), |_| 1.5 * rng.sample::<f64, _>(StandardNormal));
            for mut z in points.rows_mut().into_iter().step_by(2) {
                let a = Array1::from_shape_fn(r, |_| rng.sample::<f64, _>(Exp1));
                z.assign(&vertices.t().dot(&(&a / a.sum())));
            }
            let found = abundances(points.view(), vertices.view());
            let (mut at_bound, mut inside) = (0, 0);
            for (a, z) in found.rows().into_iter().zip(points.rows()) {
                assert!((a.sum() - 1.0).abs() < 1e-10 && a.iter().all(|v| *v >= 0.0));
                // Of the gradient, equal where a is above 0, and not smaller elsewhere.
                let slope = vertices.dot(&(vertices.t().dot(&a) - z));
                let least = slope.iter().copied().fold(f64::MAX, f64::min);
                assert!(slope.iter().zip(a).all(|(s, a)| *a == 0.0 || s - least < 1e-8), "{a} {slope}");
                if a.iter().any(|v| *v == 0.0) { at_bound += 1 } else { inside += 1 }
            }
            assert!(at_bound > 100 && inside >= 1000, "{r}: {at_bound} {inside}");
        }
    }

    #[test]
    fn agrees_with_scipy() {
        // scipy.optimize.minimize(method="SLSQP") of |z − Tᵀa|² for a ≥ 0, Σa = 1.
        let vertices = ndarray::array![[1.0, 0.2], [-0.5, 1.0], [-0.4, -0.9]];
        let points = ndarray::array![[0.1, 0.1], [2.0, 0.5], [0.0, 1.5], [-1.0, 0.0]];
        let expected = ndarray::array![
            [0.37906137, 0.30685921, 0.31407942],
            [1.0, 0.0, 0.0],
            [0.12110727, 0.87889273, 0.0],
            [0.0, 0.48895028, 0.51104972]
        ];
        let found = abundances(points.view(), vertices.view());
        assert!((&found - &expected).iter().all(|d| d.abs() < 1e-6), "{found}");
    }

    #[test]
    fn points_far_away_still_share_one() {
        let vertices = ndarray::array![[1.0, 0.2], [-0.5, 1.0], [-0.4, -0.9]];
        for size in [1e6, 1e12, 1e100, 1e139] {
            let points: Array2<f64> = size * ndarray::array![[1.0, 0.1], [-1.0, 1.0], [-1.0, 0.05], [0.3, -1.0]];
            let found = abundances(points.view(), vertices.view());
            assert!(found.iter().all(|a| (0.0..=1.0).contains(a)), "{found}");
            assert!((found.sum_axis(Axis(1)) - 1.0).iter().all(|d| d.abs() < 1e-12), "{found}");
            assert!((found[(0, 0)] - 1.0).abs() < 1e-3 && (found[(1, 1)] - 1.0).abs() < 1e-3, "{found}");
        }
    }

    #[test]
    fn vertices_that_are_one_share() {
        let vertices = ndarray::array![[0.0, 1.0], [0.0, 1.0], [1.0, 0.0]];
        let found = abundances(ndarray::array![[0.5, 0.5], [3.0, 0.0]].view(), vertices.view());
        assert!(found.iter().all(|v| (0.0..=1.0).contains(v)));
        assert!((found[(0, 2)] - 0.5).abs() < 1e-6 && (found[(1, 2)] - 1.0).abs() < 1e-6, "{found}");
    }
}
