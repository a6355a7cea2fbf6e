//! Latents of patches, in the view in which the decoder likes them best.

use dfdx::tensor::NoneTape;
use parsimon_nets::{Compute, POSE, Precision};
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use crate::Ivae;
use crate::encoder::ViewEncoder;
use crate::examples::Batch;
use crate::model::NetResult;
use crate::turning::likely;

/// Views that are looked at: the likeliest, since the posterior lags behind the decoder.
const LIKELY: usize = 8;

/// Pixels scored until some views are given up, and until more are; then all. Where noise is low the first tell.
const ROUNDS: [usize; 2] = [128, 512];

/// A view is given up once another explains the pixels so far better by so many nats: e⁻⁸ bounds the chance that it was the
/// right one, if the decoder is right (Wald 1945, Ann. Math. Statist. 16, 117).
const GIVEN_UP: f32 = 8.0;

/// A view of a row, and what speaks for it, in nats.
#[derive(Debug, Clone, Copy)]
struct Candidate {
    view: usize,
    score: f32,
}

impl<D: Compute> Ivae<D> {
    /// Mean and standard deviation of the latents of rows, in the view that the decoder likes best of the likeliest.
    pub(crate) fn straighten(&self, encoder: &ViewEncoder<D>, batch: &Batch<'_>) -> NetResult<(Vec<f32>, Vec<f32>)> {
        let views = encoder.views.count();
        let seen = encoder.see::<NoneTape>(batch)?;
        let found = self.found(&seen.odds, &seen.pose, &seen.content);
        let (log_prior, beta) = (self.params().log_prior_of_views(), self.params().beta);
        let candidate = |i: usize| Candidate { view: i, score: -beta * (found.kl[i] - log_prior[i % views]) };
        let of_row = |(b, log_q): (usize, &[f32])| -> Vec<Candidate> {
            likely(log_q, LIKELY.min(views)).into_iter().map(|k| candidate(b * views + k)).collect()
        };
        let mut rows: Vec<Vec<Candidate>> = found.log_q.chunks_exact(views).enumerate().map(of_row).collect();

        // In the same order for every row, so that the latents of a patch do not depend on what stands beside it.
        let (height, width, _) = self.params().size;
        let mut pixels: Vec<u32> = (0..(height * width) as u32).collect();
        pixels.shuffle(&mut ChaCha8Rng::seed_from_u64(0));
        let mut rest = &pixels[..];
        for until in ROUNDS.into_iter().chain([pixels.len()]) {
            let (some, more) = rest.split_at((until - (pixels.len() - rest.len())).min(rest.len()));
            rest = more;
            let open: Vec<usize> = rows.iter().filter(|r| r.len() > 1).flatten().map(|c| c.view).collect();
            if open.is_empty() || some.is_empty() {
                break;
            }
            let placed = self.placed_views(encoder, &found, batch, &open, None);
            let of: Vec<usize> = open.iter().map(|i| i / views).collect();
            let log_p = self.score_of(&placed, &of, &batch.data, &some.repeat(rows.len()), Precision::F32)?;
            // What is scored speaks for all pixels; here each counts once.
            let share = some.len() as f32 / pixels.len() as f32;
            rows.iter_mut()
                .filter(|r| r.len() > 1)
                .flatten()
                .zip(log_p)
                .for_each(|(candidate, log_p)| candidate.score += share * log_p);
            for row in &mut rows {
                let best = row.iter().map(|c| c.score).fold(f32::NEG_INFINITY, f32::max);
                if best.is_finite() {
                    row.retain(|c| c.score >= best - GIVEN_UP);
                }
            }
        }
        let best = |row: &Vec<Candidate>| row.iter().max_by(|a, b| a.score.total_cmp(&b.score)).map(|c| c.view);
        let best: Vec<usize> = rows.iter().filter_map(best).collect();

        let placed = self.placed_views(encoder, &found, batch, &best, None);
        let places = self.params().places();
        let (content, columns) = (self.params().latent, self.params().decoder_inputs());
        let pose = places.len() - content;
        let (mut means, mut sds) = (Vec::new(), Vec::new());
        for (b, (&i, row)) in best.iter().zip(placed.chunks_exact(columns)).enumerate() {
            means.extend(places[..pose].iter().map(|(place, _)| row[*place]));
            means.extend(&row[POSE..POSE + content]);
            let sd = |j: usize| places[j].1 * found.pose.1[i * pose + j].exp();
            let of = |place: usize| places[..pose].iter().position(|(p, _)| *p == place).map_or(0.0, sd);
            let view = &encoder.views.poses[i % views];
            let ((sin, cos), size) = (view.turn.sin_cos(), view.scale.exp());
            sds.extend(places[..pose].iter().map(|(place, _)| match place {
                1 => size * (cos * of(1)).hypot(sin * of(2)),
                2 => size * (cos * of(2)).hypot(sin * of(1)),
                _ => of(*place),
            }));
            sds.extend(found.content.1[b * content..][..content].iter().map(|l| l.exp()));
        }
        Ok((means, sds))
    }
}

