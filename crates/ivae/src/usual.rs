use std::ops::Range;

use linfa_linalg::cholesky::SolveC;
use ndarray::{Array2, Array4, ArrayView1, ArrayView3, Axis};
use parsimon_core::Embedding;
use parsimon_nets::Compute;
use serde::{Deserialize, Serialize};

use crate::{Examples, Ivae, Result};

/// How far off a model's reconstructions of its training data are, to tell whether other data are of their kind. A model that was
/// trained towards goals reconstructs a patch by way of what it makes of it, and the best affine map from the channels of
/// that to those of the patch: the grey of a colour, the clean one of a noisy one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Usual {
    /// Median over the rows of the root mean square error of a value, in units of \[0,1\].
    pub median: f32,
    /// The error that one row in a hundred exceeds.
    pub limit: f32,
    /// The affine map back to the patch, if there are goals: of each channel of the patch, the weights of those made and a constant.
    #[serde(default)]
    pub back: Option<Vec<Vec<f32>>>,
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
    /// That of a model on some rows of its training data; none if there are no rows.
    ///
    /// # Errors
    /// If the data are not what the model was made for.
    pub fn of<D: Compute>(
        model: &Ivae<D>,
        data: &Examples<'_>,
        latents: &Embedding,
        rows: Range<usize>,
    ) -> Result<Option<Self>> {
        let Some(Made { images, patches }) = made(model, data, latents, rows)? else { return Ok(None) };
        let back = if model.params().goal_channels.is_some() {
            let Some(back) = affine(&images, &patches) else { return Ok(None) };
            Some(back)
        } else {
            None
        };
        let errors = errors(&images, &patches, back.as_deref());
        let at = |share: f64| errors.get((share * (errors.len() - 1) as f64).round() as usize).copied();
        Ok(at(0.5).zip(at(0.99)).map(|(median, limit)| Self { median, limit, back }))
    }

    /// How far other data lie outside; none if there are none.
    ///
    /// # Errors
    /// If the data are not what the model was made for.
    pub fn outside<D: Compute>(
        &self,
        model: &Ivae<D>,
        data: &Examples<'_>,
        latents: &Embedding,
    ) -> Result<Option<Outside>> {
        let Some(Made { images, patches }) = made(model, data, latents, 0..latents.len())? else { return Ok(None) };
        let errors = errors(&images, &patches, self.back.as_deref());
        let beyond = errors.iter().filter(|e| e.is_nan() || **e > self.limit).count();
        let median = errors[errors.len() / 2];
        let share = beyond as f32 / errors.len() as f32;
        Ok(Some(Outside { share, times: median / self.median.max(f32::MIN_POSITIVE) }))
    }
}

/// What a model makes of some patches, and those patches.
struct Made {
    images: Array4<f32>,
    patches: Array4<f32>,
}

/// What a model makes of rows at equal steps.
fn made<D: Compute>(
    model: &Ivae<D>,
    data: &Examples<'_>,
    latents: &Embedding,
    rows: Range<usize>,
) -> Result<Option<Made>> {
    data.check(model.params())?;
    if latents.len() != data.patches().len() {
        let (found, expected) = (latents.len(), data.patches().len());
        return Err(parsimon_core::Error::Length { what: "latents".into(), found, expected }.into());
    }
    if rows.is_empty() {
        return Ok(None);
    }
    let step = rows.len().div_ceil(ROWS);
    let rows: Vec<usize> = rows.step_by(step).collect();
    let images = model.images(&latents.select(&rows)?)?;
    Ok(Some(Made { images, patches: data.patches().images().select(Axis(0), &rows) }))
}

/// The affine map from channels of images to those of patches that is best over all pixels.
fn affine(images: &Array4<f32>, patches: &Array4<f32>) -> Option<Vec<Vec<f32>>> {
    let terms = images.dim().3 + 1;
    let (mut square, mut product) = (Array2::<f64>::zeros((terms, terms)), Array2::zeros((terms, patches.dim().3)));
    for (made, given) in images.lanes(Axis(3)).into_iter().zip(patches.lanes(Axis(3))) {
        let made = |i: usize| made.get(i).map_or(1.0, |v| f64::from(*v));
        for i in 0..terms {
            (0..terms).for_each(|j| square[(i, j)] += made(i) * made(j));
            given.iter().enumerate().for_each(|(c, v)| product[(i, c)] += made(i) * f64::from(*v));
        }
    }
    // Channels that are made of each other still have a map, the smallest.
    let ridge = 1e-9 * square.diag().sum();
    square.diag_mut().mapv_inplace(|v| v + ridge);
    let map = square.solvec(&product).ok()?;
    Some(map.columns().into_iter().map(|column| column.iter().map(|v| *v as f32).collect()).collect())
}

/// Errors of rows, rising.
fn errors(images: &Array4<f32>, patches: &Array4<f32>, back: Option<&[Vec<f32>]>) -> Vec<f32> {
    let square = |made: ArrayView1<'_, f32>, given: ArrayView1<'_, f32>| -> f32 {
        let of = |c: usize| match back.and_then(|back| back.get(c)) {
            Some(map) => map.iter().enumerate().map(|(i, weight)| weight * made.get(i).unwrap_or(&1.0)).sum(),
            None => made.get(c).copied().unwrap_or(0.0),
        };
        given.iter().enumerate().map(|(c, v)| (of(c) - v).powi(2)).sum()
    };
    let error = |(made, given): (ArrayView3<'_, f32>, ArrayView3<'_, f32>)| {
        let lanes = made.lanes(Axis(2)).into_iter().zip(given.lanes(Axis(2)));
        (lanes.map(|(made, given)| square(made, given)).sum::<f32>() / given.len() as f32).sqrt()
    };
    let mut errors: Vec<f32> = images.outer_iter().zip(patches.outer_iter()).map(error).collect();
    errors.sort_by(f32::total_cmp);
    errors
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_way_back_is_found_even_from_channels_that_are_made_of_each_other() {
        let made =
            Array4::from_shape_fn((3, 4, 5, 2), |(n, y, x, c)| ((n + 2 * y + 3 * x) % 7) as f32 * (c + 1) as f32);
        let given = made.slice(ndarray::s![.., .., .., ..1]).mapv(|v| 0.5 - 0.25 * v);
        let back = affine(&made, &given).unwrap();
        assert!(errors(&made, &given, Some(&back)).iter().all(|e| *e < 1e-4), "{back:?}");
        assert!(errors(&made, &given, None).iter().all(|e| *e > 0.5));
    }
}
