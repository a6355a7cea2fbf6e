//! How manifold and latents come about: an animation of a training.

use anyhow::Result;
use dfdx::tensor::Cpu;
use parsimon_ivae::{Examples, Ivae};
use parsimon_report::figures::{self, Colour};
use parsimon_report::{Animation, Figure};

use crate::args::AnimateArgs;
use crate::output::Output;
use crate::{figures as own, train};

/// Half of the span of the latents drawn, in widths of their prior.
const SPAN: f64 = 3.2;

/// How long a frame is shown.
const MILLISECONDS: u16 = 300;

pub fn run(args: &AnimateArgs) -> Result<()> {
    let out = Output::new(&args.train.out)?;
    let labels = parsimon_io::read_dataset(&args.train.data)?.labels.map(|l| l.to_vec());
    let mut frames = Vec::new();
    let _interrupted = train::watched(&args.train, &mut |progress, data| {
        let epoch = progress.state.history.len();
        if epoch == 1 || epoch.is_multiple_of(args.every.max(1)) {
            frames.push(frame(progress.state.shown(), data, labels.as_deref(), epoch)?);
        }
        Ok(())
    })?;
    let animation = Animation::new(&frames, MILLISECONDS)?;
    out.write("training.gif", &animation.gif()?)?;
    out.write("training.png", &animation.apng()?)?;
    println!("wrote {} and {}", out.path("training.gif").display(), out.path("training.png").display());
    Ok(())
}

/// The manifold beside the latents.
fn frame(model: &Ivae<Cpu>, data: &Examples<'_>, labels: Option<&[i64]>, epoch: usize) -> Result<Figure> {
    let latents = model.embedding(data)?;
    let mut panels = own::manifolds(model, &latents)?;
    panels.truncate(1);
    if let (Some(x), Some(y)) = (latents.get("z1"), latents.get("z2")) {
        let colour = labels.map_or(Colour::Density, |class| Colour::Class { class, names: &[] });
        let (x, y) = (x.mean.to_vec(), y.mean.to_vec());
        let title = format!("Latents after {epoch} epochs");
        panels.push(figures::scatter_over([(-SPAN, SPAN); 2], &x, &y, colour, "z1", "z2", &title)?);
    }
    Ok(figures::grid(&[panels], "frame", "", "")?)
}
