//! Colour maps: paths through OKLab walked at constant speed, so that equal steps look equal.

use std::sync::OnceLock;

use colorgrad::Gradient;

const STEPS: usize = 1024;
type Table = Vec<[u8; 3]>;

/// How a number becomes a colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ColourMap {
    /// Dark blue through green to yellow (viridis): for magnitudes.
    Sequential,
    /// Blue through white to red: for signed numbers, zero in the middle.
    Diverging,
    /// A closed ring green, blue, purple, orange: for angles. Its ends are one colour. Opposite angles differ in lightness
    /// (green against purple) or in blue against orange, so that it also serves eyes that confuse red and green.
    Cyclic,
    /// Black to white: for intensities.
    Grey,
}

/// Colours of classes that stay apart for colour-blind eyes (Okabe and Ito), without black and yellow's neighbour grey, and
/// three darker ones, so that ten digits are ten colours.
///
/// Reference: M. Okabe, K. Ito, *Color universal design* (2008).
pub const CLASS_COLOURS: [[u8; 3]; 10] = [
    [0, 114, 178],
    [230, 159, 0],
    [0, 158, 115],
    [204, 121, 167],
    [86, 180, 233],
    [213, 94, 0],
    [240, 228, 66],
    [90, 50, 130],
    [110, 70, 30],
    [0, 70, 60],
];

/// Colour of samples whose class is unknown.
pub const UNKNOWN: [u8; 3] = [150, 150, 150];

/// Colour of a class; classes past the tenth repeat the colours, negative ones are unknown and grey.
pub fn class_colour(class: i64) -> [u8; 3] {
    let index = usize::try_from(class).ok().map(|c| c % CLASS_COLOURS.len());
    index.and_then(|i| CLASS_COLOURS.get(i)).copied().unwrap_or(UNKNOWN)
}

impl ColourMap {
    /// Colour at `t` from 0 to 1; values outside are limited to it, except that the cyclic map goes round. NaN gives the
    /// middle.
    pub fn at(self, t: f64) -> [u8; 3] {
        let closed = self == Self::Cyclic;
        let t = if t.is_nan() || (closed && t.is_infinite()) { 0.5 } else { t };
        let t = if closed && !(0.0..=1.0).contains(&t) { t.rem_euclid(1.0) } else { t.clamp(0.0, 1.0) };
        let index = (t * (STEPS - 1) as f64).round() as usize;
        self.table().get(index).copied().unwrap_or(UNKNOWN)
    }

    fn table(self) -> &'static [[u8; 3]] {
        static TABLES: [OnceLock<Table>; 4] = [const { OnceLock::new() }; 4];
        match self {
            Self::Sequential => TABLES[0].get_or_init(|| {
                let map = colorgrad::preset::viridis();
                even(&path(|t| of_gradient(&map, t)), STEPS)
            }),
            Self::Diverging => TABLES[1].get_or_init(|| {
                let map = colorgrad::preset::rd_bu();
                // Each arm for itself, so that zero is exactly the neutral middle.
                let mut table = even(&path(|t| of_gradient(&map, 1.0 - t / 2.0)), STEPS / 2);
                table.extend(even(&path(|t| of_gradient(&map, 0.5 - t / 2.0)), STEPS / 2));
                table
            }),
            Self::Cyclic => TABLES[2].get_or_init(|| even(&path(ring), STEPS)),
            Self::Grey => TABLES[3].get_or_init(|| {
                // sRGB is even enough for greys, and 8 bits cannot follow OKLab near black.
                (0..STEPS).map(|i| [(i as f64 / (STEPS - 1) as f64 * 255.0).round() as u8; 3]).collect()
            }),
        }
    }
}

/// A circle of constant chroma tilted in lightness: light at green, dark at purple.
fn ring(t: f64) -> [f64; 3] {
    let turn = std::f64::consts::TAU * t;
    let hue = 145f64.to_radians() + turn;
    [0.64 + 0.2 * turn.cos(), 0.112 * hue.cos(), 0.112 * hue.sin()]
}

fn of_gradient(map: &impl Gradient, t: f64) -> [f64; 3] {
    let c = map.at(t as f32);
    lab([c.r.into(), c.g.into(), c.b.into()])
}

fn path(f: impl Fn(f64) -> [f64; 3]) -> Vec<[f64; 3]> {
    const FINE: usize = 4096;
    (0..=FINE).map(|i| f(i as f64 / FINE as f64)).collect()
}

/// `n` colours along the path, at equal distances in OKLab.
fn even(path: &[[f64; 3]], n: usize) -> Table {
    let mut length = vec![0.0];
    for pair in path.windows(2) {
        length.push(length[length.len() - 1] + distance(pair[0], pair[1]));
    }
    let total = length[length.len() - 1];
    let mut k = 1;
    let colour = |i: usize| {
        let wanted = total * i as f64 / (n - 1) as f64;
        while k + 1 < path.len() && length[k] < wanted {
            k += 1;
        }
        let u = ((wanted - length[k - 1]) / (length[k] - length[k - 1]).max(1e-12)).clamp(0.0, 1.0);
        let mixed = std::array::from_fn(|c| path[k - 1][c] + u * (path[k][c] - path[k - 1][c]));
        rgb(mixed).map(|v| (v.clamp(0.0, 1.0) * 255.0).round() as u8)
    };
    (0..n).map(colour).collect()
}

/// Difference of two colours in OKLab, ΔE_OK.
pub(crate) fn distance(a: [f64; 3], b: [f64; 3]) -> f64 {
    a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum::<f64>().sqrt()
}

