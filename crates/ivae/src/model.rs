use dfdx::tensor::{NoneTape, Tape, Tensor};
use dfdx::tensor_ops::TryMatMul;
use ndarray::Array4;
use parsimon_core::Patches;
use parsimon_nets::{
    Activation, Compute, Convolution, Data, Dense, Extent, Input, Matrix, Parameters, Pool, Pooling, Precision, Rows,
    Scored, SpatialDecoder, Target, Window, dense_score, heads, matrix,
};
use parsimon_objective::{Posterior, negative_elbo};
use parsimon_train::{Loss, Model, Step, Terms};
use rand::Rng;
use rand_chacha::ChaCha8Rng;
use rand_distr::StandardNormal;

use crate::{Error, Noise, Params, Result};

type NetResult<T> = std::result::Result<T, parsimon_nets::Error>;

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
    convolutions: Vec<Pooled<D>>,
    encoder: Vec<Dense<D>>,
    mean: Dense<D>,
    log_sd: Dense<D>,
    decoder: Decoder<D>,
    /// ln σ of the Gaussian likelihood, (1, channels).
    noise: Matrix<D>,
}

/// A convolution, and the pooling after it.
type Pooled<D> = (Convolution<D>, Option<Pool>);

#[derive(Debug, Clone)]
enum Decoder<D: Compute> {
    Spatial(Box<SpatialDecoder<D>>),
    Dense(Vec<Dense<D>>),
}

fn failed<E: std::fmt::Display>(error: E) -> parsimon_nets::Error {
    parsimon_nets::Error::Device(error.to_string())
}

impl<D: Compute> Ivae<D> {
    /// A model with random weights.
    ///
    /// # Errors
    /// If a parameter is outside its range, or the device fails.
    pub fn new(device: &D, params: &Params, rng: &mut impl Rng) -> Result<Self> {
        params.check()?;
        let (height, width, channels) = params.size;
        let pixels = height * width * channels;
        let (convolutions, features) = convolutions(device, params, rng)?;
        let mut chain = |sizes: &[usize]| -> Result<Vec<Dense<D>>> {
            let pairs = sizes.iter().zip(&sizes[1..]);
            Ok(pairs
                .map(|(&i, &o)| Dense::new(device, i, o, params.activation, rng))
                .collect::<std::result::Result<_, _>>()?)
        };
        let encoder = chain(&[&[features], &params.hidden[..]].concat())?;
        let mut dense = Vec::new();
        if params.invariances.none() {
            let back: Vec<usize> = params.hidden.iter().rev().copied().collect();
            dense = chain(&[&[params.latent], &back[..], &[pixels]].concat())?;
            if let Some(last) = dense.last_mut() {
                last.activation = Activation::Identity;
            }
        }
        let last = params.hidden.last().copied().unwrap_or(features);
        let latents = params.columns().len();
        let mean = Dense::new(device, last, latents, Activation::Identity, rng)?;
        let log_sd = Dense::new(device, last, latents, Activation::Identity, rng)?;
        let decoder = if params.invariances.none() {
            Decoder::Dense(dense)
        } else {
            let hidden: Vec<usize> = params.hidden.iter().rev().copied().collect();
            let mut spatial = SpatialDecoder::new(device, params.size, params.latent, &hidden, params.activation, rng)?;
            if params.skip {
                spatial = spatial.with_skips(rng)?;
            }
            Decoder::Spatial(Box::new(spatial))
        };
        let sd = match params.noise {
            Noise::Gaussian(sd) => sd.ln(),
            _ => -2.0,
        };
        let noise = matrix(device, vec![sd; channels], 1, channels)?;
        let (params, device) = (params.clone(), device.clone());
        Ok(Self { params, device, convolutions, encoder, mean, log_sd, decoder, noise })
    }

    /// Its parameters.
    pub fn params(&self) -> &Params {
        &self.params
    }

    /// The device it lives on.
    pub fn device(&self) -> &D {
        &self.device
    }

    fn posterior<T: Tape<f32, D>>(&self, x: &Data<'_>) -> NetResult<Posterior<D, T>> {
        let mut found = None;
        for (layer, pool) in &self.convolutions {
            let h = match found.take() {
                Some(h) => layer.forward(h)?,
                None => layer.forward_data(x)?,
            };
            found = Some(match pool {
                Some(pool) => pool.forward(h)?,
                None => h,
            });
        }
        let x = found.map_or(Input::Data(x), Input::Rows);
        let [mean, log_sd] = heads(x, &self.encoder, [&self.mean, &self.log_sd])?;
        Ok(Posterior { mean, log_sd })
    }

