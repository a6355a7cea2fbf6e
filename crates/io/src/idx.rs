//! IDX, the files of the MNIST digits and their kin, plain or compressed by gzip.

use std::io::Read;
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;
use ndarray::{Array1, Array4};
use parsimon_core::{Dataset, Patches, Range, Scaling};

use crate::files::{check_room, check_size, read_bytes};
use crate::{Error, Result};

/// What an array of unsigned bytes begins with, before its number of dimensions; others were never seen.
const MAGIC: [u8; 3] = [0, 0, 8];

const GZIP: [u8; 2] = [0x1f, 0x8b];

/// Whether a file begins like one of these.
pub(crate) fn is_idx(begin: &[u8]) -> bool {
    begin.starts_with(&MAGIC) || begin.starts_with(&GZIP)
}

/// The images of a file, and the labels of the one beside it, whose name says `labels` and `idx1` for `images` and `idx3`.
pub(crate) fn read(path: &Path) -> Result<Dataset> {
    let (shape, bytes) = array(path)?;
    let [n, height, width] = shape[..] else {
        let found = format!("an IDX array of {} dimensions", shape.len());
        return Err(Error::content(path, found, "images of 3 dimensions"));
    };
    let values = bytes.iter().map(|b| f32::from(*b) / 255.0).collect();
    let images = Array4::from_shape_vec((n, height, width, 1), values).map_err(|e| Error::format(path, "IDX", e))?;
    let scaling = Scaling::Global(vec![Range { low: 0.0, high: 255.0 }]);
    let images = Patches::new(images, scaling).map_err(|e| Error::data(path, e))?;
    let mut data = Dataset { images: Some(images), ..Dataset::default() };
    if let Some(beside) = beside(path) {
        let (shape, bytes) = array(&beside)?;
        if shape.len() != 1 {
            let found = format!("an IDX array of {} dimensions", shape.len());
            return Err(Error::content(&beside, found, "labels of 1 dimension"));
        }
        data.labels = Some(bytes.iter().map(|b| i64::from(*b)).collect::<Array1<i64>>());
        data.samples().map_err(|e| Error::data(&beside, e))?;
    }
    Ok(data)
}

/// The file of labels that goes with one of images, if it is there, compressed or not.
fn beside(path: &Path) -> Option<PathBuf> {
    let name = path.file_name()?.to_str()?;
    let labels = name.replace("images", "labels").replace("idx3", "idx1");
    let plain = labels.strip_suffix(".gz").unwrap_or(&labels);
    let names = [labels.clone(), plain.to_owned(), format!("{plain}.gz")];
    let mut places = names.iter().filter(|l| *l != name).map(|l| path.with_file_name(l));
    if labels == name { None } else { places.find(|p| p.is_file()) }
}

/// Shape and bytes of an array.
fn array(path: &Path) -> Result<(Vec<usize>, Vec<u8>)> {
    let bad = |reason: String| Error::format(path, "IDX", reason);
    let stored = read_bytes(path)?;
    let packed = stored.starts_with(&GZIP);
    let mut from: Box<dyn Read> =
        if packed { Box::new(MultiGzDecoder::new(stored.as_slice())) } else { Box::new(stored.as_slice()) };
    let mut take = |count: usize| -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let read = from.by_ref().take(count as u64).read_to_end(&mut bytes);
        read.map_err(|e| bad(format!("cannot be unpacked: {e}")))?;
        Ok(bytes)
    };
    let begin = take(4)?;
    let dimensions = match begin[..] {
        [a, b, c, dimensions @ 1..=4] if [a, b, c] == MAGIC => usize::from(dimensions),
        _ => {
            let first: Vec<String> = begin.iter().map(|b| format!("{b:02x}")).collect();
            let inside = if packed { "inside gzip it" } else { "it" };
            return Err(bad(format!(
                "{inside} begins with {}, expected 00 00 08 (unsigned bytes) and 1 to 4 dimensions",
                first.join(" ")
            )));
        }
    };
    let sizes = take(4 * dimensions)?;
    if sizes.len() < 4 * dimensions {
        return Err(bad(format!("it ends after {} bytes, within its sizes", 4 + sizes.len())));
    }
    let shape: Vec<usize> =
        sizes.chunks_exact(4).map(|b| u32::from_be_bytes([b[0], b[1], b[2], b[3]]) as usize).collect();
    let count = shape.iter().try_fold(1u64, |product, n| product.checked_mul(*n as u64));
    let count = count.ok_or_else(|| bad(format!("it claims a shape of {shape:?}")))?;
    // The numbers made of them need four times the room, beside the bytes.
    check_size(count, stored.len()).and_then(|()| check_room(count.saturating_mul(5))).map_err(bad)?;
    let values = take(count as usize)?;
    let more = take(1)?.len();
    if values.len() as u64 != count || more > 0 {
        let found = if more > 0 { "more".to_owned() } else { values.len().to_string() };
        return Err(bad(format!("its shape {shape:?} needs {count} bytes, it holds {found}")));
    }
    Ok((shape, values))
}
