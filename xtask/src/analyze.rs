use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};
use ndarray::Array1;
use parsimon_baselines::{OnPatches, Pca, PcaModel};
use parsimon_core::{Axis, Embed, Embedding, Image, Normalise, Scene, Site, Sites};
use parsimon_datasets::{PerovskiteParams, perovskite};
use parsimon_detect::{Detection, Method, Polarity, detect, flattened, neighbour_graph};
use parsimon_io::{read_frame, read_image, read_raw, with_pixel_size, write_sites_csv};
use parsimon_ivae::{Examples, Noise};
use parsimon_patch::{Cut, cut};
use parsimon_report::Figure;

use crate::args::{AnalyzeArgs, CentringArg, MethodArg, NormaliseArg, PolarityArg, TrainingArgs};
use crate::output::Output;
use crate::plan;
use crate::train::{self, Trained};
use crate::{demo, figures, report};

/// Everything an analysis found.
pub struct Analysis {
    pub title: String,
    pub image: Image,
    pub detection: Detection,
    pub cut: Cut,
    pub sites: Sites,
    pub latents: Embedding,
    pub pca: OnPatches<PcaModel>,
    pub components: Embedding,
    pub trained: Trained,
    /// Kind of each site with a patch, if detection told kinds apart, and their names.
    pub kinds: Option<(Vec<i64>, Vec<String>)>,
    /// Class of each site with a patch, the true one if it is known, and the names of the classes, if there are classes.
    pub class: Option<(Vec<i64>, Vec<String>)>,
    /// Scores against the truth, if it is known.
    pub scores: Vec<demo::Score>,
}

/// Components of the PCA beside the VAE.
const COMPONENTS: usize = 6;

/// Prior width of the angle in rad: within one micrograph a crystal turns by a few degrees.
const ANGLE: f32 = 0.1;

/// Steps of the optimiser that a small model needs; few patches are passed over more often.
const STEPS: usize = 1200;

pub fn run(args: &AnalyzeArgs) -> Result<()> {
    let out = Output::new(&args.out)?;
    let (title, image, scene) = input(args)?;
    if image.masked_count() > 0 {
        println!("{} pixels are NaN or infinite and masked", image.masked_count());
    }
    if !args.demo && !image.x().is_calibrated() {
        println!("note: {}", report::uncalibrated(&image));
    }
    check(args, &image).with_context(|| title.clone())?;
    let mut detection = detect(&image, &detection_params(args)).with_context(|| title.clone())?;
    if let Some(frame) = args.frame {
        let of_frame = detection.sites.iter().map(|s| Site { frame, ..*s });
        detection.sites = Sites::new(of_frame.collect())?;
    }
    println!("{}", found(&detection));
    for note in &detection.notes {
        println!("note: {note}");
    }
    let normalise = match args.normalise {
        NormaliseArg::Global => Normalise::Global,
        NormaliseArg::Patch => Normalise::PerPatch,
    };
    let cutting = parsimon_patch::Params { window: args.window, normalise };
    let flat = if args.flatten { Some(flattened(&image, flat_sigma(&detection))?) } else { None };
    let source = flat.as_ref().unwrap_or(&image);
    let cut = cut(std::slice::from_ref(source), &detection.sites, &cutting).with_context(|| title.clone())?;
    println!("{}", patches(&cut));

    let data = &cut.patches;
    let components = COMPONENTS.min(data.len() - 1).min(cut.window * cut.window).max(1);
    // Patches that vary along fewer directions than asked for have fewer components.
    let fitted = (1..=components).rev().find_map(|components| Pca::params(components).fit_patches(data).ok());
    let pca = fitted.with_context(|| format!("{title}: all patches are alike"))?;
    let scores_of_pca = pca.embed(data).map_err(|e| anyhow::anyhow!(e))?;

    let rows = data.len();
    let batch = (rows / 30).clamp(8, 100);
    let epochs = (STEPS * batch).div_ceil(rows).clamp(40, 200);
    let options = plan::options(&args.training, rows, epochs, batch, 2);
    // The neighbours in the patch of an atom are no object to be sought.
    let centring = Some(args.training.centring.unwrap_or(CentringArg::Off));
    let training = TrainingArgs { centring, ..args.training.clone() };
    let params = plan::params(&training, data, data.scaling(), Noise::GaussianLearned, Some(ANGLE))?;
    let run = out.sub("run");
    let sites = detection.sites.select(&cut.kept);
    let kinds = classes(&detection, &cut);
    let graph = neighbour_graph(&sites, kinds.as_ref().map(|(kind, _)| kind.as_slice()))?;
    let examples = Examples::from(data).beside(&graph);
    let trained = train::fit(&examples, &params, options, &run, false, &mut |_, _| Ok(()))?;
    println!("{}", trained.summary());

    let latents = trained.fitted.state.model.embedding(data)?;
    let mut analysis = Analysis {
        title,
        class: kinds.clone(),
        kinds,
        image,
        detection,
        cut,
        sites,
        latents,
        pca,
        components: scores_of_pca,
        trained,
        scores: Vec::new(),
    };
    if let Some(scene) = &scene {
        demo::score(&mut analysis, scene)?;
    }
    let figures = figures::all(&analysis)?;
    out.all_or_none(|out| write(&analysis, &figures, out))?;
    remove_stale(&out.sub("figures"), &figures)?;
    for score in &analysis.scores {
        println!("{}: {}", score.name, score.value);
    }
    println!("wrote {}", out.path("index.html").display());
    Ok(())
}

