use ndarray::{Array1, Array2, ArrayView1, Axis as Dim, s};
use parsimon_core::{Axis, Spectra};
use rayon::prelude::*;

use crate::error::shaped;
use crate::{Error, Result, Window, crop};

/// Greatest exponent of a background; those of energy losses are 2 to 6.
const STEEPEST: f64 = 20.0;
/// Channels that a fit of two numbers needs.
const LEAST: usize = 3;
const ITERATIONS: usize = 60;
const TOLERANCE: f64 = 1e-10;

/// A background A·E⁻ʳ before an edge, such as that of energy-loss spectra, fitted to each spectrum by itself:
///
/// ```text
/// maximise over A ≥ 0 and 0 ≤ r ≤ 20   Σⱼ xⱼ log(A Eⱼ⁻ʳ) − A Eⱼ⁻ʳ,   j the channels of the window,
/// ```
///
/// the likelihood of Poisson counts, by Newton's method from a line through the logarithms. Zeros count as any other number,
/// and so do values below 0, which a subtracted dark current leaves: dropping them would raise the background. If the sum in
/// the window is not above 0, there is no background: A and r are 0.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct PowerLaw {
    /// Where to fit, at least 3 channels above 0 on the axis. Default: the whole axis.
    pub window: Window,
}

/// The backgrounds of N spectra.
#[derive(Debug, Clone, PartialEq)]
pub struct Background {
    amplitudes: Array1<f64>,
    exponents: Array1<f64>,
}

impl PowerLaw {
    /// Fits every spectrum.
    ///
    /// # Shapes
    /// N×L → N of A and r.
    ///
    /// # Errors
    /// If the window reaches to 0 or below, holds fewer than 3 channels, or as [`Window::channels`].
    pub fn fit(&self, spectra: &Spectra) -> Result<Background> {
        let axis = spectra.energy();
        let channels = self.window.channels(axis, spectra.values().ncols(), LEAST)?;
        let energies: Array1<f64> = channels.clone().map(|j| axis.value(j as f64)).collect();
        if let Some(&energy) = energies.iter().find(|e| **e <= 0.0) {
            return Err(Error::Energy { energy, unit: axis.unit.clone() });
        }
        // Logarithms about their mean, so that A and r hardly depend on each other.
        let middle = energies.mapv(f64::ln).mean().unwrap_or_default();
        let logs = energies.mapv(|e| e.ln() - middle);
        let inside = spectra.values().slice_move(s![.., channels]);
        let fits: Vec<(f64, f64)> = inside
            .axis_iter(Dim(0))
            .into_par_iter()
            .map(|counts| {
                let (height, exponent) = fit(counts, logs.view());
                (height * (exponent * middle).exp(), exponent)
            })
            .collect();
        let (amplitudes, exponents): (Vec<f64>, Vec<f64>) = fits.into_iter().unzip();
        Ok(Background { amplitudes: amplitudes.into(), exponents: exponents.into() })
    }

    /// The spectra from the window on to higher values of the axis, less their backgrounds; and these.
    ///
    /// Channels below the window are left out: a power law says nothing of them.
    ///
    /// # Shapes
    /// N×L → N×l and N of A and r.
    ///
    /// # Errors
    /// As [`PowerLaw::fit`], or if a background is too great to be a number.
    pub fn subtract(&self, spectra: Spectra) -> Result<(Spectra, Background)> {
        let background = self.fit(&spectra)?;
        let above = self.kept().channels(spectra.energy(), spectra.values().ncols(), 1)?;
        let (values, axis) = spectra.into_parts();
        let axis = crop::from(axis, above.start);
        let mut values = values.slice_move(s![.., above]).as_standard_layout().into_owned();
        background.add(&mut values, &axis, -1.0)?;
        Ok((Spectra::new(values, axis)?, background))
    }

    /// The window and what lies above it.
    pub(crate) fn kept(&self) -> Window {
        Window { to: None, ..self.window.clone() }
    }
}

impl Background {
    /// A of each spectrum: what the background would be at 1 in the unit of the axis.
    pub fn amplitudes(&self) -> ArrayView1<'_, f64> {
        self.amplitudes.view()
    }

    /// r of each spectrum.
    pub fn exponents(&self) -> ArrayView1<'_, f64> {
        self.exponents.view()
    }

    /// Adds `sign` times the backgrounds to values on `axis`, N×L.
    pub(crate) fn add(&self, values: &mut Array2<f64>, axis: &Axis, sign: f64) -> Result<()> {
        shaped("spectra", &[values.nrows()], &[self.amplitudes.len()])?;
        let logs: Vec<f64> = (0..values.ncols()).map(|j| axis.value(j as f64).ln()).collect();
        values.axis_iter_mut(Dim(0)).into_par_iter().enumerate().for_each(|(i, mut row)| {
            let (height, exponent) = (sign * self.amplitudes[i], self.exponents[i]);
            if height != 0.0 {
                row.iter_mut().zip(&logs).for_each(|(v, log)| *v += height * (-exponent * log).exp());
            }
        });
        Ok(())
    }

    /// The backgrounds of some of the spectra.
    pub(crate) fn part(&self, spectra: &[usize]) -> Self {
        let part = |a: &Array1<f64>| a.select(Dim(0), spectra);
        Self { amplitudes: part(&self.amplitudes), exponents: part(&self.exponents) }
    }
}

