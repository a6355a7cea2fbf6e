use std::ops::Range;

use ndarray::s;
use parsimon_core::{Axis, SpectrumImage};

use crate::{Error, Result, Window};

/// Rows or columns of an image, by index: the first, and the one after the last (the end of the image if `None`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Pixels {
    /// The first. Default 0.
    pub from: usize,
    /// The one after the last. Default: the end of the image.
    pub to: Option<usize>,
}

impl Pixels {
    fn range(self, what: &'static str, size: usize) -> Result<Range<usize>> {
        let Self { from, to } = self;
        let to = to.unwrap_or(size);
        if from < to && to <= size { Ok(from..to) } else { Err(Error::Pixels { what, from, to, size }) }
    }
}

/// A part of a spectrum image. The calibration keeps the place of each pixel and channel.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Crop {
    /// Which part of the spectral axis. Default: all.
    pub energy: Window,
    /// Which rows. Default: all.
    pub rows: Pixels,
    /// Which columns. Default: all.
    pub columns: Pixels,
}

impl Crop {
    /// Rows, columns and channels that remain.
    ///
    /// # Errors
    /// If nothing remains, rows or columns are not there, or as [`Window::channels`].
    pub fn ranges(&self, image: &SpectrumImage) -> Result<[Range<usize>; 3]> {
        let (height, width, channels) = image.values().dim();
        let [.., energy] = image.axes();
        Ok([
            self.rows.range("rows", height)?,
            self.columns.range("columns", width)?,
            self.energy.channels(energy, channels, 1)?,
        ])
    }

    /// The part.
    ///
    /// # Shapes
    /// H×W×L → h×w×l.
    ///
    /// # Errors
    /// As [`Crop::ranges`].
    pub fn apply(&self, image: SpectrumImage) -> Result<SpectrumImage> {
        let ranges = self.ranges(&image)?;
        let (values, axes, metadata) = image.into_parts();
        let [rows, columns, channels] = ranges.clone();
        let part = values.slice(s![rows, columns, channels]).to_owned();
        let [y, x, energy] = axes;
        let [rows, columns, channels] = ranges.map(|r| r.start);
        let part = SpectrumImage::new(part, from(y, rows), from(x, columns), from(energy, channels))?;
        Ok(part.with_metadata(metadata))
    }
}

/// The axis as seen from `first` on.
pub(crate) fn from(axis: Axis, first: usize) -> Axis {
    Axis { offset: axis.value(first as f64), ..axis }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::Array3;

    fn image() -> SpectrumImage {
        let values = Array3::from_shape_fn((4, 5, 100), |(y, x, e)| (10_000 * y + 1000 * x + e) as f64);
        let nm = |name| Axis::new(name, 0.5, 1.0, "nm");
        SpectrumImage::new(values, nm("y"), Axis::uncalibrated("x"), Axis::new("energy", 0.01, 0.0, "keV")).unwrap()
    }

    #[test]
    fn a_part_keeps_values_and_places() {
        let crop = Crop {
            energy: Window::between(250.0, 300.0).in_unit("eV"),
            rows: Pixels { from: 1, to: Some(3) },
            columns: Pixels { from: 2, to: None },
        };
        let part = crop.apply(image()).unwrap();
        assert_eq!(part.values().dim(), (2, 3, 6));
        assert_eq!(part.values()[(0, 0, 0)], 12_025.0);
        assert_eq!(part.values()[(1, 2, 5)], 24_030.0);
        let [y, x, energy] = part.axes();
        assert_eq!([y.offset, x.offset, energy.offset], [1.5, 2.0, 0.25]);
        assert_eq!([y.scale, x.scale, energy.scale], [0.5, 1.0, 0.01]);
        assert_eq!(Crop::default().apply(image()).unwrap(), image());
    }

    #[test]
    fn every_rejection() {
        for rows in [Pixels { from: 4, to: None }, Pixels { from: 2, to: Some(2) }, Pixels { from: 0, to: Some(5) }] {
            assert!(matches!(Crop { rows, ..Crop::default() }.apply(image()), Err(Error::Pixels { what: "rows", .. })));
        }
        let columns = Pixels { from: 3, to: Some(1) };
        let found = Crop { columns, ..Crop::default() }.apply(image());
        assert_eq!(found, Err(Error::Pixels { what: "columns", from: 3, to: 1, size: 5 }));
        let energy = Window::between(2.0, 3.0);
        assert!(matches!(Crop { energy, ..Crop::default() }.apply(image()), Err(Error::Window { .. })));
    }
}
