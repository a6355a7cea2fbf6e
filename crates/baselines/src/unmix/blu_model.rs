use std::collections::HashMap;

use ndarray::{Array1, Array2, ArrayView1, ArrayView2, Axis, Zip, aview1};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

use crate::Result;
use crate::keys::key;
use crate::products::product;
use crate::rows::{RowEmbedding, RowModel, fitting, leading_back};
use crate::unmix::chain::Chain;
use crate::unmix::fcls::names;
use crate::unmix::least_squares::abundances;
use crate::unmix::noise::Noise;
use crate::unmix::pixels::{Block, Simplex};
use crate::unmix::space::Space;

/// Share of the samples in an interval.
const INTERVAL: f64 = 0.95;

/// Standard deviations either side of the mean of a normal distribution that hold as much.
const DEVIATIONS: f64 = 1.959_963_985;

/// Draws of the chain that are kept, for further rows and for the intervals of endmembers.
const DRAWS: usize = 400;

/// Draws that a further row goes through before it is recorded.
const BEFORE: usize = 20;

/// What a chain went through.
#[derive(Default)]
pub(crate) struct Trace {
    vertices: Vec<Array2<f64>>,
    variances: Vec<f64>,
    odds: Vec<Vec<f64>>,
}

/// A state of the chain.
#[derive(Debug, Clone, PartialEq)]
struct Draw {
    vertices: Array2<f64>,
    variance: f64,
    odds: Vec<f64>,
}

impl Trace {
    pub fn push(&mut self, chain: &Chain<'_>) {
        self.vertices.push(chain.vertices.clone());
        self.variances.push(chain.variance);
        self.odds.push(chain.odds.clone());
    }
}

/// What a chain of Bayesian unmixing has learnt.
#[derive(Debug, Clone, PartialEq)]
pub struct BluModel {
    space: Space,
    noise: Noise,
    noise_variance: (f64, f64),
    effective: f64,
    /// Mean point of each endmember.
    vertices: Array2<f64>,
    draws: Vec<Draw>,
    endmembers: Array2<f64>,
    endmember_deviations: Array2<f64>,
    endmember_intervals: (Array2<f64>, Array2<f64>),
    abundances: Array2<f64>,
    abundance_deviations: Array2<f64>,
    abundance_intervals: (Array2<f64>, Array2<f64>),
    /// Rows of the fit by their keys.
    known: HashMap<u128, usize>,
    seed: u64,
}

