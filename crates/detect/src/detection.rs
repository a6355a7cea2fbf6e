use ndarray::{Array2, ArrayView2};
use parsimon_core::{BoxError, Detect, Image, Refinement, Site, Sites};

use crate::filter::{background, gaussian, gaussian_noise, log_noise, log_response};
use crate::lattice::{Structure, structure};
use crate::neighbours::{median, sample};
use crate::params::SMALLEST_SIGMA;
use crate::peaks::{Candidate, maxima, scale_space, sub_pixel, suppress};
use crate::polarity::polarity;
use crate::refine::refine;
use crate::threshold::{gap, noise_floor, pixel_noise};
use crate::work::Work;
use crate::{Classes, Error, LatticeEstimate, Method, Params, Polarity, Result, brightness_classes};

/// What was used where the parameters left a choice.
#[derive(Debug, Clone, PartialEq)]
pub struct Used {
    /// [`Polarity::Bright`] or [`Polarity::Dark`].
    pub polarity: Polarity,
    /// Smallest and largest width σ that was looked for, in pixels.
    pub sigma: (f64, f64),
    /// Least response of an atom, in the values of the image.
    pub threshold: f64,
    /// Least distance of two sites of the width that the image shows, in pixels.
    pub min_distance: f64,
    /// Width of the border without sites, in pixels.
    pub border: f64,
    /// Width σ of the Gaussian that followed the background, in pixels; 0: none removed.
    pub background: f64,
    /// Standard deviation of the noise of single pixels, in the values of the image.
    pub noise: f64,
    /// What the image said about its lattice, if it shows one.
    pub lattice: Option<LatticeEstimate>,
}

/// Sites and how they were found.
#[derive(Debug, Clone, PartialEq)]
pub struct Detection {
    /// The sites, from the top row down; all of frame 0.
    pub sites: Sites,
    /// What was used where the parameters left a choice.
    pub used: Used,
    /// The two kinds of sites, if intensities tell two apart.
    pub classes: Option<Classes>,
    /// How many refinements failed.
    pub failed: usize,
    /// What a user should know, one sentence each.
    pub notes: Vec<String>,
}

/// [`detect`] as a [`Detect`].
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Detector {
    /// How sites are found.
    pub params: Params,
}

impl Detect for Detector {
    fn detect(&self, image: &Image) -> std::result::Result<Sites, BoxError> {
        Ok(detect(image, &self.params)?.sites)
    }
}

/// Step from one scale to the next.
const SCALE_STEP: f64 = 1.25;
/// Scales looked at about the width that the image shows.
const AROUND: (f64, f64) = (0.7, 1.5);
/// Scales looked at if the image shows no width.
const FALLBACK: (f64, f64) = (1.0, 4.0);
/// Mean number of noise maxima that may pass for atoms in the whole image.
const FALSE_ATOMS: f64 = 0.01;
/// Responses below this share of the strong ones are no atoms, however little noise there is.
const WEAKEST: f64 = 0.1;

