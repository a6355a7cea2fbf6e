use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use anyhow::{Context, Result, bail, ensure};
use dfdx::tensor::Cpu;
use parsimon_core::{Patches, Range, Scaling, Spectra};
use parsimon_ivae::{
    Condition, Config, Examples, Inference, Invariances, Ivae, Noise, Params, Prior, Usual, load_config,
};
use parsimon_nets::Precision;
use parsimon_train::{Bar, Fitted, Options, State, load_checkpoint, save_checkpoint, write_history};

use crate::args::{ConditionArg, InferenceArg, LikelihoodArg, ModelArg, PrecisionArg, TrainArgs, TrainingArgs};
use crate::figures;
use crate::output::Output;
use crate::{FINISHES, STOP};

/// Epochs between two checkpoints.
const CHECKPOINT_EVERY: usize = 10;

/// Subdirectory of a run that holds the checkpoint, apart from the results of an earlier, finished training.
const CHECKPOINT: &str = "checkpoint";

/// Where the checkpoint of an earlier training waits for the end of a new one.
const EARLIER: &str = "checkpoint.earlier";

/// A trained model, and what its run directory will hold.
pub struct Trained {
    pub fitted: Fitted<Ivae<Cpu>>,
    pub options: Options,
}

/// The narrowest prior width of the angle, in rad, with which views are taken unasked: none is trapped within less.
const WIDE: f32 = 0.5;

/// Parameters of a model of these data as the command line gives them; `noise` and `angle` are the defaults of the
/// likelihood and of the angle's prior width, that of the inference if there is none.
pub fn params(args: &TrainingArgs, data: &Patches, noise: Noise, angle: Option<f32>) -> Result<Params> {
    let base = Prior::default();
    let angle = args.prior_angle.or(angle);
    let can = args.invariances().rotation && args.convolutions.is_empty();
    let usual = if can && (angle.is_none_or(|a| a >= WIDE) || args.symmetry != 1) {
        InferenceArg::Views
    } else {
        InferenceArg::Plain
    };
    let (inference, free) = match args.inference.unwrap_or(usual) {
        InferenceArg::Plain => (Inference::Plain, base.angle),
        InferenceArg::Views => (Inference::Views(args.views), f32::INFINITY),
    };
    let prior = Prior {
        angle: angle.unwrap_or(free),
        symmetry: args.symmetry,
        shift: args.prior_shift.unwrap_or(base.shift),
        scale: args.prior_scale.unwrap_or(base.scale),
    };
    let noise = match args.likelihood {
        Some(LikelihoodArg::Counts) => Noise::Poisson(counts(data.scaling())?),
        Some(LikelihoodArg::Known(noise)) => {
            if let Noise::Poisson(_) = noise {
                from_zero(data.scaling())?;
            }
            noise
        }
        None => noise,
    };
    Ok(Params {
        size: data.shape(),
        invariances: args.invariances(),
        latent: args.latent,
        convolutions: args.convolutions.clone(),
        hidden: args.hidden.clone(),
        activation: args.activation.into(),
        skip: args.skip,
        noise,
        beta: args.beta,
        warm_up: args.warm_up,
        capacity: args.capacity,
        prior,
        inference,
        deterministic: false,
        goal_channels: None,
        condition: Condition::default(),
    })
}

/// What 1 stands for in data of one range from 0 on.
fn from_zero(scaling: &Scaling) -> Result<f64> {
    let high = match scaling {
        Scaling::Global(ranges) => {
            let first = ranges.first().copied().unwrap_or(Range::UNIT);
            (first.low == 0.0 && ranges.iter().all(|r| *r == first)).then_some(first.high)
        }
        Scaling::PerPatch(_) => None,
    };
    high.context(
        "--likelihood poisson needs data in which 0 stands for no counts: one range from 0 on for all patches and channels, \
         which an NPZ may give as `images_low` and `images_high`",
    )
}

/// What 1 stands for in data that are counts.
fn counts(scaling: &Scaling) -> Result<f32> {
    let high = from_zero(scaling)?;
    ensure!(
        high > 1.0,
        "--likelihood poisson: the data go from 0 to {high}, which does not say how many counts they hold; give \
         poisson=COUNTS, the counts of the largest value"
    );
    Ok(high as f32)
}

/// Rows of a step that decodes some pixels only, and of one that decodes all: a step of few pixels is noisy and cheap, so
/// that more and larger steps go further in a second.
const BATCH: (usize, usize) = (50, 100);

/// Step sizes of the same.
const RATE: (f32, f32) = (2e-3, 1e-3);

