//! What an experiment came to, in figures.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Result;
use ndarray::Array1;
use parsimon_core::{Dataset, Embedding, Image, Sites};
use parsimon_ivae::load_config;
use parsimon_report::Figure;
use parsimon_report::colour::ColourMap;
use parsimon_report::figures::{self, Colour, Line, MapStyle, Steps};

use super::Trained;
use super::described::{Experiment, stem};
use super::scores::{classes_of, found_classes};
use crate::figures::from_median;

/// The content latents of one training, once for each colouring that there is; none if there are less than two.
pub fn latents(experiment: &Experiment, latents: &Embedding, known: &Dataset, title: &str) -> Result<Vec<Figure>> {
    let (Some(x), Some(y)) = (latents.get("z1"), latents.get("z2")) else { return Ok(Vec::new()) };
    let (x, y) = (x.mean.to_vec(), y.mean.to_vec());
    let labels = known.labels.as_ref().map(|l| l.to_vec()).unwrap_or_default();
    let mut panels = Vec::new();
    for colour in &experiment.colour {
        let values: Vec<f32>;
        let classes = classes_of(known, colour).map(|c| c.to_vec());
        let what = if colour == "class" && !labels.is_empty() {
            Colour::Class { class: &labels, names: &experiment.classes }
        } else if let Some(class) = &classes {
            Colour::Class { class, names: &[] }
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

/// Where the samples are from, if that is known.
fn place(known: &Dataset) -> Option<(&Image, &Sites)> {
    known.micrograph.as_ref().zip(known.sites.as_ref())
}

fn class_map((image, sites): (&Image, &Sites), class: &[i64], title: String) -> Result<Figure> {
    Ok(figures::class_map(image, sites, class, &[], &MapStyle { title, ..MapStyle::default() })?)
}

/// A row of maps of the known classes; none without a micrograph.
pub fn true_maps(experiment: &Experiment, known: &Dataset) -> Result<Option<Vec<Figure>>> {
    let Some(place) = place(known) else { return Ok(None) };
    let classes = experiment.maps.iter().filter_map(|name| Some((name, classes_of(known, name)?)));
    let row = classes.map(|(name, class)| class_map(place, &class.to_vec(), format!("{name}, true")));
    let row = row.collect::<Result<Vec<_>>>()?;
    Ok((!row.is_empty()).then_some(row))
}

/// A row of maps of one training; none without a micrograph.
pub fn maps(
    experiment: &Experiment,
    latents: &Embedding,
    known: &Dataset,
    run: &Path,
    model: &str,
) -> Result<Option<Vec<Figure>>> {
    let Some(place) = place(known) else { return Ok(None) };
    let trained = load_config(run)?.training.check(latents.len())?.train;
    let content = latents.matrix(&latents.content())?;
    let mut row = Vec::new();
    for name in &experiment.maps {
        if let Some(truth) = classes_of(known, name) {
            let found = found_classes(content.view(), known, &truth, trained.clone());
            let found = named_alike(&found, &truth, known.labels.as_ref());
            row.push(class_map(place, &found, format!("{model}: {name}"))?);
        } else if let Some(column) = latents.get(name) {
            let mut values = column.mean.clone();
            if let Some(kinds) = known.labels.as_ref().and_then(|l| l.as_slice()) {
                from_median(&mut values, kinds);
            }
            let of_kind = if known.labels.is_some() { " from the median of each kind" } else { "" };
            let (title, label) = (format!("{model}: {name}"), format!("{name}{of_kind}"));
            let style = MapStyle { title, label, colours: ColourMap::Diverging, ..MapStyle::default() };
            row.push(figures::site_map(place.0, place.1, &values.to_vec(), &style)?);
        }
    }
    Ok((!row.is_empty()).then_some(row))
}

/// Found classes under the names of the true ones that most of each belong to, within each kind of sample.
fn named_alike(found: &Array1<i64>, truth: &Array1<i64>, kinds: Option<&Array1<i64>>) -> Vec<i64> {
    let kind = |i: usize| kinds.map_or(0, |k| k[i]);
    let mut votes: BTreeMap<(i64, i64), BTreeMap<i64, usize>> = BTreeMap::new();
    for (i, (f, t)) in found.iter().zip(truth).enumerate() {
        *votes.entry((kind(i), *f)).or_default().entry(*t).or_default() += 1;
    }
    let most = |votes: &BTreeMap<i64, usize>| votes.iter().max_by_key(|(_, n)| **n).map_or(-1, |(t, _)| *t);
    let name: BTreeMap<(i64, i64), i64> = votes.iter().map(|(key, votes)| (*key, most(votes))).collect();
    found.iter().enumerate().map(|(i, f)| if *f == -1 { -1 } else { name[&(kind(i), *f)] }).collect()
}

/// Scores against the number that the models of the sweep differ by, a line for each seed.
pub fn sweeps(experiment: &Experiment, done: &[Trained<'_>]) -> Result<Vec<Figure>> {
    let Some(sweep) = &experiment.sweep else { return Ok(Vec::new()) };
    let mut drawn = Vec::new();
    for score in &sweep.scores {
        let mut lines: BTreeMap<(&str, u64), Vec<[f64; 2]>> = BTreeMap::new();
        for Trained { data, model, seed, scores } in done {
            let place = experiment.models.iter().find(|m| m.name == *model).and_then(|m| m.sweep);
            if let Some((x, y)) = place.zip(scores.get(score)) {
                lines.entry((data, *seed)).or_default().push([x, y]);
            }
        }
        let several = experiment.data.len() > 1;
        let names: Vec<String> = lines
            .keys()
            .map(|(data, seed)| if several { format!("{data}, seed {seed}") } else { format!("seed {seed}") })
            .collect();
        let line = |(name, points): (&String, &Vec<[f64; 2]>)| {
            let mut points = points.clone();
            points.sort_by(|a, b| a[0].total_cmp(&b[0]));
            (name.clone(), points)
        };
        let sorted: Vec<(String, Vec<[f64; 2]>)> = names.iter().zip(lines.values()).map(line).collect();
        let lines: Vec<Line<'_>> = sorted.iter().map(|(name, points)| Line { name, points: points.clone() }).collect();
        if !lines.is_empty() {
            let title = format!("{}: {score}", experiment.title);
            let figure = figures::lines(&lines, Steps::Linear, &sweep.label, score, &title)?;
            let caption = figure.caption.clone();
            drawn.push(figure.named(&format!("sweep_{}", stem(score)), &caption));
        } else {
            println!("note: no training has a score named `{score}` to draw");
        }
    }
    Ok(drawn)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;

    #[test]
    fn found_classes_take_the_names_of_the_true_ones_within_each_kind() {
        let (found, truth) = (array![1, 1, 0, 0, 1, 0], array![0, 0, 1, 1, 1, 0]);
        let kinds = array![0, 0, 0, 0, 1, 1];
        assert_eq!(named_alike(&found, &truth, Some(&kinds)), [0, 0, 1, 1, 1, 0]);
        assert_eq!(named_alike(&found, &truth, None), [0, 0, 1, 1, 0, 1]);
    }
}
