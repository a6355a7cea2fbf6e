use ndarray::{Array1, Array2, ArrayView2};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::unmix::histograms::Histograms;
use crate::unmix::truncated::{normal_integral, truncated_normal};
use crate::unmix::vertices::inverse_of_corners;

/// R vertices in R − 1 dimensions, made ready for moves inside.
pub(crate) struct Simplex {
    pub r: usize,
    k: usize,
    /// T, row by row.
    vertices: Vec<f64>,
    /// Changes of the abundances that move a point by 1 along an axis, axis by axis; none if the simplex is flat.
    axes: Vec<f64>,
    /// |tᵢ − tⱼ|², row by row.
    edges: Vec<f64>,
}

impl Simplex {
    pub fn new(vertices: ArrayView2<'_, f64>) -> Self {
        let (r, k) = vertices.dim();
        let axes = inverse_of_corners(vertices).map_or(Vec::new(), |inverse| inverse.iter().skip(r).copied().collect());
        let edge = |(i, j): (usize, usize)| (&vertices.row(i) - &vertices.row(j)).mapv(|d| d * d).sum();
        let edges = Array2::from_shape_fn((r, r), edge).into_raw_vec_and_offset().0;
        Self { r, k, vertices: vertices.iter().copied().collect(), axes, edges }
    }

    /// z − Tᵀa.
    fn residual(&self, a: &[f64], z: &[f64], out: &mut [f64]) {
        out.copy_from_slice(z);
        for (a, vertex) in a.iter().zip(self.vertices.chunks_exact(self.k)) {
            out.iter_mut().zip(vertex).for_each(|(o, t)| *o -= a * t);
        }
    }

    /// One round of draws from p(a | z, T, σ): along each axis, which are independent until a bound is met, then along
    /// an edge from each vertex, which leads along the bounds and onto them. `residual` is z − Tᵀa after.
    ///
    /// `odds` of each endmember are those of its absence: the prior of a set of endmembers is in proportion to those of
    /// the absent ones, that of abundances is uniform on the simplex of the present ones.
    pub fn draw(&self, a: &mut [f64], z: &[f64], sd: f64, odds: &[f64], residual: &mut [f64], rng: &mut ChaCha8Rng) {
        let r = self.r;
        let sum: f64 = a.iter().sum();
        a.iter_mut().for_each(|a| *a /= sum);
        self.residual(a, z, residual);
        if a.iter().all(|a| *a > 0.0) {
            self.draw_along_axes(a, sd, residual, rng);
        }
        for i in 0..r {
            let j = (i + rng.gen_range(1..r)) % r;
            let (square, both) = (self.edges[i * r + j], a[i] + a[j]);
            if square <= 0.0 || both <= 0.0 {
                continue;
            }
            let (from, to) = (&self.vertices[j * self.k..][..self.k], &self.vertices[i * self.k..][..self.k]);
            let ends = || from.iter().zip(to).map(|(f, t)| t - f);
            let along = ends().zip(residual.iter()).map(|(d, r)| d * r).sum::<f64>();
            // Of what i and j share, the part of i is normal, or nothing, or all.
            let (mean, sd) = (a[i] + along / square, sd / square.sqrt());
            let others = a.iter().filter(|a| **a > 0.0).count() - usize::from(a[i] > 0.0) - usize::from(a[j] > 0.0);
            let volume = (others + 1) as f64;
            let (of_i, of_j) = shared(rng, mean, sd, both, odds[i] / volume, odds[j] / volume);
            let step = of_i - a[i];
            (a[i], a[j]) = (of_i, of_j);
            residual.iter_mut().zip(ends()).for_each(|(r, d)| *r -= step * d);
        }
    }

    fn draw_along_axes(&self, a: &mut [f64], sd: f64, residual: &mut [f64], rng: &mut ChaCha8Rng) {
        for (axis, change) in self.axes.chunks_exact(self.r).enumerate() {
            let (mut low, mut high) = (f64::NEG_INFINITY, f64::INFINITY);
            for (a, v) in a.iter().zip(change) {
                let until = -a / v;
                if *v > 0.0 {
                    low = low.max(until);
                } else if *v < 0.0 {
                    high = high.min(until);
                }
            }
            let step = truncated_normal(rng, residual[axis], sd, low.min(0.0), high.max(0.0));
            a.iter_mut().zip(change).for_each(|(a, v)| *a = (*a + step * v).max(f64::MIN_POSITIVE));
            residual[axis] -= step;
        }
    }
}

