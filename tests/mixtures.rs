//! Gaussian mixtures with full covariances on raw patches, which are wider than most components have rows.

use ndarray::{Array2, s};
use parsimon_baselines::{AfterPca, GaussianMixture, RowModel};
use parsimon_core::Normalise;
use parsimon_datasets::real;
use parsimon_detect::detect;
use parsimon_patch::cut;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::StandardNormal;

const ROWS: usize = 2000;
const SIDE: usize = 24;

/// Every number of components fits, after PCA and without, and its classes are those there are.
fn fits(rows: &Array2<f64>) {
    for components in [4, 8, 16] {
        let mixture = GaussianMixture::params(components).starts(1).rounds(10);
        let raw = mixture.fit_matrix(rows.view()).unwrap();
        let densities = raw.log_densities(rows.view()).unwrap();
        assert!(densities.iter().all(|d| d.is_finite()), "{components} components");
        let after = AfterPca::params(20, mixture).fit_matrix(rows.view()).unwrap();
        for embedding in [raw.embed_rows(rows.view()).unwrap(), after.embed_rows(rows.view()).unwrap()] {
            let classes = embedding.classes.unwrap();
            assert!(classes.iter().all(|c| (0..components as i64).contains(c)), "{components} components");
            let sums = embedding.columns.rows().into_iter().map(|row| row.sum());
            assert!(sums.into_iter().all(|sum| (sum - 1.0).abs() < 1e-9), "{components} components");
        }
    }
}

#[test]
fn mixtures_fit_pure_noise() {
    let mut rng = ChaCha8Rng::seed_from_u64(0);
    fits(&Array2::from_shape_simple_fn((ROWS, SIDE * SIDE), || rng.sample::<f64, _>(StandardNormal)));
}

#[test]
fn mixtures_fit_patches_of_a_real_micrograph() {
    let Some(path) = real("mos2_se_adf.dm3") else { return };
    let image = parsimon_io::read_image(&path).unwrap();
    let sites = detect(&image, &parsimon_detect::Params::default()).unwrap().sites;
    let cutting = parsimon_patch::Params { window: Some(SIDE), normalise: Normalise::Global };
    let patches = cut(std::slice::from_ref(&image), &sites, &cutting).unwrap().patches;
    let n = patches.len().min(ROWS);
    assert!(n > 1800, "{n} patches");
    let images = patches.images().slice(s![..n, .., .., 0]).mapv(f64::from);
    fits(&images.into_shape_with_order((n, SIDE * SIDE)).unwrap());
}
