use std::fs::File;
use std::io::{ErrorKind, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use ndarray::Array2;

use crate::files::{Format, check_room, unknown};
use crate::npy::Header;
use crate::sample::Sample;
use crate::{Error, Result};

/// Rows of a large NPY file, read in blocks, never held together.
///
/// The rows of an array (N, D) are its N rows; those of a spectrum image (H, W, L) are its H·W spectra, pixel by pixel
/// as they lie in the file. Integers, float16, float32 and float64 of either byte order, in C order.
///
/// # Shapes
/// Blocks of (B, D), the last one shorter.
///
/// ```
/// use ndarray::Array2;
/// use parsimon_io::{NpyRows, write_npy};
///
/// let folder = tempfile::tempdir()?;
/// let path = folder.path().join("large.npy");
/// write_npy(&path, Array2::<f32>::ones((5, 3)).view().into_dyn())?;
/// let mut rows = NpyRows::open(&path)?;
/// let mut sizes = Vec::new();
/// while let Some(block) = rows.next_block(2)? {
///     sizes.push(block.dim());
/// }
/// assert_eq!(sizes, [(2, 3), (2, 3), (1, 3)]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct NpyRows {
    path: PathBuf,
    file: File,
    shape: Vec<usize>,
    width: usize,
    sample: Sample,
    big_endian: bool,
    /// Bytes before the first row.
    header: u64,
    /// Rows read so far.
    read: usize,
}

impl NpyRows {
    /// Opens a file and looks at its header and length; nothing else is read.
    ///
    /// # Errors
    /// If the file cannot be read, is no NPY file, does not hold numbers of 2 or 3 dimensions in C order, or is not as
    /// long as its header says.
    pub fn open(path: &Path) -> Result<Self> {
        let fail = |e| Error::read(path, e);
        let wrong = |reason: String| Error::format(path, "NPY", reason);
        let mut file = File::open(path).map_err(fail)?;
        let there = file.metadata().map_err(fail)?;
        if there.is_dir() {
            return Err(fail(std::io::Error::other("it is a directory")));
        }
        let mut begin = Vec::new();
        Header::read(&mut file, &mut begin).map_err(fail)?;
        if Format::of(&begin) != Some(Format::Npy) {
            return Err(unknown(path, &begin));
        }
        let header = Header::parse(&begin).map_err(wrong)?;
        let sample = header.number().map_err(wrong)?;
        let (shape, width) = match header.shape[..] {
            [_, width] | [_, _, width] => (header.shape.clone(), width),
            _ => {
                let found = format!("an array of {} dimensions", header.shape.len());
                return Err(Error::content(path, found, "2 (rows, columns) or 3 (height, width, channels)"));
            }
        };
        if header.fortran {
            let expected = "C order, in which a row lies together: save np.ascontiguousarray(array)";
            return Err(Error::content(path, "an array in Fortran order", expected));
        }
        if width == 0 {
            return Err(Error::content(path, format!("an array of shape {shape:?}"), "rows of at least one number"));
        }
        let (needed, found) = (header.bytes(), there.len().saturating_sub(header.length as u64));
        if needed.is_none_or(|needed| needed as u64 != found) {
            let row = (width as u64).saturating_mul(sample.size() as u64);
            return Err(wrong(format!("{}: {} whole rows of {width} numbers", header.misfit(found), found / row)));
        }
        let (path, big_endian, header) = (path.to_owned(), header.big_endian, header.length as u64);
        Ok(Self { path, file, shape, width, sample, big_endian, header, read: 0 })
    }

    /// Shape of the array in the file, (N, D) or (H, W, L).
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Number of rows, N or H·W.
    pub fn rows(&self) -> usize {
        self.shape[..self.shape.len() - 1].iter().product()
    }

    /// Numbers in a row.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Bytes of the file that so many rows take.
    fn bytes(&self, rows: usize) -> Option<usize> {
        rows.checked_mul(self.width)?.checked_mul(self.sample.size())
    }

