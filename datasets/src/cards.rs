use ndarray::{Array1, Array4};
use parsimon_core::{Dataset, Patches, Scaling};
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

use crate::error::require;
use crate::{Error, Result, Suit};

/// Half the height of an upright suit, in half-widths of the image.
const HALF_HEIGHT: f64 = 0.62;
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
/// takes 62 % of the height of the frame before shear and is never cut. A pixel is the fraction of it that is covered.
/// Rows are shuffled, so that the last tenth is a fair hold-out.
///
/// # Shapes
/// `images` (4·per_suit)×size×size×1 in \[0,1\]; `labels` 0 spades, 1 clubs, 2 diamonds, 3 hearts; `truth` holds
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

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::{Array2, Axis, s};
    use std::f64::consts::FRAC_PI_2;

    const UPRIGHT: Pose = Pose { angle: 0.0, shear: 0.0, dy: 0.0, dx: 0.0 };

    fn drawn(suit: Suit, pose: Pose, size: usize) -> Array2<f64> {
        let mut pixels = vec![0.0; size * size];
        draw(&mut pixels, size, suit, &pose);
        Array2::from_shape_vec((size, size), pixels).unwrap().mapv(f64::from)
    }

    fn centre(image: &Array2<f64>) -> (f64, f64) {
        let sum = image.sum();
        let add =
            |of: fn((usize, usize)) -> usize| image.indexed_iter().map(|(p, v)| of(p) as f64 * v).sum::<f64>() / sum;
        (add(|p| p.0), add(|p| p.1))
    }

    #[test]
    fn the_angle_is_counter_clockwise_as_seen() {
        for suit in Suit::ALL {
            let upright = drawn(suit, UPRIGHT, 32);
            let turned = drawn(suit, Pose { angle: FRAC_PI_2, ..UPRIGHT }, 32);
            let expected = Array2::from_shape_fn((32, 32), |(i, j)| upright[[j, 31 - i]]);
            assert!((&turned - &expected).iter().all(|d| d.abs() < 0.03), "{suit:?}");
        }
    }

    #[test]
    fn shifts_are_down_and_right_in_half_widths() {
        let (y, x) = centre(&drawn(Suit::Spades, UPRIGHT, 40));
        let (ys, xs) = centre(&drawn(Suit::Spades, Pose { dy: 0.1, dx: -0.05, ..UPRIGHT }, 40));
        assert!((ys - y - 2.0).abs() < 0.02 && (xs - x + 1.0).abs() < 0.02, "{} {}", ys - y, xs - x);
    }

    #[test]
    fn shear_moves_the_top_to_the_right_by_its_tangent() {
        let shear = 20f64.to_radians();
        let image = drawn(Suit::Diamonds, Pose { shear, ..UPRIGHT }, 200);
        let row = image.row(60);
        let x = row.indexed_iter().map(|(x, v)| x as f64 * v).sum::<f64>() / row.sum();
        let up = 99.5 - 60.0;
        assert!((x - 99.5 - up * shear.tan()).abs() < 0.3, "{x}");
    }

    #[test]
    fn upright_suits_take_62_percent_of_the_height_and_the_edges_are_smooth() {
        for suit in Suit::ALL {
            let image = drawn(suit, UPRIGHT, 100);
            let rows = image.rows().into_iter().filter(|r| r.sum() > 0.0).count();
            assert!((60..=64).contains(&rows), "{suit:?}: {rows}");
            assert!(image.iter().any(|v| (0.2..0.8).contains(v)), "{suit:?}");
            assert!(image.iter().any(|v| *v == 1.0), "{suit:?}");
        }
    }

    #[test]
    fn no_pose_cuts_a_suit() {
        let steps = |n: usize| (0..=n).map(move |i| 2.0 * i as f64 / n as f64 - 1.0);
        for shear in [-20f64, 20.0] {
            let tan = shear.to_radians().tan();
            for (suit, y, x) in
                Suit::ALL.iter().flat_map(|s| steps(200).flat_map(move |y| steps(200).map(move |x| (s, y, x))))
            {
                let (x_, y_) = (HALF_HEIGHT * (x + tan * y), HALF_HEIGHT * y);
                assert!(!suit.contains(x, y) || x_.hypot(y_) + SHIFT < 0.98, "{suit:?} at {x}, {y}");
            }
        }
        for variant in 1..=4 {
            let data = cards(&CardsParams { variant, size: 16, per_suit: 50, seed: 3 }).unwrap();
            let patches = data.images.unwrap();
            let images = patches.images();
            for rim in
                [images.slice(s![.., 0, .., ..]), images.slice(s![.., 15, .., ..]), images.slice(s![.., .., 0, ..])]
            {
                assert_eq!(rim.sum(), 0.0);
            }
        }
    }

    #[test]
    fn poses_fill_their_ranges_and_every_row_is_what_its_truth_says() {
        for variant in 1..=4 {
            let params = CardsParams { variant, size: 20, per_suit: 100, seed: 5 };
            let data = cards(&params).unwrap();
            assert_eq!(data.samples().unwrap(), 400);
            let (rotation, shear) = params.limits().unwrap();
            for (name, limit) in [("angle", rotation), ("shear", shear), ("dy", SHIFT), ("dx", SHIFT)] {
                let values = &data.truth[name];
                assert!(values.iter().all(|v| v.abs() <= limit), "{name}");
                let largest = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                let smallest = values.iter().copied().fold(f64::INFINITY, f64::min);
                assert!(largest > 0.95 * limit && smallest < -0.95 * limit, "{name}: {smallest} to {largest}");
                assert!(values.mean().unwrap().abs() < 0.15 * limit, "{name}");
            }
            let (images, labels) = (data.images.unwrap(), data.labels.unwrap());
            for row in [0, 7, 399] {
                let of = |name: &str| data.truth[name][row];
                let pose = Pose { angle: of("angle"), shear: of("shear"), dy: of("dy"), dx: of("dx") };
                let expected = drawn(Suit::ALL[labels[row] as usize], pose, 20).mapv(|v| v as f32);
                assert_eq!(images.images().index_axis(Axis(0), row).index_axis(Axis(2), 0), expected);
            }
        }
    }

    #[test]
    fn suits_are_equally_many_and_the_last_tenth_is_fair() {
        let labels = cards(&CardsParams { size: 8, ..CardsParams::default() }).unwrap().labels.unwrap();
        for suit in Suit::ALL {
            let count = |labels: ndarray::ArrayView1<'_, i64>| labels.iter().filter(|&&l| l == suit.label()).count();
            assert_eq!(count(labels.view()), 750);
            assert!((50..=100).contains(&count(labels.slice(s![2700..]))), "{suit:?}");
        }
    }

    #[test]
    fn the_seed_alone_decides() {
        let params = CardsParams { size: 12, per_suit: 20, ..CardsParams::default() };
        let on = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| cards(&params)).unwrap()
        };
        assert_eq!(on(1), on(3));
        assert_ne!(cards(&CardsParams { seed: 1, ..params }).unwrap(), on(1));
    }

    #[test]
    fn parameters_out_of_range_are_rejected() {
        let good = CardsParams { size: 8, per_suit: 1, ..CardsParams::default() };
        assert!(cards(&good).is_ok());
        for variant in [0, 5] {
            let error = cards(&CardsParams { variant, ..good }).unwrap_err().to_string();
            assert!(error.contains(&variant.to_string()) && error.contains("1, 2, 3 and 4"), "{error}");
        }
        for size in [0, 7, 4097, usize::MAX] {
            assert!(matches!(cards(&CardsParams { size, ..good }), Err(Error::Parameter { .. })), "{size}");
        }
        assert!(matches!(cards(&CardsParams { per_suit: 0, ..good }), Err(Error::Parameter { .. })));
        for per_suit in [usize::MAX, usize::MAX / 4, usize::MAX / 1024] {
            assert!(matches!(cards(&CardsParams { per_suit, ..good }), Err(Error::TooLarge { .. })), "{per_suit}");
        }
    }
}