/// sRGB in \[0,1\] to OKLab (L, a, b). Reference: B. Ottosson, *A perceptual color space for image processing* (2020).
pub(crate) fn lab(rgb: [f64; 3]) -> [f64; 3] {
    let [r, g, b] = rgb.map(|v| if v <= 0.04045 { v / 12.92 } else { ((v + 0.055) / 1.055).powf(2.4) });
    let l = (0.412_221_470_8 * r + 0.536_332_536_3 * g + 0.051_445_992_9 * b).cbrt();
    let m = (0.211_903_498_2 * r + 0.680_699_545_1 * g + 0.107_396_956_6 * b).cbrt();
    let s = (0.088_302_461_9 * r + 0.281_718_837_6 * g + 0.629_978_700_5 * b).cbrt();
    [
        0.210_454_255_3 * l + 0.793_617_785 * m - 0.004_072_046_8 * s,
        1.977_998_495_1 * l - 2.428_592_205 * m + 0.450_593_709_9 * s,
        0.025_904_037_1 * l + 0.782_771_766_2 * m - 0.808_675_766 * s,
    ]
}

/// OKLab to sRGB; components outside \[0,1\] mean a colour that a screen lacks.
fn rgb([l, a, b]: [f64; 3]) -> [f64; 3] {
    let p = (l + 0.396_337_777_4 * a + 0.215_803_757_3 * b).powi(3);
    let q = (l - 0.105_561_345_8 * a - 0.063_854_172_8 * b).powi(3);
    let r = (l - 0.089_484_177_5 * a - 1.291_485_548 * b).powi(3);
    let linear = [
        4.076_741_662_1 * p - 3.307_711_591_3 * q + 0.230_969_929_2 * r,
        -1.268_438_004_6 * p + 2.609_757_401_1 * q - 0.341_319_396_5 * r,
        -0.004_196_086_3 * p - 0.703_418_614_7 * q + 1.707_614_701 * r,
    ];
    linear.map(|v| if v <= 0.003_130_8 { 12.92 * v } else { 1.055 * v.powf(1.0 / 2.4) - 0.055 })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(colour: [u8; 3]) -> [f64; 3] {
        lab(colour.map(|v| f64::from(v) / 255.0))
    }

    #[test]
    fn equal_steps_look_equal() {
        // 8-bit rounding alone moves a colour by about 0.002, hence steps of a 32nd.
        for map in [ColourMap::Sequential, ColourMap::Diverging, ColourMap::Cyclic] {
            let steps: Vec<f64> = (0..32)
                .map(|i| distance(seen(map.at(f64::from(i) / 32.0)), seen(map.at(f64::from(i + 1) / 32.0))))
                .collect();
            let mean = steps.iter().sum::<f64>() / 32.0;
            let worst = steps.iter().map(|s| (s / mean - 1.0).abs()).fold(0.0, f64::max);
            let allowed = if map == ColourMap::Diverging { 0.25 } else { 0.12 };
            assert!(worst < allowed, "{map:?}: worst {worst}, {steps:?}");
        }
    }

    #[test]
    fn the_ring_closes_and_lies_inside_srgb() {
        assert_eq!(ColourMap::Cyclic.at(0.0), ColourMap::Cyclic.at(1.0));
        assert_eq!(ColourMap::Cyclic.at(-0.25), ColourMap::Cyclic.at(0.75));
        for i in 0..360 {
            let colour = rgb(ring(f64::from(i) / 360.0));
            assert!(colour.iter().all(|v| (0.0..=1.0).contains(v)), "{i}: {colour:?}");
        }
    }

    #[test]
    fn opposite_angles_differ_even_without_red_and_green() {
        for i in 0..64 {
            let t = f64::from(i) / 64.0;
            let (a, b) = (seen(ColourMap::Cyclic.at(t)), seen(ColourMap::Cyclic.at(t + 0.5)));
            let apart = (a[0] - b[0]).hypot(a[2] - b[2]);
            assert!(apart > 0.15, "{t}: {apart}");
        }
    }

    #[test]
    fn sequential_grows_lighter_and_diverging_is_neutral_in_the_middle() {
        for map in [ColourMap::Sequential, ColourMap::Grey] {
            let light: Vec<f64> = (0..=20).map(|i| seen(map.at(f64::from(i) / 20.0))[0]).collect();
            assert!(light.windows(2).all(|w| w[1] > w[0]), "{map:?}: {light:?}");
        }
        let [_, a, b] = seen(ColourMap::Diverging.at(0.5));
        assert!(a.hypot(b) < 0.01);
        let [_, _, blue] = seen(ColourMap::Diverging.at(0.0));
        let [_, _, red] = seen(ColourMap::Diverging.at(1.0));
        assert!(blue < -0.05 && red > 0.03, "{blue} {red}");
    }

    #[test]
    fn out_of_range_and_nan_have_a_colour() {
        assert_eq!(ColourMap::Grey.at(-3.0), [0, 0, 0]);
        assert_eq!(ColourMap::Grey.at(f64::INFINITY), [255, 255, 255]);
        assert_eq!(ColourMap::Sequential.at(f64::NAN), ColourMap::Sequential.at(0.5));
        assert_eq!(ColourMap::Cyclic.at(f64::INFINITY), ColourMap::Cyclic.at(f64::NAN));
        assert_eq!((class_colour(-1), class_colour(10)), (UNKNOWN, CLASS_COLOURS[0]));
    }
}
