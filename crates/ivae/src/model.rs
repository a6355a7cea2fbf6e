use dfdx::shapes::HasShape;
use dfdx::tensor::{NoneTape, PutTape, SplitTape, Tape, Tensor};
use dfdx::tensor_ops::{TryAdd, TryMatMul, TryMul};
use ndarray::{Array3, Array4, Axis};
use parsimon_nets::{Compute, Data, Matrix, Parameters, Precision, Rows, Scored, Target, matrix};
use parsimon_objective::{Mixture, Normal, Posterior, Prior, negative_elbo, some};
use parsimon_train::{Loss, Model, Step, Terms};
use rand::Rng;
use rand_chacha::ChaCha8Rng;
use rand_distr::StandardNormal;

use crate::decoder::Decoder;
use crate::encoder::Encoder;
use crate::examples::{Batch, Examples};
use crate::physics::{self, Term};
use crate::pixels::{draw_pixels, pick, share_of};
use crate::turning::ALIGNED;
use crate::{Noise, Params, Result};

pub(crate) type NetResult<T> = std::result::Result<T, parsimon_nets::Error>;

/// An invariant variational autoencoder.
///
/// The encoder gives q(u|x) of latents u in units of their prior widths; the pose among them (angle, shift, scale)
/// moves the coordinates of the decoder, the content z is what it decodes. Without invariances the decoder is dense.
///
/// References: Kingma & Welling 2013, arXiv 1312.6114; Bepler et al. 2019, arXiv 1909.11663.
#[derive(Debug, Clone)]
pub struct Ivae<D: Compute> {
    params: Params,
    device: D,
    pub(crate) encoder: Encoder<D>,
    pub(crate) decoder: Decoder<D>,
    /// ln σ of the Gaussian likelihood, (1, channels).
    noise: Matrix<D>,
    /// Prior of the content, unless that is N(0,1).
    mixture: Option<Mixture<D>>,
    /// What it is trained towards beside the ELBO.
    pub(crate) terms: Vec<Term<D>>,
}

/// Mean over rows.
pub(crate) fn mean(rows: &[f32]) -> f32 {
    (rows.iter().map(|v| f64::from(*v)).sum::<f64>() / rows.len() as f64) as f32
}

/// Least brightness that decoding begins at, and least distance from 1: a pixel that is dark in all patches must be able to light up.
const LEAST_MEAN: f32 = 0.01;

pub(crate) fn failed<E: std::fmt::Display>(error: E) -> parsimon_nets::Error {
    parsimon_nets::Error::Device(error.to_string())
}

impl<D: Compute> Ivae<D> {
    /// A model with random weights.
    ///
    /// # Errors
    /// If a parameter is outside its range, or the device fails.
    pub fn new(device: &D, params: &Params, rng: &mut impl Rng) -> Result<Self> {
        params.check()?;
        let channels = params.decoded().2;
        let encoder = Encoder::new(device, params, rng)?;
        let decoder = Decoder::new(device, params, rng)?;
        let sd = match params.noise {
            Noise::Gaussian(sd) => sd.ln(),
            _ => -2.0,
        };
        let noise = matrix(device, vec![sd; channels], 1, channels)?;
        let (params, device) = (params.clone(), device.clone());
        let terms = physics::terms(&params);
        let components = params.prior.components;
        let mixture = if components > 1 { Some(Mixture::new(&device, params.latent, components, rng)?) } else { None };
        Ok(Self { params, device, encoder, decoder, noise, mixture, terms })
    }

    /// The same with these terms of physics beside those of its parameters, in place of any others.
    #[must_use]
    pub fn with_physics(mut self, terms: &[Term<D>]) -> Self {
        self.terms = physics::terms(&self.params);
        self.terms.extend_from_slice(terms);
        self
    }

    /// The same, decoding about this mean image (H, W, C) before it has learned anything else, or its mean over the pixels if
    /// the decoder knows no single ones: it need not be driven there by way of all weights, which can leave it dull for long.
    pub(crate) fn beginning_at(mut self, mean: &Array3<f32>) -> NetResult<Self> {
        let likelihood = self.params.noise.likelihood();
        let output = |mean: &f32| likelihood.output(mean.clamp(LEAST_MEAN, 1.0 - LEAST_MEAN));
        let outputs: Vec<f32> = match &self.decoder {
            Decoder::Dense(_) => mean.iter().map(output).collect(),
            _ => mean.axis_iter(Axis(2)).filter_map(|channel| channel.mean()).map(|mean| output(&mean)).collect(),
        };
        self.decoder = self.decoder.beginning_at(&outputs)?;
        Ok(self)
    }

