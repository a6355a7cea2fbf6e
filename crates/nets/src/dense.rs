use dfdx::prelude::{Axis, BroadcastTo, ReshapeTo, TryMatMul};
use dfdx::tensor::{Tape, Tensor};
use rand::Rng;

use crate::error::device;
use crate::{Activation, Compute, Error, Matrix, Parameters, Result};

/// A fully connected layer, y = f(x·W + b).
///
/// # Shapes
/// x (rows, inputs), W (inputs, outputs), b (1, outputs), y (rows, outputs).
#[derive(Debug, Clone)]
pub struct Dense<D: Compute> {
    /// W.
    pub weight: Matrix<D>,
    /// b.
    pub bias: Matrix<D>,
    /// f.
    pub activation: Activation,
}

impl<D: Compute> Dense<D> {
    /// A layer with weights and biases drawn uniformly from ±1/√inputs.
    pub fn new(device: &D, inputs: usize, outputs: usize, activation: Activation, rng: &mut impl Rng) -> Result<Self> {
        let limit = 1.0 / (inputs.max(1) as f32).sqrt();
        Ok(Self {
            weight: uniform(device, inputs, outputs, limit, rng)?,
            bias: uniform(device, 1, outputs, limit, rng)?,
            activation,
        })
    }

    /// Applies the layer.
    ///
    /// # Errors
    /// If x has not as many columns as the layer has inputs, or the device fails.
    pub fn forward<T: Tape<f32, D>>(
        &self,
        x: Tensor<(usize, usize), f32, D, T>,
    ) -> Result<Tensor<(usize, usize), f32, D, T>> {
        let (columns, inputs) = (shape(&x).1, shape(&self.weight).0);
        if columns != inputs {
            let what = "input of a dense layer".to_owned();
            return Err(Error::Shape { what, found: vec![columns], expected: vec![inputs] });
        }
        D::dense(x, self)
    }
}

impl<D: Compute> Parameters<D> for Dense<D> {
    fn visit(&self, prefix: &str, f: &mut dyn FnMut(String, &Matrix<D>)) {
        f(format!("{prefix}.weight"), &self.weight);
        f(format!("{prefix}.bias"), &self.bias);
    }

    fn visit_mut(&mut self, prefix: &str, f: &mut dyn FnMut(String, &mut Matrix<D>)) {
        f(format!("{prefix}.weight"), &mut self.weight);
        f(format!("{prefix}.bias"), &mut self.bias);
    }
}

/// Rows and columns of a tensor.
pub(crate) fn shape<D: Compute, T>(x: &Tensor<(usize, usize), f32, D, T>) -> (usize, usize) {
    *dfdx::shapes::HasShape::shape(x)
}

/// A matrix drawn uniformly from ±limit.
pub(crate) fn uniform<D: Compute>(
    device: &D,
    rows: usize,
    columns: usize,
    limit: f32,
    rng: &mut impl Rng,
) -> Result<Matrix<D>> {
    let values = (0..rows * columns).map(|_| rng.gen_range(-limit..=limit)).collect();
    crate::matrix(device, values, rows, columns)
}

/// A dense layer from the device's own operations: the reference, and what CUDA runs.
pub(crate) fn composed<D: Compute, T: Tape<f32, D>>(
    x: Tensor<(usize, usize), f32, D, T>,
    layer: &Dense<D>,
) -> Result<Tensor<(usize, usize), f32, D, T>> {
    let product = x.try_matmul(layer.weight.clone()).map_err(device)?;
    layer.activation.composed(add_row(product, &layer.bias)?)
}

/// Adds a (1, n) row to every row.
pub(crate) fn add_row<D: Compute, T: Tape<f32, D>>(
    x: Tensor<(usize, usize), f32, D, T>,
    row: &Matrix<D>,
) -> Result<Tensor<(usize, usize), f32, D, T>> {
    let (rows, columns) = shape(&x);
    let flat = row.retaped::<T>().try_reshape_like(&(columns,)).map_err(device)?;
    let spread = flat.try_broadcast_like::<_, Axis<0>>(&(rows, columns)).map_err(device)?;
    dfdx::tensor_ops::TryAdd::try_add(x, spread).map_err(device)
}
