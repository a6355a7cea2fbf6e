use linfa::traits::{Fit, Transformer};
use ndarray::{Array1, Array2, ArrayView2, Axis, array, s};
use parsimon_core::{Embed, Generate, Patches, Represent, Scaling};
use rayon::ThreadPoolBuilder;

use super::scene::Scene;
use super::*;
use crate::params::Params;
use crate::rows::RowModel;
use crate::{Error, Result};

fn short(endmembers: usize) -> Params<Blu> {
    Blu::params(endmembers).burn_in(500).samples(1000)
}

/// Angle and abundance error of N-FINDR and least squares.
fn by_vertices(scene: &Scene, rows: ArrayView2<'_, f64>, noise: Noise) -> (f64, f64) {
    let model = Fcls::params(4).noise(noise).fit_matrix(rows).unwrap();
    let shares = model.embed_rows(rows).unwrap().columns;
    scene.errors(model.endmembers(), shares.view())
}

#[test]
fn better_than_vertices_at_any_noise_with_honest_intervals() {
    let scene = Scene::new(32, 4, 128, 1.0, 1);
    let cases = [
        (scene.with_noise(0.003, 3), Noise::Uniform),
        (scene.with_noise(0.02, 4), Noise::Uniform),
        (scene.with_noise(0.1, 5), Noise::Uniform),
        (scene.counted(200.0, 6), Noise::Counts),
    ];
    for (case, (rows, noise)) in cases.into_iter().enumerate() {
        let (their_angle, their_error) = by_vertices(&scene, rows.view(), noise);
        let model = short(4).fit_matrix(rows.view()).unwrap();
        assert_eq!(model.noise(), noise);
        let (angle, error) = scene.errors(model.endmembers(), model.abundances());
        assert!(angle <= their_angle && error <= their_error, "{case}: {angle} {their_angle} {error} {their_error}");
        let (low, high) = model.abundance_intervals();
        let coverage = scene.coverage(model.endmembers(), low, high);
        assert!((0.90..=0.99).contains(&coverage), "{case}: {coverage}");
        let (low, high) = model.endmember_intervals();
        let order = scene.order(model.endmembers());
        let (low, high) = (low.select(Axis(0), &order), high.select(Axis(0), &order));
        let held = scene.endmembers.indexed_iter().filter(|(at, v)| low[*at] <= **v && **v <= high[*at]).count();
        let coverage = held as f64 / scene.endmembers.len() as f64;
        assert!((0.80..=1.0).contains(&coverage), "{case}: {coverage} of the endmembers");
        assert!(model.effective_samples() > 20.0, "{case}: {}", model.effective_samples());
    }
}

#[test]
fn pure_rows_are_not_needed() {
    let scene = Scene::new(32, 4, 128, 0.85, 1);
    for (sd, part) in [(0.003, 0.1), (0.02, 0.3)] {
        let rows = scene.with_noise(sd, 3);
        let (their_angle, their_error) = by_vertices(&scene, rows.view(), Noise::Uniform);
        let model = short(4).fit_matrix(rows.view()).unwrap();
        let (angle, error) = scene.errors(model.endmembers(), model.abundances());
        assert!(
            angle < part * their_angle && error < part * their_error,
            "{angle} {their_angle} {error} {their_error}"
        );
    }
}

/// Prints the table of the README.
#[test]
#[ignore = "prints a table and asserts nothing in two minutes; its bounds are those of the tests around it"]
fn table_of_the_readme() {
    for purest in [1.0, 0.85] {
        for sd in [Some(0.003), Some(0.02), Some(0.1), None] {
            let seeds = 1..=5;
            let mut sums = Array1::<f64>::zeros(5);
            for seed in seeds.clone() {
                let scene = Scene::new(32, 4, 128, purest, seed);
                let (rows, noise) = match sd {
                    Some(sd) => (scene.with_noise(sd, seed + 100), Noise::Uniform),
                    None => (scene.counted(200.0, seed + 100), Noise::Counts),
                };
                let (their_angle, their_error) = by_vertices(&scene, rows.view(), noise);
                let model = Blu::params(4).fit_matrix(rows.view()).unwrap();
                let (angle, error) = scene.errors(model.endmembers(), model.abundances());
                let (low, high) = model.abundance_intervals();
                let coverage = scene.coverage(model.endmembers(), low, high);
                sums += &array![1e3 * their_angle, their_error, 1e3 * angle, error, coverage];
            }
            let means = sums / seeds.count() as f64;
            let noise = sd.map_or("counts, 200 for 1".to_owned(), |sd| sd.to_string());
            eprintln!("purest {purest}, noise {noise}: {means:.4}");
        }
    }
}

