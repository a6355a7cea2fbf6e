use std::collections::BTreeMap;
use std::io::{Cursor, Write};

use ndarray::{Array1, Array2, Array3, Array4, array};
use parsimon_core::{
    Axis, Dataset, Embedding, Image, Normalise, Patches, Refinement, Scaling, Scene, Site, Sites, Spectra,
};
use parsimon_io::{
    Content, Values, read, read_arrays, read_dataset, read_image, read_latents, read_scene, write_dataset,
    write_latents, write_npy, write_npz, write_scene,
};

use crate::{Folder, message};

/// NPY bytes with this header, whatever it says.
pub fn npy(header: &str, data: &[u8]) -> Vec<u8> {
    let mut file = b"\x93NUMPY\x01\x00".to_vec();
    file.extend((header.len() as u16).to_le_bytes());
    file.extend(header.as_bytes());
    file.extend(data);
    file
}

fn plain(descr: &str, shape: &str, data: &[u8]) -> Vec<u8> {
    npy(&format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}\n"), data)
}

/// A ZIP as `numpy.savez` makes it, stored or deflated.
pub fn npz(entries: &[(&str, Vec<u8>)], method: zip::CompressionMethod) -> Vec<u8> {
    let mut archive = zip::ZipWriter::new(Cursor::new(Vec::new()));
    for (name, bytes) in entries {
        let options = zip::write::SimpleFileOptions::default().compression_method(method);
        archive.start_file(format!("{name}.npy"), options).unwrap();
        archive.write_all(bytes).unwrap();
    }
    archive.finish().unwrap().into_inner()
}

#[test]
fn every_number_type_of_npy_is_read() {
    let folder = Folder::new();
    macro_rules! check {
        ($descr:literal, $name:literal, $values:expr) => {
            let bytes: Vec<u8> = $values.iter().flat_map(|v| v.to_be_bytes()).collect();
            let swapped: Vec<u8> = $values.iter().flat_map(|v| v.to_le_bytes()).collect();
            for (order, bytes) in [(">", bytes), ("<", swapped)] {
                let path = folder.write("a.npy", plain(&format!("{order}{}", $descr), "(1, 2)", &bytes));
                let image = read_image(&path).unwrap();
                assert_eq!(image.values().iter().copied().collect::<Vec<f64>>(), [3.0, 100.0], "{order}{}", $descr);
                assert_eq!(image.metadata.stored_as, $name);
            }
        };
    }
    check!("u1", "uint8", [3u8, 100]);
    check!("i1", "int8", [3i8, 100]);
    check!("u2", "uint16", [3u16, 100]);
    check!("i2", "int16", [3i16, 100]);
    check!("u4", "uint32", [3u32, 100]);
    check!("i4", "int32", [3i32, 100]);
    check!("u8", "uint64", [3u64, 100]);
    check!("i8", "int64", [3i64, 100]);
    check!("f2", "float16", [half::f16::from_f32(3.0), half::f16::from_f32(100.0)]);
    check!("f4", "float32", [3f32, 100.0]);
    check!("f8", "float64", [3f64, 100.0]);
}

#[test]
fn rank_tells_spectrum_image_and_movie_and_fortran_order_is_turned() {
    let folder = Folder::new();
    let data: Vec<u8> = (0..6).collect();
    let fortran = npy("{'descr': '|u1', 'fortran_order': True, 'shape': (2, 3), }\n", &data);
    let image = read_image(&folder.write("f.npy", fortran)).unwrap();
    assert_eq!(image.values(), array![[0.0, 2.0, 4.0], [1.0, 3.0, 5.0]]);
    let one = read(&folder.write("1.npy", plain("|u1", "(6,)", &data))).unwrap();
    assert_eq!(one.describe(), "1 spectra of 6 channels");
    let three = read(&folder.write("3.npy", plain("|u1", "(3, 1, 2)", &data))).unwrap();
    assert_eq!(three.describe(), "a movie of 3 frames of 1×2 pixels");
    let four = folder.write("4.npy", plain("|u1", "(3, 1, 2, 1)", &data));
    assert!(message(read(&four), "4.npy").contains("[3, 1, 2, 1]"));
}

