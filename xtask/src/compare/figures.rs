//! What a method found, in figures that are alike for all methods.

use anyhow::{Result, anyhow};
use ndarray::{Array2, Array4, ArrayView1, Axis};
use parsimon_baselines::{Error, Pca, PcaSolver};
use parsimon_core::Embedding;
use parsimon_ivae::steps;
use parsimon_report::Figure;
use parsimon_report::colour::ColourMap;
use parsimon_report::figures::{self, Colour, Line, MapStyle, Steps};

use super::args::MethodName;
use super::data::Samples;
use super::scores::Fitted;

/// Columns of a method that get a map.
const MAPS: usize = 6;
/// Images along each side of a decoded grid.
const SIDE: usize = 8;
/// Principal components whose variance is drawn, if the data have them.
const SCREE: usize = 40;
/// Patterns that are drawn at most, as images and as lines.
const IMAGES: usize = 100;
const LINES: usize = 10;

/// All figures of one method; their names begin with its own.
pub fn of(name: MethodName, fitted: &Fitted, samples: &Samples) -> Result<Vec<Figure>> {
    let mut drawn = Vec::new();
    drawn.extend(scatter(name, fitted, samples)?);
    drawn.extend(patterns(name, fitted, samples)?);
    drawn.extend(maps(name, fitted, samples)?);
    Ok(drawn)
}

/// The variance along those principal components that are taken, and some more.
pub fn scree(taken: usize, samples: &Samples) -> Result<Figure> {
    let figure = figures::scree(&leading(SCREE.max(taken), samples)?, taken, "Principal components: variance")?;
    let caption = figure.caption.clone();
    Ok(figure.named("pca_scree", &caption))
}

/// The share of the variance of the fitted rows along so many principal components, or as many as there are.
fn leading(most: usize, samples: &Samples) -> Result<Vec<f64>> {
    let rows = samples.patches.select(&samples.train.clone().collect::<Vec<_>>())?;
    let (h, w, c) = rows.shape();
    let mut components = most.min(h * w * c).min(rows.len() - 1);
    loop {
        // Of components of noise, which are alike, the exact solver would tell each from the next.
        let solver = PcaSolver::Randomised { powers: 4 };
        match Pca::params(components).solver(solver).fit_patches(&rows) {
            Err(Error::Rank { rank, .. }) if (1..components).contains(&rank) => components = rank,
            found => return Ok(found?.model().explained_variance_ratio().to_vec()),
        }
    }
}

/// The first two columns, coloured by the truth, else by the classes found.
fn scatter(name: MethodName, fitted: &Fitted, samples: &Samples) -> Result<Option<Figure>> {
    let content = fitted.embedding.content();
    let columns = fitted.embedding.columns();
    // Distances and probabilities are many, and their first two mean little.
    let many = columns.iter().any(|c| c.name.starts_with('p') && !c.name.starts_with("pc") || c.name.starts_with('d'));
    let names: Vec<&str> = if content.is_empty() { columns.iter().map(|c| c.name.as_str()).collect() } else { content };
    let (Some(mut x), Some(mut y)) = (names.first(), names.get(1)) else { return Ok(None) };
    // A place on a map is told as (y, x).
    if x.ends_with("_y") {
        (x, y) = (y, x);
    }
    if many && fitted.embedding.class().is_some() {
        return Ok(None);
    }
    let classes = samples.truth.as_ref().map(|t| (t, samples.truth_name.as_str()));
    let classes = classes.or(fitted.embedding.class().map(|c| (c, "class found")));
    let values = |name: &str| -> Result<Vec<f32>> { Ok(fitted.embedding.column(name)?.mean.to_vec()) };
    let class = classes.map(|(class, _)| class.to_vec());
    let colour = match &class {
        Some(class) => Colour::Class { class, names: &[] },
        None => Colour::Density,
    };
    let by = classes.map_or("density".to_owned(), |(_, name)| name.to_owned());
    let title = format!("{}, by {by}", name.title());
    let figure = figures::scatter(&values(x)?, &values(y)?, colour, x, y, &title)?;
    let caption = figure.caption.clone();
    Ok(Some(figure.named(&format!("{}_scatter", name.id()), &caption)))
}

