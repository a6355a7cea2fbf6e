use std::collections::BTreeMap;

use anyhow::{Context, Result};
use dfdx::tensor::Cpu;
use ndarray::Array1;
use parsimon_core::{Embed, Embedding};
use parsimon_ivae::{Grid, Ivae, steps};
use parsimon_report::Figure;
use parsimon_report::colour::ColourMap;
use parsimon_report::figures::{self, Colour, LearningCurve, MapStyle};

use crate::analyze::{Analysis, column, lengths};

/// Images along each side of the manifold.
const SIDE: usize = 12;

/// Principal components that get a map.
const PCA_MAPS: usize = 2;

/// Example patches beside their reconstructions.
const EXAMPLES: usize = 10;

/// Classes at most that get a manifold of their own.
const CLASSES: usize = 20;

/// What the decoder makes of the content latents over the range they cover: the manifold of z1 and z2; of a model that is
/// told classes, z1 class by class and a manifold for each; of one that is told factors, a sweep of each against z1.
pub fn manifolds(model: &Ivae<Cpu>, latents: &Embedding) -> Result<Vec<Figure>> {
    let condition = &model.params().condition;
    let rest = "The pose is the mean one. Where no sample lies (see the scatter plot) the decoder guesses.";
    let manifold = |name: &str, title: &str, class: usize| -> Result<Figure> {
        let figure = tiles(&model.manifold(latents, SIDE, class as i64)?, "z1", "z2", title)?;
        Ok(figure.named(name, &format!("What the decoder makes of the content, over the range it covers. {rest}")))
    };
    let mut drawn = Vec::new();
    if condition.classes == 0 {
        drawn.push(manifold("manifold", "Decoded manifold", 0)?);
    } else {
        let classes = (0..condition.classes).map(|k| k as f32).collect();
        let grid = model.grid(latents, ("z1", steps(latents, "z1", SIDE)?), ("class", classes), 0)?;
        let caption = format!("Every class at the same content, z1 rising to the right, the rest at its mean. {rest}");
        drawn.push(tiles(&grid, "z1", "class", "Decoded manifold, class by class")?.named("manifold", &caption));
        for class in 0..condition.classes.min(CLASSES) {
            drawn.push(manifold(
                &format!("manifold_class{class}"),
                &format!("Decoded manifold, class {class}"),
                class,
            )?);
        }
    }
    for name in condition.columns() {
        let (x, y) = (steps(latents, &name, SIDE)?, steps(latents, "z1", SIDE)?);
        let grid = model.grid(latents, (&name, x), ("z1", y), 0)?;
        let caption = format!("The factor {name} rising to the right at the same content along each row. {rest}");
        drawn.push(tiles(&grid, &name, "z1", &format!("Sweep of {name}"))?.named(&format!("sweep_{name}"), &caption));
    }
    Ok(drawn)
}

fn tiles(grid: &Grid, x: &str, y: &str, title: &str) -> Result<Figure> {
    let rounded = |values: &[f32]| values.iter().map(|v| (f64::from(*v) * 100.0).round() / 100.0).collect::<Vec<f64>>();
    Ok(figures::manifold(grid.images.view(), &rounded(&grid.x), &rounded(&grid.y), x, y, title)?)
}

/// All figures of an analysis by their names, which are the stems of their files.
pub fn all(analysis: &Analysis) -> Result<BTreeMap<String, Figure>> {
    let mut drawn = vec![sites(analysis)?];
    drawn.extend(manifolds(&analysis.trained.fitted.state.model, &analysis.latents)?);
    drawn.push(reconstructions(analysis)?);
    drawn.extend(maps(analysis)?);
    drawn.extend(scatters(analysis)?);
    drawn.push(learning_curve(analysis)?);
    drawn.extend(pca(analysis)?);
    if let Some((class, names)) = &analysis.class {
        let style = MapStyle { name: "map_class".into(), title: "Kinds of sites".into(), ..MapStyle::default() };
        drawn.push(figures::class_map(&analysis.image, &analysis.sites, class, names, &style)?);
    }
    Ok(drawn.into_iter().map(|figure| (figure.name.clone(), figure)).collect())
}

fn sites(analysis: &Analysis) -> Result<Figure> {
    let left_out: Vec<usize> = analysis.cut.left_out.iter().map(|(site, _)| *site).collect();
    let left_out = analysis.detection.sites.select(&left_out);
    let figure = figures::image(&analysis.image, &analysis.sites, &left_out, "Sites")?;
    let caption = figure.caption.clone();
    Ok(figure.named("sites", &caption))
}

