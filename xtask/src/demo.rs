//! Scores of the demo against its truth.

use anyhow::Result;
use ndarray::{Array1, Array2, Axis};
use parsimon_core::{Embedding, Scene};
use parsimon_metrics::{detection_scores, match_sites, nearest_neighbour_accuracy};

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
    let (height, width) = scene.image.shape();
    let inside = |s: &parsimon_core::Site| {
        let far = |v: f64, n: usize| v >= MARGIN && v <= n as f64 - 1.0 - MARGIN;
        far(s.y, height) && far(s.x, width)
    };
    let detection = detection_scores(&analysis.detection.sites, &scene.sites, TOLERANCE, inside)?;
    let mut scores = vec![
        ("F1 of the sites within 1 px".to_owned(), format!("{:.4}", detection.f1)),
        ("RMS position error".to_owned(), detection.rms.map_or("–".into(), |rms| format!("{rms:.3} px"))),
    ];

    let mut truth = vec![None; analysis.sites.len()];
    for pair in match_sites(&analysis.sites, &scene.sites, TOLERANCE)? {
        truth[pair.found] = Some(pair.truth);
    }
    let labels = |name: &str| -> Array1<i64> {
        let values = scene.truth.get(name);
        let of = |site: &Option<usize>| Some(*values?.get((*site)?)? as i64);
        truth.iter().map(|site| of(site).unwrap_or(-1)).collect()
    };
    let (sublattice, domain) = (labels("sublattice"), labels("domain"));
    let vae = features(&analysis.latents)?;
    let content: Vec<&str> = analysis.latents.content();
    let content = analysis.latents.matrix(&content)?;
    let as_many = analysis.latents.columns().len().min(analysis.components.columns().len());
    let pca = features(&analysis.components)?.slice(ndarray::s![.., ..as_many]).to_owned();
    for (model, points) in [("all latents", &vae), ("z alone", &content), ("PCA, as many columns", &pca)] {
        let accuracy = nearest_neighbour_accuracy(points.view(), sublattice.view(), NEIGHBOURS)?;
        scores.push((format!("sublattice by {NEIGHBOURS} neighbours, {model}"), format!("{accuracy:.3}")));
        for (class, name) in [(0, "A"), (1, "B")] {
            let rows: Vec<usize> = (0..sublattice.len()).filter(|&i| sublattice[i] == class).collect();
            let (points, domain) = (points.select(Axis(0), &rows), domain.select(Axis(0), &rows));
            let accuracy = nearest_neighbour_accuracy(points.view(), domain.view(), NEIGHBOURS)?;
            scores.push((format!("domain within sublattice {name}, {model}"), format!("{accuracy:.3}")));
        }
    }
    analysis.scores = scores.into_iter().map(|(name, value)| Score { name, value }).collect();
    analysis.class = Some((sublattice.to_vec(), vec!["A column".to_owned(), "B column".to_owned()]));
    Ok(())
}

/// Columns as coordinates in which distance means something: angles that go round become points on a circle.
fn features(embedding: &Embedding) -> Result<Array2<f32>> {
    let mut columns = Vec::new();
    for column in embedding.columns() {
        let wide = column.mean.iter().any(|a| a.abs() > std::f32::consts::FRAC_PI_2);
        if column.name == "angle" && wide {
            columns.extend([column.mean.mapv(f32::cos), column.mean.mapv(f32::sin)]);
        } else {
            columns.push(column.mean.clone());
        }
    }
    let views: Vec<_> = columns.iter().map(Array1::view).collect();
    Ok(ndarray::stack(Axis(1), &views)?)
}
