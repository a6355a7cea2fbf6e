//! Several methods on the same rows, in one table and one report.

mod args;
mod data;
mod figures;
mod methods;
mod scores;
mod unmixed;

use std::fmt::Write;
use std::time::Duration;

use anyhow::{Result, ensure};
use indicatif::ProgressBar;
use parsimon_report::Figure;
use parsimon_report::html::{Report, Section, Table};

pub use args::{CompareArgs, MethodName};
use data::Samples;
use methods::{Ready, ready};
use scores::{Fitted, MEANINGS, NAMES, fitted};

use crate::output::Output;
use crate::report::{command, versions};

/// One method with what came of it.
struct Row {
    name: MethodName,
    chosen: String,
    fitted: Fitted,
    figures: Vec<Figure>,
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
    let out = Output::new(&args.out)?;
    let (samples, ready) = prepared(args)?;
    let (mut rows, mut failures) = (Vec::new(), Vec::new());
    for (name, ready) in ready {
        let bar = ProgressBar::new_spinner().with_message(format!("{} ({})", name.title(), ready.chosen));
        bar.enable_steady_tick(Duration::from_millis(200));
        let fitted = fitted(ready.method.as_ref(), ready.partition, &samples);
        bar.finish_and_clear();
        let drawn = fitted.and_then(|fitted| Ok((figures::of(name, &fitted, &samples)?, fitted)));
        match drawn {
            Ok((figures, fitted)) => {
                println!("{}: {}", name.title(), line(&fitted));
                rows.push(Row { name, chosen: ready.chosen, fitted, figures });
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
            if let Some(patterns) = row.fitted.model.patterns() {
                let path = out.path(&format!("{}_patterns.npy", row.name.id()));
                parsimon_io::write_npy(&path, patterns.view().into_dyn())?;
            }
            for figure in &row.figures {
                out.sub("figures").write(&format!("{}.png", figure.name), &figure.png()?)?;
            }
        }
        out.write("index.html", html.as_bytes())
    })?;
    let files: Vec<String> = rows.iter().map(|row| format!("{}.npz", row.name.id())).collect();
    println!(
        "wrote {}: index.html, table.csv, {}, patterns of methods that have any (K, H, W, C; 1 is the top of the range of the data), figures/",
        args.out.display(),
        files.join(", ")
    );
    ensure!(
        failures.is_empty(),
        "{} of {} methods failed: {}",
        failures.len(),
        args.methods.len(),
        failures.join("; ")
    );
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
        ("_scatter", "Where the samples lie", "The first two columns of each method, coloured alike."),
        ("_patterns", "What the columns stand for", "Components, centres, or what a decoder makes of the columns."),
        ("_map_", "Maps", "Columns and classes where the samples are from."),
    ];
    for (part, heading, text) in parts {
        let figures = pick(part);
        if !figures.is_empty() {
            sections.push(Section { heading: heading.into(), text: text.into(), figures, table: None });
        }
    }
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
        notes: samples.notes.iter().cloned().chain(failures.iter().map(|f| format!("Failed: {f}"))).collect(),
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
            ("--steps bin=2", "spectrum images"),
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
}
