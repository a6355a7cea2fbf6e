use std::path::{Path, PathBuf};

use ndarray::Array2;
use parsimon_io::{Content, read, read_image};

use crate::{Folder, message};

/// One of the files made by h5py; `fixtures/README.md` says how.
pub fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

#[test]
fn float16_images_come_with_calibration_and_title() {
    let image = read_image(&fixture("image_float16.hspy")).unwrap();
    assert_eq!(image.values(), Array2::from_shape_fn((12, 10), |(y, x)| y as f64 - x as f64 / 4.0));
    assert_eq!((image.y().scale, image.y().offset, image.y().unit.as_str()), (0.02, 1.0, "nm"));
    assert_eq!((image.x().scale, image.x().offset, image.x().name.as_str()), (0.01, -1.0, "x"));
    assert_eq!((image.metadata.stored_as.as_str(), image.metadata.title.as_str()), ("float16", "lattice"));
}

#[test]
fn a_scale_without_a_unit_is_kept_but_calibrates_nothing() {
    let image = read_image(&fixture("unitless_uint8.hspy")).unwrap();
    assert_eq!(image.values()[[11, 9]], 229.0);
    assert!(!image.x().is_calibrated());
    assert_eq!(image.metadata.extra["axis-1 scale without a unit"], "0.5");
}

#[test]
fn navigation_makes_movies_spectra_and_spectrum_images() {
    let Content::Movie(movie) = read(&fixture("movie_int16_big_endian.hspy")).unwrap() else { panic!("a movie") };
    assert_eq!((movie.frames().len(), movie.time().value(2.0), movie.time().unit.as_str()), (3, 2.2, "s"));
    assert_eq!(movie.frames()[2].values()[[3, 4]], 174.0);
    assert_eq!(movie.frames()[0].x().nanometres(), Some(500.0));
    let content = read(&fixture("spectrum_image_uint32.hspy")).unwrap();
    assert_eq!(content.describe(), "a spectrum image of 2×3 pixels and 7 channels");
    let Content::SpectrumImage(cube) = content else { panic!("a spectrum image") };
    assert_eq!(cube.values()[[1, 2, 6]], 1206.0);
    assert_eq!((cube.axes()[2].unit.as_str(), cube.axes()[2].offset), ("keV", -0.2));
    let Content::SpectrumImage(line) = read(&fixture("line_float32.hspy")).unwrap() else { panic!("a line scan") };
    let [y, x, energy] = line.axes();
    assert_eq!((line.values()[[0, 2, 6]], energy.value(6.0)), (206.0, 103.0));
    assert_eq!((x.value(2.0), x.unit.as_str(), y.is_calibrated()), (4.0, "nm", false));
    assert!(message(read_image(&fixture("line_float32.hspy")), "line_float32").contains("3 spectra of 7 channels"));
}

#[test]
fn a_shape_that_the_file_cannot_hold_is_refused() {
    let folder = Folder::new();
    let mut file = std::fs::read(fixture("image_float16.hspy")).unwrap();
    let shape: Vec<u8> = [12_u64, 10].iter().flat_map(|n| n.to_le_bytes()).collect();
    let places: Vec<usize> = (0..file.len() - 16).filter(|&at| file[at..at + 16] == shape).collect();
    assert!(!places.is_empty());
    for at in places {
        file[at..at + 8].copy_from_slice(&(1_u64 << 40).to_le_bytes());
    }
    let text = message(read(&folder.write("a.hspy", file)), "a.hspy");
    assert!(text.contains("far more than"), "{text}");
}

#[test]
fn the_name_does_not_matter() {
    let folder = Folder::new();
    let path = folder.write("a.png", std::fs::read(fixture("image_float16.hspy")).unwrap());
    assert_eq!(read_image(&path).unwrap().shape(), (12, 10));
}
