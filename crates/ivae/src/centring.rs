//! Where in a patch its object lies, told from the patch alone, so that an encoder need only find what is left.

use parsimon_nets::Data;
use rayon::prelude::*;

use crate::model::NetResult;

/// Values that differ from the background by less than so many of its standard deviations do not count.
const NOISE: f32 = 2.0;

/// Standard deviation of a normal distribution in units of its median deviation.
const OF_MEDIAN: f32 = 1.4826;

/// Standard deviations of the windows in which the middle is sought, each about the last one found, in units of half the
/// longer side. They narrow, so that it moves to the object nearest to the middle of the patch and lets go of others.
const WINDOWS: [f32; 9] = [0.6, 0.5, 0.4, 0.35, 0.3, 0.3, 0.3, 0.3, 0.3];

/// Patches moved by whole pixels so that their objects lie in the middle, and how far each lay off, (right, down) in
/// half-widths. What comes in from outside is background.
#[derive(Debug, Clone)]
pub(crate) struct Centred {
    pub(crate) patches: Data<'static>,
    pub(crate) off: Vec<[f32; 2]>,
}

impl Centred {
    pub(crate) fn of(patches: &Data<'_>, size: (usize, usize, usize)) -> NetResult<Self> {
        let (height, width, channels) = size;
        let columns = height * width * channels;
        let half = 0.5 * (height.max(width).max(2) - 1) as f32;
        let one = |patch: &[f32]| {
            let background = background(patch, channels);
            let [right, down] = middle(patch, size, &background);
            let mut moved = Vec::with_capacity(columns);
            for (y, x) in (0..height as isize).flat_map(|y| (0..width as isize).map(move |x| (y, x))) {
                let (y, x) = (y + down, x + right);
                let inside = (0..height as isize).contains(&y) && (0..width as isize).contains(&x);
                let from = (y * width as isize + x) * channels as isize;
                moved.extend_from_slice(if inside { &patch[from as usize..][..channels] } else { &background });
            }
            (moved, [right as f32 / half, down as f32 / half])
        };
        let found: Vec<(Vec<f32>, [f32; 2])> = patches.values().par_chunks(columns).map(one).collect();
        let (moved, off): (Vec<Vec<f32>>, Vec<[f32; 2]>) = found.into_iter().unzip();
        Ok(Self { patches: Data::new(moved.concat(), columns)?, off })
    }
}

fn median(mut values: Vec<f32>) -> f32 {
    let middle = values.len() / 2;
    *values.select_nth_unstable_by(middle, f32::total_cmp).1
}

/// The usual value of each channel.
fn background(patch: &[f32], channels: usize) -> Vec<f32> {
    (0..channels).map(|c| median(patch.iter().skip(c).step_by(channels).copied().collect())).collect()
}