fn reconstructions(analysis: &Analysis) -> Result<Figure> {
    let n = analysis.sites.len();
    let rows: Vec<usize> = (0..EXAMPLES.min(n)).map(|i| i * n / EXAMPLES.min(n)).collect();
    let examples = analysis.cut.patches.select(&rows)?;
    let model = &analysis.trained.fitted.state.model;
    let decoded = model.images(&model.embedding(&examples)?)?;
    let figure = figures::patches(examples.images(), decoded.view(), "Patches and their reconstructions")?;
    let caption = figure.caption.clone();
    Ok(figure.named("reconstructions", &caption))
}

/// Values of a latent as a map shows them, with label and colours: shifts become lengths, and a pose counts from the median
/// of its kind of site, because the decoder is free to draw each kind turned or shifted.
fn mapped(analysis: &Analysis, name: &str) -> Result<(Array1<f32>, String, ColourMap)> {
    let mut values = column(&analysis.latents, name)?;
    let wide = name == "angle" && angle_colours(&values) == ColourMap::Cyclic;
    let mut from = "";
    if !wide && !analysis.latents.content().contains(&name) {
        let one = vec![0; values.len()];
        let (kinds, of) = match &analysis.kinds {
            Some((kinds, _)) => (kinds, " from the median of each kind"),
            None => (&one, " from the median"),
        };
        from_median(&mut values, kinds);
        from = of;
    }
    let half_width = 0.5 * (analysis.cut.window - 1) as f64;
    let nanometres = lengths(&analysis.image);
    let shift = |step: Option<f64>, to: &str| {
        let (factor, unit) = step.map_or((half_width, "px"), |nm| (half_width * nm * 1000.0, "pm"));
        (values.mapv(|v| v * factor as f32), format!("shift {to}{from} ({unit})"), ColourMap::Diverging)
    };
    Ok(match name {
        "angle" => {
            let colours = angle_colours(&values);
            (values, format!("angle{from} (rad)"), colours)
        }
        "dx" => shift(nanometres.map(|n| n.1), "to the right"),
        "dy" => shift(nanometres.map(|n| n.0), "down"),
        _ => (values, format!("{name}{from}"), ColourMap::Sequential),
    })
}

/// Subtracts from each value the median of its class.
pub fn from_median(values: &mut Array1<f32>, class: &[i64]) {
    let mut of_class: BTreeMap<i64, Vec<f32>> = BTreeMap::new();
    values.iter().zip(class).for_each(|(v, c)| of_class.entry(*c).or_default().push(*v));
    let middle = |mut v: Vec<f32>| {
        let half = v.len() / 2;
        *v.select_nth_unstable_by(half, f32::total_cmp).1
    };
    let median: BTreeMap<i64, f32> = of_class.into_iter().map(|(c, v)| (c, middle(v))).collect();
    values.iter_mut().zip(class).for_each(|(v, c)| *v -= median[c]);
}

/// The cyclic map, unless angles stay so near zero that its colours could not tell them apart.
fn angle_colours(angles: &Array1<f32>) -> ColourMap {
    let wide = angles.iter().filter(|a| a.abs() > std::f32::consts::FRAC_PI_4).count();
    if wide * 100 > angles.len() { ColourMap::Cyclic } else { ColourMap::Diverging }
}

fn maps(analysis: &Analysis) -> Result<Vec<Figure>> {
    let mut drawn = Vec::new();
    for latent in analysis.latents.columns() {
        let (values, label, colours) = mapped(analysis, &latent.name)?;
        let (name, title) = (format!("map_{}", latent.name), format!("Latent {}", latent.name));
        let style = MapStyle { name, title, label, colours, limits: None };
        let values: Vec<f32> = values.to_vec();
        let mut figure = figures::site_map(&analysis.image, &analysis.sites, &values, &style)?;
        // What a pose latent stands for is not what its name says at first.
        match latent.name.as_str() {
            "angle" => {
                figure.caption += " Where the lattice itself does not turn, a small angle stands for a distortion of what surrounds the atom."
            }
            "dx" | "dy" => {
                figure.caption += " A patch is centred on its atom, so a shift is that of what surrounds the atom, against the atom's own; 0 is the median, not a place without any shift."
            }
            _ => {}
        }
        if let Some((spread, sd)) = vague(&latent.mean, latent.sd.as_ref(), analysis.kinds.as_ref()) {
            figure.caption += &format!(
                " It varies by {spread:.2e} within a kind of site, less than its standard deviation of {sd:.2e}: a pattern \
                 may be noise."
            );
        }
        drawn.push(figure);
    }
    Ok(drawn)
}

