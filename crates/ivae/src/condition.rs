use ndarray::{ArrayView1, ArrayView2};
use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// What encoder and decoder are told of a sample, so that the latents need not say it: a class, continuous factors, both
/// or nothing.
///
/// Reference: Sohn, Lee & Yan 2015, Advances in Neural Information Processing Systems 28.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Condition {
    /// Classes, numbered from 0, one input for each; 2 to 1000, or 0: no class.
    #[serde(default)]
    pub classes: usize,
    /// Continuous factors; up to 100.
    #[serde(default)]
    pub factors: Vec<Factor>,
}

/// A continuous factor, which becomes (value − mean)/sd.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Factor {
    /// Its mean over the training data.
    pub mean: f32,
    /// Its standard deviation over the training data; above 0.
    pub sd: f32,
}

/// Classes at most: each costs inputs of encoder and decoder.
const CLASSES: i64 = 1000;

impl Condition {
    /// The condition of data with these labels, these factors (N×K), or both.
    ///
    /// # Errors
    /// If labels lie outside 0 to 999 or are all the same, or a factor is not finite or is constant.
    pub fn of(labels: Option<ArrayView1<'_, i64>>, factors: Option<ArrayView2<'_, f32>>) -> Result<Self> {
        let bad = |what, value: String, accepted| Err(Error::Parameter { what, value, accepted });
        let mut classes = 0;
        if let Some(labels) = labels {
            if let Some((row, label)) = labels.iter().enumerate().find(|(_, l)| !(0..CLASSES).contains(*l)) {
                return bad(
                    "label",
                    format!("{label} of row {row}"),
                    "0 to 999: a conditional model must know every class",
                );
            }
            if labels.iter().all(|l| Some(l) == labels.first()) {
                let label = labels.first().map_or("none".to_owned(), i64::to_string);
                return bad("labels", format!("{label} in every row"), "two or more classes");
            }
            classes = labels.iter().max().map_or(0, |most| *most as usize + 1);
        }
        let mut found = Vec::new();
        for (k, values) in factors.iter().flat_map(|f| f.columns()).enumerate() {
            let n = values.len().max(1) as f64;
            let mean = values.iter().map(|v| f64::from(*v)).sum::<f64>() / n;
            let sd = (values.iter().map(|v| (f64::from(*v) - mean).powi(2)).sum::<f64>() / n).sqrt();
            if !(sd.is_finite() && sd > 1e-6 * mean.abs().max(1e-30)) {
                let (what, value) = ("factor", format!("number {} of mean {mean} and standard deviation {sd}", k + 1));
                return bad(what, value, "finite numbers that differ");
            }
            found.push(Factor { mean: mean as f32, sd: sd as f32 });
        }
        let condition = Self { classes, factors: found };
        condition.check()?;
        Ok(condition)
    }

    /// Inputs that encoder and decoder have of it.
    pub fn inputs(&self) -> usize {
        self.classes + self.factors.len()
    }

    /// Names of the factors among the latents: `c1`, `c2`, ….
    pub fn columns(&self) -> Vec<String> {
        (1..=self.factors.len()).map(|k| format!("c{k}")).collect()
    }

    /// Checks every number against its range.
    ///
    /// # Errors
    /// If one is outside.
    pub fn check(&self) -> Result<()> {
        let bad = |what, value: String, accepted| Err(Error::Parameter { what, value, accepted });
        if self.classes == 1 || self.classes > CLASSES as usize {
            return bad("classes", self.classes.to_string(), "2 to 1000, or 0 for none");
        }
        if self.factors.len() > 100 {
            return bad("factors", self.factors.len().to_string(), "up to 100");
        }
        match self.factors.iter().find(|f| !(f.mean.is_finite() && f.sd.is_finite() && f.sd > 0.0)) {
            Some(f) => {
                bad("factor", format!("mean {}, standard deviation {}", f.mean, f.sd), "finite, the latter above 0")
            }
            None => Ok(()),
        }
    }

