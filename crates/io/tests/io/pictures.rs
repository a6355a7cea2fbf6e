use image::{ImageBuffer, Luma, LumaA, Rgb, Rgba};
use ndarray::Array2;
use parsimon_core::{Axis, Image};
use parsimon_io::{Content, Error, read, read_image, with_pixel_size, write_png, write_tiff};
use tiff::encoder::{TiffEncoder, colortype};
use tiff::tags::Tag;

use crate::{Folder, message};

#[test]
fn png_of_8_and_16_bits_keeps_its_values() {
    let folder = Folder::new();
    let path = folder.path("a.png");
    ImageBuffer::from_fn(3, 2, |x, y| Luma([(y * 100 + x) as u8])).save(&path).unwrap();
    let image = read_image(&path).unwrap();
    assert_eq!((image.shape(), image.values()[[1, 2]]), ((2, 3), 102.0));
    assert_eq!(image.metadata.stored_as, "uint8");
    ImageBuffer::from_fn(3, 2, |x, y| Luma([(y * 40_000 + x) as u16])).save(&path).unwrap();
    let image = read_image(&path).unwrap();
    assert_eq!((image.values()[[1, 2]], image.metadata.stored_as.as_str()), (40_002.0, "uint16"));
    ImageBuffer::from_fn(3, 2, |x, _| LumaA([x as u16, 9])).save(&path).unwrap();
    let image = read_image(&path).unwrap();
    assert_eq!((image.values()[[1, 2]], image.metadata.extra["transparency"].as_str()), (2.0, "left out"));
}

#[test]
fn colour_becomes_luminance_and_says_so() {
    let folder = Folder::new();
    let path = folder.path("a.png");
    ImageBuffer::from_fn(2, 1, |x, _| Rgb([if x == 0 { 200 } else { 0u8 }, 100, 0])).save(&path).unwrap();
    let image = read_image(&path).unwrap();
    assert!((image.values()[[0, 0]] - (0.2126 * 200.0 + 71.52)).abs() < 1e-9);
    assert!(image.metadata.extra["colour"].contains("luminance"));
    ImageBuffer::from_fn(2, 1, |x, _| Rgba([x as u16 * 30_000; 4])).save(&path).unwrap();
    let image = read_image(&path).unwrap();
    assert_eq!((image.values()[[0, 1]], image.metadata.extra["colour"].as_str()), (30_000.0, "grey stored as RGB"));
}

#[test]
fn a_written_png_spans_black_to_white() {
    let folder = Folder::new();
    let path = folder.path("a.png");
    let values = Array2::from_shape_fn((5, 4), |(y, x)| -3.0 + (y * 4 + x) as f64 * 1e-3);
    write_png(&path, &Image::new(values).unwrap()).unwrap();
    let back = read_image(&path).unwrap();
    assert_eq!((back.range().low, back.range().high), (0.0, 65_535.0));
    for (index, v) in back.values().iter().enumerate() {
        assert!((v - index as f64 / 19.0 * 65_535.0).abs() <= 0.6);
    }
    write_png(&path, &Image::new(Array2::from_elem((2, 2), 7.0)).unwrap()).unwrap();
    assert_eq!(read_image(&path).unwrap().range().high, 0.0);
}

#[test]
fn every_number_type_of_tiff_is_read_with_its_range() {
    let folder = Folder::new();
    macro_rules! check {
        ($colour:ident, $t:ty, $name:literal) => {
            let values: [$t; 6] = [<$t>::MIN, <$t>::MAX, 0 as $t, 1 as $t, 2 as $t, 3 as $t];
            let path = folder.path("a.tif");
            let mut encoder = TiffEncoder::new(std::fs::File::create(&path).unwrap()).unwrap();
            encoder.write_image::<colortype::$colour>(3, 2, &values).unwrap();
            let image = read_image(&path).unwrap();
            let wanted = values.map(|v| v as f64);
            assert_eq!(image.values().iter().copied().collect::<Vec<_>>(), wanted, "{}", $name);
            assert_eq!((image.shape(), image.metadata.stored_as.as_str()), ((2, 3), $name));
        };
    }
    check!(Gray8, u8, "uint8");
    check!(GrayI8, i8, "int8");
    check!(Gray16, u16, "uint16");
    check!(GrayI16, i16, "int16");
    check!(Gray32, u32, "uint32");
    check!(GrayI32, i32, "int32");
    check!(Gray64, u64, "uint64");
    check!(GrayI64, i64, "int64");
    check!(Gray32Float, f32, "float32");
    check!(Gray64Float, f64, "float64");
}

