use image::{Rgb, RgbImage};
use ndarray::{ArrayView3, ArrayView4, Axis};

use crate::bars::ColourBar;
use crate::canvas::{Canvas, Pen};
use crate::colour::{CLASS_COLOURS, ColourMap};
use crate::error::{check_finite, check_length};
use crate::figure::{Figure, MARGIN, SIDE, sheet};
use crate::text::{self, Align, INK, LABEL, TICK};
use crate::ticks;
use crate::{Error, Result};

/// Room below tiles for a tick and below that for a label.
const TICK_ROOM: f64 = 40.0;
/// Between tiles, or periodic patches would run into one another.
const TILE_GAP: f64 = 4.0;
const LABEL_ROOM: f64 = 44.0;

/// Decoded patches over a grid of two latents; those of one row are spectra, and drawn as curves.
///
/// Row 0 stands at the bottom, so that `y_values` grow upwards when they are increasing. Several channels lie next to each
/// other inside a tile. All tiles share one range of grey, that of the whole grid.
///
/// # Shapes
/// `images`: (rows·cols)×H×W×C, row by row: image `r·cols + c` has `x_values[c]` and `y_values[r]`.
///
/// # Errors
/// If there is no image, lengths differ, or a value is not finite.
pub fn manifold(
    images: ArrayView4<'_, f32>,
    x_values: &[f64],
    y_values: &[f64],
    x_label: &str,
    y_label: &str,
    title: &str,
) -> Result<Figure> {
    let (rows, cols) = (y_values.len(), x_values.len());
    check_images(images, "decoded patches")?;
    check_length("decoded patches of the grid", images.dim().0, rows * cols)?;
    check_finite("latents of the grid", x_values.iter().chain(y_values).copied())?;
    let bar = ColourBar::new(ColourMap::Grey, &all(images), Some(range(images)), "intensity")?;
    let spectra = images.dim().1 == 1 && images.dim().2 > 1;
    let of_curve = [cols, rows].map(|n| (SIDE / n as f64).round().clamp(6.0, SIDE / 3.0));
    let [w, h] = if spectra { of_curve } else { tile_size(images, rows, cols, SIDE) };
    let names = ticks::labels(y_values);
    let widest = names.iter().try_fold(0.0f64, |w, n| Ok::<_, Error>(w.max(text::width(n, TICK)?)))?;
    let left = (MARGIN + 1.5 * LABEL.size + widest + 16.0).round();
    let (wide, high) = (w * cols as f64, h * rows as f64);
    let body = high + TICK_ROOM + LABEL_ROOM + MARGIN / 2.0;
    let beside = if spectra { 0.0 } else { 26.0 + bar.width(high)? };
    let (mut canvas, top) = sheet(title, left + wide + beside + MARGIN, body)?;
    for (i, image) in images.axis_iter(Axis(0)).enumerate() {
        let (r, c) = (i / cols, i % cols);
        let (x, y) = (left + c as f64 * w, top + (rows - 1 - r) as f64 * h);
        if spectra {
            curves(&mut canvas, image, [x, y, w - TILE_GAP, h - TILE_GAP], range(images));
        } else {
            canvas.place(&tile(image, [w - TILE_GAP, h - TILE_GAP], &bar), x as i64, y as i64);
        }
    }
    canvas.frame([left, top, wide - TILE_GAP, high - TILE_GAP], Pen::solid(2.0, INK));
    for (r, name) in shown(&names, h / (1.4 * TICK.size)) {
        let y = top + (rows as f64 - r as f64 - 0.5) * h;
        canvas.line(&[[left - 8.0, y], [left, y]], false, Pen::solid(2.0, INK));
        canvas.text(name, [left - 13.0, y], Align::Right, TICK)?;
    }
    let names = ticks::labels(x_values);
    let widest = names.iter().try_fold(0.0f64, |w, n| Ok::<_, Error>(w.max(text::width(n, TICK)?)))?;
    for (c, name) in shown(&names, w / (widest + 16.0)) {
        let x = left + (c as f64 + 0.5) * w;
        canvas.line(&[[x, top + high], [x, top + high + 8.0]], false, Pen::solid(2.0, INK));
        canvas.text(name, [x, top + high + 26.0], Align::Middle, TICK)?;
    }
    let below = [left + wide / 2.0, top + high + TICK_ROOM + LABEL_ROOM / 2.0];
    canvas.text(x_label, below, Align::Middle, text::fitted(x_label, LABEL, wide)?)?;
    let beside = [MARGIN + 0.5 * LABEL.size, top + high / 2.0];
    canvas.upwards(y_label, beside, Align::Middle, text::fitted(y_label, LABEL, high)?)?;
    if !spectra {
        bar.draw(&mut canvas, left + wide + 26.0, top, high)?;
    }
    let what = if spectra { "Spectra" } else { "Patches" };
    let caption = format!(
        "{what} decoded over {cols} × {rows} values of {x_label} ({} to {}) and {y_label} ({} to {}).",
        end(x_values, false),
        end(x_values, true),
        end(y_values, false),
        end(y_values, true)
    );
    Ok(Figure { name: "manifold".into(), title: title.into(), caption, image: canvas.picture() })
}

