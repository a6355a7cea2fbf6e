//! Colour bars and scale bars.

use std::f64::consts::PI;

use parsimon_core::{Axis, Image};

use crate::canvas::{Canvas, Pen};
use crate::colour::ColourMap;
use crate::text::{self, Align, INK, LABEL, Style, TICK};
use crate::ticks;
use crate::{Error, Result};

const BAR: f64 = 30.0;
const GAP: f64 = 10.0;
const TIP: f64 = 20.0;
/// Bars of figures that stand beside each other are equally wide up to this width of their ticks.
const TICK_ROOM: f64 = 76.0;

/// A colour bar: what each colour stands for.
pub(crate) struct ColourBar {
    pub map: ColourMap,
    pub low: f64,
    pub high: f64,
    pub label: String,
    /// Whether there are values below and above the limits.
    pub beyond: (bool, bool),
}

impl ColourBar {
    /// A bar for these values. Limits that are not given are the 1 % and 99 % quantiles, made symmetric for a diverging
    /// map; a cyclic map runs from −π to π.
    pub fn new(map: ColourMap, values: &[f64], limits: Option<(f64, f64)>, label: &str) -> Result<Self> {
        let (low, high) = limits.unwrap_or_else(|| match map {
            ColourMap::Cyclic => (-PI, PI),
            ColourMap::Diverging => {
                let size = ticks::robust(values.iter().map(|v| v.abs()), 0.02).1;
                (-size, size)
            }
            ColourMap::Sequential | ColourMap::Grey => ticks::robust(values.iter().copied(), 0.01),
        });
        if !(low.is_finite() && high.is_finite() && low < high) {
            return Err(Error::Limits { low, high });
        }
        let slack = 1e-9 * (high - low);
        let beyond = match map {
            ColourMap::Cyclic => (false, false),
            _ => (values.iter().any(|&v| v < low - slack), values.iter().any(|&v| v > high + slack)),
        };
        Ok(Self { map, low, high, label: label.into(), beyond })
    }

    pub fn colour(&self, value: f64) -> [u8; 3] {
        self.map.at((value - self.low) / (self.high - self.low))
    }

    /// Ticks that have room on a bar of this height.
    fn ticks(&self, height: f64) -> Vec<(f64, String)> {
        turns(self.map, self.low, self.high).unwrap_or_else(|| {
            let places = ticks::ticks(self.low, self.high, ((height / 90.0) as usize).clamp(1, 6));
            let names = ticks::labels(&places);
            places.into_iter().zip(names).collect()
        })
    }

    /// Width with ticks and label, on a bar of this height.
    pub fn width(&self, height: f64) -> Result<f64> {
        Ok(BAR + GAP + self.tick_room(height)? + 1.5 * LABEL.size)
    }

    fn tick_room(&self, height: f64) -> Result<f64> {
        self.ticks(height).iter().try_fold(TICK_ROOM, |room, (_, name)| Ok(room.max(text::width(name, TICK)? + 8.0)))
    }

    /// Draws it with its upper left corner at (x, y).
    pub fn draw(&self, canvas: &mut Canvas, x: f64, y: f64, height: f64) -> Result<()> {
        let (x, y, height) = (x.round(), y.round(), height.round());
        let (tip_low, tip_high) = (if self.beyond.0 { TIP } else { 0.0 }, if self.beyond.1 { TIP } else { 0.0 });
        let (top, body) = (y + tip_high, (height - tip_low - tip_high).max(1.0));
        for row in 0..body as usize {
            let t = 1.0 - (row as f64 + 0.5) / body;
            canvas.rectangle([x, top + row as f64, BAR, 1.0], self.map.at(t), 1.0);
        }
        let (right, bottom, middle) = (x + BAR, top + body, x + BAR / 2.0);
        let mut outline = vec![[x, bottom], [x, top]];
        if self.beyond.1 {
            canvas.polygon(&[[x, top], [middle, y], [right, top]], self.map.at(1.0));
            outline.push([middle, y]);
        }
        outline.extend([[right, top], [right, bottom]]);
        if self.beyond.0 {
            canvas.polygon(&[[x, bottom], [middle, y + height], [right, bottom]], self.map.at(0.0));
            outline.push([middle, y + height]);
        }
        canvas.line(&outline, true, Pen::solid(1.5, INK));
        for (value, name) in &self.ticks(height) {
            let place = bottom - (value - self.low) / (self.high - self.low) * body;
            canvas.line(&[[right, place], [right + 7.0, place]], false, Pen::solid(1.5, INK));
            canvas.text(name, [right + GAP + 3.0, place], Align::Left, TICK)?;
        }
        let centre = [right + GAP + self.tick_room(height)? + 0.8 * LABEL.size, y + height / 2.0];
        canvas.upwards(&self.label, centre, Align::Middle, text::fitted(&self.label, LABEL, height)?)
    }
}

