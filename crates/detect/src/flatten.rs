use ndarray::{Array2, ArrayView2};
use parsimon_core::{Image, Range};

use crate::filter::background;
use crate::{Error, Result};

/// The image less what varies more slowly than `sigma` pixels: tilt of the sample plane, thickness, illumination. Masked
/// pixels stay masked; values are about 0.
///
/// # Errors
/// If `sigma` is not a finite number above 0.
pub fn flattened(image: &Image, sigma: f64) -> Result<Image> {
    if !(sigma.is_finite() && sigma > 0.0) {
        return Err(Error::Parameter { name: "background", value: sigma, accepted: "finite numbers above 0" });
    }
    // A blur bends a slope at the borders of the image: the plane goes first.
    let mut flat = &image.values() - &plane(image.values());
    let range = Range::of(flat.iter().copied());
    let unit = if range.high > range.low { range.high - range.low } else { 1.0 };
    let slow = background(flat.mapv(|v| (v / unit) as f32).view(), sigma);
    flat.zip_mut_with(&slow, |v, &s| *v -= unit * f64::from(s));
    for ((y, x), value) in flat.indexed_iter_mut() {
        if image.is_masked(y, x) {
            *value = f64::NAN;
        }
    }
    Ok(Image::calibrated(flat, image.y().clone(), image.x().clone())?.with_metadata(image.metadata.clone()))
}

/// The plane nearest to the values in least squares. Rows and columns are orthogonal on a full grid, so that each slope
/// is a quotient of sums.
fn plane(values: ArrayView2<'_, f64>) -> Array2<f64> {
    let (rows, columns) = values.dim();
    let from_middle = |i: usize, n: usize| i as f64 - 0.5 * (n - 1) as f64;
    let slope = |of: &dyn Fn((usize, usize)) -> f64| -> f64 {
        let (mut product, mut square) = (0.0, 0.0);
        for (place, value) in values.indexed_iter() {
            product += of(place) * value;
            square += of(place) * of(place);
        }
        if square > 0.0 { product / square } else { 0.0 }
    };
    let down = slope(&|(y, _)| from_middle(y, rows));
    let right = slope(&|(_, x)| from_middle(x, columns));
    let middle = values.mean().unwrap_or(0.0);
    Array2::from_shape_fn((rows, columns), |(y, x)| {
        middle + down * from_middle(y, rows) + right * from_middle(x, columns)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plane_goes_whole_and_masked_pixels_stay_masked() {
        let mut tilted = Array2::from_shape_fn((40, 60), |(y, x)| 1e5 + 3.0 * y as f64 - 7.0 * x as f64);
        tilted[[20, 30]] += 50.0;
        tilted[[5, 5]] = f64::NAN;
        let flat = flattened(&Image::new(tilted).unwrap(), 8.0).unwrap();
        assert!(flat.is_masked(5, 5) && flat.masked_count() == 1);
        assert!((flat.values()[[20, 30]] - 50.0).abs() < 2.0, "{}", flat.values()[[20, 30]]);
        let corners = [(0, 0), (0, 59), (39, 0), (39, 59)];
        assert!(corners.iter().all(|&place| flat.values()[place].abs() < 2.0), "{:?}", flat.values());
        for sigma in [0.0, -1.0, f64::NAN] {
            assert!(flattened(&flat, sigma).unwrap_err().to_string().contains("background"));
        }
    }
}
