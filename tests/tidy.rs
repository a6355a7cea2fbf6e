//! Rules of the repository.

use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn crates() -> Vec<PathBuf> {
    let folders = std::fs::read_dir(root().join("crates")).unwrap().map(|e| e.unwrap().path());
    folders.filter(|p| p.is_dir()).chain([root().join("datasets")]).collect()
}

#[test]
fn every_crate_has_a_readme_that_is_its_documentation_and_stands_on_the_map() {
    let map = std::fs::read_to_string(root().join("crates/README.md")).unwrap();
    for folder in crates() {
        let name = folder.file_name().unwrap().to_str().unwrap().to_owned();
        let readme = std::fs::read_to_string(folder.join("README.md")).unwrap_or_default();
        assert!(readme.contains("```rust"), "{name}: no snippet in its README");
        let lib = std::fs::read_to_string(folder.join("src/lib.rs")).unwrap();
        assert!(lib.contains("include_str!(\"../README.md\")"), "{name}: its README is not its documentation");
        assert!(map.contains(&format!("`{name}`")), "{name}: not on the map");
    }
}

#[test]
fn dependencies_point_down_only() {
    let layer = |name: &str| match name {
        "core" => 0,
        "io" | "detect" | "patch" | "spectra" | "baselines" | "metrics" | "datasets" | "nets" => 1,
        "objective" => 2,
        "train" => 3,
        "ivae" => 4,
        "report" => 5,
        _ => panic!("{name}: give it a layer"),
    };
    for folder in crates() {
        let name = folder.file_name().unwrap().to_str().unwrap().to_owned();
        let manifest = std::fs::read_to_string(folder.join("Cargo.toml")).unwrap();
        // What tests need may come from anywhere; what users get may not.
        let manifest = manifest.split("[dev-dependencies]").next().unwrap();
        for line in manifest.lines().filter(|l| l.starts_with("parsimon-")) {
            let below = line.trim_start_matches("parsimon-").split(['.', ' ', '=']).next().unwrap();
            assert!(layer(below) < layer(&name), "{name} depends on {below}");
            assert!(!(layer(&name) == 1 && below != "core"), "{name} depends on {below}");
        }
        let network = ["nets", "objective", "train", "ivae"].contains(&name.as_str());
        assert!(network || !manifest.contains("dfdx"), "{name} depends on dfdx");
    }
}

#[test]
fn links_of_the_readme_lead_somewhere() {
    let readme = std::fs::read_to_string(root().join("README.md")).unwrap();
    let links: Vec<&str> = readme.split("](").skip(1).filter_map(|rest| rest.split(')').next()).collect();
    assert!(links.len() > 10, "{links:?}");
    for link in links {
        assert!(root().join(link).exists(), "{link}");
    }
}
