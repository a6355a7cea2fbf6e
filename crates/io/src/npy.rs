use std::io::{self, Read, Write};
use std::path::Path;

use ndarray::{ArrayD, ArrayViewD, IxDyn, ShapeBuilder};
use npyz::{DType, Endianness, NpyHeader, Order, TypeStr, WriteOptions, WriterBuilder};

use crate::files::check_room;
use crate::sample::Sample;
use crate::{Error, Result, write_atomically};

/// Longest header read; numpy's own limit is 10,000 bytes.
const MAX_HEADER: usize = 10_000;
/// Bytes before the header of version 2 and 3; version 1 has two less.
const LONGEST_PREAMBLE: usize = 12;
/// Deepest nesting of brackets in a header; a plain array needs two.
const MAX_NESTING: usize = 8;

/// One array as stored: shape, type and bytes.
#[derive(Debug, Clone)]
pub(crate) struct Stored {
    header: Header,
    bytes: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Kind {
    Number(Sample),
    /// Byte strings of this length.
    Text(usize),
    /// Strings of so many characters of four bytes, as numpy stores Python's own.
    Unicode(usize),
}

/// What precedes the values.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Header {
    /// Bytes before the values.
    pub(crate) length: usize,
    pub(crate) shape: Vec<usize>,
    kind: Kind,
    pub(crate) big_endian: bool,
    pub(crate) fortran: bool,
}

impl Header {
    /// Reads as much of a file as its header says it is long, and leaves it where the values begin.
    pub(crate) fn read(file: &mut impl Read, begin: &mut Vec<u8>) -> io::Result<()> {
        file.take(LONGEST_PREAMBLE as u64 - 2).read_to_end(begin)?;
        if begin.get(6).is_some_and(|version| *version >= 2) {
            file.take(2).read_to_end(begin)?;
        }
        if let Ok((start, length)) = preamble(begin) {
            file.take((start + length - begin.len()) as u64).read_to_end(begin)?;
        }
        Ok(())
    }

    /// Takes the beginning of an NPY file apart; the error is a reason without the file's name.
    pub(crate) fn parse(bytes: &[u8]) -> std::result::Result<Self, String> {
        let length = header_length(bytes)?;
        let header = NpyHeader::from_reader(&bytes[..length]).map_err(|e| e.to_string())?;
        let (kind, big_endian) = element(&header.dtype())?;
        let shape = header.shape().iter().map(|&n| usize::try_from(n).ok()).collect::<Option<Vec<_>>>();
        let shape = shape.ok_or("the header claims a shape larger than any memory")?;
        Ok(Self { length, shape, kind, big_endian, fortran: header.order() == Order::Fortran })
    }

    /// Bytes of the values, unless they are more than there can be.
    pub(crate) fn bytes(&self) -> Option<usize> {
        let size = match self.kind {
            Kind::Number(sample) => sample.size(),
            Kind::Text(length) => length,
            Kind::Unicode(length) => length.checked_mul(4)?,
        };
        self.shape.iter().try_fold(size, |product, &n| product.checked_mul(n))
    }

    /// Why a file with so many bytes after the header is not what the header says.
    pub(crate) fn misfit(&self, found: u64) -> String {
        let needed = self.bytes().map_or_else(|| "more than fits in memory".to_owned(), |n| n.to_string());
        format!("an array of shape {:?} needs {needed} bytes after the header, there are {found}", self.shape)
    }

    /// The type of its numbers.
    pub(crate) fn number(&self) -> std::result::Result<Sample, String> {
        match self.kind {
            Kind::Number(sample) => Ok(sample),
            Kind::Text(_) | Kind::Unicode(_) => Err("holds text, expected numbers".into()),
        }
    }
}

impl Stored {
    /// Takes apart the bytes of an NPY file; the error is a reason without the file's name.
    pub(crate) fn parse(mut bytes: Vec<u8>) -> std::result::Result<Self, String> {
        let header = Header::parse(&bytes)?;
        let found = bytes.len() - header.length;
        if header.bytes() != Some(found) {
            return Err(header.misfit(found as u64));
        }
        bytes.drain(..header.length);
        Ok(Self { header, bytes })
    }

