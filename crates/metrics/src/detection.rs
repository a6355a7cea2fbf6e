use std::collections::BTreeMap;

use kiddo::{ImmutableKdTree, SquaredEuclidean};
use ndarray::{Array1, ArrayView1};
use parsimon_core::{Site, Sites};

use crate::error::same_shape;
use crate::{Error, Result};

/// A found site and the true site it belongs to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SiteMatch {
    /// Index of the found site.
    pub found: usize,
    /// Index of the true site.
    pub truth: usize,
    /// Their distance in pixels.
    pub distance: f64,
}

/// How well sites were found.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DetectionScores {
    /// True sites that were found.
    pub hits: usize,
    /// Found sites that are not there.
    pub spurious: usize,
    /// True sites that were missed.
    pub missed: usize,
    /// hits / (hits + spurious); 0 if nothing was found.
    pub precision: f64,
    /// hits / (hits + missed); 0 if there is nothing to find.
    pub recall: f64,
    /// 2 hits / (2 hits + spurious + missed).
    pub f1: f64,
    /// √mean(d²) of the hits, d the distance in the plane, in pixels; `None` without hits.
    pub rms: Option<f64>,
}

/// Pairs found sites with true ones within `tolerance` pixels, one to one, nearest pairs first.
///
/// Only sites of one frame are paired. The pairs are ordered by distance, then by index.
///
/// # Errors
/// If the tolerance is not a finite number above 0.
pub fn match_sites(found: &Sites, truth: &Sites, tolerance: f64) -> Result<Vec<SiteMatch>> {
    if !(tolerance.is_finite() && tolerance > 0.0) {
        let accepted = "finite numbers above 0 pixels".to_owned();
        return Err(Error::Parameter { name: "tolerance", value: tolerance, accepted });
    }
    let mut frames: BTreeMap<usize, (Vec<usize>, Vec<usize>)> = BTreeMap::new();
    found.iter().enumerate().for_each(|(i, s)| frames.entry(s.frame).or_default().0.push(i));
    truth.iter().enumerate().for_each(|(i, s)| frames.entry(s.frame).or_default().1.push(i));

    let (found, truth) = (found.as_slice(), truth.as_slice());
    let mut candidates = Vec::new();
    for (in_found, in_truth) in frames.values().filter(|(f, t)| !f.is_empty() && !t.is_empty()) {
        let points: Vec<[f64; 2]> = in_truth.iter().map(|&t| [truth[t].y, truth[t].x]).collect();
        let tree = ImmutableKdTree::<f64, 2>::new_from_slice(&points).map_err(|e| Error::Index(e.to_string()))?;
        for &f in in_found {
            let here = [found[f].y, found[f].x];
            let near = tree.query(&here).within::<SquaredEuclidean<f64>>(tolerance * tolerance).execute();
            candidates.extend(near.iter().filter_map(|n| {
                let &truth = in_truth.get(n.item as usize)?;
                Some(SiteMatch { found: f, truth, distance: n.distance.sqrt() })
            }));
        }
    }
    candidates
        .sort_by(|a, b| a.distance.total_cmp(&b.distance).then(a.found.cmp(&b.found)).then(a.truth.cmp(&b.truth)));
    let (mut free_found, mut free_truth) = (vec![true; found.len()], vec![true; truth.len()]);
    candidates.retain(|m| {
        let free = free_found[m.found] && free_truth[m.truth];
        if free {
            free_found[m.found] = false;
            free_truth[m.truth] = false;
        }
        free
    });
    Ok(candidates)
}

