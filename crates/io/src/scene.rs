use std::collections::BTreeMap;
use std::path::Path;

use ndarray::{Array1, Array2, ArrayD, Ix1, Ix2};
use parsimon_core::{Image, Refinement, Scene, Site, Sites};

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
    let image = Stored::of(&scene.image);
    let mut arrays = vec![
        ("sites", Values::F64(positions.view().into_dyn())),
        ("sites_intensity", Values::F64(intensity.view().into_dyn())),
        ("sites_width", Values::F64(width.view().into_dyn())),
        ("sites_quality", Values::F64(quality.view().into_dyn())),
    ];
    arrays.extend(image.arrays());
    arrays.extend(scene.truth.iter().map(|(name, column)| (name.as_str(), Values::F64(column.view().into_dyn()))));
    write_npz(path, &arrays)
}

/// An image as a file has it.
pub(crate) struct Stored {
    values: Array2<f64>,
    /// Pixel size (y, x) and its unit, of a calibrated image.
    pixel: Option<(Array1<f64>, String)>,
}

impl Stored {
    pub(crate) fn of(image: &Image) -> Self {
        let mut values = image.values().to_owned();
        if let Some(mask) = image.mask() {
            values.zip_mut_with(&mask, |v, &masked| *v = if masked { f64::NAN } else { *v });
        }
        let (y, x) = (image.y(), image.x());
        let calibrated = y.is_calibrated() && y.unit == x.unit;
        Self { values, pixel: calibrated.then(|| (Array1::from(vec![y.scale, x.scale]), y.unit.clone())) }
    }

    /// `image`, and if it is calibrated `pixel_size` and `pixel_unit`.
    pub(crate) fn arrays(&self) -> Vec<(&str, Values<'_>)> {
        let mut arrays = vec![("image", Values::F64(self.values.view().into_dyn()))];
        if let Some((size, unit)) = &self.pixel {
            arrays.push(("pixel_size", Values::F64(size.view().into_dyn())));
            arrays.push(("pixel_unit", Values::Text(unit)));
        }
        arrays
    }
}

fn missing(path: &Path, arrays: &Arrays, name: &str) -> Error {
    Error::content(path, arrays.describe(), format!("`{name}`"))
}

/// `image` with its pixel size.
pub(crate) fn micrograph(path: &Path, arrays: &Arrays) -> Result<Image> {
    let stored_as = arrays.get("image").map_or("", |a| a.type_name());
    let image = array(path, arrays, "image")?.into_dimensionality::<Ix2>();
    let image = image.map_err(|_| missing(path, arrays, "image of 2 dimensions"))?;
    let [_, y, x] = numpy::pixel_axes(arrays);
    assemble::image(path, image, [y, x], assemble::metadata(path, stored_as))
}

/// `sites`, if they are there, of which nothing else is known.
pub(crate) fn positions(path: &Path, arrays: &Arrays) -> Result<Option<Sites>> {
    if arrays.get("sites").is_none() {
        return Ok(None);
    }
    let positions = array(path, arrays, "sites")?.into_dimensionality::<Ix2>().ok().filter(|p| p.ncols() == 2);
    let positions = positions.ok_or_else(|| missing(path, arrays, "sites of shape [N, 2]"))?;
    let site = |p: ndarray::ArrayView1<'_, f64>| Site {
        frame: 0,
        y: p[0],
        x: p[1],
        intensity: 0.0,
        width: 0.0,
        quality: 1.0,
        refinement: Refinement::None,
    };
    let sites = Sites::new(positions.rows().into_iter().map(site).collect());
    sites.map(Some).map_err(|e| Error::data(path, e))
}

/// Reads what [`write_scene`] wrote; `image` and `sites` must be there, the rest may lack.
///
/// # Errors
/// If the file is damaged, an array is missing or has the wrong shape.
pub fn read_scene(path: &Path) -> Result<Scene> {
    let arrays = npz::read_stored(path)?;
    let image = micrograph(path, &arrays)?;
    let positions = positions(path, &arrays)?.ok_or_else(|| missing(path, &arrays, "sites"))?;
    let n = positions.len();
    let column = |name: &str| -> Result<Option<Array1<f64>>> {
        if arrays.get(name).is_none() {
            return Ok(None);
        }
        let values = array(path, &arrays, name)?.into_dimensionality::<Ix1>();
        let values = values.map_err(|_| missing(path, &arrays, &format!("{name} of 1 dimension")))?;
        check_length(path, name, values.len(), n)?;
        Ok(Some(values))
    };
    let (intensity, width, quality) = (column("sites_intensity")?, column("sites_width")?, column("sites_quality")?);
    let at = |values: &Option<Array1<f64>>, i: usize, default: f64| values.as_ref().map_or(default, |v| v[i]);
    let site = |(i, site): (usize, &Site)| Site {
        intensity: at(&intensity, i, site.intensity),
        width: at(&width, i, site.width),
        quality: at(&quality, i, site.quality),
        ..*site
    };
    let sites = Sites::new(positions.iter().enumerate().map(site).collect()).map_err(|e| Error::data(path, e))?;
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
