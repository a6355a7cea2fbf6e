use std::f64::consts::TAU;

use linfa::traits::{Fit, Predict};
use ndarray::array;
use rand::Rng;
use rand_distr::StandardNormal;

use super::*;

/// Long sticks side by side, and which each point belongs to.
fn sticks(n: usize) -> (Array2<f64>, Array1<i64>) {
    let mut rng = ChaCha8Rng::seed_from_u64(3);
    let mut normal = || rng.sample::<f64, _>(StandardNormal);
    let mut points = Array2::zeros((3 * n, 2));
    for (i, mut p) in points.rows_mut().into_iter().enumerate() {
        (p[0], p[1]) = (4.0 * normal(), 100.0 * ((i % 3) as f64 + 0.08 * normal()));
    }
    (points, (0..3 * n).map(|i| (i % 3) as i64).collect())
}

#[test]
fn sticks_are_told_apart_and_their_shapes_are_found() {
    let (points, truth) = sticks(200);
    let fitted = || GaussianMixture::params(3).starts(50).fit(&linfa::DatasetBase::from(points.view())).unwrap();
    let model = fitted();
    let found: Array1<i64> = model.predict(&points).unwrap();
    for k in 0..3i64 {
        let of: Vec<i64> = (0..600).filter(|i| truth[*i] == k).map(|i| found[i]).collect();
        assert!(of.iter().all(|c| *c == of[0]), "stick {k} is one component");
        let (mean, covariance) = (model.means.row(of[0] as usize), model.covariance(of[0] as usize).unwrap());
        assert!((mean[1] - 100.0 * k as f64).abs() < 3.0 && mean[0].abs() < 1.0, "{mean}");
        assert!((covariance[(0, 0)] / 16.0 - 1.0).abs() < 0.3 && (covariance[(1, 1)] / 64.0 - 1.0).abs() < 0.3);
    }
    assert!((&model.weights - 1.0 / 3.0).iter().all(|w| w.abs() < 0.01));
    let shares = model.shares(points.view()).unwrap();
    assert!(model.shares(array![[0.0]].view()).is_err() && model.classes(array![[0.0, f64::NAN]].view()).is_err());
    assert!(shares.sum_axis(Axis(1)).iter().all(|s| (s - 1.0).abs() < 1e-9));
    assert_eq!(model, fitted(), "the seed decides");
}

#[test]
fn one_component_is_the_gaussian_of_the_points() {
    let (points, _) = sticks(100);
    let model = GaussianMixture::params(1).fit(&linfa::DatasetBase::from(points.view())).unwrap();
    let mean = points.mean_axis(Axis(0)).unwrap();
    let off = &points - &mean;
    let covariance = off.t().dot(&off) / 300.0;
    assert!((&model.means.row(0) - &mean).iter().all(|d| d.abs() < 1e-9));
    assert!((&model.covariance(0).unwrap() / &covariance - 1.0).diag().iter().all(|d| d.abs() < 1e-5));
    // ln p of a Gaussian at its own points: −(D/2)(1 + ln 2π) − ½ ln |Σ|.
    let det = covariance[(0, 0)] * covariance[(1, 1)] - covariance[(0, 1)].powi(2);
    let expected = -(1.0 + TAU.ln()) - 0.5 * det.ln();
    assert!((model.log_likelihood - expected).abs() < 1e-4, "{} {expected}", model.log_likelihood);
}

#[test]
fn every_form_finds_clusters_of_its_own_form() {
    let mut rng = ChaCha8Rng::seed_from_u64(5);
    // Two clusters far apart along columns of unlike scale: each form can tell them apart.
    let points = Array2::from_shape_fn((400, 3), |(i, j)| {
        10f64.powi(j as i32) * (rng.sample::<f64, _>(StandardNormal) + if i % 2 == 0 { 5.0 } else { 0.0 })
    });
    let mut likelihoods = Vec::new();
    for form in [Covariance::Full, Covariance::Tied, Covariance::Diagonal, Covariance::Spherical] {
        let params = GaussianMixture::params(2).covariance(form);
        let model = params.fit(&linfa::DatasetBase::from(points.view())).unwrap();
        assert!(model.converged, "{form:?}");
        let found: Array1<i64> = model.predict(&points).unwrap();
        let right = found.iter().enumerate().filter(|(i, c)| **c == found[i % 2]).count();
        // Balls are as wide as the widest column, along which 1 in 160 of either is nearer to the other.
        let enough = if form == Covariance::Spherical { 390 } else { 398 };
        assert!(right >= enough && found[0] != found[1], "{form:?}: {right}");
        let densities = model.log_densities(points.view()).unwrap();
        assert!((densities.mean().unwrap() - model.log_likelihood).abs() < 1e-4);
        let numbers = (model.bic - model.aic) / (400f64.ln() - 2.0);
        assert!((numbers - [19.0, 13.0, 13.0, 9.0][likelihoods.len()]).abs() < 1e-9, "{form:?}: {numbers}");
        likelihoods.push(model.log_likelihood);
    }
    assert!(likelihoods[0] >= likelihoods[1] && likelihoods[0] >= likelihoods[2] && likelihoods[2] >= likelihoods[3]);
}