/// Refuses what cannot come to a good end, before any work.
fn check(args: &AnalyzeArgs, image: &Image) -> Result<()> {
    parsimon_patch::check_window(args.window.unwrap_or(3), image.shape())?;
    Ok(plan::options(&args.training, usize::MAX, 60, 1, 1).check_ranges()?)
}

/// The image to analyse, its name, and its truth if it is the demo.
fn input(args: &AnalyzeArgs) -> Result<(String, Image, Option<Scene>)> {
    let Some(file) = args.file.as_deref().filter(|_| !args.demo) else {
        let scene = perovskite(&PerovskiteParams { seed: args.training.seed, ..PerovskiteParams::default() })?;
        return Ok(("Demo: a ferroelectric perovskite".to_owned(), scene.image.clone(), Some(scene)));
    };
    let mut image = match (&args.raw, args.frame) {
        (Some(layout), _) => read_raw(file, layout)?,
        (None, Some(frame)) => read_frame(file, frame)?,
        (None, None) => read_image(file)?,
    };
    if let Some(pixel) = &args.pixel {
        image = with_pixel_size(&image, pixel.size, &pixel.unit)?;
    }
    let name = file.file_name().unwrap_or(file.as_os_str());
    Ok((Path::new(name).display().to_string(), image, None))
}

fn detection_params(args: &AnalyzeArgs) -> parsimon_detect::Params {
    let pair = |s: &[f64]| s.first().map(|&low| (low, s.last().copied().unwrap_or(low)));
    parsimon_detect::Params {
        method: match args.method {
            MethodArg::Log => Method::LogBlobs,
            MethodArg::Maxima => Method::Maxima,
        },
        polarity: match args.polarity {
            PolarityArg::Auto => Polarity::Auto,
            PolarityArg::Bright => Polarity::Bright,
            PolarityArg::Dark => Polarity::Dark,
        },
        sigma: args.sigma.as_deref().and_then(pair),
        threshold: args.threshold,
        min_distance: args.min_distance,
        ..parsimon_detect::Params::default()
    }
}

/// Width of the Gaussian whose blur `--flatten` takes away: twice what detection removes, so that the contrast between
/// neighbouring atoms stays.
fn flat_sigma(detection: &Detection) -> f64 {
    let used = &detection.used;
    if used.background > 0.0 { 2.0 * used.background } else { 8.0 * used.sigma.1 }
}

/// What detection came to, in a line.
pub fn found(detection: &Detection) -> String {
    let polarity = if detection.used.polarity == Polarity::Dark { "dark" } else { "bright" };
    let failed = match detection.failed {
        0 => String::new(),
        n => format!("; {n} could not be refined and keep the position of the detection"),
    };
    let classes = detection.classes.as_ref().map_or(String::new(), |c| {
        let [weak, strong] = c.counts;
        format!("; two kinds told apart: {strong} strong, {weak} weak")
    });
    format!("{} {polarity} sites{classes}{failed}", detection.sites.len())
}

