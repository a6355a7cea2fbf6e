use dfdx::prelude::{Axis, BroadcastTo, ReshapeTo, TryMatMul};
use dfdx::tensor::{Cpu, PutTape, Tape, Tensor};
use rand::Rng;
use rayon::prelude::*;

use crate::activation::{keep_slopes, slopes};
use crate::blocks::{Finish, Panels, Start, add_rows, add_transposed, chain, product};
use crate::error::device;
use crate::{Activation, Compute, Data, Error, Matrix, Parameters, Result, values};

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
        self.check(shape(&x).1)?;
        D::dense(x, self)
    }

    /// Applies the layer to data, of which no gradient is wanted.
    ///
    /// # Errors
    /// As [`Dense::forward`].
    pub fn forward_data<T: Tape<f32, D>>(&self, x: &Data<'_>) -> Result<Tensor<(usize, usize), f32, D, T>> {
        self.check(x.shape().1)?;
        D::dense_of_data(x, self)
    }

    fn check(&self, columns: usize) -> Result<()> {
        let inputs = shape(&self.weight).0;
        if columns == inputs {
            return Ok(());
        }
        Err(Error::Shape { what: "input of a dense layer".to_owned(), found: vec![columns], expected: vec![inputs] })
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
    let drawn = (0..rows * columns).map(|_| rng.gen_range(-limit..=limit)).collect();
    crate::matrix(device, drawn, rows, columns)
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

/// Rows of y, and rows of W, that one task computes: a number that does not depend on threads.
const ROWS: usize = 24;

/// A dense layer in one pass, and its gradients: of x only if it is a tensor, `input`, too.
pub(crate) fn fused<T: Tape<f32, Cpu>>(
    x: &Data<'_>,
    input: Option<Matrix<Cpu>>,
    mut tape: T,
    layer: &Dense<Cpu>,
) -> Result<Tensor<(usize, usize), f32, Cpu, T>> {
    let (rows, (inputs, outputs)) = (x.shape().0, shape(&layer.weight));
    let weight = Panels::new(&values(&layer.weight), inputs, outputs);
    let bias = values(&layer.bias);
    let mut y = vec![0.0; rows * outputs];
    let mut kept = keep_slopes(layer.activation, T::OWNS_TAPE, y.len());
    let parts = slopes(&mut kept, ROWS * outputs, rows.div_ceil(ROWS));
    let work = y.par_chunks_mut((ROWS * outputs).max(1)).zip(x.values().par_chunks((ROWS * inputs).max(1)));
    work.zip(parts).for_each(|((y, x), slopes)| {
        product(x, &weight, Start::Row(&bias), (y, slopes), Finish::Activate(layer.activation));
    });
    // A layer that changes nothing after its product needs no values on the way back.
    let kept = match layer.activation {
        Activation::Identity => Vec::new(),
        _ if T::OWNS_TAPE && kept.is_empty() => y.clone(),
        _ => kept,
    };
    let out = crate::matrix(layer.weight.device(), y, rows, outputs)?;
    if T::OWNS_TAPE {
        let (x, layer, ghost) = (x.keep(), layer.clone(), out.clone());
        tape.add_backward_op(move |gradients| {
            // Nothing else reads the gradient of what this layer made.
            let mut delta = std::mem::take(&mut **gradients.get_or_alloc_mut(&ghost)?);
            if !kept.is_empty() {
                chain(layer.activation, &mut delta, &kept);
            }
            let dw = gradients.get_or_alloc_mut(&layer.weight)?;
            dw.par_chunks_mut((ROWS * outputs).max(1)).enumerate().for_each(|(task, dw)| {
                add_transposed(&x.values()[task * ROWS..], inputs, &delta, outputs, dw);
            });
            add_rows(&delta, gradients.get_or_alloc_mut(&layer.bias)?);
            if let Some(x) = &input {
                let transposed = Panels::transposed(&values(&layer.weight), inputs, outputs);
                let dx = gradients.get_or_alloc_mut(x)?;
                let work = dx.par_chunks_mut((ROWS * inputs).max(1)).zip(delta.par_chunks((ROWS * outputs).max(1)));
                let finish = Finish::Activate(Activation::Identity);
                work.for_each(|(dx, delta)| product(delta, &transposed, Start::There, (dx, &mut []), finish));
            }
            Ok(())
        });
    }
    Ok(out.put_tape(tape))
}

#[cfg(test)]
mod tests {
    use dfdx::prelude::SumTo;
    use dfdx::tensor::{NoneTape, OwnedTape, Trace};
    use dfdx::tensor_ops::{Backward, TryMul};
    use proptest::prelude::*;
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    use super::*;

    type Taped = Tensor<(usize, usize), f32, Cpu, OwnedTape<f32, Cpu>>;

    /// Values, and gradients of Σ g·y for all three of x, W and b.
    fn all(x: &Matrix<Cpu>, layer: &Dense<Cpu>, g: &Matrix<Cpu>, y: Taped) -> [Vec<f32>; 4] {
        let values = y.as_vec();
        let mut gradients = y.try_mul(g.clone()).unwrap().try_sum::<(), _>().unwrap().backward();
        let of = |p: &Matrix<Cpu>| {
            gradients.get_or_alloc_mut(p).unwrap();
            gradients.get(p).as_vec()
        };
        let [by_x, by_w, by_b] = [x, &layer.weight, &layer.bias].map(of);
        [values, by_x, by_w, by_b]
    }

    proptest! {
        #[test]
        fn fused_agrees_with_composed(rows in 1usize..60, inputs in 1usize..50, outputs in 1usize..40, seed: u64) {
            let (cpu, mut rng) = (Cpu::default(), ChaCha8Rng::seed_from_u64(seed));
            let mut draw = |r: usize, c: usize| uniform(&cpu, r, c, 1.0, &mut rng).unwrap();
            let (x, g) = (draw(rows, inputs), draw(rows, outputs));
            let (weight, bias) = (draw(inputs, outputs), draw(1, outputs));
            for activation in Activation::ALL {
                let layer = Dense { weight: weight.clone(), bias: bias.clone(), activation };
                let expected = all(&x, &layer, &g, composed(x.leaky_trace(), &layer).unwrap());
                let found = all(&x, &layer, &g, layer.forward(x.leaky_trace()).unwrap());
                for (found, expected) in found.iter().flatten().zip(expected.iter().flatten()) {
                    prop_assert!((found - expected).abs() < 1e-4 * (1.0 + expected.abs()), "{activation:?} {found} {expected}");
                }
                let of_data = Data::new(x.as_vec(), inputs).unwrap();
                let of_data = all(&x, &layer, &g, layer.forward_data(&of_data).unwrap());
                prop_assert_eq!(&of_data[2..], &found[2..]);
                prop_assert!(of_data[1].iter().all(|v| *v == 0.0), "no gradient of data");
            }
        }
    }

    #[test]
    fn an_input_of_another_width_is_refused() {
        let cpu = Cpu::default();
        let layer = Dense::new(&cpu, 3, 2, Activation::Tanh, &mut ChaCha8Rng::seed_from_u64(0)).unwrap();
        let x = uniform(&cpu, 2, 4, 1.0, &mut ChaCha8Rng::seed_from_u64(0)).unwrap();
        assert!(layer.forward(x.clone()).unwrap_err().to_string().contains("input of a dense layer"));
        assert!(layer.forward_data::<NoneTape>(&Data::new(x.as_vec(), 4).unwrap()).is_err());
    }
}
