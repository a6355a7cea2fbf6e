//! Kinds of model, and what is done with them once they are trained.

use super::*;

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
    let before = std::fs::read(&data).unwrap();
    refused(&["encode", &out, &data, "--out", &data], &["is read from", "another file"]);
    refused(&["decode", &out, &latents, "--out", &latents], &["is read from", "another file"]);
    assert_eq!(before, std::fs::read(&data).unwrap());
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
    // Those that drift far are seen from several places unless told otherwise.
    for (options, shifts) in [
        (&[][..], Some(16)),
        (&["--centring", "off"], Some(16)),
        (&["--centring", "on"], None),
        (&["--inference", "plain"], None),
    ] {
        let (out, words) = (bench.path("far"), ["train", "ivae", &data, "--prior-shift", "0.3", "--epochs", "1"]);
        run(&[&words[..], &["--hidden", "8", "--out", &out], options].concat());
        let config = parsimon_ivae::load_config(Path::new(&out)).unwrap();
        let found = match config.params.inference {
            parsimon_ivae::Inference::Views(grid) => Some(grid.shifts),
            parsimon_ivae::Inference::Plain => None,
        };
        assert_eq!(
            (found, config.params.centred),
            (shifts, options == ["--centring", "on"] || options == ["--inference", "plain"])
        );
    }
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
    let labels = parsimon_io::read_dataset(Path::new(&data)).unwrap().labels.unwrap();
    let rows_of = |class: i64| -> Vec<usize> { (0..labels.len()).filter(|i| labels[*i] == class).collect() };
    let rows = format!("{},{}", rows_of(0)[0], rows_of(0)[1]);
    run(&["attribute", &out, &data, "--from", "0", "--to", "3", "--rows", &rows, "--steps", "5", "--out", &to]);
    let of_other = format!("{}", rows_of(3)[0]);
    let words = ["attribute", &out, &data, "--from", "0", "--to", "3", "--rows", &of_other, "--out", &to];
    refused(&words, &["of class 3", "rows of class 0"]);
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
    for name in [
        "data,model,seed,",
        "−ELBO",
        "class by neighbours",
        "class by neighbours of draws",
        "ARI of a mixture",
        "R² of shear",
        "angle r",
    ] {
        assert!(header.contains(name), "{header}");
    }
    assert_eq!(table.lines().count(), 5);
    assert!(table.contains("\"cards 1\",\"rVAE, one latent\",1,"), "{table}");
    assert!(at("summary.md").contains("| cards 1 | VAE |"));
    assert!(Path::new(&out).join("latents.png").exists());
    let second = run(&["experiment", &file, "--out", &out]);
    assert_eq!(second.matches("there already").count(), 4);
    assert_eq!(table, at("table.csv"));

    let wrong = bench.path("wrong");
    std::fs::write(&file, text.replace("--latent 1", "--boundary 1")).unwrap();
    refused(&["experiment", &file, "--out", &wrong], &["rVAE, one latent", "`sites`"]);
    assert!(!Path::new(&wrong).join("runs").exists(), "the first model must not be trained before the last is known");

    refused(
        &["experiment", "nonsense", "--out", &out],
        &[
            "`nonsense`",
            "animate, cards, compare-digits, compare-walls, digits, far, shift, unmix-chevkinite, unmix-synthetic, walls",
        ],
    );
    std::fs::write(&file, text.replace("make =", "made =")).unwrap();
    refused(&["experiment", &file, "--out", &out], &["small.toml", "made"]);
    std::fs::write(&file, text.replace("make = \"cards1 --size 12 --per-suit 30\"", "file = \"nowhere.npz\"")).unwrap();
    refused(&["experiment", &file, "--out", &out], &["nowhere.npz", "--data"]);
    refused(&["experiment", &file, "--seeds", "0", "--out", &out], &["seeds are 0"]);
}

