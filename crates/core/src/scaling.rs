use ndarray::{Array2, Array4, ArrayView4, Axis as Dim, Zip};

use crate::{Error, Result};

/// The interval of stored values that \[0,1\] stands for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Range {
    /// Stored value that becomes 0.
    pub low: f64,
    /// Stored value that becomes 1; equal to `low` for constant data.
    pub high: f64,
}

impl Range {
    /// \[0,1\] itself.
    pub const UNIT: Self = Self { low: 0.0, high: 1.0 };

    /// Smallest and largest of the values; (0,0) if there are none.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Self {
        let (low, high) = values.into_iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| (l.min(v), h.max(v)));
        if low <= high { Self { low, high } } else { Self { low: 0.0, high: 0.0 } }
    }

    /// `(v − low) / (high − low)`, limited to \[0,1\]; 0 if the range is a point.
    pub fn to_unit(self, value: f64) -> f32 {
        let width = self.high - self.low;
        if width > 0.0 { ((value - self.low) / width).clamp(0.0, 1.0) as f32 } else { 0.0 }
    }

    /// `low + u · (high − low)`.
    pub fn from_unit(self, unit: f32) -> f64 {
        self.low + f64::from(unit) * (self.high - self.low)
    }
}

/// How patches were brought to \[0,1\], kept so that it can be undone.
#[derive(Debug, Clone, PartialEq)]
pub enum Scaling {
    /// One range per channel, for all patches: intensities of different atoms stay comparable.
    Global(Vec<Range>),
    /// One range per patch and channel, shape (N,C): only the form inside each patch remains.
    PerPatch(Array2<Range>),
}

/// Which [`Scaling`] to make.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Normalise {
    /// One range per channel.
    Global,
    /// One range per patch and channel.
    PerPatch,
}

impl Scaling {
    /// Data that are in \[0,1\] as they come.
    pub fn unit(channels: usize) -> Self {
        Self::Global(vec![Range::UNIT; channels])
    }

    /// Finds the ranges of `values` (N×H×W×C).
    pub fn find(values: ArrayView4<'_, f64>, how: Normalise) -> Self {
        let range = |a: ndarray::ArrayView3<'_, f64>| Range::of(a.iter().copied());
        match how {
            Normalise::Global => Self::Global(values.axis_iter(Dim(3)).map(range).collect()),
            Normalise::PerPatch => {
                let (n, .., c) = values.dim();
                Self::PerPatch(Array2::from_shape_fn((n, c), |(i, c)| {
                    Range::of(values.index_axis(Dim(0), i).index_axis(Dim(2), c).iter().copied())
                }))
            }
        }
    }

    /// The range of patch `index`, channel `channel`.
    pub fn range(&self, index: usize, channel: usize) -> Range {
        match self {
            Self::Global(ranges) => ranges[channel],
            Self::PerPatch(ranges) => ranges[[index, channel]],
        }
    }

    /// Stored values to \[0,1\]; N×H×W×C.
    pub fn to_unit(&self, values: ArrayView4<'_, f64>) -> Array4<f32> {
        let mut out = Array4::zeros(values.raw_dim());
        Zip::indexed(&mut out).and(values).for_each(|(n, _, _, c), o, &v| *o = self.range(n, c).to_unit(v));
        out
    }

    /// \[0,1\] back to stored values; N×H×W×C.
    pub fn from_unit(&self, unit: ArrayView4<'_, f32>) -> Array4<f64> {
        let mut out = Array4::zeros(unit.raw_dim());
        Zip::indexed(&mut out).and(unit).for_each(|(n, _, _, c), o, &u| *o = self.range(n, c).from_unit(u));
        out
    }

    /// The scaling of some of the patches, in the order of `rows`.
    pub(crate) fn select(&self, rows: &[usize]) -> Self {
        match self {
            Self::Global(ranges) => Self::Global(ranges.clone()),
            Self::PerPatch(ranges) => Self::PerPatch(ranges.select(Dim(0), rows)),
        }
    }

    /// Fails unless the scaling fits `n` patches of `channels` channels.
    pub(crate) fn check(&self, n: usize, channels: usize) -> Result<()> {
        let (found, expected) = match self {
            Self::Global(ranges) => (vec![ranges.len()], vec![channels]),
            Self::PerPatch(ranges) => (ranges.shape().to_vec(), vec![n, channels]),
        };
        if found == expected { Ok(()) } else { Err(Error::Shape { what: "scaling", found, expected }) }
    }
}
