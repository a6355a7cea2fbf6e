use std::path::Path;

use ndarray::{Array1, Array2, Array4, ArrayD, Axis as Dim, Ix1, Ix2, Ix3, Ix4};
use parsimon_core::{Dataset, Normalise, Patches, Range, Scaling, Spectra};

use crate::files::{self, Format};
use crate::npy::{self, Stored, Values};
use crate::npz::Arrays;
use crate::scene::{self, array, check_name};
use crate::{Error, Result, idx, numpy, write_npz};

/// Names a truth column cannot have.
const RESERVED: [&str; 15] = [
    "images",
    "goals",
    "spectra",
    "labels",
    "targets",
    "images_low",
    "images_high",
    "goals_low",
    "goals_high",
    "spectra_axis",
    "spectra_unit",
    "sites",
    "image",
    "pixel_size",
    "pixel_unit",
];

/// Reads a DATA file.
///
/// An NPZ holds `images` (N×H×W or N×H×W×C), `spectra` (N×L) or both, and may hold `goals` (as images: what should become of
/// them), `labels` (N, −1 unknown), `targets` (N×K or N), `sites` (N×2: y, x in pixels) and the `image` they are in, and
/// beside spectra `endmembers` (R×L) that they are mixed of; every other 1-D array of N numbers becomes `truth`, and what is
/// left is not looked at. A bare NPY of rank 3 or 4 is images, of rank 2 spectra. All integer and float types are read. An IDX
/// file of unsigned bytes, which gzip may have packed, is images, and the one beside it whose name says `labels` and `idx1` for
/// `images` and `idx3` their labels.
///
/// Images within \[0,1\] are taken as they are, unless `images_low` and `images_high` say what 0 and 1 stand for; so are goals.
/// Others are brought to \[0,1\] with one range per channel, which is kept in [`Patches::scaling`].
///
/// # Errors
/// If the file is damaged, has neither images nor spectra, an array has the wrong shape or length, or a value of
/// images, spectra or targets is NaN or infinite.
pub fn read_dataset(path: &Path) -> Result<Dataset> {
    let begin = files::read_begin(path)?;
    match Format::of(&begin) {
        Some(Format::Npy) => {
            let stored = npy::read_stored(path, files::read_bytes(path)?)?;
            let mut data = Dataset::default();
            match stored.rank() {
                2 => data.spectra = Some(spectra(path, "spectra", &stored, None)?),
                3 | 4 => data.images = Some(images(path, "images", &stored, None)?),
                _ => return Err(wrong(path, "the array", stored.shape(), "[N, L], [N, H, W] or [N, H, W, C]")),
            }
            Ok(data)
        }
        Some(Format::Npz) => from_arrays(path, &Arrays::open(path)?),
        Some(other) => Err(Error::content(path, format!("{} data", other.name()), "an NPZ or NPY file")),
        None if idx::is_idx(&begin) => idx::read(path),
        None => Err(files::unknown(path, &begin)),
    }
}

fn from_arrays(path: &Path, arrays: &Arrays) -> Result<Dataset> {
    let fail = |name: &str, reason: String| Error::format(path, "NPZ", format!("`{name}` {reason}"));
    let mut data = Dataset::default();
    if let Some(stored) = arrays.get("images") {
        data.images = Some(images(path, "images", stored, Some(arrays))?);
    }
    if let Some(stored) = arrays.get("goals") {
        data.goals = Some(images(path, "goals", stored, Some(arrays))?);
    }
    if let Some(stored) = arrays.get("spectra") {
        data.spectra = Some(spectra(path, "spectra", stored, Some(arrays))?);
    }
    // Files of before may have meant something else by the name.
    let channels = data.spectra.as_ref().map(|s| s.values().ncols());
    let mixed = |stored: &&Stored| matches!(*stored.shape(), [1..=usize::MAX, length] if Some(length) == channels);
    if let Some(stored) = arrays.get("endmembers").filter(mixed) {
        data.endmembers = Some(spectra(path, "endmembers", stored, Some(arrays))?);
    }
    if data.images.is_none() && data.spectra.is_none() {
        return Err(Error::content(path, arrays.describe(), "`images` or `spectra`"));
    }
    if let Some(stored) = arrays.get("labels") {
        let labels = stored.to_i64().map_err(|e| fail("labels", e))?;
        let labels = labels.into_dimensionality::<Ix1>();
        data.labels = Some(labels.map_err(|_| wrong(path, "`labels`", stored.shape(), "[N]"))?);
    }
    if let Some(stored) = arrays.get("targets") {
        let mut targets = stored.to_f32().map_err(|e| fail("targets", e))?;
        if targets.ndim() == 1 {
            targets = targets.insert_axis(Dim(1));
        }
        let targets = targets.into_dimensionality::<Ix2>();
        let targets = targets.map_err(|_| wrong(path, "`targets`", stored.shape(), "[N, K]"))?;
        let odd = targets.indexed_iter().filter(|(_, v)| !v.is_finite());
        let odd: Vec<(usize, usize)> = odd.map(|(place, _)| place).collect();
        if let Some(&(row, column)) = odd.first() {
            let (what, first) = ("`targets`".to_owned(), vec![row, column]);
            return Err(Error::data(path, parsimon_core::Error::NotFinite { what, count: odd.len(), first }));
        }
        data.targets = Some(targets);
    }
    data.sites = scene::positions(path, arrays)?;
    if arrays.get("image").is_some() {
        data.micrograph = Some(scene::micrograph(path, arrays)?);
    }
    let samples = data.samples().map_err(|e| Error::data(path, e))?;
    for (name, stored) in arrays.iter().filter(|(name, _)| !RESERVED.contains(name)) {
        if stored.shape() == [samples] && stored.to_text().is_none() {
            let values = array(path, arrays, name)?.into_dimensionality::<Ix1>();
            let values = values.map_err(|_| wrong(path, name, stored.shape(), "[N]"))?;
            data.truth.insert(name.to_owned(), values);
        }
    }
    Ok(data)
}

