use std::f32::consts::{PI, SQRT_2};

use parsimon_objective::Circle;
use serde::{Deserialize, Serialize};

use crate::Params;
use crate::turning::log_softmax;
use crate::views::View;

/// Within this ln sizes are that a patch is seen at.
pub(crate) const SIZES: f32 = 2.0;

/// Widths of a prior over which views go, either way.
const REACH: f32 = 2.5;

/// Equal parts of what a prior about 0 covers.
pub(crate) struct Parts {
    middles: Vec<f32>,
    /// Half a part, or without bound if there is one only.
    pub(crate) half: f32,
}

/// So many parts of a prior of this width, within these bounds.
pub(crate) fn parts(width: f32, count: usize, bound: f32) -> Parts {
    if count <= 1 {
        return Parts { middles: vec![0.0], half: f32::INFINITY };
    }
    let reach = (REACH * width).min(bound);
    let half = reach / count as f32;
    Parts { middles: (0..count).map(|k| half * (2 * k + 1) as f32 - reach).collect(), half }
}

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

    /// Parts of the priors of the shifts to the right and down: none of their middles lies beyond the edge of the patch.
    pub(crate) fn shift_parts(&self) -> [Parts; 2] {
        let (height, width, _) = self.size;
        let ([right, down], count) = (self.prior.shifts(), self.views().unwrap_or_default().shifts);
        let edge = |side: usize| (side - 1) as f32 / (height.max(width) - 1) as f32;
        let along_rows = if height == 1 { 1 } else { count };
        [parts(right, count, edge(width)), parts(down, along_rows, edge(height))]
    }

    /// Places and sizes at which views are taken, the first of each angle.
    pub(crate) fn view_places(&self) -> Vec<View> {
        let grid = self.views().unwrap_or_default();
        let [right, down] = self.shift_parts().map(|parts| parts.middles);
        let mut places = Vec::new();
        for scale in parts(self.prior.scale, grid.scales, SIZES).middles {
            for &down in &down {
                places.extend(right.iter().map(|&right| View { turn: 0.0, right, down, scale }));
            }
        }
        places
    }

    /// ln of the prior probability of each view: of its angle, place and size by normal distributions of the priors' widths, that of
    /// the angle wrapped around the circle.
    pub(crate) fn log_prior_of_views(&self) -> Vec<f32> {
        let angles = self.log_prior_about(self.prior.angle);
        let ([right, down], scale) = (self.prior.shifts(), self.prior.scale);
        let deviation = |v: &View| (v.right / right).powi(2) + (v.down / down).powi(2) + (v.scale / scale).powi(2);
        let mut places: Vec<f32> = self.view_places().iter().map(|view| -0.5 * deviation(view)).collect();
        log_softmax(&mut places);
        places.iter().flat_map(|place| angles.iter().map(move |angle| place + angle)).collect()
    }

    /// The same of the difference of two angles.
    pub(crate) fn log_prior_of_turns(&self) -> Vec<f32> {
        self.log_prior_about(SQRT_2 * self.prior.angle)
    }

    fn log_prior_about(&self, width: f32) -> Vec<f32> {
        let Some(grid) = self.views() else { return Vec::new() };
        let part = 2.0 * PI / self.prior.symmetry as f32;
        let density = |k: usize| -> f32 {
            let angle = part * k as f32 / grid.angles as f32;
            (-8..=8).map(|turn| (-0.5 * ((angle + part * turn as f32) / width).powi(2)).exp()).sum()
        };
        let densities: Vec<f32> = (0..grid.angles).map(density).collect();
        let sum: f32 = densities.iter().sum();
        densities.into_iter().map(|d| (d / sum).max(f32::MIN_POSITIVE).ln()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Inference, ViewGrid};

    #[test]
    fn views_of_places_and_sizes_make_up_the_prior() {
        let with = |shifts, scales, prior| {
            let inference = Inference::Views(ViewGrid { angles: 1, shifts, scales });
            let params = Params { invariances: "t,s".parse().unwrap(), prior, inference, ..Params::new((8, 8, 1)) };
            params.check().unwrap();
            params
        };
        for (shift, scale) in [(0.01, 0.02), (0.2, 0.1), (0.3, 0.8)] {
            let prior = Prior { shift, scale, ..Prior::default() };
            for (parts, wider) in [(2, 1.65), (3, 1.3), (5, 1.1), (16, 1.02)] {
                let params = with(parts, parts.min(4), prior);
                let (places, log_p) = (params.view_places(), params.log_prior_of_views());
                assert_eq!((places.len(), log_p.len()), (parts * parts * parts.min(4), places.len()));
                let mean =
                    |of: &dyn Fn(&View) -> f32| places.iter().zip(&log_p).map(|(v, p)| of(v) * p.exp()).sum::<f32>();
                assert!((mean(&|_| 1.0) - 1.0).abs() < 1e-4 && mean(&|v| v.right).abs() < 1e-4);
                // Together with that within a view.
                let within = params.places()[1].1;
                let sd = (mean(&|v| v.down.powi(2)) + within * within).sqrt() / shift;
                assert!(sd > 0.96 && sd < wider, "{parts}: {sd}");
            }
        }
        let wide = Prior { shift: 3.0, scale: 9.0, ..Prior::default() };
        let far = Params { size: (1, 40, 1), ..with(15, 3, wide) };
        assert_eq!(far.view_places().len(), 15 * 3, "spectra have one axis");
        assert!(far.view_places().iter().all(|v| v.right.abs() < 1.0 && v.down == 0.0 && v.scale.abs() < SIZES));
        let oblong = Params { size: (9, 33, 1), ..with(4, 1, wide) };
        assert!(oblong.view_places().iter().all(|v| v.right.abs() < 1.0 && v.down.abs() < 0.25));
        assert_eq!(Params::new((8, 8, 1)).view_places(), [View::default()]);
    }

    #[test]
    fn views_share_the_prior_of_the_angle() {
        let prior = |angle| Prior { angle, symmetry: 2, ..Prior::default() };
        let params = |angle| Params {
            inference: Inference::Views(ViewGrid::angles(8)),
            prior: prior(angle),
            ..Params::new((8, 8, 1))
        };
        params(f32::INFINITY).check().unwrap();
        assert!(params(f32::INFINITY).log_prior_of_views().iter().all(|p| (p + 8f32.ln()).abs() < 1e-5));
        let narrow = params(0.3).log_prior_of_views();
        assert!((narrow.iter().map(|p| p.exp()).sum::<f32>() - 1.0).abs() < 1e-5);
        assert!(narrow[0] > narrow[1] && (narrow[1] - narrow[7]).abs() < 1e-4, "{narrow:?}");
        assert_eq!(params(0.3).places()[0], (0, PI / 16.0));
        assert!(Params::new((8, 8, 1)).log_prior_of_views().is_empty());
    }
}
