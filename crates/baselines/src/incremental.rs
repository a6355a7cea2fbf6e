use std::borrow::Cow;

use ndarray::{Array1, Array2, ArrayView2, Axis, s};

use crate::batches::{InBatches, as_wide, learns_with_linfa};
use crate::params::{Check, Params};
use crate::pca::PcaModel;
use crate::products::{centre, mean, scatter, varies};
use crate::rows::{measurable, squarable};
use crate::solve::up_to;
use crate::{Error, Result};

/// Principal component analysis of rows that come by in batches, for data larger than memory.
///
/// The state is the number of rows n, their mean m, and singular values S and directions V of what has come so far. A
/// batch X of b rows with mean m' makes the matrix
///
/// M = \[S·V; X − 1·m'ᵀ; √(n·b/(n + b))·(m − m')ᵀ\],
///
/// whose largest singular values and right singular vectors are the next S and V. The mean and the total variance are
/// exact. What a batch has beyond the components is forgotten: the variances are those of [`Pca`](crate::Pca) if there
/// is no more, and otherwise up to the noise of a component too small.
///
/// Memory beside the batch: 8·(b + k + 1)·D bytes for M, and 16·min(b + k + 1, D)² for its products (up to 2,048 rows or
/// columns, and none beyond), whatever the number of batches.
///
/// A batch may vary along fewer directions than there are components: those it lacks come with later ones.
///
/// References: Ross, Lim, Lin & Yang 2008, Int. J. Comput. Vis. 77, 125; Levey & Lindenbaum 2000, IEEE Trans. Image
/// Process. 9, 1371.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IncrementalPca {
    components: usize,
}

impl IncrementalPca {
    /// So many components, 1 to D of rows of D numbers, and no more than the first batch has rows. What counts as a direction is as
    /// for [`Pca::params`](crate::Pca::params), of the rows so far.
    pub fn params(components: usize) -> Params<Self> {
        Params(Self { components })
    }
}

impl Check for IncrementalPca {
    fn check(&self) -> Result<()> {
        if self.components == 0 {
            return Err(Error::parameter("number of components", 0, "1 and more"));
        }
        Ok(())
    }
}

/// What has been learnt from the rows so far.
#[derive(Debug, Clone, PartialEq)]
pub struct IncrementalPcaModel {
    components: usize,
    rows: usize,
    mean: Array1<f64>,
    /// Σ |x − m|².
    squares: f64,
    /// Along each direction, largest first.
    along: Array1<f64>,
    /// As many as there are components, or as the rows have directions.
    directions: Array2<f64>,
}

impl IncrementalPcaModel {
    /// Rows that have come by.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// The components of the rows so far.
    ///
    /// # Errors
    /// If the rows vary along fewer directions than there are components.
    pub fn pca(&self) -> Result<PcaModel> {
        let rank = self.along.len();
        if rank < self.components {
            return Err(Error::Rank { components: self.components, rank });
        }
        let (mean, directions) = (self.mean.clone(), self.directions.clone());
        Ok(PcaModel::new(mean, directions, &self.along, self.squares, self.rows as f64))
    }
}

impl InBatches for IncrementalPca {
    type State = IncrementalPcaModel;

    fn learn(&self, state: Option<&IncrementalPcaModel>, batch: ArrayView2<'_, f64>) -> Result<IncrementalPcaModel> {
        let ((b, d), k) = (batch.dim(), self.components);
        // A batch of small numbers is no harm beside those before.
        if state.is_some() {
            squarable(batch)?
        } else {
            measurable(batch)?
        }
        let before = match state {
            Some(before) => Cow::Borrowed(before),
            None if k > b.min(d) => {
                let accepted = format!("1 to {} for a first batch of {b} rows of {d} numbers", b.min(d));
                return Err(Error::parameter("number of components", k, accepted));
            }
            None => Cow::Owned(IncrementalPcaModel {
                components: k,
                rows: 0,
                mean: Array1::zeros(d),
                squares: 0.0,
                along: Array1::zeros(0),
                directions: Array2::zeros((0, d)),
            }),
        };
        as_wide(batch, before.mean.len())?;
        if before.components != k {
            let accepted = format!("{}, as for the batches before", before.components);
            return Err(Error::parameter("number of components", k, accepted));
        }
        before.with(batch)
    }
}

impl IncrementalPcaModel {
    /// The state after a further batch.
    fn with(&self, batch: ArrayView2<'_, f64>) -> Result<Self> {
        let (b, d) = batch.dim();
        let (r, rows) = (self.along.len(), self.rows + b);
        let (old, new) = (self.rows as f64, b as f64);
        let of_batch = mean(batch);
        let step = &of_batch - &self.mean;
        let mean = &self.mean + &step * (new / (old + new));
        let between = old * new / (old + new);
        let squares = self.squares + scatter(batch, &of_batch) + between * step.dot(&step);
        let moved = old > 0.0 && varies(of_batch.view().insert_axis(Axis(0)), &self.mean);
        if r == 0 && !moved && !varies(batch, &of_batch) {
            return Ok(Self { rows, mean, squares, ..self.clone() });
        }
        let mut stacked = Array2::zeros((r + b + 1, d));
        for ((mut row, direction), along) in stacked.outer_iter_mut().zip(self.directions.outer_iter()).zip(&self.along)
        {
            row.assign(&(&direction * along.sqrt()));
        }
        centre(batch, &of_batch, stacked.slice_mut(s![r..r + b, ..]));
        stacked.row_mut(r + b).assign(&(step * between.sqrt()));
        let (along, directions) = up_to(&stacked, self.components.min(r + b))?;
        Ok(Self { components: self.components, rows, mean, squares, along, directions })
    }
}

