use std::collections::{BTreeMap, VecDeque};

use ndarray::{Array2, ArrayView2};

use crate::{Axis, Error, Range, Result};

/// What a file says about its data, besides the numbers.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Metadata {
    /// Title of the data, or the file's name.
    pub title: String,
    /// Type of the values as stored, such as `uint32` or `float16`.
    pub stored_as: String,
    /// Anything else worth keeping, as name and value.
    pub extra: BTreeMap<String, String>,
}

/// One grey image with its calibration.
///
/// Values keep the range they had in the file. Pixels that were NaN or infinite are masked and filled from their
/// neighbours, so that every value is finite.
#[derive(Debug, Clone, PartialEq)]
pub struct Image {
    values: Array2<f64>,
    mask: Option<Array2<bool>>,
    y: Axis,
    x: Axis,
    /// Title, stored type and the like.
    pub metadata: Metadata,
}

impl Image {
    /// An image without calibration.
    ///
    /// # Errors
    /// If the array is empty or holds no finite value.
    pub fn new(values: Array2<f64>) -> Result<Self> {
        Self::calibrated(values, Axis::uncalibrated("y"), Axis::uncalibrated("x"))
    }

    /// An image whose rows run along `y` and columns along `x`.
    ///
    /// # Errors
    /// If the array is empty or holds no finite value.
    pub fn calibrated(mut values: Array2<f64>, y: Axis, x: Axis) -> Result<Self> {
        if values.is_empty() {
            return Err(Error::Empty { what: "image", shape: values.shape().to_vec() });
        }
        let mask = values.mapv(|v| !v.is_finite());
        let masked = mask.iter().filter(|&&m| m).count();
        if masked == values.len() {
            return Err(Error::NotFinite { what: "image".into(), count: masked, first: vec![0, 0] });
        }
        let mask = (masked > 0).then_some(mask);
        if let Some(mask) = &mask {
            fill(&mut values, mask);
        }
        Ok(Self { values, mask, y, x, metadata: Metadata::default() })
    }

    /// The same image with this metadata.
    pub fn with_metadata(mut self, metadata: Metadata) -> Self {
        self.metadata = metadata;
        self
    }

    /// Values as stored in the file; masked pixels hold the fill.
    pub fn values(&self) -> ArrayView2<'_, f64> {
        self.values.view()
    }

    /// Rows and columns.
    pub fn shape(&self) -> (usize, usize) {
        self.values.dim()
    }

    /// Calibration of the rows.
    pub fn y(&self) -> &Axis {
        &self.y
    }

    /// Calibration of the columns.
    pub fn x(&self) -> &Axis {
        &self.x
    }

    /// Which pixels were NaN or infinite, if any was.
    pub fn mask(&self) -> Option<ArrayView2<'_, bool>> {
        self.mask.as_ref().map(Array2::view)
    }

    /// Whether the pixel was NaN or infinite; pixels outside the image are not.
    pub fn is_masked(&self, y: usize, x: usize) -> bool {
        self.mask.as_ref().and_then(|m| m.get((y, x))).is_some_and(|&m| m)
    }

    /// Number of masked pixels.
    pub fn masked_count(&self) -> usize {
        self.mask.as_ref().map_or(0, |m| m.iter().filter(|&&m| m).count())
    }

    /// Smallest and largest value.
    pub fn range(&self) -> Range {
        Range::of(self.values.iter().copied())
    }

    /// Values mapped to \[0,1\] for analysis, and the range that maps them back.
    pub fn unit(&self) -> (Array2<f32>, Range) {
        let range = self.range();
        (self.values.mapv(|v| range.to_unit(v)), range)
    }
}

