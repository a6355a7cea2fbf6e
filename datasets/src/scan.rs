//! What the microscope does to any crystal: columns, scan distortion, counting noise.

use std::f64::consts::TAU;

use ndarray::Array2;
use parsimon_core::{Refinement, Site};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, Normal, Poisson};
use rayon::prelude::*;

/// Columns are drawn to this many standard deviations, where a Gaussian is down to 4·10⁻⁶.
const REACH: f64 = 5.0;

/// An atomic column: a Gaussian of its own widths, in pixels and counts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Column {
    pub y: f64,
    pub x: f64,
    pub sigma_y: f64,
    pub sigma_x: f64,
    pub peak: f64,
}

impl Column {
    pub fn site(&self) -> Site {
        Site {
            frame: 0,
            y: self.y,
            x: self.x,
            intensity: self.peak,
            width: (self.sigma_y * self.sigma_x).sqrt(),
            quality: 1.0,
            refinement: Refinement::None,
        }
    }
}

/// A generator of its own for each part of a scene, so that parts may be made in any order.
pub(crate) fn stream(seed: u64, stream: u64) -> ChaCha8Rng {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(stream);
    rng
}

/// The scan of an image of `height` rows: how far each row is off, smoothly (drift) and at random (jitter).
#[derive(Debug, Clone)]
pub(crate) struct Scan {
    height: f64,
    drift: f64,
    phase: f64,
    jitter: Vec<f64>,
}

impl Scan {
    /// `drift` and `jitter` (standard deviation) in pixels.
    pub fn new(height: usize, drift: f64, jitter: f64, rng: &mut ChaCha8Rng) -> Self {
        let phase = rng.gen_range(0.0..TAU);
        let normal = |rng: &mut ChaCha8Rng| Normal::new(0.0, jitter).map_or(0.0, |n| n.sample(rng));
        let jitter = (0..height).map(|_| normal(rng)).collect();
        Self { height: height as f64, drift, phase, jitter }
    }

    /// Smooth shift (y, x) of what appears at row `y`: a steady drift and one slow swing.
    fn shift(&self, y: f64) -> (f64, f64) {
        let t = y / self.height - 0.5;
        let swing = (TAU * t + self.phase).sin();
        (0.3 * self.drift * t, self.drift * (0.7 * t + 0.3 * swing))
    }

    /// Where a column of the specimen appears in the image, jitter left out.
    pub fn appear(&self, y: f64, x: f64) -> (f64, f64) {
        let mut seen = y;
        // The shift changes by far less than a pixel per row, so this contracts at once.
        for _ in 0..8 {
            seen = y + self.shift(seen).0;
        }
        (seen, x + self.shift(seen).1)
    }

    fn jitter(&self, row: usize) -> f64 {
        self.jitter.get(row).copied().unwrap_or(0.0)
    }
}

/// Expected counts: `background` at each pixel plus the columns, whose positions are those in the image. The probe
/// stands at points, so a pixel is a sample, not an integral; each row is shifted along x by its jitter.
pub(crate) fn expose(
    columns: &[Column],
    (height, width): (usize, usize),
    scan: &Scan,
    background: impl Fn(f64, f64) -> f64 + Sync,
) -> Array2<f64> {
    let mut values = Array2::zeros((height, width));
    let mut sorted = columns.to_vec();
    sorted.sort_by(|a, b| a.y.total_cmp(&b.y).then(a.x.total_cmp(&b.x)));
    let reach = REACH * columns.iter().map(|c| c.sigma_y).fold(0.0, f64::max);
    let mut rows: Vec<_> = values.rows_mut().into_iter().collect();
    rows.par_iter_mut().enumerate().for_each(|(row, line)| {
        let y = row as f64;
        let jitter = scan.jitter(row);
        for (x, value) in line.iter_mut().enumerate() {
            *value = background(y, x as f64);
        }
        let first = sorted.partition_point(|c| c.y < y - reach);
        for column in sorted.iter().skip(first).take_while(|c| c.y <= y + reach) {
            let height = column.peak * (-0.5 * ((y - column.y) / column.sigma_y).powi(2)).exp();
            let centre = column.x + jitter;
            let from = (centre - REACH * column.sigma_x).ceil().max(0.0) as usize;
            let to = (centre + REACH * column.sigma_x).floor();
            for (x, value) in line.iter_mut().enumerate().skip(from).take_while(|(x, _)| *x as f64 <= to) {
                *value += height * (-0.5 * ((x as f64 - centre) / column.sigma_x).powi(2)).exp();
            }
        }
    });
    values
}

/// Replaces expected counts by Poisson counts; each row has a generator of its own.
pub(crate) fn count(expected: &mut Array2<f64>, seed: u64, first_stream: u64) {
    let mut rows: Vec<_> = expected.rows_mut().into_iter().collect();
    rows.par_iter_mut().enumerate().for_each(|(row, line)| {
        let mut rng = stream(seed, first_stream + row as u64);
        for value in line.iter_mut() {
            *value = Poisson::new(*value).map_or(0.0, |p| p.sample(&mut rng));
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_have_the_mean_and_variance_of_poisson() {
        for mean in [0.5, 8.0, 300.0] {
            let mut counts = Array2::from_elem((200, 200), mean);
            count(&mut counts, 1, 1);
            assert!(counts.iter().all(|c| c.fract() == 0.0 && *c >= 0.0));
            let found = counts.mean().unwrap_or(0.0);
            let variance = counts.var(1.0);
            assert!((found / mean - 1.0).abs() < 0.03, "{found} for {mean}");
            assert!((variance / mean - 1.0).abs() < 0.06, "{variance} for {mean}");
        }
    }

    #[test]
    fn rows_are_independent_and_the_stream_decides() {
        let mut counts = Array2::from_elem((2, 500), 50.0);
        count(&mut counts, 1, 1);
        assert_ne!(counts.row(0), counts.row(1));
    }

    #[test]
    fn what_appears_undoes_the_drift() {
        let scan = Scan::new(100, 15.0, 0.0, &mut stream(4, 0));
        for (y, x) in [(0.0, 3.0), (37.2, 50.0), (99.0, 80.0)] {
            let (seen_y, seen_x) = scan.appear(y, x);
            let (dy, dx) = scan.shift(seen_y);
            assert!((seen_y - dy - y).abs() < 1e-6 && (seen_x - dx - x).abs() < 1e-6);
        }
    }

    #[test]
    fn jitter_moves_whole_rows() {
        let column = Column { y: 10.0, x: 12.0, sigma_y: 3.0, sigma_x: 2.0, peak: 100.0 };
        let scan = Scan::new(20, 0.0, 1.0, &mut stream(4, 0));
        let image = expose(&[column], (20, 25), &scan, |_, _| 0.0);
        for row in 4..16 {
            let line = image.row(row);
            let x = line.indexed_iter().map(|(x, v)| x as f64 * v).sum::<f64>() / line.sum();
            assert!((x - 12.0 - scan.jitter(row)).abs() < 0.01, "row {row}: {x}");
        }
    }
}