/// The channels of a spectrum as curves in a box, over this range.
fn curves(canvas: &mut Canvas, spectrum: ArrayView3<'_, f32>, [x, y, w, h]: [f64; 4], (low, high): (f64, f64)) {
    let (_, n, channels) = spectrum.dim();
    canvas.frame([x, y, w, h], Pen::solid(1.0, [210; 3]));
    for channel in 0..channels {
        let point = |i: usize| {
            let share = (f64::from(spectrum[(0, i, channel)]) - low) / (high - low).max(1e-12);
            [x + w * i as f64 / (n - 1).max(1) as f64, y + h * (1.0 - share.clamp(0.0, 1.0))]
        };
        let points: Vec<[f64; 2]> = (0..n).map(point).collect();
        canvas.line(&points, false, Pen::solid(2.0, CLASS_COLOURS[channel % CLASS_COLOURS.len()]));
    }
}

/// Example patches above their reconstructions and the difference of the two.
///
/// # Shapes
/// Both N×H×W×C and equal; N columns, a dozen or fewer read well.
///
/// # Errors
/// If there is no patch, the shapes differ, or a value is not finite.
pub fn patches(examples: ArrayView4<'_, f32>, decoded: ArrayView4<'_, f32>, title: &str) -> Result<Figure> {
    check_images(examples, "example patches")?;
    check_images(decoded, "reconstructions")?;
    for (axis, (&found, &expected)) in decoded.shape().iter().zip(examples.shape()).enumerate() {
        check_length(&format!("axis {axis} of the reconstructions"), found, expected)?;
    }
    let n = examples.dim().0;
    let difference = &decoded - &examples;
    let (low, high) = range(examples);
    let grey = ColourBar::new(ColourMap::Grey, &all(examples), Some((low, high)), "intensity")?;
    let signed = ColourBar::new(ColourMap::Diverging, &all(difference.view()), None, "difference")?;
    let rows = [
        ("patch", examples.view(), &grey),
        ("reconstruction", decoded.view(), &grey),
        ("difference", difference.view(), &signed),
    ];
    let [w, h] = tile_size(examples, 3, n, 1.4 * SIDE).map(|s| s.min(220.0));
    let left =
        (MARGIN + rows.iter().try_fold(0.0f64, |m, r| Ok::<_, Error>(m.max(text::width(r.0, LABEL)?)))? + 16.0).round();
    let (pitch, wide) = (h + 14.0, n as f64 * (w + 8.0) - 8.0);
    let bars = grey.width(pitch + h)?.max(signed.width(h)?);
    let (mut canvas, top) = sheet(title, left + wide + 26.0 + bars + MARGIN, 3.0 * pitch - 14.0 + MARGIN)?;
    for (r, (name, images, bar)) in rows.into_iter().enumerate() {
        let y = top + r as f64 * pitch;
        canvas.text(name, [left - 16.0, y + h / 2.0], Align::Right, LABEL)?;
        for (c, image) in images.axis_iter(Axis(0)).enumerate() {
            canvas.place(&tile(image, [w, h], bar), (left + c as f64 * (w + 8.0)) as i64, y as i64);
        }
    }
    grey.draw(&mut canvas, left + wide + 26.0, top, pitch + h)?;
    signed.draw(&mut canvas, left + wide + 26.0, top + 2.0 * pitch, h)?;
    let caption =
        format!("{n} patches, their reconstructions, and reconstruction minus patch, scaled as the model sees them.");
    Ok(Figure { name: "patches".into(), title: title.into(), caption, image: canvas.picture() })
}

