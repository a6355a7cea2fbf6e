//! How far patches are turned against each other, told from the patches alone: where a posterior over views begins.

use ndarray::{Array2, ArrayView2, Axis};
use parsimon_nets::Data;
use rayon::prelude::*;

use crate::views::Views;

/// Patches at most that are compared each with each; others are compared with these.
pub(crate) const LANDMARKS: usize = 1024;

/// Patches whose word on the turn of another counts.
const NEIGHBOURS: usize = 10;

/// Times that patches come to terms with their neighbours.
const ROUNDS: usize = 20;

/// Weight of the prior in a comparison, in units of a correlation: enough to choose among turns that look alike.
const PRIOR: f32 = 0.05;

/// Patches compared at a time.
const BLOCK: usize = 16;

/// Patches turned against landmarks.
struct Compared {
    /// Correlation in the best turn, (patches, landmarks).
    alike: Array2<f32>,
    /// That turn, in steps from angle to angle, counted from the landmark, (patches, landmarks).
    turn: Array2<f32>,
}

/// Landmarks and how they lie, to tell how other patches lie.
pub(crate) struct Alignment<'a> {
    views: &'a Views,
    log_prior: &'a [f32],
    /// Rings of the landmarks, (landmarks, samples).
    landmarks: Array2<f32>,
    /// How far each landmark is turned, in steps.
    turns: Vec<f32>,
}

impl<'a> Alignment<'a> {
    /// Aligns landmarks: along the tree of the likest pairs, then each to the mean of its neighbours. `log_prior` is that of
    /// the turn between two patches, of each view.
    ///
    /// Reference: Singer et al. 2011, SIAM J. Imaging Sci. 4, 723, for angles of images from those of neighbours.
    pub(crate) fn new(views: &'a Views, log_prior: &'a [f32], patches: &Data<'_>) -> parsimon_nets::Result<Self> {
        let (rows, columns) = patches.shape();
        let mut landmarks = Array2::zeros((rows, views.columns()));
        let blocks = patches.values().chunks(BLOCK * columns).zip(landmarks.axis_chunks_iter_mut(Axis(0), BLOCK));
        for (values, mut block) in blocks {
            block.assign(&standard(views, &views.of(&Data::lent(values, columns)?)?, true));
        }
        let mut found = Self { views, log_prior, landmarks, turns: Vec::new() };
        let compared = found.compare(patches)?;
        found.turns = found.tree(&compared);
        for _ in 0..ROUNDS {
            found.turns =
                (0..found.turns.len()).into_par_iter().map(|i| found.agreed(&compared, i, found.turns[i])).collect();
        }
        // A normal prior is about 0, and nothing else says which way is straight.
        let count = views.count() as f32;
        let unit = std::f32::consts::TAU / count;
        let (sin, cos) = found.turns.iter().fold((0.0, 0.0), |(s, c), t| (s + (t * unit).sin(), c + (t * unit).cos()));
        let mean = f32::atan2(sin, cos) / unit;
        found.turns.iter_mut().for_each(|t| *t = (*t - mean).rem_euclid(count));
        Ok(found)
    }

    /// How far patches are turned, in steps.
    pub(crate) fn turns(&self, patches: &Data<'_>) -> parsimon_nets::Result<Vec<f32>> {
        let compared = self.compare(patches)?;
        let of = |i: usize| {
            let best = most(compared.alike.row(i).iter().copied());
            self.agreed(&compared, i, self.turns[best] + compared.turn[(i, best)])
        };
        Ok((0..patches.shape().0).map(of).collect())
    }

