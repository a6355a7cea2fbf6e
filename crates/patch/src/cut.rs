use std::fmt;

use ndarray::{Array4, ArrayView2, Axis as Dim};
use parsimon_core::{BoxError, Describe, Image, Movie, Normalise, Patches, Sites};
use rayon::prelude::*;

use crate::interpolate::{Sampler, Tap};
use crate::window::{automatic_window, check_window};
use crate::{Error, Result};

/// How patches are cut.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Params {
    /// Side of the square window in pixels, 3 or more, odd or even. `None` (default): [`automatic_window`].
    pub window: Option<usize>,
    /// How values are brought to \[0,1\]. Default: [`Normalise::Global`], one range per channel.
    pub normalise: Normalise,
}

impl Default for Params {
    fn default() -> Self {
        Self { window: None, normalise: Normalise::Global }
    }
}

/// Why a site has no patch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reason {
    /// Its window reaches beyond the image.
    Border,
    /// A pixel its window needs was NaN or infinite in the file.
    Masked,
    /// It names a frame that the movie does not have.
    Frame,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Border => "too near the border",
            Self::Masked => "touches masked pixels",
            Self::Frame => "its frame is not there",
        })
    }
}

/// Patches, and what became of every site: each is in exactly one of `kept` and `left_out`.
#[derive(Debug, Clone, PartialEq)]
pub struct Cut {
    /// One patch for each kept site, with its site.
    pub patches: Patches,
    /// Indices of the sites that have a patch, in the order of the patches.
    pub kept: Vec<usize>,
    /// Indices of the others, rising, each with its reason.
    pub left_out: Vec<(usize, Reason)>,
    /// Side of the window, in pixels.
    pub window: usize,
}

/// Cuts a square window around each site.
///
/// Sample i of w lies at `y + i − (w − 1)/2`, so that the samples are symmetric about the site for odd and for even w;
/// values between pixels are interpolated (Catmull–Rom). Every sample must lie within the image. The frame of a site is
/// kept and otherwise ignored: see [`cut_movie`].
///
/// # Shapes
/// `channels`: aligned images of one shape; the patches are N×w×w×C.
///
/// # Errors
/// If there is no channel, the channels differ in shape, the window is below 3 px or larger than the image, there are
/// too few sites for the automatic window, or no site can have a patch.
///
/// # Reference
/// R. Keys, IEEE Trans. Acoust. Speech Signal Process. 29, 1153 (1981).
pub fn cut(channels: &[Image], sites: &Sites, params: &Params) -> Result<Cut> {
    let frame = check_channels(channels)?;
    cut_frames(&[frame], |_| Some(0), sites, params)
}

/// Cuts a square window around each site from the frame that the site names; else as [`cut`], with one channel.
///
/// # Errors
/// As [`cut`].
pub fn cut_movie(movie: &Movie, sites: &Sites, params: &Params) -> Result<Cut> {
    let frames: Vec<&[Image]> = movie.frames().chunks(1).collect();
    let count = frames.len();
    cut_frames(&frames, |frame| (frame < count).then_some(frame), sites, params)
}

impl Describe for Params {
    fn describe(&self, channels: &[Image], sites: &Sites) -> std::result::Result<Patches, BoxError> {
        Ok(cut(channels, sites, self)?.patches)
    }
}

fn check_channels(channels: &[Image]) -> Result<&[Image]> {
    let first = channels.first().ok_or(Error::NoChannel)?;
    let expected = first.shape();
    match channels.iter().position(|c| c.shape() != expected) {
        Some(channel) => Err(Error::ChannelShape { channel, found: channels[channel].shape(), expected }),
        None => Ok(channels),
    }
}

/// `frames` are not empty, each has at least one channel, and all are of one shape.
fn cut_frames(
    frames: &[&[Image]],
    frame_of: impl Fn(usize) -> Option<usize> + Sync,
    sites: &Sites,
    params: &Params,
) -> Result<Cut> {
    let (rows, columns) = frames[0][0].shape();
    let window = params.window.map_or_else(|| automatic_window(sites), Ok)?;
    check_window(window, (rows, columns))?;
    let taps = |site: usize| -> std::result::Result<(usize, Vec<Tap>, Vec<Tap>), Reason> {
        let site = sites.as_slice()[site];
        let frame = frame_of(site.frame).ok_or(Reason::Frame)?;
        let line = |centre: f64, len: usize| -> Option<Vec<Tap>> {
            let start = centre - 0.5 * (window - 1) as f64;
            (0..window).map(|i| Tap::new(start + i as f64, len)).collect()
        };
        let ys = line(site.y, rows).ok_or(Reason::Border)?;
        let xs = line(site.x, columns).ok_or(Reason::Border)?;
        let masked = frames[frame].iter().filter_map(Image::mask).any(|mask| touches(mask, &ys, &xs));
        if masked { Err(Reason::Masked) } else { Ok((frame, ys, xs)) }
    };
    let outcome: Vec<_> = (0..sites.len()).into_par_iter().map(|s| taps(s).map(|(f, ..)| f)).collect();
    let kept: Vec<usize> = (0..sites.len()).filter(|&s| outcome[s].is_ok()).collect();
    let left_out: Vec<(usize, Reason)> =
        outcome.iter().enumerate().filter_map(|(s, o)| o.err().map(|reason| (s, reason))).collect();
    if kept.is_empty() {
        let count = |reason| left_out.iter().filter(|(_, r)| *r == reason).count();
        let (border, masked, frame) = (count(Reason::Border), count(Reason::Masked), count(Reason::Frame));
        return Err(Error::NothingLeft { sites: sites.len(), window, border, masked, frame });
    }
    let mut values = Array4::<f64>::zeros((kept.len(), window, window, frames[0].len()));
    values.axis_iter_mut(Dim(0)).into_par_iter().zip(&kept).for_each(|(mut patch, &site)| {
        // Every kept site passed once already.
        let Ok((frame, ys, xs)) = taps(site) else { return };
        let sampler = Sampler::new(&ys, &xs, (rows, columns));
        for (c, image) in frames[frame].iter().enumerate() {
            let image = image.values();
            for ((i, j), value) in patch.index_axis_mut(Dim(2), c).indexed_iter_mut() {
                *value = sampler.value(image, i, j);
            }
        }
    });
    let patches = Patches::from_stored(values.view(), params.normalise)?.with_sites(sites.select(&kept))?;
    Ok(Cut { patches, kept, left_out, window })
}

/// Whether the window needs a masked pixel.
fn touches(mask: ArrayView2<'_, bool>, ys: &[Tap], xs: &[Tap]) -> bool {
    let used = |taps: &[Tap], len: usize| {
        let mut pixels: Vec<usize> = taps.iter().flat_map(|t| t.pixels(len)).collect();
        pixels.dedup();
        pixels.sort_unstable();
        pixels.dedup();
        pixels
    };
    let (rows, columns) = mask.dim();
    let xs = used(xs, columns);
    used(ys, rows).iter().any(|&y| xs.iter().any(|&x| mask[[y, x]]))
}
