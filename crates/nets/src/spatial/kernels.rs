//! Loops over pixels of a block, compiled once per instruction set. Slices hold the pixels one after the other.
#![allow(unsafe_code, reason = "vector instructions, run by functions compiled for them")]

use crate::Activation;
use crate::maths::dispatch;
use crate::simd::Simd;

/// First layer: f(qx·wx + qy·wy + base); slopes go where f keeps them.
#[inline(always)]
unsafe fn first_body<V: Simd>(
    activation: Activation,
    q: (&[f32], &[f32]),
    w: (&[f32], &[f32]),
    base: &[f32],
    (out, slopes): (&mut [f32], &mut [f32]),
) {
    for (p, ((h, x), y)) in out.chunks_exact_mut(base.len()).zip(q.0).zip(q.1).enumerate() {
        for at in (0..base.len()).step_by(V::LANES) {
            // SAFETY: called by `dispatch!` only.
            unsafe {
                let sum = V::splat(*y).fused(V::get(&w.1[at..]), V::get(&base[at..]));
                let sum = V::splat(*x).fused(V::get(&w.0[at..]), sum);
                activation.of(sum).put(&mut h[at..]);
                if !slopes.is_empty() {
                    activation.slope_at(sum).put(&mut slopes[p * base.len()..][at..base.len()]);
                }
            }
        }
    }
}

/// Pixels that share the loads and stores of the sums over pixels.
const TOGETHER: usize = 4;

/// Adds the gradients of the first layer, given δ before its activation: of q, of the weights and of the base.
#[inline(always)]
unsafe fn first_back_body<V: Simd>(
    delta: &[f32],
    q: (&[f32], &[f32]),
    w: (&[f32], &[f32]),
    dq: (&mut [f32], &mut [f32]),
    dw: (&mut [f32], &mut [f32]),
    by_base: &mut [f32],
) {
    let n = by_base.len();
    for (group, delta) in delta.chunks(TOGETHER * n).enumerate() {
        let from = group * TOGETHER;
        let pixels = delta.len() / n;
        // SAFETY: called by `dispatch!` only.
        unsafe {
            let (mut dx, mut dy) = ([V::splat(0.0); TOGETHER], [V::splat(0.0); TOGETHER]);
            for at in (0..n).step_by(V::LANES) {
                let (wx, wy) = (V::get(&w.0[at..]), V::get(&w.1[at..]));
                let mut sums = [V::get(&dw.0[at..]), V::get(&dw.1[at..]), V::get(&by_base[at..])];
                for p in 0..pixels {
                    let d = V::get(&delta[p * n + at..][..V::LANES.min(n - at)]);
                    dx[p] = d.fused(wx, dx[p]);
                    dy[p] = d.fused(wy, dy[p]);
                    sums[0] = d.fused(V::splat(q.0[from + p]), sums[0]);
                    sums[1] = d.fused(V::splat(q.1[from + p]), sums[1]);
                    sums[2] = sums[2].add(d);
                }
                sums[0].put(&mut dw.0[at..]);
                sums[1].put(&mut dw.1[at..]);
                sums[2].put(&mut by_base[at..]);
            }
            for p in 0..pixels {
                dq.0[from + p] += dx[p].sum();
                dq.1[from + p] += dy[p].sum();
            }
        }
    }
}

/// Output layer: h·O + o for every channel; O is channel by channel here.
#[inline(always)]
unsafe fn output_body<V: Simd>(h: &[f32], weight: &[f32], bias: &[f32], out: &mut [f32]) {
    let units = weight.len() / bias.len();
    for (h, out) in h.chunks_exact(units).zip(out.chunks_exact_mut(bias.len())) {
        for ((o, w), b) in out.iter_mut().zip(weight.chunks_exact(units)).zip(bias) {
            // SAFETY: called by `dispatch!` only.
            unsafe {
                let mut sum = V::splat(0.0);
                for at in (0..units).step_by(V::LANES) {
                    sum = V::get(&h[at..]).fused(V::get(&w[at..]), sum);
                }
                *o = sum.sum() + b;
            }
        }
    }
}

/// Gradients of the output layer given those of its outputs, d: of its weights and bias, and, into `delta`, before the
/// activation of the layer below, whose outputs are h and whose slopes are made of `kept`.
#[inline(always)]
unsafe fn output_back_body<V: Simd>(
    activation: Activation,
    d: &[f32],
    (h, kept): (&[f32], &[f32]),
    weight: &[f32],
    (dw, db): (&mut [f32], &mut [f32]),
    delta: &mut [f32],
) {
    let channels = db.len();
    let units = weight.len() / channels;
    let layers = h.chunks_exact(units).zip(kept.chunks_exact(units));
    for ((d, (h, kept)), delta) in d.chunks_exact(channels).zip(layers).zip(delta.chunks_exact_mut(units)) {
        for at in (0..units).step_by(V::LANES) {
            // SAFETY: called by `dispatch!` only.
            unsafe {
                let (h, mut back) = (V::get(&h[at..]), V::splat(0.0));
                for (c, d) in d.iter().enumerate() {
                    let (d, dw) = (V::splat(*d), &mut dw[c * units..][..units][at..]);
                    back = d.fused(V::get(&weight[c * units..][..units][at..]), back);
                    d.fused(h, V::get(dw)).put(dw);
                }
                back.mul(activation.slope(V::get(&kept[at..]))).put(&mut delta[at..]);
            }
        }
        db.iter_mut().zip(d).for_each(|(sum, d)| *sum += d);
    }
}

dispatch!(pub(super) fn first(
    activation: Activation, q: (&[f32], &[f32]), w: (&[f32], &[f32]), base: &[f32],
    out: (&mut [f32], &mut [f32]),
) = first_body);
dispatch!(pub(super) fn first_back(
    delta: &[f32], q: (&[f32], &[f32]), w: (&[f32], &[f32]), dq: (&mut [f32], &mut [f32]),
    dw: (&mut [f32], &mut [f32]), by_base: &mut [f32],
) = first_back_body);
dispatch!(pub(super) fn output(h: &[f32], weight: &[f32], bias: &[f32], out: &mut [f32]) = output_body);
dispatch!(pub(super) fn output_back(
    activation: Activation, d: &[f32], h: (&[f32], &[f32]), weight: &[f32], sums: (&mut [f32], &mut [f32]),
    delta: &mut [f32],
) = output_back_body);