    /// Its parameters.
    pub fn params(&self) -> &Params {
        &self.params
    }

    /// The device it lives on.
    pub fn device(&self) -> &D {
        &self.device
    }

    /// Latents in units of their prior widths → inputs of the decoder, of as many latents from this one on.
    pub(crate) fn place<T: Tape<f32, D>>(&self, u: Rows<D, T>, first: usize) -> NetResult<Rows<D, T>> {
        let (latents, columns) = (u.shape().1, self.params.decoder_inputs());
        if latents == columns && self.params.invariances.none() {
            return Ok(u);
        }
        let mut table = vec![0.0; latents * columns];
        for (latent, (column, width)) in self.params.places().into_iter().skip(first).take(latents).enumerate() {
            table[latent * columns + column] = width;
        }
        u.try_matmul(matrix(&self.device, table, latents, columns)?).map_err(failed)
    }

    /// Inputs of the decoder, told the condition of each row.
    pub(crate) fn tell<T: Tape<f32, D>>(&self, placed: Rows<D, T>, batch: &Batch<'_>) -> NetResult<Rows<D, T>> {
        let (rows, columns, width) = (batch.rows(), self.params.decoder_inputs(), self.params.condition.inputs());
        if width == 0 {
            return Ok(placed);
        }
        let mut told = vec![0.0; rows * columns];
        for (row, condition) in told.chunks_exact_mut(columns).zip(batch.conditions.chunks_exact(width)) {
            row[columns - width..].copy_from_slice(condition);
        }
        placed.try_add(matrix(&self.device, told, rows, columns)?).map_err(failed)
    }

    /// log p of rows given placed latents.
    pub(crate) fn score<T: Tape<f32, D>>(
        &self,
        placed: Rows<D, T>,
        data: &Data<'_>,
        pixels: Option<&[u32]>,
        precision: Precision,
    ) -> NetResult<Scored<D, T>> {
        let (weights, likelihood) = (&vec![1.0; data.shape().0][..], self.params.noise.likelihood());
        let target = Target { data, pixels, weights, likelihood, log_sd: &self.noise, precision };
        self.decoder.score(placed, &target)
    }

    /// log p of rows given placed latents, of a share of their pixels if the decoder can decode some only.
    pub(crate) fn score_share<T: Tape<f32, D>>(
        &self,
        placed: Rows<D, T>,
        data: &Data<'_>,
        Step { pixels: share, precision, .. }: Step,
        noise: &mut ChaCha8Rng,
    ) -> NetResult<Scored<D, T>> {
        let rows = data.shape().0;
        match self.decoder {
            Decoder::Spatial(_) if share < 1.0 => {
                let (height, width, channels) = self.params.decoded();
                let all = height * width;
                let pixels = draw_pixels(all, share_of(all, share), rows, noise);
                let picked = pick(data.values(), &pixels, rows, channels);
                let some = Data::new(picked, pixels.len() / rows * channels)?;
                self.score(placed, &some, Some(&pixels), precision)
            }
            _ => self.score(placed, data, None, precision),
        }
    }

    /// Standard normal numbers.
    pub(crate) fn normal(&self, rows: usize, columns: usize, noise: &mut ChaCha8Rng) -> NetResult<Matrix<D>> {
        let draw = (0..rows * columns).map(|_| noise.sample::<f32, _>(StandardNormal)).collect();
        matrix(&self.device, draw, rows, columns)
    }

