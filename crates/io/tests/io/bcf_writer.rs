use std::io::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use flate2::Compression;
use flate2::write::ZlibEncoder;
use ndarray::{Array3, ArrayView1};

/// How the spectra are packed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Packing {
    /// 16 bits per count.
    Wide,
    /// 12 bits per count.
    Narrow,
    /// Runs of channels, and one count of the first channel that has any as a single count.
    Runs,
}

/// A little Bruker BCF file: files in chunks that lie in reverse order, the tree and the tables in chains of chunks.
#[derive(Debug, Clone, Copy)]
pub struct BcfWriter {
    /// Bytes of a chunk; 576 is one entry of the tree per chunk.
    pub chunk: usize,
    /// Whether the files are packed by zlib, in blocks of 1000 bytes.
    pub compressed: bool,
    pub packing: Packing,
}

impl BcfWriter {
    /// A file with the map of these counts, of which pixels without counts are left out.
    pub fn file(&self, counts: &Array3<u64>) -> Vec<u8> {
        self.container(&[("HeaderData", header(counts).into_bytes()), ("SpectrumData0", self.map(counts))])
    }

    /// A container with these files in the folder `EDSDatabase`.
    pub fn container(&self, files: &[(&str, Vec<u8>)]) -> Vec<u8> {
        let payload = self.chunk - 32;
        // The first chunk is where the container has its header. Next chunk, payload.
        let mut chunks: Vec<(u32, Vec<u8>)> = vec![(0, Vec::new())];
        let mut tree = vec![entry("EDSDatabase", -1, true, u32::MAX, 0)];
        for (name, bytes) in files {
            let packed = if self.compressed { blocks(bytes) } else { bytes.clone() };
            let pieces: Vec<&[u8]> = packed.chunks(payload).collect();
            let first = chunks.len();
            let place = |k: usize| (first + pieces.len() - 1 - k) as u32;
            let table: Vec<u8> = (0..pieces.len()).flat_map(|k| place(k).to_le_bytes()).collect();
            chunks.extend(pieces.iter().rev().map(|piece| (u32::MAX, piece.to_vec())));
            let start = chain(&mut chunks, &table, payload / 4 * 4);
            tree.push(entry(name, 0, false, start, packed.len() as u64));
        }
        let tree_start = chain(&mut chunks, &tree.concat(), payload / 512 * 512);
        let mut file = vec![0; 0x118 + chunks.len() * self.chunk];
        for (k, (next, bytes)) in chunks.iter().enumerate() {
            let at = 0x118 + k * self.chunk;
            file[at..at + 4].copy_from_slice(&next.to_le_bytes());
            file[at + 32..at + 32 + bytes.len()].copy_from_slice(bytes);
        }
        file[..8].copy_from_slice(b"AAMVHFSS");
        file[0x124..0x128].copy_from_slice(&2.6_f32.to_le_bytes());
        for (at, number) in
            [(0x128, self.chunk), (0x140, tree_start as usize), (0x144, tree.len()), (0x148, chunks.len())]
        {
            file[at..at + 4].copy_from_slice(&(number as u32).to_le_bytes());
        }
        file
    }

    pub fn map(&self, counts: &Array3<u64>) -> Vec<u8> {
        let (height, width, channels) = counts.dim();
        let mut map = [height as u32, width as u32].map(u32::to_le_bytes).concat();
        map.resize(0x1a0, 7);
        for line in counts.outer_iter() {
            let pixels: Vec<usize> = (0..width).rev().filter(|&x| line.row(x).sum() > 0).collect();
            map.extend((pixels.len() as u32).to_le_bytes());
            for x in pixels {
                let (flag, data, pulses) = self.spectrum(line.row(x));
                map.extend((x as u32).to_le_bytes());
                map.extend([channels as u16, channels as u16].map(u16::to_le_bytes).concat());
                map.extend(786_432_u32.to_le_bytes());
                map.extend([flag, data.len() as u16, pulses as u16].map(u16::to_le_bytes).concat());
                // The size of runs counts the size of the single counts after them, not these themselves.
                let singles = if self.packing == Packing::Runs { 2 * pulses } else { 0 };
                map.extend(((data.len() - singles) as u32).to_le_bytes());
                map.extend(data);
            }
        }
        map
    }

    /// Flag, packed counts, number of counts listed one by one.
    fn spectrum(&self, counts: ArrayView1<'_, u64>) -> (u16, Vec<u8>, usize) {
        let list: Vec<u16> = match self.packing {
            Packing::Runs => counts.iter().position(|&n| n > 0).into_iter().map(|c| c as u16).collect(),
            _ => counts.iter().enumerate().flat_map(|(c, &n)| vec![c as u16; n as usize]).collect(),
        };
        let wide: Vec<u8> = list.iter().flat_map(|c| c.to_le_bytes()).collect();
        match self.packing {
            Packing::Wide => (0, wide, list.len()),
            Packing::Narrow => {
                let four = |four: &[u16]| {
                    let [a, b, c, d] = std::array::from_fn(|k| four.get(k).copied().unwrap_or(0));
                    [a << 4 | b >> 8, a >> 4, c >> 4, b, d, c << 4 | d >> 8].map(|v| v as u8)
                };
                (1, list.chunks(4).flat_map(four).collect(), list.len())
            }
            Packing::Runs => {
                let mut rest = counts.to_vec();
                list.iter().for_each(|&c| rest[c as usize] -= 1);
                let mut data: Vec<u8> = rest.chunks(7).flat_map(run).collect();
                data.extend((wide.len() as u32).to_le_bytes());
                data.extend(wide);
                (2, data, list.len())
            }
        }
    }
}