/// TIFF pages, each with a description, a resolution unit and a resolution.
pub fn pages(count: u16, tags: Option<(&str, u16, u32)>) -> Vec<u8> {
    let mut file = std::io::Cursor::new(Vec::new());
    let mut encoder = TiffEncoder::new(&mut file).unwrap();
    for page in 0..count {
        let mut image = encoder.new_image::<colortype::Gray16>(4, 3).unwrap();
        if let Some((description, unit, resolution)) = tags {
            image.encoder().write_tag(Tag::ImageDescription, description).unwrap();
            image.encoder().write_tag(Tag::ResolutionUnit, unit).unwrap();
            for tag in [Tag::XResolution, Tag::YResolution] {
                image.encoder().write_tag(tag, tiff::encoder::Rational { n: resolution, d: 1 }).unwrap();
            }
        }
        image.write_data(&[page; 12]).unwrap();
    }
    file.into_inner()
}

#[test]
fn pages_are_a_movie_and_missing_ones_are_missed() {
    let folder = Folder::new();
    let Content::Movie(movie) = read(&folder.write("a.tif", pages(5, None))).unwrap() else { panic!("a movie") };
    assert_eq!((movie.frames().len(), movie.frames()[3].range().high), (5, 3.0));
    let lacking = pages(2, Some(("ImageJ=1.54\nimages=300\nunit=nm\n", 1, 50)));
    let text = message(read(&folder.write("b.tif", lacking)), "b.tif");
    assert!(text.contains("300 images that lists only 2"), "{text}");
}

/// The place of the value of a tag in the first directory of a little-endian TIFF.
fn value_of(tag: u16, file: &[u8]) -> usize {
    let entry = file.windows(8).position(|w| w[..2] == tag.to_le_bytes() && w[3..] == [0, 1, 0, 0, 0]);
    entry.unwrap() + 8
}

#[test]
fn a_size_that_the_file_cannot_hold_is_refused() {
    let folder = Folder::new();
    let sound = pages(1, None);
    for (rows, columns, wanted) in [(60_000, 60_000, "far more than"), (3, 100, "600 bytes"), (3, 0, "")] {
        let mut lies = sound.clone();
        for (tag, size) in [(256, columns), (257, rows)] {
            let at = value_of(tag, &lies);
            lies[at..at + 4].copy_from_slice(&u32::to_le_bytes(size));
        }
        let text = message(read(&folder.write("a.tif", lies)), "a.tif");
        assert!(text.contains(wanted), "{text}");
    }
}

#[test]
fn white_as_zero_is_inverted_and_says_so() {
    let folder = Folder::new();
    let mut white = pages(1, None);
    let at = value_of(262, &white);
    white[at] = 0;
    let image = read_image(&folder.write("a.tif", white)).unwrap();
    assert_eq!((image.range().low, image.metadata.extra.contains_key("polarity")), (65_535.0, true));
}

