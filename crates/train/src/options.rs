use parsimon_nets::Precision;
use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// How to train.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Options {
    /// Passes over the training rows; 1 and more, default 60.
    pub epochs: usize,
    /// Rows of a step; 1 and more, default 100. A last, smaller batch is trained too.
    pub batch: usize,
    /// Step size of Adam; above 0, default 10⁻³.
    pub learning_rate: f32,
    /// Share of the epochs, the last ones, over which the step size falls linearly towards 0, so that the noise of the
    /// steps settles; 0 to 1, default 0.25.
    #[serde(default)]
    pub settle: f64,
    /// How much of a running mean of the weights stays from step to step; the mean is then what is evaluated and returned.
    /// 0 to below 1, default 0: the weights themselves.
    #[serde(default)]
    pub average: f32,
    /// Share of the pixels that a step decodes, drawn anew for each row, where the decoder can decode some only; above 0
    /// to 1, default 1: all.
    #[serde(default = "all")]
    pub pixels: f64,
    /// Numbers of the large products; default f32.
    #[serde(default)]
    pub precision: Precision,
    /// Seed of weights, order and noise; default 0.
    pub seed: u64,
    /// Share of the rows, the last ones, that is never trained on; 0 to below 1, default 0.1.
    pub holdout: f64,
    /// Stop after so many epochs without a better held-out loss and return the best model; default none: train all
    /// epochs and return the last model.
    pub patience: Option<usize>,
    /// Number of models started from different seeds; the best is trained on. 1 and more, default 1.
    pub starts: usize,
    /// Epochs of each start before the choice; 1 and more, default 5. Only counts with more than one start.
    pub start_epochs: usize,
}

/// Every pixel, as files of earlier versions mean.
fn all() -> f64 {
    1.0
}

impl Default for Options {
    fn default() -> Self {
        Self {
            epochs: 60,
            batch: 100,
            learning_rate: 1e-3,
            settle: 0.25,
            average: 0.0,
            pixels: all(),
            precision: Precision::F32,
            seed: 0,
            holdout: 0.1,
            patience: None,
            starts: 1,
            start_epochs: 5,
        }
    }
}

/// How the loss of one step is computed; its expectation does not depend on it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Step {
    /// Share of the pixels to decode, for models that can decode some only.
    pub pixels: f64,
    /// Numbers of the large products, where there is a choice.
    pub precision: Precision,
    /// Share of the epochs that are over, for models that begin otherwise than they end.
    pub done: f64,
}

impl Step {
    /// Every pixel, in f32, as at the end of training.
    pub const EXACT: Self = Self { pixels: 1.0, precision: Precision::F32, done: 1.0 };
}

/// Rows to train on and rows held out, as the options split them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Split {
    /// Trained on.
    pub train: std::ops::Range<usize>,
    /// Held out; may be empty.
    pub test: std::ops::Range<usize>,
}

impl Split {
    /// The last `holdout` of the rows are held out, a fraction of a row counting as a row.
    pub fn new(rows: usize, holdout: f64) -> Self {
        // The tenth held out is what remains of whole tenths trained on, so that 9/10 of 1001 rows are 900 as elsewhere.
        let held = (rows as f64 * holdout - 1e-9).ceil().max(0.0) as usize;
        let trained = rows.saturating_sub(held);
        Self { train: 0..trained, test: trained..rows }
    }
}

impl Options {
    /// What the options say of a step in an epoch, counted from 1.
    pub fn step(&self, epoch: usize) -> Step {
        let done = epoch.saturating_sub(1) as f64 / self.epochs.max(1) as f64;
        Step { pixels: self.pixels, precision: self.precision, done }
    }

    /// Step size of an epoch, counted from 1: η until the settling epochs begin, then falling in equal steps, the next of
    /// which would reach 0.
    pub fn rate(&self, epoch: usize) -> f32 {
        let settling = self.epochs as f64 * self.settle;
        let left = self.epochs.saturating_sub(epoch) as f64 + 1.0;
        if left > settling {
            self.learning_rate
        } else {
            (f64::from(self.learning_rate) * left / (settling + 1.0)) as f32
        }
    }

