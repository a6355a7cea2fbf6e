use crate::axes::{Axes, Scale, roomy};
use crate::bars::ColourBar;
use crate::canvas::{Canvas, Pen};
use crate::colour::{self, ColourMap};
use crate::density::Density;
use crate::error::{check_finite, check_length};
use crate::figure::{Figure, MARGIN, SIDE, sheet};
use crate::legend::Legend;
use crate::text::capital;
use crate::ticks;
use crate::{Error, Result};

/// What colours the points of a scatter plot.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Colour<'a> {
    /// The density of the points around each.
    Density,
    /// A number per point.
    Value {
        /// One per point.
        values: &'a [f32],
        /// The colour map.
        map: ColourMap,
        /// What the colours mean, with its unit.
        label: &'a str,
    },
    /// A class per point; −1 is unknown.
    Class {
        /// One per point.
        class: &'a [i64],
        /// Name of class 0, 1, ….
        names: &'a [String],
    },
}

/// Two latents against each other, a point per sample.
///
/// Points are small and see-through where there are many, and drawn in a mixed order so that none of the classes covers
/// the others. Unless the colour is the density itself, thin lines enclose the densest 50 % and 90 % of the points.
///
/// # Shapes
/// `x`, `y` and the values or classes have one length; all finite.
///
/// # Errors
/// If there is no point, lengths differ, or a value is not finite.
pub fn scatter(x: &[f32], y: &[f32], colour: Colour<'_>, x_label: &str, y_label: &str, title: &str) -> Result<Figure> {
    let limits = |v: &[f32]| roomy(v.iter().map(|&v| f64::from(v)));
    scatter_over([limits(x), limits(y)], x, y, colour, x_label, y_label, title)
}

/// The same over these ranges of x and y; points outside lie on the rim.
///
/// # Errors
/// As [`scatter`], or if a range is not finite and rising.
pub fn scatter_over(
    [x_range, y_range]: [(f64, f64); 2],
    x: &[f32],
    y: &[f32],
    colour: Colour<'_>,
    x_label: &str,
    y_label: &str,
    title: &str,
) -> Result<Figure> {
    if x.is_empty() {
        return Err(Error::Empty { what: "list of points" });
    }
    check_length(y_label, y.len(), x.len())?;
    check_finite(x_label, x.iter().copied())?;
    check_finite(y_label, y.iter().copied())?;
    for (low, high) in [x_range, y_range] {
        check_finite("range of the axes", [low, high])?;
        if low >= high {
            return Err(Error::Range { low, high });
        }
    }
    let mut axes = Axes { area: [0.0; 4], x: x_range, y: y_range, scales: [Scale::Linear; 2] };
    let rim = |v: f32, (low, high): (f64, f64)| f64::from(v).clamp(low, high);
    let points: Vec<[f64; 2]> = x.iter().zip(y).map(|(&x, &y)| [rim(x, x_range), rim(y, y_range)]).collect();
    let unit = |p: &[f64; 2]| [share(p[0], axes.x), share(p[1], axes.y)];
    let inside: Vec<[f64; 2]> = points.iter().map(unit).collect();
    let density = Density::of(&inside);
    let dense: Vec<f64> = inside.iter().map(|&p| density.at(p)).collect();
    let key = Key::of(colour, &dense)?;

    let left = (MARGIN + Axes::left(axes.y, Scale::Linear, y_label)?).round();
    let (wide, high) = (SIDE, 0.86 * SIDE);
    let body = high + Axes::below(x_label) + key.below(wide)? + MARGIN / 2.0;
    let (mut canvas, top) = sheet(title, left + wide + 26.0 + key.width(high)? + MARGIN, body)?;
    axes.area = [left, top, wide, high];
    let mut plot = Canvas::new(wide, high)?;
    let inner = Axes { area: [0.0, 0.0, wide, high], ..axes.clone() };
    inner.grid(&mut plot);
    let n = points.len() as f64;
    let radius = (90.0 / n.powf(0.36)).clamp(2.2, 8.0);
    let opacity = (30.0 / n.powf(0.45)).clamp(0.35, 0.9);
    for i in order(dense.len()) {
        plot.disc(inner.place(points[i]), radius, key.colour(i), opacity);
    }
    let mut caption = format!("{} and {} of {} samples", capital(x_label), y_label, points.len());
    if matches!(colour, Colour::Density) {
        caption.push_str(", coloured by the density of points (logarithmic, relative to the densest).");
    } else {
        match colour {
            Colour::Value { label, .. } => caption.push_str(&format!(", coloured by {label}")),
            _ => caption.push_str(", coloured by class"),
        }
        let mut sorted = dense.clone();
        sorted.sort_by(f64::total_cmp);
        for (outside, width) in [(0.5, 2.4), (0.1, 1.6)] {
            for segment in density.contour(ticks::quantile(&sorted, outside)) {
                let ends = segment.map(|[u, v]| [u * wide, (1.0 - v) * high]);
                plot.line(&ends, false, Pen { opacity: 0.75, ..Pen::solid(width, [40; 3]) });
            }
        }
        caption.push_str("; the lines enclose the densest 50 % (thick) and 90 % (thin) of them.");
    }
    canvas.place(&plot.picture(), left as i64, top as i64);
    axes.draw(&mut canvas, x_label, y_label, true)?;
    key.draw(&mut canvas, axes.area, Axes::below(x_label))?;
    let name = match colour {
        Colour::Density => "scatter_density",
        Colour::Value { .. } => "scatter_value",
        Colour::Class { .. } => "scatter_class",
    };
    Ok(Figure { name: name.into(), title: title.into(), caption, image: canvas.picture() })
}

