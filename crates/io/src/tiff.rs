use std::io::Cursor;
use std::path::Path;

use ndarray::Array2;
use parsimon_core::{Axis, Image, Metadata, Movie};
use tiff::ColorType;
use tiff::decoder::ifd::Value;
use tiff::decoder::{Decoder, DecodingResult, Limits};
use tiff::encoder::{Rational, TiffEncoder, colortype};
use tiff::tags::{ResolutionUnit, Tag};

use crate::{Content, Error, Result, assemble, colour, files, write_atomically};

type Pages<'a> = Decoder<Cursor<&'a [u8]>>;

/// Pixels coarser than this are a resolution for printing, not for a microscope.
const PRINTING_NM: f64 = 10_000.0;

/// A TIFF of 8, 16, 32 or 64 bits, integers or floats; several pages of one shape are a movie.
pub(crate) fn read(path: &Path, bytes: &[u8]) -> Result<Content> {
    let fail = |reason: String| Error::format(path, "TIFF", reason);
    let mut limits = Limits::default();
    let most = usize::try_from(files::most(bytes.len())).unwrap_or(usize::MAX);
    (limits.decoding_buffer_size, limits.intermediate_buffer_size) = (most, most);
    limits.ifd_value_size = bytes.len();
    let decoder = Decoder::new(Cursor::new(bytes)).map_err(|e| fail(e.to_string()))?;
    let mut decoder = decoder.with_limits(limits);
    let mut frames = Vec::new();
    let mut claimed = 0;
    loop {
        if !is_thumbnail(&mut decoder) || (frames.is_empty() && !decoder.more_images()) {
            frames.push(page(path, &mut decoder, bytes.len(), &mut claimed)?);
        }
        if !decoder.more_images() {
            break;
        }
        decoder.next_image().map_err(|e| fail(e.to_string()))?;
    }
    let promised =
        frames.first().and_then(|f: &Image| line(f.metadata.extra.get("description")?, "images=")?.parse().ok());
    if let Some(promised) = promised.filter(|&n: &usize| n > frames.len()) {
        return Err(fail(format!(
            "an ImageJ stack of {promised} images that lists only {}; save it anew",
            frames.len()
        )));
    }
    if let [_] = frames.as_slice() {
        return frames.pop().map(Content::Image).ok_or_else(|| fail("no page".into()));
    }
    let movie = Movie::new(frames, Axis::uncalibrated("time")).map_err(|e| Error::data(path, e))?;
    Ok(Content::Movie(movie))
}

/// Whether the page is marked as a reduced copy of another.
fn is_thumbnail(decoder: &mut Pages<'_>) -> bool {
    matches!(decoder.find_tag_unsigned::<u32>(Tag::NewSubfileType), Ok(Some(kind)) if kind & 1 == 1)
}

fn page(path: &Path, decoder: &mut Pages<'_>, file: usize, claimed: &mut u64) -> Result<Image> {
    let fail = |reason: String| Error::format(path, "TIFF", reason);
    let (columns, rows) = decoder.dimensions().map_err(|e| fail(e.to_string()))?;
    let colour = decoder.colortype().map_err(|e| fail(e.to_string()))?;
    let channels: usize = match colour {
        ColorType::Gray(8 | 16 | 32 | 64) => 1,
        ColorType::RGB(8 | 16 | 32) => 3,
        ColorType::RGBA(8 | 16 | 32) => 4,
        other => return Err(fail(format!("pixels of type {other:?} are not read, only grey and RGB of 8 to 64 bits"))),
    };
    let planar = decoder.find_tag_unsigned::<u16>(Tag::PlanarConfiguration).ok().flatten();
    if channels > 1 && planar.is_some_and(|p| p != 1) {
        return Err(fail("colours in separate planes are not read; save it with interleaved colours".into()));
    }
    let pixels = u64::from(rows) * u64::from(columns);
    let needed = pixels.saturating_mul(channels as u64).saturating_mul(u64::from(colour.bit_depth().div_ceil(8)));
    *claimed = claimed.saturating_add(needed);
    // Pages may share their data, so that it is their sum that has to fit.
    files::check_size(*claimed, file).map_err(fail)?;
    if compression(decoder) == Some(1) && needed > file as u64 {
        return Err(fail(format!("{rows}×{columns} pixels need {needed} bytes, the file has {file}")));
    }
    let (samples, name) = numbers(decoder.read_image().map_err(|e| fail(e.to_string()))?);
    let mut metadata = assemble::metadata(path, name);
    let samples = if channels > 1 {
        let (values, note) = colour::luminance(&samples, channels);
        metadata.extra.insert("colour".into(), note.into());
        values
    } else {
        samples
    };
    if matches!(decoder.find_tag_unsigned::<u16>(Tag::PhotometricInterpretation), Ok(Some(0))) {
        metadata.extra.insert("polarity".into(), "stored with white as 0, inverted".into());
    }
    let axes = calibration(decoder, &mut metadata);
    let values = Array2::from_shape_vec((rows as usize, columns as usize), samples).map_err(|e| fail(e.to_string()))?;
    assemble::image(path, values, axes, metadata)
}

