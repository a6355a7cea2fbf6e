//! A posterior over views: which of them shows the object straight, and how it lies in it.

use dfdx::prelude::{ReshapeTo, SumTo};
use dfdx::shapes::Axis;
use dfdx::tensor::{NoneTape, Tape, Tensor};
use dfdx::tensor_ops::{GatherTo, TryAdd, TryMatMul, TryMul, TrySub};
use parsimon_nets::{Compute, Data, Matrix, POSE, Precision, Rows, matrix, values};
use parsimon_objective::{Posterior, Weight, negative_elbo};
use parsimon_train::{Step, Terms};
use rand::Rng;
use rand_chacha::ChaCha8Rng;

use crate::Ivae;
use crate::encoder::ViewEncoder;
use crate::examples::Batch;
use crate::model::{NetResult, failed, mean};
use crate::pixels::{draw_pixels, pick};
use crate::views::View;

/// Pixels of a row scored in a step, shared among its views.
const SCORED: usize = 96;

/// Pixels scored at once, so that memory does not grow with the patches.
const PIXELS: usize = 1 << 21;

/// Share of the epochs in which patches are taken to lie as they do against each other, if that is known.
pub(crate) const ALIGNED: f64 = 0.5;

/// Views scored after that.
const CANDIDATES: usize = 4;

/// Standard deviation of the noise that keeps the content vague at first, falling to none after a share of the epochs, so
/// that the pose is settled on what objects have in common, and content that differs little does not turn them.
const VAGUE: f32 = 0.3;
const VAGUE_UNTIL: f64 = 0.6;

/// Numbers on the host.
pub(crate) struct Found {
    /// Mean and ln σ of the pose latents, (rows·views, pose).
    pub(crate) pose: (Vec<f32>, Vec<f32>),
    /// Mean and ln σ of the content, (rows, content).
    pub(crate) content: (Vec<f32>, Vec<f32>),
    /// ln q of the views, (rows, views).
    pub(crate) log_q: Vec<f32>,
    /// Divergence of the pose latents in each view, (rows·views).
    pub(crate) kl: Vec<f32>,
}

fn numbers<D: Compute, T: Tape<f32, D>>(x: &Rows<D, T>) -> Vec<f32> {
    values(&x.retaped::<NoneTape>())
}

/// KL(N(m, e^2l)‖N(0,1)).
fn divergence(mean: f32, log_sd: f32) -> f32 {
    0.5 * (mean * mean + (2.0 * log_sd).exp() - 1.0) - log_sd
}

/// ln of probabilities from log-odds.
pub(crate) fn log_softmax(odds: &mut [f32]) {
    let most = odds.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let log_sum = odds.iter().map(|o| (o - most).exp()).sum::<f32>().ln() + most;
    odds.iter_mut().for_each(|o| *o -= log_sum);
}

impl<D: Compute> Ivae<D> {
    pub(crate) fn found<T: Tape<f32, D>>(
        &self,
        odds: &Rows<D, T>,
        pose: &Posterior<D, T>,
        content: &Posterior<D, T>,
    ) -> Found {
        let log_prior = self.params().log_prior_of_views();
        let mut log_q = numbers(odds);
        for row in log_q.chunks_exact_mut(log_prior.len()) {
            row.iter_mut().zip(&log_prior).for_each(|(o, p)| *o += p);
            log_softmax(row);
        }
        let pose = (numbers(&pose.mean), numbers(&pose.log_sd));
        let latents = pose.0.len() / log_q.len();
        let terms: Vec<f32> = pose.0.iter().zip(&pose.1).map(|(m, l)| divergence(*m, *l)).collect();
        let kl = terms.chunks_exact(latents).map(|t| t.iter().sum()).collect();
        Found { pose, content: (numbers(&content.mean), numbers(&content.log_sd)), log_q, kl }
    }

