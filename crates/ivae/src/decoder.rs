use dfdx::tensor::Tape;
use parsimon_nets::{
    Activation, Compute, Convolution, Dense, Extent, Matrix, Parameters, Rows, Scored, SpatialDecoder, Target,
    Upsample, Window, dense_score, matrix,
};
use rand::Rng;

use crate::model::NetResult;
use crate::{DecoderKind, Params, Result};

/// What gives log p(x|u).
#[derive(Debug, Clone)]
pub(crate) enum Decoder<D: Compute> {
    /// A function of coordinates, which the pose moves.
    Spatial(Box<SpatialDecoder<D>>),
    Dense(Vec<Dense<D>>),
    Convolutional(Box<ConvolutionalDecoder<D>>),
}

/// Dense layers to a coarse grid, then the encoder's convolutions in reverse, with pixels repeated where it pools; where a side
/// is odd the grid has a pixel more than the encoder's.
#[derive(Debug, Clone)]
pub(crate) struct ConvolutionalDecoder<D: Compute> {
    layers: Vec<Dense<D>>,
    stages: Vec<(Option<Upsample>, Convolution<D>)>,
}

impl<D: Compute> Decoder<D> {
    pub(crate) fn new(device: &D, params: &Params, rng: &mut impl Rng) -> Result<Self> {
        let (height, width, channels) = params.decoded();
        let hidden: Vec<usize> = params.hidden.iter().rev().copied().collect();
        let content = params.latent + params.condition.inputs();
        if !params.invariances.none() {
            let mut spatial = SpatialDecoder::new(device, params.decoded(), content, &hidden, params.activation, rng)?;
            if params.skip {
                spatial = spatial.with_skips(rng)?;
            }
            return Ok(Self::Spatial(Box::new(spatial)));
        }
        let mut dense = |outputs: usize, end: Activation| -> NetResult<Vec<Dense<D>>> {
            let sizes = [&[content], &hidden[..], &[outputs]].concat();
            let layer = |(l, pair): (usize, &[usize])| {
                let activation = if l + 2 == sizes.len() { end } else { params.activation };
                Dense::new(device, pair[0], pair[1], activation, rng)
            };
            sizes.windows(2).enumerate().map(layer).collect()
        };
        if params.decoder == DecoderKind::Dense {
            return Ok(Self::Dense(dense(height * width * channels, Activation::Identity)?));
        }
        let grids = grids(height, width, params.convolutions.len());
        let coarse =
            |filters: usize, level: usize| Extent { height: grids[level].0, width: grids[level].1, channels: filters };
        let filters = &params.convolutions;
        let last = filters.len() - 1;
        let layers = dense(coarse(filters[last], last).numbers(), params.activation)?;
        let mut stages = Vec::new();
        for level in (0..=last).rev() {
            let mut extent = coarse(filters[level], level);
            let finer = level.checked_sub(1).map(|l| grids[l]).filter(|g| *g != grids[level]);
            let upsample = finer.map(|grid| Upsample::to(extent, grid)).transpose()?;
            extent = upsample.map_or(extent, |u| u.output());
            let (outputs, activation) = match level {
                0 => (channels, Activation::Identity),
                _ => (filters[level - 1], params.activation),
            };
            stages
                .push((upsample, Convolution::new(device, extent, Window::same(3, extent), outputs, activation, rng)?));
        }
        Ok(Self::Convolutional(Box::new(ConvolutionalDecoder { layers, stages })))
    }

    /// The same with outputs that begin about these, repeated to their number.
    pub(crate) fn beginning_at(self, outputs: &[f32]) -> NetResult<Self> {
        Ok(match self {
            Self::Spatial(decoder) => Self::Spatial(Box::new(decoder.beginning_at(outputs)?)),
            Self::Dense(mut layers) => {
                let last = layers.pop().map(|layer| layer.beginning_at(outputs)).transpose()?;
                layers.extend(last);
                Self::Dense(layers)
            }
            Self::Convolutional(mut decoder) => {
                let last = decoder.stages.pop();
                let last = last
                    .map(|(upsample, layer)| NetResult::Ok((upsample, layer.beginning_at(outputs)?)))
                    .transpose()?;
                decoder.stages.extend(last);
                Self::Convolutional(decoder)
            }
        })
    }

