use crate::axes::{Axes, Scale, roomy, settled};
use crate::canvas::{Canvas, Pen};
use crate::colour::CLASS_COLOURS;
use crate::error::check_finite;
use crate::figure::{Figure, MARGIN, SIDE, sheet};
use crate::legend::{Entry, Legend, Mark};
use crate::{Error, Result};

/// A line through points.
#[derive(Debug, Clone, PartialEq)]
pub struct Line<'a> {
    /// What it is; lines of one name share a colour and a line of the legend. The names have the colours of the classes, in
    /// order, so that the spectrum of a class looks like its part of a map.
    pub name: &'a str,
    /// (x, y) in the order they are joined, finite.
    pub points: Vec<[f64; 2]>,
}

/// Steps of the x axis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Steps {
    /// Equal differences.
    Linear,
    /// Equal ratios; every x is above 0.
    Logarithmic,
}

/// Lines in one pair of axes that hold all their points, with a legend beside it.
///
/// # Errors
/// If there is no line, one has no point, or a value is not finite or, on a logarithmic axis, not above 0.
pub fn lines(lines: &[Line<'_>], steps: Steps, x_label: &str, y_label: &str, title: &str) -> Result<Figure> {
    drawn(lines, steps, [x_label, y_label, title], |heights| (roomy(heights.iter().copied().flatten().copied()), false))
}

/// As [`lines`], of losses that fall: if they begin so high that the rest would be flat, the first points run off the top,
/// and the caption says so.
///
/// # Errors
/// As [`lines`].
pub fn losses(lines: &[Line<'_>], steps: Steps, x_label: &str, y_label: &str, title: &str) -> Result<Figure> {
    drawn(lines, steps, [x_label, y_label, title], settled)
}

/// Lines between the limits that `range` finds for their heights; it tells also whether some points are beyond.
fn drawn(
    lines: &[Line<'_>],
    steps: Steps,
    [x_label, y_label, title]: [&str; 3],
    range: impl Fn(&[&[f64]]) -> ((f64, f64), bool),
) -> Result<Figure> {
    if lines.is_empty() || lines.iter().any(|l| l.points.is_empty()) {
        return Err(Error::Empty { what: "list of points" });
    }
    let place = |x: f64| if steps == Steps::Logarithmic { x.log10() } else { x };
    let placed: Vec<Vec<[f64; 2]>> =
        lines.iter().map(|l| l.points.iter().map(|&[x, y]| [place(x), y]).collect()).collect();
    let of = |axis: usize| placed.iter().flatten().map(move |p| p[axis]);
    check_finite(x_label, of(0))?;
    check_finite(y_label, of(1))?;

    let mut names: Vec<&str> = Vec::new();
    lines.iter().for_each(|l| {
        if !names.contains(&l.name) {
            names.push(l.name)
        }
    });
    let pen = |name: &str| {
        let i = names.iter().position(|n| *n == name).unwrap_or(0);
        Pen { dashed: i >= CLASS_COLOURS.len(), ..Pen::solid(3.5, CLASS_COLOURS[i % CLASS_COLOURS.len()]) }
    };
    let entry = |name: &&str| Entry { mark: Mark::Line(pen(name).colour, pen(name).dashed), text: (*name).into() };
    let legend = Legend { entries: names.iter().map(entry).collect() };

    let heights: Vec<Vec<f64>> = placed.iter().map(|l| l.iter().map(|p| p[1]).collect()).collect();
    let (y, cut) = range(&heights.iter().map(Vec::as_slice).collect::<Vec<_>>());
    let x = roomy(of(0));
    let left = (MARGIN + Axes::left(y, Scale::Linear, y_label)?).round();
    let (wide, high) = (SIDE, 0.6 * SIDE);
    let (mut canvas, top) = sheet(
        title,
        left + wide + 26.0 + legend.width()? + MARGIN,
        high.max(legend.height()) + Axes::below(x_label) + MARGIN / 2.0,
    )?;
    let scale = if steps == Steps::Logarithmic { Scale::Decades } else { Scale::Linear };
    let axes = Axes { area: [left, top, wide, high], x, y, scales: [scale, Scale::Linear] };
    let mut plot = Canvas::new(wide, high)?;
    let inner = Axes { area: [0.0, 0.0, wide, high], ..axes.clone() };
    inner.grid(&mut plot);
    for (line, points) in lines.iter().zip(&placed) {
        let points: Vec<[f64; 2]> = points.iter().map(|&p| inner.place(p)).collect();
        plot.line(&points, false, pen(line.name));
        if let [point] = points[..] {
            plot.disc(point, 5.0, pen(line.name).colour, 1.0);
        }
    }
    canvas.place(&plot.picture(), left as i64, top as i64);
    axes.draw(&mut canvas, x_label, y_label, true)?;
    legend.draw(&mut canvas, left + wide + 26.0, top)?;
    let off = if cut { " The first points are off the scale." } else { "" };
    let caption = format!("{y_label} against {x_label}.{off}");
    Ok(Figure { name: "lines".into(), title: title.into(), caption, image: canvas.picture() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_one_name_share_a_colour() {
        let line = |name, y: f64| Line { name, points: vec![[0.1, y], [1.0, y + 1.0], [100.0, y + 3.0]] };
        let drawn = |lines_: &[Line<'_>]| lines(lines_, Steps::Logarithmic, "time (s)", "loss", "Loss").unwrap();
        let two = drawn(&[line("ours", 1.0), line("ours", 2.0), line("theirs", 3.0)]);
        let count = |i: usize| two.image.pixels().filter(|p| p.0 == CLASS_COLOURS[i]).count();
        assert!(count(0) > 3 * count(1) / 2 && count(1) > 500, "{} {}", count(0), count(1));
        assert_eq!(count(2), 0);
    }

    #[test]
    fn a_peak_at_the_beginning_is_shown_and_a_loss_that_begins_high_is_cut() {
        let height = |i: usize| if i < 3 { 1000.0 } else { 1.0 + (i as f64 / 7.0).sin() };
        let points: Vec<[f64; 2]> = (0..200).map(|i| [i as f64, height(i)]).collect();
        let line = [Line { name: "zero loss", points }];
        // The first row of the picture that the line is in, and whether points are beyond.
        let seen = |figure: &Figure| {
            let (wide, high) = figure.image.dimensions();
            // Left of the legend, whose line has the colour too.
            let ink = |y: &u32| (0..wide / 2).any(|x| figure.image.get_pixel(x, *y).0 == CLASS_COLOURS[0]);
            ((0..high).find(ink).unwrap_or(u32::MAX), figure.caption.contains("off the scale"))
        };
        let spectrum = lines(&line, Steps::Linear, "energy (eV)", "counts", "").unwrap();
        let loss = losses(&line, Steps::Linear, "epoch", "loss", "").unwrap();
        // The upper edge is at the margin; a peak stands a part in 27 of the height below it.
        let below = (MARGIN + 0.6 * SIDE / 27.0) as u32;
        assert!((below - 3..=below + 3).contains(&seen(&spectrum).0) && !seen(&spectrum).1, "{:?}", seen(&spectrum));
        assert!(seen(&loss).0 <= MARGIN as u32 + 3 && seen(&loss).1, "{:?}", seen(&loss));
    }

    #[test]
    fn what_cannot_be_drawn_is_refused() {
        let draw = |points: Vec<[f64; 2]>, steps| lines(&[Line { name: "a", points }], steps, "x", "y", "");
        assert!(matches!(lines(&[], Steps::Linear, "x", "y", ""), Err(Error::Empty { .. })));
        assert!(matches!(draw(vec![], Steps::Linear), Err(Error::Empty { .. })));
        assert!(matches!(draw(vec![[1.0, f64::NAN]], Steps::Linear), Err(Error::NotFinite { .. })));
        assert!(matches!(draw(vec![[0.0, 1.0]], Steps::Logarithmic), Err(Error::NotFinite { .. })));
        assert!(draw(vec![[0.0, 1.0]], Steps::Linear).is_ok());
        assert!(draw(vec![[1.0, 1.0]], Steps::Logarithmic).is_ok());
    }
}