/// Two parts of `all`, the first of them 0 or all of it with these weights, or between them with a normal density of
/// weight 1.
fn shared(rng: &mut ChaCha8Rng, mean: f64, sd: f64, all: f64, none: f64, whole: f64) -> (f64, f64) {
    if none > 0.0 || whole > 0.0 {
        let peak = mean.clamp(0.0, all);
        let density = |x: f64| (0.5 * ((peak - x) / sd) * ((peak + x - 2.0 * mean) / sd)).exp();
        let (none, whole) = (none * density(0.0), whole * density(all));
        let between = sd * normal_integral(-mean / sd, (all - mean) / sd);
        let drawn = rng.r#gen::<f64>() * (none + whole + between);
        if drawn < none {
            return (0.0, all);
        }
        if drawn < none + whole {
            return (all, 0.0);
        }
    }
    // 0 is for absence alone, whatever is rounded.
    let first = truncated_normal(rng, mean, sd, 0.0, all);
    (first.max(f64::MIN_POSITIVE), (all - first).max(f64::MIN_POSITIVE))
}

/// What rows say of the endmembers, summed with the weights 1/g.
#[derive(Clone)]
pub(crate) struct Sums {
    /// AᵀWA, (R, R).
    pub shares: Array2<f64>,
    /// AᵀWZ, (R, R − 1).
    pub points: Array2<f64>,
    /// Rows in which each endmember is present, R.
    pub present: Array1<f64>,
}

impl Sums {
    pub fn zeros(r: usize, k: usize) -> Self {
        Self { shares: Array2::zeros((r, r)), points: Array2::zeros((r, k)), present: Array1::zeros(r) }
    }
}

/// Sums over the rows that have endmember i.
#[derive(Clone, Copy)]
pub(crate) struct AlongEdge {
    /// How many have endmember j as well, and their smallest ratio aⱼ/aᵢ.
    pub both: f64,
    pub least: f64,
    /// Σ w aᵢ² and Σ w aᵢ (z − Tᵀa)·(tᵢ − tⱼ) of the others.
    pub squares: f64,
    pub pull: f64,
}

impl AlongEdge {
    pub const NONE: Self = Self { both: 0.0, least: f64::INFINITY, squares: 0.0, pull: 0.0 };

    pub fn and(self, other: Self) -> Self {
        Self {
            both: self.both + other.both,
            least: self.least.min(other.least),
            squares: self.squares + other.squares,
            pull: self.pull + other.pull,
        }
    }
}

/// Rows that a thread works on, with random numbers of their own.
pub(crate) struct Block {
    rng: ChaCha8Rng,
    r: usize,
    a: Vec<f64>,
    z: Vec<f64>,
    /// √g.
    noise: Vec<f64>,
    count: f64,
    mean: Vec<f64>,
    squares: Vec<f64>,
    histograms: Option<Histograms>,
}

