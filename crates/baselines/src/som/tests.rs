use ndarray::Array4;
use parsimon_core::{Embed, Patches, Scaling};
use parsimon_metrics::correlation;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::*;

/// A rectangle, longer in its first direction, in five dimensions; its coordinates.
fn plane(n: usize) -> (Array2<f64>, Array2<f64>) {
    let mut rng = ChaCha8Rng::seed_from_u64(6);
    let places = Array2::from_shape_fn((n, 2), |(_, j)| rng.gen_range(-1.0..1.0) * if j == 0 { 2.0 } else { 1.0 });
    let axes = ndarray::array![[0.6, 0.0, 0.8, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0, 0.0]];
    let noise = Array2::from_shape_fn((n, 5), |_| 10.0 + rng.gen_range(-0.02..0.02));
    (places.dot(&axes) + noise, places)
}

#[test]
fn a_plane_is_mapped_in_order() {
    let (rows, places) = plane(1500);
    for grid in [Grid::Rectangular, Grid::Hexagonal] {
        let model = Som::params(8, 16).grid(grid).fit_matrix(rows.view()).unwrap();
        assert!(model.topographic_error() < 0.03, "{grid:?}: {}", model.topographic_error());
        // Cells of 4/16 by 2/8 have a mean distance to their centres of 0.38 sides.
        assert!(model.quantisation_error() < 0.125, "{grid:?}: {}", model.quantisation_error());
        let found = model.embed_rows(rows.view()).unwrap();
        let (y, x) = (found.columns.column(0), found.columns.column(1));
        let [x, y] = [(x, 0), (y, 1)].map(|(v, axis)| correlation(v, places.column(axis)).unwrap());
        assert!(x.abs() > 0.995 && y.abs() > 0.99, "{x} {y}");
        for (columns, class) in found.columns.outer_iter().zip(found.classes.unwrap()) {
            let (y, x) = model.place(class as usize).unwrap();
            assert!((columns[0] - y).abs() <= 0.5 && (columns[1] - x).abs() <= 0.5);
        }
    }
}

#[test]
fn a_ring_is_mapped_in_order() {
    let turn = |i: usize| i as f64 * 2.399_963;
    let rows = Array2::from_shape_fn((800, 2), |(i, j)| if j == 0 { turn(i).sin() } else { turn(i).cos() });
    let model = Som::params(6, 6).fit_matrix(rows.view()).unwrap();
    assert!(model.topographic_error() < 0.05, "{}", model.topographic_error());
    assert!(model.quantisation_error() < 0.2, "{}", model.quantisation_error());
    // What is near on the ring is near on the map.
    let found = model.embed_rows(rows.view()).unwrap().columns;
    let mut order: Vec<usize> = (0..800).collect();
    order.sort_by(|a, b| (turn(*a) % std::f64::consts::TAU).total_cmp(&(turn(*b) % std::f64::consts::TAU)));
    let step = |w: &[usize]| (&found.row(w[0]) - &found.row(w[1])).mapv(|d| d * d).sum().sqrt();
    let far = order.windows(2).filter(|w| step(w) > 1.5).count();
    assert!(far < 8, "{far} breaks");
}

#[test]
fn refined_places_are_finer_than_the_grid() {
    let (rows, places) = plane(1500);
    let model = Som::params(4, 8).fit_matrix(rows.view()).unwrap();
    let found = model.embed_rows(rows.view()).unwrap();
    let coarse = found.classes.unwrap().mapv(|c| model.place(c as usize).unwrap().1);
    let [fine, coarse] =
        [found.columns.column(1), coarse.view()].map(|x| correlation(x, places.column(0)).unwrap().abs());
    assert!(1.0 - fine < 0.5 * (1.0 - coarse), "{fine} beside {coarse}");
}

#[test]
fn a_ridge_of_the_u_matrix_parts_two_groups() {
    let (mut rows, _) = plane(600);
    rows.slice_mut(s![..300, ..]).mapv_inplace(|v| v + 20.0);
    let model = Som::params(3, 9).fit_matrix(rows.view()).unwrap();
    let heights = model.u_matrix().mean_axis(Axis(0)).unwrap();
    assert!(heights.slice(s![3..6]).sum() > 3.0 * (heights[0] + heights[1] + heights[7] + heights[8]), "{heights}");
    let line = Som::params(1, 3).neighbourhood(1.0, 0.1).fit_matrix(rows.view()).unwrap();
    let step = |a: usize, b: usize| (&line.units().row(a) - &line.units().row(b)).mapv(|d| d * d).sum().sqrt();
    let expected = [step(0, 1), (step(0, 1) + step(1, 2)) / 2.0, step(1, 2)];
    assert!(line.u_matrix().iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-12));
}

#[test]
fn the_last_units_are_weighted_means() {
    let (rows, _) = plane(200);
    // A neighbourhood of nobody else: the best unit is the mean of its rows, as in k-means.
    let model = Som::params(2, 2).rounds(60).neighbourhood(1.0, 0.01).fit_matrix(rows.view()).unwrap();
    let classes = model.embed_rows(rows.view()).unwrap().classes.unwrap();
    for (u, unit) in model.units().outer_iter().enumerate() {
        let own: Vec<usize> = (0..200).filter(|i| classes[*i] == u as i64).collect();
        let mean = rows.select(Axis(0), &own).mean_axis(Axis(0)).unwrap();
        assert!((&unit - &mean).iter().all(|d| d.abs() < 0.05), "{unit} is not {mean}");
    }
}

