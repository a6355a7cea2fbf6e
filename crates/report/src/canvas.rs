//! A white sheet to draw on, in pixels with (0,0) at the upper left corner of the upper left pixel.

use image::RgbImage;
use tiny_skia::{FillRule, LineCap, LineJoin, Paint, Path, PathBuilder, Pixmap, Rect, Stroke, StrokeDash, Transform};

use crate::text::{self, Align, Style};
use crate::{Error, Result};

const LARGEST: u64 = 20_000;

/// Height of a capital letter, in ems of the bundled font.
const CAPITAL: f64 = 0.73;

/// A stroke's width, colour, opacity and dashes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pen {
    pub width: f64,
    pub colour: [u8; 3],
    pub opacity: f64,
    pub dashed: bool,
}

impl Pen {
    pub fn solid(width: f64, colour: [u8; 3]) -> Self {
        Self { width, colour, opacity: 1.0, dashed: false }
    }
}

pub(crate) struct Canvas {
    pixels: Pixmap,
}

fn paint(colour: [u8; 3], opacity: f64) -> Paint<'static> {
    let [r, g, b] = colour;
    let mut paint = Paint { anti_alias: true, ..Paint::default() };
    paint.set_color_rgba8(r, g, b, (opacity.clamp(0.0, 1.0) * 255.0).round() as u8);
    paint
}

fn polyline(points: &[[f64; 2]], close: bool) -> Option<Path> {
    let mut builder = PathBuilder::new();
    let (first, rest) = points.split_first()?;
    builder.move_to(first[0] as f32, first[1] as f32);
    for p in rest {
        builder.line_to(p[0] as f32, p[1] as f32);
    }
    if close {
        builder.close();
    }
    builder.finish()
}

impl Canvas {
    /// A white sheet; sizes are rounded up.
    pub fn new(width: f64, height: f64) -> Result<Self> {
        let (w, h) = (width.ceil() as u64, height.ceil() as u64);
        let fits = |n: u64| (1..=LARGEST).contains(&n).then_some(n as u32);
        let pixels = fits(w).zip(fits(h)).and_then(|(w, h)| Pixmap::new(w, h));
        let mut pixels = pixels.ok_or(Error::Size { width: w, height: h })?;
        pixels.fill(tiny_skia::Color::WHITE);
        Ok(Self { pixels })
    }

    pub fn width(&self) -> f64 {
        self.pixels.width().into()
    }

    pub fn height(&self) -> f64 {
        self.pixels.height().into()
    }

    /// A sheet that starts as this picture.
    pub fn of(image: &RgbImage) -> Result<Self> {
        let mut canvas = Self::new(image.width().into(), image.height().into())?;
        canvas.place(image, 0, 0);
        Ok(canvas)
    }

    pub fn rectangle(&mut self, [x, y, w, h]: [f64; 4], colour: [u8; 3], opacity: f64) {
        if let Some(rect) = Rect::from_xywh(x as f32, y as f32, w as f32, h as f32) {
            self.pixels.fill_rect(rect, &paint(colour, opacity), Transform::identity(), None);
        }
    }

    /// Outline of a rectangle, inside of which nothing is painted.
    pub fn frame(&mut self, [x, y, w, h]: [f64; 4], pen: Pen) {
        self.line(&[[x, y], [x + w, y], [x + w, y + h], [x, y + h]], true, pen);
    }

    pub fn line(&mut self, points: &[[f64; 2]], close: bool, pen: Pen) {
        let Some(path) = polyline(points, close) else { return };
        let dash = pen.dashed.then(|| StrokeDash::new(vec![4.0 * pen.width as f32, 2.5 * pen.width as f32], 0.0));
        let stroke = Stroke {
            width: pen.width as f32,
            line_cap: LineCap::Butt,
            line_join: if close { LineJoin::Miter } else { LineJoin::Round },
            dash: dash.flatten(),
            ..Stroke::default()
        };
        self.pixels.stroke_path(&path, &paint(pen.colour, pen.opacity), &stroke, Transform::identity(), None);
    }

    pub fn polygon(&mut self, points: &[[f64; 2]], colour: [u8; 3]) {
        if let Some(path) = polyline(points, true) {
            self.pixels.fill_path(&path, &paint(colour, 1.0), FillRule::Winding, Transform::identity(), None);
        }
    }

    /// A filled circle. Maps draw tens of thousands, so the edge is softened by its distance instead of a path.
    pub fn disc(&mut self, [x, y]: [f64; 2], radius: f64, colour: [u8; 3], opacity: f64) {
        let reach = radius + 0.5;
        let span = |centre: f64, size: f64| {
            ((centre - reach).floor().clamp(0.0, size) as i64)..((centre + reach).ceil().clamp(0.0, size) as i64)
        };
        for row in span(y, self.height()) {
            for column in span(x, self.width()) {
                let away = (column as f64 + 0.5 - x).hypot(row as f64 + 0.5 - y);
                let cover = (reach - away).clamp(0.0, 1.0) * opacity;
                if cover > 0.0 {
                    self.mix(column, row, colour, cover as f32);
                }
            }
        }
    }

