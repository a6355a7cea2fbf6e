use crate::axes::{Axes, Scale, roomy, settled};
use crate::canvas::{Canvas, Pen};
use crate::colour::CLASS_COLOURS;
use crate::error::{check_finite, check_length};
use crate::figure::{Figure, MARGIN, SIDE, sheet};
use crate::legend::{Entry, Legend, Mark};
use crate::ticks;
use crate::{Error, Result};

/// What a training run recorded, one value per epoch.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LearningCurve<'a> {
    /// Numbers of the epochs, finite and increasing.
    pub epochs: &'a [f64],
    /// Loss on the training rows; NaN where there is none.
    pub train: &'a [f64],
    /// Loss on held-out rows; NaN where it was not evaluated; may be empty.
    pub test: &'a [f64],
    /// Further curves such as the KL term, drawn below; NaN where there is none.
    pub extra: &'a [(&'a str, &'a [f64])],
    /// What the loss is, with its unit, such as `−ELBO (nats per patch)`.
    pub label: &'a str,
}

const TRAIN: [u8; 3] = CLASS_COLOURS[0];
const TEST: [u8; 3] = CLASS_COLOURS[5];

/// Loss against epoch, and the further curves below it on their own scale.
///
/// If the first epochs are so much worse that the rest would be a flat line, they run off the top, and the caption says so.
///
/// # Shapes
/// All lengths equal that of `epochs`; `test` may be empty.
///
/// # Errors
/// If there is no epoch, lengths differ, an epoch or all of the losses are not finite, or a value is infinite.
pub fn learning_curve(curve: &LearningCurve<'_>, title: &str) -> Result<Figure> {
    let LearningCurve { epochs, train, test, extra, label } = *curve;
    if epochs.is_empty() {
        return Err(Error::Empty { what: "list of epochs" });
    }
    check_finite("epochs", epochs.iter().copied())?;
    check_length("training losses", train.len(), epochs.len())?;
    if !test.is_empty() {
        check_length("held-out losses", test.len(), epochs.len())?;
    }
    let lines = [("training", train), ("held-out", test)];
    for (name, values) in lines.iter().chain(extra) {
        check_finite(name, values.iter().copied().filter(|v| !v.is_nan()))?;
    }
    for (name, values) in extra {
        check_length(name, values.len(), epochs.len())?;
    }
    let known: Vec<f64> = train.iter().chain(test).copied().filter(|v| !v.is_nan()).collect();
    if known.is_empty() {
        return Err(Error::Empty { what: "list of losses" });
    }
    let (y, cut) = settled(&[train, test]);

    let colour = |i: usize| CLASS_COLOURS[[2, 3, 1, 4][i % 4]];
    let upper = Legend {
        entries: [("training", TRAIN, false), ("held-out", TEST, false)]
            .into_iter()
            .take(if test.is_empty() { 1 } else { 2 })
            .map(|(name, colour, dashed)| Entry { mark: Mark::Line(colour, dashed), text: name.into() })
            .collect(),
    };
    let entry =
        |(i, (name, _)): (usize, &(&str, &[f64]))| Entry { mark: Mark::Line(colour(i), i > 3), text: (*name).into() };
    let lower = Legend { entries: extra.iter().enumerate().map(entry).collect() };
    let more = roomy(extra.iter().flat_map(|(_, v)| v.iter().copied()).filter(|v| !v.is_nan()));
    let x = roomy(epochs.iter().copied());
    let unit = unit(label);

    let left = (MARGIN + Axes::left(y, Scale::Linear, label)?.max(Axes::left(more, Scale::Linear, &unit)?)).round();
    let (wide, high) = (SIDE, 0.52 * SIDE);
    let second = if extra.is_empty() { 0.0 } else { 0.3 * SIDE };
    let gap = if extra.is_empty() { 0.0 } else { 28.0 };
    let key = upper.width()?.max(lower.width()?);
    let body = high + gap + second + Axes::below("epoch") + MARGIN / 2.0;
    let (mut canvas, top) = sheet(title, left + wide + 26.0 + key + MARGIN, body)?;
    let axes = Axes { area: [left, top, wide, high], x, y, scales: [Scale::Linear; 2] };
    panel(&mut canvas, &axes, epochs, &[(train, TRAIN, false), (test, TEST, false)])?;
    axes.draw(&mut canvas, if extra.is_empty() { "epoch" } else { "" }, label, extra.is_empty())?;
    upper.draw(&mut canvas, left + wide + 26.0, top)?;
    if !extra.is_empty() {
        let axes = Axes { area: [left, top + high + gap, wide, second], x, y: more, scales: [Scale::Linear; 2] };
        let lines: Vec<_> = extra.iter().enumerate().map(|(i, (_, v))| (*v, colour(i), i > 3)).collect();
        panel(&mut canvas, &axes, epochs, &lines)?;
        axes.draw(&mut canvas, "epoch", &unit, true)?;
        lower.draw(&mut canvas, left + wide + 26.0, top + high + gap)?;
    }
    let last = |values: &[f64]| values.iter().rev().find(|v| !v.is_nan()).map(|&v| ticks::short(v));
    let mut caption = format!("{label} against epoch");
    if let Some(v) = last(train) {
        caption.push_str(&format!("; at the end {v} on the training rows"));
    }
    if let Some(v) = last(test) {
        caption.push_str(&format!(", {v} on held-out rows"));
    }
    caption.push('.');
    if cut {
        let most = known.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        caption.push_str(&format!(" The first epochs, up to {}, are off the scale.", ticks::short(most)));
    }
    Ok(Figure { name: "learning_curve".into(), title: title.into(), caption, image: canvas.picture() })
}

