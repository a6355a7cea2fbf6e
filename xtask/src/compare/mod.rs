//! Several methods on the same rows, in one table and one report.

mod args;
mod data;
mod figures;
mod methods;
mod patterns;
mod scores;
mod unmixed;

use std::fmt::Write;
use std::time::Duration;

use anyhow::{Result, ensure};
use clap::ValueEnum;
use indicatif::ProgressBar;
use parsimon_report::Figure;
use parsimon_report::html::{Report, Section, Table};

pub use args::{CompareArgs, MethodName};
use data::Samples;
use methods::{Ready, ready};
pub use scores::NAMES;
use scores::{Fitted, MEANINGS, fitted};

use crate::output::Output;
use crate::report::{command, versions};

/// One method with what came of it.
struct Row {
    name: MethodName,
    chosen: String,
    fitted: Fitted,
    figures: Vec<Figure>,
    /// What could not be scored or drawn, and why.
    missing: Vec<String>,
}

/// Fails if a method cannot be fitted to the data with these options, as far as that can be told without fitting.
pub fn check(args: &CompareArgs) -> Result<()> {
    prepared(args).map(|_| ())
}

/// The samples, and the methods with all their parameters looked at.
fn prepared(args: &CompareArgs) -> Result<(Samples, Vec<(MethodName, Ready)>)> {
    let mut methods = args.methods.clone();
    methods.sort_unstable();
    methods.dedup();
    ensure!(methods.len() == args.methods.len(), "--methods names a method twice");
    let samples = Samples::read(args)?;
    let ready = args.methods.iter().map(|&name| Ok((name, ready(name, args, &samples)?)));
    let ready = ready.collect::<Result<Vec<_>>>()?;
    Ok((samples, ready))
}

pub fn run(args: &CompareArgs) -> Result<()> {
    let failures = compare(args)?;
    let (failed, all) = (failures.len(), args.methods.len());
    ensure!(failures.is_empty(), "{failed} of {all} methods failed: {}", failures.join("; "));
    Ok(())
}

/// Fits and writes; which methods failed, and why, if not all did.
pub fn compare(args: &CompareArgs) -> Result<Vec<String>> {
    let out = Output::new(&args.out)?;
    let (samples, ready) = prepared(args)?;
    let (mut rows, mut failures) = (Vec::new(), Vec::new());
    for (name, ready) in ready {
        let bar = ProgressBar::new_spinner().with_message(format!("{} ({})", name.title(), ready.chosen));
        bar.enable_steady_tick(Duration::from_millis(200));
        let fitted = fitted(ready.method.as_ref(), ready.partition, &samples);
        bar.finish_and_clear();
        match fitted {
            Ok(mut fitted) => {
                println!("{}: {}", name.title(), line(&fitted));
                let mut missing = std::mem::take(&mut fitted.missing);
                let figures = figures::of(name, &fitted, &samples).unwrap_or_else(|error| {
                    missing.push(format!("figures: {error:#}"));
                    Vec::new()
                });
                missing.iter().for_each(|what| println!("note: {}, no {what}", name.title()));
                rows.push(Row { name, chosen: ready.chosen, fitted, figures, missing });
            }
            // What the others found is not lost with it.
            Err(error) => {
                let failure = format!("{} ({}): {error:#}", name.title(), ready.chosen);
                println!("{failure}");
                failures.push(failure);
            }
        }
    }
    ensure!(!rows.is_empty(), "no method could be fitted: {}", failures.join("; "));
    let html = report(args, &samples, &rows, &failures)?;
    out.all_or_none(|out| {
        out.write("table.csv", table(&rows).as_bytes())?;
        for row in &rows {
            out.latents(&format!("{}.npz", row.name.id()), &row.fitted.embedding)?;
            if let Some(patterns) = &row.fitted.patterns {
                let path = out.path(&patterns_file(row.name));
                parsimon_io::write_npy(&path, patterns.values.view().into_dyn())?;
            }
            for figure in &row.figures {
                out.sub("figures").write(&format!("{}.png", figure.name), &figure.png()?)?;
            }
        }
        out.write("index.html", html.as_bytes())
    })?;
    remove_stale(&out, &rows)?;
    let files: Vec<String> = rows.iter().map(|row| format!("{}.npz", row.name.id())).collect();
    println!(
        "wrote {}: index.html, table.csv, {}, METHOD_patterns.npy (K, H, W, C) of those that have any, figures/",
        args.out.display(),
        files.join(", ")
    );
    Ok(failures)
}