    fn compare(&self, patches: &Data<'_>) -> parsimon_nets::Result<Compared> {
        let (rows, columns) = patches.shape();
        let count = self.views.count();
        let against = self.landmarks.nrows();
        let (mut alike, mut turn) = (Array2::zeros((rows, against)), Array2::zeros((rows, against)));
        let blocks = alike.axis_chunks_iter_mut(Axis(0), BLOCK).into_par_iter();
        let blocks = blocks.zip(turn.axis_chunks_iter_mut(Axis(0), BLOCK)).enumerate();
        blocks.try_for_each(|(block, (mut alike, mut turn))| {
            let n = alike.nrows();
            let values = &patches.values()[block * BLOCK * columns..][..n * columns];
            let views = standard(self.views, &self.views.of(&Data::lent(values, columns)?)?, false);
            let products = views.dot(&self.landmarks.t());
            for i in 0..n {
                for j in 0..against {
                    let at = |k: usize| products[(i * count + k % count, j)] + PRIOR * self.log_prior[k % count];
                    let k = most((0..count).map(at));
                    let (before, here, after) = (at(k + count - 1), at(k), at(k + 1));
                    let bend = before - 2.0 * here + after;
                    let off = if bend < 0.0 { 0.5 * (before - after) / bend } else { 0.0 };
                    alike[(i, j)] = here;
                    turn[(i, j)] = k as f32 + off.clamp(-0.5, 0.5);
                }
            }
            parsimon_nets::Result::Ok(())
        })?;
        Ok(Compared { alike, turn })
    }

    /// Turns of the landmarks along the tree that joins the likest pairs.
    fn tree(&self, Compared { alike, turn }: &Compared) -> Vec<f32> {
        let n = alike.nrows();
        let mut turns = vec![0.0; n];
        // Of those not yet in the tree: how alike the likest in it is, and which.
        let mut near: Vec<(f32, usize)> = (0..n).map(|i| (alike[(i, 0)], 0)).collect();
        let mut left: Vec<usize> = (1..n).collect();
        while !left.is_empty() {
            let i = left.swap_remove(most(left.iter().map(|i| near[*i].0)));
            turns[i] = turns[near[i].1] + turn[(i, near[i].1)];
            for &j in &left {
                if alike[(j, i)] > near[j].0 {
                    near[j] = (alike[(j, i)], i);
                }
            }
        }
        turns
    }

    /// The mean of what the likest landmarks say of a patch, of those that say nearly what is thought: an object that looks
    /// the same in several turns may be said to lie in any.
    fn agreed(&self, compared: &Compared, i: usize, thought: f32) -> f32 {
        let alike = compared.alike.row(i);
        let mut order: Vec<usize> = (0..alike.len()).collect();
        let n = NEIGHBOURS.min(order.len());
        order.select_nth_unstable_by(n - 1, |a, b| alike[*b].total_cmp(&alike[*a]).then(a.cmp(b)));
        let count = self.views.count() as f32;
        let offs = order[..n].iter().map(|j| {
            let off = self.turns[*j] + compared.turn[(i, *j)] - thought;
            off - count * (off / count).round()
        });
        let near: Vec<f32> = offs.filter(|off| off.abs() < count / 8.0).collect();
        thought + near.iter().sum::<f32>() / near.len().max(1) as f32
    }
}

/// Views, or the first of each patch alone, brought to mean 0 and length 1 where they are not even.
fn standard(views: &Views, seen: &Data<'_>, first: bool) -> Array2<f32> {
    let (rows, columns) = seen.shape();
    let Ok(all) = ArrayView2::from_shape((rows, columns), seen.values()) else { return Array2::zeros((0, columns)) };
    let mut kept = if first { all.slice(ndarray::s![..;views.count(), ..]).to_owned() } else { all.to_owned() };
    let weights = views.root_areas();
    let sum: f32 = weights.iter().map(|w| w * w).sum();
    for mut row in kept.rows_mut() {
        let mean = row.iter().zip(&weights).map(|(v, w)| v * w * w).sum::<f32>() / sum;
        row.iter_mut().zip(&weights).for_each(|(v, w)| *v = (*v - mean) * w);
        let length = row.dot(&row).sqrt();
        if length > 1e-6 {
            row /= length;
        }
    }
    kept
}

/// Where the largest is; the first of several.
fn most(values: impl Iterator<Item = f32>) -> usize {
    let largest = |best: (usize, f32), here: (usize, f32)| if here.1 > best.1 { here } else { best };
    values.enumerate().fold((0, f32::NEG_INFINITY), largest).0
}

#[cfg(test)]
mod tests {
    use std::f32::consts::TAU;

    use super::*;
    use crate::views::View;

    const SIDE: usize = 21;

