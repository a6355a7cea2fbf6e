use ndarray::{Array, Array2, Array3, ArrayView2, ArrayView3, Axis as Dim, Dimension};

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

    /// Values, N×L, and calibration, without a copy.
    pub fn into_parts(self) -> (Array2<f64>, Axis) {
        (self.values, self.energy)
    }

    /// Some of the spectra, in the order of `rows`.
    ///
    /// # Errors
    /// If `rows` is empty or names a spectrum that is not there.
    pub fn select(&self, rows: &[usize]) -> Result<Self> {
        if rows.is_empty() {
            return Err(Error::Empty { what: "selection of spectra", shape: vec![0] });
        }
        if let Some(&row) = rows.iter().find(|&&r| r >= self.values.nrows()) {
            let what = "row of the spectra".to_owned();
            return Err(Error::Range { what, value: row as f64, accepted: "0 to one below their number" });
        }
        Ok(Self { values: self.values.select(Dim(0), rows), energy: self.energy.clone() })
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

    /// The image whose pixels, row by row, the spectra are.
    ///
    /// # Errors
    /// If there are not `height`·`width` of them.
    pub fn from_spectra(spectra: Spectra, (height, width): (usize, usize), y: Axis, x: Axis) -> Result<Self> {
        let (values, energy) = spectra.into_parts();
        let (found, channels) = values.dim();
        let odd = |_| Error::Length { what: "spectra".into(), found, expected: height.saturating_mul(width) };
        let values = by_rows(values).into_shape_with_order((height, width, channels)).map_err(odd)?;
        Ok(Self { values, y, x, energy, metadata: Metadata::default() })
    }

    /// Values, H×W×L, calibrations of rows, columns and spectrum, and metadata, without a copy.
    pub fn into_parts(self) -> (Array3<f64>, [Axis; 3], Metadata) {
        (self.values, [self.y, self.x, self.energy], self.metadata)
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
        Spectra { values: by_pixel(self.values.clone()), energy: self.energy.clone() }
    }

    /// The spectra in the order of the pixels, row by row; without a copy if they lie so in memory.
    pub fn into_spectra(self) -> Spectra {
        Spectra { values: by_pixel(self.values), energy: self.energy }
    }
}

/// Spectra become a column of pixels.
impl From<Spectra> for SpectrumImage {
    fn from(spectra: Spectra) -> Self {
        let axis = Axis::uncalibrated;
        let (values, metadata) = (spectra.values.insert_axis(Dim(1)), Metadata::default());
        Self { values, y: axis("y"), x: axis("x"), energy: spectra.energy, metadata }
    }
}

fn by_pixel(values: Array3<f64>) -> Array2<f64> {
    let mut values = by_rows(values);
    values.merge_axes(Dim(0), Dim(1));
    values.index_axis_move(Dim(0), 0)
}

/// The same array, with the last index running first in memory.
fn by_rows<D: Dimension>(values: Array<f64, D>) -> Array<f64, D> {
    if values.is_standard_layout() { values } else { values.as_standard_layout().into_owned() }
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
    fn spectra_and_images_turn_into_each_other() {
        // Channels first in memory, as some files hold them.
        let stored = Array3::from_shape_fn((4, 2, 3), |(e, y, x)| (100 * y + 10 * x + e) as f64);
        let axis = Axis::uncalibrated;
        let new = |v| SpectrumImage::new(v, axis("y"), axis("x"), axis("energy")).unwrap();
        let image = new(stored.permuted_axes([1, 2, 0]));
        let spectra = image.clone().into_spectra();
        assert_eq!(spectra, image.spectra());
        assert_eq!(spectra.values().row(4).to_vec(), [110.0, 111.0, 112.0, 113.0]);
        let back = SpectrumImage::from_spectra(spectra.clone(), (2, 3), axis("y"), axis("x")).unwrap();
        assert_eq!(back, image);
        let columns_first = spectra.values().t().as_standard_layout().into_owned().reversed_axes();
        assert!(!columns_first.is_standard_layout());
        let columns_first = Spectra::new(columns_first, axis("energy")).unwrap();
        assert_eq!(SpectrumImage::from_spectra(columns_first, (2, 3), axis("y"), axis("x")), Ok(image));
        let wrong = SpectrumImage::from_spectra(spectra.clone(), (2, 2), axis("y"), axis("x"));
        assert_eq!(wrong, Err(Error::Length { what: "spectra".into(), found: 6, expected: 4 }));
        assert!(SpectrumImage::from_spectra(spectra.clone(), (usize::MAX, 2), axis("y"), axis("x")).is_err());
        let some = spectra.select(&[4, 0]).unwrap();
        assert_eq!(some.values().column(0).to_vec(), [110.0, 0.0]);
        assert!(spectra.select(&[6]).is_err() && spectra.select(&[]).is_err());
        assert_eq!(SpectrumImage::from(spectra).values().dim(), (6, 1, 4));
    }

    #[test]
    fn bad_values_are_rejected() {
        let energy = || Axis::new("energy", 0.1, 0.0, "eV");
        assert!(Spectra::new(Array2::zeros((0, 4)), energy()).is_err());
        assert!(Spectra::new(Array2::from_elem((2, 2), f64::NAN), energy()).is_err());
    }
}
