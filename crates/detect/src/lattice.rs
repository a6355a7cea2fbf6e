use std::f64::consts::PI;

use ndarray::{Array2, ArrayView2, Axis as Dim, s};
use parsimon_core::Image;
use rayon::prelude::*;
use rustfft::FftPlanner;
use rustfft::num_complex::Complex;

use crate::filter::background;
use crate::neighbours::{median, sample};
use crate::work::Work;

/// Atom size and spacing as the image shows them, before any site is found.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LatticeEstimate {
    /// Shortest distance at which the image resembles itself, in pixels.
    pub spacing: f64,
    /// Width σ of an atom, in pixels.
    pub sigma: f64,
    /// Height of the autocorrelation at `spacing` over that at 0 without noise: 0 (no order) to 1 (a perfect lattice).
    pub confidence: f64,
}

/// Atom size and lattice spacing from the autocorrelation of the image; `None` if it shows no repeat.
///
/// The central peak of the autocorrelation of atoms of width σ is a Gaussian of width √2·σ; its next peak lies at the
/// shortest repeat distance. Noise of single pixels only adds to the value at 0, which is left out.
pub fn lattice(image: &Image) -> Option<LatticeEstimate> {
    structure(Work::new(image)?.values.view()).lattice
}

/// What the autocorrelation says.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Structure {
    /// Width of whatever there is, with or without a lattice.
    pub(crate) sigma: Option<f64>,
    pub(crate) lattice: Option<LatticeEstimate>,
}

/// The part of a large image that is looked at: enough for a thousand atoms.
const SIDE: usize = 640;
/// Smallest side whose autocorrelation can tell anything.
const SMALLEST: usize = 24;
/// Peaks of the autocorrelation below this are no lattice.
const LEAST_PEAK: f64 = 0.1;

pub(crate) fn structure(image: ArrayView2<'_, f32>) -> Structure {
    let (rows, columns) = image.dim();
    let (h, w) = (rows.min(SIDE), columns.min(SIDE));
    let side = h.min(w) as f64;
    if h.min(w) < SMALLEST {
        return Structure::default();
    }
    let (top, left) = ((rows - h) / 2, (columns - w) / 2);
    let image = image.slice(s![top..top + h, left..left + w]);
    // The first look has to guess what is background; the second knows the size of the atoms.
    let Some(first) = Correlation::new(image, side / 12.0).and_then(|c| c.centre()) else {
        return Structure::default();
    };
    let Some(correlation) = Correlation::new(image, (6.0 * first.sigma).min(side / 6.0)) else {
        return Structure::default();
    };
    let Some(centre) = correlation.centre() else { return Structure::default() };
    let lattice = correlation.spacing(&centre).map(|(spacing, confidence)| LatticeEstimate {
        spacing,
        sigma: centre.sigma,
        confidence,
    });
    Structure { sigma: Some(centre.sigma), lattice }
}

/// Autocorrelation for lags of −`reach` to `reach`, 1 at lag 0.
struct Correlation {
    values: Array2<f64>,
    reach: usize,
    /// Number of pixels that count, given the taper.
    pixels: f64,
}

/// The central peak of an autocorrelation.
struct Centre {
    /// Width σ of the atoms.
    sigma: f64,
    /// Height at lag 0 without the noise.
    height: f64,
    /// Lag of the first minimum of the mean over directions.
    minimum: f64,
}

impl Correlation {
    /// `None` if the image is constant.
    fn new(image: ArrayView2<'_, f32>, smooth: f64) -> Option<Self> {
        let (h, w) = image.dim();
        let mut flat = &image - &background(image, smooth);
        clip(&mut flat)?;
        let taper = |i: usize, n: usize| (0.5 - 0.5 * (2.0 * PI * (i as f64 + 0.5) / n as f64).cos()) as f32;
        let (ty, tx): (Vec<f32>, Vec<f32>) =
            ((0..h).map(|y| taper(y, h)).collect(), (0..w).map(|x| taper(x, w)).collect());
        let field = Array2::from_shape_fn((h, w), |(y, x)| Complex::new(flat[[y, x]] * ty[y] * tx[x], 0.0));
        let power = fourier(field).mapv(|v| Complex::new(v.norm_sqr(), 0.0));
        // A power spectrum is real and even: the forward transform does for the inverse.
        let field = fourier(power);
        let zero = f64::from(field[[0, 0]].re);
        if !(zero.is_finite() && zero > 0.0) {
            return None;
        }
        let reach = h.min(w) / 3;
        let lag = |k: usize, n: usize| (k + n - reach) % n;
        let values = Array2::from_shape_fn((2 * reach + 1, 2 * reach + 1), |(i, j)| {
            f64::from(field[[lag(i, h), lag(j, w)]].re) / zero
        });
        // (Σt²)² / Σt⁴ of the Hann taper t is 0.514 of the pixels along each axis.
        Some(Self { values, reach, pixels: 0.265 * (h * w) as f64 })
    }