    /// Checks every option against its range.
    ///
    /// # Errors
    /// If an option is outside its range.
    pub fn check_ranges(&self) -> Result<()> {
        let bad = |what, value: String, accepted| Err(Error::Parameter { what, value, accepted });
        let counts = [
            ("epochs", self.epochs),
            ("batch", self.batch),
            ("starts", self.starts),
            ("start epochs", self.start_epochs),
            ("patience", self.patience.unwrap_or(1)),
        ];
        if let Some((what, _)) = counts.into_iter().find(|(_, n)| *n == 0) {
            return bad(what, "0".into(), "whole numbers from 1");
        }
        if !(self.learning_rate.is_finite() && self.learning_rate > 0.0) {
            return bad("learning rate", self.learning_rate.to_string(), "finite numbers above 0");
        }
        if !(0.0..=1.0).contains(&self.settle) {
            return bad("settle", self.settle.to_string(), "0 to 1");
        }
        if !(0.0..1.0).contains(&self.average) {
            return bad("average", self.average.to_string(), "0 to below 1");
        }
        if !(self.pixels > 0.0 && self.pixels <= 1.0) {
            return bad("pixels", self.pixels.to_string(), "above 0 to 1");
        }
        if !(self.holdout >= 0.0 && self.holdout < 1.0) {
            return bad("holdout", self.holdout.to_string(), "0 to below 1");
        }
        self.precision.check()?;
        if self.patience.is_some() && self.holdout == 0.0 {
            return bad("holdout", "0".into(), "above 0 if training is to stop early");
        }
        if self.starts > 1 && self.start_epochs >= self.epochs {
            return bad("start epochs", self.start_epochs.to_string(), "below the number of epochs");
        }
        Ok(())
    }

    /// Checks every option against its range and the number of rows, and splits the rows.
    ///
    /// # Errors
    /// If an option is outside its range, or less than one batch is left to train on.
    pub fn check(&self, rows: usize) -> Result<Split> {
        self.check_ranges()?;
        let split = Split::new(rows, self.holdout);
        let trained = split.train.len();
        if trained == 0 {
            let (what, value) = ("holdout", self.holdout.to_string());
            return Err(Error::Parameter { what, value, accepted: "shares that leave a row to train on" });
        }
        if trained < self.batch {
            return Err(Error::TooFewRows { rows: trained, held_out: rows - trained, batch: self.batch });
        }
        Ok(split)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_rows_are_held_out() {
        let split = Options::default().check(3000).unwrap();
        assert_eq!((split.train, split.test), (0..2700, 2700..3000));
    }

    #[test]
    fn the_step_size_settles_at_the_end() {
        let options = Options { epochs: 20, learning_rate: 1.0, settle: 0.25, ..Options::default() };
        let rates: Vec<f32> = (1..=20).map(|e| options.rate(e)).collect();
        assert!(rates[..15].iter().all(|r| *r == 1.0), "{rates:?}");
        for (rate, expected) in rates[15..].iter().zip([5.0, 4.0, 3.0, 2.0, 1.0]) {
            assert!((rate - expected / 6.0).abs() < 1e-6, "{rates:?}");
        }
        assert!((1..=20).all(|e| Options { settle: 0.0, ..options.clone() }.rate(e) == 1.0));
    }

    #[test]
    fn every_rejection() {
        let base = Options::default();
        let nan = f32::NAN;
        for (options, word) in [
            (Options { epochs: 0, ..base.clone() }, "epochs"),
            (Options { batch: 0, ..base.clone() }, "batch"),
            (Options { starts: 0, ..base.clone() }, "starts"),
            (Options { start_epochs: 0, ..base.clone() }, "start epochs"),
            (Options { patience: Some(0), ..base.clone() }, "patience"),
            (Options { learning_rate: nan, ..base.clone() }, "learning rate"),
            (Options { learning_rate: 0.0, ..base.clone() }, "learning rate"),
            (Options { settle: f64::NAN, ..base.clone() }, "settle"),
            (Options { settle: -0.1, ..base.clone() }, "settle"),
            (Options { average: f32::NAN, ..base.clone() }, "average"),
            (Options { average: 1.0, ..base.clone() }, "average"),
            (Options { pixels: f64::NAN, ..base.clone() }, "pixels"),
            (Options { pixels: 0.0, ..base.clone() }, "pixels"),
            (Options { pixels: 1.1, ..base.clone() }, "pixels"),
            (Options { holdout: f64::NAN, ..base.clone() }, "holdout"),
            (Options { holdout: 1.0, ..base.clone() }, "holdout"),
            (Options { holdout: 0.0, patience: Some(3), ..base.clone() }, "holdout"),
            (Options { starts: 2, start_epochs: 60, ..base.clone() }, "start epochs"),
        ] {
            let message = options.check(1000).unwrap_err().to_string();
            assert!(message.starts_with(word), "{message}");
        }
        let message = base.check(50).unwrap_err().to_string();
        let none = base.check(1).unwrap_err().to_string();
        assert!(none.starts_with("holdout is 0.1"), "{none}");
        assert!(message.contains("45 rows") && message.contains("batch of 100"), "{message}");
    }
}
