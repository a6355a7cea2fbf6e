use std::path::Path;

use clap::Parser;
use ndarray::Array2;
use parsimon_core::{Axis, Dataset, Image, Patches, Scaling, Sites, Spectra};
use parsimon_datasets::{SpectrumImageParams, spectrum_image};
use parsimon_io::write_dataset;

use super::*;
use crate::args::{Cli, Command};

fn compare(words: &str, data: &Path, out: &Path) -> Result<()> {
    let words = words.split_whitespace().map(str::to_owned);
    let line = ["xtask".to_owned(), "compare".to_owned(), data.display().to_string()].into_iter().chain(words);
    let line = line.chain(["--out".to_owned(), out.display().to_string()]);
    match Cli::try_parse_from(line)?.command {
        Command::Compare(args) => run(&args),
        _ => unreachable!("compare was asked for"),
    }
}

#[test]
fn every_method_gets_a_line_its_columns_and_its_figures() {
    let folder = tempfile::tempdir().unwrap();
    let (data, out) = (folder.path().join("d.npz"), folder.path().join("out"));
    let value = |i: usize, y: usize, x: usize| ((i * 13 + y * 7 + x * 3 + (i % 3) * y) % 17) as f32 / 16.0;
    let images = ndarray::Array4::from_shape_fn((90, 8, 8, 1), |(i, y, x, _)| value(i, y, x));
    let images = Some(Patches::new(images, Scaling::unit(1)).unwrap());
    let labels = Some((0..90).map(|i| i % 3).collect());
    write_dataset(&data, &Dataset { images, labels, ..Dataset::default() }).unwrap();
    let methods = "pca,nmf,nmf-kl,fcls,blu,kmeans,gmm,dbscan,isomap,tsne,umap,som,vae,ivae";
    compare(&format!("--methods {methods} --epochs 2 --hidden 8 --components 2"), &data, &out).unwrap();
    let table = std::fs::read_to_string(out.join("table.csv")).unwrap();
    let lines: Vec<&str> = table.lines().collect();
    assert!(lines[0].starts_with("method,") && lines[0].ends_with(",seconds"), "{}", lines[0]);
    let named: Vec<&str> = lines[1..].iter().map(|l| l.split(',').next().unwrap()).collect();
    assert_eq!(named.join(","), methods);
    for method in &named {
        assert!(parsimon_io::read_latents(&out.join(format!("{method}.npz"))).is_ok(), "{method}");
    }
    let html = std::fs::read_to_string(out.join("index.html")).unwrap();
    assert!(html.contains("Invariant VAE") && html.contains("accuracy: "));
    assert!(!html.contains("trustworthiness"), "of so few rows there is none, and no column of it");
    assert!(out.join("nmf_patterns.npy").exists() && !out.join("isomap_patterns.npy").exists());
    assert!(html.contains("How many components") && out.join("figures/pca_scree.png").exists());
    assert!(out.join("figures/nmf_patterns.png").exists() && out.join("figures/ivae_scatter.png").exists());
}

#[test]
fn what_cannot_be_compared_is_told_before_any_work() {
    let folder = tempfile::tempdir().unwrap();
    let (data, out) = (folder.path().join("d.npz"), folder.path().join("out"));
    let images = ndarray::Array4::from_shape_fn((20, 3, 3, 1), |(i, y, ..)| ((i + y) % 5) as f32 / 4.0);
    let images = Some(Patches::new(images, Scaling::unit(1)).unwrap());
    write_dataset(&data, &Dataset { images, ..Dataset::default() }).unwrap();
    let cases = [
        ("--methods pca,nmf,pca", "pca twice"),
        ("--truth labels", "no classes"),
        ("--steps bin=2", "holds images"),
        ("--holdout 1.5", "1.5"),
        ("--methods vae --boundary 3", "--boundary"),
        ("--methods vae,pca --components 0", "components is 0"),
        ("--methods blu,pca --components 1", "Bayesian unmixing: number of endmembers is 1 (--components)"),
        ("--methods vae,tsne --components 4", "dimensions"),
        ("--methods vae --patience 3", "--patience"),
        ("--methods vae,kmeans --clusters 400", "400 clusters"),
    ];
    for (words, part) in cases {
        let error = format!("{:#}", compare(words, &data, &out).unwrap_err());
        assert!(error.contains(part), "{words}: {error}");
    }
    assert!(!out.exists(), "a command that fails leaves nothing");
}

