use dfdx::tensor::Tape;
use dfdx::tensor_ops::TryAdd;
use parsimon_nets::{
    Activation, Compute, Convolution, Data, Dense, Extent, Input, Matrix, Parameters, Pool, Pooling, Rows, Turns,
    Window, heads, matrix, mean_and_max, turned,
};
use parsimon_objective::Posterior;
use rand::Rng;

use crate::examples::Batch;
use crate::model::{NetResult, failed};
use crate::views::{View, Views};
use crate::{Params, Result};

/// How faintly the pose, and what view is chosen, begin: near rest, lest chance poses be learned as the objects' own. Content
/// begins loud, lest the decoder learn to do without.
const FAINT: f32 = 0.2;

/// A convolution, and the pooling after it.
type Pooled<D> = (Convolution<D>, Option<Pool>);

/// What gives q(u|x).
#[derive(Debug, Clone)]
pub(crate) enum Encoder<D: Compute> {
    /// Reads all latents off the patch.
    Plain(Box<PlainEncoder<D>>),
    /// Looks at the patch from several angles, places and distances.
    Views(Box<ViewEncoder<D>>),
}

/// Convolutions, dense layers, mean and ln σ of all latents.
#[derive(Debug, Clone)]
pub(crate) struct PlainEncoder<D: Compute> {
    /// Channels of the patches, if there are convolutions.
    channels: Option<usize>,
    convolutions: Vec<Pooled<D>>,
    layers: Vec<Dense<D>>,
    mean: Dense<D>,
    log_sd: Dense<D>,
    shifts: Vec<Option<(usize, f32)>>,
}

/// One network for every view of a patch. Each view has a chance to be the one in which the object lies straight, and
/// a pose to go with it; the content is read off what the views have in common, so that it cannot tell how the object lies.
///
/// References: Bepler et al. 2019, arXiv 1909.11663, for the latents; Nasiri & Bepler 2022, arXiv 2210.12918, for a
/// posterior over turned views.
#[derive(Debug, Clone)]
pub(crate) struct ViewEncoder<D: Compute> {
    pub(crate) views: Views,
    layers: Vec<Dense<D>>,
    chance: Dense<D>,
    pose: [Dense<D>; 2],
    content: [Dense<D>; 2],
    shifts: Vec<Option<(usize, f32)>>,
}

/// What a [`ViewEncoder`] finds.
pub(crate) struct Seen<D: Compute, T: Tape<f32, D>> {
    /// Log-odds of the views, (rows·views, 1); carries the way back.
    pub(crate) odds: Rows<D, T>,
    /// Pose latents of each view, (rows·views, pose).
    pub(crate) pose: Posterior<D, T>,
    /// Content latents, (rows, content).
    pub(crate) content: Posterior<D, T>,
}

fn chain<D: Compute>(device: &D, inputs: usize, params: &Params, rng: &mut impl Rng) -> NetResult<Vec<Dense<D>>> {
    let sizes = std::iter::once(&inputs).chain(&params.hidden).zip(&params.hidden);
    sizes.map(|(&i, &o)| Dense::new(device, i, o, params.activation, rng)).collect()
}

impl<D: Compute> Encoder<D> {
    pub(crate) fn new(device: &D, params: &Params, rng: &mut impl Rng) -> Result<Self> {
        let told = params.condition.inputs();
        let last = params.hidden.last().copied().unwrap_or(1);
        let mut head = |inputs, outputs| Dense::new(device, inputs, outputs, Activation::Identity, rng);
        if let Some(grid) = params.views() {
            let views = Views::new(params.size, grid.angles, params.prior.symmetry, &params.view_places());
            let pose = params.columns().len() - params.latent;
            let chance = head(last, 1)?.scaled(&[FAINT])?;
            let heads = [head(last, pose)?.scaled(&vec![FAINT; pose])?, head(last, pose)?];
            let content = [head(2 * last, params.latent)?, head(2 * last, params.latent)?];
            let layers = chain(device, views.columns() + told, params, rng)?;
            let shifts = params.shifts().into_iter().take(pose).collect();
            return Ok(Self::Views(Box::new(ViewEncoder { views, layers, chance, pose: heads, content, shifts })));
        }
        let (convolutions, features) = convolutions(device, params, rng)?;
        let (channels, features) =
            if convolutions.is_empty() { (None, features + told) } else { (Some(params.size.2), features) };
        let layers = chain(device, features, params, rng)?;
        let latents = params.columns().len();
        let pose = latents - params.latent;
        let loud = |latent: usize| if latent < pose { FAINT } else { 1.0 };
        let mean = Dense::new(device, last, latents, Activation::Identity, rng)?;
        let mean = mean.scaled(&(0..latents).map(loud).collect::<Vec<_>>())?;
        let log_sd = Dense::new(device, last, latents, Activation::Identity, rng)?;
        let shifts = params.shifts();
        Ok(Self::Plain(Box::new(PlainEncoder { channels, convolutions, layers, mean, log_sd, shifts })))
    }
}

