//! What each method is scored by, the same for all.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use ndarray::{Array1, Array2, ArrayView1, ArrayView4, Axis};
use ndarray_stats::QuantileExt;
use parsimon_baselines::GaussianMixture;
use parsimon_core::{Embed, Embedding, Represent};
use parsimon_metrics::{adjusted_rand_index, held_out_accuracy, reconstruction_error, trustworthiness};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use super::data::Samples;
use super::patterns::{Patterns, are_shares};
use super::unmixed::Unmixed;
use crate::ALLOCATOR;

/// Neighbours that vote.
const NEIGHBOURS: usize = 15;
/// Neighbours of the trustworthiness, and rows it is taken of at most.
const TRUST: (usize, usize) = (10, 2000);
/// Starts of the mixture that finds classes in columns.
const STARTS: usize = 20;
/// Columns at most in which a mixture looks for classes.
const COLUMNS: usize = 20;

/// A method that was fitted, and what it came to.
pub struct Fitted {
    pub model: Box<dyn Embed>,
    pub patterns: Option<Patterns>,
    /// Of all samples.
    pub embedding: Embedding,
    /// By name, in the order of the table.
    pub scores: Vec<(&'static str, Option<f64>)>,
    /// Scores that could not be taken, and why.
    pub missing: Vec<String>,
}

/// Names of the scores in the order of the table.
pub const NAMES: [&str; 12] = [
    "explained",
    "trustworthiness",
    "accuracy",
    "ari",
    "endmember_angle",
    "abundance_error",
    "abundance_within",
    "columns",
    "parameters",
    "peak_mib",
    "embed_seconds",
    "seconds",
];

/// What the scores mean.
pub const MEANINGS: [&str; 12] = [
    "share of the variance of the rows scored (about the mean of the fitted ones), those held out if there are any, that the way back from the columns gives, limited to the range of the data; it grows with noise that is fitted, and so does not rank methods that unmix",
    "how far rows that are near in the columns are near in the data, both as they are; 1 is best (10 neighbours, 2,000 rows at most)",
    "held-out rows whose class is that of most of their 15 nearest fitted rows in the columns, each column in units of its standard deviation",
    "adjusted Rand index with the truth of the classes found: the method's own if it looks for kinds of samples, the largest if its columns are shares, else those of a mixture of as many Gaussians in its columns, if they are 20 at most",
    "mean angle between the patterns, of methods whose patterns are spectra, and the known endmembers, matched one to one, in mrad",
    "root of the mean square by which shares, columns that are 1 in sum, are off the known ones",
    "known shares that are within two standard deviations of those found, of methods that tell deviations",
    "numbers that stand for each sample",
    "numbers that were fitted",
    "most memory that was seen allocated while fitting, beyond what was before, looking every millisecond, in MiB",
    "seconds to embed all samples",
    "seconds to fit",
];

/// Fits a method to the rows that are not held out, embeds all, and scores.
pub fn fitted(method: &dyn Represent, partition: bool, samples: &Samples) -> Result<Fitted> {
    let train: Vec<usize> = samples.train.clone().collect();
    let data = samples.patches.select(&train)?;
    let start = Instant::now();
    let (model, peak) = with_peak(|| method.fit(&data));
    let seconds = start.elapsed().as_secs_f64();
    let model = model.map_err(|e| anyhow!(e))?;
    let start = Instant::now();
    let embedding = model.embed(&samples.patches).map_err(|e| anyhow!(e))?;
    let embed_seconds = start.elapsed().as_secs_f64();
    let columns = columns(&embedding);
    let mut missing = Vec::new();
    let mut told = |what: &str, score: Result<Option<f64>>| {
        score.unwrap_or_else(|error| {
            missing.push(format!("{what}: {error:#}"));
            None
        })
    };
    let explained = told("explained", explained(model.as_ref(), &embedding, samples));
    let trust = columns.as_ref().and_then(|columns| trust(columns, samples)).transpose();
    let trust = told("trustworthiness", trust);
    let (accuracy, ari) = against_truth(&embedding, partition, columns.as_ref(), samples, &mut missing);
    let patterns = Patterns::of(model.as_ref(), &embedding, samples)?;
    let unmixed = patterns.as_ref().map(|patterns| Unmixed::of(patterns, &embedding, samples)).transpose();
    let unmixed = unmixed.unwrap_or_else(|error| {
        missing.push(format!("endmember_angle and abundances: {error:#}"));
        None
    });
    let unmixed = unmixed.unwrap_or_default();
    let scores = vec![
        explained,
        trust,
        accuracy,
        ari,
        unmixed.angle,
        unmixed.error,
        unmixed.within,
        Some(embedding.columns().len() as f64),
        model.parameters().map(|n| n as f64),
        Some(peak as f64 / f64::from(1 << 20)),
        Some(embed_seconds),
        Some(seconds),
    ];
    Ok(Fitted { model, patterns, embedding, missing, scores: NAMES.into_iter().zip(scores).collect() })
}

/// Columns that tell what a sample is: the content of a network, all columns of others; none if there are none.
fn columns(embedding: &Embedding) -> Option<Array2<f32>> {
    let content = embedding.content();
    let names =
        if content.is_empty() { embedding.columns().iter().map(|c| c.name.as_str()).collect() } else { content };
    if names.is_empty() { None } else { embedding.matrix(&names).ok() }
}

fn explained(model: &dyn Embed, embedding: &Embedding, samples: &Samples) -> Result<Option<f64>> {
    let Some(generator) = model.generator() else { return Ok(None) };
    let rows: Vec<usize> = samples.scored().collect();
    let again = generator.generate(&embedding.select(&rows)?).map_err(|e| anyhow!(e))?;
    let data = samples.patches.select(&rows)?;
    let fitted = samples.patches.select(&samples.train.clone().collect::<Vec<_>>())?;
    let mean = fitted.images().mapv(f64::from).mean_axis(Axis(0)).map(|m| m.mapv(|v| v as f32));
    let Some(mean) = mean else { return Ok(None) };
    let off = reconstruction_error(data.images(), again.view())?;
    let around =
        mean.broadcast(data.images().dim()).map(|m: ArrayView4<'_, f32>| reconstruction_error(data.images(), m));
    Ok(around.transpose()?.filter(|v| *v > 0.0).map(|v| 1.0 - off / v))
}

/// Of all rows scored, or of some drawn; none if they are too few to have neighbours.
fn trust(columns: &Array2<f32>, samples: &Samples) -> Option<Result<f64>> {
    let all = samples.scored();
    let n = all.len().min(TRUST.1);
    if n <= 2 * TRUST.0 {
        return None;
    }
    let mut rows = rand::seq::index::sample(&mut ChaCha8Rng::seed_from_u64(0), all.len(), n).into_vec();
    rows.sort_unstable();
    let rows: Vec<usize> = rows.into_iter().map(|row| all.start + row).collect();
    let images = samples.patches.images().select(Axis(0), &rows);
    let score = || {
        let data = images.to_shape((n, images.len() / n))?;
        Ok(trustworthiness(data.view(), columns.select(Axis(0), &rows).view(), TRUST.0)?)
    };
    Some(score())
}

/// Accuracy by neighbours in the columns, and the Rand index of the classes found.
fn against_truth(
    embedding: &Embedding,
    partition: bool,
    columns: Option<&Array2<f32>>,
    samples: &Samples,
    missing: &mut Vec<String>,
) -> (Option<f64>, Option<f64>) {
    let (Some(truth), classes) = (&samples.truth, samples.classes()) else { return (None, None) };
    if classes < 2 {
        return (None, None);
    }
    let mut told = |what: &str, score: Result<f64>| score.map_err(|e| missing.push(format!("{what}: {e:#}"))).ok();
    let (train, test): (Vec<usize>, Vec<usize>) = (samples.train.clone().collect(), samples.scored().collect());
    let pick = |values: &Array1<i64>, rows: &[usize]| values.select(Axis(0), rows);
    let (of_train, of_test) = (pick(truth, &train), pick(truth, &test));
    let accuracy = columns.filter(|_| !samples.test.is_empty()).and_then(|columns| {
        let (a, b) = (columns.select(Axis(0), &train), columns.select(Axis(0), &test));
        let score = held_out_accuracy((a.view(), of_train.view()), (b.view(), of_test.view()), NEIGHBOURS);
        told("accuracy", score.map_err(Into::into))
    });
    let found = match (embedding.class().filter(|_| partition), columns) {
        (Some(class), _) => Some(Ok(pick(class, &test))),
        // What a sample is, is what it is most of.
        (None, Some(columns)) if are_shares(columns.mapv(f64::from).view()) => {
            let largest = columns.rows().into_iter().map(largest);
            Some(Ok(pick(&largest.collect(), &test)))
        }
        (None, Some(columns)) if columns.ncols() <= COLUMNS => {
            let of = |rows: &[usize]| columns.select(Axis(0), rows).mapv(f64::from);
            let model = GaussianMixture::params(classes).starts(STARTS).fit_matrix(of(&train).view());
            Some(model.and_then(|model| model.classes(of(&test).view())))
        }
        _ => None,
    };
    let ari = found.and_then(|found| {
        let score = || Ok(adjusted_rand_index(of_test.view(), found?.view())?);
        told("ari", score())
    });
    (accuracy, ari)
}

/// The column of the largest number, of equal ones the first.
fn largest(row: ArrayView1<'_, f32>) -> i64 {
    row.argmax().unwrap_or(0) as i64
}

/// What some work gives, and the most bytes that were allocated during it beyond those before: by looking every millisecond,
/// because an allocator keeps what was freed, so that the system does not tell.
fn with_peak<T>(work: impl FnOnce() -> T) -> (T, usize) {
    /// Ends the watch, also of work that panics.
    struct Ends<'a>(&'a AtomicBool);
    impl Drop for Ends<'_> {
        fn drop(&mut self) {
            self.0.store(true, Relaxed);
        }
    }
    let (done, before) = (AtomicBool::new(false), ALLOCATOR.allocated());
    std::thread::scope(|scope| {
        let watch = scope.spawn(|| {
            let mut most = before;
            while !done.load(Relaxed) {
                most = most.max(ALLOCATOR.allocated());
                std::thread::sleep(Duration::from_millis(1));
            }
            most
        });
        let ends = Ends(&done);
        let made = work();
        let after = ALLOCATOR.allocated();
        drop(ends);
        (made, watch.join().unwrap_or(after).max(after).saturating_sub(before))
    })
}