#[test]
fn without_absence_the_noise_is_the_same_and_all_are_present() {
    let scene = Scene::new(16, 3, 64, 0.9, 2);
    let rows = scene.with_noise(0.02, 3);
    let model = short(3).absence(false).fit_matrix(rows.view()).unwrap();
    let (variance, deviation) = model.noise_variance();
    assert!((variance - 4e-4).abs() < 5.0 * deviation && deviation < 2e-5, "{variance} {deviation}");
    assert!(model.abundances().iter().all(|a| *a > 0.0));
    assert!((model.abundances().sum_axis(Axis(1)) - 1.0).iter().all(|d| d.abs() < 1e-9));
    let (angle, _) = scene.errors(model.endmembers(), model.abundances());
    assert!(angle < 0.1, "{angle}");
}

#[test]
fn without_noise_pure_rows_are_found() {
    let scene = Scene::new(24, 5, 60, 1.0, 4);
    for extraction in [Extraction::Vca, Extraction::NFindr] {
        for noise in [Noise::Uniform, Noise::Counts] {
            let fitted = Fcls::params(5).extraction(extraction).noise(noise).fit_matrix(scene.clean.view()).unwrap();
            let shares = fitted.embed_rows(scene.clean.view()).unwrap().columns;
            let (angle, error) = scene.errors(fitted.endmembers(), shares.view());
            assert!(angle < 1e-6 && error < 1e-6, "{extraction:?} {noise:?}: {angle} {error}");
            let again = fitted.rows_of(shares.view()).unwrap();
            assert!((again - &scene.clean).iter().all(|d| d.abs() < 1e-8));
        }
    }
    let model = Blu::params(5).burn_in(200).samples(50).fit_matrix(scene.clean.view()).unwrap();
    let (angle, error) = scene.errors(model.endmembers(), model.abundances());
    assert!(angle < 1e-3 && error < 1e-3, "{angle} {error}");
}

#[test]
fn the_mean_at_a_vertex_takes_noise_away() {
    let scene = Scene::new(32, 4, 128, 1.0, 1);
    let rows = scene.with_noise(0.1, 3);
    let angle = |method: Params<Fcls>| {
        let model = method.fit_matrix(rows.view()).unwrap();
        let shares = model.embed_rows(rows.view()).unwrap().columns;
        scene.errors(model.endmembers(), shares.view()).0
    };
    let (one, default) = (angle(Fcls::params(4).average(1)), angle(Fcls::params(4)));
    assert!(default < 0.9 * one, "{default} {one}");
    assert!(angle(Fcls::params(4).average(5)) < one);
}

#[test]
fn the_same_seed_gives_the_same_bits_on_any_number_of_threads() {
    let scene = Scene::new(24, 3, 40, 0.9, 5);
    let rows = scene.counted(100.0, 1);
    let fit = |threads: usize, seed: u64| {
        let pool = ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let method = Blu::params(3).burn_in(30).samples(40).seed(seed);
        pool.install(|| method.fit_matrix(rows.view()).unwrap())
    };
    let one = fit(1, 7);
    assert_eq!(one, fit(3, 7));
    assert_ne!(one.abundances(), fit(1, 8).abundances());
}