/// Components (or centres, endmembers) as images, one colour range for all: symmetric about zero if they have signs.
///
/// # Shapes
/// `components`: K×H×W×C; `names`: K; `explained`: the share of the variance of each (0 to 1), or empty if unknown.
///
/// # Errors
/// If there is no component, lengths differ, or a value is not finite.
pub fn components(components: ArrayView4<'_, f32>, names: &[String], explained: &[f64], title: &str) -> Result<Figure> {
    check_images(components, "components")?;
    let k = components.dim().0;
    check_length("names of the components", names.len(), k)?;
    if !explained.is_empty() {
        check_length("explained shares of variance", explained.len(), k)?;
        check_finite("explained shares of variance", explained.iter().copied())?;
    }
    let values = all(components);
    // What rounding takes below 0 is no sign.
    let largest = values.iter().fold(0.0f64, |m, v| m.max(v.abs()));
    let bar = if values.iter().any(|v| *v < -1e-6 * largest) {
        ColourBar::new(ColourMap::Diverging, &values, None, "loading")?
    } else {
        ColourBar::new(ColourMap::Grey, &values, Some(range(components)), "intensity")?
    };
    let cols = (k as f64).sqrt().ceil() as usize;
    let rows = k.div_ceil(cols);
    let [w, h] = tile_size(components, rows, cols, SIDE).map(|s| s.min(420.0));
    let (pitch_x, pitch_y) = (w + 18.0, h + 44.0);
    let (wide, high) = (cols as f64 * pitch_x - 18.0, rows as f64 * pitch_y - 8.0);
    let (mut canvas, top) = sheet(title, 2.0 * MARGIN + wide + 26.0 + bar.width(high - 36.0)?, high + MARGIN)?;
    for (i, image) in components.axis_iter(Axis(0)).enumerate() {
        let (x, y) = (MARGIN + (i % cols) as f64 * pitch_x, top + (i / cols) as f64 * pitch_y);
        let share = explained.get(i).map(|e| format!(" · {} %", ticks::plain(100.0 * e, 1))).unwrap_or_default();
        let name = format!("{}{share}", names[i]);
        canvas.text(&name, [x, y + 16.0], Align::Left, text::fitted(&name, TICK, w)?)?;
        canvas.place(&tile(image, [w, h], &bar), x as i64, (y + 36.0) as i64);
        canvas.frame([x, y + 36.0, w, h], Pen::solid(1.5, INK));
    }
    bar.draw(&mut canvas, MARGIN + wide + 26.0, top + 36.0, high - 36.0)?;
    let total: f64 = explained.iter().sum();
    let share = if explained.is_empty() {
        String::new()
    } else {
        format!(" Together they explain {} % of the variance.", ticks::plain(100.0 * total, 1))
    };
    let caption = format!("{title}: {k} images that stand for what was found.{share}");
    Ok(Figure { name: "components".into(), title: title.into(), caption, image: canvas.picture() })
}

fn check_images(images: ArrayView4<'_, f32>, what: &'static str) -> Result<()> {
    if images.is_empty() {
        return Err(Error::Empty { what });
    }
    check_finite(what, images.iter().copied())
}

fn all(images: ArrayView4<'_, f32>) -> Vec<f64> {
    images.iter().map(|&v| v.into()).collect()
}

fn range(images: ArrayView4<'_, f32>) -> (f64, f64) {
    ticks::robust(images.iter().map(|&v| v.into()), 0.0)
}

fn end(values: &[f64], last: bool) -> String {
    let value = if last { values.last() } else { values.first() };
    value.map(|&v| ticks::short(v)).unwrap_or_default()
}

/// Every so many names that the rest have room, where `room` is how many names fit into one step; the middle is kept.
fn shown(names: &[String], room: f64) -> impl Iterator<Item = (usize, &String)> {
    let step = (1.0 / room.max(1e-3)).ceil().max(1.0) as usize;
    let from = if names.is_empty() { 0 } else { (names.len() - 1) / 2 % step };
    names.iter().enumerate().skip(from).step_by(step)
}

/// Width and height of a tile so that the grid fits into a square of this side.
fn tile_size(images: ArrayView4<'_, f32>, rows: usize, cols: usize, side: f64) -> [f64; 2] {
    let (_, h, w, channels) = images.dim();
    let (h, w) = (h as f64, (w * channels) as f64);
    let zoom = (side / (rows as f64 * h)).min(side / (cols as f64 * w));
    [w, h].map(|s| (s * zoom).round().max(6.0))
}