impl BluModel {
    pub(crate) fn new(
        rows: ArrayView2<'_, f64>,
        seed: u64,
        (space, noise): (Space, Noise),
        blocks: &[Block],
        trace: &Trace,
        shares: Array2<f64>,
    ) -> Self {
        let samples = trace.vertices.len();
        let (r, k) = trace.vertices[0].dim();
        let vertices = trace.vertices.iter().fold(Array2::zeros((r, k)), |sum, t| sum + t) / samples as f64;
        let variance = moments(aview1(&trace.variances));
        let series = |(i, axis): (usize, usize)| trace.vertices.iter().map(|t| t[(i, axis)]).collect::<Vec<f64>>();
        let places: Vec<(usize, usize)> = (0..r).flat_map(|i| (0..k).map(move |axis| (i, axis))).collect();
        let effective = places.into_par_iter().map(|p| effective(&series(p))).reduce(|| samples as f64, f64::min);
        let kept = samples.min(DRAWS);
        let draw = |s: usize| Draw {
            vertices: trace.vertices[s].clone(),
            variance: trace.variances[s],
            odds: trace.odds[s].clone(),
        };
        let draws: Vec<Draw> = (0..kept).map(|d| draw(d * samples / kept)).collect();

        // Outside the plane endmembers are known as a regression of the rows on the abundances knows them.
        let regression = crate::cholesky::cholesky(shares).map_or(Array1::zeros(r), |factor| {
            let mut inverse = Array2::eye(r);
            crate::cholesky::solve_lower(factor.view(), inverse.view_mut());
            inverse.map_axis(Axis(0), |c: ArrayView1<'_, f64>| c.dot(&c))
        });
        let unit = space.weights.unit;
        let scale = &space.outside() * &space.weights.channels.mapv(|s| (s / unit).powi(2)) * variance.0;
        let outside = regression.insert_axis(Axis(1)).dot(&scale.insert_axis(Axis(0)));
        let spectra: Vec<Array2<f64>> = draws.par_iter().map(|d| space.spectra(d.vertices.view())).collect();
        let endmembers = space.spectra(vertices.view()).mapv(not_below_zero);
        let mut endmember_deviations = Array2::zeros(endmembers.raw_dim());
        let mut endmember_intervals = (endmembers.clone(), endmembers.clone());
        Zip::indexed(&mut endmember_deviations)
            .and(&mut endmember_intervals.0)
            .and(&mut endmember_intervals.1)
            .and(&outside)
            .par_for_each(|(i, l), sd, low, high, outside| {
                let mut values: Array1<f64> = spectra.iter().map(|m| m[(i, l)] / unit).collect();
                let (mean, inside) = moments(values.view());
                values.as_slice_mut().unwrap_or_default().sort_by(f64::total_cmp);
                *sd = unit * (inside * inside + outside).sqrt();
                let wide = |off: f64| (off * off + DEVIATIONS * DEVIATIONS * outside).sqrt();
                *low = unit * not_below_zero(mean - wide(mean - quantile(values.view(), 0.5 - 0.5 * INTERVAL)));
                *high = unit * not_below_zero(mean + wide(quantile(values.view(), 0.5 + 0.5 * INTERVAL) - mean));
            });

        let table = |values: Vec<f64>| {
            let rows = values.len() / r;
            Array2::from_shape_vec((rows, r), values).unwrap_or_else(|_| Array2::zeros((rows, r)))
        };
        let (mean, deviation): (Vec<f64>, Vec<f64>) = blocks.iter().flat_map(|b| b.moments()).unzip();
        let of_blocks: Vec<Vec<(f64, f64)>> = blocks.par_iter().map(|b| b.intervals(INTERVAL).collect()).collect();
        let (low, high): (Vec<f64>, Vec<f64>) = of_blocks.into_iter().flatten().unzip();
        let mut known = HashMap::with_capacity(rows.nrows());
        for (n, row) in rows.rows().into_iter().enumerate() {
            known.entry(key(row)).or_insert(n);
        }
        Self {
            space,
            noise,
            noise_variance: (unit * (unit * variance.0), unit * (unit * variance.1)),
            effective,
            vertices,
            draws,
            endmembers,
            endmember_deviations,
            endmember_intervals,
            abundances: table(mean),
            abundance_deviations: table(deviation),
            abundance_intervals: (table(low), table(high)),
            known,
            seed,
        }
    }

    /// Posterior means of the endmembers, (R, D); not below 0.
    pub fn endmembers(&self) -> ArrayView2<'_, f64> {
        self.endmembers.view()
    }

