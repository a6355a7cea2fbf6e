//! Several methods on the same rows, in one table and one report.

mod args;
mod data;
mod figures;
mod files;
mod methods;
mod patterns;
mod scores;
mod source;
mod unmixed;

use std::fmt::Write;
use std::time::Duration;

use anyhow::{Result, bail, ensure};
use indicatif::ProgressBar;
use parsimon_report::Figure;
use parsimon_report::html::{Report, Section, Table};

pub use args::{CompareArgs, MethodName};
use data::Samples;
#[cfg(test)]
pub use data::made;
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
    /// What is to be said of it, such as what could not be scored or drawn, and why.
    notes: Vec<String>,
}

/// Fails if a method cannot be fitted to the data with these options, as far as that can be told without fitting.
pub fn check(args: &CompareArgs) -> Result<()> {
    prepared(args).map(|_| ())
}

/// Part of an endmember that may be below 0 without a note.
const BELOW: f32 = 0.05;

/// The samples, and the methods with all their parameters looked at.
fn prepared(args: &CompareArgs) -> Result<(Samples, Vec<(MethodName, Ready)>)> {
    let mut methods = args.methods.clone();
    methods.sort_unstable();
    if let Some(twice) = methods.windows(2).find(|pair| pair[0] == pair[1]) {
        bail!("--methods names {} twice", twice[0].id());
    }
    let samples = Samples::read(args)?;
    let ready = args.methods.iter().map(|&name| Ok((name, ready(name, args, &samples)?)));
    let ready = ready.collect::<Result<Vec<_>>>()?;
    Ok((samples, ready))
}

pub fn run(args: &CompareArgs) -> Result<()> {
    let Compared { failures, .. } = compare(args)?;
    let (failed, all) = (failures.len(), args.methods.len());
    ensure!(failures.is_empty(), "{failed} of {all} methods failed: {}", failures.join("; "));
    Ok(())
}

/// What came of a comparison: how many methods could be fitted, and which of them not, and why.
pub struct Compared {
    pub fitted: usize,
    pub failures: Vec<String>,
}

/// Fits and writes; nothing is written if no method can be fitted.
pub fn compare(args: &CompareArgs) -> Result<Compared> {
    let out = Output::new(&args.out)?;
    if let (Ok(data), Ok(folder)) = (args.data.canonicalize(), args.out.canonicalize()) {
        let name = data.file_name().map(|f| f.to_string_lossy().into_owned()).unwrap_or_default();
        let clash = data.parent() == Some(&folder) && files::is_result(&name);
        ensure!(!clash, "{}: the results would replace it, accepted is another --out", args.data.display());
    }
    let (samples, ready) = prepared(args)?;
    samples.notes.iter().for_each(|note| println!("note: {note}"));
    let (mut rows, mut failures) = (Vec::new(), Vec::new());
    for (name, ready) in ready {
        let bar = ProgressBar::new_spinner().with_message(format!("{} ({})", name.title(), ready.chosen));
        bar.enable_steady_tick(Duration::from_millis(200));
        let fitted = fitted(ready.method.as_ref(), ready.partition, &samples);
        bar.finish_and_clear();
        match fitted {
            Ok(mut fitted) => {
                println!("{}: {}", name.title(), line(&fitted));
                let mut notes = ready.notes;
                notes.extend(fitted.missing.drain(..).map(|what| format!("no {what}")));
                notes.extend(doubts(&fitted));
                let mut figures = figures::of(name, &fitted, &samples).unwrap_or_else(|error| {
                    notes.push(format!("no figures: {error:#}"));
                    Vec::new()
                });
                if name == MethodName::Pca {
                    match figures::scree(fitted.embedding.columns().len(), &samples) {
                        Ok(figure) => figures.push(figure),
                        Err(error) => notes.push(format!("no scree plot: {error:#}")),
                    }
                }
                notes.iter().for_each(|note| println!("note: {}: {note}", name.title()));
                rows.push(Row { name, chosen: ready.chosen, fitted, figures, notes });
            }
            // What the others found is not lost with it.
            Err(error) => {
                let failure = format!("{} ({}): {error:#}", name.title(), ready.chosen);
                println!("{failure}");
                failures.push(failure);
            }
        }
    }
    if rows.is_empty() {
        return Ok(Compared { fitted: 0, failures });
    }
    let html = report(args, &samples, &rows, &failures)?;
    files::write(&out, &table(&rows), &html, &samples, &rows)?;
    Ok(Compared { fitted: rows.len(), failures })
}

/// What a reader of the scores and patterns should not believe.
fn doubts(fitted: &Fitted) -> Vec<String> {
    let mut found = Vec::new();
    let explained = fitted.scores.iter().find(|(name, _)| *name == "explained").and_then(|(_, value)| *value);
    if explained.is_some_and(|v| v < 0.0) {
        found.push("the way back from its columns is further off than the mean of all samples".to_owned());
    }
    for (k, pattern) in fitted.patterns.iter().filter(|p| p.shares).flat_map(|p| p.values.outer_iter().enumerate()) {
        let below: f32 = pattern.iter().map(|v| v.min(0.0).abs()).sum();
        let all: f32 = pattern.iter().map(|v| v.abs()).sum();
        if below > BELOW * all {
            found.push(format!(
                "{:.0} % of endmember a{} is below 0: the data vary by more than so many endmembers span, or by noise",
                100.0 * below / all,
                k + 1
            ));
        }
    }
    found
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
    // What no method has, as without a truth, needs no column here.
    let told: Vec<bool> = (0..NAMES.len()).map(|i| rows.iter().any(|row| row.fitted.scores[i].1.is_some())).collect();
    let of = |i: &usize| told[*i];
    let names = (0..NAMES.len()).filter(of).map(|i| NAMES[i]);
    let header = ["method", "chosen"].into_iter().chain(names).map(str::to_owned).collect();
    let cells = |row: &Row| {
        let scores = (0..NAMES.len()).filter(of).map(|i| row.fitted.scores[i]);
        let scores = scores.map(|(name, value)| value.map_or("–".to_owned(), |v| shown(name, v)));
        [row.name.title().to_owned(), row.chosen.clone()].into_iter().chain(scores).collect()
    };
    let meanings = (0..NAMES.len()).filter(of).map(|i| format!("{}: {}.", NAMES[i], MEANINGS[i]));
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
        (
            "_scree",
            "How many components",
            "Where the variance falls to that of noise, further components are noise. They are of what varies about the mean: of a sum of materials whose shares add up to 1, as in FCLS and BLU, there is one material more than components above the noise.",
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
    let said = rows.iter().flat_map(|row| row.notes.iter().map(|note| format!("{}: {note}", row.name.title())));
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
            .chain(said)
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
mod tests;
