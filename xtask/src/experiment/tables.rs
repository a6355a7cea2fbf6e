//! What an experiment came to, in tables.

use std::collections::BTreeSet;
use std::fmt::Write;

use anyhow::Result;

use super::Trained;
use super::described::Experiment;
use super::scores::Scores;
use crate::compare;
use crate::output::field;

/// A line for each training, a column for each score that any of them has.
pub fn table(experiment: &Experiment, done: &[Trained<'_>]) -> String {
    let names = score_names(experiment, done);
    let mut csv = format!("data,model,seed,{}\n", names.iter().map(|n| field(n)).collect::<Vec<_>>().join(","));
    for Trained { data, model, seed, scores } in done {
        let values = names.iter().map(|name| scores.get(name).map_or(String::new(), |v| format!("{v:.5}")));
        let (data, model) = (data.replace('"', "\"\""), model.replace('"', "\"\""));
        let _ = writeln!(csv, "\"{data}\",\"{model}\",{seed},{}", values.collect::<Vec<_>>().join(","));
    }
    csv
}

/// As they are met; of comparisons in the order of their own tables.
fn score_names(experiment: &Experiment, done: &[Trained<'_>]) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for (name, _) in done.iter().flat_map(|d| d.scores.iter()) {
        if !names.contains(name) {
            names.push(name.clone());
        }
    }
    if experiment.compare.is_some() {
        names.sort_by_key(|name| compare::NAMES.iter().position(|known| known == name));
    }
    names
}

/// Means over the seeds, with their standard deviation.
pub fn summary(experiment: &Experiment, done: &[Trained<'_>], failures: &[String]) -> Result<String> {
    let names = score_names(experiment, done);
    let mut text = format!(
        "# {}\n\nScores of held-out rows, where there are any; mean ± standard deviation over the seeds.{}\n\n",
        experiment.title,
        if experiment.compare.is_some() {
            " Data that are made, or turned, are others for each seed; methods that draw nothing at random give the same for the same data."
        } else {
            ""
        }
    );
    writeln!(text, "| data | model | {} |\n|---|---|{}", names.join(" | "), "---|".repeat(names.len()))?;
    let mut pairs: Vec<(&str, &str)> = Vec::new();
    for Trained { data, model, .. } in done {
        if !pairs.contains(&(data, model)) {
            pairs.push((data, model));
        }
    }
    for (data, model) in pairs {
        let of: Vec<&Scores> = done.iter().filter(|d| (d.data, d.model) == (data, model)).map(|d| &d.scores).collect();
        let cell = |name: &String| {
            let values: Vec<f64> = of.iter().filter_map(|s| s.get(name)).collect();
            let n = values.len() as f64;
            let mean = values.iter().sum::<f64>() / n;
            let sd = (values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / (n - 1.0).max(1.0)).sqrt();
            match values.len() {
                0 => "–".to_owned(),
                _ if ["columns", "parameters"].contains(&name.as_str()) && sd == 0.0 => format!("{mean:.0}"),
                1 => format!("{mean:.3}"),
                _ => format!("{mean:.3} ± {sd:.3}"),
            }
        };
        let cells: Vec<String> = names.iter().map(cell).collect();
        let all = done.iter().filter(|d| d.data == data).map(|d| d.seed).collect::<BTreeSet<u64>>().len();
        let some = if of.len() < all { format!(" ({} of {all} seeds)", of.len()) } else { String::new() };
        let [data, model] = [data, model].map(|name| name.replace('|', "\\|"));
        writeln!(text, "| {data} | {model}{some} | {} |", cells.join(" | "))?;
    }
    if !failures.is_empty() {
        writeln!(text, "\nFailed:\n")?;
    }
    failures.iter().try_for_each(|failure| writeln!(text, "- {failure}"))?;
    Ok(text)
}