/// Precision, recall, F1 and position error of found sites, paired with the true ones by [`match_sites`].
///
/// Only what is `inside` is scored, for instance `|s| s.y > 10.0`: true sites that are inside, and spurious sites that
/// are inside. A found site that belongs to a true site counts where the true site is, so that a border cuts no pair.
///
/// # Errors
/// If the tolerance is not a finite number above 0, or neither a true nor a found site is inside.
pub fn detection_scores(
    found: &Sites,
    truth: &Sites,
    tolerance: f64,
    inside: impl Fn(&Site) -> bool,
) -> Result<DetectionScores> {
    let matches = match_sites(found, truth, tolerance)?;
    let mut paired = vec![false; found.len()];
    matches.iter().for_each(|m| paired[m.found] = true);
    let distances: Vec<f64> =
        matches.iter().filter(|m| inside(&truth.as_slice()[m.truth])).map(|m| m.distance).collect();
    let hits = distances.len();
    let spurious = found.iter().zip(&paired).filter(|(s, paired)| !**paired && inside(s)).count();
    let missed = truth.iter().filter(|s| inside(s)).count() - hits;
    if hits + spurious + missed == 0 {
        return Err(Error::TooFew { what: "sites inside", needed: 1 });
    }
    let ratio = |part: usize, whole: usize| if whole == 0 { 0.0 } else { part as f64 / whole as f64 };
    let squares: f64 = distances.iter().map(|d| d * d).sum();
    Ok(DetectionScores {
        hits,
        spurious,
        missed,
        precision: ratio(hits, hits + spurious),
        recall: ratio(hits, hits + missed),
        f1: ratio(2 * hits, 2 * hits + spurious + missed),
        rms: (hits > 0).then(|| (squares / hits as f64).sqrt()),
    })
}

/// The label of each found site: that of the true site it belongs to by [`match_sites`], −1 if it belongs to none.
///
/// # Shapes
/// `labels` one per true site; the result one per found site.
///
/// # Errors
/// If there is not one label per true site, or the tolerance is not a finite number above 0.
pub fn labels_of_matches(
    found: &Sites,
    truth: &Sites,
    labels: ArrayView1<'_, i64>,
    tolerance: f64,
) -> Result<Array1<i64>> {
    same_shape("labels", &[labels.len()], &[truth.len()])?;
    let mut known = Array1::from_elem(found.len(), -1);
    match_sites(found, truth, tolerance)?.iter().for_each(|m| known[m.found] = labels[m.truth]);
    Ok(known)
}

/// Whether a site of an image of this shape (rows, columns) is `margin` pixels or more inside its outermost pixels.
pub fn away_from_edges((rows, columns): (usize, usize), margin: f64) -> impl Fn(&Site) -> bool {
    let inside = move |v: f64, n: usize| v >= margin && v <= n as f64 - 1.0 - margin;
    move |site| inside(site.y, rows) && inside(site.x, columns)
}

#[cfg(test)]
mod tests {
    use super::*;
    use parsimon_core::Refinement;
    use proptest::prelude::*;

    fn sites(points: &[(usize, f64, f64)]) -> Sites {
        let site = |&(frame, y, x): &(usize, f64, f64)| Site {
            frame,
            y,
            x,
            intensity: 1.0,
            width: 1.0,
            quality: 1.0,
            refinement: Refinement::None,
        };
        Sites::new(points.iter().map(site).collect()).unwrap()
    }

    #[test]
    fn nearest_pairs_come_first_and_each_site_counts_once() {
        let truth = sites(&[(0, 0.0, 0.0), (0, 0.0, 2.0), (0, 9.0, 9.0)]);
        // The first is nearer to the second true site than to the first, but the second found site is nearer still.
        let found = sites(&[(0, 0.0, 1.1), (0, 0.0, 2.1), (0, 5.0, 5.0)]);
        let pairs: Vec<_> = match_sites(&found, &truth, 1.5).unwrap().iter().map(|m| (m.found, m.truth)).collect();
        assert_eq!(pairs, [(1, 1), (0, 0)]);
        let scores = detection_scores(&found, &truth, 1.5, |_| true).unwrap();
        assert_eq!((scores.hits, scores.spurious, scores.missed), (2, 1, 1));
        for ratio in [scores.precision, scores.recall, scores.f1] {
            assert!((ratio - 2.0 / 3.0).abs() < 1e-15);
        }
        let rms = ((1.1f64.powi(2) + 0.1f64.powi(2)) / 2.0).sqrt();
        assert!((scores.rms.unwrap() - rms).abs() < 1e-12);
    }

