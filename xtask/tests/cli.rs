//! The commands as a person gives them: what they write, and how they refuse.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use ndarray::{Array1, Array2, Array3, Array4};
use parsimon_core::{Image, Normalise};
use tempfile::TempDir;

fn xtask(words: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_xtask")).args(words).output().unwrap()
}

fn run(words: &[&str]) -> String {
    let output = xtask(words);
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{words:?}\n{out}\n{err}");
    out.into_owned()
}

/// Runs a command that must fail with one line on stderr that holds every one of `parts`.
fn refused(words: &[&str], parts: &[&str]) {
    let output = xtask(words);
    let err = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success(), "{words:?} went well");
    assert!(!err.contains("panicked"), "{words:?}: {err}");
    assert_eq!(err.trim_end().lines().count(), 1, "{words:?}: more than one line\n{err}");
    for part in parts {
        assert!(err.contains(part), "{words:?}: no `{part}` in\n{err}");
    }
}

/// A folder with a small image of atoms on a square lattice, and paths in it as text.
struct Bench(TempDir);

impl Bench {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> String {
        self.0.path().join(name).to_str().unwrap().to_owned()
    }

    fn save(&self, name: &str, values: Array2<f64>) -> String {
        let path = self.path(name);
        parsimon_io::write_npy(Path::new(&path), values.mapv(|v| v as f32).view().into_dyn()).unwrap();
        path
    }

    fn atoms(&self) -> String {
        self.save("atoms.npy", atoms())
    }

    fn data(&self, name: &str, images: Array4<f32>) -> String {
        let path = self.path(name);
        parsimon_io::write_npy(Path::new(&path), images.index_axis(ndarray::Axis(3), 0).into_dyn()).unwrap();
        path
    }
}

/// Two kinds of atoms, alternating, on a slightly noisy background.
fn atoms() -> Array2<f64> {
    Array2::from_shape_fn((150, 150), |(y, x)| {
        let (fy, fx) = ((y as f64 / 12.0).fract() - 0.5, (x as f64 / 12.0).fract() - 0.5);
        let height = if (y / 12 + x / 12).is_multiple_of(2) { 100.0 } else { 60.0 };
        let noise = ((y * 31 + x * 17) % 23) as f64 * 0.1;
        10.0 + noise + height * (-(fy * fy + fx * fx) * 144.0 / (2.0 * 2.2 * 2.2)).exp()
    })
}

/// Bars at varying angles.
fn bars(n: usize) -> Array4<f32> {
    Array4::from_shape_fn((n, 10, 10, 1), |(i, y, x, _)| {
        let (sin, cos) = (0.9 * (i as f32 * 0.618).fract()).sin_cos();
        let (x, y) = (x as f32 - 4.5, y as f32 - 4.5);
        let across = sin * x + cos * y;
        if across.abs() < 1.2 && cos * x - sin * y > -2.0 { 0.9 } else { 0.05 }
    })
}

const QUICK: [&str; 6] = ["--epochs", "2", "--starts", "1", "--hidden", "16"];

fn with<'a>(words: &[&'a str], more: &[&'a str]) -> Vec<&'a str> {
    [words, more].concat()
}

fn contents(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(contents(&path))
        } else {
            found.push((path.clone(), std::fs::read(path).unwrap()))
        }
    }
    found.sort();
    found
}

#[test]
fn analyze_writes_what_the_interface_says() {
    let bench = Bench::new();
    let out = bench.path("out");
    run(&with(&["analyze", &bench.atoms(), "--out", &out, "--pixel", "0.02nm"], &QUICK));
    let out = Path::new(&out);
    for name in ["sites.csv", "latents.npz", "index.html", "figures/sites.png", "figures/map_z1.png"] {
        assert!(out.join(name).metadata().is_ok_and(|m| m.len() > 0), "{name}");
    }
    for name in ["model.safetensors", "config.toml", "history.csv", "latents.npz", "manifold.png"] {
        assert!(out.join("run").join(name).metadata().is_ok_and(|m| m.len() > 0), "run/{name}");
    }
    let (sites, _) = parsimon_io::read_sites_csv(&out.join("sites.csv")).unwrap();
    let latents = parsimon_io::read_latents(&out.join("latents.npz")).unwrap();
    assert_eq!(sites.len(), latents.len());
    assert!(sites.len() >= 81, "{} sites with a patch, 12 × 12 atoms less those at the border", sites.len());
    assert!(std::fs::read_to_string(out.join("sites.csv")).unwrap().starts_with("frame,y,x,"));
    let history = std::fs::read_to_string(out.join("run/history.csv")).unwrap();
    assert!(history.starts_with("epoch,seconds,train_loss,test_loss,reconstruction,kl"), "{history}");
    let html = std::fs::read_to_string(out.join("index.html")).unwrap();
    assert!(html.contains("cargo xtask analyze") && html.contains("nm") && !html.contains("src=\"figures"));
}