    /// Inputs of the decoder for some views of every row, equally many of each, numbered over all rows; `noise` holds those
    /// of the pose (rows, pose) and of the content (rows, content), or none for the means.
    pub(crate) fn placed_views(
        &self,
        encoder: &ViewEncoder<D>,
        found: &Found,
        batch: &Batch<'_>,
        which: &[usize],
        noise: Option<(&[f32], &[f32])>,
    ) -> Vec<f32> {
        let (views, content) = (&encoder.views.poses, self.params().latent);
        let pose = found.pose.0.len() / found.log_q.len();
        let places = self.params().places();
        let columns = self.params().decoder_inputs();
        let told = self.params().condition.inputs();
        let mut placed = vec![0.0; which.len() * columns];
        for (row, &i) in placed.chunks_exact_mut(columns).zip(which) {
            let (b, k) = (i / views.len(), i % views.len());
            for (j, (place, width)) in places.iter().take(pose).enumerate() {
                let draw = noise.map_or(0.0, |(n, _)| n[b * pose + j] * found.pose.1[i * pose + j].exp());
                row[*place] = width * (found.pose.0[i * pose + j] + draw);
            }
            for j in 0..content {
                let draw = noise.map_or(0.0, |(_, n)| n[b * content + j] * found.content.1[b * content + j].exp());
                row[POSE + j] = found.content.0[b * content + j] + draw;
            }
            row[POSE + content..].copy_from_slice(&batch.conditions[b * told..][..told]);
            views[k].carry(&mut row[..POSE]);
        }
        placed
    }

    /// log p given placed latents, which belong to these rows of the data, told from these pixels of each row of the data.
    pub(crate) fn score_of(
        &self,
        placed: &[f32],
        rows: &[usize],
        data: &Data<'_>,
        pixels: &[u32],
        precision: Precision,
    ) -> NetResult<Vec<f32>> {
        let ((all, columns), inputs) = (data.shape(), self.params().decoder_inputs());
        let n = pixels.len() / all;
        let mut log_p = Vec::with_capacity(rows.len());
        let at_once = (PIXELS / n).max(1);
        for (placed, rows) in placed.chunks(at_once * inputs).zip(rows.chunks(at_once)) {
            let each = || rows.iter().map(|row| (&data.values()[row * columns..][..columns], &pixels[row * n..][..n]));
            let picked: Vec<f32> =
                each().flat_map(|(row, pixels)| pick(row, pixels, 1, self.params().size.2)).collect();
            let pixels: Vec<u32> = each().flat_map(|(_, pixels)| pixels).copied().collect();
            let placed = matrix(self.device(), placed.to_vec(), rows.len(), inputs)?;
            let picked = Data::new(picked, n * self.params().size.2)?;
            log_p.extend(self.score(placed, &picked, Some(&pixels), precision)?.rows);
        }
        Ok(log_p)
    }

