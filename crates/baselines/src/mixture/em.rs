//! Expectation and maximisation of a mixture.

use std::f64::consts::TAU;

use ndarray::linalg::general_mat_mul;
use ndarray::{Array1, Array2, ArrayView1, ArrayView2, ArrayViewMut1, Axis, s};
use rayon::prelude::*;

use super::Covariance;
use crate::cholesky::{cholesky, solve_lower};
use crate::products::{BLOCK, part, product_of_columns};

/// Gain of ln p of a row in a round below which a mixture is at its end.
const TOLERANCE: f64 = 1e-6;
/// Rows that a component cannot have fewer of.
const LEAST: f64 = 1e-3;
/// Columns of a product of several components at once.
const WIDE: usize = 512;
/// Numbers of the covariances of several parts of the rows that are held at a time.
const HELD: usize = 1 << 23;

/// Weighted Gaussians.
pub(super) struct Gaussians {
    pub(super) weights: Array1<f64>,
    pub(super) means: Array2<f64>,
    /// Lower triangles L of Σₖ = L·Lᵀ; one if they are tied.
    pub(super) factors: Vec<Array2<f64>>,
    pub(super) covariance: Covariance,
}

/// A mixture that was fitted.
pub(super) struct Fit {
    pub(super) gaussians: Gaussians,
    /// p(k|x) of its rows.
    pub(super) shares: Array2<f64>,
    /// Mean of ln p over its rows.
    pub(super) likelihood: f64,
    pub(super) converged: bool,
}

impl Fit {
    /// Whether it is to be preferred to `other`.
    pub(super) fn goes_before(&self, other: &Self) -> bool {
        let (own, others) = (self.fills_its_components(), other.fills_its_components());
        if own == others { self.likelihood > other.likelihood } else { own }
    }

    /// Whether each component has as many rows as leave it no direction without variance.
    fn fills_its_components(&self) -> bool {
        let needed = match self.gaussians.covariance {
            Covariance::Full => self.gaussians.means.ncols() + 1,
            Covariance::Diagonal | Covariance::Spherical => 2,
            Covariance::Tied => 1,
        };
        let rows = self.shares.nrows() as f64;
        // Shares are not quite whole.
        self.gaussians.weights.iter().all(|weight| weight * rows > needed as f64 - 0.5)
    }
}

/// The best mixture after some rounds from `shares` of the components in the rows, (N, K); none if a component has no rows.
pub(super) fn improved(
    rows: ArrayView2<'_, f64>,
    mut shares: Array2<f64>,
    covariance: Covariance,
    regular: f64,
    rounds: usize,
) -> Option<Fit> {
    let mut last: Option<(Gaussians, f64)> = None;
    let mut converged = false;
    for _ in 0..rounds {
        // A component that has lost its rows ends a start, but what it was before is a mixture still.
        let Some(next) = maximised(rows, &shares, covariance, regular) else { break };
        let log_p = joint(rows, next.weights.view(), next.means.view(), &next.factors, covariance);
        let (next_shares, log_p) = normalised(log_p);
        let likelihood = log_p.mean()?;
        if !likelihood.is_finite() {
            break;
        }
        shares = next_shares;
        converged = last.as_ref().is_some_and(|(_, before)| (likelihood - before).abs() < TOLERANCE);
        last = Some((next, likelihood));
        if converged {
            break;
        }
    }
    last.map(|(gaussians, likelihood)| Fit { gaussians, shares, likelihood, converged })
}

/// The mixture of these shares.
fn maximised(
    rows: ArrayView2<'_, f64>,
    shares: &Array2<f64>,
    covariance: Covariance,
    regular: f64,
) -> Option<Gaussians> {
    let (n, d) = rows.dim();
    let counts = shares.sum_axis(Axis(0));
    if counts.iter().any(|c| *c < LEAST) {
        return None;
    }
    let means = product_of_columns(shares.view(), rows) / counts.view().insert_axis(Axis(1));
    let factor = |mut covariance: Array2<f64>| {
        covariance.diag_mut().mapv_inplace(|v| v + regular);
        cholesky(covariance)
    };
    let factors = match covariance {
        Covariance::Full => {
            let own = scatters(rows, shares, &means).into_par_iter().zip(counts.to_vec());
            own.map(|(scatter, count)| factor(scatter / count)).collect::<Option<Vec<_>>>()?
        }
        Covariance::Tied => {
            let sum = scatters(rows, shares, &means).into_iter().fold(Array2::zeros((d, d)), |sum, own| sum + own);
            vec![factor(sum / n as f64)?]
        }
        Covariance::Diagonal | Covariance::Spherical => {
            let mut variances = squares_about(rows, shares, &means) / counts.view().insert_axis(Axis(1));
            if covariance == Covariance::Spherical {
                for mut row in variances.outer_iter_mut() {
                    row.fill(row.mean()?);
                }
            }
            variances.outer_iter().map(|own| Array2::from_diag(&own.mapv(|v| (v + regular).sqrt()))).collect()
        }
    };
    Some(Gaussians { weights: counts / n as f64, means, factors, covariance })
}

