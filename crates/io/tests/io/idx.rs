use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use parsimon_io::read_dataset;

use crate::{Folder, message};

fn idx(shape: &[u32], values: &[u8]) -> Vec<u8> {
    let sizes = shape.iter().flat_map(|n| n.to_be_bytes());
    [0, 0, 8, shape.len() as u8].into_iter().chain(sizes).chain(values.iter().copied()).collect()
}

pub fn packed(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

pub fn images() -> Vec<u8> {
    idx(&[2, 2, 3], &[0, 51, 255, 1, 2, 3, 4, 5, 6, 7, 8, 9])
}

#[test]
fn digits_are_read_with_the_labels_beside_them_packed_or_not() {
    for (images_packed, labels_packed) in [(false, false), (true, true), (true, false), (false, true)] {
        let folder = Folder::new();
        let pack = |bytes: Vec<u8>, yes: bool| if yes { packed(&bytes) } else { bytes };
        let end = |yes: bool| if yes { ".gz" } else { "" };
        let name = format!("train-images-idx3-ubyte{}", end(images_packed));
        let path = folder.write(&name, pack(images(), images_packed));
        assert_eq!(read_dataset(&path).unwrap().labels, None);
        let labels = format!("train-labels-idx1-ubyte{}", end(labels_packed));
        folder.write(&labels, pack(idx(&[2], &[7, 3]), labels_packed));
        let data = read_dataset(&path).unwrap();
        let images = data.images.unwrap();
        assert_eq!(images.shape(), (2, 3, 1));
        assert!((images.images()[(0, 0, 1, 0)] - 0.2).abs() < 1e-6);
        assert_eq!((images.stored()[(0, 0, 2, 0)], images.stored()[(1, 1, 2, 0)].round()), (255.0, 9.0));
        assert_eq!(data.labels.unwrap().to_vec(), [7, 3]);
    }
}

#[test]
fn damaged_files_are_refused() {
    let folder = Folder::new();
    let whole = images();
    for packing in [false, true] {
        let bytes = if packing { packed(&whole) } else { whole.clone() };
        for length in 4..bytes.len() {
            let path = folder.write("cut-idx3", &bytes[..length]);
            message(read_dataset(&path), "cut-idx3");
        }
    }
    for (bytes, word) in [
        ([whole.clone(), vec![0]].concat(), "holds more"),
        (idx(&[u32::MAX, u32::MAX, 2], &[1]), "claims"),
        (idx(&[u32::MAX, u32::MAX, u32::MAX], &[1]), "claims"),
        (idx(&[4000, 1000, 1000], &[1]), "claims 4000000000 bytes"),
        (idx(&[12], &[0; 12]), "images of 3 dimensions"),
        (packed(b"no array at all"), "inside gzip it begins with 6e 6f 20 61"),
        (idx(&[0, 2, 3], &[]), "0"),
    ] {
        let text = message(read_dataset(&folder.write("a.idx3", bytes)), "a.idx3");
        assert!(text.contains(word), "{text}");
    }
    let path = folder.write("few-images-idx3", whole);
    folder.write("few-labels-idx1", idx(&[3], &[1, 2, 3]));
    assert!(message(read_dataset(&path), "few-labels-idx1").contains("`labels` has length 3, expected 2"));
}