    #[test]
    fn frames_are_kept_apart() {
        let found = sites(&[(0, 1.0, 1.0), (1, 1.0, 1.0)]);
        let truth = sites(&[(1, 1.0, 1.0), (2, 1.0, 1.0)]);
        let matches = match_sites(&found, &truth, 1.0).unwrap();
        assert_eq!(matches, [SiteMatch { found: 1, truth: 0, distance: 0.0 }]);
    }

    #[test]
    fn a_border_cuts_no_pair() {
        let truth = sites(&[(0, 10.1, 20.0), (0, 9.9, 40.0)]);
        let found = sites(&[(0, 9.9, 20.0), (0, 10.1, 40.0), (0, 3.0, 3.0)]);
        let scores = detection_scores(&found, &truth, 1.0, |s| s.y >= 10.0).unwrap();
        assert_eq!((scores.hits, scores.spurious, scores.missed), (1, 0, 0));
    }

    #[test]
    fn labels_come_from_the_true_site() {
        let truth = sites(&[(0, 1.0, 1.0), (0, 1.0, 9.0)]);
        let found = sites(&[(0, 1.0, 9.2), (0, 5.0, 5.0), (0, 1.1, 1.0)]);
        let labels = |labels: &[i64]| labels_of_matches(&found, &truth, ArrayView1::from(labels), 1.0);
        assert_eq!(labels(&[4, 7]).unwrap().to_vec(), [7, -1, 4]);
        assert!(matches!(labels(&[4]), Err(Error::Shape { .. })));
        let inside = away_from_edges((12, 10), 2.0);
        let here: Vec<bool> =
            sites(&[(0, 2.0, 2.0), (0, 9.0, 7.0), (0, 9.1, 7.0), (0, 5.0, 1.9)]).iter().map(inside).collect();
        assert_eq!(here, [true, true, false, false]);
    }

    #[test]
    fn nothing_found_and_nothing_there() {
        let some = sites(&[(0, 1.0, 1.0)]);
        let none = Sites::default();
        let missed = detection_scores(&none, &some, 1.0, |_| true).unwrap();
        assert_eq!((missed.precision, missed.recall, missed.f1, missed.rms), (0.0, 0.0, 0.0, None));
        assert_eq!(detection_scores(&some, &none, 1.0, |_| true).unwrap().spurious, 1);
        assert!(matches!(detection_scores(&none, &none, 1.0, |_| true), Err(Error::TooFew { .. })));
        for tolerance in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert!(matches!(match_sites(&some, &some, tolerance), Err(Error::Parameter { .. })), "{tolerance}");
        }
    }

    proptest! {
        #[test]
        fn equals_the_greedy_search_over_all_pairs(
            a in prop::collection::vec((0usize..2, 0.0f64..9.0, 0.0f64..9.0), 0..25),
            b in prop::collection::vec((0usize..2, 0.0f64..9.0, 0.0f64..9.0), 0..25),
        ) {
            let (found, truth) = (sites(&a), sites(&b));
            let mut pairs: Vec<(f64, usize, usize)> = Vec::new();
            for (i, p) in a.iter().enumerate() {
                for (j, q) in b.iter().enumerate().filter(|(_, q)| q.0 == p.0) {
                    pairs.push(((p.1 - q.1).hypot(p.2 - q.2), i, j));
                }
            }
            pairs.retain(|p| p.0 <= 1.5);
            pairs.sort_by(|p, q| p.0.total_cmp(&q.0));
            let mut expected: Vec<(usize, usize)> = Vec::new();
            for (_, i, j) in pairs {
                if expected.iter().all(|e| e.0 != i && e.1 != j) { expected.push((i, j)); }
            }
            let got: Vec<_> = match_sites(&found, &truth, 1.5).unwrap().iter().map(|m| (m.found, m.truth)).collect();
            prop_assert_eq!(got, expected);
        }
    }
}
