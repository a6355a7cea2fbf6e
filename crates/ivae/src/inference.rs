use serde::{Deserialize, Serialize};

use crate::{Error, Invariances, Params, Result};

/// How the encoder finds the pose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Inference {
    /// Reads it off the patch, with the content. It is often trapped at a wrong angle where objects turn freely.
    #[default]
    Plain,
    /// Looks from several angles, places and distances, and weighs the views by what the decoder makes of them; needs an
    /// invariance, and knows no convolutions.
    Views(ViewGrid),
}

/// How many views the encoder takes of a patch: every combination, 2 to 1024 together. Within a view, shifts are in its own size, and
/// all priors are as wide as half a step at most; where there are few places or sizes, the whole is wider than asked, by a quarter
/// with three and 8 % with five.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ViewGrid {
    /// Angles at equal steps; 1 to 64, more than one with rotation.
    pub angles: usize,
    /// Places at equal steps along either axis, over 2.5 prior widths of the shift either way, but not beyond the edge; 1 to 64,
    /// more than one needs translation, and objects that are not sought otherwise.
    pub shifts: usize,
    /// Sizes at equal steps of their ln, over 2.5 prior widths either way, but not beyond ± 2; 1 to 16, more than one needs scale.
    pub scales: usize,
}

impl ViewGrid {
    /// Views from so many angles.
    pub fn angles(angles: usize) -> Self {
        Self { angles, ..Self::default() }
    }

    /// Views from so many places along either axis.
    pub fn shifts(shifts: usize) -> Self {
        Self { shifts, ..Self::default() }
    }
}

impl Default for ViewGrid {
    fn default() -> Self {
        Self { angles: 1, shifts: 1, scales: 1 }
    }
}

impl std::fmt::Display for ViewGrid {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { angles, shifts, scales } = self;
        write!(f, "{angles} angles × {shifts} places along an axis × {scales} sizes")
    }
}

impl Params {
    /// Views that the encoder takes of a patch, if it takes several.
    pub(crate) fn views(&self) -> Option<ViewGrid> {
        match self.inference {
            Inference::Views(grid) => Some(grid),
            Inference::Plain => None,
        }
    }

    /// Fails if the views are not such as the model can take.
    pub(crate) fn check_views(&self, grid: ViewGrid) -> Result<()> {
        let bad = |what, value: usize, accepted| Err(Error::Parameter { what, value: value.to_string(), accepted });
        let Invariances { rotation, translation, scale } = self.invariances;
        let axes = if self.size.0 == 1 { 1 } else { 2 };
        let count = grid.shifts.saturating_pow(axes).saturating_mul(grid.angles).saturating_mul(grid.scales);
        match grid {
            _ if !self.convolutions.is_empty() => bad("views", count, "none with convolutions"),
            _ if self.invariances.none() => bad("views", count, "none without invariances"),
            ViewGrid { angles, .. } if rotation && !(2..=64).contains(&angles) => {
                bad("views from angles", angles, "2 to 64 with rotation")
            }
            ViewGrid { angles, .. } if !rotation && angles != 1 => {
                bad("views from angles", angles, "1 without rotation")
            }
            ViewGrid { shifts, .. } if !(1..=64).contains(&shifts) => bad("views from places", shifts, "1 to 64"),
            ViewGrid { shifts, .. } if shifts > 1 && !translation => {
                bad("views from places", shifts, "1 without translation")
            }
            ViewGrid { shifts, .. } if shifts > 1 && self.centred => {
                bad("views from places", shifts, "1 with centring, which finds the place beforehand")
            }
            ViewGrid { scales, .. } if !(1..=16).contains(&scales) => bad("views of sizes", scales, "1 to 16"),
            ViewGrid { scales, .. } if scales > 1 && !scale => bad("views of sizes", scales, "1 without scale"),
            _ if !(2..=1024).contains(&count) => bad("views", count, "2 to 1024 together"),
            _ => Ok(()),
        }
    }
}
