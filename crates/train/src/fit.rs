use std::ops::ControlFlow;
use std::time::Instant;

use dfdx::tensor::{OwnedTape, Tensor};
use dfdx::tensor_ops::Backward;
use parsimon_nets::{Adam, Compute, Parameters, approach};
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use crate::{Epoch, Error, Options, Result, Split, Step, Terms};

/// A loss that carries the way back to its parameters.
pub type Loss<D> = Tensor<(), f32, D, OwnedTape<f32, D>>;

/// Something that can be trained.
pub trait Model<D: Compute>: Parameters<D> + Clone {
    /// What it is trained on, kept once for all batches.
    type Data<'a>: ?Sized;

    /// The loss of some rows, and its parts.
    ///
    /// # Errors
    /// If the device fails.
    fn loss(
        &self,
        data: &Self::Data<'_>,
        rows: &[usize],
        step: Step,
        noise: &mut ChaCha8Rng,
    ) -> Result<(Loss<D>, Terms)>;

    /// The parts of the loss, without gradients; cannot change the model.
    ///
    /// # Errors
    /// If the device fails.
    fn evaluate(&self, data: &Self::Data<'_>, rows: &[usize], noise: &mut ChaCha8Rng) -> Result<Terms>;
}

/// Where training stands after an epoch: enough to go on from there.
#[derive(Debug, Clone)]
pub struct State<M> {
    /// The model.
    pub model: M,
    /// The running mean of its weights, if there is one.
    pub average: Option<M>,
    /// Its optimiser.
    pub adam: Adam,
    /// All epochs so far.
    pub history: Vec<Epoch>,
    /// Which start this is; 0 unless there are several.
    pub start: usize,
}

impl<M> State<M> {
    /// The model as it is evaluated: with the mean of its weights, if there is one.
    pub fn shown(&self) -> &M {
        self.average.as_ref().unwrap_or(&self.model)
    }
}

/// What training gave.
#[derive(Debug, Clone)]
pub struct Fitted<M> {
    /// The model returned, and where training stood at its end.
    pub state: State<M>,
    /// Epoch of the model returned, from 1.
    pub epoch: usize,
    /// Held-out loss of every start when the choice was made, infinite if it diverged; empty with one start.
    pub starts: Vec<f32>,
    /// Whether the observer stopped it.
    pub interrupted: bool,
}

/// What the observer hears of after each epoch.
#[derive(Debug)]
pub struct Progress<'a, M> {
    /// Training so far.
    pub state: &'a State<M>,
    /// Epochs done in all starts together, and to be done.
    pub done: usize,
    /// See `done`.
    pub total: usize,
}

/// Independent streams of random numbers from one seed.
#[derive(Clone, Copy)]
enum Stream {
    Weights = 1,
    Order = 2,
    Noise = 3,
    Evaluation = 4,
}

fn rng(seed: u64, start: usize, stream: Stream, epoch: usize) -> ChaCha8Rng {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(((start as u64) << 40) | ((epoch as u64) << 8) | stream as u64);
    rng
}

/// Draws of the latents in an evaluation: more where few rows are, to steady the mean over them.
fn evaluation_draws(rows: usize) -> usize {
    600usize.div_ceil(rows.max(1)).clamp(1, 4)
}

/// Rows of an evaluation that are on the device at once.
const EVALUATION_BATCH: usize = 500;

/// Mean loss of some rows; deterministic in the seed.
///
/// # Errors
/// If the device fails.
pub fn evaluate<D: Compute, M: Model<D>>(model: &M, data: &M::Data<'_>, rows: &[usize], seed: u64) -> Result<Terms> {
    let mut noise = rng(seed, 0, Stream::Evaluation, 0);
    let (mut loss, mut reconstruction, mut kl) = (0.0f64, 0.0f64, 0.0f64);
    let draws = evaluation_draws(rows.len());
    for _ in 0..draws {
        for rows in rows.chunks(EVALUATION_BATCH) {
            let terms = model.evaluate(data, rows, &mut noise)?;
            let weight = rows.len() as f64;
            loss += weight * f64::from(terms.loss);
            reconstruction += weight * f64::from(terms.reconstruction);
            kl += weight * f64::from(terms.kl);
        }
    }
    let mean = |sum: f64| (sum / (rows.len() * draws) as f64) as f32;
    Ok(Terms { loss: mean(loss), reconstruction: mean(reconstruction), kl: mean(kl), physics: 0.0 })
}

