use parsimon_core::{Refinement, Site, Sites};
use parsimon_io::{read_sites_csv, write_sites_csv};
use proptest::prelude::*;

use crate::{Folder, message};

fn site(frame: usize, numbers: [f64; 5], refinement: Refinement) -> Site {
    let [y, x, intensity, width, quality] = numbers;
    Site { frame, y, x, intensity, width, quality, refinement }
}

#[test]
fn the_header_is_the_fixed_one() {
    let folder = Folder::new();
    let path = folder.path("sites.csv");
    let sites = Sites::new(vec![site(2, [1.5, 2.25, -3.0, 0.1, 1.0], Refinement::Failed)]).unwrap();
    write_sites_csv(&path, &sites, &[("angle", &[0.5]), ("a,b", &[f64::NAN])]).unwrap();
    let text = std::fs::read_to_string(&path).unwrap();
    let header = "frame,y,x,intensity,width,quality,refinement,angle,\"a,b\"";
    assert_eq!(text, format!("{header}\n2,1.5,2.25,-3,0.1,1,failed,0.5,NaN\n"));
    let (back, extra) = read_sites_csv(&path).unwrap();
    assert_eq!(back, sites);
    assert_eq!(extra[0], ("angle".to_owned(), vec![0.5]));
    assert!(extra[1].1[0].is_nan());
}

#[test]
fn bad_tables_are_refused_with_row_and_column() {
    let folder = Folder::new();
    let path = folder.path("sites.csv");
    let (read, extra) = read_sites_csv(&folder.write("few.csv", "x, y\n1, 2\n")).unwrap();
    assert_eq!(read.as_slice(), [site(0, [2.0, 1.0, 0.0, 0.0, 1.0], Refinement::None)]);
    assert!(extra.is_empty());
    let cases: [(&[u8], &str); 8] = [
        (b"", "no column `y`"),
        (b"a,b\n1,2\n", "no column `y` in a,b"),
        (b"y,x\n1,two\n", "row 1: `x` is `two`, expected a number"),
        (b"frame,y,x\n-1,1,2\n", "`frame` is `-1`"),
        (b"y,x\n1,2\n3\n", ""),
        (b"y,x\n1,NaN\n", "x of site 0"),
        (b"y,x,refinement\n1,2,maybe\n", "expected none, converged or failed"),
        (b"y,x\n1,\xff\xfe\n", ""),
    ];
    for (bytes, wanted) in cases {
        let text = message(read_sites_csv(&folder.write("bad.csv", bytes)), "bad.csv");
        assert!(text.contains(wanted), "{text}");
    }
    let says = |extra: &[(&str, &[f64])]| message(write_sites_csv(&path, &read, extra), "sites.csv");
    assert!(says(&[("angle", &[])]).contains("`angle` has length 0, expected 1"));
    assert!(says(&[("width", &[1.0])]).contains("named `width`"));
    assert!(says(&[("a", &[1.0]), ("a", &[1.0])]).contains("named `a`"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    #[test]
    fn numbers_are_read_back_exactly(rows in proptest::collection::vec((0usize..9, any::<[f64; 5]>()), 0..20)) {
        let finite = |v: f64| if v.is_finite() { v } else { 0.1 };
        let sites: Vec<Site> = rows.into_iter().map(|(frame, numbers)| {
            let mut numbers = numbers.map(finite);
            numbers[3] = numbers[3].abs();
            site(frame, numbers, if frame % 2 == 0 { Refinement::Converged } else { Refinement::None })
        }).collect();
        let sites = Sites::new(sites).unwrap();
        let folder = Folder::new();
        let path = folder.path("a.csv");
        let extra: Vec<f64> = sites.iter().map(|s| s.y / 3.0).collect();
        write_sites_csv(&path, &sites, &[("extra", &extra)]).unwrap();
        let (back, columns) = read_sites_csv(&path).unwrap();
        prop_assert_eq!(back, sites);
        prop_assert_eq!(&columns[0].1, &extra);
    }
}
