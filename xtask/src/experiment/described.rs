//! What an experiment is, as a file says.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Context, Result, bail, ensure};
use clap::Parser;
use parsimon_core::Dataset;
use serde::Deserialize;

use super::scores::classes_of;
use crate::args::Cli;

/// The studies that come with parsimon.
const KNOWN: [(&str, &str); 10] = [
    ("animate", include_str!("../../experiments/animate.toml")),
    ("cards", include_str!("../../experiments/cards.toml")),
    ("compare-digits", include_str!("../../experiments/compare-digits.toml")),
    ("compare-walls", include_str!("../../experiments/compare-walls.toml")),
    ("digits", include_str!("../../experiments/digits.toml")),
    ("far", include_str!("../../experiments/far.toml")),
    ("shift", include_str!("../../experiments/shift.toml")),
    ("unmix-chevkinite", include_str!("../../experiments/unmix-chevkinite.toml")),
    ("unmix-synthetic", include_str!("../../experiments/unmix-synthetic.toml")),
    ("walls", include_str!("../../experiments/walls.toml")),
];

/// What a file describes.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Experiment {
    pub title: String,
    /// Trainings of each model.
    pub seeds: u64,
    /// Names of classes 0, 1, ….
    #[serde(default)]
    pub classes: Vec<String>,
    /// Order of the rotational symmetry of a class that has one.
    #[serde(default)]
    pub symmetry: BTreeMap<String, u32>,
    /// What the points of the figure are coloured by: class, a latent, or a number known of the data.
    #[serde(default)]
    pub colour: Vec<String>,
    /// What is drawn on the micrograph, of data that have one: latents, and known classes as the content tells them.
    #[serde(default)]
    pub maps: Vec<String>,
    /// Scores drawn against a number of the models.
    pub sweep: Option<Sweep>,
    /// Whether the first training of each model is shown as it goes.
    #[serde(default)]
    pub animate: bool,
    pub data: Vec<Data>,
    /// What is trained; or
    #[serde(default)]
    pub models: Vec<Model>,
    /// words for `compare`, but for data, seed and directory.
    pub compare: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Data {
    pub name: String,
    /// Words for `dataset`, but for seed and file; or
    pub make: Option<String>,
    /// a file, looked for where --data says, else here, in the folder that `PARSIMON_DATA` names, or in ../shared/data.
    pub file: Option<PathBuf>,
    /// How its images are turned.
    pub turn: Option<Turn>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Turn {
    /// Largest turn in degrees.
    pub rotation: f64,
    /// Largest shift in half-widths.
    pub shift: f64,
    /// Pixels of background around each image.
    #[serde(default)]
    pub margin: usize,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sweep {
    /// What the number is.
    pub label: String,
    /// Names of the scores.
    pub scores: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Model {
    pub name: String,
    /// Words for `train`, but for data, seed and run directory.
    pub train: String,
    /// Where it stands in the sweep.
    pub sweep: Option<f64>,
    /// Whether its latents are drawn.
    #[serde(default = "yes")]
    pub draw: bool,
}

impl Model {
    /// The command that trains it.
    pub fn words<'w>(&'w self, data: &'w str, seed: &'w str, out: &'w str) -> Vec<&'w str> {
        let mut given = self.train.split_whitespace();
        let kind = given.next();
        let begin = ["cargo xtask", "train"].into_iter().chain(kind).chain([data]);
        begin.chain(given).chain(["--seed", seed, "--out", out]).collect()
    }
}

fn yes() -> bool {
    true
}

/// A study by its name, or one of the user's own in a file.
pub fn described(name: &str) -> Result<Experiment> {
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
            ensure!(!names.is_empty(), "no data, or neither models nor `compare`");
            for (i, name) in names.iter().enumerate() {
                ensure!(!stem(name).is_empty(), "`{name}` is no name: it has neither letter nor digit");
                let same = names[..i].iter().find(|other| stem(other) == stem(name));
                ensure!(same.is_none(), "`{name}` and `{}` would have one directory", same.unwrap_or(name));
            }
            Ok(())
        };
        stems(self.data.iter().map(|d| d.name.as_str()).collect())?;
        for Data { name, make, file, .. } in &self.data {
            ensure!(make.is_some() != file.is_some(), "data `{name}` need either `make` or `file`");
        }
        if let Some(words) = &self.compare {
            let trained = self.models.is_empty() && self.maps.is_empty() && !self.animate && self.sweep.is_none();
            let told = self.colour.is_empty() && self.classes.is_empty() && self.symmetry.is_empty();
            ensure!(trained && told, "`compare` has its own figures, and needs title, seeds and data alone");
            let line = ["cargo xtask", "compare", "data.npz"].into_iter().chain(words.split_whitespace());
            return parses(line.chain(["--seed", "0", "--out", "run"]), "compare");
        }
        stems(self.models.iter().map(|m| m.name.as_str()).collect())?;
        for model in &self.models {
            parses(model.words("data.npz", "0", "run").into_iter(), &format!("model `{}`", model.name))?;
        }
        if let Some(sweep) = self.models.iter().filter_map(|m| m.sweep).find(|s| !s.is_finite()) {
            bail!("sweep = {sweep}, accepted are finite numbers");
        }
        let swept = self.models.iter().any(|m| m.sweep.is_some());
        ensure!(swept || self.sweep.is_none(), "the sweep needs models with a `sweep`, a number each");
        ensure!(self.sweep.is_some() || !swept, "a model has a place in no sweep");
        for (class, order) in &self.symmetry {
            let sound = class.parse::<i64>().is_ok() && *order > 0;
            ensure!(sound, "symmetry {class} = {order}, accepted are a class and an order from 1");
        }
        Ok(())
    }

    /// Order of the rotational symmetry of a class.
    pub fn order(&self, class: i64) -> u32 {
        self.symmetry.get(&class.to_string()).copied().unwrap_or(1)
    }

    pub fn check_names(&self, known: &Dataset) -> Result<()> {
        let is_latent = |name: &str| {
            ["angle", "dx", "dy", "scale"].contains(&name)
                || name.strip_prefix('z').is_some_and(|n| n.parse::<usize>().is_ok())
        };
        for colour in &self.colour {
            let there =
                known.truth.contains_key(colour) || is_latent(colour) || (colour == "class" && known.labels.is_some());
            ensure!(there, "colour `{colour}` is neither a latent nor known of the data");
        }
        for map in &self.maps {
            let there = is_latent(map) || classes_of(known, map).is_some();
            ensure!(there, "map `{map}` is neither a latent nor a class known of the data");
        }
        Ok(())
    }
}

/// Fails with the first line of what is wrong with a command.
fn parses<'w>(words: impl Iterator<Item = &'w str>, of: &str) -> Result<()> {
    if let Err(error) = Cli::try_parse_from(words) {
        bail!("{of}: {}", error.to_string().lines().next().unwrap_or_default());
    }
    Ok(())
}

/// A name as part of a path.
pub fn stem(name: &str) -> String {
    let words: Vec<&str> = name.split(|c: char| !c.is_alphanumeric()).filter(|w| !w.is_empty()).collect();
    words.join("_").to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn studies_that_come_along_are_sound() {
        for (name, _) in KNOWN {
            let experiment = described(name).unwrap();
            for words in experiment.data.iter().filter_map(|data| data.make.as_deref()) {
                let words = ["cargo xtask", "dataset"].into_iter().chain(words.split_whitespace());
                let made = Cli::try_parse_from(words.chain(["--out", "data.npz"]));
                assert!(made.is_ok(), "{name}: {}", made.err().map(|e| e.to_string()).unwrap_or_default());
            }
        }
    }
}
