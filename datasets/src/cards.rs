use ndarray::{Array1, Array4};
use parsimon_core::{Dataset, Patches, Scaling};
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

use crate::error::require;
use crate::{Error, Result, Suit};

/// Half the height of an upright suit, in half-widths of the image.
const HALF_HEIGHT: f64 = 0.65;
/// Largest shift in either direction, in half-widths of the image.
const SHIFT: f64 = 0.1;
/// Points per pixel and direction whose mean is the value of a pixel.
const SUPERSAMPLING: usize = 6;
/// The stream of random numbers that shuffles; image `i` draws from stream `i`.
const SHUFFLE_STREAM: u64 = u64::MAX;

/// Which playing cards to draw.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CardsParams {
    /// 1 to 4: rotation up to ±(12°, 12°, 120°, 120°), shear up to ±(1°, 20°, 1°, 20°). Default 3.
    pub variant: u8,
    /// Side of the square images in pixels, 8 to 4096. Default 28.
    pub size: usize,
    /// Images of each suit, at least 1. Default 750.
    pub per_suit: usize,
    /// Seed of everything random. Default 0.
    pub seed: u64,
}

impl Default for CardsParams {
    fn default() -> Self {
        Self { variant: 3, size: 28, per_suit: 750, seed: 0 }
    }
}

impl CardsParams {
    /// Largest rotation and largest shear, in radians.
    ///
    /// # Errors
    /// If there is no such variant.
    pub fn limits(&self) -> Result<(f64, f64)> {
        let (rotation, shear): (f64, f64) = match self.variant {
            1 => (12.0, 1.0),
            2 => (12.0, 20.0),
            3 => (120.0, 1.0),
            4 => (120.0, 20.0),
            other => {
                let (name, accepted) = ("variant of the cards", "1, 2, 3 and 4");
                return Err(Error::Parameter { name, value: other.into(), accepted });
            }
        };
        Ok((rotation.to_radians(), shear.to_radians()))
    }
}

/// The pose of one card: `image = shift · rotation · shear · suit`.
#[derive(Debug, Clone, Copy)]
struct Pose {
    angle: f64,
    shear: f64,
    dy: f64,
    dx: f64,
}

/// Draws the four suits in random poses, white on black, with smooth edges.
///
/// An upright suit point (x right, y up) is sheared, x′ = x + y·tan(shear), then rotated counter-clockwise by the
/// angle, then shifted. Angle and shear are uniform in ± their limits, shifts uniform in ±0.1 half-widths. A suit
/// takes 65 % of the height of the frame before shear and is never cut. A pixel is the fraction of it that is covered.
/// Rows are shuffled, so that the last tenth is a fair hold-out.
///
/// # Shapes
/// `images` (4·per_suit)×size×size×1 in [0,1]; `labels` 0 spades, 1 clubs, 2 diamonds, 3 hearts; `truth` holds
/// `angle` (rad, counter-clockwise as seen), `shear` (rad), `dy` (down) and `dx` (right) in half-widths of the image.
///
/// # Errors
/// If a parameter is outside its range, or the images do not fit in memory.
pub fn cards(params: &CardsParams) -> Result<Dataset> {
    let (rotation, shear) = params.limits()?;
    let CardsParams { size, per_suit, seed, .. } = *params;
    require((8..=4096).contains(&size), "size of the cards", size as f64, "8 to 4096 pixels")?;
    require(per_suit >= 1, "number of cards per suit", per_suit as f64, "1 and more")?;

    let too_large = || Error::TooLarge { count: per_suit.saturating_mul(4), size };
    let count = per_suit.checked_mul(4).ok_or_else(too_large)?;
    let values = count.checked_mul(size * size).ok_or_else(too_large)?;
    let mut pixels: Vec<f32> = Vec::new();
    pixels.try_reserve_exact(values).map_err(|_| too_large())?;
    pixels.resize(values, 0.0);

    let mut order: Vec<usize> = (0..count).collect();
    order.shuffle(&mut stream(seed, SHUFFLE_STREAM));
    let suit = |index: usize| Suit::ALL[index % 4];
    let poses: Vec<Pose> = order.iter().map(|&index| pose(seed, index, rotation, shear)).collect();
    pixels
        .par_chunks_mut(size * size)
        .zip(order.par_iter().zip(&poses))
        .for_each(|(image, (&index, pose))| draw(image, size, suit(index), pose));

    let shape = (count, size, size, 1);
    let images = Array4::from_shape_vec(shape, pixels).map_err(|_| too_large())?;
    let column = |of: fn(&Pose) -> f64| poses.iter().map(of).collect::<Array1<f64>>();
    Ok(Dataset {
        images: Some(Patches::new(images, Scaling::unit(1))?),
        labels: Some(order.iter().map(|&index| suit(index).label()).collect()),
        truth: [
            ("angle".to_owned(), column(|p| p.angle)),
            ("shear".to_owned(), column(|p| p.shear)),
            ("dy".to_owned(), column(|p| p.dy)),
            ("dx".to_owned(), column(|p| p.dx)),
        ]
        .into(),
        ..Dataset::default()
    })
}

fn stream(seed: u64, stream: u64) -> ChaCha8Rng {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(stream);
    rng
}

fn pose(seed: u64, index: usize, rotation: f64, shear: f64) -> Pose {
    let mut rng = stream(seed, index as u64);
    let mut within = |limit: f64| rng.gen_range(-limit..=limit);
    Pose { angle: within(rotation), shear: within(shear), dy: within(SHIFT), dx: within(SHIFT) }
}

/// Draws one card into `image` (size×size, row by row).
fn draw(image: &mut [f32], size: usize, suit: Suit, pose: &Pose) {
    let (sin, cos) = pose.angle.sin_cos();
    let tan = pose.shear.tan();
    let fine = (SUPERSAMPLING * size) as f64;
    let coordinate = |index: usize, sub: usize| (2 * (SUPERSAMPLING * index + sub) + 1) as f64 / fine - 1.0;
    let inside = |y: f64, x: f64| {
        let (right, up) = (x - pose.dx, -(y - pose.dy));
        let (x, y) = (cos * right + sin * up, cos * up - sin * right);
        suit.contains((x - tan * y) / HALF_HEIGHT, y / HALF_HEIGHT)
    };
    for (i, row) in image.chunks_mut(size).enumerate() {
        for (j, pixel) in row.iter_mut().enumerate() {
            let covered = (0..SUPERSAMPLING)
                .flat_map(|a| (0..SUPERSAMPLING).map(move |b| (a, b)))
                .filter(|&(a, b)| inside(coordinate(i, a), coordinate(j, b)))
                .count();
            *pixel = covered as f32 / (SUPERSAMPLING * SUPERSAMPLING) as f32;
        }
    }
}
