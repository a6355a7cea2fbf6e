//! Micrographs with default parameters; skipped where the files are absent.

use parsimon_core::Image;
use parsimon_datasets::real;
use parsimon_detect::{Detection, Params, Polarity, detect, nearest_neighbour_distances};
use parsimon_io::{read_image, read_raw};

fn default_detection(image: &Image) -> Detection {
    detect(image, &Params::default()).unwrap()
}

#[test]
fn molybdenum_disulfide_with_a_hole_and_dirt() {
    let Some(path) = real("mos2_se_adf.dm3") else { return };
    let found = default_detection(&read_image(&path).unwrap());
    let lattice = found.used.lattice.unwrap();
    assert!((22.0..25.0).contains(&lattice.spacing), "{lattice:?}");
    assert!((2000..=2300).contains(&found.sites.len()), "{}", found.sites.len());
    let isolated = nearest_neighbour_distances(&found.sites).iter().filter(|d| **d > 1.3 * lattice.spacing).count();
    assert!(isolated * 50 <= found.sites.len(), "{isolated}");
    let in_hole = found.sites.iter().filter(|s| (s.y - 674.0).hypot(s.x - 550.0) < 13.0).count();
    assert_eq!(in_hole, 0);
    assert!(found.failed * 50 <= found.sites.len(), "{:?}", found.notes);
}

#[test]
fn two_detectors_see_the_columns_of_one_perovskite() {
    let (Some(adf), Some(abf)) = (real("sto_adf.hdf5"), real("sto_abf.hdf5")) else { return };
    let (adf, abf) = (read_image(&adf).unwrap(), read_image(&abf).unwrap());
    let (bright, dark) = (default_detection(&adf), default_detection(&abf));
    assert_eq!((bright.used.polarity, dark.used.polarity), (Polarity::Bright, Polarity::Dark));
    let strong = |d: &Detection| -> Vec<[f64; 2]> {
        let classes = d.classes.as_ref().expect("two kinds");
        d.sites.positions().into_iter().zip(&classes.class).filter(|(_, c)| **c == 1).map(|(p, _)| p).collect()
    };
    let [weak_count, strong_count] = bright.classes.as_ref().unwrap().counts;
    assert!((110..=135).contains(&strong_count) && (100..=135).contains(&weak_count), "{:?}", bright.notes);
    assert!((215..=400).contains(&dark.sites.len()), "{:?}", dark.notes);
    // The images were taken at once: the strong columns of one are those of the other.
    let (a, b) = (strong(&bright), strong(&dark));
    let apart = |p: &[f64; 2], q: &[f64; 2]| (p[0] - q[0]).hypot(p[1] - q[1]);
    let same = a.iter().filter(|p| b.iter().any(|q| apart(p, q) < 2.0)).count();
    assert!(same * 100 >= a.len() * 97, "{same} of {}", a.len());
    // And every weak column of the ADF image is a dark one of the ABF image.
    let all = dark.sites.positions();
    let shared = bright.sites.positions().iter().filter(|p| all.iter().any(|q| apart(p, q) < 3.0)).count();
    assert!(shared * 100 >= bright.sites.len() * 95, "{shared} of {}", bright.sites.len());
}

#[test]
fn adatoms_on_silicon() {
    let Some(path) = real("si111_stm.dat") else { return };
    let layout = "f64le,256x256,skip=8".parse().unwrap();
    let found = default_detection(&read_raw(&path, &layout).unwrap());
    assert_eq!(found.used.polarity, Polarity::Bright);
    assert!((330..=430).contains(&found.sites.len()), "{}", found.sites.len());
    let mut apart = nearest_neighbour_distances(&found.sites);
    apart.sort_by(f64::total_cmp);
    assert!(apart[0] > 5.0 && (9.0..13.0).contains(&apart[apart.len() / 2]), "{} {}", apart[0], apart[apart.len() / 2]);
}
