//! What latents tell of what is known of the data, on rows held out.

use std::path::Path;

use anyhow::{Context, Result};
use ndarray::{Array1, ArrayView1, Axis};
use parsimon_baselines::GaussianMixture;
use parsimon_core::{Dataset, Embedding};
use parsimon_metrics::{adjusted_rand_index, circular_correlation, held_out_accuracy, held_out_regression};

/// Neighbours that vote or are averaged.
const NEIGHBOURS: usize = 15;

/// Share of the rows, the last ones, that trainings hold out.
const HELD_OUT: f64 = 0.1;

/// Scores by name, in the order of their making.
pub struct Scores(Vec<(String, f64)>);

impl Scores {
    pub fn iter(&self) -> impl Iterator<Item = &(String, f64)> {
        self.0.iter()
    }

    pub fn get(&self, name: &str) -> Option<f64> {
        self.0.iter().find(|(n, _)| n == name).map(|(_, v)| *v)
    }

    pub fn line(&self) -> String {
        self.0.iter().map(|(name, value)| format!("{name} {value:.3}")).collect::<Vec<_>>().join(", ")
    }
}

/// −ELBO and seconds of the training; from the content, the class by neighbours and by a mixture of as many Gaussians as
/// classes, and the known numbers within each class by neighbours; the angles and, of what does not turn, the shifts.
pub fn scores(latents: &Embedding, known: &Dataset, history: &Path, symmetry: impl Fn(i64) -> u32) -> Result<Scores> {
    let mut found = ending(history)?;
    let n = latents.len();
    let test = n - (n as f64 * HELD_OUT) as usize;
    let (train, test): (Vec<usize>, Vec<usize>) = (0..n).partition(|row| *row < test);
    let content = latents.matrix(&latents.content())?;
    let (fitted, held) = (content.select(Axis(0), &train), content.select(Axis(0), &test));
    let labels = known.labels.clone().unwrap_or_else(|| Array1::zeros(n));
    let (of_train, of_test) = (labels.select(Axis(0), &train), labels.select(Axis(0), &test));
    let mut classes: Vec<i64> = of_train.iter().copied().filter(|l| *l >= 0).collect();
    classes.sort_unstable();
    classes.dedup();
    if classes.len() > 1 {
        let accuracy = held_out_accuracy((fitted.view(), of_train.view()), (held.view(), of_test.view()), NEIGHBOURS)?;
        found.push(("class by neighbours".to_owned(), accuracy));
        let mixture = GaussianMixture::new(classes.len()).fit(fitted.mapv(f64::from).view())?;
        let parts = mixture.classes(held.mapv(f64::from).view());
        found.push(("ARI of a mixture".to_owned(), adjusted_rand_index(of_test.view(), parts.view())?));
    }
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len().max(1) as f64;
    for (name, values) in &known.truth {
        let pick = |rows: &[usize]| -> Array1<f64> { rows.iter().map(|row| values[*row]).collect() };
        match (name.as_str(), latents.get(name)) {
            ("angle", Some(angle)) => {
                let angle: Array1<f32> = test.iter().map(|row| angle.mean[*row]).collect();
                let score = circular_correlation(pick(&test).view(), angle.view(), Some(of_test.view()), &symmetry)?;
                found.push(("angle r".to_owned(), score.mean));
                let least = score.classes.iter().map(|c| c.r).fold(f64::INFINITY, f64::min);
                found.push(("least angle r".to_owned(), least));
                found.push(("angle r of a constant".to_owned(), score.constant));
            }
            // Of objects that turn, shifts are those of a point that each class chooses for itself.
            ("dx" | "dy", Some(shift)) if latents.get("angle").is_none() => {
                let of = |class: &i64| {
                    let rows: Vec<usize> = test.iter().copied().filter(|row| labels[*row] == *class).collect();
                    let shift: Array1<f64> = rows.iter().map(|row| f64::from(shift.mean[*row])).collect();
                    correlation(pick(&rows).view(), shift.view())
                };
                found.push((format!("{name} r"), mean(&classes.iter().map(of).collect::<Vec<_>>())));
            }
            ("angle" | "dx" | "dy", _) => {}
            _ => {
                let of = |class: &i64| -> Result<f64> {
                    let rows = |all: &[usize]| -> Vec<usize> {
                        all.iter().copied().filter(|row| labels[*row] == *class).collect()
                    };
                    let (train, test) = (rows(&train), rows(&test));
                    let points = |rows: &[usize]| content.select(Axis(0), rows);
                    let (a, b) = ((points(&train), pick(&train)), (points(&test), pick(&test)));
                    let k = NEIGHBOURS.min(train.len());
                    Ok(held_out_regression((a.0.view(), a.1.view()), (b.0.view(), b.1.view()), k)?)
                };
                let each = classes.iter().map(of).collect::<Result<Vec<_>>>()?;
                found.push((format!("R² of {name}"), mean(&each)));
            }
        }
    }
    Ok(Scores(found))
}

/// −ELBO of held-out rows and seconds at the end of a training.
fn ending(history: &Path) -> Result<Vec<(String, f64)>> {
    let wrong = || format!("{}: no history of a training", history.display());
    let text = std::fs::read_to_string(history).with_context(wrong)?;
    let (first, last) = (text.lines().next().with_context(wrong)?, text.lines().last().with_context(wrong)?);
    let value = |name: &str| -> Result<f64> {
        let place = first.split(',').position(|n| n == name).with_context(wrong)?;
        last.split(',').nth(place).and_then(|v| v.parse().ok()).with_context(wrong)
    };
    Ok(vec![("−ELBO".to_owned(), value("test_loss")?), ("seconds".to_owned(), value("seconds")?)])
}

/// Pearson's r.
fn correlation(a: ArrayView1<'_, f64>, b: ArrayView1<'_, f64>) -> f64 {
    let (a, b) = (&a - a.mean().unwrap_or(0.0), &b - b.mean().unwrap_or(0.0));
    (&a * &b).sum() / ((&a * &a).sum() * (&b * &b).sum()).sqrt().max(f64::MIN_POSITIVE)
}
