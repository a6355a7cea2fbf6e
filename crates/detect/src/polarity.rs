use ndarray::ArrayView2;

use crate::Polarity;
use crate::neighbours::median;
use crate::peaks::maxima;

/// A skewness above this leaves atoms bright: most images show bright atoms.
const DARK: f64 = -0.3;
/// A honeycomb of bright atoms blurred to its three lowest waves has a skewness of −0.82; below this it is none.
const DARK_FOR_SURE: f64 = -0.95;

/// Bright or dark from the responses of a bright-atom filter: atoms are the sharp and rare side.
///
/// Returns the polarity with the skewness `E[(R − R̄)³] / (E[(R − R̄)²] − noise²)^{3/2}`. Dark spots with two bright ones
/// to each are the hollows of a honeycomb, unless the skewness is beyond what a honeycomb can have.
pub(crate) fn polarity(response: ArrayView2<'_, f32>, noise: f64) -> (Polarity, f64) {
    let skewness = skewness(response, noise);
    if skewness >= DARK {
        return (Polarity::Bright, skewness);
    }
    let inverted = response.mapv(|v| -v);
    let (bright, dark) = (prominent(response), prominent(inverted.view()));
    let honeycomb = (1.6..2.4).contains(&(bright / dark.max(1.0)));
    if honeycomb && skewness > DARK_FOR_SURE { (Polarity::Bright, skewness) } else { (Polarity::Dark, skewness) }
}

/// Number of maxima at least half as high as the middle one of those above 0.
fn prominent(response: ArrayView2<'_, f32>) -> f64 {
    let heights: Vec<f64> = maxima(response, f32::MIN_POSITIVE).into_iter().map(|p| f64::from(response[p])).collect();
    let Some(middle) = median(heights.clone()) else { return 0.0 };
    heights.iter().filter(|h| **h > 0.5 * middle).count() as f64
}

fn skewness(response: ArrayView2<'_, f32>, noise: f64) -> f64 {
    let n = response.len() as f64;
    let mean = response.iter().map(|&v| f64::from(v)).sum::<f64>() / n;
    let (second, third) = response.iter().fold((0.0, 0.0), |(s, t), &v| {
        let d = f64::from(v) - mean;
        (s + d * d, t + d * d * d)
    });
    let signal = (second / n - noise * noise).max(0.1 * second / n);
    if signal > 0.0 { third / n / signal.powf(1.5) } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::filter::log_response;
    use ndarray::Array2;

    /// Three waves at 120°: a triangular lattice of peaks, and a honeycomb if turned over.
    fn waves(y: usize, x: usize) -> f32 {
        let k = 2.0 * std::f32::consts::PI / 15.0;
        [0.0f32, 120.0, 240.0]
            .iter()
            .map(|a| a.to_radians())
            .map(|a| (k * (y as f32 * a.sin() + x as f32 * a.cos())).cos())
            .sum()
    }

    #[test]
    fn hollows_of_a_blurred_honeycomb_are_not_atoms_but_dark_columns_are() {
        let response = |f: &dyn Fn(f32) -> f32| {
            log_response(Array2::from_shape_fn((200, 200), |(y, x)| f(waves(y, x))).view(), 3.0)
        };
        assert_eq!(polarity(response(&|w| w).view(), 0.0).0, Polarity::Bright);
        assert_eq!(polarity(response(&|w| -w).view(), 0.0).0, Polarity::Bright);
        let sharp = |w: f32| (1.5 * w).exp();
        assert_eq!(polarity(response(&sharp).view(), 0.0).0, Polarity::Bright);
        assert_eq!(polarity(response(&|w| -sharp(w)).view(), 0.0).0, Polarity::Dark);
    }
}