fn run(counts: &[u64]) -> Vec<u8> {
    let (low, high) = counts.iter().fold((u64::MAX, 0), |(low, high), &n| (low.min(n), high.max(n)));
    let fits = |&size: &u64| high - low < 1 << (4 * size) && (size == 8 || low < 1 << (8 * size));
    let size = if high == 0 { 0 } else { [1, 2, 4, 8].into_iter().find(fits).unwrap() as usize };
    let mut run = vec![size as u8, counts.len() as u8];
    run.extend(&low.to_le_bytes()[..size]);
    match size {
        0 => {}
        1 => {
            let second = |two: &[u64]| two.get(1).map_or(0, |n| (n - low) as u8);
            run.extend(counts.chunks(2).map(|two| (two[0] - low) as u8 | second(two) << 4));
        }
        _ => counts.iter().for_each(|n| run.extend(&(n - low).to_le_bytes()[..size / 2])),
    }
    run
}

/// Appends bytes as a chain of chunks; gives the first.
fn chain(chunks: &mut Vec<(u32, Vec<u8>)>, bytes: &[u8], per_chunk: usize) -> u32 {
    let first = chunks.len() as u32;
    let pieces = bytes.chunks(per_chunk);
    let last = (pieces.len() as u32).saturating_sub(1);
    chunks.extend(pieces.zip(0..).map(|(piece, k)| (if k < last { first + k + 1 } else { u32::MAX }, piece.to_vec())));
    first
}

fn entry(name: &str, parent: i32, folder: bool, table: u32, size: u64) -> Vec<u8> {
    let mut entry = vec![0; 512];
    entry[..4].copy_from_slice(&table.to_le_bytes());
    entry[4..12].copy_from_slice(&size.to_le_bytes());
    entry[0x28..0x2c].copy_from_slice(&parent.to_le_bytes());
    entry[0xdc] = u8::from(folder);
    entry[0xe0..0xe0 + name.len()].copy_from_slice(name.as_bytes());
    entry
}

fn blocks(bytes: &[u8]) -> Vec<u8> {
    let blocks = bytes.chunks(1000);
    let mut packed = [u32::from_le_bytes(*b"AACS"), 1000, 0, blocks.len() as u32].map(u32::to_le_bytes).concat();
    packed.resize(0x80, 0);
    for block in blocks {
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(block).unwrap();
        let data = encoder.finish().unwrap();
        let size = data.len() as u32;
        packed.extend([size, block.len() as u32, 0, size + 16].map(u32::to_le_bytes).concat());
        packed.extend(data);
    }
    packed
}

/// The header of a map, with images of two detectors, of which the second saw nothing.
pub fn header(counts: &Array3<u64>) -> String {
    let (height, width, channels) = counts.dim();
    let plane = |k: usize, name: &str, step: usize| {
        let pixels: Vec<u8> = (0..height * width).flat_map(|p| ((p * step) as u16).to_le_bytes()).collect();
        let data = STANDARD.encode(pixels);
        format!("<Plane{k}><Description>{name}</Description><Data>{data}</Data></Plane{k}>")
    };
    let size =
        format!("<ItemSize>2</ItemSize><Width>{width}</Width><Height>{height}</Height><PlaneCount>2</PlaneCount>");
    let sum: Vec<String> = (0..channels).map(|c| counts.slice(ndarray::s![.., .., c]).sum().to_string()).collect();
    let count = format!("<ChannelCount>{channels}</ChannelCount>");
    let region = |name: &str, line: &str| {
        format!(r#"<ClassInstance Type="TRTSpectrumRegion" Name="{name}"><Line>{line}</Line></ClassInstance>"#)
    };
    [
        r#"<?xml version="1.0" encoding="WINDOWS-1252"?><TRTSpectrumDatabase>"#,
        r#"<ClassInstance Type="TRTSpectrumDatabase" Name="made">"#,
        "<Header><Date>4.10.2018</Date><Time>13:2:7</Time></Header>",
        r#"<ClassInstance Type="TRTSEMData"><HV>20</HV><DX>0,5</DX><DY>0,25</DY></ClassInstance>"#,
        r#"<ClassInstance Type="TRTDSPConfiguration"><PixelAverage>2</PixelAverage><LineAverage>1</LineAverage>"#,
        "<PixelTime>500</PixelTime></ClassInstance>",
        r#"<ClassInstance Type="TRTImageData">"#,
        &size,
        &plane(0, "BSE", 3),
        &plane(1, "SE", 0),
        "</ClassInstance>",
        &region("Ca", "KA"),
        &region("Nd", "LA"),
        &region("Ca", "KA"),
        "<LineCounter>1000,1000</LineCounter>",
        r#"<SpectrumData0><ClassInstance Type="TRTSpectrum"><TRTHeaderedClass>"#,
        r#"<ClassInstance Type="TRTSpectrumHardwareHeader"><LifeTime>1500</LifeTime></ClassInstance></TRTHeaderedClass>"#,
        r#"<ClassInstance Type="TRTSpectrumHeader"><CalibAbs>-4.7E-1</CalibAbs><CalibLin>1E-2</CalibLin>"#,
        &count,
        "</ClassInstance><Channels>",
        &sum.join(","),
        "</Channels></ClassInstance></SpectrumData0></ClassInstance></TRTSpectrumDatabase>",
    ]
    .concat()
}
