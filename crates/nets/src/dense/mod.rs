mod network;

use dfdx::prelude::{Axis, BroadcastTo, ReshapeTo, TryMatMul};
use dfdx::tensor::Tape;
use rand::Rng;

use crate::error::device;
use crate::{Activation, Compute, Data, Error, Matrix, Parameters, Result, Rows, Scored, Target};

pub(crate) use network::{fused_heads, fused_score};

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
    /// A layer with weights and biases drawn uniformly from ±√(3/inputs), so that outputs vary as much as inputs do: by a third
    /// of this, as PyTorch draws them, latents begin so faint that training can stand still for ever at the mean image.
    ///
    /// Reference: LeCun et al. 1998, Efficient BackProp, § 4.6.
    pub fn new(device: &D, inputs: usize, outputs: usize, activation: Activation, rng: &mut impl Rng) -> Result<Self> {
        let limit = (3.0 / inputs.max(1) as f32).sqrt();
        Ok(Self {
            weight: uniform(device, inputs, outputs, limit, rng)?,
            bias: uniform(device, 1, outputs, limit, rng)?,
            activation,
        })
    }

    /// The same layer with weights and biases of each output times a factor.
    ///
    /// # Errors
    /// If there are not as many factors as outputs.
    pub fn scaled(mut self, factors: &[f32]) -> Result<Self> {
        for parameter in [&mut self.weight, &mut self.bias] {
            let (rows, columns) = shape(parameter);
            if factors.len() != columns {
                let (found, expected) = (vec![factors.len()], vec![columns]);
                return Err(Error::Shape { what: "factors of outputs".to_owned(), found, expected });
            }
            let scaled = crate::values(parameter).iter().zip(factors.iter().cycle()).map(|(v, f)| v * f).collect();
            *parameter = crate::matrix(parameter.device(), scaled, rows, columns)?;
        }
        Ok(self)
    }

    /// The same layer with this bias, which is repeated to the number of outputs.
    ///
    /// # Errors
    /// If its length does not divide that number.
    pub fn beginning_at(mut self, bias: &[f32]) -> Result<Self> {
        self.bias = repeated(&self.bias, bias)?;
        Ok(self)
    }

    /// Applies the layer.
    ///
    /// # Errors
    /// If x has not as many columns as the layer has inputs, or the device fails.
    pub fn forward<T: Tape<f32, D>>(&self, x: Rows<D, T>) -> Result<Rows<D, T>> {
        heads(Input::Rows(x), &[], [self]).map(|[y]| y)
    }

    /// Applies the layer to data, of which no gradient is wanted.
    ///
    /// # Errors
    /// As [`Dense::forward`].
    pub fn forward_data<T: Tape<f32, D>>(&self, x: &Data<'_>) -> Result<Rows<D, T>> {
        heads(Input::Data(x), &[], [self]).map(|[y]| y)
    }
}

/// What layers are applied to.
#[derive(Debug)]
pub enum Input<'a, D: Compute, T> {
    /// Numbers of which no gradient is wanted.
    Data(&'a Data<'a>),
    /// What earlier operations gave.
    Rows(Rows<D, T>),
}

impl<D: Compute, T: Tape<f32, D>> Input<'_, D, T> {
    /// Rows and columns.
    pub fn shape(&self) -> (usize, usize) {
        match self {
            Self::Data(x) => x.shape(),
            Self::Rows(x) => shape(x),
        }
    }

    /// As a tensor on the device.
    ///
    /// # Errors
    /// If the device fails.
    pub(crate) fn on(self, device: &D) -> Result<Rows<D, T>> {
        match self {
            Self::Data(x) => Ok(x.on(device)?.retaped()),
            Self::Rows(x) => Ok(x),
        }
    }
}

/// Applies layers one after the other, the trunk, and to its outputs each of the heads. The way back of them all goes with
/// the first head's tape; those of the others begin anew.
///
/// # Errors
/// If a layer has not as many inputs as come from below, or the device fails.
pub fn heads<D: Compute, T: Tape<f32, D>, const N: usize>(
    x: Input<'_, D, T>,
    trunk: &[Dense<D>],
    heads: [&Dense<D>; N],
) -> Result<[Rows<D, T>; N]> {
    let top = check(x.shape().1, trunk)?;
    heads.iter().try_for_each(|head| check(top, std::slice::from_ref(head)).map(drop))?;
    D::heads(x, trunk, heads)
}

