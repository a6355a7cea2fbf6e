use parsimon_io::{Content, read, read_frame, read_image};

use crate::dm_writer::{DmWriter, Picture};
use crate::{Folder, message};

const NM: (f32, f32, &str) = (0.5, 1.0, "nm");

fn picture<'a>(code: u32, sizes: &'a [u32], pixels: Vec<u8>) -> Picture<'a> {
    Picture { code, sizes, calibrations: &[NM, (0.25, 0.0, "nm"), (2.0, 0.0, "s")], format: "Image", pixels }
}

/// Every number type of DM, in both versions and byte orders: code, name, and six values as stored.
#[test]
fn every_number_type_is_read_with_its_range() {
    macro_rules! types {
        ($big:expr, $($code:literal $name:literal $t:ty),*) => {
            [$({
                let values: [$t; 6] = [<$t>::MIN, <$t>::MAX, 0 as $t, 1 as $t, 2 as $t, 3 as $t];
                let bytes: Vec<u8> =
                    values.iter().flat_map(|v| if $big { v.to_be_bytes() } else { v.to_le_bytes() }).collect();
                ($code, $name, bytes, values.map(|v| v as f64))
            }),*]
        };
    }
    let folder = Folder::new();
    for (version, big_endian) in [(3, false), (3, true), (4, false), (4, true)] {
        let all = types!(big_endian, 6 "uint8" u8, 9 "int8" i8, 10 "uint16" u16, 1 "int16" i16, 11 "uint32" u32,
            7 "int32" i32, 36 "uint64" u64, 35 "int64" i64, 2 "float32" f32, 12 "float64" f64);
        for (code, name, pixels, values) in all {
            let file = DmWriter { version, big_endian }.file(&[picture(code, &[3, 2], pixels)], &[]);
            let image = read_image(&folder.write("a.dm", file)).unwrap();
            assert_eq!(image.values().iter().copied().collect::<Vec<_>>(), values, "DM{version} {name}");
            assert_eq!((image.shape(), image.metadata.stored_as.as_str()), ((2, 3), name));
        }
    }
}

#[test]
fn the_calibration_and_the_microscope_are_carried() {
    let folder = Folder::new();
    let file = DmWriter { version: 3, big_endian: false }.file(&[picture(6, &[3, 2], vec![1; 6])], &[]);
    let image = read_image(&folder.write("a.dm3", file)).unwrap();
    assert_eq!((image.x().value(0.0), image.x().value(2.0), image.x().unit.as_str()), (-0.5, 0.5, "nm"));
    assert_eq!((image.y().scale, image.y().offset), (0.25, 0.0));
    assert_eq!(image.metadata.title, "made");
    assert_eq!(image.metadata.extra["voltage_v"], "60000.0");
}

#[test]
fn stacks_are_movies_and_a_frame_can_be_chosen() {
    let folder = Folder::new();
    let pixels: Vec<u8> = (0..24u16).flat_map(u16::to_le_bytes).collect();
    let file = DmWriter { version: 4, big_endian: false }.file(&[picture(10, &[3, 2, 4], pixels)], &[]);
    let path = folder.write("a.dm4", file);
    let Content::Movie(movie) = read(&path).unwrap() else { panic!("a stack is a movie") };
    assert_eq!((movie.frames().len(), movie.time().scale, movie.time().unit.as_str()), (4, 2.0, "s"));
    assert_eq!(movie.frames()[2].values()[[1, 0]], 15.0);
    assert_eq!(read_frame(&path, 2).unwrap(), movie.frames()[2]);
    assert!(message(read_image(&path), "a.dm4").contains("choose a frame from 0 to 3"));
    assert!(message(read_frame(&path, 4), "a.dm4").contains("frames 0 to 3"));
}

#[test]
fn the_thumbnail_is_never_the_image() {
    let folder = Folder::new();
    let pictures = [picture(6, &[2, 2], vec![9; 4]), picture(6, &[3, 2], vec![1, 2, 3, 4, 5, 6])];
    let file = DmWriter { version: 3, big_endian: false }.file(&pictures, &[0]);
    assert_eq!(read_image(&folder.write("a.dm3", &file)).unwrap().shape(), (2, 3));
    let only = DmWriter { version: 3, big_endian: false }.file(&pictures[..1], &[0]);
    assert!(message(read(&folder.write("b.dm3", only)), "b.dm3").contains("no image besides thumbnails"));
}

