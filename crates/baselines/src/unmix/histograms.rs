//! Marginals of many numbers between 0 and 1, in memory that does not grow with the samples.

const BINS: usize = 64;

/// Narrowest range of a histogram.
const LEAST: f64 = 1e-4;

/// Standard deviations either side of the mean at first.
const REACH: f64 = 6.0;

/// Samples that a bin can count.
pub(crate) const MOST_SAMPLES: usize = u16::MAX as usize;

/// A histogram of 64 bins for each number, which doubles its range when a sample falls outside.
pub(crate) struct Histograms {
    low: Vec<f32>,
    width: Vec<f32>,
    counts: Vec<u16>,
}

impl Histograms {
    /// Around these means and deviations.
    pub fn around(moments: impl Iterator<Item = (f64, f64)>) -> Self {
        let (mut low, mut width) = (Vec::new(), Vec::new());
        for (mean, sd) in moments {
            let half = (REACH * sd).max(0.5 * LEAST);
            let from = (mean - half).max(0.0);
            low.push(from as f32);
            width.push((((mean + half).min(1.0) - from).max(0.5 * LEAST) / BINS as f64) as f32);
        }
        let counts = vec![0; BINS * low.len()];
        Self { low, width, counts }
    }

    /// Counts a sample of number `i`.
    pub fn add(&mut self, i: usize, value: f64) {
        let value = value as f32;
        loop {
            let place = (value - self.low[i]) / self.width[i];
            if place >= 0.0 && place < BINS as f32 {
                self.counts[i * BINS + place as usize] += 1;
                return;
            }
            self.widen(i, place < 0.0);
        }
    }

    fn widen(&mut self, i: usize, down: bool) {
        let counts = &mut self.counts[i * BINS..][..BINS];
        let mut wide = [0; BINS];
        let first = if down { BINS / 2 } else { 0 };
        for (pair, out) in counts.chunks_exact(2).zip(&mut wide[first..]) {
            *out = pair[0] + pair[1];
        }
        counts.copy_from_slice(&wide);
        if down {
            self.low[i] -= BINS as f32 * self.width[i];
        }
        self.width[i] *= 2.0;
    }

    /// The shortest interval that holds this share of the samples of number `i`.
    pub fn shortest(&self, i: usize, share: f64) -> (f64, f64) {
        let mut below = [0.0; BINS + 1];
        for (bin, count) in self.counts[i * BINS..][..BINS].iter().enumerate() {
            below[bin + 1] = below[bin] + f64::from(*count);
        }
        let held = share * below[BINS];
        // Place, in bins, below which so many samples lie: the lowest, or the highest.
        let lowest = |samples: f64| {
            let bin = (0..BINS).find(|b| below[b + 1] >= samples).unwrap_or(BINS - 1);
            bin as f64 + part(samples - below[bin], below[bin + 1] - below[bin])
        };
        let highest = |samples: f64| {
            let bin = (0..BINS).rev().find(|b| below[*b] <= samples).unwrap_or(0);
            bin as f64 + part(samples - below[bin], below[bin + 1] - below[bin])
        };
        let mut best = (0.0, BINS as f64);
        let mut consider = |from: f64, to: f64| {
            if to - from < best.1 - best.0 {
                best = (from, to);
            }
        };
        for (edge, so_far) in below.iter().enumerate() {
            if so_far + held <= below[BINS] {
                consider(edge as f64, lowest(so_far + held));
            }
            if so_far - held >= 0.0 {
                consider(highest(so_far - held), edge as f64);
            }
        }
        let value = |place: f64| f64::from(self.low[i]) + place * f64::from(self.width[i]);
        // Widths are f32: a range that ends at 1 may end just below.
        let high = if value(best.1) > 1.0 - 1e-6 { 1.0 } else { value(best.1) };
        (value(best.0).clamp(0.0, 1.0), high)
    }
}

fn part(of: f64, whole: f64) -> f64 {
    if whole > 0.0 { (of / whole).clamp(0.0, 1.0) } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use rand::{Rng, SeedableRng};
    use rand_chacha::ChaCha8Rng;
    use rand_distr::StandardNormal;

    use super::*;

    #[test]
    fn intervals_are_those_of_the_distribution() {
        let mut rng = ChaCha8Rng::seed_from_u64(2);
        // A normal one inside, one whose range is guessed wrong, one at 0, one at 1.
        let guesses = [(0.5, 0.02), (0.1, 1e-6), (0.05, 0.02), (0.95, 0.02)];
        let mut found = Histograms::around(guesses.into_iter());
        for _ in 0..20_000 {
            let mut normal = || rng.sample::<f64, _>(StandardNormal);
            found.add(0, 0.5 + 0.02 * normal());
            found.add(1, 0.6 + 0.01 * normal());
            found.add(2, (0.03 * normal()).abs());
            found.add(3, 1.0 - (0.03 * normal()).abs());
        }
        let close = |(low, high): (f64, f64), expected: (f64, f64), tolerance: f64| {
            assert!((low - expected.0).abs() < tolerance && (high - expected.1).abs() < tolerance, "{low} {high}");
        };
        close(found.shortest(0, 0.95), (0.5 - 0.0392, 0.5 + 0.0392), 0.004);
        // To the width of a bin, which reaches from the guess to the samples.
        close(found.shortest(1, 0.95), (0.5804, 0.6196), 0.017);
        let (low, high) = found.shortest(2, 0.95);
        close((low, high), (0.0, 0.0588), 0.002);
        assert_eq!(low, 0.0);
        let (low, high) = found.shortest(3, 0.95);
        close((low, high), (1.0 - 0.0588, 1.0), 0.002);
        assert_eq!(high, 1.0);
    }

    #[test]
    fn a_number_that_never_moves_has_a_narrow_interval() {
        for value in [0.0, 0.3, 1.0] {
            let mut found = Histograms::around([(value, 0.0)].into_iter());
            (0..100).for_each(|_| found.add(0, value));
            let (low, high) = found.shortest(0, 0.95);
            assert!(low - 1e-6 <= value && value <= high + 1e-6 && high - low < 1e-5, "{low} {high}");
        }
    }
}
