use std::f32::consts::{PI, TAU};

use dfdx::shapes::HasShape;
use ndarray::{Array1, Array4};
use parsimon_core::{BoxError, Embed, Embedding, Generate, Patches};
use parsimon_nets::{Compute, Parameters};

use crate::{Error, Examples, Ivae, Result};

/// An angle on (−π, π].
pub(crate) fn wrap(angle: f32) -> f32 {
    let turned = angle.rem_euclid(TAU);
    if turned > PI { turned - TAU } else { turned }
}

impl<D: Compute> Ivae<D> {
    /// Latents of patches as named columns: `angle` (rad, counter-clockwise, wrapped to (−π, π]), `dx` to the right and
    /// `dy` down (half-widths of the patch), `scale`, then `z1`, `z2`, …; each with its standard deviation. What the model is
    /// conditioned on comes with them: `c1`, `c2`, …, and the class.
    ///
    /// # Errors
    /// If the patches differ in size from those the model was trained on, or what it is conditioned on is missing.
    pub fn embedding<'a>(&self, data: impl Into<Examples<'a>>) -> Result<Embedding> {
        let data = data.into();
        let (means, sds) = self.encode(&data)?;
        let mut embedding = Embedding::new(data.patches.len());
        let names = self.params().columns();
        for (latent, name) in names.iter().enumerate() {
            let column =
                |values: &[f32]| -> Array1<f32> { values.chunks_exact(names.len()).map(|row| row[latent]).collect() };
            let (mut mean, mut sd) = (column(&means), column(&sds));
            match name.as_str() {
                "angle" => mean.mapv_inplace(wrap),
                "scale" => {
                    mean.mapv_inplace(f32::exp);
                    // To first order, the spread of e^λ is e^λ times that of λ.
                    sd *= &mean;
                }
                _ => {}
            }
            embedding.push(name, mean, (!self.params().deterministic).then_some(sd))?;
        }
        for (name, factor) in
            self.params().condition.columns().iter().zip(data.factors.iter().flat_map(|f| f.columns()))
        {
            embedding.push(name, factor.to_owned(), None)?;
        }
        if let Some(labels) = data.labels {
            embedding.set_class(labels.to_owned())?;
        }
        Ok(embedding)
    }

    /// What the model makes of patches (N×H×W×C, in \[0,1\]), by way of their latents: themselves, or the goals it was trained
    /// towards.
    ///
    /// # Errors
    /// As [`Ivae::embedding`].
    pub fn translate<'a>(&self, data: impl Into<Examples<'a>>) -> Result<Array4<f32>> {
        self.images(&self.embedding(data)?)
    }

    /// Mean images (N×H×W×C, in \[0,1\]) of latents, with their pose.
    ///
    /// # Errors
    /// If a column of the model or the class is missing, there are more content latents or factors than the model has, a class
    /// is unknown, or a scale is not above 0.
    pub fn images(&self, latents: &Embedding) -> Result<Array4<f32>> {
        let condition = &self.params().condition;
        let (columns, told) = (self.params().decoder_inputs(), condition.inputs());
        let names = condition.columns();
        let own = self.params().columns();
        let ours = |name: &str| name.starts_with(['z', 'c']) && name[1..].parse::<usize>().is_ok();
        let extra =
            latents.columns().iter().find(|c| ours(&c.name) && !own.contains(&c.name) && !names.contains(&c.name));
        if let Some(extra) = extra {
            let accepted = "the content latents and factors of the model";
            return Err(Error::Parameter { what: "column", value: format!("`{}`", extra.name), accepted });
        }
        let factors = latents.matrix(&names.iter().map(String::as_str).collect::<Vec<_>>())?;
        let class = latents.class().filter(|_| condition.classes > 0);
        let factors = (!names.is_empty()).then(|| factors.view());
        let conditions = condition.rows(latents.len(), class.map(|c| c.view()), factors)?;
        let mut placed = vec![0.0f32; latents.len() * columns];
        for (name, (place, _)) in self.params().columns().iter().zip(self.params().places()) {
            for (row, value) in placed.chunks_exact_mut(columns).zip(&latents.column(name)?.mean) {
                if name == "scale" && !(value.is_finite() && *value > 0.0) {
                    return Err(Error::Parameter { what: "scale", value: value.to_string(), accepted: "above 0" });
                }
                row[place] = if name == "scale" { value.ln() } else { *value };
            }
        }
        for (row, condition) in placed.chunks_exact_mut(columns).zip(conditions.chunks_exact(told.max(1))) {
            row[columns - told..].copy_from_slice(condition);
        }
        self.decode(&placed)
    }

    /// The decoded manifold: images at equal steps of z1 (along a row, rising) and z2 (from row to row, rising) over the
    /// range that `latents` cover, from their 1 % to their 99 % quantile; all else as in [`Ivae::grid`].
    ///
    /// # Shapes
    /// (side²)×H×W×C, row by row, and `side` values of each; with a single content latent one row and one value of z2.
    ///
    /// # Errors
    /// As [`Ivae::grid`].
    pub fn manifold(&self, latents: &Embedding, side: usize, class: i64) -> Result<Grid> {
        let z1 = steps(latents, "z1", side)?;
        let z2 = if self.params().latent > 1 { steps(latents, "z2", side)? } else { vec![0.0] };
        self.grid(latents, ("z1", z1), ("z2", z2), class)
    }

    /// Images at every pair of values of two columns (`x` along a row, `y` from row to row), all other latents and factors
    /// at their means. Of a model that is told classes, the images are of `class`, unless `class` is a column of the grid.
    ///
    /// # Shapes
    /// (values of y·values of x)×H×W×C, row by row.
    ///
    /// # Errors
    /// If a column of the model is missing or empty, or there is no such class.
    pub fn grid(&self, latents: &Embedding, x: (&str, Vec<f32>), y: (&str, Vec<f32>), class: i64) -> Result<Grid> {
        let mut names = [self.params().columns(), self.params().condition.columns()].concat();
        names.extend((self.params().condition.classes > 0).then(|| "class".to_owned()));
        if let Some(name) = [x.0, y.0].into_iter().find(|name| !names.iter().any(|n| n == name)) {
            // A single content latent has a manifold of one row.
            if name != "z2" || self.params().latent > 1 {
                let what = "axis of a grid";
                return Err(Error::Parameter {
                    what,
                    value: format!("`{name}`"),
                    accepted: "latents and factors of the model",
                });
            }
        }
        let points = x.1.len() * y.1.len();
        let value = |name: &str, point: usize| match name {
            _ if name == x.0 => x.1.get(point % x.1.len()).copied(),
            _ if name == y.0 => y.1.get(point / x.1.len()).copied(),
            _ => None,
        };
        let mut grid = Embedding::new(points);
        for name in self.params().columns().iter().chain(&self.params().condition.columns()) {
            let column: Option<Array1<f32>> = (0..points).map(|p| value(name, p)).collect();
            let column = match column {
                Some(column) => column,
                None => {
                    let mean = &latents.column(name)?.mean;
                    let rest = if name == "angle" { circular_mean(mean) } else { mean.mean().unwrap_or(0.0) };
                    Array1::from_elem(points, rest)
                }
            };
            grid.push(name, column, None)?;
        }
        if self.params().condition.classes > 0 {
            grid.set_class((0..points).map(|p| value("class", p).map_or(class, |c| c as i64)).collect())?;
        }
        Ok(Grid { images: self.images(&grid)?, x: x.1, y: y.1 })
    }
}

