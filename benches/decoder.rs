//! The spatial decoder, forward and backward; the id holds rows × pixels × hidden units.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use dfdx::tensor::{Cpu, Trace};
use dfdx::tensor_ops::Backward;
use parsimon_nets::{Activation, Data, Likelihood, Precision, SpatialDecoder, Target, matrix};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

fn forward_and_backward(criterion: &mut Criterion) {
    let cpu = Cpu::default();
    let mut group = criterion.benchmark_group("spatial decoder");
    group.sample_size(10);
    for (rows, side, hidden) in [(100, 28, 128), (100, 48, 256)] {
        let mut rng = ChaCha8Rng::seed_from_u64(0);
        let size = (side, side, 1);
        let decoder = SpatialDecoder::new(&cpu, size, 2, &[hidden, hidden], Activation::Tanh, &mut rng)
            .expect("sizes are above 0");
        let mut draw = |columns: usize| {
            let values = (0..rows * columns).map(|_| rng.gen_range(0.0..1.0)).collect();
            matrix(&cpu, values, rows, columns).expect("as many values as the shape says")
        };
        let placed = draw(6);
        let data = Data::new(draw(side * side).as_vec(), side * side).expect("whole rows");
        let log_sd = matrix(&cpu, vec![0.0], 1, 1).expect("one value");
        let weights = vec![1.0; rows];
        group.throughput(Throughput::Elements((rows * side * side) as u64));
        for precision in [Precision::F32, Precision::Bf16] {
            let (likelihood, weights, log_sd) = (Likelihood::Bernoulli, &weights, &log_sd);
            let target = Target { data: &data, pixels: None, weights, likelihood, log_sd, precision };
            let id = BenchmarkId::new(format!("{precision:?}"), format!("{rows}×{}×{hidden}", side * side));
            group.bench_function(id, |b| {
                b.iter(|| decoder.score(placed.leaky_trace(), &target).map(|scored| scored.total.backward()));
            });
        }
    }
    group.finish();
}

criterion_group!(benches, forward_and_backward);
criterion_main!(benches);
