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
        let places = self.params().places();
        for (latent, (name, (_, width))) in names.iter().zip(places).enumerate() {
            let column = |values: &[f32]| -> Array1<f32> {
                values.chunks_exact(names.len()).map(|row| row[latent] * width).collect()
            };
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

    /// Mean images (N×H×W×C, in [0,1]) of latents, with their pose.
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

    /// The decoded manifold: images of `side`² points of z1 (along a row, rising) and z2 (down, falling) at equal
    /// steps of the prior's probability, other latents 0, at rest; and the values of the steps.
    ///
    /// # Shapes
    /// (side²)×H×W×C, row by row; a single latent gives one row of `side`.
    ///
    /// # Errors
    /// If the device fails.
    pub fn manifold(&self, side: usize) -> Result<(Array4<f32>, Vec<f32>)> {
        let side = side.max(1);
        let steps: Vec<f32> = (0..side).map(|i| normal_quantile((i as f64 + 0.5) / side as f64) as f32).collect();
        let down = if self.params().latent > 1 { side } else { 1 };
        let columns = 4 + self.params().latent;
        let mut placed = vec![0.0f32; side * down * columns];
        for (point, row) in placed.chunks_exact_mut(columns).enumerate() {
            row[4] = steps[point % side];
            if self.params().latent > 1 {
                row[5] = steps[side - 1 - point / side];
            }
        }
        Ok((self.decode(&placed)?, steps))
    }
}

/// The value a standard normal variable stays below with probability p, to 10⁻⁶, by bisection of its integral.
fn normal_quantile(p: f64) -> f64 {
    // Simpson's rule from 0 is exact enough at this step for any p a manifold asks for.
    let below = |x: f64| {
        let n = 200;
        let h = x / f64::from(n);
        let density = |t: f64| (-0.5 * t * t).exp() / (2.0 * std::f64::consts::PI).sqrt();
        let inner = (1..n).map(|i| f64::from(if i % 2 == 1 { 4 } else { 2 }) * density(h * f64::from(i))).sum::<f64>();
        0.5 + h / 3.0 * (density(0.0) + inner + density(x))
    };
    let (mut low, mut high) = (-8.0, 8.0);
    while high - low > 1e-7 {
        let middle = 0.5 * (low + high);
        if below(middle) < p {
            low = middle;
        } else {
            high = middle;
        }
    }
    0.5 * (low + high)
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
    fn quantiles_of_the_normal_distribution() {
        for (p, x) in [(0.5, 0.0), (0.975, 1.959_964), (0.05, -1.644_854)] {
            assert!((normal_quantile(p) - x).abs() < 1e-5, "{p}: {}", normal_quantile(p));
        }
    }
}
