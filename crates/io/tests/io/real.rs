//! Reference values are numpy's, of the arrays that RosettaSciIO and h5py read.

use parsimon_datasets::real;
use parsimon_io::{Content, read, read_dataset, read_image, read_raw};

fn assert_close(found: f64, wanted: f64) {
    assert!((found / wanted - 1.0).abs() < 1e-12, "{found} instead of {wanted}");
}

#[test]
fn dm3_image() {
    let Some(path) = real("mos2_se_adf.dm3") else { return };
    let image = read_image(&path).unwrap();
    assert_eq!((image.shape(), image.metadata.stored_as.as_str()), ((1024, 1024), "uint32"));
    assert_eq!(image.values().sum(), 3_187_697_916_895.0);
    assert_eq!((image.values()[[3, 5]], image.values()[[0, 0]]), (3_052_960.0, 3_058_051.0));
    assert_eq!((image.range().low, image.range().high), (2_930_931.0, 3_542_985.0));
    assert_eq!((image.x().scale, image.x().unit.as_str(), image.y().scale), (0.012_695_312_5, "nm", 0.012_695_312_5));
    assert_eq!(image.metadata.extra["voltage_v"], "60000.0");
}

#[test]
fn dm4_line_scan() {
    let Some(path) = real("cl_linescan.dm4") else { return };
    let Content::SpectrumImage(line) = read(&path).unwrap() else { panic!("a line scan is a row of spectra") };
    assert_eq!(line.values().dim(), (1, 67, 1336));
    assert_eq!((line.values().sum(), line.values()[[0, 3, 5]]), (345_947_083.0, 1.0));
    let [y, x, wavelength] = line.axes();
    assert_eq!((wavelength.name.as_str(), wavelength.unit.as_str()), ("wavelength", "nm"));
    assert_close(wavelength.scale, 0.093_436_114_490_032_2);
    assert_close(wavelength.offset, 811.025_656_265_890_6);
    assert_eq!((x.name.as_str(), x.unit.as_str(), x.offset, y.is_calibrated()), ("x", "µm", 0.0, false));
    assert_close(x.scale, 0.020_634_513_348_340_988);
    assert_eq!(
        (line.metadata.title.as_str(), line.metadata.extra["voltage_v"].as_str()),
        ("test-CL_spectrum-SI", "5000.0")
    );
}

#[test]
fn hyperspy_float16() {
    for (name, sum, at) in [("sto_adf.hdf5", 258_173_515.0, 1854.0), ("sto_abf.hdf5", 517_962_284.0, 3112.0)] {
        let Some(path) = real(name) else { return };
        let image = read_image(&path).unwrap();
        assert_eq!((image.shape(), image.metadata.stored_as.as_str()), ((400, 380), "float16"));
        assert_eq!((image.values().sum(), image.values()[[3, 5]]), (sum, at));
        // The file gives a step and no unit.
        assert!(!image.x().is_calibrated());
        assert!(image.metadata.extra["axis-0 scale without a unit"].starts_with("0.00932627"));
    }
}

#[test]
fn raw_numbers_by_description() {
    let Some(path) = real("si111_stm.dat") else { return };
    let image = read_raw(&path, &"f64le,256x256,skip=8".parse().unwrap()).unwrap();
    assert_close(image.values().sum(), 3.165_961_467_850_708e-5);
    assert_eq!(
        (image.values()[[3, 5]], image.values()[[255, 255]]),
        (3.839_620_413_919_444e-10, 7.539_868_517_390_42e-10)
    );
    assert!(read(&path).unwrap_err().to_string().contains("raw numbers need a description"));
}

#[test]
fn compressed_npz_dataset() {
    let Some(path) = real("digits.npz") else { return };
    let data = read_dataset(&path).unwrap();
    let images = data.images.unwrap();
    assert_eq!((images.len(), images.shape()), (10_000, (28, 28, 1)));
    assert_close(images.images().iter().map(|&v| f64::from(v)).sum(), 1_028_025.891_160_708_9);
    let labels = data.labels.unwrap();
    assert_eq!((labels.sum(), &labels.to_vec()[..5]), (44_368, &[5, 7, 3, 7, 7][..]));
}
