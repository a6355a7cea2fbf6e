use std::collections::BTreeMap;
use std::path::Path;

use ndarray::{Array1, Array2, ArrayD, Ix1, Ix2};
use parsimon_core::{Refinement, Scene, Site, Sites};

use crate::npy::Values;
use crate::npz::{self, Arrays};
use crate::{Error, Result, assemble, numpy, write_npz};

/// Names a truth column cannot have.
const RESERVED: [&str; 7] =
    ["image", "sites", "pixel_size", "pixel_unit", "sites_intensity", "sites_width", "sites_quality"];

/// Writes an image and what is known of its sites as NPZ.
///
/// `image` is H×W float64, `sites` is N×2 (y, x in pixels), each truth column is 1-D float64. Calibrated images also
/// have `pixel_size` (y, x) and `pixel_unit`; `sites_intensity`, `sites_width` and `sites_quality` complete the sites.
///
/// # Errors
/// If a truth column has another length than the sites or a name of the above, or the file cannot be written.
pub fn write_scene(path: &Path, scene: &Scene) -> Result<()> {
    let n = scene.sites.len();
    for (name, column) in &scene.truth {
        check_name(path, name, &RESERVED)?;
        check_length(path, name, column.len(), n)?;
    }
    let positions = Array2::from(scene.sites.positions());
    let column = |get: fn(&Site) -> f64| scene.sites.iter().map(get).collect::<Array1<f64>>();
    let (intensity, width, quality) = (column(|s| s.intensity), column(|s| s.width), column(|s| s.quality));
    let (y, x) = (scene.image.y(), scene.image.x());
    let size = Array1::from(vec![y.scale, x.scale]);
    let mut image = scene.image.values().to_owned();
    if let Some(mask) = scene.image.mask() {
        image.zip_mut_with(&mask, |v, &masked| *v = if masked { f64::NAN } else { *v });
    }
    let mut arrays = vec![
        ("image", Values::F64(image.view().into_dyn())),
        ("sites", Values::F64(positions.view().into_dyn())),
        ("sites_intensity", Values::F64(intensity.view().into_dyn())),
        ("sites_width", Values::F64(width.view().into_dyn())),
        ("sites_quality", Values::F64(quality.view().into_dyn())),
    ];
    if y.is_calibrated() && y.unit == x.unit {
        arrays.push(("pixel_size", Values::F64(size.view().into_dyn())));
        arrays.push(("pixel_unit", Values::Text(&y.unit)));
    }
    arrays.extend(scene.truth.iter().map(|(name, column)| (name.as_str(), Values::F64(column.view().into_dyn()))));
    write_npz(path, &arrays)
}

/// Reads what [`write_scene`] wrote; `image` and `sites` must be there, the rest may lack.
///
/// # Errors
/// If the file is damaged, an array is missing or has the wrong shape.
pub fn read_scene(path: &Path) -> Result<Scene> {
    let arrays = npz::read_stored(path)?;
    let get = |name: &str| arrays.get(name).map(|_| array(path, &arrays, name)).transpose();
    let missing = |name: &str| Error::content(path, arrays.describe(), format!("`{name}`"));
    let image = get("image")?.ok_or_else(|| missing("image"))?;
    let stored_as = arrays.get("image").map_or("", |a| a.type_name());
    let image = image.into_dimensionality::<Ix2>().map_err(|_| missing("image of 2 dimensions"))?;
    let [_, y, x] = numpy::pixel_axes(&arrays);
    let image = assemble::image(path, image, [y, x], assemble::metadata(path, stored_as))?;
    let positions = get("sites")?.ok_or_else(|| missing("sites"))?;
    let positions = positions.into_dimensionality::<Ix2>().ok().filter(|p| p.ncols() == 2);
    let positions = positions.ok_or_else(|| missing("sites of shape [N, 2]"))?;
    let n = positions.nrows();
    let column = |name: &str| -> Result<Option<Array1<f64>>> {
        let Some(values) = get(name)? else { return Ok(None) };
        let values = values.into_dimensionality::<Ix1>().map_err(|_| missing(&format!("{name} of 1 dimension")))?;
        check_length(path, name, values.len(), n)?;
        Ok(Some(values))
    };
    let (intensity, width, quality) = (column("sites_intensity")?, column("sites_width")?, column("sites_quality")?);
    let at = |values: &Option<Array1<f64>>, i: usize, default: f64| values.as_ref().map_or(default, |v| v[i]);
    let site = |i: usize| Site {
        frame: 0,
        y: positions[[i, 0]],
        x: positions[[i, 1]],
        intensity: at(&intensity, i, 0.0),
        width: at(&width, i, 0.0),
        quality: at(&quality, i, 1.0),
        refinement: Refinement::None,
    };
    let sites = Sites::new((0..n).map(site).collect()).map_err(|e| Error::data(path, e))?;
    let mut truth = BTreeMap::new();
    for (name, _) in arrays.iter().filter(|(name, _)| !RESERVED.contains(name)) {
        if let Some(values) = column(name)? {
            truth.insert(name.to_owned(), values);
        }
    }
    Ok(Scene { image, sites, truth })
}

pub(crate) fn array(path: &Path, arrays: &Arrays, name: &str) -> Result<ArrayD<f64>> {
    let Some(stored) = arrays.get(name) else {
        return Err(Error::content(path, arrays.describe(), format!("`{name}`")));
    };
    stored.to_f64().map_err(|e| Error::format(path, "NPZ", format!("`{name}` {e}")))
}

pub(crate) fn check_name(path: &Path, name: &str, reserved: &[&str]) -> Result<()> {
    if reserved.contains(&name) || name.is_empty() || name.contains(['/', '\\', '\0']) {
        let reason = format!("a column cannot be named `{name}`");
        return Err(Error::write(path, std::io::Error::other(reason)));
    }
    Ok(())
}

pub(crate) fn check_length(path: &Path, name: &str, found: usize, expected: usize) -> Result<()> {
    if found == expected {
        return Ok(());
    }
    Err(Error::data(path, parsimon_core::Error::Length { what: format!("`{name}`"), found, expected }))
}
