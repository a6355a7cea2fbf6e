//! From an image to sites and patches; sizes are pixels along each side.

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use parsimon_datasets::{PerovskiteParams, perovskite};
use parsimon_detect::{Params, detect};

fn sites_and_patches(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("detect");
    group.sample_size(10);
    for side in [512, 1024] {
        let image = perovskite(&PerovskiteParams { height: side, width: side, ..PerovskiteParams::default() })
            .map(|scene| scene.image)
            .expect("the parameters are those of the demo, but for the size");
        group.bench_with_input(BenchmarkId::new("all scales and refinement", side), &image, |b, image| {
            b.iter(|| detect(image, &Params::default()));
        });
        let sites = detect(&image, &Params::default()).expect("the demo has atoms").sites;
        group.bench_with_input(BenchmarkId::new("patches", side), &image, |b, image| {
            b.iter(|| parsimon_patch::cut(std::slice::from_ref(image), &sites, &parsimon_patch::Params::default()));
        });
    }
    group.finish();
}

criterion_group!(benches, sites_and_patches);
criterion_main!(benches);
