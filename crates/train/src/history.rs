/// Mean −ELBO per sample and its parts, in nats.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Terms {
    /// −ELBO.
    pub loss: f32,
    /// −log p(x|u).
    pub reconstruction: f32,
    /// KL(q‖p).
    pub kl: f32,
    /// What terms of physics add to the loss that is minimised; no part of −ELBO, and 0 in an evaluation.
    pub physics: f32,
}

impl Terms {
    /// The first part that is NaN or infinite.
    pub(crate) fn not_finite(&self) -> Option<(&'static str, f32)> {
        let Self { loss, reconstruction, kl, physics } = *self;
        let parts = [("reconstruction", reconstruction), ("KL", kl), ("term of physics", physics), ("loss", loss)];
        parts.into_iter().find(|(_, value)| !value.is_finite())
    }
}

/// What is known after one epoch.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Epoch {
    /// From 1.
    pub epoch: usize,
    /// Training time so far, evaluation excluded; all starts included.
    pub seconds: f64,
    /// Mean over the batches while they were trained on.
    pub train: Terms,
    /// On the rows held out, if there are any.
    pub test: Option<Terms>,
}

/// Writes `epoch,seconds,train_loss,test_loss,reconstruction,kl,physics`; reconstruction and KL are those held out, or of
/// training where nothing is; `test_loss` is then empty. Physics is that of training.
pub fn write_history(mut out: impl std::io::Write, history: &[Epoch]) -> std::io::Result<()> {
    writeln!(out, "epoch,seconds,train_loss,test_loss,reconstruction,kl,physics")?;
    for e in history {
        let parts = e.test.unwrap_or(e.train);
        let test = e.test.map_or(String::new(), |t| t.loss.to_string());
        let (train, rec, kl) = (e.train.loss, parts.reconstruction, parts.kl);
        writeln!(out, "{},{:.4},{train},{test},{rec},{kl},{}", e.epoch, e.seconds, e.train.physics)?;
    }
    Ok(())
}

/// Reads what [`write_history`] wrote; training's own parts, which the text lacks, come back as NaN. An error tells the
/// line that is no row.
pub(crate) fn parse_history(text: &str) -> Result<Vec<Epoch>, String> {
    let mut history = Vec::new();
    for (line, row) in text.lines().enumerate().skip(1) {
        let numbers: Vec<Option<f64>> = row.split(',').map(|f| f.trim().parse().ok()).collect();
        let [Some(epoch), Some(seconds), Some(train), test, Some(rec), Some(kl), ref rest @ ..] = numbers[..] else {
            return Err(format!("line {} is not a row of a history: `{row}`", line + 1));
        };
        let physics = rest.first().copied().flatten().unwrap_or(0.0) as f32;
        let parts = |loss: f64| Terms { loss: loss as f32, reconstruction: rec as f32, kl: kl as f32, physics: 0.0 };
        let train = match test {
            None => Terms { physics, ..parts(train) },
            Some(_) => Terms { loss: train as f32, reconstruction: f32::NAN, kl: f32::NAN, physics },
        };
        history.push(Epoch { epoch: epoch as usize, seconds, train, test: test.map(parts) });
    }
    Ok(history)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn history_survives_the_file() {
        let terms = |loss, physics| Terms { loss, reconstruction: loss - 1.0, kl: 1.0, physics };
        let history = [
            Epoch { epoch: 1, seconds: 0.5, train: terms(9.0, 0.25), test: Some(terms(8.0, 0.0)) },
            Epoch { epoch: 2, seconds: 1.0, train: terms(7.5, 0.5), test: None },
        ];
        let mut bytes = Vec::new();
        write_history(&mut bytes, &history).unwrap();
        let found = parse_history(std::str::from_utf8(&bytes).unwrap()).unwrap();
        assert_eq!((found[0].test, found[0].train.physics), (history[0].test, 0.25));
        assert_eq!(found[1], history[1]);
        // As earlier versions wrote it.
        assert_eq!(parse_history("epoch\n1,2,3,4,5,6\n").unwrap()[0].train.physics, 0.0);
        assert!(parse_history("epoch\n1,2\n").unwrap_err().contains("line 2"));
    }
}
