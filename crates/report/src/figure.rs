use image::codecs::png::{CompressionType, FilterType, PngEncoder};
use image::{ImageEncoder, RgbImage};

use crate::canvas::Canvas;
use crate::text::{self, Align, TITLE};
use crate::{Error, Result};

/// Room around everything, in pixels.
pub(crate) const MARGIN: f64 = 28.0;
/// Longer side of a map or plot, in pixels.
pub(crate) const SIDE: f64 = 960.0;

/// A finished picture with its words.
#[derive(Debug, Clone, PartialEq)]
pub struct Figure {
    /// Stem of the file it is written to, such as `map_angle`.
    pub name: String,
    /// Title, which stands in the picture too.
    pub title: String,
    /// What one sees and how it was drawn; the report sets it under the picture.
    pub caption: String,
    /// The picture.
    pub image: RgbImage,
}

impl Figure {
    /// The picture as PNG; the same picture gives the same bytes.
    ///
    /// # Errors
    /// If the encoder fails.
    pub fn png(&self) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        // Few grey levels compress best unfiltered: a fifth smaller than adaptive filters, and four times faster than `Best`.
        let encoder = PngEncoder::new_with_quality(&mut bytes, CompressionType::Default, FilterType::NoFilter);
        let (width, height) = self.image.dimensions();
        encoder
            .write_image(self.image.as_raw(), width, height, image::ExtendedColorType::Rgb8)
            .map_err(|source| Error::Png { name: self.name.clone(), source })?;
        Ok(bytes)
    }

    /// The same figure under another file stem and with this caption.
    pub fn named(self, name: &str, caption: &str) -> Self {
        Self { name: name.into(), caption: caption.into(), ..self }
    }
}

/// Figures next to each other, their upper edges aligned, as one figure.
///
/// # Errors
/// If there is none, or together they are too wide.
pub fn side_by_side(figures: &[Figure], name: &str, title: &str, caption: &str) -> Result<Figure> {
    let height = figures.iter().map(|f| f.image.height()).max().ok_or(Error::Empty { what: "list of figures" })?;
    let width: u64 = figures.iter().map(|f| u64::from(f.image.width())).sum();
    let mut canvas = Canvas::new(width as f64, height.into())?;
    let mut x = 0;
    for figure in figures {
        canvas.place(&figure.image, x, 0);
        x += i64::from(figure.image.width());
    }
    Ok(Figure { name: name.into(), title: title.into(), caption: caption.into(), image: canvas.picture() })
}

/// Figures in rows below each other as one figure, under a title, at half their size; rows may differ in length.
///
/// # Errors
/// If there is none, or together they are too large.
pub fn grid(rows: &[Vec<Figure>], name: &str, title: &str, caption: &str) -> Result<Figure> {
    let half = |f: &Figure| {
        let (w, h) = f.image.dimensions();
        image::imageops::resize(&f.image, w.div_ceil(2), h.div_ceil(2), image::imageops::FilterType::Triangle)
    };
    let rows: Vec<Vec<RgbImage>> = rows.iter().map(|row| row.iter().map(half).collect()).collect();
    let all = || rows.iter().flatten();
    let width = rows.iter().map(|row| row.iter().map(|i| i.width()).sum::<u32>()).max().unwrap_or(0);
    let heights: Vec<u32> = rows.iter().map(|row| row.iter().map(|i| i.height()).max().unwrap_or(0)).collect();
    if all().next().is_none() {
        return Err(Error::Empty { what: "grid of figures" });
    }
    let (mut canvas, mut y) = sheet(title, width.into(), heights.iter().sum::<u32>().into())?;
    for (row, height) in rows.iter().zip(&heights) {
        let mut x = 0;
        for image in row {
            canvas.place(image, x, y as i64);
            x += i64::from(image.width());
        }
        y += f64::from(*height);
    }
    Ok(Figure { name: name.into(), title: title.into(), caption: caption.into(), image: canvas.picture() })
}

/// A sheet with a title over a body of this size, and the body's top; the margins left, right and below are the body's.
pub(crate) fn sheet(title: &str, width: f64, height: f64) -> Result<(Canvas, f64)> {
    let room = width - 2.0 * MARGIN;
    let lines = text::wrap(title, TITLE, room)?;
    let pitch = (1.3 * TITLE.size).round();
    let top = if lines.is_empty() { MARGIN } else { (0.6 * MARGIN + pitch * lines.len() as f64 + 10.0).round() };
    let mut canvas = Canvas::new(width, top + height)?;
    for (i, line) in lines.iter().enumerate() {
        let y = 0.6 * MARGIN + pitch * (i as f64 + 0.5);
        canvas.text(line, [MARGIN, y], Align::Left, text::fitted(line, TITLE, room)?)?;
    }
    Ok((canvas, top))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(width: u32, height: u32, colour: [u8; 3]) -> Figure {
        let image = RgbImage::from_pixel(width, height, image::Rgb(colour));
        Figure { name: "block".into(), title: String::new(), caption: String::new(), image }
    }

    #[test]
    fn png_returns_the_same_pixels() {
        let figure = block(7, 5, [1, 2, 3]);
        let back = image::load_from_memory(&figure.png().unwrap()).unwrap().to_rgb8();
        assert_eq!(back, figure.image);
    }

    #[test]
    fn figures_side_by_side_share_their_upper_edge() {
        let both = side_by_side(&[block(10, 20, [255, 0, 0]), block(30, 5, [0, 0, 255])], "both", "", "").unwrap();
        assert_eq!(both.image.dimensions(), (40, 20));
        assert_eq!(both.image.get_pixel(12, 3).0, [0, 0, 255]);
        assert_eq!(both.image.get_pixel(12, 19).0, [255, 255, 255]);
        assert!(matches!(side_by_side(&[], "none", "", ""), Err(Error::Empty { .. })));
    }

    #[test]
    fn a_grid_holds_its_rows_at_half_their_size() {
        let row = |colours: &[[u8; 3]]| colours.iter().map(|c| block(40, 20, *c)).collect::<Vec<_>>();
        let figure = grid(&[row(&[[255, 0, 0], [0, 255, 0]]), row(&[[0, 0, 255]])], "all", "", "").unwrap();
        let (width, height) = figure.image.dimensions();
        let top = height - 20;
        assert_eq!(width, 40);
        let at = |x: u32, y: u32| figure.image.get_pixel(x, top + y).0;
        assert_eq!([at(10, 5), at(30, 5), at(10, 15), at(30, 15)], [[255, 0, 0], [0, 255, 0], [0, 0, 255], [255; 3]]);
        assert!(matches!(grid(&[vec![]], "none", "", ""), Err(Error::Empty { .. })));
    }

    #[test]
    fn a_long_title_wraps_and_never_meets_the_edge() {
        let (canvas, top) = sheet(&"a rather long title ".repeat(8), 500.0, 20.0).unwrap();
        let picture = canvas.picture();
        assert!(top > 100.0 && picture.height() == top as u32 + 20);
        assert!((0..picture.height()).all(|y| (472..500).all(|x| picture.get_pixel(x, y).0 == [255; 3])));
    }
}