#[test]
fn rows_of_the_fit_have_their_posterior_and_further_rows_are_sampled() {
    let scene = Scene::new(24, 4, 80, 1.0, 6);
    let rows = scene.with_noise(0.05, 1);
    let model = short(4).fit_matrix(rows.view()).unwrap();
    let known = model.embed_rows(rows.slice(s![5..9, ..])).unwrap();
    assert_eq!(known.columns, model.abundances().slice(s![5..9, ..]));
    assert_eq!(known.deviations.unwrap(), model.abundance_deviations().slice(s![5..9, ..]));
    // Rows that differ in the last digits have nearly the same posterior, found by other draws.
    let near = model.embed_rows((&rows * (1.0 + 1e-12)).view()).unwrap();
    let (sd, near_sd) = (model.abundance_deviations(), near.deviations.unwrap());
    let off = ((&near.columns - &model.abundances()) / (&sd + 1e-3)).mapv(f64::abs);
    assert!(off.mean().unwrap() < 0.15, "{}", off.mean().unwrap());
    assert!((near_sd.mean().unwrap() / sd.mean().unwrap() - 1.0).abs() < 0.05);
    let further = scene.with_noise(0.05, 2);
    let found = model.embed_rows(further.view()).unwrap();
    let order = scene.order(model.endmembers());
    let (mean, sd) = (found.columns.select(Axis(1), &order), found.deviations.unwrap().select(Axis(1), &order));
    let held = (&mean - &scene.abundances).iter().zip(&sd).filter(|(d, s)| d.abs() <= 2.0 * **s + 1e-3).count();
    let coverage = held as f64 / mean.len() as f64;
    assert!((0.88..=0.995).contains(&coverage), "{coverage}");
    // Wherever a row stands, it has the same draws.
    let last = model.embed_rows(further.slice(s![500.., ..])).unwrap().columns;
    assert_eq!(last, found.columns.slice(s![500.., ..]));
}

#[test]
fn both_speak_linfa_and_patches() {
    let scene = Scene::new(16, 3, 36, 1.0, 7);
    let rows = scene.with_noise(0.01, 1);
    let dataset = linfa::DatasetBase::from(rows.clone());
    let model = Fit::fit(&Fcls::params(3), &dataset).unwrap();
    assert_eq!(model, Fcls::params(3).fit_matrix(rows.view()).unwrap());
    assert_eq!(model.transform(&rows).unwrap(), model.embed_rows(rows.view()).unwrap().columns);
    let method = Blu::params(3).burn_in(20).samples(20);
    assert_eq!(Fit::fit(&method, &dataset).unwrap().abundances().dim(), (256, 3));
    let largest = rows.iter().copied().fold(0.0, f64::max);
    let images = Array2::from_shape_fn((256, 36), |at| (rows[at] / largest).clamp(0.0, 1.0) as f32);
    let images = images.into_shape_with_order((256, 6, 6, 1)).unwrap();
    let patches = Patches::new(images, Scaling::unit(1)).unwrap();
    let fitted = method.fit_patches(&patches).unwrap();
    let embedding = fitted.embed(&patches).unwrap();
    assert_eq!(embedding.columns()[2].name, "a3");
    assert!(embedding.columns()[0].sd.is_some());
    assert_eq!(fitted.patterns().unwrap().dim(), (3, 6, 6, 1));
    assert_eq!(fitted.generate(&embedding).unwrap().dim(), (256, 6, 6, 1));
    let (fitted, boxed) = (Fcls::params(3).fit_patches(&patches).unwrap(), Represent::fit(&Fcls::params(3), &patches));
    assert_eq!(boxed.unwrap().embed(&patches).unwrap(), fitted.embed(&patches).unwrap());
}

#[test]
fn noise_below_zero_is_taken_and_a_negative_mean_is_not() {
    let scene = Scene::new(16, 3, 60, 1.0, 8);
    // Dark channels, as after the subtraction of a background.
    let mut dark = scene.clean.clone();
    dark.slice_mut(s![.., 40..]).fill(0.0);
    let scene = Scene { clean: dark, ..scene };
    let rows = scene.with_noise(0.05, 2);
    assert!(rows.slice(s![.., 40..]).iter().any(|v| *v < -0.1));
    let model = short(3).fit_matrix(rows.view()).unwrap();
    let found = model.endmembers();
    assert!(found.sum_axis(Axis(1)).iter().all(|sum| *sum > 1.0), "{found}");
    let (low, high) = model.endmember_intervals();
    assert!(low.iter().zip(high).all(|(l, h)| *l >= 0.0 && l <= h));
    // Cut at zero, noise of 0.05 would be 0.02 in the mean.
    assert!(found.slice(s![.., 40..]).mean().unwrap() < 0.01);
    let about_mean = &rows - &rows.mean_axis(Axis(0)).unwrap();
    let refused = short(3).fit_matrix(about_mean.view()).unwrap_err();
    assert!(matches!(refused, Error::NegativeMean { accepted: 0.05, .. }), "{refused}");
    assert!(
        short(3).fit_matrix((-&rows).view()).unwrap_err().to_string().contains("of its sum, accepted are up to 0.05")
    );
    assert!(Fcls::params(3).fit_matrix(about_mean.view()).is_ok());
}

