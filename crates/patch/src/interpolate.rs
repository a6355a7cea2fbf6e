use ndarray::ArrayView2;

/// The four pixels around a coordinate and their Catmull–Rom weights, along one axis.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tap {
    /// Indices of the pixels; −1 and `len` mean one beyond the edge.
    first: isize,
    weights: [f64; 4],
}

impl Tap {
    /// Weights at `at`; `None` outside 0 to `len − 1`.
    pub(crate) fn new(at: f64, len: usize) -> Option<Self> {
        let last = len.checked_sub(1)? as f64;
        if !(at >= 0.0 && at <= last) {
            return None;
        }
        let base = at.floor();
        let t = at - base;
        let weights = [
            t * (-0.5 + t * (1.0 - 0.5 * t)),
            1.0 + t * t * (-2.5 + 1.5 * t),
            t * (0.5 + t * (2.0 - 1.5 * t)),
            t * t * (-0.5 + 0.5 * t),
        ];
        Some(Self { first: base as isize - 1, weights })
    }

    /// Pixels inside the image that carry weight.
    pub(crate) fn pixels(&self, len: usize) -> impl Iterator<Item = usize> {
        let first = self.first;
        let carries = self.weights.map(|w| w != 0.0);
        (0..4).filter(move |&i| carries[i]).filter_map(move |i| {
            let pixel = usize::try_from(first + i as isize).ok()?;
            (pixel < len).then_some(pixel)
        })
    }

    /// The same weights on pixels inside the image: beyond the edge the image goes on in a straight line.
    fn folded(&self, len: usize) -> [(usize, f64); 4] {
        let mut taps = [(0, 0.0); 4];
        let at = |i: isize| i.clamp(0, len as isize - 1) as usize;
        for (i, tap) in taps.iter_mut().enumerate() {
            *tap = (at(self.first + i as isize), self.weights[i]);
        }
        // p(−1) = 2 p(0) − p(1), and the mirror of it at the far edge.
        if self.first < 0 {
            let w = self.weights[0];
            taps[0] = (0, 2.0 * w);
            taps[2].1 -= w;
        }
        if self.first + 3 >= len as isize {
            let w = self.weights[3];
            taps[3] = (at(len as isize - 1), 2.0 * w);
            taps[1].1 -= w;
        }
        taps
    }
}

/// Value of the image at the crossing of two taps.
///
/// Catmull–Rom (Keys' cubic with a = −1/2): separable over 4×4 pixels, passes through every pixel, exact for
/// polynomials up to the second degree.
pub(crate) struct Sampler {
    rows: Vec<[(usize, f64); 4]>,
    columns: Vec<[(usize, f64); 4]>,
}

impl Sampler {
    pub(crate) fn new(rows: &[Tap], columns: &[Tap], shape: (usize, usize)) -> Self {
        Self {
            rows: rows.iter().map(|t| t.folded(shape.0)).collect(),
            columns: columns.iter().map(|t| t.folded(shape.1)).collect(),
        }
    }

    /// Value at sample (i, j) of the window.
    pub(crate) fn value(&self, image: ArrayView2<'_, f64>, i: usize, j: usize) -> f64 {
        let mut sum = 0.0;
        for &(y, wy) in &self.rows[i] {
            let row = self.columns[j].iter().map(|&(x, wx)| wx * image[[y, x]]).sum::<f64>();
            sum += wy * row;
        }
        sum
    }
}