impl Block {
    pub fn new(seed: u64, number: u64, a: ArrayView2<'_, f64>, z: ArrayView2<'_, f64>, variances: &[f64]) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(number);
        let (a, z): (Vec<f64>, Vec<f64>) = (a.iter().copied().collect(), z.iter().copied().collect());
        let r = a.len() / variances.len();
        let noise = variances.iter().map(|g| g.sqrt()).collect();
        let (mean, squares) = (vec![0.0; a.len()], vec![0.0; a.len()]);
        Self { rng, r, a, z, noise, count: 0.0, mean, squares, histograms: None }
    }

    /// Abundances, row by row.
    #[cfg(test)]
    pub fn now(&self) -> &[f64] {
        &self.a
    }

    /// A round of draws for each row, and what they sum to.
    pub fn draw(&mut self, simplex: &Simplex, sd: f64, odds: &[f64]) -> Sums {
        let (r, k) = (simplex.r, simplex.k);
        let mut residual = vec![0.0; k];
        let mut sums = Sums::zeros(r, k);
        let rows = self.a.chunks_exact_mut(r).zip(self.z.chunks_exact(k)).zip(&self.noise);
        for ((a, z), noise) in rows {
            simplex.draw(a, z, sd * noise, odds, &mut residual, &mut self.rng);
            let weight = 1.0 / (noise * noise);
            for (i, ai) in a.iter().enumerate() {
                let share = ai * weight;
                sums.present[i] += f64::from(*ai > 0.0);
                sums.shares.row_mut(i).iter_mut().zip(a.iter()).for_each(|(s, aj)| *s += share * aj);
                sums.points.row_mut(i).iter_mut().zip(z).for_each(|(s, z)| *s += share * z);
            }
        }
        sums
    }

    /// What the rows let happen when vertex i moves along the edge from j.
    pub fn along_edge(&self, vertices: ArrayView2<'_, f64>, i: usize, j: usize) -> AlongEdge {
        let k = vertices.ncols();
        let edge = &vertices.row(i) - &vertices.row(j);
        let along = vertices.dot(&edge);
        let mut out = AlongEdge::NONE;
        let rows = self.a.chunks_exact(self.r).zip(self.z.chunks_exact(k)).zip(&self.noise);
        for ((a, z), noise) in rows.filter(|((a, _), _)| a[i] > 0.0) {
            if a[j] > 0.0 {
                out.both += 1.0;
                out.least = out.least.min(a[j] / a[i]);
            } else {
                let residual = z.iter().zip(&edge).map(|(z, d)| z * d).sum::<f64>()
                    - a.iter().zip(&along).map(|(a, t)| a * t).sum::<f64>();
                let weight = 1.0 / (noise * noise);
                out.squares += weight * a[i] * a[i];
                out.pull += weight * a[i] * residual;
            }
        }
        out
    }

    /// aᵢ → aᵢ(1 − κ), aⱼ → aⱼ + κaᵢ, of the rows that have both.
    pub fn shift(&mut self, i: usize, j: usize, part: f64) {
        for a in self.a.chunks_exact_mut(self.r).filter(|a| a[i] > 0.0 && a[j] > 0.0) {
            let moved = part * a[i];
            a[i] = (a[i] - moved).max(f64::MIN_POSITIVE);
            a[j] = (a[j] + moved).max(f64::MIN_POSITIVE);
        }
    }

    /// Takes the abundances of now into the moments and, if there are, the histograms.
    pub fn record(&mut self) {
        self.count += 1.0;
        let moments = self.mean.iter_mut().zip(&mut self.squares);
        for (i, (a, (mean, squares))) in self.a.iter().zip(moments).enumerate() {
            let off = a - *mean;
            *mean += off / self.count;
            *squares += off * (a - *mean);
            if let Some(histograms) = &mut self.histograms {
                histograms.add(i, *a);
            }
        }
    }

    /// Begins the moments again, with histograms where the abundances have been.
    pub fn begin(&mut self) {
        let moments: Vec<(f64, f64)> = self.moments().collect();
        self.histograms = Some(Histograms::around(moments.into_iter()));
        self.count = 0.0;
        self.mean.fill(0.0);
        self.squares.fill(0.0);
    }

    /// Means and standard deviations.
    pub fn moments(&self) -> impl Iterator<Item = (f64, f64)> {
        let count = self.count;
        self.mean.iter().zip(&self.squares).map(move |(m, s)| (*m, (s / (count - 1.0).max(1.0)).sqrt()))
    }

    /// The shortest intervals that hold this share of the samples.
    pub fn intervals(&self, share: f64) -> impl Iterator<Item = (f64, f64)> {
        let histograms = self.histograms.as_ref();
        (0..self.a.len()).filter_map(move |i| histograms.map(|h| h.shortest(i, share)))
    }
}

#[cfg(test)]
mod tests {
    use ndarray::array;

    use super::*;

    /// Mean and deviation of the abundances of a triangle by a fine grid over it.
    fn by_grid(vertices: &Array2<f64>, z: &[f64], sd: f64) -> ([f64; 3], [f64; 3]) {
        let n = 1500;
        let (mut total, mut first, mut second) = (0.0, [0.0; 3], [0.0; 3]);
        for i in 0..n {
            for j in 0..n - i {
                let a = [(i as f64 + 1.0 / 3.0) / n as f64, (j as f64 + 1.0 / 3.0) / n as f64];
                let a = [a[0], a[1], 1.0 - a[0] - a[1]];
                let at = |k: usize| (0..3).map(|r| a[r] * vertices[(r, k)]).sum::<f64>();
                let square = (0..2).map(|k| (z[k] - at(k)).powi(2)).sum::<f64>();
                let p = (-0.5 * square / (sd * sd)).exp();
                total += p;
                for r in 0..3 {
                    first[r] += p * a[r];
                    second[r] += p * a[r] * a[r];
                }
            }
        }
        let mean = first.map(|f| f / total);
        (mean, std::array::from_fn(|r| (second[r] / total - mean[r] * mean[r]).sqrt()))
    }

    #[test]
    fn draws_are_from_the_posterior() {
        // Long and thin, so that the abundances hang together.
        let vertices = array![[0.0, 0.0], [4.0, 0.3], [3.5, 1.0]];
        let simplex = Simplex::new(vertices.view());
        let points = [[2.0, 0.3], [-0.5, -0.2], [5.0, 0.8], [3.8, 0.6]];
        for (n, z) in points.iter().enumerate() {
            for sd in [0.05, 0.5, 5.0] {
                let (mean, deviation) = by_grid(&vertices, z, sd);
                let thirds = Array2::from_elem((1, 3), 1.0 / 3.0);
                let z = Array2::from_shape_fn((1, 2), |(_, k)| z[k]);
                let mut block = Block::new(n as u64, 0, thirds.view(), z.view(), &[1.0]);
                for _ in 0..20_000 {
                    block.draw(&simplex, sd, &[0.0; 3]);
                    block.record();
                }
                for (r, (m, s)) in block.moments().enumerate() {
                    assert!(
                        (m - mean[r]).abs() < 0.05 * deviation[r] + 1e-3,
                        "{n} {sd} {r}: mean {m}, not {}",
                        mean[r]
                    );
                    assert!(
                        (s - deviation[r]).abs() < 0.06 * deviation[r] + 1e-4,
                        "{n} {sd} {r}: sd {s}, not {}",
                        deviation[r]
                    );
                }
            }
        }
    }

