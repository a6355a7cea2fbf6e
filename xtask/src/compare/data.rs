//! What is compared: samples, what is known of them, and where they lie.

use std::ops::Range;

use anyhow::{Context, Result, anyhow, ensure};
use ndarray::{Array1, Array2, ArrayView1, Axis as Dim};
use parsimon_core::{Axis, Dataset, Patches, Range as Interval};
use parsimon_spectra::Preparation;
use parsimon_train::Split;

use super::args::CompareArgs;
use super::source::Source;
use crate::experiment::classes_of;

/// Samples, the same for every method.
pub struct Samples {
    pub patches: Patches,
    pub known: Dataset,
    /// Known class of each, −1 if unknown.
    pub truth: Option<Array1<i64>>,
    /// Name of what is known.
    pub truth_name: String,
    /// Rows that methods are fitted to, and those held out.
    pub train: Range<usize>,
    pub test: Range<usize>,
    /// Pixels of a scan, if the samples are those of a spectrum image.
    pub scan: Option<(usize, usize, [Axis; 2])>,
    /// What runs along spectra.
    pub energy: Option<Axis>,
    /// What was done to the spectra of a scan, or to those of any file by steps.
    pub prepared: Option<Preparation>,
    pub notes: Vec<String>,
}

impl Samples {
    pub fn read(args: &CompareArgs) -> Result<Self> {
        let name = args.data.display().to_string();
        let Source { known, prepared, scan, lost, mut notes } = Source::read(&args.data, args.steps.as_deref())?;
        let energy = known.spectra.as_ref().map(|s| s.energy().clone());
        let patches = known.samples_as_patches().with_context(|| name.clone())?.into_owned();
        let energy = energy.filter(|_| known.images.is_none());
        let Interval { low, high } = patches.scaling().range(0, 0);
        if energy.is_some() && low < 0.0 {
            notes.push(format!(
                "The spectra go down to {low:.4}. Methods see {low:.4} to {high:.4} as 0 to 1: for NMF, which takes nothing below \
                 0, that is as if {:.4} were added everywhere.",
                -low
            ));
        }
        let after = lost.as_ref().map_or(String::new(), |lost| format!(". {lost}"));
        let (truth_name, truth) = truth(args, &known).map_err(|error| anyhow!("{name}: {error:#}{after}"))?;
        notes.extend(lost);
        // A scan is one object: no row of it is like another that is left out.
        let holdout = if scan.is_some() { 0.0 } else { args.training.holdout };
        ensure!((0.0..1.0).contains(&holdout), "--holdout is {holdout}, accepted are numbers from 0 to below 1");
        let n = patches.len();
        let Split { train, test } = Split::new(n, holdout);
        let held = test.len();
        ensure!(train.len() > 1, "{name}: {n} samples with {held} held out, accepted are two and more that are not");
        if scan.is_some() {
            notes.push("All pixels of the scan are fitted and scored; none is held out.".to_owned());
        } else if held == 0 {
            notes.push("All samples are fitted and scored; none is held out.".to_owned());
        }
        let known = Dataset { spectra: None, ..known };
        Ok(Self { patches, known, truth, truth_name, train, test, scan, energy, prepared, notes })
    }

    /// What each pixel of a scan was divided by, if steps did so and it can be taken back.
    pub fn factors(&self) -> Result<Option<Array2<f64>>> {
        let Some(prepared) = self.prepared.as_ref().filter(|p| p.is_linear() && self.scan.is_some()) else {
            return Ok(None);
        };
        let factors = prepared.loadings(Array2::ones((self.patches.len(), 1)).view())?.index_axis_move(Dim(2), 0);
        Ok(Some(factors).filter(|f| f.iter().any(|v| *v != 1.0)))
    }

    /// Rows that scores are of: those held out, or all if there are none.
    pub fn scored(&self) -> Range<usize> {
        if self.test.is_empty() { self.train.clone() } else { self.test.clone() }
    }

    /// Classes of the truth among the rows that are fitted.
    pub fn classes(&self) -> usize {
        let of = |truth: ArrayView1<'_, i64>| {
            let mut classes: Vec<i64> = truth.iter().copied().filter(|c| *c >= 0).collect();
            classes.sort_unstable();
            classes.dedup();
            classes.len()
        };
        self.truth.as_ref().map_or(0, |t| of(t.slice(ndarray::s![self.train.clone()])))
    }
}

/// Known classes, those of several names together: a class for each combination.
fn truth(args: &CompareArgs, known: &Dataset) -> Result<(String, Option<Array1<i64>>)> {
    let labels = known.labels.clone();
    if args.truth.is_empty() {
        return Ok(("labels".into(), labels));
    }
    let mut names: Vec<&str> =
        known.truth.keys().map(String::as_str).filter(|n| classes_of(known, n).is_some()).collect();
    if labels.is_some() {
        names.insert(0, "labels");
    }
    let mut all: Option<Array1<i64>> = None;
    for name in &args.truth {
        let found = if name == "labels" { labels.clone() } else { classes_of(known, name) };
        let found = found.with_context(|| match names.len() {
            0 => format!("--truth is `{name}`, and this file has no classes"),
            _ => format!("--truth is `{name}`, accepted are {}", names.join(", ")),
        })?;
        all = Some(match all {
            None => found,
            Some(before) => combined(&before, &found),
        });
    }
    Ok((args.truth.join(" and "), all))
}

/// A class for each pair of classes, in the order of the pairs; −1 where either is unknown.
fn combined(a: &Array1<i64>, b: &Array1<i64>) -> Array1<i64> {
    let known = |&(a, b): &(i64, i64)| a >= 0 && b >= 0;
    let pairs: Vec<(i64, i64)> = a.iter().copied().zip(b.iter().copied()).collect();
    let mut kinds: Vec<(i64, i64)> = pairs.iter().copied().filter(known).collect();
    kinds.sort_unstable();
    kinds.dedup();
    let class = |pair: (i64, i64)| kinds.binary_search(&pair).map_or(-1, |k| k as i64);
    pairs.into_iter().map(class).collect()
}

/// Samples for tests.
#[cfg(test)]
pub mod made {
    use std::path::Path;

    use parsimon_core::Scaling;

    use super::*;

    /// All of them fitted, and nothing known.
    pub fn samples(patches: Patches) -> Samples {
        let n = patches.len();
        Samples {
            patches,
            known: Dataset::default(),
            truth: None,
            truth_name: String::new(),
            train: 0..n,
            test: n..n,
            scan: None,
            energy: None,
            prepared: None,
            notes: Vec::new(),
        }
    }

    /// Writes samples that all lie on a line, so that three endmembers span nothing.
    pub fn write_line(path: &Path) {
        let images = ndarray::Array4::from_shape_fn((30, 2, 2, 1), |(i, y, x, _)| (i % 7 * (y + x)) as f32 / 16.0);
        let images = Some(Patches::new(images, Scaling::unit(1)).unwrap());
        parsimon_io::write_dataset(path, &Dataset { images, ..Dataset::default() }).unwrap();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_of_two_names_are_their_combinations() {
        let (a, b) = (ndarray::array![0, 1, 1, -1, 0], ndarray::array![5, 5, 2, 2, 2]);
        assert_eq!(combined(&a, &b), ndarray::array![1, 3, 2, -1, 0]);
    }
}
