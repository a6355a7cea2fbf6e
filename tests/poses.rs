//! A model recovers the poses it is told to be invariant to.

use std::ops::ControlFlow;

use dfdx::tensor::Cpu;
use ndarray::{Array1, Array4, s};
use parsimon_core::{Patches, Scaling};
use parsimon_datasets::PeaksParams;
use parsimon_ivae::{Inference, Noise, Params, Prior, ViewGrid, train};
use parsimon_metrics::{circular_correlation, held_out_accuracy};
use parsimon_train::Options;

use crate::objects::{Action, Objects, Spread, objects};

fn fit(data: &Objects, invariances: &str) -> parsimon_ivae::Ivae<Cpu> {
    let prior = Prior { angle: 0.8, shift: 0.2, scale: 0.2, ..Prior::default() };
    let base = Params::new(data.patches.shape());
    let params = Params {
        invariances: invariances.parse().unwrap(),
        latent: 1,
        hidden: vec![48, 48],
        prior,
        noise: Noise::Gaussian(0.1),
        ..base
    };
    let options = Options { epochs: 40, batch: 40, learning_rate: 3e-3, ..Options::default() };
    let go = |_: &parsimon_train::Progress<'_, _>| ControlFlow::Continue(());
    train(&Cpu::default(), &params, &data.patches, &options, None, go).unwrap().state.model
}

fn correlation(a: &Array1<f64>, b: &Array1<f32>) -> f64 {
    parsimon_metrics::correlation(a.view(), b.mapv(f64::from).view()).unwrap()
}

#[test]
fn rotation_is_found_with_its_sense() {
    let data = objects(400, 14, 1, Spread { angle: 1.2, ..Spread::default() }, 1);
    let embedding = fit(&data, "r").embedding(&data.patches).unwrap();
    let angle = &embedding.get("angle").unwrap().mean;
    let score = circular_correlation(data.angle.view(), angle.view(), None, |_| 1).unwrap();
    assert!(score.mean > 0.98 && score.classes[0].sign > 0.0, "{score:?}");
}

#[test]
fn translation_is_found_along_its_axes() {
    let data = objects(400, 14, 1, Spread { shift: 0.25, ..Spread::default() }, 2);
    let embedding = fit(&data, "t").embedding(&data.patches).unwrap();
    for (name, truth) in [("dx", &data.dx), ("dy", &data.dy)] {
        let r = correlation(truth, &embedding.get(name).unwrap().mean);
        assert!(r > 0.97, "{name}: {r}");
    }
}

#[test]
fn a_narrow_prior_of_one_shift_leaves_the_other_free() {
    let data = objects(400, 14, 1, Spread { shift: 0.25, ..Spread::default() }, 2);
    let params = Params {
        invariances: "t".parse().unwrap(),
        latent: 1,
        hidden: vec![48, 48],
        prior: Prior { shift: 0.2, shift_down: Some(0.005), ..Prior::default() },
        noise: Noise::Gaussian(0.3),
        ..Params::new(data.patches.shape())
    };
    let options = Options { epochs: 40, batch: 40, learning_rate: 3e-3, ..Options::default() };
    let go = |_: &parsimon_train::Progress<'_, _>| ControlFlow::Continue(());
    let model = train(&Cpu::default(), &params, &data.patches, &options, None, go).unwrap().state.model;
    let embedding = model.embedding(&data.patches).unwrap();
    let spread = |name: &str| embedding.get(name).unwrap().mean.std(0.0);
    assert!(spread("dx") > 0.1 && spread("dy") < 0.05, "{} {}", spread("dx"), spread("dy"));
}

#[test]
fn size_is_found() {
    let data = objects(400, 14, 1, Spread { scale: 0.3, ..Spread::default() }, 3);
    let embedding = fit(&data, "s").embedding(&data.patches).unwrap();
    let r = correlation(&data.scale, &embedding.get("scale").unwrap().mean);
    assert!(r > 0.97, "{r}");
}

