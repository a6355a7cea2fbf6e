use std::path::Path;

use parsimon_core::Axis;

use crate::assemble::{self, by_rank, uncalibrated};
use crate::npy::{self, Stored};
use crate::npz::Arrays;
use crate::{Content, Error, Result};

/// An NPY file: a spectrum, an image or a movie by its rank.
pub(crate) fn read_npy(path: &Path, bytes: Vec<u8>) -> Result<Content> {
    let stored = npy::read_stored(path, bytes)?;
    let values = stored.to_f64().map_err(|e| Error::format(path, "NPY", e))?;
    by_rank(path, values, uncalibrated(), assemble::metadata(path, stored.type_name()))
}

/// An NPZ file: its `image`, `images` or `spectra`, else its only array of at least two dimensions.
pub(crate) fn read_npz(path: &Path, bytes: &[u8]) -> Result<Content> {
    let arrays = Arrays::parse(path, bytes)?;
    let named = ["image", "images", "spectra"].into_iter().find(|n| arrays.get(n).is_some());
    let name = named.or_else(|| {
        let mut large = arrays.iter().filter(|(_, array)| array.rank() >= 2).map(|(name, _)| name);
        large.next().filter(|_| large.next().is_none())
    });
    let Some((name, stored)) = name.and_then(|n| arrays.get(n).map(|a| (n, a))) else {
        return Err(Error::content(path, arrays.describe(), "`image`, or a single array of 2 or 3 dimensions"));
    };
    let values = stored.to_f64().map_err(|e| Error::format(path, "NPZ", format!("`{name}` {e}")))?;
    if name == "spectra" && values.ndim() == 2 {
        let values = values.into_dimensionality().map_err(|e| Error::format(path, "NPZ", e))?;
        return assemble::spectra(path, values, spectra_axis(&arrays));
    }
    by_rank(path, values, pixel_axes(&arrays), assemble::metadata(path, stored.type_name()))
}

/// Axes from `pixel_size` (y, x) and `pixel_unit`, if they are there.
pub(crate) fn pixel_axes(arrays: &Arrays) -> [Axis; 3] {
    let [time, y, x] = uncalibrated();
    match (numbers(arrays.get("pixel_size")).as_deref(), text(arrays, "pixel_unit")) {
        (Some(&[sy, sx]), Some(unit)) => [time, Axis::new("y", sy, 0.0, &unit), Axis::new("x", sx, 0.0, &unit)],
        _ => [time, y, x],
    }
}

/// The axis from `spectra_axis` (offset, step) and `spectra_unit`, if they are there.
pub(crate) fn spectra_axis(arrays: &Arrays) -> Axis {
    match (numbers(arrays.get("spectra_axis")).as_deref(), text(arrays, "spectra_unit")) {
        (Some(&[offset, scale]), Some(unit)) => assemble::spectral(Axis::new("energy", scale, offset, &unit)),
        _ => Axis::uncalibrated("energy"),
    }
}

fn numbers(stored: Option<&Stored>) -> Option<Vec<f64>> {
    Some(stored?.to_f64().ok()?.into_iter().collect())
}

fn text(arrays: &Arrays, name: &str) -> Option<String> {
    arrays.get(name)?.to_text()
}
