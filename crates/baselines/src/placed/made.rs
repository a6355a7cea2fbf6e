//! Rows whose truth is known, and what any method that places rows must do with them.

use linfa::ParamGuard;
use linfa::traits::{Fit, Transformer};
use ndarray::{Array2, ArrayView2, Axis, concatenate, s};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::StandardNormal;

use crate::neighbours::nearest;
use crate::{Error, Method, Params, RowModel};

/// Four balls in ten dimensions, far apart; the class of a row is its number modulo 4.
fn balls(n: usize) -> Array2<f64> {
    let mut rng = ChaCha8Rng::seed_from_u64(11);
    Array2::from_shape_fn((n, 10), |(i, j)| if i % 4 == j { 12.0 } else { rng.sample(StandardNormal) })
}

/// A rolled sheet.
pub(crate) fn roll(n: usize) -> Array2<f64> {
    let mut rng = ChaCha8Rng::seed_from_u64(12);
    let mut rows = Array2::zeros((n, 3));
    for mut row in rows.rows_mut() {
        let (angle, height): (f64, f64) = (4.0 + rng.gen_range(0.0..9.0), rng.gen_range(0.0..20.0));
        row.assign(&ndarray::array![angle * angle.cos(), height, angle * angle.sin()]);
    }
    rows
}

/// How far near places are those of near rows, over 10 neighbours.
fn trustworthiness(rows: ArrayView2<'_, f64>, places: ArrayView2<'_, f64>) -> f64 {
    let narrow = |of: ArrayView2<'_, f64>| of.mapv(|v| v as f32);
    parsimon_metrics::trustworthiness(narrow(rows).view(), narrow(places).view(), 10).unwrap()
}

/// Balls stay apart in 1 to 3 dimensions: the nearest place is that of a row of the same ball.
pub(crate) fn clusters_stay_apart<M: Method>(of: impl Fn(usize) -> Params<M>) {
    let rows = balls(400);
    for dimensions in 1..=3 {
        let model = of(dimensions).fit_matrix(rows.view()).unwrap();
        let places = model.embed_rows(rows.view()).unwrap().columns;
        let near = nearest(places.view(), None, 1).rows;
        let kept = near.column(0).iter().enumerate().filter(|(i, j)| i % 4 == *j % 4).count();
        assert_eq!(kept, 400, "{dimensions} dimensions");
    }
}

/// What is near on a rolled sheet stays near, of the rows of the fit and with further ones between them.
pub(crate) fn a_rolled_sheet_is_trustworthy<M: Method>(params: Params<M>, least: f64, with_further: f64) {
    let (rows, further) = (roll(1000), roll(1200));
    let (fitted, further) = (rows.slice(s![..800, ..]), further.slice(s![1000.., ..]));
    let model = params.fit_matrix(fitted).unwrap();
    let places = model.embed_rows(fitted).unwrap().columns;
    let found = trustworthiness(fitted, places.view());
    assert!(found > least, "{found}");
    let rows = concatenate(Axis(0), &[fitted, further]).unwrap();
    let beside = model.embed_rows(further).unwrap().columns;
    let found = trustworthiness(rows.view(), concatenate(Axis(0), &[places.view(), beside.view()]).unwrap().view());
    assert!(found > with_further, "{found} with further rows");
}

/// The same bits from any number of threads, others from another seed.
pub(crate) fn threads_change_no_bit<M: Method>(of: impl Fn(u64) -> Params<M> + Sync)
where
    M::Model: PartialEq + Send,
{
    let rows = roll(1300);
    let with = |threads: usize, seed: u64| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| of(seed).fit_matrix(rows.view()).unwrap())
    };
    let one = with(1, 3);
    assert!(one == with(2, 3));
    assert!(one != with(2, 4));
}

/// linfa's traits give what the model itself does; further rows join their cluster, no farther from it than its rows.
pub(crate) fn further_rows_join_their_cluster<M>(params: Params<M>, name: &str)
where
    M: Method + Fit<Array2<f64>, ndarray::Array1<()>, Error, Object = M::Model>,
    M::Model: for<'a> Transformer<&'a Array2<f64>, crate::Result<Array2<f64>>>,
{
    let rows = balls(240);
    let model = params.check_ref().unwrap().fit(&linfa::DatasetBase::from(rows.clone())).unwrap();
    assert_eq!(model.names(), [1, 2, 3].map(|k| format!("{name}{k}")));
    let places = model.transform(&rows).unwrap();
    assert_eq!(places, model.embed_rows(rows.view()).unwrap().columns);
    let near = nearest(model.transform(&(&rows + 0.01)).unwrap().view(), Some(places.view()), 1);
    assert!(near.rows.column(0).iter().enumerate().all(|(row, j)| j % 4 == row % 4));
    let apart = nearest(places.view(), None, 12).distances;
    assert!(near.distances.mean().unwrap() < apart.column(11).mean().unwrap());
    assert_eq!(model.transform(&Array2::zeros((2, 5))), Err(Error::Width { found: 5, expected: 10 }));
}

/// Equal rows have one finite place, and so have rows among them; rows that differ have places apart.
pub(crate) fn equal_rows_are_placed<M: Method>(of: impl Fn(usize) -> Params<M>) {
    let copies = Array2::from_shape_fn((200, 3), |(i, j)| (i % 4 * (j + 1)) as f64);
    for (kinds, rows) in [(1, Array2::from_elem((120, 2), 0.1)), (4, copies)] {
        for dimensions in 1..=3 {
            let model = of(dimensions).fit_matrix(rows.view()).unwrap();
            for rows in [rows.clone(), &rows + 0.5] {
                let places = model.embed_rows(rows.view()).unwrap().columns;
                assert!(places.iter().all(|v| v.is_finite()));
                assert!((0..rows.nrows()).all(|i| places.row(i) == places.row(i % kinds)));
            }
            let places = model.embed_rows(rows.view()).unwrap().columns;
            let same = |i: usize, j: usize| places.row(i) == places.row(j);
            assert!((0..kinds).all(|i| (0..i).all(|j| !same(i, j))), "{dimensions} dimensions");
        }
    }
}
