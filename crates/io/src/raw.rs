use std::path::Path;
use std::str::FromStr;

use ndarray::Array2;
use parsimon_core::{Axis, Image};

use crate::sample::Sample;
use crate::{Error, Result, assemble, files};

/// How the numbers of one image lie in a file without a header of a known format.
///
/// As text: type, rows×columns, then any of `skip`, `scale`, `unit`, separated by commas: `f64le,256x256,skip=8`, or
/// `u16be,512x512,scale=0.1,unit=nm`. Types are `u8`, `i8`, and `u16`, `i16`, `u32`, `i32`, `u64`, `i64`, `f16`,
/// `f32`, `f64` followed by the byte order `le` or `be`. Rows come first, each from left to right.
#[derive(Debug, Clone, PartialEq)]
pub struct RawLayout {
    sample: Sample,
    big_endian: bool,
    rows: usize,
    columns: usize,
    skip: usize,
    pixel: Option<(f64, String)>,
}

impl RawLayout {
    /// Bytes of a file with this layout; none if no file can be so large.
    fn file_size(&self) -> Option<usize> {
        let pixels = self.rows.checked_mul(self.columns)?;
        pixels.checked_mul(self.sample.size())?.checked_add(self.skip)
    }
}

impl FromStr for RawLayout {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let fail = |reason: String| Error::RawLayout { text: text.to_owned(), reason };
        let mut parts = text.split(',').map(str::trim);
        let kind = parts.next().unwrap_or_default();
        let unknown = || {
            let types = "u8, i8, u16, i16, u32, i32, u64, i64, f16, f32 or f64 followed by le or be";
            fail(format!("`{kind}` is no type, accepted are {types}, such as f64le"))
        };
        let (name, big_endian, ordered) = match (kind.strip_suffix("le"), kind.strip_suffix("be")) {
            (Some(name), _) => (name, false, true),
            (_, Some(name)) => (name, true, true),
            _ => (kind, false, false),
        };
        let letter = name.chars().next().filter(|c| matches!(c, 'u' | 'i' | 'f')).ok_or_else(unknown)?;
        let bits: usize = name[1..].parse().ok().filter(|b| b % 8 == 0).ok_or_else(unknown)?;
        let sample = Sample::from_kind(letter, bits / 8).filter(|s| ordered || s.size() == 1).ok_or_else(unknown)?;
        let shape = parts.next().unwrap_or_default();
        let (rows, columns) = shape
            .split_once(['x', '×'])
            .and_then(|(rows, columns)| Some((rows.trim().parse().ok()?, columns.trim().parse().ok()?)))
            .filter(|&(rows, columns): &(usize, usize)| rows > 0 && columns > 0)
            .ok_or_else(|| fail(format!("`{shape}` is no size, expected rows x columns such as 256x256")))?;
        let mut layout = Self { sample, big_endian, rows, columns, skip: 0, pixel: None };
        let (mut scale, mut unit) = (None, None);
        for part in parts {
            match part.split_once('=').map(|(key, value)| (key.trim(), value.trim())) {
                Some(("skip", value)) => {
                    let bad = || fail(format!("skip is `{value}`, accepted are whole numbers of bytes from 0"));
                    layout.skip = value.parse().map_err(|_| bad())?;
                }
                Some(("scale", value)) => {
                    let number = value.parse::<f64>().ok().filter(|s| s.is_finite() && *s > 0.0);
                    let bad = || fail(format!("scale is `{value}`, accepted are finite numbers above 0"));
                    scale = Some(number.ok_or_else(bad)?);
                }
                Some(("unit", value)) if !value.is_empty() => unit = Some(value.to_owned()),
                _ => return Err(fail(format!("`{part}` is not understood, accepted are skip=, scale= and unit="))),
            }
        }
        layout.pixel = match (scale, unit) {
            (Some(scale), Some(unit)) => Some((scale, unit)),
            (None, None) => None,
            _ => return Err(fail("scale and unit go together, such as scale=0.1,unit=nm".into())),
        };
        match layout.file_size() {
            Some(_) => Ok(layout),
            None => Err(fail(format!("{rows}x{columns} numbers are more than any file holds"))),
        }
    }
}

/// Reads one image from a file that a description tells how to read.
///
/// # Errors
/// If the file cannot be read, is larger or smaller than the description says, or holds no finite value.
pub fn read_raw(path: &Path, layout: &RawLayout) -> Result<Image> {
    let bytes = files::read_bytes(path)?;
    let fail = |reason: String| Error::format(path, "raw numbers", reason);
    let expected = layout.file_size();
    if expected != Some(bytes.len()) {
        let RawLayout { rows, columns, skip, sample, .. } = layout;
        let expected = expected.map_or("more".to_owned(), |n| n.to_string());
        return Err(fail(format!(
            "{rows}x{columns} {} after {skip} bytes make {expected} bytes, the file has {}",
            sample.name(),
            bytes.len()
        )));
    }
    let values = layout.sample.to_f64(layout.big_endian, bytes.get(layout.skip..).unwrap_or_default());
    let values = Array2::from_shape_vec((layout.rows, layout.columns), values).map_err(|e| fail(e.to_string()))?;
    let axis = |name: &str| match &layout.pixel {
        Some((scale, unit)) => Axis::new(name, *scale, 0.0, unit),
        None => Axis::uncalibrated(name),
    };
    assemble::image(path, values, [axis("y"), axis("x")], assemble::metadata(path, layout.sample.name()))
}
