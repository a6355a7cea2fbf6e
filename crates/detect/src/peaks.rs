use ndarray::{Array2, ArrayView2};
use rayon::prelude::*;

use crate::neighbours::Neighbours;

/// A place that may be an atom.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Candidate {
    pub(crate) y: f64,
    pub(crate) x: f64,
    /// Response there: height of the atom if the width is right.
    pub(crate) height: f64,
    /// Width σ, from the scale of the largest response.
    pub(crate) sigma: f64,
}

/// Pixels that no neighbour exceeds and that reach `least`; of equal neighbours the first counts.
pub(crate) fn maxima(response: ArrayView2<'_, f32>, least: f32) -> Vec<(usize, usize)> {
    let (rows, columns) = response.dim();
    let is_peak = |y: usize, x: usize| {
        let v = response[[y, x]];
        let around = (y.saturating_sub(1)..=(y + 1).min(rows - 1))
            .flat_map(|j| (x.saturating_sub(1)..=(x + 1).min(columns - 1)).map(move |i| (j, i)));
        around.into_iter().all(|p| p == (y, x) || response[p] < v || (response[p] == v && p > (y, x)))
    };
    let row = |y: usize| -> Vec<(usize, usize)> {
        let line = response.row(y);
        let hits = line.iter().enumerate().filter(|&(x, &v)| {
            // Most pixels fail against one neighbour of their own row.
            v >= least && (x == 0 || line[x - 1] < v) && (x + 1 == columns || line[x + 1] <= v) && is_peak(y, x)
        });
        hits.map(|(x, _)| (y, x)).collect()
    };
    (0..rows).into_par_iter().flat_map_iter(row).collect()
}

/// Maxima over place and scale, and maxima over place at the scale `base`; each with its width.
///
/// The second kind keeps weak atoms beside strong ones, whose response need not have a maximum over scales.
pub(crate) fn scale_space(stack: &[Array2<f32>], scales: &[f64], base: usize, least: &[f64]) -> Vec<Candidate> {
    let found = stack.iter().enumerate().flat_map(|(k, response)| {
        let peaks = maxima(response.view(), least[k] as f32);
        let at_base = k == base;
        peaks.into_iter().filter(move |&p| at_base || tops_neighbouring_scales(stack, k, p)).map(move |p| (k, p))
    });
    found.map(|(k, (y, x))| candidate(stack, scales, k, y, x)).collect()
}

fn tops_neighbouring_scales(stack: &[Array2<f32>], k: usize, (y, x): (usize, usize)) -> bool {
    let v = stack[k][[y, x]];
    let tops = |other: &Array2<f32>| {
        let (rows, columns) = other.dim();
        (y.saturating_sub(1)..=(y + 1).min(rows - 1))
            .all(|j| (x.saturating_sub(1)..=(x + 1).min(columns - 1)).all(|i| other[[j, i]] <= v))
    };
    (k == 0 || tops(&stack[k - 1])) && stack.get(k + 1).is_none_or(tops)
}

/// The candidate at a pixel of scale `k`, to a fraction of a pixel and of a scale.
fn candidate(stack: &[Array2<f32>], scales: &[f64], k: usize, y: usize, x: usize) -> Candidate {
    let response = |k: usize| f64::from(stack[k][[y, x]]);
    let climb = |mut at: usize| {
        while at + 1 < scales.len() && response(at + 1) > response(at) {
            at += 1;
        }
        while at > 0 && response(at - 1) > response(at) {
            at -= 1;
        }
        at
    };
    let best = climb(k);
    let (mut sigma, mut height) = (scales[best], response(best));
    if best > 0 && best + 1 < scales.len() {
        let (offset, top) = parabola(response(best - 1), height, response(best + 1));
        let step = if offset < 0.0 { scales[best] / scales[best - 1] } else { scales[best + 1] / scales[best] };
        sigma *= step.powf(offset);
        height = top;
    }
    let (dy, dx) = sub_pixel(stack[k].view(), y, x);
    Candidate { y: y as f64 + dy, x: x as f64 + dx, height, sigma }
}

/// Offset of a maximum from its pixel along both axes, by parabolas; 0 at the border.
pub(crate) fn sub_pixel(response: ArrayView2<'_, f32>, y: usize, x: usize) -> (f64, f64) {
    let (rows, columns) = response.dim();
    let at = |y: usize, x: usize| f64::from(response[[y, x]]);
    let dy = if y > 0 && y + 1 < rows { parabola(at(y - 1, x), at(y, x), at(y + 1, x)).0 } else { 0.0 };
    let dx = if x > 0 && x + 1 < columns { parabola(at(y, x - 1), at(y, x), at(y, x + 1)).0 } else { 0.0 };
    (dy, dx)
}

