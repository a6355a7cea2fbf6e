use ndarray::{array, s};

use super::*;
use crate::unmix::noise::{Noise, Weights};
use crate::unmix::space::Space;
use crate::unmix::vertices::log_volume;

/// Endmembers, rows, and rows of a block.
const SIZES: (usize, usize, usize) = (3, 6, 4);

/// Deviation of the endmembers' prior, and what stands outside the plane: the noise's own prior, with Jeffreys'.
const SPREAD: f64 = 0.4;
const OUTSIDE: (f64, f64) = (0.8, 20.0);

/// A state of the chain.
struct State {
    vertices: Array2<f64>,
    variance: f64,
    odds: Vec<f64>,
    abundances: Array2<f64>,
}

fn prior_vertices() -> Array2<f64> {
    array![[1.0, 0.1], [-0.5, 0.9], [-0.6, -0.8]]
}

fn space() -> Space {
    let axes = array![[0.5, 0.5, -0.5, -0.5], [0.5, -0.5, 0.5, -0.5]];
    let weights = Weights::of(Noise::Uniform, Array2::ones((1, 4)).view());
    Space { weights, centre: Array1::ones(4), axes }
}

/// A state of the prior: no spectrum is negative, absence has a probability that is uniform, but no row lacks all.
fn from_prior(absence: bool, rng: &mut ChaCha8Rng) -> State {
    let (r, n, _) = SIZES;
    let vertices = loop {
        let drawn = prior_vertices().mapv(|m| m + SPREAD * rng.sample::<f64, _>(StandardNormal));
        if (drawn.dot(&space().axes) + 1.0).iter().all(|m| *m >= 0.0) {
            break drawn;
        }
    };
    let variance = 0.5 * OUTSIDE.0 / rng.sample(Gamma::new(0.5 * OUTSIDE.1, 1.0).unwrap());
    let absent: Vec<f64> = (0..r).map(|_| if absence { rng.r#gen() } else { 0.0 }).collect();
    let mut abundances = Array2::zeros((n, r));
    for mut a in abundances.rows_mut() {
        while a.sum() == 0.0 {
            for (a, p) in a.iter_mut().zip(&absent) {
                *a = if rng.r#gen::<f64>() < *p { 0.0 } else { rng.sample(Exp1) };
            }
        }
        let sum = a.sum();
        a /= sum;
    }
    State { vertices, variance, odds: absent.iter().map(|p| p / (1.0 - p)).collect(), abundances }
}

/// Rows of a state, in the plane.
fn rows_of(state: &State, rng: &mut ChaCha8Rng) -> Projected {
    let variances: Vec<f64> = (0..SIZES.1).map(|n| 0.5 + n as f64 / SIZES.1 as f64).collect();
    let mut points = state.abundances.dot(&state.vertices);
    for (mut z, g) in points.rows_mut().into_iter().zip(&variances) {
        z.mapv_inplace(|z| z + (state.variance * g).sqrt() * rng.sample::<f64, _>(StandardNormal));
    }
    Projected { space: space(), points, variances, outside: OUTSIDE.0, freedom: OUTSIDE.1 }
}

/// A chain that is at a state.
fn chain_at<'a>(state: &State, data: &'a Projected, seed: u64) -> Chain<'a> {
    let part = |number: usize| {
        let rows = s![number * SIZES.2..(number * SIZES.2 + SIZES.2).min(SIZES.1), ..];
        let (a, z) = (state.abundances.slice(rows), data.points.slice(rows));
        Block::new(seed, number as u64 + 1, a, z, &data.variances[number * SIZES.2..][..a.nrows()])
    };
    Chain {
        data,
        rng: ChaCha8Rng::seed_from_u64(seed),
        blocks: (0..SIZES.1.div_ceil(SIZES.2)).map(part).collect(),
        vertices: state.vertices.clone(),
        prior: prior_vertices(),
        prior_variance: SPREAD * SPREAD,
        variance: state.variance,
        least_variance: 0.0,
        odds: state.odds.clone(),
        shares: Array2::zeros((SIZES.0, SIZES.0)),
        spectra: state.vertices.dot(&data.space.axes) + &data.space.centre,
        floor: Array1::zeros(4),
        square: data.points.rows().into_iter().zip(&data.variances).map(|(z, g)| z.dot(&z) / g).sum(),
    }
}

