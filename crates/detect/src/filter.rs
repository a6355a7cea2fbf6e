use ndarray::{Array2, ArrayView2, Axis as Dim};
use rayon::prelude::*;

/// A one-dimensional kernel that is symmetric about 0, by its half: `taps[0]` is the centre.
struct Symmetric(Vec<f32>);

impl Symmetric {
    /// Gaussian of unit sum.
    fn gaussian(sigma: f64) -> Self {
        let half = sample(sigma, |x| (-0.5 * (x / sigma).powi(2)).exp());
        let sum = half[0] + 2.0 * half[1..].iter().sum::<f64>();
        Self(half.iter().map(|v| (v / sum) as f32).collect())
    }

    /// Second derivative of a Gaussian: 0 on constants and straight lines, 2 on x², however few the pixels.
    fn second_derivative(sigma: f64) -> Self {
        let gauss = |x: f64| (-0.5 * (x / sigma).powi(2)).exp();
        let mut half = sample(sigma, |x| ((x / sigma).powi(2) - 1.0) * gauss(x));
        let weight = sample(sigma, gauss);
        let sum = |v: &[f64]| v[0] + 2.0 * v[1..].iter().sum::<f64>();
        let excess = sum(&half) / sum(&weight);
        half.iter_mut().zip(&weight).for_each(|(h, w)| *h -= excess * w);
        let moment = half.iter().enumerate().map(|(i, h)| (i * i) as f64 * h).sum::<f64>();
        Self(half.iter().map(|h| (h / moment) as f32).collect())
    }
}

fn sample(sigma: f64, f: impl Fn(f64) -> f64) -> Vec<f64> {
    let radius = (4.0 * sigma).ceil().max(2.0) as usize;
    (0..=radius).map(|i| f(i as f64)).collect()
}

/// Index of a pixel beyond the edge, mirrored about the edge (edge pixels are repeated).
fn mirror(i: isize, len: usize) -> usize {
    let len = len as isize;
    let i = i.rem_euclid(2 * len);
    (if i < len { i } else { 2 * len - 1 - i }) as usize
}

/// `out[x] = Σ k[i] · line[x + i]`, mirrored at the ends; `padded` is scratch.
fn along(line: &[f32], kernel: &Symmetric, padded: &mut Vec<f32>, out: &mut [f32]) {
    let radius = kernel.0.len() - 1;
    padded.clear();
    padded.extend((0..line.len() + 2 * radius).map(|i| line[mirror(i as isize - radius as isize, line.len())]));
    let n = out.len();
    out.iter_mut().zip(&padded[radius..]).for_each(|(o, v)| *o = kernel.0[0] * v);
    for (i, &k) in kernel.0.iter().enumerate().skip(1) {
        let (left, right) = (&padded[radius - i..][..n], &padded[radius + i..][..n]);
        out.iter_mut().zip(left).zip(right).for_each(|((o, l), r)| *o += k * (l + r));
    }
}

/// `out += Σ k[i] · row(y + i)`, mirrored at the ends.
fn across(image: ArrayView2<'_, f32>, y: usize, kernel: &Symmetric, out: &mut [f32]) {
    let rows = image.nrows();
    let line = |i: isize| image.row(mirror(i, rows));
    for (i, &k) in kernel.0.iter().enumerate() {
        let (above, below) = (line(y as isize - i as isize), line(y as isize + i as isize));
        let k = if i == 0 { 0.5 * k } else { k };
        match (above.as_slice(), below.as_slice()) {
            (Some(a), Some(b)) => out.iter_mut().zip(a).zip(b).for_each(|((o, a), b)| *o += k * (a + b)),
            _ => out.iter_mut().zip(&above).zip(&below).for_each(|((o, a), b)| *o += k * (a + b)),
        }
    }
}

/// `Σ_p across_p(along_p(image))` over pairs of kernels (down the columns, along the rows).
fn separable(image: ArrayView2<'_, f32>, pairs: &[(Symmetric, Symmetric)]) -> Array2<f32> {
    let (rows, columns) = image.dim();
    let mut out = Array2::<f32>::zeros((rows, columns));
    out.axis_iter_mut(Dim(0)).into_par_iter().enumerate().for_each_init(
        || (vec![0.0f32; columns], vec![0.0f32; columns], Vec::new()),
        |(down, line, padded), (y, mut row)| {
            for (vertical, horizontal) in pairs {
                down.fill(0.0);
                across(image, y, vertical, down);
                along(down, horizontal, padded, line);
                row.iter_mut().zip(line.iter()).for_each(|(o, v)| *o += v);
            }
        },
    );
    out
}

/// Gaussian blur, mirrored at the border.
pub(crate) fn gaussian(image: ArrayView2<'_, f32>, sigma: f64) -> Array2<f32> {
    separable(image, &[(Symmetric::gaussian(sigma), Symmetric::gaussian(sigma))])
}

