use dfdx::prelude::{Axis, BroadcastTo, ReshapeTo, TryMatMul};
use dfdx::tensor::Tape;
use dfdx::tensor_ops::{TryAdd, TryMul, TrySub};

use super::{POSE, SpatialDecoder};
use crate::dense::{add_row, shape};
use crate::error::device;
use crate::{Compute, Matrix, Result, Rows};

/// The decoder's outputs (rows, pixels·channels) from the device's own operations, at all pixels or at those given for
/// each row.
pub(crate) fn composed<D: Compute, T: Tape<f32, D>>(
    decoder: &SpatialDecoder<D>,
    placed: Rows<D, T>,
    picked: Option<&[u32]>,
) -> Result<Rows<D, T>> {
    let (rows, columns) = shape(&placed);
    let (all, channels) = decoder.output_size();
    let pixels = picked.map_or(all, |p| p.len() / rows);

    // Columns are picked by products with unit vectors: dfdx differentiates those, and its slices not, with sizes
    // known at run time only. The tape that came in stays with the content; each use of the pose starts its own.
    let unit = |c: usize, n: usize| (0..n).map(|i| if i == c { 1.0 } else { 0.0 }).collect::<Vec<f32>>();
    let pose = |c: usize| -> Result<Rows<D, T>> {
        let pick = crate::matrix(placed.device(), unit(c, columns), columns, 1)?;
        let column = placed.retaped::<T>().try_matmul(pick).map_err(device)?;
        let column = column.try_reshape_like(&(rows,)).map_err(device)?;
        column.try_broadcast_like::<_, Axis<1>>(&(rows, pixels)).map_err(device)
    };
    let pixel = |c: usize| -> Result<Rows<D, T>> {
        let grid: Vec<f32> = decoder.grid.as_vec().chunks_exact(2).map(|p| p[c]).collect();
        if let Some(picked) = picked {
            let values = picked.iter().map(|&p| grid[p as usize]).collect();
            return Ok(crate::matrix(placed.device(), values, rows, pixels)?.retaped::<T>());
        }
        let column = placed.device().try_tensor_from_vec(grid, (pixels,)).map_err(device)?.retaped::<T>();
        column.try_broadcast_like::<_, Axis<0>>(&(rows, pixels)).map_err(device)
    };
    let times = |a: &Rows<D, T>, b: Rows<D, T>| b.try_mul(a.retaped::<T>()).map_err(device);

    let x = pixel(0)?.try_sub(pose(1)?).map_err(device)?;
    let y = pixel(1)?.try_sub(pose(2)?).map_err(device)?;
    let cos = || pose(0)?.try_cos().map_err(device);
    let sin = || pose(0)?.try_sin().map_err(device);
    let shrink = || pose(3)?.try_negate().map_err(device)?.try_exp().map_err(device);
    let (x2, y2) = (x.retaped::<T>(), y.retaped::<T>());
    let qx = x.try_mul(cos()?).map_err(device)?.try_sub(times(&y2, sin()?)?).map_err(device)?;
    let qy = y.try_mul(cos()?).map_err(device)?.try_add(times(&x2, sin()?)?).map_err(device)?;
    let (qx, qy) = (qx.try_mul(shrink()?).map_err(device)?, qy.try_mul(shrink()?).map_err(device)?);

    let along = |q: Rows<D, T>, axis: usize, weight: &Matrix<D>| -> Result<Rows<D, T>> {
        let pick = crate::matrix(q.device(), unit(axis, 2), 1, 2)?.retaped::<T>();
        let row = pick.try_matmul(weight.clone()).map_err(device)?;
        q.try_reshape_like(&(rows * pixels, 1)).map_err(device)?.try_matmul(row).map_err(device)
    };
    let content = columns - POSE;
    let pick = (0..columns * content).map(|i| if i / content == i % content + POSE { 1.0 } else { 0.0 }).collect();
    let pick = crate::matrix(placed.device(), pick, columns, content)?;
    let z = placed.try_matmul(pick).map_err(device)?;
    let spread = |z: Rows<D, T>, weight: &Matrix<D>| -> Result<Rows<D, T>> {
        let width = shape(weight).1;
        let z = z.try_matmul(weight.clone()).map_err(device)?;
        let z = z.try_broadcast_like::<_, Axis<1>>(&(rows, pixels, width)).map_err(device)?;
        z.try_reshape_like(&(rows * pixels, width)).map_err(device)
    };
    let input = |(qx, qy, z): (Rows<D, T>, Rows<D, T>, Rows<D, T>), coordinate: &Matrix<D>, content: &Matrix<D>| {
        let h = spread(z, content)?.try_add(along(qx, 0, coordinate)?).map_err(device)?;
        h.try_add(along(qy, 1, coordinate)?).map_err(device)
    };
    let skips = decoder.skips.iter().map(|skip| {
        let copies = (qx.retaped::<T>(), qy.retaped::<T>(), z.retaped::<T>());
        input(copies, &skip.coordinate, &skip.content)
    });
    let mut skips = skips.collect::<Result<Vec<_>>>()?.into_iter();
    let h = input((qx, qy, z), &decoder.coordinate.weight, &decoder.content)?;
    let mut h = decoder.coordinate.activation.composed(add_row(h, &decoder.coordinate.bias)?)?;
    for layer in decoder.hidden.iter().chain([&decoder.output]) {
        h = match skips.next() {
            None => crate::dense::composed(h, layer)?,
            Some(skip) => {
                let h = h.try_matmul(layer.weight.clone()).map_err(device)?.try_add(skip).map_err(device)?;
                layer.activation.composed(add_row(h, &layer.bias)?)?
            }
        };
    }
    h.try_reshape_like(&(rows, pixels * channels)).map_err(device)
}