/// Where a chain is.
fn state_of(chain: &Chain<'_>) -> State {
    let abundances = chain.blocks.iter().flat_map(|b| b.now().to_vec()).collect();
    State {
        vertices: chain.vertices.clone(),
        variance: chain.variance,
        odds: chain.odds.clone(),
        abundances: Array2::from_shape_vec((SIZES.1, SIZES.0), abundances).unwrap(),
    }
}

/// What is compared of a state and the rows.
fn measures(state: &State, data: &Projected) -> Vec<(String, f64)> {
    let mut out = vec![("ln σ²".into(), state.variance.ln()), ("ln |T|".into(), log_volume(state.vertices.view()))];
    for (at, t) in state.vertices.indexed_iter() {
        let off = t - prior_vertices()[at];
        out.extend([(format!("t {at:?}"), *t), (format!("square of t {at:?}"), off * off)]);
    }
    let absent: Vec<f64> = state.odds.iter().map(|o| o / (1.0 + o)).collect();
    out.extend([("∏π".into(), absent.iter().product()), ("Σπ²".into(), absent.iter().map(|p| p * p).sum())]);
    for (i, p) in absent.iter().enumerate() {
        let a = state.abundances.column(i);
        let present = a.iter().filter(|a| **a > 0.0).count() as f64;
        out.extend([
            (format!("π {i}"), *p),
            (format!("present {i}"), present),
            (format!("π·present {i}"), p * present),
        ]);
        out.extend([(format!("a {i}"), a[2]), (format!("square of a {i}"), a.dot(&a))]);
    }
    let left = &data.points - &state.abundances.dot(&state.vertices);
    let squares = left.rows().into_iter().zip(&data.variances).map(|(l, g)| l.dot(&l) / g).sum::<f64>();
    out.extend([("squares".into(), squares), ("squares/σ²".into(), squares / state.variance)]);
    out
}

/// Of states that are drawn from the prior and rows that are drawn for them, each round of a chain leaves both
/// distributed as they were, whether it mixes or not: the mean of what changes is 0 (Geweke 2004, J. Am. Stat. Assoc.
/// 99, 799).
#[test]
fn rounds_leave_the_joint_distribution_of_states_and_rows_as_it_is() {
    let (replicates, rounds) = (4000, 12);
    for absence in [true, false] {
        let change = |replicate: u64| {
            let mut rng = ChaCha8Rng::seed_from_u64(replicate);
            let state = from_prior(absence, &mut rng);
            let data = rows_of(&state, &mut rng);
            let mut chain = chain_at(&state, &data, 1_000_000 + replicate);
            (0..rounds).for_each(|_| chain.round(absence));
            let (before, after) = (measures(&state, &data), measures(&state_of(&chain), &data));
            before.into_iter().zip(after).map(|((_, b), (_, a))| a - b).collect::<Vec<f64>>()
        };
        let changes: Vec<Vec<f64>> = (0..replicates).into_par_iter().map(change).collect();
        let mut rng = ChaCha8Rng::seed_from_u64(0);
        let state = from_prior(absence, &mut rng);
        let names = measures(&state, &rows_of(&state, &mut rng));
        for (place, (name, _)) in names.iter().enumerate() {
            let mean = changes.iter().map(|c| c[place]).sum::<f64>() / replicates as f64;
            let square = changes.iter().map(|c| (c[place] - mean).powi(2)).sum::<f64>() / replicates as f64;
            let error = (square / replicates as f64).sqrt();
            // Without absence only what concerns it stands still.
            let still = name.contains('π') || name.contains("present");
            assert!(square > 0.0 || (still && !absence), "{absence} {name}");
            assert!(mean.abs() <= 4.0 * error, "{absence} {name}: {:.2} standard errors", mean / error);
        }
    }
}
