use std::path::Path;

use ndarray::{Array2, Array3, ArrayD, Axis as Dim, Ix1, Ix2, Ix3};
use parsimon_core::{Axis, Image, Metadata, Movie, Spectra, SpectrumImage};

use crate::{Content, Error, Result};

/// Metadata of a file that says nothing of itself: titled by its name.
pub(crate) fn metadata(path: &Path, stored_as: &str) -> Metadata {
    let title = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    Metadata { title, stored_as: stored_as.to_owned(), ..Metadata::default() }
}

pub(crate) fn image(path: &Path, values: Array2<f64>, [y, x]: [Axis; 2], metadata: Metadata) -> Result<Image> {
    Ok(Image::calibrated(values, y, x).map_err(|e| Error::data(path, e))?.with_metadata(metadata))
}

/// A movie of values N×H×W.
pub(crate) fn movie(path: &Path, values: &Array3<f64>, axes: [Axis; 3], metadata: &Metadata) -> Result<Movie> {
    let [time, y, x] = axes;
    let frame = |v: ndarray::ArrayView2<'_, f64>| image(path, v.to_owned(), [y.clone(), x.clone()], metadata.clone());
    let frames = values.axis_iter(Dim(0)).map(frame).collect::<Result<Vec<_>>>()?;
    Movie::new(frames, time).map_err(|e| Error::data(path, e))
}

pub(crate) fn spectra(path: &Path, values: Array2<f64>, energy: Axis) -> Result<Content> {
    Spectra::new(values, energy).map(Content::Spectra).map_err(|e| Error::data(path, e))
}

pub(crate) fn spectrum_image(path: &Path, values: Array3<f64>, axes: [Axis; 3], metadata: Metadata) -> Result<Content> {
    let [y, x, energy] = axes;
    let made = SpectrumImage::new(values, y, x, energy).map_err(|e| Error::data(path, e))?;
    Ok(Content::SpectrumImage(made.with_metadata(metadata)))
}

/// A spectrum image of one row, whose columns are the places along the line.
pub(crate) fn line_scan(path: &Path, values: Array2<f64>, axes: [Axis; 2], metadata: Metadata) -> Result<Content> {
    let [position, energy] = axes;
    let values = values.insert_axis(Dim(0));
    spectrum_image(path, values, [Axis::uncalibrated("y"), Axis { name: "x".into(), ..position }, energy], metadata)
}

/// Whether spectra, and only they, run along an axis of this unit.
pub(crate) fn is_spectral(axis: &Axis) -> bool {
    is_wavenumber(&axis.unit) || ["ev", "kev", "mev"].contains(&axis.unit.to_ascii_lowercase().as_str())
}

/// The axis of spectra, named after what its unit measures; `energy` if the unit does not tell.
pub(crate) fn spectral(axis: Axis) -> Axis {
    let name = match axis.nanometres() {
        Some(_) => "wavelength",
        None if is_wavenumber(&axis.unit) => "wavenumber",
        None => "energy",
    };
    Axis { name: name.into(), ..axis }
}

fn is_wavenumber(unit: &str) -> bool {
    matches!(unit, "1/cm" | "cm-1" | "cm^-1" | "cm⁻¹")
}

/// Rank 1 a spectrum, rank 2 an image, rank 3 a movie; `axes` are those of a 3-D array, of which the last are used.
pub(crate) fn by_rank(path: &Path, values: ArrayD<f64>, axes: [Axis; 3], metadata: Metadata) -> Result<Content> {
    let [time, y, x] = axes;
    let shape = values.shape().to_vec();
    let other = |_| Error::content(path, format!("an array of shape {shape:?}"), "1 to 3 dimensions");
    match shape.len() {
        1 => {
            let values = values.into_dimensionality::<Ix1>().map_err(other)?;
            spectra(path, values.insert_axis(Dim(0)), Axis { name: "energy".into(), ..x })
        }
        2 => image(path, values.into_dimensionality::<Ix2>().map_err(other)?, [y, x], metadata).map(Content::Image),
        3 => {
            let values = values.into_dimensionality::<Ix3>().map_err(other)?;
            movie(path, &values, [time, y, x], &metadata).map(Content::Movie)
        }
        _ => Err(Error::content(path, format!("an array of shape {shape:?}"), "1 to 3 dimensions")),
    }
}

/// Axes `time`, `y`, `x` that count indices.
pub(crate) fn uncalibrated() -> [Axis; 3] {
    ["time", "y", "x"].map(Axis::uncalibrated)
}
