use linfa::DatasetBase;
use linfa::traits::{Fit, FitWith};
use ndarray::{array, s};
use rand_distr::StandardNormal;

use super::*;

/// Rows around `centres`, which take turns.
fn blobs(n: usize, centres: &Array2<f64>, seed: u64) -> Array2<f64> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut rows = Array2::from_shape_fn((n, centres.ncols()), |_| rng.sample::<f64, _>(StandardNormal));
    rows.outer_iter_mut().enumerate().for_each(|(i, mut row)| row += &centres.row(i % centres.nrows()));
    rows
}

fn corners(k: usize, d: usize) -> Array2<f64> {
    Array2::from_shape_fn((k, d), |(c, j)| 1000.0 + 4.0 * ((c * 7 + j * 3 + c * j) as f64).sin())
}

#[test]
fn the_inertia_is_nearly_that_of_all_rows_at_once() {
    let rows = blobs(6000, &corners(8, 5), 1);
    let full = KMeans::params(8).fit_matrix(rows.view()).unwrap();
    let model = MiniBatchKMeans::params(8).batch(500).fit(&DatasetBase::from(rows.view())).unwrap();
    assert!(model.inertia() < full.inertia() * 1.01, "{} {}", model.inertia(), full.inertia());
    assert_eq!(model.rounds(), 60);
    // Each row once, as they come.
    let mut state = None;
    for batch in rows.axis_chunks_iter(Axis(0), 500) {
        state = Some(MiniBatchKMeans::params(8).fit_with(state.as_ref(), &DatasetBase::from(batch)).unwrap());
    }
    let state = state.unwrap();
    let streamed = inertia(rows.view(), state.centres());
    assert!(streamed < full.inertia() * 1.05, "{streamed} {}", full.inertia());
    assert_eq!((state.rows(), state.k_means().rounds()), (6000, 12));
    assert!((state.k_means().inertia() / streamed - 1.0).abs() < 0.05, "{} {streamed}", state.k_means().inertia());
}

#[test]
fn centres_are_the_means_of_all_rows_they_got() {
    let rows = blobs(900, &corners(1, 3), 2);
    let mut state = None;
    for batch in rows.axis_chunks_iter(Axis(0), 200) {
        state = Some(MiniBatchKMeans::params(1).fit_batch(state.as_ref(), batch).unwrap());
    }
    let off = &state.unwrap().centres().row(0) - &rows.mean_axis(Axis(0)).unwrap();
    assert!(off.iter().all(|d| d.abs() < 1e-4), "{off}");
}

#[test]
fn a_starving_centre_moves_where_it_is_needed_and_one_that_had_its_rows_stays() {
    let places = array![[0.0, 0.0], [60.0, 0.0], [0.0, 60.0], [60.0, 60.0]];
    let params = MiniBatchKMeans::params(4);
    // Two rows far off, which do not come back; the fourth place is not there yet.
    let mut first = blobs(600, &places.slice(s![..3, ..]).to_owned(), 3);
    first.slice_mut(s![..2, ..]).fill(-500.0);
    let mut state = params.fit_batch(None, first.view()).unwrap();
    assert!(state.centres().iter().any(|v| *v < -400.0));
    for seed in 4..24 {
        state = params.fit_batch(Some(&state), blobs(600, &places, seed).view()).unwrap();
    }
    let nearest = |state: &MiniBatchKMeansModel, place: ArrayView1<'_, f64>| {
        state.centres().outer_iter().map(|c| squared_distance(c, place)).fold(f64::MAX, f64::min)
    };
    // Two of them had the rows of the fourth place at first.
    assert!(places.outer_iter().all(|p| nearest(&state, p) < 9.0), "{}", state.centres());
    // Only the first place comes by, ten times as often as all others did.
    for seed in 30..60 {
        let one = blobs(600, &places.slice(s![..1, ..]).to_owned(), seed);
        state = params.fit_batch(Some(&state), one.view()).unwrap();
    }
    assert!(places.outer_iter().all(|p| nearest(&state, p) < 9.0), "{}", state.centres());
}

