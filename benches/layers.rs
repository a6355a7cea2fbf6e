//! Layers forward and backward, the likelihood and the optimiser; ids hold rows × sizes.

use criterion::{BatchSize, BenchmarkId, Criterion, criterion_group, criterion_main};
use dfdx::prelude::SumTo;
use dfdx::tensor::{Cpu, OwnedTape, Tensor, Trace};
use dfdx::tensor_ops::Backward;
use parsimon_nets::{
    Activation, Adam, Compute, Convolution, Data, Dense, Extent, GroupNorm, Likelihood, Matrix, Parameters, Pool,
    Pooling, Precision, Target, Turns, Upsample, Window, matrix, turned,
};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

type Taped = Tensor<(usize, usize), f32, Cpu, OwnedTape<f32, Cpu>>;

fn drawn(rows: usize, columns: usize) -> Matrix<Cpu> {
    let mut rng = ChaCha8Rng::seed_from_u64(0);
    let values = (0..rows * columns).map(|_| rng.gen_range(0.0..1.0)).collect();
    matrix(&Cpu::default(), values, rows, columns).expect("as many values as the shape says")
}

fn back(y: parsimon_nets::Result<Taped>) {
    y.map(|y| y.sum::<(), _>().backward()).expect("sizes fit");
}

fn layers(criterion: &mut Criterion) {
    const ROWS: usize = 100;
    let (cpu, mut rng) = (Cpu::default(), ChaCha8Rng::seed_from_u64(0));
    let mut group = criterion.benchmark_group("layers");
    group.sample_size(20);
    for (inputs, outputs) in [(784, 128), (128, 128), (128, 784)] {
        let layer = Dense::new(&cpu, inputs, outputs, Activation::Tanh, &mut rng).expect("sizes are above 0");
        let x = drawn(ROWS, inputs);
        let id = BenchmarkId::new("dense", format!("{ROWS}×{inputs}×{outputs}"));
        group.bench_function(id, |b| b.iter(|| back(layer.forward(x.leaky_trace()))));
    }
    let rings = Data::new(drawn(50, 416).as_vec(), 416).expect("whole rows");
    let layer = Dense::new(&cpu, 416, 128, Activation::Tanh, &mut rng).expect("sizes are above 0");
    let turns = Turns { steps: 16, views: 16, still: 0 };
    let id = |name| BenchmarkId::new(name, "50×16×416×128");
    group.bench_function(id("turned views"), |b| b.iter(|| back(turned(&rings, turns, &layer))));
    let seen = || turns.views_of(&rings).expect("whole steps");
    group.bench_function(id("views one by one"), |b| b.iter(|| back(layer.forward_data(&seen()))));
    for (side, from, to) in [(28, 1, 32), (14, 32, 64), (7, 64, 64)] {
        let input = Extent { height: side, width: side, channels: from };
        let window = Window::same(3, input);
        let layer = Convolution::new(&cpu, input, window, to, Activation::Tanh, &mut rng).expect("the window fits");
        let x = drawn(ROWS, input.numbers());
        let id = BenchmarkId::new("convolution", format!("{ROWS}×{side}×{side}×{from}×{to}"));
        group.bench_function(id, |b| b.iter(|| back(layer.forward(x.leaky_trace()))));
    }
    let extent = Extent { height: 28, width: 28, channels: 32 };
    let (x, size) = (drawn(ROWS, extent.numbers()), format!("{ROWS}×28×28×32"));
    let norm = GroupNorm::new(&cpu, extent, 8, Activation::Tanh).expect("8 divides 32");
    group.bench_function(BenchmarkId::new("group norm", &size), |b| b.iter(|| back(norm.forward(x.leaky_trace()))));
    for kind in [Pooling::Max, Pooling::Mean] {
        let pool = Pool::new(kind, extent, Window::tiles(2, extent)).expect("the window fits");
        let id = BenchmarkId::new(format!("{kind:?} pooling"), &size);
        group.bench_function(id, |b| b.iter(|| back(pool.forward(x.leaky_trace()))));
    }
    let small = Extent { height: 14, width: 14, channels: 32 };
    let (x, up) = (drawn(ROWS, small.numbers()), Upsample::new(small, (2, 2)).expect("factors are above 0"));
    group.bench_function(BenchmarkId::new("up-sampling", size), |b| b.iter(|| back(up.forward(x.leaky_trace()))));
    group.finish();
}

fn likelihoods_and_optimiser(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("step");
    group.sample_size(20);
    let (rows, columns) = (100, 784);
    let (outputs, log_sd, weights) = (drawn(rows, columns), drawn(1, 1), vec![1.0; rows]);
    let data = Data::new(drawn(rows, columns).as_vec(), columns).expect("whole rows");
    for likelihood in [Likelihood::Bernoulli, Likelihood::Gaussian] {
        let (weights, log_sd, precision) = (&weights[..], &log_sd, Precision::F32);
        let target = Target { data: &data, pixels: None, weights, likelihood, log_sd, precision };
        group.bench_function(BenchmarkId::new(format!("{likelihood:?}"), format!("{rows}×{columns}")), |b| {
            b.iter(|| Cpu::score(outputs.leaky_trace(), &target).map(|s| s.total.backward()));
        });
    }
    let (mut rng, inputs, units) = (ChaCha8Rng::seed_from_u64(0), 784, 128);
    let mut layer = Dense::new(&Cpu::default(), inputs, units, Activation::Tanh, &mut rng).expect("sizes are above 0");
    let mut adam = Adam::default();
    let x = drawn(1, inputs);
    let gradients = layer.forward(x.leaky_trace()).expect("sizes fit").sum::<(), _>().backward();
    group.bench_function(BenchmarkId::new("Adam", format!("{inputs}×{units}")), |b| {
        b.iter_batched(
            || gradients.clone(),
            |gradients| adam.step(&mut layer as &mut dyn Parameters<Cpu>, gradients),
            BatchSize::LargeInput,
        );
    });
    group.finish();
}

criterion_group!(benches, layers, likelihoods_and_optimiser);
criterion_main!(benches);