/// Fills masked pixels from the known ones outwards-in, each with the mean of the known pixels around it.
fn fill(values: &mut Array2<f64>, mask: &Array2<bool>) {
    let (rows, columns) = values.dim();
    let around = |y: usize, x: usize| {
        let ys = y.saturating_sub(1)..=(y + 1).min(rows - 1);
        ys.flat_map(move |y| (x.saturating_sub(1)..=(x + 1).min(columns - 1)).map(move |x| (y, x)))
    };
    let mut known = mask.mapv(|m| !m);
    let mut queued = known.clone();
    let mut front = VecDeque::new();
    for ((y, x), _) in mask.indexed_iter().filter(|(_, m)| **m) {
        if around(y, x).any(|p| known[p]) {
            queued[[y, x]] = true;
            front.push_back((y, x));
        }
    }
    while let Some((y, x)) = front.pop_front() {
        let (sum, count) = around(y, x).filter(|&p| known[p]).fold((0.0, 0), |(s, n), p| (s + values[p], n + 1));
        values[[y, x]] = sum / f64::from(count.max(1));
        known[[y, x]] = true;
        for p in around(y, x) {
            if !queued[p] {
                queued[p] = true;
                front.push_back(p);
            }
        }
    }
}

/// Images of one shape and calibration in the order of time.
#[derive(Debug, Clone, PartialEq)]
pub struct Movie {
    frames: Vec<Image>,
    time: Axis,
}

impl Movie {
    /// A movie of these frames.
    ///
    /// # Errors
    /// If there is no frame, or a frame differs from the first in shape.
    pub fn new(frames: Vec<Image>, time: Axis) -> Result<Self> {
        let Some(first) = frames.first() else {
            return Err(Error::Empty { what: "movie", shape: vec![0] });
        };
        let (rows, columns) = first.shape();
        if let Some(odd) = frames.iter().find(|f| f.shape() != (rows, columns)) {
            let (r, c) = odd.shape();
            return Err(Error::Shape { what: "frame of a movie", found: vec![r, c], expected: vec![rows, columns] });
        }
        Ok(Self { frames, time })
    }

    /// The frames in order; never empty.
    pub fn frames(&self) -> &[Image] {
        &self.frames
    }

    /// Calibration of time.
    pub fn time(&self) -> &Axis {
        &self.time
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn empty_and_wholly_masked_images_are_rejected() {
        assert!(matches!(Image::new(Array2::zeros((0, 3))), Err(Error::Empty { .. })));
        assert!(matches!(Image::new(Array2::from_elem((2, 3), f64::NAN)), Err(Error::NotFinite { count: 6, .. })));
    }

    #[test]
    fn frames_of_different_shape_are_rejected() {
        let frames = vec![Image::new(Array2::zeros((2, 3))).unwrap(), Image::new(Array2::zeros((3, 2))).unwrap()];
        assert!(Movie::new(frames, Axis::uncalibrated("time")).is_err());
        assert!(Movie::new(vec![], Axis::uncalibrated("time")).is_err());
    }

    #[test]
    fn values_return_from_the_unit_range() {
        let image = Image::new(Array2::from_shape_fn((4, 5), |(y, x)| 1000.0 + (7 * y + x) as f64)).unwrap();
        let (unit, range) = image.unit();
        for (u, v) in unit.iter().zip(image.values()) {
            assert!((range.from_unit(*u) - v).abs() < 1e-4 * v);
        }
    }

    proptest! {
        #[test]
        fn masked_pixels_are_counted_and_filled_within_the_range(
            bad in proptest::collection::btree_set((0usize..9, 0usize..7), 1..40),
        ) {
            let mut values = Array2::from_shape_fn((9, 7), |(y, x)| (y * 7 + x) as f64);
            for &p in &bad { values[p] = if p.0 % 2 == 0 { f64::NAN } else { f64::INFINITY }; }
            let image = Image::new(values).unwrap();
            prop_assert_eq!(image.masked_count(), bad.len());
            prop_assert!(image.values().iter().all(|v| (0.0..=62.0).contains(v)));
            for &(y, x) in &bad { prop_assert!(image.is_masked(y, x)); }
        }
    }
}
