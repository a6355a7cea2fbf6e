use std::sync::atomic::Ordering;

use anyhow::{Context, Result};
use dfdx::tensor::Cpu;
use parsimon_detect::neighbour_graph;
use parsimon_ivae::{Config, Examples, Ivae, Params, Usual};
use parsimon_train::{Bar, Fitted, Options, Progress, State, save_checkpoint, write_history};

use crate::args::TrainArgs;
use crate::checkpoint::Earlier;
use crate::figures;
use crate::output::Output;
use crate::plan::{Plan, conditions, plan};
use crate::{FINISHES, STOP, checkpoint};

/// Epochs between two checkpoints; up to that, every epoch.
const CHECKPOINT_EVERY: usize = 10;

/// A trained model, and what its run directory will hold.
pub struct Trained {
    pub fitted: Fitted<Ivae<Cpu>>,
    pub options: Options,
}

fn configuration(params: &Params, options: &Options, data: &Examples<'_>) -> Config {
    Config { data: Some(data.fingerprint()), ..Config::new(params, options, data.patches().scaling()) }
}

/// What hears of each epoch, beside the progress bar.
pub type Watch<'w> = &'w mut dyn FnMut(&Progress<'_, Ivae<Cpu>>, &Examples<'_>) -> Result<()>;

/// Trains with a progress bar and checkpoints in the run directory.
pub fn fit(
    data: &Examples<'_>,
    params: &Params,
    options: Options,
    run: &Output,
    resume: bool,
    watch: Watch<'_>,
) -> Result<Trained> {
    let device = Cpu::default();
    let config = configuration(params, &options, data);
    let state = if resume { Some(checkpoint::resumed(&device, &config, run)?) } else { None };
    let folder = run.sub(checkpoint::FOLDER);
    let mut earlier = Earlier::new(run);
    let mut fresh = !resume;
    let mut save = |state: &State<Ivae<Cpu>>| -> Result<()> {
        if std::mem::take(&mut fresh) {
            earlier.set_aside()?;
        }
        folder.write("config.toml", config.toml()?.as_bytes())?;
        Ok(save_checkpoint(state, folder.folder())?)
    };
    let bar = Bar::new("training", &STOP);
    FINISHES.store(true, Ordering::Relaxed);
    let mut failure = None;
    let fitted = parsimon_ivae::train(&device, params, data, &options, state, |progress| {
        let flow = bar.show(progress);
        let epochs = progress.state.history.len();
        let due = epochs < CHECKPOINT_EVERY
            || epochs.is_multiple_of(CHECKPOINT_EVERY)
            || epochs == options.epochs
            || flow.is_break();
        let saved = if due { save(progress.state).context("the checkpoint could not be written") } else { Ok(()) };
        if let Err(error) = saved.and_then(|()| watch(progress, data)) {
            failure = Some(error);
            return std::ops::ControlFlow::Break(());
        }
        flow
    });
    drop(bar);
    FINISHES.store(false, Ordering::Relaxed);
    let fitted = match failure {
        Some(error) => Err(error),
        None => fitted.map_err(Into::into),
    };
    match fitted {
        Ok(fitted) => {
            earlier.remove()?;
            Ok(Trained { fitted, options })
        }
        Err(error) => {
            match earlier.put_back() {
                Ok(Some(kept)) => eprintln!("note: its last sound state is kept in {}", kept.display()),
                Ok(None) => {}
                Err(also) => eprintln!("warning: {also:#}"),
            }
            Err(error)
        }
    }
}

impl Trained {
    /// Writes the run directory: model, configuration, history, latents and figures, whose names it returns.
    pub fn write(&self, data: &Examples<'_>, run: &Output) -> Result<Vec<String>> {
        let model = &self.fitted.state.model;
        let mut history = Vec::new();
        write_history(&mut history, &self.fitted.state.history)?;
        let latents = model.embedding(data)?;
        let manifolds = figures::manifolds(model, &latents)?;
        let config = configuration(model.params(), &self.options, data);
        let trained = self.options.check(latents.len())?.train;
        let config = Config { usual: Usual::of(model, data, &latents, trained)?, ..config };
        for (name, bytes) in model.files(&config)? {
            run.write(name, &bytes)?;
        }
        run.write("history.csv", &history)?;
        for figure in &manifolds {
            run.write(&format!("{}.png", figure.name), &figure.png()?)?;
        }
        run.latents("latents.npz", &latents)?;
        Ok(manifolds.into_iter().map(|f| f.name).collect())
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
        let physics = last.train.physics;
        let physics = if physics > 0.0 { format!(", and {physics:.3} of physics beside it") } else { String::new() };
        format!(
            "epoch {epoch}: {} {:.2}{held_out} nats{physics}, {seconds:.1} s of training{chosen}{stopped}",
            if state.model.params().deterministic { "−log p" } else { "−ELBO" },
            last.train.loss
        )
    }
}

pub fn run(args: &TrainArgs) -> Result<()> {
    watched(args, &mut |_, _| Ok(())).map(|_| ())
}

/// Figures of conditional models, which an earlier run in the same directory may have left.
fn remove_stale(run: &Output, figures: &[String]) -> Result<()> {
    for entry in std::fs::read_dir(run.folder())? {
        let path = entry?.path();
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let ours = name.starts_with("manifold_class") || name.starts_with("sweep_c");
        if ours && path.extension().is_some_and(|e| e == "png") && !figures.contains(&name) {
            std::fs::remove_file(&path).with_context(|| format!("{}: cannot remove", path.display()))?;
        }
    }
    Ok(())
}

/// Trains, and tells somebody of each epoch; whether it was interrupted.
pub fn watched(args: &TrainArgs, watch: Watch<'_>) -> Result<bool> {
    let dataset = parsimon_io::read_dataset(&args.data)?;
    let data = dataset.samples_as_patches()?;
    let run = Output::new(&args.out)?;
    let mut args = args.clone();
    if args.resume && !checkpoint::begun(&run) {
        println!("note: {} holds nothing to resume; training begins", run.folder().display());
        args.resume = false;
    }
    if args.resume && args.training.epochs.is_none() {
        args.training.epochs = checkpoint::epochs(&run);
    }
    let Plan { params, options, notes } = plan(&args, &data, &dataset)?;
    notes.iter().for_each(|note| println!("note: {note}"));
    if !args.resume && run.path("model.safetensors").exists() {
        println!("note: the run in {} will be replaced when this training ends", run.folder().display());
    }
    let (labels, factors) = conditions(&args, &dataset)?;
    let mut data = Examples::conditioned(&data, labels, factors);
    if let Some(goals) = &dataset.goals {
        data = data.towards(goals);
    }
    if let (Some(_), Some(sites)) = (&params.boundary, &dataset.sites) {
        data = data.beside(&neighbour_graph(sites, dataset.labels.as_ref().and_then(|l| l.as_slice()))?);
    }
    let trained = fit(&data, &params, options, &run, args.resume, watch)?;
    let mut figures = Vec::new();
    run.all_or_none(|run| {
        figures = trained.write(&data, run)?;
        Ok(())
    })?;
    remove_stale(&run, &figures)?;
    println!("{}", trained.summary());
    println!("wrote {}", run.folder().display());
    Ok(trained.fitted.interrupted)
}