#[test]
fn the_number_of_threads_changes_no_bit() {
    let (rows, _) = plane(700);
    let fitted = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let model = Som::params(5, 7).rounds(10).fit_matrix(rows.view()).unwrap();
            (model.embed_rows(rows.view()).unwrap(), model)
        })
    };
    assert!(fitted(1) == fitted(2));
}

#[test]
fn few_equal_and_straight_rows_give_numbers() {
    let (rows, _) = plane(50);
    let line = Array2::from_shape_fn((50, 3), |(i, j)| (i * (j + 1)) as f64 * 1e100);
    let cases = [
        rows.slice(s![..1, ..]).to_owned(),
        rows.slice(s![..2, ..]).to_owned(),
        rows.slice(s![.., ..1]).to_owned(),
        Array2::from_elem((40, 3), 0.1),
        Array2::zeros((3, 2)),
        line,
    ];
    for rows in cases {
        for (h, w) in [(1, 1), (1, 5), (4, 1), (6, 5)] {
            for grid in [Grid::Rectangular, Grid::Hexagonal] {
                let model = Som::params(h, w).grid(grid).fit_matrix(rows.view()).unwrap();
                let found = model.embed_rows(rows.view()).unwrap();
                assert!(model.units().iter().chain(&found.columns).chain(&model.u_matrix()).all(|v| v.is_finite()));
                let (far, error) = (rows.mapv(f64::abs).sum(), model.topographic_error());
                assert!((0.0..=far).contains(&model.quantisation_error()));
                // In a row of units that follows a line, the two best touch; one unit has none to miss.
                if h * w == 1 || rows.ncols() == 1 && h.min(w) == 1 {
                    assert_eq!(error, 0.0);
                }
            }
        }
    }
}

#[test]
fn places_between_units_are_found_at_any_scale() {
    let (rows, _) = plane(600);
    let found = |scale: f64| {
        let rows = &rows * scale;
        Som::params(4, 8).fit_matrix(rows.view()).unwrap().embed_rows(rows.view()).unwrap().columns
    };
    let expected = found(1.0);
    assert!(expected.iter().any(|v| (v - v.round()).abs() > 0.2));
    for scale in [1e-100, 1e100] {
        assert!((found(scale) - &expected).iter().all(|off| off.abs() < 1e-6), "{scale:e}");
    }
}

#[test]
fn a_large_constant_column_hides_no_other() {
    let rows = Array2::from_shape_fn((50, 2), |(i, j)| if j == 0 { 1e9 } else { i as f64 * 1e-7 });
    let found = Som::params(1, 5).fit_matrix(rows.view()).unwrap().embed_rows(rows.view()).unwrap();
    let classes = found.classes.unwrap();
    assert!(classes[0] != classes[49] && (classes[0] - classes[49]).abs() == 4, "{classes}");
}

#[test]
fn a_single_round_is_the_last() {
    let (rows, _) = plane(200);
    let fit =
        |first: f64, last: f64| Som::params(3, 6).rounds(1).neighbourhood(first, last).fit_matrix(rows.view()).unwrap();
    assert_eq!(fit(4.0, 0.5), fit(0.5, 0.5));
    assert_ne!(fit(4.0, 0.5), fit(4.0, 2.0));
}

#[test]
fn bad_parameters_and_rows_are_rejected() {
    let (rows, _) = plane(20);
    let refused = |params: Params<Som>| params.fit_matrix(rows.view()).unwrap_err().to_string();
    assert!(refused(Som::params(0, 3)).contains("rows of the map is 0"));
    assert!(refused(Som::params(3, 0)).contains("columns of the map is 0"));
    assert!(refused(Som::params(usize::MAX, 2)).contains("1 to 10000"));
    assert!(refused(Som::params(101, 100)).contains("units is 10100, accepted are 1 to 10000"));
    assert!(refused(Som::params(2, 2).rounds(0)).contains("rounds is 0"));
    for width in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        let expected = format!("neighbourhood is {width}, accepted are 0.01 to 10000");
        assert!(refused(Som::params(2, 2).neighbourhood(width, 1.0)).contains(&expected));
        assert!(refused(Som::params(2, 2).neighbourhood(1.0, width)).contains(&expected));
    }
    let mut bad = rows.clone();
    bad[(6, 0)] = f64::NAN;
    assert_eq!(Som::params(2, 2).fit_matrix(bad.view()), Err(Error::NotFinite { row: 6 }));
    bad[(6, 0)] = 1e200;
    assert!(Som::params(2, 2).fit_matrix(bad.view()).unwrap_err().to_string().contains("1e140"));
    let model = Som::params(2, 2).fit_matrix(rows.view()).unwrap();
    assert_eq!(model.embed_rows(Array2::zeros((2, 3)).view()), Err(Error::Width { found: 3, expected: 5 }));
    assert!(model.place(4).is_none());
}

#[test]
fn patches_have_places_and_classes() {
    let images = Array4::from_shape_fn((30, 4, 4, 1), |(n, y, x, _)| ((n * (y + 1) + x) as f32 * 0.05).sin().abs());
    let patches = Patches::new(images, Scaling::unit(1)).unwrap();
    let model = Som::params(3, 4).fit_patches(&patches).unwrap();
    let embedding = model.embed(&patches).unwrap();
    assert_eq!(embedding.columns().iter().map(|c| c.name.as_str()).collect::<Vec<_>>(), ["som_y", "som_x"]);
    assert!(embedding.class().unwrap().iter().all(|c| (0..12).contains(c)));
    assert_eq!(model.patterns().unwrap().dim(), (12, 4, 4, 1));
}
