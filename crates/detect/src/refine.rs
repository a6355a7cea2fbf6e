use ndarray::ArrayView2;
use rayon::prelude::*;

use crate::gaussian::{Gaussian, Window};
use crate::neighbours::Neighbours;
use crate::peaks::Candidate;

/// A site after refinement, in the units of the working image.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Fitted {
    pub(crate) y: f64,
    pub(crate) x: f64,
    pub(crate) height: f64,
    pub(crate) sigma: f64,
    /// Share of the variance in its window that the Gaussian explains.
    pub(crate) quality: f64,
    /// Whether the fit settled; else place and width are those of the candidate.
    pub(crate) converged: bool,
}

/// Rounds in which every atom is fitted with the others, as last known, taken off.
const ROUNDS: usize = 4;

/// Fits a Gaussian to each candidate, neighbours subtracted; without `fit` only measures height and quality.
///
/// `is_masked` tells pixels that must not count: a window that touches one fails.
pub(crate) fn refine(
    image: ArrayView2<'_, f32>,
    is_masked: impl Fn(usize, usize) -> bool + Sync,
    candidates: &[Candidate],
    fit: bool,
) -> Vec<Fitted> {
    let points: Vec<[f64; 2]> = candidates.iter().map(|c| [c.y, c.x]).collect();
    let near = Neighbours::new(&points);
    // The window holds 3σ, but no more than a little over half way to the next atom.
    let reach: Vec<f64> = (0..candidates.len())
        .into_par_iter()
        .map(|i| {
            let sigma = candidates[i].sigma;
            (0.65 * near.nearest(i)).clamp((1.8 * sigma).max(2.0), (3.0 * sigma).max(3.0))
        })
        .collect();
    let widest = candidates.iter().map(|c| c.sigma).fold(0.0, f64::max);
    let around: Vec<Vec<usize>> = (0..candidates.len())
        .into_par_iter()
        .map(|i| {
            let others = near.within(i, reach[i] + 4.0 * widest);
            others.into_iter().filter(|&(j, d)| d < reach[i] + 4.0 * candidates[j].sigma).map(|(j, _)| j).collect()
        })
        .collect();
    let windows: Vec<(Window, bool)> =
        candidates.par_iter().zip(&reach).map(|(c, &reach)| cut(image, &is_masked, c, reach)).collect();
    let start = |c: &Candidate| [c.height.max(0.0), c.y, c.x, c.sigma, 0.0];
    let mut models: Vec<Gaussian> = candidates.iter().map(start).collect();
    let mut settled = vec![false; candidates.len()];
    let cleared = |i: usize, models: &[Gaussian]| {
        let original = &windows[i].0;
        let mut window = Window { data: original.data.clone(), used: original.used.clone(), ..*original };
        around[i].iter().for_each(|&j| window.subtract(models[j]));
        window
    };
    for round in 0..=ROUNDS {
        let next: Vec<(Gaussian, bool)> = (0..candidates.len())
            .into_par_iter()
            .map(|i| {
                let (c, window) = (&candidates[i], cleared(i, &models));
                let [_, y, x, sigma, _] = models[i];
                // The first round only scales the heights, so that strong neighbours do not spoil the first fit.
                let scaled = window.linear(y, x, sigma).map(|(height, base, _)| [height.max(0.0), y, x, sigma, base]);
                let before = scaled.unwrap_or(models[i]);
                if round == 0 || !fit {
                    return (before, false);
                }
                let attempt = |free_width| {
                    let start = if free_width { before } else { [before[0], c.y, c.x, c.sigma, before[4]] };
                    window.fit(start, free_width).filter(|p| plausible(p, c, reach[i]))
                };
                // Where atoms merge, width and background trade off against each other: hold the width then.
                let found = if windows[i].1 { None } else { attempt(true).or_else(|| attempt(false)) };
                match found {
                    Some(p) => (p, true),
                    None => ([before[0], c.y, c.x, c.sigma, before[4]], false),
                }
            })
            .collect();
        for (i, (model, done)) in next.into_iter().enumerate() {
            let keep = if done && round > 1 && round < ROUNDS { 0.5 } else { 0.0 };
            models[i].iter_mut().zip(model).for_each(|(m, new)| *m = keep * *m + (1.0 - keep) * new);
            settled[i] = done;
        }
        if !fit && round == 1 {
            break;
        }
    }
    merge_twins(candidates, &mut models, &mut settled);
    (0..candidates.len())
        .into_par_iter()
        .map(|i| {
            let [height, y, x, sigma, _] = models[i];
            let quality = cleared(i, &models).linear(y, x, sigma).map_or(0.0, |(.., explained)| explained);
            Fitted { y, x, height, sigma, quality, converged: settled[i] }
        })
        .collect()
}

/// Pixels within `reach` of a candidate, and whether a masked one is among them.
fn cut(
    image: ArrayView2<'_, f32>,
    is_masked: &(impl Fn(usize, usize) -> bool + Sync),
    c: &Candidate,
    reach: f64,
) -> (Window, bool) {
    let (rows, columns) = image.dim();
    let span = |centre: f64, len: usize| {
        let low = (centre - reach).ceil().max(0.0) as usize;
        let high = ((centre + reach).floor().max(0.0) as usize).min(len - 1);
        (low.min(high), high + 1)
    };
    let ((top, bottom), (left, right)) = (span(c.y, rows), span(c.x, columns));
    let places = (top..bottom).flat_map(|y| (left..right).map(move |x| (y, x)));
    let data = places.clone().map(|p| f64::from(image[p])).collect();
    let used: Vec<bool> =
        places.clone().map(|(y, x)| (y as f64 - c.y).hypot(x as f64 - c.x) <= reach && !is_masked(y, x)).collect();
    let masked = places.into_iter().any(|(y, x)| is_masked(y, x) && (y as f64 - c.y).hypot(x as f64 - c.x) <= reach);
    (Window { top, left, rows: bottom - top, columns: right - left, data, used }, masked)
}

/// Whether a fit still describes the atom it began with.
fn plausible([height, y, x, sigma, _]: &Gaussian, c: &Candidate, reach: f64) -> bool {
    let moved = (y - c.y).hypot(x - c.x);
    *height > 0.0
        && moved <= (0.8 * c.sigma).max(1.5)
        && *sigma > 0.4 * c.sigma
        && *sigma < (1.8 * c.sigma).min(1.2 * reach)
}

/// Two atoms fitted to one place: the later (weaker) candidate keeps its detected position and counts as failed.
fn merge_twins(candidates: &[Candidate], models: &mut [Gaussian], settled: &mut [bool]) {
    let points: Vec<[f64; 2]> = models.iter().map(|m| [m[1], m[2]]).collect();
    let near = Neighbours::new(&points);
    for i in 0..points.len() {
        for (j, _) in near.within(i, 0.7 * candidates[i].sigma) {
            let later = i.max(j);
            settled[later] = false;
            let c = &candidates[later];
            (models[later][1], models[later][2], models[later][3]) = (c.y, c.x, c.sigma);
        }
    }
}
