use linfa::traits::{Fit, Predict, Transformer};
use ndarray::array;
use rand::Rng;
use rand_distr::StandardNormal;

use super::*;

/// Balls around the corners of a square, far from the origin, and which each row belongs to.
fn balls(n: usize) -> (Array2<f64>, Vec<usize>) {
    let mut rng = ChaCha8Rng::seed_from_u64(4);
    let corner = |i: usize, j: usize| if ((i % 4) >> j) & 1 == 1 { 1010.0 } else { 1000.0 };
    let rows = Array2::from_shape_fn((n, 2), |(i, j)| corner(i, j) + rng.sample::<f64, _>(StandardNormal));
    (rows, (0..n).map(|i| i % 4).collect())
}

/// Lloyd's rounds without bounds, in f64, from the nearest centres that a model has.
fn exhaustive(rows: &Array2<f64>, mut centres: Array2<f64>) -> f64 {
    for _ in 0..100 {
        let near = squared_distances(rows.view(), centres.view());
        let class = near.map_axis(Axis(1), least);
        for c in 0..centres.nrows() {
            let own: Vec<usize> = (0..rows.nrows()).filter(|i| class[*i] == c).collect();
            centres.row_mut(c).assign(&rows.select(Axis(0), &own).mean_axis(Axis(0)).unwrap());
        }
    }
    inertia(rows.view(), centres.view())
}

#[test]
fn balls_are_found_and_linfa_hears_of_them() {
    let (rows, truth) = balls(800);
    let model = KMeans::params(4).fit(&linfa::DatasetBase::from(rows.view())).unwrap();
    let classes: Array1<i64> = model.predict(&rows).unwrap();
    let right = classes.iter().zip(&truth).filter(|(c, t)| **c == classes[**t]).count();
    assert!(right > 797, "{right}");
    let distances = model.transform(&rows).unwrap();
    assert_eq!(distances.dim(), (800, 4));
    let least: f64 = distances.rows().into_iter().map(|r| r.iter().copied().fold(f64::MAX, f64::min).powi(2)).sum();
    assert!((least / model.inertia() - 1.0).abs() < 1e-9);
    assert!((model.inertia() / 1600.0 - 1.0).abs() < 0.1, "two columns of unit variance: {}", model.inertia());
}

#[test]
fn it_stands_where_rounds_of_all_distances_stand() {
    let mut rng = ChaCha8Rng::seed_from_u64(9);
    let rows = Array2::from_shape_fn((700, 19), |_| rng.gen_range(0.0..1.0));
    for clusters in [1, 7, 40] {
        let model = KMeans::params(clusters).starts(2).tolerance(0.0).fit_matrix(rows.view()).unwrap();
        let again = exhaustive(&rows, model.centres().to_owned());
        assert!((model.inertia() / again - 1.0).abs() < 1e-4, "{clusters}: {} {again}", model.inertia());
    }
}

#[test]
fn clusters_without_rows_are_filled_and_equal_rows_are_counted() {
    let mut rows = Array2::zeros((50, 3));
    (rows[(7, 0)], rows[(8, 1)]) = (1.0, -0.0);
    rows[(9, 2)] = 5.0;
    let model = KMeans::params(3).fit_matrix(rows.view()).unwrap();
    assert!(model.inertia() < 1e-12, "{}", model.inertia());
    assert_eq!(KMeans::params(4).fit_matrix(rows.view()), Err(Error::Distinct { clusters: 4, distinct: 3 }));
    // Two centres begin in one place.
    let mean = Array1::zeros(3);
    let data = Centred::new(rows.view(), mean.view());
    let (centres, _) = data.moved(&[0, 1, 2], 50, 0.0);
    assert!(inertia(rows.view(), (centres * data.unit()).view()) < 1e-12);
}

#[test]
fn threads_change_no_bit() {
    let (rows, _) = balls(3000);
    let on = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| KMeans::params(6).fit_matrix(rows.view()).unwrap())
    };
    assert_eq!(on(1), on(3));
}