fn share(v: f64, (low, high): (f64, f64)) -> f64 {
    (v - low) / (high - low)
}

/// What explains the colours at the right of the plot.
enum Key<'a> {
    Bar(ColourBar, Vec<f64>),
    Legend(Legend, &'a [i64]),
}

impl<'a> Key<'a> {
    fn of(colour: Colour<'a>, dense: &[f64]) -> Result<Self> {
        match colour {
            Colour::Density => {
                let most = dense.iter().copied().fold(0.0, f64::max);
                let values: Vec<f64> = dense.iter().map(|d| (d / most.max(1e-300)).max(1e-3).log10()).collect();
                let least = values.iter().copied().fold(-0.5, f64::min);
                let bar = ColourBar::new(ColourMap::Sequential, &values, Some((least, 0.0)), "log₁₀ relative density")?;
                Ok(Self::Bar(bar, values))
            }
            Colour::Value { values, map, label } => {
                check_length(label, values.len(), dense.len())?;
                check_finite(label, values.iter().copied())?;
                let values: Vec<f64> = values.iter().map(|&v| v.into()).collect();
                Ok(Self::Bar(ColourBar::new(map, &values, None, label)?, values))
            }
            Colour::Class { class, names } => {
                check_length("classes", class.len(), dense.len())?;
                Ok(Self::Legend(Legend::of_classes(class, names), class))
            }
        }
    }

    fn colour(&self, i: usize) -> [u8; 3] {
        match self {
            Self::Bar(bar, values) => values.get(i).map_or(colour::UNKNOWN, |&v| bar.colour(v)),
            Self::Legend(_, class) => colour::class_colour(class.get(i).copied().unwrap_or(-1)),
        }
    }

    /// Room right of the plot; a legend leaves as much free as a bar takes, so that plots beside each other match.
    fn width(&self, height: f64) -> Result<f64> {
        match self {
            Self::Bar(bar, _) => bar.width(height),
            Self::Legend(..) => ColourBar::new(ColourMap::Cyclic, &[], None, "")?.width(height),
        }
    }

    /// Room below the plot.
    fn below(&self, room: f64) -> Result<f64> {
        match self {
            Self::Bar(..) => Ok(0.0),
            Self::Legend(legend, _) => Ok(10.0 + legend.rows_height(room)?),
        }
    }

    fn draw(&self, canvas: &mut Canvas, [left, top, wide, high]: [f64; 4], labels: f64) -> Result<()> {
        match self {
            Self::Bar(bar, _) => bar.draw(canvas, left + wide + 26.0, top, high),
            Self::Legend(legend, _) => legend.draw_rows(canvas, [left, top + high + labels + 10.0], wide),
        }
    }
}

/// Drawing order: by multiplicative hashing, so that neighbours in the data are not neighbours in the order.
fn order(n: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..n).collect();
    order.sort_by_key(|&i| (i as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15));
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Counts pixels close to a colour.
    fn count(figure: &Figure, colour: [u8; 3]) -> usize {
        figure.image.pixels().filter(|p| p.0.iter().zip(colour).all(|(a, b)| a.abs_diff(b) < 40)).count()
    }

    #[test]
    fn classes_show_in_their_colours() {
        let x: Vec<f32> = (0..40).map(|i| i as f32).collect();
        let class: Vec<i64> = (0..40).map(|i| i % 2).collect();
        let names = ["Sr".to_owned(), "Ti".to_owned()];
        let figure = scatter(&x, &x, Colour::Class { class: &class, names: &names }, "z1", "z2", "two").unwrap();
        for c in 0..2 {
            assert!(count(&figure, colour::class_colour(c)) > 1000);
        }
        assert!(count(&figure, colour::class_colour(3)) < 200);
    }

    #[test]
    fn bad_input_is_refused_by_name() {
        let two = [0.0, 1.0];
        assert!(matches!(scatter(&[], &[], Colour::Density, "", "", ""), Err(Error::Empty { .. })));
        assert!(matches!(scatter(&two, &two[..1], Colour::Density, "", "", ""), Err(Error::Length { .. })));
        let nan = scatter(&two, &[0.0, f32::NAN], Colour::Density, "z1", "z2", "").unwrap_err();
        assert!(nan.to_string().starts_with("z2 holds 1 values that are NaN"), "{nan}");
        let class = Colour::Class { class: &[0], names: &[] };
        assert!(matches!(scatter(&two, &two, class, "", "", ""), Err(Error::Length { .. })));
        let value = Colour::Value { values: &[0.0, f32::INFINITY], map: ColourMap::Cyclic, label: "angle" };
        assert!(matches!(scatter(&two, &two, value, "", "", ""), Err(Error::NotFinite { .. })));
    }

    #[test]
    fn one_point_and_constant_points_can_be_drawn() {
        for n in [1, 50] {
            let same = vec![0.25f32; n];
            let figure = scatter(&same, &same, Colour::Density, "z1", "z2", "same").unwrap();
            assert!(count(&figure, ColourMap::Sequential.at(1.0)) > 20);
        }
    }
}