    /// `uint32`, `float16`, ….
    pub(crate) fn type_name(&self) -> &'static str {
        match self.header.kind {
            Kind::Number(sample) => sample.name(),
            Kind::Text(_) => "bytes",
            Kind::Unicode(_) => "text",
        }
    }

    /// Number of dimensions.
    pub(crate) fn rank(&self) -> usize {
        self.header.shape.len()
    }

    /// Sizes of its dimensions.
    pub(crate) fn shape(&self) -> &[usize] {
        &self.header.shape
    }

    fn arrange<T>(&self, values: Vec<T>) -> std::result::Result<ArrayD<T>, String> {
        let shape = IxDyn(&self.header.shape).set_f(self.header.fortran);
        ArrayD::from_shape_vec(shape, values).map_err(|e| e.to_string())
    }

    /// The type of its numbers, if there is room for numbers of so many bytes beside those they are made of.
    pub(crate) fn number(&self, size: usize) -> std::result::Result<Sample, String> {
        let sample = self.header.number()?;
        let count = self.header.shape.iter().fold(1_u64, |product, &n| product.saturating_mul(n as u64));
        check_room(count.saturating_mul((size + sample.size()) as u64))?;
        Ok(sample)
    }

    pub(crate) fn to_f64(&self) -> std::result::Result<ArrayD<f64>, String> {
        self.arrange(self.number(size_of::<f64>())?.to_f64(self.header.big_endian, &self.bytes))
    }

    pub(crate) fn to_f32(&self) -> std::result::Result<ArrayD<f32>, String> {
        self.arrange(self.number(size_of::<f32>())?.to_f32(self.header.big_endian, &self.bytes))
    }

    /// Whole numbers; floats are accepted if every one is whole.
    pub(crate) fn to_i64(&self) -> std::result::Result<ArrayD<i64>, String> {
        let sample = self.number(size_of::<i64>())?;
        if !sample.is_integer() {
            let values = sample.to_f64(self.header.big_endian, &self.bytes);
            if let Some(odd) = values.iter().find(|v| v.fract() != 0.0) {
                return Err(format!("holds {odd}, expected whole numbers"));
            }
        }
        self.arrange(sample.to_i64(self.header.big_endian, &self.bytes))
    }

    /// A single text.
    pub(crate) fn to_text(&self) -> Option<String> {
        if self.header.shape.iter().product::<usize>() != 1 {
            return None;
        }
        let text = match self.header.kind {
            Kind::Number(_) => None,
            Kind::Text(_) => std::str::from_utf8(&self.bytes).ok().map(str::to_owned),
            Kind::Unicode(_) => {
                let code = if self.header.big_endian { u32::from_be_bytes } else { u32::from_le_bytes };
                self.bytes.chunks_exact(4).map(|c| char::from_u32(code([c[0], c[1], c[2], c[3]]))).collect()
            }
        };
        text.map(|text: String| text.trim_end_matches('\0').to_owned())
    }
}

/// Length of the preamble, and of the header that follows, as it says.
fn preamble(bytes: &[u8]) -> std::result::Result<(usize, usize), String> {
    let (start, length) = match bytes.get(6).zip(bytes.get(8..)) {
        Some((1, [a, b, ..])) => (10, usize::from(u16::from_le_bytes([*a, *b]))),
        Some((2 | 3, [a, b, c, d, ..])) => (12, u32::from_le_bytes([*a, *b, *c, *d]) as usize),
        Some((version @ (0 | 4..), _)) => return Err(format!("unknown version {version}")),
        _ => return Err(format!("cut off after {} bytes, within the header", bytes.len())),
    };
    if length > MAX_HEADER {
        return Err(format!("the header claims {length} bytes, at most {MAX_HEADER} are accepted"));
    }
    Ok((start, length))
}