learns_with_linfa!(IncrementalPca, IncrementalPcaModel);

#[cfg(test)]
mod tests {
    use linfa::DatasetBase;
    use linfa::traits::FitWith;
    use ndarray::array;
    use rand::{Rng, SeedableRng};
    use rand_chacha::ChaCha8Rng;
    use rand_distr::StandardNormal;

    use super::*;
    use crate::Pca;
    use crate::rows::RowModel;

    /// Rows of rank 4 about a far mean that drifts, and noise.
    fn noisy(n: usize, d: usize, noise: f64) -> Array2<f64> {
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        let mut normal = |n: usize, d: usize| Array2::from_shape_fn((n, d), |_| rng.sample::<f64, _>(StandardNormal));
        let sizes = array![9.0, 6.0, 4.0, 2.0];
        let mut scores = normal(n, 4) * &sizes;
        for (i, mut row) in scores.outer_iter_mut().enumerate() {
            row[0] += 10.0 * i as f64 / n as f64;
        }
        scores.dot(&normal(4, d)) + normal(n, d) * noise + 50.0
    }

    fn streamed(rows: &Array2<f64>, k: usize, batch: usize) -> IncrementalPcaModel {
        let mut state = None;
        for batch in rows.axis_chunks_iter(Axis(0), batch) {
            state = Some(IncrementalPca::params(k).fit_with(state.as_ref(), &DatasetBase::from(batch)).unwrap());
        }
        state.unwrap()
    }

    #[test]
    fn batches_give_what_all_rows_at_once_give() {
        for (noise, tolerance) in [(0.0, 1e-9), (0.1, 1e-4)] {
            let rows = noisy(1500, 40, noise);
            let exact = Pca::params(4).fit_matrix(rows.view()).unwrap();
            // The last batch has one row only.
            for batch in [100, 107, 1499, 1500] {
                let state = streamed(&rows, 4, batch);
                let model = state.pca().unwrap();
                assert_eq!(state.rows(), 1500);
                assert!((&model.mean() - &exact.mean()).iter().all(|d| d.abs() < 1e-10));
                let off = &model.explained_variance() / &exact.explained_variance() - 1.0;
                assert!(off.iter().all(|v| v.abs() < tolerance), "noise {noise}, batches of {batch}: {off}");
                let ratio = &model.explained_variance_ratio() / &exact.explained_variance_ratio() - 1.0;
                assert!(ratio.iter().all(|v| v.abs() < tolerance), "{ratio}");
                let overlap = model.components().dot(&exact.components().t());
                let off = overlap - Array2::<f64>::eye(4);
                assert!(off.iter().all(|v| v.abs() < tolerance.sqrt()), "signs too, noise {noise}: {off}");
                assert_eq!(model.embed_rows(rows.view()).unwrap().columns.dim(), (1500, 4));
            }
        }
    }

    #[test]
    fn batches_that_do_not_vary_are_no_end() {
        let rows = noisy(60, 10, 0.0);
        let flat = Array2::from_elem((20, 10), 50.1);
        let params = IncrementalPca::params(3);
        let state = params.fit_batch(None, flat.view()).unwrap();
        assert_eq!(state.pca().unwrap_err(), Error::Rank { components: 3, rank: 0 });
        let two = params.fit_batch(Some(&state), rows.slice(s![..2, ..])).unwrap();
        assert_eq!(two.pca().unwrap_err(), Error::Rank { components: 3, rank: 2 });
        let all = params.fit_batch(Some(&two), rows.slice(s![2.., ..])).unwrap().pca().unwrap();
        let together = ndarray::concatenate![Axis(0), flat, rows];
        let exact = Pca::params(3).fit_matrix(together.view()).unwrap();
        let off = &all.explained_variance() / &exact.explained_variance() - 1.0;
        assert!(off.iter().all(|v| v.abs() < 0.02), "{off}");
    }

    #[test]
    fn threads_change_no_bit() {
        let rows = noisy(700, 30, 0.1);
        let on = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| streamed(&rows, 3, 300))
        };
        assert_eq!(on(1), on(3));
    }

    #[test]
    fn every_rejection() {
        let rows = noisy(30, 6, 0.1);
        let refused = |k: usize, state: Option<&IncrementalPcaModel>, batch: ArrayView2<'_, f64>| {
            IncrementalPca::params(k).fit_batch(state, batch).unwrap_err().to_string()
        };
        assert!(refused(0, None, rows.view()).contains("components is 0"));
        assert!(refused(7, None, rows.view()).contains("1 to 6 for a first batch of 30 rows of 6 numbers"));
        assert!(refused(4, None, rows.slice(s![..3, ..])).contains("1 to 3 for a first batch of 3"));
        let state = IncrementalPca::params(4).fit_batch(None, rows.view()).unwrap();
        assert!(refused(3, Some(&state), rows.view()).contains("components is 3, accepted are 4"));
        let wide = Array2::zeros((4, 7));
        assert!(refused(4, Some(&state), wide.view()).contains("rows of 7 numbers, the model was fitted on rows of 6"));
        let mut bad = rows.clone();
        bad[(5, 2)] = f64::NAN;
        assert!(refused(4, Some(&state), bad.view()).contains("row 5"));
        bad[(5, 2)] = 1e200;
        assert!(refused(4, Some(&state), bad.view()).contains("1e140"));
        assert!(refused(4, Some(&state), rows.slice(s![..0, ..])).contains("0 rows"));
        assert!(IncrementalPca::params(4).fit_with(Some(&state), &DatasetBase::from(bad)).is_err());
        // What was learnt before a batch that is refused is still there.
        assert_eq!(IncrementalPca::params(4).fit_batch(Some(&state), rows.view()).unwrap().rows(), 60);
    }
}
