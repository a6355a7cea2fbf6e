//! Coordinate descent with extrapolation.
//!
//! References: Gillis & Glineur 2012, Neural Comput. 24, 1085 (sweeps); Ang & Gillis 2019, Neural Comput. 31, 417 (extrapolation).

use ndarray::{Array2, ArrayView2};
use rayon::prelude::*;

use super::BLOCK;
use crate::kernels::{add_products, dots};

/// Parts the rows are summed in, whatever the number of threads.
const PARTS: usize = 16;
/// Rounds whose mean fall of the loss says whether to go on.
const RECENT: usize = 5;
/// Sweeps over the components for each pass over the rows.
const SWEEPS: usize = 3;

/// Coordinate descent from a start, each round beginning a little beyond where the last one ended.
///
/// Rows reach up to `largest`; (W, H, rounds).
pub(super) fn descended(
    rows: ArrayView2<'_, f64>,
    largest: f64,
    weights: Array2<f64>,
    mut components: Array2<f64>,
    most: usize,
    tolerance: f64,
) -> (Array2<f64>, Array2<f64>, usize) {
    let (n, k) = (rows.nrows(), components.nrows());
    // The largest number is 1, so that f32 holds any data.
    let scale = largest.sqrt();
    let data: Vec<f32> = rows.iter().map(|v| (v / largest) as f32).collect();
    let mut weights: Vec<f64> = weights.iter().map(|v| v / scale).collect();
    components /= scale;
    // What a round finds of W, and where it begins: with these W and H.
    let (mut found, mut from_w, mut from_h) = (weights.clone(), weights.clone(), components.clone());
    let mut stride = Stride::default();
    let (mut first, mut falls, mut rounds) = (0.0, [f64::INFINITY; RECENT], 0);
    while rounds < most {
        let beyond = stride.length;
        let total = passed(&data, Weights { found: &mut found, begun: &mut from_w, last: &weights }, &from_h, beyond);
        let (swept, fall) = swept_columns(from_h.clone(), &total.gram, &total.products);
        let fall = stride.fall(total.loss(&swept), total.fall + fall);
        if fall >= 0.0 {
            from_h = (&swept + &((&swept - &components) * beyond)).mapv(|v| v.max(0.0));
            components = swept;
            std::mem::swap(&mut weights, &mut found);
        } else {
            from_w.copy_from_slice(&weights);
            from_h.assign(&components);
        }
        if rounds == 0 {
            first = fall;
        }
        falls[rounds % RECENT] = fall.max(0.0);
        rounds += 1;
        if falls.iter().sum::<f64>() <= RECENT as f64 * tolerance * first {
            break;
        }
    }
    if rounds > 0 {
        // W of a round is that of where H began, and not of where it ended.
        from_w.copy_from_slice(&weights);
        passed(&data, Weights { found: &mut found, begun: &mut from_w, last: &weights }, &components, 0.0);
        std::mem::swap(&mut weights, &mut found);
    }
    let weights = Array2::from_shape_fn((n, k), |(i, c)| weights[i * k + c] * scale);
    (weights, components * scale, rounds)
}

/// A pass over the rows: sweeps W for `components`, goes so far beyond, and sums there.
fn passed(rows: &[f32], weights: Weights<'_>, components: &Array2<f64>, beyond: f64) -> Sums {
    let (k, d) = components.dim();
    let narrow: Vec<f32> = components.iter().map(|v| *v as f32).collect();
    let gram: Vec<f64> = components.dot(&components.t()).into_iter().collect();
    let part = (rows.len() / d).div_ceil(PARTS).max(BLOCK);
    let Weights { found, begun, last } = weights;
    let parts = found.par_chunks_mut(part * k).zip(begun.par_chunks_mut(part * k)).zip(last.par_chunks(part * k));
    let sums: Vec<Sums> = parts
        .zip(rows.par_chunks(part * d))
        .map(|(((found, begun), last), x)| Sums::of(x, Weights { found, begun, last }, &narrow, &gram, beyond))
        .collect();
    let mut total = Sums::zero(k, d);
    sums.iter().for_each(|s| total.add(s));
    total
}

/// How far beyond where a round ended the next one begins, in lengths of what that round moved by: longer after each that lowers
/// the loss, shorter and from where it was lowest after one that does not.
struct Stride {
    length: f64,
    limit: f64,
    lowest: Option<f64>,
}

impl Default for Stride {
    fn default() -> Self {
        Self { length: 0.0, limit: 1.0, lowest: None }
    }
}

impl Stride {
    /// By how much a round lowered the lowest loss; for the first one, that begins nowhere beyond, what its sweeps did.
    fn fall(&mut self, loss: f64, first: f64) -> f64 {
        let Some(lowest) = self.lowest else {
            (self.length, self.lowest) = (0.5, Some(loss));
            return first;
        };
        let fall = lowest - loss;
        if fall >= 0.0 {
            self.length = (1.02 * self.length).min(self.limit);
            self.limit = (1.01 * self.limit).min(1.0);
            self.lowest = Some(loss);
        } else {
            self.limit = self.length;
            self.length /= 1.5;
        }
        fall
    }
}

/// W of some rows: what a round finds, where it begins, and what the last one found.
struct Weights<'a> {
    found: &'a mut [f64],
    begun: &'a mut [f64],
    last: &'a [f64],
}

/// What H follows from: WᵀW and WᵀX, and what the change of W has taken off the loss.
struct Sums {
    gram: Array2<f64>,
    products: Array2<f64>,
    fall: f64,
}

