//! Studies: several models on several data sets, from several seeds, scored against what is known of the data.

mod comparison;
mod described;
mod figures;
mod scores;
mod tables;

use std::fmt::Write;
use std::hash::{DefaultHasher, Hasher};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use clap::Parser;
use parsimon_core::Dataset;
use parsimon_datasets::{TurnedParams, turned};
use parsimon_report::Figure;
use parsimon_report::figures::grid;

use self::described::{Data, Experiment, Model, Turn, described, stem};
pub use self::scores::classes_of;
use self::scores::{Scores, scores};
use crate::animate::{ANIMATION, Recorder};
use crate::args::{Cli, Command, ExperimentArgs, TrainArgs};
use crate::output::Output;
use crate::plan::plan;
use crate::{dataset, train};

/// One training and what it came to.
struct Trained<'a> {
    data: &'a str,
    model: &'a str,
    seed: u64,
    scores: Scores,
}

pub fn run(args: &ExperimentArgs) -> Result<()> {
    let experiment = described(&args.name)?;
    let out = Output::new(&args.out)?;
    let seeds = args.seeds.unwrap_or(experiment.seeds);
    ensure!(seeds > 0, "seeds are 0 (--seeds, or in the experiment), accepted are whole numbers from 1");
    let files = experiment.data.iter().any(|d| d.file.is_some());
    ensure!(args.data.is_none() || files, "--data: this experiment makes its data and reads no file");
    if let Some(words) = &experiment.compare {
        let (done, failures) = comparison::run(&experiment, words, seeds, args, &out)?;
        sum_up(&experiment, &done, &failures, &out)?;
        ensure!(failures.is_empty(), "{} fits failed: {}", failures.len(), failures.join("; "));
        return Ok(());
    }
    let path = |data: &Data| out.path(&format!("data/{}.npz", stem(&data.name)));
    // What cannot be trained is known before hours go by.
    for data in &experiment.data {
        let known = prepare(data, 0, args.data.as_deref(), &path(data))?;
        experiment.check_names(&known)?;
        check_models(&experiment, &known, &path(data), args.epochs)?;
    }
    let (mut done, mut panels, mut maps) = (Vec::new(), Vec::new(), Vec::new());
    for data in &experiment.data {
        let path = path(data);
        let known = parsimon_io::read_dataset(&path)?;
        maps.extend(figures::true_maps(&experiment, &known)?);
        let mut row: Vec<Vec<Figure>> = Vec::new();
        for model in &experiment.models {
            for seed in 0..seeds {
                let run = out.sub(&format!("runs/{}/{}/{seed}", stem(&data.name), stem(&model.name)));
                println!("{}, {}, seed {seed}", data.name, model.name);
                let mut recorder = (experiment.animate && seed == 0).then(|| Recorder::new(EVERY));
                fit(model, &path, &run, seed, args.epochs, recorder.as_mut())?;
                if let Some(recorder) = recorder.filter(|r| !r.is_empty()) {
                    recorder.write(known.labels.as_ref().and_then(|l| l.as_slice()), &run)?;
                }
                let latents = parsimon_io::read_latents(&run.path("latents.npz"))?;
                let found = scores(&latents, &known, run.folder(), |class| experiment.order(class))?;
                println!("  {}", found.line());
                if seed == 0 && model.draw {
                    let title = format!("{}, {}", data.name, model.name);
                    row.push(figures::latents(&experiment, &latents, &known, &title)?);
                    maps.extend(figures::maps(&experiment, &latents, &known, run.folder(), &model.name)?);
                }
                done.push(Trained { data: &data.name, model: &model.name, seed, scores: found });
            }
        }
        // A row for each data set, or, of one alone, for each model.
        if experiment.data.len() > 1 {
            panels.push(row.into_iter().flatten().collect());
        } else {
            panels.extend(row);
        }
    }
    if panels.iter().any(|row| !row.is_empty()) {
        let figure = grid(&panels, "latents", &experiment.title, "Content latents of the first seed.")?;
        out.write("latents.png", &figure.png()?)?;
    }
    if !maps.is_empty() {
        let caption =
            "Of the first seed, less the median of each kind of site; classes that a mixture finds in the content.";
        out.write("maps.png", &grid(&maps, "maps", &experiment.title, caption)?.png()?)?;
    }
    for figure in figures::sweeps(&experiment, &done)? {
        out.write(&format!("{}.png", figure.name), &figure.png()?)?;
    }
    sum_up(&experiment, &done, &[], &out)
}

