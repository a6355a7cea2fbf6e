use ndarray::Array2;
use parsimon_core::Image;

use crate::neighbours::{median, sample};

/// The image as it is worked on: `(value − offset) / scale` in single precision.
pub(crate) struct Work {
    pub(crate) values: Array2<f32>,
    /// Size of one unit of `values` in the values of the image.
    pub(crate) scale: f64,
}

impl Work {
    /// `None` if all pixels have one value.
    pub(crate) fn new(image: &Image) -> Option<Self> {
        let range = image.range();
        // The contrast of most pixels, not of a few outliers, is the unit.
        let some: Vec<f64> = sample(image.values(), 20_000).collect();
        let offset = median(some.clone())?;
        let spread = median(some.iter().map(|v| (v - offset).abs()).collect())?;
        let scale = spread.max(1e-6 * (range.high - range.low));
        if !(scale.is_finite() && scale > 0.0 && scale > 1e-12 * range.high.abs().max(range.low.abs())) {
            return None;
        }
        Some(Self { values: image.values().mapv(|v| ((v - offset) / scale) as f32), scale })
    }
}