/// Patterns of the columns or classes; of a method without any, what its way back makes of a grid of the first two columns.
fn patterns(name: MethodName, fitted: &Fitted, samples: &Samples) -> Result<Option<Figure>> {
    let Some(found) = &fitted.patterns else { return decoded(name, fitted) };
    let all = found.values.dim().0;
    let count = all.min(if samples.energy.is_some() { LINES } else { IMAGES });
    let patterns = found.values.slice_axis(Axis(0), (0..count).into()).to_owned();
    let columns = fitted.embedding.columns();
    let of_columns = fitted.embedding.class().is_none() && columns.len() == all;
    let names: Vec<String> =
        (0..count).map(|k| if of_columns { columns[k].name.clone() } else { format!("class {k}") }).collect();
    let some = if count < all { format!(", the first {count} of {all}") } else { String::new() };
    let title = format!("{}: patterns{some}", name.title());
    let mut explained = if name == MethodName::Pca { explained(fitted, samples)? } else { Vec::new() };
    explained.truncate(count);
    let figure = match &samples.energy {
        Some(energy) => {
            let share = |(k, name): (usize, &String)| match explained.get(k) {
                Some(share) => format!("{name}, {:.1} %", 100.0 * share),
                None => name.clone(),
            };
            let names: Vec<String> = names.iter().enumerate().map(share).collect();
            let as_prepared = samples.prepared.as_ref().is_some_and(|p| !p.is_linear());
            let unit = match (found.like_samples, as_prepared) {
                (false, _) => "intensity (largest = 1)",
                (true, false) => "intensity",
                (true, true) => "intensity, as prepared by --steps",
            };
            spectra(&patterns, found.like_samples, &names, energy, unit, &title)?
        }
        None => figures::components(patterns.view(), &names, &explained, &title)?,
    };
    let corners = matches!(name, MethodName::Fcls | MethodName::Blu);
    let noisy = match (corners, patterns.iter().any(|v| *v < 0.0)) {
        (true, true) => {
            " Corners of the data in the plane they vary in most: noise, and what the data vary by beyond that plane, takes some \
             of them below 0."
        }
        (true, false) => " Corners of the data in the plane they vary in most.",
        _ => "",
    };
    let shares = if explained.is_empty() { "" } else { " In %: the share of the variance of the fitted rows." };
    let caption = format!("{} {}{noisy}{shares}", name.title(), figure.caption);
    Ok(Some(figure.named(&format!("{}_patterns", name.id()), &caption)))
}

/// The share of the variance of the fitted rows along each principal component.
fn explained(fitted: &Fitted, samples: &Samples) -> Result<Vec<f64>> {
    let rows: Vec<usize> = samples.train.clone().collect();
    let variance = |values: ArrayView1<'_, f32>| values.select(Axis(0), &rows).mapv(f64::from).var(0.0);
    let images = samples.patches.images();
    let data = images.to_shape((images.dim().0, images.len() / images.dim().0))?;
    let all: f64 = data.columns().into_iter().map(variance).sum();
    Ok(fitted.embedding.columns().iter().map(|column| variance(column.mean.view()) / all).collect())
}

/// Endmembers and centres as they are; components, which are added up in any amount, each in units of its largest value.
fn spectra(
    patterns: &Array4<f32>,
    like_samples: bool,
    names: &[String],
    energy: &parsimon_core::Axis,
    y_label: &str,
    title: &str,
) -> Result<Figure> {
    let of = |k: usize| {
        let values: Vec<f32> = patterns.index_axis(Axis(0), k).iter().copied().collect();
        let largest = values.iter().fold(0.0f32, |m, v| m.max(v.abs()));
        let unit = if like_samples || largest == 0.0 { 1.0 } else { largest };
        values.into_iter().map(|v| v / unit).collect::<Vec<f32>>()
    };
    let line = |(k, name): (usize, &String)| -> (String, Vec<[f64; 2]>) {
        let points = of(k).into_iter().enumerate().map(|(i, v)| [energy.value(i as f64), v.into()]);
        (name.clone(), points.collect())
    };
    let lines: Vec<(String, Vec<[f64; 2]>)> = names.iter().enumerate().map(line).collect();
    let lines: Vec<Line<'_>> = lines.iter().map(|(name, points)| Line { name, points: points.clone() }).collect();
    Ok(figures::lines(&lines, Steps::Linear, &along(energy), y_label, title)?)
}

/// Name of an axis, with its unit if it has one.
fn along(axis: &parsimon_core::Axis) -> String {
    if axis.is_calibrated() { format!("{} ({})", axis.name, axis.unit) } else { axis.name.clone() }
}

/// What the way back makes of the first two columns, all others at their median.
fn decoded(name: MethodName, fitted: &Fitted) -> Result<Option<Figure>> {
    let Some(generator) = fitted.model.generator() else { return Ok(None) };
    let content = fitted.embedding.content();
    let (Some(&x), Some(&y)) = (content.first(), content.get(1)) else { return Ok(None) };
    let (xs, ys) = (steps(&fitted.embedding, x, SIDE)?, steps(&fitted.embedding, y, SIDE)?);
    let mut grid = Embedding::new(SIDE * SIDE);
    for column in fitted.embedding.columns() {
        let mut sorted = column.mean.to_vec();
        sorted.sort_by(f32::total_cmp);
        let middle = sorted.get(sorted.len() / 2).copied().unwrap_or(0.0);
        let value = |place: usize| match column.name.as_str() {
            name if name == x => xs[place % SIDE],
            name if name == y => ys[place / SIDE],
            _ => middle,
        };
        grid.push(&column.name, (0..SIDE * SIDE).map(value).collect(), None)?;
    }
    let images = generator.generate(&grid).map_err(|e| anyhow!(e))?;
    let rounded = |v: &[f32]| v.iter().map(|v| (f64::from(*v) * 100.0).round() / 100.0).collect::<Vec<f64>>();
    let title = format!("{}: decoded", name.title());
    let figure = figures::manifold(images.view(), &rounded(&xs), &rounded(&ys), x, y, &title)?;
    let caption = format!("What the way back makes of {x} and {y} over the range they cover, the rest at its median.");
    Ok(Some(figure.named(&format!("{}_patterns", name.id()), &caption)))
}