    /// −ELBO of rows. While training (`T` owns a tape), the decoder scores some views on few pixels, and one is drawn from these
    /// responsibilities, towards which q is drawn; at first those of the turn given. Else a view is drawn from q.
    pub(crate) fn negative_elbo_of_views<T: Tape<f32, D>>(
        &self,
        encoder: &ViewEncoder<D>,
        batch: &Batch<'_>,
        step: Step,
        noise: &mut ChaCha8Rng,
    ) -> parsimon_train::Result<(Tensor<(), f32, D, T>, Terms)> {
        let (data, turns, rows) = (&batch.data, batch.turns.as_deref(), batch.rows());
        let (views, beta) = (encoder.views.count(), self.params().beta);
        let seen = encoder.see::<T>(batch)?;
        let found = self.found(&seen.odds, &seen.pose, &seen.content);
        let pose = found.pose.0.len() / (rows * views);
        let (pose_noise, content_noise) =
            (self.normal(rows, pose, noise)?, self.normal(rows, self.params().latent, noise)?);
        let log_prior = self.params().log_prior_of_views();
        let angles = encoder.views.angles;
        let open = |b: usize, k: usize| match turns {
            Some(turns) => k % angles == turns[b].rem_euclid(angles as f32).round() as usize % angles,
            None => true,
        };
        let left = if turns.is_some() { views / angles } else { views };
        let each = if T::OWNS_TAPE { CANDIDATES.min(left) } else { left };
        let which = candidates(&found.log_q, views, each, open, noise);
        let mut log_r: Vec<f32> = if T::OWNS_TAPE && left > 1 {
            let (height, width, _) = self.params().size;
            let pixels = draw_pixels(height * width, (SCORED / each).max(1), rows, noise);
            // What few pixels say counts as often as there are such in a patch. q, which remembers those of all steps before,
            // counts as much as they do; else chance decides where noise is high.
            let trust = (height * width * rows) as f32 / pixels.len() as f32;
            let draws = (values(&pose_noise), values(&content_noise));
            let placed = self.placed_views(encoder, &found, batch, &which, Some((&draws.0, &draws.1)));
            let of: Vec<usize> = which.iter().map(|i| i / views).collect();
            let log_p = self.score_of(&placed, &of, data, &pixels, step.precision)?;
            let score = |(p, i): (&f32, &usize)| p - beta * found.kl[*i] + trust * found.log_q[*i];
            log_p.iter().zip(&which).map(score).collect()
        } else {
            which.iter().map(|i| found.log_q[*i]).collect()
        };
        log_r.chunks_exact_mut(each).for_each(log_softmax);
        let chosen: Vec<usize> =
            log_r.chunks_exact(each).zip(which.chunks_exact(each)).map(|(r, which)| which[drawn(r, noise)]).collect();

        let index = self.device().try_tensor_from_vec(chosen.clone(), (rows,)).map_err(failed)?;
        let pose = Posterior {
            mean: seen.pose.mean.try_gather(index.clone()).map_err(failed)?,
            log_sd: seen.pose.log_sd.try_gather(index).map_err(failed)?,
        };
        let of_content = self.divergence_of_content(&seen.content, &content_noise)?;
        let of_pose = pose.divergence()?;
        let of: Vec<View> = chosen.iter().map(|i| encoder.views.poses[i % views]).collect();
        let pose = self.carried(self.place(pose.sample(pose_noise)?, 0)?, &of)?;
        let first = self.params().columns().len() - self.params().latent;
        let mut z = seen.content.sample(content_noise)?;
        let vague = VAGUE * (1.0 - step.done / VAGUE_UNTIL) as f32;
        if T::OWNS_TAPE && vague > 0.0 {
            let more = self.normal(rows, self.params().latent, noise)?.try_mul(vague).map_err(failed)?;
            z = z.try_add(more).map_err(failed)?;
        }
        let content = self.place(z, first)?;
        let placed = self.tell(pose.try_add(content).map_err(failed)?, batch)?;
        let scored = self.score_share(placed, data, step, noise)?;

        let choice: Vec<f32> = found
            .log_q
            .chunks_exact(views)
            .map(|q| q.iter().zip(&log_prior).map(|(q, p)| q.exp() * (q - p)).sum())
            .collect();
        let kl = mean(&of_pose.rows) + mean(&of_content.rows) + mean(&choice);
        let terms = self.terms(-mean(&scored.rows), kl);
        let divergence = of_pose.total.try_add(of_content.total).map_err(failed)?;
        let weight = self.params().weight(step.done);
        // The choice of a view is part of the divergence, and takes its share of what is free.
        let capacity = weight.capacity.map(|free| (free - mean(&choice)).max(0.0));
        let loss = negative_elbo(scored.total, divergence, Weight { capacity, ..weight }, rows)?;
        // −Σ r ln q, q among the candidates and what is known not to be: what was not scored says nothing.
        let known_not = |b: usize| (0..views).filter(move |k| !open(b, *k)).map(move |k| (b * views + k, 0.0));
        let scored = |b: usize| (b * each..(b + 1) * each).map(|i| (which[i], log_r[i].exp() / rows as f32));
        let (which, r): (Vec<usize>, Vec<f32>) = (0..rows).flat_map(|b| scored(b).chain(known_not(b))).unzip();
        let each = each + views - left;
        let prior = which.iter().map(|i| log_prior[i % views]).collect();
        let prior = matrix(self.device(), prior, rows, each)?;
        let index = self.device().try_tensor_from_vec(which, (rows * each,)).map_err(failed)?;
        let odds = seen.odds.try_gather(index).map_err(failed)?;
        let odds = odds.try_reshape_like(&(rows, each)).map_err(failed)?.try_add(prior).map_err(failed)?;
        let log_q = odds.try_log_softmax::<Axis<1>>().map_err(failed)?;
        let agreed = log_q.try_mul(matrix(self.device(), r, rows, each)?).map_err(failed)?;
        let agreed = agreed.try_sum::<(), _>().map_err(failed)?;
        Ok((loss.try_sub(agreed).map_err(failed)?, terms))
    }

