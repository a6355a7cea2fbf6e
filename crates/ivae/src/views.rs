use std::f32::consts::TAU;

use parsimon_nets::Data;
use rayon::prelude::*;

/// A patch as seen from several angles: samples on rings about its centre, shared by all views, which take them in the
/// order in which they come round from their own angle. A patch turned by the angle between two views has the same
/// views, one place on.
///
/// # Shapes
/// Patches (rows, pixels·channels) → (rows·views, samples·channels), the views of a patch one after the other.
#[derive(Debug, Clone)]
pub(crate) struct Views {
    /// Angle of each view in rad, counter-clockwise on the screen.
    pub(crate) angles: Vec<f32>,
    channels: usize,
    /// Each sample as a mean of four pixels: their numbers and weights.
    samples: Vec<[(u32, f32); 4]>,
    /// Share of the patch around each sample, in squares of the step between rings.
    areas: Vec<f32>,
    /// Samples of the views, view after view.
    order: Vec<u32>,
}

/// Samples of a view at most, nearly: rings lie as far from each other as this needs, but not closer than pixels.
const SAMPLES: f32 = 400.0;

impl Views {
    /// So many views at equal steps over the part 1/`fold` of a turn.
    pub(crate) fn new((height, width, channels): (usize, usize, usize), count: usize, fold: usize) -> Self {
        let (centre_y, centre_x) = (0.5 * (height as f32 - 1.0), 0.5 * (width as f32 - 1.0));
        let radius = centre_y.min(centre_x);
        let step = (radius * (0.5 * TAU / SAMPLES).sqrt()).max(1.0);
        let rings = (radius / step).round().max(1.0) as usize;
        let turn = count * fold;
        let (mut samples, mut areas, mut ring_starts) = (Vec::new(), Vec::new(), Vec::new());
        for ring in 0..rings {
            let r = radius * (ring as f32 + 0.5) / rings as f32;
            // Whole turns of a view must bring samples onto samples.
            let around = ((TAU * r / step / turn as f32).round().max(1.0) as usize) * turn;
            ring_starts.push((samples.len(), around));
            areas.extend(std::iter::repeat_n(TAU * r / step / around as f32, around));
            for i in 0..around {
                let (sin, cos) = (TAU * i as f32 / around as f32).sin_cos();
                samples.push(between(centre_y - r * sin, centre_x + r * cos, height, width));
            }
        }
        let view = |k: usize| {
            let ring = move |&(start, around): &(usize, usize)| {
                (0..around).map(move |i| (start + (i + k * around / turn) % around) as u32)
            };
            ring_starts.iter().flat_map(ring)
        };
        let order = (0..count).flat_map(view).collect();
        let angles = (0..count).map(|k| TAU * k as f32 / turn as f32).collect();
        Self { angles, channels, samples, areas, order }
    }

    /// How many there are of a patch.
    pub(crate) fn count(&self) -> usize {
        self.angles.len()
    }

    /// Numbers of a view.
    pub(crate) fn columns(&self) -> usize {
        self.samples.len() * self.channels
    }

    /// Square roots of the share of the patch that each number of a view stands for.
    pub(crate) fn root_areas(&self) -> Vec<f32> {
        self.areas.iter().flat_map(|a| std::iter::repeat_n(a.sqrt(), self.channels)).collect()
    }