/// A model of objects that turn freely and lie off the middle by a shift of about this width, which are sought or not.
fn turning_and(data: &Objects, shift: f32, centred: bool, epochs: usize) -> parsimon_ivae::Ivae<Cpu> {
    let params = Params {
        latent: 1,
        hidden: vec![48, 48],
        prior: Prior { angle: f32::INFINITY, shift, ..Prior::default() },
        inference: Inference::Views(ViewGrid::angles(8)),
        noise: Noise::Gaussian(0.1),
        centred,
        ..Params::new(data.patches.shape())
    };
    let options = Options { epochs, batch: 40, learning_rate: 3e-3, ..Options::default() };
    let go = |_: &parsimon_train::Progress<'_, _>| ControlFlow::Continue(());
    train(&Cpu::default(), &params, &data.patches, &options, None, go).unwrap().state.model
}

fn turning(data: &Objects) -> parsimon_ivae::Ivae<Cpu> {
    turning_and(data, 0.2, false, 40)
}

#[test]
fn views_find_any_angle_and_the_shifts_with_it() {
    let data = objects(400, 14, 1, Spread { angle: std::f64::consts::PI, shift: 0.15, ..Spread::default() }, 5);
    let model = turning(&data);
    let embedding = model.embedding(&data.patches).unwrap();
    let angle = &embedding.get("angle").unwrap().mean;
    let score = circular_correlation(data.angle.view(), angle.view(), None, |_| 1).unwrap();
    assert!(score.mean > 0.98 && score.classes[0].sign > 0.0, "{score:?}");
    // The decoder chooses which point of the object its shifts are those of; it turns with the object.
    let found = |name: &str| embedding.get(name).unwrap().mean.mapv(f64::from);
    let (off_x, off_y) = (found("dx") - &data.dx, found("dy") - &data.dy);
    let (cos, sin) = (data.angle.mapv(f64::cos), data.angle.mapv(f64::sin));
    let point_x = (&cos * &off_x - &sin * &off_y).mean().unwrap();
    let point_y = (&sin * &off_x + &cos * &off_y).mean().unwrap();
    let (at_x, at_y) = (&cos * point_x + &sin * point_y, &cos * point_y - &sin * point_x);
    for (name, truth, point) in [("dx", &data.dx, at_x), ("dy", &data.dy, at_y)] {
        let r = correlation(truth, &(found(name) - point).mapv(|v| v as f32));
        assert!(r > 0.97, "{name}: {r}");
    }
}

#[test]
fn objects_far_off_are_found_with_their_angle() {
    let data = objects(400, 22, 1, Spread { angle: std::f64::consts::PI, shift: 0.6, ..Spread::default() }, 8);
    let fit = |centred| {
        let angle =
            turning_and(&data, 0.4, centred, 12).embedding(&data.patches).unwrap().get("angle").unwrap().mean.clone();
        circular_correlation(data.angle.view(), angle.view(), None, |_| 1).unwrap().mean
    };
    let (sought, not) = (fit(true), fit(false));
    assert!(sought > 0.95 && not < 0.6, "{sought}, not sought {not}");
}

/// A model of objects that lie far off the middle, or are of very different sizes, looked at so.
fn looking(patches: &Patches, invariances: &str, inference: Inference) -> parsimon_ivae::Ivae<Cpu> {
    let params = Params {
        invariances: invariances.parse().unwrap(),
        hidden: vec![64, 64],
        prior: Prior { angle: f32::INFINITY, shift: 0.3, scale: 0.4, ..Prior::default() },
        inference,
        noise: Noise::GaussianLearned,
        ..Params::new(patches.shape())
    };
    let options = Options { epochs: 40, batch: 25, learning_rate: 2e-3, holdout: 0.1, ..Options::default() };
    let go = |_: &parsimon_train::Progress<'_, _>| ControlFlow::Continue(());
    train(&Cpu::default(), &params, patches, &options, None, go).unwrap().state.model
}

