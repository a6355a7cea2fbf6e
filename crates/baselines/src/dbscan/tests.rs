use linfa::traits::Predict;
use ndarray::{Array4, s};
use parsimon_core::{Embed, Patches, Scaling};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::*;

/// The method as it was published: one row after the other, from each core row as far as it goes.
fn slow(rows: ArrayView2<'_, f64>, radius: f64, min_rows: usize) -> Vec<i64> {
    let n = rows.nrows();
    let square = |i: usize, j: usize| (&rows.row(i) - &rows.row(j)).mapv(|v| v * v).sum();
    let near: Vec<Vec<usize>> = (0..n).map(|i| (0..n).filter(|j| square(i, *j) <= radius * radius).collect()).collect();
    let (mut classes, mut next) = (vec![-1; n], 0);
    for i in 0..n {
        if classes[i] >= 0 || near[i].len() < min_rows {
            continue;
        }
        let mut open = vec![i];
        while let Some(at) = open.pop() {
            if classes[at] >= 0 {
                continue;
            }
            classes[at] = next;
            if near[at].len() >= min_rows {
                open.extend(&near[at]);
            }
        }
        next += 1;
    }
    classes
}

fn blobs(n: usize, d: usize, seed: u64) -> Array2<f64> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let centres = Array2::from_shape_fn((5, d), |_| rng.gen_range(-2.0..2.0));
    Array2::from_shape_fn((n, d), |(i, j)| centres[(i % 5, j)] + rng.gen_range(-1.0..1.0))
}

#[test]
fn classes_are_those_of_the_method_as_published() {
    for (n, d) in [(1, 2), (40, 1), (300, 2), (700, 3), (600, 12)] {
        let rows = blobs(n, d, n as u64);
        let mut seen = std::collections::HashSet::new();
        for (scale, min_rows) in [(0.05, 3), (0.1, 5), (0.2, 4), (0.3, 8), (0.6, 5), (0.6, 30), (3.0, 5), (0.2, 1)] {
            let radius = scale * (d as f64).sqrt();
            let model = Dbscan::params(radius).min_rows(min_rows).fit_matrix(rows.view()).unwrap();
            let expected = slow(rows.view(), radius, min_rows);
            assert_eq!(model.classes().to_vec(), expected, "{n}×{d}, radius {radius}, {min_rows} rows");
            assert_eq!(model.embed_rows(rows.view()).unwrap().classes.unwrap().to_vec(), expected);
            seen.insert(model.clusters());
        }
        assert!(n < 100 || seen.len() > 2, "all alike: {seen:?}");
    }
}

#[test]
fn moons_and_rings_are_whole_at_the_suggested_radius() {
    let mut rng = ChaCha8Rng::seed_from_u64(8);
    let mut noise = move || rng.gen_range(-0.05..0.05);
    let mut made = |shape: &dyn Fn(bool, f64) -> [f64; 2]| {
        let point = |i: usize| shape(i.is_multiple_of(2), i as f64 * 2.399_963);
        let points: Vec<[f64; 2]> = (0..1000).map(point).map(|[y, x]| [y + noise(), x + noise()]).collect();
        Array2::from(points)
    };
    let moons = made(&|upper, turn| {
        let angle = (turn % std::f64::consts::TAU) / 2.0;
        if upper { [angle.sin(), angle.cos()] } else { [0.5 - angle.sin(), 1.0 - angle.cos()] }
    });
    let rings = made(&|outer, turn| [turn.sin(), turn.cos()].map(|v| if outer { v } else { 0.5 * v }));
    for mut rows in [moons, rings] {
        // Two rows apart from all.
        rows.slice_mut(s![0..2, ..]).assign(&ndarray::array![[4.0, 4.0], [-4.0, 4.0]]);
        let radius = Dbscan::suggested_radius(rows.view(), 4).unwrap();
        let model = Dbscan::params(radius).fit_matrix(rows.view()).unwrap();
        assert_eq!(model.clusters(), 2, "radius {radius}");
        let expected = |i: usize| if i < 2 { -1 } else { i as i64 % 2 };
        assert!(model.classes().iter().enumerate().all(|(i, c)| *c == expected(i)));
        assert!(model.core().len() > 900 && model.core()[0] >= 2);
    }
}

#[test]
fn a_further_row_is_of_the_nearest_core_row() {
    // Two lines of rows, 2 apart, and a border row that both reach.
    let mut rows =
        Array2::from_shape_fn((21, 2), |(i, j)| if j == 0 { 2.0 * (i / 10) as f64 } else { (i % 10) as f64 * 0.1 });
    rows.row_mut(20).assign(&ndarray::array![1.01, 0.0]);
    let model = Dbscan::params(1.05).min_rows(10).fit_matrix(rows.view()).unwrap();
    assert_eq!((model.clusters(), model.classes()[20]), (2, 0));
    let further = ndarray::array![[1.01, 0.0], [1.02, 0.0], [0.9, 0.0], [5.0, 5.0], [2.0, 0.5], [-1e100, 0.0]];
    let found = model.embed_rows(further.view()).unwrap();
    assert_eq!(found.columns.dim(), (6, 0));
    assert_eq!(found.classes.unwrap().to_vec(), [0, 1, 0, -1, 1, -1]);
    assert!((model.patterns().unwrap()[(1, 0)] - 2.0).abs() < 1e-12);
}