    /// Latents in units of their prior widths → inputs of the decoder.
    fn place<T: Tape<f32, D>>(&self, u: Rows<D, T>) -> NetResult<Rows<D, T>> {
        if let Decoder::Dense(_) = self.decoder {
            return Ok(u);
        }
        let places = self.params.places();
        let columns = 4 + self.params.latent;
        let mut table = vec![0.0; places.len() * columns];
        for (latent, (column, width)) in places.into_iter().enumerate() {
            table[latent * columns + column] = width;
        }
        let rows = table.len() / columns;
        u.try_matmul(matrix(&self.device, table, rows, columns)?).map_err(failed)
    }

    fn score<T: Tape<f32, D>>(
        &self,
        u: Rows<D, T>,
        data: &Data<'_>,
        pixels: Option<&[u32]>,
        precision: Precision,
    ) -> NetResult<Scored<D, T>> {
        let (weights, likelihood) = (&vec![1.0; data.shape().0][..], self.params.noise.likelihood());
        let target = Target { data, pixels, weights, likelihood, log_sd: &self.noise, precision };
        let placed = self.place(u)?;
        Ok(match &self.decoder {
            Decoder::Spatial(decoder) => decoder.score(placed, &target)?,
            Decoder::Dense(layers) => dense_score(placed, layers, &target)?,
        })
    }

    /// −ELBO of rows, with the tape of `T`; of a share of their pixels, if the decoder can decode some only.
    fn negative_elbo<T: Tape<f32, D>>(
        &self,
        data: &Data<'_>,
        Step { pixels: share, precision }: Step,
        noise: &mut ChaCha8Rng,
    ) -> parsimon_train::Result<(Tensor<(), f32, D, T>, Terms)> {
        let (rows, _) = data.shape();
        let posterior = self.posterior(data)?;
        let divergence = posterior.divergence()?;
        let latents = self.params.columns().len();
        let draw = (0..rows * latents).map(|_| noise.sample::<f32, _>(StandardNormal)).collect();
        let u = posterior.sample(matrix(&self.device, draw, rows, latents)?)?;
        let scored = match self.decoder {
            Decoder::Spatial(_) if share < 1.0 => {
                let (height, width, channels) = self.params.size;
                let pixels = draw_pixels(height * width, share, rows, noise);
                let picked = pick(data.values(), &pixels, rows, channels);
                let some = Data::new(picked, pixels.len() / rows * channels)?;
                self.score(u, &some, Some(&pixels), precision)?
            }
            _ => self.score(u, data, None, precision)?,
        };
        let mean = |rows: &[f32]| (rows.iter().map(|v| f64::from(*v)).sum::<f64>() / rows.len() as f64) as f32;
        let (reconstruction, kl) = (-mean(&scored.rows), mean(&divergence.rows));
        let terms = Terms { loss: reconstruction + self.params.beta * kl, reconstruction, kl };
        Ok((negative_elbo(scored.total, divergence.total, self.params.beta, rows)?, terms))
    }

    /// Mean and standard deviation (rows·latents each) of the latents, in units of their prior widths.
    pub(crate) fn encode(&self, data: &Patches) -> Result<(Vec<f32>, Vec<f32>)> {
        self.check_size(data)?;
        let rows: Vec<usize> = (0..data.len()).collect();
        let (mut means, mut sds) = (Vec::new(), Vec::new());
        for rows in rows.chunks(EVALUATION_ROWS) {
            let posterior = self.posterior::<NoneTape>(&self.gather(data, rows)?)?;
            means.extend(posterior.mean.as_vec());
            sds.extend(posterior.log_sd.as_vec().into_iter().map(f32::exp));
        }
        Ok((means, sds))
    }