    pub fn ring(&mut self, [x, y]: [f64; 2], radius: f64, pen: Pen) {
        if let Some(path) = PathBuilder::from_circle(x as f32, y as f32, radius as f32) {
            let stroke = Stroke { width: pen.width as f32, ..Stroke::default() };
            self.pixels.stroke_path(&path, &paint(pen.colour, pen.opacity), &stroke, Transform::identity(), None);
        }
    }

    /// Copies a picture; what lies beyond the sheet is left out.
    pub fn place(&mut self, image: &RgbImage, x: i64, y: i64) {
        for (column, row, pixel) in image.enumerate_pixels() {
            self.mix(x + i64::from(column), y + i64::from(row), pixel.0, 1.0);
        }
    }

    fn mix(&mut self, x: i64, y: i64, colour: [u8; 3], cover: f32) {
        let (w, h) = (i64::from(self.pixels.width()), i64::from(self.pixels.height()));
        if !(0..w).contains(&x) || !(0..h).contains(&y) {
            return;
        }
        let start = 4 * (y * w + x) as usize;
        if let Some(pixel) = self.pixels.data_mut().get_mut(start..start + 3) {
            for (under, over) in pixel.iter_mut().zip(colour) {
                let (a, b) = (f32::from(*under), f32::from(over));
                *under = (a + (b - a) * cover.clamp(0.0, 1.0)).round() as u8;
            }
        }
    }

    /// A line of text whose capitals are centred on `y`.
    pub fn text(&mut self, text: &str, [x, y]: [f64; 2], align: Align, style: Style) -> Result<()> {
        let start = x - shift(text, align, style)?;
        let base = (y + CAPITAL * style.size / 2.0).round() as i64;
        let whole = start.floor();
        text::rasterise(text, style, start - whole, |dx, dy, c| {
            self.mix(whole as i64 + dx, base + dy, style.colour, c);
        })
    }

    /// A line of text that runs upwards, its capitals centred on `x`.
    pub fn upwards(&mut self, text: &str, [x, y]: [f64; 2], align: Align, style: Style) -> Result<()> {
        let start = y + shift(text, align, style)?;
        let base = (x + CAPITAL * style.size / 2.0).round() as i64;
        let whole = start.ceil();
        text::rasterise(text, style, whole - start, |dx, dy, c| {
            self.mix(base + dy, whole as i64 - 1 - dx, style.colour, c);
        })
    }

    /// The finished picture.
    pub fn picture(self) -> RgbImage {
        let (w, h) = (self.pixels.width(), self.pixels.height());
        let data = self.pixels.data();
        RgbImage::from_fn(w, h, |x, y| {
            let start = 4 * (y as usize * w as usize + x as usize);
            image::Rgb([data[start], data[start + 1], data[start + 2]])
        })
    }
}

fn shift(text: &str, align: Align, style: Style) -> Result<f64> {
    Ok(match align {
        Align::Left => 0.0,
        Align::Middle => text::width(text, style)? / 2.0,
        Align::Right => text::width(text, style)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::TITLE;

    #[test]
    fn impossible_sizes_are_refused() {
        for (w, h) in [(0.0, 10.0), (10.0, 20_001.0), (f64::NAN, 10.0), (f64::INFINITY, 1.0)] {
            assert!(matches!(Canvas::new(w, h), Err(Error::Size { .. })), "{w} {h}");
        }
    }

    #[test]
    fn ink_beyond_the_sheet_is_left_out() {
        let mut canvas = Canvas::new(20.0, 10.0).unwrap();
        canvas.text("far beyond", [-40.0, 5.0], Align::Left, TITLE).unwrap();
        canvas.disc([19.0, 9.0], 50.0, [255, 0, 0], 1.0);
        canvas.place(&RgbImage::new(5, 5), 18, -2);
        let picture = canvas.picture();
        assert_eq!(picture.get_pixel(19, 0).0, [0, 0, 0]);
        assert_eq!(picture.get_pixel(10, 5).0, [255, 0, 0]);
    }

    #[test]
    fn a_disc_covers_its_area_about_its_centre() {
        let mut canvas = Canvas::new(40.0, 40.0).unwrap();
        canvas.disc([17.3, 21.8], 7.4, [0; 3], 1.0);
        let picture = canvas.picture();
        let (mut area, mut x, mut y) = (0.0, 0.0, 0.0);
        for (column, row, pixel) in picture.enumerate_pixels() {
            let cover = 1.0 - f64::from(pixel.0[0]) / 255.0;
            area += cover;
            x += cover * (f64::from(column) + 0.5);
            y += cover * (f64::from(row) + 0.5);
        }
        assert!((area / (std::f64::consts::PI * 7.4 * 7.4) - 1.0).abs() < 0.01, "{area}");
        assert!((x / area - 17.3).abs() < 0.02 && (y / area - 21.8).abs() < 0.02);
    }

    #[test]
    fn upward_text_is_the_same_ink_turned() {
        let ink = |picture: &RgbImage| picture.pixels().map(|p| 255 - u64::from(p.0[0])).sum::<u64>();
        let (mut flat, mut up) = (Canvas::new(200.0, 60.0).unwrap(), Canvas::new(60.0, 200.0).unwrap());
        flat.text("Turned", [20.0, 30.0], Align::Left, TITLE).unwrap();
        up.upwards("Turned", [30.0, 180.0], Align::Left, TITLE).unwrap();
        assert_eq!(ink(&flat.picture()), ink(&up.picture()));
    }
}