    /// Placed latents as they are in these views → as they are in the patch.
    pub(crate) fn carried<T: Tape<f32, D>>(&self, placed: Rows<D, T>, views: &[View]) -> NetResult<Rows<D, T>> {
        let (rows, columns) = (views.len(), self.params().decoder_inputs());
        let table = |f: &dyn Fn(&View, usize) -> f32| -> NetResult<Matrix<D>> {
            let values = views.iter().flat_map(|view| (0..columns).map(|c| f(view, c))).collect();
            matrix(self.device(), values, rows, columns)
        };
        let cos = table(&|v, c| if c == 1 || c == 2 { v.scale.exp() * v.turn.cos() } else { 1.0 })?;
        let sin = table(&|v, c| match c {
            1 => v.scale.exp() * v.turn.sin(),
            2 => -v.scale.exp() * v.turn.sin(),
            _ => 0.0,
        })?;
        let rest = table(&|v, c| [v.turn, v.right, v.down, v.scale].get(c).copied().unwrap_or(0.0))?;
        let mut swap = vec![0.0; columns * columns];
        (swap[columns + 2], swap[2 * columns + 1]) = (1.0, 1.0);
        let swap = matrix(self.device(), swap, columns, columns)?;
        let across = placed.retaped::<T>().try_matmul(swap).map_err(failed)?.try_mul(sin).map_err(failed)?;
        let along = placed.try_mul(cos).map_err(failed)?;
        along.try_add(across).map_err(failed)?.try_add(rest).map_err(failed)
    }
}

/// Some views of every row, numbered over all rows, of those that are open to it: those most likely by q, and one of the others;
/// or all.
fn candidates(
    log_q: &[f32],
    views: usize,
    each: usize,
    open: impl Fn(usize, usize) -> bool,
    noise: &mut ChaCha8Rng,
) -> Vec<usize> {
    let of_row = |(b, log_q): (usize, &[f32])| {
        let mut order = likely(log_q, views);
        order.retain(|k| open(b, *k));
        let all = order.len();
        if each < all {
            order.swap(each - 1, noise.gen_range(each - 1..all));
            order.truncate(each);
        }
        order.into_iter().map(move |k| b * views + k)
    };
    log_q.chunks_exact(views).enumerate().flat_map(of_row).collect()
}

/// So many views, the likeliest first.
pub(crate) fn likely(log_q: &[f32], count: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..log_q.len()).collect();
    order.sort_by(|i, j| log_q[*j].total_cmp(&log_q[*i]));
    order.truncate(count);
    order
}

/// A number drawn from ln of its probabilities.
fn drawn(log_p: &[f32], noise: &mut ChaCha8Rng) -> usize {
    let mut left: f32 = noise.gen_range(0.0..1.0);
    for (i, p) in log_p.iter().enumerate() {
        left -= p.exp();
        if left < 0.0 {
            return i;
        }
    }
    log_p.len() - 1
}

#[cfg(test)]
mod tests {
    use dfdx::tensor::{AsArray, Cpu};
    use dfdx::tensor_ops::Backward;
    use ndarray::Array4;
    use parsimon_core::{Patches, Scaling};
    use parsimon_nets::{Parameters, weights};
    use parsimon_train::Loss;
    use rand::SeedableRng;

    use super::*;
    use crate::{Examples, Inference, Params, ViewGrid};

    const ROWS: usize = 5;

    /// The loss of rows that are turned by known angles, with the same draws every time.
    fn loss(model: &Ivae<Cpu>, patches: &Patches) -> Loss<Cpu> {
        let rows: Vec<usize> = (0..ROWS).collect();
        let mut batch = Examples::from(patches).batch(model.params(), &rows).unwrap();
        batch.turns = Some(vec![0.0, 1.2, 2.9, 3.0, 0.6]);
        let step = Step { done: 0.2, ..Step::EXACT };
        model.negative_elbo(&batch, step, &mut ChaCha8Rng::seed_from_u64(3)).unwrap().0
    }

    fn moved(model: &Ivae<Cpu>, patches: &Patches, direction: &weights::Arrays, step: f32) -> f64 {
        let mut arrays = weights::collect(model);
        for (name, (_, values)) in &mut arrays {
            values.iter_mut().zip(&direction[name].1).for_each(|(w, d)| *w += step * d);
        }
        let mut moved = model.clone();
        weights::restore(&mut moved, &arrays).unwrap();
        loss(&moved, patches).array().into()
    }