#[test]
fn spectra_line_scans_and_spectrum_images_keep_their_axes() {
    let folder = Folder::new();
    let writer = DmWriter { version: 4, big_endian: false };
    let energy = (0.1, 20.0, "eV");
    fn of<'a>(sizes: &'a [u32], calibrations: &'a [(f32, f32, &'a str)], format: &'a str) -> Picture<'a> {
        Picture { code: 10, sizes, calibrations, format, pixels: counting(sizes) }
    }
    let point = writer.file(&[of(&[7], &[energy], "Spectrum")], &[]);
    let Content::Spectra(spectra) = read(&folder.write("p.dm4", point)).unwrap() else { panic!("a spectrum") };
    assert_eq!(spectra.values().dim(), (1, 7));
    assert!((spectra.energy().offset + 2.0).abs() < 1e-6);
    let line = writer.file(&[of(&[7, 3], &[energy, NM], "Spectrum image")], &[]);
    let Content::SpectrumImage(line) = read(&folder.write("l.dm4", line)).unwrap() else { panic!("a line scan") };
    assert_eq!((line.values().dim(), line.values()[[0, 2, 5]]), ((1, 3, 7), 19.0));
    assert_eq!((line.axes()[1].offset, line.axes()[1].unit.as_str()), (-0.5, "nm"));
    assert_eq!(line.metadata.extra["voltage_v"], "60000.0");
    let cube = writer.file(&[of(&[3, 2, 4], &[NM, NM, energy], "Spectrum image")], &[]);
    let Content::SpectrumImage(cube) = read(&folder.write("c.dm4", cube)).unwrap() else { panic!("a spectrum image") };
    assert_eq!(cube.values().dim(), (2, 3, 4));
    assert_eq!(cube.values()[[1, 2, 3]], (2 + 3 + 3 * 6) as f64);
    assert_eq!(cube.axes().map(|a| a.unit.as_str()), ["nm", "nm", "eV"]);
    // Without the name of its format, data are spectra where a unit says so, whichever dimension that is.
    for (sizes, k) in [([4, 3, 2], 0), ([3, 4, 2], 1), ([3, 2, 4], 2)] {
        let mut calibrations = [(0.5, 0.0, "µm"), (0.25, 0.0, "µm")].to_vec();
        calibrations.insert(k, (5.0, -100.0, "1/cm"));
        let cube = writer.file(&[of(&sizes, &calibrations, "")], &[]);
        let Content::SpectrumImage(cube) = read(&folder.write("c.dm4", cube)).unwrap() else {
            panic!("a spectrum image")
        };
        assert_eq!(cube.values().dim(), (2, 3, 4));
        let steps = [[12, 4, 1], [12, 1, 3], [3, 1, 6]][k];
        assert_eq!(cube.values()[[1, 2, 3]], (steps[0] + 2 * steps[1] + 3 * steps[2]) as f64);
        assert_eq!(cube.axes().map(|a| (a.name.as_str(), a.scale)), [("y", 0.25), ("x", 0.5), ("wavenumber", 5.0)]);
        assert_eq!(cube.axes()[2].offset, 500.0);
    }
    let turned = writer.file(&[of(&[3, 7], &[NM, energy], "")], &[]);
    let Content::SpectrumImage(line) = read(&folder.write("t.dm4", turned)).unwrap() else { panic!("a line scan") };
    assert_eq!((line.values().dim(), line.values()[[0, 2, 5]]), ((1, 3, 7), 17.0));
    // A length is a wavelength in spectra, and a length in images.
    let light = writer.file(&[of(&[7, 3], &[(0.5, -800.0, "nm"), NM], "Spectrum image")], &[]);
    let Content::SpectrumImage(line) = read(&folder.write("w.dm4", light)).unwrap() else { panic!("a line scan") };
    assert_eq!((line.axes()[2].name.as_str(), line.axes()[2].value(1.0)), ("wavelength", 400.5));
    let Content::Image(_) = read(&folder.write("i.dm4", writer.file(&[of(&[7, 3], &[NM, NM], "Image")], &[]))).unwrap()
    else {
        panic!("an image")
    };
    let four = writer.file(&[of(&[2, 2, 2, 2], &[NM, NM, NM, NM], "Image")], &[]);
    assert!(message(read(&folder.write("f.dm4", four)), "f.dm4").contains("4 dimensions"));
}

#[test]
fn complex_and_colour_images_are_refused_by_name() {
    let folder = Folder::new();
    for (code, size, name) in [(3, 8, "complex64"), (23, 4, "rgba")] {
        let file = DmWriter { version: 3, big_endian: false }.file(&[picture(code, &[2, 1], vec![0; 2 * size])], &[]);
        assert!(message(read(&folder.write("a.dm3", file)), "a.dm3").contains(name));
    }
}

/// 0, 1, 2, … as uint16, as many as the sizes make.
fn counting(sizes: &[u32]) -> Vec<u8> {
    (0..sizes.iter().product::<u32>()).flat_map(|v| (v as u16).to_le_bytes()).collect()
}