#[test]
fn the_demo_is_scored_against_its_truth() {
    let bench = Bench::new();
    let said = run(&with(&["analyze", "--demo", "--out", &bench.path("out")], &QUICK));
    let score = |name: &str| -> f64 {
        let line = said.lines().find(|l| l.starts_with(name)).unwrap_or_else(|| panic!("no {name} in {said}"));
        line.rsplit(": ").next().unwrap().trim_end_matches(" px").parse().unwrap()
    };
    assert!(score("F1 of the sites") >= 0.99 && score("RMS position error") <= 0.1, "{said}");
    assert!(score("sublattice by 15 neighbours, all latents") > 0.5, "{said}");
}

#[test]
fn a_failed_analysis_leaves_the_earlier_one_whole() {
    let bench = Bench::new();
    let (file, out) = (bench.atoms(), bench.path("out"));
    run(&with(&["analyze", &file, "--out", &out], &QUICK));
    let before = contents(Path::new(&out));
    refused(&["analyze", &file, "--out", &out, "--window", "400"], &["400", "150"]);
    refused(&with(&["analyze", &file, "--out", &out, "--batch", "5000"], &QUICK), &["batch of 5000"]);
    assert_eq!(before, contents(Path::new(&out)));
}

#[test]
fn a_training_that_fails_gives_the_earlier_checkpoint_back() {
    let bench = Bench::new();
    let (data, out) = (bench.data("bars.npy", bars(120)), bench.path("run"));
    let words = ["train", "ivae", &data, "--out", &out, "--hidden", "16", "--batch", "20"];
    run(&with(&words, &["--epochs", "2"]));
    let before = contents(Path::new(&out));
    // Diverges only after the first checkpoint, at epoch 10, was written.
    let wild = ["--lr", "3e2", "--epochs", "400", "--likelihood", "gaussian=1e-9", "--invariances", "none"];
    refused(&with(&words, &wild), &["lower the learning rate"]);
    assert_eq!(before, contents(Path::new(&out)));
    run(&with(&words, &["--epochs", "3", "--resume"]));
}

#[test]
fn failed_commands_leave_no_folder_behind() {
    let bench = Bench::new();
    let out = bench.path("new/folder");
    refused(&["analyze", &bench.path("absent.dm3"), "--out", &out], &["absent.dm3"]);
    refused(&["analyze", &bench.atoms(), "--out", &out, "--window", "400"], &["400"]);
    refused(&["train", "ivae", &bench.data("d.npy", bars(60)), "--out", &out, "--epochs", "0"], &["epochs"]);
    assert!(!Path::new(&bench.path("new")).exists());
}

#[test]
fn maps_of_an_earlier_analysis_go_and_places_in_nm_and_the_frame_are_kept() {
    let bench = Bench::new();
    let out = bench.path("out");
    let movie = Array3::from_shape_fn((3, 150, 150), |(frame, y, x)| atoms()[[y, x]] * (1.0 + frame as f64));
    let file = bench.path("movie.npy");
    parsimon_io::write_npy(Path::new(&file), movie.mapv(|v| v as f32).view().into_dyn()).unwrap();
    refused(&["analyze", &file, "--out", &out], &["movie.npy", "frame"]);
    let words = ["analyze", &file, "--out", &out, "--frame", "2", "--pixel", "20pm"];
    run(&with(&with(&words, &["--latent", "3"]), &QUICK));
    let map = |name: &str| Path::new(&out).join("figures").join(name).exists();
    assert!(map("map_z3.png") && map("map_angle.png"));
    run(&with(&with(&words, &["--invariances", "t"]), &QUICK));
    assert!(!map("map_z3.png") && !map("map_angle.png") && map("map_z1.png") && map("map_pc2.png"));
    let (sites, columns) = parsimon_io::read_sites_csv(&Path::new(&out).join("sites.csv")).unwrap();
    assert!(sites.len() >= 81 && sites.iter().all(|s| s.frame == 2), "{} sites", sites.len());
    let x_nm = &columns.iter().find(|(name, _)| name == "x_nm").unwrap().1;
    assert!(sites.iter().zip(x_nm).all(|(site, nm)| (site.x * 0.02 - nm).abs() < 1e-9));
}

