//! Matrix products of one block of rows, without packing the block: only the weights, which all blocks share, are
//! brought into panels, once a step.
#![allow(unsafe_code, reason = "tiles of registers over pointers; every entry checks the lengths first")]

use rayon::prelude::*;

use crate::Activation;
use crate::buffer::Buffer;
use crate::maths::{Level, dispatch, level};
use crate::simd::Simd;

/// Vectors across a tile.
pub(crate) const WIDE: usize = 2;

/// A k×n matrix in panels of columns, each as wide as a tile, row by row; the last is filled up with zeros.
#[derive(Debug)]
pub(crate) struct Panels {
    k: usize,
    n: usize,
    width: usize,
    values: Buffer,
}

impl Panels {
    /// From a row-major k×n matrix.
    pub(crate) fn new(matrix: &[f32], k: usize, n: usize) -> Self {
        Self::of(k, n, |from, width, values| {
            let count = width.min(n - from);
            for (values, row) in values.chunks_exact_mut(width).zip(matrix.chunks_exact(n)) {
                values[..count].copy_from_slice(&row[from..][..count]);
                values[count..].fill(0.0);
            }
        })
    }

    /// The transpose of a row-major n×k matrix.
    pub(crate) fn transposed(matrix: &[f32], n: usize, k: usize) -> Self {
        Self::of(k, n, |from, width, values| {
            if n - from < width {
                values.fill(0.0);
            }
            for (column, row) in matrix[from * k..].chunks_exact(k).take(width).enumerate() {
                values[column..].iter_mut().step_by(width).zip(row).for_each(|(v, m)| *v = *m);
            }
        })
    }

    /// `fill` sets the panel that begins at a column, all of it.
    fn of(k: usize, n: usize, fill: impl Fn(usize, usize, &mut [f32]) + Sync) -> Self {
        let width = WIDE * lanes();
        let mut values = Buffer::stale(n.div_ceil(width) * width * k);
        let size = (width * k).max(1);
        // Small ones are not worth waking a thread.
        let least = (1usize << 14).div_ceil(size);
        let panels = values.par_chunks_exact_mut(size).with_min_len(least).enumerate();
        panels.for_each(|(panel, values)| fill(panel * width, width, values));
        Self { k, n, width, values }
    }
}

/// Numbers in a vector of the instruction set in use.
pub(crate) fn lanes() -> usize {
    match level() {
        Level::Portable => <crate::simd::Plain as Simd>::LANES,
        #[cfg(target_arch = "x86_64")]
        Level::Avx2 => <crate::simd::x86::__m256 as Simd>::LANES,
        #[cfg(target_arch = "x86_64")]
        Level::Avx512 => <crate::simd::x86::__m512 as Simd>::LANES,
    }
}

/// What a product begins with.
#[derive(Clone, Copy)]
pub(crate) enum Start<'a> {
    Zero,
    /// The same row everywhere.
    Row(&'a [f32]),
    /// A matrix laid out like the product.
    Each(&'a [f32]),
    /// What stands where the product goes.
    There,
}

impl Start<'_> {
    /// Fails unless it fits a product of m×n.
    pub(crate) fn check(self, m: usize, n: usize) {
        match self {
            Self::Zero | Self::There => {}
            Self::Row(row) => assert!(row.len() == n, "a row of {} for {n} columns", row.len()),
            Self::Each(values) => assert!(values.len() >= m * n, "{} values for {m}×{n}", values.len()),
        }
    }

    /// Where it is read for a tile, and how far its rows are apart.
    #[inline(always)]
    pub(crate) fn at(self, row: usize, column: usize, n: usize, there: *const f32) -> Option<(*const f32, usize)> {
        match self {
            Self::Zero => None,
            Self::Row(values) => Some((values[column..].as_ptr(), 0)),
            Self::Each(values) => Some((values[row * n + column..].as_ptr(), n)),
            Self::There => Some((there, n)),
        }
    }
}

/// What becomes of the elements of a product.
#[derive(Clone, Copy)]
pub(crate) enum Finish<'a> {
    /// f of each.
    Activate(Activation),
    /// Each times f′, from outputs of f laid out like the product, or from what f keeps.
    Chain(Activation, &'a [f32]),
}

