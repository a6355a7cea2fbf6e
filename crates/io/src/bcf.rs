mod header;
mod pixels;
mod sfs;

use std::path::Path;

use parsimon_core::{Image, Metadata};
use roxmltree::Document;

use crate::{Content, Error, Result, assemble};

use sfs::Container;
pub(crate) use sfs::MAGIC;

const FORMAT: &str = "Bruker BCF";
const FOLDER: &str = "EDSDatabase";
const HEADER: &str = "HeaderData";
const MAP: &str = "SpectrumData";

/// A Bruker BCF file: the first of its maps.
pub(crate) fn read(path: &Path, bytes: &[u8]) -> Result<Content> {
    let fail = |reason: String| Error::format(path, FORMAT, reason);
    let (container, xml) = open(bytes).map_err(fail)?;
    let mut maps: Vec<usize> = container.files(FOLDER).filter_map(|n| n.strip_prefix(MAP)?.parse().ok()).collect();
    maps.sort_unstable();
    let Some(&index) = maps.first() else {
        return Err(fail(format!("it holds no map (no file `{FOLDER}/{MAP}0`)")));
    };
    let document = Document::parse(&xml).map_err(|e| fail(format!("its header: {e}")))?;
    let database = header::database(&document).map_err(fail)?;
    let said = header::map(database, index).map_err(fail)?;
    let packed = container.file(FOLDER, &format!("{MAP}{index}")).map_err(fail)?;
    let map = pixels::unpack(&packed, said.channels, said.size).map_err(fail)?;
    let mut metadata = assemble::metadata(path, "packed counts");
    header::describe(database, Some(index), &mut metadata);
    if maps.len() > 1 {
        metadata.extra.insert("maps".into(), format!("the first of {}", maps.len()));
    }
    if map.beyond > 0.0 {
        metadata.extra.insert("counts beyond the last channel".into(), map.beyond.to_string());
    }
    // Images that are damaged do not take the spectra with them; `read_detector_images` says what is wrong.
    let images = header::images(database, &Metadata::default()).unwrap_or_default();
    if !images.is_empty() {
        let titles: Vec<&str> = images.iter().map(|i| i.metadata.title.as_str()).collect();
        metadata.extra.insert("detector_images".into(), titles.join(", "));
    }
    assemble::spectrum_image(path, map.counts, said.axes, metadata)
}

/// The images that the electron detectors took with the map.
pub(crate) fn images(path: &Path, bytes: &[u8]) -> Result<Vec<Image>> {
    let fail = |reason: String| Error::format(path, FORMAT, reason);
    let (_, xml) = open(bytes).map_err(fail)?;
    let document = Document::parse(&xml).map_err(|e| fail(format!("its header: {e}")))?;
    let database = header::database(&document).map_err(fail)?;
    let mut metadata = assemble::metadata(path, "");
    header::describe(database, None, &mut metadata);
    header::images(database, &metadata).map_err(fail)
}

/// The container and its header.
fn open(bytes: &[u8]) -> std::result::Result<(Container<'_>, String), String> {
    let container = Container::parse(bytes)?;
    let xml = header::decode(container.file(FOLDER, HEADER)?);
    Ok((container, xml))
}

/// Up to eight bytes as a number, the lowest first.
fn little(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |number, &byte| number << 8 | u64::from(byte))
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at.checked_add(4)?).map(|b| little(b) as u32)
}