#[test]
fn the_number_of_threads_changes_no_bit() {
    let rows = blobs(1500, 4, 1);
    let fitted = |threads: usize, radius: f64| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| Dbscan::params(radius).fit_matrix(rows.view()).unwrap())
    };
    for radius in [0.3, 0.5, 3.0] {
        assert!(fitted(1, radius) == fitted(2, radius));
    }
}

#[test]
fn patches_have_classes_and_no_columns() {
    let images = Array4::from_shape_fn((24, 3, 3, 1), |(n, y, _, _)| if n % 2 == y { 0.9 } else { 0.1 });
    let patches = Patches::new(images, Scaling::unit(1)).unwrap();
    let model = Dbscan::params(0.5).fit_patches(&patches).unwrap();
    let embedding = model.embed(&patches).unwrap();
    assert!(embedding.columns().is_empty() && embedding.len() == 24);
    assert!(embedding.class().unwrap().iter().enumerate().all(|(n, c)| *c == n as i64 % 2));
    assert_eq!(model.patterns().unwrap().dim(), (2, 3, 3, 1));
    let rows = crate::rows::of_images(patches.images());
    assert_eq!(model.model().predict(&rows).unwrap().to_vec(), embedding.class().unwrap().to_vec());
}

#[test]
fn copies_and_single_rows_are_clusters_or_noise() {
    let copies = Array2::from_elem((300, 3), 0.1);
    let model = Dbscan::params(1e-300).fit_matrix(copies.view()).unwrap();
    assert!(model.clusters() == 1 && model.classes().iter().all(|c| *c == 0));
    let one = copies.slice(s![..1, ..]);
    let alone = Dbscan::params(1.0).fit_matrix(one).unwrap();
    assert_eq!((alone.classes().to_vec(), alone.clusters()), (vec![-1], 0));
    assert_eq!(alone.embed_rows(copies.view()).unwrap().classes.unwrap().to_vec(), [-1; 300]);
    assert_eq!(Dbscan::params(1.0).min_rows(1).fit_matrix(one).unwrap().classes().to_vec(), [0]);
}

#[test]
fn bad_parameters_and_rows_are_rejected() {
    let rows = blobs(20, 2, 0);
    for radius in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        let error = Dbscan::params(radius).fit_matrix(rows.view()).unwrap_err().to_string();
        assert!(error.contains(&format!("radius of neighbours is {radius}, accepted are above 0")), "{error}");
    }
    let error = Dbscan::params(1.0).min_rows(0).fit_matrix(rows.view()).unwrap_err().to_string();
    assert!(error.contains("core row is 0"), "{error}");
    for k in [0, 20, usize::MAX] {
        let error = Dbscan::suggested_radius(rows.view(), k).unwrap_err().to_string();
        assert!(error.contains(&format!("neighbours is {k}, accepted are 1 to 19")), "{error}");
    }
    let error = Dbscan::suggested_radius(rows.slice(s![..1, ..]), 1).unwrap_err().to_string();
    assert!(error.contains("rows is 1, accepted are at least 2"), "{error}");
    let error = Dbscan::suggested_radius(Array2::ones((9, 2)).view(), 2).unwrap_err().to_string();
    assert!(error.contains("above 0"), "{error}");
    let mut bad = rows.clone();
    bad[(4, 0)] = f64::INFINITY;
    assert_eq!(Dbscan::params(1.0).fit_matrix(bad.view()), Err(Error::NotFinite { row: 4 }));
    assert_eq!(Dbscan::suggested_radius(bad.view(), 2), Err(Error::NotFinite { row: 4 }));
    bad[(4, 0)] = -1e200;
    assert!(Dbscan::params(1.0).fit_matrix(bad.view()).unwrap_err().to_string().contains("1e140"));
    let model = Dbscan::params(1.0).fit_matrix(rows.view()).unwrap();
    assert_eq!(model.embed_rows(Array2::zeros((2, 3)).view()), Err(Error::Width { found: 3, expected: 2 }));
}

#[test]
fn a_radius_that_is_not_given_is_the_suggested_one() {
    let rows = Array2::from_shape_fn((60, 2), |(i, j)| ((i * 37 + j * 11) % 29) as f64 * 0.01 + (i % 3) as f64 * 5.0);
    let radius = Dbscan::suggested_radius(rows.view(), 3).unwrap();
    let (left, given) = (Dbscan::suggested().min_rows(4), Dbscan::params(radius).min_rows(4));
    let (left, given) = (left.fit_matrix(rows.view()).unwrap(), given.fit_matrix(rows.view()).unwrap());
    assert_eq!((left.radius(), left.clusters()), (radius, 3));
    assert_eq!(left, given);
}
