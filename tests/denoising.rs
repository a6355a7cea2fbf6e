//! An autoencoder trained towards clean patches removes noise, and knows what it has not seen.

use std::ops::ControlFlow;

use dfdx::tensor::Cpu;
use ndarray::{Array4, ArrayView4, Axis, s};
use parsimon_baselines::Pca;
use parsimon_core::{Dataset, Embed, Generate, Patches, Scaling};
use parsimon_datasets::{LatticeImages, LatticeParams, lattice};
use parsimon_ivae::{Examples, Ivae, Noise, Params, Usual, train};
use parsimon_nets::Activation;
use parsimon_train::Options;

const TRAINED: usize = 900;

fn data(images: LatticeImages) -> Dataset {
    lattice(&LatticeParams { size: 18, count: 1000, images, seed: 1 }).unwrap()
}

fn fit(images: &Patches, goals: Option<&Patches>) -> Ivae<Cpu> {
    let params = Params {
        invariances: "none".parse().unwrap(),
        deterministic: true,
        goal_channels: goals.map(|g| g.shape().2),
        latent: 32,
        hidden: vec![256, 128],
        activation: Activation::Gelu,
        noise: Noise::Gaussian(0.1),
        ..Params::new(images.shape())
    };
    let options = Options { epochs: 30, batch: 30, ..Options::default() };
    let mut examples = Examples::from(images);
    if let Some(goals) = goals {
        examples = examples.towards(goals);
    }
    train(&Cpu::default(), &params, examples, &options, None, |_| ControlFlow::Continue(())).unwrap().state.model
}

/// Root mean square error of the held-out rows.
fn error(found: ArrayView4<'_, f32>, goals: &Patches) -> f32 {
    let off = &found.slice(s![TRAINED.., .., .., ..]) - &goals.images().slice(s![TRAINED.., .., .., ..]);
    off.mapv(|d| d * d).mean().unwrap().sqrt()
}

/// Images smoothed by a Gaussian along both sides.
fn smoothed(images: ArrayView4<'_, f32>, sigma: f32) -> Array4<f32> {
    let reach = (3.0 * sigma).ceil() as isize;
    let along = |images: Array4<f32>, axis: usize| {
        let n = images.shape()[axis] as isize;
        let mut sum = Array4::zeros(images.dim());
        let mut total = 0.0;
        for off in -reach..=reach {
            let weight = (-0.5 * (off as f32 / sigma).powi(2)).exp();
            let rows: Vec<usize> = (0..n).map(|i| (i + off).clamp(0, n - 1) as usize).collect();
            sum.scaled_add(weight, &images.select(Axis(axis), &rows));
            total += weight;
        }
        sum / total
    };
    along(along(images.to_owned(), 1), 2)
}

/// Images whose every pixel is the median of the 3×3 about it.
fn median(images: ArrayView4<'_, f32>) -> Array4<f32> {
    let (_, h, w, _) = images.dim();
    Array4::from_shape_fn(images.dim(), |(n, y, x, c)| {
        let near = |v: usize, end: usize| v.saturating_sub(1)..(v + 2).min(end);
        let mut values: Vec<f32> =
            near(y, h).flat_map(|y| near(x, w).map(move |x| (y, x))).map(|(y, x)| images[(n, y, x, c)]).collect();
        values.sort_by(f32::total_cmp);
        values[values.len() / 2]
    })
}

#[test]
fn noise_goes_further_than_by_smoothing_medians_and_components() {
    for counts in [3.0, 10.0] {
        let data = data(LatticeImages::Counts(counts));
        let (images, goals) = (data.images.unwrap(), data.goals.unwrap());
        let found = error(fit(&images, Some(&goals)).translate(&images).unwrap().view(), &goals);
        // What the others make is still in units of the counts.
        let scale = goals.images().mean().unwrap() / images.images().mean().unwrap();
        let of = |made: Array4<f32>| error((made * scale).view(), &goals);
        let gaussian = [0.5, 0.7, 0.9, 1.1, 1.4, 1.8].map(|sigma| of(smoothed(images.images(), sigma)));
        let rows: Vec<usize> = (0..TRAINED).collect();
        let components = [3, 6, 10, 16, 24, 40].map(|components| {
            let pca = Pca::params(components).fit_patches(&images.select(&rows).unwrap()).unwrap();
            of(pca.generate(&pca.embed(&images).unwrap()).unwrap())
        });
        let best = |errors: &[f32]| errors.iter().copied().fold(f32::INFINITY, f32::min);
        let others = [best(&gaussian), of(median(images.images())), best(&components)];
        assert!(others.iter().all(|other| found < 0.95 * other), "{counts} counts: {found}, others {others:?}");
    }
}

