use std::path::Path;

use anyhow::{Context, Result};
use dfdx::tensor::Cpu;
use ndarray::{Array1, Array2, ArrayView4, ArrayViewD, Axis};
use parsimon_core::{Embedding, Normalise, Patches, Range, Scaling};
use parsimon_ivae::{Condition, Examples, Ivae, Outside, ScalingConfig};

use crate::args::{DecodeArgs, EncodeArgs, TranslateArgs};
use crate::output::writable_beside;

pub fn encode(args: &EncodeArgs) -> Result<()> {
    writable_beside(&args.out, &args.data)?;
    let encoded = Encoded::of(&args.run, &args.data)?;
    let mut latents = encoded.latents.clone();
    if let Some(most) = args.modes {
        for mode in encoded.model.modes(encoded.examples(), most)?.columns() {
            latents.push(&mode.name, mode.mean.clone(), None)?;
        }
    }
    parsimon_io::write_latents(&args.out, &latents)?;
    println!("{}: latents of {} samples", args.out.display(), latents.len());
    Ok(())
}

pub fn translate(args: &TranslateArgs) -> Result<()> {
    writable_beside(&args.out, &args.data)?;
    let Encoded { model, latents, .. } = Encoded::of(&args.run, &args.data)?;
    let images = model.images(&latents)?;
    parsimon_io::write_npy(&args.out, squeezed(images.view()))?;
    println!("{}: {}", args.out.display(), images_in_words(images.dim()));
    Ok(())
}

fn images_in_words((n, height, width, _): (usize, usize, usize, usize)) -> String {
    if height == 1 {
        format!("{n} spectra of {width} channels, values from 0 to 1")
    } else {
        format!("{n} images of {height}×{width} pixels, values from 0 to 1")
    }
}

/// Share of rows outside of the training data that is worth a warning: one in a hundred of those trained on lies there too,
/// and some more of those held out.
const MANY_OUTSIDE: f32 = 0.2;

/// Data as a trained model sees them.
pub struct Encoded {
    pub model: Ivae<Cpu>,
    pub latents: Embedding,
    /// Labels of the data, whether or not the model is told them.
    pub labels: Option<Array1<i64>>,
    data: Patches,
    targets: Option<Array2<f32>>,
}

impl Encoded {
    /// Those of a file by the model in a run directory.
    pub fn of(run: &Path, path: &Path) -> Result<Self> {
        let (model, config) = Ivae::load(&Cpu::default(), run)?;
        let mut dataset = parsimon_io::read_dataset(path)?;
        // Of pairs, what the model was trained with.
        if dataset.spectra.is_some() && config.params.size.0 == 1 {
            dataset.images = None;
        }
        let data = dataset.samples_as_patches().with_context(|| path.display().to_string())?.into_owned();
        (dataset.images, dataset.spectra) = (None, None);
        let (data, note) = scaled_as_trained(data, &config.scaling)?;
        if let Some(note) = note {
            println!("note: {note}");
        }
        let (labels, targets, latents) = (dataset.labels, dataset.targets, Embedding::new(data.len()));
        let mut encoded = Self { model, latents, labels, data, targets };
        let examples = encoded.examples();
        let latents = encoded.model.embedding(&examples).with_context(|| path.display().to_string())?;
        if let Some(usual) = &config.usual
            && let Some(Outside { share, times }) = usual.outside(&encoded.model, &examples, &latents)?
            && share > MANY_OUTSIDE
        {
            println!(
                "warning: {:.0} % of the rows are explained worse than 99 % of those trained on, the median {times:.1} \
                 times as far off as usual: they lie outside of what the model has seen",
                100.0 * share
            );
        }
        encoded.latents = latents;
        Ok(encoded)
    }

    /// The data with what the model is told of them.
    pub fn examples(&self) -> Examples<'_> {
        let Condition { classes, factors } = &self.model.params().condition;
        let labels = self.labels.as_ref().filter(|_| *classes > 0).map(|l| l.view());
        let factors = self.targets.as_ref().filter(|_| !factors.is_empty()).map(|f| f.view());
        Examples::conditioned(&self.data, labels, factors)
    }
}

/// Images as they are written: N×H×W if they have one channel, N×L if they are spectra.
pub fn squeezed(images: ArrayView4<'_, f32>) -> ArrayViewD<'_, f32> {
    let (_, height, _, channels) = images.dim();
    if channels > 1 {
        return images.into_dyn();
    }
    let images = images.index_axis_move(Axis(3), 0);
    if height == 1 { images.index_axis_move(Axis(1), 0).into_dyn() } else { images.into_dyn() }
}

/// Data in their own units are brought to 0…1 by the range the model was trained with, not by their own; and what a user
/// should know of that.
fn scaled_as_trained(data: Patches, scaling: &ScalingConfig) -> Result<(Patches, Option<String>)> {
    let channels = data.shape().2;
    let trained = scaling.scaling(data.len(), channels);
    let unit = *data.scaling() == Scaling::unit(channels);
    match trained {
        Scaling::PerPatch(_) => Ok((Patches::from_stored(data.stored().view(), Normalise::PerPatch)?, None)),
        Scaling::Global(ranges) if ranges.len() != channels => Ok((data, None)),
        _ if unit && trained == Scaling::unit(channels) => Ok((data, None)),
        // Spectra lie about 0…1 more often than not, whatever their units.
        _ if unit && data.shape().0 > 1 => {
            let note = format!("all values lie in 0…1: taken as scaled already, not as {}", spelt(&trained, channels));
            Ok((data, Some(note)))
        }
        _ => {
            let stored = data.stored();
            let outside = |(_, _, _, channel): (usize, usize, usize, usize), value: f64| {
                let Range { low, high } = trained.range(0, channel);
                // What a file in single precision loses does not count.
                let slack = 1e-6 * (high - low);
                value < low - slack || value > high + slack
            };
            let limited = stored.indexed_iter().filter(|(place, value)| outside(*place, **value)).count();
            let share = 100.0 * limited as f64 / stored.len() as f64;
            let note = format!("{share:.2} % of the values lie outside {} and are cut off", spelt(&trained, channels));
            Ok((Patches::new(trained.to_unit(stored.view()), trained)?, (limited > 0).then_some(note)))
        }
    }
}

/// The range a model was trained on, in words; one for each channel.
fn spelt(trained: &Scaling, channels: usize) -> String {
    let number =
        |v: f64| if v != 0.0 && !(1e-3..1e6).contains(&v.abs()) { format!("{v:.3e}") } else { format!("{v:.4}") };
    let ranges = (0..channels).map(|channel| trained.range(0, channel));
    let ranges: Vec<String> = ranges.map(|r| format!("{} to {}", number(r.low), number(r.high))).collect();
    format!("the {} the model was trained on", ranges.join(", "))
}

pub fn decode(args: &DecodeArgs) -> Result<()> {
    let (model, _) = Ivae::load(&Cpu::default(), &args.run)?;
    let latents = parsimon_io::read_latents(&args.latents)?;
    writable_beside(&args.out, &args.latents)?;
    let images = model.images(&latents).with_context(|| format!("{}", args.latents.display()))?;
    parsimon_io::write_npy(&args.out, squeezed(images.view()))?;
    println!("{}: {}", args.out.display(), images_in_words(images.dim()));
    Ok(())
}