/// So many equal steps over the range of a column, from its 1 % to its 99 % quantile.
///
/// # Errors
/// If the column is missing or empty.
pub fn steps(latents: &Embedding, name: &str, count: usize) -> Result<Vec<f32>> {
    let mut values = latents.column(name)?.mean.to_vec();
    values.sort_by(f32::total_cmp);
    let at = |share: f64| values.get((share * (values.len().max(1) - 1) as f64).round() as usize);
    let (Some(low), Some(high)) = (at(0.01), at(0.99)) else {
        return Err(parsimon_core::Error::Empty { what: "latents", shape: vec![0] }.into());
    };
    let n = count.max(1);
    Ok((0..n).map(|i| low + (high - low) * (i as f32 + 0.5) / n as f32).collect())
}

/// What [`Ivae::grid`] decodes.
#[derive(Debug, Clone, PartialEq)]
pub struct Grid {
    /// (rows·columns)×H×W×C, row by row.
    pub images: Array4<f32>,
    /// Values of the columns.
    pub x: Vec<f32>,
    /// Values of the rows.
    pub y: Vec<f32>,
}

/// Direction of the mean of unit vectors at these angles.
fn circular_mean(angles: &Array1<f32>) -> f32 {
    let (sin, cos) = angles.iter().fold((0.0f64, 0.0f64), |(s, c), a| (s + f64::from(a.sin()), c + f64::from(a.cos())));
    sin.atan2(cos) as f32
}

impl<D: Compute> Embed for Ivae<D> {
    fn embed(&self, data: &Patches) -> std::result::Result<Embedding, BoxError> {
        Ok(self.embedding(data)?)
    }

    fn generator(&self) -> Option<&dyn Generate> {
        Some(self)
    }

    fn parameters(&self) -> Option<usize> {
        let mut count = 0;
        self.visit("", &mut |_, matrix| {
            let (rows, columns) = *matrix.shape();
            count += rows * columns;
        });
        Some(count)
    }
}

impl<D: Compute> Generate for Ivae<D> {
    fn generate(&self, latents: &Embedding) -> std::result::Result<Array4<f32>, BoxError> {
        Ok(self.images(latents)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn angles_are_wrapped() {
        for (angle, wrapped) in [(0.0, 0.0), (4.0, 4.0 - TAU), (-4.0, TAU - 4.0), (TAU, 0.0), (7.0, 7.0 - TAU)] {
            assert!((wrap(angle) - wrapped).abs() < 1e-6, "{angle}");
        }
        assert!(wrap(PI) > 0.0);
    }

    #[test]
    fn the_mean_angle_crosses_the_cut() {
        assert!((circular_mean(&ndarray::array![PI - 0.1, -PI + 0.3]) - (0.1 - PI)).abs() < 1e-5);
    }
}