/// The bracketed end of a label: `nats per patch` of `−ELBO (nats per patch)`.
fn unit(label: &str) -> String {
    let inside = label.rsplit_once('(').and_then(|(_, rest)| rest.split_once(')'));
    inside.map(|(unit, _)| unit.to_owned()).unwrap_or_default()
}

/// Grid and lines; what leaves the axes is cut off.
fn panel(canvas: &mut Canvas, axes: &Axes, epochs: &[f64], lines: &[(&[f64], [u8; 3], bool)]) -> Result<()> {
    let [left, top, w, h] = axes.area;
    let mut plot = Canvas::new(w, h)?;
    let inner = Axes { area: [0.0, 0.0, w, h], ..axes.clone() };
    inner.grid(&mut plot);
    for (values, colour, dashed) in lines {
        let known = epochs.iter().zip(*values).filter(|(_, v)| !v.is_nan());
        let points: Vec<[f64; 2]> = known.map(|(&e, &v)| inner.place([e, v])).collect();
        plot.line(&points, false, Pen { dashed: *dashed, ..Pen::solid(3.5, *colour) });
        if points.len() <= 40 {
            for &point in &points {
                plot.disc(point, 5.0, *colour, 1.0);
            }
        }
    }
    canvas.place(&plot.picture(), left as i64, top as i64);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn held_out_losses_may_be_sparse_and_the_start_off_the_scale() {
        let epochs: Vec<f64> = (1..=60).map(f64::from).collect();
        let train: Vec<f64> = epochs.iter().map(|e| 77.0 + 900.0 * (-e / 2.0).exp()).collect();
        let test: Vec<f64> =
            train.iter().enumerate().map(|(i, v)| if i % 5 == 4 { v + 1.0 } else { f64::NAN }).collect();
        let curve = LearningCurve { epochs: &epochs, train: &train, test: &test, extra: &[], label: "−ELBO (nats)" };
        let figure = learning_curve(&curve, "Learning").unwrap();
        assert!(
            figure.caption.contains("at the end 77.0 on the training rows, 78.0 on held-out rows"),
            "{}",
            figure.caption
        );
        assert!(figure.caption.contains("off the scale"));
        for colour in [TRAIN, TEST] {
            assert!(figure.image.pixels().filter(|p| p.0 == colour).count() > 500);
        }
    }

    #[test]
    fn bad_histories_are_refused() {
        let curve = |epochs: &'static [f64], train: &'static [f64], test: &'static [f64]| {
            learning_curve(&LearningCurve { epochs, train, test, extra: &[], label: "loss" }, "")
        };
        assert!(matches!(curve(&[], &[], &[]), Err(Error::Empty { .. })));
        assert!(matches!(curve(&[1.0], &[], &[]), Err(Error::Length { .. })));
        assert!(matches!(curve(&[1.0], &[2.0], &[1.0, 2.0]), Err(Error::Length { .. })));
        assert!(matches!(curve(&[1.0], &[f64::NAN], &[]), Err(Error::Empty { .. })));
        assert!(matches!(curve(&[1.0], &[f64::INFINITY], &[]), Err(Error::NotFinite { .. })));
        assert!(curve(&[1.0], &[2.0], &[]).is_ok());
        let odd = LearningCurve { epochs: &[1.0], train: &[2.0], test: &[], extra: &[("kl", &[])], label: "loss" };
        assert!(matches!(learning_curve(&odd, ""), Err(Error::Length { .. })));
    }
}