#[cfg(test)]
mod tests {
    use ndarray::Array4;
    use parsimon_baselines::{KMeans, Pca};
    use parsimon_core::{Patches, Scaling};

    use super::super::data::made;
    use super::*;

    #[test]
    fn of_equal_shares_the_first_is_the_class() {
        let shares = ndarray::array![[0.2f32, 0.4, 0.4], [0.5, 0.0, 0.5], [0.0, 0.0, 1.0]];
        assert_eq!(shares.outer_iter().map(largest).collect::<Vec<_>>(), [1, 0, 2]);
    }

    /// Two kinds of patches, a bright one and one with a bright row, in noise.
    fn samples(holdout: usize) -> Samples {
        let n = 200;
        let noise = |i: usize| ((i * 7919 % 101) as f32 / 101.0 - 0.5) * 0.1;
        let value = |i: usize, y: usize| {
            if i.is_multiple_of(2) {
                0.7
            } else if y == 2 {
                0.9
            } else {
                0.1
            }
        };
        let images = Array4::from_shape_fn((n, 6, 5, 1), |(i, y, x, _)| value(i, y) + noise(31 * i + 5 * y + x));
        Samples {
            truth: Some((0..n).map(|i| (i % 2) as i64).collect()),
            train: 0..n - holdout,
            test: n - holdout..n,
            ..made::samples(Patches::new(images, Scaling::unit(1)).unwrap())
        }
    }