/// How far the object lies off the middle, (right, down) in pixels: the centre of what differs from the background, sought in
/// a window that follows it (mean shift).
///
/// Reference: Cheng 1995, IEEE Trans. Pattern Anal. Mach. Intell. 17, 790.
fn middle(patch: &[f32], (height, width, channels): (usize, usize, usize), background: &[f32]) -> [isize; 2] {
    let off = |c: usize| patch.iter().skip(c).step_by(channels).map(move |v| (v - background[c]).abs());
    let noise: Vec<f32> = (0..channels).map(|c| NOISE * OF_MEDIAN * median(off(c).collect())).collect();
    let beyond = |pixel: &[f32]| -> f32 {
        pixel.iter().zip(background).zip(&noise).map(|((v, b), n)| ((v - b).abs() - n).max(0.0)).sum()
    };
    let mass: Vec<f32> = patch.chunks_exact(channels).map(beyond).collect();
    let (cy, cx) = (0.5 * (height - 1) as f32, 0.5 * (width - 1) as f32);
    let half = 0.5 * (height.max(width) - 1) as f32;
    let (mut y, mut x) = (cy, cx);
    for window in WINDOWS {
        let near = |at: usize, of: f32| (-0.5 * ((at as f32 - of) / (window * half)).powi(2)).exp();
        let rows: Vec<f32> = (0..height).map(|i| near(i, y)).collect();
        let columns: Vec<f32> = (0..width).map(|i| near(i, x)).collect();
        let (mut sum, mut down, mut right) = (0.0f64, 0.0f64, 0.0f64);
        for (i, row) in mass.chunks_exact(width).enumerate() {
            for (j, m) in row.iter().enumerate() {
                let m = f64::from(m * rows[i] * columns[j]);
                sum += m;
                down += m * i as f64;
                right += m * j as f64;
            }
        }
        if sum <= 0.0 {
            return [0, 0];
        }
        (y, x) = ((down / sum) as f32, (right / sum) as f32);
    }
    [(x - cx).round() as isize, (y - cy).round() as isize]
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{Rng, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    const SIDE: usize = 25;

    /// A blob of half-width 3 off the middle, brighter or darker than the background, with noise.
    fn blob(right: f32, down: f32, height: f32, noise: f32, rng: &mut ChaCha8Rng) -> Vec<f32> {
        (0..SIDE * SIDE)
            .map(|p| {
                let (y, x) = ((p / SIDE) as f32 - 12.0 - down, (p % SIDE) as f32 - 12.0 - right);
                0.5 + height * (-(x * x + y * y) / 18.0).exp() + noise * rng.gen_range(-1.0f32..1.0)
            })
            .collect()
    }

    #[test]
    fn bright_and_dark_objects_are_found_and_moved_to_the_middle() {
        let mut rng = ChaCha8Rng::seed_from_u64(0);
        for (height, noise) in [(0.4, 0.0), (-0.4, 0.0), (0.4, 0.15)] {
            for (right, down) in [(0, 0), (6, -5), (-8, 3), (9, 9)] {
                let patch = blob(right as f32, down as f32, height, noise, &mut rng);
                let centred = Centred::of(&Data::new(patch.clone(), SIDE * SIDE).unwrap(), (SIDE, SIDE, 1)).unwrap();
                let off = centred.off[0].map(|v| v * 12.0);
                let far = (off[0] - right as f32).abs().max((off[1] - down as f32).abs());
                assert!(far <= if noise > 0.0 { 1.5 } else { 1.0 }, "{height} {noise} {right} {down}: {off:?}");
                // The pixel now in the middle is the one that lay that far off.
                let (y, x) = ((12.0 + off[1]).round() as usize, (12.0 + off[0]).round() as usize);
                assert_eq!(centred.patches.values()[12 * SIDE + 12], patch[y * SIDE + x]);
            }
        }
    }

    #[test]
    fn the_object_nearest_to_the_middle_is_found_among_others() {
        let mut rng = ChaCha8Rng::seed_from_u64(0);
        for (object, other) in [((3.0, -4.0), (-9.0, 6.0)), ((-5.0, 0.0), (10.0, 1.0)), ((0.0, 5.0), (2.0, -11.0))] {
            let with = |(right, down): (f32, f32), rng: &mut ChaCha8Rng| blob(right, down, 0.4, 0.05, rng);
            let both = with(object, &mut rng).into_iter().zip(with(other, &mut rng)).map(|(a, b)| a.max(b)).collect();
            let centred = Centred::of(&Data::new(both, SIDE * SIDE).unwrap(), (SIDE, SIDE, 1)).unwrap();
            let off = centred.off[0].map(|v| v * 12.0);
            assert!((off[0] - object.0).abs().max((off[1] - object.1).abs()) <= 1.5, "{object:?}, {other:?}: {off:?}");
        }
    }

    #[test]
    fn spectra_move_along_their_axis_and_what_is_even_stays() {
        let spectrum: Vec<f32> = (0..41).map(|i| (-((i as f32 - 29.0) / 3.0).powi(2)).exp()).collect();
        let centred = Centred::of(&Data::new(spectrum, 41).unwrap(), (1, 41, 1)).unwrap();
        assert_eq!(centred.off, [[9.0 / 20.0, 0.0]]);
        let even = Centred::of(&Data::new(vec![0.3; 2 * 12], 24).unwrap(), (3, 4, 2)).unwrap();
        assert_eq!(even.off, [[0.0, 0.0]]);
        assert!(even.patches.values().iter().all(|v| *v == 0.3));
    }
}
