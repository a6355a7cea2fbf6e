//! Studies of `compare`: several methods on several data sets, from several seeds.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::{Parser, ValueEnum};

use super::described::{Data, Experiment, stem};
use super::scores::Scores;
use super::{DONE, Trained, found, mark, prepare};
use crate::args::{Cli, Command, CompareArgs, ExperimentArgs};
use crate::compare::{self, Compared, MethodName};
use crate::output::Output;

/// Compares, unless the same comparison is there already; a score sheet for each method, data set and seed, and which methods
/// failed where.
pub fn run<'a>(
    experiment: &'a Experiment,
    words: &str,
    seeds: u64,
    args: &ExperimentArgs,
    out: &Output,
) -> Result<(Vec<Trained<'a>>, Vec<String>)> {
    let folder = |data: &Data, seed: u64| out.sub(&format!("runs/{}/{seed}", stem(&data.name)));
    // What cannot be compared is known before hours go by.
    for data in &experiment.data {
        let options = options(words, &file(data, 0, args, out)?, 0, args.epochs, folder(data, 0).folder())?;
        compare::check(&options).with_context(|| data.name.clone())?;
    }
    let (mut done, mut failures) = (Vec::new(), Vec::new());
    for data in &experiment.data {
        for seed in 0..seeds {
            println!("{}, seed {seed}", data.name);
            let (file, run) = (file(data, seed, args, out)?, folder(data, seed));
            let options = options(words, &file, seed, args.epochs, run.folder())?;
            let mark = mark(format!("compare {words} --seed {seed} --epochs {:?}", args.epochs), &file)?;
            if std::fs::read_to_string(run.path(DONE)).is_ok_and(|done| done == mark) {
                println!("  there already");
            } else {
                // What is there until the end may be of another comparison.
                run.remove(DONE)?;
                let Compared { fitted, failures: failed } = compare::compare(&options)?;
                if failed.is_empty() {
                    run.write(DONE, mark.as_bytes())?;
                }
                failures.extend(failed.iter().map(|why| format!("{}, seed {seed}, {why}", data.name)));
                if fitted == 0 {
                    continue;
                }
            }
            done.extend(sheets(&data.name, seed, &run.path("table.csv"))?);
        }
    }
    Ok((done, failures))
}

/// The file itself where it is taken as it is, so that scans stay scans; else data made for this seed.
fn file(data: &Data, seed: u64, args: &ExperimentArgs, out: &Output) -> Result<PathBuf> {
    if let (Some(file), None) = (&data.file, data.turn) {
        return found(file, args.data.as_deref());
    }
    let path = out.path(&format!("data/{}/{seed}.npz", stem(&data.name)));
    prepare(data, seed, args.data.as_deref(), &path)?;
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
    use crate::compare::made::write_line;
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

    #[test]
    fn a_study_ends_though_a_method_fails_and_does_not_call_it_done() {
        let folder = tempfile::tempdir().unwrap();
        let (data, study) = (folder.path().join("line.npz"), folder.path().join("study.toml"));
        write_line(&data);
        let words = "compare = \"--methods kmeans,fcls --components 3 --clusters 2\"";
        let file = format!("[[data]]\nname = \"line\"\nfile = '{}'", data.display());
        let sound = "[[data]]\nname = \"two\"\nmake = \"spectrum-image --size 16 --channels 64 --endmembers 3\"";
        let write = |words: &str| {
            std::fs::write(&study, format!("title = \"Line\"\nseeds = 2\n{words}\n{file}\n{sound}\n")).unwrap();
        };
        write(words);
        let out = folder.path().join("out");
        let name = study.display().to_string();
        let args = ExperimentArgs { name, seeds: None, epochs: None, data: None, out: out.clone() };
        let failed = experiment::run(&args).unwrap_err().to_string();
        assert!(failed.starts_with("2 fits failed: line, seed 0, N-FINDR and FCLS"), "{failed}");
        let table = std::fs::read_to_string(out.join("table.csv")).unwrap();
        assert!(table.lines().count() == 7 && table.contains("\"line\",\"k-means\""), "{table}");
        assert!(!out.join("runs/line/0").join(DONE).exists() && out.join("runs/two/1").join(DONE).exists());
        // Where no method can be fitted, the other data still are.
        write("compare = \"--methods fcls --components 3\"");
        assert!(experiment::run(&args).unwrap_err().to_string().starts_with("2 fits failed: line, seed 0"));
        let summary = std::fs::read_to_string(out.join("summary.md")).unwrap();
        assert!(
            summary.contains("| two | N-FINDR and FCLS |") && summary.contains("Failed:\n\n- line, seed 0"),
            "{summary}"
        );
    }
}
