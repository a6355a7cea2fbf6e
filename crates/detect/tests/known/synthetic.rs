//! What detection finds on lattices, sparse atoms, noise and holes.

use crate::scene::{Atom, counted, inside, noisy, perovskite, render, score};
use ndarray::{Array2, s};
use parsimon_core::{Detect, Image, Refinement, Sites};
use parsimon_detect::{Detector, Error, Method, Params, Polarity, detect};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::StandardNormal;

const SHAPE: (usize, usize) = (320, 340);

fn found(sites: &Sites) -> Vec<[f64; 2]> {
    sites.positions()
}

#[test]
fn both_sublattices_of_a_perovskite_are_found_to_a_tenth_of_a_pixel() {
    for (seed, dose) in [(1, 400.0), (2, 250.0), (3, 60.0)] {
        let atoms = perovskite(SHAPE, 20.0, 1.5, seed);
        let image = counted(render(SHAPE, &atoms, 0.2), dose, 0.01, seed);
        let detection = detect(&image, &Params::default()).unwrap();
        let (f1, rms) = score(&found(&detection.sites), &atoms, SHAPE, 6.0);
        assert!(f1 >= 0.99, "dose {dose}: F1 {f1} {:?}", detection.used);
        assert!(rms <= 0.1 * (250.0f64 / dose).sqrt().max(1.0), "dose {dose}: RMS {rms}");
        let classes = detection.classes.expect("two sublattices");
        let truth = inside(&atoms, SHAPE, 3.0);
        let strong = truth.iter().filter(|a| a[2] > 0.7).count();
        assert!(classes.counts[1].abs_diff(strong) <= 8, "{:?} {strong}", classes.counts);
    }
}

#[test]
fn positions_on_a_lattice_are_unbiased_though_atoms_overlap() {
    // Neighbours 3.6σ apart, one kind half as strong: uncorrected fits lean towards the strong one.
    let spacing = 10.0;
    let atoms: Vec<Atom> = (0..30)
        .flat_map(|m| (0..30).map(move |n| (m, n)))
        .map(|(m, n)| {
            let height = if (m % 3, n % 2) == (0, 0) { 1.0 } else { 0.6 };
            [5.3 + spacing * f64::from(m), 5.8 + spacing * f64::from(n), height, 2.8]
        })
        .collect();
    let shape = (301, 301);
    let detection = detect(&noisy(render(shape, &atoms, 1.0), 0.002, 4), &Params::default()).unwrap();
    let (f1, rms) = score(&found(&detection.sites), &atoms, shape, 20.0);
    assert!(f1 == 1.0 && rms < 0.05, "F1 {f1}, RMS {rms}");
}

#[test]
fn dark_atoms_are_recognised_and_have_negative_intensity() {
    let atoms = perovskite(SHAPE, 20.0, 0.5, 7);
    let image = noisy(render(SHAPE, &atoms, 0.0).mapv(|v| 3.0 - v), 0.05, 7);
    let detection = detect(&image, &Params::default()).unwrap();
    assert_eq!(detection.used.polarity, Polarity::Dark);
    assert!(detection.sites.iter().all(|s| s.intensity < 0.0));
    let (f1, _) = score(&found(&detection.sites), &atoms, SHAPE, 6.0);
    assert!(f1 >= 0.99, "{f1}");
    let bright = Params { polarity: Polarity::Bright, ..Params::default() };
    assert!(detect(&image, &bright).map_or(true, |d| d.sites.iter().all(|s| s.intensity > 0.0)));
}

#[test]
fn a_strong_slope_and_a_bright_island_do_no_harm() {
    let atoms = perovskite(SHAPE, 20.0, 0.5, 8);
    let mut values = render(SHAPE, &atoms, 0.0);
    for ((y, x), v) in values.indexed_iter_mut() {
        let island = (-((y as f64 - 240.0).powi(2) + (x as f64 - 90.0).powi(2)) / (2.0 * 40.0 * 40.0)).exp();
        *v += 0.01 * y as f64 + island;
    }
    let detection = detect(&noisy(values, 0.03, 8), &Params::default()).unwrap();
    let (f1, rms) = score(&found(&detection.sites), &atoms, SHAPE, 6.0);
    assert!(f1 >= 0.99 && rms < 0.15, "F1 {f1}, RMS {rms}");
}