    /// Mean images of latents placed as the decoder wants them (rows, 4 + latent).
    pub(crate) fn decode(&self, placed: &[f32]) -> Result<Array4<f32>> {
        let (height, width, channels) = self.params.size;
        let columns = 4 + self.params.latent;
        let rows = placed.len() / columns;
        let mut values = Vec::with_capacity(rows * height * width * channels);
        for block in placed.chunks(EVALUATION_ROWS * columns) {
            let n = block.len() / columns;
            match &self.decoder {
                Decoder::Spatial(decoder) => {
                    values.extend(decoder.outputs(&matrix(&self.device, block.to_vec(), n, columns)?)?);
                }
                Decoder::Dense(layers) => {
                    let z = block.chunks_exact(columns).flat_map(|row| row[4..].to_vec()).collect();
                    let mut h = matrix(&self.device, z, n, self.params.latent)?;
                    for layer in layers {
                        h = layer.forward(h)?;
                    }
                    values.extend(h.as_vec());
                }
            }
        }
        self.params.noise.likelihood().mean(&mut values);
        values.iter_mut().for_each(|v| *v = v.clamp(0.0, 1.0));
        Array4::from_shape_vec((rows, height, width, channels), values)
            .map_err(|e| parsimon_nets::Error::Device(e.to_string()).into())
    }

    /// Fails unless the data have the size the model was made for.
    pub(crate) fn check_size(&self, data: &Patches) -> Result<()> {
        let (found, expected) = (data.shape(), self.params.size);
        if found == expected { Ok(()) } else { Err(Error::Size { found, expected }) }
    }

    /// Some rows of the data.
    fn gather<'a>(&self, data: &'a Patches, rows: &[usize]) -> NetResult<Data<'a>> {
        let (h, w, c) = data.shape();
        let images = data.images();
        if let (Some(all), Some(&first)) = (images.to_slice(), rows.first())
            && rows.iter().enumerate().all(|(i, row)| *row == first + i)
        {
            return Data::lent(&all[first * h * w * c..][..rows.len() * h * w * c], h * w * c);
        }
        let mut values = Vec::with_capacity(rows.len() * h * w * c);
        for &row in rows {
            let image = images.index_axis(ndarray::Axis(0), row);
            match image.as_slice() {
                Some(image) => values.extend_from_slice(image),
                None => values.extend(image.iter()),
            }
        }
        Data::new(values, h * w * c)
    }
}

/// Convolutions of 3×3 pixels, pooled in between while a side of 4 and more is left, and how many features come out.
fn convolutions<D: Compute>(device: &D, params: &Params, rng: &mut impl Rng) -> Result<(Vec<Pooled<D>>, usize)> {
    let (height, width, channels) = params.size;
    let mut extent = Extent { height, width, channels };
    let mut layers = Vec::new();
    for (i, &filters) in params.convolutions.iter().enumerate() {
        let layer = Convolution::new(device, extent, Window::same(3, extent), filters, params.activation, rng)?;
        extent = layer.output();
        let more = i + 1 < params.convolutions.len() && extent.height.min(extent.width) >= 4;
        let pool = if more { Some(Pool::new(Pooling::Max, extent, Window::tiles(2, extent))?) } else { None };
        extent = pool.map_or(extent, |p| p.output());
        layers.push((layer, pool));
    }
    Ok((layers, extent.numbers()))
}

/// A share of the pixels for each row, one from each of as many equal stretches of the patch, so that every pixel is as
/// likely as any other and none of the patch is left out.
///
/// There are at least [`LEAST_PIXELS`], if the patch has as many.
fn draw_pixels(all: usize, share: f64, rows: usize, rng: &mut impl Rng) -> Vec<u32> {
    let n = ((all as f64 * share).round() as usize).max(LEAST_PIXELS).min(all);
    let stretch = all as f64 / n as f64;
    let mut draw = |i: usize| (((i as f64 + rng.gen_range(0.0..1.0)) * stretch) as usize).min(all - 1) as u32;
    (0..rows).flat_map(|_| (0..n).map(&mut draw).collect::<Vec<_>>()).collect()
}

/// Fewer pixels of a patch save no time, and their gradients are noise.
const LEAST_PIXELS: usize = 60;

/// The values of some pixels of each row, equally many in each.
fn pick(data: &[f32], pixels: &[u32], rows: usize, channels: usize) -> Vec<f32> {
    let rows = data.chunks_exact(data.len() / rows).zip(pixels.chunks_exact(pixels.len() / rows));
    rows.flat_map(|(row, pixels)| pixels.iter().flat_map(|p| &row[*p as usize * channels..][..channels]))
        .copied()
        .collect()
}