/// Height where the logarithm is 0, and exponent.
///
/// For a given r the best height is Σx / Σe⁻ʳᵘ; what is left is to find r at which the mean of the logarithms u under the
/// power law is that of the counts.
fn fit(counts: ArrayView1<'_, f64>, logs: ArrayView1<'_, f64>) -> (f64, f64) {
    let total = counts.sum();
    if !(total.is_finite() && total > 0.0) {
        return (0.0, 0.0);
    }
    let wanted = counts.dot(&logs) / total;
    let moments = |r: f64| {
        let [norm, first, second] = logs.iter().fold([0.0; 3], |[n, f, s], u| {
            let w = (-r * u).exp();
            [n + w, f + w * u, s + w * u * u]
        });
        let mean = first / norm;
        (norm, mean - wanted, second / norm - mean * mean)
    };
    let (mut low, mut high) = (0.0, STEEPEST);
    // The mean falls as the exponent grows.
    if moments(low).1 <= 0.0 {
        return (total / moments(low).0, low);
    }
    if moments(high).1 >= 0.0 {
        return (total / moments(high).0, high);
    }
    let mut exponent = line(counts, logs).unwrap_or(0.5 * STEEPEST).clamp(low, high);
    for _ in 0..ITERATIONS {
        let (_, off, spread) = moments(exponent);
        if off > 0.0 {
            low = exponent
        } else {
            high = exponent
        }
        let newton = exponent + off / spread;
        let inside = newton >= low && newton <= high;
        let next = if inside { newton } else { 0.5 * (low + high) };
        let step = (next - exponent).abs();
        exponent = next;
        if step < TOLERANCE {
            break;
        }
    }
    (total / moments(exponent).0, exponent)
}

