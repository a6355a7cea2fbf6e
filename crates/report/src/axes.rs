//! A pair of axes with ticks, labels and a faint grid.

use crate::Result;
use crate::canvas::{Canvas, Pen};
use crate::text::{self, Align, INK, LABEL, TICK};
use crate::ticks;

const GRID: [u8; 3] = [228, 230, 233];

/// What the numbers along an axis are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scale {
    Linear,
    /// Only whole numbers have ticks.
    Whole,
    /// The powers of ten of what the axis says.
    Decades,
}

/// A plotting area and the numbers at its edges.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Axes {
    /// Left, top, width and height in the figure.
    pub area: [f64; 4],
    pub x: (f64, f64),
    pub y: (f64, f64),
    /// Of `x` and `y`.
    pub scales: [Scale; 2],
}

impl Axes {
    /// Room that ticks and label of the y axis need at its left.
    pub fn left(range: (f64, f64), scale: Scale, label: &str) -> Result<f64> {
        let names = named(range, scale, 6);
        let widest = names.iter().try_fold(60.0f64, |w, n| Ok::<_, crate::Error>(w.max(text::width(&n.1, TICK)?)))?;
        Ok(widest + 16.0 + if label.is_empty() { 0.0 } else { 1.6 * LABEL.size })
    }

    /// Room that ticks and label of the x axis need below it.
    pub fn below(label: &str) -> f64 {
        16.0 + 1.2 * TICK.size + if label.is_empty() { 0.0 } else { 1.6 * LABEL.size }
    }

    /// Place in the figure of a point of data.
    pub fn place(&self, [x, y]: [f64; 2]) -> [f64; 2] {
        let [left, top, w, h] = self.area;
        let share = |v: f64, (low, high): (f64, f64)| (v - low) / (high - low);
        [left + share(x, self.x) * w, top + (1.0 - share(y, self.y)) * h]
    }

    fn x_ticks(&self) -> Vec<(f64, String)> {
        named(self.x, self.scales[0], 7)
    }

    fn y_ticks(&self) -> Vec<(f64, String)> {
        named(self.y, self.scales[1], 6)
    }

    /// The grid, to be drawn before the data.
    pub fn grid(&self, canvas: &mut Canvas) {
        let [left, top, w, h] = self.area;
        for (x, _) in self.x_ticks() {
            let [px, _] = self.place([x, self.y.0]);
            canvas.line(&[[px, top], [px, top + h]], false, Pen::solid(1.5, GRID));
        }
        for (y, _) in self.y_ticks() {
            let [_, py] = self.place([self.x.0, y]);
            canvas.line(&[[left, py], [left + w, py]], false, Pen::solid(1.5, GRID));
        }
    }

    /// Frame, ticks and labels. An empty label is left out; `numbers` says whether the x axis has numbers.
    pub fn draw(&self, canvas: &mut Canvas, x_label: &str, y_label: &str, numbers: bool) -> Result<()> {
        let [left, top, w, h] = self.area;
        let pen = Pen::solid(2.0, INK);
        canvas.frame(self.area, pen);
        for (value, name) in self.x_ticks() {
            let [px, py] = self.place([value, self.y.0]);
            canvas.line(&[[px, py], [px, py + 8.0]], false, pen);
            if numbers {
                canvas.text(&name, [px, py + 14.0 + TICK.size / 2.0], Align::Middle, TICK)?;
            }
        }
        for (value, name) in self.y_ticks() {
            let [px, py] = self.place([self.x.0, value]);
            canvas.line(&[[px - 8.0, py], [px, py]], false, pen);
            canvas.text(&name, [px - 14.0, py], Align::Right, TICK)?;
        }
        let below = top + h + 16.0 + 1.2 * TICK.size + 0.7 * LABEL.size;
        canvas.text(x_label, [left + w / 2.0, below], Align::Middle, text::fitted(x_label, LABEL, w)?)?;
        let beside = left - Self::left(self.y, self.scales[1], y_label)? + 0.7 * LABEL.size;
        canvas.upwards(y_label, [beside, top + h / 2.0], Align::Middle, text::fitted(y_label, LABEL, h)?)
    }
}

/// Places and names of the ticks of an axis, about so many.
fn named((low, high): (f64, f64), scale: Scale, count: usize) -> Vec<(f64, String)> {
    let places = match scale {
        Scale::Decades => return ticks::decades(low, high),
        Scale::Linear => ticks::ticks(low, high, count),
        Scale::Whole => ticks::ticks(low, high, count).into_iter().filter(|v| (v - v.round()).abs() < 1e-9).collect(),
    };
    let names = ticks::labels(&places);
    places.into_iter().zip(names).collect()
}

/// Limits that leave a little room around the values, and are an interval even if the values are all one.
pub(crate) fn roomy(values: impl IntoIterator<Item = f64>) -> (f64, f64) {
    let (low, high) = ticks::robust(values, 0.0);
    let room = 0.04 * (high - low);
    (low - room, high + room)
}

/// Limits of lines that fall, and whether their beginnings are off them: if they are so much worse that the rest would be a
/// flat line, they run off the top. NaN is no value.
pub(crate) fn settled(lines: &[&[f64]]) -> ((f64, f64), bool) {
    let known =
        |v: &&[f64], skipped: usize| -> Vec<f64> { v.iter().skip(skipped).copied().filter(|v| !v.is_nan()).collect() };
    let all: Vec<f64> = lines.iter().flat_map(|v| known(v, 0)).collect();
    let late: Vec<f64> = lines.iter().flat_map(|v| known(v, v.len() / 8)).collect();
    let (low, high) = roomy(all.iter().copied());
    let (late_low, late_high) = roomy(late.iter().copied());
    if late.is_empty() || high - low <= 3.0 * (late_high - late_low) {
        return ((low, high), false);
    }
    let least = all.iter().copied().fold(late_low, f64::min);
    let room = late_high - least;
    ((least - 0.04 * room, late_high + 0.6 * room), true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_lie_where_the_axes_say() {
        let axes =
            Axes { area: [100.0, 50.0, 200.0, 100.0], x: (0.0, 10.0), y: (-1.0, 1.0), scales: [Scale::Linear; 2] };
        assert_eq!(axes.place([0.0, -1.0]), [100.0, 150.0]);
        assert_eq!(axes.place([10.0, 1.0]), [300.0, 50.0]);
        let names = |scale| named((0.96, 2.04), scale, 7).into_iter().map(|(_, name)| name).collect::<Vec<_>>();
        assert_eq!(names(Scale::Whole), ["1", "2"]);
        assert!(names(Scale::Linear).contains(&"1.2".to_owned()));
        let (low, high) = roomy([3.0, 3.0]);
        assert!(low < 3.0 && high > 3.0);
    }
}