#[test]
fn maxima_of_the_smoothed_image_find_the_same_atoms() {
    let atoms = perovskite(SHAPE, 20.0, 0.5, 9);
    let image = noisy(render(SHAPE, &atoms, 0.0), 0.05, 9);
    let detection = detect(&image, &Params { method: Method::Maxima, ..Params::default() }).unwrap();
    let (f1, rms) = score(&found(&detection.sites), &atoms, SHAPE, 6.0);
    assert!(f1 >= 0.99 && rms < 0.1, "F1 {f1}, RMS {rms}");
}

#[test]
fn sparse_atoms_of_several_widths_are_found_without_a_lattice() {
    let mut rng = ChaCha8Rng::seed_from_u64(5);
    let mut atoms: Vec<Atom> = Vec::new();
    while atoms.len() < 25 {
        let a =
            [rng.gen_range(15.0..285.0), rng.gen_range(15.0..285.0), rng.gen_range(0.8..1.2), rng.gen_range(1.5..4.0)];
        if atoms.iter().all(|b| (a[0] - b[0]).hypot(a[1] - b[1]) > 25.0) {
            atoms.push(a);
        }
    }
    let image = noisy(render((300, 300), &atoms, 1.0), 0.1, 5);
    let params = Params { sigma: Some((1.2, 5.0)), ..Params::default() };
    for params in [params, Params::default()] {
        let detection = detect(&image, &params).unwrap();
        let (f1, rms) = score(&found(&detection.sites), &atoms, (300, 300), 5.0);
        assert!(f1 >= 0.98 && rms < 0.2, "F1 {f1}, RMS {rms} {detection:?}");
        for site in &detection.sites {
            let truth = atoms.iter().find(|a| (a[0] - site.y).hypot(a[1] - site.x) < 1.0).unwrap();
            assert!((site.width / truth[3] - 1.0).abs() < 0.2, "{site:?} {truth:?}");
        }
    }
}

#[test]
fn noise_white_or_correlated_and_flat_images_hold_no_atoms() {
    for seed in 0..20 {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut white = Array2::from_shape_simple_fn((180, 200), || rng.sample::<f64, _>(StandardNormal));
        let result = detect(&Image::new(white.clone()).unwrap(), &Params::default());
        assert!(matches!(result, Err(Error::NoAtoms { .. })), "white {seed}: {:?}", result.map(|d| d.sites.len()));
        // Correlated over a few pixels, as after resampling.
        for _ in 0..6 {
            let old = white.clone();
            let mean = |y: usize, x: usize| old.slice(s![y - 1..y + 2, x - 1..x + 2]).mean().unwrap();
            for y in 1..179 {
                for x in 1..199 {
                    white[[y, x]] = mean(y, x);
                }
            }
        }
        let inner = Image::new(white.slice(s![10..170, 10..190]).to_owned()).unwrap();
        let result = detect(&inner, &Params::default());
        assert!(matches!(result, Err(Error::NoAtoms { .. })), "correlated {seed}: {:?}", result.map(|d| d.sites.len()));
    }
    let flat = detect(&Image::new(Array2::from_elem((64, 64), 7.0)).unwrap(), &Params::default()).unwrap_err();
    assert_eq!(flat.to_string(), "no atoms found: all 64×64 pixels have the same value");
}

#[test]
fn masked_pixels_yield_no_site_and_a_fit_beside_them_is_flagged() {
    let atoms = perovskite(SHAPE, 20.0, 0.0, 10);
    let mut values = noisy(render(SHAPE, &atoms, 0.0), 0.02, 10).values().to_owned();
    values.slice_mut(s![100..160, 120..200]).fill(f64::NAN);
    let detection = detect(&Image::new(values).unwrap(), &Params::default()).unwrap();
    assert!(detection.notes.iter().any(|n| n.contains("4800 masked pixels")), "{:?}", detection.notes);
    let hole = |s: &parsimon_core::Site| (100.0..159.0).contains(&s.y) && (120.0..199.0).contains(&s.x);
    assert_eq!(detection.sites.iter().filter(|s| hole(s)).count(), 0);
    assert!(detection.failed > 0);
    let near = |s: &parsimon_core::Site| (98.0..161.0).contains(&s.y) && (118.0..201.0).contains(&s.x);
    assert!(detection.sites.iter().filter(|s| near(s)).all(|s| s.refinement == Refinement::Failed));
    let far = |s: &&parsimon_core::Site| s.y < 80.0 || s.y > 180.0;
    assert!(detection.sites.iter().filter(far).all(|s| s.refinement == Refinement::Converged));
}