/// Columns and classes where the samples are from: sites of a micrograph, or pixels of a scan; columns of a line scan are lines.
fn maps(name: MethodName, fitted: &Fitted, samples: &Samples) -> Result<Vec<Figure>> {
    let mut drawn = Vec::new();
    let shares = fitted.patterns.as_ref().is_some_and(|p| p.shares);
    let mapped = |c: usize| -> Result<Array2<f32>> {
        let maps = fitted.patterns.as_ref().and_then(|p| p.maps.as_ref());
        let (h, w) = samples.scan.as_ref().map_or((samples.patches.len(), 1), |(h, w, _)| (*h, *w));
        Ok(match maps {
            Some(maps) => maps.index_axis(Axis(2), c).mapv(|v| v as f32),
            None => Array2::from_shape_vec((h, w), fitted.embedding.columns()[c].mean.to_vec())?,
        })
    };
    let columns = fitted.embedding.columns();
    let line = samples.scan.as_ref().filter(|(h, w, _)| *h == 1 || *w == 1).filter(|_| !columns.is_empty());
    if let Some((h, _, [y, x])) = line {
        let axis = if *h == 1 { x } else { y };
        let place = |i: usize| axis.value(i as f64);
        let mut lines = Vec::new();
        for (c, column) in columns.iter().enumerate().take(LINES) {
            let points = mapped(c)?.iter().enumerate().map(|(i, v)| [place(i), f64::from(*v)]).collect();
            lines.push(Line { name: &column.name, points });
        }
        let title = format!("{}: along the line", name.title());
        let figure =
            figures::lines(&lines, Steps::Linear, &along(axis), if shares { "share" } else { "column" }, &title)?;
        let caption = figure.caption.clone();
        drawn.push(figure.named(&format!("{}_map_profile", name.id()), &caption));
    }
    for (c, column) in columns.iter().enumerate().take(if line.is_some() { 0 } else { MAPS }) {
        let signed = column.mean.iter().any(|v| *v < 0.0);
        let style = MapStyle {
            name: format!("{}_map_{}", name.id(), column.name),
            title: format!("{}: {}", name.title(), column.name),
            label: column.name.clone(),
            colours: if signed { ColourMap::Diverging } else { ColourMap::Sequential },
            limits: shares.then_some((0.0, 1.0)),
        };
        if let Some((_, _, axes)) = &samples.scan {
            drawn.push(figures::field(mapped(c)?.view(), axes.each_ref(), &style)?);
        } else if let Some((image, sites)) = samples.known.micrograph.as_ref().zip(samples.known.sites.as_ref()) {
            drawn.push(figures::site_map(image, sites, &column.mean.to_vec(), &style)?);
        }
    }
    if let Some(class) = fitted.embedding.class() {
        let style = MapStyle {
            name: format!("{}_map_class", name.id()),
            title: format!("{}: classes", name.title()),
            ..MapStyle::default()
        };
        if let Some((h, w, axes)) = &samples.scan {
            let class = Array2::from_shape_vec((*h, *w), class.to_vec())?;
            drawn.push(figures::class_field(class.view(), axes.each_ref(), &[], &style)?);
        } else if let Some((image, sites)) = samples.known.micrograph.as_ref().zip(samples.known.sites.as_ref()) {
            drawn.push(figures::class_map(image, sites, &class.to_vec(), &[], &style)?);
        }
    }
    Ok(drawn)
}

#[cfg(test)]
mod tests {
    use parsimon_core::{Patches, Scaling};

    use super::super::data::made::samples;
    use super::super::scores::fitted;
    use super::*;

    #[test]
    fn shares_of_the_variance_are_those_of_the_components() {
        let value = |(i, y, x, _): (usize, usize, usize, usize)| ((i * 7 + y * i * 3 + x * (i % 5)) % 17) as f32 / 16.0;
        let images = Array4::from_shape_fn((60, 3, 4, 1), value);
        let samples = |images: Array4<f32>| Samples {
            train: 0..50,
            test: 50..60,
            ..samples(Patches::new(images, Scaling::unit(1)).unwrap())
        };
        let (all, line) = (samples(images), samples(Array4::from_shape_fn((60, 3, 4, 1), |p| p.0 as f32 / 60.0)));
        let found = fitted(&Pca::params(4), true, &all).unwrap();
        let (shares, first) = (leading(40, &all).unwrap(), explained(&found, &all).unwrap());
        assert!(shares.len() == 12 && (shares.iter().sum::<f64>() - 1.0).abs() < 1e-6, "{shares:?}");
        assert!(
            first.len() == 4 && first.iter().zip(&shares).all(|(a, b)| (a - b).abs() < 1e-6),
            "{first:?} {shares:?}"
        );
        assert_eq!(leading(40, &line).unwrap().len(), 1, "samples on a line have one direction");
    }
}