fn wrong(path: &Path, what: &str, found: &[usize], expected: &str) -> Error {
    Error::content(path, format!("{what} of shape {found:?}"), format!("shape {expected}"))
}

fn images(path: &Path, name: &str, stored: &Stored, arrays: Option<&Arrays>) -> Result<Patches> {
    let misshapen = || wrong(path, &format!("`{name}`"), stored.shape(), "[N, H, W] or [N, H, W, C]");
    let fail = |e: String| Error::format(path, "NPZ", format!("`{name}` {e}"));
    fn four<T>(values: ArrayD<T>, misshapen: impl Fn() -> Error) -> Result<Array4<T>> {
        match values.ndim() {
            3 => values.into_dimensionality::<Ix3>().map(|v| v.insert_axis(Dim(3))).map_err(|_| misshapen()),
            _ => values.into_dimensionality::<Ix4>().map_err(|_| misshapen()),
        }
    }
    let values = four(stored.to_f32().map_err(fail)?, misshapen)?;
    let unit = values.iter().all(|v| (0.0..=1.0).contains(v));
    let scaling = arrays.map(|a| scaling(path, name, a, values.dim())).transpose()?.flatten();
    let made = match scaling {
        Some(scaling) => Patches::new(values, scaling),
        None if unit => {
            let channels = values.dim().3;
            Patches::new(values, Scaling::unit(channels))
        }
        // Ranges are found in f64: int32 counts, say, do not fit float32.
        None => {
            drop(values);
            // Those in f64 stand beside the patches made of them.
            stored.number(size_of::<f64>() + size_of::<f32>()).map_err(fail)?;
            Patches::from_stored(four(stored.to_f64().map_err(fail)?, misshapen)?.view(), Normalise::Global)
        }
    };
    made.map_err(|e| Error::data(path, e))
}

/// `images_low` and `images_high`, or those of another name: (C) one range per channel, (N,C) one per patch and channel.
fn scaling(path: &Path, name: &str, arrays: &Arrays, shape: (usize, usize, usize, usize)) -> Result<Option<Scaling>> {
    let [low_name, high_name] = ["low", "high"].map(|end| format!("{name}_{end}"));
    if arrays.get(&low_name).is_none() && arrays.get(&high_name).is_none() {
        return Ok(None);
    }
    let (low, high) = (array(path, arrays, &low_name)?, array(path, arrays, &high_name)?);
    let (n, .., c) = shape;
    for (name, values) in [(format!("`{low_name}`"), &low), (format!("`{high_name}`"), &high)] {
        if values.shape() != low.shape() || (values.shape() != [c] && values.shape() != [n, c]) {
            return Err(wrong(path, &name, values.shape(), &format!("[{c}] or [{n}, {c}]")));
        }
        if let Some(&value) = values.iter().find(|v| !v.is_finite()) {
            let what = name.clone();
            return Err(Error::data(path, parsimon_core::Error::Range { what, value, accepted: "finite numbers" }));
        }
    }
    let ranges = low.iter().zip(&high).map(|(&low, &high)| Range { low, high });
    if low.ndim() == 1 {
        return Ok(Some(Scaling::Global(ranges.collect())));
    }
    let ranges = Array2::from_shape_vec((n, c), ranges.collect());
    Ok(Some(Scaling::PerPatch(ranges.map_err(|e| Error::format(path, "NPZ", e))?)))
}

