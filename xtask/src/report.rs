use std::collections::BTreeMap;

use anyhow::Result;
use parsimon_core::Image;
use parsimon_ivae::{BoundaryCost, Inference, Params};
use parsimon_report::Figure;
use parsimon_report::html::{Report, Section, Table};
use parsimon_train::Options;

use crate::analyze::{Analysis, found, lengths, patches};

/// Libraries whose versions a report names.
const LIBRARIES: [&str; 5] = ["dfdx", "hdf5-reader", "linfa", "ndarray", "openreadout-em"];

/// The report as one HTML document.
pub fn html(analysis: &Analysis, figures: &BTreeMap<String, Figure>) -> Result<String> {
    let pick = |names: &[&str]| -> Vec<Figure> { names.iter().filter_map(|n| figures.get(*n).cloned()).collect() };
    let maps: Vec<Figure> =
        analysis.latents.columns().iter().filter_map(|c| figures.get(&format!("map_{}", c.name)).cloned()).collect();
    let section = |heading: &str, text: &str, figures: Vec<Figure>| Section {
        heading: heading.to_owned(),
        text: text.to_owned(),
        figures,
        table: None,
    };
    let mut sections = vec![
        section(
            "Latents on the image",
            "One map for each latent of the model. The pose latents (angle, shifts, scale) hold what was declared trivial; the content latents z hold what is left. Each kind of site has its own zero of a pose, which is the decoder's choice: compare poses within a kind.",
            maps,
        ),
        section(
            "The manifold and the latents",
            "What the content latents mean, and how the sites spread over them.",
            pick(&["manifold", "scatter_density", "scatter_angle", "scatter_class", "map_class"]),
        ),
        section(
            "Beside it: principal components",
            "PCA of the same patches, which knows no pose: what rotation and shift do appears in its components, beside everything else.",
            pick(&["map_pc1", "map_pc2", "pca_components"]),
        ),
        section("Sites", &format!("{}. {}.", found(&analysis.detection), patches(&analysis.cut)), pick(&["sites"])),
        section("Training", &analysis.trained.summary(), pick(&["learning_curve", "reconstructions"])),
    ];
    if !analysis.scores.is_empty() {
        let rows = analysis.scores.iter().map(|s| vec![s.name.clone(), s.value.clone()]).collect();
        let table = Table { header: vec!["score".into(), "value".into()], rows };
        let heading = "Against the truth".to_owned();
        sections.insert(0, Section { heading, text: String::new(), figures: Vec::new(), table: Some(table) });
    }
    let report = Report {
        title: analysis.title.clone(),
        subtitle: "Sites found, patches cut around them, and what an invariant variational autoencoder learned from the patches.".into(),
        key_numbers: key_numbers(analysis),
        notes: notes(analysis),
        sections,
        parameters: parameters(analysis),
        versions: versions(),
        seed: Some(analysis.trained.options.seed),
        command: command(),
    };
    Ok(report.html()?)
}

fn key_numbers(analysis: &Analysis) -> Vec<(String, String)> {
    let mut numbers = vec![(analysis.detection.sites.len().to_string(), "sites".to_owned())];
    let spacing = analysis.detection.used.lattice.map(|l| l.spacing);
    numbers.extend(spacing.map(|px| match lengths(&analysis.image) {
        Some((_, nm)) => (format!("{:.3} nm", px * nm), "nearest-neighbour spacing".to_owned()),
        None => (format!("{px:.1} px"), "nearest-neighbour spacing".to_owned()),
    }));
    numbers.push((format!("{w} × {w} px", w = analysis.cut.window), "patch".to_owned()));
    let fitted = &analysis.trained.fitted;
    let last = fitted.state.history.get(fitted.epoch.saturating_sub(1));
    if let Some(test) = last.and_then(|e| e.test) {
        numbers.push((format!("{:.1}", test.loss), "−ELBO, nats per held-out patch".to_owned()));
    }
    numbers
}

fn notes(analysis: &Analysis) -> Vec<String> {
    let mut notes = Vec::new();
    if analysis.image.masked_count() > 0 {
        notes.push(format!("{} pixels are NaN or infinite and were masked.", analysis.image.masked_count()));
    }
    if !analysis.image.x().is_calibrated() {
        notes.push(uncalibrated(&analysis.image));
    }
    notes.extend(analysis.detection.notes.iter().cloned());
    if !analysis.cut.left_out.is_empty() {
        notes.push(format!("{}; see left_out.csv.", patches(&analysis.cut)));
    }
    notes
}

/// What to do about a file without pixel size.
pub fn uncalibrated(image: &Image) -> String {
    let unitless = image.metadata.extra.iter().rfind(|(name, _)| name.ends_with(parsimon_io::UNITLESS));
    let hint = match unitless {
        Some((_, scale)) => format!("its pixel is {scale} of an unknown unit: if that is nm, give --pixel {scale}nm"),
        None => "give it with --pixel".to_owned(),
    };
    format!("The file does not say the pixel size, so lengths are in pixels; {hint}.")
}