    #[test]
    fn the_loss_of_views_has_the_gradient_of_its_value() {
        let mut rng = ChaCha8Rng::seed_from_u64(0);
        let images = Array4::from_shape_fn((ROWS, 9, 9, 1), |_| rng.gen_range(0.0..1.0));
        let patches = Patches::new(images, Scaling::unit(1)).unwrap();
        let base =
            Params { inference: Inference::Views(ViewGrid::angles(4)), hidden: vec![9, 6], ..Params::new((9, 9, 1)) };
        for params in [
            Params { centred: true, invariances: "r,t,s".parse().unwrap(), ..base.clone() },
            Params { capacity: Some(60.0), beta: 3.0, ..base },
        ] {
            let model = Ivae::new(&Cpu::default(), &params, &mut rng).unwrap();
            let mut gradients = loss(&model, &patches).backward();
            let mut gradient = weights::collect(&model);
            model.visit("", &mut |name, parameter| {
                gradients.get_or_alloc_mut(parameter).unwrap();
                gradient.get_mut(&name).unwrap().1 = gradients.get(parameter).as_vec();
            });
            // What is added to the log-odds of all views alike changes nothing.
            for name in gradient.keys().filter(|name| *name != "chance.bias") {
                let norm = gradient[name].1.iter().map(|v| v * v).sum::<f32>().sqrt();
                assert!(norm > 0.01, "{name}: a gradient of length {norm} would pass whatever it is");
                let random: Vec<f32> = gradient[name].1.iter().map(|_| rng.gen_range(-1.0..1.0)).collect();
                for direction in [gradient[name].1.clone(), random] {
                    let length = direction.iter().map(|v| v * v).sum::<f32>().sqrt();
                    let mut only = gradient.clone();
                    for (other, (_, values)) in &mut only {
                        values.fill(0.0);
                        if other == name {
                            values.iter_mut().zip(&direction).for_each(|(v, d)| *v = d / length);
                        }
                    }
                    let expected: f32 = gradient[name].1.iter().zip(&direction).map(|(g, d)| g * d / length).sum();
                    let step = 2e-3;
                    let central = |h: f32| {
                        (moved(&model, &patches, &only, h) - moved(&model, &patches, &only, -h)) / f64::from(2.0 * h)
                    };
                    let found = (4.0 * central(step) - central(2.0 * step)) / 3.0;
                    let rounding = f64::from(f32::EPSILON / step) * moved(&model, &patches, &only, 0.0).abs();
                    let off = (found - f64::from(expected)).abs();
                    assert!(
                        off < 0.01 * f64::from(norm) + 0.01 + rounding,
                        "{name}: slope {found}, gradient {expected}"
                    );
                }
            }
        }
    }

    #[test]
    fn poses_are_carried_alike_on_the_device_and_on_the_host() {
        let cpu = Cpu::default();
        let mut rng = ChaCha8Rng::seed_from_u64(5);
        let model = Ivae::new(&cpu, &Params { latent: 1, ..Params::new((9, 9, 1)) }, &mut rng).unwrap();
        let mut draw = || rng.gen_range(-1.0f32..1.0);
        let views: Vec<View> =
            (0..7).map(|_| View { turn: 3.0 * draw(), right: draw(), down: draw(), scale: draw() }).collect();
        let placed: Vec<f32> = (0..7 * 5).map(|_| draw()).collect();
        let found = model.carried(matrix(&cpu, placed.clone(), 7, 5).unwrap(), &views).unwrap();
        for ((row, view), found) in placed.chunks(5).zip(&views).zip(values(&found).chunks(5)) {
            let mut pose = [row[0], row[1], row[2], row[3]];
            view.carry(&mut pose);
            assert!(
                pose.iter().zip(found).all(|(a, b)| (a - b).abs() < 1e-5) && found[4] == row[4],
                "{pose:?} {found:?}"
            );
        }
    }

    #[test]
    fn the_likeliest_views_are_candidates_and_one_of_the_others() {
        let log_q = [0.1f32, 0.4, 0.05, 0.3, 0.15].map(f32::ln);
        let mut drawn = std::collections::BTreeSet::new();
        let mut rng = ChaCha8Rng::seed_from_u64(0);
        for _ in 0..50 {
            let found = candidates(&[log_q, log_q].concat(), 5, 3, |_, _| true, &mut rng);
            assert_eq!((&found[..2], found[3] - 5, found[4] - 5), (&[1, 3][..], 1, 3));
            drawn.extend([found[2], found[5] - 5]);
        }
        assert_eq!(drawn.into_iter().collect::<Vec<_>>(), [0, 2, 4]);
    }
}
