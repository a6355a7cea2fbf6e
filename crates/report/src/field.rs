use image::{Rgb, RgbImage};
use ndarray::ArrayView2;
use parsimon_core::Axis;

use crate::bars::{ColourBar, ScaleBar};
use crate::canvas::Canvas;
use crate::colour;
use crate::error::check_finite;
use crate::figure::Figure;
use crate::maps::MapStyle;
use crate::mounted::{classed, coloured};
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
    coloured(map, &bar, style, &format!("at {}×{} pixels of the scan", values.nrows(), values.ncols()))
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
    let (all, (rows, columns)) = (classes.iter().copied().collect::<Vec<_>>(), classes.dim());
    classed(map, &all, names, style, &format!("{rows}×{columns} pixels of the scan"))
}

/// Coloured pixels and a scale bar.
fn scanned(
    (rows, columns): (usize, usize),
    [y, x]: [&Axis; 2],
    colour: impl Fn((usize, usize)) -> [u8; 3],
) -> Result<Canvas> {
    if rows == 0 || columns == 0 {
        return Err(Error::Empty { what: "scan" });
    }
    let view = View::of((rows, columns), [y, x]);
    let pick =
        |at: u32, zoom: f64, count: usize| ((f64::from(at) + 0.5) / zoom).floor().min(count as f64 - 1.0) as usize;
    let picture = RgbImage::from_fn(view.extent[0], view.extent[1], |x, y| {
        Rgb(colour((pick(y, view.zoom[0], rows), pick(x, view.zoom[1], columns))))
    });
    let mut map = Canvas::of(&picture)?;
    ScaleBar::along(x, columns, 0.25).draw(&mut map, view.zoom[1])?;
    Ok(map)
}

#[cfg(test)]
mod tests {
    use ndarray::{Array2, array};

    use super::*;
    use crate::colour::ColourMap;
    use crate::figure::MARGIN;

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
