use std::num::NonZero;

use kiddo::{ImmutableKdTree, SquaredEuclidean};
use parsimon_core::Sites;

use crate::{Error, Result};

/// Smallest window that holds a pattern, in pixels.
pub(crate) const SMALLEST: usize = 3;

/// The window that reaches from each site to its nearest neighbours: `2·round(d) + 1`, d the median distance of
/// nearest neighbours.
///
/// # Errors
/// If no frame holds two sites at different places.
pub fn automatic_window(sites: &Sites) -> Result<usize> {
    let spacing = spacing(sites).ok_or(Error::NoSpacing { sites: sites.len() })?;
    Ok((2 * spacing.round() as usize + 1).max(SMALLEST))
}

/// Whether a window can be cut from an image of these rows and columns.
///
/// # Errors
/// If it is below 3 px or larger than the image.
pub fn check_window(window: usize, (rows, columns): (usize, usize)) -> Result<()> {
    if window < SMALLEST {
        return Err(Error::WindowTooSmall { window });
    }
    if window > rows.min(columns) {
        return Err(Error::WindowTooLarge { window, rows, columns });
    }
    Ok(())
}

/// Median distance of nearest neighbours within a frame, in pixels.
fn spacing(sites: &Sites) -> Option<f64> {
    let mut frames: Vec<usize> = sites.iter().map(|s| s.frame).collect();
    frames.sort_unstable();
    frames.dedup();
    let two = NonZero::new(2)?;
    let mut distances = Vec::with_capacity(sites.len());
    for frame in frames {
        let points: Vec<[f64; 2]> = sites.iter().filter(|s| s.frame == frame).map(|s| [s.y, s.x]).collect();
        let Ok(tree) = ImmutableKdTree::<f64, 2>::new_from_slice(&points) else { continue };
        for point in &points {
            let near = tree.query(point).nearest_n::<SquaredEuclidean<f64>>(two).execute();
            distances.extend(near.get(1).map(|n| n.distance.sqrt()).filter(|&d| d > 0.0));
        }
    }
    let middle = distances.len() / 2;
    if distances.is_empty() {
        return None;
    }
    Some(*distances.select_nth_unstable_by(middle, f64::total_cmp).1)
}
