use parsimon_core::Sites;

use crate::neighbours::median;

/// Two kinds of sites, told apart by their intensity.
#[derive(Debug, Clone, PartialEq)]
pub struct Classes {
    /// 0 for the weaker, 1 for the stronger sites; one per site.
    pub class: Vec<usize>,
    /// Number of weaker and of stronger sites.
    pub counts: [usize; 2],
    /// Median absolute intensity of the two, in the values of the image.
    pub intensity: [f64; 2],
    /// Ashman's D, `√2·|m₁ − m₂| / √(s₁² + s₂²)` of means m and standard deviations s of the two.
    pub separation: f64,
}

/// Least share of the sites that a kind must have.
const LEAST_SHARE: f64 = 0.05;
/// Least [`Classes::separation`]: the halves of one normal distribution have 2.7, those of a uniform one 3.5.
const LEAST_SEPARATION: f64 = 4.0;

/// Splits the sites by absolute intensity at Otsu's threshold; `None` if that does not tell two kinds apart.
///
/// # Reference
/// N. Otsu, IEEE Trans. Syst. Man Cybern. 9, 62 (1979); K. Ashman et al., Astron. J. 108, 2348 (1994).
pub fn brightness_classes(sites: &Sites) -> Option<Classes> {
    let values: Vec<f64> = sites.iter().map(|s| s.intensity.abs()).collect();
    let mut sorted = values.clone();
    sorted.sort_unstable_by(f64::total_cmp);
    let n = sorted.len();
    let least = ((LEAST_SHARE * n as f64).ceil() as usize).max(3);
    if n < 2 * least {
        return None;
    }
    let total: f64 = sorted.iter().sum();
    let (mut sum, mut best) = (0.0, (0, f64::NEG_INFINITY));
    for (k, v) in sorted.iter().enumerate() {
        if k >= least && k <= n - least {
            let (low, high) = (sum / k as f64, (total - sum) / (n - k) as f64);
            let between = k as f64 * (n - k) as f64 * (high - low).powi(2);
            if between > best.1 {
                best = (k, between);
            }
        }
        sum += v;
    }
    let (low, high) = sorted.split_at(best.0);
    let (m1, s1) = moments(low);
    let (m2, s2) = moments(high);
    let spread = (s1 * s1 + s2 * s2).sqrt();
    let separation = if spread > 0.0 { 2f64.sqrt() * (m2 - m1) / spread } else { 0.0 };
    if separation.is_nan() || separation < LEAST_SEPARATION {
        return None;
    }
    let cut = *high.first()?;
    let class: Vec<usize> = values.iter().map(|v| usize::from(*v >= cut)).collect();
    let stronger = class.iter().sum();
    let intensity = [median(low.to_vec())?, median(high.to_vec())?];
    Some(Classes { class, counts: [n - stronger, stronger], intensity, separation })
}

fn moments(values: &[f64]) -> (f64, f64) {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    (mean, (values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / n).sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;
    use parsimon_core::{Refinement, Site};
    use rand::{Rng, SeedableRng};
    use rand_chacha::ChaCha8Rng;
    use rand_distr::{Normal, Uniform};

    fn sites(intensities: impl IntoIterator<Item = f64>) -> Sites {
        let site = |intensity| Site {
            frame: 0,
            y: 0.0,
            x: 0.0,
            intensity,
            width: 1.0,
            quality: 1.0,
            refinement: Refinement::None,
        };
        Sites::new(intensities.into_iter().map(site).collect()).unwrap()
    }

    #[test]
    fn two_kinds_are_split_and_one_kind_is_not() {
        let mut rng = ChaCha8Rng::seed_from_u64(2);
        let mut draw = |n: usize, mean: f64, sd: f64| -> Vec<f64> {
            (0..n).map(|_| rng.sample(Normal::new(mean, sd).unwrap())).collect()
        };
        // Dark atoms: intensities below 0, the stronger is the deeper.
        let two = [draw(200, -1.0, 0.15), draw(150, -2.5, 0.2)].concat();
        let found = brightness_classes(&sites(two)).unwrap();
        assert_eq!(found.counts, [200, 150]);
        assert!(found.class[..200].iter().all(|c| *c == 0) && found.intensity[1] > 2.4, "{found:?}");
        assert!(brightness_classes(&sites(draw(2000, 3.0, 0.5))).is_none());
        assert!(brightness_classes(&sites(draw(5, 3.0, 0.5))).is_none());
        let even: Vec<f64> = rng.sample_iter(Uniform::new(0.5, 2.0)).take(2000).collect();
        assert!(brightness_classes(&sites(even)).is_none());
        assert!(brightness_classes(&sites(vec![1.0; 50])).is_none());
    }
}