    /// Mean over all directions, by lag.
    fn radial(&self) -> Vec<f64> {
        let (mut sum, mut count) = (vec![0.0; self.reach + 1], vec![0.0; self.reach + 1]);
        for ((i, j), v) in self.values.indexed_iter() {
            let lag = (i as f64 - self.reach as f64).hypot(j as f64 - self.reach as f64).round() as usize;
            if lag <= self.reach {
                sum[lag] += v;
                count[lag] += 1.0;
            }
        }
        sum.iter().zip(&count).map(|(s, n): (&f64, &f64)| s / n.max(1.0)).collect()
    }

    /// `None` if nothing larger than a pixel stands out of the noise.
    fn centre(&self) -> Option<Centre> {
        let mean = self.radial();
        // Near 0 the peak is a parabola in the lag: its value at 0, from lags 1 and 2.
        let height = mean[1] + (mean[1] - mean[2]) / 3.0;
        if height.is_nan() || height <= (6.0 / self.pixels.sqrt()).max(0.005) {
            return None;
        }
        let low = (2..self.reach).find(|&r| mean[r] <= mean[r + 1] && mean[r] < 0.5 * height)?;
        let half = 0.5 * (height + mean[low]);
        let past = (1..=low).find(|&r| mean[r] < half)?;
        let (before, after) = (if past == 1 { height } else { mean[past - 1] }, mean[past]);
        let lag = past as f64 - 1.0 + (before - half) / (before - after);
        // Half height of exp(−r²/4σ²).
        let sigma = lag / (2.0 * std::f64::consts::LN_2.sqrt());
        Some(Centre { sigma: sigma.max(0.5), height: height.min(1.0), minimum: low as f64 })
    }

    /// Lag of the nearest peak beyond the central one, and its height over that.
    fn spacing(&self, centre: &Centre) -> Option<(f64, f64)> {
        let (n, reach) = (2 * self.reach + 1, self.reach as f64);
        let apart = centre.sigma.max(1.5);
        let box_side = apart.ceil() as usize;
        let mut peaks: Vec<(f64, f64)> = Vec::new();
        // The autocorrelation is even: half of it holds every peak.
        for i in box_side..=self.reach {
            for j in box_side..n - box_side {
                let lag = (i as f64 - reach).hypot(j as f64 - reach);
                let v = self.values[[i, j]];
                if lag < 0.8 * centre.minimum || lag > reach || v < LEAST_PEAK * centre.height {
                    continue;
                }
                let around = self.values.slice(s![i - box_side..=i + box_side, j - box_side..=j + box_side]);
                if around.iter().all(|a| *a <= v) {
                    let (dy, dx) = (vertex(&self.values, i, j, 1, 0), vertex(&self.values, i, j, 0, 1));
                    peaks.push(((i as f64 + dy - reach).hypot(j as f64 + dx - reach), v));
                }
            }
        }
        let highest = peaks.iter().map(|p| p.1).fold(0.0, f64::max);
        let nearest = peaks.iter().filter(|p| p.1 >= 0.4 * highest).map(|p| p.0).fold(f64::INFINITY, f64::min);
        if !nearest.is_finite() {
            return None;
        }
        // The first shell is not quite round under strain and shear: take its middle.
        let shell: Vec<&(f64, f64)> = peaks.iter().filter(|p| p.1 >= 0.4 * highest && p.0 < 1.15 * nearest).collect();
        let spacing = median(shell.iter().map(|p| p.0).collect())?;
        let height = shell.iter().map(|p| p.1).fold(0.0, f64::max);
        // Bartlett's error of the autocorrelation of blobs of this size in disorder.
        let cells = self.pixels / (2.0 * PI * centre.sigma * centre.sigma);
        let confidence = (height / centre.height).clamp(0.0, 1.0);
        (confidence > 3.0 / cells.sqrt()).then_some((spacing, confidence))
    }
}