    /// log p of rows given placed latents.
    pub(crate) fn score<T: Tape<f32, D>>(&self, placed: Rows<D, T>, target: &Target<'_, D>) -> NetResult<Scored<D, T>> {
        match self {
            Self::Spatial(decoder) => decoder.score(placed, target),
            Self::Dense(layers) => dense_score(placed, layers, target),
            Self::Convolutional(decoder) => D::score(decoder.forward(placed)?, target),
        }
    }

    /// Outputs, row by row, before the likelihood makes means of them.
    pub(crate) fn outputs(&self, device: &D, placed: &[f32], rows: usize) -> NetResult<Vec<f32>> {
        let placed = matrix(device, placed.to_vec(), rows, placed.len() / rows.max(1))?;
        match self {
            Self::Spatial(decoder) => decoder.outputs(&placed),
            Self::Dense(layers) => Ok(layers.iter().try_fold(placed, |h, layer| layer.forward(h))?.as_vec()),
            Self::Convolutional(decoder) => Ok(decoder.forward(placed)?.as_vec()),
        }
    }
}

impl<D: Compute> ConvolutionalDecoder<D> {
    fn forward<T: Tape<f32, D>>(&self, x: Rows<D, T>) -> NetResult<Rows<D, T>> {
        let h = self.layers.iter().try_fold(x, |h, layer| layer.forward(h))?;
        self.stages.iter().try_fold(h, |h, (upsample, layer)| {
            layer.forward(match upsample {
                Some(upsample) => upsample.forward(h)?,
                None => h,
            })
        })
    }
}

/// Pixels down and across at each convolution, from the finest: halved, and rounded up, while a side of 4 and more is left.
fn grids(height: usize, width: usize, count: usize) -> Vec<(usize, usize)> {
    let coarser = |(height, width): &(usize, usize)| {
        let room = if *height == 1 { *width } else { *height.min(width) };
        let next = if room < 4 { (*height, *width) } else { (height.div_ceil(2), width.div_ceil(2)) };
        Some(next)
    };
    std::iter::successors(Some((height, width)), coarser).take(count).collect()
}

impl<D: Compute> Parameters<D> for Decoder<D> {
    fn visit(&self, prefix: &str, f: &mut dyn FnMut(String, &Matrix<D>)) {
        let dense = |layers: &[Dense<D>], f: &mut dyn FnMut(String, &Matrix<D>)| {
            layers.iter().enumerate().for_each(|(i, l)| l.visit(&format!("{prefix}decoder{i}"), f));
        };
        match self {
            Self::Spatial(decoder) => decoder.visit(&format!("{prefix}decoder"), f),
            Self::Dense(layers) => dense(layers, f),
            Self::Convolutional(decoder) => {
                dense(&decoder.layers, f);
                for (i, (_, layer)) in decoder.stages.iter().enumerate() {
                    layer.visit(&format!("{prefix}deconvolution{i}"), f);
                }
            }
        }
    }

    fn visit_mut(&mut self, prefix: &str, f: &mut dyn FnMut(String, &mut Matrix<D>)) {
        let dense = |layers: &mut [Dense<D>], f: &mut dyn FnMut(String, &mut Matrix<D>)| {
            layers.iter_mut().enumerate().for_each(|(i, l)| l.visit_mut(&format!("{prefix}decoder{i}"), f));
        };
        match self {
            Self::Spatial(decoder) => decoder.visit_mut(&format!("{prefix}decoder"), f),
            Self::Dense(layers) => dense(layers, f),
            Self::Convolutional(decoder) => {
                dense(&mut decoder.layers, f);
                for (i, (_, layer)) in decoder.stages.iter_mut().enumerate() {
                    layer.visit_mut(&format!("{prefix}deconvolution{i}"), f);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grids_halve_while_there_is_room() {
        assert_eq!(grids(28, 28, 4), [(28, 28), (14, 14), (7, 7), (4, 4)]);
        assert_eq!(grids(13, 10, 4), [(13, 10), (7, 5), (4, 3), (4, 3)]);
        assert_eq!(grids(1, 9, 3), [(1, 9), (1, 5), (1, 3)]);
    }
}