/// Trains a model. `make` builds one with weights from the generator it is given; `observe` hears of every epoch and may
/// stop. `resume` goes on from an earlier state with the same options, bit for bit as if training had never stopped; with
/// more epochs, whatever follows the share of epochs that are over goes on as in the longer training. A state does not hold
/// the best model so far nor other starts, so it fits neither early stop nor an unfinished choice between starts.
///
/// # Errors
/// If an option is outside its range, there are fewer rows than a batch, or the loss stops being finite in the only
/// start, in all of them, or after the choice.
pub fn fit<D: Compute, M: Model<D>>(
    mut make: impl FnMut(&mut ChaCha8Rng) -> Result<M>,
    data: &M::Data<'_>,
    rows: usize,
    options: &Options,
    resume: Option<State<M>>,
    mut observe: impl FnMut(&Progress<'_, M>) -> ControlFlow<()>,
) -> Result<Fitted<M>> {
    let split = options.check(rows)?;
    let first_epochs = if options.starts > 1 { options.start_epochs } else { 0 };
    let total = options.starts * first_epochs + options.epochs - first_epochs;
    let (mut done, mut losses, mut interrupted, mut diverged) = (0, Vec::new(), false, None);
    let mut state = resume;
    if let Some(state) = &state {
        done = state.history.len() + (options.starts - 1) * first_epochs;
    } else {
        let mut spent = 0.0;
        'starts: for start in 0..options.starts {
            let model = make(&mut rng(options.seed, start, Stream::Weights, 0))?;
            let adam = Adam { learning_rate: options.learning_rate, ..Adam::default() };
            let average = (options.average > 0.0).then(|| model.clone());
            let mut candidate = State { model, average, adam, history: Vec::new(), start };
            while candidate.history.len() < first_epochs && !interrupted {
                let so_far = candidate.history.last().map_or(spent, |e| e.seconds);
                let begin = Instant::now();
                match epoch(&mut candidate, data, &split, options, so_far) {
                    Ok(()) => {}
                    Err(error @ Error::NotFinite { .. }) => {
                        // One start that diverges is no reason to lose the others.
                        spent = so_far + begin.elapsed().as_secs_f64();
                        done += first_epochs - candidate.history.len();
                        losses.push(f32::INFINITY);
                        diverged.get_or_insert(error);
                        continue 'starts;
                    }
                    Err(error) => return Err(error),
                }
                done += 1;
                interrupted = observe(&Progress { state: &candidate, done, total }).is_break();
            }
            spent = candidate.history.last().map_or(spent, |e| e.seconds);
            if options.starts > 1 {
                losses.push(score(&candidate.history));
            }
            if state.as_ref().is_none_or(|best| score(&candidate.history) < score(&best.history)) {
                state = Some(candidate);
            }
            if interrupted {
                break 'starts;
            }
        }
        // Time spent on the starts not chosen counts too.
        if let Some(last) = state.as_mut().and_then(|s| s.history.last_mut()) {
            last.seconds = spent;
        }
    }
    let Some(mut state) = state else {
        let none = || Error::Parameter { what: "starts", value: "0".into(), accepted: "whole numbers from 1" };
        return Err(diverged.unwrap_or_else(none));
    };
    let mut best: Option<(State<M>, f32)> = None;
    while state.history.len() < options.epochs && !interrupted {
        let spent = state.history.last().map_or(0.0, |e| e.seconds);
        epoch(&mut state, data, &split, options, spent)?;
        done += 1;
        interrupted = observe(&Progress { state: &state, done, total }).is_break();
        let Some(patience) = options.patience else { continue };
        let loss = score(&state.history);
        match &best {
            Some((_, least)) if loss >= *least => {}
            _ => best = Some((state.clone(), loss)),
        }
        if best.as_ref().is_some_and(|(b, _)| state.history.len() - b.history.len() >= patience) {
            break;
        }
    }
    let history = std::mem::take(&mut state.history);
    let (mut state, epoch) = match best {
        Some((best, _)) => (State { history: Vec::new(), ..best.clone() }, best.history.len()),
        None => (state, history.len()),
    };
    state.history = history;
    if let Some(average) = state.average.take() {
        state.model = average;
    }
    Ok(Fitted { state, epoch, starts: losses, interrupted })
}

