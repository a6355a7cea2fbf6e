use std::collections::HashSet;

use ndarray::{Array3, ArrayViewMut1};

use super::little;
use crate::files;

/// Where the lines begin.
const LINES: usize = 0x1a0;
/// Most pixels for each one that has a spectrum: a map may be sparse or broken off, not all but empty.
const SPARSEST: usize = 64;
/// Channels of spectra that may be missing as often as [`SPARSEST`] says; of more channels, fewer.
const USUAL: usize = 4096;

/// Counts of a map.
pub(super) struct Map {
    /// H×W×L.
    pub(super) counts: Array3<f64>,
    /// Counts in channels beyond the last.
    pub(super) beyond: f64,
}

/// The spectrum of one pixel as it is packed.
struct Packed<'a> {
    at: (usize, usize),
    packing: Packing<'a>,
}

enum Packing<'a> {
    /// One channel number of 16 bits per count.
    Wide(&'a [u8], usize),
    /// One channel number of 12 bits per count.
    Narrow(&'a [u8], usize),
    /// Runs of channels with a common base, then single counts as in `Wide`.
    Runs(&'a [u8], &'a [u8]),
}

/// Unpacks a map of `channels` channels, as the header says, which may know its size, height first.
pub(super) fn unpack(bytes: &[u8], channels: usize, known: Option<(usize, usize)>) -> Result<Map, String> {
    let (height, width, pixels) = scan(bytes)?;
    if let Some((h, w)) = known.filter(|&size| size != (height, width)) {
        return Err(format!("its map has {height}×{width} pixels, its header says {h}×{w}"));
    }
    let most = pixels.len().saturating_mul(SPARSEST);
    let claimed = height.checked_mul(width).filter(|&n| n > 0 && n <= most);
    let Some(claimed) = claimed else {
        let found = pixels.len();
        return Err(format!("its map claims {height}×{width} pixels and holds the spectra of {found}"));
    };
    if claimed.saturating_mul(channels) > most.saturating_mul(USUAL) {
        let (claim, found) = (format!("{height}×{width} pixels of {channels} channels"), pixels.len());
        return Err(format!("its map claims {claim} and holds the spectra of {found}"));
    }
    files::check_room((claimed as u64).saturating_mul(channels as u64).saturating_mul(8))?;
    let mut counts = Array3::zeros((height, width, channels));
    let mut beyond = 0.0;
    for Packed { at: (y, x), packing } in pixels {
        let mut spectrum = Spectrum { counts: counts.slice_mut(ndarray::s![y, x, ..]), beyond: 0.0 };
        spectrum.add(&packing).map_err(|e| format!("the spectrum of pixel ({y}, {x}) {e}"))?;
        beyond += spectrum.beyond;
    }
    Ok(Map { counts, beyond })
}

/// Height, width, and the pixels without looking at their spectra.
fn scan(bytes: &[u8]) -> Result<(usize, usize, Vec<Packed<'_>>), String> {
    let mut reader = Reader(bytes);
    let (height, width) = (reader.number(4)?, reader.number(4)?);
    let mut reader = Reader(bytes.get(LINES..).ok_or(ENDS)?);
    let mut pixels = Vec::new();
    let mut seen = HashSet::new();
    for y in 0..height {
        seen.clear();
        for _ in 0..reader.number(4)? {
            let x = reader.number(4)?;
            if x >= width {
                return Err(format!("pixel {x} of line {y} lies outside the width of {width}"));
            }
            if !seen.insert(x) {
                return Err(format!("pixel {x} of line {y} is recorded twice"));
            }
            // Channels of the map, channels of the pixel, and a constant.
            reader.take(8)?;
            let (flag, _, pulses, size) = (reader.number(2)?, reader.number(2)?, reader.number(2)?, reader.number(4)?);
            let packing = match flag {
                0 => Packing::Wide(reader.take(size)?, pulses),
                1 => Packing::Narrow(reader.take(size)?, pulses),
                _ => {
                    let runs = size.checked_sub(4).ok_or_else(|| format!("pixel ({y}, {x}) has a size of {size}"))?;
                    let runs = reader.take(runs)?;
                    let single = reader.number(4)?;
                    if pulses > 0 && single != 2 * pulses {
                        return Err(format!("pixel ({y}, {x}) has {pulses} single counts in {single} bytes"));
                    }
                    Packing::Runs(runs, reader.take(2 * pulses)?)
                }
            };
            pixels.push(Packed { at: (y, x), packing });
        }
    }
    Ok((height, width, pixels))
}

const ENDS: &str = "its map ends too early";

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], String> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(ENDS)?;
        self.0 = rest;
        Ok(taken)
    }

    /// A little-endian number of at most four bytes.
    fn number(&mut self, size: usize) -> Result<usize, String> {
        Ok(little(self.take(size)?) as usize)
    }
}

