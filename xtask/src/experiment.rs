//! Studies: several models on several data sets, from several seeds, scored against what is known of the data.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::hash::{DefaultHasher, Hasher};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use clap::Parser;
use parsimon_core::{Dataset, Embedding};
use parsimon_datasets::{TurnedParams, turned};
use parsimon_report::Figure;
use parsimon_report::colour::ColourMap;
use parsimon_report::figures::{self, Colour};
use serde::Deserialize;

use crate::args::{Cli, Command, ExperimentArgs};
use crate::output::Output;
use crate::scores::{Scores, scores};
use crate::{dataset, train};

/// The studies that come with parsimon.
const KNOWN: [(&str, &str); 3] = [
    ("cards", include_str!("../experiments/cards.toml")),
    ("digits", include_str!("../experiments/digits.toml")),
    ("shift", include_str!("../experiments/shift.toml")),
];

/// What a file describes.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Experiment {
    title: String,
    /// Trainings of each model.
    seeds: u64,
    /// Names of classes 0, 1, ….
    #[serde(default)]
    classes: Vec<String>,
    /// Order of the rotational symmetry of a class that has one.
    #[serde(default)]
    symmetry: BTreeMap<String, u32>,
    /// What the points of the figure are coloured by: class, a latent, or a number known of the data.
    colour: Vec<String>,
    data: Vec<Data>,
    models: Vec<Model>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Data {
    name: String,
    /// Words for `dataset`, but for seed and file; or
    make: Option<String>,
    /// a file, looked for where --data says, else here, in the folder that `PARSIMON_DATA` names, or in ../shared/data.
    file: Option<PathBuf>,
    /// How its images are turned.
    turn: Option<Turn>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
struct Turn {
    /// Largest turn in degrees.
    rotation: f64,
    /// Largest shift in half-widths.
    shift: f64,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Model {
    name: String,
    /// Words for `train`, but for data, seed and run directory.
    train: String,
    /// Whether its latents are drawn.
    #[serde(default = "yes")]
    draw: bool,
}

impl Model {
    /// The command that trains it.
    fn words<'w>(&'w self, data: &'w str, seed: &'w str, out: &'w str) -> Vec<&'w str> {
        let mut given = self.train.split_whitespace();
        let kind = given.next();
        let begin = ["cargo xtask", "train"].into_iter().chain(kind).chain([data]);
        begin.chain(given).chain(["--seed", seed, "--out", out]).collect()
    }
}

fn yes() -> bool {
    true
}

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
    ensure!(seeds > 0, "--seeds is 0, accepted are whole numbers from 1");
    let files = experiment.data.iter().any(|d| d.file.is_some());
    ensure!(args.data.is_none() || files, "--data: this experiment makes its data and reads no file");
    let (mut done, mut panels) = (Vec::new(), Vec::new());
    for data in &experiment.data {
        let path = out.path(&format!("data/{}.npz", stem(&data.name)));
        let known = prepare(data, args.data.as_deref(), &path)?;
        experiment.check_colours(&known)?;
        let mut row = Vec::new();
        for model in &experiment.models {
            for seed in 0..seeds {
                let run = out.sub(&format!("runs/{}/{}/{seed}", stem(&data.name), stem(&model.name)));
                println!("{}, {}, seed {seed}", data.name, model.name);
                fit(model, &path, &run, seed, args.epochs)?;
                let latents = parsimon_io::read_latents(&run.path("latents.npz"))?;
                let found = scores(&latents, &known, run.folder(), |class| experiment.order(class))?;
                println!("  {}", found.line());
                if seed == 0 && model.draw {
                    let title = format!("{}, {}", data.name, model.name);
                    row.extend(drawn(&experiment, &latents, &known, &title)?);
                }
                done.push(Trained { data: &data.name, model: &model.name, seed, scores: found });
            }
        }
        panels.push(row);
    }
    out.write("table.csv", table(&done).as_bytes())?;
    out.write("summary.md", summary(&experiment, &done)?.as_bytes())?;
    if panels.iter().any(|row| !row.is_empty()) {
        let figure = figures::grid(&panels, "latents", &experiment.title, "Content latents of the first seed.")?;
        out.write("latents.png", &figure.png()?)?;
    }
    println!("{}", std::fs::read_to_string(out.path("summary.md"))?);
    println!("wrote {}", out.folder().display());
    Ok(())
}

/// A study by its name, or one of the user's own in a file.
fn described(name: &str) -> Result<Experiment> {
    let known = KNOWN.iter().find(|(known, _)| *known == name).map(|(_, text)| (*text).to_owned());
    let text = match known {
        Some(text) => text,
        None if name.ends_with(".toml") => std::fs::read_to_string(name).with_context(|| name.to_owned())?,
        None => {
            let names: Vec<&str> = KNOWN.iter().map(|(name, _)| *name).collect();
            bail!("no experiment `{name}`; there are {}, or a file FILE.toml", names.join(", "))
        }
    };
    let experiment: Experiment = toml::from_str(&text).map_err(|e| anyhow::anyhow!("{name}: {}", e.message()))?;
    experiment.check().with_context(|| name.to_owned())?;
    Ok(experiment)
}

impl Experiment {
    fn check(&self) -> Result<()> {
        let stems = |names: Vec<&str>| -> Result<()> {
            ensure!(!names.is_empty(), "no data or no models");
            for (i, name) in names.iter().enumerate() {
                ensure!(!stem(name).is_empty(), "`{name}` is no name: it has neither letter nor digit");
                let same = names[..i].iter().find(|other| stem(other) == stem(name));
                ensure!(same.is_none(), "`{name}` and `{}` would have one directory", same.unwrap_or(name));
            }
            Ok(())
        };
        stems(self.data.iter().map(|d| d.name.as_str()).collect())?;
        stems(self.models.iter().map(|m| m.name.as_str()).collect())?;
        for model in &self.models {
            let words = model.words("data.npz", "0", "run");
            if let Err(error) = Cli::try_parse_from(words) {
                let text = error.to_string();
                bail!("model `{}`: {}", model.name, text.lines().next().unwrap_or_default());
            }
        }
        for (class, order) in &self.symmetry {
            let sound = class.parse::<i64>().is_ok() && *order > 0;
            ensure!(sound, "symmetry {class} = {order}, accepted are a class and an order from 1");
        }
        Ok(())
    }

    /// Order of the rotational symmetry of a class.
    fn order(&self, class: i64) -> u32 {
        self.symmetry.get(&class.to_string()).copied().unwrap_or(1)
    }

    fn check_colours(&self, known: &Dataset) -> Result<()> {
        let is_latent = |name: &str| ["angle", "dx", "dy", "scale"].contains(&name) || name.starts_with('z');
        for colour in &self.colour {
            let there =
                known.truth.contains_key(colour) || is_latent(colour) || (colour == "class" && known.labels.is_some());
            ensure!(there, "colour `{colour}` is neither a latent nor known of the data");
        }
        Ok(())
    }
}

/// A name as part of a path.
fn stem(name: &str) -> String {
    let words: Vec<&str> = name.split(|c: char| !c.is_alphanumeric()).filter(|w| !w.is_empty()).collect();
    words.join("_").to_lowercase()
}

/// Makes or finds data, and writes them for the trainings.
fn prepare(data: &Data, given: Option<&Path>, path: &Path) -> Result<Dataset> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).with_context(|| format!("{}: cannot create", folder.display()))?;
    }
    match (&data.make, &data.file) {
        (Some(words), None) => {
            let out = path.to_string_lossy();
            let words = ["cargo xtask", "dataset"].into_iter().chain(words.split_whitespace()).chain(["--out", &*out]);
            let Command::Dataset(args) = Cli::try_parse_from(words)?.command else { bail!("`dataset` makes no data") };
            dataset::run(&args)?;
        }
        (None, Some(file)) => {
            let known = parsimon_io::read_dataset(&found(file, given)?)?;
            parsimon_io::write_dataset(path, &known)?;
        }
        _ => bail!("data `{}` need either `make` or `file`", data.name),
    }
    if let Some(Turn { rotation, shift }) = data.turn {
        let params = TurnedParams { rotation: rotation.to_radians(), shift, seed: 0 };
        let known = turned(&parsimon_io::read_dataset(path)?, &params).with_context(|| data.name.clone())?;
        parsimon_io::write_dataset(path, &known)?;
    }
    Ok(parsimon_io::read_dataset(path)?)
}

