//! Models of every kind, and data for them.

use dfdx::tensor::Cpu;
use ndarray::{Array1, Array2, Axis, s};
use parsimon_core::{NeighbourGraph, Pair, Patches, Scaling};
use parsimon_ivae::{
    BoundaryCost, Condition, DecoderKind, Examples, Inference, Invariances, Ivae, Noise, Params, Prior, ViewGrid, train,
};
use parsimon_nets::Activation;
use parsimon_train::{Fitted, Options, Progress};

use crate::objects::{Objects, Spread, objects};

pub fn settings() -> Vec<Params> {
    let mut all = Vec::new();
    for invariances in ["none", "r", "t", "s", "r,t", "r,t,s"] {
        for (noise, channels) in [
            (Noise::Bernoulli, 1),
            (Noise::GaussianLearned, 2),
            (Noise::Gaussian(0.1), 1),
            (Noise::ContinuousBernoulli, 1),
            (Noise::Poisson(50.0), 1),
        ] {
            let base = Params::new((10, 10, channels));
            let invariances = invariances.parse().unwrap();
            all.push(Params { invariances, noise, hidden: vec![24, 16], ..base });
        }
    }
    let base = Params { hidden: vec![24, 16], ..Params::new((10, 10, 1)) };
    let free = Prior { angle: f32::INFINITY, ..Prior::default() };
    let turning = Params { inference: Inference::Views(ViewGrid::angles(8)), prior: free, ..base.clone() };
    all.push(turning.clone());
    all.push(Params { invariances: "r,t,s".parse().unwrap(), ..turning.clone() });
    let square = Prior { symmetry: 4, ..free };
    all.push(Params { centred: true, ..turning.clone() });
    all.push(Params { centred: true, invariances: "t,s".parse().unwrap(), ..base.clone() });
    let clustered = Prior { components: 3, ..free };
    all.push(Params { prior: clustered, ..turning.clone() });
    all.push(Params { prior: clustered, ..base.clone() });
    all.push(Params {
        prior: Prior { components: 4, ..Prior::default() },
        invariances: "t".parse().unwrap(),
        ..base.clone()
    });
    all.push(Params { prior: Prior { symmetry: 4, angle: 0.2, ..free }, ..base.clone() });
    all.push(Params { size: (10, 10, 2), inference: Inference::Views(ViewGrid::angles(4)), prior: square, ..turning });
    all.push(Params { skip: true, activation: Activation::Gelu, ..base.clone() });
    all.push(Params { convolutions: vec![6, 8, 8], ..base.clone() });
    all.push(Params { convolutions: vec![6], invariances: "none".parse().unwrap(), ..base.clone() });
    all.push(Params { deterministic: true, invariances: "none".parse().unwrap(), ..base.clone() });
    for (size, goal_channels) in [((10, 10, 1), None), ((10, 10, 1), Some(2)), ((1, 11, 1), None)] {
        let (invariances, decoder) = (Invariances::default(), DecoderKind::Convolutional);
        let base = Params { size, goal_channels, invariances, decoder, ..base.clone() };
        all.push(Params { convolutions: vec![6, 8, 12], deterministic: goal_channels.is_some(), ..base });
    }
    all.push(Params { deterministic: true, invariances: "t".parse().unwrap(), convolutions: vec![4], ..base.clone() });
    all.push(Params { goal_channels: Some(2), ..base.clone() });
    all.push(Params {
        goal_channels: Some(2),
        deterministic: true,
        invariances: "none".parse().unwrap(),
        ..base.clone()
    });
    all.push(Params { size: (1, 11, 1), centred: true, invariances: "t".parse().unwrap(), ..base.clone() });
    let (shift, scale) = (0.4, 0.3);
    let wide = Prior { shift, scale, ..free };
    for (size, invariances, angles, shifts, scales, noise) in [
        ((1, 11, 1), "t", 1, 8, 1, Noise::Bernoulli),
        ((1, 11, 1), "t,s", 1, 9, 3, Noise::GaussianLearned),
        ((10, 10, 1), "t", 1, 3, 1, Noise::GaussianLearned),
        ((10, 10, 2), "s", 1, 1, 4, Noise::Bernoulli),
        ((10, 10, 1), "r,t,s", 6, 3, 3, Noise::Bernoulli),
    ] {
        let inference = Inference::Views(ViewGrid { angles, shifts, scales });
        let invariances = invariances.parse().unwrap();
        all.push(Params { size, invariances, inference, prior: wide, noise, ..base.clone() });
    }
    for invariances in ["none", "t", "t,s"] {
        all.push(Params { size: (1, 11, 1), invariances: invariances.parse().unwrap(), ..base.clone() });
    }
    let known = Samples::new(&base);
    let classes = Condition { classes: 3, factors: Vec::new() };
    let both = Condition::of(Some(known.labels.view()), Some(known.factors.view())).unwrap();
    for invariances in ["none", "r", "t", "r,t"] {
        let invariances: Invariances = invariances.parse().unwrap();
        all.push(Params { invariances, condition: classes.clone(), ..base.clone() });
        all.push(Params { invariances, condition: both.clone(), convolutions: vec![5, 6], ..base.clone() });
    }
    let costly = Some(BoundaryCost::new(2.0));
    all.push(Params { boundary: costly.clone(), invariances: "none".parse().unwrap(), ..base.clone() });
    all.push(Params {
        boundary: costly,
        inference: Inference::Views(ViewGrid::angles(8)),
        prior: free,
        ..base.clone()
    });
    let twofold = Prior { symmetry: 2, ..wide };
    let grid = Inference::Views(ViewGrid { angles: 4, shifts: 3, scales: 1 });
    all.push(Params { inference: grid, prior: twofold, condition: both.clone(), ..base.clone() });
    all.push(Params { inference: Inference::Views(ViewGrid::angles(8)), prior: free, condition: both, ..base });
    all
}