/// The spectrum being filled.
struct Spectrum<'a> {
    counts: ArrayViewMut1<'a, f64>,
    beyond: f64,
}

impl Spectrum<'_> {
    fn add(&mut self, packing: &Packing<'_>) -> Result<(), String> {
        match *packing {
            Packing::Wide(data, pulses) => {
                let data = pulses.checked_mul(2).and_then(|size| data.get(..size));
                self.add_wide(data.ok_or("ends within its counts")?);
            }
            Packing::Narrow(data, pulses) => self.add_narrow(data, pulses)?,
            Packing::Runs(runs, single) => {
                self.add_runs(runs)?;
                self.add_wide(single);
            }
        }
        Ok(())
    }

    fn add_at(&mut self, channel: usize, counts: f64) {
        match self.counts.get_mut(channel) {
            Some(there) => *there += counts,
            None => self.beyond += counts,
        }
    }

    fn add_wide(&mut self, data: &[u8]) {
        for channel in data.chunks_exact(2) {
            self.add_at(little(channel) as usize, 1.0);
        }
    }

    /// Numbers of 12 bits, the highest bit first, in little-endian words of 16 bits.
    fn add_narrow(&mut self, data: &[u8], pulses: usize) -> Result<(), String> {
        if pulses.saturating_mul(12).div_ceil(16) > data.len() / 2 {
            return Err("ends within its counts".into());
        }
        let word = |k: usize| data.get(2 * k..2 * k + 2).map_or(0, little);
        for pulse in 0..pulses {
            let (first, bit) = (12 * pulse / 16, 12 * pulse % 16);
            let two = word(first) << 16 | word(first + 1);
            self.add_at((two >> (20 - bit) & 0xfff) as usize, 1.0);
        }
        Ok(())
    }

    /// Each run: a size, a number of channels, and unless the size is 0 (no counts) a base of that many bytes and
    /// what to add to it for each channel, of half that size.
    fn add_runs(&mut self, mut data: &[u8]) -> Result<(), String> {
        let mut channel = 0;
        while let [size, count, rest @ ..] = data {
            let (size, count) = (usize::from(*size), usize::from(*count));
            if !matches!(size, 0 | 1 | 2 | 4 | 8) {
                return Err(format!("has a run of size {size}, accepted are 0, 1, 2, 4 and 8"));
            }
            let cut = "ends within a run";
            let (base, rest) = rest.split_at_checked(size).ok_or(cut)?;
            let (steps, rest) = rest.split_at_checked((size * count).div_ceil(2)).ok_or(cut)?;
            let base = little(base) as f64;
            for k in 0..if size == 0 { 0 } else { count } {
                let step = match size {
                    1 => u64::from(steps[k / 2] >> (4 * (k % 2)) & 0xf),
                    _ => little(&steps[k * size / 2..(k + 1) * size / 2]),
                };
                self.add_at(channel + k, base + step as f64);
            }
            channel += count;
            data = rest;
        }
        if data.is_empty() { Ok(()) } else { Err("ends within a run".into()) }
    }
}