/// Writes and shows the tables.
fn sum_up(experiment: &Experiment, done: &[Trained<'_>], failures: &[String], out: &Output) -> Result<()> {
    out.write("table.csv", tables::table(experiment, done).as_bytes())?;
    let summary = tables::summary(experiment, done, failures)?;
    out.write("summary.md", summary.as_bytes())?;
    println!("{summary}\nwrote {}", out.folder().display());
    Ok(())
}

/// Whether each model can be trained on the data.
fn check_models(experiment: &Experiment, known: &Dataset, path: &Path, epochs: Option<usize>) -> Result<()> {
    let data = known.samples_as_patches()?;
    for model in &experiment.models {
        plan(&arguments(model, path, "run", 0, epochs)?, &data, known).with_context(|| model.name.clone())?;
    }
    Ok(())
}

/// The arguments of a training.
fn arguments(model: &Model, data: &Path, out: &str, seed: u64, epochs: Option<usize>) -> Result<TrainArgs> {
    let (data, seed) = (data.to_string_lossy(), seed.to_string());
    match Cli::try_parse_from(model.words(&data, &seed, out)).with_context(|| model.name.clone())?.command {
        Command::Train(mut args) => {
            args.training.epochs = epochs.or(args.training.epochs);
            Ok(args)
        }
        _ => bail!("`{}` is no training", model.train),
    }
}

/// Makes or finds data, and writes them for the trainings; what is random in them comes from the seed.
fn prepare(data: &Data, seed: u64, given: Option<&Path>, path: &Path) -> Result<Dataset> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).with_context(|| format!("{}: cannot create", folder.display()))?;
    }
    match (&data.make, &data.file) {
        (Some(words), None) => {
            let (out, seed) = (path.to_string_lossy(), seed.to_string());
            let words = ["cargo xtask", "dataset"].into_iter().chain(words.split_whitespace());
            let words = words.chain(["--seed", &*seed, "--out", &*out]);
            let Command::Dataset(args) = Cli::try_parse_from(words)?.command else { bail!("`dataset` makes no data") };
            dataset::run(&args)?;
        }
        (None, Some(file)) => {
            let known = parsimon_io::read_dataset(&found(file, given)?)?;
            parsimon_io::write_dataset(path, &known)?;
        }
        _ => bail!("data `{}` need either `make` or `file`", data.name),
    }
    if let Some(Turn { rotation, shift, margin }) = data.turn {
        let params = TurnedParams { rotation: rotation.to_radians(), shift, margin, seed };
        let known = turned(&parsimon_io::read_dataset(path)?, &params).with_context(|| data.name.clone())?;
        parsimon_io::write_dataset(path, &known)?;
    }
    Ok(parsimon_io::read_dataset(path)?)
}

/// Where a file of real data is.
pub fn found(file: &Path, given: Option<&Path>) -> Result<PathBuf> {
    if let Some(given) = given {
        return Ok(given.to_owned());
    }
    let folder = std::env::var_os("PARSIMON_DATA").map_or_else(|| PathBuf::from("../shared/data"), PathBuf::from);
    let places = [file.to_owned(), folder.join(file)];
    let found = places.iter().find(|p| p.exists()).cloned();
    found.with_context(|| {
        let (file, folder) = (file.display(), folder.display());
        format!("{file}: not here nor in {folder}, for which PARSIMON_DATA may name another; `experiment` takes --data FILE, too")
    })
}

/// Trains, unless the run directory holds the end of the same training.
fn fit(
    model: &Model,
    data: &Path,
    run: &Output,
    seed: u64,
    epochs: Option<usize>,
    recorder: Option<&mut Recorder>,
) -> Result<()> {
    let out = run.folder().to_string_lossy();
    let args = arguments(model, data, &out, seed, epochs)?;
    let mut command = model.words(&data.to_string_lossy(), &seed.to_string(), &out).join(" ");
    if let Some(epochs) = epochs {
        let _ = write!(command, " --epochs {epochs}");
    }
    let command = mark(command, &args.data)?;
    let done = run.path(DONE);
    let shown = recorder.is_none() || run.path(ANIMATION).exists();
    if shown && std::fs::read_to_string(&done).is_ok_and(|done| done == command) {
        println!("  there already");
        return Ok(());
    }
    run.remove(DONE)?;
    let interrupted = match recorder {
        Some(recorder) => train::watched(&args, &mut |progress, data| recorder.see(progress, data))?,
        None => train::watched(&args, &mut |_, _| Ok(()))?,
    };
    ensure!(!interrupted, "stopped by Ctrl-C; the same command goes on with what is not there yet");
    run.write(DONE, command.as_bytes())
}

/// What a finished run leaves behind: its command, what its data were (those of the same name may be others), and the version.
fn mark(command: String, data: &Path) -> Result<String> {
    let mut hasher = DefaultHasher::new();
    hasher.write(&std::fs::read(data).with_context(|| data.display().to_string())?);
    Ok(format!("{command}\ndata {:016x}\nparsimon {}\n", hasher.finish(), env!("CARGO_PKG_VERSION")))
}

/// Epochs between two frames of an animation.
const EVERY: usize = 2;

/// Holds the mark of a finished run.
const DONE: &str = "command.txt";
