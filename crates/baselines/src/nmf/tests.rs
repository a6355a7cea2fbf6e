use ndarray::array;

use super::*;

/// Non-negative rows of three parts that overlap in part, with a little noise.
fn parts(n: usize, d: usize) -> (Array2<f64>, Array2<f64>) {
    let mut rng = ChaCha8Rng::seed_from_u64(2);
    let bump = |c: usize, j: usize| (-(j as f64 - (c + 1) as f64 * d as f64 / 4.0).powi(2) / (d as f64)).exp();
    let components = Array2::from_shape_fn((3, d), |(c, j)| bump(c, j));
    let weights = Array2::from_shape_fn((n, 3), |_| rng.gen_range(0.0f64..1.0).powi(3) * 50.0);
    let noise = Array2::from_shape_fn((n, d), |_| rng.gen_range(0.0..0.01));
    (weights.dot(&components) + noise, components)
}

#[test]
fn parts_are_found_by_either_loss_from_either_start() {
    let (rows, truth) = parts(400, 60);
    for loss in [Loss::Frobenius, Loss::KullbackLeibler] {
        for start in [NmfStart::Svd, NmfStart::Random] {
            let params = Nmf::params(3).loss(loss).start(start).rounds(2000).tolerance(1e-7);
            let model = params.fit_matrix(rows.view()).unwrap();
            for part in truth.rows() {
                let cosine = |c: ArrayView1<'_, f64>| c.dot(&part) / (c.dot(&c) * part.dot(&part)).sqrt();
                let best = model.components().rows().into_iter().map(cosine).fold(0.0, f64::max);
                assert!(best > 0.995, "{loss:?} {start:?}: {best}");
            }
            assert!((model.components().sum_axis(Axis(1)) - 1.0).iter().all(|s| s.abs() < 1e-9));
            let weights = model.embed_rows(rows.view()).unwrap().columns;
            let amounts = weights.sum_axis(Axis(0));
            assert!(weights.iter().all(|w| *w >= 0.0) && amounts[0] > amounts[1] && amounts[1] > amounts[2]);
            let again = model.rows_of(weights.view()).unwrap();
            let off = (&again - &rows).mapv(|v| v * v).sum().sqrt();
            if loss == Loss::Frobenius {
                assert!(off <= model.residual() * (1.0 + 1e-5), "{off} {}", model.residual());
            }
            assert!(off < 0.01 * rows.mapv(|v| v * v).sum().sqrt(), "{off}");
        }
    }
}

#[test]
fn every_round_lowers_the_residual_whatever_the_scale() {
    let (rows, _) = parts(300, 40);
    for scale in [1e-12, 1.0, 1e12] {
        let residual = |rounds: usize| {
            let model = Nmf::params(3).rounds(rounds).tolerance(0.0).fit_matrix((&rows * scale).view()).unwrap();
            model.residual() / scale
        };
        let falling: Vec<f64> = [1, 2, 5, 20, 100].map(residual).to_vec();
        assert!(falling.windows(2).all(|w| w[1] <= w[0] * (1.0 + 1e-6)), "{scale:e}: {falling:?}");
    }
}

#[test]
fn numbers_of_any_size_have_the_same_components() {
    // With noise well above what f32 rounds, so that where it ends is told by the data.
    let mut rng = ChaCha8Rng::seed_from_u64(4);
    let rows = parts(100, 20).0 + Array2::from_shape_simple_fn((100, 20), || rng.gen_range(0.0..5.0));
    for loss in [Loss::Frobenius, Loss::KullbackLeibler] {
        let params = Nmf::params(3).loss(loss).tolerance(1e-6).rounds(1000);
        let fit = |scale: f64| params.fit_matrix((&rows * scale).view()).unwrap();
        let one = fit(1.0);
        for scale in [1e-300, 1e-170, 1e-90, 1e90, 1e135] {
            let found = fit(scale);
            let off = (&found.components() - &one.components()).mapv(f64::abs).sum();
            assert!(off < 0.05, "{loss:?} {scale:e}: {off}");
            let unit = if loss == Loss::Frobenius { scale } else { scale.sqrt() };
            let ratio = found.residual() / unit / one.residual();
            assert!((ratio - 1.0).abs() < 0.05, "{loss:?} {scale:e}: {ratio}");
            let weights = found.embed_rows((&rows * scale).view()).unwrap().columns / scale;
            let expected = one.embed_rows(rows.view()).unwrap().columns;
            let off = (weights - &expected).mapv(f64::abs).into_iter().fold(0.0, f64::max);
            assert!(off < 0.05 * expected.fold(0.0, |m, v| v.max(m)), "{loss:?} {scale:e}: {off}");
        }
    }
}

