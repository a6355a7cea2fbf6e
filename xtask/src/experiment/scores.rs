//! What latents tell of what is known of the data, on rows held out.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use ndarray::{Array1, Array2, ArrayView2, Axis};
use parsimon_baselines::GaussianMixture;
use parsimon_core::{Dataset, Embedding};
use parsimon_detect::neighbour_graph;
use parsimon_ivae::{Config, load_config};
use parsimon_metrics::{
    AngleScore, adjusted_rand_index, boundary_length, circular_correlation, correlation, held_out_accuracy,
    held_out_regression,
};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::StandardNormal;

/// Neighbours that vote or are averaged.
const NEIGHBOURS: usize = 15;

/// Starts of a mixture: in few dimensions they cost little, and clusters are long and thin.
const STARTS: usize = 50;

/// Classes at most that a mixture is asked for.
const CLASSES: usize = 100;

/// Values at most of a number that may stand for classes.
const FEW: usize = 10;

/// Scores by name, in the order of their making.
pub struct Scores(Vec<(String, f64)>);

impl Scores {
    pub fn of(scores: Vec<(String, f64)>) -> Self {
        Self(scores)
    }

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

/// Content drawn from its posterior, if it has one. Means of a latent that says nothing differ by next to nothing, but without
/// noise, so that neighbours read a class off them which no draw tells.
fn drawn(latents: &Embedding) -> Result<Option<Array2<f32>>> {
    let names = latents.content();
    let mut drawn = latents.matrix(&names)?;
    let mut rng = ChaCha8Rng::seed_from_u64(0);
    for (name, mut values) in names.iter().zip(drawn.columns_mut()) {
        let Some(sd) = &latents.column(name)?.sd else { return Ok(None) };
        values.iter_mut().zip(sd).for_each(|(v, sd)| *v += sd * rng.sample::<f32, _>(StandardNormal));
    }
    Ok(Some(drawn))
}

/// −ELBO and seconds of the training; from the content, the class by neighbours and by a mixture of as many Gaussians as
/// classes, from draws of it the class by neighbours, and the known numbers within each class by neighbours; the angles and, of
/// what does not turn, the shifts. What cannot be scored, such as a class without held-out rows, is left out.
pub fn scores(latents: &Embedding, known: &Dataset, run: &Path, symmetry: impl Fn(i64) -> u32) -> Result<Scores> {
    let Config { training, params, .. } = load_config(run)?;
    // Without a divergence it is no bound of the evidence, and not to be compared with one.
    let name = if params.deterministic { "−log p" } else { "−ELBO" };
    let mut found = ending(&run.join("history.csv"), name, training.patience.is_some())?;
    let n = latents.len();
    let samples = known.samples()?;
    ensure!(n == samples, "{}: latents of {n} samples, the data hold {samples}", run.display());
    let split = training.check(n)?;
    let (train, test): (Vec<usize>, Vec<usize>) = (split.train.collect(), split.test.collect());
    if test.is_empty() {
        return Ok(Scores(found));
    }
    let content = latents.matrix(&latents.content())?;
    let (fitted, held) = (content.select(Axis(0), &train), content.select(Axis(0), &test));
    let labels = known.labels.clone().unwrap_or_else(|| Array1::zeros(n));
    let (of_train, of_test) = (labels.select(Axis(0), &train), labels.select(Axis(0), &test));
    let mut classes: Vec<i64> = of_train.iter().copied().filter(|l| *l >= 0).collect();
    classes.sort_unstable();
    classes.dedup();
    if classes.len() > 1 {
        for (points, name) in [(Some(content.clone()), ""), (drawn(latents)?, " of draws")] {
            let Some(points) = points else { continue };
            let (a, b) = (points.select(Axis(0), &train), points.select(Axis(0), &test));
            let told = held_out_accuracy((a.view(), of_train.view()), (b.view(), of_test.view()), NEIGHBOURS).ok();
            found.extend(told.map(|v| (format!("class by neighbours{name}"), v)));
        }
        let mixture = || -> Option<f64> {
            let model =
                GaussianMixture::params(classes.len()).starts(STARTS).fit_matrix(fitted.mapv(f64::from).view()).ok()?;
            let parts = model.classes(held.mapv(f64::from).view()).ok()?;
            adjusted_rand_index(of_test.view(), parts.view()).ok()
        };
        let ari = if classes.len() <= CLASSES { mixture() } else { None };
        found.extend(ari.map(|v| ("ARI of a mixture".to_owned(), v)));
    }
    let with_pose = with_pose(latents, &params.columns())?;
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    for (name, values) in known.truth.iter().filter(|(_, values)| values.iter().all(|v| v.is_finite())) {
        if let Some(truth) = classes_of(known, name) {
            for (points, with) in std::iter::once((&content, "")).chain(with_pose.iter().map(|p| (p, " with pose"))) {
                found.extend(of_classes(points.view(), known, (name, &truth), with, (&train, &test))?);
            }
            continue;
        }
        let pick = |rows: &[usize]| -> Array1<f64> { rows.iter().map(|row| values[*row]).collect() };
        match (name.as_str(), latents.get(name)) {
            ("angle", Some(angle)) => {
                let angle: Array1<f32> = test.iter().map(|row| angle.mean[*row]).collect();
                let others = known.truth.iter().filter(|(name, _)| {
                    !["angle", "dx", "dy"].contains(&name.as_str()) && classes_of(known, name).is_none()
                });
                let others = others.map(|(name, values)| (&**name, test.iter().map(|row| values[*row]).collect()));
                found.extend(of_angles(&angle, &pick(&test), &of_test, &others.collect::<Vec<_>>(), &symmetry));
            }
            // Of objects that turn, shifts are those of a point that each class chooses for itself.
            ("dx" | "dy", Some(shift)) if latents.get("angle").is_none() => {
                let of = |class: &i64| {
                    let rows: Vec<usize> = test.iter().copied().filter(|row| labels[*row] == *class).collect();
                    let shift: Array1<f64> = rows.iter().map(|row| f64::from(shift.mean[*row])).collect();
                    correlation(pick(&rows).view(), shift.view()).ok()
                };
                let each: Vec<f64> = classes.iter().filter_map(of).collect();
                found.extend((!each.is_empty()).then(|| (format!("{name} r"), mean(&each))));
            }
            ("angle" | "dx" | "dy", _) => {}
            _ => {
                let of = |class: &i64| -> Option<f64> {
                    let rows = |all: &[usize]| -> Vec<usize> {
                        all.iter().copied().filter(|row| labels[*row] == *class).collect()
                    };
                    let (train, test) = (rows(&train), rows(&test));
                    let points = |rows: &[usize]| content.select(Axis(0), rows);
                    let (a, b) = ((points(&train), pick(&train)), (points(&test), pick(&test)));
                    let k = NEIGHBOURS.min(train.len());
                    held_out_regression((a.0.view(), a.1.view()), (b.0.view(), b.1.view()), k).ok()
                };
                let each: Vec<f64> = classes.iter().filter_map(of).collect();
                found.extend((!each.is_empty()).then(|| (format!("R² of {name}"), mean(&each))));
            }
        }
    }
    Ok(Scores(found))
}

/// How well angles are found within each class, and within each quarter of it by another number: what counts as not turned may
/// go with that number, as a sheared diamond is partly a turned one.
fn of_angles(
    found: &Array1<f32>,
    truth: &Array1<f64>,
    classes: &Array1<i64>,
    others: &[(&str, Array1<f64>)],
    symmetry: impl Fn(i64) -> u32,
) -> Vec<(String, f64)> {
    let Ok(score) = circular_correlation(truth.view(), found.view(), Some(classes.view()), &symmetry) else {
        return Vec::new();
    };
    let least = |score: &AngleScore| score.classes.iter().map(|c| c.r).fold(f64::INFINITY, f64::min);
    let mut scores = vec![("angle r".to_owned(), score.mean), ("least angle r".to_owned(), least(&score))];
    for (name, values) in others {
        let groups = quarters(values, classes);
        let score = circular_correlation(truth.view(), found.view(), Some(groups.view()), |group| symmetry(group / 4));
        scores.extend(score.ok().map(|score| (format!("least angle r at like {name}"), least(&score))));
    }
    scores.push(("angle r of a constant".to_owned(), score.constant));
    scores
}

/// Four groups of each class from the least values to the greatest: 4·class and so on; −1 of no class.
fn quarters(values: &Array1<f64>, classes: &Array1<i64>) -> Array1<i64> {
    let mut groups = Array1::from_elem(classes.len(), -1);
    for class in classes.iter().copied().filter(|c| *c >= 0).collect::<BTreeSet<i64>>() {
        let mut rows: Vec<usize> = (0..classes.len()).filter(|row| classes[*row] == class).collect();
        rows.sort_by(|a, b| values[*a].total_cmp(&values[*b]));
        let count = rows.len();
        rows.into_iter().enumerate().for_each(|(rank, row)| groups[row] = 4 * class + (4 * rank / count) as i64);
    }
    groups
}

/// Pose and content, without what the model was told, as points; none if there is no pose.
fn with_pose(latents: &Embedding, columns: &[String]) -> Result<Option<Array2<f32>>> {
    if columns.len() == latents.content().len() {
        return Ok(None);
    }
    let mut own = Embedding::new(latents.len());
    for name in columns {
        own.push(name, latents.column(name)?.mean.clone(), None)?;
    }
    Ok(Some(own.features()))
}

/// Known numbers that are few and whole: classes beside the labels.
pub fn classes_of(known: &Dataset, name: &str) -> Option<Array1<i64>> {
    let values = known.truth.get(name)?;
    let class = |v: &f64| (v.fract() == 0.0 && v.abs() < 1e6).then_some(*v as i64);
    let classes: Array1<i64> = values.iter().map(class).collect::<Option<_>>()?;
    let count = distinct(classes.iter().copied().filter(|c| *c != -1));
    (2..=FEW).contains(&count).then_some(classes)
}

fn distinct(classes: impl Iterator<Item = i64>) -> usize {
    classes.collect::<BTreeSet<i64>>().len()
}

/// Classes that mixtures find in the latents of each kind of sample (`labels`), of as many components as there are true
/// classes of that kind among the rows trained on, where they are fitted; −1 (unknown) where they cannot be, and where the
/// truth is unknown.
pub fn found_classes(
    points: ArrayView2<'_, f32>,
    known: &Dataset,
    truth: &Array1<i64>,
    train: std::ops::Range<usize>,
) -> Array1<i64> {
    let kinds = known.labels.clone().unwrap_or_else(|| Array1::zeros(truth.len()));
    let mut found = Array1::from_elem(truth.len(), -1);
    for kind in kinds.iter().copied().collect::<BTreeSet<i64>>() {
        let rows: Vec<usize> = (0..truth.len()).filter(|i| kinds[*i] == kind && truth[*i] != -1).collect();
        let fitted: Vec<usize> = rows.iter().copied().filter(|i| train.contains(i)).collect();
        let count = distinct(fitted.iter().map(|i| truth[*i]));
        let of = |rows: &[usize]| points.select(Axis(0), rows).mapv(f64::from);
        let model = GaussianMixture::params(count).starts(STARTS).fit_matrix(of(&fitted).view());
        let classes = model.and_then(|model| model.classes(of(&rows).view()));
        rows.iter().zip(classes.into_iter().flatten()).for_each(|(row, class)| found[*row] = class);
    }
    found
}

/// How well classes are found, on average over the kinds of held-out samples; of samples from an image, also the length of
/// their boundaries in units of the true one, over all rows.
fn of_classes(
    points: ArrayView2<'_, f32>,
    known: &Dataset,
    (name, truth): (&str, &Array1<i64>),
    with: &str,
    (train, test): (&[usize], &[usize]),
) -> Result<Vec<(String, f64)>> {
    let trained = train.first().map_or(0..0, |first| *first..first + train.len());
    let classes = found_classes(points, known, truth, trained);
    let kind = |i: usize| known.labels.as_ref().map_or(0, |l| l[i]);
    let mut each = Vec::new();
    for of in test.iter().map(|i| kind(*i)).collect::<BTreeSet<i64>>() {
        let rows: Vec<usize> = test.iter().copied().filter(|i| kind(*i) == of && classes[*i] != -1).collect();
        let pick = |classes: &Array1<i64>| classes.select(Axis(0), &rows);
        each.extend(adjusted_rand_index(pick(truth).view(), pick(&classes).view()));
    }
    let mut scores = Vec::new();
    if !each.is_empty() {
        scores.push((format!("ARI of {name}{with}"), each.iter().sum::<f64>() / each.len() as f64));
    }
    if let Some(sites) = &known.sites {
        let graph = neighbour_graph(sites, known.labels.as_ref().and_then(|l| l.as_slice()))?;
        let [found, true_] = [&classes, truth].map(|c| boundary_length(&graph, c.view()));
        let (found, true_) = (found?, true_?);
        scores.extend((true_ > 0.0).then(|| (format!("boundary of {name}{with}, true = 1"), found / true_)));
    }
    Ok(scores)
}

/// −ELBO of held-out rows, if there are any, and seconds at the end of a training; the least −ELBO if the best model is kept.
fn ending(history: &Path, name: &str, best: bool) -> Result<Vec<(String, f64)>> {
    let wrong = || format!("{}: no history of a training", history.display());
    let text = std::fs::read_to_string(history).with_context(wrong)?;
    let mut lines = text.lines();
    let first = lines.next().with_context(wrong)?;
    let place = |name: &str| first.split(',').position(|n| n == name).with_context(wrong);
    let (loss, seconds) = (place("test_loss")?, place("seconds")?);
    let value = |line: &str, place: usize| line.split(',').nth(place).and_then(|v| v.parse::<f64>().ok());
    let losses: Vec<f64> = lines.clone().filter_map(|line| value(line, loss)).collect();
    let least = losses.iter().copied().reduce(f64::min);
    let mut found = Vec::new();
    found.extend(if best { least } else { losses.last().copied() }.map(|v| (name.to_owned(), v)));
    let last = lines.last().and_then(|line| value(line, seconds)).with_context(wrong)?;
    found.push(("seconds".to_owned(), last));
    Ok(found)
}

#[cfg(test)]
mod tests {
    use std::ops::Range;