#[test]
fn a_tilted_surface_is_flattened_for_the_patches() {
    let bench = Bench::new();
    let tilted = Array2::from_shape_fn((150, 150), |(y, x)| atoms()[[y, x]] + 20.0 * (x as f64) + 7.0 * (y as f64));
    let file = bench.save("tilted.npy", tilted);
    // How much of the first principal component the place along x explains.
    let tilt = |more: &[&str]| -> f64 {
        let out = bench.path("out");
        run(&with(&with(&["analyze", &file, "--out", &out], more), &QUICK));
        let (sites, _) = parsimon_io::read_sites_csv(&Path::new(&out).join("sites.csv")).unwrap();
        assert!(sites.len() >= 81, "{} sites", sites.len());
        let pc1 = read(&format!("{out}/pca.npz")).get("pc1").unwrap().mean.mapv(f64::from);
        let x: Array1<f64> = sites.iter().map(|s| s.x).collect();
        let (a, b) = (&x - x.mean().unwrap(), &pc1 - pc1.mean().unwrap());
        (&a * &b).sum().abs() / ((&a * &a).sum() * (&b * &b).sum()).sqrt()
    };
    let (before, after) = (tilt(&[]), tilt(&["--flatten"]));
    assert!(before > 0.9 && after < 0.3, "{before} {after}");
}

#[test]
fn encode_brings_data_to_the_scale_of_the_training() {
    let bench = Bench::new();
    let out = bench.path("out");
    let file = bench.atoms();
    let window = ["--window", "11"];
    // Patches cut by hand about each site that was kept, in the units of the image.
    let stored = |name: &str, factor: f32| -> String {
        let (sites, _) = parsimon_io::read_sites_csv(&Path::new(&out).join("sites.csv")).unwrap();
        let image = Image::new(atoms().mapv(|v| f64::from(v as f32))).unwrap();
        let params = parsimon_patch::Params { window: Some(11), normalise: Normalise::Global };
        let cut = parsimon_patch::cut(&[image], &sites, &params).unwrap();
        assert_eq!(cut.kept.len(), sites.len());
        bench.data(name, cut.patches.stored().mapv(|v| v as f32 * factor))
    };
    let encode = |data: &str| -> (String, parsimon_core::Embedding) {
        let latents = bench.path("latents.npz");
        (run(&["encode", &format!("{out}/run"), data, "--out", &latents]), read(&latents))
    };
    let apart = |a: &parsimon_core::Embedding, b: &parsimon_core::Embedding| {
        a.columns().iter().zip(b.columns()).map(|(a, b)| (&a.mean - &b.mean).mapv(f32::abs).sum()).fold(0.0, f32::max)
            / a.len() as f32
    };
    run(&with(&with(&["analyze", &file, "--out", &out], &window), &QUICK));
    let trained = read(&format!("{out}/latents.npz"));
    let (said, again) = encode(&stored("patches.npy", 1.0));
    assert!(apart(&trained, &again) < 1e-3 && !said.contains("cut off"), "{said}");
    let (said, _) = encode(&stored("brighter.npy", 3.0));
    assert!(said.contains("are cut off"), "{said}");
    let (said, _) = encode(&stored("faint.npy", 1e-3));
    assert!(said.contains("taken as scaled already"), "{said}");

    run(&with(&with(&["analyze", &file, "--out", &out, "--normalise", "patch"], &window), &QUICK));
    let trained = read(&format!("{out}/latents.npz"));
    for (name, factor) in [("patches.npy", 1.0), ("brighter.npy", 3.0), ("faint.npy", 1e-3)] {
        let (said, again) = encode(&stored(name, factor));
        assert!(apart(&trained, &again) < 1e-2 && !said.contains("note"), "{name}: {} {said}", apart(&trained, &again));
    }
}

#[test]
fn damaged_and_missing_files_are_named() {
    let bench = Bench::new();
    let out = bench.path("out");
    let whole = std::fs::read(bench.atoms()).unwrap();
    let png = bench.path("atoms.png");
    parsimon_io::write_png(Path::new(&png), &Image::new(atoms()).unwrap()).unwrap();
    let png_bytes = std::fs::read(&png).unwrap();
    for (name, bytes) in [
        ("empty.dm3", &[][..]),
        ("magic.tif", &b"this is no image at all, whatever its name says"[..]),
        ("short.npy", &whole[..whole.len() / 2]),
        ("short.png", &png_bytes[..png_bytes.len() / 2]),
    ] {
        let path = bench.path(name);
        std::fs::write(&path, bytes).unwrap();
        refused(&["analyze", &path, "--out", &out], &["error: ", name]);
    }
    refused(&["analyze", &bench.path("absent.dm4"), "--out", &out], &["absent.dm4", "No such file"]);
    refused(&["train", "ivae", &bench.path("absent.npz"), "--out", &out], &["absent.npz"]);
}

