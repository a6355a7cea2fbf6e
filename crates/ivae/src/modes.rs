//! All directions that an object may point in: one that looks the same after half a turn has two.

use std::f32::consts::TAU;

use dfdx::tensor::NoneTape;
use ndarray::Array1;
use parsimon_core::Embedding;
use parsimon_nets::{Compute, Precision};

use crate::embed::wrap;
use crate::encoder::{Encoder, ViewEncoder};
use crate::examples::Batch;
use crate::model::{NetResult, VIEWS_AT_ONCE};
use crate::turning::log_softmax;
use crate::{Error, Examples, Ivae, Result};

/// Views less than so many steps apart show one direction.
const APART: f32 = 1.75;

impl<D: Compute> Ivae<D> {
    /// The modes of the posterior of the angle, the likeliest first: columns `angle_1` (rad, on (−π, π]) and its probability
    /// `angle_1_p`, `angle_2`, …. Of an object with fewer modes the rest have probability 0.
    ///
    /// Every view is decoded whole, with the means of its pose; its probability goes as its share of the evidence.
    ///
    /// # Errors
    /// If the model takes no views from several angles, `most` is not 1 to 12, or the data are not what the model was made for.
    pub fn modes<'a>(&self, data: impl Into<Examples<'a>>, most: usize) -> Result<Embedding> {
        let encoder = match &self.encoder {
            Encoder::Views(encoder) if encoder.views.angles > 1 => encoder,
            _ => {
                let accepted = "a model that takes views from several angles: others know one direction only";
                return Err(Error::Parameter { what: "modes of the angle", value: "asked for".into(), accepted });
            }
        };
        if !(1..=12).contains(&most) {
            return Err(Error::Parameter { what: "modes", value: most.to_string(), accepted: "1 to 12" });
        }
        let data = data.into();
        data.check(self.params())?;
        let rows: Vec<usize> = (0..data.patches.len()).collect();
        let mut found = Vec::with_capacity(rows.len());
        for rows in rows.chunks((VIEWS_AT_ONCE / 10 / encoder.views.count()).max(1)) {
            found.extend(self.modes_of(encoder, &data.batch(self.params(), rows)?)?);
        }
        let mut embedding = Embedding::new(found.len());
        for mode in 0..most {
            let column = |of: fn(&Mode) -> f32| -> Array1<f32> {
                found.iter().map(|modes| modes.get(mode).map_or(0.0, of)).collect()
            };
            embedding.push(&format!("angle_{}", mode + 1), column(|m| m.angle), None)?;
            embedding.push(&format!("angle_{}_p", mode + 1), column(|m| m.probability), None)?;
        }
        Ok(embedding)
    }

    fn modes_of(&self, encoder: &ViewEncoder<D>, batch: &Batch<'_>) -> NetResult<Vec<Vec<Mode>>> {
        let (views, rows) = (encoder.views.count(), batch.rows());
        let seen = encoder.see::<NoneTape>(batch)?;
        let found = self.found(&seen.odds, &seen.pose, &seen.content);
        let all: Vec<usize> = (0..rows * views).collect();
        let placed = self.placed_views(encoder, &found, batch, &all, None);
        let columns = self.params().decoder_inputs();
        let angles: Vec<f32> = placed.iter().step_by(columns).copied().collect();
        let (height, width, _) = self.params().size;
        let pixels: Vec<u32> = (0..rows).flat_map(|_| 0..(height * width) as u32).collect();
        let of: Vec<usize> = all.iter().map(|i| i / views).collect();
        let mut log_r = self.score_of(&placed, &of, &batch.data, &pixels, Precision::F32)?;
        let (log_prior, beta) = (self.params().log_prior_of_views(), self.params().beta);
        for (i, log_r) in log_r.iter_mut().enumerate() {
            *log_r -= beta * (found.kl[i] - log_prior[i % views]);
        }
        log_r.chunks_exact_mut(views).for_each(log_softmax);
        let turn = TAU / self.params().prior.symmetry as f32;
        let each = angles.chunks_exact(views).zip(log_r.chunks_exact(views));
        let near = APART * turn / encoder.views.angles as f32;
        Ok(each.map(|(angles, log_r)| modes(angles, log_r, turn, near)).collect())
    }
}

/// A direction, and how likely it is.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Mode {
    angle: f32,
    probability: f32,
}

/// Views whose directions are near taken together, the likeliest first; `turn` brings the object back to itself.
fn modes(angles: &[f32], log_p: &[f32], turn: f32, near: f32) -> Vec<Mode> {
    let mut left: Vec<usize> = (0..angles.len()).collect();
    let mut found = Vec::new();
    while let Some(best) = left.iter().copied().max_by(|i, j| log_p[*i].total_cmp(&log_p[*j])) {
        let off = |i: usize| {
            let off = angles[i] - angles[best];
            (off - turn * (off / turn).round()).abs()
        };
        let of_it = |i: &usize| *i == best || off(*i) < near;
        let probability = left.iter().filter(|i| of_it(i)).map(|i| log_p[*i].exp()).sum();
        found.push(Mode { angle: wrap(angles[best]), probability });
        left.retain(|i| !of_it(i));
    }
    found.sort_by(|a, b| b.probability.total_cmp(&a.probability));
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbouring_views_are_one_mode_and_opposite_ones_two() {
        let step = TAU / 8.0;
        let angles: Vec<f32> = (0..8).map(|k| step * k as f32).collect();
        let p = [0.3f32, 0.1, 0.01, 0.01, 0.4, 0.01, 0.01, 0.16];
        let log_p = p.map(f32::ln);
        let found = modes(&angles, &log_p, TAU, APART * step);
        // 7, 0 and 1 are about 0, across the cut; 3, 4 and 5 about half a turn.
        assert!((found[0].angle, found[1].angle) == (0.0, wrap(4.0 * step)), "{found:?}");
        assert!((found[0].probability - 0.56).abs() < 1e-5 && (found[1].probability - 0.42).abs() < 1e-5, "{found:?}");
        assert!((found.iter().map(|m| m.probability).sum::<f32>() - 1.0).abs() < 1e-5);
    }
}
