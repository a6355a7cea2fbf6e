use ndarray::ArrayView2;
use rayon::prelude::*;

use crate::neighbours::median;

/// Standard deviation of the noise of single pixels: the median absolute value of a mask that is blind to constants,
/// slopes and smooth curvature. Immerkær, Comput. Vis. Image Underst. 64, 300 (1996).
pub(crate) fn pixel_noise(image: ArrayView2<'_, f32>) -> f64 {
    let (rows, columns) = image.dim();
    if rows < 3 || columns < 3 {
        return 0.0;
    }
    let stride = (rows * columns / 200_000).max(1);
    let inner = columns - 2;
    let places: Vec<usize> = (0..(rows - 2) * inner).step_by(stride).collect();
    let mask = |p: &usize| {
        let (y, x) = (p / inner + 1, p % inner + 1);
        let at = |dy: usize, dx: usize| f64::from(image[[y + dy - 1, x + dx - 1]]);
        let corners = at(0, 0) + at(0, 2) + at(2, 0) + at(2, 2);
        let edges = at(0, 1) + at(1, 0) + at(1, 2) + at(2, 1);
        (corners - 2.0 * edges + 4.0 * at(1, 1)).abs() / 6.0
    };
    median(places.par_iter().map(mask).collect()).unwrap_or(0.0) / 0.6745
}

/// How many standard deviations a filtered noise field must exceed so that fewer than `expected` of its maxima in
/// `cells` cells do. `cells` = area / (area per cell), a cell the square of the width of the field's correlation.
///
/// Mean number of maxima above u of a Gaussian field: `cells · u · exp(−u²/2) / (2π)^1.5`.
pub(crate) fn noise_floor(cells: f64, expected: f64) -> f64 {
    let count = |u: f64| cells * u * (-0.5 * u * u).exp() / (2.0 * std::f64::consts::PI).powf(1.5);
    let (mut low, mut high) = (2.0, 12.0);
    for _ in 0..50 {
        let middle = 0.5 * (low + high);
        if count(middle) > expected { low = middle } else { high = middle }
    }
    high
}

/// Number of classes of the histogram of heights.
const BINS: usize = 96;

/// The height that parts atoms from the rest: the first gap in the heights of the candidates above `floor`.
///
/// A gap is a height at which candidates are at least three times rarer than at some greater height. If the
/// candidates thin out steadily from the floor on, the floor itself parts them.
pub(crate) fn gap(heights: &[f64], floor: f64) -> f64 {
    let mut above: Vec<f64> = heights.iter().copied().filter(|h| *h >= floor).collect();
    above.sort_unstable_by(f64::total_cmp);
    if above.len() < 12 {
        return floor;
    }
    let top = above[(above.len() - 1) * 98 / 100];
    let width = (top - floor) / (BINS - 16) as f64;
    if width <= 0.0 {
        return floor;
    }
    let mut counts = vec![0.0; BINS];
    for h in &above {
        counts[(((h - floor) / width) as usize).min(BINS - 1)] += 1.0;
    }
    let density = smooth(&counts, 2.5);
    // A mode must hold more than a few stragglers.
    let least = 0.02 * density.iter().sum::<f64>() / 8.0;
    let mut lowest = 0;
    for (bin, &d) in density.iter().enumerate().take(BINS - 1) {
        if d < density[lowest] {
            lowest = bin;
        }
        if d > 3.0 * density[lowest] && d > least {
            // The middle of an empty stretch, not its edge.
            let last = (lowest..bin).take_while(|&b| density[b] <= 1.2 * density[lowest] + 1e-9).last();
            let middle = 0.5 * (lowest + last.unwrap_or(lowest)) as f64;
            return if lowest == 0 { floor } else { floor + width * (middle + 0.5) };
        }
    }
    floor
}

/// Gaussian smoothing of a histogram; what would leave at the ends is reflected.
fn smooth(counts: &[f64], sigma: f64) -> Vec<f64> {
    let n = counts.len() as isize;
    let radius = (4.0 * sigma) as isize;
    let weight = |i: isize| (-0.5 * (i as f64 / sigma).powi(2)).exp() / (sigma * (2.0 * std::f64::consts::PI).sqrt());
    let at = |i: isize| {
        let i = i.rem_euclid(2 * n);
        counts[(if i < n { i } else { 2 * n - 1 - i }) as usize]
    };
    (0..n).map(|i| (-radius..=radius).map(|k| weight(k) * at(i + k)).sum()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::Array2;
    use rand::{Rng, SeedableRng};
    use rand_chacha::ChaCha8Rng;
    use rand_distr::{Normal, StandardNormal};

    fn normal(n: usize, mean: f64, sd: f64, rng: &mut ChaCha8Rng) -> Vec<f64> {
        (0..n).map(|_| rng.sample(Normal::new(mean, sd).unwrap())).collect()
    }

    #[test]
    fn the_noise_is_measured_on_top_of_atoms() {
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        let image = Array2::from_shape_fn((300, 300), |(y, x)| {
            let atoms = (y as f32 * 0.4).cos() * (x as f32 * 0.3).cos();
            5.0 * atoms + 0.5 * rng.sample::<f32, _>(StandardNormal)
        });
        let found = pixel_noise(image.view());
        assert!((found - 0.5).abs() < 0.03, "{found}");
    }

    #[test]
    fn the_gap_lies_between_populations() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let strong = normal(130, 4.3, 0.2, &mut rng);
        let weak = normal(130, 2.1, 0.15, &mut rng);
        let stray = normal(20, 0.1, 0.05, &mut rng);
        // Two well-separated kinds of atoms: both stay.
        let both = [stray.clone(), weak, strong.clone()].concat();
        let t = gap(&both, 0.05);
        assert!((0.3..1.6).contains(&t), "{t}");
        // A weak kind that the floor cuts in two is left out as a whole.
        let cut = [normal(900, 0.65, 0.25, &mut rng), normal(800, 2.8, 0.35, &mut rng)].concat();
        let t = gap(&cut, 0.64);
        assert!((1.2..2.0).contains(&t), "{t}");
        // One kind well above the floor: the floor is enough.
        let t = gap(&strong, 0.05);
        assert!(t < 3.6, "{t}");
    }

    #[test]
    fn the_floor_rises_with_the_number_of_cells() {
        let (small, large) = (noise_floor(100.0, 0.05), noise_floor(1e6, 0.05));
        assert!(3.0 < small && small < large && large < 6.5, "{small} {large}");
    }
}
