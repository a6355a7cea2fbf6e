use std::io::Read;
use std::path::Path;

use crate::{Error, Result, bcf};

/// A format as its first bytes tell it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    Dm,
    Tiff,
    Png,
    Npy,
    Npz,
    Hdf5,
    Bcf,
}

/// Endings that promise a format, for messages about files that break the promise.
const ENDINGS: [(&str, &str); 13] = [
    ("dm3", "DM3"),
    ("dm4", "DM4"),
    ("bcf", "Bruker BCF"),
    ("tif", "TIFF"),
    ("tiff", "TIFF"),
    ("png", "PNG"),
    ("npy", "NPY"),
    ("npz", "NPZ"),
    ("hspy", "HDF5"),
    ("hdf5", "HDF5"),
    ("h5", "HDF5"),
    ("dat", "raw"),
    ("raw", "raw"),
];

impl Format {
    /// The format these bytes are in, if it is one that is read here.
    pub(crate) fn of(bytes: &[u8]) -> Option<Self> {
        let starts = |magic: &[u8]| bytes.starts_with(magic);
        let word = |at: usize| bytes.get(at..at + 4).map(|b| u32::from_be_bytes([b[0], b[1], b[2], b[3]]));
        // An HDF5 file may begin with a block of the user's, of 512 bytes or a power of two times that.
        let hdf5 = |at: usize| bytes.get(at..).is_some_and(|b| b.starts_with(b"\x89HDF\r\n\x1a\n"));
        if starts(b"II*\0") || starts(b"MM\0*") || starts(b"II+\0") || starts(b"MM\0+") {
            Some(Self::Tiff)
        } else if starts(bcf::MAGIC) {
            Some(Self::Bcf)
        } else if starts(b"\x89PNG\r\n\x1a\n") {
            Some(Self::Png)
        } else if starts(b"\x93NUMPY") {
            Some(Self::Npy)
        } else if starts(b"PK\x03\x04") || starts(b"PK\x05\x06") {
            Some(Self::Npz)
        } else if [0, 512, 1024, 2048].into_iter().any(hdf5) {
            Some(Self::Hdf5)
        } else if matches!((word(0), word(8)), (Some(3), Some(0 | 1)))
            || matches!((word(0), word(12)), (Some(4), Some(0 | 1)))
        {
            Some(Self::Dm)
        } else {
            None
        }
    }

    /// Its name in messages.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Dm => "DM3/DM4",
            Self::Tiff => "TIFF",
            Self::Png => "PNG",
            Self::Npy => "NPY",
            Self::Npz => "NPZ",
            Self::Hdf5 => "HDF5",
            Self::Bcf => "Bruker BCF",
        }
    }
}

/// The whole file.
pub(crate) fn read_bytes(path: &Path) -> Result<Vec<u8>> {
    let there = std::fs::metadata(path).map_err(|e| Error::read(path, e))?;
    if there.is_dir() {
        return Err(Error::read(path, std::io::Error::other("it is a directory")));
    }
    std::fs::read(path).map_err(|e| Error::read(path, e))
}

/// The first bytes of a file, enough to tell its format.
pub(crate) fn read_begin(path: &Path) -> Result<Vec<u8>> {
    let fail = |e| Error::read(path, e);
    if std::fs::metadata(path).map_err(fail)?.is_dir() {
        return Err(fail(std::io::Error::other("it is a directory")));
    }
    let mut begin = Vec::new();
    std::fs::File::open(path).and_then(|file| file.take(4096).read_to_end(&mut begin)).map_err(fail)?;
    Ok(begin)
}

/// Why the content is not that of a known format; here, and only here, the name of the file helps.
pub(crate) fn unknown(path: &Path, bytes: &[u8]) -> Error {
    let ending = path.extension().map(|e| e.to_string_lossy().to_ascii_lowercase()).unwrap_or_default();
    let promised = ENDINGS.iter().find(|(e, _)| *e == ending).map(|(_, format)| *format);
    let first: Vec<String> = bytes.iter().take(8).map(|b| format!("{b:02x}")).collect();
    let first = first.join(" ");
    let reason = match promised {
        _ if bytes.is_empty() => "the file is empty".to_owned(),
        Some("raw") | None => format!(
            "it begins with {first}, which is neither DM3, DM4, BCF, TIFF, PNG, NPY, NPZ nor HDF5; raw numbers \
             need a description such as `f64le,256x256,skip=8`"
        ),
        Some(format) => format!("the name says {format}, but the content begins with {first}"),
    };
    Error::UnknownFormat { path: path.to_owned(), reason }
}

/// Most bytes that one byte of a compressed file can stand for: deflate 1032, LZW about 1300.
const MAX_EXPANSION: u64 = 1400;

/// Most bytes that a file can hold after decompression.
pub(crate) fn most(file: usize) -> u64 {
    (file as u64).saturating_mul(MAX_EXPANSION)
}

/// Fails if a file cannot hold this many bytes, or the memory cannot; readers would abort on the latter.
pub(crate) fn check_size(needed: u64, file: usize) -> std::result::Result<(), String> {
    if needed > most(file) {
        return Err(format!("it claims {needed} bytes of values, far more than its {file} bytes can hold"));
    }
    check_room(needed)
}

/// Fails if the memory cannot hold this many bytes.
pub(crate) fn check_room(needed: u64) -> std::result::Result<(), String> {
    let mut probe = Vec::<u8>::new();
    let room = usize::try_from(needed).is_ok_and(|n| probe.try_reserve_exact(n).is_ok());
    // What is never used, the compiler may never ask for.
    std::hint::black_box(&probe);
    if room { Ok(()) } else { Err(format!("its {needed} bytes of values do not fit in memory")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_content_tells_and_the_name_only_explains() {
        assert_eq!(Format::of(b"II*\0\x08\0\0\0"), Some(Format::Tiff));
        assert_eq!(Format::of(&[0, 0, 0, 3, 1, 2, 3, 4, 0, 0, 0, 1]), Some(Format::Dm));
        assert_eq!(Format::of(&[0, 0, 0, 3, 1, 2, 3, 4, 0, 0, 0, 2]), None);
        let mut user_block = vec![7; 512];
        user_block.extend(b"\x89HDF\r\n\x1a\n");
        assert_eq!(Format::of(&user_block), Some(Format::Hdf5));
        assert_eq!(Format::of(b""), None);
        let says = |name: &str, bytes: &[u8]| unknown(Path::new(name), bytes).to_string();
        assert!(says("a.png", b"").contains("a.png: the file is empty"));
        assert!(says("a.DM3", b"hello").contains("the name says DM3, but the content begins with 68 65 6c 6c 6f"));
        assert!(says("a.dat", b"hello").contains("f64le,256x256"));
    }
}
