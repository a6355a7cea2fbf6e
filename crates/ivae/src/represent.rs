use std::ops::ControlFlow;

use dfdx::tensor::Cpu;
use parsimon_core::{BoxError, Embed, Patches, Represent};
use parsimon_nets::Compute;
use parsimon_train::{Fitted, Options, Progress, State, fit};
use rand_chacha::ChaCha8Rng;

use crate::{Error, Examples, Ivae, Params, Result, Term};

/// Trains a model on patches, or on [`Examples`] with what it is conditioned on.
///
/// # Errors
/// If a parameter is outside its range, the patches have another size than `params` says, there are fewer than a
/// batch, or the loss stops being finite.
pub fn train<'a, D: Compute>(
    device: &D,
    params: &Params,
    data: impl Into<Examples<'a>>,
    options: &Options,
    resume: Option<State<Ivae<D>>>,
    observe: impl FnMut(&Progress<'_, Ivae<D>>) -> ControlFlow<()>,
) -> Result<Fitted<Ivae<D>>> {
    train_with(device, params, &[], data, options, resume, observe)
}

/// As [`train`], with further terms of physics, such as one's own.
///
/// # Errors
/// As [`train`], and if there are terms, but no neighbours for them to speak of, or `patience`, whose measure leaves them out.
pub fn train_with<'a, D: Compute>(
    device: &D,
    params: &Params,
    terms: &[Term<D>],
    data: impl Into<Examples<'a>>,
    options: &Options,
    resume: Option<State<Ivae<D>>>,
    observe: impl FnMut(&Progress<'_, Ivae<D>>) -> ControlFlow<()>,
) -> Result<Fitted<Ivae<D>>> {
    params.check()?;
    let mut data = data.into();
    data.check(params)?;
    let rows = data.patches.len();
    (data.trained, data.seed) = (options.check(rows)?.train, options.seed);
    data.check_known(params, !terms.is_empty())?;
    if let Some(patience) = options.patience.filter(|_| params.boundary.is_some() || !terms.is_empty()) {
        // The best −ELBO is that of an epoch before physics had its weight.
        let accepted = "none with terms of physics, which the −ELBO leaves out";
        return Err(Error::Parameter { what: "patience", value: patience.to_string(), accepted });
    }
    if resume.as_ref().is_some_and(|state| state.model.params() != params) {
        let (what, value) = ("state to resume", "of a model of other parameters".to_owned());
        return Err(Error::Parameter { what, value, accepted: "those of the model to be trained" });
    }
    let mean = data.mean();
    let make = |rng: &mut ChaCha8Rng| match Ivae::new(device, params, rng) {
        Ok(model) => Ok(model.beginning_at(&mean)?.with_physics(terms)),
        Err(Error::Nets(e)) => Err(e.into()),
        Err(e) => Err(parsimon_nets::Error::Device(e.to_string()).into()),
    };
    let resume = resume.map(|state| State { model: state.model.with_physics(terms), ..state });
    Ok(fit(make, &data, rows, options, resume, observe)?)
}

/// The invariant VAE as a way to represent patches, next to PCA and the rest.
#[derive(Debug, Clone)]
pub struct IvaeEstimator {
    /// Parameters; the size is taken from the data.
    pub params: Params,
    /// Training.
    pub options: Options,
}

impl Represent for IvaeEstimator {
    fn fit(&self, data: &Patches) -> std::result::Result<Box<dyn Embed>, BoxError> {
        let params = Params { size: data.shape(), ..self.params.clone() };
        let quiet = |_: &Progress<'_, Ivae<Cpu>>| ControlFlow::Continue(());
        Ok(Box::new(train(&Cpu::default(), &params, data, &self.options, None, quiet)?.state.model))
    }
}