#[test]
fn headers_that_lie_or_nest_are_refused_before_memory_is_asked_for() {
    let folder = Folder::new();
    let deep = format!("{}{}", "(".repeat(4000), ")".repeat(4000));
    let cases = [
        (plain("<f8", "(1000000, 1000000)", &[0; 64]), "needs 8000000000000 bytes"),
        (plain("<f8", "(18446744073709551615, 3)", &[0; 64]), "larger than any memory"),
        (plain("<f8", "(0xFFFFFFFFFFFFFFFF, 2)", &[0; 64]), "plain digits"),
        (plain("<f8", "(18446744073709551614+1, 2)", &[0; 64]), "plain digits"),
        (plain("<f8", "(1_8446744073709551615, 2)", &[0; 64]), "plain digits"),
        (plain("<f8", "(2, 2)", &[0; 31]), "needs 32 bytes after the header, there are 31"),
        (plain("<f8", "(2, 2)", &[0; 33]), "there are 33"),
        (plain("<c16", "(1, 1)", &[0; 16]), "expected integers or floats"),
        (plain("|O", "(1, 1)", &[0; 16]), "expected integers or floats"),
        (plain("|S4", "(1, 2)", b"abcdefgh"), "holds text"),
        (plain("<f4", "(0, 4)", &[]), "empty"),
        (npy(&deep, &[]), "nested too deeply"),
        (npy("{'descr': '<f4'}", &[]), ""),
        (npy("", &[]), ""),
        (b"\x93NUMPY\x07\x00aaaaaaaa".to_vec(), "unknown version 7"),
        (b"\x93NUMPY\x02\x00\xff\xff\xff\x7f".to_vec(), "the header claims 2147483647 bytes"),
    ];
    for (bytes, wanted) in cases {
        let text = message(read(&folder.write("a.npy", bytes)), "a.npy");
        assert!(text.contains(wanted), "{text}");
    }
}

#[test]
fn what_is_written_as_npy_is_read_back() {
    let folder = Folder::new();
    let values = Array3::from_shape_fn((20, 30, 40), |(i, j, k)| (i * 1200 + j * 40 + k) as f32 / 7.0);
    write_npy(&folder.path("a.npy"), values.view().into_dyn()).unwrap();
    let back = read_arrays(&folder.path("a.npy")).unwrap();
    assert_eq!(back[""].mapv(|v| v as f32), values.into_dyn());
}

#[test]
fn a_zip_that_lies_or_repeats_is_refused() {
    let folder = Folder::new();
    let one = plain("|u1", "(2, 2)", &[1, 2, 3, 4]);
    for method in [zip::CompressionMethod::Stored, zip::CompressionMethod::Deflated] {
        let good = npz(&[("any", one.clone())], method);
        assert_eq!(read_image(&folder.write("a.npz", &good)).unwrap().values(), array![[1.0, 2.0], [3.0, 4.0]]);
        // The uncompressed size in the central directory, 24 bytes in.
        let mut lies = good.clone();
        let at = lies.windows(4).rposition(|w| w == b"PK\x01\x02").unwrap() + 24;
        lies[at..at + 4].copy_from_slice(&0xf000_0000_u32.to_le_bytes());
        message(read(&folder.write("a.npz", lies)), "a.npz");
        let two = npz(&[("a", one.clone()), ("b", one.clone())], method);
        assert!(message(read(&folder.write("a.npz", two)), "a.npz").contains("`a` [2, 2], `b` [2, 2]"));
        let none = npz(&[], method);
        assert!(message(read(&folder.write("a.npz", none)), "a.npz").contains("holds no array"));
    }
    let twice = [("a", Values::Text("x")), ("a", Values::Text("y"))];
    assert!(message(write_npz(&folder.path("b.npz"), &twice), "b.npz").contains("two arrays named `a`"));
}

fn patches(low: f64, high: f64, channels: usize, how: Normalise) -> Patches {
    let shape = (5, 3, 4, channels);
    let values = Array4::from_shape_fn(shape, |(n, y, x, c)| {
        low + (high - low) * ((n * 7 + y * 3 + x * 5 + c) % 11) as f64 / 10.0 + n as f64 * (high - low) / 50.0
    });
    Patches::from_stored(values.view(), how).unwrap()
}

/// Sites of which nothing but their place is known.
fn sites(n: usize) -> Sites {
    let site = |i: usize| Site {
        frame: 0,
        y: i as f64 + 0.25,
        x: 7.5 - i as f64,
        intensity: 0.0,
        width: 0.0,
        quality: 1.0,
        refinement: Refinement::None,
    };
    Sites::new((0..n).map(site).collect()).unwrap()
}

