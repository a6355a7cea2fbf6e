use ndarray::{Array2, ArrayView2};

use crate::params::{Check, Method, Params, fits_with_linfa, predicts_with_linfa, transforms_with_linfa};
use crate::pca::PcaModel;
use crate::rows::{RowEmbedding, RowModel};
use crate::{Error, Result};

/// A method on the first principal components of the rows, in place of the rows themselves.
///
/// Distances in a few hundred columns are mostly noise, and covariances have more numbers than there are rows. Patterns lead
/// back through the components.
///
/// Components have a mean of 0, and are negative as often as not: [`Nmf`](crate::Nmf) and [`Blu`](crate::Blu), which ask for
/// amounts, cannot be fitted to them. What the method says of components is an [`Error::InComponents`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AfterPca<M> {
    components: usize,
    method: Params<M>,
}

impl<M: Check> AfterPca<M> {
    /// The method on so many components, or on as many as the rows have if they are fewer.
    pub fn params(components: usize, method: Params<M>) -> Params<Self> {
        Params(Self { components, method })
    }
}

impl<M: Check> Check for AfterPca<M> {
    fn check(&self) -> Result<()> {
        self.method.0.check()?;
        if self.components == 0 {
            return Err(Error::parameter("number of components", 0, "1 and more"));
        }
        Ok(())
    }
}

impl<M: Method> Method for AfterPca<M> {
    type Model = AfterPcaModel<M::Model>;

    fn fit_rows(&self, rows: ArrayView2<'_, f64>) -> Result<Self::Model> {
        let pca = PcaModel::up_to(rows, self.components)?;
        let scores = pca.embed_rows(rows)?.columns;
        let model = self.method.0.fit_rows(scores.view()).map_err(in_components)?;
        Ok(AfterPcaModel { model, pca })
    }
}

fn in_components(error: Error) -> Error {
    Error::InComponents(Box::new(error))
}

/// What a method has found in principal components.
#[derive(Debug, Clone, PartialEq)]
pub struct AfterPcaModel<M> {
    pca: PcaModel,
    model: M,
}

impl<M> AfterPcaModel<M> {
    /// The components.
    pub fn pca(&self) -> &PcaModel {
        &self.pca
    }

    /// What was found in them.
    pub fn model(&self) -> &M {
        &self.model
    }
}

impl<M: RowModel> RowModel for AfterPcaModel<M> {
    fn width(&self) -> usize {
        self.pca.width()
    }

    fn names(&self) -> Vec<String> {
        self.model.names()
    }

    fn embed_rows(&self, rows: ArrayView2<'_, f64>) -> Result<RowEmbedding> {
        self.model.embed_rows(self.pca.embed_rows(rows)?.columns.view()).map_err(in_components)
    }

    fn patterns(&self) -> Option<Array2<f64>> {
        self.model.patterns().and_then(|patterns| self.pca.rows_of(patterns.view()).ok())
    }

    fn rows_of(&self, columns: ArrayView2<'_, f64>) -> Result<Array2<f64>> {
        self.pca.rows_of(self.model.rows_of(columns)?.view())
    }

    fn goes_back(&self) -> bool {
        self.model.goes_back()
    }

    fn parameters(&self) -> Option<usize> {
        Some(self.model.parameters()? + self.pca.parameters()?)
    }
}

fits_with_linfa!(AfterPca<M>, AfterPcaModel<M::Model>; M: Method);
transforms_with_linfa!(AfterPcaModel<M>; M: RowModel);
predicts_with_linfa!(AfterPcaModel<M>; M: RowModel);

#[cfg(test)]
mod tests {
    use linfa::traits::{Fit, Predict, Transformer};
    use ndarray::Array1;

    use super::*;
    use crate::{Blu, GaussianMixture, KMeans, Nmf, Pca};

    /// Two kinds of rows of 40 columns, of which three vary.
    fn rows() -> Array2<f64> {
        Array2::from_shape_fn((60, 40), |(i, j)| match j {
            0 => 10.0 * (i % 2) as f64,
            1 | 2 => ((i * (j + 3)) % 7) as f64,
            _ => 1.0,
        })
    }

    #[test]
    fn classes_and_centres_are_those_of_the_rows() {
        let rows = rows();
        let model = AfterPca::params(20, KMeans::params(2)).fit_matrix(rows.view()).unwrap();
        let found = model.embed_rows(rows.view()).unwrap();
        let classes = found.classes.unwrap();
        assert!((0..60).all(|i| classes[i] == classes[i % 2]) && classes[0] != classes[1]);
        let centre = model.patterns().unwrap().row(classes[1] as usize).to_owned();
        assert!((centre[0] - 10.0).abs() < 1e-6 && (centre[30] - 1.0).abs() < 1e-6, "{centre}");
        assert_eq!(found.columns.ncols(), 2);
        assert!(model.rows_of(found.columns.view()) == Err(Error::OneWay) && !model.goes_back());
    }

    #[test]
    fn columns_lead_back_through_both() {
        let rows = rows();
        let model = AfterPca::params(3, Pca::params(3)).fit_matrix(rows.view()).unwrap();
        let found = model.embed_rows(rows.view()).unwrap().columns;
        assert!(model.goes_back() && (model.rows_of(found.view()).unwrap() - &rows).iter().all(|d| d.abs() < 1e-9));
        assert_eq!(model.rows_of(Array2::zeros((2, 5)).view()), Err(Error::Columns { found: 5, expected: 3 }));
        assert_eq!(model.rows_of(Array2::from_elem((2, 3), f64::NAN).view()), Err(Error::NotFinite { row: 0 }));
        assert_eq!(model.rows_of(Array2::zeros((0, 3)).view()).unwrap().dim(), (0, 40));
    }

    #[test]
    fn what_asks_for_amounts_tells_that_components_are_none() {
        let rows = rows();
        let refused = |error: Error| error.to_string();
        let nmf = refused(AfterPca::params(3, Nmf::params(2)).fit_matrix(rows.view()).unwrap_err());
        let blu = refused(AfterPca::params(3, Blu::params(2)).fit_matrix(rows.view()).unwrap_err());
        assert!(nmf.contains("in principal components") && nmf.contains("numbers not below 0"), "{nmf}");
        assert!(blu.contains("in principal components"), "{blu}");
    }

    #[test]
    fn linfa_hears_of_it() {
        let rows = rows();
        let params = AfterPca::params(20, KMeans::params(2));
        let model = params.fit(&linfa::DatasetBase::from(rows.view())).unwrap();
        assert_eq!(model, params.fit_matrix(rows.view()).unwrap());
        assert_eq!(model.pca().components().dim(), (3, 40), "no more than vary");
        let found = model.embed_rows(rows.view()).unwrap();
        let classes: Array1<i64> = model.predict(&rows).unwrap();
        assert_eq!((model.transform(&rows).unwrap(), classes), (found.columns, found.classes.unwrap()));
    }

    #[test]
    fn parameters_of_both_are_checked() {
        let rows = rows();
        let refused =
            |params: Params<AfterPca<GaussianMixture>>| params.fit_matrix(rows.view()).unwrap_err().to_string();
        assert!(refused(AfterPca::params(0, GaussianMixture::params(2))).contains("components is 0"));
        assert!(refused(AfterPca::params(2, GaussianMixture::params(2).starts(0))).contains("starts is 0"));
        let alike = Array2::ones((5, 3));
        let error = AfterPca::params(2, KMeans::params(1)).fit_matrix(alike.view()).unwrap_err();
        assert_eq!(error, Error::Rank { components: 2, rank: 0 });
    }
}