/// Exponent of the weighted line through the logarithms of what is above 0.
fn line(counts: ArrayView1<'_, f64>, logs: ArrayView1<'_, f64>) -> Option<f64> {
    let points = || counts.iter().zip(logs).filter(|(x, _)| **x > 0.0).map(|(&x, &u)| (x, u, x.ln()));
    let (weight, u, v) = points().fold((0.0, 0.0, 0.0), |(n, a, b), (w, u, v)| (n + w, a + w * u, b + w * v));
    let (u0, v0) = (u / weight, v / weight);
    let (uu, uv) =
        points().fold((0.0, 0.0), |(a, b), (w, u, v)| (a + w * (u - u0).powi(2), b + w * (u - u0) * (v - v0)));
    let slope = -uv / uu;
    slope.is_finite().then_some(slope)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;
    use rand_distr::{Distribution, Poisson};

    fn axis() -> Axis {
        Axis::new("energy", 1.0, 200.0, "eV")
    }

    fn power(amplitude: f64, exponent: f64) -> impl Fn(usize) -> f64 {
        move |j| amplitude * axis().value(j as f64).powf(-exponent)
    }

    fn before(to: f64) -> PowerLaw {
        PowerLaw { window: Window::between(220.0, to) }
    }

    #[test]
    fn a_power_law_is_found_exactly_and_what_stands_on_it_remains() {
        let truth = [(3e9, 3.0), (2e4, 1.2), (5e14, 5.5), (40.0, 0.0)];
        let edge = |j: usize| if j >= 90 { 7.0 } else { 0.0 };
        let values = Array2::from_shape_fn((4, 200), |(i, j)| power(truth[i].0, truth[i].1)(j) + edge(j));
        let (left, found) = before(280.0).subtract(Spectra::new(values, axis()).unwrap()).unwrap();
        for (i, (amplitude, exponent)) in truth.into_iter().enumerate() {
            assert!((found.exponents()[i] - exponent).abs() < 1e-8, "{}", found.exponents()[i]);
            assert!((found.amplitudes()[i] / amplitude - 1.0).abs() < 1e-6, "{}", found.amplitudes()[i]);
        }
        assert_eq!((left.values().dim(), left.energy().offset), ((4, 180), 220.0));
        let off = left.values().indexed_iter().map(|((_, j), v)| (v - edge(j + 20)).abs()).fold(0.0, f64::max);
        assert!(off < 1e-6, "{off}");
    }

    #[test]
    fn the_fit_of_few_counts_is_unbiased() {
        // 0.8 counts in a channel, half of which hold none: a line through logarithms would be far off.
        let law = power(0.8 * 250f64.powi(3), 3.0);
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let mut draw = |j: usize| Poisson::new(law(j)).unwrap().sample(&mut rng);
        let values = Array2::from_shape_fn((2000, 200), |(_, j)| draw(j));
        let found = before(320.0).fit(&Spectra::new(values, axis()).unwrap()).unwrap();
        let mean = found.exponents().mean().unwrap();
        assert!((mean - 3.0).abs() < 0.1, "{mean}");
        let at = |e: f64| {
            let each = found.amplitudes().iter().zip(found.exponents()).map(|(a, r)| a * e.powf(-r)).sum::<f64>();
            each / 2000.0 / (0.8 * (250.0 / e).powi(3))
        };
        for energy in [220.0, 270.0, 320.0] {
            assert!((at(energy) - 1.0).abs() < 0.05, "{energy}: {}", at(energy));
        }
    }

    #[test]
    fn the_likelihood_is_at_its_maximum() {
        let mut rng = ChaCha8Rng::seed_from_u64(2);
        let law = power(5.0 * 250f64.powi(4), 4.0);
        let mut draw = |j: usize| Poisson::new(law(j)).unwrap().sample(&mut rng) - 0.5;
        // A dark current of 0.5 subtracted: some values are below 0.
        let values = Array2::from_shape_fn((20, 200), |(_, j)| draw(j));
        assert!(values.iter().any(|v| *v < 0.0));
        let spectra = Spectra::new(values, axis()).unwrap();
        let found = before(300.0).fit(&spectra).unwrap();
        for (i, row) in spectra.values().outer_iter().enumerate() {
            let likelihood = |a: f64, r: f64| {
                let terms = (20..=100).map(|j| {
                    let log = a.ln() - r * axis().value(j as f64).ln();
                    row[j] * log - log.exp()
                });
                terms.sum::<f64>()
            };
            let (a, r) = (found.amplitudes()[i], found.exponents()[i]);
            let best = likelihood(a, r);
            // Along A at the same r, and along r at the same height in the middle of the window.
            for step in [-1e-3, 1e-3] {
                assert!(likelihood(a * (1.0 + step), r) < best, "{i}");
                assert!(likelihood(a * (step * 257f64.ln()).exp(), r + step) < best, "{i}");
            }
        }
    }

    #[test]
    fn spectra_without_counts_or_with_a_rise_get_a_background_that_is_none_or_flat() {
        let mut values = Array2::zeros((4, 200));
        values.row_mut(1).iter_mut().enumerate().for_each(|(j, v)| *v = j as f64);
        values.row_mut(2).fill(-1.0);
        // All counts in the first channel of the window.
        values[(3, 20)] = 5.0;
        let (left, found) = before(300.0).subtract(Spectra::new(values.clone(), axis()).unwrap()).unwrap();
        assert_eq!(found.exponents().to_vec(), [0.0, 0.0, 0.0, STEEPEST]);
        assert_eq!((found.amplitudes()[0], found.amplitudes()[2]), (0.0, 0.0));
        assert!((found.amplitudes()[1] - 60.0).abs() < 1e-9, "{}", found.amplitudes()[1]);
        assert!(found.amplitudes()[3].is_finite());
        assert!(left.values().row(0).iter().all(|v| *v == 0.0));
        assert_eq!(left.values().row(2).to_vec(), vec![-1.0; 180]);
    }

    #[test]
    fn a_falling_axis_is_subtracted_above_the_window_too() {
        let falling = Axis::new("energy", -1.0, 399.0, "eV");
        let values = Array2::from_shape_fn((1, 200), |(_, j)| 1e9 * falling.value(j as f64).powi(-3));
        let (left, _) = before(280.0).subtract(Spectra::new(values, falling.clone()).unwrap()).unwrap();
        assert_eq!((left.values().ncols(), left.energy()), (180, &falling));
        assert!(left.values().iter().all(|v| v.abs() < 1e-6));
    }

    #[test]
    fn every_rejection() {
        let spectra = |offset| Spectra::new(Array2::ones((1, 100)), Axis::new("energy", 1.0, offset, "eV")).unwrap();
        let fit = |from, to, offset| PowerLaw { window: Window::between(from, to) }.fit(&spectra(offset));
        assert_eq!(fit(0.0, 20.0, -5.0), Err(Error::Energy { energy: 0.0, unit: "eV".into() }));
        assert!(matches!(fit(10.0, 11.0, 0.0), Err(Error::Window { found: 2, needed: 3, .. })));
        assert!(matches!(fit(f64::NAN, 11.0, 0.0), Err(Error::Ends { .. })));
        let huge = Spectra::new(Array2::from_elem((1, 100), 1e306), Axis::new("energy", 1.0, 1.0, "eV")).unwrap();
        assert!(PowerLaw::default().fit(&huge).is_ok());
    }
}