/// Σᵢ rᵢₖ (xᵢ − mₖ)(xᵢ − mₖ)ᵀ of each component.
///
/// It is Σᵢ xᵢ yᵢₖᵀ − mₖ (Σᵢ yᵢₖ)ᵀ with yᵢₖ = rᵢₖ (xᵢ − mₖ): products of the rows with the y of several components beside each
/// other, in which far means cancel to first order only.
fn scatters(rows: ArrayView2<'_, f64>, shares: &Array2<f64>, means: &Array2<f64>) -> Vec<Array2<f64>> {
    let ((n, d), k) = (rows.dim(), means.nrows());
    let together = (WIDE / d).clamp(1, k);
    // As many parts as fit, whatever the number of threads.
    let part = part(n).max(n.div_ceil((HELD / (k * d * d)).max(1)));
    let of = |first: usize, rows: ArrayView2<'_, f64>, shares: ArrayView2<'_, f64>| {
        let means = means.slice(s![first..(first + together).min(k), ..]);
        let width = means.len();
        let (mut sums, mut totals) = (Array2::<f64>::zeros((d, width)), Array1::<f64>::zeros(width));
        let mut offs = Array2::<f64>::zeros((width, BLOCK.min(rows.nrows())));
        for (rows, shares) in rows.axis_chunks_iter(Axis(0), BLOCK).zip(shares.axis_chunks_iter(Axis(0), BLOCK)) {
            let (points, shares) = (in_columns(rows), in_columns(shares));
            let mut offs = offs.slice_mut(s![.., ..rows.nrows()]);
            for (at, (mut off, total)) in offs.outer_iter_mut().zip(&mut totals).enumerate() {
                let (k, j) = (at / d, at % d);
                let mean = means[(k, j)];
                off.zip_mut_with(&points.row(j), |off, v| *off = v - mean);
                off *= &shares.row(first + k);
                *total += off.sum();
            }
            general_mat_mul(1.0, &points, &offs.t(), 1.0, &mut sums);
        }
        for ((mut sums, mean), totals) in
            sums.axis_chunks_iter_mut(Axis(1), d).zip(means.outer_iter()).zip(totals.exact_chunks(d))
        {
            for (mut row, m) in sums.outer_iter_mut().zip(mean) {
                row.scaled_add(-m, &totals);
            }
        }
        sums
    };
    let groups: Vec<usize> = (0..k).step_by(together).collect();
    let parts: Vec<_> = rows.axis_chunks_iter(Axis(0), part).zip(shares.axis_chunks_iter(Axis(0), part)).collect();
    let tasks: Vec<_> = groups.iter().flat_map(|first| parts.iter().map(move |part| (*first, part))).collect();
    let sums: Vec<Array2<f64>> = tasks.par_iter().map(|(first, (rows, shares))| of(*first, *rows, *shares)).collect();
    let whole = sums.chunks(parts.len()).flat_map(|sums| {
        let sum = sums.iter().fold(Array2::zeros(sums[0].dim()), |sum, part| sum + part);
        sum.axis_chunks_iter(Axis(1), d).map(|own| own.to_owned()).collect::<Vec<_>>()
    });
    whole.collect()
}

/// Σᵢ rᵢₖ (xᵢ − mₖ)² of each component, (K, D).
fn squares_about(rows: ArrayView2<'_, f64>, shares: &Array2<f64>, means: &Array2<f64>) -> Array2<f64> {
    let part = part(rows.nrows());
    let parts = rows.axis_chunks_iter(Axis(0), part).into_par_iter();
    let of = |(rows, shares): (ArrayView2<'_, f64>, ArrayView2<'_, f64>)| {
        let mut sums = Array2::<f64>::zeros(means.dim());
        for (rows, shares) in rows.axis_chunks_iter(Axis(0), BLOCK).zip(shares.axis_chunks_iter(Axis(0), BLOCK)) {
            let (points, shares) = (in_columns(rows), in_columns(shares));
            for (((k, j), sum), mean) in sums.indexed_iter_mut().zip(means) {
                let off = &points.row(j) - *mean;
                *sum += off.dot(&(&off * &shares.row(k)));
            }
        }
        sums
    };
    let sums: Vec<Array2<f64>> = parts.zip(shares.axis_chunks_iter(Axis(0), part)).map(of).collect();
    sums.into_iter().fold(Array2::zeros(means.dim()), |sum, part| sum + part)
}

