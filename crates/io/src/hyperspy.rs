use std::path::Path;

use hdf5_reader::group::Group;
use hdf5_reader::{ByteOrder, Dataset, Datatype, Hdf5File, OpenOptions};
use ndarray::{ArrayD, Axis as Dim, IxDyn};
use parsimon_core::Axis;

use crate::sample::Sample;
use crate::{Content, Error, Result, assemble, files};

/// How the names end under which the metadata keep the scale of an axis whose file gives no unit.
pub const UNITLESS: &str = "scale without a unit";

/// One axis of the data, as `axis-0`, `axis-1`, … say.
struct DataAxis {
    axis: Axis,
    /// Whether one moves along it from signal to signal.
    navigate: bool,
    /// A step without a unit, which calibrates nothing but is worth keeping.
    unitless: Option<f64>,
}

/// A HyperSpy file (`.hspy`, `.hdf5`): the first of its experiments.
pub(crate) fn read(path: &Path, bytes: Vec<u8>) -> Result<Content> {
    let size = bytes.len();
    let fail = |reason: String| Error::format(path, "HDF5", reason);
    let most = usize::try_from(files::most(size)).unwrap_or(usize::MAX);
    let options = OpenOptions::default().with_max_read_bytes(most).with_max_object_header_bytes(size.max(1));
    let file = Hdf5File::from_vec_with_options(bytes, options).map_err(|e| fail(e.to_string()))?;
    let experiments = file.group("Experiments").and_then(|g| g.groups());
    let experiments = experiments.map_err(|e| fail(format!("no HyperSpy group `Experiments` ({e})")))?;
    let Some(experiment) = experiments.first() else {
        return Err(fail("the group `Experiments` is empty".into()));
    };
    let data = experiment.dataset("data").map_err(|e| fail(e.to_string()))?;
    let (values, sample) = numbers(&data, size).map_err(fail)?;
    let mut metadata = assemble::metadata(path, sample.name());
    let general = experiment.group("metadata").and_then(|g| g.group("General")).ok();
    if let Some(title) = general.as_ref().and_then(|g| text(g, "title")) {
        metadata.title = title;
    }
    for name in ["date", "time", "original_filename"] {
        if let Some(value) = general.as_ref().and_then(|g| text(g, name)) {
            metadata.extra.insert(name.into(), value);
        }
    }
    if experiments.len() > 1 {
        metadata.extra.insert("experiments".into(), format!("the first of {}", experiments.len()));
    }
    let mut axes: Vec<DataAxis> = (0..values.ndim()).map(|k| axis(experiment, k, values.ndim())).collect();
    for (k, axis) in axes.iter().enumerate() {
        if let Some(step) = axis.unitless {
            metadata.extra.insert(format!("axis-{k} {UNITLESS}"), step.to_string());
        }
    }
    // Navigation first, as the types of core have it; HyperSpy writes it so.
    let mut order: Vec<usize> = (0..axes.len()).collect();
    order.sort_by_key(|&k| !axes[k].navigate);
    let values = values.permuted_axes(IxDyn(&order));
    axes.sort_by_key(|a| !a.navigate);
    let signal = axes.iter().filter(|a| !a.navigate).count();
    let shape = values.shape().to_vec();
    let mut names = axes.into_iter().map(|a| a.axis);
    let mut next = |name: &str| Axis { name: name.into(), ..names.next().unwrap_or_else(|| Axis::uncalibrated(name)) };
    let squeeze = |e: ndarray::ShapeError| fail(e.to_string());
    match (signal, shape.len()) {
        (1, 1) => {
            let values = values.insert_axis(Dim(0)).into_dimensionality().map_err(squeeze)?;
            assemble::spectra(path, values, assemble::spectral(next("energy")))
        }
        (1, 2) => {
            let axes = [next("x"), assemble::spectral(next("energy"))];
            assemble::line_scan(path, values.into_dimensionality().map_err(squeeze)?, axes, metadata)
        }
        (1, 3) => {
            let axes = [next("y"), next("x"), assemble::spectral(next("energy"))];
            assemble::spectrum_image(path, values.into_dimensionality().map_err(squeeze)?, axes, metadata)
        }
        (2, 2) => {
            let axes = [next("y"), next("x")];
            assemble::image(path, values.into_dimensionality().map_err(squeeze)?, axes, metadata).map(Content::Image)
        }
        (2, 3) => {
            let values = values.into_dimensionality().map_err(squeeze)?;
            let axes = [next("time"), next("y"), next("x")];
            assemble::movie(path, &values, axes, &metadata).map(Content::Movie)
        }
        _ => {
            let found = format!("{signal}-D signals in data of shape {shape:?}");
            Err(Error::content(path, found, "images, a stack of images, spectra or a spectrum image"))
        }
    }
}