#[test]
fn given_parameters_are_honoured() {
    let atoms = perovskite(SHAPE, 20.0, 0.5, 11);
    let image = noisy(render(SHAPE, &atoms, 0.0), 0.03, 11);
    let strong = detect(&image, &Params { threshold: Some(0.75), ..Params::default() }).unwrap();
    let expected = inside(&atoms, SHAPE, 2.0).iter().filter(|a| a[2] > 0.7).count();
    assert!(strong.sites.len().abs_diff(expected) <= 6, "{} {expected}", strong.sites.len());
    let border = detect(&image, &Params { border: Some(30.0), ..Params::default() }).unwrap();
    assert!(border.sites.iter().all(|s| s.y >= 30.0 && s.y <= 289.0 && s.x >= 30.0 && s.x <= 309.0));
    let rough = Params { refine: false, min_distance: Some(18.0), ..Params::default() };
    let rough = Detector { params: rough }.detect(&image).unwrap();
    assert!(rough.iter().all(|s| s.refinement == Refinement::None));
    let apart = parsimon_detect::nearest_neighbour_distances(&rough);
    assert!(apart.iter().all(|d| *d > 17.0), "{apart:?}");
    let error = detect(&image, &Params { threshold: Some(1e6), ..Params::default() }).unwrap_err();
    assert!(error.to_string().contains("no response reaches the threshold of 1.0000e6"), "{error}");
}

#[test]
fn numbers_out_of_range_are_refused_by_name() {
    let image = noisy(render((64, 64), &[[32.0, 32.0, 1.0, 2.0]], 0.0), 0.01, 1);
    let none = Params::default;
    let nan = f64::NAN;
    let cases = [
        ("smallest sigma", Params { sigma: Some((0.2, 3.0)), ..none() }),
        ("smallest sigma", Params { sigma: Some((nan, 3.0)), ..none() }),
        ("largest sigma", Params { sigma: Some((2.0, 1.0)), ..none() }),
        ("largest sigma", Params { sigma: Some((2.0, f64::INFINITY)), ..none() }),
        ("largest sigma", Params { sigma: Some((2.0, 1e9)), ..none() }),
        ("threshold", Params { threshold: Some(0.0), ..none() }),
        ("threshold", Params { threshold: Some(nan), ..none() }),
        ("min_distance", Params { min_distance: Some(-1.0), ..none() }),
        ("border", Params { border: Some(-1.0), ..none() }),
        ("border", Params { border: Some(nan), ..none() }),
        ("background", Params { background: Some(f64::INFINITY), ..none() }),
    ];
    for (name, params) in cases {
        let error = detect(&image, &params).unwrap_err();
        assert!(matches!(error, Error::Parameter { .. }) && error.to_string().starts_with(name), "{error}");
    }
    let far = Params { background: Some(1e12), min_distance: Some(1e300), polarity: Polarity::Bright, ..none() };
    assert_eq!(detect(&image, &far).unwrap().sites.len(), 1);
    let wide = Params { sigma: Some((20.0, 30.0)), ..none() };
    assert!(matches!(detect(&image, &wide), Err(Error::TooSmall { needed: 120, .. })));
    for shape in [(1, 1), (2, 9), (9, 2), (5, 5), (8, 8), (12, 3000)] {
        let tiny = noisy(Array2::zeros(shape), 1.0, 1);
        assert!(detect(&tiny, &none()).is_err(), "{shape:?}");
    }
}

#[test]
fn the_same_image_gives_the_same_sites_on_any_number_of_threads() {
    let image = noisy(render(SHAPE, &perovskite(SHAPE, 20.0, 1.0, 12), 0.0), 0.1, 12);
    let on = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| detect(&image, &Params::default()).unwrap())
    };
    assert_eq!(on(1), on(3));
}