    /// −ELBO of rows, with the tape of `T`.
    pub(crate) fn negative_elbo<T: Tape<f32, D>>(
        &self,
        batch: &Batch<'_>,
        step: Step,
        noise: &mut ChaCha8Rng,
    ) -> parsimon_train::Result<(Tensor<(), f32, D, T>, Terms)> {
        let encoder = match &self.encoder {
            Encoder::Plain(encoder) => encoder,
            Encoder::Views(encoder) => return self.negative_elbo_of_views(encoder, batch, step, noise),
        };
        let rows = batch.rows();
        let posterior = encoder.posterior(batch)?;
        if self.params.deterministic {
            let placed = self.tell(self.place(posterior.mean, 0)?, batch)?;
            let scored = self.score_share(placed, batch.goal(), step, noise)?;
            let loss = scored.total.try_mul(-1.0 / rows as f32).map_err(failed)?;
            return Ok((loss, self.terms(-mean(&scored.rows), 0.0)));
        }
        let draw = self.normal(rows, self.params.columns().len(), noise)?;
        let divergence = self.divergence(&posterior, &draw)?;
        let u = posterior.sample(draw)?;
        let placed = self.tell(self.place(u, 0)?, batch)?;
        let scored = self.score_share(placed, batch.goal(), step, noise)?;
        let terms = self.terms(-mean(&scored.rows), mean(&divergence.rows));
        Ok((negative_elbo(scored.total, divergence.total, self.params.weight(step.done), rows)?, terms))
    }

    /// KL(q‖p) of all latents, (rows, latents) as `draw`.
    fn divergence<T: Tape<f32, D>>(&self, q: &Posterior<D, T>, draw: &Matrix<D>) -> NetResult<Scored<D, T>> {
        let circle = self.params.circle();
        if circle.is_none() && self.mixture.is_none() {
            return Normal.divergence(q, draw);
        }
        let all = self.params.columns().len();
        let content = all - self.params.latent;
        type Of<'f, D, T> = &'f dyn Fn(&Posterior<D, T>, &Matrix<D>) -> NetResult<Scored<D, T>>;
        let part = |columns: std::ops::Range<usize>, divergence: Of<'_, D, T>| -> NetResult<Scored<D, T>> {
            let (q, draw) = (q.some(all, columns.clone())?, some(draw, all, columns)?);
            let Scored { total, rows } = divergence(&q, &draw)?;
            // The way back from the part to the whole goes with it.
            let ((_, mean), (_, log_sd), (total, own)) =
                (q.mean.split_tape(), q.log_sd.split_tape(), total.split_tape());
            Ok(Scored { total: total.put_tape(own.merge(mean).merge(log_sd)), rows })
        };
        let mut sum = part(content..all, &|q, draw| self.divergence_of_content(q, draw))?;
        let mut add = |more: Scored<D, T>| -> NetResult<()> {
            sum.rows.iter_mut().zip(&more.rows).for_each(|(a, b)| *a += b);
            let so_far = sum.total.retaped::<T>();
            let total = std::mem::replace(&mut sum.total, so_far);
            sum.total = total.try_add(more.total).map_err(failed)?;
            Ok(())
        };
        let first = usize::from(circle.is_some());
        if let Some(circle) = circle {
            add(part(0..1, &|q, draw| circle.divergence(q, draw))?)?;
        }
        if first < content {
            add(part(first..content, &|q, draw| Normal.divergence(q, draw))?)?;
        }
        Ok(sum)
    }

    /// KL(q‖p) of the content.
    pub(crate) fn divergence_of_content<T: Tape<f32, D>>(
        &self,
        q: &Posterior<D, T>,
        draw: &Matrix<D>,
    ) -> NetResult<Scored<D, T>> {
        match &self.mixture {
            Some(mixture) => mixture.divergence(q, draw),
            None => Normal.divergence(q, draw),
        }
    }

    pub(crate) fn terms(&self, reconstruction: f32, kl: f32) -> Terms {
        // With a capacity the weight of the divergence is that of a constraint, which the loss shown leaves out.
        let beta = if self.params.capacity.is_some() { 1.0 } else { self.params.beta };
        Terms { loss: reconstruction + beta * kl, reconstruction, kl, physics: 0.0 }
    }

    /// Mean and standard deviation (rows·latents each) of the latents: rad, half-widths, ln scale, content.
    pub(crate) fn encode(&self, data: &Examples<'_>) -> Result<(Vec<f32>, Vec<f32>)> {
        data.check(&self.params)?;
        let widths: Vec<f32> = self.params.places().into_iter().map(|p| p.1).collect();
        let rows: Vec<usize> = (0..data.patches.len()).collect();
        let (mut means, mut sds) = (Vec::new(), Vec::new());
        let views = match &self.encoder {
            Encoder::Plain(_) => 1,
            Encoder::Views(encoder) => encoder.views.count(),
        };
        for rows in rows.chunks((VIEWS_AT_ONCE / views).clamp(1, EVALUATION_ROWS)) {
            let batch = data.batch(&self.params, rows)?;
            match &self.encoder {
                Encoder::Plain(encoder) => {
                    let posterior = encoder.posterior::<NoneTape>(&batch)?;
                    let wide = |(v, width): (f32, &f32)| v * width;
                    let widths = || widths.iter().cycle();
                    means.extend(posterior.mean.as_vec().into_iter().zip(widths()).map(wide));
                    sds.extend(posterior.log_sd.as_vec().into_iter().map(f32::exp).zip(widths()).map(wide));
                }
                Encoder::Views(encoder) => {
                    let (mean, sd) = self.straighten(encoder, &batch)?;
                    means.extend(mean);
                    sds.extend(sd);
                }
            }
        }
        Ok((means, sds))
    }

    /// Mean images of inputs of the decoder (rows, inputs).
    pub(crate) fn decode(&self, placed: &[f32]) -> Result<Array4<f32>> {
        let (height, width, channels) = self.params.decoded();
        let columns = self.params.decoder_inputs();
        let rows = placed.len() / columns;
        let mut values = Vec::with_capacity(rows * height * width * channels);
        for block in placed.chunks(EVALUATION_ROWS * columns) {
            let n = block.len() / columns;
            values.extend(self.decoder.outputs(&self.device, block, n)?);
        }
        self.params.noise.likelihood().mean(&mut values);
        values.iter_mut().for_each(|v| *v = v.clamp(0.0, 1.0));
        Array4::from_shape_vec((rows, height, width, channels), values)
            .map_err(|e| parsimon_nets::Error::Device(e.to_string()).into())
    }
}

