//! The gradient of the whole −ELBO, from the data through sampling to every weight, against differences of its value.

use dfdx::tensor::Cpu;
use dfdx::tensor_ops::Backward;
use ndarray::array;
use parsimon_ivae::{Condition, DecoderKind, Examples, Ivae, Noise, Params, Prior};
use parsimon_nets::{Parameters, weights};
use parsimon_train::{Model, Step};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::objects::objects;
use crate::settings::SPREAD;

const ROWS: [usize; 7] = [0, 1, 2, 3, 4, 5, 6];

/// The same draws every time.
fn noise() -> ChaCha8Rng {
    ChaCha8Rng::seed_from_u64(5)
}

/// −ELBO after a step along `direction`, a vector for each parameter.
fn loss(model: &Ivae<Cpu>, data: &Examples<'_>, direction: &weights::Arrays, step: f32) -> f64 {
    let mut arrays = weights::collect(model);
    for (name, (_, values)) in &mut arrays {
        values.iter_mut().zip(&direction[name].1).for_each(|(w, d)| *w += step * d);
    }
    let mut moved = model.clone();
    weights::restore(&mut moved, &arrays).unwrap();
    moved.evaluate(data, &ROWS, &mut noise()).unwrap().loss.into()
}

fn gradient(model: &Ivae<Cpu>, data: &Examples<'_>) -> weights::Arrays {
    let (loss, _) = model.loss(data, &ROWS, Step::EXACT, &mut noise()).unwrap();
    let mut gradients = loss.backward();
    let mut found = weights::collect(model);
    model.visit("", &mut |name, parameter| {
        gradients.get_or_alloc_mut(parameter).unwrap();
        found.get_mut(&name).unwrap().1 = gradients.get(parameter).as_vec();
    });
    found
}

fn dot(a: &weights::Arrays, b: &weights::Arrays) -> f64 {
    let product =
        |name: &String| a[name].1.iter().zip(&b[name].1).map(|(x, y)| f64::from(*x) * f64::from(*y)).sum::<f64>();
    a.keys().map(product).sum()
}

/// `direction` with all but one parameter set to zero, of length 1.
fn only(direction: &weights::Arrays, name: &str) -> weights::Arrays {
    let norm = direction[name].1.iter().map(|v| v * v).sum::<f32>().sqrt();
    let mut kept = direction.clone();
    for (other, (_, values)) in &mut kept {
        values.iter_mut().for_each(|v| *v = if other == name && norm > 0.0 { *v / norm } else { 0.0 });
    }
    kept
}

#[test]
fn the_whole_objective_has_the_gradient_of_its_value() {
    for (invariances, decoder) in
        [("none", DecoderKind::Dense), ("none", DecoderKind::Convolutional), ("r,t,s", DecoderKind::Dense)]
    {
        for (noise, channels) in [
            (Noise::Bernoulli, 2),
            (Noise::Gaussian(0.2), 1),
            (Noise::GaussianLearned, 2),
            (Noise::ContinuousBernoulli, 2),
            (Noise::Poisson(20.0), 2),
        ] {
            let base = Params::new((7, 7, channels));
            let invariances = invariances.parse().unwrap();
            let convolutions = if decoder == DecoderKind::Convolutional { vec![3, 4] } else { Vec::new() };
            // Other priors than the normal one, too.
            let components = if channels == 1 { 3 } else { 1 };
            let angle = if channels == 1 { f32::INFINITY } else { 1.0 };
            let prior = Prior { components, angle, ..Prior::default() };
            let params = Params { invariances, noise, decoder, convolutions, prior, ..base };
            let params = Params { beta: 1.7, hidden: vec![9, 6], ..params };
            let patches = objects(ROWS.len(), 7, channels, SPREAD, 3).patches;
            let (labels, factors) =
                (array![0, 1, 2, 0, 1, 2, 0], array![[0.3], [0.1], [-0.5], [0.9], [0.2], [-0.1], [0.0]]);
            // Some models are told classes and a factor, others nothing.
            let told = channels == 2;
            let (labels, factors) = (told.then(|| labels.view()), told.then(|| factors.view()));
            let condition = Condition::of(labels, factors).unwrap();
            let params = Params { condition, ..params };
            let data = Examples::conditioned(&patches, labels, factors);
            let mut rng = ChaCha8Rng::seed_from_u64(2);
            let model = Ivae::new(&Cpu::default(), &params, &mut rng).unwrap();
            let gradient = gradient(&model, &data);
            let mut random = gradient.clone();
            random.values_mut().flat_map(|(_, v)| v).for_each(|v| *v = rng.gen_range(-1.0..1.0));
            assert_eq!(gradient.contains_key("prior_means"), components > 1);
            assert_eq!(gradient.contains_key("deconvolution1.weight"), decoder == DecoderKind::Convolutional);
            for name in gradient.keys() {
                let norm = dot(&gradient, &only(&gradient, name)).abs();
                // A gradient near zero would pass whatever it is.
                assert!(norm > 0.03, "{} {noise:?}, {name}: gradient of length {norm}", params.invariances);
                // Along the gradient a wrong size shows, along a random direction a missing part.
                for direction in [only(&gradient, name), only(&random, name)] {
                    let expected = dot(&gradient, &direction);
                    let step = 2e-3;
                    let central = |h: f32| {
                        let rise = loss(&model, &data, &direction, h) - loss(&model, &data, &direction, -h);
                        rise / f64::from(2.0 * h)
                    };
                    // Without the error of second order in the step.
                    let found = (4.0 * central(step) - central(2.0 * step)) / 3.0;
                    // The loss is rounded to single precision.
                    let rounding = f64::from(f32::EPSILON / step) * loss(&model, &data, &direction, 0.0).abs();
                    let tolerance = 0.01 * norm + 0.01 + rounding;
                    assert!(
                        (found - expected).abs() < tolerance,
                        "{} {noise:?}, {name}: slope {found}, gradient {expected}",
                        params.invariances
                    );
                }
            }
        }
    }
}
