use ndarray::Array3;
use parsimon_io::{Content, read, read_detector_images};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::bcf_writer::{BcfWriter, Packing, header};
use crate::{Folder, message};
use parsimon_datasets::real;

const PLAIN: BcfWriter = BcfWriter { chunk: 4096, compressed: false, packing: Packing::Runs };

/// Few counts in each channel, none at all in pixel (1, 2).
pub fn few() -> Array3<u64> {
    let mut rng = ChaCha8Rng::seed_from_u64(3);
    let mut counts = Array3::from_shape_simple_fn((3, 5, 301), || rng.gen_range(0_u64..4) / 2);
    counts.slice_mut(ndarray::s![1, 2, ..]).fill(0);
    counts
}

/// Counts that need runs of every size.
fn many() -> Array3<u64> {
    let mut counts = few();
    counts.slice_mut(ndarray::s![.., .., 140..160]).fill(0);
    for (channel, add) in [(30, 9), (31, 200), (60, 7_000), (100, 70_000), (200, 1 << 31)] {
        counts.slice_mut(ndarray::s![0, .., channel]).map_inplace(|n| *n += add);
    }
    // A run of seven channels whose base does not fit in 32 bits.
    counts.slice_mut(ndarray::s![2, .., 287..294]).map_inplace(|n| *n += 1 << 40);
    counts
}

#[test]
fn every_packing_is_read_from_containers_of_every_kind() {
    let folder = Folder::new();
    for packing in [Packing::Wide, Packing::Narrow, Packing::Runs] {
        let counts = if packing == Packing::Runs { many() } else { few() };
        for (chunk, compressed) in [(576, false), (576, true), (4096, false), (4096, true)] {
            let writer = BcfWriter { chunk, compressed, packing };
            let content = read(&folder.write("a.bcf", writer.file(&counts))).unwrap();
            let Content::SpectrumImage(image) = content else { panic!("a spectrum image") };
            assert_eq!(image.values(), counts.mapv(|n| n as f64), "{writer:?}");
        }
    }
    // Tables of 136 chunks each: this file needs two.
    let large = Array3::from_elem((6, 5, 2000), 2);
    let writer = BcfWriter { chunk: 576, compressed: false, packing: Packing::Wide };
    let Content::SpectrumImage(image) = read(&folder.write("b.bcf", writer.file(&large))).unwrap() else { panic!() };
    assert_eq!(image.values().sum(), 120_000.0);
}

#[test]
fn calibration_metadata_and_images_are_carried() {
    let folder = Folder::new();
    let path = folder.write("a.bcf", PLAIN.file(&few()));
    let Content::SpectrumImage(image) = read(&path).unwrap() else { panic!("a spectrum image") };
    let [y, x, energy] = image.axes();
    assert_eq!((y.scale, y.unit.as_str(), x.scale, x.nanometres()), (0.25, "µm", 0.5, Some(500.0)));
    assert_eq!(
        (energy.name.as_str(), energy.unit.as_str(), energy.offset, energy.scale),
        ("energy", "keV", -0.47, 0.01)
    );
    assert_eq!(image.metadata.title, "made");
    let wanted = [
        ("voltage_v", "20000.0"),
        ("acquired_at", "2018-10-04T13:02:07"),
        ("elements", "Ca, Nd"),
        ("xray_lines", "Ca-KA, Nd-LA"),
        ("live_time_s", "1.5"),
        ("real_time_s", "10.0"),
        ("detector_images", "BSE"),
    ];
    for (key, value) in wanted {
        assert_eq!(image.metadata.extra.get(key).map(String::as_str), Some(value), "{key}");
    }
    let images = read_detector_images(&path).unwrap();
    assert_eq!(images.len(), 1);
    assert_eq!((images[0].metadata.title.as_str(), images[0].metadata.stored_as.as_str()), ("BSE", "uint16"));
    assert_eq!((images[0].shape(), images[0].values()[[2, 1]], images[0].x().scale), ((3, 5), 33.0, 0.5));
    assert!(message(read_detector_images(&folder.write("a.npy", b"\x93NUMPY")), "a.npy").contains("NPY data"));
}