impl<D: Compute> PlainEncoder<D> {
    pub(crate) fn posterior<T: Tape<f32, D>>(&self, batch: &Batch<'_>) -> NetResult<Posterior<D, T>> {
        let (columns, x) = (batch.seen().shape().1, batch.seen().values());
        // Convolutions are told the condition at every pixel.
        let (pixels, channels) = match self.channels {
            Some(channels) => (columns / channels, channels),
            None => (1, columns),
        };
        let told = batch.told(Data::lent(x, channels)?)?;
        let x = &Data::lent(told.values(), told.shape().1 * pixels)?;
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
        let [mean, log_sd] = heads(x, &self.layers, [&self.mean, &self.log_sd])?;
        Ok(Posterior { mean: moved(mean, &self.shifts, &[View::default()], batch)?, log_sd })
    }
}

impl<D: Compute> ViewEncoder<D> {
    pub(crate) fn see<T: Tape<f32, D>>(&self, batch: &Batch<'_>) -> NetResult<Seen<D, T>> {
        let Some((first, above)) = self.layers.split_first() else {
            return Err(parsimon_nets::Error::Device("an encoder without layers".to_owned()));
        };
        let rings = self.views.rings(batch.seen())?;
        let columns = rings.shape().1;
        let told = batch.told(rings)?;
        let turns = Turns { still: told.shape().1 - columns, ..self.views.turns() };
        let h = match self.layers.split_last() {
            Some((last, below)) if turns.steps == 1 => heads(Input::Data(&told), below, [last]).map(|[h]| h)?,
            _ => {
                let h = turned(&told, turns, first)?;
                match above.split_last() {
                    Some((last, below)) => heads(Input::Rows(h), below, [last]).map(|[h]| h)?,
                    None => h,
                }
            }
        };
        let common = mean_and_max(h.retaped::<T>(), self.views.count())?;
        let [mean, log_sd] = &self.content;
        let [mean, log_sd] = heads(Input::Rows(common), &[], [mean, log_sd])?;
        let content = Posterior { mean, log_sd };
        let [mean, log_sd] = &self.pose;
        let [odds, mean, log_sd] = heads(Input::Rows(h), &[], [&self.chance, mean, log_sd])?;
        let mean = moved(mean, &self.shifts, &self.views.poses, batch)?;
        Ok(Seen { odds, pose: Posterior { mean, log_sd }, content })
    }

