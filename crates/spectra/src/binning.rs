use ndarray::{Array3, Axis as Dim, s};
use parsimon_core::{Axis, SpectrumImage};
use rayon::prelude::*;

use crate::{Error, Result};

/// Sums of neighbouring channels and pixels, by whole factors.
///
/// What is left over at the end of an axis is left out. The calibration is that of the centres of the bins:
///
/// ```text
/// offset′ = offset + scale · (factor − 1)/2,   scale′ = scale · factor.
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bin {
    /// Channels in a bin, 1 to L. Default 1.
    pub channels: usize,
    /// Rows in a bin, 1 to H. Default 1.
    pub rows: usize,
    /// Columns in a bin, 1 to W. Default 1.
    pub columns: usize,
}

impl Default for Bin {
    fn default() -> Self {
        Self { channels: 1, rows: 1, columns: 1 }
    }
}

impl Bin {
    /// The sums.
    ///
    /// # Shapes
    /// H×W×L → ⌊H/rows⌋×⌊W/columns⌋×⌊L/channels⌋.
    ///
    /// # Errors
    /// If a factor is 0 or greater than what it divides, or a sum is not finite.
    pub fn apply(&self, image: SpectrumImage) -> Result<SpectrumImage> {
        let (height, width, length) = image.values().dim();
        let binned = |what, size: usize, factor: usize| {
            if (1..=size).contains(&factor) { Ok(size / factor) } else { Err(Error::Factor { what, factor, size }) }
        };
        let shape = (
            binned("rows", height, self.rows)?,
            binned("columns", width, self.columns)?,
            binned("channels", length, self.channels)?,
        );
        if *self == Self::default() {
            return Ok(image);
        }
        let (values, [y, x, energy], metadata) = image.into_parts();
        let mut sums = Array3::zeros(shape);
        sums.axis_iter_mut(Dim(0)).into_par_iter().enumerate().for_each(|(row, mut sums)| {
            for (column, mut sums) in sums.outer_iter_mut().enumerate() {
                let (row, column) = (row * self.rows, column * self.columns);
                let block = values.slice(s![row..row + self.rows, column..column + self.columns, ..]);
                for spectrum in block.rows() {
                    let bins = spectrum.axis_chunks_iter(Dim(0), self.channels);
                    sums.iter_mut().zip(bins).for_each(|(sum, bin)| *sum += bin.sum());
                }
            }
        });
        let centred = |axis: Axis, factor: usize| Axis {
            offset: axis.value(0.5 * (factor - 1) as f64),
            scale: axis.scale * factor as f64,
            ..axis
        };
        let [y, x, energy] = [(y, self.rows), (x, self.columns), (energy, self.channels)].map(|(a, f)| centred(a, f));
        Ok(SpectrumImage::new(sums, y, x, energy)?.with_metadata(metadata))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image() -> SpectrumImage {
        let values = Array3::from_shape_fn((5, 4, 11), |(y, x, e)| (100 * y + 10 * x + e) as f64);
        let axis = |name, scale, unit| Axis::new(name, scale, 3.0, unit);
        SpectrumImage::new(values, axis("y", 0.5, "nm"), axis("x", 0.5, "nm"), axis("energy", 0.2, "eV")).unwrap()
    }

    #[test]
    fn bins_are_sums_at_their_centres() {
        let bin = Bin { channels: 3, rows: 2, columns: 4 };
        let binned = bin.apply(image()).unwrap();
        assert_eq!(binned.values().dim(), (2, 1, 3));
        let expected = image().values().slice(s![2..4, 0..4, 3..6]).sum();
        assert_eq!(binned.values()[(1, 0, 1)], expected);
        let [y, x, energy] = binned.axes();
        assert!((energy.offset - 3.2).abs() < 1e-12 && (energy.scale - 0.6).abs() < 1e-12);
        assert_eq!([y.offset, y.scale, x.offset, x.scale], [3.25, 1.0, 3.75, 2.0]);
        // The mean place of the channels in a bin is the place of the bin.
        let mean = [3.0, 4.0, 5.0].map(|e| image().axes()[2].value(e)).iter().sum::<f64>() / 3.0;
        assert!((energy.value(1.0) - mean).abs() < 1e-12);
        assert_eq!(Bin::default().apply(image()).unwrap(), image());
    }

    #[test]
    fn every_rejection() {
        let base = Bin::default();
        for bad in [
            Bin { channels: 0, ..base },
            Bin { channels: 12, ..base },
            Bin { rows: 0, ..base },
            Bin { rows: 6, ..base },
            Bin { columns: 0, ..base },
            Bin { columns: 5, ..base },
        ] {
            assert!(matches!(bad.apply(image()), Err(Error::Factor { .. })), "{bad:?}");
        }
    }
}