    /// The next `rows` rows, or as many as there are; none at the end. What is NaN or infinite in the file is so here. After an
    /// error the same rows are next.
    ///
    /// # Errors
    /// If `rows` is 0, or a block does not fit in memory, or the file cannot be read or has become shorter.
    pub fn next_block(&mut self, rows: usize) -> Result<Option<Array2<f64>>> {
        if rows == 0 {
            return Err(Error::content(&self.path, "blocks of 0 rows", "blocks of 1 row and more"));
        }
        let rows = rows.min(self.rows() - self.read);
        if rows == 0 {
            return Ok(None);
        }
        let wrong = |reason: String| Error::format(&self.path, "NPY", reason);
        let too_large = || wrong(format!("a block of {rows} rows of {} numbers does not fit in memory", self.width));
        let size = self.bytes(rows).ok_or_else(too_large)?;
        let mut bytes = Vec::new();
        bytes.try_reserve_exact(size).map_err(|_| too_large())?;
        // The numbers as f64 stand beside their bytes.
        check_room((rows as u64).saturating_mul(self.width as u64).saturating_mul(8)).map_err(|_| too_large())?;
        bytes.resize(size, 0);
        // Where a failed read has left the file is anyone's guess.
        let row = self.width as u64 * self.sample.size() as u64;
        self.file
            .seek(SeekFrom::Start(self.header + self.read as u64 * row))
            .map_err(|e| Error::read(&self.path, e))?;
        if let Err(e) = self.file.read_exact(&mut bytes) {
            return Err(match e.kind() {
                ErrorKind::UnexpectedEof => {
                    wrong(format!("cut off after {} of {} rows, while it was read", self.read, self.rows()))
                }
                _ => Error::read(&self.path, e),
            });
        }
        self.read += rows;
        let values = self.sample.to_f64(self.big_endian, &bytes);
        Array2::from_shape_vec((rows, self.width), values).map(Some).map_err(|e| Error::format(&self.path, "NPY", e))
    }
}

#[cfg(test)]
mod tests {
    use ndarray::{Array3, ArrayD, Axis};
    use tempfile::TempDir;

    use super::*;
    use crate::{Values, write_atomically};

    fn stored(folder: &TempDir, name: &str, values: Values<'_>) -> PathBuf {
        let path = folder.path().join(name);
        write_atomically(&path, |writer| values.write(writer)).unwrap();
        path
    }

    fn with_header(folder: &TempDir, header: &str, values: &[u8]) -> PathBuf {
        let path = folder.path().join("raw.npy");
        let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
        bytes.extend((header.len() as u16).to_le_bytes());
        bytes.extend(header.as_bytes());
        bytes.extend(values);
        std::fs::write(&path, bytes).unwrap();
        path
    }

    fn all(path: &Path, block: usize) -> Array2<f64> {
        let mut rows = NpyRows::open(path).unwrap();
        let mut out = Array2::zeros((0, rows.width()));
        while let Some(block) = rows.next_block(block).unwrap() {
            out.append(Axis(0), block.view()).unwrap();
        }
        assert!(rows.next_block(1).unwrap().is_none(), "the end stays the end");
        assert_eq!(out.nrows(), rows.rows());
        out
    }

    #[test]
    fn blocks_are_the_rows_whatever_their_size_and_type() {
        let folder = tempfile::tempdir().unwrap();
        let image = Array3::from_shape_fn((5, 7, 3), |(y, x, l)| (y * 21 + x * 3 + l) as f64 - 40.0);
        let expected = image.to_shape((35, 3)).unwrap().to_owned();
        let whole: ArrayD<i64> = image.mapv(|v| v as i64).into_dyn();
        let narrow: ArrayD<f32> = image.mapv(|v| v as f32).into_dyn();
        let files = [
            stored(&folder, "f64.npy", Values::F64(image.view().into_dyn())),
            stored(&folder, "f32.npy", Values::F32(narrow.view())),
            stored(&folder, "i64.npy", Values::I64(whole.view())),
            stored(&folder, "rows.npy", Values::F64(expected.view().into_dyn())),
        ];
        for path in &files {
            for block in [1, 4, 35, 1000] {
                assert_eq!(all(path, block), expected);
            }
        }
        let mut rows = NpyRows::open(&files[0]).unwrap();
        assert_eq!((rows.shape(), rows.rows(), rows.width()), (&[5, 7, 3][..], 35, 3));
        assert!(rows.next_block(0).unwrap_err().to_string().contains("blocks of 0 rows"));
        let big = [258u16, 3, 65_535, 4].map(u16::to_be_bytes).concat();
        let path = with_header(&folder, "{'descr': '>u2', 'fortran_order': False, 'shape': (2, 2), }", &big);
        assert_eq!(all(&path, 1), ndarray::array![[258.0, 3.0], [65_535.0, 4.0]]);
        let path = with_header(&folder, "{'descr': '<f4', 'fortran_order': False, 'shape': (0, 2), }", &[]);
        assert_eq!(all(&path, 8).dim(), (0, 2));
    }