fn compression(decoder: &mut Pages<'_>) -> Option<u16> {
    decoder.find_tag_unsigned(Tag::Compression).ok()?.or(Some(1))
}

fn numbers(result: DecodingResult) -> (Vec<f64>, &'static str) {
    fn all<T>(values: Vec<T>, to: impl Fn(T) -> f64) -> Vec<f64> {
        values.into_iter().map(to).collect()
    }
    match result {
        DecodingResult::U8(v) => (all(v, f64::from), "uint8"),
        DecodingResult::U16(v) => (all(v, f64::from), "uint16"),
        DecodingResult::U32(v) => (all(v, f64::from), "uint32"),
        DecodingResult::U64(v) => (all(v, |v| v as f64), "uint64"),
        DecodingResult::I8(v) => (all(v, f64::from), "int8"),
        DecodingResult::I16(v) => (all(v, f64::from), "int16"),
        DecodingResult::I32(v) => (all(v, f64::from), "int32"),
        DecodingResult::I64(v) => (all(v, |v| v as f64), "int64"),
        DecodingResult::F16(v) => (all(v, f64::from), "float16"),
        DecodingResult::F32(v) => (all(v, f64::from), "float32"),
        DecodingResult::F64(v) => (v, "float64"),
    }
}

/// Pixel size as ImageJ, OME or the resolution tags say it, in this order.
fn calibration(decoder: &mut Pages<'_>, metadata: &mut Metadata) -> [Axis; 2] {
    let description = decoder.get_tag_ascii_string(Tag::ImageDescription).unwrap_or_default();
    // Pixels per unit, as a fraction.
    let mut step = |tag| match decoder.find_tag(tag) {
        Ok(Some(Value::Rational(n, d))) if n > 0 && d > 0 => Some(f64::from(d) / f64::from(n)),
        _ => None,
    };
    let sizes = step(Tag::YResolution).zip(step(Tag::XResolution));
    let unit = decoder.find_tag_unsigned::<u16>(Tag::ResolutionUnit).ok().flatten().unwrap_or(2);
    let axes = |y: f64, x: f64, unit: &str| [Axis::new("y", y, 0.0, unit), Axis::new("x", x, 0.0, unit)];
    let none = ["y", "x"].map(Axis::uncalibrated);
    let imagej = description.starts_with("ImageJ=");
    if !description.trim().is_empty() {
        let short = description.chars().take(2000).collect();
        metadata.extra.insert("description".into(), short);
    }
    if let (true, Some(unit), Some((y, x))) = (imagej, line(&description, "unit="), sizes) {
        return axes(y, x, &unit.replace("\\u00B5", "µ"));
    }
    if let Some([y, x]) = ome(&description) {
        return [y, x];
    }
    let nanometres = match unit {
        2 => 2.54e7,
        3 => 1e7,
        _ => return none,
    };
    match sizes.map(|(y, x)| (y * nanometres, x * nanometres)) {
        Some((y, x)) if x < PRINTING_NM && y < PRINTING_NM => axes(y, x, "nm"),
        Some((_, x)) => {
            metadata.extra.insert("printing resolution".into(), format!("{x} nm per pixel, not taken as calibration"));
            none
        }
        None => none,
    }
}