/// What cutting came to, in a line.
pub fn patches(cut: &Cut) -> String {
    let mut reasons: BTreeMap<String, usize> = BTreeMap::new();
    for (_, reason) in &cut.left_out {
        *reasons.entry(reason.to_string()).or_default() += 1;
    }
    let left_out: Vec<String> = reasons.iter().map(|(reason, n)| format!("{n} left out, {reason}")).collect();
    let left_out = if left_out.is_empty() { "none left out".to_owned() } else { left_out.join("; ") };
    let sites = cut.kept.len() + cut.left_out.len();
    format!("{} of these {sites} have a patch of {w}×{w} pixels; {left_out}", cut.kept.len(), w = cut.window)
}

/// Strong and weak sites, where intensities tell two kinds apart.
fn classes(detection: &Detection, cut: &Cut) -> Option<(Vec<i64>, Vec<String>)> {
    let classes = detection.classes.as_ref()?;
    let class = cut.kept.iter().filter_map(|&s| classes.class.get(s)).map(|&c| c as i64).collect();
    Some((class, vec!["weak sites".to_owned(), "strong sites".to_owned()]))
}

fn write(analysis: &Analysis, figures: &BTreeMap<String, Figure>, out: &Output) -> Result<()> {
    let html = report::html(analysis, figures)?;
    let folder = out.sub("figures");
    for figure in figures.values() {
        folder.write(&format!("{}.png", figure.name), &figure.png()?)?;
    }
    analysis.trained.write(&(&analysis.cut.patches).into(), &out.sub("run"))?;
    out.latents("latents.npz", &analysis.latents)?;
    out.latents("pca.npz", &analysis.components)?;
    let mut extra: Vec<(String, Vec<f64>)> = Vec::new();
    let (y, x) = (analysis.image.y(), analysis.image.x());
    let places = |axis: &Axis, of: fn(&Site) -> f64| -> Option<Vec<f64>> {
        analysis.sites.iter().map(|site| axis.nanometres_at(of(site))).collect()
    };
    if let (Some(y), Some(x)) = (places(y, |s| s.y), places(x, |s| s.x)) {
        extra.extend([("y_nm".to_owned(), y), ("x_nm".to_owned(), x)]);
    }
    if let Some((class, _)) = &analysis.class {
        extra.push(("class".into(), class.iter().map(|&c| c as f64).collect()));
    }
    let extra: Vec<(&str, &[f64])> = extra.iter().map(|(name, values)| (name.as_str(), values.as_slice())).collect();
    write_sites_csv(&out.path("sites.csv"), &analysis.sites, &extra)?;
    out.write("left_out.csv", left_out(analysis).as_bytes())?;
    out.write("index.html", html.as_bytes())
}

/// Removes maps of an earlier analysis that this one does not draw.
fn remove_stale(folder: &Output, drawn: &BTreeMap<String, Figure>) -> Result<()> {
    for entry in std::fs::read_dir(folder.folder())?.flatten() {
        let path = entry.path();
        let stem = path.file_stem().and_then(|s| s.to_str()).unwrap_or_default();
        let map = path.extension().is_some_and(|e| e == "png") && stem.starts_with("map_");
        if map && !drawn.contains_key(stem) {
            std::fs::remove_file(&path).with_context(|| format!("{}: cannot remove", path.display()))?;
        }
    }
    Ok(())
}

/// Pixel height and width in nm, if the image says them.
pub fn lengths(image: &Image) -> Option<(f64, f64)> {
    Some((image.y().nanometres()?, image.x().nanometres()?))
}

fn left_out(analysis: &Analysis) -> String {
    let mut text = "frame,y,x,reason\n".to_owned();
    for (site, reason) in &analysis.cut.left_out {
        if let Some(s) = analysis.detection.sites.as_slice().get(*site) {
            text.push_str(&format!("{},{},{},{reason}\n", s.frame, s.y, s.x));
        }
    }
    text
}

/// A column as a plain array, for figures and scores.
pub fn column(embedding: &Embedding, name: &str) -> Result<Array1<f32>> {
    Ok(embedding.column(name)?.mean.clone())
}