#[test]
fn images_without_atoms_say_so() {
    let bench = Bench::new();
    let flat = bench.save("flat.npy", Array2::from_elem((64, 64), 3.0));
    refused(&["analyze", &flat, "--out", &bench.path("out")], &["flat.npy"]);
    let noise = |(y, x): (usize, usize)| ((y * 7919 + x * 104_729 + y * x * 31) % 1009) as f64;
    let noise = bench.save("noise.npy", Array2::from_shape_fn((96, 96), noise));
    refused(&["analyze", &noise, "--out", &bench.path("out")], &["noise.npy"]);
}

#[test]
fn pixels_that_are_not_numbers_are_masked_and_mentioned() {
    let bench = Bench::new();
    let mut values = atoms();
    for (y, x) in [(40, 40), (41, 40), (90, 17)] {
        values[[y, x]] = f64::NAN;
    }
    values[[100, 100]] = f64::INFINITY;
    let file = bench.save("holes.npy", values);
    let said = run(&with(&["analyze", &file, "--out", &bench.path("out")], &QUICK));
    assert!(said.contains("4 pixels are NaN or infinite"), "{said}");
    let html = std::fs::read_to_string(bench.path("out/index.html")).unwrap();
    assert!(html.contains("4 pixels are NaN or infinite"));
}

#[test]
fn outputs_that_cannot_be_written_are_found_at_once() {
    let bench = Bench::new();
    let file = bench.atoms();
    // A file stands where the directory should be; permissions would not stop a superuser.
    let blocked = format!("{file}/out");
    refused(&["analyze", &file, "--out", &blocked], &[&blocked]);
    refused(&["train", "ivae", &bench.data("d.npy", bars(60)), "--out", &blocked], &[&blocked]);
    refused(&["dataset", "cards1", "--out", &format!("{file}/cards.npz")], &["cards.npz"]);
}

#[test]
fn options_out_of_range_are_refused_with_the_range() {
    let bench = Bench::new();
    let (data, out) = (bench.data("d.npy", bars(60)), bench.path("run"));
    for (option, value, word) in [
        ("--lr", "0", "learning rate"),
        ("--average", "1", "average"),
        ("--pixels", "0", "pixels"),
        ("--convolutions", "0", "convolutions"),
        ("--epochs", "0", "epochs"),
        ("--latent", "0", "latent"),
        ("--hidden", "0", "hidden"),
        ("--holdout", "1.5", "holdout"),
        ("--beta", "nan", "beta"),
        ("--prior-angle", "-1", "prior of the angle"),
        ("--likelihood", "gaussian=0", "σ of the likelihood"),
    ] {
        refused(&["train", "ivae", &data, "--out", &out, &format!("{option}={value}")], &[word, "accepted"]);
    }
    refused(&["analyze", &bench.atoms(), "--out", &out, "--sigma=-3"], &["sigma"]);
    refused(&["analyze", &bench.atoms(), "--raw", "f64le,256x256", "--out", &out], &["atoms.npy", "524288"]);
    for (words, word) in [
        (&["analyze", "a.npy", "--demo"][..], "--demo"),
        (&["analyze"], "FILE"),
        (&["analyze", "a.dat", "--raw", "u8,4x4", "--frame", "1"], "--frame"),
        (&["train", "ivae", &data], "--out"),
        (&["train", "ivae", &data, "--out", &out, "--invariances", "q"], "r, t, s"),
    ] {
        refused(words, &["error: ", word]);
        assert_eq!(xtask(words).status.code(), Some(2), "{words:?}");
    }
}

#[test]
fn every_kind_of_network_trains_and_encodes() {
    let bench = Bench::new();
    let data = bench.data("d.npy", bars(60));
    let kinds: [&[&str]; 5] = [
        &["--exact"],
        &["--pixels", "0.5"],
        &["--skip", "--activation", "gelu", "--average", "0.9"],
        &["--convolutions", "4,6,6"],
        &["--convolutions", "4", "--invariances", "none", "--activation", "relu"],
    ];
    for (i, kind) in kinds.into_iter().enumerate() {
        let out = bench.path(&format!("run{i}"));
        run(&with(&with(&["train", "ivae", &data, "--out", &out, "--epochs", "2", "--hidden", "8"], kind), &[]));
        let latents = bench.path(&format!("latents{i}.npz"));
        run(&["encode", &out, &data, "--out", &latents]);
        assert_eq!(read(&latents), read(&Path::new(&out).join("latents.npz").display().to_string()), "{kind:?}");
    }
}

