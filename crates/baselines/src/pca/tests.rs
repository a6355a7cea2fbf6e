use linfa::traits::{Fit, Transformer};
use ndarray::{Array4, Axis, Slice};
use parsimon_core::{Embed, Embedding, Generate, Patches, Scaling};

use super::*;

/// The data of the scikit-learn reference: a linear congruential generator, column j divided by 1 + j.
fn reference(n: usize, h: usize, w: usize, c: usize) -> Patches {
    let mut state = 12345u64;
    let images = Array4::from_shape_fn((n, h, w, c), |(_, y, x, z)| {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 40) as f32 / (1u64 << 24) as f32 / (1 + (y * w + x) * c + z) as f32
    });
    Patches::new(images, Scaling::unit(c)).unwrap()
}

fn close(found: impl IntoIterator<Item = f64>, expected: &[f64], tolerance: f64) {
    let found: Vec<f64> = found.into_iter().collect();
    let off = |(f, e): (&f64, &f64)| (f - e).abs() > tolerance;
    assert!(found.len() == expected.len() && !found.iter().zip(expected).any(off), "{found:?}, not {expected:?}");
}

#[test]
fn agrees_with_scikit_learn() {
    // sklearn.decomposition.PCA(svd_solver="full"), version 1.9.1: ratios, variances, the first four loadings of
    // the last component, the scores of row 5; signs so that the largest loading is positive.
    type Case = ((usize, usize, usize, usize), &'static [f64], &'static [f64], [f64; 4], &'static [f64]);
    let cases: [Case; 3] = [
        (
            (12, 3, 2, 1),
            &[0.630224979623629, 0.16231553995385622, 0.11545195611953105],
            &[0.07465919993323376, 0.01922860683326585, 0.013676942287750326],
            [0.15967859494695374, -0.27794696484398385, 0.8952604911515032, 0.22713201735976815],
            &[0.5353323052473618, -0.16307270053365946, -0.006453739536464257],
        ),
        (
            (200, 8, 4, 2),
            &[0.626934175052064, 0.1444413449798263, 0.06897161260354986],
            &[0.08518818018792472, 0.019626773929983625, 0.009371902818720973],
            [0.01347372199617083, -0.0889940153552603, 0.982846478812616, 0.13464042756459016],
            &[0.0005428865890276806, 0.05118825771787527, 0.0700939524482319],
        ),
        (
            (30, 8, 8, 1),
            &[0.5932381205769744, 0.19540636917129656, 0.07122629963545304, 0.03407603269730354],
            &[0.0775278770435894, 0.02553686359182785, 0.009308275393760305, 0.004453258112476766],
            [-0.009218799241646505, 0.10075361592979437, -0.5303863137661173, 0.72672598826152],
            &[0.01951566096852195, 0.07780972051260421, 0.06392387221155484, -0.018492725794233347],
        ),
    ];
    for ((n, h, w, c), ratios, variances, loadings, scores) in cases {
        let data = reference(n, h, w, c);
        let model = Pca::params(ratios.len()).fit_patches(&data).unwrap();
        close(model.model().explained_variance_ratio().to_vec(), ratios, 1e-8);
        close(model.model().explained_variance().to_vec(), variances, 1e-8);
        let last = model.model().components().index_axis_move(Axis(0), ratios.len() - 1);
        close(last.iter().copied().take(4), &loadings, 1e-6);
        let embedding = model.embed(&data).unwrap();
        assert_eq!(embedding.columns()[0].name, "pc1");
        close(embedding.columns().iter().map(|c| c.mean[5].into()), scores, 1e-6);
    }
}

#[test]
fn all_components_give_the_data_back() {
    for (n, h, w, c) in [(40, 4, 3, 2), (12, 5, 5, 1)] {
        let data = reference(n, h, w, c);
        let model = Pca::params((n - 1).min(h * w * c)).fit_patches(&data).unwrap();
        assert!((model.model().explained_variance_ratio().sum() - 1.0).abs() < 1e-9);
        let again = model.generate(&model.embed(&data).unwrap()).unwrap();
        assert!((&again - &data.images()).iter().all(|d| d.abs() < 1e-5));
    }
}

#[test]
fn components_are_orthonormal_with_their_largest_loading_positive() {
    let model = Pca::params(6).fit_patches(&reference(60, 6, 6, 1)).unwrap();
    let rows = model.model().components();
    assert!((rows.dot(&rows.t()) - Array2::<f64>::eye(6)).iter().all(|g| g.abs() < 1e-9));
    for row in rows.rows() {
        let largest = row.iter().copied().max_by(|a, b| a.abs().total_cmp(&b.abs())).unwrap();
        assert!(largest > 0.0);
    }
}

/// Random data whose standard deviations fall along hidden directions, about a far mean.
fn falling(n: usize, d: usize) -> Array2<f64> {
    let images = reference(n, 1, d, 1);
    let rows = crate::rows::of_images(images.images());
    let waves = Array2::from_shape_fn((d, d), |(i, j)| ((i * j + i + 3 * j) as f64).sin());
    rows.dot(&waves) + 100.0
}

#[test]
fn the_randomised_solver_agrees_with_the_exact_one_where_the_spectrum_falls() {
    let rows = falling(500, 60);
    let exact = Pca::params(4).fit_matrix(rows.view()).unwrap();
    let random = Pca::params(4).solver(PcaSolver::Randomised { powers: 4 });
    let model = random.fit_matrix(rows.view()).unwrap();
    close(model.explained_variance().to_vec(), &exact.explained_variance().to_vec(), 1e-6 * exact.variance[0]);
    close(model.explained_variance_ratio().to_vec(), &exact.explained_variance_ratio().to_vec(), 1e-6);
    assert!((&model.components() - &exact.components()).iter().all(|d| d.abs() < 1e-3), "signs too");
    close(model.mean().to_vec(), &exact.mean().to_vec(), 0.0);
    assert_eq!(model, random.fit_matrix(rows.view()).unwrap());
    assert_ne!(model, random.seed(1).fit_matrix(rows.view()).unwrap());
    // Without powers it is worse, and never claims more than there is.
    let poor = Pca::params(4).solver(PcaSolver::Randomised { powers: 0 }).fit_matrix(rows.view()).unwrap();
    assert!(poor.explained_variance().sum() < model.explained_variance().sum());
    assert!(model.explained_variance().sum() < exact.explained_variance().sum() * (1.0 + 1e-12));
    let line = Array2::from_shape_fn((50, 20), |(i, j)| (i * (j + 1)) as f64);
    let rank = Pca::params(2).solver(PcaSolver::Randomised { powers: 2 }).fit_matrix(line.view());
    assert_eq!(rank, Err(Error::Rank { components: 2, rank: 1 }));
    let refused = Pca::params(2).solver(PcaSolver::Randomised { powers: 101 }).fit_matrix(line.view());
    assert!(refused.unwrap_err().to_string().contains("powers is 101, accepted are 0 to 100"));
}

#[test]
fn a_large_constant_column_takes_no_digits_from_the_others() {
    let small = Array2::from_shape_fn((400, 4), |(i, j)| 1e-3 * ((i * (3 + 2 * j)) as f64).sin() / (1 + j * j) as f64);
    let rows = ndarray::concatenate![Axis(1), Array2::from_elem((400, 1), 1e9), small];
    let expected = Pca::params(2).fit_matrix(small.view()).unwrap();
    for solver in [PcaSolver::Exact, PcaSolver::Randomised { powers: 20 }] {
        let model = Pca::params(2).solver(solver).fit_matrix(rows.view()).unwrap();
        let variance = expected.explained_variance().to_vec();
        close(model.explained_variance().to_vec(), &variance, 1e-9 * variance[0]);
        let off = &model.components().slice(ndarray::s![.., 1..]) - &expected.components();
        assert!(off.iter().all(|d| d.abs() < 1e-6), "{solver:?}: {off}");
        let scores = model.embed_rows(rows.view()).unwrap().columns;
        let off = scores - expected.embed_rows(small.view()).unwrap().columns;
        assert!(off.iter().all(|d| d.abs() < 1e-9), "{solver:?}: {off}");
    }
    // About a far mean, which itself is only known to 1e-7, rows differ by what they did.
    let far = &small + 1e9;
    let small = &far - 1e9;
    let about_first = |rows: &Array2<f64>| {
        let scores = Pca::params(2).fit_matrix(rows.view()).unwrap().embed_rows(rows.view()).unwrap().columns;
        &scores - &scores.row(0)
    };
    let off = about_first(&far) - about_first(&small);
    assert!(off.iter().all(|d| d.abs() < 1e-9), "{off}");
    // What varies by less than the rounding of another column still varies.
    let steps = Array2::from_shape_fn((50, 2), |(i, j)| if j == 0 { 1e9 } else { i as f64 * 1e-7 });
    let model = Pca::params(1).fit_matrix(steps.view()).unwrap();
    assert!((model.components()[(0, 1)] - 1.0).abs() < 1e-9);
}

#[test]
fn columns_that_do_not_fit_are_no_panic_and_far_rows_have_numbers() {
    let model = Pca::params(3).fit_patches(&reference(30, 3, 2, 1)).unwrap();
    let model = model.model();
    assert_eq!(model.rows_of(Array2::zeros((2, 5)).view()), Err(Error::Columns { found: 5, expected: 3 }));
    assert_eq!(model.rows_of(Array2::from_elem((1, 3), f64::INFINITY).view()), Err(Error::NotFinite { row: 0 }));
    assert!(model.goes_back() && model.rows_of(Array2::zeros((2, 3)).view()).unwrap().dim() == (2, 6));
    let far = Array2::from_elem((1, 6), 1.7e308);
    assert!(model.embed_rows(far.view()).unwrap_err().to_string().contains("1e140"));
}

#[test]
fn linfa_and_patches_are_the_same_rows() {
    let data = reference(60, 6, 6, 1);
    let rows = crate::rows::of_images(data.images());
    let model = Pca::params(3).fit(&linfa::DatasetBase::from(rows.clone())).unwrap();
    let of_patches = Pca::params(3).fit_patches(&data).unwrap();
    assert_eq!(&model, of_patches.model());
    let (scores, embedding) = (model.transform(&rows).unwrap(), of_patches.embed(&data).unwrap());
    assert!(scores.column(1).iter().zip(&embedding.columns()[1].mean).all(|(a, b)| *a as f32 == *b));
    assert_eq!(of_patches.patterns().unwrap().dim(), (3, 6, 6, 1));
    assert_eq!(model.transform(&Array2::zeros((2, 5))), Err(Error::Width { found: 5, expected: 36 }));
    let bad = linfa::DatasetBase::from(Array2::from_elem((3, 2), f64::NAN));
    assert_eq!(Pca::params(1).fit(&bad), Err(Error::NotFinite { row: 0 }));
}

#[test]
fn what_the_data_cannot_support_is_rejected() {
    let data = reference(10, 3, 2, 1);
    let refused = |k: usize, rows: &Patches| Pca::params(k).fit_patches(rows).unwrap_err().to_string();
    for components in [0, 7, usize::MAX] {
        assert!(refused(components, &data).contains(&format!("components is {components},")));
    }
    assert!(refused(7, &data).contains("1 to 6 for 10 rows of 6 numbers"));
    let huge = Array2::from_shape_fn((9, 2), |(i, j)| if i == j { 1e200 } else { 0.0 });
    assert!(Pca::params(1).fit_matrix(huge.view()).unwrap_err().to_string().contains("1e140"));
    let few = data.select(&[0, 1, 2, 3]).unwrap();
    assert!(refused(4, &few).contains("1 to 3"));
    assert!(refused(1, &data.select(&[0]).unwrap()).contains("number of rows is 1, accepted are at least 2 rows"));
    for copies in [7, 8, 100] {
        let same = data.select(&vec![2; copies]).unwrap();
        assert_eq!(Pca::params(2).fit_patches(&same).unwrap_err(), Error::Rank { components: 2, rank: 0 });
    }
}

#[test]
fn components_are_the_same_at_any_scale() {
    for (n, d) in [(300, 20), (20, 300)] {
        let rows = falling(n, d) - 100.0;
        let one = Pca::params(3).fit_matrix(rows.view()).unwrap();
        for (scale, solver) in [1e-100, 1e100]
            .into_iter()
            .flat_map(|s| [PcaSolver::Exact, PcaSolver::Randomised { powers: 20 }].map(|solver| (s, solver)))
        {
            let model = Pca::params(3).solver(solver).fit_matrix((&rows * scale).view()).unwrap();
            assert!((&model.components() - &one.components()).iter().all(|d| d.abs() < 1e-5), "{n}×{d}, {scale:e}");
            close(model.explained_variance_ratio().to_vec(), &one.explained_variance_ratio().to_vec(), 1e-9);
        }
    }
}

#[test]
fn a_large_scan_of_equal_rows_has_no_direction() {
    let rows = Array2::from_elem((512 * 512, 3), 0.1);
    assert_eq!(Pca::params(1).fit_matrix(rows.view()), Err(Error::Rank { components: 1, rank: 0 }));
}

#[test]
fn threads_change_no_bit() {
    let (tall, wide) = (falling(1500, 40), falling(40, 700));
    for (rows, solver) in [(&tall, PcaSolver::Exact), (&wide, PcaSolver::Exact)]
        .into_iter()
        .chain([(&tall, PcaSolver::Randomised { powers: 2 })])
    {
        let on = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| Pca::params(3).solver(solver).fit_matrix(rows.view()).unwrap())
        };
        assert_eq!(on(1), on(3), "{solver:?}");
    }
}

#[test]
fn other_shapes_and_missing_columns_are_rejected() {
    let data = reference(10, 3, 2, 1);
    let model = parsimon_core::Represent::fit(&Pca::params(2), &data).unwrap();
    let error = model.embed(&reference(10, 2, 3, 1)).unwrap_err().to_string();
    assert!(error.contains("(2, 3, 1)") && error.contains("(3, 2, 1)"), "{error}");
    let model = Pca::params(2).fit_patches(&data).unwrap();
    assert!(model.generate(&Embedding::new(3)).unwrap_err().to_string().contains("pc1"));
}

#[test]
fn generated_images_stay_in_the_unit_range() {
    let data = reference(20, 3, 2, 1);
    let model = Pca::params(2).fit_patches(&data).unwrap();
    let mut far = Embedding::new(2);
    for name in ["pc1", "pc2"] {
        far.push(name, Array1::from(vec![-50.0, 50.0]), None).unwrap();
    }
    let images = model.generate(&far).unwrap();
    assert!(images.iter().all(|v| (0.0..=1.0).contains(v)));
    assert!(images.slice_axis(Axis(0), Slice::from(..1)).iter().any(|&v| v == 0.0));
}