    #[test]
    fn absence_has_the_probability_of_its_prior() {
        // Points of two endmembers at 0 and 1: weights 1, 2 and ∫exp(−(x − z)²/2σ²) by the middle of 2,000 steps.
        let vertices = array![[0.0], [1.0]];
        let simplex = Simplex::new(vertices.view());
        for (n, (z, sd)) in [(0.1, 0.1), (0.8, 0.3), (-0.2, 0.1), (0.5, 0.001), (0.5, 20.0)].into_iter().enumerate() {
            // The first endmember is 0: its absence is a place at 1.
            let odds = [1.0, 2.0];
            let density = |x: f64| (-0.5 * (x - z) * (x - z) / (sd * sd) + 0.5 * (z.min(0.0) / sd).powi(2)).exp();
            let between = (0..2000).map(|i| density((f64::from(i) + 0.5) / 2000.0) / 2000.0).sum::<f64>();
            let weights = [odds[0] * density(1.0), odds[1] * density(0.0)];
            let total = weights[0] + weights[1] + between;
            let half = Array2::from_elem((1, 2), 0.5);
            let mut block = Block::new(n as u64, 0, half.view(), Array2::from_elem((1, 1), z).view(), &[1.0]);
            let (mut absent, rounds) = ([0.0; 2], 20_000);
            for _ in 0..rounds {
                let present = block.draw(&simplex, sd, &odds).present;
                (0..2).for_each(|i| absent[i] += (1.0 - present[i]) / f64::from(rounds));
            }
            for i in 0..2 {
                assert!((absent[i] - weights[i] / total).abs() < 0.02, "{z} {sd} {i}: {absent:?} {weights:?} {total}");
            }
        }
    }

    #[test]
    fn a_flat_simplex_is_sampled_along_its_edges() {
        let vertices = array![[0.0, 0.0], [1.0, 1.0], [2.0, 2.0]];
        let simplex = Simplex::new(vertices.view());
        let thirds = Array2::from_elem((1, 3), 1.0 / 3.0);
        let mut block = Block::new(0, 0, thirds.view(), array![[1.0, 1.0]].view(), &[1.0]);
        for _ in 0..2000 {
            block.draw(&simplex, 0.1, &[0.0; 3]);
            block.record();
        }
        let moments: Vec<(f64, f64)> = block.moments().collect();
        // a₁ = a₃ nearly, any of 0 to ½.
        assert!((moments[0].0 - moments[2].0).abs() < 0.05 && moments[1].1 > 0.2, "{moments:?}");
    }

    #[test]
    fn what_is_present_stays_so_however_little_it_is() {
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        for (mean, all) in [(0.0, 1e-310), (5.0, 0.5), (-5.0, 0.5), (1e30, 1.0), (-1e30, 1.0), (1e140, 1.0)] {
            for _ in 0..50 {
                let (first, second) = shared(&mut rng, mean, 1e-3, all, 0.0, 0.0);
                assert!(
                    first > 0.0 && second > 0.0 && first + second <= all + 1e-300,
                    "{mean} {all}: {first} {second}"
                );
            }
            let (first, second) = shared(&mut rng, mean, 1e-3, all, 1.0, 1.0);
            assert!(first >= 0.0 && second >= 0.0 && first + second > 0.0, "{mean} {all}: {first} {second}");
        }
    }

    #[test]
    fn shifts_keep_the_fit() {
        let vertices = array![[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]];
        let a = array![[0.2, 0.5, 0.3], [0.6, 0.1, 0.3]];
        let mut block = Block::new(0, 0, a.view(), Array2::zeros((2, 2)).view(), &[1.0; 2]);
        let along = block.along_edge(vertices.view(), 0, 1);
        assert!(along.both == 2.0 && (along.least - 0.1 / 0.6).abs() < 1e-12 && along.squares == 0.0);
        let s = 0.1f64;
        block.shift(0, 1, 1.0 - (-s).exp());
        let mut moved = vertices.clone();
        let change = (s.exp() - 1.0) * (&vertices.row(0) - &vertices.row(1));
        moved.row_mut(0).zip_mut_with(&change, |v, c| *v += c);
        let after = Array2::from_shape_vec((2, 3), block.a.clone()).unwrap();
        assert!((after.dot(&moved) - a.dot(&vertices)).iter().all(|d| d.abs() < 1e-12));
    }
}
