//! Loops over pixels of a block, compiled once per instruction set.
#![allow(unsafe_code, reason = "calling a function compiled for an instruction set after detecting it")]

use crate::maths::{dispatch, dot};
use crate::{Activation, Likelihood};

#[inline(always)]
fn activate_body(activation: Activation, values: &mut [f32]) {
    activation.apply(values);
}

#[inline(always)]
fn chain_body(activation: Activation, gradient: &mut [f32], output: &[f32]) {
    activation.chain(gradient, output);
}

/// First layer: f(qx·wx + qy·wy + base) for every pixel.
#[inline(always)]
fn first_body(activation: Activation, q: (&[f32], &[f32]), w: (&[f32], &[f32]), base: &[f32], out: &mut [f32]) {
    for ((h, x), y) in out.chunks_exact_mut(base.len()).zip(q.0).zip(q.1) {
        for (((h, wx), wy), b) in h.iter_mut().zip(w.0).zip(w.1).zip(base) {
            *h = x * wx + y * wy + b;
        }
        activation.apply(h);
    }
}

/// Gradients of the first layer, given δ before its activation: of q, of the weights and of the base.
#[inline(always)]
fn first_back_body(
    delta: &[f32],
    q: (&[f32], &[f32]),
    w: (&[f32], &[f32]),
    dq: (&mut [f32], &mut [f32]),
    dw: (&mut [f32], &mut [f32]),
    by_base: &mut [f32],
) {
    let n = by_base.len();
    let pixels = delta.chunks_exact(n).zip(q.0.iter().zip(q.1)).zip(dq.0.iter_mut().zip(dq.1));
    for ((d, (x, y)), (dx, dy)) in pixels {
        *dx = dot(d, w.0);
        *dy = dot(d, w.1);
        for (((d, wx), wy), b) in d.iter().zip(dw.0.iter_mut()).zip(dw.1.iter_mut()).zip(by_base.iter_mut()) {
            *wx += d * x;
            *wy += d * y;
            *b += d;
        }
    }
}

/// Output layer: h·O + o for every pixel and channel; O is channel by channel here.
#[inline(always)]
fn output_body(h: &[f32], weight: &[f32], bias: &[f32], out: &mut [f32]) {
    let units = weight.len() / bias.len();
    for (h, out) in h.chunks_exact(units).zip(out.chunks_exact_mut(bias.len())) {
        for ((o, w), b) in out.iter_mut().zip(weight.chunks_exact(units)).zip(bias) {
            *o = dot(h, w) + b;
        }
    }
}

/// Gradients of the output layer: of its weights and bias, and into `delta` of its input.
#[inline(always)]
fn output_back_body(d: &[f32], h: &[f32], weight: &[f32], dw: &mut [f32], db: &mut [f32], delta: &mut [f32]) {
    let channels = db.len();
    let units = weight.len() / channels;
    let pixels = d.chunks_exact(channels).zip(h.chunks_exact(units)).zip(delta.chunks_exact_mut(units));
    for ((d, h), delta) in pixels {
        delta.fill(0.0);
        for (c, d) in d.iter().enumerate() {
            let (w, dw) = (&weight[c * units..][..units], &mut dw[c * units..][..units]);
            for (((t, w), dw), h) in delta.iter_mut().zip(w).zip(dw).zip(h) {
                *t += d * w;
                *dw += d * h;
            }
            db[c] += d;
        }
    }
}

#[inline(always)]
fn column_sums_body(delta: &[f32], sums: &mut [f32]) {
    for d in delta.chunks_exact(sums.len()) {
        sums.iter_mut().zip(d).for_each(|(s, d)| *s += d);
    }
}

#[inline(always)]
fn score_body(
    likelihood: Likelihood,
    outputs: &mut [f32],
    target: &[f32],
    log_sd: &[f32],
    total: &mut f32,
    by_log_sd: &mut [f32],
) {
    let (sum, by) = likelihood.score(outputs, target, log_sd);
    *total += sum;
    by_log_sd.iter_mut().zip(by).for_each(|(s, b)| *s += b);
}

#[inline(always)]
fn scale_body(values: &mut [f32], by: f32) {
    values.iter_mut().for_each(|v| *v *= by);
}

dispatch!(pub(super) fn activate(activation: Activation, values: &mut [f32]) = activate_body);
dispatch!(pub(super) fn chain(activation: Activation, gradient: &mut [f32], output: &[f32]) = chain_body);
dispatch!(pub(super) fn first(a: Activation, q: (&[f32], &[f32]), w: (&[f32], &[f32]), base: &[f32], out: &mut [f32]) = first_body);
dispatch!(pub(super) fn first_back(
    delta: &[f32], q: (&[f32], &[f32]), w: (&[f32], &[f32]), dq: (&mut [f32], &mut [f32]),
    dw: (&mut [f32], &mut [f32]), by_base: &mut [f32],
) = first_back_body);
dispatch!(pub(super) fn output(h: &[f32], weight: &[f32], bias: &[f32], out: &mut [f32]) = output_body);
dispatch!(pub(super) fn output_back(
    d: &[f32], h: &[f32], weight: &[f32], dw: &mut [f32], db: &mut [f32], delta: &mut [f32],
) = output_back_body);
dispatch!(pub(super) fn column_sums(delta: &[f32], sums: &mut [f32]) = column_sums_body);
dispatch!(pub(super) fn score(
    likelihood: Likelihood, outputs: &mut [f32], target: &[f32], log_sd: &[f32], total: &mut f32,
    by_log_sd: &mut [f32],
) = score_body);
dispatch!(pub(super) fn scale(values: &mut [f32], by: f32) = scale_body);
