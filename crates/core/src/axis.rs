/// One calibrated axis: `value = offset + scale · index`, in `unit`.
///
/// An axis without calibration counts pixels: scale 1, offset 0, unit `px`.
#[derive(Debug, Clone, PartialEq)]
pub struct Axis {
    /// What runs along it: `y`, `x`, `time`, `energy`, …
    pub name: String,
    /// Step from one index to the next, in `unit`; finite and not zero.
    pub scale: f64,
    /// Value at index 0, in `unit`.
    pub offset: f64,
    /// Unit as the file gives it (`nm`, `eV`, …); `px` if there is none.
    pub unit: String,
}

impl Axis {
    /// An axis that counts indices.
    pub fn uncalibrated(name: &str) -> Self {
        Self { name: name.into(), scale: 1.0, offset: 0.0, unit: "px".into() }
    }

    /// A calibrated axis. A scale that is zero or not finite means no calibration.
    pub fn new(name: &str, scale: f64, offset: f64, unit: &str) -> Self {
        let unit = unit.trim();
        if !scale.is_finite() || scale == 0.0 || unit.is_empty() || unit == "px" {
            return Self::uncalibrated(name);
        }
        let offset = if offset.is_finite() { offset } else { 0.0 };
        Self { name: name.into(), scale, offset, unit: unit.into() }
    }

    /// Whether the axis carries a unit other than pixels.
    pub fn is_calibrated(&self) -> bool {
        self.unit != "px"
    }

    /// Value at a (fractional) index, in the axis' unit.
    pub fn value(&self, index: f64) -> f64 {
        self.offset + self.scale * index
    }

    /// Size of one step in nanometres, if the unit is a length.
    pub fn nanometres(&self) -> Option<f64> {
        Some((self.scale * self.nanometres_per_unit()?).abs())
    }

    /// Value at a (fractional) index in nanometres, origin included, if the unit is a length.
    pub fn nanometres_at(&self, index: f64) -> Option<f64> {
        Some(self.value(index) * self.nanometres_per_unit()?)
    }

    fn nanometres_per_unit(&self) -> Option<f64> {
        Some(match self.unit.as_str() {
            "pm" => 1e-3,
            "\u{c5}" | "\u{212b}" | "A" | "angstrom" | "Angstrom" => 0.1,
            "nm" | "nanometer" | "nanometre" => 1.0,
            "µm" | "μm" | "um" | "micron" | "micrometer" | "micrometre" => 1e3,
            "mm" => 1e6,
            "m" => 1e9,
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_convert_to_nanometres() {
        for (unit, scale) in [("pm", 12.5), ("Å", 0.125), ("nm", 0.0125), ("µm", 1.25e-5), ("m", 1.25e-11)] {
            let step = Axis::new("x", scale, 0.0, unit).nanometres().unwrap();
            assert!((step - 0.0125).abs() < 1e-12, "{unit}: {step}");
        }
        assert_eq!(Axis::new("e", 1.0, 0.0, "eV").nanometres(), None);
    }

    #[test]
    fn places_in_nanometres_count_from_the_origin() {
        let axis = Axis::new("y", -2.0, 100.0, "pm");
        assert!((axis.nanometres_at(10.0).unwrap() - 0.08).abs() < 1e-12);
        assert_eq!(Axis::uncalibrated("y").nanometres_at(10.0), None);
    }

    #[test]
    fn a_meaningless_scale_is_no_calibration() {
        for scale in [0.0, f64::NAN, f64::INFINITY] {
            assert!(!Axis::new("x", scale, 0.0, "nm").is_calibrated());
        }
    }
}