#[test]
fn a_bench_of_one_case_writes_its_table_and_names_what_it_cannot_run() {
    let bench = Bench::new();
    let out = bench.path("bench");
    run(&["bench", "--only", "VAE, few", "--out", &out]);
    let table = std::fs::read_to_string(Path::new(&out).join("bench.csv")).unwrap();
    let mut lines = table.lines();
    assert_eq!(lines.next(), Some("case,side,rows,hidden,batch,seconds,peer,peer_seconds,ratio"));
    let rows: Vec<&str> = lines.collect();
    assert!(rows.iter().any(|row| row.starts_with("\"VAE, few patches\",28,300,128,100,")), "{table}");
    assert!(Path::new(&out).join("bench.md").exists());
    refused(&["bench", "--only", "nonsense", "--out", &out], &["nonsense", "`encoding`"]);
    refused(&["bench", "--only", "VAE, few", "--peer-python", "no/python", "--out", &out], &["no/python"]);
}

#[test]
fn training_repeats_itself_whatever_the_threads_and_resumes() {
    let bench = Bench::new();
    let data = bench.data("bars.npy", bars(120));
    let train = |name: &str, more: &[&str]| {
        let out = bench.path(name);
        // How long views are taken as aligned depends on the number of epochs.
        let words =
            ["train", "ivae", &data, "--out", &out, "--hidden", "16,16", "--batch", "20", "--inference", "plain"];
        run(&with(&words, more));
        std::fs::read(Path::new(&out).join("latents.npz")).unwrap()
    };
    let first = train("one", &["--epochs", "4", "--threads", "1"]);
    assert_eq!(first, train("two", &["--epochs", "4", "--threads", "2"]));
    assert_ne!(first, train("other", &["--epochs", "4", "--seed", "1"]));
    train("half", &["--epochs", "2"]);
    assert_eq!(first, train("half", &["--epochs", "4", "--resume"]));
    let half = bench.path("half");
    let words = ["train", "ivae", &data, "--out", &half, "--hidden", "16,16", "--batch", "20", "--inference", "plain"];
    refused(&with(&words, &["--epochs", "4", "--resume"]), &["4 epochs are done"]);
    refused(&with(&words, &["--epochs", "9", "--latent", "3", "--resume"]), &["trained with latent = 2;"]);
    refused(&with(&words, &["--epochs", "9", "--seed", "5", "--resume"]), &["seed = 0"]);
    refused(&with(&words, &["--epochs", "9", "--lr", "0.5", "--resume"]), &["learning_rate = 0.001"]);
    refused(&with(&words, &["--epochs", "9", "--patience", "2", "--resume"]), &["--patience"]);
}

#[test]
fn a_conditional_model_is_told_classes_when_it_trains_encodes_and_decodes() {
    let bench = Bench::new();
    let (data, out) = (bench.path("cards.npz"), bench.path("run"));
    run(&["dataset", "cards3", "--size", "12", "--per-suit", "20", "--out", &data]);
    let options = ["--condition", "labels", "--epochs", "2", "--hidden", "16,16"];
    run(&with(&["train", "cvae", &data, "--invariances", "r,t", "--out", &out], &options));
    for file in ["manifold.png", "manifold_class0.png", "manifold_class3.png"] {
        assert!(Path::new(&out).join(file).exists(), "{file}");
    }
    let (latents, images) = (bench.path("latents.npz"), bench.path("images.npy"));
    run(&["encode", &out, &data, "--out", &latents]);
    assert_eq!(std::fs::read(&latents).unwrap(), std::fs::read(Path::new(&out).join("latents.npz")).unwrap());
    let truth = parsimon_io::read_dataset(Path::new(&data)).unwrap();
    assert_eq!(read(&latents).class(), truth.labels.as_ref());
    run(&["decode", &out, &latents, "--out", &images]);

    let bare = bench.data("bare.npy", bars(80));
    refused(&["train", "cvae", &bare, "--condition", "labels", "--out", &out], &["bare.npy", "`labels`"]);
    refused(&["train", "cvae", &data, "--condition", "labels,targets", "--out", &out], &["`targets`"]);
    refused(&["train", "cvae", &data, "--out", &out], &["--condition"]);
    let unlabelled = bench.data("unlabelled.npy", Array4::zeros((5, 12, 12, 1)));
    refused(
        &["encode", &out, &unlabelled, "--out", &latents],
        &["a class of each of 5 samples", "neither classes nor factors"],
    );
}

