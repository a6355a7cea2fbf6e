//! A dense layer of turned views, whose products are few because the views are turns of each other.

mod fused;
#[cfg(test)]
mod tests;

use dfdx::tensor::Tape;

use crate::dense::{composed as dense, shape};
use crate::{Compute, Data, Dense, Error, Result, Rows};

pub(crate) use fused::fused;

/// A dense layer applied to views of rows that are turned by whole steps: what lies on rings comes round, what is told of a row
/// stays,
///
/// ```text
/// y(r, k) = f(Σₐ x(r, a + k)·W(a) + x(r, told)·W(told) + b),   a + k modulo `steps`.
/// ```
///
/// # Shapes
/// x (rows, steps·each + told), the part of each step after that of the one before; W (steps·each + told, outputs);
/// y (rows·views, outputs), the views of a row one after the other, `views` of `steps` ones.
///
/// # Errors
/// If the layer has not as many inputs as a row has numbers, these are fewer than `told` and one for each step, `views` is not 1 to
/// `steps`, or the device fails.
pub fn turned<D: Compute, T: Tape<f32, D>>(x: &Data<'_>, turns: Turns, layer: &Dense<D>) -> Result<Rows<D, T>> {
    let ((_, columns), (inputs, outputs), Turns { steps, views, told }) = (x.shape(), shape(&layer.weight), turns);
    if !(1..=steps).contains(&views) {
        let (what, accepted) = ("turned views", "1 to the number of steps of a full turn");
        return Err(Error::Parameter { what, value: format!("{views} of {steps}"), accepted });
    }
    if columns != inputs || outputs == 0 || columns < told + steps || !(columns - told).is_multiple_of(steps) {
        let what = "numbers of a row on rings of so many steps, and inputs of their layer".to_owned();
        return Err(Error::Shape { what, found: vec![columns, steps, told], expected: vec![inputs, steps, told] });
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
    pub told: usize,
}

impl Turns {
    /// Numbers of a step, of rows of so many.
    fn each(self, columns: usize) -> usize {
        (columns - self.told) / self.steps
    }

    /// The views, row by row, (rows·views, columns).
    ///
    /// # Errors
    /// None, if x is as [`turned`] takes it.
    pub fn views_of(self, x: &Data<'_>) -> Result<Data<'static>> {
        let (rows, columns) = x.shape();
        let mut seen = Vec::with_capacity(rows * self.views * columns);
        for row in x.values().chunks_exact(columns) {
            let (rings, told) = row.split_at(columns - self.told);
            for view in 0..self.views {
                let (before, after) = rings.split_at(view * self.each(columns));
                [after, before, told].into_iter().for_each(|part| seen.extend_from_slice(part));
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
