//! The classical methods on digits-like matrices: 2,000 rows of rank 20 with noise, 256 numbers each.

use criterion::{Criterion, criterion_group, criterion_main};
use ndarray::Array2;
use parsimon_baselines::{
    Blu, Dbscan, Fcls, GaussianMixture, Isomap, KMeans, Method, Nmf, Params, Pca, RowModel, Som, TSne, Umap,
};
use parsimon_datasets::{SpectrumImageParams, spectrum_image};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::StandardNormal;

fn rows() -> Array2<f64> {
    let mut rng = ChaCha8Rng::seed_from_u64(0);
    let mut normal = |shape| Array2::from_shape_simple_fn(shape, || rng.sample::<f64, _>(StandardNormal));
    let (scores, loadings) = (normal((2000, 20)).mapv(f64::abs), normal((20, 256)).mapv(f64::abs));
    (scores.dot(&loadings) + normal((2000, 256)) * 0.5).mapv(|v| v.max(0.0))
}

fn classical(criterion: &mut Criterion) {
    let rows = rows();
    let few = Pca::params(20)
        .fit_matrix(rows.view())
        .and_then(|pca| pca.embed_rows(rows.view()))
        .expect("the rows have rank 20")
        .columns;
    let radius = Dbscan::suggested_radius(few.view(), 5).expect("there are more than five rows");
    let mut group = criterion.benchmark_group("baselines");
    group.sample_size(10);
    fn fit<M: Method>(
        group: &mut criterion::BenchmarkGroup<'_, criterion::measurement::WallTime>,
        name: &str,
        params: &Params<M>,
        rows: &Array2<f64>,
    ) {
        group.bench_function(name, |b| b.iter(|| params.fit_matrix(rows.view()).expect(name)));
    }
    fit(&mut group, "PCA", &Pca::params(20), &rows);
    fit(&mut group, "NMF", &Nmf::params(10), &rows);
    fit(&mut group, "k-means", &KMeans::params(10), &rows);
    fit(&mut group, "Gaussian mixture", &GaussianMixture::params(10).starts(1), &few);
    fit(&mut group, "DBSCAN", &Dbscan::params(radius), &few);
    fit(&mut group, "Isomap", &Isomap::params(2), &few);
    fit(&mut group, "t-SNE", &TSne::params(), &few);
    fit(&mut group, "UMAP", &Umap::params(), &few);
    fit(&mut group, "self-organising map", &Som::params(10, 10), &few);
    let scan = SpectrumImageParams { height: 32, width: 32, channels: 128, ..SpectrumImageParams::default() };
    let spectra = spectrum_image(&scan).expect("the sizes are in range").image.into_spectra().values().to_owned();
    fit(&mut group, "N-FINDR and FCLS", &Fcls::params(4), &spectra);
    fit(&mut group, "Bayesian unmixing", &Blu::params(4).burn_in(100).samples(100), &spectra);
    group.finish();
}

criterion_group!(benches, classical);
criterion_main!(benches);
