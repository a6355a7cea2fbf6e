//! Round numbers: ticks of an axis, limits of a colour bar, the length of a scale bar.

/// The largest of 1, 2, 5 times a power of ten that is not above `value`.
pub(crate) fn round_down(value: f64) -> f64 {
    if !(value.is_finite() && value > 0.0) {
        return 1.0;
    }
    let power = 10f64.powf(value.log10().floor());
    let steps = [10.0, 5.0, 2.0, 1.0];
    steps.map(|s| s * power).into_iter().find(|&s| s <= value * (1.0 + 1e-9)).unwrap_or(power)
}

/// About `count` round numbers from `low` to `high`, at least two if the interval is not a point.
pub(crate) fn ticks(low: f64, high: f64, count: usize) -> Vec<f64> {
    let span = high - low;
    if !(span.is_finite() && span > 0.0) {
        return vec![low];
    }
    let mut step = round_down(span / count.max(1) as f64 * 1.5);
    for _ in 0..4 {
        let (first, last) = ((low / step - 1e-9).ceil(), (high / step + 1e-9).floor());
        if last - first >= 1.0 {
            return (0..=(last - first) as usize).map(|i| (first + i as f64) * step).collect();
        }
        step = round_down(step / 1.9);
    }
    vec![low, high]
}

/// Ticks of an axis of powers of ten from `low` to `high`, and the numbers they stand for: 1, 2 and 5 times the powers of
/// ten, or the powers alone, and some of them, if there are many.
pub(crate) fn decades(low: f64, high: f64) -> Vec<(f64, String)> {
    let steps: &[f64] = if high - low > 4.0 { &[1.0] } else { &[1.0, 2.0, 5.0] };
    let apart = ((high - low) / 8.0).ceil().max(1.0) as usize;
    let powers = (low.floor() as i32..=high.ceil() as i32).step_by(apart);
    let numbers = powers.flat_map(|power| steps.iter().map(move |step| step * 10f64.powi(power)));
    let decimals = |v: f64| (-v.log10().floor()).max(0.0) as usize;
    let name = |v: f64| if (0.9e-3..1e5).contains(&v) { plain(v, decimals(v)) } else { scientific(v, 0) };
    numbers.map(|v| (v.log10(), name(v))).filter(|(place, _)| (low..=high).contains(place)).collect()
}

/// The numbers as texts with as many digits as their spacing needs.
pub(crate) fn labels(values: &[f64]) -> Vec<String> {
    let largest = values.iter().fold(0f64, |m, v| m.max(v.abs()));
    let step = values.windows(2).map(|w| (w[1] - w[0]).abs()).fold(f64::INFINITY, f64::min);
    let step = if step.is_finite() && step > 0.0 { step } else { largest.max(1e-300) / 10.0 };
    if largest > 0.0 && !(1e-3..1e5).contains(&largest) {
        return values
            .iter()
            .map(|&v| scientific(v, (largest / step).log10().ceil().clamp(0.0, 6.0) as usize))
            .collect();
    }
    let decimals = (0..9).find(|&d| {
        values.iter().all(|v| {
            (v * 10f64.powi(d) % 1.0).abs().min(1.0 - (v * 10f64.powi(d) % 1.0).abs()) < 1e-3 * step * 10f64.powi(d)
        })
    });
    values.iter().map(|&v| plain(v, decimals.unwrap_or(3) as usize)).collect()
}

/// A number with this many decimals and a true minus sign.
pub(crate) fn plain(value: f64, decimals: usize) -> String {
    let text = format!("{value:.decimals$}");
    let is_zero = text.bytes().all(|b| matches!(b, b'-' | b'0' | b'.'));
    if is_zero { text.replace('-', "") } else { text.replace('-', "−") }
}

/// A number in three or so digits, for captions and legends.
pub(crate) fn short(value: f64) -> String {
    let size = value.abs();
    if size == 0.0 {
        "0".into()
    } else if !(1e-3..1e5).contains(&size) {
        scientific(value, 2)
    } else {
        plain(value, (2 - size.log10().floor() as i32).clamp(0, 5) as usize)
    }
}

fn scientific(value: f64, digits: usize) -> String {
    if value == 0.0 {
        return "0".into();
    }
    let text = format!("{value:.digits$e}");
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let mantissa = if mantissa.contains('.') { mantissa.trim_end_matches('0').trim_end_matches('.') } else { mantissa };
    let raised = exponent.chars().map(|c| match c {
        '-' => '⁻',
        '1' => '¹',
        '2' => '²',
        '3' => '³',
        digit => char::from_u32(0x2070 + digit.to_digit(10).unwrap_or(0)).unwrap_or(digit),
    });
    format!("{}×10{}", mantissa.replace('-', "−"), raised.collect::<String>())
}

