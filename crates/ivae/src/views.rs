use std::f32::consts::TAU;

use parsimon_nets::{Data, Turns};
use rayon::prelude::*;

/// How an object lies in the patch if it lies at rest in a view.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(crate) struct View {
    /// rad, counter-clockwise on the screen.
    pub(crate) turn: f32,
    /// Half-widths of the patch.
    pub(crate) right: f32,
    pub(crate) down: f32,
    /// ln of the size.
    pub(crate) scale: f32,
}

impl View {
    /// A pose (γ, Δx, Δy, ln scale) as it is in the view → as it is in the patch.
    pub(crate) fn carry(&self, pose: &mut [f32]) {
        let ((sin, cos), size) = (self.turn.sin_cos(), self.scale.exp());
        let (x, y) = (pose[1], pose[2]);
        pose[0] += self.turn;
        pose[1] = self.right + size * (cos * x + sin * y);
        pose[2] = self.down + size * (cos * y - sin * x);
        pose[3] += self.scale;
    }
}

/// A patch as seen from several angles, places and distances. Views of one place share samples on rings about it, a step of a full
/// turn after the other, which they take as they come round from their own angle: a patch turned by the angle between two views
/// has the same views, one place on. Spectra are seen from several places and distances. Beyond the edge all is as at the edge.
#[derive(Debug, Clone)]
pub(crate) struct Views {
    /// What each view stands for; those of a place follow each other.
    pub(crate) poses: Vec<View>,
    /// How many of them share a place.
    pub(crate) angles: usize,
    size: (usize, usize, usize),
    /// Parts of a full turn over which the angles go.
    fold: usize,
    /// Each sample as a mean of four pixels: their numbers and weights.
    samples: Vec<[(u32, f32); 4]>,
    /// Share of the patch around each sample of a place, in squares of the step between rings.
    areas: Vec<f32>,
}

/// Samples of a view at most, nearly: rings lie as far from each other as this needs, but not closer than pixels.
const SAMPLES: f32 = 400.0;

impl Views {
    /// From each of these places (whose turns are 0) so many views at equal steps over the part 1/`fold` of a turn.
    pub(crate) fn new(size: (usize, usize, usize), angles: usize, fold: usize, places: &[View]) -> Self {
        let (height, width, _) = size;
        let steps = angles * fold;
        let (at, areas) = if height == 1 { along(width) } else { rings(height, width, steps) };
        let half = 0.5 * (height.max(width) - 1) as f32;
        let (centre_y, centre_x) = (0.5 * (height - 1) as f32, 0.5 * (width - 1) as f32);
        let sample = |place: &View, [x, y]: [f32; 2]| {
            let size = place.scale.exp();
            let (x, y) = (centre_x + half * place.right + size * x, centre_y + half * place.down + size * y);
            between(y, x, height, width)
        };
        let samples = places.iter().flat_map(|place| at.iter().map(move |at| sample(place, *at))).collect();
        let pose = |place: View, k: usize| View { turn: TAU * k as f32 / steps as f32, ..place };
        let poses = places.iter().flat_map(|place| (0..angles).map(move |k| pose(*place, k))).collect();
        Self { poses, angles, size, fold, samples, areas }
    }

    /// Those from the middle of the patch alone.
    pub(crate) fn about_the_middle(&self) -> Self {
        Self::new(self.size, self.angles, self.fold, &[View::default()])
    }

    /// How many there are of a patch.
    pub(crate) fn count(&self) -> usize {
        self.poses.len()
    }

    /// Numbers of a view.
    pub(crate) fn columns(&self) -> usize {
        self.areas.len() * self.size.2
    }

    /// How the views of a place come from its samples.
    pub(crate) fn turns(&self) -> Turns {
        Turns { steps: self.angles * self.fold, views: self.angles, still: 0 }
    }

    /// Square roots of the share of the patch that each number of a view stands for.
    pub(crate) fn root_areas(&self) -> Vec<f32> {
        self.areas.iter().flat_map(|a| std::iter::repeat_n(a.sqrt(), self.size.2)).collect()
    }

