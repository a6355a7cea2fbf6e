//! What the rows of a group have in common, whatever their order.

use dfdx::prelude::{Axis, MaxTo, MeanTo, ReshapeTo};
use dfdx::tensor::{Cpu, PutTape, SplitTape, Tape};
use dfdx::tensor_ops::TryConcatAlong;
use rayon::prelude::*;

use crate::dense::shape;
use crate::error::device;
use crate::{Compute, Error, Result, Rows, matrix, values};

/// Mean and maximum of every column over groups of consecutive rows. A turn of the rows within a group changes neither.
///
/// # Shapes
/// (groups·size, columns) → (groups, 2·columns): the means, then the maxima.
///
/// # Errors
/// If the rows are no whole groups, or the device fails.
pub fn mean_and_max<D: Compute, T: Tape<f32, D>>(x: Rows<D, T>, size: usize) -> Result<Rows<D, T>> {
    let (rows, columns) = shape(&x);
    if size == 0 || rows == 0 || !rows.is_multiple_of(size) {
        let what = "rows of groups".to_owned();
        return Err(Error::Shape { what, found: vec![rows, columns], expected: vec![size, columns] });
    }
    D::mean_and_max(x, size)
}

/// From the device's own operations. Rows that share the maximum each get its whole gradient here, and only the first of
/// them in the fused form.
pub(crate) fn composed<D: Compute, T: Tape<f32, D>>(x: Rows<D, T>, size: usize) -> Result<Rows<D, T>> {
    let (rows, columns) = shape(&x);
    let grouped = x.try_reshape_like(&(rows / size, size, columns)).map_err(device)?;
    let most = grouped.retaped::<T>().try_max::<(usize, usize), Axis<1>>().map_err(device)?;
    let mean = grouped.try_mean::<(usize, usize), Axis<1>>().map_err(device)?;
    (mean, most).try_concat_along(Axis::<1>).map_err(device)
}

pub(crate) fn fused<T: Tape<f32, Cpu>>(x: Rows<Cpu, T>, size: usize) -> Result<Rows<Cpu, T>> {
    let (x, mut tape) = x.split_tape();
    let ((rows, columns), numbers) = (shape(&x), values(&x));
    let groups = rows / size;
    let mut found = vec![0.0; groups * 2 * columns];
    let mut first = vec![0u32; groups * columns];
    let work = found.par_chunks_mut(2 * columns).zip(first.par_chunks_mut(columns));
    work.zip(numbers.par_chunks(size * columns)).for_each(|((found, first), group)| {
        let (mean, most) = found.split_at_mut(columns);
        most.fill(f32::NEG_INFINITY);
        for (place, row) in group.chunks_exact(columns).enumerate() {
            for (((mean, most), first), v) in mean.iter_mut().zip(&mut *most).zip(&mut *first).zip(row) {
                *mean += v;
                if *v > *most {
                    (*most, *first) = (*v, place as u32);
                }
            }
        }
        mean.iter_mut().for_each(|m| *m /= size as f32);
    });
    let y = matrix(x.device(), found, groups, 2 * columns)?;
    if T::OWNS_TAPE {
        let out = y.clone();
        tape.add_backward_op(move |gradients| {
            let by = std::mem::take(&mut **gradients.get_or_alloc_mut(&out)?);
            let by_x = &mut **gradients.get_or_alloc_mut(&x)?;
            let work =
                by_x.par_chunks_mut(size * columns).zip(by.par_chunks(2 * columns)).zip(first.par_chunks(columns));
            work.for_each(|((group, by), first)| {
                let (mean, most) = by.split_at(columns);
                for row in group.chunks_exact_mut(columns) {
                    row.iter_mut().zip(mean).for_each(|(x, m)| *x += m / size as f32);
                }
                for (column, (first, most)) in first.iter().zip(most).enumerate() {
                    group[*first as usize * columns + column] += most;
                }
            });
            Ok(())
        });
    }
    Ok(y.put_tape(tape))
}

#[cfg(test)]
mod tests {
    use dfdx::tensor::Trace;
    use dfdx::tensor_ops::{Backward, TryMul};
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn fused_follows_composed(
            (groups, size, columns) in (1usize..5, 1usize..7, 1usize..20),
            seed in proptest::collection::vec(-3.0f32..3.0, 4 * 6 * 19 + 4 * 38),
        ) {
            let cpu = Cpu::default();
            let x = matrix(&cpu, seed[..groups * size * columns].to_vec(), groups * size, columns).unwrap();
            let by = matrix(&cpu, seed[4 * 6 * 19..][..groups * 2 * columns].to_vec(), groups, 2 * columns).unwrap();
            let run = |y: Rows<Cpu, dfdx::tensor::OwnedTape<f32, Cpu>>| {
                use dfdx::tensor_ops::SumTo;
                let found = y.as_vec();
                let gradients = y.try_mul(by.clone()).unwrap().try_sum::<(), _>().unwrap().backward();
                (found, gradients.get(&x).as_vec())
            };
            let fast = run(mean_and_max(x.leaky_trace(), size).unwrap());
            let slow = run(composed(x.leaky_trace(), size).unwrap());
            for (a, b) in fast.0.iter().chain(&fast.1).zip(slow.0.iter().chain(&slow.1)) {
                prop_assert!((a - b).abs() < 1e-5, "{} {}", a, b);
            }
        }
    }

    #[test]
    fn rows_that_are_no_groups_are_refused() {
        let cpu = Cpu::default();
        let x = matrix(&cpu, vec![0.0; 10], 5, 2).unwrap();
        for size in [0, 2, 10] {
            assert!(matches!(mean_and_max(x.clone(), size), Err(Error::Shape { .. })), "{size}");
        }
    }
}