fn spectra(path: &Path, name: &str, stored: &Stored, arrays: Option<&Arrays>) -> Result<Spectra> {
    let values = stored.to_f64().map_err(|e| Error::format(path, "NPZ", format!("`{name}` {e}")))?;
    let values = values.into_dimensionality::<Ix2>();
    let values = values.map_err(|_| wrong(path, &format!("`{name}`"), stored.shape(), "[N, L]"))?;
    let energy = numpy::spectra_axis(arrays.unwrap_or(&Arrays::default()));
    Spectra::new(values, energy).map_err(|e| Error::data(path, e))
}

/// Writes a DATA file as NPZ; [`read_dataset`] gives the same back, of sites their positions and of a micrograph its
/// values and pixel size.
///
/// `images` (N×H×W if there is one channel), `spectra` and `endmembers` are float32, `labels` int64, `targets` float32, truth
/// columns float64. Images are written in \[0,1\]; what 0 and 1 stand for follows in `images_low` and `images_high`, unless
/// they stand for themselves.
///
/// # Errors
/// If the parts differ in length, sites are of several frames, a truth column has a name of the above, or the file cannot be
/// written.
pub fn write_dataset(path: &Path, data: &Dataset) -> Result<()> {
    data.samples().map_err(|e| Error::data(path, e))?;
    let frame = data.sites.iter().flatten().map(|s| s.frame).max().unwrap_or(0);
    if frame > 0 {
        let (what, accepted) = ("frame of a site".to_owned(), "0, because a data file holds one micrograph");
        return Err(Error::data(path, parsimon_core::Error::Range { what, value: frame as f64, accepted }));
    }
    for name in data.truth.keys() {
        check_name(path, name, &RESERVED)?;
    }
    let mut arrays = Vec::new();
    let spectra = data.spectra.as_ref().map(|s| (s.values().mapv(|v| v as f32), s.energy()));
    let kinds =
        [(["images", "images_low", "images_high"], &data.images), (["goals", "goals_low", "goals_high"], &data.goals)];
    let ranges = kinds.map(|(_, patches)| patches.as_ref().and_then(ranges));
    for (([name, low_name, high_name], patches), ranges) in kinds.into_iter().zip(&ranges) {
        let Some(patches) = patches else { continue };
        let images = patches.images();
        let one = images.dim().3 == 1;
        let view = if one { images.index_axis_move(Dim(3), 0).into_dyn() } else { images.into_dyn() };
        arrays.push((name, Values::F32(view)));
        if let Some((low, high)) = ranges {
            arrays.push((low_name, Values::F64(low.view())));
            arrays.push((high_name, Values::F64(high.view())));
        }
    }
    let axis = spectra.as_ref().map(|(_, energy)| Array1::from(vec![energy.offset, energy.scale]));
    if let Some(((values, energy), axis)) = spectra.as_ref().zip(axis.as_ref()) {
        arrays.push(("spectra", Values::F32(values.view().into_dyn())));
        if energy.is_calibrated() {
            arrays.push(("spectra_axis", Values::F64(axis.view().into_dyn())));
            arrays.push(("spectra_unit", Values::Text(&energy.unit)));
        }
    }
    let endmembers = data.endmembers.as_ref().map(|s| s.values().mapv(|v| v as f32));
    arrays.extend(endmembers.as_ref().map(|e| ("endmembers", Values::F32(e.view().into_dyn()))));
    if let Some(labels) = &data.labels {
        arrays.push(("labels", Values::I64(labels.view().into_dyn())));
    }
    if let Some(targets) = &data.targets {
        arrays.push(("targets", Values::F32(targets.view().into_dyn())));
    }
    let positions = data.sites.as_ref().map(|sites| Array2::from(sites.positions()));
    arrays.extend(positions.as_ref().map(|p| ("sites", Values::F64(p.view().into_dyn()))));
    let micrograph = data.micrograph.as_ref().map(scene::Stored::of);
    arrays.extend(micrograph.iter().flat_map(scene::Stored::arrays));
    arrays.extend(data.truth.iter().map(|(name, column)| (name.as_str(), Values::F64(column.view().into_dyn()))));
    write_npz(path, &arrays)
}

/// The ranges as arrays (C) or (N,C); none if \[0,1\] stands for itself.
fn ranges(patches: &Patches) -> Option<(ArrayD<f64>, ArrayD<f64>)> {
    match patches.scaling() {
        Scaling::Global(ranges) if ranges.iter().all(|r| *r == Range::UNIT) => None,
        Scaling::Global(ranges) => {
            let of = |get: fn(&Range) -> f64| ranges.iter().map(get).collect::<Array1<f64>>().into_dyn();
            Some((of(|r| r.low), of(|r| r.high)))
        }
        Scaling::PerPatch(ranges) => Some((ranges.map(|r| r.low).into_dyn(), ranges.map(|r| r.high).into_dyn())),
    }
}