impl Finish<'_> {
    /// Finishes the piece of the product that begins at `from`; slopes go where f keeps them.
    #[inline(always)]
    unsafe fn apply<V: Simd>(self, from: usize, piece: &mut [f32], slopes: &mut [f32]) {
        for at in (0..piece.len()).step_by(V::LANES) {
            // SAFETY: as the caller vouches.
            unsafe {
                let x = V::get(&piece[at..]);
                let x = match self {
                    Self::Activate(activation) => {
                        if !slopes.is_empty() {
                            activation.slope_at(x).put(&mut slopes[from + at..from + piece.len()]);
                        }
                        activation.of(x)
                    }
                    Self::Chain(activation, outputs) => x.mul(activation.slope(V::get(&outputs[from + at..]))),
                };
                x.put(&mut piece[at..]);
            }
        }
    }
}

/// What a tile multiplies.
pub(crate) trait Multiply {
    /// left·right + sum.
    ///
    /// # Safety
    /// The CPU has the instructions of `V`, and those of the type.
    unsafe fn fused<V: Simd>(left: V, right: V, sum: V) -> V;
}

/// Numbers in f32.
pub(crate) struct Single;

impl Multiply for Single {
    #[inline(always)]
    unsafe fn fused<V: Simd>(left: V, right: V, sum: V) -> V {
        // SAFETY: as the caller vouches.
        unsafe { left.fused(right, sum) }
    }
}

/// Factors and result of a tile.
pub(crate) struct Tile {
    /// Number of products summed in each element.
    pub(crate) k: usize,
    pub(crate) a: *const f32,
    /// From one row of the tile to the next, and from one product to the next.
    pub(crate) a_row: usize,
    pub(crate) a_step: usize,
    pub(crate) b: *const f32,
    pub(crate) b_step: usize,
    pub(crate) c: *mut f32,
    pub(crate) c_row: usize,
    /// Columns, up to the width of a tile.
    pub(crate) columns: usize,
}

/// C ← `start` + A·B over M rows, where `start` is read at each row's first column, `start_row` apart.
///
/// # Safety
/// A, B and C reach as far as sizes and steps say; B has whole vectors unless `WHOLE` is false.
#[inline(always)]
pub(crate) unsafe fn tile<V: Simd, K: Multiply, const M: usize, const WHOLE: bool>(
    tile: &Tile,
    start: Option<(*const f32, usize)>,
) {
    let &Tile { k, a, a_row, a_step, b, b_step, c, c_row, columns } = tile;
    let count = |j: usize| columns.saturating_sub(j * V::LANES).min(V::LANES);
    // SAFETY: offsets stay below what the caller vouches for.
    unsafe {
        let mut sums = [[V::splat(0.0); WIDE]; M];
        for p in 0..k {
            let row = b.add(p * b_step);
            let mut right = [V::splat(0.0); WIDE];
            for (j, right) in right.iter_mut().enumerate() {
                let from = row.wrapping_add(j * V::LANES);
                *right = if WHOLE { V::load(from) } else { V::load_some(from, count(j)) };
            }
            for (i, sums) in sums.iter_mut().enumerate() {
                let left = V::splat(*a.add(i * a_row + p * a_step));
                for (sum, right) in sums.iter_mut().zip(right) {
                    *sum = K::fused(left, right, *sum);
                }
            }
        }
        for (i, sums) in sums.iter().enumerate() {
            for (j, sum) in sums.iter().enumerate() {
                let to = c.wrapping_add(i * c_row + j * V::LANES);
                let mut sum = *sum;
                if let Some((from, row)) = start {
                    let from = from.wrapping_add(i * row + j * V::LANES);
                    sum = sum.add(if WHOLE { V::load(from) } else { V::load_some(from, count(j)) });
                }
                if WHOLE { sum.store(to) } else { sum.store_some(to, count(j)) }
            }
        }
    }
}

/// Runs over `rows` in tiles of `HIGH`, and the rest in tiles of 8, 4, 2 and 1.
macro_rules! in_tiles {
    ($rows:expr, |$row:ident, $m:ident| $body:expr) => {{
        let (mut $row, rows) = (0, $rows);
        while rows - $row >= HIGH {
            const $m: usize = HIGH;
            $body;
            $row += HIGH;
        }
        if rows - $row >= 8 {
            const $m: usize = 8;
            $body;
            $row += 8;
        }
        if rows - $row >= 4 {
            const $m: usize = 4;
            $body;
            $row += 4;
        }
        if rows - $row >= 2 {
            const $m: usize = 2;
            $body;
            $row += 2;
        }
        if rows - $row >= 1 {
            const $m: usize = 1;
            $body;
        }
    }};
}
pub(crate) use in_tiles;

/// Rows of a tile.
pub(crate) const HIGH: usize = 12;