#[test]
fn spectra_seen_from_several_places_tell_drift_from_shape_where_one_look_does_not() {
    let params = PeaksParams { length: 64, per_shape: 400, ..PeaksParams::default() };
    let data = parsimon_datasets::peaks(&params).unwrap();
    let patches = Patches::from_spectra(data.spectra.as_ref().unwrap()).unwrap();
    let labels = data.labels.as_ref().unwrap();
    let held_out = || 720..800;
    let fit = |inference| {
        let latents = looking(&patches, "t", inference).embedding(&patches).unwrap();
        let dx = latents.column("dx").unwrap().mean.mapv(f64::from);
        let of = |shape: i64, values: &Array1<f64>| -> Array1<f64> {
            held_out().filter(|i| labels[*i] == shape).map(|i| values[i]).collect()
        };
        let r = |shape| correlation(&of(shape, &data.truth["dx"]), &of(shape, &dx).mapv(|v| v as f32));
        let content = latents.matrix(&["z1", "z2"]).unwrap();
        let some = |rows: std::ops::Range<usize>| (content.slice(s![rows.clone(), ..]), labels.slice(s![rows]));
        let told = held_out_accuracy(some(0..720), some(held_out()), 5);
        (r(0).min(r(1)), told.unwrap())
    };
    let (places, once) = (fit(Inference::Views(ViewGrid::shifts(12))), fit(Inference::Plain));
    assert!(places.0 > 0.99 && places.1 > 0.98 && once.1 < 0.9, "{places:?}, one look {once:?}");
}

#[test]
fn sizes_of_spectra_are_found_with_their_drift() {
    let (shift, scale) = (0.3, 0.4);
    let mut data = objects(800, 31, 1, Spread { shift, scale, ..Spread::default() }, 10);
    data.dy.fill(0.0);
    let data = data.after(Action::Scale(1.0));
    let rows = Patches::new(data.patches.images().slice(s![.., 15..16, .., ..]).to_owned(), Scaling::unit(1)).unwrap();
    let grid = ViewGrid { angles: 1, shifts: 9, scales: 3 };
    let latents = looking(&rows, "t,s", Inference::Views(grid)).embedding(&rows).unwrap();
    for (name, truth) in [("dx", &data.dx), ("scale", &data.scale)] {
        let r = correlation(truth, &latents.column(name).unwrap().mean);
        assert!(r > 0.95, "{name}: {r}");
    }
}

#[test]
fn views_find_places_angles_and_sizes_together() {
    let spread = Spread { angle: std::f64::consts::PI, shift: 0.3, scale: 0.4, height: 0.0 };
    let data = objects(800, 16, 1, spread, 9);
    let grid = ViewGrid { angles: 8, shifts: 3, scales: 3 };
    let latents = looking(&data.patches, "r,t,s", Inference::Views(grid)).embedding(&data.patches).unwrap();
    let mean = |name: &str| latents.column(name).unwrap().mean.clone();
    let angle = circular_correlation(data.angle.view(), mean("angle").view(), None, |_| 1).unwrap().mean;
    let size = correlation(&data.scale, &mean("scale"));
    let shifts = [correlation(&data.dx, &mean("dx")), correlation(&data.dy, &mean("dy"))];
    assert!(angle > 0.97 && size > 0.95 && shifts.iter().all(|r| *r > 0.95), "{angle} {size} {shifts:?}");
}

/// Two like blobs and a smaller one between them, which half a turn leaves as they were, or a third that it does not.
fn pairs(third: f32) -> (Patches, Array1<f64>) {
    let side = 17;
    let angle: Array1<f64> = (0..300).map(|i| (f64::from(i) * 2.399_963).rem_euclid(std::f64::consts::TAU)).collect();
    let images = Array4::from_shape_fn((300, side, side, 1), |(n, y, x, _)| {
        let (sin, cos) = (angle[n] as f32).sin_cos();
        let (x, y) = ((x as f32 - 8.0) / 8.0, (8.0 - y as f32) / 8.0);
        let (x, y) = (cos * x + sin * y, cos * y - sin * x);
        let blob = |a: f32, b: f32| (-((x - a).powi(2) + (y - b).powi(2)) / 0.04).exp();
        (blob(0.5, 0.0) + blob(-0.5, 0.0) + third * blob(0.0, 0.4)).min(1.0)
    });
    (Patches::new(images, Scaling::unit(1)).unwrap(), angle)
}