    fn parts(&self) -> [(&'static str, &Dense<D>); 5] {
        let ([pose_mean, pose_log_sd], [mean, log_sd]) = (&self.pose, &self.content);
        [
            ("chance", &self.chance),
            ("pose_mean", pose_mean),
            ("pose_log_sd", pose_log_sd),
            ("mean", mean),
            ("log_sd", log_sd),
        ]
    }

    fn parts_mut(&mut self) -> [(&'static str, &mut Dense<D>); 5] {
        let ([pose_mean, pose_log_sd], [mean, log_sd]) = (&mut self.pose, &mut self.content);
        [
            ("chance", &mut self.chance),
            ("pose_mean", pose_mean),
            ("pose_log_sd", pose_log_sd),
            ("mean", mean),
            ("log_sd", log_sd),
        ]
    }
}

impl<D: Compute> Parameters<D> for Encoder<D> {
    fn visit(&self, prefix: &str, f: &mut dyn FnMut(String, &Matrix<D>)) {
        let layers = match self {
            Self::Plain(plain) => {
                for (i, (layer, _)) in plain.convolutions.iter().enumerate() {
                    layer.visit(&format!("{prefix}convolution{i}"), f);
                }
                &plain.layers
            }
            Self::Views(views) => &views.layers,
        };
        for (i, layer) in layers.iter().enumerate() {
            layer.visit(&format!("{prefix}encoder{i}"), f);
        }
        match self {
            Self::Plain(plain) => {
                plain.mean.visit(&format!("{prefix}mean"), f);
                plain.log_sd.visit(&format!("{prefix}log_sd"), f);
            }
            Self::Views(views) => {
                views.parts().into_iter().for_each(|(name, layer)| layer.visit(&format!("{prefix}{name}"), f));
            }
        }
    }

    fn visit_mut(&mut self, prefix: &str, f: &mut dyn FnMut(String, &mut Matrix<D>)) {
        let layers = match self {
            Self::Plain(plain) => {
                for (i, (layer, _)) in plain.convolutions.iter_mut().enumerate() {
                    layer.visit_mut(&format!("{prefix}convolution{i}"), f);
                }
                &mut plain.layers
            }
            Self::Views(views) => &mut views.layers,
        };
        for (i, layer) in layers.iter_mut().enumerate() {
            layer.visit_mut(&format!("{prefix}encoder{i}"), f);
        }
        match self {
            Self::Plain(plain) => {
                plain.mean.visit_mut(&format!("{prefix}mean"), f);
                plain.log_sd.visit_mut(&format!("{prefix}log_sd"), f);
            }
            Self::Views(views) => {
                let parts = views.parts_mut();
                parts.into_iter().for_each(|(name, layer)| layer.visit_mut(&format!("{prefix}{name}"), f));
            }
        }
    }
}

/// Means of latents, with how far the objects lay off what was seen added to the shifts, as they are in these views, which
/// follow each other for each object.
fn moved<D: Compute, T: Tape<f32, D>>(
    mean: Rows<D, T>,
    shifts: &[Option<(usize, f32)>],
    views: &[View],
    batch: &Batch<'_>,
) -> NetResult<Rows<D, T>> {
    let Some(off) = batch.off() else { return Ok(mean) };
    let in_view = |[right, down]: &[f32; 2], view: &View| {
        let ((sin, cos), size) = (view.turn.sin_cos(), view.scale.exp());
        [(cos * right - sin * down) / size, (cos * down + sin * right) / size]
    };
    let all = off.iter().flat_map(|off| views.iter().map(move |view| in_view(off, view)));
    let more = all.flat_map(|off| shifts.iter().map(move |s| s.map_or(0.0, |(axis, width)| off[axis] / width)));
    let more = matrix(mean.device(), more.collect(), off.len() * views.len(), shifts.len())?;
    mean.try_add(more).map_err(failed)
}

/// Convolutions of 3×3 pixels, pooled in between while a side of 4 and more is left, and how many features come out.
fn convolutions<D: Compute>(device: &D, params: &Params, rng: &mut impl Rng) -> Result<(Vec<Pooled<D>>, usize)> {
    let (height, width, channels) = params.size;
    let told = if params.convolutions.is_empty() { 0 } else { params.condition.inputs() };
    let mut extent = Extent { height, width, channels: channels + told };
    let mut layers = Vec::new();
    for (i, &filters) in params.convolutions.iter().enumerate() {
        let layer = Convolution::new(device, extent, Window::same(3, extent), filters, params.activation, rng)?;
        extent = layer.output();
        let room = extent.width.min(if extent.height == 1 { extent.width } else { extent.height });
        let more = i + 1 < params.convolutions.len() && room >= 4;
        let pool = if more { Some(Pool::new(Pooling::Max, extent, Window::tiles(2, extent))?) } else { None };
        extent = pool.map_or(extent, |p| p.output());
        layers.push((layer, pool));
    }
    Ok((layers, extent.numbers()))
}
