use std::fmt;
use std::ops::Range;

use parsimon_core::Axis;

use crate::{Error, Result};

/// Rounding errors of a calibration, in channels: an end so near to a channel includes it.
const ROUNDING: f64 = 1e-6;

/// An interval of the spectral axis: the channels whose centres lie in it, ends included.
///
/// Default: the whole axis.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Window {
    /// Lower end; that of the axis if `None`.
    pub from: Option<f64>,
    /// Upper end, not below the lower one; that of the axis if `None`.
    pub to: Option<f64>,
    /// Unit of the ends: that of the axis, or one that converts to it (meV, eV, keV, MeV; pm, Å, nm, µm, mm); that of the
    /// axis if `None`.
    pub unit: Option<String>,
}

impl Window {
    /// From one value to another, in the unit of the axis.
    pub fn between(from: f64, to: f64) -> Self {
        Self { from: Some(from), to: Some(to), unit: None }
    }

    /// The same ends in `unit`.
    pub fn in_unit(self, unit: &str) -> Self {
        Self { unit: Some(unit.to_owned()), ..self }
    }

    /// The channels of an axis of `length` that lie in the window.
    ///
    /// # Errors
    /// If an end is not finite, the ends are the wrong way round, the unit does not convert to that of the axis, or fewer than
    /// `needed` channels (at least 1) lie inside.
    pub fn channels(&self, axis: &Axis, length: usize, needed: usize) -> Result<Range<usize>> {
        let finite = [self.from, self.to].into_iter().flatten().all(f64::is_finite);
        let rising = self.from.zip(self.to).is_none_or(|(from, to)| from <= to);
        if !finite || !rising {
            return Err(Error::Ends { window: self.to_string() });
        }
        let factor = match &self.unit {
            Some(unit) => factor(unit, &axis.unit)?,
            None => 1.0,
        };
        let index = |end: f64| (end * factor - axis.offset) / axis.scale;
        let (mut first, mut last) = (self.from.map(index), self.to.map(index));
        if axis.scale < 0.0 {
            (first, last) = (last, first);
        }
        // A float becomes the nearest number that the integer holds; what lies below the axis becomes 0.
        let first = first.map_or(0, |i| (i - ROUNDING).ceil() as usize);
        let end = last.map_or(length, |i| ((i + ROUNDING).floor() + 1.0) as usize).min(length);
        let found = end.saturating_sub(first);
        if found >= needed.max(1) {
            return Ok(first..end);
        }
        let ends = [0.0, length.saturating_sub(1) as f64].map(|i| axis.value(i));
        Err(Error::Window {
            window: self.to_string(),
            found,
            needed: needed.max(1),
            low: ends[0].min(ends[1]),
            high: ends[0].max(ends[1]),
            unit: axis.unit.clone(),
        })
    }
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let end = |end: Option<f64>| end.map(|v| v.to_string()).unwrap_or_default();
        let unit = self.unit.as_deref().unwrap_or_default();
        match self.to {
            Some(_) => write!(f, "{}..{}{unit}", end(self.from), end(self.to)),
            None if self.from.is_some() => write!(f, "{}{unit}..", end(self.from)),
            None => write!(f, ".."),
        }
    }
}

fn factor(from: &str, to: &str) -> Result<f64> {
    if from == to {
        return Ok(1.0);
    }
    let electronvolts = |unit: &str| match unit {
        "meV" => Some(1e-3),
        "eV" => Some(1.0),
        "keV" => Some(1e3),
        "MeV" => Some(1e6),
        _ => None,
    };
    let nanometres = |unit: &str| Axis::new("", 1.0, 0.0, unit).nanometres();
    let both = |size: &dyn Fn(&str) -> Option<f64>| size(from).zip(size(to));
    let sizes = both(&electronvolts).or_else(|| both(&nanometres));
    let sizes = sizes.ok_or_else(|| Error::Unit { found: from.to_owned(), expected: to.to_owned() });
    sizes.map(|(from, to)| from / to)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn axis(scale: f64, offset: f64) -> Axis {
        Axis::new("energy", scale, offset, "eV")
    }

    #[test]
    fn a_window_holds_the_channels_whose_centres_lie_inside() {
        let axis = axis(10.0, 0.0);
        let of = |window: Window| window.channels(&axis, 100, 1).unwrap();
        assert_eq!(of(Window::between(250.0, 270.0)), 25..28);
        assert_eq!(of(Window::between(250.1, 269.9)), 26..27);
        assert_eq!(of(Window::between(0.25, 0.27).in_unit("keV")), 25..28);
        assert_eq!(of(Window { from: Some(980.0), ..Window::default() }), 98..100);
        assert_eq!(of(Window { to: Some(15.0), ..Window::default() }), 0..2);
        assert_eq!(of(Window::between(-1e300, 1e300)), 0..100);
        assert_eq!(of(Window::default()), 0..100);
    }

    #[test]
    fn an_axis_may_fall() {
        // 100 eV, 99 eV, …: binding energies are often stored so.
        let channels = Window::between(95.0, 97.5).channels(&axis(-1.0, 100.0), 50, 1).unwrap();
        assert_eq!(channels, 3..6);
    }

    #[test]
    fn rounding_of_the_calibration_does_not_lose_an_end() {
        let axis = Axis::new("energy", 0.01, -0.12, "keV");
        for channel in 13..400 {
            let window = Window::between(axis.value(f64::from(channel)), axis.value(f64::from(channel) + 2.0));
            let text = format!("{window}");
            assert_eq!(window.channels(&axis, 1000, 1).unwrap(), channel as usize..channel as usize + 3, "{text}");
        }
        assert_eq!(Window::between(0.29, 0.58).channels(&axis, 1000, 1).unwrap(), 41..71);
    }

    #[test]
    fn every_rejection() {
        let axis = axis(10.0, 0.0);
        let of = |window: Window, needed| window.channels(&axis, 100, needed).unwrap_err();
        for bad in [Window::between(f64::NAN, 2.0), Window::between(2.0, f64::INFINITY), Window::between(20.0, 10.0)] {
            assert!(matches!(of(bad, 1), Error::Ends { .. }));
        }
        for unit in ["nm", "kev", ""] {
            assert!(matches!(of(Window::between(1.0, 2.0).in_unit(unit), 1), Error::Unit { .. }));
        }
        for (bad, needed) in [
            (Window::between(2000.0, 3000.0), 1),
            (Window::between(-30.0, -20.0), 1),
            (Window::between(11.0, 19.0), 0),
            (Window::between(10.0, 20.0), 3),
        ] {
            let error = of(bad, needed);
            assert!(matches!(error, Error::Window { low: 0.0, high: 990.0, .. }), "{error}");
        }
    }
}