    /// The inputs of samples, row by row: one for each class, 1 for that of the sample and 0 for others, then the factors.
    ///
    /// # Errors
    /// If labels or factors are missing, are not wanted or are not as many as samples, or one is outside its range.
    pub(crate) fn rows(
        &self,
        samples: usize,
        labels: Option<ArrayView1<'_, i64>>,
        factors: Option<ArrayView2<'_, f32>>,
    ) -> Result<Vec<f32>> {
        let found = (labels.map(|l| l.len()), factors.map(|f| f.dim()));
        let k = self.factors.len();
        let expected = ((self.classes > 0).then_some(samples), (k > 0).then_some((samples, k)));
        if found != expected {
            let say = |(labels, factors): (Option<usize>, Option<(usize, usize)>)| {
                let labels = labels.map(|n| format!("a class of each of {n} samples"));
                let factors = factors.map(|(n, k)| format!("{k} factors of each of {n}"));
                let words: Vec<String> = labels.into_iter().chain(factors).collect();
                if words.is_empty() { "neither classes nor factors".to_owned() } else { words.join(" and ") }
            };
            return Err(Error::Condition { found: say(found), expected: say(expected) });
        }
        let width = self.inputs();
        let mut rows = vec![0.0; samples * width];
        for (i, row) in rows.chunks_exact_mut(width.max(1)).enumerate() {
            if let Some(label) = labels.and_then(|l| l.get(i).copied()) {
                let place = usize::try_from(label).ok().and_then(|l| row[..self.classes].get_mut(l));
                let Some(place) = place else {
                    let expected = format!("classes 0 to {}", self.classes - 1);
                    return Err(Error::Condition { found: format!("class {label} of row {i}"), expected });
                };
                *place = 1.0;
            }
            for (k, factor) in self.factors.iter().enumerate() {
                let value = factors.and_then(|f| f.get((i, k)).copied()).unwrap_or(f32::NAN);
                let scaled = (value - factor.mean) / factor.sd;
                if !scaled.is_finite() {
                    let found = format!("factor {} of row {i}: {value}", k + 1);
                    return Err(Error::Condition { found, expected: "finite numbers".into() });
                }
                row[self.classes + k] = scaled;
            }
        }
        Ok(rows)
    }
}

#[cfg(test)]
mod tests {
    use ndarray::{Array2, array};

    use super::*;

    #[test]
    fn conditions_are_read_off_the_data() {
        let (labels, factors) = (array![0, 2, 1], array![[1.0f32, 10.0], [2.0, 30.0], [3.0, 20.0]]);
        let condition = Condition::of(Some(labels.view()), Some(factors.view())).unwrap();
        assert_eq!((condition.classes, condition.factors.len(), condition.inputs()), (3, 2, 5));
        let rows = condition.rows(3, Some(labels.view()), Some(factors.view())).unwrap();
        let sd = (2.0f32 / 3.0).sqrt();
        assert_eq!(rows[..3], [1.0, 0.0, 0.0]);
        assert_eq!(rows[5..8], [0.0, 0.0, 1.0]);
        assert!((rows[3] + 1.0 / sd).abs() < 1e-6 && rows[8].abs() < 1e-6 && (rows[9] - 1.0 / sd).abs() < 1e-6);
        assert_eq!(Condition::default().rows(3, None, None).unwrap(), Vec::<f32>::new());
    }

    #[test]
    fn every_rejection() {
        let factors: Array2<f32> = array![[1.0], [1.0]];
        for (labels, factors, word) in [
            (Some(array![0, -1]), None, "-1 of row 1"),
            (Some(array![0, 1000]), None, "1000 of row 1"),
            (Some(array![2, 2]), None, "2"),
            (None, Some(factors.clone()), "number 1"),
            (None, Some(array![[1.0], [f32::NAN]]), "number 1"),
        ] {
            let error = Condition::of(labels.as_ref().map(|l| l.view()), factors.as_ref().map(|f| f.view()));
            assert!(error.unwrap_err().to_string().contains(word), "{word}");
        }
        let known = Condition { classes: 2, factors: vec![Factor { mean: 0.0, sd: 1.0 }] };
        let (labels, good) = (array![0, 1], array![[0.5f32], [0.1]]);
        assert!(known.rows(2, Some(labels.view()), Some(good.view())).is_ok());
        for (labels, factors, word) in [
            (None, Some(good.clone()), "found 1 factors of each of 2"),
            (Some(array![0, 1]), None, "found a class of each of 2 samples"),
            (Some(array![0]), Some(good.clone()), "of each of 1 samples"),
            (Some(array![0, 2]), Some(good.clone()), "class 2 of row 1"),
            (Some(array![0, -1]), Some(good), "class -1 of row 1"),
            (Some(array![0, 1]), Some(array![[0.5, 1.0], [0.1, 1.0]]), "2 factors of each of 2"),
            (Some(array![0, 1]), Some(array![[0.5], [f32::INFINITY]]), "factor 1 of row 1"),
        ] {
            let error = known.rows(2, labels.as_ref().map(|l| l.view()), factors.as_ref().map(|f| f.view()));
            let message = error.unwrap_err().to_string();
            assert!(message.contains(word), "{word}: {message}");
        }
        for wrong in [
            Condition { classes: 1, ..Condition::default() },
            Condition { classes: 2000, ..Condition::default() },
            Condition { classes: 0, factors: vec![Factor { mean: 0.0, sd: 0.0 }] },
        ] {
            assert!(wrong.check().is_err(), "{wrong:?}");
        }
    }
}