/// `−2σ² ∇²(G_σ ∗ image)`: at the centre of a Gaussian of height A and width s it is `4A·s²σ²/(s² + σ²)²`, which is
/// largest, and equal to A, where σ = s.
pub(crate) fn log_response(image: ArrayView2<'_, f32>, sigma: f64) -> Array2<f32> {
    let pairs = [
        (Symmetric::second_derivative(sigma), Symmetric::gaussian(sigma)),
        (Symmetric::gaussian(sigma), Symmetric::second_derivative(sigma)),
    ];
    let mut out = separable(image, &pairs);
    let scale = -2.0 * (sigma * sigma) as f32;
    out.par_mapv_inplace(|v| scale * v);
    out
}

/// Standard deviation of [`log_response`] on white noise of unit standard deviation (for σ ≥ 1 px).
pub(crate) fn log_noise(sigma: f64) -> f64 {
    2.0 / ((2.0 * std::f64::consts::PI).sqrt() * sigma)
}

/// Standard deviation of [`gaussian`] on white noise of unit standard deviation.
pub(crate) fn gaussian_noise(sigma: f64) -> f64 {
    0.5 / (std::f64::consts::PI.sqrt() * sigma)
}

/// What varies more slowly than `sigma`: a Gaussian blur, taken on means over blocks and interpolated between them.
pub(crate) fn background(image: ArrayView2<'_, f32>, sigma: f64) -> Array2<f32> {
    let (rows, columns) = image.dim();
    let block = ((sigma / 4.0) as usize).clamp(1, rows.min(columns));
    if block == 1 {
        return gaussian(image, sigma);
    }
    // Blocks at the far edges take what is left, so that every block has its full size.
    let (down, across) = (rows / block, columns / block);
    let means = Array2::from_shape_fn((down, across), |(i, j)| {
        let y = i * block..if i + 1 == down { rows } else { (i + 1) * block };
        let x = j * block..if j + 1 == across { columns } else { (j + 1) * block };
        image.slice(ndarray::s![y, x]).mean().unwrap_or(0.0)
    });
    let coarse = gaussian(means.view(), sigma / block as f64);
    let place = |i: usize, len: usize| {
        let at = ((i as f32 + 0.5) / block as f32 - 0.5).clamp(0.0, (len - 1) as f32);
        let low = (at as usize).min(len.saturating_sub(2));
        (low, (low + 1).min(len - 1), at - low as f32)
    };
    let xs: Vec<_> = (0..columns).map(|x| place(x, across)).collect();
    let mut out = Array2::<f32>::zeros((rows, columns));
    out.axis_iter_mut(Dim(0)).into_par_iter().enumerate().for_each(|(y, mut row)| {
        let (top, bottom, t) = place(y, down);
        let line: Vec<f32> = (0..across).map(|j| (1.0 - t) * coarse[[top, j]] + t * coarse[[bottom, j]]).collect();
        row.iter_mut().zip(&xs).for_each(|(o, &(l, r, u))| *o = (1.0 - u) * line[l] + u * line[r]);
    });
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blob(size: usize, y0: f64, x0: f64, height: f64, sigma: f64) -> Array2<f32> {
        Array2::from_shape_fn((size, size), |(y, x)| {
            let r2 = (y as f64 - y0).powi(2) + (x as f64 - x0).powi(2);
            (height * (-r2 / (2.0 * sigma * sigma)).exp()) as f32
        })
    }

    #[test]
    fn the_response_at_a_blob_is_its_height_where_the_widths_agree() {
        for sigma in [1.0, 2.0, 4.5] {
            let image = blob(64, 32.0, 32.0, 3.0, sigma);
            for t in [0.7 * sigma, sigma, 1.5 * sigma] {
                let expected = 12.0 * (sigma * t / (sigma * sigma + t * t)).powi(2);
                let found = f64::from(log_response(image.view(), t)[[32, 32]]);
                // Kernels narrower than a pixel are coarsely sampled.
                let tolerance = if t < 1.0 { 0.07 } else { 0.03 };
                assert!((found - expected).abs() < tolerance * expected, "σ {sigma} t {t}: {found} {expected}");
            }
        }
    }

    #[test]
    fn planes_have_no_response_inside() {
        let plane = Array2::from_shape_fn((60, 70), |(y, x)| (3 * y) as f32 - 2.0 * x as f32);
        assert!(log_response(plane.view(), 2.0).slice(ndarray::s![10..50, 10..60]).iter().all(|v| v.abs() < 1e-3));
    }

    #[test]
    fn the_background_follows_a_slope_and_not_the_atoms() {
        let slope = |y: usize, x: usize| 0.02 * y as f32 + 0.01 * x as f32;
        let wave = |i: usize| (i as f32 * 0.5).cos();
        let image = Array2::from_shape_fn((203, 310), |(y, x)| slope(y, x) + wave(y) * wave(x));
        let found = background(image.view(), 24.0);
        for (y, x) in [(100, 150), (90, 200), (110, 100)] {
            assert!((found[[y, x]] - slope(y, x)).abs() < 0.05, "{} {}", found[[y, x]], slope(y, x));
        }
    }
}