/// Spread of a latent about the median of each kind, and its mean standard deviation, where that is the larger.
fn vague(mean: &Array1<f32>, sd: Option<&Array1<f32>>, kinds: Option<&(Vec<i64>, Vec<String>)>) -> Option<(f32, f32)> {
    let mut off = mean.clone();
    let one = vec![0; mean.len()];
    from_median(&mut off, kinds.map_or(&one, |(kinds, _)| kinds));
    let (spread, sd) = (off.std(0.0), sd?.mean()?);
    (spread < sd).then_some((spread, sd))
}

fn scatters(analysis: &Analysis) -> Result<Vec<Figure>> {
    let latents = &analysis.latents;
    let content = latents.content();
    let (&first, second) = (content.first().unwrap_or(&"z1"), content.get(1).copied());
    let second = second.or_else(|| latents.columns().first().map(|c| c.name.as_str())).unwrap_or(first);
    let (x, y) = (column(latents, first)?.to_vec(), column(latents, second)?.to_vec());
    let draw = |colour: Colour<'_>, name: &str, title: &str| -> Result<Figure> {
        let figure = figures::scatter(&x, &y, colour, first, second, title)?;
        let caption = figure.caption.clone();
        Ok(figure.named(name, &caption))
    };
    let mut drawn = vec![draw(Colour::Density, "scatter_density", "Latents, by density")?];
    if let Some(angle) = latents.get("angle") {
        let values = angle.mean.to_vec();
        let colour = Colour::Value { values: &values, map: angle_colours(&angle.mean), label: "angle (rad)" };
        drawn.push(draw(colour, "scatter_angle", "Latents, by angle")?);
    }
    if let Some((class, names)) = &analysis.class {
        drawn.push(draw(Colour::Class { class, names }, "scatter_class", "Latents, by kind of site")?);
    }
    Ok(drawn)
}

fn learning_curve(analysis: &Analysis) -> Result<Figure> {
    let history = &analysis.trained.fitted.state.history;
    let line = |of: fn(&parsimon_train::Epoch) -> f64| history.iter().map(of).collect::<Vec<f64>>();
    let (epochs, train) = (line(|e| e.epoch as f64), line(|e| e.train.loss.into()));
    let test = line(|e| e.test.map_or(f64::NAN, |t| t.loss.into()));
    let test = if test.iter().all(|t| t.is_nan()) { Vec::new() } else { test };
    let kl = line(|e| e.test.unwrap_or(e.train).kl.into());
    let label = "−ELBO (nats per patch)";
    let extra: [(&str, &[f64]); 1] = [("KL", &kl)];
    let curve = LearningCurve { epochs: &epochs, train: &train, test: &test, extra: &extra, label };
    let figure = figures::learning_curve(&curve, "Learning curve")?;
    let caption = figure.caption.clone();
    Ok(figure.named("learning_curve", &caption))
}

fn pca(analysis: &Analysis) -> Result<Vec<Figure>> {
    let components = analysis.pca.patterns().context("principal components are images")?;
    let ratio = analysis.pca.model().explained_variance_ratio().to_vec();
    let names: Vec<String> = (1..=ratio.len()).map(|k| format!("PC{k}")).collect();
    let figure = figures::components(components.view(), &names, &ratio, "Principal components")?;
    let caption = figure.caption.clone();
    let mut drawn = vec![figure.named("pca_components", &caption)];
    for name in pca_columns(&analysis.components).into_iter().take(PCA_MAPS) {
        let style = MapStyle {
            name: format!("map_{name}"),
            title: format!("Principal component {}", name.trim_start_matches("pc")),
            label: format!("score on {name}"),
            colours: ColourMap::Diverging,
            limits: None,
        };
        let values = column(&analysis.components, &name)?.to_vec();
        drawn.push(figures::site_map(&analysis.image, &analysis.sites, &values, &style)?);
    }
    Ok(drawn)
}

fn pca_columns(components: &Embedding) -> Vec<String> {
    components.columns().iter().map(|c| c.name.clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;

    #[test]
    fn a_latent_that_varies_less_than_it_is_known_is_vague() {
        let (mean, kinds) = (array![0.0, 0.2, 5.0, 5.2], (vec![0, 0, 1, 1], Vec::new()));
        let sd = |v: f32| Array1::from_elem(4, v);
        assert!(vague(&mean, Some(&sd(0.5)), Some(&kinds)).is_some());
        assert!(vague(&mean, Some(&sd(0.5)), None).is_none());
        assert!(vague(&mean, Some(&sd(0.05)), Some(&kinds)).is_none() && vague(&mean, None, None).is_none());
    }
}
