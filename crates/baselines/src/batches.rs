use linfa::ParamGuard;
use ndarray::ArrayView2;

use crate::params::{Check, Params};
use crate::{Error, Result};

/// A method that learns from rows as they come by, a batch at a time, and holds none of them.
pub trait InBatches: Check {
    /// What it has learnt so far.
    type State;

    /// Learns from a batch; from the first one without a state. Its parameters are checked, for nothing else makes a method of
    /// them.
    ///
    /// # Shapes
    /// (B, D); B may change from batch to batch.
    ///
    /// # Errors
    /// If the batch has no rows or another width than those before, a number is NaN, infinite or beyond ±1e140, or it cannot
    /// support the parameters. The largest number of the first batch is 1e−140 at least, or 0.
    fn learn(&self, state: Option<&Self::State>, batch: ArrayView2<'_, f64>) -> Result<Self::State>;
}

impl<M: InBatches> Params<M> {
    /// Learns from a batch, without linfa's `Dataset` around it; the first one comes without a state. A batch that is
    /// refused leaves the state as it was.
    ///
    /// # Shapes
    /// (B, D).
    ///
    /// # Errors
    /// If a parameter is out of its range, and as [`InBatches::learn`].
    pub fn fit_batch(&self, state: Option<&M::State>, batch: ArrayView2<'_, f64>) -> Result<M::State> {
        self.check_ref()?.learn(state, batch)
    }
}

/// Fails unless a batch is as wide as those before.
pub(crate) fn as_wide(batch: ArrayView2<'_, f64>, width: usize) -> Result<()> {
    if batch.ncols() == width { Ok(()) } else { Err(Error::Width { found: batch.ncols(), expected: width }) }
}

/// linfa's `FitWith` of a method that learns in batches.
macro_rules! learns_with_linfa {
    ($method:ty, $state:ty) => {
        impl<'a, S: ndarray::Data<Elem = f64>, T>
            linfa::traits::FitWith<'a, ndarray::ArrayBase<S, ndarray::Ix2>, T, crate::Error> for $method
        {
            type ObjectIn = Option<&'a $state>;
            type ObjectOut = $state;

            fn fit_with(
                &self,
                state: Option<&'a $state>,
                dataset: &'a linfa::DatasetBase<ndarray::ArrayBase<S, ndarray::Ix2>, T>,
            ) -> crate::Result<$state> {
                crate::batches::InBatches::learn(self, state, dataset.records.view())
            }
        }
    };
}

pub(crate) use learns_with_linfa;
