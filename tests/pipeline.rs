//! From the demo image to latents, against its truth.

use std::ops::ControlFlow;

use dfdx::tensor::Cpu;
use ndarray::Array1;
use parsimon_baselines::Pca;
use parsimon_core::{Classify, Describe, Detect, Generate, Represent};
use parsimon_datasets::{CardsParams, PerovskiteParams, cards, perovskite};
use parsimon_detect::Detector;
use parsimon_ivae::{IvaeEstimator, Noise, Params, Prior, train};
use parsimon_metrics::{
    NearestNeighbours, accuracy_within, away_from_edges, detection_scores, labels_of_matches,
    nearest_neighbour_accuracy,
};
use parsimon_train::Options;

const MARGIN: f64 = 5.0;

#[test]
fn the_demo_image_gives_up_its_atoms_and_their_kinds() {
    let scene = perovskite(&PerovskiteParams::default()).unwrap();
    let sites = Detector::default().detect(&scene.image).unwrap();
    let inside = away_from_edges(scene.image.shape(), MARGIN);
    let scores = detection_scores(&sites, &scene.sites, 1.0, inside).unwrap();
    assert!(scores.f1 >= 0.99, "{scores:?}");
    assert!(scores.rms.is_some_and(|rms| rms <= 0.1), "{scores:?}");

    let cutting = parsimon_patch::Params::default();
    let patches = cutting.describe(std::slice::from_ref(&scene.image), &sites).unwrap();
    let kept = patches.sites().unwrap();
    let labels = |name: &str| -> Array1<i64> {
        let known = scene.truth[name].mapv(|v| v as i64);
        labels_of_matches(kept, &scene.sites, known.view(), 1.0).unwrap()
    };
    let (sublattice, domain) = (labels("sublattice"), labels("domain"));

    let prior = Prior { angle: 0.1, ..Prior::default() };
    let base = Params::new(patches.shape());
    let params = Params { noise: Noise::GaussianLearned, hidden: vec![64, 64], prior, ..base };
    let options = Options { epochs: 10, batch: 40, learning_rate: 2e-3, ..Options::default() };
    let go = |_: &parsimon_train::Progress<'_, _>| ControlFlow::Continue(());
    let model = train(&Cpu::default(), &params, &patches, &options, None, go).unwrap().state.model;
    let points = model.embedding(&patches).unwrap().features();
    let accuracy = nearest_neighbour_accuracy(points.view(), sublattice.view(), 15).unwrap();
    assert!(accuracy >= 0.98, "sublattices {accuracy}");
    for class in [0, 1] {
        let accuracy = accuracy_within(points.view(), domain.view(), (sublattice.view(), class), 15).unwrap();
        assert!(accuracy >= 0.9, "domains within sublattice {class}: {accuracy}");
    }
}

#[test]
fn a_vae_and_a_pca_are_one_thing_to_a_runner() {
    let data = cards(&CardsParams { variant: 1, size: 14, per_suit: 60, seed: 0 }).unwrap();
    let (images, labels) = (data.images.unwrap(), data.labels.unwrap());
    let params = Params { hidden: vec![48, 48], ..Params::new((1, 1, 1)) };
    let options = Options { epochs: 40, batch: 24, learning_rate: 3e-3, ..Options::default() };
    let methods: [(&str, Box<dyn Represent>); 2] =
        [("ivae", Box::new(IvaeEstimator { params, options })), ("pca", Box::new(Pca::params(4)))];
    for (name, method) in methods {
        let embedding = method.fit(&images).unwrap().embed(&images).unwrap();
        assert_eq!(embedding.len(), images.len());
        let columns: Vec<&str> = embedding.columns().iter().map(|c| c.name.as_str()).collect();
        let classifier = NearestNeighbours::fit(&embedding, &columns, labels.view(), 5).unwrap();
        let classes = classifier.classify(&embedding).unwrap();
        let right = classes.iter().zip(&labels).filter(|(a, b)| a == b).count();
        assert!(right as f64 > 0.8 * labels.len() as f64, "{name}: {right} of {}", labels.len());
    }
    let pca = Pca::params(20).fit_patches(&images).unwrap();
    let scores = parsimon_core::Embed::embed(&pca, &images).unwrap();
    assert_eq!(pca.generate(&scores).unwrap().dim(), images.images().dim());
}