/// Where a file is.
fn found(file: &Path, given: Option<&Path>) -> Result<PathBuf> {
    if let Some(given) = given {
        return Ok(given.to_owned());
    }
    let folder = std::env::var_os("PARSIMON_DATA").map_or_else(|| PathBuf::from("../shared/data"), PathBuf::from);
    let places = [file.to_owned(), folder.join(file)];
    let found = places.iter().find(|p| p.exists()).cloned();
    found.with_context(|| format!("{}: not here nor in {}; give --data FILE", file.display(), folder.display()))
}

/// Trains, unless the run directory holds the end of the same training.
fn fit(model: &Model, data: &Path, run: &Output, seed: u64, epochs: Option<usize>) -> Result<()> {
    let (data, out, seed) = (data.to_string_lossy(), run.folder().to_string_lossy(), seed.to_string());
    let words = model.words(&data, &seed, &out);
    let mut command = words.join(" ");
    let Command::Train(mut args) = Cli::try_parse_from(words).with_context(|| model.name.clone())?.command else {
        bail!("`{}` is no training", model.train)
    };
    if let Some(epochs) = epochs {
        args.training.epochs = Some(epochs);
        let _ = write!(command, " --epochs {epochs}");
    }
    // Data of the same name may be others.
    let mut hasher = DefaultHasher::new();
    hasher.write(&std::fs::read(&args.data)?);
    let _ = write!(command, "\ndata {:016x}\n", hasher.finish());
    let done = run.path(DONE);
    if std::fs::read_to_string(&done).is_ok_and(|done| done == command) {
        println!("  there already");
        return Ok(());
    }
    if done.exists() {
        std::fs::remove_file(&done)?;
    }
    let interrupted = train::watched(&args, &mut |_, _| Ok(()))?;
    ensure!(!interrupted, "stopped by Ctrl-C; the same command goes on with what is not there yet");
    run.write(DONE, command.as_bytes())
}