    use ndarray::s;

    use super::*;

    #[test]
    fn an_angle_whose_zero_goes_with_another_number_is_found_at_like_ones() {
        let (n, classes) = (400, Array1::from_shape_fn(400, |i| (i % 2) as i64));
        let truth = Array1::from_shape_fn(n, |i| 2.0 * (i as f64 * 0.618_034).fract() - 1.0);
        let shear = Array1::from_shape_fn(n, |i| (i as f64 * 0.414_214).fract());
        let found = Array1::from_shape_fn(n, |i| (truth[i] + 2.0 * shear[i]) as f32);
        let of = |found: &Array1<f32>| of_angles(found, &truth, &classes, &[("shear", shear.clone())], |_| 1);
        let score = |scores: &[(String, f64)], name: &str| scores.iter().find(|(n, _)| n == name).unwrap().1;
        let leaning = of(&found);
        assert!(score(&leaning, "least angle r") < 0.9 && score(&leaning, "least angle r at like shear") > 0.98);
        let nothing = of(&Array1::zeros(n));
        assert!(score(&nothing, "least angle r at like shear") < 0.9, "{nothing:?}");
    }

    #[test]
    fn draws_of_an_idle_latent_tell_nothing_and_those_of_a_told_one_all() {
        let labels: Array1<i64> = (0..400).map(|i| i % 2).collect();
        let of = |apart: f32, sd: f32| {
            let mut latents = Embedding::new(400);
            latents.push("z1", labels.mapv(|l| apart * l as f32), Some(Array1::from_elem(400, sd))).unwrap();
            let points = drawn(&latents).unwrap().unwrap();
            let half = |rows: Range<usize>| (points.slice(s![rows.clone(), ..]), labels.slice(s![rows]));
            held_out_accuracy(half(0..200), half(200..400), NEIGHBOURS).unwrap()
        };
        assert!((of(0.01, 1.0) - 0.5).abs() < 0.12, "{}", of(0.01, 1.0));
        assert!(of(2.0, 0.1) > 0.99);
    }

    #[test]
    fn quarters_are_of_each_class() {
        let values = Array1::from_vec(vec![8.0, 1.0, 7.0, 2.0, 6.0, 3.0, 5.0, 4.0, 0.0]);
        let classes = Array1::from_vec(vec![0, 1, 0, 1, 0, 1, 0, 1, -1]);
        assert_eq!(quarters(&values, &classes).to_vec(), [3, 4, 2, 5, 1, 6, 0, 7, -1]);
    }
}
