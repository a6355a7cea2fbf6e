use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// Numbers of the decoder's large products while it trains; sums, weights and everything else are f32.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Precision {
    /// f32; the default.
    #[default]
    F32,
    /// bf16, with 8 bits of precision and the range of f32.
    Bf16,
}

impl Precision {
    /// Fails if this CPU has no instructions for it, which would make it slower than f32.
    ///
    /// # Errors
    /// If it is bf16 and the CPU lacks AVX512-BF16.
    pub fn check(self) -> Result<()> {
        if self == Self::Bf16 && !crate::bf16::native() {
            let accepted = "f32, because this CPU has no AVX512-BF16 or PARSIMON_SIMD forbids it";
            return Err(Error::Parameter { what: "precision", value: "bf16".into(), accepted });
        }
        Ok(())
    }
}