    fn score(fitted: &Fitted, name: &str) -> Option<f64> {
        fitted.scores.iter().find(|(n, _)| *n == name).unwrap().1
    }

    #[test]
    fn a_method_that_finds_the_kinds_scores_well_and_shuffled_labels_do_not() {
        let mut samples = samples(50);
        let pca = fitted(&Pca::params(2), true, &samples).unwrap();
        assert!(score(&pca, "explained").unwrap() > 0.9 && score(&pca, "accuracy") == Some(1.0));
        assert!(score(&pca, "ari").unwrap() > 0.95 && score(&pca, "columns") == Some(2.0));
        assert_eq!(score(&pca, "parameters"), Some(90.0));
        let kmeans = fitted(&KMeans::params(2), true, &samples).unwrap();
        assert_eq!((score(&kmeans, "explained"), score(&kmeans, "ari")), (None, Some(1.0)));
        samples.truth = samples.truth.map(|t| t.iter().enumerate().map(|(i, _)| ((i / 3) % 2) as i64).collect());
        let chance = fitted(&Pca::params(2), true, &samples).unwrap();
        assert!(score(&chance, "accuracy").unwrap() < 0.75 && score(&chance, "ari").unwrap().abs() < 0.1);
    }

    #[test]
    fn what_a_sample_is_most_of_is_its_class() {
        let samples = samples(50);
        // Half are all but pure, half barely more of one than of the other: densities tell the wrong classes.
        let most = |i: usize| if i % 8 < 4 { 0.52 } else { 0.99 };
        let shares = Array2::from_shape_fn((200, 2), |(i, c)| if i % 2 == c { most(i) } else { 1.0 - most(i) });
        let mut embedding = Embedding::new(200);
        for c in 0..2 {
            embedding.push(&format!("a{}", c + 1), shares.column(c).to_owned(), None).unwrap();
        }
        let mut missing = Vec::new();
        let (_, ari) = against_truth(&embedding, true, Some(&shares), &samples, &mut missing);
        assert!(ari == Some(1.0) && missing.is_empty(), "{ari:?} {missing:?}");
    }

    #[test]
    fn without_held_out_rows_there_is_no_accuracy() {
        let pca = fitted(&Pca::params(1), true, &samples(0)).unwrap();
        assert_eq!(score(&pca, "accuracy"), None);
        assert!(score(&pca, "ari").unwrap() > 0.9);
    }

    #[test]
    fn the_peak_is_that_of_the_work() {
        let hold = || {
            let held = vec![1u8; 200 << 20];
            std::thread::sleep(Duration::from_millis(50));
            held.len()
        };
        let (length, peak) = with_peak(hold);
        assert!(length == 200 << 20 && peak >= length, "{peak}");
        // Other tests run beside this one, but none holds that much.
        assert!(with_peak(|| std::thread::sleep(Duration::from_millis(5))).1 < 200 << 20);
    }
}