#[test]
fn counts_beyond_the_channels_of_the_header_are_counted() {
    let folder = Folder::new();
    let (counts, fewer) = (few(), few().slice_move(ndarray::s![.., .., ..300]));
    let lost = counts.sum() - fewer.sum();
    let files = [("HeaderData", header(&fewer).into_bytes()), ("SpectrumData0", PLAIN.map(&counts))];
    let Content::SpectrumImage(image) = read(&folder.write("a.bcf", PLAIN.container(&files))).unwrap() else {
        panic!()
    };
    assert_eq!(image.values(), fewer.mapv(|n| n as f64));
    assert_eq!(image.metadata.extra["counts beyond the last channel"], lost.to_string());
}

#[test]
fn containers_that_lie_are_refused() {
    let folder = Folder::new();
    let file = BcfWriter { chunk: 576, ..PLAIN }.file(&few());
    let word = |at: usize| u32::from_le_bytes(file[at..at + 4].try_into().unwrap());
    let chunk_at = |number: u32| 0x118 + number as usize * 576;
    let tree = word(0x140);
    // The entries of the tree lie in one chunk each, the header first and then the map.
    let map_entry = chunk_at(tree + 2) + 32;
    let table = word(map_entry);
    let says = |edits: &[(usize, u32)]| {
        let mut file = file.clone();
        edits.iter().for_each(|(at, value)| file[*at..at + 4].copy_from_slice(&value.to_le_bytes()));
        message(read(&folder.write("a.bcf", file)), "a.bcf")
    };
    let size = file.len() as u32;
    for chunk in [0, 1, 543, size + 1, u32::MAX] {
        assert!(says(&[(0x128, chunk)]).contains(&format!("chunks claim {chunk} bytes, accepted are 544 to")));
    }
    assert!(says(&[(0x144, u32::MAX)]).contains("tree claims 4294967295 entries"));
    assert!(says(&[(0x140, u32::MAX)]).contains("chunk 4294967295 lies beyond the end"));
    assert!(says(&[(chunk_at(tree), tree)]).contains(&format!("comes back to chunk {tree}")));
    assert!(says(&[(map_entry + 4, size + 1)]).contains("the container has"));
    assert!(says(&[(map_entry + 8, 1)]).contains("the container has"));
    assert!(says(&[(map_entry, 1 << 30)]).contains("lies beyond the end"));
    assert!(says(&[(chunk_at(table) + 32, u32::MAX)]).contains("`SpectrumData0`: chunk 4294967295 lies beyond"));
    assert!(says(&[(map_entry + 0x28, 7)]).contains("it holds no map"));
    assert!(says(&[(chunk_at(tree) + 32 + 0xe0, 0)]).contains("it holds no `EDSDatabase/HeaderData`"));
    // A chain that runs in a circle, in a file that needs two tables.
    let large = BcfWriter { chunk: 576, packing: Packing::Wide, ..PLAIN }.file(&Array3::from_elem((6, 5, 2000), 2));
    let word = |at: usize| u32::from_le_bytes(large[at..at + 4].try_into().unwrap());
    let table = word(chunk_at(word(0x140) + 2) + 32);
    let mut circle = large.clone();
    circle[chunk_at(table)..chunk_at(table) + 4].copy_from_slice(&table.to_le_bytes());
    let text = message(read(&folder.write("c.bcf", circle)), "c.bcf");
    assert!(text.contains(&format!("comes back to chunk {table}")), "{text}");
}