impl Sums {
    fn zero(k: usize, d: usize) -> Self {
        Self { gram: Array2::zeros((k, k)), products: Array2::zeros((k, d)), fall: 0.0 }
    }

    fn add(&mut self, other: &Self) {
        self.gram += &other.gram;
        self.products += &other.products;
        self.fall += other.fall;
    }

    /// ½|X − WH|² − ½|X|².
    fn loss(&self, components: &Array2<f64>) -> f64 {
        0.5 * (&self.gram * &components.dot(&components.t())).sum() - (&self.products * components).sum()
    }

    /// Sweeps W of some rows, goes so far beyond, and sums over the rows there.
    fn of(rows: &[f32], weights: Weights<'_>, components: &[f32], gram: &[f64], beyond: f64) -> Self {
        let k = gram.len().isqrt();
        let d = components.len() / k;
        let mut slopes = vec![0.0; k];
        let mut sums = Self::zero(k, d);
        let mut along = vec![0.0f32; BLOCK * k];
        let mut narrow = vec![0.0f32; BLOCK * k];
        let mut products = vec![0.0f32; k * d];
        let Weights { found, begun, last } = weights;
        found.copy_from_slice(begun);
        let blocks = found.chunks_mut(BLOCK * k).zip(begun.chunks_mut(BLOCK * k)).zip(last.chunks(BLOCK * k));
        for (x, ((found, begun), last)) in rows.chunks(BLOCK * d).zip(blocks) {
            let (along, narrow) = (&mut along[..found.len()], &mut narrow[..found.len()]);
            dots(x, d, components, along);
            for (w, along) in found.chunks_exact_mut(k).zip(along.chunks_exact(k)) {
                gradient(w, |c| f64::from(along[c]), gram, &mut slopes);
                for _ in 0..SWEEPS {
                    let fall = swept(w, &mut slopes, gram).fall;
                    sums.fall += fall;
                    if fall == 0.0 {
                        break;
                    }
                }
            }
            for ((begun, found), last) in begun.iter_mut().zip(found.iter()).zip(last) {
                *begun = (found + beyond * (found - last)).max(0.0);
            }
            for w in begun.chunks_exact(k) {
                for a in 0..k {
                    for b in 0..=a {
                        sums.gram[(a, b)] += w[a] * w[b];
                    }
                }
            }
            narrow.iter_mut().zip(begun.iter()).for_each(|(n, w)| *n = *w as f32);
            products.fill(0.0);
            add_products(x, d, narrow, &mut products);
            sums.products.iter_mut().zip(&products).for_each(|(sum, p)| *sum += f64::from(*p));
        }
        for a in 0..k {
            for b in 0..a {
                sums.gram[(b, a)] = sums.gram[(a, b)];
            }
        }
        sums
    }
}

/// What a sweep met and did: the sum of the projected gradients' magnitudes, and the fall of the loss.
#[derive(Default)]
pub(super) struct Swept {
    pub(super) slope: f64,
    pub(super) fall: f64,
}

/// Gw − b, of a `gram` matrix row by row.
pub(super) fn gradient(w: &[f64], b: impl Fn(usize) -> f64, gram: &[f64], out: &mut [f64]) {
    out.iter_mut().enumerate().for_each(|(c, out)| *out = -b(c));
    for (w, row) in w.iter().zip(gram.chunks_exact(w.len())) {
        out.iter_mut().zip(row).for_each(|(out, g)| *out += w * g);
    }
}

/// One sweep of ½ wᵀGw − wᵀb over w ≥ 0, a number at a time, with its gradient kept true.
pub(super) fn swept(w: &mut [f64], gradient: &mut [f64], gram: &[f64]) -> Swept {
    let mut sums = Swept::default();
    for (c, row) in gram.chunks_exact(w.len()).enumerate() {
        let (slope, curvature) = (gradient[c], row[c]);
        if curvature > 0.0 {
            sums.slope += if w[c] == 0.0 { slope.min(0.0).abs() } else { slope.abs() };
            let now = (w[c] - slope / curvature).max(0.0);
            let step = now - w[c];
            if step != 0.0 {
                sums.fall -= step * (slope + 0.5 * curvature * step);
                gradient.iter_mut().zip(row).for_each(|(gradient, g)| *gradient += step * g);
                w[c] = now;
            }
        }
    }
    sums
}

/// Sweeps of H, whose columns are problems of their own, and the fall of the loss.
fn swept_columns(components: Array2<f64>, gram: &Array2<f64>, products: &Array2<f64>) -> (Array2<f64>, f64) {
    let (k, d) = components.dim();
    let gram: Vec<f64> = gram.iter().copied().collect();
    let mut columns: Vec<f64> = components.t().iter().copied().collect();
    let falls: Vec<f64> = columns
        .par_chunks_mut(BLOCK * k)
        .enumerate()
        .map(|(block, columns)| {
            let (mut sum, mut slopes) = (0.0, vec![0.0; k]);
            for (j, column) in columns.chunks_exact_mut(k).enumerate() {
                gradient(column, |c| products[(c, block * BLOCK + j)], &gram, &mut slopes);
                for _ in 0..SWEEPS {
                    sum += swept(column, &mut slopes, &gram).fall;
                }
            }
            sum
        })
        .collect();
    (Array2::from_shape_fn((k, d), |(c, j)| columns[j * k + c]), falls.iter().sum())
}