#[test]
fn every_rejection() {
    let rows = array![[1.0, 2.0], [0.0, 1.0], [3.0, 0.5]];
    let refused = |params: Params<KMeans>| params.fit_matrix(rows.view()).unwrap_err().to_string();
    let two = KMeans::params(2);
    assert!(refused(KMeans::params(0)).contains("clusters is 0") && refused(KMeans::params(4)).contains("only 3"));
    assert!(refused(two.starts(0)).contains("starts is 0") && refused(two.rounds(0)).contains("rounds is 0"));
    assert!(refused(two.tolerance(f64::NAN)).contains("NaN") && refused(two.tolerance(-1.0)).contains("0 to 1"));
    assert!(two.fit_matrix(array![[1.0], [f64::INFINITY]].view()).unwrap_err().to_string().contains("row 1"));
    let model = two.fit_matrix(rows.view()).unwrap();
    assert_eq!(model.transform(&array![[1.0]]), Err(Error::Width { found: 1, expected: 2 }));
    assert!(KMeans::params(1).fit_matrix(array![[4.0, 2.0]].view()).unwrap().inertia() == 0.0, "a single row");
}

#[test]
fn clusters_on_a_large_offset_are_told_apart() {
    // Seconds since 1970, in two bursts 10 s apart, and a column of no interest.
    let rows = Array2::from_shape_fn((200, 2), |(i, j)| match j {
        0 => 1.7e9 + 10.0 * (i % 2) as f64 + 0.01 * ((i * 7) % 13) as f64,
        _ => 0.01 * ((i * 5) % 11) as f64,
    });
    let model = KMeans::params(2).fit_matrix(rows.view()).unwrap();
    let found = model.embed_rows(rows.view()).unwrap();
    let classes = found.classes.unwrap();
    assert!((0..200).all(|i| classes[i] == classes[i % 2]) && classes[0] != classes[1], "{classes}");
    for ((i, k), distance) in found.columns.indexed_iter() {
        let exact = (&rows.row(i) - &model.centres().row(k)).mapv(|v| v * v).sum().sqrt();
        assert!((distance - exact).abs() < 1e-6, "{distance} {exact}");
    }
}

#[test]
fn clusters_are_the_same_at_any_scale() {
    let (rows, _) = balls(400);
    let classes = |rows: &Array2<f64>| {
        let model = KMeans::params(4).fit_matrix(rows.view()).unwrap();
        (model.embed_rows(rows.view()).unwrap().classes.unwrap(), model.inertia())
    };
    let (expected, inertia) = classes(&rows);
    for scale in [1e-100, 1e-30, 1e20, 1e100] {
        let (found, scaled) = classes(&(&rows * scale));
        assert!((scaled / inertia / scale / scale - 1.0).abs() < 1e-9, "{scale:e}: {scaled:e} {inertia}");
        assert_eq!(found, expected, "{scale:e}");
    }
}

#[test]
fn tight_clusters_far_from_the_mean_are_told_apart() {
    let mut rng = ChaCha8Rng::seed_from_u64(6);
    for far in [1e4, 1e7] {
        // Two clusters one apart at each end.
        let centre = |i: usize| [far, -far][i % 2] + ((i / 2) % 2) as f64;
        let rows = Array2::from_shape_fn((400, 3), |(i, _)| centre(i) + 0.1 * rng.sample::<f64, _>(StandardNormal));
        let model = KMeans::params(4).fit_matrix(rows.view()).unwrap();
        assert!((model.inertia() / 12.0 - 1.0).abs() < 0.2, "{far}: {}", model.inertia());
        let classes = model.embed_rows(rows.view()).unwrap().classes.unwrap();
        assert!((0..400).all(|i| classes[i] == classes[i % 4]), "{far}: {classes}");
    }
}

#[test]
fn numbers_whose_squares_are_none_are_rejected() {
    let rows = array![[1.0, 2.0], [0.0, 1.0], [3.0, 1e200]];
    assert!(KMeans::params(2).fit_matrix(rows.view()).unwrap_err().to_string().contains("1e140"));
    let model = KMeans::params(2).fit_matrix(rows.slice(ndarray::s![..2, ..])).unwrap();
    assert!(model.embed_rows(rows.view()).unwrap_err().to_string().contains("1e140"));
}