    /// Their standard deviations, (R, D), with what the noise does to the plane.
    pub fn endmember_deviations(&self) -> ArrayView2<'_, f64> {
        self.endmember_deviations.view()
    }

    /// Lower and upper ends of the endmembers' intervals of 95 %, 2.5 % either side; (R, D).
    pub fn endmember_intervals(&self) -> (ArrayView2<'_, f64>, ArrayView2<'_, f64>) {
        (self.endmember_intervals.0.view(), self.endmember_intervals.1.view())
    }

    /// Posterior means of the abundances of the rows of the fit, (N, R).
    pub fn abundances(&self) -> ArrayView2<'_, f64> {
        self.abundances.view()
    }

    /// Their standard deviations, (N, R).
    pub fn abundance_deviations(&self) -> ArrayView2<'_, f64> {
        self.abundance_deviations.view()
    }

    /// Lower and upper ends of the abundances' intervals of 95 %, (N, R): the shortest ones, because those that leave
    /// out as much either side never hold 0 or 1.
    pub fn abundance_intervals(&self) -> (ArrayView2<'_, f64>, ArrayView2<'_, f64>) {
        (self.abundance_intervals.0.view(), self.abundance_intervals.1.view())
    }

    /// How the noise depends on the place, as told or found.
    pub fn noise(&self) -> Noise {
        self.noise
    }

    /// Posterior mean and standard deviation of σ², the variance of the noise; of counts, where both the channel and
    /// the row have the mean of all.
    pub fn noise_variance(&self) -> (f64, f64) {
        self.noise_variance
    }

    /// Independent samples that the kept ones of the endmembers are worth, in the coordinate that mixes worst. Below
    /// about 50, take more rounds.
    ///
    /// Reference: Geyer 1992, Statistical Science 7, 473.
    pub fn effective_samples(&self) -> f64 {
        self.effective
    }
}

/// 0 instead of a negative number; NaN stays.
fn not_below_zero(value: f64) -> f64 {
    if value < 0.0 { 0.0 } else { value }
}

/// Mean and standard deviation.
fn moments(values: ArrayView1<'_, f64>) -> (f64, f64) {
    let spread = if values.len() > 1 { values.std(1.0) } else { 0.0 };
    (values.mean().unwrap_or(f64::NAN), spread)
}

/// Of sorted values, between neighbours in proportion.
fn quantile(values: ArrayView1<'_, f64>, share: f64) -> f64 {
    let place = share * (values.len() - 1) as f64;
    let (below, above) = (place.floor() as usize, place.ceil() as usize);
    values[below] + (place - place.floor()) * (values[above] - values[below])
}

/// Length of a series over its autocorrelation time, summed as long as pairs of correlations are positive; 1 to the
/// length, and 1 if it never moves.
fn effective(values: &[f64]) -> f64 {
    let n = values.len();
    let mean = aview1(values).mean().unwrap_or(0.0);
    let off: Vec<f64> = values.iter().map(|v| v - mean).collect();
    let covariance = |lag: usize| off[lag..].iter().zip(&off).map(|(a, b)| a * b).sum::<f64>();
    let own = covariance(0);
    if own <= 0.0 {
        return 1.0;
    }
    let mut time = -1.0;
    for lag in (0..n - 1).step_by(2) {
        let pair = (covariance(lag) + covariance(lag + 1)) / own;
        if pair <= 0.0 {
            break;
        }
        time += 2.0 * pair;
    }
    n as f64 / time.clamp(1.0, n as f64)
}

impl RowModel for BluModel {
    fn width(&self) -> usize {
        self.endmembers.ncols()
    }

    fn names(&self) -> Vec<String> {
        names(self.endmembers.nrows())
    }

