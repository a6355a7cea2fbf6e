use ndarray::array;
use parsimon_io::{RawLayout, read_raw};

use crate::{Folder, message};

#[test]
fn every_type_and_byte_order_is_read() {
    let folder = Folder::new();
    let cases: [(&str, Vec<u8>); 7] = [
        ("u8", vec![1, 2, 3, 4, 5, 6]),
        ("i16be", [1i16, 2, 3, 4, 5, 6].iter().flat_map(|v| v.to_be_bytes()).collect()),
        ("u32le", [1u32, 2, 3, 4, 5, 6].iter().flat_map(|v| v.to_le_bytes()).collect()),
        ("i64be", [1i64, 2, 3, 4, 5, 6].iter().flat_map(|v| v.to_be_bytes()).collect()),
        (
            "f16le",
            [1.0f32, 2.0, 3.0, 4.0, 5.0, 6.0].iter().flat_map(|&v| half::f16::from_f32(v).to_le_bytes()).collect(),
        ),
        ("f32be", [1.0f32, 2.0, 3.0, 4.0, 5.0, 6.0].iter().flat_map(|v| v.to_be_bytes()).collect()),
        ("f64le", [1.0f64, 2.0, 3.0, 4.0, 5.0, 6.0].iter().flat_map(|v| v.to_le_bytes()).collect()),
    ];
    for (kind, bytes) in cases {
        let path = folder.write("a.dat", [vec![99; 8], bytes].concat());
        let layout: RawLayout = format!("{kind},2x3,skip=8").parse().unwrap();
        let image = read_raw(&path, &layout).unwrap();
        assert_eq!(image.values(), array![[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]], "{kind}");
    }
}

#[test]
fn the_calibration_of_the_description_is_carried() {
    let path = Folder::new();
    let path = (path.write("a.dat", [7; 4]), path);
    let image = read_raw(&path.0, &" u8 , 2 x 2 , unit=Å , scale=0.5".parse().unwrap()).unwrap();
    assert_eq!((image.x().nanometres(), image.y().scale), (Some(0.05), 0.5));
}

#[test]
fn the_size_must_match_exactly() {
    let folder = Folder::new();
    for size in [0, 31, 33, 40] {
        let path = folder.write("a.dat", vec![0; size]);
        let text = message(read_raw(&path, &"f64le,2x2".parse().unwrap()), "a.dat");
        assert!(text.contains("32 bytes") && text.contains(&format!("the file has {size}")), "{text}");
    }
}

#[test]
fn senseless_descriptions_are_rejected_with_what_is_accepted() {
    let cases = [
        ("", "no type"),
        ("f64", "no type"),
        ("f8le", "no type"),
        ("f63le,2x2", "no type"),
        ("c64le,2x2", "no type"),
        ("élé,2x2", "no type"),
        ("u8", "no size"),
        ("u8,2", "no size"),
        ("u8,0x3", "no size"),
        ("u8,-1x3", "no size"),
        ("u8,2x2,skip=-1", "skip is `-1`"),
        ("u8,2x2,scale=0,unit=nm", "above 0"),
        ("u8,2x2,scale=NaN,unit=nm", "above 0"),
        ("u8,2x2,scale=2", "go together"),
        ("u8,2x2,unit=nm", "go together"),
        ("u8,2x2,offset=3", "not understood"),
        ("u16le,18446744073709551615x2", "more than any file"),
    ];
    for (text, wanted) in cases {
        let error = text.parse::<RawLayout>().unwrap_err().to_string();
        assert!(error.contains(wanted) && error.contains(text), "{text}: {error}");
    }
}