#[test]
fn more_clusters_than_a_batch_has_by_default() {
    let rows = Array2::from_shape_fn((2600, 1), |(i, _)| ((i * 937) % 2600) as f64);
    let streamed = MiniBatchKMeans::params(1100).fit_batch(None, rows.slice(s![..1300, ..])).unwrap();
    let streamed = MiniBatchKMeans::params(1100).fit_batch(Some(&streamed), rows.slice(s![1300.., ..])).unwrap();
    assert_eq!((streamed.centres().dim(), streamed.rows()), ((1100, 1), 2600));
    let drawn = MiniBatchKMeans::params(1100).passes(1).fit_matrix(rows.view()).unwrap();
    // Two batches of 1,100 and what is left.
    assert_eq!((drawn.centres().nrows(), drawn.rounds()), (1100, 3));
    assert!(drawn.inertia() < 2600.0, "{}", drawn.inertia());
}

#[test]
fn many_equal_rows_and_threads_and_seeds() {
    let mut rows = Array2::zeros((3000, 2));
    (rows[(7, 0)], rows[(1500, 1)]) = (1.0, 2.0);
    let model = MiniBatchKMeans::params(3).batch(10).fit_matrix(rows.view()).unwrap();
    assert!(model.inertia() < 1e-9, "{}", model.inertia());
    let rows = blobs(3000, &corners(6, 4), 5);
    let on = |threads: usize, seed: u64| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| MiniBatchKMeans::params(6).batch(700).seed(seed).fit_matrix(rows.view()).unwrap())
    };
    assert_eq!(on(1, 0), on(3, 0));
    assert_ne!(on(1, 0), on(1, 1));
}

#[test]
fn clusters_are_the_same_at_any_scale() {
    let rows = blobs(2000, &(corners(4, 3) * 3.0), 7);
    let relative = |scale: f64| {
        let scaled = &rows * scale;
        MiniBatchKMeans::params(4).batch(500).fit_matrix(scaled.view()).unwrap().inertia() / scale / scale
    };
    let one = relative(1.0);
    assert!([1e-30, 1e20, 1e100].iter().all(|s| (relative(*s) / one - 1.0).abs() < 1e-9), "{}", relative(1e20) / one);
}

#[test]
fn every_rejection() {
    let rows = array![[1.0, 2.0], [0.0, 1.0], [3.0, 0.5]];
    let two = MiniBatchKMeans::params(2);
    let refused = |params: Params<MiniBatchKMeans>| params.fit_matrix(rows.view()).unwrap_err().to_string();
    assert!(refused(MiniBatchKMeans::params(0)).contains("clusters is 0"));
    assert!(refused(MiniBatchKMeans::params(4)).contains("only 3"));
    assert!(refused(two.batch(1)).contains("batch is 1, accepted are 2 and more"));
    assert!(refused(two.passes(0)).contains("passes is 0") && refused(two.passes(10_001)).contains("1 to 10000"));
    let batch = |params: Params<MiniBatchKMeans>, state: Option<&MiniBatchKMeansModel>, rows: &Array2<f64>| {
        params.fit_batch(state, rows.view()).unwrap_err().to_string()
    };
    assert!(batch(MiniBatchKMeans::params(4), None, &rows).contains("only 3 of the rows differ"));
    let state = two.fit_batch(None, rows.view()).unwrap();
    assert!(batch(MiniBatchKMeans::params(3), Some(&state), &rows).contains("clusters is 3, accepted are 2"));
    assert!(batch(two, Some(&state), &array![[1.0]]).contains("rows of 1 numbers"));
    assert!(batch(two, Some(&state), &array![[1.0, f64::NAN]]).contains("row 0"));
    assert!(batch(two, Some(&state), &array![[1.0, 1e200]]).contains("1e140"));
    assert!(batch(two, Some(&state), &Array2::zeros((0, 2))).contains("0 rows"));
    let further = two.fit_batch(Some(&state), array![[9.0, 9.0]].view()).unwrap();
    assert_eq!(further.rows(), 4, "a later batch may be smaller than the number of clusters");
    assert!(two.fit_with(Some(&state), &DatasetBase::from(array![[f64::NAN, 0.0]])).is_err());
}