#[test]
fn datasets_keep_what_their_spectra_are_mixed_of() {
    let folder = Folder::new();
    let path = folder.path("a.npz");
    let of = |rows, channels| {
        let values = Array2::from_shape_fn((rows, channels), |(r, l)| (r * 8 + l) as f64 / 4.0);
        Spectra::new(values, Axis::new("energy", 0.5, 10.0, "eV")).unwrap()
    };
    let data = Dataset { spectra: Some(of(5, 8)), endmembers: Some(of(2, 8)), ..Dataset::default() };
    write_dataset(&path, &data).unwrap();
    assert_eq!(read_dataset(&path).unwrap(), data);
    let other = Dataset { endmembers: Some(of(2, 7)), ..data };
    assert!(message(write_dataset(&path, &other), "a.npz").contains("`endmembers` has length 7, expected 8"));
}

#[test]
fn an_array_named_endmembers_that_no_spectra_are_mixed_of_is_like_any_other() {
    let folder = Folder::new();
    let bytes: Vec<u8> = (0..24).collect();
    let array = |shape: &str, size: usize| plain("|u1", shape, &bytes[..size]);
    let read = |entries: &[(&str, Vec<u8>)]| {
        read_dataset(&folder.write("a.npz", npz(entries, zip::CompressionMethod::Deflated))).unwrap()
    };
    let spectra = || ("spectra", array("(4, 5)", 20));
    assert_eq!(read(&[spectra(), ("endmembers", array("(2, 5)", 10))]).endmembers.unwrap().values().dim(), (2, 5));
    for other in [array("(3, 8)", 24), array("(0, 5)", 0), array("(5,)", 5), array("(1, 2, 5)", 10)] {
        let data = read(&[spectra(), ("endmembers", other)]);
        assert_eq!((data.samples(), data.truth.len(), data.endmembers), (Ok(4), 0, None));
    }
    let data = read(&[("images", array("(3, 2, 4)", 24)), ("endmembers", array("(2, 4)", 8))]);
    assert_eq!((data.endmembers, data.truth.len()), (None, 0));
    // One number for each sample is a known number, and is written as one.
    let data = read(&[spectra(), ("endmembers", array("(4,)", 4))]);
    assert_eq!(data.truth["endmembers"], array![0.0, 1.0, 2.0, 3.0]);
    write_dataset(&folder.path("b.npz"), &data).unwrap();
    assert_eq!(read_dataset(&folder.path("b.npz")).unwrap(), data);
}

#[test]
fn datasets_keep_the_micrograph_they_are_from() {
    let folder = Folder::new();
    let path = folder.path("a.npz");
    let axis = |name, scale| Axis::new(name, scale, 0.0, "nm");
    let image = Array2::from_shape_fn((4, 6), |(y, x)| (7 * y + x) as f64);
    let micrograph = Image::calibrated(image, axis("y", 0.02), axis("x", 0.03)).unwrap();
    let images = Some(patches(0.0, 9.0, 1, Normalise::Global));
    let data = Dataset { images, sites: Some(sites(5)), micrograph: Some(micrograph.clone()), ..Dataset::default() };
    write_dataset(&path, &data).unwrap();
    let back = read_dataset(&path).unwrap();
    let found = back.micrograph.unwrap();
    assert_eq!((found.values(), found.y(), found.x()), (micrograph.values(), micrograph.y(), micrograph.x()));
    assert_eq!((back.sites, back.truth.len()), (Some(sites(5)), 0));
    let mut later = sites(5).as_slice().to_vec();
    later[3].frame = 2;
    let later = Dataset { sites: Some(Sites::new(later).unwrap()), ..data.clone() };
    assert!(message(write_dataset(&path, &later), "a.npz").contains("frame of a site is 2"));
    let few = Dataset { sites: Some(sites(4)), ..data };
    assert!(message(write_dataset(&path, &few), "a.npz").contains("`sites` has length 4, expected 5"));
}

#[test]
fn datasets_come_back_with_their_scaling() {
    let folder = Folder::new();
    let path = folder.path("a.npz");
    let energy = Axis::new("energy", 0.5, 100.0, "eV");
    let spectra = Spectra::new(Array2::from_shape_fn((5, 6), |(n, l)| (n * l) as f64), energy).unwrap();
    for (channels, how) in [(1, Normalise::Global), (3, Normalise::Global), (2, Normalise::PerPatch)] {
        let data = Dataset {
            images: Some(patches(-500.0, 70_000.0, channels, how)),
            goals: Some(patches(2.0, 9.0, 4 - channels, Normalise::Global)),
            spectra: Some(spectra.clone()),
            endmembers: None,
            labels: Some(array![0, 1, -1, 1, i64::MAX]),
            targets: Some(Array2::from_shape_fn((5, 2), |(n, k)| n as f32 - 0.1 * k as f32)),
            truth: BTreeMap::from([("angle".into(), Array1::linspace(-0.3, 0.3, 5))]),
            sites: Some(sites(5)),
            micrograph: None,
        };
        write_dataset(&path, &data).unwrap();
        assert_eq!(read_dataset(&path).unwrap(), data);
        let first = std::fs::read(&path).unwrap();
        write_dataset(&path, &data).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), first);
    }
    let unit = Patches::new(Array4::from_elem((2, 3, 3, 1), 0.25), Scaling::unit(1)).unwrap();
    write_dataset(&path, &Dataset { images: Some(unit.clone()), ..Dataset::default() }).unwrap();
    let arrays = read_arrays(&path).unwrap();
    assert_eq!(arrays.keys().collect::<Vec<_>>(), ["images"]);
    assert_eq!(arrays["images"].shape(), [2, 3, 3]);
    assert_eq!(read_dataset(&path).unwrap().images, Some(unit));
}

