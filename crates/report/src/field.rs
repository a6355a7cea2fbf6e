use image::{Rgb, RgbImage};
use ndarray::ArrayView2;
use parsimon_core::{Axis, Image};

use crate::bars::{ColourBar, ScaleBar};
use crate::canvas::Canvas;
use crate::colour::{self, ColourMap};
use crate::error::check_finite;
use crate::figure::{Figure, MARGIN, sheet};
use crate::legend::Legend;
use crate::maps::{MapStyle, capital, framed};
use crate::view::View;
use crate::{Error, Result};

/// A number at every pixel of a scan, such as the loading of a component of a spectrum image.
///
/// Pixels have sharp edges and the proportions of the calibration; a scale bar gives lengths.
///
/// # Shapes
/// `values` H×W, finite.
///
/// # Errors
/// If there is no pixel, a value is not finite, or the limits are not an interval.
pub fn field(values: ArrayView2<'_, f32>, [y, x]: [&Axis; 2], style: &MapStyle) -> Result<Figure> {
    check_finite(&style.title, values.iter().copied())?;
    let all: Vec<f64> = values.iter().map(|&v| v.into()).collect();
    let bar = ColourBar::new(style.colours, &all, style.limits, &style.label)?;
    let map =
        scanned(values.dim(), [y, x], |place| values.get(place).map_or(colour::UNKNOWN, |&v| bar.colour(v.into())))?;
    let (w, h) = (map.width(), map.height());
    let high = h.max(240.0);
    let (mut canvas, top) = sheet(&style.title, 2.0 * MARGIN + w + 26.0 + bar.width(high)?, high + MARGIN)?;
    framed(&mut canvas, map, MARGIN, top);
    bar.draw(&mut canvas, MARGIN + w + 26.0, top, high)?;
    let (rows, columns, range) = (values.nrows(), values.ncols(), style.range());
    let caption = format!("{} at {rows}×{columns} pixels of the scan.{range}", capital(&style.label));
    Ok(Figure { name: style.name.clone(), title: style.title.clone(), caption, image: canvas.picture() })
}

/// The class of every pixel of a scan, with a legend; −1 is unknown and grey.
///
/// # Shapes
/// `classes` H×W.
///
/// # Errors
/// If there is no pixel.
pub fn class_field(
    classes: ArrayView2<'_, i64>,
    [y, x]: [&Axis; 2],
    names: &[String],
    style: &MapStyle,
) -> Result<Figure> {
    let of = |place| colour::class_colour(classes.get(place).copied().unwrap_or(-1));
    let map = scanned(classes.dim(), [y, x], of)?;
    let legend = Legend::of_classes(&classes.iter().copied().collect::<Vec<_>>(), names);
    let (w, h) = (map.width(), map.height());
    // As wide as a field with a colour bar, so that the two stand beside each other at one scale.
    let room = w + 26.0 + ColourBar::new(ColourMap::Cyclic, &[], None, "")?.width(h)?;
    let rows = legend.rows_height(room)?;
    let (mut canvas, top) = sheet(&style.title, 2.0 * MARGIN + room, h + 14.0 + rows + MARGIN / 2.0)?;
    framed(&mut canvas, map, MARGIN, top);
    legend.draw_rows(&mut canvas, [MARGIN, top + h + 14.0], room)?;
    let caption = format!("Class of {}×{} pixels of the scan.", classes.nrows(), classes.ncols());
    Ok(Figure { name: style.name.clone(), title: style.title.clone(), caption, image: canvas.picture() })
}

/// Coloured pixels and a scale bar.
fn scanned(
    (rows, columns): (usize, usize),
    [y, x]: [&Axis; 2],
    colour: impl Fn((usize, usize)) -> [u8; 3],
) -> Result<Canvas> {
    // The geometry of a micrograph of as many pixels.
    let blank = ndarray::Array2::zeros((rows, columns));
    let image = Image::calibrated(blank, y.clone(), x.clone()).map_err(|_| Error::Empty { what: "scan" })?;
    let view = View::whole(&image);
    let pick =
        |at: u32, zoom: f64, count: usize| ((f64::from(at) + 0.5) / zoom).floor().min(count as f64 - 1.0) as usize;
    let picture = RgbImage::from_fn(view.extent[0], view.extent[1], |x, y| {
        Rgb(colour((pick(y, view.zoom[0], rows), pick(x, view.zoom[1], columns))))
    });
    let mut map = Canvas::of(&picture)?;
    ScaleBar::of(&image, 0.25).draw(&mut map, view.zoom[1])?;
    Ok(map)
}

#[cfg(test)]
mod tests {
    use ndarray::{Array2, array};

    use super::*;

    #[test]
    fn each_pixel_has_its_colour_at_its_place() {
        let axis = |name| Axis::new(name, 0.5, 0.0, "nm");
        let values = array![[0.0f32, 1.0, 2.0], [3.0, 4.0, 5.0]];
        let style = MapStyle { limits: Some((0.0, 5.0)), ..MapStyle::default() };
        let figure = field(values.view(), [&axis("y"), &axis("x")], &style).unwrap();
        for ((y, x), v) in values.indexed_iter() {
            let place = [x, y].map(|p| (MARGIN + (p as f64 + 0.5) * 320.0) as u32);
            assert_eq!(figure.image.get_pixel(place[0], place[1]).0, ColourMap::Sequential.at(f64::from(*v) / 5.0));
        }
        let classes = array![[0, 2], [-1, 1]];
        let figure = class_field(classes.view(), [&axis("y"), &axis("x")], &[], &MapStyle::default()).unwrap();
        assert_eq!(figure.image.get_pixel(MARGIN as u32 + 100, MARGIN as u32 + 700).0, colour::UNKNOWN);
        assert_eq!(figure.image.get_pixel(MARGIN as u32 + 700, MARGIN as u32 + 100).0, colour::class_colour(2));
    }

    #[test]
    fn nothing_and_nan_are_refused_and_a_line_is_drawn() {
        let axis = Axis::uncalibrated("x");
        let of = |values: Array2<f32>| field(values.view(), [&axis, &axis], &MapStyle::default());
        assert!(of(Array2::zeros((0, 3))).is_err() && of(Array2::from_elem((2, 2), f32::NAN)).is_err());
        assert!(of(Array2::ones((1, 67))).is_ok());
    }
}