#[test]
fn walls_are_mapped_and_measured_against_the_weight_of_boundaries() {
    let bench = Bench::new();
    let (file, out) = (bench.path("walls.toml"), bench.path("out"));
    let text = r#"
        title = "Walls"
        seeds = 1
        colour = ["domain"]
        maps = ["domain", "z1"]
        animate = true
        [sweep]
        label = "weight"
        scores = ["ARI of domain", "boundary of domain, true = 1"]
        [[data]]
        name = "walls"
        make = "walls --size 160 --counts 30"
        [[models]]
        name = "VAE"
        train = "vae --hidden 16 --epochs 3"
        sweep = 0
        [[models]]
        name = "VAE, boundaries cost"
        train = "vae --hidden 16 --epochs 3 --boundary 5 --boundary-rise 0,0.5"
        sweep = 5
    "#;
    std::fs::write(&file, text).unwrap();
    run(&["experiment", &file, "--out", &out]);
    let there = |name: &str| Path::new(&out).join(name).exists();
    for name in [
        "maps.png",
        "sweep_ari_of_domain.png",
        "sweep_boundary_of_domain_true_1.png",
        "latents.png",
        "runs/walls/vae/0/training.gif",
    ] {
        assert!(there(name), "{name}");
    }
    let table = std::fs::read_to_string(Path::new(&out).join("table.csv")).unwrap();
    let header = table.lines().next().unwrap();
    assert!(header.contains("ARI of domain") && header.contains("boundary of domain, true = 1"), "{header}");
    // Names hold commas.
    let fields = |line: &str| line.split('"').step_by(2).map(|plain| plain.matches(',').count()).sum::<usize>();
    assert!(table.lines().all(|line| fields(line) == fields(header)), "{table}");
    let physics = |model: &str| -> f64 {
        let history = Path::new(&out).join(format!("runs/walls/{model}/0/history.csv"));
        let history = std::fs::read_to_string(history).unwrap();
        history.lines().last().unwrap().split(',').next_back().unwrap().parse().unwrap()
    };
    assert!(physics("vae") == 0.0 && physics("vae_boundaries_cost") > 0.0);
    std::fs::write(&file, text.replace("\"z1\"]", "\"wall\"]")).unwrap();
    refused(&["experiment", &file, "--out", &out], &["`wall`"]);
    std::fs::write(&file, text.replace("sweep = 0", "sweep = nan")).unwrap();
    refused(&["experiment", &file, "--out", &out], &["sweep"]);

    std::fs::write(&file, text.replace("sweep = 0", "").replace("sweep = 5", "")).unwrap();
    refused(&["experiment", &file, "--out", &out], &["the sweep needs models"]);
    let walls = format!("{out}/data/walls.npz");
    let to = bench.path("patient");
    refused(&["train", "vae", &walls, "--boundary", "5", "--patience", "2", "--out", &to], &["patience is 2"]);

    let cards = bench.path("cards.npz");
    run(&["dataset", "cards1", "--size", "10", "--per-suit", "20", "--out", &cards]);
    let trained = bench.path("run");
    refused(&["train", "vae", &cards, "--boundary", "1", "--out", &trained], &["--boundary needs `sites`"]);
    run(&["train", "ivae", &cards, "--invariances", "r", "--epochs", "1", "--hidden", "8", "--out", &trained]);
    let latents = bench.path("latents.npz");
    run(&["encode", &trained, &cards, "--modes", "2", "--out", &latents]);
    let modes = parsimon_io::read_latents(Path::new(&latents)).unwrap();
    let p = |name: &str| modes.column(name).unwrap().mean.clone();
    assert!(p("angle_1_p").iter().zip(&p("angle_2_p")).all(|(a, b)| a >= b && a + b <= 1.0 + 1e-4));
    refused(&["encode", &trained, &cards, "--modes", "0", "--out", &latents], &["modes is 0"]);
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
    let same = || {
        for file in ["model.safetensors", "latents.npz", "config.toml"] {
            let read = |folder: &str| std::fs::read(Path::new(folder).join(file)).unwrap();
            assert!(read(&whole) == read(&killed), "{file} differs");
        }
    };
    same();
    // Killed after the last epoch, before the results were written; and before the first.
    std::fs::remove_file(Path::new(&killed).join("model.safetensors")).unwrap();
    run(&again.iter().map(String::as_str).collect::<Vec<_>>());
    same();
    std::fs::remove_dir_all(&killed).unwrap();
    let said = run(&again.iter().map(String::as_str).collect::<Vec<_>>());
    assert!(said.contains("nothing to resume"), "{said}");
    same();
    let config = std::fs::read_to_string(checkpoint.join("config.toml")).unwrap();
    let version = |of: &str| config.replacen(&format!("version = \"{}\"", env!("CARGO_PKG_VERSION")), of, 1);
    std::fs::write(checkpoint.join("config.toml"), version("version = \"0.0.1\"")).unwrap();
    let longer: Vec<String> = again.iter().map(|w| if w == "100" { "101".to_owned() } else { w.clone() }).collect();
    refused(&longer.iter().map(String::as_str).collect::<Vec<_>>(), &["parsimon 0.0.1"]);
    std::fs::write(checkpoint.join("config.toml"), version("version = \"99.0.0\"")).unwrap();
    refused(&longer.iter().map(String::as_str).collect::<Vec<_>>(), &["parsimon 99.0.0", "accepted"]);
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
    // Without --epochs it is as long as it was to be.
    refused(&with(&words, &["--resume"]), &["4 epochs are done"]);
    refused(&with(&words, &["--epochs", "9", "--latent", "3", "--resume"]), &["trained with latent = 2;"]);
    refused(&with(&words, &["--epochs", "9", "--seed", "5", "--resume"]), &["seed = 0"]);
    refused(&with(&words, &["--epochs", "9", "--lr", "0.5", "--resume"]), &["learning_rate = 0.001"]);
    refused(&with(&words, &["--epochs", "9", "--patience", "2", "--resume"]), &["--patience"]);
    // Other data of the same shape and range.
    let mut others = bars(120);
    others.invert_axis(ndarray::Axis(1));
    let others = bench.data("others.npy", others);
    let words =
        ["train", "ivae", &others, "--out", &half, "--hidden", "16,16", "--batch", "20", "--inference", "plain"];
    refused(&with(&words, &["--epochs", "9", "--resume"]), &["trained on other data", "120 rows"]);
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