fn numbers(data: &Dataset, file: usize) -> std::result::Result<(ArrayD<f64>, Sample), String> {
    let (kind, size, order) = match data.dtype() {
        Datatype::FixedPoint { size, signed, byte_order } => (if *signed { 'i' } else { 'u' }, *size, byte_order),
        Datatype::FloatingPoint { size, byte_order } => ('f', *size, byte_order),
        other => return Err(format!("`data` holds {other:?}, expected integers or floats")),
    };
    let sample = Sample::from_kind(kind, usize::from(size));
    let sample = sample.ok_or_else(|| format!("`data` holds numbers of {size} bytes, which are not read"))?;
    let shape: Option<Vec<usize>> = data.shape().iter().map(|&n| usize::try_from(n).ok()).collect();
    let shape = shape.ok_or_else(|| format!("`data` claims a shape of {:?}", data.shape()))?;
    let needed = shape.iter().try_fold(sample.size(), |product, &n| product.checked_mul(n));
    let needed = needed.ok_or_else(|| format!("`data` claims a shape of {shape:?}"))?;
    files::check_size(needed as u64, file)?;
    // The numbers as f64 stand beside their bytes.
    let numbers = (needed / sample.size()) as u64;
    files::check_room(numbers.saturating_mul((size_of::<f64>() + sample.size()) as u64))?;
    let bytes = data.read_raw_bytes().map_err(|e| e.to_string())?;
    let values = sample.to_f64(*order == ByteOrder::BigEndian, &bytes);
    Ok((ArrayD::from_shape_vec(IxDyn(&shape), values).map_err(|e| e.to_string())?, sample))
}

/// The calibration of dimension `k` of `rank`; without one, the last two dimensions are the signal.
fn axis(experiment: &Group, k: usize, rank: usize) -> DataAxis {
    let name = format!("axis-{k}");
    let Ok(group) = experiment.group(&name) else {
        return DataAxis { axis: Axis::uncalibrated(&name), navigate: k + 2 < rank, unitless: None };
    };
    let number = |name: &str| group.attribute(name).ok().and_then(|a| a.read_as_f64().ok());
    let scale = number("scale").unwrap_or(f64::NAN);
    let unit = text(&group, "units").filter(|u| !u.starts_with(['<', '_'])).unwrap_or_default();
    let unitless = (unit.is_empty() && scale.is_finite() && scale != 1.0 && scale != 0.0).then_some(scale);
    let navigate = flag(&group, "navigate").unwrap_or(k + 2 < rank);
    DataAxis { axis: Axis::new(&name, scale, number("offset").unwrap_or(0.0), &unit), navigate, unitless }
}

fn text(group: &Group, name: &str) -> Option<String> {
    let attribute = group.attribute(name).ok()?;
    let text = attribute.read_string().ok().or_else(|| attribute.decoded_strings?.into_iter().next())?;
    Some(text.trim().to_owned()).filter(|t| !t.is_empty())
}

/// A boolean is an enumeration of one byte, or an integer.
fn flag(group: &Group, name: &str) -> Option<bool> {
    let attribute = group.attribute(name).ok()?;
    Some(attribute.raw_data.iter().any(|&b| b != 0)).filter(|_| !attribute.raw_data.is_empty())
}
