//! Scores of the demo against its truth.

use anyhow::Result;
use ndarray::{Array1, s};
use parsimon_core::Scene;
use parsimon_metrics::{
    accuracy_within, away_from_edges, detection_scores, labels_of_matches, nearest_neighbour_accuracy,
};

use crate::analyze::Analysis;

/// A number with its name, ready to be shown.
pub struct Score {
    pub name: String,
    pub value: String,
}

/// Sites nearer to the border than this many pixels are not scored: half of the atom may lie outside.
const MARGIN: f64 = 5.0;

/// A site counts as found within this many pixels.
const TOLERANCE: f64 = 1.0;

/// Neighbours that vote.
const NEIGHBOURS: usize = 15;

/// Scores detection and representations against the truth, and takes the true sublattices as classes.
pub fn score(analysis: &mut Analysis, scene: &Scene) -> Result<()> {
    let inside = away_from_edges(scene.image.shape(), MARGIN);
    let detection = detection_scores(&analysis.detection.sites, &scene.sites, TOLERANCE, inside)?;
    let mut scores = vec![
        ("F1 of the sites within 1 px".to_owned(), format!("{:.4}", detection.f1)),
        ("RMS position error".to_owned(), detection.rms.map_or("–".into(), |rms| format!("{rms:.3} px"))),
    ];
    let labels = |name: &str| -> Result<Array1<i64>> {
        let known = scene.truth.get(name).map(|values| values.mapv(|v| v as i64)).unwrap_or_default();
        Ok(labels_of_matches(&analysis.sites, &scene.sites, known.view(), TOLERANCE)?)
    };
    let (sublattice, domain) = (labels("sublattice")?, labels("domain")?);
    let vae = analysis.latents.features();
    let content = analysis.latents.matrix(&analysis.latents.content())?;
    let as_many = analysis.latents.columns().len().min(analysis.components.columns().len());
    let pca = analysis.components.features().slice(s![.., ..as_many]).to_owned();
    for (model, points) in [("all latents", &vae), ("z alone", &content), ("PCA, as many columns", &pca)] {
        let accuracy = nearest_neighbour_accuracy(points.view(), sublattice.view(), NEIGHBOURS)?;
        scores.push((format!("sublattice by {NEIGHBOURS} neighbours, {model}"), format!("{accuracy:.3}")));
        for (class, name) in [(0, "A"), (1, "B")] {
            let accuracy = accuracy_within(points.view(), domain.view(), (sublattice.view(), class), NEIGHBOURS)?;
            scores.push((format!("domain within sublattice {name}, {model}"), format!("{accuracy:.3}")));
        }
    }
    analysis.scores = scores.into_iter().map(|(name, value)| Score { name, value }).collect();
    analysis.class = Some((sublattice.to_vec(), vec!["A column".to_owned(), "B column".to_owned()]));
    Ok(())
}
