use ndarray::{Array1, Axis as Dim};
use parsimon_core::Spectra;

use crate::{Error, Result, Window};

/// What each spectrum is divided by.
///
/// A spectrum of zeros stays as it is (its divisor is 1).
#[derive(Debug, Clone, PartialEq)]
pub enum Normalise {
    /// The sum of all its values.
    Total,
    /// Its greatest value.
    Maximum,
    /// The sum of its values in a window.
    Window(Window),
}

impl Normalise {
    /// The spectra divided, and the divisor of each.
    ///
    /// # Shapes
    /// N×L → N×L and N.
    ///
    /// # Errors
    /// If the divisor of a spectrum that is not of zeros is not above 0, or as [`Window::channels`].
    pub fn apply(&self, spectra: Spectra) -> Result<(Spectra, Array1<f64>)> {
        let (mut values, axis) = spectra.into_parts();
        let (by, channels) = match self {
            Self::Total => ("the total", 0..values.ncols()),
            Self::Maximum => ("the maximum", 0..values.ncols()),
            Self::Window(window) => ("the sum in the window", window.channels(&axis, values.ncols(), 1)?),
        };
        let mut divisors = Array1::ones(values.nrows());
        for (spectrum, (row, divisor)) in values.outer_iter().zip(&mut divisors).enumerate() {
            if row.iter().all(|v| *v == 0.0) {
                continue;
            }
            let part = row.slice_axis(Dim(0), channels.clone().into());
            let value = match self {
                Self::Maximum => part.iter().copied().fold(f64::NEG_INFINITY, f64::max),
                Self::Total | Self::Window(_) => part.sum(),
            };
            if !(value.is_finite() && value > 0.0) {
                return Err(Error::Divisor { by, spectrum, value });
            }
            *divisor = value;
        }
        values /= &divisors.view().insert_axis(Dim(1));
        Ok((Spectra::new(values, axis)?, divisors))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;
    use parsimon_core::Axis;

    fn spectra() -> Spectra {
        let values = array![[1.0, 2.0, 5.0], [0.0, 0.0, 0.0], [-1.0, 4.0, 1.0]];
        Spectra::new(values, Axis::new("energy", 10.0, 100.0, "eV")).unwrap()
    }

    #[test]
    fn each_spectrum_is_divided_by_what_is_asked() {
        let window = Normalise::Window(Window::between(110.0, 120.0));
        for (how, expected) in
            [(Normalise::Total, [8.0, 1.0, 4.0]), (Normalise::Maximum, [5.0, 1.0, 4.0]), (window, [7.0, 1.0, 5.0])]
        {
            let (divided, divisors) = how.apply(spectra()).unwrap();
            assert_eq!(divisors.to_vec(), expected);
            let back = &divided.values() * &divisors.insert_axis(Dim(1));
            assert!((&back - &spectra().values()).iter().all(|d| d.abs() < 1e-12));
            assert_eq!(divided.values().row(1).sum(), 0.0);
        }
    }

    #[test]
    fn a_spectrum_that_cannot_be_divided_is_named() {
        let bad = |values| Spectra::new(values, Axis::uncalibrated("energy")).unwrap();
        let found = Normalise::Total.apply(bad(array![[1.0, 1.0], [1.0, -1.0]]));
        assert_eq!(found, Err(Error::Divisor { by: "the total", spectrum: 1, value: 0.0 }));
        let found = Normalise::Maximum.apply(bad(array![[-1.0, -2.0]]));
        assert_eq!(found, Err(Error::Divisor { by: "the maximum", spectrum: 0, value: -1.0 }));
        let found = Normalise::Window(Window::between(0.0, 0.0)).apply(bad(array![[0.0, 2.0]]));
        assert_eq!(found, Err(Error::Divisor { by: "the sum in the window", spectrum: 0, value: 0.0 }));
        assert!(Normalise::Total.apply(bad(array![[f64::MAX, f64::MAX]])).is_err());
        let off = Normalise::Window(Window::between(5.0, 6.0)).apply(spectra());
        assert!(matches!(off, Err(Error::Window { .. })));
    }
}
