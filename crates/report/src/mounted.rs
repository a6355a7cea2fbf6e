//! Maps set on a sheet: beside a colour bar, or over a legend of classes.

use crate::Result;
use crate::bars::ColourBar;
use crate::canvas::{Canvas, Pen};
use crate::colour::ColourMap;
use crate::figure::{Figure, MARGIN, sheet};
use crate::legend::Legend;
use crate::maps::MapStyle;
use crate::text::{INK, capital};

/// Between a map and its colour bar.
const BESIDE: f64 = 26.0;
/// Between a map and its legend.
const BELOW: f64 = 14.0;
/// Least height of a colour bar, which a line scan is not as high as.
const LEAST: f64 = 240.0;

/// A map beside its colour bar; `of` says what it is of, such as `at 12 sites`.
pub(crate) fn coloured(map: Canvas, bar: &ColourBar, style: &MapStyle, of: &str) -> Result<Figure> {
    let (wide, high) = (map.width(), map.height().max(LEAST));
    let (mut canvas, top) = sheet(&style.title, 2.0 * MARGIN + wide + BESIDE + bar.width(high)?, high + MARGIN)?;
    framed(&mut canvas, map, MARGIN, top);
    bar.draw(&mut canvas, MARGIN + wide + BESIDE, top, high)?;
    Ok(style.figure(canvas, format!("{} {of}.{}", capital(&style.label), style.range())))
}

/// A map of classes over its legend; `of` says what it is of, such as `12 sites`.
pub(crate) fn classed(map: Canvas, classes: &[i64], names: &[String], style: &MapStyle, of: &str) -> Result<Figure> {
    let legend = Legend::of_classes(classes, names);
    let (wide, high) = (map.width(), map.height());
    // As wide as a map with a colour bar, so that the two stand beside each other at one scale.
    let room = wide + BESIDE + ColourBar::new(ColourMap::Cyclic, &[], None, "")?.width(high)?;
    let rows = legend.rows_height(room)?;
    let (mut canvas, top) = sheet(&style.title, 2.0 * MARGIN + room, high + BELOW + rows + MARGIN / 2.0)?;
    framed(&mut canvas, map, MARGIN, top);
    legend.draw_rows(&mut canvas, [MARGIN, top + high + BELOW], room)?;
    Ok(style.figure(canvas, format!("Class of {of}.")))
}

/// Sets a map on the sheet with a thin frame around it.
pub(crate) fn framed(canvas: &mut Canvas, map: Canvas, x: f64, y: f64) {
    let (w, h) = (map.width(), map.height());
    canvas.place(&map.picture(), x as i64, y as i64);
    canvas.frame([x - 0.75, y - 0.75, w + 1.5, h + 1.5], Pen::solid(1.5, INK));
}