/// Options of training as the command line gives them; `batch` limits the default batch.
pub fn options(args: &TrainingArgs, rows: usize, epochs: usize, batch: usize, starts: usize) -> Options {
    let base = Options::default();
    let trained = rows - (rows as f64 * args.holdout.clamp(0.0, 1.0)) as usize;
    let epochs = args.epochs.unwrap_or(epochs);
    // One epoch leaves none after the choice among several starts.
    let starts = args.starts.unwrap_or(if epochs == 1 { 1 } else { starts });
    let some = !args.exact && args.pixels < 1.0 && !args.invariances().none();
    let usual = if some { BATCH.0 } else { BATCH.1 };
    let batch = args.batch.unwrap_or(usual.min(batch).min(trained.div_ceil(10)).max(1));
    // Small batches are noisy too, and do not bear the larger steps.
    let rate = if some { (RATE.0 * batch as f32 / BATCH.0 as f32).clamp(RATE.1, RATE.0) } else { RATE.1 };
    Options {
        epochs,
        batch,
        learning_rate: args.lr.unwrap_or(rate),
        settle: args.settle,
        average: args.average,
        pixels: if args.exact { 1.0 } else { args.pixels },
        precision: match args.precision {
            PrecisionArg::F32 => Precision::F32,
            PrecisionArg::Bf16 => Precision::Bf16,
        },
        seed: args.seed,
        holdout: args.holdout,
        patience: args.patience,
        starts,
        start_epochs: if starts > 1 {
            base.start_epochs.min(epochs.saturating_sub(1).max(1))
        } else {
            base.start_epochs
        },
    }
}

/// Trains with a progress bar and checkpoints in the run directory.
pub fn fit(data: &Examples<'_>, params: &Params, options: Options, run: &Output, resume: bool) -> Result<Trained> {
    let device = Cpu::default();
    let config = Config::new(params, &options, data.patches().scaling());
    let state = if resume { Some(resumed(&device, &config, run)?) } else { None };
    let checkpoint = run.sub(CHECKPOINT);
    let mut earlier = Earlier::new(run);
    let mut fresh = !resume;
    let mut save = |state: &State<Ivae<Cpu>>| -> Result<()> {
        if std::mem::take(&mut fresh) {
            earlier.set_aside()?;
        }
        checkpoint.write("config.toml", config.toml()?.as_bytes())?;
        Ok(save_checkpoint(state, checkpoint.folder())?)
    };
    let bar = Bar::new("training", &STOP);
    FINISHES.store(true, Ordering::Relaxed);
    let mut failure = None;
    let fitted = parsimon_ivae::train(&device, params, data, &options, state, |progress| {
        let flow = bar.show(progress);
        let epochs = progress.state.history.len();
        let due = epochs.is_multiple_of(CHECKPOINT_EVERY) || epochs == options.epochs || flow.is_break();
        if due && let Err(error) = save(progress.state) {
            failure = Some(error);
            return std::ops::ControlFlow::Break(());
        }
        flow
    });
    drop(bar);
    FINISHES.store(false, Ordering::Relaxed);
    let fitted = match failure {
        Some(error) => Err(error.context("the checkpoint could not be written")),
        None => fitted.map_err(Into::into),
    };
    match fitted {
        Ok(fitted) => {
            earlier.remove()?;
            Ok(Trained { fitted, options })
        }
        Err(error) => {
            if let Err(also) = earlier.put_back() {
                eprintln!("warning: {also:#}");
            }
            Err(error)
        }
    }
}

/// The checkpoint of an earlier training, which is given up only when a new one has come to its end.
struct Earlier {
    checkpoint: PathBuf,
    aside: PathBuf,
    is_aside: bool,
}

impl Earlier {
    fn new(run: &Output) -> Self {
        Self { checkpoint: run.path(CHECKPOINT), aside: run.path(EARLIER), is_aside: false }
    }

    /// One that is aside already belongs to the results in the directory: a training that was killed left it there.
    fn set_aside(&mut self) -> Result<()> {
        if self.aside.exists() {
            self.give_up(&self.checkpoint)?;
        } else if self.checkpoint.exists() {
            std::fs::rename(&self.checkpoint, &self.aside).with_context(|| self.wrong())?;
        }
        self.is_aside = self.aside.exists();
        Ok(())
    }

    fn put_back(&self) -> Result<()> {
        if self.is_aside {
            self.give_up(&self.checkpoint)?;
            std::fs::rename(&self.aside, &self.checkpoint).with_context(|| self.wrong())?;
        }
        Ok(())
    }

    fn remove(&self) -> Result<()> {
        self.give_up(&self.aside)
    }

    fn give_up(&self, folder: &Path) -> Result<()> {
        if folder.exists() {
            std::fs::remove_dir_all(folder).with_context(|| self.wrong())?;
        }
        Ok(())
    }