/// Finds the atoms of an image.
///
/// Background off, responses to blobs of several widths, maxima above the noise and above the first gap in heights,
/// the highest within `min_distance`, a Gaussian fit to each with its neighbours subtracted.
///
/// # Errors
/// If a parameter is out of range, the image is too small for the smallest width, or nothing can be told from noise.
///
/// # Reference
/// T. Lindeberg, Int. J. Comput. Vis. 30, 79 (1998), for the selection of scales.
pub fn detect(image: &Image, params: &Params) -> Result<Detection> {
    params.check()?;
    let (rows, columns) = image.shape();
    let Some(mut work) = Work::new(image) else {
        return Err(Error::NoAtoms { reason: format!("all {rows}×{columns} pixels have the same value") });
    };
    let mut notes = Vec::new();
    let shown = structure(work.values.view());
    let sigma = params.sigma.unwrap_or_else(|| match shown.sigma {
        Some(s) => ((AROUND.0 * s).max(SMALLEST_SIGMA), (AROUND.1 * s).max(SMALLEST_SIGMA)),
        None => FALLBACK,
    });
    let needed = (6.0 * sigma.0).ceil().max(8.0) as usize;
    if rows.min(columns) < needed {
        return Err(Error::TooSmall { rows, columns, sigma: sigma.0, needed });
    }
    let side = rows.min(columns) as f64;
    if sigma.1 > 0.5 * side {
        let accepted = "at most half the shorter side of the image";
        return Err(Error::Parameter { name: "largest sigma", value: sigma.1, accepted });
    }
    if params.sigma.is_none() && shown.sigma.is_none() {
        notes.push(format!("the size of the atoms cannot be seen: widths {} to {} px were tried", sigma.0, sigma.1));
    }
    if image.masked_count() > 0 {
        notes.push(format!("{} masked pixels ignored", image.masked_count()));
    }

    let smooth = params.background.unwrap_or_else(|| match shown.lattice {
        Some(l) => (1.25 * l.spacing).max(4.0 * l.sigma),
        None => 8.0 * sigma.1,
    });
    let smooth = smooth.min(side);
    if smooth > 0.0 {
        let below = background(work.values.view(), smooth);
        work.values -= &below;
    }

    let noise = pixel_noise(work.values.view());
    let mut stack = Stack::new(&work.values, params.method, sigma, &shown);
    let polarity = match params.polarity {
        Polarity::Auto => {
            let first = log_response(work.values.view(), stack.scales[0]);
            let (found, skewness) = polarity(first.view(), noise * log_noise(stack.scales[0]));
            let name = if found == Polarity::Dark { "dark" } else { "bright" };
            notes.push(format!("{name} atoms (skewness {skewness:.2})"));
            found
        }
        given => given,
    };
    if polarity == Polarity::Dark {
        work.values.mapv_inplace(|v| -v);
        stack.invert();
    }

    let least = match params.threshold {
        Some(t) => vec![t / work.scale; stack.scales.len()],
        None => stack.noise_floors(noise, shown.lattice.is_some()),
    };
    let distance = |c: &Candidate| params.min_distance.unwrap_or(2.0 * c.sigma);
    let candidates = suppress(stack.candidates(&least), distance);
    let threshold = match params.threshold {
        Some(t) => t / work.scale,
        None => automatic_threshold(&candidates, least[stack.base]),
    };
    if params.threshold.is_none() && shown.lattice.is_none() {
        stack.invert();
        let opposite = suppress(stack.candidates(&least), distance);
        if let Some(reason) = looks_like_noise(&candidates, &opposite) {
            return Err(Error::NoAtoms { reason });
        }
    }
    let mut candidates: Vec<Candidate> = candidates.into_iter().filter(|c| c.height >= threshold).collect();
    let found = candidates.len();
    candidates.retain(|c| !touches_mask(image, c));
    if candidates.len() < found {
        notes.push(format!("{} sites on masked pixels left out", found - candidates.len()));
    }
    if candidates.is_empty() {
        let level = threshold * work.scale;
        return Err(Error::NoAtoms { reason: format!("no response reaches the threshold of {level:.4e}") });
    }

    let fitted = refine(work.values.view(), |y, x| image.is_masked(y, x), &candidates, params.refine);
    let border = params.border.unwrap_or(sigma.0);
    let inside = |at: f64, len: usize| at >= border && at <= (len - 1) as f64 - border;
    let sign = if polarity == Polarity::Dark { -1.0 } else { 1.0 };
    let site = |f: &crate::refine::Fitted| Site {
        frame: 0,
        y: f.y,
        x: f.x,
        intensity: sign * f.height * work.scale,
        width: f.sigma,
        quality: f.quality,
        refinement: match (params.refine, f.converged) {
            (false, _) => Refinement::None,
            (true, true) => Refinement::Converged,
            (true, false) => Refinement::Failed,
        },
    };
    let mut sites: Vec<Site> = fitted.iter().filter(|f| inside(f.y, rows) && inside(f.x, columns)).map(site).collect();
    if sites.is_empty() {
        let reason = format!("all {} sites lie within {border:.2} px of the border", fitted.len());
        return Err(Error::NoAtoms { reason });
    }
    let near = fitted.len() - sites.len();
    if near > 0 {
        notes.push(format!("{near} more, nearer than {border:.2} px to the border, were not kept as sites"));
    }
    sites.sort_by(|a, b| a.y.total_cmp(&b.y).then(a.x.total_cmp(&b.x)));
    let failed = sites.iter().filter(|s| s.refinement == Refinement::Failed).count();
    if failed > 0 {
        notes.push(format!("{failed} of {} refinements failed, these sites keep their detected position", sites.len()));
    }
    let sites = Sites::new(sites)?;
    let classes = brightness_classes(&sites);
    if let Some(classes) = &classes {
        let [weak, strong] = classes.counts;
        notes.push(format!("two kinds of sites by intensity: {strong} stronger, {weak} weaker"));
    }
    let used = Used {
        polarity,
        sigma,
        threshold: threshold * work.scale,
        min_distance: params.min_distance.unwrap_or(2.0 * stack.width),
        border,
        background: smooth,
        noise: noise * work.scale,
        lattice: shown.lattice,
    };
    Ok(Detection { sites, used, classes, failed, notes })
}

/// Responses at several scales.
struct Stack {
    scales: Vec<f64>,
    /// Index of the scale nearest to the width that the image shows.
    base: usize,
    /// Width of an atom where the method does not select one.
    width: f64,
    responses: Vec<Array2<f32>>,
    method: Method,
}

