use std::collections::HashSet;
use std::io::Read;

use flate2::read::ZlibDecoder;

use super::{little, word};

/// First bytes of the container.
pub(crate) const MAGIC: &[u8] = b"AAMVHFSS";
/// Chunks are counted from here, of the size the container says.
const START: usize = 0x118;
/// Bytes at the beginning of each chunk that belong to the container: the first four name the next chunk of a chain.
const CHUNK_HEAD: usize = 32;
/// Bytes of one entry of the tree.
const ENTRY: usize = 0x200;

/// A single file that holds a tree of files, cut into chunks that lie anywhere.
pub(super) struct Container<'a> {
    bytes: &'a [u8],
    chunk: usize,
    entries: Vec<Entry>,
}

struct Entry {
    name: String,
    parent: i32,
    is_folder: bool,
    table: u32,
    size: u64,
}

impl Entry {
    fn parse(bytes: &[u8]) -> Self {
        let name = bytes.get(0xe0..0x1e0).unwrap_or_default();
        let name = name.split(|&b| b == 0).next().unwrap_or_default();
        Self {
            name: String::from_utf8_lossy(name).into_owned(),
            parent: word(bytes, 0x28).unwrap_or_default() as i32,
            is_folder: bytes.get(0xdc).is_some_and(|&b| b != 0),
            table: word(bytes, 0).unwrap_or_default(),
            size: little(bytes.get(4..12).unwrap_or_default()),
        }
    }
}

impl<'a> Container<'a> {
    pub(super) fn parse(bytes: &'a [u8]) -> Result<Self, String> {
        let field = |at| word(bytes, at).ok_or("it ends within its header");
        let (chunk, tree, count) = (field(0x128)? as usize, field(0x140)?, field(0x144)? as usize);
        if chunk < CHUNK_HEAD + ENTRY || chunk > bytes.len() {
            let range = format!("{} to the {} of the file", CHUNK_HEAD + ENTRY, bytes.len());
            return Err(format!("its chunks claim {chunk} bytes, accepted are {range}"));
        }
        if count > bytes.len() / ENTRY {
            return Err(format!("its tree claims {count} entries, more than its {} bytes can hold", bytes.len()));
        }
        let mut container = Self { bytes, chunk, entries: Vec::new() };
        let per_chunk = (chunk - CHUNK_HEAD) / ENTRY;
        let chain = container.chain(tree, count.div_ceil(per_chunk))?;
        let entries = chain.iter().flat_map(|payload| payload.chunks_exact(ENTRY).take(per_chunk));
        container.entries = entries.take(count).map(Entry::parse).collect();
        if container.entries.len() < count {
            return Err("it ends within its tree of files".into());
        }
        Ok(container)
    }

    /// Names of the files in a folder of the root.
    pub(super) fn files(&self, folder: &str) -> impl Iterator<Item = &str> {
        self.children(folder).map(|entry| entry.name.as_str())
    }

    /// A file in a folder of the root, unpacked if it is packed.
    pub(super) fn file(&self, folder: &str, name: &str) -> Result<Vec<u8>, String> {
        let entry = self.children(folder).find(|e| e.name == name);
        let entry = entry.ok_or_else(|| format!("it holds no `{folder}/{name}`"))?;
        let stored = self.stored(entry).map_err(|e| format!("`{name}`: {e}"))?;
        if !stored.starts_with(b"AACS") {
            return Ok(stored);
        }
        unpack(&stored).map_err(|e| format!("`{name}`: {e}"))
    }

    fn children(&self, folder: &str) -> impl Iterator<Item = &Entry> {
        let is_root = |e: &Entry| e.is_folder && e.parent == -1 && e.name == folder;
        let parent = self.entries.iter().position(is_root).and_then(|k| i32::try_from(k).ok());
        self.entries.iter().filter(move |e| !e.is_folder && parent == Some(e.parent))
    }

    /// The chunk of a number, what the container keeps for itself first; the last one of a file may be cut short.
    fn chunk(&self, number: u32) -> Option<&'a [u8]> {
        let start = (number as usize).checked_mul(self.chunk)?.checked_add(START)?;
        let end = start.checked_add(self.chunk)?.min(self.bytes.len());
        self.bytes.get(start..end).filter(|c| c.len() > CHUNK_HEAD)
    }

    /// The payloads of `count` chunks, of which each names the next.
    fn chain(&self, first: u32, count: usize) -> Result<Vec<&'a [u8]>, String> {
        let (mut seen, mut payloads, mut next) = (HashSet::new(), Vec::new(), first);
        for _ in 0..count {
            if !seen.insert(next) {
                return Err(format!("its table of chunks comes back to chunk {next}"));
            }
            let chunk = self.chunk(next).ok_or_else(|| beyond(next))?;
            payloads.push(&chunk[CHUNK_HEAD..]);
            next = word(chunk, 0).unwrap_or_default();
        }
        Ok(payloads)
    }

    /// The bytes of a file as they are stored.
    fn stored(&self, entry: &Entry) -> Result<Vec<u8>, String> {
        let all = self.bytes.len();
        let size = usize::try_from(entry.size).ok().filter(|&size| size <= all);
        let size = size.ok_or_else(|| format!("it claims {} bytes, the container has {all}", entry.size))?;
        let payload = self.chunk - CHUNK_HEAD;
        let chunks = size.div_ceil(payload);
        let per_table = payload / 4;
        let tables = self.chain(entry.table, chunks.div_ceil(per_table))?;
        let numbers = tables.iter().flat_map(|table| table.chunks_exact(4).take(per_table)).take(chunks);
        let mut stored = Vec::with_capacity(size);
        for number in numbers {
            let number = little(number) as u32;
            let chunk = self.chunk(number).ok_or_else(|| beyond(number))?;
            let wanted = payload.min(size - stored.len());
            stored.extend(chunk.get(CHUNK_HEAD..CHUNK_HEAD + wanted).ok_or_else(|| beyond(number))?);
        }
        if stored.len() < size {
            return Err("its table of chunks is cut short".into());
        }
        Ok(stored)
    }
}

fn beyond(number: u32) -> String {
    format!("chunk {number} lies beyond the end")
}

/// Unpacks blocks of zlib, each after a header of 16 bytes that begins with its packed size.
fn unpack(stored: &[u8]) -> Result<Vec<u8>, String> {
    let header = word(stored, 4).zip(word(stored, 12)).ok_or("it ends within its header")?;
    let (most, count) = (u64::from(header.0), header.1);
    let mut rest = stored.get(0x80..).ok_or("it ends within its header")?;
    let mut unpacked = Vec::new();
    for k in 0..count {
        let cut = || format!("it ends within block {k} of {count}");
        let size = word(rest, 0).ok_or_else(cut)? as usize;
        let block = rest.get(16..).and_then(|b| b.get(..size)).ok_or_else(cut)?;
        let before = unpacked.len();
        let mut block_reader = ZlibDecoder::new(block).take(most + 1);
        block_reader.read_to_end(&mut unpacked).map_err(|e| format!("block {k} of {count}: {e}"))?;
        if (unpacked.len() - before) as u64 > most {
            return Err(format!("block {k} of {count} holds more than the {most} bytes its header allows"));
        }
        rest = &rest[16 + size..];
    }
    Ok(unpacked)
}
