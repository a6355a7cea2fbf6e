use ndarray::{Array2, Array3, ArrayView2, ArrayView3};

use crate::patches::check_finite;
use crate::{Axis, Error, Metadata, Result};

/// Spectra of equal length, one per row.
///
/// # Shapes
/// N×L, both at least 1; every value finite.
#[derive(Debug, Clone, PartialEq)]
pub struct Spectra {
    values: Array2<f64>,
    energy: Axis,
}

impl Spectra {
    /// Spectra along `energy` (or wavelength, time of flight, bias, …).
    ///
    /// # Errors
    /// If a dimension is zero or a value is not finite.
    pub fn new(values: Array2<f64>, energy: Axis) -> Result<Self> {
        if values.is_empty() {
            return Err(Error::Empty { what: "spectra", shape: values.shape().to_vec() });
        }
        check_finite("spectra", values.view())?;
        Ok(Self { values, energy })
    }

    /// The values, N×L.
    pub fn values(&self) -> ArrayView2<'_, f64> {
        self.values.view()
    }

    /// Calibration along the spectrum.
    pub fn energy(&self) -> &Axis {
        &self.energy
    }
}

/// A spectrum at every pixel of an image.
///
/// # Shapes
/// H×W×L, all at least 1; every value finite.
#[derive(Debug, Clone, PartialEq)]
pub struct SpectrumImage {
    values: Array3<f64>,
    y: Axis,
    x: Axis,
    energy: Axis,
    /// Title, elements, beam and the like.
    pub metadata: Metadata,
}

impl SpectrumImage {
    /// A spectrum image with the calibration of its three axes.
    ///
    /// # Errors
    /// If a dimension is zero or a value is not finite.
    pub fn new(values: Array3<f64>, y: Axis, x: Axis, energy: Axis) -> Result<Self> {
        if values.is_empty() {
            return Err(Error::Empty { what: "spectrum image", shape: values.shape().to_vec() });
        }
        check_finite("spectrum image", values.view())?;
        Ok(Self { values, y, x, energy, metadata: Metadata::default() })
    }

    /// The values, H×W×L.
    pub fn values(&self) -> ArrayView3<'_, f64> {
        self.values.view()
    }

    /// The same spectrum image with this metadata.
    pub fn with_metadata(mut self, metadata: Metadata) -> Self {
        self.metadata = metadata;
        self
    }

    /// Calibration of rows, columns and spectrum.
    pub fn axes(&self) -> [&Axis; 3] {
        [&self.y, &self.x, &self.energy]
    }

    /// The spectra in the order of the pixels, row by row.
    pub fn spectra(&self) -> Spectra {
        let (h, w, l) = self.values.dim();
        let values = Array2::from_shape_fn((h * w, l), |(p, e)| self.values[[p / w, p % w, e]]);
        Spectra { values, energy: self.energy.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spectra_keep_the_order_of_the_pixels() {
        let values = Array3::from_shape_fn((2, 3, 4), |(y, x, e)| (100 * y + 10 * x + e) as f64);
        let axis = Axis::uncalibrated;
        let spectra = SpectrumImage::new(values, axis("y"), axis("x"), axis("energy")).unwrap().spectra();
        assert_eq!(spectra.values().row(4).to_vec(), [110.0, 111.0, 112.0, 113.0]);
    }

    #[test]
    fn bad_values_are_rejected() {
        let energy = || Axis::new("energy", 0.1, 0.0, "eV");
        assert!(Spectra::new(Array2::zeros((0, 4)), energy()).is_err());
        assert!(Spectra::new(Array2::from_elem((2, 2), f64::NAN), energy()).is_err());
    }
}