/// One row to a column, so that steps over a block of rows go along contiguous numbers.
fn in_columns(rows: ArrayView2<'_, f64>) -> Array2<f64> {
    rows.t().as_standard_layout().into_owned()
}

/// ln πₖ N(x; mₖ, Σₖ), (N, K); −∞ where it is below all of f64.
pub(super) fn joint(
    rows: ArrayView2<'_, f64>,
    weights: ArrayView1<'_, f64>,
    means: ArrayView2<'_, f64>,
    factors: &[Array2<f64>],
    covariance: Covariance,
) -> Array2<f64> {
    let d = rows.ncols();
    let round = matches!(covariance, Covariance::Diagonal | Covariance::Spherical);
    let inverse = |factor: &Array2<f64>| {
        let mut inverse = Array2::eye(d);
        solve_lower(factor.view(), inverse.view_mut());
        inverse
    };
    let inverses: Vec<Array2<f64>> = if round { Vec::new() } else { factors.par_iter().map(inverse).collect() };
    let of = |k: usize| k.min(factors.len() - 1);
    let constant = |k: usize| {
        let log_det: f64 = factors[of(k)].diag().iter().map(|v| v.ln()).sum();
        weights[k].ln() - log_det - 0.5 * d as f64 * TAU.ln()
    };
    let constants: Vec<f64> = (0..weights.len()).map(constant).collect();
    let mut log_p = Array2::zeros((rows.nrows(), constants.len()));
    let blocks = log_p.axis_chunks_iter_mut(Axis(0), BLOCK).into_par_iter();
    blocks.zip(rows.axis_chunks_iter(Axis(0), BLOCK)).for_each(|(mut log_p, rows)| {
        let points = in_columns(rows);
        let (mut off, mut white) = (Array2::zeros(points.dim()), Array2::zeros(points.dim()));
        for (k, constant) in constants.iter().enumerate() {
            for (j, (mut off, point)) in off.outer_iter_mut().zip(points.outer_iter()).enumerate() {
                let (mean, unit) = (means[(k, j)], if round { factors[of(k)][(j, j)] } else { 1.0 });
                off.zip_mut_with(&point, |off, v| *off = (v - mean) / unit);
            }
            let white = if round {
                &off
            } else {
                general_mat_mul(1.0, &inverses[of(k)], &off, 0.0, &mut white);
                &white
            };
            let squares = white.outer_iter().fold(Array1::<f64>::zeros(rows.nrows()), |mut sums, row| {
                sums.zip_mut_with(&row, |sum, v| *sum += v * v);
                sums
            });
            // Of a row too far off, ∞ or ∞ − ∞.
            let log = |square: f64| if square < f64::INFINITY { constant - 0.5 * square } else { f64::NEG_INFINITY };
            log_p.column_mut(k).assign(&squares.mapv(log));
        }
    });
    log_p
}

/// p(k|x) of ln πₖ N(x; mₖ, Σₖ), and ln p of each row. A row that has no density in f64 is shared evenly.
pub(super) fn normalised(mut log_p: Array2<f64>) -> (Array2<f64>, Array1<f64>) {
    let mut log_sums = Array1::zeros(log_p.nrows());
    let blocks = log_p.axis_chunks_iter_mut(Axis(0), BLOCK).into_par_iter();
    blocks.zip(log_sums.axis_chunks_iter_mut(Axis(0), BLOCK)).for_each(|(mut log_p, mut log_sums)| {
        let share = |(mut row, log_sum_of): (ArrayViewMut1<'_, f64>, &mut f64)| {
            *log_sum_of = log_sum(row.view());
            if *log_sum_of == f64::NEG_INFINITY {
                row.fill(1.0 / row.len() as f64);
            } else {
                row.mapv_inplace(|v| (v - *log_sum_of).exp());
            }
        };
        log_p.outer_iter_mut().zip(&mut log_sums).for_each(share);
    });
    (log_p, log_sums)
}

/// ln Σ eˣ.
pub(super) fn log_sum(values: ArrayView1<'_, f64>) -> f64 {
    let most = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if most == f64::NEG_INFINITY {
        return most;
    }
    most + values.iter().map(|v| (v - most).exp()).sum::<f64>().ln()
}