    fn embed_rows(&self, rows: ArrayView2<'_, f64>) -> Result<RowEmbedding> {
        fitting(rows, self.width())?;
        let points = self.space.project(rows)?;
        let mut columns = abundances(points.view(), self.vertices.view());
        let mut deviations = Array2::zeros(columns.raw_dim());
        let simplices: Vec<(Simplex, &Draw)> =
            self.draws.iter().map(|d| (Simplex::new(d.vertices.view()), d)).collect();
        Zip::from(columns.rows_mut()).and(deviations.rows_mut()).and(rows.rows()).and(points.rows()).par_for_each(
            |mut mean, mut deviation, row, point| {
                let key = key(row);
                if let Some(&n) = self.known.get(&key) {
                    mean.assign(&self.abundances.row(n));
                    deviation.assign(&self.abundance_deviations.row(n));
                    return;
                }
                let noise = self.space.weights.variance(row).sqrt();
                // By its key: a row has the same draws wherever it stands.
                let mut rng = ChaCha8Rng::seed_from_u64(self.seed ^ key as u64);
                let (mut a, z) = (mean.to_vec(), point.to_vec());
                let mut residual = vec![0.0; z.len()];
                let mut squares = vec![0.0; a.len()];
                let mut sums = vec![0.0; a.len()];
                let mut draw = |(simplex, draw): &(Simplex, &Draw), a: &mut [f64]| {
                    simplex.draw(a, &z, draw.variance.sqrt() * noise, &draw.odds, &mut residual, &mut rng);
                };
                simplices.iter().take(BEFORE).for_each(|s| draw(s, &mut a));
                for simplex in &simplices {
                    // The second round forgets the draw before.
                    (0..2).for_each(|_| draw(simplex, &mut a));
                    for ((sum, square), a) in sums.iter_mut().zip(&mut squares).zip(&a) {
                        *sum += a;
                        *square += a * a;
                    }
                }
                let n = simplices.len() as f64;
                for (r, (m, s)) in mean.iter_mut().zip(deviation.iter_mut()).enumerate() {
                    *m = sums[r] / n;
                    *s = ((squares[r] - sums[r] * *m) / (n - 1.0).max(1.0)).max(0.0).sqrt();
                }
            },
        );
        Ok(RowEmbedding { columns, deviations: Some(deviations), classes: None })
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

#[cfg(test)]
mod tests {
    use ndarray::array;
    use rand::Rng;
    use rand_distr::StandardNormal;

    use super::*;
    use crate::unmix::Blu;
    use crate::unmix::scene::Scene;

    #[test]
    fn further_rows_are_drawn_by_the_seed_and_rows_of_the_fit_are_not() {
        let scene = Scene::new(12, 3, 20, 1.0, 9);
        let (rows, further) = (scene.with_noise(0.05, 1), scene.with_noise(0.05, 2));
        let model = Blu::params(3).burn_in(20).samples(20).seed(4).fit_matrix(rows.view()).unwrap();
        let other = BluModel { seed: 5, ..model.clone() };
        assert_ne!(model.embed_rows(further.view()), other.embed_rows(further.view()));
        assert_eq!(model.embed_rows(rows.view()), other.embed_rows(rows.view()));
    }

    #[test]
    fn quantiles_lie_between_neighbours() {
        let values = array![1.0, 2.0, 4.0, 8.0, 16.0];
        let cases = [(0.0, 1.0), (0.25, 2.0), (0.3, 2.4), (0.5, 4.0), (0.975, 15.2), (1.0, 16.0)];
        // As numpy.quantile.
        cases.into_iter().for_each(|(share, v)| assert!((quantile(values.view(), share) - v).abs() < 1e-12, "{share}"));
        assert_eq!(quantile(array![3.0].view(), 0.4), 3.0);
    }

    #[test]
    fn samples_count_by_their_correlation() {
        let mut rng = ChaCha8Rng::seed_from_u64(6);
        let n = 40_000;
        for correlation in [0.0, 0.5, 0.9, 0.98] {
            let mut at = 0.0;
            let series: Vec<f64> = (0..n)
                .map(|_| {
                    at = correlation * at + rng.sample::<f64, _>(StandardNormal);
                    at
                })
                .collect();
            // The autocorrelation time of an autoregressive series.
            let expected = f64::from(n) * (1.0 - correlation) / (1.0 + correlation);
            let found = effective(&series);
            assert!((found / expected - 1.0).abs() < 0.25, "{correlation}: {found}, not {expected}");
        }
    }

    #[test]
    fn series_that_hardly_move_count_once_and_swings_no_more_than_all() {
        assert_eq!(effective(&[0.3; 50]), 1.0);
        assert_eq!(effective(&[0.25; 50]), 1.0);
        assert!(effective(&[[0.0; 25], [1.0; 25]].concat()) < 5.0);
        let swings: Vec<f64> = (0..50).map(|i| f64::from(i % 2)).collect();
        assert_eq!(effective(&swings), 50.0);
    }
}