/// The command of a finished training and what its data were.
const DONE: &str = "command.txt";

/// The content latents of one training, once for each colouring that there is; none if there are less than two.
fn drawn(experiment: &Experiment, latents: &Embedding, known: &Dataset, title: &str) -> Result<Vec<Figure>> {
    let (Some(x), Some(y)) = (latents.get("z1"), latents.get("z2")) else { return Ok(Vec::new()) };
    let (x, y) = (x.mean.to_vec(), y.mean.to_vec());
    let labels = known.labels.as_ref().map(|l| l.to_vec()).unwrap_or_default();
    let mut panels = Vec::new();
    for colour in &experiment.colour {
        let values: Vec<f32>;
        let what = if colour == "class" && !labels.is_empty() {
            Colour::Class { class: &labels, names: &experiment.classes }
        } else {
            values = match (known.truth.get(colour), latents.get(colour)) {
                (Some(truth), _) => truth.iter().map(|v| *v as f32).collect(),
                (None, Some(column)) => column.mean.to_vec(),
                (None, None) => continue,
            };
            let map = if colour == "angle" { ColourMap::Cyclic } else { ColourMap::Diverging };
            Colour::Value { values: &values, map, label: colour }
        };
        panels.push(figures::scatter(&x, &y, what, "z1", "z2", &format!("{title}, by {colour}"))?);
    }
    Ok(panels)
}

/// A line for each training, a column for each score that any of them has.
fn table(done: &[Trained<'_>]) -> String {
    let names = score_names(done);
    let mut csv = format!("data,model,seed,{}\n", names.join(","));
    for Trained { data, model, seed, scores } in done {
        let values = names.iter().map(|name| scores.get(name).map_or(String::new(), |v| format!("{v:.5}")));
        let _ = writeln!(csv, "\"{data}\",\"{model}\",{seed},{}", values.collect::<Vec<_>>().join(","));
    }
    csv
}

fn score_names(done: &[Trained<'_>]) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for (name, _) in done.iter().flat_map(|d| d.scores.iter()) {
        if !names.contains(name) {
            names.push(name.clone());
        }
    }
    names
}

/// Means over the seeds, with their standard deviation.
fn summary(experiment: &Experiment, done: &[Trained<'_>]) -> Result<String> {
    let names = score_names(done);
    let mut text = format!("# {}\n\nHeld-out rows; mean ± standard deviation over the seeds.\n\n", experiment.title);
    writeln!(text, "| data | model | {} |\n|---|---|{}", names.join(" | "), "---|".repeat(names.len()))?;
    for data in &experiment.data {
        for model in &experiment.models {
            let of: Vec<&Scores> =
                done.iter().filter(|d| d.data == data.name && d.model == model.name).map(|d| &d.scores).collect();
            let cell = |name: &String| {
                let values: Vec<f64> = of.iter().filter_map(|s| s.get(name)).collect();
                let n = values.len() as f64;
                let mean = values.iter().sum::<f64>() / n;
                let sd = (values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / (n - 1.0).max(1.0)).sqrt();
                match values.len() {
                    0 => "–".to_owned(),
                    1 => format!("{mean:.3}"),
                    _ => format!("{mean:.3} ± {sd:.3}"),
                }
            };
            let cells: Vec<String> = names.iter().map(cell).collect();
            writeln!(text, "| {} | {} | {} |", data.name, model.name, cells.join(" | "))?;
        }
    }
    Ok(text)
}