#[test]
fn results_do_not_replace_the_data() {
    let folder = tempfile::tempdir().unwrap();
    let [data, other] = ["pca.npz", "samples.npz"].map(|name| folder.path().join(name));
    made::write_line(&data);
    std::fs::copy(&data, &other).unwrap();
    let before = std::fs::read(&data).unwrap();
    let error = compare("--methods kmeans --clusters 2", &data, folder.path()).unwrap_err().to_string();
    assert!(error.contains("pca.npz") && error.contains("another --out"), "{error}");
    assert!(std::fs::read(&data).unwrap() == before && !folder.path().join("table.csv").exists());
    // A name of its own is safe beside them.
    compare("--methods kmeans --clusters 2", &other, folder.path()).unwrap();
    assert!(other.exists());
}

#[test]
fn a_method_that_fails_leaves_what_the_others_found_and_nothing_of_an_earlier_comparison() {
    let folder = tempfile::tempdir().unwrap();
    let (file, out) = (folder.path().join("d.npz"), folder.path().join("out"));
    made::write_line(&file);
    compare("--methods pca,kmeans --components 1 --clusters 2", &file, &out).unwrap();
    assert!(out.join("pca.npz").exists() && out.join("figures/pca_patterns.png").exists());
    let failed = compare("--methods kmeans,fcls --components 3 --clusters 2", &file, &out).unwrap_err();
    assert!(failed.to_string().starts_with("1 of 2 methods failed: N-FINDR and FCLS"), "{failed}");
    let table = std::fs::read_to_string(out.join("table.csv")).unwrap();
    assert!(table.lines().count() == 2 && table.contains("\nkmeans,"), "{table}");
    assert!(std::fs::read_to_string(out.join("index.html")).unwrap().contains("Failed: N-FINDR and FCLS"));
    for gone in ["pca.npz", "pca_patterns.npy", "figures/pca_patterns.png", "figures/pca_scree.png", "fcls.npz"] {
        assert!(!out.join(gone).exists(), "{gone}");
    }
    assert!(out.join("kmeans.npz").exists() && out.join("kmeans_patterns.npy").exists());
}

#[test]
fn classes_of_two_names_are_scored_together() {
    let folder = tempfile::tempdir().unwrap();
    let (data, out) = (folder.path().join("d.npz"), folder.path().join("out"));
    let kind = |i: usize| (i / 3 % 2, i % 2);
    let images = ndarray::Array4::from_shape_fn((200, 3, 4, 1), |(i, y, x, _)| {
        let noise = (i * 31 + y * 17 + x * 7) % 13;
        0.5 * (y == 0 && kind(i).0 == 1) as u8 as f32
            + 0.4 * (x == 0 && kind(i).1 == 1) as u8 as f32
            + noise as f32 / 200.0
    });
    let images = Some(Patches::new(images, Scaling::unit(1)).unwrap());
    let labels = Some((0..200).map(|i| kind(i).0 as i64).collect());
    let domain = (0..200).map(|i| kind(i).1 as f64).collect();
    let truth = [("domain".to_owned(), domain)].into();
    write_dataset(&data, &Dataset { images, labels, truth, ..Dataset::default() }).unwrap();
    let ari = |truth: &str| -> f64 {
        compare(&format!("--methods kmeans --truth {truth} --clusters 4"), &data, &out).unwrap();
        let table = std::fs::read_to_string(out.join("table.csv")).unwrap();
        let mut lines = table.lines().map(|line| line.split(',').collect::<Vec<_>>());
        let place = lines.next().unwrap().iter().position(|name| *name == "ari").unwrap();
        lines.next().unwrap()[place].parse().unwrap()
    };
    assert_eq!(ari("labels,domain"), 1.0);
    assert!(ari("labels") < 0.7);
}

#[test]
fn a_scan_is_read_prepared_and_mapped() {
    let Some(scan) = parsimon_datasets::real("chevkinite_eds.bcf") else { return };
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let steps = "crop=0.25..8keV,bin=4,poisson";
    compare(&format!("--methods pca,nmf,kmeans --components 2 --clusters 2 --steps {steps}"), &scan, &out).unwrap();
    let axes = std::fs::read_to_string(out.join("axes.csv")).unwrap();
    assert!(axes.contains("x,µm,") && axes.contains("energy,keV,") && out.join("nmf_maps.npy").exists(), "{axes}");
    assert!(!out.join("kmeans_maps.npy").exists());
    for file in ["pca_map_pc1", "nmf_map_nmf2", "kmeans_map_class", "nmf_patterns"] {
        assert!(out.join(format!("figures/{file}.png")).exists(), "{file}");
    }
    assert!(std::fs::read_to_string(out.join("index.html")).unwrap().contains(steps));
}