#[test]
fn maps_and_headers_that_lie_are_refused() {
    let folder = Folder::new();
    let (counts, map) = (few(), PLAIN.map(&few()));
    let says = |header: &[u8], map: &[u8], compressed: bool| {
        let files = [("HeaderData", header.to_vec()), ("SpectrumData0", map.to_vec())];
        message(read(&folder.write("a.bcf", BcfWriter { compressed, ..PLAIN }.container(&files))), "a.bcf")
    };
    let sound = header(&counts).into_bytes();
    let edited = |edits: &[(usize, u32)]| {
        let mut map = map.clone();
        edits.iter().for_each(|(at, value)| map[*at..at + 4].copy_from_slice(&value.to_le_bytes()));
        map
    };
    assert!(says(&sound, &edited(&[(0, u32::MAX)]), false).contains("ends too early"));
    assert!(says(&sound, &edited(&[(4, 4_000_000)]), true).contains("3×4000000 pixels, its header says 3×5"));
    let unsized_header = header(&counts).replace("TRTImageData", "Other").into_bytes();
    let text = says(&unsized_header, &edited(&[(4, 4_000_000)]), false);
    assert!(text.contains("claims 3×4000000 pixels and holds the spectra of 14"), "{text}");
    assert!(says(&sound, &edited(&[(0x1a0, u32::MAX)]), false).contains("a.bcf as Bruker BCF"));
    assert!(says(&sound, &edited(&[(0x1a4, 5)]), false).contains("pixel 5 of line 0 lies outside the width of 5"));
    assert!(says(&sound, &edited(&[(0x1a4 + 18, 3)]), false).contains("has a size of 3"));
    assert!(says(&sound, &edited(&[(0x1a4 + 18, u32::MAX)]), true).contains("ends too early"));
    let mut odd = map.clone();
    odd[0x1a4 + 22] = 3;
    assert!(says(&sound, &odd, false).contains("has a run of size 3, accepted are 0, 1, 2, 4 and 8"));
    for packing in [Packing::Wide, Packing::Narrow] {
        let mut map = BcfWriter { packing, ..PLAIN }.map(&counts);
        map[0x1a4 + 16..0x1a4 + 18].copy_from_slice(&[0xff, 0xff]);
        assert!(says(&sound, &map, false).contains("the spectrum of pixel (0, 4) ends within its counts"));
    }
    // Without the list of the sum of all spectra, the number of channels is what a field says.
    let unlisted = header(&counts).replace("<Channels>", "<Other>").replace("</Channels>", "</Other>");
    for (count, text) in [("", "how many channels"), ("0", "claim 0 channels"), ("70000", "accepted are 1 to 65536")] {
        let header = unlisted.replace("<ChannelCount>301<", &format!("<ChannelCount>{count}<"));
        let found = says(header.as_bytes(), &map, false);
        assert!(found.contains(text), "{found}");
    }
    assert!(says(b"<a>", &map, true).contains("its header: "));
    assert!(says(b"<a/>", &map, true).contains("no `TRTSpectrumDatabase`"));
    assert!(says(b"", &map, false).contains("its header: "));
    let deep = "<a>".repeat(300_000) + &"</a>".repeat(300_000);
    assert!(says(deep.as_bytes(), &map, true).contains("no `TRTSpectrumDatabase`"));
}

/// A map of pixels without a count: its size, its channels, and where the pixels of each line lie.
fn empty_map(width: u32, channels: u16, lines: &[&[u32]]) -> Vec<u8> {
    let mut map = [lines.len() as u32, width].map(u32::to_le_bytes).concat();
    map.resize(0x1a0, 0);
    for line in lines {
        map.extend((line.len() as u32).to_le_bytes());
        for x in *line {
            map.extend(x.to_le_bytes());
            map.extend([channels, channels].map(u16::to_le_bytes).concat());
            map.extend([0; 14]);
        }
    }
    map
}

#[test]
fn a_map_far_larger_than_its_pixels_is_refused() {
    let folder = Folder::new();
    let unlisted = header(&few()).replace("Channels>", "Other>").replace("TRTImageData", "Other");
    let of = |channels: usize, map: Vec<u8>| {
        let header = unlisted.replace(">301<", &format!(">{channels}<")).into_bytes();
        let file = BcfWriter { compressed: true, ..PLAIN }.container(&[("HeaderData", header), ("SpectrumData0", map)]);
        let size = file.len();
        (read(&folder.write("a.bcf", file)), size)
    };
    let two = || empty_map(2, 301, &[&[0, 1]]);
    assert_eq!(of(301, two()).0.unwrap().describe(), "a line scan of 2 spectra of 301 channels");
    let more = of(302, two()).0.unwrap().describe();
    assert_eq!(more, "a line scan of 2 spectra of 302 channels", "channels beyond those of the pixels are empty");
    // One pixel in 64, of as many channels as a header may say: 8 GB of a few kB.
    let (found, size) = of(65_535, empty_map(64, 65_535, &[&[0][..]; 250]));
    let text = message(found, "a.bcf");
    assert!(
        size < 40_000 && text.contains("250×64 pixels of 65535 channels and holds the spectra of 250"),
        "{size} {text}"
    );
    let text = message(of(301, empty_map(3, 301, &[&[0, 1], &[2, 0, 2]])).0, "a.bcf");
    assert!(text.contains("pixel 2 of line 1 is recorded twice"), "{text}");
}