#[test]
fn an_object_that_half_a_turn_leaves_as_it_was_has_two_modes() {
    for (third, twofold) in [(0.0, true), (0.8, false)] {
        let (patches, _) = pairs(third);
        let still = Array1::zeros(300);
        let data = Objects {
            patches,
            angle: still.clone(),
            dx: still.clone(),
            dy: still.clone(),
            scale: still.clone(),
            height: still,
        };
        let modes = turning(&data).modes(&data.patches, 3).unwrap();
        let column = |name: &str| modes.column(name).unwrap().mean.clone();
        let (first, second) = (column("angle_1_p"), column("angle_2_p"));
        let both = first.iter().zip(&second).filter(|(a, b)| **a + **b > 0.95 && **b > 0.1).count();
        let opposite = column("angle_1")
            .iter()
            .zip(&column("angle_2"))
            .filter(|(a, b)| ((*a - *b).abs() - std::f32::consts::PI).abs() < 0.3)
            .count();
        if twofold {
            assert!(both > 270 && opposite > 285, "{both} {opposite}");
        } else {
            assert!(first.iter().filter(|p| **p > 0.95).count() > 285, "{first}");
        }
    }
    let plain = objects(60, 14, 1, Spread::default(), 1);
    let error = fit(&plain, "r").modes(&plain.patches, 2).unwrap_err().to_string();
    assert!(error.contains("views"), "{error}");
}

#[test]
fn a_quarter_turn_of_the_patch_turns_the_pose_and_leaves_the_content() {
    let data = objects(200, 13, 1, Spread { angle: std::f64::consts::PI, shift: 0.15, ..Spread::default() }, 6);
    let model = turning(&data);
    let images = data.patches.images();
    // Counter-clockwise on the screen.
    let turned = Array4::from_shape_fn(images.dim(), |(n, y, x, c)| images[(n, x, 12 - y, c)]);
    let turned = Patches::new(turned, Scaling::unit(1)).unwrap();
    let (before, after) = (model.embedding(&data.patches).unwrap(), model.embedding(&turned).unwrap());
    let column = |e: &parsimon_core::Embedding, name: &str| e.get(name).unwrap().mean.clone();
    for (name, was) in [("z1", column(&before, "z1")), ("dx", column(&before, "dy")), ("dy", -column(&before, "dx"))] {
        let worst = (&column(&after, name) - &was).fold(0.0f32, |m, d| m.max(d.abs()));
        assert!(worst < 1e-3, "{name}: {worst}");
    }
    let quarter = std::f32::consts::FRAC_PI_2;
    for (a, b) in column(&after, "angle").iter().zip(&column(&before, "angle")) {
        let off = (a - b - quarter).sin().hypot((a - b - quarter).cos() - 1.0);
        assert!(off < 1e-3, "{a} {b}");
    }
}

#[test]
fn decoding_keeps_the_pose() {
    let data = objects(400, 14, 1, Spread { angle: 1.0, shift: 0.15, ..Spread::default() }, 4);
    let model = fit(&data, "r,t");
    let latents = model.embedding(&data.patches).unwrap();
    let decoded: Array4<f32> = model.images(&latents).unwrap();
    let images = data.patches.images();
    let error = (&decoded - &images).mapv(|d| d * d).mean().unwrap();
    let mean = images.mean_axis(ndarray::Axis(0)).unwrap();
    let spread = (&images - &mean).mapv(|d| d * d).mean().unwrap();
    assert!(error < 0.1 * spread, "reconstruction {error}, variance {spread}");

    // Without its pose the same content decodes to the object at rest, far from the data.
    let mut rest = parsimon_core::Embedding::new(latents.len());
    for column in latents.columns() {
        let mean = if column.name == "z1" { column.mean.clone() } else { Array1::zeros(latents.len()) };
        rest.push(&column.name, mean, None).unwrap();
    }
    let error_at_rest = (&model.images(&rest).unwrap() - &images).mapv(|d| d * d).mean().unwrap();
    assert!(error_at_rest > 5.0 * error, "{error_at_rest} {error}");

    let mut lacking = parsimon_core::Embedding::new(1);
    lacking.push("z1", Array1::zeros(1), None).unwrap();
    assert!(model.images(&lacking).unwrap_err().to_string().contains("angle"));
}