/// Ticks at multiples of π/2 (or π/4 on a shorter bar) if the limits are such multiples.
fn turns(map: ColourMap, low: f64, high: f64) -> Option<Vec<(f64, String)>> {
    if map != ColourMap::Cyclic {
        return None;
    }
    let quarters = |v: f64| 4.0 * v / PI;
    let (a, b) = (quarters(low).round(), quarters(high).round());
    let exact = (quarters(low) - a).abs() < 1e-6 && (quarters(high) - b).abs() < 1e-6;
    if !exact || b - a > 16.0 {
        return None;
    }
    let step = if b - a > 4.0 { 2 } else { 1 };
    let name = |k: i64| {
        let sign = if k < 0 { "−" } else { "" };
        let (times, parts) = match k.abs() {
            k if k % 4 == 0 => (k / 4, ""),
            k if k % 2 == 0 => (k / 2, "/2"),
            k => (k, "/4"),
        };
        match times {
            0 => "0".to_owned(),
            1 => format!("{sign}π{parts}"),
            n => format!("{sign}{n}π{parts}"),
        }
    };
    Some((a as i64..=b as i64).step_by(step).map(|k| (k as f64 * PI / 4.0, name(k))).collect())
}

/// A bar of round length for an image.
#[derive(Debug, Clone, PartialEq)]
pub struct ScaleBar {
    /// Its length along x, in pixels of the image.
    pub pixels: f64,
    /// Its length in words, such as `5 nm`.
    pub label: String,
}

impl ScaleBar {
    /// The longest bar of 1, 2 or 5 times a power of ten that is at most `share` of the image's width.
    ///
    /// Lengths are given in µm, nm, Å or pm, whichever is near one; other units as the file has them; pixels if there is
    /// no calibration.
    pub fn of(image: &Image, share: f64) -> Self {
        Self::along(image.x(), image.shape().1, share)
    }

    /// As [`ScaleBar::of`], of so many columns along an axis.
    pub(crate) fn along(axis: &Axis, columns: usize, share: f64) -> Self {
        let columns = columns as f64;
        let (step, unit) = match axis.nanometres() {
            Some(nm) => {
                let longest = share * columns * nm;
                match longest {
                    l if l >= 1e6 => (nm / 1e6, "mm"),
                    l if l >= 1e3 => (nm / 1e3, "µm"),
                    l if l >= 1.0 => (nm, "nm"),
                    l if l >= 0.1 => (nm * 10.0, "Å"),
                    _ => (nm * 1e3, "pm"),
                }
            }
            None => (axis.scale.abs(), axis.unit.as_str()),
        };
        let length = ticks::round_down(share * columns * step);
        let number = ticks::labels(&[length]).concat();
        Self { pixels: length / step, label: format!("{number} {unit}") }
    }