fn patterns_file(name: MethodName) -> String {
    format!("{}_patterns.npy", name.id())
}

/// Removes what an earlier comparison in the same directory has left of methods that are not in this one's table.
fn remove_stale(out: &Output, rows: &[Row]) -> Result<()> {
    let drawn: Vec<String> = rows.iter().flat_map(|r| &r.figures).map(|f| format!("{}.png", f.name)).collect();
    let figures = out.sub("figures");
    let there = std::fs::read_dir(figures.folder()).into_iter().flatten().flatten();
    let there: Vec<String> = there.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    for name in MethodName::value_variants() {
        let row = rows.iter().find(|row| row.name == *name);
        if row.is_none() {
            out.remove(&format!("{}.npz", name.id()))?;
        }
        if row.is_none_or(|row| row.fitted.patterns.is_none()) {
            out.remove(&patterns_file(*name))?;
        }
        let begin = format!("{}_", name.id());
        for stale in there.iter().filter(|file| file.starts_with(&begin) && !drawn.contains(file)) {
            figures.remove(stale)?;
        }
    }
    Ok(())
}

/// Scores in a line.
fn line(fitted: &Fitted) -> String {
    let told = fitted.scores.iter().filter_map(|(name, value)| Some(format!("{name} {}", shown(name, (*value)?))));
    told.collect::<Vec<_>>().join(", ")
}