#[test]
fn images_outside_the_unit_range_are_scaled_per_channel_and_lead_back() {
    let folder = Folder::new();
    let stored: Vec<u16> = (0..2 * 2 * 2 * 2).map(|i| if i % 2 == 0 { 100 * i } else { 60_000 + i }).collect();
    let bytes: Vec<u8> = stored.iter().flat_map(|v| v.to_le_bytes()).collect();
    let entry = [("images", plain("<u2", "(2, 2, 2, 2)", &bytes))];
    let path = folder.write("a.npz", npz(&entry, zip::CompressionMethod::Deflated));
    let images = read_dataset(&path).unwrap().images.unwrap();
    assert_eq!((images.scaling().range(0, 0).high, images.scaling().range(0, 1).low), (1400.0, 60_001.0));
    for (back, &v) in images.stored().iter().zip(&stored) {
        assert!((back - f64::from(v)).abs() < 0.01);
    }
    let bare = folder.write("b.npy", plain("<f2", "(2, 1, 2)", &[0, 0x3c, 0, 0, 0, 0x38, 0, 0]));
    let images = read_dataset(&bare).unwrap().images.unwrap();
    assert_eq!((images.shape(), images.scaling()), ((1, 2, 1), &Scaling::unit(1)));
    assert_eq!(images.images().iter().copied().collect::<Vec<_>>(), [1.0, 0.0, 0.5, 0.0]);
    let flat = folder.write("c.npy", plain("|u1", "(2, 3)", &[0, 1, 2, 3, 4, 5]));
    assert_eq!(read_dataset(&flat).unwrap().spectra.unwrap().values().dim(), (2, 3));
    assert!(message(read_dataset(&folder.write("d.npy", plain("|u1", "(2,)", &[0, 1]))), "d.npy").contains("[2]"));
}

#[test]
fn parts_that_do_not_fit_are_refused_by_name() {
    let folder = Folder::new();
    let images = ("images", plain("|u1", "(2, 1, 2)", &[0, 1, 0, 1]));
    let nan = f32::NAN.to_le_bytes().repeat(2);
    let cases = [
        (vec![("labels", plain("|u1", "(2,)", &[0, 1]))], "`images` or `spectra`"),
        (vec![images.clone(), ("labels", plain("|u1", "(3,)", &[0, 1, 2]))], "`labels` has length 3, expected 2"),
        (vec![images.clone(), ("labels", plain("<f4", "(2,)", &1.5f32.to_le_bytes().repeat(2)))], "holds 1.5"),
        (vec![images.clone(), ("labels", plain("|u1", "(2, 1)", &[0, 1]))], "shape [N]"),
        (vec![images.clone(), ("targets", plain("<f4", "(2,)", &nan))], "`targets` holds 2 values that are NaN"),
        (vec![("images", plain("<f4", "(1, 1, 2)", &nan))], "NaN"),
        (vec![("images", plain("|u1", "(4,)", &[0, 1, 0, 1]))], "[N, H, W, C]"),
        (vec![images.clone(), ("images_low", plain("|u1", "(1,)", &[0]))], "`images_high`"),
        (vec![images.clone(), ("spectra", plain("|u1", "(1, 2)", &[0, 1]))], "`spectra` has length 1, expected 2"),
    ];
    for (entries, wanted) in cases {
        let path = folder.write("a.npz", npz(&entries, zip::CompressionMethod::Deflated));
        let text = message(read_dataset(&path), "a.npz");
        assert!(text.contains(wanted), "{text}");
    }
    let extra = [images, ("angle", plain("|u1", "(2,)", &[3, 4])), ("other", plain("|u1", "(3,)", &[3, 4, 5]))];
    let data = read_dataset(&folder.write("a.npz", npz(&extra, zip::CompressionMethod::Stored))).unwrap();
    assert_eq!(data.truth, BTreeMap::from([("angle".to_owned(), array![3.0, 4.0])]));
    let reserved = Dataset { truth: BTreeMap::from([("labels".into(), array![1.0, 2.0])]), ..data };
    assert!(message(write_dataset(&folder.path("b.npz"), &reserved), "b.npz").contains("named `labels`"));
    assert!(message(write_dataset(&folder.path("b.npz"), &Dataset::default()), "b.npz").contains("empty"));
    assert!(!folder.path("b.npz").exists());
}

