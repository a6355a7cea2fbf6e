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
    // Two balls far apart, of equal spread along columns of unlike scale: each form can describe them.
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
        assert!(right >= 398 && found[0] != found[1], "{form:?}: {right}");
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
    assert!(refused(two.regular(f64::NAN), 2).contains("NaN") && refused(two.regular(0.0), 2).contains("above 0"));
    assert!(refused(two.rounds(0), 2).contains("rounds is 0"));
    let alike = Array2::ones((20, 2));
    let error = GaussianMixture::params(2).fit(&linfa::DatasetBase::from(alike)).unwrap_err();
    assert_eq!(error, Error::Distinct { clusters: 2, distinct: 1 });
}