    fn wrong(&self) -> String {
        format!("{}: cannot replace the checkpoint of an earlier training", self.checkpoint.display())
    }
}

/// Where the checkpoint of a run stands, if it was made with the same options but for the epochs.
fn resumed(device: &Cpu, config: &Config, run: &Output) -> Result<State<Ivae<Cpu>>> {
    let (folder, checkpoint) = (run.folder().display(), run.path(CHECKPOINT));
    let then = load_config(&checkpoint).with_context(|| format!("{folder}: nothing to resume"))?;
    let Config { training: now, .. } = config;
    ensure!(now.patience.is_none(), "{folder}: a checkpoint does not hold the best model, which --patience needs");
    ensure!(then.scaling == config.scaling, "{folder}: it was trained on data of another scaling");
    let same = Config { training: Options { epochs: now.epochs, ..then.training.clone() }, ..then };
    let others = others(&same.toml()?, &config.toml()?);
    ensure!(others.is_empty(), "{folder}: it was trained with {others}; give the same to resume, but for the epochs");
    let model = Ivae::from_config(device, config)?;
    let state = load_checkpoint(model, &checkpoint)?;
    let done = state.history.len();
    ensure!(now.starts == 1 || done >= now.start_epochs, "{folder}: stopped before a start was chosen; begin anew");
    ensure!(done < now.epochs, "{folder}: {done} epochs are done already; give more --epochs to go on");
    Ok(state)
}

/// Lines of a configuration that another has not, their version aside.
fn others(then: &str, now: &str) -> String {
    let lines = then.lines().filter(|line| !line.starts_with("version") && !now.lines().any(|other| other == *line));
    lines.collect::<Vec<_>>().join(", ")
}

impl Trained {
    /// Writes the run directory: model, configuration, history, latents and manifold.
    pub fn write(&self, data: &Examples<'_>, run: &Output) -> Result<()> {
        let model = &self.fitted.state.model;
        let mut history = Vec::new();
        write_history(&mut history, &self.fitted.state.history)?;
        let latents = model.embedding(data)?;
        let manifolds = figures::manifolds(model, &latents)?;
        let config = Config::new(model.params(), &self.options, data.patches().scaling());
        let trained = self.options.check(latents.len())?.train;
        let config = Config { usual: Usual::of(model, data, &latents, trained)?, ..config };
        for (name, bytes) in model.files(&config)? {
            run.write(name, &bytes)?;
        }
        run.write("history.csv", &history)?;
        for figure in manifolds {
            run.write(&format!("{}.png", figure.name), &figure.png()?)?;
        }
        run.latents("latents.npz", &latents)
    }

    /// What training came to, in a line.
    pub fn summary(&self) -> String {
        let Fitted { state, epoch, starts, interrupted } = &self.fitted;
        let Some(last) = state.history.get(epoch.saturating_sub(1)) else { return "no epoch was trained".into() };
        let held_out = last.test.map_or(String::new(), |t| {
            format!(", held out {:.2} (reconstruction {:.2}, KL {:.2})", t.loss, t.reconstruction, t.kl)
        });
        let chosen = if starts.is_empty() { String::new() } else { format!(", best of {} starts", starts.len()) };
        let stopped = if *interrupted { ", stopped by Ctrl-C" } else { "" };
        let seconds = state.history.last().map_or(0.0, |e| e.seconds);
        format!(
            "epoch {epoch}: −ELBO {:.2}{held_out} nats, {seconds:.1} s of training{chosen}{stopped}",
            last.train.loss
        )
    }
}

/// What a data file holds as patches: its images, or else its spectra as images of one row.
pub fn samples(images: Option<Patches>, spectra: Option<Spectra>) -> Result<Patches> {
    match (images, spectra) {
        (Some(images), _) => Ok(images),
        (None, Some(spectra)) => Ok(Patches::from_spectra(&spectra)?),
        (None, None) => bail!("the file holds neither images nor spectra"),
    }
}