#[test]
fn latents_keep_order_deviations_and_class() {
    let folder = Folder::new();
    let path = folder.path("latents.npz");
    let mut latents = Embedding::new(3);
    latents.push("z10", array![1.0, 2.0, 3.0], Some(array![0.1, 0.2, 0.3])).unwrap();
    latents.push("angle", array![-1.0, 0.0, 1e-30], None).unwrap();
    latents.set_class(array![2, 0, -1]).unwrap();
    write_latents(&path, &latents).unwrap();
    assert_eq!(read_latents(&path).unwrap(), latents);
    let arrays = read_arrays(&path).unwrap();
    assert_eq!(arrays.keys().collect::<Vec<_>>(), ["angle", "class", "z10", "z10_sd"]);
    let cases = [
        (vec![("z1_sd", plain("|u1", "(2,)", &[0, 1]))], "`z1_sd` without `z1`"),
        (vec![("z1", plain("|u1", "(2, 1)", &[0, 1]))], "1 dimension"),
        (vec![("z1", plain("|u1", "(2,)", &[0, 1])), ("z2", plain("|u1", "(1,)", &[0]))], "length 1, expected 2"),
        (vec![("z1", plain("<f4", "(1,)", &f32::NAN.to_le_bytes()))], "NaN"),
        (vec![], "no array"),
    ];
    for (entries, wanted) in cases {
        let bad = folder.write("bad.npz", npz(&entries, zip::CompressionMethod::Deflated));
        let text = message(read_latents(&bad), "bad.npz");
        assert!(text.contains(wanted), "{text}");
    }
    let mut clash = Embedding::new(1);
    clash.push("z1", array![0.0], Some(array![1.0])).unwrap();
    clash.push("z1_sd", array![0.0], None).unwrap();
    assert!(message(write_latents(&path, &clash), "latents.npz").contains("two arrays named `z1_sd`"));
    assert_eq!(read_latents(&path).unwrap(), latents);
}

#[test]
fn scenes_come_back_whole_and_open_as_images() {
    let folder = Folder::new();
    let path = folder.path("scene.npz");
    let mut values = Array2::from_shape_fn((4, 6), |(y, x)| 1e-9 * (y * 6 + x) as f64);
    values[[2, 3]] = f64::NAN;
    let axis = |name| Axis::new(name, 0.0125, 0.0, "nm");
    let image = Image::calibrated(values, axis("y"), axis("x")).unwrap();
    let site = |y: f64, x: f64| Site {
        frame: 0,
        y,
        x,
        intensity: 2.0 * y,
        width: 1.5,
        quality: 0.5,
        refinement: Refinement::None,
    };
    let sites = Sites::new(vec![site(1.25, 2.5), site(3.0, 0.125)]).unwrap();
    let truth = BTreeMap::from([("domain".to_owned(), array![0.0, 1.0])]);
    let mut scene = Scene { image, sites, truth };
    write_scene(&path, &scene).unwrap();
    let back = read_scene(&path).unwrap();
    assert_eq!((&back.sites, &back.truth), (&scene.sites, &scene.truth));
    assert_eq!((back.image.values(), back.image.mask()), (scene.image.values(), scene.image.mask()));
    assert_eq!(back.image.x().nanometres(), Some(0.0125));
    let Content::Image(image) = read(&path).unwrap() else { panic!("a scene opens as its image") };
    assert_eq!(image, back.image);
    let arrays = read_arrays(&path).unwrap();
    assert_eq!((arrays["sites"].shape(), arrays["sites"][[1, 0]]), (&[2, 2][..], 3.0));
    scene.truth.insert("sites".into(), array![0.0, 1.0]);
    assert!(message(write_scene(&path, &scene), "scene.npz").contains("named `sites`"));
    scene.truth = BTreeMap::from([("short".to_owned(), array![0.0])]);
    assert!(message(write_scene(&path, &scene), "scene.npz").contains("`short` has length 1, expected 2"));
    assert_eq!(read_scene(&path).unwrap(), back);
}