/// Offset (within ±1/2) and value of the maximum of the parabola through values at −1, 0, 1.
fn parabola(a: f64, b: f64, c: f64) -> (f64, f64) {
    let bend = a - 2.0 * b + c;
    if bend.is_nan() || bend >= 0.0 {
        return (0.0, b);
    }
    let offset = (0.5 * (a - c) / bend).clamp(-0.5, 0.5);
    (offset, b + 0.5 * (c - a) * offset + 0.5 * bend * offset * offset)
}

/// Keeps the highest of candidates that are nearer to each other than `radius` of the higher one; highest first.
pub(crate) fn suppress(mut candidates: Vec<Candidate>, radius: impl Fn(&Candidate) -> f64) -> Vec<Candidate> {
    // Ties are broken by place, so that the order never depends on how the work was shared out.
    candidates.sort_by(|a, b| {
        b.height
            .total_cmp(&a.height)
            .then(a.y.total_cmp(&b.y))
            .then(a.x.total_cmp(&b.x))
            .then(a.sigma.total_cmp(&b.sigma))
    });
    let points: Vec<[f64; 2]> = candidates.iter().map(|c| [c.y, c.x]).collect();
    let near = Neighbours::new(&points);
    let mut gone = vec![false; candidates.len()];
    for i in 0..candidates.len() {
        if !gone[i] {
            for (other, _) in near.within(i, radius(&candidates[i])) {
                gone[other] |= other > i;
            }
        }
    }
    candidates.into_iter().zip(gone).filter_map(|(c, gone)| (!gone).then_some(c)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::filter::log_response;
    use proptest::prelude::*;

    #[test]
    fn a_plateau_has_one_maximum() {
        let mut flat = Array2::<f32>::zeros((9, 9));
        flat.slice_mut(ndarray::s![3..5, 4..7]).fill(1.0);
        assert_eq!(maxima(flat.view(), 0.5), [(3, 4)]);
    }

    #[test]
    fn each_blob_selects_its_own_width() {
        let blobs = [(30.0, 30.0, 1.5), (30.0, 90.0, 3.0), (90.0, 60.0, 5.0)];
        let image = Array2::from_shape_fn((128, 128), |(y, x)| {
            let one = |&(y0, x0, s): &(f64, f64, f64)| {
                (-((y as f64 - y0).powi(2) + (x as f64 - x0).powi(2)) / (2.0 * s * s)).exp()
            };
            blobs.iter().map(one).sum::<f64>() as f32
        });
        let scales: Vec<f64> = (0..10).map(|k| 1.2f64.powi(k) * 1.2).collect();
        let stack: Vec<_> = scales.iter().map(|&s| log_response(image.view(), s)).collect();
        let found = suppress(scale_space(&stack, &scales, 0, &[0.3; 10]), |c| 2.0 * c.sigma);
        assert_eq!(found.len(), 3, "{found:?}");
        for (y, x, s) in blobs {
            let hit = found.iter().find(|c| (c.y - y).hypot(c.x - x) < 0.5).unwrap();
            assert!((hit.sigma / s - 1.0).abs() < 0.08 && (hit.height - 1.0).abs() < 0.08, "{hit:?} {s}");
        }
    }

    proptest! {
        #[test]
        fn survivors_keep_their_distance_and_the_rest_had_a_higher_neighbour(
            points in proptest::collection::vec((0.0f64..50.0, 0.0f64..50.0, 0.0f64..1.0), 0..80),
        ) {
            let all: Vec<Candidate> =
                points.iter().map(|&(y, x, height)| Candidate { y, x, height, sigma: 1.0 }).collect();
            let kept = suppress(all.clone(), |_| 5.0);
            let apart = |a: &Candidate, b: &Candidate| (a.y - b.y).hypot(a.x - b.x);
            for (i, a) in kept.iter().enumerate() {
                for b in &kept[i + 1..] { prop_assert!(apart(a, b) > 5.0 - 1e-9); }
            }
            for lost in all.iter().filter(|c| !kept.contains(c)) {
                prop_assert!(kept.iter().any(|k| k.height >= lost.height && apart(k, lost) <= 5.0 + 1e-9));
            }
        }
    }
}
