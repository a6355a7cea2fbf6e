//! Several methods on the same rows, in one table and one report.

mod args;
mod data;
mod figures;
mod methods;
mod scores;

use std::fmt::Write;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use indicatif::ProgressBar;
use parsimon_report::Figure;
use parsimon_report::html::{Report, Section, Table};

pub use args::{CompareArgs, MethodName};
use data::Samples;
use methods::ready;
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

pub fn run(args: &CompareArgs) -> Result<()> {
    let mut methods = args.methods.clone();
    methods.sort_unstable();
    methods.dedup();
    ensure!(methods.len() == args.methods.len(), "--methods names a method twice");
    let out = Output::new(&args.out)?;
    let samples = Samples::read(args)?;
    // All parameters are looked at before the first method is fitted.
    let ready = args.methods.iter().map(|&name| Ok((name, ready(name, args, &samples)?)));
    let ready = ready.collect::<Result<Vec<_>>>()?;
    let mut rows = Vec::new();
    for (name, ready) in ready {
        let bar = ProgressBar::new_spinner().with_message(format!("{} ({})", name.title(), ready.chosen));
        bar.enable_steady_tick(Duration::from_millis(200));
        let fitted = fitted(ready.method.as_ref(), &samples).with_context(|| name.id());
        bar.finish_and_clear();
        let fitted = fitted?;
        println!("{}: {}", name.title(), line(&fitted));
        let figures = figures::of(name, &fitted, &samples)?;
        rows.push(Row { name, chosen: ready.chosen, fitted, figures });
    }
    let html = report(args, &samples, &rows)?;
    out.all_or_none(|out| {
        out.write("table.csv", table(&rows).as_bytes())?;
        for row in &rows {
            out.latents(&format!("{}.npz", row.name.id()), &row.fitted.embedding)?;
            for figure in &row.figures {
                out.sub("figures").write(&format!("{}.png", figure.name), &figure.png()?)?;
            }
        }
        out.write("index.html", html.as_bytes())
    })?;
    let files: Vec<String> = rows.iter().map(|row| format!("{}.npz", row.name.id())).collect();
    println!("wrote {}: index.html, table.csv, {}, figures/", args.out.display(), files.join(", "));
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

fn report(args: &CompareArgs, samples: &Samples, rows: &[Row]) -> Result<String> {
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
        notes: samples.notes.clone(),
        sections,
        parameters: Vec::new(),
        versions: versions(),
        seed: Some(args.training.seed),
        command: command(),
    };
    Ok(report.html()?)
}