#[test]
fn the_real_map_has_the_counts_and_the_calibration_that_rosettasciio_reads() {
    let Some(path) = real("chevkinite_eds.bcf") else { return };
    let Content::SpectrumImage(image) = read(&path).unwrap() else { panic!("a spectrum image") };
    let values = image.values();
    assert_eq!((values.dim(), values.sum()), ((30, 30, 2048), 18_621_362.0));
    let totals = [((0, 0), 18_844.0), ((0, 4), 21_098.0), ((1, 3), 21_081.0), ((3, 5), 20_792.0), ((29, 29), 21_426.0)];
    for ((y, x), total) in totals {
        assert_eq!(values.slice(ndarray::s![y, x, ..]).sum(), total, "pixel ({y}, {x})");
    }
    let sums =
        [(25, 0.0), (47, 766_542.0), (48, 763_232.0), (100, 278_935.0), (478, 5481.0), (640, 6762.0), (2047, 6.0)];
    for (channel, sum) in sums {
        assert_eq!(values.slice(ndarray::s![.., .., channel]).sum(), sum, "channel {channel}");
    }
    assert_eq!((values[[3, 5, 478]], values[[3, 5, 48]], values[[17, 4, 48]]), (11.0, 868.0, 861.0));
    let [y, x, energy] = image.axes();
    assert_eq!((energy.scale, energy.offset, energy.unit.as_str()), (0.009_999, -0.472_252_77, "keV"));
    assert_eq!((y.scale, x.scale, y.unit.as_str()), (1.667_409_109_493_62, 1.667_409_109_493_63, "µm"));
    assert_eq!(image.metadata.title, "chevkinite");
    let extra = |key: &str| image.metadata.extra[key].as_str();
    assert_eq!((extra("voltage_v"), extra("acquired_at")), ("20000.0", "2018-10-04T13:02:07"));
    assert!((extra("real_time_s").parse::<f64>().unwrap() - 70.072_98).abs() < 1e-9);
    assert_eq!(extra("elements"), "P, Ca, Ti, Nd, Sm, Gd, Si, C, O, Na, Mg, Al, K, Fe, Ce, Th");
    let images = read_detector_images(&path).unwrap();
    assert_eq!((images.len(), images[0].metadata.title.as_str()), (1, "AsB"));
    assert_eq!((images[0].values()[[0, 0]], images[0].values()[[1, 3]]), (23_008.0, 40_864.0));
    assert_eq!((images[0].values().sum(), images[0].range().high), (22_746_064.0, 65_520.0));
}

/// Random damage of the real file: flipped bytes, mostly in the container's own fields, and cuts.
#[test]
fn the_real_map_damaged_is_survived() {
    let Some(path) = real("chevkinite_eds.bcf") else { return };
    let (folder, sound) = (Folder::new(), std::fs::read(path).unwrap());
    let mut rng = ChaCha8Rng::seed_from_u64(11);
    // The fields of the container, its tree, the two tables of chunks, and the heads of the packed blocks.
    let fields = [(0x118, 0x14c), (0x4118, 0x4738), (0x5118, 0x514c), (0xb118, 0xb490), (0xc138, 0xc1d8)];
    let mut refused = 0;
    for round in 0..400 {
        let mut damaged = sound.clone();
        for _ in 0..rng.gen_range(1..=4) {
            let (from, to) = if rng.gen_bool(0.7) { fields[rng.gen_range(0..fields.len())] } else { (0, sound.len()) };
            damaged[rng.gen_range(from..to)] = rng.gen_range(0..=255);
        }
        if round % 4 == 0 {
            damaged.truncate(rng.gen_range(0..sound.len()));
        }
        let path = folder.write("damaged.bcf", damaged);
        for error in [read(&path).err(), read_detector_images(&path).err()].into_iter().flatten() {
            message::<()>(Err(error), "damaged.bcf");
            refused += 1;
        }
    }
    assert!(refused > 200, "{refused}");
    for length in [8, 0x118, 5000, sound.len() / 2, sound.len() - 40_000] {
        message(read(&folder.write("cut.bcf", &sound[..length])), "cut.bcf");
    }
}