    /// Draws it white on a dark plate at the lower left of a map; `zoom` is map pixels per image pixel.
    pub(crate) fn draw(&self, canvas: &mut Canvas, zoom: f64) -> Result<()> {
        const INSET: f64 = 16.0;
        const PAD: f64 = 13.0;
        const THICK: f64 = 8.0;
        let white = Style { size: 25.0, bold: true, colour: [255; 3] };
        let length = self.pixels * zoom;
        let style = text::fitted(&self.label, white, canvas.width() - 2.0 * (INSET + PAD))?;
        let inner = length.max(text::width(&self.label, style)?);
        let height = 2.0 * PAD + style.size + THICK;
        let top = (canvas.height() - INSET - height).round();
        canvas.rectangle([INSET, top, (inner + 2.0 * PAD).round(), height], [0; 3], 0.8);
        let middle = INSET + PAD + inner / 2.0;
        canvas.text(&self.label, [middle, top + PAD + 0.36 * style.size], Align::Middle, style)?;
        let start = (middle - length / 2.0).round();
        canvas.rectangle([start, top + height - PAD - THICK, length, THICK], [255; 3], 1.0);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::Array2;

    fn image(scale: f64, unit: &str) -> Image {
        let axis = |name| Axis::new(name, scale, 0.0, unit);
        Image::calibrated(Array2::zeros((64, 1000)), axis("y"), axis("x")).unwrap()
    }

    #[test]
    fn scale_bars_have_round_lengths_in_the_fitting_unit() {
        let cases = [
            (0.0125, "nm", "2 nm", 160.0),
            (0.0125, "Å", "2 Å", 160.0),
            (12.5, "pm", "2 nm", 160.0),
            (20.0, "nm", "5 µm", 250.0),
            (1e-4, "nm", "20 pm", 200.0),
            (0.01, "1/nm", "2 1/nm", 200.0),
            (1.0, "px", "200 px", 200.0),
            (-0.0125, "nm", "2 nm", 160.0),
        ];
        for (scale, unit, label, pixels) in cases {
            let bar = ScaleBar::of(&image(scale, unit), 0.25);
            assert_eq!(bar.label, label, "{scale} {unit}");
            assert!((bar.pixels - pixels).abs() < 1e-6, "{scale} {unit}: {}", bar.pixels);
        }
    }

    #[test]
    fn the_drawn_bar_is_as_long_as_the_calibration_says() {
        for ground in [[0u8; 3], [255; 3]] {
            let bar = ScaleBar::of(&image(0.0125, "nm"), 0.25);
            let zoom = 0.96;
            let under = image::RgbImage::from_pixel(960, 200, image::Rgb(ground));
            let mut canvas = Canvas::of(&under).unwrap();
            bar.draw(&mut canvas, zoom).unwrap();
            let picture = canvas.picture();
            let row = 200 - 16 - 13 - 4;
            // The bar lies on its plate, so a white ground may not count: only what follows a darker pixel.
            let white: Vec<u32> = (20..400).filter(|&x| picture.get_pixel(x, row).0 == [255; 3]).collect();
            let run = white.iter().zip(white.iter().skip(1)).take_while(|(a, b)| *b - *a == 1).count() + 1;
            assert!((run as f64 - bar.pixels * zoom).abs() <= 1.0, "{run} for {}", bar.pixels * zoom);
        }
    }

    #[test]
    fn the_ends_of_a_colour_bar_have_the_end_colours() {
        let bar = ColourBar::new(ColourMap::Sequential, &[0.0, 2.0], Some((0.0, 2.0)), "z1").unwrap();
        let mut canvas = Canvas::new(300.0, 400.0).unwrap();
        bar.draw(&mut canvas, 10.0, 20.0, 300.0).unwrap();
        let picture = canvas.picture();
        assert_eq!(picture.get_pixel(25, 22).0, ColourMap::Sequential.at(1.0 - 2.5 / 300.0));
        assert_eq!(picture.get_pixel(25, 317).0, ColourMap::Sequential.at(2.5 / 300.0));
        assert_eq!(bar.colour(2.0), ColourMap::Sequential.at(1.0));
    }

    #[test]
    fn angles_have_ticks_in_pi() {
        let bar = ColourBar::new(ColourMap::Cyclic, &[0.3], None, "angle (rad)").unwrap();
        let names: Vec<String> = bar.ticks(900.0).into_iter().map(|t| t.1).collect();
        assert_eq!(names, ["−π", "−π/2", "0", "π/2", "π"]);
        assert_eq!(bar.colour(-PI), bar.colour(PI));
        let half = ColourBar::new(ColourMap::Cyclic, &[], Some((0.0, PI)), "").unwrap();
        let names: Vec<String> = half.ticks(900.0).into_iter().map(|t| t.1).collect();
        assert_eq!(names, ["0", "π/4", "π/2", "3π/4", "π"]);
    }

    #[test]
    fn limits_are_robust_symmetric_for_signed_maps_and_checked() {
        let mut values: Vec<f64> = (0..1000).map(f64::from).collect();
        values[999] = 1e9;
        let bar = ColourBar::new(ColourMap::Sequential, &values, None, "").unwrap();
        assert!(bar.high < 1000.0 && bar.beyond == (true, true));
        let signed = ColourBar::new(ColourMap::Diverging, &[-1.0, 3.0], None, "").unwrap();
        assert_eq!(signed.low, -signed.high);
        assert!(ColourBar::new(ColourMap::Sequential, &[5.0; 9], None, "").is_ok());
        for (low, high) in [(1.0, 1.0), (2.0, 1.0), (f64::NAN, 1.0), (0.0, f64::INFINITY)] {
            let refused = ColourBar::new(ColourMap::Sequential, &[], Some((low, high)), "");
            assert!(matches!(refused, Err(Error::Limits { .. })), "{low} {high}");
        }
    }
}
