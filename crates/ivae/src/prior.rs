use std::f32::consts::{PI, SQRT_2};

use parsimon_objective::Circle;
use serde::{Deserialize, Serialize};

use crate::Params;

/// Priors of the latents: standard deviations of those of the pose, whose means are those of an object at rest, and the form
/// of that of the content.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Prior {
    /// Of the angle, in rad; above 0, default 1. Infinite: every angle is as likely.
    pub angle: f32,
    /// Turns by so many equal parts of a full one leave every object as it was, so that angles need be known within one
    /// part only; 1 to 12, default 1.
    #[serde(default = "one")]
    pub symmetry: usize,
    /// Of either shift, in half-widths of the patch; above 0, default 0.1.
    pub shift: f32,
    /// Of the shift down, if another; above 0, default none. Needs an encoder that looks once: views are turned.
    #[serde(default)]
    pub shift_down: Option<f32>,
    /// Of ln scale; above 0, default 0.1.
    pub scale: f32,
    /// Gaussians of which the prior of the content is made; 1 to 100, default 1, which is N(0,1). More are learned with the model.
    #[serde(default = "one")]
    pub components: usize,
}

fn one() -> usize {
    1
}

impl Default for Prior {
    fn default() -> Self {
        Self { angle: 1.0, symmetry: 1, shift: 0.1, shift_down: None, scale: 0.1, components: 1 }
    }
}

impl Prior {
    /// Of the shifts to the right and down.
    pub(crate) fn shifts(&self) -> [f32; 2] {
        [self.shift, self.shift_down.unwrap_or(self.shift)]
    }
}

impl Params {
    /// The prior of the angle, where the encoder reads it off the patch and it is not a normal distribution.
    pub(crate) fn circle(&self) -> Option<Circle> {
        let Prior { angle: width, symmetry: fold, .. } = self.prior;
        let plain = self.invariances.rotation && self.views().is_none();
        (plain && (width == f32::INFINITY || fold > 1)).then_some(Circle { width, fold })
    }

    /// ln of the prior probability of each view: that of its angle by a normal distribution of the prior's width, wrapped
    /// around the circle.
    pub(crate) fn log_prior_of_views(&self) -> Vec<f32> {
        self.log_prior_about(self.prior.angle)
    }

    /// The same of the difference of two angles.
    pub(crate) fn log_prior_of_turns(&self) -> Vec<f32> {
        self.log_prior_about(SQRT_2 * self.prior.angle)
    }

    fn log_prior_about(&self, width: f32) -> Vec<f32> {
        let Some(count) = self.views() else { return Vec::new() };
        let part = 2.0 * PI / self.prior.symmetry as f32;
        let density = |k: usize| -> f32 {
            let angle = part * k as f32 / count as f32;
            (-8..=8).map(|turn| (-0.5 * ((angle + part * turn as f32) / width).powi(2)).exp()).sum()
        };
        let densities: Vec<f32> = (0..count).map(density).collect();
        let sum: f32 = densities.iter().sum();
        densities.into_iter().map(|d| (d / sum).max(f32::MIN_POSITIVE).ln()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Inference;

    #[test]
    fn views_share_the_prior_of_the_angle() {
        let prior = |angle| Prior { angle, symmetry: 2, ..Prior::default() };
        let params = |angle| Params { inference: Inference::Views(8), prior: prior(angle), ..Params::new((8, 8, 1)) };
        params(f32::INFINITY).check().unwrap();
        assert!(params(f32::INFINITY).log_prior_of_views().iter().all(|p| (p + 8f32.ln()).abs() < 1e-5));
        let narrow = params(0.3).log_prior_of_views();
        assert!((narrow.iter().map(|p| p.exp()).sum::<f32>() - 1.0).abs() < 1e-5);
        assert!(narrow[0] > narrow[1] && (narrow[1] - narrow[7]).abs() < 1e-4, "{narrow:?}");
        assert_eq!(params(0.3).places()[0], (0, PI / 16.0));
        assert!(Params::new((8, 8, 1)).log_prior_of_views().is_empty());
    }
}