/// Value below which lies the part `share` of the sorted numbers, interpolated; 0 if there are none.
pub(crate) fn quantile(sorted: &[f64], share: f64) -> f64 {
    let place = share.clamp(0.0, 1.0) * sorted.len().saturating_sub(1) as f64;
    let (below, above) = (place.floor() as usize, place.ceil() as usize);
    match (sorted.get(below), sorted.get(above)) {
        (Some(a), Some(b)) => a + (b - a) * (place - place.floor()),
        _ => 0.0,
    }
}

/// The interval from the quantile `share` to its mirror image; wider if that is a point.
pub(crate) fn robust(values: impl IntoIterator<Item = f64>, share: f64) -> (f64, f64) {
    let mut sorted: Vec<f64> = values.into_iter().collect();
    sorted.sort_by(f64::total_cmp);
    for share in [share, 0.0] {
        let (low, high) = (quantile(&sorted, share), quantile(&sorted, 1.0 - share));
        if high - low > 1e-12 * low.abs().max(high.abs()) {
            return (low, high);
        }
    }
    let centre = sorted.first().copied().unwrap_or(0.0);
    let half = if centre == 0.0 { 0.5 } else { 0.1 * centre.abs() };
    (centre - half, centre + half)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn numbers_are_written_as_people_write_them() {
        assert_eq!(labels(&[-0.5, 0.0, 0.5]), ["−0.5", "0.0", "0.5"]);
        assert_eq!(labels(&[0.0, 50.0, 100.0]), ["0", "50", "100"]);
        assert_eq!(labels(&[0.0, 2e-6, 4e-6]), ["0", "2×10⁻⁶", "4×10⁻⁶"]);
        assert_eq!(labels(&[100_000.0, 150_000.0]), ["1×10⁵", "1.5×10⁵"]);
        assert_eq!(labels(&[0.25, 0.5]), ["0.25", "0.50"]);
        assert_eq!([short(0.0), short(-1.234), short(1234.6), short(2.5e-7)], ["0", "−1.23", "1235", "2.5×10⁻⁷"]);
    }

    #[test]
    fn powers_of_ten_are_written_as_numbers() {
        let names = |low, high| decades(low, high).into_iter().map(|t| t.1).collect::<Vec<_>>();
        assert_eq!(names(-0.7, 1.4), ["0.2", "0.5", "1", "2", "5", "10", "20"]);
        assert_eq!(names(-5.0, -0.1), ["1×10⁻⁵", "1×10⁻⁴", "0.001", "0.01", "0.1"]);
        assert_eq!(names(-300.0, 0.0).len(), 8);
        assert_eq!(names(1.0, 6.0), ["10", "100", "1000", "10000", "1×10⁵", "1×10⁶"]);
    }

    #[test]
    fn constant_data_have_an_interval() {
        assert_eq!(robust([0.0; 4], 0.01), (-0.5, 0.5));
        let (low, high) = robust([7.0; 3], 0.01);
        assert!(low < 7.0 && high > 7.0);
        assert_eq!(robust((0..=100).map(f64::from), 0.01), (1.0, 99.0));
        let mostly_zero = (0..1000).map(|i| f64::from(u8::from(i == 500)));
        assert_eq!(robust(mostly_zero, 0.01), (0.0, 1.0));
    }

    proptest! {
        #[test]
        fn ticks_lie_inside_and_are_few(low in -1e6f64..1e6, span in 1e-6f64..1e6, count in 2usize..9) {
            let t = ticks(low, low + span, count);
            prop_assert!(t.len() >= 2 && t.len() <= 2 * count + 2, "{:?}", t);
            let slack = 1e-6 * span + 1e-9;
            prop_assert!(t.iter().all(|v| *v >= low - slack && *v <= low + span + slack), "{:?}", t);
            if span > 1e-3 {
                let texts = labels(&t);
                prop_assert!(texts.windows(2).all(|w| w[0] != w[1]), "{:?}", texts);
            }
        }

        #[test]
        fn rounding_down_stays_within_a_factor(value in 1e-12f64..1e12) {
            let round = round_down(value);
            prop_assert!(round <= value * 1.000001 && round > value / 2.51, "{} {}", value, round);
        }
    }
}