#[test]
fn a_made_scan_is_prepared_and_scored_by_what_is_known() {
    let folder = tempfile::tempdir().unwrap();
    let (data, out) = (folder.path().join("d.npz"), folder.path().join("out"));
    let sides = SpectrumImageParams { height: 18, width: 16, channels: 64, endmembers: 3, ..Default::default() };
    write_dataset(&data, &spectrum_image(&sides).unwrap().into_dataset().unwrap()).unwrap();
    let score = |steps: &str, method: &str, name: &str| -> Option<f64> {
        compare(&format!("--methods nmf,fcls --components 3 {steps}"), &data, &out).unwrap();
        let table = std::fs::read_to_string(out.join("table.csv")).unwrap();
        let mut lines = table.lines().map(|line| line.split(',').collect::<Vec<_>>());
        let place = lines.next().unwrap().iter().position(|found| *found == name).unwrap();
        lines.find(|line| line[0] == method).unwrap()[place].parse().ok()
    };
    let scaled = "--steps bin=2,poisson";
    let [before, after] = ["", scaled].map(|steps| score(steps, "fcls", "endmember_angle").unwrap());
    assert!(after < 0.9 * before, "noise that is alike everywhere helps: {after}, {before}");
    assert!(score(scaled, "nmf", "endmember_angle").is_some());
    assert!(score("", "fcls", "abundance_error").is_some() && score(scaled, "fcls", "abundance_error").is_none());
    let axes = std::fs::read_to_string(out.join("axes.csv")).unwrap();
    let (energy, rows) = (axes.lines().last().unwrap(), axes.lines().nth(1).unwrap());
    assert!(energy.contains(",32,") && rows.contains(",18,") && out.join("nmf_maps.npy").exists(), "{axes}");
    for file in ["factors.npy", "nmf_maps.npy"] {
        assert!(out.join(file).exists(), "{file}");
    }
    score("", "fcls", "endmember_angle");
    assert!(!out.join("factors.npy").exists(), "an earlier comparison had steps");
    let words = "--methods nmf --components 3 --truth nope";
    let error = format!("{:#}", compare(words, &data, &out).unwrap_err());
    assert!(error.contains("d.npz: --truth is `nope`, accepted are labels"), "{error}");
    let words = "--methods nmf --components 3 --truth labels --steps bin-pixels=2";
    let error = format!("{:#}", compare(words, &data, &out).unwrap_err());
    assert!(error.contains("classes and numbers of single pixels"), "{error}");
}

#[test]
fn columns_along_a_line_are_lines() {
    let folder = tempfile::tempdir().unwrap();
    let (data, out) = (folder.path().join("line.npz"), folder.path().join("out"));
    let height = |i: usize, e: usize| (-((e as f64 - 10.0 - i as f64) / 4.0).powi(2)).exp() * 100.0;
    let spectra =
        Spectra::new(Array2::from_shape_fn((30, 50), |(i, e)| height(i, e)), Axis::new("energy", 0.5, 0.0, "eV"));
    let [y, x] = ["y", "x"].map(|name| Axis::new(name, 2.0, 0.0, "nm"));
    let micrograph = Some(Image::calibrated(Array2::from_elem((1, 30), 1.0), y, x).unwrap());
    let sites = Some(Sites::grid((1, 30)));
    write_dataset(&data, &Dataset { spectra: spectra.ok(), micrograph, sites, ..Dataset::default() }).unwrap();
    compare("--methods nmf,kmeans --components 2 --clusters 2", &data, &out).unwrap();
    let there = |file: &str| out.join("figures").join(file).exists();
    assert!(there("nmf_map_profile.png") && there("kmeans_map_profile.png") && there("kmeans_map_class.png"));
    assert!(!there("nmf_map_nmf1.png"), "a strip would tell less");
    assert!(std::fs::read_to_string(out.join("index.html")).unwrap().contains("x (nm)"));
}

#[test]
fn endmembers_that_no_sample_is_like_are_doubted() {
    // Three materials where two are asked for: the third is taken off the other two.
    let kind = |i: usize| [1.0f32, 1.0, 0.8][i % 3];
    let images = ndarray::Array4::from_shape_fn((60, 1, 3, 1), |(i, _, x, _)| if i % 3 == x { kind(i) } else { 0.0 });
    let samples = made::samples(Patches::new(images, Scaling::unit(1)).unwrap());
    let of = |endmembers: usize| fitted(&parsimon_baselines::Fcls::params(endmembers), true, &samples).unwrap();
    let doubted = doubts(&of(2));
    assert!(doubted.len() == 2 && doubted[0].contains("endmember a1 is below 0"), "{doubted:?}");
    let mut whole = of(3);
    assert_eq!(doubts(&whole), Vec::<String>::new());
    whole.scores = vec![("explained", Some(-0.1))];
    assert!(doubts(&whole)[0].contains("the mean of all samples"));
}