/// Length of preamble and header together, checked before the header's grammar is looked at: that is recursive.
fn header_length(bytes: &[u8]) -> std::result::Result<usize, String> {
    let (start, length) = preamble(bytes)?;
    let Some(header) = bytes.get(start..start + length) else {
        return Err(format!("cut off after {} bytes, within the header", bytes.len()));
    };
    let (mut depth, mut quote, mut before) = (0_usize, None, b' ');
    for &byte in header {
        if let Some(open) = quote {
            quote = (byte != open).then_some(open);
            continue;
        }
        // Python also writes numbers as 0x10, 1_000 or 1+1, which the search for sizes below does not understand.
        let odd =
            byte == b'+' || before.is_ascii_digit() && (byte == b'_' || byte.is_ascii_alphabetic() && byte != b'L');
        if odd {
            return Err("the header holds a number that is not written in plain digits".into());
        }
        before = byte;
        match byte {
            b'\'' | b'"' => quote = Some(byte),
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > MAX_NESTING {
            return Err("the header is nested too deeply for an array of numbers".into());
        }
    }
    // The reader multiplies the sizes and panics where the product overflows.
    let sizes = header.split(|b| !b.is_ascii_digit()).filter(|digits| digits.iter().any(|&d| d != b'0'));
    let mut sizes = sizes.map(|digits| std::str::from_utf8(digits).ok()?.parse::<u64>().ok());
    if sizes.try_fold(1_u64, |product, size| product.checked_mul(size?)).is_none() {
        return Err("the header claims a shape larger than any memory".into());
    }
    Ok(start + length)
}

fn element(dtype: &DType) -> std::result::Result<(Kind, bool), String> {
    let refuse = || format!("holds {}, expected integers or floats", dtype.descr());
    let DType::Plain(kind) = dtype else { return Err(refuse()) };
    let size = usize::try_from(kind.size_field()).map_err(|_| refuse())?;
    let big_endian = kind.endianness() == Endianness::Big;
    match kind.type_char().to_str() {
        "S" => Ok((Kind::Text(size), false)),
        "U" => Ok((Kind::Unicode(size), big_endian)),
        code => {
            let code = code.chars().next().unwrap_or(' ');
            let sample = Sample::from_kind(code, size).ok_or_else(refuse)?;
            Ok((Kind::Number(sample), big_endian))
        }
    }
}

/// An array to write, in the type it is stored as.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Values<'a> {
    /// float32.
    F32(ArrayViewD<'a, f32>),
    /// float64.
    F64(ArrayViewD<'a, f64>),
    /// int64.
    I64(ArrayViewD<'a, i64>),
    /// One byte string (UTF-8).
    Text(&'a str),
}

impl Values<'_> {
    pub(crate) fn bytes(&self) -> u64 {
        match self {
            Self::F32(array) => 4 * array.len() as u64,
            Self::F64(array) => 8 * array.len() as u64,
            Self::I64(array) => 8 * array.len() as u64,
            Self::Text(text) => text.len() as u64,
        }
    }

    pub(crate) fn write(&self, writer: &mut impl Write) -> io::Result<()> {
        match self {
            Self::F32(array) => write_array(writer, "<f4", array, f32::to_le_bytes),
            Self::F64(array) => write_array(writer, "<f8", array, f64::to_le_bytes),
            Self::I64(array) => write_array(writer, "<i8", array, i64::to_le_bytes),
            Self::Text(text) => {
                // numpy has no strings of length 0.
                let padded = if text.is_empty() { "\0" } else { text };
                write_header(writer, &format!("|S{}", padded.len()), &[])?;
                writer.write_all(padded.as_bytes())
            }
        }
    }
}

fn write_header(writer: &mut impl Write, kind: &str, shape: &[usize]) -> io::Result<()> {
    let kind: TypeStr = kind.parse().map_err(io::Error::other)?;
    let shape: Vec<u64> = shape.iter().map(|&n| n as u64).collect();
    let options = WriteOptions::new_header_only().dtype(DType::new_scalar(kind)).shape(&shape);
    options.writer(writer).write_header_only().map(|_| ())
}

fn write_array<T: Copy, const SIZE: usize>(
    writer: &mut impl Write,
    kind: &str,
    array: &ArrayViewD<'_, T>,
    bytes: fn(T) -> [u8; SIZE],
) -> io::Result<()> {
    write_header(writer, kind, array.shape())?;
    let mut block = Vec::with_capacity(SIZE << 13);
    for &value in array {
        block.extend_from_slice(&bytes(value));
        if block.len() >= SIZE << 13 {
            writer.write_all(&block)?;
            block.clear();
        }
    }
    writer.write_all(&block)
}

/// Writes one array as NPY, float32, row by row, whole or not at all.
///
/// # Errors
/// If the file cannot be written.
pub fn write_npy(path: &Path, array: ArrayViewD<'_, f32>) -> Result<()> {
    write_atomically(path, |writer| Values::F32(array.view()).write(writer))
}

pub(crate) fn read_stored(path: &Path, bytes: Vec<u8>) -> Result<Stored> {
    Stored::parse(bytes).map_err(|reason| Error::format(path, "NPY", reason))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_that_take_more_room_than_their_bytes_are_refused_where_there_is_none() {
        let stored = |kind, shape: Vec<usize>| {
            let header = Header { length: 0, shape, kind: Kind::Number(kind), big_endian: false, fortran: false };
            Stored { header, bytes: Vec::new() }
        };
        // As bytes alone they would fit an address space of 64 bits.
        for kind in [Sample::U8, Sample::F16] {
            let large = stored(kind, vec![1 << 30, 1 << 30]);
            let said = [large.to_f64().err(), large.to_f32().err(), large.to_i64().err()];
            for text in said {
                assert!(text.as_deref().is_some_and(|t| t.contains("do not fit in memory")), "{text:?}");
            }
            assert_eq!(stored(kind, vec![1 << 40, 0]).to_f64().map(|a| a.len()), Ok(0));
        }
    }

    #[test]
    fn text_of_python_is_read_in_either_order_of_bytes() {
        let array = |descr: &str, shape: &str, text: &str, code: fn(u32) -> [u8; 4]| {
            let mut header = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}");
            header.push_str(&" ".repeat(63 - (10 + header.len()) % 64));
            header.push('\n');
            let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
            bytes.extend((header.len() as u16).to_le_bytes());
            bytes.extend(header.as_bytes());
            bytes.extend(text.chars().flat_map(|c| code(c as u32)));
            Stored::parse(bytes)
        };
        for (descr, code) in [("<U3", u32::to_le_bytes as fn(u32) -> [u8; 4]), (">U3", u32::to_be_bytes)] {
            let text = array(descr, "()", "µm\0", code).unwrap();
            assert_eq!(text.to_text().as_deref(), Some("µm"), "{descr}");
            assert_eq!(text.to_f64(), Err("holds text, expected numbers".into()));
            assert_eq!(array(descr, "(2,)", "µm\0nm\0", code).unwrap().to_text(), None, "two are not one");
        }
        assert!(array("<U3", "()", "nm", u32::to_le_bytes).is_err(), "too short");
    }
}