#[test]
fn it_ends_where_five_rounds_lower_the_loss_by_little() {
    let (rows, _) = parts(300, 40);
    let largest = rows.iter().copied().fold(0.0, f64::max);
    for tolerance in [1e-2, 1e-3, 1e-4] {
        let Params(method) = Nmf::params(3).start(NmfStart::Random);
        let (weights, components) = method.begun(rows.view()).unwrap();
        let after = |most: usize, tolerance: f64| {
            let (w, h, rounds) = descended(rows.view(), largest, weights.clone(), components.clone(), most, tolerance);
            (0.5 * distance(rows.view(), w.view(), h.view()).powi(2), rounds)
        };
        let first = after(0, 0.0).0 - after(1, 0.0).0;
        let (lowest, rounds) = after(1000, tolerance);
        assert!((6..1000).contains(&rounds), "{tolerance}: {rounds}");
        // What it goes by is the loss a little beyond, which is not that of what it returns.
        let fall = after(rounds - 5, 0.0).0 - lowest;
        assert!(fall < 10.0 * tolerance * first, "{tolerance}: {fall} of {first}");
        let before = after(rounds - 6, 0.0).0 - after(rounds - 1, 0.0).0;
        assert!(before > 2.5 * tolerance * first, "{tolerance}: {before} of {first}");
    }
}

#[test]
fn going_beyond_takes_fewer_rounds_than_plain_descent() {
    // Parts that overlap much: plain descent creeps.
    let mut rng = ChaCha8Rng::seed_from_u64(5);
    let (w, h) = (
        Array2::from_shape_fn((500, 12), |_| rng.gen_range(0.0..1.0)),
        Array2::from_shape_fn((12, 80), |_| rng.gen_range(0.0..1.0)),
    );
    let noise = Array2::from_shape_fn((500, 80), |_| rng.gen_range(0.0..0.2));
    let rows = w.dot(&h) + noise;
    let Params(method) = Nmf::params(8);
    let (mut weights, mut components) = method.begun(rows.view()).unwrap();
    let largest = rows.iter().copied().fold(0.0, f64::max);
    let (far, near, _) = descended(rows.view(), largest, weights.clone(), components.clone(), 60, 0.0);
    for _ in 0..120 {
        // A single round goes nowhere beyond.
        (weights, components, _) = descended(rows.view(), largest, weights, components, 1, 0.0);
    }
    let (beyond, plain) =
        (distance(rows.view(), far.view(), near.view()), distance(rows.view(), weights.view(), components.view()));
    assert!(beyond < plain, "{beyond} after 60 rounds, {plain} after 120 plain ones");
}

#[test]
fn zeros_constant_columns_and_equal_rows_are_no_error() {
    let mut rows = Array2::from_elem((20, 6), 2.0);
    rows.column_mut(3).fill(0.0);
    for loss in [Loss::Frobenius, Loss::KullbackLeibler] {
        let model = Nmf::params(2).loss(loss).tolerance(1e-12).rounds(5000).fit_matrix(rows.view()).unwrap();
        assert!(model.components().iter().all(|v| v.is_finite()) && model.residual() < 0.05, "{loss:?}");
        rows.row_mut(4).fill(0.0);
        let weights = Nmf::params(2).loss(loss).fit_matrix(rows.view()).unwrap().embed_rows(rows.view()).unwrap();
        assert!(weights.columns.row(4).iter().all(|w| w.abs() < 1e-6), "{loss:?}");
    }
}

#[test]
fn threads_change_no_bit() {
    let (rows, _) = parts(700, 30);
    let on = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| Nmf::params(3).rounds(20).fit_matrix(rows.view()).unwrap())
    };
    assert_eq!(on(1), on(3));
}

#[test]
fn every_rejection() {
    let rows = array![[1.0, 2.0], [0.0, 1.0], [3.0, 0.5]];
    let refused = |params: Params<Nmf>, rows: &Array2<f64>| params.fit_matrix(rows.view()).unwrap_err().to_string();
    let one = Nmf::params(1);
    assert!(
        refused(Nmf::params(0), &rows).contains("components is 0") && refused(Nmf::params(3), &rows).contains("1 to 2")
    );
    assert!(
        refused(one.rounds(0), &rows).contains("rounds is 0")
            && refused(one.tolerance(f64::NAN), &rows).contains("NaN")
    );
    assert!(refused(one, &array![[1.0, -0.5]]).contains("row 0 holds -0.5"));
    assert!(
        refused(one, &array![[1.0, f64::NAN]]).contains("row 0")
            && refused(one, &Array2::zeros((3, 2))).contains("0 directions")
    );
    assert!(refused(one, &array![[1.0, 1e141]]).contains("-1e140 to 1e140"));
    let model = one.fit_matrix(rows.view()).unwrap();
    assert!(model.embed_rows(array![[1.0, 1e141]].view()).unwrap_err().to_string().contains("-1e140 to 1e140"));
    assert!(model.embed_rows(array![[-1.0, 0.0]].view()).is_err() && model.embed_rows(array![[1.0]].view()).is_err());
    assert!(one.fit_matrix(rows.slice(ndarray::s![..1, ..])).is_ok(), "a single row is its own component");
}