/// What models are compared by: the last held-out loss, or the last loss if no rows are held out. A model without one, or
/// whose loss is not finite, is worse than any other.
fn score(history: &[Epoch]) -> f32 {
    let loss = history.last().map(|e| e.test.unwrap_or(e.train).loss);
    loss.filter(|l| l.is_finite()).unwrap_or(f32::INFINITY)
}

/// One pass over the training rows in a new order, and an evaluation.
fn epoch<D: Compute, M: Model<D>>(
    state: &mut State<M>,
    data: &M::Data<'_>,
    split: &Split,
    options: &Options,
    spent: f64,
) -> Result<()> {
    let number = state.history.len() + 1;
    state.adam.learning_rate = options.rate(number);
    let begin = Instant::now();
    let mut order: Vec<usize> = split.train.clone().collect();
    order.shuffle(&mut rng(options.seed, state.start, Stream::Order, number));
    let mut noise = rng(options.seed, state.start, Stream::Noise, number);
    let mut sum = [0.0f64; 4];
    for (batch, rows) in order.chunks(options.batch).enumerate() {
        let (loss, terms) = state.model.loss(data, rows, options.step(number), &mut noise)?;
        if let Some((term, value)) = terms.not_finite() {
            let (batch, batches) = (batch + 1, order.len().div_ceil(options.batch));
            let first = rows.first().copied().unwrap_or_default();
            let learning_rate = state.adam.learning_rate;
            return Err(Error::NotFinite { term, value, epoch: number, batch, batches, first, learning_rate });
        }
        state.adam.step(&mut state.model, loss.backward())?;
        if let Some(average) = &mut state.average {
            // At first the mean is of few steps, so that it forgets where they began.
            let steps = state.adam.steps as f32;
            approach(average, &state.model, 1.0 - options.average.min(steps / (9.0 + steps)));
        }
        let parts = [terms.loss, terms.reconstruction, terms.kl, terms.physics];
        sum.iter_mut().zip(parts).for_each(|(s, p)| *s += rows.len() as f64 * f64::from(p));
    }
    // The last step, whose loss nobody has looked at, must not reach a checkpoint.
    let last = |(term, value): (&'static str, f32)| {
        let (batches, learning_rate) = (order.len().div_ceil(options.batch), state.adam.learning_rate);
        let first = order.chunks(options.batch).next_back().and_then(|rows| rows.first()).copied().unwrap_or_default();
        Error::NotFinite { term, value, epoch: number, batch: batches, batches, first, learning_rate }
    };
    let mut wrong = None;
    state.model.visit("", &mut |_, weights| {
        wrong = wrong.or_else(|| weights.as_vec().into_iter().find(|w| !w.is_finite()));
    });
    if let Some(value) = wrong {
        return Err(last(("weight after the step", value)));
    }
    let seconds = spent + begin.elapsed().as_secs_f64();
    let mean = |i: usize| (sum[i] / order.len() as f64) as f32;
    let train = Terms { loss: mean(0), reconstruction: mean(1), kl: mean(2), physics: mean(3) };
    let held_out: Vec<usize> = split.test.clone().collect();
    let test = if held_out.is_empty() { None } else { Some(evaluate(state.shown(), data, &held_out, options.seed)?) };
    if let Some(value) = test.and_then(|test| test.not_finite()) {
        return Err(last(value));
    }
    state.history.push(Epoch { epoch: number, seconds, train, test });
    Ok(())
}