/// Weighted log-likelihood of a target given what goes into layers one after the other, differentiable in it, in every
/// weight and in the target's ln σ.
///
/// # Errors
/// If a shape does not fit, a parameter of the likelihood is outside its range, or the device fails.
pub fn dense_score<D: Compute, T: Tape<f32, D>>(
    x: Rows<D, T>,
    layers: &[Dense<D>],
    target: &Target<'_, D>,
) -> Result<Scored<D, T>> {
    let outputs = check(shape(&x).1, layers)?;
    target.check((shape(&x).0, outputs))?;
    if target.pixels.is_some() {
        let (what, value) = ("pixels of a dense decoder", "some".to_owned());
        return Err(Error::Parameter { what, value, accepted: "all, which it cannot but decode" });
    }
    D::dense_score(x, layers, target)
}

/// How many columns come from layers if so many go in.
fn check<D: Compute>(columns: usize, layers: &[Dense<D>]) -> Result<usize> {
    layers.iter().try_fold(columns, |columns, layer| {
        let (inputs, outputs) = shape(&layer.weight);
        if columns != inputs || inputs * outputs == 0 {
            let what = "input of a dense layer".to_owned();
            return Err(Error::Shape { what, found: vec![columns], expected: vec![inputs.max(1)] });
        }
        if shape(&layer.bias) != (1, outputs) {
            let ((rows, columns), what) = (shape(&layer.bias), "bias of a dense layer".to_owned());
            return Err(Error::Shape { what, found: vec![rows, columns], expected: vec![1, outputs] });
        }
        Ok(outputs)
    })
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
pub(crate) fn shape<D: Compute, T>(x: &Rows<D, T>) -> (usize, usize) {
    *dfdx::shapes::HasShape::shape(x)
}

/// Values repeated to the shape of a bias.
pub(crate) fn repeated<D: Compute>(bias: &Matrix<D>, values: &[f32]) -> Result<Matrix<D>> {
    let (rows, columns) = shape(bias);
    if values.is_empty() || !columns.is_multiple_of(values.len()) {
        let (found, expected) = (vec![rows, values.len()], vec![rows, columns]);
        return Err(Error::Shape { what: "bias".to_owned(), found, expected });
    }
    crate::matrix(bias.device(), values.repeat(columns / values.len()), rows, columns)
}

/// A matrix drawn uniformly from ±limit.
pub(crate) fn uniform<D: Compute>(
    device: &D,
    rows: usize,
    columns: usize,
    limit: f32,
    rng: &mut impl Rng,
) -> Result<Matrix<D>> {
    let drawn = (0..rows * columns).map(|_| rng.gen_range(-limit..=limit)).collect();
    crate::matrix(device, drawn, rows, columns)
}

/// A dense layer from the device's own operations: the reference, and what CUDA runs.
pub(crate) fn composed<D: Compute, T: Tape<f32, D>>(x: Rows<D, T>, layer: &Dense<D>) -> Result<Rows<D, T>> {
    let product = x.try_matmul(layer.weight.clone()).map_err(device)?;
    layer.activation.composed(add_row(product, &layer.bias)?)
}

/// [`heads`] from the device's own operations.
pub(crate) fn composed_heads<D: Compute, T: Tape<f32, D>, const N: usize>(
    mut x: Rows<D, T>,
    trunk: &[Dense<D>],
    heads: [&Dense<D>; N],
) -> Result<[Rows<D, T>; N]> {
    for layer in trunk {
        x = composed(x, layer)?;
    }
    let Some((first, others)) = heads.split_first() else { return all(Vec::new()) };
    let others = others.iter().map(|head| composed(x.retaped::<T>(), head)).collect::<Result<Vec<_>>>()?;
    all(std::iter::once(composed(x, first)?).chain(others).collect())
}

/// As many as there are heads.
fn all<H, const N: usize>(found: Vec<H>) -> Result<[H; N]> {
    let wrong = |found: Vec<H>| Error::Device(format!("{} of {N} heads", found.len()));
    found.try_into().map_err(wrong)
}

/// Adds a (1, n) row to every row.
pub(crate) fn add_row<D: Compute, T: Tape<f32, D>>(x: Rows<D, T>, row: &Matrix<D>) -> Result<Rows<D, T>> {
    let (rows, columns) = shape(&x);
    let flat = row.retaped::<T>().try_reshape_like(&(columns,)).map_err(device)?;
    let spread = flat.try_broadcast_like::<_, Axis<0>>(&(rows, columns)).map_err(device)?;
    dfdx::tensor_ops::TryAdd::try_add(x, spread).map_err(device)
}

#[cfg(test)]
mod tests;