/// One tile, its channels next to each other; pixels stay square-edged.
fn tile(image: ArrayView3<'_, f32>, [width, height]: [f64; 2], bar: &ColourBar) -> RgbImage {
    let (h, w, channels) = image.dim();
    let pick = |at: u32, of: f64, n: usize| (((f64::from(at) + 0.5) / of * n as f64) as usize).min(n - 1);
    RgbImage::from_fn(width as u32, height as u32, |x, y| {
        let column = pick(x, width, w * channels);
        let value = image.get((pick(y, height, h), column % w, column / w)).copied().unwrap_or(0.0);
        Rgb(bar.colour(value.into()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::Array4;

    fn names(k: usize) -> Vec<String> {
        (1..=k).map(|k| format!("pc{k}")).collect()
    }

    #[test]
    fn the_manifold_grows_to_the_right_and_upwards() {
        // Brightness 0, 1/3, 2/3, 1 in the order of the images.
        let images = Array4::from_shape_fn((4, 5, 5, 1), |(n, ..)| n as f32 / 3.0);
        let figure = manifold(images.view(), &[-1.0, 1.0], &[-2.0, 2.0], "z1", "z2", "").unwrap();
        let picture = &figure.image;
        let ruled = |x: u32| (300..600).all(|y| picture.get_pixel(x, y).0 == INK);
        let left = (0..picture.width()).find(|&x| ruled(x)).unwrap();
        let at = |x: u32, y: u32| picture.get_pixel(left + x, 60 + y).0[0];
        assert_eq!([at(100, 700), at(700, 700), at(100, 100), at(700, 100)], [0, 85, 170, 255]);
    }

    #[test]
    fn spectra_are_drawn_as_curves() {
        // A peak in the middle of the second spectrum only.
        let peak = |n: usize, x: usize| if n == 1 { (-((x as f32 - 20.0) / 3.0).powi(2)).exp() } else { 0.0 };
        let spectra = Array4::from_shape_fn((2, 1, 41, 1), |(n, _, x, _)| peak(n, x));
        let picture = manifold(spectra.view(), &[0.0, 1.0], &[0.0], "z1", "z2", "").unwrap().image;
        let drawn = picture.enumerate_pixels().filter(|(.., colour)| colour.0 == CLASS_COLOURS[0]);
        let peak: Vec<u32> = drawn.filter(|(_, y, _)| *y < picture.height() / 2).map(|(x, ..)| x).collect();
        // Its middle is that of the second of two tiles.
        let (first, last) = (peak.iter().min().unwrap(), peak.iter().max().unwrap());
        assert!(last - first < 60 && *first > picture.width() / 2, "{first} to {last} of {}", picture.width());
    }

    #[test]
    fn wrong_counts_and_bad_values_are_named() {
        let mut images = Array4::zeros((4, 3, 3, 1));
        let refused = manifold(images.view(), &[0.0, 1.0, 2.0], &[0.0, 1.0], "", "", "").unwrap_err();
        assert!(refused.to_string().contains("length 4, expected 6"), "{refused}");
        let other = Array4::zeros((4, 3, 2, 1));
        assert!(matches!(patches(images.view(), other.view(), ""), Err(Error::Length { .. })));
        assert!(matches!(components(images.view(), &names(4), &[0.5], ""), Err(Error::Length { .. })));
        images[[2, 0, 0, 0]] = f32::NAN;
        assert!(matches!(
            components(images.view(), &names(4), &[], ""),
            Err(Error::NotFinite { count: 1, first: 18, .. })
        ));
        let none = Array4::zeros((0, 3, 3, 1));
        assert!(matches!(components(none.view(), &[], &[], ""), Err(Error::Empty { .. })));
    }

    #[test]
    fn flat_and_one_pixel_patches_can_be_drawn() {
        let flat = Array4::from_elem((3, 1, 1, 2), 0.5);
        assert!(patches(flat.view(), flat.view(), "flat").is_ok());
        assert!(components(flat.view(), &names(3), &[0.5, 0.3, 0.1], "flat").is_ok());
        assert!(manifold(flat.view(), &[0.0], &[0.0, 1.0, 2.0], "z1", "z2", "flat").is_ok());
    }
}
