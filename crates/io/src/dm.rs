use std::path::Path;

use ndarray::{Array2, Array3};
use openreadout_core::{FormatReader, ImageInfo, Severity};
use openreadout_em::DmReader;
use parsimon_core::{Axis, Metadata};

use crate::sample::Sample;
use crate::{Content, Error, Result, assemble};

/// A Gatan DM3 or DM4 file: the largest of its images that is no thumbnail.
pub(crate) fn read(path: &Path, bytes: &[u8]) -> Result<Content> {
    let fail = |reason: String| Error::format(path, "DM3/DM4", reason);
    let mut dataset = DmReader.open(path).map_err(|e| fail(e.to_string()))?;
    // A file cut in half opens with only a note, and its thumbnail becomes the image.
    let report = dataset.check().map_err(|e| fail(e.to_string()))?;
    if let Some(finding) = report.findings.iter().find(|f| f.severity == Severity::Error) {
        return Err(fail(finding.message.clone()));
    }
    let info = dataset.info().map_err(|e| fail(e.to_string()))?;
    let entries = dataset.entries().map_err(|e| fail(e.to_string()))?;
    let big_endian = entries.iter().any(|e| e.details.get("byte_order").is_some_and(|o| o == "big-endian"));
    let images = entries.iter().filter(|e| e.image.is_some() && e.details.get("thumbnail").is_some_and(|t| t == false));
    let Some(entry) = images.clone().reduce(|best, e| if e.size > best.size { e } else { best }) else {
        return Err(fail("it holds no image besides thumbnails".into()));
    };
    let Some(image) = info.images.iter().find(|i| Some(i.index) == entry.image) else {
        return Err(fail("it holds no image besides thumbnails".into()));
    };
    let label = image.extra.get("data_type").and_then(|v| v.as_str()).unwrap_or("unknown");
    let sample = sample(label).ok_or_else(|| fail(format!("pixels of type {label} are not read")))?;
    let dimensions = dimensions(image).ok_or_else(|| fail("the dimensions make no sense".into()))?;
    let start = entry.offset.and_then(|o| usize::try_from(o).ok());
    let size = dimensions.iter().try_fold(sample.size(), |product, &n| product.checked_mul(n));
    let data = start.zip(size).and_then(|(start, size)| bytes.get(start..start.checked_add(size)?));
    let data = data.ok_or_else(|| fail(format!("an image of {dimensions:?} {label} reaches beyond the file")))?;
    let values = sample.to_f64(big_endian, data);
    let metadata = metadata(path, image, label, images.count());
    shaped(path, values, &dimensions, image, metadata)
}

fn sample(label: &str) -> Option<Sample> {
    let label = if label == "binary" { "uint8" } else { label };
    let (kind, bits) = label.split_at_checked(label.find(|c: char| c.is_ascii_digit())?)?;
    let kind = matches!(kind, "uint" | "int" | "float").then(|| kind.chars().next())??;
    Sample::from_kind(kind, bits.parse::<usize>().ok()? / 8)
}

/// Sizes with x first, as stored, without the trailing ones beyond the second.
fn dimensions(image: &ImageInfo) -> Option<Vec<usize>> {
    let sizes = image.extra.get("dimensions")?.as_array()?;
    let mut sizes: Vec<usize> = sizes.iter().map(|n| n.as_u64()?.try_into().ok()).collect::<Option<_>>()?;
    while sizes.len() > 2 && sizes.last() == Some(&1) {
        sizes.pop();
    }
    (!sizes.is_empty() && !sizes.contains(&0)).then_some(sizes)
}

/// Calibration of stored dimension `k`: a value is (index − origin) · scale.
fn axis(image: &ImageInfo, k: usize, name: &str) -> Axis {
    let calibration = image.extra.get("calibrations").and_then(|c| c.get(k));
    let number = |key: &str| calibration.and_then(|c| c.get(key)).and_then(|v| v.as_f64());
    let unit = calibration.and_then(|c| c.get("units")).and_then(|u| u.as_str()).unwrap_or_default();
    let scale = number("scale").unwrap_or(f64::NAN);
    Axis::new(name, scale, -number("origin").unwrap_or(0.0) * scale, unit)
}