#[test]
fn spectra_are_trained_on_encoded_and_decoded() {
    let bench = Bench::new();
    let (data, out) = (bench.path("peaks.npz"), bench.path("run"));
    run(&["dataset", "peaks", "--size", "32", "--per-suit", "60", "--out", &data]);
    let options = ["--epochs", "3", "--hidden", "16,16", "--warm-up", "0.5", "--capacity", "5"];
    run(&with(&["train", "ivae", &data, "--out", &out], &options));
    let (latents, spectra) = (bench.path("latents.npz"), bench.path("spectra.npy"));
    run(&["encode", &out, &data, "--out", &latents]);
    let names: Vec<String> = read(&latents).columns().iter().map(|c| c.name.clone()).collect();
    assert_eq!(names, ["dx", "z1", "z2"], "spectra shift along one axis and do not turn");
    run(&["decode", &out, &latents, "--out", &spectra]);
    let decoded = parsimon_io::read_dataset(Path::new(&spectra)).unwrap().spectra.unwrap();
    assert_eq!(decoded.values().dim(), (120, 32));
    refused(&["train", "ivae", &data, "--invariances", "r,t", "--out", &out], &["r,t", "spectra"]);
    refused(&with(&["train", "ivae", &data, "--out", &out], &["--capacity=-1"]), &["capacity", "-1"]);
}

#[test]
fn an_autoencoder_is_trained_towards_goals_and_says_what_it_has_not_seen() {
    let bench = Bench::new();
    let (data, out, clean) = (bench.path("pairs.npz"), bench.path("run"), bench.path("clean.npy"));
    run(&["dataset", "lattice-grey", "--size", "12", "--per-suit", "50", "--out", &data]);
    let options = ["--epochs", "20", "--hidden", "64", "--latent", "8", "--likelihood", "gaussian=0.1"];
    run(&with(&["train", "ae", &data, "--out", &out], &options));
    run(&["translate", &out, &data, "--out", &clean]);
    let colour = parsimon_io::read_dataset(Path::new(&clean)).unwrap().images.unwrap();
    assert_eq!((colour.len(), colour.shape()), (200, (12, 12, 3)));
    let latents = read(Path::new(&out).join("latents.npz").to_str().unwrap());
    assert!(latents.columns().len() == 8 && latents.columns().iter().all(|c| c.sd.is_none()));
    refused(&with(&["train", "ae", &data, "--inference", "views", "--out", &out], &options), &["plain"]);

    let grey = bench.path("grey.npy");
    let images = parsimon_io::read_dataset(Path::new(&data)).unwrap().images.unwrap();
    let view = images.images().index_axis_move(ndarray::Axis(3), 0).into_dyn();
    parsimon_io::write_npy(Path::new(&grey), view).unwrap();
    run(&with(&["train", "ae", &grey, "--out", &out], &options));
    let (own, other) = (bench.path("own.npz"), bench.path("other.npz"));
    assert!(!run(&["encode", &out, &grey, "--out", &own]).contains("warning"));
    let stripes = Array4::from_shape_fn((40, 12, 12, 1), |(n, y, _, _)| if (y + n) % 4 < 2 { 0.9 } else { 0.1 });
    let stripes = bench.data("stripes.npy", stripes);
    let said = run(&["encode", &out, &stripes, "--out", &other]);
    assert!(said.contains("100 % of the rows") && said.contains("outside of what the model has seen"), "{said}");
}

