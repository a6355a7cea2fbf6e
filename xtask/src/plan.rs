//! What a command line asks of a training: parameters of the model and options, checked against the data.

use anyhow::{Context, Result, bail, ensure};
use ndarray::{ArrayView1, ArrayView2, s};
use parsimon_core::{Dataset, Patches, Range, Scaling};
use parsimon_ivae::{Condition, DecoderKind, Examples, Inference, Invariances, Noise, Params, Prior, ViewGrid};
use parsimon_nets::Precision;
use parsimon_train::{Options, Split};

use crate::args::{
    CentringArg, ConditionArg, DecoderArg, InferenceArg, LikelihoodArg, ModelArg, PrecisionArg, TrainArgs, TrainingArgs,
};

/// The narrowest prior width of the angle, in rad, with which views are taken unasked: none is trapped within less.
const WIDE: f32 = 0.5;

/// The narrowest prior width of a shift, in half-widths, with which objects are sought unasked.
const FAR: f32 = 0.2;

/// Angles, places and sizes of the views of a patch, if it is seen in several.
const ANGLES: usize = 16;
const PLACES: usize = 5;
const PLACES_OF_SPECTRA: usize = 16;
const SIZES: usize = 5;

/// Share of the pixels that a step decodes.
const PIXELS: f64 = 0.1;