#[test]
fn grey_becomes_colour_better_than_by_a_line() {
    let data = data(LatticeImages::Grey);
    let (grey, colour) = (data.images.unwrap(), data.goals.unwrap());
    let found = error(fit(&grey, Some(&colour)).translate(&grey).unwrap().view(), &colour);
    // The best line from the grey of a pixel to each of its colours.
    let mut made = Array4::zeros(colour.images().dim());
    for channel in 0..3 {
        let (x, y) = (grey.images(), colour.images());
        let (x, y) = (x.index_axis(Axis(3), 0), y.index_axis(Axis(3), channel));
        let (mx, my) = (x.mean().unwrap(), y.mean().unwrap());
        let slope = ((&x - mx) * (&y - my)).sum() / (&x - mx).mapv(|d| d * d).sum();
        made.index_axis_mut(Axis(3), channel).assign(&(&x * slope + (my - slope * mx)));
    }
    let line = error(made.view(), &colour);
    assert!(found < 0.4 * line, "{found}, by a line {line}");
}

#[test]
fn what_was_never_seen_lies_outside() {
    let images = data(LatticeImages::Grey).images.unwrap();
    let model = fit(&images, None);
    let examples = Examples::from(&images);
    let latents = model.embedding(&examples).unwrap();
    let usual = Usual::of(&model, &examples, &latents, 0..TRAINED).unwrap().unwrap();
    let held_out = images.images().slice(ndarray::s![TRAINED.., .., .., ..]).to_owned();
    let held_out = Patches::new(held_out, Scaling::unit(1)).unwrap();
    let held_out = Examples::from(&held_out);
    let own = usual.outside(&model, &held_out, &model.embedding(&held_out).unwrap()).unwrap().unwrap();
    assert!(own.share < 0.1 && (own.times - 1.0).abs() < 0.2, "{own:?}");
    // Stripes are no lattice.
    let stripes = Array4::from_shape_fn((50, 18, 18, 1), |(n, y, _, _)| if (y + n) % 4 < 2 { 0.9 } else { 0.1 });
    let stripes = Patches::new(stripes, Scaling::unit(1)).unwrap();
    let others = Examples::from(&stripes);
    let found = usual.outside(&model, &others, &model.embedding(&others).unwrap()).unwrap().unwrap();
    assert!(found.share > 0.95 && found.times > 2.0, "{found:?}");
}

#[test]
fn what_was_never_seen_lies_outside_of_what_makes_colour_of_grey_too() {
    let data = data(LatticeImages::Grey);
    let (grey, colour) = (data.images.unwrap(), data.goals.unwrap());
    let model = fit(&grey, Some(&colour));
    let examples = Examples::from(&grey).towards(&colour);
    let usual = Usual::of(&model, &examples, &model.embedding(&examples).unwrap(), 0..TRAINED).unwrap().unwrap();
    assert!(usual.back.as_ref().is_some_and(|back| back.len() == 1 && back[0].len() == 4), "{usual:?}");
    let outside = |images: Array4<f32>| {
        let patches = Patches::new(images, Scaling::unit(1)).unwrap();
        let examples = Examples::from(&patches);
        usual.outside(&model, &examples, &model.embedding(&examples).unwrap()).unwrap().unwrap()
    };
    let own = outside(grey.images().slice(ndarray::s![TRAINED.., .., .., ..]).to_owned());
    assert!(own.share < 0.1 && (own.times - 1.0).abs() < 0.3, "{own:?}");
    let stripes = Array4::from_shape_fn((50, 18, 18, 1), |(n, y, _, _)| if (y + n) % 4 < 2 { 0.9 } else { 0.1 });
    let found = outside(stripes);
    assert!(found.share > 0.95 && found.times > 2.0, "{found:?}");
}

#[test]
fn goals_that_do_not_fit_are_refused() {
    let data = data(LatticeImages::Grey);
    let (grey, colour) = (data.images.unwrap(), data.goals.unwrap());
    let base = Params { invariances: "none".parse().unwrap(), ..Params::new(grey.shape()) };
    let attempt = |params: &Params, examples: Examples<'_>| {
        let go = |_: &parsimon_train::Progress<'_, Ivae<Cpu>>| ControlFlow::Continue(());
        train(&Cpu::default(), params, examples, &Options::default(), None, go).unwrap_err().to_string()
    };
    let with_goals = Params { goal_channels: Some(3), ..base.clone() };
    assert!(attempt(&with_goals, (&grey).into()).contains("goals is missing"));
    assert!(attempt(&base, Examples::from(&grey).towards(&grey)).contains("goals is given"));
    let one = Params { goal_channels: Some(1), ..base };
    assert!(attempt(&one, Examples::from(&grey).towards(&colour)).contains("(1000, (18, 18, 3))"));
    let few = colour.select(&[0, 1]).unwrap();
    assert!(attempt(&with_goals, Examples::from(&grey).towards(&few)).contains("(2, (18, 18, 3))"));
}
