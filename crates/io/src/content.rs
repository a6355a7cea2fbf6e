use std::path::Path;

use parsimon_core::{Axis, Image, Movie, Spectra, SpectrumImage};

use crate::files::{self, Format};
use crate::{Error, Result, bcf, dm, hyperspy, idx, numpy, png, tiff};

/// What a microscopy file holds.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Content {
    /// One image.
    Image(Image),
    /// Several images of one shape.
    Movie(Movie),
    /// Spectra, one per row: a point, a list.
    Spectra(Spectra),
    /// A spectrum at every pixel; a line scan has one row, and its columns are the places along the line.
    SpectrumImage(SpectrumImage),
}

impl Content {
    /// What it is and how large, for messages.
    pub fn describe(&self) -> String {
        let size = |image: &Image| format!("{}×{} pixels", image.shape().0, image.shape().1);
        match self {
            Self::Image(image) => format!("an image of {}", size(image)),
            Self::Movie(movie) => {
                let frames = movie.frames();
                format!("a movie of {} frames of {}", frames.len(), frames.first().map(size).unwrap_or_default())
            }
            Self::Spectra(spectra) => {
                let (n, length) = spectra.values().dim();
                format!("{n} spectra of {length} channels")
            }
            Self::SpectrumImage(image) => match image.values().dim() {
                (1, n, l) => format!("a line scan of {n} spectra of {l} channels"),
                (h, w, l) => format!("a spectrum image of {h}×{w} pixels and {l} channels"),
            },
        }
    }
}

/// Reads a DM3, DM4, Bruker BCF, TIFF, PNG, NPY, NPZ or HyperSpy HDF5 file; the content tells which it is, not the name.
///
/// Values keep the range they are stored in. Pixels that are NaN or infinite are masked ([`Image::is_masked`]).
///
/// # Errors
/// If the file cannot be read, is in none of these formats, is damaged, or holds what none of the types can.
pub fn read(path: &Path) -> Result<Content> {
    let bytes = files::read_bytes(path)?;
    match Format::of(&bytes) {
        Some(Format::Dm) => dm::read(path, &bytes),
        Some(Format::Bcf) => bcf::read(path, &bytes),
        Some(Format::Tiff) => tiff::read(path, &bytes),
        Some(Format::Png) => png::read(path, &bytes).map(Content::Image),
        Some(Format::Npy) => numpy::read_npy(path, bytes),
        Some(Format::Npz) => numpy::read_npz(path, &bytes),
        Some(Format::Hdf5) => hyperspy::read(path, bytes),
        None => Err(files::unknown(path, &bytes)),
    }
}

/// Whether a file is a list of samples, which [`read_dataset`](crate::read_dataset) takes, rather than an image or a spectrum
/// image; the content tells, not the name.
///
/// NPY, NPZ and IDX are lists, also IDX packed by gzip; DM3, DM4, BCF, TIFF, PNG and HDF5 are not. No more than the first bytes
/// are read: a list may still turn out to be damaged, or an NPZ to hold no samples.
///
/// # Errors
/// If the file cannot be read or is in none of these formats.
///
/// ```
/// let folder = tempfile::tempdir()?;
/// let path = folder.path().join("train-images-idx3-ubyte");
/// std::fs::write(&path, [0, 0, 8, 3, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1, 255])?;
/// assert!(parsimon_io::is_list(&path)?);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn is_list(path: &Path) -> Result<bool> {
    let begin = files::read_begin(path)?;
    match Format::of(&begin) {
        Some(Format::Npy | Format::Npz) => Ok(true),
        Some(Format::Dm | Format::Bcf | Format::Tiff | Format::Png | Format::Hdf5) => Ok(false),
        None if idx::is_idx(&begin) => Ok(true),
        None => Err(files::unknown(path, &begin)),
    }
}

/// Reads the images that the electron detectors took with the map of a Bruker BCF file, such as backscattered electrons.
///
/// Images without a signal are left out. Each is titled by its detector.
///
/// # Errors
/// If the file cannot be read, is no BCF file or is damaged.
pub fn read_detector_images(path: &Path) -> Result<Vec<Image>> {
    let bytes = files::read_bytes(path)?;
    match Format::of(&bytes) {
        Some(Format::Bcf) => bcf::images(path, &bytes),
        Some(other) => Err(Error::content(path, format!("{} data", other.name()), "a Bruker BCF file")),
        None => Err(files::unknown(path, &bytes)),
    }
}

/// Reads a file that holds one image.
///
/// # Errors
/// As [`read`], and if the file holds something else; for a movie, [`read_frame`] chooses a frame.
pub fn read_image(path: &Path) -> Result<Image> {
    let content = read(path)?;
    let found = content.describe();
    match content {
        Content::Image(image) => Ok(image),
        Content::Movie(movie) => match movie.frames() {
            [only] => Ok(only.clone()),
            frames => {
                let expected = format!("one image: choose a frame from 0 to {}", frames.len() - 1);
                Err(Error::content(path, found, expected))
            }
        },
        _ => Err(Error::content(path, found, "one image")),
    }
}

/// Reads one frame of a movie; frame 0 of an image is the image.
///
/// # Errors
/// As [`read`], if the file holds spectra, or there is no such frame.
pub fn read_frame(path: &Path, frame: usize) -> Result<Image> {
    let movie = match read(path)? {
        Content::Image(image) => {
            Movie::new(vec![image], Axis::uncalibrated("time")).map_err(|e| Error::data(path, e))?
        }
        Content::Movie(movie) => movie,
        other => return Err(Error::content(path, other.describe(), "an image or a movie")),
    };
    movie.frames().get(frame).cloned().ok_or_else(|| {
        let last = movie.frames().len() - 1;
        Error::content(path, format!("frames 0 to {last}"), format!("a frame {frame}"))
    })
}

/// The same image with this pixel size in both directions, for files that do not say it.
///
/// # Errors
/// If `size` is not a finite number above 0 or `unit` is empty.
pub fn with_pixel_size(image: &Image, size: f64, unit: &str) -> std::result::Result<Image, parsimon_core::Error> {
    if !(size.is_finite() && size > 0.0) || unit.trim().is_empty() {
        let accepted = "finite numbers above 0 with a unit";
        return Err(parsimon_core::Error::Range { what: "pixel size".into(), value: size, accepted });
    }
    let mut values = image.values().to_owned();
    if let Some(mask) = image.mask() {
        values.zip_mut_with(&mask, |v, &masked| *v = if masked { f64::NAN } else { *v });
    }
    let axis = |name| Axis::new(name, size, 0.0, unit);
    Ok(Image::calibrated(values, axis("y"), axis("x"))?.with_metadata(image.metadata.clone()))
}