#[test]
fn not_to_converge_is_told_and_no_error() {
    let (points, _) = sticks(100);
    let model = GaussianMixture::params(4).rounds(2).fit(&linfa::DatasetBase::from(points.view())).unwrap();
    assert!(!model.converged && model.log_likelihood.is_finite());
}

#[test]
fn more_numbers_than_rows_and_constant_columns_are_no_error() {
    let mut rng = ChaCha8Rng::seed_from_u64(5);
    let points = Array2::from_shape_fn((60, 100), |(_, j)| if j == 7 { 3.0 } else { rng.sample(StandardNormal) });
    let model = GaussianMixture::params(4).fit(&linfa::DatasetBase::from(points.view())).unwrap();
    assert!(model.log_likelihood.is_finite());
    assert!((model.shares(points.view()).unwrap().sum_axis(Axis(1)) - 1.0).iter().all(|s| s.abs() < 1e-9));
}

#[test]
fn every_rejection() {
    let points = array![[0.0, 1.0], [1.0, 0.0], [2.0, f64::NAN]];
    let refused = |params: Params<GaussianMixture>, rows: usize| {
        let rows = points.slice(ndarray::s![..rows, ..]);
        params.fit(&linfa::DatasetBase::from(rows)).unwrap_err().to_string()
    };
    let two = GaussianMixture::params(1);
    assert!(refused(GaussianMixture::params(2), 2).contains("is 2, accepted are 1 to 1"));
    assert!(refused(GaussianMixture::params(0), 2).contains("components is 0"));
    assert!(refused(two.starts(0), 2).contains("starts is 0") && refused(two, 3).contains("row 2"));
    assert!(refused(two.regular(f64::NAN), 2).contains("NaN") && refused(two.regular(0.0), 2).contains("1e-12 to 1"));
    assert!(refused(two.regular(1e-20), 2).contains("is 1e-20, accepted are 1e-12 to 1"));
    assert!(refused(two, 1).contains("rows is 1, accepted are at least 2"));
    assert!(refused(two.rounds(0), 2).contains("rounds is 0"));
    let alike = Array2::ones((20, 2));
    let error = GaussianMixture::params(2).fit(&linfa::DatasetBase::from(alike)).unwrap_err();
    assert_eq!(error, Error::Distinct { clusters: 2, distinct: 1 });
}

#[test]
fn every_form_agrees_with_scikit_learn() {
    let mut state = 12345u64;
    let mut next = || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 40) as f64 / (1u64 << 24) as f64
    };
    let points = Array2::from_shape_fn((90, 3), |(i, j)| {
        [1.0, 4.0, 0.5][j] * (next() + next() - 1.0) + if i % 3 == 0 { 3.0 } else { 0.0 }
    });
    // sklearn.mixture.GaussianMixture(2, n_init=20, tol=1e-12), version 1.9.1: weight, mean and variances of the lesser
    // component, mean of ln p, AIC and BIC.
    let (full, thirds) = ([0.1849413, 3.38094133, 0.04636993], [2.97164978, 2.48854635, 3.03272609]);
    let tied = [0.16409113, 2.77355577, 0.04105548];
    let ball = ([2.95835425, 2.49183111, 3.01899071], [1.22458786; 3]);
    let cases = [
        (Covariance::Full, 1.0 / 3.0, thirds, full, [-2.8341357045255005, 548.1444268145901, 595.6408105508651]),
        (Covariance::Tied, 1.0 / 3.0, thirds, tied, [-2.8714716083436733, 542.8648895018612, 575.3624152161547]),
        (Covariance::Diagonal, 1.0 / 3.0, thirds, full, [-2.893685056448135, 546.8633101606644, 579.3608358749578]),
        (Covariance::Spherical, 0.33463548, ball.0, ball.1, [-4.864955164136364, 893.6919295445456, 916.190216577518]),
    ];
    for (form, weight, mean, variances, criteria) in cases {
        let model = GaussianMixture::params(2).covariance(form).starts(20).fit_matrix(points.view()).unwrap();
        let k = usize::from(model.weights[1] < model.weights[0]);
        let near = |a: f64, b: f64| (a - b).abs() < 2e-3 * b.abs().max(1.0);
        assert!(near(model.weights[k], weight), "{form:?}: {}", model.weights);
        assert!(model.means.row(k).iter().zip(mean).all(|(a, b)| near(*a, b)), "{form:?}: {}", model.means);
        let found = model.covariance(k).unwrap();
        assert!(found.diag().iter().zip(variances).all(|(a, b)| near(*a, b)), "{form:?}: {found}");
        let found = [model.log_likelihood, model.aic, model.bic];
        assert!(found.iter().zip(criteria).all(|(a, b)| near(*a, b)), "{form:?}: {found:?}");
    }
}