    #[test]
    fn long_headers_of_later_versions_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let header = format!("{{'descr': '|u1', 'fortran_order': False, 'shape': (2, 1), }}{}", " ".repeat(9000));
        let mut bytes = b"\x93NUMPY\x02\x00".to_vec();
        bytes.extend((header.len() as u32).to_le_bytes());
        bytes.extend(header.as_bytes());
        bytes.extend([7, 9]);
        let path = folder.path().join("two.npy");
        std::fs::write(&path, bytes).unwrap();
        assert_eq!(all(&path, 1), ndarray::array![[7.0], [9.0]]);
    }

    #[test]
    fn a_file_that_ends_too_soon_tells_its_rows() {
        let folder = tempfile::tempdir().unwrap();
        let path = stored(&folder, "a.npy", Values::F64(ArrayD::zeros(vec![100, 4]).view()));
        let whole = std::fs::metadata(&path).unwrap().len();
        let cut = |length: u64| File::options().write(true).open(&path).unwrap().set_len(length).unwrap();
        // While it is read.
        let mut rows = NpyRows::open(&path).unwrap();
        assert_eq!(rows.next_block(60).unwrap().map(|b| b.nrows()), Some(60));
        cut(whole - 32 * 20 - 5);
        let said = rows.next_block(60).unwrap_err().to_string();
        assert!(said.contains("a.npy") && said.contains("cut off after 60 of 100 rows"), "{said}");
        assert!(rows.next_block(60).is_err(), "and stays so");
        // Before.
        let said = NpyRows::open(&path).unwrap_err().to_string();
        assert!(said.contains("needs 3200 bytes") && said.contains("79 whole rows of 4 numbers"), "{said}");
        for length in 0..whole - 3200 {
            cut(length);
            assert!(NpyRows::open(&path).is_err(), "{length} bytes");
        }
    }

    #[test]
    fn what_cannot_be_streamed_is_refused_by_its_header() {
        let folder = tempfile::tempdir().unwrap();
        let refused = |descr: &str, fortran: &str, shape: &str, values: &[u8]| {
            let header = format!("{{'descr': '{descr}', 'fortran_order': {fortran}, 'shape': {shape}, }}");
            NpyRows::open(&with_header(&folder, &header, values)).unwrap_err().to_string()
        };
        assert!(refused("<f8", "True", "(2, 2)", &[0; 32]).contains("Fortran order, expected C order"));
        assert!(refused("<f8", "False", "(4,)", &[0; 32]).contains("an array of 1 dimensions, expected 2"));
        assert!(refused("<f8", "False", "(1, 2, 2, 1)", &[0; 32]).contains("an array of 4 dimensions"));
        assert!(refused("<f8", "False", "(2, 0)", &[]).contains("rows of at least one number"));
        assert!(refused("<c16", "False", "(1, 2)", &[0; 32]).contains("expected integers or floats"));
        assert!(refused("|S4", "False", "(1, 2)", &[0; 8]).contains("holds text"));
        // Sizes that lie, up to those whose product is no number.
        assert!(refused("<f8", "False", "(1000000, 1000000)", &[0; 32]).contains("needs 8000000000000 bytes"));
        assert!(refused("<f8", "False", "(4294967296, 4294967296)", &[0; 32]).contains("larger than any memory"));
        assert!(refused("<f8", "False", "(2147483648, 4294967296)", &[0; 32]).contains("larger than any memory"));
        assert!(refused("<f8", "False", "(1, 2)", &[0; 32]).contains("needs 16 bytes after the header, there are 32"));
        let path = folder.path().join("picture.npy");
        std::fs::write(&path, b"\x89PNG\r\n\x1a\n0000000000000000").unwrap();
        assert!(NpyRows::open(&path).unwrap_err().to_string().contains("the name says NPY, but the content"));
        std::fs::write(&path, b"").unwrap();
        assert!(NpyRows::open(&path).unwrap_err().to_string().contains("the file is empty"));
        assert!(NpyRows::open(folder.path()).unwrap_err().to_string().contains("directory"));
        assert!(NpyRows::open(&folder.path().join("none.npy")).is_err());
    }
}
