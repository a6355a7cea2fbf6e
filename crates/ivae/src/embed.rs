use std::f32::consts::{PI, TAU};

use ndarray::{Array1, Array4};
use parsimon_core::{BoxError, Embed, Embedding, Generate, Patches};
use parsimon_nets::Compute;

use crate::{Error, Ivae, Result};

/// An angle on (−π, π].
pub(crate) fn wrap(angle: f32) -> f32 {
    let turned = angle.rem_euclid(TAU);
    if turned > PI { turned - TAU } else { turned }
}

impl<D: Compute> Ivae<D> {
    /// Latents of patches as named columns: `angle` (rad, counter-clockwise, wrapped to (−π, π]), `dx` to the right and
    /// `dy` down (half-widths of the patch), `scale`, then `z1`, `z2`, …; each with its standard deviation.
    ///
    /// # Errors
    /// If the patches differ in size from those the model was trained on.
    pub fn embedding(&self, data: &Patches) -> Result<Embedding> {
        let (means, sds) = self.encode(data)?;
        let mut embedding = Embedding::new(data.len());
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
            embedding.push(name, mean, Some(sd))?;
        }
        Ok(embedding)
    }

    /// Mean images (N×H×W×C, in \[0,1\]) of latents, with their pose.
    ///
    /// # Errors
    /// If a column of the model is missing, or a scale is not above 0.
    pub fn images(&self, latents: &Embedding) -> Result<Array4<f32>> {
        let columns = 4 + self.params().latent;
        let mut placed = vec![0.0f32; latents.len() * columns];
        for (name, (place, _)) in self.params().columns().iter().zip(self.params().places()) {
            for (row, value) in placed.chunks_exact_mut(columns).zip(&latents.column(name)?.mean) {
                if name == "scale" && !(value.is_finite() && *value > 0.0) {
                    return Err(Error::Parameter { what: "scale", value: value.to_string(), accepted: "above 0" });
                }
                row[place] = if name == "scale" { value.ln() } else { *value };
            }
        }
        self.decode(&placed)
    }

    /// The decoded manifold: images at equal steps of z1 (along a row, rising) and z2 (from row to row, rising) over the
    /// range that `latents` cover, from their 1 % to their 99 % quantile; all other latents at their means.
    ///
    /// # Shapes
    /// (side²)×H×W×C, row by row, and `side` values of each; with a single content latent one row and one value of z2.
    ///
    /// # Errors
    /// If a column of the model is missing or empty.
    pub fn manifold(&self, latents: &Embedding, side: usize) -> Result<Manifold> {
        let steps = |name: &str, n: usize| -> Result<Vec<f32>> {
            let mut values = latents.column(name)?.mean.to_vec();
            values.sort_by(f32::total_cmp);
            let at = |share: f64| values.get((share * (values.len().max(1) - 1) as f64).round() as usize);
            let (Some(low), Some(high)) = (at(0.01), at(0.99)) else {
                return Err(parsimon_core::Error::Empty { what: "latents", shape: vec![0] }.into());
            };
            Ok((0..n).map(|i| low + (high - low) * (i as f32 + 0.5) / n as f32).collect())
        };
        let side = side.max(1);
        let z1 = steps("z1", side)?;
        let z2 = if self.params().latent > 1 { steps("z2", side)? } else { vec![0.0] };
        let points = z1.len() * z2.len();
        let mut grid = Embedding::new(points);
        for name in self.params().columns() {
            let value = |point: usize| match name.as_str() {
                "z1" => z1[point % z1.len()],
                "z2" => z2[point / z1.len()],
                _ => f32::NAN,
            };
            let mean = &latents.column(&name)?.mean;
            let rest = if name == "angle" { circular_mean(mean) } else { mean.mean().unwrap_or(0.0) };
            let column = (0..points).map(|p| if value(p).is_nan() { rest } else { value(p) }).collect();
            grid.push(&name, column, None)?;
        }
        Ok(Manifold { images: self.images(&grid)?, z1, z2 })
    }
}

/// What [`Ivae::manifold`] decodes.
#[derive(Debug, Clone, PartialEq)]
pub struct Manifold {
    /// (rows·columns)×H×W×C, row by row.
    pub images: Array4<f32>,
    /// z1 of the columns.
    pub z1: Vec<f32>,
    /// z2 of the rows.
    pub z2: Vec<f32>,
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