impl Stack {
    fn new(image: &Array2<f32>, method: Method, (low, high): (f64, f64), shown: &Structure) -> Self {
        let steps = ((high / low).ln() / SCALE_STEP.ln() - 1e-9).ceil().max(0.0);
        let scale = |k: usize| if steps > 0.0 { low * (high / low).powf(k as f64 / steps) } else { low };
        let scales: Vec<f64> = match method {
            Method::LogBlobs => (0..=steps as usize).map(scale).collect(),
            Method::Maxima => vec![low],
        };
        let centre = shown.sigma.filter(|s| (low..=high).contains(s)).unwrap_or((low * high).sqrt());
        let off = |s: &f64| (s / centre).ln().abs();
        let base = (0..scales.len()).min_by(|&a, &b| off(&scales[a]).total_cmp(&off(&scales[b]))).unwrap_or(0);
        let responses = scales.iter().map(|&s| match method {
            Method::LogBlobs => log_response(image.view(), s),
            Method::Maxima => gaussian(image.view(), s),
        });
        Self { base, width: centre, responses: responses.collect(), scales, method }
    }

    fn invert(&mut self) {
        self.responses.iter_mut().for_each(|r| r.mapv_inplace(|v| -v));
    }

    /// The responses that noise alone does not reach.
    fn noise_floors(&self, noise: f64, has_lattice: bool) -> Vec<f64> {
        let floor = |(response, &sigma): (&Array2<f32>, &f64)| {
            // Area of a cell of the response to noise: the inverse of its mean squared wave number along one axis.
            let (white, cell) = match self.method {
                Method::LogBlobs => (noise * log_noise(sigma), sigma * sigma / 1.5),
                Method::Maxima => (noise * gaussian_noise(sigma), 2.0 * sigma * sigma),
            };
            // Without a lattice most of the image is noise, and correlated noise shows itself in the response.
            let seen = if has_lattice { 0.0 } else { spread(response.view()) };
            white.max(seen) * noise_floor(response.len() as f64 / cell, FALSE_ATOMS)
        };
        self.responses.iter().zip(&self.scales).map(floor).collect()
    }

    fn candidates(&self, least: &[f64]) -> Vec<Candidate> {
        match self.method {
            Method::LogBlobs => scale_space(&self.responses, &self.scales, self.base, least),
            Method::Maxima => {
                let response = self.responses[0].view();
                let place = |(y, x)| {
                    let (dy, dx) = sub_pixel(response, y, x);
                    let height = f64::from(response[[y, x]]);
                    Candidate { y: y as f64 + dy, x: x as f64 + dx, height, sigma: self.width }
                };
                maxima(response, least[0] as f32).into_iter().map(place).collect()
            }
        }
    }
}

/// Robust standard deviation: 1.4826 × the median absolute value of a sample.
fn spread(values: ArrayView2<'_, f32>) -> f64 {
    1.4826 * median(sample(values, 50_000).map(|v| f64::from(v.abs())).collect()).unwrap_or(0.0)
}

/// Height at share `share` of the candidates, which come highest first.
fn height_at(candidates: &[Candidate], share: f64) -> f64 {
    let place = (share * candidates.len().saturating_sub(1) as f64) as usize;
    candidates.get(place).map_or(0.0, |c| c.height)
}

fn automatic_threshold(candidates: &[Candidate], floor: f64) -> f64 {
    let floor = floor.max(WEAKEST * height_at(candidates, 0.1));
    let heights: Vec<f64> = candidates.iter().map(|c| c.height).collect();
    gap(&heights, floor)
}

/// Why the candidates are no atoms, if they are not: without a lattice, dark and bright blobs of one strength are noise.
fn looks_like_noise(candidates: &[Candidate], opposite: &[Candidate]) -> Option<String> {
    if candidates.is_empty() {
        return Some("no response stands out of the noise".into());
    }
    let (here, there) = (height_at(candidates, 0.1), height_at(opposite, 0.1));
    let alike = opposite.len() * 2 > candidates.len() && there > 0.75 * here;
    alike.then(|| "no lattice is seen, and bright and dark blobs are equally strong, as in noise".into())
}

/// Whether a masked pixel lies within σ of the candidate.
fn touches_mask(image: &Image, c: &Candidate) -> bool {
    if image.mask().is_none() {
        return false;
    }
    let span = |centre: f64| {
        let low = (centre - c.sigma).round().max(0.0) as usize;
        low..=((centre + c.sigma).round().max(0.0) as usize)
    };
    span(c.y)
        .any(|y| span(c.x).any(|x| (y as f64 - c.y).hypot(x as f64 - c.x) <= c.sigma.max(1.0) && image.is_masked(y, x)))
}