fn shown(name: &str, value: f64) -> String {
    match name {
        "columns" | "parameters" => format!("{value:.0}"),
        "peak_mib" => format!("{value:.1}"),
        _ if name.ends_with("seconds") => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

fn table(rows: &[Row]) -> String {
    let mut text = format!("method,{}\n", NAMES.join(","));
    for row in rows {
        let values: Vec<String> =
            row.fitted.scores.iter().map(|(_, value)| value.map_or(String::new(), |v| format!("{v}"))).collect();
        // Writing into a string cannot fail.
        let _ = writeln!(text, "{},{}", row.name.id(), values.join(","));
    }
    text
}

fn report(args: &CompareArgs, samples: &Samples, rows: &[Row], failures: &[String]) -> Result<String> {
    let header = ["method", "chosen"].into_iter().chain(NAMES).map(str::to_owned).collect();
    let cells = |row: &Row| {
        let scores = row.fitted.scores.iter().map(|(name, value)| value.map_or("–".to_owned(), |v| shown(name, v)));
        [row.name.title().to_owned(), row.chosen.clone()].into_iter().chain(scores).collect()
    };
    let meanings = NAMES.iter().zip(MEANINGS).map(|(name, meaning)| format!("{name}: {meaning}."));
    let mut sections = vec![Section {
        heading: "Scores".into(),
        text: meanings.collect::<Vec<_>>().join("\n\n"),
        figures: Vec::new(),
        table: Some(Table { header, rows: rows.iter().map(cells).collect() }),
    }];
    let pick = |part: &str| -> Vec<Figure> {
        rows.iter().flat_map(|r| &r.figures).filter(|f| f.name.contains(part)).cloned().collect()
    };
    let parts = [
        (
            "_scatter",
            "Where the samples lie",
            if samples.truth.is_some() {
                "The first two columns of each method, coloured alike."
            } else {
                "The first two columns of each method, coloured by the classes it found, if any."
            },
        ),
        ("_patterns", "What the columns stand for", "Components, centres, or what a decoder makes of the columns."),
        ("_map_", "Maps", "Columns and classes where the samples are from."),
    ];
    for (part, heading, text) in parts {
        let figures = pick(part);
        if !figures.is_empty() {
            sections.push(Section { heading: heading.into(), text: text.into(), figures, table: None });
        }
    }
    let missing = rows.iter().flat_map(|row| row.missing.iter().map(|what| format!("{}: no {what}", row.name.title())));
    let (h, w, c) = samples.patches.shape();
    let held = samples.test.len();
    let file = args.data.file_name().map(|f| f.to_string_lossy().into_owned()).unwrap_or_default();
    let report = Report {
        title: format!("{file}: {} methods compared", rows.len()),
        subtitle: "Every method is fitted to the same rows, embeds the same rows, and is scored by the same code."
            .into(),
        key_numbers: vec![
            (samples.patches.len().to_string(), "samples".to_owned()),
            (if h == 1 { format!("{w}") } else { format!("{h} × {w} × {c}") }, "values of each".to_owned()),
            (held.to_string(), "held out".to_owned()),
        ],
        notes: samples
            .notes
            .iter()
            .cloned()
            .chain(missing)
            .chain(failures.iter().map(|f| format!("Failed: {f}")))
            .collect(),
        sections,
        parameters: Vec::new(),
        versions: versions(),
        seed: Some(args.training.seed),
        command: command(),
    };
    Ok(report.html()?)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use clap::Parser;
    use parsimon_core::{Dataset, Patches, Scaling};
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
        assert!(html.contains("Invariant VAE") && html.contains("trustworthiness"));
        assert!(out.join("nmf_patterns.npy").exists() && !out.join("isomap_patterns.npy").exists());
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
            ("--methods pca,pca", "twice"),
            ("--truth labels", "none in this file"),
            ("--steps bin=2", "list of samples"),
            ("--holdout 1.5", "1.5"),
            ("--methods vae --boundary 3", "--boundary"),
            ("--methods vae,pca --components 0", "components is 0"),
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
    fn a_method_that_fails_leaves_what_the_others_found_and_nothing_of_an_earlier_comparison() {
        let folder = tempfile::tempdir().unwrap();
        let (data, out) = (folder.path().join("d.npz"), folder.path().join("out"));
        // All on a line: three endmembers span nothing.
        let images = ndarray::Array4::from_shape_fn((30, 2, 2, 1), |(i, y, x, _)| (i % 7 * (y + x)) as f32 / 16.0);
        let images = Some(Patches::new(images, Scaling::unit(1)).unwrap());
        write_dataset(&data, &Dataset { images, ..Dataset::default() }).unwrap();
        compare("--methods pca,kmeans --components 1 --clusters 2", &data, &out).unwrap();
        assert!(out.join("pca.npz").exists() && out.join("figures/pca_patterns.png").exists());
        let failed = compare("--methods kmeans,fcls --components 3 --clusters 2", &data, &out).unwrap_err();
        assert!(failed.to_string().starts_with("1 of 2 methods failed: N-FINDR and FCLS"), "{failed}");
        let table = std::fs::read_to_string(out.join("table.csv")).unwrap();
        assert!(table.lines().count() == 2 && table.contains("\nkmeans,"), "{table}");
        assert!(std::fs::read_to_string(out.join("index.html")).unwrap().contains("Failed: N-FINDR and FCLS"));
        for gone in ["pca.npz", "pca_patterns.npy", "figures/pca_patterns.png", "fcls.npz"] {
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
        for file in ["pca_map_pc1", "nmf_map_nmf2", "kmeans_map_class", "nmf_patterns"] {
            assert!(out.join(format!("figures/{file}.png")).exists(), "{file}");
        }
        assert!(std::fs::read_to_string(out.join("index.html")).unwrap().contains(steps));
    }
}
