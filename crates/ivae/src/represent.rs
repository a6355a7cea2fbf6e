use std::ops::ControlFlow;

use dfdx::tensor::Cpu;
use parsimon_core::{BoxError, Embed, Patches, Represent};
use parsimon_nets::Compute;
use parsimon_train::{Fitted, Options, Progress, State, fit};
use rand_chacha::ChaCha8Rng;

use crate::{Error, Examples, Ivae, Params, Result};

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
    params.check()?;
    let mut data = data.into();
    data.check(params)?;
    data.check_goals(params)?;
    let rows = data.patches.len();
    (data.aligned, data.seed) = (options.check(rows)?.train, options.seed);
    let make = |rng: &mut ChaCha8Rng| match Ivae::new(device, params, rng) {
        Ok(model) => Ok(model),
        Err(Error::Nets(e)) => Err(e.into()),
        Err(e) => Err(parsimon_nets::Error::Device(e.to_string()).into()),
    };
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