fn ome(description: &str) -> Option<[Axis; 2]> {
    let attribute = |name: &str| description.split_once(&format!(" {name}=\""))?.1.split('"').next();
    let axis = |name: &str| {
        let size = attribute(&format!("PhysicalSize{}", name.to_uppercase()))?.parse().ok()?;
        let unit = attribute(&format!("PhysicalSize{}Unit", name.to_uppercase())).unwrap_or("µm");
        Some(Axis::new(name, size, 0.0, unit))
    };
    description.contains("<OME").then(|| Some([axis("y")?, axis("x")?])).flatten()
}

/// The rest of the first line that starts with `key`.
fn line<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    text.lines().find_map(|l| l.strip_prefix(key)).map(str::trim).filter(|v| !v.is_empty())
}

/// Writes an image as TIFF of 32-bit floats, masked pixels as NaN, its pixel size as ImageJ stores it.
///
/// Å is written as A, and lengths for which the unit is far too large or small in nm. A calibration that differs in
/// unit between y and x, or that neither fits, is left out.
///
/// # Errors
/// If the file cannot be written.
pub fn write_tiff(path: &Path, image: &Image) -> Result<()> {
    let (rows, columns) = image.shape();
    let mut values: Vec<f32> = image.values().iter().map(|&v| v as f32).collect();
    for (value, _) in values.iter_mut().zip(image.mask().iter().flatten()).filter(|(_, masked)| **masked) {
        *value = f32::NAN;
    }
    let size = |n: usize| u32::try_from(n).map_err(|_| Error::write(path, std::io::Error::other("too large for TIFF")));
    let (width, height) = (size(columns)?, size(rows)?);
    let calibration = resolution(image);
    write_atomically(path, |writer| {
        let mut encoder = TiffEncoder::new(writer).map_err(std::io::Error::other)?;
        let mut page = encoder.new_image::<colortype::Gray32Float>(width, height).map_err(std::io::Error::other)?;
        if let Some((y, x, unit)) = &calibration {
            page.resolution_unit(ResolutionUnit::None);
            page.x_resolution(rational(*x));
            page.y_resolution(rational(*y));
            let description = format!("ImageJ=1.54\nunit={unit}\n");
            page.encoder().write_tag(Tag::ImageDescription, description.as_str()).map_err(std::io::Error::other)?;
        }
        page.write_data(&values).map_err(std::io::Error::other)
    })
}

/// Pixels per unit along y and x, and the unit in ASCII, if a fraction of 32-bit numbers can say it.
fn resolution(image: &Image) -> Option<(f64, f64, String)> {
    let (y, x) = (image.y(), image.x());
    if !x.is_calibrated() || x.unit != y.unit {
        return None;
    }
    let fits = |y: f64, x: f64| [y, x].iter().all(|r| (1e-6..1e6).contains(r));
    let (per_y, per_x) = (1.0 / y.scale.abs(), 1.0 / x.scale.abs());
    if fits(per_y, per_x) {
        let unit = x.unit.replace(['µ', 'μ'], "\\u00B5").replace(['\u{c5}', '\u{212b}'], "A");
        return unit.is_ascii().then_some((per_y, per_x, unit));
    }
    let (per_y, per_x) = (1.0 / y.nanometres()?, 1.0 / x.nanometres()?);
    fits(per_y, per_x).then(|| (per_y, per_x, "nm".to_owned()))
}

/// The nearest fraction with numbers of 32 bits, by continued fractions.
fn rational(value: f64) -> Rational {
    let (mut before, mut now) = ((0_u64, 1_u64), (1_u64, 0_u64));
    let mut rest = value.clamp(1.0 / f64::from(u32::MAX), f64::from(u32::MAX));
    for _ in 0..32 {
        let whole = rest.floor() as u64;
        let next = (whole.saturating_mul(now.0) + before.0, whole.saturating_mul(now.1) + before.1);
        if next.0 > u64::from(u32::MAX) || next.1 > u64::from(u32::MAX) {
            break;
        }
        (before, now) = (now, next);
        if rest - whole as f64 == 0.0 {
            break;
        }
        rest = 1.0 / (rest - whole as f64);
    }
    Rational { n: now.0 as u32, d: now.1.max(1) as u32 }
}