#[test]
fn rows_that_support_it_barely_still_do() {
    // As many rows as endmembers; constant columns; every row four times.
    let few = array![[1.0, 0.0, 0.2, 0.0], [0.0, 1.0, 0.2, 0.0], [0.4, 0.4, 0.2, 0.0]];
    let model = Blu::params(3).burn_in(20).samples(20).fit_matrix(few.view()).unwrap();
    assert!(model.abundances().iter().chain(model.endmembers()).all(|v| v.is_finite()));
    assert!((model.abundances().dot(&model.endmembers()) - &few).iter().all(|d| d.abs() < 0.1));
    assert_eq!(model.noise(), Noise::Uniform);
    let copies = Array2::from_shape_fn((12, 4), |(n, l)| few[(n / 4, l)]);
    let fitted = Fcls::params(3).fit_matrix(copies.view()).unwrap();
    let shares = fitted.embed_rows(copies.view()).unwrap().columns;
    assert!(shares.rows().into_iter().all(|a| a.iter().any(|v| (v - 1.0).abs() < 1e-9)), "{shares}");
    let model = Blu::params(2).burn_in(20).samples(20).fit_matrix(copies.view()).unwrap();
    assert!(model.abundance_deviations().iter().all(|v| v.is_finite()));
}

#[test]
fn rows_of_any_size_are_unmixed_alike() {
    let scene = Scene::new(16, 3, 40, 1.0, 9);
    let rows = scene.with_noise(0.02, 1);
    let method = Blu::params(3).burn_in(30).samples(40);
    let (fcls, blu) = (Fcls::params(3).fit_matrix(rows.view()).unwrap(), method.fit_matrix(rows.view()).unwrap());
    // Powers of two, which round nothing; squares of either are no numbers, or 0.
    for scale in [-600, 460].map(|e| 2f64.powi(e)) {
        let scaled = &rows * scale;
        let found = Fcls::params(3).fit_matrix(scaled.view()).unwrap();
        assert_eq!(found.endmembers().mapv(|m| m / scale), fcls.endmembers());
        assert_eq!(found.embed_rows(scaled.view()), fcls.embed_rows(rows.view()));
        let found = method.fit_matrix(scaled.view()).unwrap();
        assert_eq!(found.abundances(), blu.abundances());
        assert_eq!(found.endmembers().mapv(|m| m / scale), blu.endmembers());
        assert_eq!(found.endmember_deviations().mapv(|m| m / scale), blu.endmember_deviations());
    }
}

#[test]
fn rows_far_from_the_fit_have_abundances_that_share_one() {
    let scene = Scene::new(12, 3, 20, 1.0, 9);
    let rows = scene.with_noise(0.01, 1);
    let far = Array2::from_shape_fn((4, 20), |(n, l)| [1e139, -1e139, 1e30, -1e12][n] * (1.0 + (l % 3) as f64) / 3.0);
    let fcls = Fcls::params(3).fit_matrix(rows.view()).unwrap();
    let mut found = vec![fcls.embed_rows(far.view()).unwrap().columns];
    for absence in [true, false] {
        let blu = Blu::params(3).absence(absence).burn_in(20).samples(20).fit_matrix(rows.view()).unwrap();
        found.push(blu.embed_rows(far.view()).unwrap().columns);
    }
    for shares in found {
        assert!(shares.iter().all(|a| (0.0..=1.0 + 1e-12).contains(a)), "{shares}");
        assert!((shares.sum_axis(Axis(1)) - 1.0).iter().all(|d| d.abs() < 1e-9), "{shares}");
    }
}