fn metadata(path: &Path, image: &ImageInfo, label: &str, count: usize) -> Metadata {
    let mut metadata = assemble::metadata(path, label);
    if let Some(name) = &image.name {
        metadata.title.clone_from(name);
    }
    for (key, value) in &image.extra {
        if let Some(fields) = value.as_object().filter(|_| key == "microscope") {
            for (name, v) in fields {
                metadata.extra.insert(name.clone(), v.as_str().map_or_else(|| v.to_string(), str::to_owned));
            }
        }
    }
    if let Some(unit) = image.extra.get("intensity_units").and_then(|u| u.as_str()) {
        metadata.extra.insert("intensity_units".into(), unit.to_owned());
    }
    if let Some(time) = &image.acquired_at {
        metadata.extra.insert("acquired_at".into(), time.clone());
    }
    if count > 1 {
        metadata.extra.insert("images".into(), format!("the largest of {count}"));
    }
    metadata
}

/// The stored dimension along which spectra run: the one whose unit says so, or that where DM has it in data it calls
/// spectra. Lengths are wavelengths only there.
fn spectral_dimension(image: &ImageInfo, rank: usize) -> Option<usize> {
    let by_unit = (0..rank.min(3)).find(|&k| assemble::is_spectral(&axis(image, k, "")));
    by_unit.or_else(|| {
        let kind = image.extra.get("meta_format").and_then(|v| v.as_str()).unwrap_or_default().trim().to_lowercase();
        matches!(kind.as_str(), "spectrum" | "spectrum image").then_some(if rank == 3 { 2 } else { 0 })
    })
}

fn shaped(path: &Path, values: Vec<f64>, sizes: &[usize], image: &ImageInfo, metadata: Metadata) -> Result<Content> {
    let fail = |e: ndarray::ShapeError| Error::format(path, "DM3/DM4", e);
    let along = spectral_dimension(image, sizes.len());
    let spectral = |k: usize| assemble::spectral(axis(image, k, ""));
    match (sizes, along) {
        (&[l], _) | (&[l, 1], Some(0)) => {
            let values = Array2::from_shape_vec((1, l), values).map_err(fail)?;
            assemble::spectra(path, values, spectral(0))
        }
        (&[w, h], Some(k)) => {
            let stored = Array2::from_shape_vec((h, w), values).map_err(fail)?;
            let values = if k == 0 { stored } else { stored.reversed_axes() };
            let values = values.as_standard_layout().into_owned();
            assemble::line_scan(path, values, [axis(image, 1 - k, "x"), spectral(k)], metadata)
        }
        (&[w, h], None) => {
            let values = Array2::from_shape_vec((h, w), values).map_err(fail)?;
            assemble::image(path, values, [axis(image, 1, "y"), axis(image, 0, "x")], metadata).map(Content::Image)
        }
        (&[a, b, c], Some(k)) => {
            // Stored with the first dimension fastest, mostly x, and energy slowest; core has the energy fastest.
            let stored = Array3::from_shape_vec((c, b, a), values).map_err(fail)?;
            let (y, x) = [(2, 1), (2, 0), (1, 0)][k];
            let values = stored.permuted_axes([2 - y, 2 - x, 2 - k]).as_standard_layout().into_owned();
            let axes = [axis(image, y, "y"), axis(image, x, "x"), spectral(k)];
            assemble::spectrum_image(path, values, axes, metadata)
        }
        (&[w, h, n], None) => {
            let values = Array3::from_shape_vec((n, h, w), values).map_err(fail)?;
            let along = axis(image, 2, "time");
            let name = if along.nanometres().is_some() { "z" } else { "time" };
            let axes = [Axis { name: name.into(), ..along }, axis(image, 1, "y"), axis(image, 0, "x")];
            assemble::movie(path, &values, axes, &metadata).map(Content::Movie)
        }
        _ => {
            Err(Error::content(path, format!("data of {} dimensions, {sizes:?}", sizes.len()), "at most 3 dimensions"))
        }
    }
}
