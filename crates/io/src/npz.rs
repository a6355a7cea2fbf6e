use std::collections::BTreeMap;
use std::io::{BufReader, Cursor, Read, Seek};
use std::path::Path;

use ndarray::ArrayD;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, DateTime, ZipArchive, ZipWriter};

use crate::npy::{Stored, Values};
use crate::{Error, Result, files, npy, write_atomically};

/// The arrays of an NPZ file in the order of the archive.
#[derive(Debug, Clone, Default)]
pub(crate) struct Arrays(Vec<(String, Stored)>);

impl Arrays {
    pub(crate) fn parse(path: &Path, bytes: &[u8]) -> Result<Self> {
        Self::read(path, Cursor::new(bytes), bytes.len())
    }

    /// Reads a file array by array, without holding the file itself.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let file = std::fs::File::open(path).map_err(|e| Error::read(path, e))?;
        let length = file.metadata().map_err(|e| Error::read(path, e))?.len();
        Self::read(path, BufReader::new(file), usize::try_from(length).unwrap_or(usize::MAX))
    }

    fn read(path: &Path, reader: impl Read + Seek, length: usize) -> Result<Self> {
        let fail = |reason: String| Error::format(path, "NPZ", reason);
        let mut archive = ZipArchive::new(reader).map_err(|e| fail(format!("{e}; is the file whole?")))?;
        let mut arrays: Vec<(String, Stored)> = Vec::new();
        let mut claimed = 0_u64;
        for index in 0..archive.len() {
            let mut entry = archive.by_index(index).map_err(|e| fail(e.to_string()))?;
            let file = entry.name().map_err(|e| fail(e.to_string()))?.into_owned();
            let Some(name) = file.strip_suffix(".npy") else { continue };
            let declared = entry.size();
            // Entries may share their bytes, so that it is their sum that has to fit.
            claimed = declared.saturating_add(claimed);
            files::check_size(claimed, length).map_err(|e| fail(format!("`{name}`: {e}")))?;
            // One more than declared, so that the vector does not grow to find the end.
            let room = usize::try_from(declared).map_or(0, |n| n.saturating_add(1));
            let mut content = Vec::with_capacity(room);
            let read = (&mut entry).take(declared + 1).read_to_end(&mut content);
            read.map_err(|e| fail(format!("`{name}`: {e}")))?;
            if content.len() as u64 != declared {
                return Err(fail(format!("`{name}` holds {} bytes, expected {declared}", content.len())));
            }
            if arrays.iter().any(|(other, _)| other == name) {
                return Err(fail(format!("there are two arrays named `{name}`")));
            }
            let stored = Stored::parse(content).map_err(|e| fail(format!("`{name}`: {e}")))?;
            arrays.push((name.to_owned(), stored));
        }
        Ok(Self(arrays))
    }

    pub(crate) fn get(&self, name: &str) -> Option<&Stored> {
        self.0.iter().find(|(n, _)| n == name).map(|(_, a)| a)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &Stored)> {
        self.0.iter().map(|(n, a)| (n.as_str(), a))
    }

    /// Names and shapes, for messages.
    pub(crate) fn describe(&self) -> String {
        if self.0.is_empty() {
            return "no array".into();
        }
        let one = |(name, array): (&str, &Stored)| format!("`{name}` {:?}", array.shape());
        self.iter().map(one).collect::<Vec<_>>().join(", ")
    }
}

pub(crate) fn read_stored(path: &Path) -> Result<Arrays> {
    let begin = files::read_begin(path)?;
    match files::Format::of(&begin) {
        Some(files::Format::Npz) => Arrays::open(path),
        Some(other) => Err(Error::content(path, format!("{} data", other.name()), "an NPZ file")),
        None => Err(files::unknown(path, &begin)),
    }
}

/// All arrays of numbers in an NPZ file by name, or the array of an NPY file under the empty name.
///
/// # Errors
/// If the file is neither, or is damaged.
pub fn read_arrays(path: &Path) -> Result<BTreeMap<String, ArrayD<f64>>> {
    if files::Format::of(&files::read_begin(path)?) == Some(files::Format::Npy) {
        let array =
            npy::read_stored(path, files::read_bytes(path)?)?.to_f64().map_err(|e| Error::format(path, "NPY", e))?;
        return Ok(BTreeMap::from([(String::new(), array)]));
    }
    let arrays = read_stored(path)?;
    let numbers = arrays.iter().filter(|(_, array)| array.to_text().is_none());
    let read = |(name, array): (&str, &Stored)| match array.to_f64() {
        Ok(values) => Ok((name.to_owned(), values)),
        Err(e) => Err(Error::format(path, "NPZ", format!("`{name}` {e}"))),
    };
    numbers.map(read).collect()
}

/// Writes named arrays as compressed NPZ; the same arrays give the same bytes.
///
/// # Errors
/// If a name is taken twice or the file cannot be written.
pub fn write_npz(path: &Path, arrays: &[(&str, Values<'_>)]) -> Result<()> {
    for (index, (name, _)) in arrays.iter().enumerate() {
        if arrays[..index].iter().any(|(other, _)| other == name) {
            return Err(Error::write(path, std::io::Error::other(format!("there are two arrays named `{name}`"))));
        }
    }
    write_atomically(path, |writer| {
        let mut archive = ZipWriter::new(writer);
        // Without a fixed time the same content would give other bytes every two seconds.
        let options = SimpleFileOptions::default()
            .compression_method(CompressionMethod::Deflated)
            .last_modified_time(DateTime::default())
            .unix_permissions(0o644);
        for (name, values) in arrays {
            let large = values.bytes() > u64::from(u32::MAX) / 2;
            archive.start_file(format!("{name}.npy"), options.large_file(large))?;
            values.write(&mut archive)?;
        }
        archive.finish()?;
        Ok(())
    })
}