#[cfg(test)]
mod tests {
    use dfdx::tensor::Cpu;
    use ndarray::{Array4, s};
    use parsimon_core::{Patches, Scaling};
    use rand::Rng;

    use super::*;
    use crate::encoder::Encoder;
    use crate::{Examples, Inference, Noise, Params, ViewGrid};

    /// Patches of noise: no view is better than the rest by much, so that all pixels have to tell.
    fn noisy(rows: usize, side: usize) -> Patches {
        let mut rng = ChaCha8Rng::seed_from_u64(4);
        let images = Array4::from_shape_fn((rows, side, side, 1), |_| rng.gen_range(0.0..1.0));
        Patches::new(images, Scaling::unit(1)).unwrap()
    }

    #[test]
    fn the_view_is_the_best_of_all_pixels_where_few_do_not_tell() {
        let (rows, side) = (12, 30);
        let patches = noisy(rows, side);
        let params = Params { inference: Inference::Views(ViewGrid::angles(LIKELY)), ..Params::new((side, side, 1)) };
        // The decoder is untrained, so what few pixels say must be weak lest they mislead.
        let params = Params { noise: Noise::Gaussian(1.5), ..params };
        let model = Ivae::new(&Cpu::default(), &params, &mut ChaCha8Rng::seed_from_u64(1)).unwrap();
        let means = model.encode(&Examples::from(&patches)).unwrap().0;
        let angles = means.chunks_exact(params.columns().len()).map(|row| row[0]);

        let Encoder::Views(encoder) = &model.encoder else { panic!("it takes views") };
        let batch = Examples::from(&patches).batch(&params, &(0..rows).collect::<Vec<_>>()).unwrap();
        let seen = encoder.see::<NoneTape>(&batch).unwrap();
        let found = model.found(&seen.odds, &seen.pose, &seen.content);
        let every: Vec<usize> = (0..rows * LIKELY).collect();
        let placed = model.placed_views(encoder, &found, &batch, &every, None);
        let of: Vec<usize> = every.iter().map(|i| i / LIKELY).collect();
        let pixels: Vec<u32> = (0..(side * side) as u32).collect();
        let log_p = model.score_of(&placed, &of, &batch.data, &pixels.repeat(rows), Precision::F32).unwrap();
        let log_prior = params.log_prior_of_views();
        let score = |i: usize| log_p[i] - found.kl[i] + log_prior[i % LIKELY];
        let mut few = 0;
        for (b, angle) in angles.enumerate() {
            let of_row = b * LIKELY..(b + 1) * LIKELY;
            let best = of_row.clone().max_by(|i, j| score(*i).total_cmp(&score(*j))).unwrap();
            assert_eq!(angle, placed[best * params.decoder_inputs()], "row {b}");
            few += usize::from(of_row.filter(|i| score(*i) > score(best) - GIVEN_UP).count() > 1);
        }
        assert!(few > rows / 4, "{few} rows have rivals: a test of few pixels must not be able to tell");
    }

    #[test]
    fn latents_do_not_depend_on_what_stands_beside() {
        let patches = noisy(9, 14);
        let params = Params { inference: Inference::Views(ViewGrid::angles(16)), ..Params::new((14, 14, 1)) };
        let model = Ivae::new(&Cpu::default(), &params, &mut ChaCha8Rng::seed_from_u64(1)).unwrap();
        let some = Patches::new(patches.images().slice(s![3..5, .., .., ..]).to_owned(), Scaling::unit(1)).unwrap();
        let (all, (some, _)) =
            (model.encode(&Examples::from(&patches)).unwrap().0, model.encode(&Examples::from(&some)).unwrap());
        let columns = all.len() / 9;
        assert_eq!(all[3 * columns..5 * columns], some);
    }
}
