//! The micrograph as a picture, and where its pixels lie in it.

use image::imageops::{self, FilterType};
use image::{ImageBuffer, Luma, RgbImage};
use kiddo::{ImmutableKdTree, SquaredEuclidean};
use ndarray::ArrayView2;
use parsimon_core::{Axis, Image, Sites};

use crate::figure::SIDE;
use crate::ticks;

/// How strong the micrograph is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Tone {
    /// From black to white.
    Full,
    /// Dark greys, so that coloured sites stand out.
    Dim,
}

/// The part of an image that is drawn, and its size in the figure.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct View {
    /// First row and column.
    pub from: [usize; 2],
    /// Rows and columns.
    pub size: [usize; 2],
    /// Figure pixels per image pixel along y and x.
    pub zoom: [f64; 2],
    /// Width and height in the figure.
    pub extent: [u32; 2],
}

impl View {
    /// All of the image, its longer side `SIDE` long, in the proportions of the calibration.
    pub fn whole(image: &Image) -> Self {
        Self::of(image.shape(), [image.y(), image.x()])
    }

    /// All of so many rows and columns, as [`View::whole`] of an image with these axes.
    pub fn of((rows, columns): (usize, usize), axes: [&Axis; 2]) -> Self {
        Self::part(axes, [0, 0], [rows, columns], SIDE)
    }

    /// A square of `pixels` columns about the centre, or what the image has of it.
    pub fn centre(image: &Image, pixels: f64, side: f64) -> Self {
        let ((rows, columns), axes) = (image.shape(), [image.y(), image.x()]);
        let wanted = pixels.max(8.0) as usize;
        let size = [((wanted as f64 / stretch(axes)) as usize).clamp(1, rows), wanted.clamp(1, columns)];
        Self::part(axes, [(rows - size[0]) / 2, (columns - size[1]) / 2], size, side)
    }

    fn part(axes: [&Axis; 2], from: [usize; 2], size: [usize; 2], side: f64) -> Self {
        let (high, wide) = (size[0] as f64 * stretch(axes), size[1] as f64);
        // A line scan would be invisible: no side is shorter than an eighth of the other.
        let fit = |length: f64| (side * length / high.max(wide)).round().max((side / 8.0).round());
        let extent = [fit(wide), fit(high)];
        let zoom = [extent[1] / size[0] as f64, extent[0] / size[1] as f64];
        Self { from, size, zoom, extent: extent.map(|e| e as u32) }
    }

    /// Place in the figure of a position (y, x) in pixels of the image, whose pixel centres are whole numbers.
    pub fn place(&self, [y, x]: [f64; 2]) -> [f64; 2] {
        [(x - self.from[1] as f64 + 0.5) * self.zoom[1], (y - self.from[0] as f64 + 0.5) * self.zoom[0]]
    }

    /// The micrograph, from its 0.3 % to its 99.7 % quantile.
    pub fn draw(&self, image: &Image, tone: Tone) -> RgbImage {
        // Some 200,000 pixels tell the quantiles well enough; an odd step meets every column.
        let step = (image.values().len() / 200_000) | 1;
        let limits = ticks::robust(image.values().iter().step_by(step).copied(), 0.003);
        let rows = self.from[0]..self.from[0] + self.size[0];
        let columns = self.from[1]..self.from[1] + self.size[1];
        let part = image.values();
        let part = part.slice(ndarray::s![rows, columns]);
        // Few levels keep a noisy micrograph small as PNG; under coloured sites fewer will do.
        let (levels, dark, light) = match tone {
            Tone::Full => (64.0, 0.0, 255.0),
            Tone::Dim => (20.0, 75.0, 190.0),
        };
        let sized = resize(part, limits, self.extent);
        RgbImage::from_fn(self.extent[0], self.extent[1], |x, y| {
            let level = (f64::from(sized.get_pixel(x, y).0[0]) / 65535.0 * (levels - 1.0)).round() / (levels - 1.0);
            image::Rgb([(dark + level * (light - dark)).round() as u8; 3])
        })
    }
}

/// Height of a pixel over its width, where both are calibrated alike.
fn stretch([y, x]: [&Axis; 2]) -> f64 {
    let ratio = match (y.nanometres(), x.nanometres()) {
        (Some(y), Some(x)) => y / x,
        _ if y.unit == x.unit => (y.scale / x.scale).abs(),
        _ => 1.0,
    };
    if (0.05..=20.0).contains(&ratio) { ratio } else { 1.0 }
}

fn resize(values: ArrayView2<'_, f64>, (low, high): (f64, f64), [w, h]: [u32; 2]) -> ImageBuffer<Luma<u16>, Vec<u16>> {
    let (rows, columns) = values.dim();
    let grey = ImageBuffer::from_fn(columns as u32, rows as u32, |x, y| {
        let v = values.get((y as usize, x as usize)).copied().unwrap_or(low);
        Luma([(((v - low) / (high - low)).clamp(0.0, 1.0) * 65535.0).round() as u16])
    });
    imageops::resize(&grey, w, h, FilterType::Triangle)
}

/// Median distance of a site from its nearest neighbour, both axes times `zoom`; `None` below two sites.
pub(crate) fn spacing(sites: &Sites, zoom: [f64; 2]) -> Option<f64> {
    let points: Vec<[f64; 2]> = sites.iter().map(|s| [s.y * zoom[0], s.x * zoom[1]]).collect();
    let two = std::num::NonZero::new(2)?;
    let tree = ImmutableKdTree::<f64, 2>::new_from_slice(&points).ok()?;
    let second = |p| tree.query(p).nearest_n::<SquaredEuclidean<f64>>(two).execute().get(1).map(|n| n.distance.sqrt());
    let mut distances: Vec<f64> = points.iter().filter_map(second).collect();
    distances.sort_by(f64::total_cmp);
    (!distances.is_empty()).then(|| ticks::quantile(&distances, 0.5))
}
