//! A dense layer of turned views, whose products are few because the views are turns of each other.

mod fused;
#[cfg(test)]
mod tests;

use dfdx::tensor::Tape;

use crate::dense::{composed as dense, shape};
use crate::{Compute, Data, Dense, Error, Result, Rows};

pub(crate) use fused::fused;

/// A dense layer applied to views of rows that are turned by whole steps: what lies on rings comes round, what does not
/// turn stays,
///
/// ```text
/// y(r, k) = f(Σₐ x(r, a + k)·W(a) + x(r, still)·W(still) + b),   a + k modulo `steps`.
/// ```
///
/// # Shapes
/// x (rows, steps·each + still), the part of each step after that of the one before; W (steps·each + still, outputs);
/// y (rows·views, outputs), the views of a row one after the other, `views` of `steps` ones.
///
/// # Errors
/// If the layer has not as many inputs as a row has numbers, these are fewer than `still` and one for each step, `views` is not 1 to
/// `steps`, or the device fails.
pub fn turned<D: Compute, T: Tape<f32, D>>(x: &Data<'_>, turns: Turns, layer: &Dense<D>) -> Result<Rows<D, T>> {
    let ((_, columns), (inputs, outputs)) = (x.shape(), shape(&layer.weight));
    turns.check(columns)?;
    if columns != inputs || outputs == 0 {
        let what = "input of a dense layer of turned views".to_owned();
        return Err(Error::Shape { what, found: vec![columns], expected: vec![inputs.max(1)] });
    }
    if shape(&layer.bias) != (1, outputs) {
        let (what, (rows, columns)) = ("bias of a dense layer".to_owned(), shape(&layer.bias));
        return Err(Error::Shape { what, found: vec![rows, columns], expected: vec![1, outputs] });
    }
    D::turned(x, turns, layer)
}

/// How views are turned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Turns {
    /// Steps of a full turn.
    pub steps: usize,
    /// Views, each a step on.
    pub views: usize,
    /// Numbers at the end of a row that do not turn.
    pub still: usize,
}

impl Turns {
    /// Fails unless rows of so many numbers turn so.
    fn check(self, columns: usize) -> Result<()> {
        let Self { steps, views, still } = self;
        if !(1..=steps).contains(&views) {
            let (what, accepted) = ("turned views", "1 to the number of steps of a full turn");
            return Err(Error::Parameter { what, value: format!("{views} of {steps}"), accepted });
        }
        let each = columns.checked_sub(still).filter(|turning| *turning > 0 && turning.is_multiple_of(steps));
        each.map(drop).ok_or_else(|| {
            let what = "numbers of a row: those that do not turn, and as many on rings for each step".to_owned();
            Error::Shape { what, found: vec![columns], expected: vec![still, steps] }
        })
    }

    /// Numbers of a step, of rows of so many.
    fn each(self, columns: usize) -> usize {
        (columns - self.still) / self.steps
    }

    /// The views, row by row, (rows·views, columns).
    ///
    /// # Errors
    /// As [`turned`].
    pub fn views_of(self, x: &Data<'_>) -> Result<Data<'static>> {
        let (rows, columns) = x.shape();
        self.check(columns)?;
        let mut seen = Vec::with_capacity(rows * self.views * columns);
        for row in x.values().chunks_exact(columns) {
            let (rings, still) = row.split_at(columns - self.still);
            for view in 0..self.views {
                let (before, after) = rings.split_at(view * self.each(columns));
                [after, before, still].into_iter().for_each(|part| seen.extend_from_slice(part));
            }
        }
        Data::new(seen, columns)
    }
}

/// [`turned`] from the device's own operations.
pub(crate) fn composed<D: Compute, T: Tape<f32, D>>(
    x: &Data<'_>,
    turns: Turns,
    layer: &Dense<D>,
) -> Result<Rows<D, T>> {
    dense(turns.views_of(x)?.on(layer.weight.device())?.retaped(), layer)
}
