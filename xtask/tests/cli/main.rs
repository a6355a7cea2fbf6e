//! The commands as a person gives them: what they write, and how they refuse.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use ndarray::{Array1, Array2, Array3, Array4};
use parsimon_core::{Image, Normalise};
use tempfile::TempDir;

mod models;

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
    for (options, word) in [
        (&["--invariances", "t", "--prior-angle", "1"][..], "--prior-angle needs"),
        (&["--invariances", "r", "--prior-shift", "0.3"], "--prior-shift needs"),
        (&["--invariances", "r", "--prior-shift-down", "0.3"], "--prior-shift-down needs the invariance t"),
        (&["--invariances", "r,t", "--prior-shift-down", "0.3"], "--prior-shift-down needs --inference plain"),
        (&["--invariances", "r", "--prior-scale", "0.3"], "--prior-scale needs"),
        (&["--invariances", "none", "--pixels", "0.5"], "--pixels needs"),
        (&["--inference", "plain", "--views", "8"], "--views needs"),
        (&["--convolutions", "8", "--inference", "views"], "--inference views needs a model without"),
        (&["--invariances", "t", "--inference", "views", "--views", "8"], "--views needs the invariance r"),
        (&["--inference", "plain", "--shift-views", "3"], "--shift-views needs --inference views"),
        (&["--invariances", "r", "--shift-views", "3"], "--shift-views needs the invariance t"),
        (&["--invariances", "r,t", "--scale-views", "3"], "--scale-views needs the invariance s"),
        (&["--shift-views", "3", "--centring", "on"], "views from places is 3, accepted are 1"),
        (&["--shift-views", "9"], "views is 1296, accepted are 2 to 1024"),
        (&["--shift-views", "3", "--convolutions", "8"], "--shift-views needs a model without --convolutions"),
        (&["--invariances", "none", "--inference", "views"], "accepted are none without invariances"),
    ] {
        refused(&[&["train", "ivae", &data, "--out", &out][..], options].concat(), &[word]);
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
    let scan = bench.path("scan.npz");
    run(&["dataset", "spectrum-image", "--size", "16", "--channels", "64", "--endmembers", "3", "--out", &scan]);
    let mixed = parsimon_io::read_dataset(Path::new(&scan)).unwrap();
    assert_eq!(mixed.endmembers.as_ref().unwrap().values().dim(), (3, 64));
    assert!(mixed.samples().unwrap() == 256 && ["a1", "a2", "a3"].iter().all(|name| mixed.truth.contains_key(*name)));
    for (words, part) in [
        (["cards1", "--size", "2"], "8"),
        (["cards1", "--channels", "64"], "spectrum-image"),
        (["spectrum-image", "--per-suit", "5"], "--per-suit"),
        (["spectrum-image", "--purest", "0.2"], "0.2"),
    ] {
        refused(&with(&["dataset"], &[&words[..], &["--out", &cards]].concat()), &[part]);
    }
    assert_eq!(parsimon_io::read_dataset(Path::new(&cards)).unwrap(), data, "the earlier file is whole");
}

#[test]
fn methods_are_compared_on_a_file_whatever_its_name() {
    let bench = Bench::new();
    let (scan, nameless, out) = (bench.path("scan.npz"), bench.path("scan"), bench.path("out"));
    run(&["dataset", "spectrum-image", "--size", "16", "--channels", "64", "--endmembers", "2", "--out", &scan]);
    std::fs::rename(&scan, &nameless).unwrap();
    let told = run(&["compare", &nameless, "--methods", "nmf,fcls", "--components", "2", "--out", &out]);
    assert!(told.contains("endmember_angle") && told.contains("wrote"), "{told}");
    let table = std::fs::read_to_string(bench.0.path().join("out/table.csv")).unwrap();
    assert!(table.lines().next().unwrap().contains("abundance_error") && table.lines().count() == 3, "{table}");
    assert!(["figures/fcls_map_a1.png", "nmf_maps.npy"].iter().all(|f| bench.0.path().join("out").join(f).exists()));
    let axes = std::fs::read_to_string(bench.0.path().join("out/axes.csv")).unwrap();
    assert!(axes.contains("x,nm,16,") && axes.contains("energy,eV,64,"), "{axes}");
    let cards = bench.path("cards.npz");
    run(&["dataset", "cards1", "--size", "16", "--per-suit", "20", "--out", &cards]);
    let told = run(&["compare", &cards, "--methods", "nmf", "--out", &out]);
    let left = contents(&bench.0.path().join("out"));
    let left: Vec<&str> = left.iter().map(|(path, _)| path.file_name().unwrap().to_str().unwrap()).collect();
    assert!(
        told.contains("removed") && ["axes.csv", "fcls.npz", "nmf_maps.npy"].iter().all(|f| !left.contains(f)),
        "{told} {left:?}"
    );
    refused(&["compare", &cards, "--steps", "bin=2", "--out", &out], &["--steps", "holds images"]);
    refused(&["compare", &bench.path("none.npz"), "--out", &out], &["none.npz"]);
}