fn parameters(analysis: &Analysis) -> Vec<(String, String)> {
    let used = &analysis.detection.used;
    let params = analysis.trained.fitted.state.model.params();
    let Params {
        size,
        invariances,
        latent,
        convolutions,
        decoder,
        hidden,
        activation,
        skip,
        noise,
        beta,
        warm_up,
        capacity,
        prior,
        inference,
        centred,
        deterministic: _,
        goal_channels: _,
        condition: _,
        boundary,
    } = params;
    let Options { epochs, batch, learning_rate, pixels, precision, holdout, patience, starts, .. } =
        &analysis.trained.options;
    let stored = if analysis.image.metadata.stored_as.is_empty() { "–" } else { &analysis.image.metadata.stored_as };
    let pixel = |axis: &parsimon_core::Axis| format!("{:.6} {}", axis.scale, axis.unit);
    let (rows, columns) = analysis.image.shape();
    let list = [
        ("image", format!("{rows} × {columns} pixels, stored as {stored}")),
        ("pixel (height, width)", format!("{}, {}", pixel(analysis.image.y()), pixel(analysis.image.x()))),
        ("polarity", format!("{:?}", used.polarity).to_lowercase()),
        ("width σ of atoms searched", format!("{:.2} to {:.2} px", used.sigma.0, used.sigma.1)),
        ("threshold", format!("{:.4}", used.threshold)),
        ("least distance", format!("{:.2} px", used.min_distance)),
        ("background σ", format!("{:.1} px", used.background)),
        ("patch", format!("{} × {} × {}", size.0, size.1, size.2)),
        ("invariances", invariances.to_string()),
        ("content latents", latent.to_string()),
        ("convolutions", if convolutions.is_empty() { "none".into() } else { format!("{convolutions:?}") }),
        ("decoder", if invariances.none() { format!("{decoder:?}") } else { "of coordinates".into() }.to_lowercase()),
        ("hidden layers", format!("{hidden:?}, {activation:?}{}", if *skip { ", with skips" } else { "" })),
        ("likelihood", format!("{noise:?}")),
        ("β", format!("{beta}, risen after {:.0} % of the epochs", 100.0 * warm_up)),
        ("capacity", capacity.map_or("none".into(), |c| format!("{c} nats"))),
        (
            "prior widths",
            format!(
                "angle {} rad, shift {}{} half-widths, ln scale {}; content of {} Gaussian{}",
                prior.angle,
                prior.shift,
                prior.shift_down.map_or(String::new(), |down| format!(", down {down}")),
                prior.scale,
                prior.components,
                if prior.components == 1 { "" } else { "s" }
            ),
        ),
        (
            "pose",
            match inference {
                Inference::Plain => format!("read off the patch, symmetry {}", prior.symmetry),
                Inference::Views(grid) => format!("from views of {grid}, symmetry {}", prior.symmetry),
            },
        ),
        ("boundaries", boundary.as_ref().map_or("cost nothing".into(), boundaries)),
        ("objects sought", if *centred { "yes" } else { "no" }.into()),
        ("epochs, batch, learning rate", format!("{epochs}, {batch}, {learning_rate}")),
        ("pixels of a step", format!("{:.0} %, {precision:?}", 100.0 * pixels)),
        ("held out", format!("{holdout} of the sites, the last ones, which lie lowest in the image")),
        ("patience", patience.map_or("none".into(), |p| p.to_string())),
        ("starts", starts.to_string()),
    ];
    list.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// What boundaries cost, in words.
fn boundaries(cost: &BoundaryCost) -> String {
    let latents = if cost.latents.is_empty() { "the content".to_owned() } else { cost.latents.join(", ") };
    let BoundaryCost { weight, width, rise: (from, until), .. } = cost;
    let rise = format!("rising between {:.0} and {:.0} % of the epochs", 100.0 * from, 100.0 * until);
    format!("in maps of {latents} cost {weight} nats a side, width {width} spreads, {rise}")
}

/// Versions as the lock file of this build has them.
pub fn versions() -> Vec<(String, String)> {
    let lock = include_str!("../../Cargo.lock");
    let version = |name: &str| {
        let entry = lock.split("[[package]]").find(|p| p.contains(&format!("name = \"{name}\"\n")))?;
        entry.lines().find_map(|l| l.strip_prefix("version = ")).map(|v| v.trim_matches('"').to_owned())
    };
    let own = ("parsimon".to_owned(), env!("CARGO_PKG_VERSION").to_owned());
    let libraries = LIBRARIES.iter().filter_map(|name| Some(((*name).to_owned(), version(name)?)));
    std::iter::once(own).chain(libraries).collect()
}

/// The command as it was given, quoted for a shell.
pub fn command() -> String {
    let plain = |c: char| c.is_alphanumeric() || "-_./,=+:@%".contains(c);
    let quote = |word: String| {
        if !word.is_empty() && word.chars().all(plain) { word } else { format!("'{}'", word.replace('\'', "'\\''")) }
    };
    let words: Vec<String> = std::env::args().skip(1).map(quote).collect();
    format!("cargo xtask {}", words.join(" "))
}
