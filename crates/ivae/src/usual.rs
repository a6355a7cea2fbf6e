use std::ops::Range;

use parsimon_core::Embedding;
use parsimon_nets::Compute;
use serde::{Deserialize, Serialize};

use crate::{Examples, Ivae, Result};

/// How far off a model's reconstructions of its training data are, to tell whether other data are of their kind.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Usual {
    /// Median over the rows of the root mean square error of a value, in units of \[0,1\].
    pub median: f32,
    /// The error that one row in a hundred exceeds.
    pub limit: f32,
}

/// How far data lie outside of those a model was trained on.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Outside {
    /// Share of the rows that are further off than 99 % of the training data; 0.01 among data of their kind.
    pub share: f32,
    /// Median error in units of the usual one; 1 among data of their kind.
    pub times: f32,
}

/// Rows looked at, at most.
const ROWS: usize = 1000;

impl Usual {
    /// That of a model on some rows of its training data; none if it was trained towards goals other than the patches.
    ///
    /// # Errors
    /// If the data are not what the model was made for.
    pub fn of<D: Compute>(
        model: &Ivae<D>,
        data: &Examples<'_>,
        latents: &Embedding,
        rows: Range<usize>,
    ) -> Result<Option<Self>> {
        let Some(errors) = errors(model, data, latents, rows)? else { return Ok(None) };
        let at = |share: f64| errors.get((share * (errors.len() - 1) as f64).round() as usize).copied();
        Ok(at(0.5).zip(at(0.99)).map(|(median, limit)| Self { median, limit }))
    }

    /// How far other data lie outside; none if the model was trained towards goals other than the patches.
    ///
    /// # Errors
    /// If the data are not what the model was made for.
    pub fn outside<D: Compute>(
        self,
        model: &Ivae<D>,
        data: &Examples<'_>,
        latents: &Embedding,
    ) -> Result<Option<Outside>> {
        let Some(errors) = errors(model, data, latents, 0..latents.len())? else { return Ok(None) };
        let beyond = errors.iter().filter(|e| **e > self.limit).count();
        let median = errors[errors.len() / 2];
        let share = beyond as f32 / errors.len() as f32;
        Ok(Some(Outside { share, times: median / self.median.max(f32::MIN_POSITIVE) }))
    }
}

/// Errors of rows at equal steps, rising.
fn errors<D: Compute>(
    model: &Ivae<D>,
    data: &Examples<'_>,
    latents: &Embedding,
    rows: Range<usize>,
) -> Result<Option<Vec<f32>>> {
    data.check(model.params())?;
    if latents.len() != data.patches().len() {
        let (found, expected) = (latents.len(), data.patches().len());
        return Err(parsimon_core::Error::Length { what: "latents".into(), found, expected }.into());
    }
    if model.params().goal_channels.is_some() || rows.is_empty() {
        return Ok(None);
    }
    let step = rows.len().div_ceil(ROWS);
    let rows: Vec<usize> = rows.step_by(step).collect();
    let decoded = model.images(&latents.select(&rows)?)?;
    let patches = data.patches().images();
    let error = |(i, row): (usize, &usize)| {
        let off = &decoded.index_axis(ndarray::Axis(0), i) - &patches.index_axis(ndarray::Axis(0), *row);
        off.iter().map(|d| d * d).sum::<f32>() / off.len() as f32
    };
    let mut errors: Vec<f32> = rows.iter().enumerate().map(error).map(f32::sqrt).collect();
    errors.sort_by(f32::total_cmp);
    Ok(Some(errors))
}