/// Rows on the device at once when encoding or decoding, so that memory does not grow with the data.
const EVALUATION_ROWS: usize = 500;

/// Views at once, for the same.
pub(crate) const VIEWS_AT_ONCE: usize = 8000;

impl<D: Compute> Parameters<D> for Ivae<D> {
    fn visit(&self, prefix: &str, f: &mut dyn FnMut(String, &Matrix<D>)) {
        self.encoder.visit(prefix, f);
        self.decoder.visit(prefix, f);
        if self.params.noise == Noise::GaussianLearned {
            f(format!("{prefix}noise"), &self.noise);
        }
        if let Some(mixture) = &self.mixture {
            mixture.visit(&format!("{prefix}prior_"), f);
        }
    }

    fn visit_mut(&mut self, prefix: &str, f: &mut dyn FnMut(String, &mut Matrix<D>)) {
        self.encoder.visit_mut(prefix, f);
        self.decoder.visit_mut(prefix, f);
        if self.params.noise == Noise::GaussianLearned {
            f(format!("{prefix}noise"), &mut self.noise);
        }
        if let Some(mixture) = &mut self.mixture {
            mixture.visit_mut(&format!("{prefix}prior_"), f);
        }
    }
}

impl<D: Compute> Model<D> for Ivae<D> {
    type Data<'a> = Examples<'a>;

    fn loss(
        &self,
        data: &Examples<'_>,
        rows: &[usize],
        step: Step,
        noise: &mut ChaCha8Rng,
    ) -> parsimon_train::Result<(Loss<D>, Terms)> {
        let mut batch = data.batch(&self.params, rows)?;
        if let Encoder::Views(encoder) = &self.encoder
            && step.done < ALIGNED
        {
            batch.turns = data.turns(self, &encoder.views, rows)?;
        }
        let (loss, terms) = self.negative_elbo(&batch, step, noise)?;
        match self.physics(data, rows, step, noise)? {
            Some((more, physics)) => Ok((loss.try_add(more).map_err(failed)?, Terms { physics, ..terms })),
            None => Ok((loss, terms)),
        }
    }

    fn evaluate(&self, data: &Examples<'_>, rows: &[usize], noise: &mut ChaCha8Rng) -> parsimon_train::Result<Terms> {
        let batch = data.batch(&self.params, rows)?;
        Ok(self.negative_elbo::<NoneTape>(&batch, Step::EXACT, noise)?.1)
    }
}