/// Rows on the device at once when encoding or decoding, so that memory does not grow with the data.
const EVALUATION_ROWS: usize = 500;

impl<D: Compute> Parameters<D> for Ivae<D> {
    fn visit(&self, prefix: &str, f: &mut dyn FnMut(String, &Matrix<D>)) {
        for (i, (layer, _)) in self.convolutions.iter().enumerate() {
            layer.visit(&format!("{prefix}convolution{i}"), f);
        }
        for (i, layer) in self.encoder.iter().enumerate() {
            layer.visit(&format!("{prefix}encoder{i}"), f);
        }
        self.mean.visit(&format!("{prefix}mean"), f);
        self.log_sd.visit(&format!("{prefix}log_sd"), f);
        match &self.decoder {
            Decoder::Spatial(decoder) => decoder.visit(&format!("{prefix}decoder"), f),
            Decoder::Dense(layers) => {
                layers.iter().enumerate().for_each(|(i, l)| l.visit(&format!("{prefix}decoder{i}"), f));
            }
        }
        if self.params.noise == Noise::GaussianLearned {
            f(format!("{prefix}noise"), &self.noise);
        }
    }

    fn visit_mut(&mut self, prefix: &str, f: &mut dyn FnMut(String, &mut Matrix<D>)) {
        for (i, (layer, _)) in self.convolutions.iter_mut().enumerate() {
            layer.visit_mut(&format!("{prefix}convolution{i}"), f);
        }
        for (i, layer) in self.encoder.iter_mut().enumerate() {
            layer.visit_mut(&format!("{prefix}encoder{i}"), f);
        }
        self.mean.visit_mut(&format!("{prefix}mean"), f);
        self.log_sd.visit_mut(&format!("{prefix}log_sd"), f);
        match &mut self.decoder {
            Decoder::Spatial(decoder) => decoder.visit_mut(&format!("{prefix}decoder"), f),
            Decoder::Dense(layers) => {
                layers.iter_mut().enumerate().for_each(|(i, l)| l.visit_mut(&format!("{prefix}decoder{i}"), f));
            }
        }
        if self.params.noise == Noise::GaussianLearned {
            f(format!("{prefix}noise"), &mut self.noise);
        }
    }
}

impl<D: Compute> Model<D> for Ivae<D> {
    type Data = Patches;

    fn loss(
        &self,
        data: &Patches,
        rows: &[usize],
        step: Step,
        noise: &mut ChaCha8Rng,
    ) -> parsimon_train::Result<(Loss<D>, Terms)> {
        let x = self.gather(data, rows)?;
        self.negative_elbo(&x, step, noise)
    }

    fn evaluate(&self, data: &Patches, rows: &[usize], noise: &mut ChaCha8Rng) -> parsimon_train::Result<Terms> {
        let x = self.gather(data, rows)?;
        Ok(self.negative_elbo::<NoneTape>(&x, Step::EXACT, noise)?.1)
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    #[test]
    fn every_pixel_is_drawn_as_often_as_any_other() {
        let (all, rows) = (290, 20_000);
        let pixels = draw_pixels(all, 0.25, rows, &mut ChaCha8Rng::seed_from_u64(0));
        assert_eq!(pixels.len(), 73 * rows);
        let mut counts = vec![0.0; all];
        pixels.iter().for_each(|p| counts[*p as usize] += 1.0);
        let expected = (73 * rows) as f64 / all as f64;
        // Five standard deviations of a Poisson count.
        assert!(counts.iter().all(|c: &f64| (c - expected).abs() < 5.0 * expected.sqrt()), "{expected}: {counts:?}");
        assert_eq!(draw_pixels(900, 0.01, 2, &mut ChaCha8Rng::seed_from_u64(0)).len(), 2 * LEAST_PIXELS);
        assert_eq!(
            draw_pixels(9, 0.01, 2, &mut ChaCha8Rng::seed_from_u64(0)),
            (0..18).map(|p| p % 9).collect::<Vec<_>>()
        );
    }

    #[test]
    fn the_values_picked_are_those_of_the_pixels() {
        let data: Vec<f32> = (0..12).map(|v| v as f32).collect();
        assert_eq!(pick(&data, &[2, 0, 1, 1], 2, 2), [4.0, 5.0, 0.0, 1.0, 8.0, 9.0, 8.0, 9.0]);
    }
}
