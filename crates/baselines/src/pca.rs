use ndarray::{Array1, Array2, ArrayView1, ArrayView2};

use crate::params::{Check, Method, Params, speaks_linfa};
use crate::products::{centred, mean, product, product_about, scatter, varies};
use crate::rows::{RowEmbedding, RowModel, at_least, fitting, leading_back, measurable};
use crate::solve::{directions, point_up, up_to};
use crate::svd::leading;
use crate::{Error, Result};

/// Principal component analysis.
///
/// The mean row is subtracted; component i is the direction of largest variance orthogonal to those before it; the
/// columns `pc1`, `pc2`, … of the embedding are t = V (x − mean), and x ≈ mean + Vᵀ t. The sign of a component is such
/// that its loading of largest magnitude is positive.
///
/// References: Jolliffe, Principal Component Analysis, 2nd ed. (2002); Halko, Martinsson & Tropp 2011, SIAM Rev. 53,
/// 217 (randomised).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pca {
    components: usize,
    solver: PcaSolver,
    seed: u64,
}

/// How components are found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum PcaSolver {
    /// Eigenvectors whose residuals are verified. Beside the rows it holds a copy of them, about 5·(k + 10)·(N + D) numbers, and,
    /// where min(N, D) is 2,048 or less, up to five matrices of min(N, D)² numbers. Beyond that such matrices, of D², are
    /// only there for more than D/4 components.
    #[default]
    Exact,
    /// From products of the rows with random vectors, and of those with Xᵀ and X again: as good as the spectrum falls,
    /// and never more than the variance there is. Beside the rows it holds a few times (k + 10)·(N + D) numbers only.
    Randomised {
        /// Further rounds of products with X and Xᵀ, 0 to 100. On 5,000 digits of 784 pixels, 20 components hold 0.9971
        /// of what the exact ones do with 2, 0.9999 with 4.
        powers: usize,
    },
}

impl Pca {
    /// So many components, 1 to min(N − 1, D) of N rows of D numbers, 2 rows at least.
    ///
    /// A direction is a component where the squares along it are more than 2·10⁻¹³ of those along the first (deviations of
    /// 4.5·10⁻⁷), of more than 900 rows and columns more than 2.2·10⁻¹⁶ times the lesser number; where there are fewer of
    /// them, [`Error::Rank`] tells how many. The randomised solver takes what is above 2.2·10⁻¹⁶·D. Columns whose numbers
    /// differ from their mean by 9·10⁻¹⁶ of it or less are constant.
    pub fn params(components: usize) -> Params<Self> {
        Params(Self { components, solver: PcaSolver::Exact, seed: 0 })
    }
}

impl Params<Pca> {
    /// How components are found; default exactly.
    pub fn solver(mut self, solver: PcaSolver) -> Self {
        self.0.solver = solver;
        self
    }

    /// Seed of the randomised solver; default 0.
    pub fn seed(mut self, seed: u64) -> Self {
        self.0.seed = seed;
        self
    }
}

impl Check for Pca {
    fn check(&self) -> Result<()> {
        if self.components == 0 {
            return Err(Error::parameter("number of components", 0, "1 and more"));
        }
        match self.solver {
            PcaSolver::Randomised { powers } if powers > 100 => {
                Err(Error::parameter("number of powers", powers, "0 to 100"))
            }
            _ => Ok(()),
        }
    }
}

impl Method for Pca {
    type Model = PcaModel;

    fn fit_rows(&self, rows: ArrayView2<'_, f64>) -> Result<PcaModel> {
        measurable(rows)?;
        at_least(rows, 2)?;
        let ((n, d), k) = (rows.dim(), self.components);
        let largest = (n - 1).min(d);
        if k > largest {
            let accepted = format!("1 to {largest} for {n} rows of {d} numbers");
            return Err(Error::parameter("number of components", k, accepted));
        }
        let (mean, squares) = spread(rows, k)?;
        let (along, components) = match self.solver {
            PcaSolver::Exact => directions(&centred(rows, &mean), k)?,
            PcaSolver::Randomised { powers } => {
                let (values, mut found) = leading(rows, &mean, k, powers, self.seed)?;
                if values.len() < k {
                    return Err(Error::Rank { components: k, rank: values.len() });
                }
                point_up(&mut found);
                (values.mapv(|v| v * v), found)
            }
        };
        Ok(PcaModel::new(mean, components, &along, squares, n as f64))
    }
}

/// The mean of the rows and the sum of their squares about it, of rows that differ.
fn spread(rows: ArrayView2<'_, f64>, components: usize) -> Result<(Array1<f64>, f64)> {
    let mean = mean(rows);
    let squares = scatter(rows, &mean);
    if !varies(rows, &mean) || squares < f64::MIN_POSITIVE {
        return Err(Error::Rank { components, rank: 0 });
    }
    Ok((mean, squares))
}

/// Fitted principal components.
#[derive(Debug, Clone, PartialEq)]
pub struct PcaModel {
    mean: Array1<f64>,
    components: Array2<f64>,
    variance: Array1<f64>,
    ratio: Array1<f64>,
}

impl PcaModel {
    /// Of `n` rows, with `squares` about their mean, and such a part of them `along` each component.
    pub(crate) fn new(mean: Array1<f64>, components: Array2<f64>, along: &Array1<f64>, squares: f64, n: f64) -> Self {
        Self { mean, components, variance: along / (n - 1.0), ratio: along / squares }
    }

    /// Of so many components, or of as many as the rows have if they are fewer.
    pub(crate) fn up_to(rows: ArrayView2<'_, f64>, components: usize) -> Result<Self> {
        measurable(rows)?;
        at_least(rows, 2)?;
        let (mean, squares) = spread(rows, components)?;
        let n = rows.nrows();
        let (along, found) = up_to(&centred(rows, &mean), components.min(n - 1).min(rows.ncols()))?;
        Ok(Self::new(mean, found, &along, squares, n as f64))
    }

    /// The mean row, D.
    pub fn mean(&self) -> ArrayView1<'_, f64> {
        self.mean.view()
    }

    /// The components, k×D: orthonormal, largest variance first.
    pub fn components(&self) -> ArrayView2<'_, f64> {
        self.components.view()
    }

    /// Variance of the data along each component (with N − 1 in the denominator).
    pub fn explained_variance(&self) -> ArrayView1<'_, f64> {
        self.variance.view()
    }

    /// Variance along each component as a fraction of the total variance of the data.
    pub fn explained_variance_ratio(&self) -> ArrayView1<'_, f64> {
        self.ratio.view()
    }
}

impl RowModel for PcaModel {
    fn width(&self) -> usize {
        self.mean.len()
    }

    fn names(&self) -> Vec<String> {
        (1..=self.variance.len()).map(|i| format!("pc{i}")).collect()
    }

    fn embed_rows(&self, rows: ArrayView2<'_, f64>) -> Result<RowEmbedding> {
        fitting(rows, self.width())?;
        Ok(RowEmbedding::of(product_about(rows, &self.mean, self.components.t())))
    }

    fn patterns(&self) -> Option<Array2<f64>> {
        Some(self.components.clone())
    }

    fn rows_of(&self, columns: ArrayView2<'_, f64>) -> Result<Array2<f64>> {
        leading_back(columns, self.components.nrows())?;
        Ok(product(columns, self.components.view()) + &self.mean)
    }

    fn goes_back(&self) -> bool {
        true
    }

    fn parameters(&self) -> Option<usize> {
        Some(self.components.len() + self.mean.len())
    }
}

speaks_linfa!(Pca, PcaModel);

#[cfg(test)]
mod tests;