    /// Blobs about the centre at these angles, turned further by each of the others.
    fn blobs(at: &[f32], turns: &[f32]) -> Data<'static> {
        let half = 0.5 * (SIDE as f32 - 1.0);
        let pixel = |turn: f32, p: usize| -> f32 {
            let (x, y) = ((p % SIDE) as f32 - half, half - (p / SIDE) as f32);
            let blob = |a: &f32| {
                let (sin, cos) = (a + turn).sin_cos();
                (-((x - 0.5 * half * cos).powi(2) + (y - 0.5 * half * sin).powi(2)) / 8.0).exp()
            };
            at.iter().map(blob).sum()
        };
        let values = turns.iter().flat_map(|t| (0..SIDE * SIDE).map(|p| pixel(*t, p))).collect();
        Data::new(values, SIDE * SIDE).unwrap()
    }

    /// Angles that are nowhere regular.
    fn angles(n: usize) -> Vec<f32> {
        (0..n).map(|i| (i as f32 * 2.399_963).rem_euclid(TAU)).collect()
    }

    /// The largest deviation of angles from others, up to one turn of all and to parts of a full turn.
    fn worst(found: &[f32], truth: &[f32], fold: f32) -> f32 {
        let off = |i: usize| (fold * (found[i] - truth[i])).sin_cos();
        let (s, c) = (0..truth.len()).map(off).fold((0.0, 0.0), |(s, c), (a, b)| (s + a, c + b));
        let mean = f32::atan2(s, c);
        let from_mean = |i: usize| {
            let (sin, cos) = (fold * (found[i] - truth[i]) - mean).sin_cos();
            sin.atan2(cos).abs() / fold
        };
        (0..truth.len()).map(from_mean).fold(0.0, f32::max)
    }

    #[test]
    fn turns_of_landmarks_and_of_others_are_found() {
        let views = Views::new((SIDE, SIDE, 1), 16, 1, &[View::default()]);
        let even = vec![0.0; 16];
        let unit = TAU / 16.0;
        // An object that is like no turned copy of itself, and one that half a turn leaves as it was.
        for (at, fold) in [(&[0.0, 1.2][..], 1.0), (&[0.0, TAU / 2.0], 2.0)] {
            let truth = angles(60);
            let alignment = Alignment::new(&views, &even, &blobs(at, &truth)).unwrap();
            let found: Vec<f32> = alignment.turns.iter().map(|t| t * unit).collect();
            assert!(worst(&found, &truth, fold) < 0.05, "{}", worst(&found, &truth, fold));
            let others = angles(75)[60..].to_vec();
            let turns = alignment.turns(&blobs(at, &others)).unwrap();
            let (found, truth) = ([found, turns.iter().map(|t| t * unit).collect()].concat(), [truth, others].concat());
            assert!(worst(&found, &truth, fold) < 0.05, "{}", worst(&found, &truth, fold));
        }
    }

    #[test]
    fn a_prior_tells_turns_apart_that_look_alike() {
        let views = Views::new((SIDE, SIDE, 1), 16, 1, &[View::default()]);
        let turn = |k: usize| k.min(16 - k) as f32 * TAU / 16.0;
        let narrow: Vec<f32> = (0..16).map(|k| -0.5 * (turn(k) / 0.3).powi(2)).collect();
        let square: Vec<f32> = (0..4).map(|i| i as f32 * TAU / 4.0).collect();
        let truth: Vec<f32> = angles(40).iter().map(|a| 0.2 * a.sin()).collect();
        let alignment = Alignment::new(&views, &narrow, &blobs(&square, &truth)).unwrap();
        let found: Vec<f32> = alignment.turns.iter().map(|t| t * TAU / 16.0).collect();
        assert!(worst(&found, &truth, 1.0) < 0.1, "{}", worst(&found, &truth, 1.0));
        let mean = found.iter().map(|a| a.sin()).sum::<f32>() / 40.0;
        assert!(mean.abs() < 0.02, "{mean}");
    }

    #[test]
    fn patches_without_any_contrast_are_aligned_with_anything() {
        let views = Views::new((SIDE, SIDE, 1), 8, 1, &[View::default()]);
        let flat = Data::new(vec![0.5; 3 * SIDE * SIDE], SIDE * SIDE).unwrap();
        let alignment = Alignment::new(&views, &[0.0; 8], &flat).unwrap();
        assert!(alignment.turns(&flat).unwrap().iter().all(|t| t.is_finite()));
    }
}