/// C ← finish(start + A·B), each piece finished while it is near; `slopes` is laid out like C if f keeps them, else empty.
///
/// # Shapes
/// A (m, k), B (k, n), C (m, n), row-major.
///
/// # Safety
/// The CPU has the instructions of `V`, which is the vector of [`level`].
#[inline(always)]
unsafe fn product_body<V: Simd>(
    a: &[f32],
    b: &Panels,
    start: Start<'_>,
    (c, slopes): (&mut [f32], &mut [f32]),
    finish: Finish<'_>,
) {
    let Panels { k, n, width, ref values } = *b;
    if n == 0 {
        return;
    }
    let m = c.len() / n;
    assert!(a.len() >= m * k && c.len() == m * n && width == WIDE * V::LANES, "product {m}×{k}×{n}");
    start.check(m, n);
    for (panel, values) in values.chunks_exact((width * k).max(1)).enumerate() {
        let from = panel * width;
        let columns = width.min(n - from);
        in_tiles!(m, |row, M| {
            let to = c[row * n + from..].as_mut_ptr();
            let part = Tile {
                k,
                a: a[row * k..].as_ptr(),
                a_row: k,
                a_step: 1,
                b: values.as_ptr(),
                b_step: width,
                c: to,
                c_row: n,
                columns,
            };
            // SAFETY: the assertions above bound every element; panels are whole, only C may be narrower.
            unsafe {
                if columns == width {
                    tile::<V, Single, M, true>(&part, start.at(row, from, n, to));
                } else {
                    tile::<V, Single, M, false>(&part, start.at(row, from, n, to));
                }
            }
            for row in row..row + M {
                // SAFETY: as the caller vouches.
                unsafe { finish.apply::<V>(row * n + from, &mut c[row * n + from..][..columns], slopes) }
            }
        });
    }
}

/// C ← C + Aᵀ·B.
///
/// # Shapes
/// A (rows, m) with rows `a_step` apart, B (rows, n), C (m, n), row-major.
///
/// # Safety
/// The CPU has the instructions of `V`.
#[inline(always)]
unsafe fn add_transposed_body<V: Simd>(a: &[f32], a_step: usize, b: &[f32], n: usize, c: &mut [f32]) {
    if n == 0 || c.is_empty() || b.is_empty() {
        return;
    }
    let (m, rows) = (c.len() / n, b.len() / n);
    assert!(a.len() >= (rows - 1) * a_step + m && c.len() == m * n && b.len() == rows * n, "product {m}×{rows}×{n}");
    let width = WIDE * V::LANES;
    for from in (0..n).step_by(width) {
        let columns = width.min(n - from);
        in_tiles!(m, |row, M| {
            let c = c[row * n + from..].as_mut_ptr();
            let part = Tile {
                k: rows,
                a: a[row..].as_ptr(),
                a_row: 1,
                a_step,
                b: b[from..].as_ptr(),
                b_step: n,
                c,
                c_row: n,
                columns,
            };
            let start = Some((c.cast_const(), n));
            // SAFETY: the assertion above bounds every element.
            unsafe {
                if columns == width {
                    tile::<V, Single, M, true>(&part, start);
                } else {
                    tile::<V, Single, M, false>(&part, start);
                }
            }
        });
    }
}

/// Adds the rows of A to `sums`.
#[inline(always)]
unsafe fn add_rows_body<V: Simd>(a: &[f32], sums: &mut [f32]) {
    let n = sums.len();
    for at in (0..n).step_by(V::LANES) {
        // SAFETY: called by `dispatch!` only.
        unsafe {
            let mut sum = V::get(&sums[at..]);
            for row in a.chunks_exact(n) {
                sum = sum.add(V::get(&row[at..]));
            }
            sum.put(&mut sums[at..]);
        }
    }
}

/// Multiplies each gradient by f′, from outputs of f or what it keeps.
#[inline(always)]
unsafe fn chain_body<V: Simd>(activation: Activation, gradients: &mut [f32], outputs: &[f32]) {
    // SAFETY: called by `dispatch!` only.
    unsafe { Finish::Chain(activation, outputs).apply::<V>(0, gradients, &mut []) }
}

dispatch!(pub(crate) fn product(
    a: &[f32], b: &Panels, start: Start<'_>, c: (&mut [f32], &mut [f32]), finish: Finish<'_>,
) = product_body);
dispatch!(pub(crate) fn add_transposed(a: &[f32], a_step: usize, b: &[f32], n: usize, c: &mut [f32]) = add_transposed_body);
dispatch!(pub(crate) fn add_rows(a: &[f32], sums: &mut [f32]) = add_rows_body);
dispatch!(pub(crate) fn chain(activation: Activation, gradients: &mut [f32], outputs: &[f32]) = chain_body);

#[cfg(test)]
mod tests;
