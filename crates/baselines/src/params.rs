use linfa::ParamGuard;
use ndarray::ArrayView2;
use parsimon_core::{BoxError, Embed, Patches, Represent};

use crate::rows::{self, OnPatches, RowModel};
use crate::{Error, Result};

/// A method whose parameters may be checked.
pub trait Check {
    /// Fails unless every parameter is in its range.
    ///
    /// # Errors
    /// If one is not; the message holds it, and the range.
    fn check(&self) -> Result<()>;
}

/// Parameters of a method that nobody has checked yet, as `params` of the method makes them.
///
/// linfa's [`ParamGuard::check`] turns them into the method itself; `fit` does it by the way.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Params<M>(pub(crate) M);

impl<M: Check> ParamGuard for Params<M> {
    type Checked = M;
    type Error = Error;

    fn check_ref(&self) -> Result<&M> {
        self.0.check()?;
        Ok(&self.0)
    }

    fn check(self) -> Result<M> {
        self.0.check()?;
        Ok(self.0)
    }
}

/// A method that learns from rows of numbers: patches or spectra, one to a row.
pub trait Method: Check {
    /// What it learns.
    type Model: RowModel;

    /// Fits it to rows; its parameters are checked, for nothing else makes a method of them.
    ///
    /// # Shapes
    /// (N, D).
    ///
    /// # Errors
    /// If there are no rows, a number of them is NaN, infinite or beyond ±1e140, or they cannot support the parameters.
    /// Methods other than factorisation and unmixing, which bring rows to units of their own, ask that the largest number
    /// is 1e−140 at least, or 0, for squares below that vanish; what differs by less than 1e−150 counts as equal.
    fn fit_rows(&self, rows: ArrayView2<'_, f64>) -> Result<Self::Model>;
}

impl<M: Method> Params<M> {
    /// Fits the method to rows, without linfa's `Dataset` around them.
    ///
    /// # Shapes
    /// (N, D).
    ///
    /// # Errors
    /// If a parameter is out of its range, and as [`Method::fit_rows`].
    pub fn fit_matrix(&self, data: ArrayView2<'_, f64>) -> Result<M::Model> {
        self.check_ref()?.fit_rows(data)
    }

    /// Fits the method to patches, each a row of H·W·C numbers in \[0,1\].
    ///
    /// # Errors
    /// If a parameter is out of its range, or the patches cannot support it.
    pub fn fit_patches(&self, data: &Patches) -> Result<OnPatches<M::Model>> {
        let model = self.check_ref()?.fit_rows(rows::of_images(data.images()).view())?;
        Ok(OnPatches::new(model, data.shape()))
    }
}

impl<M: Method> Represent for Params<M>
where
    M::Model: 'static,
{
    fn fit(&self, data: &Patches) -> std::result::Result<Box<dyn Embed>, BoxError> {
        Ok(Box::new(self.fit_patches(data)?))
    }
}

/// linfa's `Fit` of a method on any matrix; a method may be generic.
macro_rules! fits_with_linfa {
    ($method:ty, $model:ty $(; $of:ident: $bound:path)?) => {
        impl<S: ndarray::Data<Elem = f64>, T $(, $of: $bound)?>
            linfa::traits::Fit<ndarray::ArrayBase<S, ndarray::Ix2>, T, crate::Error> for $method
        {
            type Object = $model;

            fn fit(
                &self,
                dataset: &linfa::DatasetBase<ndarray::ArrayBase<S, ndarray::Ix2>, T>,
            ) -> crate::Result<$model> {
                crate::params::Method::fit_rows(self, dataset.records.view())
            }
        }
    };
}

/// linfa's `Transformer` of a model: the columns of the embedding.
macro_rules! transforms_with_linfa {
    ($model:ty $(; $of:ident: $bound:path)?) => {
        impl<S: ndarray::Data<Elem = f64> $(, $of: $bound)?>
            linfa::traits::Transformer<&ndarray::ArrayBase<S, ndarray::Ix2>, crate::Result<ndarray::Array2<f64>>>
            for $model
        {
            fn transform(&self, rows: &ndarray::ArrayBase<S, ndarray::Ix2>) -> crate::Result<ndarray::Array2<f64>> {
                crate::rows::RowModel::embed_rows(self, rows.view()).map(|found| found.columns)
            }
        }
    };
}

/// linfa's `Fit` of a method on any matrix, and `Transformer` of its model.
macro_rules! speaks_linfa {
    ($method:ty, $model:ty) => {
        crate::params::fits_with_linfa!($method, $model);
        crate::params::transforms_with_linfa!($model);
    };
}

/// linfa's `Predict` of a model with classes; −1 is none.
macro_rules! predicts_with_linfa {
    ($model:ty $(; $of:ident: $bound:path)?) => {
        impl<S: ndarray::Data<Elem = f64> $(, $of: $bound)?>
            linfa::traits::PredictInplace<ndarray::ArrayBase<S, ndarray::Ix2>, crate::Result<ndarray::Array1<i64>>>
            for $model
        {
            fn predict_inplace(
                &self,
                rows: &ndarray::ArrayBase<S, ndarray::Ix2>,
                classes: &mut crate::Result<ndarray::Array1<i64>>,
            ) {
                *classes = crate::rows::RowModel::embed_rows(self, rows.view())
                    .map(|found| found.classes.unwrap_or_else(|| ndarray::Array1::from_elem(rows.nrows(), -1)));
            }

            fn default_target(
                &self,
                rows: &ndarray::ArrayBase<S, ndarray::Ix2>,
            ) -> crate::Result<ndarray::Array1<i64>> {
                Ok(ndarray::Array1::from_elem(rows.nrows(), -1))
            }
        }
    };
}

pub(crate) use {fits_with_linfa, predicts_with_linfa, speaks_linfa, transforms_with_linfa};