pub fn run(args: &TrainArgs) -> Result<()> {
    ensure!(
        args.model != ModelArg::Cvae || !args.condition.is_empty(),
        "a cvae needs --condition labels, targets or both"
    );
    let dataset = parsimon_io::read_dataset(&args.data)?;
    let data = samples(dataset.images, dataset.spectra)?;
    let mut training = args.training.clone();
    let (none, one_row) = (Invariances::default(), data.shape().0 == 1);
    match args.model {
        // Spectra do not turn.
        ModelArg::Ivae if one_row => training.invariances.get_or_insert(Invariances { translation: true, ..none }),
        ModelArg::Ivae => training.invariances.get_or_insert(args.training.invariances()),
        ModelArg::Ae | ModelArg::Vae | ModelArg::Cvae => training.invariances.get_or_insert(none),
    };
    let run = Output::new(&args.out)?;
    let told = |what| args.condition.contains(&what);
    let lacks =
        |what: &str| format!("{}: --condition {what} needs `{what}`, which the file lacks", args.data.display());
    let labels = if told(ConditionArg::Labels) { Some(dataset.labels.with_context(|| lacks("labels"))?) } else { None };
    let factors =
        if told(ConditionArg::Targets) { Some(dataset.targets.with_context(|| lacks("targets"))?) } else { None };
    let (labels, factors) = (labels.as_ref().map(|l| l.view()), factors.as_ref().map(|f| f.view()));
    let condition = Condition::of(labels, factors).with_context(|| args.data.display().to_string())?;
    let noise = if one_row { Noise::GaussianLearned } else { Noise::Bernoulli };
    let deterministic = args.model == ModelArg::Ae;
    if deterministic || dataset.goals.is_some() {
        training.inference.get_or_insert(InferenceArg::Plain);
    }
    let goal_channels = dataset.goals.as_ref().map(|goals| goals.shape().2);
    let params = Params { condition, deterministic, goal_channels, ..params(&training, &data, noise, None)? };
    let options = options(&training, data.len(), 60, 100, 1);
    params.check()?;
    options.check(data.len())?;
    if !args.resume && run.path("model.safetensors").exists() {
        println!("note: the run in {} will be replaced when this training ends", run.folder().display());
    }
    let mut data = Examples::conditioned(&data, labels, factors);
    if let Some(goals) = &dataset.goals {
        data = data.towards(goals);
    }
    let trained = fit(&data, &params, options, &run, args.resume)?;
    run.all_or_none(|run| trained.write(&data, run))?;
    println!("{}", trained.summary());
    println!("wrote {}", run.folder().display());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A run directory whose checkpoint was written by the training named.
    fn bench(name: &str) -> (tempfile::TempDir, Earlier) {
        let folder = tempfile::tempdir().unwrap();
        let earlier = Earlier::new(&Output::new(folder.path()).unwrap());
        write(&earlier, name);
        (folder, earlier)
    }

    fn write(earlier: &Earlier, name: &str) {
        std::fs::create_dir_all(&earlier.checkpoint).unwrap();
        std::fs::write(earlier.checkpoint.join("of"), name).unwrap();
    }

    fn read(earlier: &Earlier) -> String {
        assert!(!earlier.aside.exists(), "nothing is left aside");
        std::fs::read_to_string(earlier.checkpoint.join("of")).unwrap()
    }

    #[test]
    fn counts_are_those_of_the_data() {
        let scaling =
            |ranges: &[(f64, f64)]| Scaling::Global(ranges.iter().map(|&(low, high)| Range { low, high }).collect());
        assert_eq!(counts(&scaling(&[(0.0, 37.0), (0.0, 37.0)])).unwrap(), 37.0);
        assert!(from_zero(&scaling(&[(0.0, 1.0)])).is_ok());
        assert!(counts(&scaling(&[(0.0, 1.0)])).unwrap_err().to_string().contains("poisson=COUNTS"));
        for wrong in [&[(3.0, 37.0)][..], &[(0.0, 37.0), (0.0, 30.0)]] {
            assert!(from_zero(&scaling(wrong)).unwrap_err().to_string().contains("images_low"), "{wrong:?}");
        }
        assert!(from_zero(&Scaling::PerPatch(ndarray::Array2::from_elem((2, 1), Range::UNIT))).is_err());
    }

    #[test]
    fn an_earlier_checkpoint_comes_back_after_a_failure_and_goes_after_a_success() {
        let (_folder, mut earlier) = bench("first");
        earlier.set_aside().unwrap();
        write(&earlier, "second");
        earlier.put_back().unwrap();
        assert_eq!(read(&earlier), "first");

        earlier.set_aside().unwrap();
        earlier.put_back().unwrap();
        assert_eq!(read(&earlier), "first", "even if the new training wrote none");

        earlier.set_aside().unwrap();
        write(&earlier, "second");
        earlier.remove().unwrap();
        assert_eq!(read(&earlier), "second");
    }

    #[test]
    fn what_a_killed_training_set_aside_is_not_lost() {
        let (folder, mut killed) = bench("finished");
        killed.set_aside().unwrap();
        write(&killed, "killed");
        let mut next = Earlier::new(&Output::new(folder.path()).unwrap());
        next.put_back().unwrap();
        assert_eq!(std::fs::read_to_string(next.checkpoint.join("of")).unwrap(), "killed", "it set nothing aside");
        next.set_aside().unwrap();
        write(&next, "failed");
        next.put_back().unwrap();
        assert_eq!(read(&next), "finished");
    }
}
