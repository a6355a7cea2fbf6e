use crate::axes::{Axes, Scale, roomy};
use crate::canvas::Pen;
use crate::colour::CLASS_COLOURS;
use crate::error::check_finite;
use crate::figure::{Figure, MARGIN, SIDE, sheet};
use crate::legend::{Entry, Legend, Mark};
use crate::text::INK;
use crate::{Error, Result};

const KEPT: [u8; 3] = CLASS_COLOURS[0];
const MORE: [u8; 3] = CLASS_COLOURS[5];

/// The share of the variance along each principal component, on an axis of powers of ten, to see by eye how many stand out
/// of the noise: its components fall off slowly, along a line. Those above `kept` are marked as left out; shares of 0 or
/// less are not drawn.
///
/// # Errors
/// If no share is above 0, or one is not finite or above 1.
///
/// Reference: Cattell 1966, Multivariate Behav. Res. 1, 245.
pub fn scree(shares: &[f64], kept: usize, title: &str) -> Result<Figure> {
    let (x_label, y_label) = ("principal component", "share of the variance");
    check_finite(y_label, shares.iter().copied())?;
    if let Some(&value) = shares.iter().find(|v| **v > 1.0 + 1e-6) {
        return Err(Error::Share { what: y_label, value });
    }
    let points: Vec<(usize, [f64; 2])> = (1..).zip(shares).filter(|(_, v)| **v > 0.0).map(placed).collect();
    if points.is_empty() {
        return Err(Error::Empty { what: "list of shares above 0" });
    }
    let marked = |n: usize| if n <= kept { KEPT } else { MORE };
    let entry = |colour, text: &str| Entry { mark: Mark::Disc(colour), text: text.into() };
    let mut entries = vec![entry(KEPT, "taken")];
    if kept < shares.len() {
        entries.push(entry(MORE, "left out"));
    }
    let legend = Legend { entries };

    let (low, high) = roomy(points.iter().map(|(_, p)| p[1]));
    // A decade at least, for ticks.
    let y = (low.min(high - 1.0), high);
    let x = roomy(points.iter().map(|(_, p)| p[0]));
    let left = (MARGIN + Axes::left(y, Scale::Decades, y_label)?).round();
    let (wide, high) = (SIDE, 0.6 * SIDE);
    let body = high + Axes::below(x_label) + MARGIN / 2.0;
    let (mut canvas, top) = sheet(title, left + wide + 26.0 + legend.width()? + MARGIN, body)?;
    let axes = Axes { area: [left, top, wide, high], x, y, scales: [Scale::Whole, Scale::Decades] };
    axes.grid(&mut canvas);
    let line: Vec<[f64; 2]> = points.iter().map(|(_, p)| axes.place(*p)).collect();
    canvas.line(&line, false, Pen::solid(1.5, INK));
    for ((n, _), place) in points.iter().zip(&line) {
        canvas.disc(*place, 7.0, marked(*n), 1.0);
    }
    axes.draw(&mut canvas, x_label, y_label, true)?;
    legend.draw(&mut canvas, left + wide + 26.0, top)?;
    let all: f64 = 100.0 * shares.iter().take(kept).sum::<f64>();
    let caption = format!(
        "The share of the variance along each of the first {} principal components; the {} taken have {all:.1} % together. \
         Those of noise fall off slowly, along a line.",
        shares.len(),
        kept.min(shares.len())
    );
    Ok(Figure { name: "scree".into(), title: title.into(), caption, image: canvas.picture() })
}

fn placed((n, share): (usize, &f64)) -> (usize, [f64; 2]) {
    (n, [n as f64, share.log10()])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_and_what_is_left_out_are_told_apart() {
        let shares = [0.6, 0.3, 1e-3, 8e-4, 7e-4, 0.0];
        let figure = scree(&shares, 2, "Scree").unwrap();
        assert!(
            figure.caption.contains("first 6") && figure.caption.contains("2 taken have 90.0 %"),
            "{}",
            figure.caption
        );
        // Where discs are, left of the legend.
        let places = |colour: [u8; 3]| -> Vec<(u32, u32)> {
            let wide = (SIDE + MARGIN + Axes::left((-3.0, 0.0), Scale::Decades, "share").unwrap()) as u32;
            let found = figure.image.enumerate_pixels().filter(|(x, _, p)| *x < wide && p.0 == colour);
            found.map(|(x, y, _)| (x, y)).collect()
        };
        let (kept, more) = (places(KEPT), places(MORE));
        assert!(kept.len() > 200 && more.len() > 300, "{} {}", kept.len(), more.len());
        assert!(kept.iter().map(|p| p.0).max() < more.iter().map(|p| p.0).min(), "in order");
        // Two decades and a half lie between, more than half of the height.
        let gap = more.iter().map(|p| p.1).min().unwrap() - kept.iter().map(|p| p.1).max().unwrap();
        assert!(f64::from(gap) > 0.5 * 0.6 * SIDE, "{gap}");
    }

    #[test]
    fn shares_that_cannot_be_drawn_are_refused() {
        assert!(matches!(scree(&[], 0, ""), Err(Error::Empty { .. })));
        assert!(matches!(scree(&[0.0], 1, ""), Err(Error::Empty { .. })));
        assert!(matches!(scree(&[1.0, f64::NAN], 1, ""), Err(Error::NotFinite { .. })));
        assert!(matches!(scree(&[5.0, 3.0], 1, ""), Err(Error::Share { value: 5.0, .. })));
        assert!(scree(&[1.0], 1, "").is_ok());
    }
}