    /// The views of patches.
    pub(crate) fn of(&self, patches: &Data<'_>) -> parsimon_nets::Result<Data<'static>> {
        let ((rows, pixels), c) = (patches.shape(), self.channels);
        let size = self.order.len() * c;
        let mut found = vec![0.0; rows * size];
        found.par_chunks_mut(size).zip(patches.values().par_chunks(pixels)).for_each(|(found, patch)| {
            let mut rings = vec![0.0; self.columns()];
            for (out, sample) in rings.chunks_exact_mut(c).zip(&self.samples) {
                for (pixel, weight) in sample {
                    let values = &patch[*pixel as usize * c..][..c];
                    out.iter_mut().zip(values).for_each(|(o, v)| *o += weight * v);
                }
            }
            if c == 1 {
                found.iter_mut().zip(&self.order).for_each(|(out, from)| *out = rings[*from as usize]);
            } else {
                for (out, from) in found.chunks_exact_mut(c).zip(&self.order) {
                    out.copy_from_slice(&rings[*from as usize * c..][..c]);
                }
            }
        });
        Data::new(found, self.columns())
    }
}

/// The pixels around a place inside the patch, and their bilinear weights.
fn between(y: f32, x: f32, height: usize, width: usize) -> [(u32, f32); 4] {
    let cell = |v: f32, n: usize| {
        let low = (v.max(0.0) as usize).min(n.saturating_sub(2));
        (low, (v - low as f32).clamp(0.0, 1.0))
    };
    let ((y0, fy), (x0, fx)) = (cell(y, height), cell(x, width));
    let pixel = |y: usize, x: usize| (y * width + x) as u32;
    [
        (pixel(y0, x0), (1.0 - fy) * (1.0 - fx)),
        (pixel(y0, x0 + 1), (1.0 - fy) * fx),
        (pixel(y0 + 1, x0), fy * (1.0 - fx)),
        (pixel(y0 + 1, x0 + 1), fy * fx),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A smooth blob away from the centre, turned counter-clockwise on the screen.
    fn blob(side: usize, angle: f32) -> Vec<f32> {
        let half = 0.5 * (side as f32 - 1.0);
        let (sin, cos) = angle.sin_cos();
        let pixel = |p: usize| {
            let (x, y) = ((p % side) as f32 - half, half - (p / side) as f32);
            let (x, y) = (cos * x + sin * y, cos * y - sin * x);
            (-((x - 0.4 * half).powi(2) + (y - 0.1 * half).powi(2) / 4.0) / (0.05 * half * half)).exp()
        };
        (0..side * side).map(pixel).collect()
    }

    #[test]
    fn a_turned_patch_has_the_same_views_one_place_on() {
        for (count, fold) in [(16, 1), (8, 2), (4, 4)] {
            let (side, step) = (29, TAU / (count * fold) as f32);
            let views = Views::new((side, side, 1), count, fold);
            let of = |angle: f32| views.of(&Data::new(blob(side, angle), side * side).unwrap()).unwrap();
            let (straight, turned) = (of(0.3), of(0.3 + step));
            let n = views.columns();
            for k in 1..count {
                let worst = straight.values()[(k - 1) * n..][..n]
                    .iter()
                    .zip(&turned.values()[k * n..][..n])
                    .fold(0.0f32, |m, (a, b)| m.max((a - b).abs()));
                assert!(worst < 0.06, "view {k} of {count}: {worst}");
            }
        }
    }

    #[test]
    fn a_turn_by_a_quarter_permutes_the_views_exactly() {
        let side = 12;
        let straight = blob(side, 0.7);
        // Counter-clockwise: the pixel at (y, x) comes from (x, side − 1 − y).
        let turned: Vec<f32> = (0..side * side).map(|p| straight[(p % side) * side + side - 1 - p / side]).collect();
        let views = Views::new((side, side, 1), 8, 1);
        let of = |patch: Vec<f32>| views.of(&Data::new(patch, side * side).unwrap()).unwrap();
        let (straight, turned, n) = (of(straight), of(turned), views.columns());
        for k in 0..8 {
            let (a, b) = (&straight.values()[k * n..][..n], &turned.values()[(k + 2) % 8 * n..][..n]);
            assert!(a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-5), "view {k}");
        }
    }

    #[test]
    fn channels_stay_apart_and_large_patches_have_no_more_samples() {
        let size = 24;
        let views = Views::new((size, size, 2), 16, 1);
        let patch = (0..size * size).flat_map(|_| [0.25, 0.75]).collect();
        let seen = views.of(&Data::new(patch, size * size * 2).unwrap()).unwrap();
        assert_eq!(seen.shape(), (16, views.columns()));
        assert!(seen.values().chunks(2).all(|c| (c[0] - 0.25).abs() < 1e-6 && (c[1] - 0.75).abs() < 1e-6));
        for side in [2, 5, 28, 48, 200] {
            let columns = Views::new((side, side, 1), 16, 1).columns();
            assert!((16..600).contains(&columns), "{side}: {columns}");
        }
    }
}