#[test]
fn the_pixel_size_of_imagej_ome_and_resolution_tags_is_carried() {
    let folder = Folder::new();
    let ome = "<?xml version=\"1.0\"?><OME><Pixels ID=\"P\" PhysicalSizeX=\"0.5\" PhysicalSizeXUnit=\"pm\" \
               PhysicalSizeY=\"0.25\" PhysicalSizeYUnit=\"pm\"/></OME>";
    let cases = [
        ("ImageJ=1.54\nunit=nm\n", 1, 50, "nm", 0.02),
        ("ImageJ=1.54\nunit=\\u00B5m\n", 1, 50, "µm", 0.02),
        (ome, 1, 50, "pm", 0.5),
        ("", 3, 1_000_000_000, "nm", 0.01),
        ("", 2, 2_540_000_000, "nm", 0.01),
        ("", 2, 300, "px", 1.0),
        ("", 1, 50, "px", 1.0),
        ("ImageJ=1.54\n", 1, 50, "px", 1.0),
    ];
    for (description, unit, resolution, wanted, scale) in cases {
        let path = folder.write("a.tif", pages(1, Some((description, unit, resolution))));
        let image = read_image(&path).unwrap();
        assert_eq!(image.x().unit, wanted, "{description} {unit}");
        assert!((image.x().scale / scale - 1.0).abs() < 1e-12, "{description} {unit}: {}", image.x().scale);
    }
}

#[test]
fn a_written_tiff_keeps_values_mask_and_pixel_size() {
    let folder = Folder::new();
    let path = folder.path("a.tif");
    let cases = [
        ((0.012_695_312_5, "nm"), (0.012_695_312_5, "nm")),
        ((20.634_513, "µm"), (20.634_513, "µm")),
        ((0.3, "Å"), (0.3, "A")),
        ((1.234e-12, "m"), (1.234e-3, "nm")),
        ((0.5, "1/nm"), (0.5, "1/nm")),
        ((1e-12, "V"), (1.0, "px")),
    ];
    for ((scale, unit), wanted) in cases {
        let mut values = Array2::from_shape_fn((7, 5), |(y, x)| f64::from((1e6 + (y * 5 + x) as f64 / 3.0) as f32));
        values[[3, 3]] = f64::NAN;
        let axis = |name| Axis::new(name, scale, 0.0, unit);
        let image = Image::calibrated(values, axis("y"), axis("x")).unwrap();
        write_tiff(&path, &image).unwrap();
        let back = read_image(&path).unwrap();
        let (a, b) = (image.values(), back.values());
        assert!(a.indexed_iter().all(|((y, x), v)| image.is_masked(y, x) || *v == b[[y, x]]));
        assert_eq!((back.mask(), back.x().unit.as_str()), (image.mask(), wanted.1));
        assert!((back.y().scale / wanted.0 - 1.0).abs() < 1e-9, "{} {wanted:?}", back.y().scale);
    }
    write_tiff(&path, &Image::new(Array2::zeros((2, 3))).unwrap()).unwrap();
    assert!(!read_image(&path).unwrap().x().is_calibrated());
}

#[test]
fn a_pixel_size_can_be_given_afterwards() {
    let mut values = Array2::zeros((3, 3));
    values[[1, 1]] = f64::INFINITY;
    let image = Image::new(values).unwrap();
    let sized = with_pixel_size(&image, 0.5, "nm").unwrap();
    assert_eq!((sized.x().nanometres(), sized.mask()), (Some(0.5), image.mask()));
    for (size, unit) in [(0.0, "nm"), (-1.0, "nm"), (f64::NAN, "nm"), (f64::INFINITY, "nm"), (1.0, " ")] {
        assert!(with_pixel_size(&image, size, unit).is_err());
    }
}

#[test]
fn an_unwritable_place_is_named_and_nothing_is_lost() {
    let folder = Folder::new();
    let image = Image::new(Array2::zeros((2, 2))).unwrap();
    let path = folder.path("none/a.png");
    assert!(message(write_png(&path, &image), "a.png").contains("there is no directory"));
    let kept = folder.write("kept.tif", "earlier");
    let mut permissions = std::fs::metadata(&kept).unwrap().permissions();
    permissions.set_readonly(true);
    std::fs::set_permissions(&kept, permissions).unwrap();
    assert!(matches!(write_tiff(&kept, &image), Err(Error::Write { .. })));
    assert_eq!(std::fs::read(&kept).unwrap(), b"earlier");
}