#[test]
fn what_cannot_be_unmixed_is_rejected() {
    let scene = Scene::new(8, 3, 20, 1.0, 9);
    let rows = scene.with_noise(0.01, 1);
    fn both(endmembers: usize, rows: ArrayView2<'_, f64>) -> [String; 2] {
        let of = |result: Result<()>| result.unwrap_err().to_string();
        let blu = Blu::params(endmembers).fit_matrix(rows).map(|_| ());
        [of(Fcls::params(endmembers).fit_matrix(rows).map(|_| ())), of(blu)]
    }
    let expect = |found: [String; 2], text: &str| assert!(found.iter().all(|f| f.contains(text)), "{found:?}");
    expect(both(0, rows.view()), "number of endmembers is 0, accepted are 2 and more");
    expect(both(1, rows.view()), "number of endmembers is 1, accepted are 2 and more");
    expect(both(65, rows.view()), "is 65, accepted are 2 to 21 for 64 rows of 20 numbers");
    expect(both(usize::MAX, rows.view()), "2 to 21");
    expect(both(3, rows.slice(s![..2, ..])), "2 to 2 for 2 rows");
    expect(both(2, rows.slice(s![..1, ..])), "number of rows is 1, accepted are at least 2 rows");
    expect(both(2, rows.slice(s![..0, ..])), "no data");
    expect(both(5, scene.clean.view()), "4 components asked for, but the data vary along 2");
    expect(both(2, Array2::from_elem((9, 4), 0.25).view()), "vary along 0");
    expect(both(2, Array2::zeros((9, 4)).view()), "vary along 0");
    for bad in [f64::NAN, f64::INFINITY] {
        let mut rows = rows.clone();
        rows[(7, 3)] = bad;
        expect(both(3, rows.view()), "row 7");
    }
    expect(both(2, array![[1e160, -1e160], [-1e160, 1e160]].view()), "accepted are -1e140 to 1e140");
    let refused = |method: Params<Blu>| method.fit_matrix(rows.view()).unwrap_err().to_string();
    assert!(refused(Blu::params(3).samples(0)).contains("samples is 0, accepted are 10 to 65535"));
    assert!(refused(Blu::params(3).samples(65_536)).contains("is 65536"));
    assert!(refused(Blu::params(3).burn_in(0)).contains("burn-in is 0, accepted are 10 to 1000000"));
    let refused = |method: Params<Fcls>| method.fit_matrix(rows.view()).unwrap_err().to_string();
    assert!(refused(Fcls::params(3).starts(0)).contains("starts is 0, accepted are 1 to 10000"));
    assert!(refused(Fcls::params(3).average(0)).contains("is 0, accepted are 1 and more"));
    assert!(refused(Fcls::params(3).average(65)).contains("is 65, accepted are 1 to 21 of 64 rows for 3 endmembers"));
    assert!(
        refused(Fcls::params(3).average(22)).contains("is 22")
            && Fcls::params(3).average(21).fit_matrix(rows.view()).is_ok()
    );
    // Two of the corners are nearest to each other, and have one mean.
    let near = Array2::from_shape_fn((30, 2), |(n, l)| match n {
        0 | 1 => [10.0, [0.0, 0.1][n]][l],
        _ => 0.01 * ((n * (3 + l)) % 7) as f64,
    });
    let error = Fcls::params(3).average(2).fit_matrix(near.view()).unwrap_err().to_string();
    assert!(error.contains("rows of an endmember is 2, accepted are fewer"), "{error}");
    let back = Array2::zeros((2, 5));
    let columns = Error::Columns { found: 5, expected: 3 };
    let narrow = Array2::zeros((2, 7));
    let blu = Blu::params(3).burn_in(10).samples(10).fit_matrix(rows.view()).unwrap();
    let fcls = Fcls::params(3).fit_matrix(rows.view()).unwrap();
    assert!(blu.goes_back() && fcls.goes_back());
    assert_eq!((blu.rows_of(back.view()), fcls.rows_of(back.view())), (Err(columns.clone()), Err(columns)));
    assert_eq!(blu.embed_rows(narrow.view()), Err(Error::Width { found: 7, expected: 20 }));
    assert_eq!(fcls.embed_rows(narrow.view()), Err(Error::Width { found: 7, expected: 20 }));
    let large = Array2::from_elem((1, 20), f64::MAX);
    assert!(blu.embed_rows(large.view()).unwrap_err().to_string().contains("accepted are -"));
    assert!(fcls.embed_rows(large.view()).unwrap_err().to_string().contains("accepted are -"));
    let nan = Array2::from_elem((2, 20), f64::NAN);
    assert_eq!(blu.embed_rows(nan.view()), Err(Error::NotFinite { row: 0 }));
    assert_eq!(fcls.embed_rows(nan.view()), Err(Error::NotFinite { row: 0 }));
}
