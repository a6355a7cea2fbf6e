//! What a model makes of samples on their way through its latents: `attribute` and `interpolate`.

use anyhow::{Context, Result, ensure};
use dfdx::tensor::Cpu;
use ndarray::{Array1, Array4, Axis, concatenate};
use parsimon_core::Embedding;
use parsimon_ivae::Ivae;
use parsimon_report::figures;

use crate::args::{AttributeArgs, InterpolateArgs};
use crate::code::Encoded;
use crate::output::Output;

pub fn attribute(args: &AttributeArgs) -> Result<()> {
    let out = Output::new(&args.out)?;
    let Encoded { model, latents, labels, .. } = Encoded::of(&args.run, &args.data)?;
    let labels = labels.with_context(|| format!("{}: holds no `labels`", args.data.display()))?;
    ensure!(args.from != args.to, "--from and --to are both {}: there is no way between them", args.to);
    let direction = latents.direction(labels.view(), args.from, args.to)?;
    let of_class = || (0..latents.len()).filter(|i| labels[*i] == args.from);
    let rows: Vec<usize> = if args.rows.is_empty() { of_class().take(ROWS).collect() } else { args.rows.clone() };
    for row in &rows {
        let class = labels.get(*row).copied().unwrap_or(args.from);
        ensure!(class == args.from, "--rows: row {row} is of class {class}, accepted are rows of class {}", args.from);
    }
    let last = (args.steps - 1).max(1) as f32;
    // Beyond either class by a quarter of the way.
    let steps: Vec<f32> = (0..args.steps).map(|i| -0.25 + 1.5 * i as f32 / last).collect();
    let strips: Vec<Embedding> =
        rows.iter().map(|row| latents.along(*row, direction.view(), &steps)).collect::<parsimon_core::Result<_>>()?;
    let label = format!("share of the way from class {} to {}", args.from, args.to);
    draw(&out, &model, &strips, &rows, &steps, &label, "attribute")?;
    let csv: String = latents.content().iter().zip(&direction).map(|(name, d)| format!("{name},{d}\n")).collect();
    out.write("direction.csv", format!("latent,difference\n{csv}").as_bytes())?;
    println!("wrote {}", out.folder().display());
    Ok(())
}

pub fn interpolate(args: &InterpolateArgs) -> Result<()> {
    ensure!(args.rows.len() >= 2, "--rows: two rows and more, such as 3,17, have a way between them");
    let out = Output::new(&args.out)?;
    let Encoded { model, latents, .. } = Encoded::of(&args.run, &args.data)?;
    let strips: Vec<Embedding> = args
        .rows
        .windows(2)
        .map(|pair| latents.between(pair[0], pair[1], args.steps))
        .collect::<parsimon_core::Result<_>>()?;
    let steps: Vec<f32> = (0..args.steps).map(|i| i as f32 / (args.steps - 1).max(1) as f32).collect();
    let rows = &args.rows[..strips.len()];
    draw(&out, &model, &strips, rows, &steps, "share of the way to the next row", "interpolation")?;
    println!("wrote {}", out.folder().display());
    Ok(())
}

/// Samples that are moved if none are named.
const ROWS: usize = 6;

/// Decodes strips of latents, one below the other, and writes the figure, the images and the latents.
fn draw(
    out: &Output,
    model: &Ivae<Cpu>,
    strips: &[Embedding],
    rows: &[usize],
    steps: &[f32],
    label: &str,
    name: &str,
) -> Result<()> {
    let images: Vec<Array4<f32>> = strips.iter().map(|s| model.images(s)).collect::<parsimon_ivae::Result<_>>()?;
    // The figure counts its rows from below.
    let views: Vec<_> = images.iter().rev().map(|i| i.view()).collect();
    let tiles = concatenate(Axis(0), &views)?;
    let steps: Vec<f64> = steps.iter().map(|s| (f64::from(*s) * 100.0).round() / 100.0).collect();
    let rows: Vec<f64> = rows.iter().rev().map(|r| *r as f64).collect();
    let figure = figures::manifold(tiles.view(), &steps, &rows, label, "row of the data", "Decoded on the way")?;
    out.write(&format!("{name}.png"), &figure.png()?)?;
    let images = concatenate(Axis(0), &images.iter().map(|i| i.view()).collect::<Vec<_>>())?;
    parsimon_io::write_npy(&out.path(&format!("{name}.npy")), crate::code::squeezed(images.view()))?;
    out.latents(&format!("{name}.npz"), &joined(strips)?)
}

/// One embedding of the rows of several with the same columns.
fn joined(parts: &[Embedding]) -> Result<Embedding> {
    let len = parts.iter().map(Embedding::len).sum();
    let mut found = Embedding::new(len);
    for column in parts.first().map_or(&[][..], |p| p.columns()) {
        let means: Vec<_> = parts.iter().filter_map(|p| p.get(&column.name)).map(|c| c.mean.view()).collect();
        found.push(&column.name, concatenate(Axis(0), &means)?, None)?;
    }
    let classes: Option<Vec<_>> = parts.iter().map(|p| p.class().map(Array1::view)).collect();
    if let Some(classes) = classes.filter(|c| !c.is_empty()) {
        found.set_class(concatenate(Axis(0), &classes)?)?;
    }
    Ok(found)
}