pub const SPREAD: Spread = Spread { angle: 0.6, shift: 0.1, scale: 0.1, height: 0.3 };

/// Number of rows of [`Samples::new`].
pub const ROWS: usize = 150;

/// Objects with all that a model may want to know of them.
pub struct Samples {
    objects: Objects,
    /// Objects, or a row through their middle as a spectrum.
    pub patches: Patches,
    labels: Array1<i64>,
    factors: Array2<f32>,
    /// The negative of the objects, in two channels.
    pub goals: Patches,
    /// The objects as if they stood in a row.
    row: NeighbourGraph,
}

impl Samples {
    pub fn new(params: &Params) -> Self {
        let (height, width, channels) = params.size;
        assert!(height == 1 || height == width);
        Self::of(params, objects(ROWS, width, channels, SPREAD, 7))
    }

    /// What a model of these parameters is shown of some objects.
    pub fn of(params: &Params, objects: Objects) -> Self {
        let (height, width, _) = params.size;
        let images = objects.patches.images();
        let rows = if height == 1 { width / 2..width / 2 + 1 } else { 0..height };
        let patches = Patches::new(images.slice(s![.., rows, .., ..]).to_owned(), objects.patches.scaling().clone());
        // Of three classes, and of two factors one that tells nothing.
        let third = SPREAD.height / 1.5;
        let class = |h: &f64| 1 + i64::from(*h > 0.6 + 0.5 * third) - i64::from(*h < 0.6 - 0.5 * third);
        let idle = Array1::from_shape_fn(objects.height.len(), |i| (i % 7) as f64 / 7.0);
        let negative = images.slice(s![.., .., .., ..1]).mapv(|v| 1.0 - v);
        let goals = ndarray::concatenate![Axis(3), negative, negative.mapv(|v| 0.5 * v)];
        let pairs = (1..images.dim().0).map(|b| Pair { a: b - 1, b, side: 1.0 }).collect();
        Self {
            patches: patches.unwrap(),
            labels: objects.height.map(class),
            factors: ndarray::stack![Axis(1), objects.height, idle].mapv(|v| v as f32),
            goals: Patches::new(goals, Scaling::unit(2)).unwrap(),
            row: NeighbourGraph::new(vec![0; images.dim().0], pairs).unwrap(),
            objects,
        }
    }

    /// The same after something was done to their images.
    pub fn after(&self, params: &Params, action: crate::objects::Action) -> Self {
        Self::of(params, self.objects.after(action))
    }

    /// The data with what the model is told.
    pub fn examples(&self, params: &Params) -> Examples<'_> {
        let Condition { classes, factors } = &params.condition;
        let factors = (!factors.is_empty()).then(|| self.factors.view());
        let examples = Examples::conditioned(&self.patches, (*classes > 0).then(|| self.labels.view()), factors);
        let examples = if params.boundary.is_some() { examples.beside(&self.row) } else { examples };
        if params.goal_channels.is_some() { examples.towards(&self.goals) } else { examples }
    }
}

pub fn options() -> Options {
    Options { epochs: 6, batch: 32, learning_rate: 3e-3, ..Options::default() }
}

pub fn fit(params: &Params, options: &Options) -> Fitted<Ivae<Cpu>> {
    let go = |_: &Progress<'_, _>| std::ops::ControlFlow::Continue(());
    train(&Cpu::default(), params, Samples::new(params).examples(params), options, None, go).unwrap()
}

pub fn named(params: &Params) -> String {
    let Params { invariances, noise, inference, condition, size, convolutions, prior, .. } = params;
    let channels = size.2;
    format!(
        "invariances {invariances}, {noise:?}, {inference:?}, {channels} channels, convolutions {convolutions:?}, {prior:?}, \
         {condition:?}"
    )
}
