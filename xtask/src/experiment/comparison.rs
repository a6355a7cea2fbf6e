//! Studies of `compare`: several methods on several data sets, from several seeds.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::{Parser, ValueEnum};

use super::described::{Data, Experiment, stem};
use super::scores::Scores;
use super::{DONE, Trained, found, mark, prepare};
use crate::args::{Cli, Command, CompareArgs, ExperimentArgs};
use crate::compare::{self, MethodName};
use crate::output::Output;

/// Compares, unless the same comparison is there already, and gives a score sheet for each method, data set and seed.
pub fn run<'a>(
    experiment: &'a Experiment,
    words: &str,
    seeds: u64,
    args: &ExperimentArgs,
    out: &Output,
) -> Result<Vec<Trained<'a>>> {
    let files: Vec<PathBuf> = experiment.data.iter().map(|data| file(data, args, out)).collect::<Result<_>>()?;
    let folder = |data: &Data, seed: u64| out.sub(&format!("runs/{}/{seed}", stem(&data.name)));
    // What cannot be compared is known before hours go by.
    for (data, file) in experiment.data.iter().zip(&files) {
        let options = options(words, file, 0, args.epochs, folder(data, 0).folder())?;
        compare::check(&options).with_context(|| data.name.clone())?;
    }
    let mut done = Vec::new();
    for (data, file) in experiment.data.iter().zip(&files) {
        for seed in 0..seeds {
            println!("{}, seed {seed}", data.name);
            let run = folder(data, seed);
            let options = options(words, file, seed, args.epochs, run.folder())?;
            let mark = mark(format!("compare {words} --seed {seed} --epochs {:?}", args.epochs), file)?;
            if std::fs::read_to_string(run.path(DONE)).is_ok_and(|done| done == mark) {
                println!("  there already");
            } else {
                compare::run(&options)?;
                run.write(DONE, mark.as_bytes())?;
            }
            done.extend(sheets(&data.name, seed, &run.path("table.csv"))?);
        }
    }
    Ok(done)
}

/// The file itself where it is taken as it is, so that scans stay scans.
fn file(data: &Data, args: &ExperimentArgs, out: &Output) -> Result<PathBuf> {
    if let (Some(file), None) = (&data.file, data.turn) {
        return found(file, args.data.as_deref());
    }
    let path = out.path(&format!("data/{}.npz", stem(&data.name)));
    prepare(data, args.data.as_deref(), &path)?;
    Ok(path)
}

fn options(words: &str, file: &Path, seed: u64, epochs: Option<usize>, out: &Path) -> Result<CompareArgs> {
    let (file, seed, out) = (file.to_string_lossy(), seed.to_string(), out.to_string_lossy());
    let line = ["cargo xtask", "compare", &*file].into_iter().chain(words.split_whitespace());
    match Cli::try_parse_from(line.chain(["--seed", &*seed, "--out", &*out]))?.command {
        Command::Compare(mut args) => {
            args.training.epochs = epochs.or(args.training.epochs);
            Ok(*args)
        }
        _ => bail!("`{words}` is no comparison"),
    }
}

/// The lines of a table that `compare` wrote.
fn sheets<'a>(data: &'a str, seed: u64, path: &Path) -> Result<Vec<Trained<'a>>> {
    let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
    let mut lines = text.lines().map(|line| line.split(',').collect::<Vec<&str>>());
    let header = lines.next().unwrap_or_default();
    lines
        .map(|line| {
            let wrong = || format!("{}: `{}` is no line of scores", path.display(), line.join(","));
            let method = line.first().and_then(|name| MethodName::from_str(name, false).ok()).with_context(wrong)?;
            let values = header.iter().zip(&line).skip(1).filter(|(_, value)| !value.is_empty());
            let scores = values.map(|(name, value)| Ok(((*name).to_owned(), value.parse().with_context(wrong)?)));
            Ok(Trained { data, model: method.title(), seed, scores: Scores::of(scores.collect::<Result<_>>()?) })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::experiment;

    #[test]
    fn a_study_compares_once_and_sums_up_over_the_seeds() {
        let folder = tempfile::tempdir().unwrap();
        let study = folder.path().join("study.toml");
        let words = "compare = \"--methods pca,fcls --components 2\"";
        let data = "[[data]]\nname = \"two\"\nmake = \"spectrum-image --size 16 --channels 64 --endmembers 2\"";
        std::fs::write(&study, format!("title = \"Two\"\nseeds = 2\n{words}\n{data}\n")).unwrap();
        let out = folder.path().join("out");
        let args = ExperimentArgs {
            name: study.display().to_string(),
            seeds: None,
            epochs: None,
            data: None,
            out: out.clone(),
        };
        experiment::run(&args).unwrap();
        let table = std::fs::read_to_string(out.join("table.csv")).unwrap();
        assert_eq!(table.lines().count(), 5, "{table}");
        let summary = std::fs::read_to_string(out.join("summary.md")).unwrap();
        assert!(summary.contains("| two | N-FINDR and FCLS |") && summary.contains("endmember_angle"), "{summary}");
        let report = out.join("runs/two/1/index.html");
        let made = std::fs::metadata(&report).unwrap().modified().unwrap();
        experiment::run(&args).unwrap();
        assert_eq!(std::fs::metadata(&report).unwrap().modified().unwrap(), made, "it is not done again");
    }
}