#[test]
fn a_start_that_collapsed_onto_a_few_rows_is_not_the_likeliest() {
    let mut rng = ChaCha8Rng::seed_from_u64(8);
    let points = Array2::from_shape_fn((1000, 20), |_| rng.sample::<f64, _>(StandardNormal));
    let model = GaussianMixture::params(10).starts(20).fit_matrix(points.view()).unwrap();
    let least = model.weights.iter().copied().fold(1.0, f64::min);
    assert!(least * 1000.0 >= 21.0, "{}", model.weights);
}

#[test]
fn numbers_without_a_square_are_rejected_and_rows_without_a_density_are_shared() {
    let (points, _) = sticks(50);
    let model = GaussianMixture::params(3).fit_matrix(points.view()).unwrap();
    let huge = array![[1e200, 0.0]];
    let rejected = |error: Error| error.to_string().contains("1e140");
    assert!(rejected(model.shares(huge.view()).unwrap_err()) && rejected(model.classes(huge.view()).unwrap_err()));
    assert!(rejected(model.log_densities(huge.view()).unwrap_err()));
    let mut bad = points.clone();
    bad[(3, 1)] = 1e200;
    assert!(rejected(GaussianMixture::params(3).fit_matrix(bad.view()).unwrap_err()));
    // Of sticks that are thin beside 1e140.
    let model = GaussianMixture::params(3).fit_matrix((&points * 1e-30).view()).unwrap();
    let far = array![[1e135, -1e135]];
    assert_eq!(model.log_densities(far.view()).unwrap().to_vec(), [f64::NEG_INFINITY]);
    assert!((model.shares(far.view()).unwrap().sum() - 1.0).abs() < 1e-9);
}

#[test]
fn small_steps_on_a_large_offset_are_told_apart() {
    let mut rng = ChaCha8Rng::seed_from_u64(9);
    // Steps of a millisecond, in seconds since 1970, told to 0.24 µs.
    let points = Array2::from_shape_fn((200, 1), |(i, _)| {
        1.7e9 + 1e-3 * (i % 2) as f64 + 1e-5 * rng.sample::<f64, _>(StandardNormal)
    });
    for form in [Covariance::Full, Covariance::Tied, Covariance::Diagonal, Covariance::Spherical] {
        let model = GaussianMixture::params(2).covariance(form).fit_matrix(points.view()).unwrap();
        let classes = model.classes(points.view()).unwrap();
        assert!((0..200).all(|i| classes[i] == classes[i % 2]) && classes[0] != classes[1], "{form:?}: {classes}");
    }
}

#[test]
fn the_least_regularisation_holds_where_columns_and_rows_are_copies() {
    let (points, _) = sticks(40);
    // Each column ten times, each row three times.
    let copies = Array2::from_shape_fn((360, 20), |(i, j)| points[(i / 3, j % 2)]);
    for form in [Covariance::Full, Covariance::Tied] {
        let model = GaussianMixture::params(3).covariance(form).regular(1e-12).fit_matrix(copies.view()).unwrap();
        assert!(model.log_likelihood().is_finite(), "{form:?}");
    }
}

#[test]
fn of_equally_likely_components_the_first_is_the_class() {
    let points = Array2::from_shape_fn((40, 1), |(i, _)| (i % 2) as f64 * 4.0 + 0.1 * ((i / 2) % 5) as f64);
    let model = GaussianMixture::params(2).fit_matrix((&points * 1e-30).view()).unwrap();
    let far = array![[1e130], [-1e130]];
    assert_eq!(model.log_densities(far.view()).unwrap().to_vec(), [f64::NEG_INFINITY; 2]);
    let found = model.embed_rows(far.view()).unwrap();
    assert_eq!(found.columns, Array2::from_elem((2, 2), 0.5));
    assert_eq!(
        (found.classes.unwrap().to_vec(), model.classes(far.view()).unwrap().to_vec()),
        (vec![0; 2], vec![0; 2])
    );
    // The log of the odds is told where their shares, 1 and 1 less rounding, are not.
    assert_eq!(likeliest(&array![[-1.0, -1.0], [-2.0, -1.0], [f64::NEG_INFINITY; 2]]).to_vec(), [0, 1, 0]);
}

#[test]
fn threads_change_no_bit() {
    let (points, _) = sticks(400);
    for form in [Covariance::Full, Covariance::Tied, Covariance::Diagonal, Covariance::Spherical] {
        let on = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| GaussianMixture::params(3).covariance(form).fit_matrix(points.view()).unwrap())
        };
        assert_eq!(on(1), on(3), "{form:?}");
    }
}
