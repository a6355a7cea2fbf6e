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
            if let Some(maps) = row.fitted.patterns.as_ref().and_then(|p| p.maps.as_ref()) {
                let maps = maps.mapv(|v| v as f32);
                parsimon_io::write_npy(&out.path(&maps_file(row.name)), maps.view().into_dyn())?;
            }
            for figure in &row.figures {
                out.sub("figures").write(&format!("{}.png", figure.name), &figure.png()?)?;
            }
        }
        if let Some(axes) = axes(&samples) {
            out.write("axes.csv", axes.as_bytes())?;
        }
        out.write("index.html", html.as_bytes())
    })?;
    let removed = remove_stale(&out, &rows)?;
    if !removed.is_empty() {
        println!("removed what an earlier comparison left in {}: {}", args.out.display(), removed.join(", "));
    }
    let files: Vec<String> = rows.iter().map(|row| format!("{}.npz", row.name.id())).collect();
    println!(
        "wrote {}: index.html, table.csv, {}, METHOD_patterns.npy (K, H, W, C) of those \
         that have any, figures/{}",
        args.out.display(),
        files.join(", "),
        if axes(&samples).is_some() { ", axes.csv" } else { "" }
    );
    Ok(failures)
}

fn patterns_file(name: MethodName) -> String {
    format!("{}_patterns.npy", name.id())
}

fn maps_file(name: MethodName) -> String {
    format!("{}_maps.npy", name.id())
}

/// Axes of maps and patterns of spectra: the value at i is offset + i·scale.
fn axes(samples: &Samples) -> Option<String> {
    let energy = samples.energy.as_ref().map(|energy| (energy, samples.patches.shape().1));
    let pixels = samples.scan.iter().flat_map(|(h, w, [y, x])| [(y, *h), (x, *w)]);
    let mut text = String::from("axis,unit,size,scale,offset\n");
    for (axis, size) in pixels.chain(energy) {
        // Writing into a string cannot fail.
        let _ = writeln!(text, "{},{},{size},{},{}", axis.name, axis.unit, axis.scale, axis.offset);
    }
    (text.lines().count() > 1).then_some(text)
}

/// Removes what an earlier comparison in the same directory has left of methods that are not in this one's table.
fn remove_stale(out: &Output, rows: &[Row]) -> Result<Vec<String>> {
    let mut stale = Vec::new();
    let drawn: Vec<String> = rows.iter().flat_map(|r| &r.figures).map(|f| format!("{}.png", f.name)).collect();
    let there = std::fs::read_dir(out.path("figures")).into_iter().flatten().flatten();
    let there: Vec<String> = there.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    for name in MethodName::value_variants() {
        let row = rows.iter().find(|row| row.name == *name);
        if row.is_none() {
            stale.push(format!("{}.npz", name.id()));
        }
        let patterns = row.and_then(|row| row.fitted.patterns.as_ref());
        if patterns.is_none() {
            stale.push(patterns_file(*name));
        }
        if patterns.is_none_or(|patterns| patterns.maps.is_none()) {
            stale.push(maps_file(*name));
        }
        let begin = format!("{}_", name.id());
        let old = there.iter().filter(|file| file.starts_with(&begin) && !drawn.contains(file));
        stale.extend(old.map(|file| format!("figures/{file}")));
    }
    let mut removed = Vec::new();
    for name in stale {
        if out.remove(&name)? {
            removed.push(name);
        }
    }
    Ok(removed)
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
mod tests;
