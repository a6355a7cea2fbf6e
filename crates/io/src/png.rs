use std::io::Cursor;
use std::path::Path;

use image::codecs::png::{PngDecoder, PngEncoder};
use image::{ColorType, ExtendedColorType, ImageDecoder, ImageEncoder, Limits};
use ndarray::Array2;
use parsimon_core::{Axis, Image};

use crate::sample::Sample;
use crate::{Error, Result, assemble, colour, files, write_atomically};

/// A PNG of 8 or 16 bits; colour becomes luminance, transparency is left out, and the metadata says so.
pub(crate) fn read(path: &Path, bytes: &[u8]) -> Result<Image> {
    let fail = |reason: String| Error::format(path, "PNG", reason);
    let mut limits = Limits::no_limits();
    limits.max_alloc = Some(files::most(bytes.len()).max(1 << 20));
    let decoder = PngDecoder::with_limits(Cursor::new(bytes), limits).map_err(|e| fail(e.to_string()))?;
    let (columns, rows) = decoder.dimensions();
    let needed = decoder.total_bytes();
    files::check_size(needed, bytes.len()).map_err(fail)?;
    let (channels, sample) = match decoder.color_type() {
        ColorType::L8 => (1, Sample::U8),
        ColorType::La8 => (2, Sample::U8),
        ColorType::Rgb8 => (3, Sample::U8),
        ColorType::Rgba8 => (4, Sample::U8),
        ColorType::L16 => (1, Sample::U16),
        ColorType::La16 => (2, Sample::U16),
        ColorType::Rgb16 => (3, Sample::U16),
        ColorType::Rgba16 => (4, Sample::U16),
        other => return Err(fail(format!("colours of type {other:?} are not read"))),
    };
    let mut stored = vec![0; usize::try_from(needed).map_err(|e| fail(e.to_string()))?];
    decoder.read_image(&mut stored).map_err(|e| fail(e.to_string()))?;
    let samples = sample.to_f64(cfg!(target_endian = "big"), &stored);
    let mut metadata = assemble::metadata(path, sample.name());
    let values = match channels {
        1 | 2 => samples.into_iter().step_by(channels).collect(),
        _ => {
            let (values, note) = colour::luminance(&samples, channels);
            metadata.extra.insert("colour".into(), note.into());
            values
        }
    };
    if channels % 2 == 0 {
        metadata.extra.insert("transparency".into(), "left out".into());
    }
    let values = Array2::from_shape_vec((rows as usize, columns as usize), values).map_err(|e| fail(e.to_string()))?;
    assemble::image(path, values, ["y", "x"].map(Axis::uncalibrated), metadata)
}

/// Writes an image as 16-bit grey PNG for the eye: its smallest value is black, its largest white.
///
/// # Errors
/// If the file cannot be written.
pub fn write_png(path: &Path, image: &Image) -> Result<()> {
    let (rows, columns) = image.shape();
    let range = image.range();
    let bytes: Vec<u8> = image.values().iter().flat_map(|&v| grey(range.to_unit(v)).to_ne_bytes()).collect();
    let size = |n: usize| u32::try_from(n).map_err(|_| Error::write(path, std::io::Error::other("too large for PNG")));
    let (width, height) = (size(columns)?, size(rows)?);
    write_atomically(path, |writer| {
        PngEncoder::new(writer)
            .write_image(&bytes, width, height, ExtendedColorType::L16)
            .map_err(std::io::Error::other)
    })
}

fn grey(unit: f32) -> u16 {
    (f64::from(unit) * f64::from(u16::MAX)).round() as u16
}