#[test]
fn samples_are_moved_along_an_attribute_and_from_one_to_another() {
    let bench = Bench::new();
    let (data, out, to) = (bench.path("cards.npz"), bench.path("run"), bench.path("moved"));
    run(&["dataset", "cards1", "--size", "12", "--per-suit", "20", "--out", &data]);
    run(&["train", "vae", &data, "--epochs", "2", "--hidden", "16,16", "--out", &out]);
    run(&["attribute", &out, &data, "--from", "0", "--to", "3", "--rows", "4,7", "--steps", "5", "--out", &to]);
    run(&["interpolate", &out, &data, "--rows", "4,7,1", "--steps", "3", "--out", &to]);
    let at = |name: &str| Path::new(&to).join(name);
    let size = |name: &str| parsimon_io::read_dataset(&at(name)).unwrap().images.unwrap().len();
    assert_eq!((size("attribute.npy"), size("interpolation.npy")), (10, 6));
    assert!(at("attribute.png").exists() && at("interpolation.png").exists());
    let (moved, all) = (parsimon_io::read_latents(&at("interpolation.npz")).unwrap(), bench.path("all.npz"));
    run(&["encode", &out, &data, "--out", &all]);
    let (way, z) = (&moved.get("z1").unwrap().mean, &read(&all).get("z1").unwrap().mean.clone());
    assert_eq!([way[0], way[2], way[3], way[5]], [z[4], z[7], z[7], z[1]]);
    let direction = std::fs::read_to_string(at("direction.csv")).unwrap();
    assert!(direction.starts_with("latent,difference\nz1,"), "{direction}");
    refused(&["attribute", &out, &data, "--from", "0", "--to", "9", "--out", &to], &["class", "9"]);
    refused(&["interpolate", &out, &data, "--rows", "4", "--out", &to], &["--rows"]);
    refused(&["interpolate", &out, &data, "--rows", "4,80", "--out", &to], &["80"]);
    refused(&["interpolate", &out, &data, "--rows", "4,8", "--steps", "1", "--out", &to], &["`1` steps"]);
}

#[test]
fn an_experiment_scores_every_model_and_trains_nothing_twice() {
    let bench = Bench::new();
    let (file, out) = (bench.path("small.toml"), bench.path("out"));
    let text = r#"
        title = "Small"
        seeds = 2
        colour = ["class", "angle"]
        symmetry = { 2 = 2 }
        [[data]]
        name = "cards 1"
        make = "cards1 --size 12 --per-suit 30"
        [[models]]
        name = "VAE"
        train = "vae --hidden 16 --epochs 2"
        [[models]]
        name = "rVAE, one latent"
        train = "ivae --invariances r --latent 1 --hidden 16 --epochs 2"
    "#;
    std::fs::write(&file, text).unwrap();
    let first = run(&["experiment", &file, "--out", &out]);
    assert!(!first.contains("there already"), "{first}");
    let at = |name: &str| std::fs::read_to_string(Path::new(&out).join(name)).unwrap();
    let table = at("table.csv");
    let header = table.lines().next().unwrap();
    for name in ["data,model,seed,", "−ELBO", "class by neighbours", "ARI of a mixture", "R² of shear", "angle r"] {
        assert!(header.contains(name), "{header}");
    }
    assert_eq!(table.lines().count(), 5);
    assert!(table.contains("\"cards 1\",\"rVAE, one latent\",1,"), "{table}");
    assert!(at("summary.md").contains("| cards 1 | VAE |"));
    assert!(Path::new(&out).join("latents.png").exists());
    let second = run(&["experiment", &file, "--out", &out]);
    assert_eq!(second.matches("there already").count(), 4);
    assert_eq!(table, at("table.csv"));

    refused(&["experiment", "nonsense", "--out", &out], &["`nonsense`", "cards, digits, shift"]);
    std::fs::write(&file, text.replace("make =", "made =")).unwrap();
    refused(&["experiment", &file, "--out", &out], &["small.toml", "made"]);
    std::fs::write(&file, text.replace("make = \"cards1 --size 12 --per-suit 30\"", "file = \"nowhere.npz\"")).unwrap();
    refused(&["experiment", &file, "--out", &out], &["nowhere.npz", "--data"]);
    refused(&["experiment", &file, "--seeds", "0", "--out", &out], &["--seeds is 0"]);
}

#[test]
fn a_training_is_animated() {
    let bench = Bench::new();
    let (data, out) = (bench.path("cards.npz"), bench.path("run"));
    run(&["dataset", "cards1", "--size", "10", "--per-suit", "10", "--out", &data]);
    run(&["animate", "vae", &data, "--epochs", "4", "--hidden", "16", "--every", "2", "--out", &out]);
    let begin = |name: &str| std::fs::read(Path::new(&out).join(name)).unwrap();
    assert!(begin("training.gif").starts_with(b"GIF89a"));
    let apng = begin("training.png");
    // The chunk that says how many frames there are: after epochs 1, 2 and 4.
    let place = apng.windows(4).position(|w| w == b"acTL").unwrap();
    assert_eq!(apng[place + 4..place + 8], [0, 0, 0, 3]);
    assert!(Path::new(&out).join("model.safetensors").exists());
}

