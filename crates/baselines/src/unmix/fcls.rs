use ndarray::{Array2, ArrayView2, Axis};

use crate::params::{Check, Method, Params, speaks_linfa};
use crate::products::product;
use crate::rows::{RowEmbedding, RowModel, at_least, fitting, leading_back, squarable};
use crate::unmix::least_squares::abundances;
use crate::unmix::noise::Noise;
use crate::unmix::space::{Projected, Space};
use crate::unmix::vertices::Extraction;
use crate::{Error, Result};

/// Linear unmixing by extraction of endmembers and fully constrained least squares:
///
/// ```text
/// y = Σ aᵣ mᵣ + noise,    aᵣ ≥ 0,    Σ aᵣ = 1
/// ```
///
/// The R endmembers mᵣ are rows of the data (or means of a few) that span a large simplex, within the R − 1 directions
/// in which the data vary most, which takes most of the noise away. They are wrong by as much as the purest rows are
/// not pure; [`Blu`](crate::Blu) does not need pure rows. The abundances `a1`, `a2`, … of a row are the least squares,
/// exactly; endmembers come in the order of their mean abundance. Rows may hold negative numbers, as spectra whose
/// background was subtracted do, and so may endmembers.
///
/// References: Winter 1999, Proc. SPIE 3753, 266; Heinz & Chang 2001, IEEE Trans. Geosci. Remote Sens. 39, 529.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fcls {
    endmembers: usize,
    extraction: Extraction,
    noise: Noise,
    starts: usize,
    average: Option<usize>,
    seed: u64,
}

impl Fcls {
    /// So many endmembers, 2 to the number of rows, and at most one more than directions along which they vary.
    pub fn params(endmembers: usize) -> Params<Self> {
        Params(Self::new(endmembers, 0))
    }

    pub(crate) fn new(endmembers: usize, seed: u64) -> Self {
        let (extraction, noise) = (Extraction::NFindr, Noise::Uniform);
        Self { endmembers, extraction, noise, starts: 5, average: None, seed }
    }

    /// Endmembers' points and abundances, in the order of the mean abundance.
    pub(crate) fn start(&self, data: &Projected) -> Result<(Array2<f64>, Array2<f64>)> {
        let found = self.extraction.vertices(data, self.starts, self.average, self.seed)?;
        let shares = abundances(data.points.view(), found.view());
        let sums = shares.sum_axis(Axis(0));
        let mut order: Vec<usize> = (0..sums.len()).collect();
        order.sort_by(|a, b| sums[*b].total_cmp(&sums[*a]));
        Ok((found.select(Axis(0), &order), shares.select(Axis(1), &order)))
    }
}

/// Fails unless there are two rows, at least as many as endmembers, and as many columns as directions.
pub(crate) fn enough(rows: ArrayView2<'_, f64>, endmembers: usize) -> Result<()> {
    at_least(rows, 2)?;
    let (n, d) = rows.dim();
    let most = n.min(d.saturating_add(1));
    if endmembers > most {
        let accepted = format!("2 to {most} for {n} rows of {d} numbers");
        return Err(Error::parameter("number of endmembers", endmembers, accepted));
    }
    Ok(())
}

impl Params<Fcls> {
    /// How endmembers are looked for; default [`Extraction::NFindr`].
    pub fn extraction(mut self, extraction: Extraction) -> Self {
        self.0.extraction = extraction;
        self
    }

    /// What the squares are weighted for; default [`Noise::Uniform`], which [`Noise::Counts`] becomes where the sum of the mean
    /// spectrum is not above 0, as in rows about their mean.
    pub fn noise(mut self, noise: Noise) -> Self {
        self.0.noise = noise;
        self
    }

    /// Starts of the extraction, of which the one of largest volume is kept; 1 to 10,000, default 5.
    pub fn starts(mut self, starts: usize) -> Self {
        self.0.starts = starts;
        self
    }

    /// Rows next to a vertex of which an endmember is the mean, 1 to N/R of N rows and R endmembers, and so few that the means
    /// still span a simplex; by default those that differ from it by less than the noise, which are few at high signal and
    /// many at low, or the row alone where these span none.
    pub fn average(mut self, rows: usize) -> Self {
        self.0.average = Some(rows);
        self
    }

    /// Seed of the starts; default 0.
    pub fn seed(mut self, seed: u64) -> Self {
        self.0.seed = seed;
        self
    }
}

impl Check for Fcls {
    fn check(&self) -> Result<()> {
        if self.endmembers < 2 {
            return Err(Error::parameter("number of endmembers", self.endmembers, "2 and more"));
        }
        if !(1..=10_000).contains(&self.starts) {
            return Err(Error::parameter("number of starts", self.starts, "1 to 10000"));
        }
        if self.average == Some(0) {
            return Err(Error::parameter("number of rows of an endmember", 0, "1 and more"));
        }
        Ok(())
    }
}

impl Method for Fcls {
    type Model = FclsModel;

    fn fit_rows(&self, rows: ArrayView2<'_, f64>) -> Result<FclsModel> {
        squarable(rows)?;
        enough(rows, self.endmembers)?;
        let most = rows.nrows() / self.endmembers;
        if let Some(average) = self.average.filter(|a| *a > most) {
            let accepted = format!("1 to {most} of {} rows for {} endmembers", rows.nrows(), self.endmembers);
            return Err(Error::parameter("number of rows of an endmember", average, accepted));
        }
        let data = Projected::of(rows, self.endmembers, self.noise)?;
        let (vertices, _) = self.start(&data)?;
        let endmembers = data.space.spectra(vertices.view());
        Ok(FclsModel { space: data.space, vertices, endmembers })
    }
}

/// Endmembers that were found.
#[derive(Debug, Clone, PartialEq)]
pub struct FclsModel {
    space: Space,
    vertices: Array2<f64>,
    endmembers: Array2<f64>,
}

impl FclsModel {
    /// The endmembers, (R, D).
    pub fn endmembers(&self) -> ArrayView2<'_, f64> {
        self.endmembers.view()
    }
}

impl RowModel for FclsModel {
    fn width(&self) -> usize {
        self.endmembers.ncols()
    }

    fn names(&self) -> Vec<String> {
        names(self.endmembers.nrows())
    }

    fn embed_rows(&self, rows: ArrayView2<'_, f64>) -> Result<RowEmbedding> {
        fitting(rows, self.width())?;
        Ok(RowEmbedding::of(abundances(self.space.project(rows)?.view(), self.vertices.view())))
    }

    fn patterns(&self) -> Option<Array2<f64>> {
        Some(self.endmembers.clone())
    }

    fn rows_of(&self, columns: ArrayView2<'_, f64>) -> Result<Array2<f64>> {
        leading_back(columns, self.endmembers.nrows())?;
        Ok(product(columns, self.endmembers.view()))
    }

    fn goes_back(&self) -> bool {
        true
    }
}

/// Names of the abundances.
pub(crate) fn names(endmembers: usize) -> Vec<String> {
    (1..=endmembers).map(|r| format!("a{r}")).collect()
}

speaks_linfa!(Fcls, FclsModel);
