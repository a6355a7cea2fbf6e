//! How manifold and latents come about: an animation of a training.

use anyhow::Result;
use dfdx::tensor::Cpu;
use parsimon_ivae::{Examples, Ivae};
use parsimon_report::figures::{self, Colour};
use parsimon_report::{Animation, Figure};
use parsimon_train::{Progress, State};

use crate::args::AnimateArgs;
use crate::output::Output;
use crate::{figures as own, train};

/// The file of an animation.
pub const ANIMATION: &str = "training.gif";

/// How long a frame is shown.
const MILLISECONDS: u16 = 300;

pub fn run(args: &AnimateArgs) -> Result<()> {
    let out = Output::new(&args.train.out)?;
    let labels = parsimon_io::read_dataset(&args.train.data)?.labels.map(|l| l.to_vec());
    let mut recorder = Recorder::new(args.every);
    let _interrupted = train::watched(&args.train, &mut |progress, data| recorder.see(progress, data))?;
    if recorder.is_empty() {
        println!("no frame is due in the epochs that were trained");
        return Ok(());
    }
    recorder.write(labels.as_deref(), &out)
}

/// What a training looked like on its way.
pub struct Recorder {
    /// Epochs between two frames.
    every: usize,
    seen: Vec<Seen>,
}

impl Recorder {
    pub fn new(every: usize) -> Self {
        Self { every: every.max(1), seen: Vec::new() }
    }

    /// Whether nothing was seen.
    pub fn is_empty(&self) -> bool {
        self.seen.is_empty()
    }

    /// Looks at the model, if it is time.
    pub fn see(&mut self, progress: &Progress<'_, Ivae<Cpu>>, data: &Examples<'_>) -> Result<()> {
        let epoch = progress.state.history.len();
        if epoch == 1 || epoch.is_multiple_of(self.every) {
            self.seen.push(Seen::of(progress.state, data, epoch)?);
        }
        Ok(())
    }

    /// Writes training.gif and training.png (APNG), of several starts the one that was trained on.
    pub fn write(mut self, labels: Option<&[i64]>, out: &Output) -> Result<()> {
        let chosen = self.seen.last().map(|seen| seen.start);
        self.seen.retain(|seen| Some(seen.start) == chosen);
        // One range for all frames, or the axes would jump.
        let limits = [range(self.seen.iter().flat_map(|s| &s.x)), range(self.seen.iter().flat_map(|s| &s.y))];
        let frames = self.seen.into_iter().map(|s| s.frame(labels, limits)).collect::<Result<Vec<_>>>()?;
        let animation = Animation::new(&frames, MILLISECONDS)?;
        out.write(ANIMATION, &animation.gif()?)?;
        out.write("training.png", &animation.apng()?)?;
        println!("wrote {} and {}", out.path(ANIMATION).display(), out.path("training.png").display());
        Ok(())
    }
}

/// A little more than all values cover.
fn range<'a>(values: impl Iterator<Item = &'a f32>) -> (f64, f64) {
    let ends = |(low, high): (f64, f64), v: &f32| (low.min(f64::from(*v)), high.max(f64::from(*v)));
    let (low, high) = values.fold((f64::INFINITY, f64::NEG_INFINITY), ends);
    let room = 0.04 * (high - low) + 1e-3;
    if low <= high { (low - room, high + room) } else { (-1.0, 1.0) }
}

/// What a model makes of the data after an epoch.
struct Seen {
    /// Which of several starts.
    start: usize,
    epoch: usize,
    manifold: Figure,
    /// z1 and z2 of the data; empty with a single one.
    x: Vec<f32>,
    y: Vec<f32>,
}

impl Seen {
    fn of(state: &State<Ivae<Cpu>>, data: &Examples<'_>, epoch: usize) -> Result<Self> {
        let model = state.shown();
        let latents = model.embedding(data)?;
        let manifold = own::manifolds(model, &latents)?.swap_remove(0);
        let column = |name: &str| latents.get(name).map(|c| c.mean.to_vec());
        let (x, y) = column("z1").zip(column("z2")).unwrap_or_default();
        Ok(Self { start: state.start, epoch, manifold, x, y })
    }

    /// The manifold beside the latents.
    fn frame(self, labels: Option<&[i64]>, limits: [(f64, f64); 2]) -> Result<Figure> {
        let mut panels = vec![self.manifold];
        if !self.x.is_empty() {
            let colour = labels.map_or(Colour::Density, |class| Colour::Class { class, names: &[] });
            let title = format!("Latents after epoch {}", self.epoch);
            panels.push(figures::scatter_over(limits, &self.x, &self.y, colour, "z1", "z2", &title)?);
        }
        Ok(figures::grid(&[panels], "frame", "", "")?)
    }
}