/// Offset of the vertex of the parabola through three neighbours; within half a pixel.
fn vertex(values: &Array2<f64>, i: usize, j: usize, di: usize, dj: usize) -> f64 {
    let (a, b, c) = (values[[i - di, j - dj]], values[[i, j]], values[[i + di, j + dj]]);
    let bend = a - 2.0 * b + c;
    if bend < 0.0 { (0.5 * (a - c) / bend).clamp(-0.5, 0.5) } else { 0.0 }
}

/// Limits values to four robust standard deviations about the median, so that a few bright spots do not drown the
/// lattice; `None` if the image is constant.
fn clip(image: &mut Array2<f32>) -> Option<()> {
    let some: Vec<f64> = sample(image.view(), 20_000).map(f64::from).collect();
    let middle = median(some.clone())?;
    let spread = median(some.iter().map(|v| (v - middle).abs()).collect())?;
    if spread > 0.0 {
        let (middle, limit) = (middle as f32, (4.0 * 1.4826 * spread) as f32);
        image.mapv_inplace(|v| (v - middle).clamp(-limit, limit));
    }
    let mean = image.mean()?;
    image.mapv_inplace(|v| v - mean);
    Some(())
}

/// Forward Fourier transform over both axes.
fn fourier(mut field: Array2<Complex<f32>>) -> Array2<Complex<f32>> {
    let mut planner = FftPlanner::<f32>::new();
    for _ in 0..2 {
        let plan = planner.plan_fft_forward(field.ncols());
        field.axis_iter_mut(Dim(0)).into_par_iter().for_each(|mut row| {
            if let Some(row) = row.as_slice_mut() {
                plan.process(row);
            }
        });
        field = field.reversed_axes().as_standard_layout().into_owned();
    }
    field
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{Rng, SeedableRng};
    use rand_chacha::ChaCha8Rng;
    use rand_distr::StandardNormal;

    fn image(basis: &[[f64; 2]; 2], sigma: f64, noise: f64, seed: u64) -> Image {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut values = Array2::from_shape_simple_fn((200, 220), || noise * rng.sample::<f64, _>(StandardNormal));
        for (m, n) in (-60..60).flat_map(|m| (-60..60).map(move |n| (f64::from(m), f64::from(n)))) {
            let at = [0, 1].map(|k| 100.0 + m * basis[0][k] + n * basis[1][k]);
            if at[0] < -10.0 || at[0] > 210.0 || at[1] < -10.0 || at[1] > 230.0 {
                continue;
            }
            for ((y, x), v) in values.indexed_iter_mut() {
                let r2 = (y as f64 - at[0]).powi(2) + (x as f64 - at[1]).powi(2);
                if r2 < 36.0 * sigma * sigma {
                    *v += (-r2 / (2.0 * sigma * sigma)).exp();
                }
            }
        }
        Image::new(values).unwrap()
    }

    #[test]
    fn spacing_and_size_are_read_from_square_and_hexagonal_lattices() {
        for (basis, spacing) in [([[16.0, 0.0], [0.0, 16.0]], 16.0), ([[0.0, 18.0], [15.588, 9.0]], 18.0)] {
            let found = lattice(&image(&basis, 2.5, 0.3, 1)).unwrap();
            assert!((found.spacing - spacing).abs() < 0.5, "{found:?}");
            assert!((found.sigma - 2.5).abs() < 0.4, "{found:?}");
            assert!(found.confidence > 0.8, "{found:?}");
        }
    }

    #[test]
    fn noise_and_flat_images_have_no_lattice() {
        for seed in 0..10 {
            assert_eq!(lattice(&image(&[[1e4, 0.0], [0.0, 1e4]], 1.0, 1.0, seed)), None, "{seed}");
        }
        assert_eq!(lattice(&Image::new(Array2::from_elem((64, 64), 3.0)).unwrap()), None);
    }
}
