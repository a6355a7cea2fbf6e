use std::path::Path;

use ndarray::{Array1, Ix1};
use parsimon_core::Embedding;

use crate::npy::Values;
use crate::scene::check_name;
use crate::{Error, Result, npz, write_npz};

/// Writes an embedding as NPZ: each column as 1-D float32 `<name>` and, if known, `<name>_sd`; `class` as int64.
///
/// # Errors
/// If a column is named `class` or like the `_sd` of another, or the file cannot be written.
pub fn write_latents(path: &Path, latents: &Embedding) -> Result<()> {
    let mut names = Vec::new();
    for column in latents.columns() {
        check_name(path, &column.name, &["class"])?;
        names.push((column.name.clone(), &column.mean));
        if let Some(sd) = &column.sd {
            names.push((format!("{}_sd", column.name), sd));
        }
    }
    let mut arrays: Vec<(&str, Values<'_>)> =
        names.iter().map(|(name, values)| (name.as_str(), Values::F32(values.view().into_dyn()))).collect();
    if let Some(class) = latents.class() {
        arrays.push(("class", Values::I64(class.view().into_dyn())));
    }
    write_npz(path, &arrays)
}

/// Reads latents: every 1-D array of numbers is a column, in the order of the file.
///
/// # Errors
/// If the file is no NPZ or damaged, holds no column, an array is not 1-D, the lengths differ, a `<name>_sd` has no
/// `<name>`, or a value is not finite.
pub fn read_latents(path: &Path) -> Result<Embedding> {
    let arrays = npz::read_stored(path)?;
    let column = |name: &str| -> Result<Array1<f32>> {
        let Some(stored) = arrays.get(name) else {
            return Err(Error::content(path, arrays.describe(), format!("`{name}`")));
        };
        let values = stored.to_f32().map_err(|e| Error::format(path, "NPZ", format!("`{name}` {e}")))?;
        let shape = format!("`{name}` of shape {:?}", values.shape());
        values.into_dimensionality::<Ix1>().map_err(|_| Error::content(path, shape, "latents of 1 dimension"))
    };
    let Some((first, _)) = arrays.iter().next() else {
        return Err(Error::content(path, "no array", "latents: 1-D arrays such as `z1`"));
    };
    let mut latents = Embedding::new(column(first)?.len());
    for (name, stored) in arrays.iter() {
        if name == "class" {
            let class = stored.to_i64().map_err(|e| Error::format(path, "NPZ", format!("`class` {e}")))?;
            let class = class.into_dimensionality::<Ix1>();
            let class = class.map_err(|_| Error::content(path, "`class` not in 1 dimension", "one per row"))?;
            latents.set_class(class).map_err(|e| Error::data(path, e))?;
            continue;
        }
        if let Some(base) = name.strip_suffix("_sd") {
            if arrays.get(base).is_none() {
                return Err(Error::content(path, format!("`{name}` without `{base}`"), "both or only the latter"));
            }
            continue;
        }
        let sd = format!("{name}_sd");
        let sd = arrays.get(&sd).map(|_| column(&sd)).transpose()?;
        latents.push(name, column(name)?, sd).map_err(|e| Error::data(path, e))?;
    }
    Ok(latents)
}
