use ndarray::Array2;
use parsimon_core::{Axis, Image};
use parsimon_io::{
    is_list, read, read_dataset, read_detector_images, read_latents, read_scene, read_sites_csv, write_png, write_tiff,
};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::bcf_writer::{BcfWriter, Packing};
use crate::dm_writer::{DmWriter, Picture};
use crate::{Folder, bcf, hyperspy, idx, message, numpy, pictures};

/// A sound file of each format: its name and its bytes.
fn sound(folder: &Folder) -> Vec<(String, Vec<u8>)> {
    let axis = |name| Axis::new(name, 0.02, 0.0, "nm");
    let values = Array2::from_shape_fn((24, 20), |(y, x)| ((y * x) % 17) as f64);
    let image = Image::calibrated(values, axis("y"), axis("x")).unwrap();
    write_png(&folder.path("a.png"), &image).unwrap();
    write_tiff(&folder.path("a.tif"), &image).unwrap();
    let mut files = Vec::new();
    for name in ["a.png", "a.tif"] {
        files.push((name.to_owned(), std::fs::read(folder.path(name)).unwrap()));
    }
    files.push(("movie.tif".into(), pictures::pages(4, Some(("ImageJ=1.54\nimages=4\nunit=nm\n", 1, 50)))));
    let array = |descr: &str, shape: &str, bytes: usize| {
        let header = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}\n");
        numpy::npy(&header, &(0..bytes).map(|i| i as u8 % 60).collect::<Vec<_>>())
    };
    files.push(("a.npy".into(), array("<f4", "(6, 5, 4)", 480)));
    let entries = [
        ("images", array("<u2", "(6, 5, 4)", 240)),
        ("labels", array("<i8", "(6,)", 48)),
        ("angle", array("|u1", "(6,)", 6)),
    ];
    files.push(("deflated.npz".into(), numpy::npz(&entries, zip::CompressionMethod::Deflated)));
    files.push(("stored.npz".into(), numpy::npz(&entries, zip::CompressionMethod::Stored)));
    for (name, version) in [("a.dm3", 3), ("a.dm4", 4)] {
        let calibrations = [(0.5, 0.0, "nm"), (0.5, 0.0, "nm")];
        let of = |sizes| Picture { code: 10, sizes, calibrations: &calibrations, format: "Image", pixels: vec![7; 60] };
        let file = DmWriter { version, big_endian: false }.file(&[of(&[5, 6]), of(&[3, 5, 2])], &[1]);
        files.push((name.into(), file));
    }
    for name in ["image_float16.hspy", "movie_int16_big_endian.hspy", "spectrum_image_uint32.hspy"] {
        files.push((name.into(), std::fs::read(hyperspy::fixture(name)).unwrap()));
    }
    let writer = BcfWriter { chunk: 4096, compressed: false, packing: Packing::Runs };
    files.push(("plain.bcf".into(), writer.file(&bcf::few())));
    let writer = BcfWriter { chunk: 576, compressed: true, packing: Packing::Narrow };
    files.push(("packed.bcf".into(), writer.file(&bcf::few())));
    files
}

/// Reads the bytes in every way there is; whatever is wrong with them, the answer is a value or one line.
fn survives(folder: &Folder, name: &str, bytes: &[u8]) {
    let path = folder.write(name, bytes);
    let lines = [
        read(&path).err(),
        read_dataset(&path).err(),
        read_detector_images(&path).err(),
        read_latents(&path).err(),
        read_scene(&path).err(),
        read_sites_csv(&path).err(),
    ];
    for error in lines.into_iter().flatten() {
        message::<()>(Err(error), name);
    }
}

#[test]
fn sound_files_are_read() {
    let folder = Folder::new();
    for (name, bytes) in sound(&folder) {
        read(&folder.write(&name, bytes)).unwrap();
    }
}

#[test]
fn the_content_tells_lists_of_samples_from_images() {
    let folder = Folder::new();
    for (name, bytes) in sound(&folder) {
        let list = name.ends_with(".npy") || name.ends_with(".npz");
        assert_eq!(is_list(&folder.write("no ending", bytes)).unwrap(), list, "{name}");
    }
    for bytes in [idx::images(), idx::packed(&idx::images())] {
        assert!(is_list(&folder.write("train-images-idx3-ubyte", bytes)).unwrap());
    }
    assert!(message(is_list(&folder.write("a.npz", b"")), "a.npz").contains("empty"));
    assert!(message(is_list(&folder.write("a.npz", b"text")), "a.npz").contains("the name says NPZ"));
    message(is_list(folder.0.path()), "");
    message(is_list(&folder.path("absent")), "absent");
}

#[test]
fn truncated_files_are_survived_and_most_are_refused() {
    let folder = Folder::new();
    for (name, bytes) in sound(&folder) {
        let step = (bytes.len() / 150).max(1);
        for length in (0..bytes.len()).step_by(step) {
            survives(&folder, &name, &bytes[..length]);
        }
        for length in [0, 1, bytes.len() / 4, bytes.len() / 2] {
            message(read(&folder.write(&name, &bytes[..length])), &name);
        }
    }
}

#[test]
fn empty_foreign_and_impossible_files_are_refused_by_name() {
    let folder = Folder::new();
    for (name, bytes) in sound(&folder) {
        assert!(message(read(&folder.write(&name, b"")), &name).contains("empty"));
        let mut foreign = bytes.clone();
        foreign[..4].copy_from_slice(b"what");
        message(read(&folder.write(&name, &foreign)), &name);
        // The magic is right and nothing else is.
        let mut hollow = bytes;
        hollow[16..].fill(0xff);
        message(read(&folder.write(&name, &hollow)), &name);
    }
    assert!(message(read(folder.0.path()), "").contains("is a directory"));
    message(read(&folder.path("absent.png")), "absent.png");
}

/// Flips one to four bits, mostly near the beginning, where the headers are.
#[test]
fn flipped_bits_are_survived() {
    let folder = Folder::new();
    let mut rng = ChaCha8Rng::seed_from_u64(7);
    let flips: usize = std::env::var("PARSIMON_FLIPS").ok().and_then(|n| n.parse().ok()).unwrap_or(300);
    for (name, bytes) in sound(&folder) {
        for _ in 0..flips {
            let mut damaged = bytes.clone();
            for _ in 0..rng.gen_range(1..=4) {
                let reach = if rng.gen_bool(0.5) { damaged.len().min(256) } else { damaged.len() };
                damaged[rng.gen_range(0..reach)] ^= 1 << rng.gen_range(0..8);
            }
            survives(&folder, &name, &damaged);
        }
    }
}