/// Parameters of a model of these data as the command line gives them; `decoded` is the scaling of what it decodes, `noise` and
/// `angle` are the defaults of the likelihood and of the angle's prior width, that of the inference if there is none.
pub fn params(
    args: &TrainingArgs,
    data: &Patches,
    decoded: &Scaling,
    noise: Noise,
    angle: Option<f32>,
) -> Result<Params> {
    let base = Prior::default();
    let angle = args.prior_angle.or(angle);
    let free = args.invariances().rotation && (angle.is_none_or(|a| a >= WIDE) || args.symmetry != 1);
    let asked = args.shift_views.is_some() || args.scale_views.is_some();
    let far = args.prior_shift.unwrap_or(base.shift) >= FAR;
    let drifting =
        data.shape().0 == 1 && args.invariances().translation && far && args.centring != Some(CentringArg::On);
    let usual = if args.convolutions.is_empty() && (free || drifting || asked) {
        InferenceArg::Views
    } else {
        InferenceArg::Plain
    };
    let (inference, free) = match args.inference.unwrap_or(usual) {
        InferenceArg::Plain => (Inference::Plain, base.angle),
        InferenceArg::Views => (Inference::Views(views(args, data.shape().0 == 1)), f32::INFINITY),
    };
    effective(args, inference)?;
    let prior = Prior {
        angle: angle.unwrap_or(free),
        symmetry: args.symmetry,
        shift: args.prior_shift.unwrap_or(base.shift),
        shift_down: args.prior_shift_down,
        scale: args.prior_scale.unwrap_or(base.scale),
        components: args.prior_components,
    };
    let wide = args.invariances().translation && prior.shift.max(prior.shift_down.unwrap_or(0.0)) >= FAR;
    let sought = matches!(inference, Inference::Views(grid) if grid.shifts > 1);
    let centred = args.centring.map_or(wide && !sought, |c| c == CentringArg::On);
    let noise = match args.likelihood {
        Some(LikelihoodArg::Counts) => Noise::Poisson(counts(decoded)?),
        Some(LikelihoodArg::Known(noise)) => {
            if let Noise::Poisson(_) = noise {
                from_zero(decoded)?;
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
        decoder: match args.decoder {
            Some(DecoderArg::Convolutional) => DecoderKind::Convolutional,
            // With one alone nothing is pooled, and dense layers would lead to every pixel of every filter.
            None if args.invariances().none() && args.convolutions.len() > 1 => DecoderKind::Convolutional,
            _ => DecoderKind::Dense,
        },
        hidden: args.hidden.clone(),
        activation: args.activation.into(),
        skip: args.skip,
        noise,
        beta: args.beta,
        warm_up: args.warm_up,
        capacity: args.capacity,
        prior,
        inference,
        centred,
        deterministic: false,
        goal_channels: None,
        condition: Condition::default(),
        boundary: args.boundary(),
    })
}

/// Views of a patch, or of a spectrum.
fn views(args: &TrainingArgs, spectra: bool) -> ViewGrid {
    let Invariances { rotation, translation, scale } = args.invariances();
    let angles = args.views.unwrap_or(if rotation { ANGLES } else { 1 });
    let places = if spectra { PLACES_OF_SPECTRA } else { PLACES };
    let sought = args.centring == Some(CentringArg::On);
    let shifts = args.shift_views.unwrap_or(if translation && !rotation && !sought { places } else { 1 });
    let scales = args.scale_views.unwrap_or(if scale && !rotation && !translation { SIZES } else { 1 });
    ViewGrid { angles, shifts, scales }
}

/// Refuses options that would change nothing.
fn effective(args: &TrainingArgs, inference: Inference) -> Result<()> {
    let (on, convolved) = (args.invariances(), !args.convolutions.is_empty());
    let idle = [
        ("--prior-angle", args.prior_angle.is_some() && !on.rotation, "the invariance r"),
        ("--prior-shift", args.prior_shift.is_some() && !on.translation, "the invariance t"),
        ("--prior-shift-down", args.prior_shift_down.is_some() && !on.translation, "the invariance t"),
        (
            "--prior-shift-down",
            args.prior_shift_down.is_some() && inference != Inference::Plain && on.rotation,
            "--inference plain; views are turned",
        ),
        ("--prior-scale", args.prior_scale.is_some() && !on.scale, "the invariance s"),
        ("--pixels", args.pixels.is_some() && on.none(), "invariances; without them every pixel is decoded"),
        ("--inference views", convolved && inference != Inference::Plain, "a model without --convolutions"),
        ("--views", args.views.is_some() && convolved, "a model without --convolutions"),
        ("--views", args.views.is_some() && !on.rotation, "the invariance r"),
        ("--views", args.views.is_some() && inference == Inference::Plain, "--inference views"),
        ("--shift-views", args.shift_views.is_some() && convolved, "a model without --convolutions"),
        ("--scale-views", args.scale_views.is_some() && convolved, "a model without --convolutions"),
        ("--shift-views", args.shift_views.is_some() && inference == Inference::Plain, "--inference views"),
        ("--shift-views", args.shift_views.is_some() && !on.translation, "the invariance t"),
        ("--scale-views", args.scale_views.is_some() && inference == Inference::Plain, "--inference views"),
        ("--scale-views", args.scale_views.is_some() && !on.scale, "the invariance s"),
    ];
    match idle.into_iter().find(|(_, idle, _)| *idle) {
        Some((option, _, needs)) => bail!("{option} needs {needs}"),
        None => Ok(()),
    }
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
    let trained = Split::new(rows, args.holdout.clamp(0.0, 1.0)).train.len();
    let epochs = args.epochs.unwrap_or(epochs);
    // One epoch leaves none after the choice among several starts.
    let starts = args.starts.unwrap_or(if epochs == 1 { 1 } else { starts });
    let pixels = if args.exact || args.invariances().none() { 1.0 } else { args.pixels.unwrap_or(PIXELS) };
    let some = pixels < 1.0;
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
        pixels,
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

/// A training as the command line and the data describe it.
pub struct Plan {
    pub params: Params,
    pub options: Options,
    pub notes: Vec<String>,
}

/// What `train` would do with samples and what else the file says of them, if nothing speaks against it.
pub fn plan(args: &TrainArgs, data: &Patches, dataset: &Dataset) -> Result<Plan> {
    ensure!(
        args.model != ModelArg::Cvae || !args.condition.is_empty(),
        "a cvae needs --condition labels, targets or both"
    );
    let mut notes = Vec::new();
    let mut training = args.training.clone();
    let (none, one_row) = (Invariances::default(), data.shape().0 == 1);
    match args.model {
        // Spectra do not turn.
        ModelArg::Ivae if one_row => training.invariances.get_or_insert(Invariances { translation: true, ..none }),
        ModelArg::Ivae => training.invariances.get_or_insert(args.training.invariances()),
        ModelArg::Vae if training.invariances.is_some_and(|i| !i.none()) => {
            bail!("a vae has no invariances; train an ivae with them")
        }
        ModelArg::Ae | ModelArg::Vae | ModelArg::Cvae => training.invariances.get_or_insert(none),
    };
    let options = options(&training, data.len(), 60, 100, 1);
    let rows = options.check(data.len())?.train;
    let (labels, factors) = conditions(args, dataset)?;
    let known = (
        labels.map(|l| l.slice_move(s![rows.start..rows.end])),
        factors.map(|f| f.slice_move(s![rows.start..rows.end, ..])),
    );
    let condition = Condition::of(known.0, known.1).with_context(|| args.data.display().to_string())?;
    let seen = |class: &usize| known.0.iter().flatten().any(|l| usize::try_from(*l) == Ok(*class));
    let unseen: Vec<String> = (0..condition.classes).filter(|c| !seen(c)).map(|c| c.to_string()).collect();
    if !unseen.is_empty() {
        notes.push(format!("no row that is trained on is of class {}", unseen.join(", ")));
    }
    let noise = if one_row { Noise::GaussianLearned } else { Noise::Bernoulli };
    let deterministic = args.model == ModelArg::Ae;
    if deterministic {
        let weighs = training.beta != 1.0 || training.warm_up != 0.0 || training.capacity.is_some();
        ensure!(!weighs, "an ae has no divergence that --beta, --warm-up or --capacity could weigh");
    }
    if deterministic || dataset.goals.is_some() {
        training.inference.get_or_insert(InferenceArg::Plain);
    }
    let goal_channels = dataset.goals.as_ref().map(|goals| goals.shape().2);
    let decoded = dataset.goals.as_ref().unwrap_or(data);
    let params = params(&training, data, decoded.scaling(), noise, None)?;
    let params = Params { condition, deterministic, goal_channels, ..params };
    params.check()?;
    let mut examples = Examples::conditioned(data, labels, factors);
    if let Some(goals) = &dataset.goals {
        examples = examples.towards(goals);
    }
    examples.check(&params)?;
    let free = params.prior.angle >= WIDE && params.inference == Inference::Plain && args.training.inference.is_none();
    if params.invariances.rotation && !params.convolutions.is_empty() && free {
        notes.push("with --convolutions the angle is read off the patch at one look, which can be trapped".to_owned());
    }
    if goal_channels.is_some() {
        notes.push(format!("the model is trained towards the `goals` in {}", args.data.display()));
    }
    if params.boundary.is_some() {
        if let Some(patience) = options.patience {
            bail!("patience is {patience}, accepted is none with --boundary, which the −ELBO leaves out");
        }
        ensure!(dataset.sites.is_some(), "{}: --boundary needs `sites`, which the file lacks", args.data.display());
        if dataset.labels.is_some() {
            notes.push("boundaries are those between neighbours of one kind, as `labels` say".to_owned());
        }
    }
    Ok(Plan { params, options, notes })
}

/// Classes and factors that the model is told.
pub type Conditions<'d> = (Option<ArrayView1<'d, i64>>, Option<ArrayView2<'d, f32>>);

pub fn conditions<'d>(args: &TrainArgs, dataset: &'d Dataset) -> Result<Conditions<'d>> {
    let told = |what| args.condition.contains(&what);
    let lacks =
        |what: &str| format!("{}: --condition {what} needs `{what}`, which the file lacks", args.data.display());
    let labels =
        if told(ConditionArg::Labels) { Some(dataset.labels.as_ref().with_context(|| lacks("labels"))?) } else { None };
    let factors = if told(ConditionArg::Targets) {
        Some(dataset.targets.as_ref().with_context(|| lacks("targets"))?)
    } else {
        None
    };
    Ok((labels.map(|l| l.view()), factors.map(|f| f.view())))
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