#[test]
fn a_killed_training_resumes_to_the_same_bits() {
    let bench = Bench::new();
    let data = bench.data("bars.npy", bars(400));
    let words = |out: &str| {
        let options = ["train", "ivae", &data, "--out", out, "--hidden", "24,24", "--batch", "10", "--epochs", "100"];
        options.map(str::to_owned).to_vec()
    };
    let (whole, killed) = (bench.path("whole"), bench.path("killed"));
    run(&words(&whole).iter().map(String::as_str).collect::<Vec<_>>());
    let mut child =
        Command::new(env!("CARGO_BIN_EXE_xtask")).args(words(&killed)).stderr(Stdio::null()).spawn().unwrap();
    let checkpoint = Path::new(&killed).join("checkpoint");
    while !checkpoint.join("checkpoint.safetensors").exists() && child.try_wait().unwrap().is_none() {
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(!Path::new(&killed).join("model.safetensors").exists(), "it was killed before its end");
    let mut again = words(&killed);
    again.push("--resume".to_owned());
    run(&again.iter().map(String::as_str).collect::<Vec<_>>());
    for file in ["model.safetensors", "latents.npz", "config.toml"] {
        let read = |folder: &str| std::fs::read(Path::new(folder).join(file)).unwrap();
        assert!(read(&whole) == read(&killed), "{file} differs");
    }
}

#[test]
fn encode_and_decode_agree_with_the_run() {
    let bench = Bench::new();
    let (data, out) = (bench.data("bars.npy", bars(200)), bench.path("run"));
    let options = ["--epochs", "60", "--hidden", "32,32", "--batch", "20", "--lr", "3e-3"];
    run(&with(&["train", "ivae", &data, "--out", &out], &options));
    let (latents, images, again) = (bench.path("latents.npz"), bench.path("images.npy"), bench.path("again.npz"));
    run(&["encode", &out, &data, "--out", &latents]);
    assert_eq!(std::fs::read(&latents).unwrap(), std::fs::read(Path::new(&out).join("latents.npz")).unwrap());
    run(&["decode", &out, &latents, "--out", &images]);
    let decoded = parsimon_io::read_dataset(Path::new(&images)).unwrap().images.unwrap();
    let error = (&decoded.images() - &bars(200)).mapv(|d| d * d).mean().unwrap();
    let variance = bars(200).mapv(|v| v * v).mean().unwrap() - bars(200).mean().unwrap().powi(2);
    assert!(error < 0.3 * variance, "reconstruction {error}, variance {variance}");
    run(&["encode", &out, &images, "--out", &again]);
    let (first, second) = (read(&latents), read(&again));
    let mut compared = 0;
    for column in first.columns() {
        let (a, b) = (&column.mean, &second.get(&column.name).unwrap().mean);
        let spread = a.std(0.0);
        // A latent that carries nothing may be anything.
        if spread < column.sd.as_ref().unwrap().mean().unwrap() {
            continue;
        }
        compared += 1;
        let off = (a - b).mapv(|d| d * d).mean().unwrap().sqrt();
        assert!(off < 0.4 * spread + 0.01, "{}: {off} off, spread {spread}", column.name);
    }
    assert!(compared > 0, "no latent carries anything");

    let other = bench.data("other.npy", Array4::zeros((5, 8, 10, 1)));
    refused(&["encode", &out, &other, "--out", &latents], &["(8, 10, 1)", "(10, 10, 1)"]);
    std::fs::write(Path::new(&out).join("model.safetensors"), b"nothing").unwrap();
    refused(&["decode", &out, &latents, "--out", &images], &["model.safetensors"]);
    refused(&["encode", &bench.path("absent"), &data, "--out", &latents], &["config.toml"]);
}

fn read(path: &str) -> parsimon_core::Embedding {
    parsimon_io::read_latents(Path::new(path)).unwrap()
}

#[test]
fn datasets_are_written_with_their_truth() {
    let bench = Bench::new();
    let (cards, scene) = (bench.path("cards.npz"), bench.path("scene.npz"));
    run(&["dataset", "cards4", "--size", "16", "--per-suit", "5", "--seed", "3", "--out", &cards]);
    let data = parsimon_io::read_dataset(Path::new(&cards)).unwrap();
    assert_eq!(data.samples().unwrap(), 20);
    assert!(data.labels.is_some() && data.truth.contains_key("angle"));
    run(&["dataset", "graphene", "--size", "96", "--out", &scene]);
    assert!(parsimon_io::read_scene(Path::new(&scene)).unwrap().truth.contains_key("species"));
    refused(&["dataset", "cards1", "--size", "2", "--out", &cards], &["2", "8"]);
    assert_eq!(parsimon_io::read_dataset(Path::new(&cards)).unwrap(), data, "the earlier file is whole");
}
