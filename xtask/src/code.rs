use anyhow::{Context, Result};
use dfdx::tensor::Cpu;
use parsimon_core::{Normalise, Patches, Scaling};
use parsimon_ivae::{Ivae, ScalingConfig};

use crate::args::{DecodeArgs, EncodeArgs};
use crate::output::writable;

pub fn encode(args: &EncodeArgs) -> Result<()> {
    let (model, config) = Ivae::load(&Cpu::default(), &args.run)?;
    let dataset = parsimon_io::read_dataset(&args.data)?;
    let data = dataset.images.with_context(|| format!("{}: holds no images", args.data.display()))?;
    writable(&args.out)?;
    let latents = model.embedding(&scaled_as_trained(data, &config.scaling)?)?;
    parsimon_io::write_latents(&args.out, &latents)?;
    println!("{}: latents of {} samples", args.out.display(), latents.len());
    Ok(())
}

/// Data in their own units are brought to 0…1 by the range the model was trained with, not by their own.
fn scaled_as_trained(data: Patches, scaling: &ScalingConfig) -> Result<Patches> {
    let channels = data.shape().2;
    if *data.scaling() == Scaling::unit(channels) {
        return Ok(data);
    }
    match scaling.scaling(data.len(), channels) {
        Scaling::PerPatch(_) => Ok(Patches::from_stored(data.stored().view(), Normalise::PerPatch)?),
        Scaling::Global(ranges) if ranges.len() != channels => Ok(data),
        trained @ Scaling::Global(_) => Ok(Patches::new(trained.to_unit(data.stored().view()), trained)?),
    }
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
