use anyhow::{Context, Result};
use dfdx::tensor::Cpu;
use parsimon_core::{Normalise, Patches, Range, Scaling};
use parsimon_ivae::{Condition, Examples, Ivae, ScalingConfig};

use crate::args::{DecodeArgs, EncodeArgs};
use crate::output::writable;

pub fn encode(args: &EncodeArgs) -> Result<()> {
    let (model, config) = Ivae::load(&Cpu::default(), &args.run)?;
    let dataset = parsimon_io::read_dataset(&args.data)?;
    let data = dataset.images.with_context(|| format!("{}: holds no images", args.data.display()))?;
    writable(&args.out)?;
    let (data, note) = scaled_as_trained(data, &config.scaling)?;
    if let Some(note) = note {
        println!("note: {note}");
    }
    let Condition { classes, factors } = &model.params().condition;
    let labels = dataset.labels.as_ref().filter(|_| *classes > 0).map(|l| l.view());
    let factors = dataset.targets.as_ref().filter(|_| !factors.is_empty()).map(|f| f.view());
    let latents = model
        .embedding(Examples::conditioned(&data, labels, factors))
        .with_context(|| args.data.display().to_string())?;
    parsimon_io::write_latents(&args.out, &latents)?;
    println!("{}: latents of {} samples", args.out.display(), latents.len());
    Ok(())
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
        _ if unit => {
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
    writable(&args.out)?;
    let images = model.images(&latents).with_context(|| format!("{}", args.latents.display()))?;
    let single = images.dim().3 == 1;
    let shape = images.dim();
    let view = if single { images.index_axis(ndarray::Axis(3), 0).into_dyn() } else { images.view().into_dyn() };
    parsimon_io::write_npy(&args.out, view)?;
    println!("{}: {} images of {}×{} pixels", args.out.display(), shape.0, shape.1, shape.2);
    Ok(())
}