    /// What is on the rings: the first view of each place.
    ///
    /// # Shapes
    /// Patches (rows, pixels·channels) → (rows·places, samples·channels), the places of a patch one after the other.
    pub(crate) fn rings(&self, patches: &Data<'_>) -> parsimon_nets::Result<Data<'static>> {
        let ((rows, pixels), c) = (patches.shape(), self.size.2);
        let apart = self.size.1.div_ceil(self.areas.len());
        let means;
        let patches = if self.size.0 == 1 && apart > 1 {
            means = running_means(patches, c, apart)?;
            &means
        } else {
            patches
        };
        let size = self.samples.len() * c;
        let mut found = vec![0.0; rows * size];
        found.par_chunks_mut(size).zip(patches.values().par_chunks(pixels)).for_each(|(found, patch)| {
            for (out, sample) in found.chunks_exact_mut(c).zip(&self.samples) {
                for (pixel, weight) in sample {
                    let values = &patch[*pixel as usize * c..][..c];
                    out.iter_mut().zip(values).for_each(|(o, v)| *o += weight * v);
                }
            }
        });
        Data::new(found, self.columns())
    }

    /// The views of patches.
    ///
    /// # Shapes
    /// Patches (rows, pixels·channels) → (rows·views, samples·channels), the views of a patch one after the other.
    pub(crate) fn of(&self, patches: &Data<'_>) -> parsimon_nets::Result<Data<'static>> {
        self.turns().views_of(&self.rings(patches)?)
    }
}

/// Where samples lie, right and down of a place in pixels, and the areas around them.
type Samples = (Vec<[f32; 2]>, Vec<f32>);

/// Samples on rings, as many in each step of a full turn, step after step.
fn rings(height: usize, width: usize, steps: usize) -> Samples {
    let radius = 0.5 * (height.min(width) - 1) as f32;
    let apart = (radius * (0.5 * TAU / SAMPLES).sqrt()).max(1.0);
    let rings = (radius / apart).round().max(1.0) as usize;
    let (mut at, mut areas) = (Vec::new(), Vec::new());
    for step in 0..steps {
        for ring in 0..rings {
            let r = radius * (ring as f32 + 0.5) / rings as f32;
            let each = (TAU * r / apart / steps as f32).round().max(1.0) as usize;
            let around = each * steps;
            areas.extend(std::iter::repeat_n(TAU * r / apart / around as f32, each));
            for i in step * each..(step + 1) * each {
                let (sin, cos) = (TAU * i as f32 / around as f32).sin_cos();
                at.push([r * cos, -r * sin]);
            }
        }
    }
    (at, areas)
}

/// Samples along a spectrum.
fn along(width: usize) -> Samples {
    let count = width.min(SAMPLES as usize);
    let step = (width - 1) as f32 / (count - 1) as f32;
    let at = (0..count).map(|i| [step * (i as f32 - 0.5 * (count - 1) as f32), 0.0]).collect();
    (at, vec![1.0; count])
}

/// Means over so many points about each of a spectrum, lest narrow peaks lie between samples.
fn running_means(spectra: &Data<'_>, channels: usize, window: usize) -> parsimon_nets::Result<Data<'static>> {
    let columns = spectra.shape().1;
    let mut found = vec![0.0; spectra.values().len()];
    found.par_chunks_mut(columns).zip(spectra.values().par_chunks(columns)).for_each(|(found, spectrum)| {
        for channel in 0..channels {
            let value = |i: usize| f64::from(spectrum[i * channels + channel]);
            let count = columns / channels;
            let (mut sum, mut first, mut end) = (0.0, 0, 0);
            for i in 0..count {
                while end < count.min(i + window.div_ceil(2)) {
                    sum += value(end);
                    end += 1;
                }
                while first + window / 2 < i {
                    sum -= value(first);
                    first += 1;
                }
                found[i * channels + channel] = (sum / (end - first) as f64) as f32;
            }
        }
    });
    Data::new(found, columns)
}

/// The pixels around a place, or around the nearest inside the patch, and their bilinear weights.
fn between(y: f32, x: f32, height: usize, width: usize) -> [(u32, f32); 4] {
    let cell = |v: f32, n: usize| {
        let low = (v.max(0.0) as usize).min(n.saturating_sub(2));
        (low, (v - low as f32).clamp(0.0, 1.0))
    };
    let ((y0, fy), (x0, fx)) = (cell(y, height), cell(x, width));
    let pixel = |y: usize, x: usize| (y.min(height - 1) * width + x) as u32;
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
            let views = Views::new((side, side, 1), count, fold, &[View::default()]);
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
        let views = Views::new((side, side, 1), 8, 1, &[View::default()]);
        let of = |patch: Vec<f32>| views.of(&Data::new(patch, side * side).unwrap()).unwrap();
        let (straight, turned, n) = (of(straight), of(turned), views.columns());
        for k in 0..8 {
            let (a, b) = (&straight.values()[k * n..][..n], &turned.values()[(k + 2) % 8 * n..][..n]);
            assert!(a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-5), "view {k}");
        }
    }

    #[test]
    fn an_object_moved_and_grown_looks_the_same_from_its_place() {
        let side = 41;
        let half = 0.5 * (side as f32 - 1.0);
        let at = |place: &View| -> Data<'static> {
            let pixel = |p: usize| {
                let (x, y) = ((p % side) as f32 / half - 1.0, (p / side) as f32 / half - 1.0);
                let (x, y) = ((x - place.right) / place.scale.exp(), (y - place.down) / place.scale.exp());
                (-(x - 0.1).powi(2) / 0.02 - (y + 0.05).powi(2) / 0.05).exp()
            };
            Data::new((0..side * side).map(pixel).collect(), side * side).unwrap()
        };
        let rest = View::default();
        let places = [rest, View { right: 0.2, down: -0.3, ..rest }, View { right: -0.1, scale: -0.4, ..rest }];
        let views = Views::new((side, side, 1), 4, 1, &places);
        let n = views.columns();
        let straight = views.of(&at(&rest)).unwrap().values()[..n].to_vec();
        for (k, place) in places.iter().enumerate() {
            let moved = views.of(&at(place)).unwrap();
            let seen = &moved.values()[4 * k * n..][..n];
            let worst = straight.iter().zip(seen).fold(0.0f32, |m, (a, b)| m.max((a - b).abs()));
            assert!(worst < 0.06, "{place:?}: {worst}");
            let mut pose = [0.0; 4];
            views.poses[4 * k].carry(&mut pose);
            assert_eq!(pose, [0.0, place.right, place.down, place.scale]);
        }
        // A view of a quarter turn at a place: right in the view is up in the patch.
        let mut pose = [0.1, 0.5, 0.0, 0.2];
        views.poses[4 * 2 + 1].carry(&mut pose);
        let expected = [0.1 + 0.25 * TAU, -0.1, -0.5 * (-0.4f32).exp(), -0.2];
        assert!(pose.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-5), "{pose:?}");
    }

    #[test]
    fn spectra_are_seen_from_places_along_their_axis() {
        let spectrum = |at: f32| (0..81).map(|i| (-((i as f32 / 40.0 - 1.0 - at) / 0.1).powi(2)).exp()).collect();
        let places = [-0.5f32, 0.0, 0.5].map(|right| View { right, ..View::default() });
        let views = Views::new((1, 81, 1), 1, 1, &places);
        assert_eq!((views.count(), views.columns()), (3, 81));
        let seen = views.of(&Data::new(spectrum(0.5), 81).unwrap()).unwrap();
        let worst = |k: usize, like: Vec<f32>| {
            seen.values()[k * 81..][..81].iter().zip(like).fold(0.0f32, |m, (a, b)| m.max((a - b).abs()))
        };
        assert!(worst(2, spectrum(0.0)) < 1e-3 && worst(1, spectrum(0.5)) < 1e-3 && worst(0, spectrum(1.0)) < 1e-3);
    }

    #[test]
    fn long_spectra_are_seen_at_fewer_points_and_narrow_peaks_all_the_same() {
        let views = Views::new((1, 5000, 2), 1, 1, &[View::default()]);
        assert_eq!(views.columns(), 800);
        for at in 2490..2510 {
            let mut spectrum = vec![0.0; 10_000];
            (at - 1..=at + 1).for_each(|i| spectrum[2 * i] = 1.0);
            let seen = views.of(&Data::new(spectrum, 10_000).unwrap()).unwrap();
            let sum = |channel: usize| seen.values().iter().skip(channel).step_by(2).sum::<f32>();
            assert!((sum(0) - 0.24).abs() < 0.03 && sum(1).abs() < 1e-6, "{at}: {} {}", sum(0), sum(1));
        }
    }

    #[test]
    fn channels_stay_apart_and_large_patches_have_no_more_samples() {
        let size = 24;
        let views = Views::new((size, size, 2), 16, 1, &[View::default()]);
        let patch = (0..size * size).flat_map(|_| [0.25, 0.75]).collect();
        let seen = views.of(&Data::new(patch, size * size * 2).unwrap()).unwrap();
        assert_eq!(seen.shape(), (16, views.columns()));
        assert!(seen.values().chunks(2).all(|c| (c[0] - 0.25).abs() < 1e-6 && (c[1] - 0.75).abs() < 1e-6));
        for side in [2, 5, 28, 48, 200] {
            let columns = Views::new((side, side, 1), 16, 1, &[View::default()]).columns();
            assert!((16..600).contains(&columns), "{side}: {columns}");
        }
    }
}
