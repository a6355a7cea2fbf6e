//! What a model is told, its content need not say.

use std::ops::ControlFlow;

use dfdx::tensor::Cpu;
use ndarray::{Array1, Array2, Array4, Axis};
use parsimon_core::{Embed, Embedding, Patches, Scaling};
use parsimon_ivae::{Condition, Examples, Ivae, Noise, Params, train};
use parsimon_metrics::nearest_neighbour_accuracy;
use parsimon_train::Options;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Bars: the class says whether one lies or stands, the factor how bright it is, and its place is nobody's business.
struct Bars {
    patches: Patches,
    labels: Array1<i64>,
    factors: Array2<f32>,
}

fn bars(n: usize) -> Bars {
    let side = 12;
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let labels: Array1<i64> = (0..n).map(|i| (i % 2) as i64).collect();
    let factors = Array2::from_shape_fn((n, 1), |_| rng.gen_range(20.0f32..80.0));
    let place: Vec<f32> = (0..n).map(|_| rng.gen_range(2.5..8.5)).collect();
    let images = Array4::from_shape_fn((n, side, side, 1), |(i, y, x, _)| {
        let across = if labels[i] == 0 { y } else { x } as f32;
        factors[(i, 0)] / 100.0 * (-(across - place[i]).powi(2) / 3.0).exp()
    });
    Bars { patches: Patches::new(images, Scaling::unit(1)).unwrap(), labels, factors }
}

impl Bars {
    fn told(&self) -> Examples<'_> {
        Examples::conditioned(&self.patches, Some(self.labels.view()), Some(self.factors.view()))
    }

    fn fit(&self, data: Examples<'_>, condition: Condition) -> (Ivae<Cpu>, f32) {
        let base = Params::new(self.patches.shape());
        let (invariances, noise) = ("none".parse().unwrap(), Noise::Gaussian(0.05));
        let params = Params { invariances, noise, latent: 1, hidden: vec![48, 48], condition, ..base };
        let options = Options { epochs: 40, batch: 25, learning_rate: 3e-3, ..Options::default() };
        let go = |_: &parsimon_train::Progress<'_, _>| ControlFlow::Continue(());
        let fitted = train(&Cpu::default(), &params, data, &options, None, go).unwrap();
        let loss = fitted.state.history.last().unwrap().test.unwrap().loss;
        (fitted.state.model, loss)
    }
}

#[test]
fn what_is_told_leaves_the_content_and_lowers_the_loss() {
    let bars = bars(600);
    let condition = Condition::of(Some(bars.labels.view()), Some(bars.factors.view())).unwrap();
    let (told, loss_told) = bars.fit(bars.told(), condition);
    let (untold, loss) = bars.fit((&bars.patches).into(), Condition::default());
    assert!(loss_told < loss - 20.0, "{loss_told} {loss}");

    let accuracy = |latents: &Embedding| {
        let z = latents.matrix(&["z1"]).unwrap();
        nearest_neighbour_accuracy(z.view(), bars.labels.view(), 15).unwrap()
    };
    let with = told.embedding(bars.told()).unwrap();
    let without = untold.embedding(&bars.patches).unwrap();
    assert!(accuracy(&with) < 0.65 && accuracy(&without) > 0.8, "{} {}", accuracy(&with), accuracy(&without));

    // Decoding follows what it is told: the other class lies across, the brightness is that of the factor.
    let same = told.images(&with).unwrap();
    let error = (&same - &bars.patches.images()).mapv(|d| d * d).mean().unwrap().sqrt();
    assert!(error < 0.06, "{error}");
    let mut other = Embedding::new(with.len());
    for column in with.columns() {
        let mean = if column.name == "c1" { Array1::from_elem(with.len(), 50.0) } else { column.mean.clone() };
        other.push(&column.name, mean, None).unwrap();
    }
    other.set_class(bars.labels.mapv(|l| 1 - l)).unwrap();
    let images = told.images(&other).unwrap();
    for (image, label) in images.axis_iter(Axis(0)).zip(&bars.labels) {
        let image = image.index_axis(Axis(2), 0);
        let spread = |axis: usize| image.mean_axis(Axis(axis)).unwrap().std(0.0);
        // A lying bar varies down the rows, a standing one along them.
        let lies = spread(1) > spread(0);
        assert_eq!(lies, *label == 1);
    }
    let brightest = images.map_axis(Axis(1), |v| v.iter().fold(0.0f32, |m, v| m.max(*v)));
    let brightest = brightest.map_axis(Axis(1), |v| v.iter().fold(0.0f32, |m, v| m.max(*v)));
    let off = brightest.mapv(|b| (b - 0.5).abs()).mean().unwrap();
    assert!(off < 0.05, "{off}");

    let grid = told.grid(&with, ("c1", vec![25.0, 75.0]), ("class", vec![0.0, 1.0]), 0).unwrap();
    let sums: Vec<f32> = grid.images.axis_iter(Axis(0)).map(|image| image.sum()).collect();
    assert!(sums[1] > 2.0 * sums[0] && sums[3] > 2.0 * sums[2], "{sums:?}");
}

#[test]
fn what_is_missing_or_unknown_is_refused() {
    let bars = bars(120);
    let condition = Condition::of(Some(bars.labels.view()), Some(bars.factors.view())).unwrap();
    let (model, _) = bars.fit(bars.told(), condition.clone());
    let message = model.embedding(&bars.patches).unwrap_err().to_string();
    assert!(
        message.contains("a class of each of 120 samples and 1 factors") && message.contains("neither"),
        "{message}"
    );
    assert!(model.embed(&bars.patches).is_err());
    let strange = bars.labels.mapv(|l| 3 * l);
    let data = Examples::conditioned(&bars.patches, Some(strange.view()), Some(bars.factors.view()));
    assert!(model.embedding(data).unwrap_err().to_string().contains("class 3 of row 1"));

    let latents = model.embedding(bars.told()).unwrap();
    let mut classless = Embedding::new(latents.len());
    latents.columns().iter().for_each(|c| classless.push(&c.name, c.mean.clone(), None).unwrap());
    assert!(model.images(&classless).unwrap_err().to_string().contains("class"));
    let mut narrow = Embedding::new(latents.len());
    narrow.push("z1", latents.column("z1").unwrap().mean.clone(), None).unwrap();
    narrow.set_class(bars.labels.clone()).unwrap();
    assert!(model.images(&narrow).unwrap_err().to_string().contains("c1"));
    let mut wide = latents.clone();
    wide.push("c2", latents.column("z1").unwrap().mean.clone(), None).unwrap();
    assert!(model.images(&wide).unwrap_err().to_string().contains("`c2`"));
    let unknown = model.grid(&latents, ("z9", vec![0.0]), ("z1", vec![0.0]), 0).unwrap_err().to_string();
    assert!(unknown.contains("`z9`"), "{unknown}");
}
