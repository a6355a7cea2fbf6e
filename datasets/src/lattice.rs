use ndarray::{Array1, Array4};
use parsimon_core::{Dataset, Normalise, Patches, Scaling};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, Poisson};
use rayon::prelude::*;

use crate::Result;
use crate::error::require;

/// Lattice constant in pixels.
const CELL: f64 = 9.0;
/// Widths σ of an A and a B column in pixels.
const SIGMA: [f64; 2] = [1.7, 1.4];
/// Heights of an A column, of a B column, and of an A column in which another element sits.
const HEIGHTS: [f64; 3] = [0.9, 0.55, 0.5];
/// Share of the A columns in which another element sits.
const DOPED: f64 = 0.12;
/// Largest turn in rad, largest displacement of the B columns and largest jitter of the patch, in pixels.
const TURN: f64 = 0.2;
const DISPLACED: f64 = 1.3;
const JITTER: f64 = 0.5;
/// What lies between the columns.
const BACKGROUND: f64 = 0.05;

/// What the images of a lattice show.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum LatticeImages {
    /// Counts of electrons, so many at a value of 1; the goals are the same without noise. 0.1 to 1,000,000.
    Counts(f64),
    /// Grey; the goals are in colour: a channel for A, B and the other element.
    Grey,
    /// In colour; no goals.
    Colour,
}

/// Patches of a lattice with a basis, whose B columns are displaced and some of whose A columns hold another element.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LatticeParams {
    /// Side of the square patches in pixels, 8 to 256. Default 28.
    pub size: usize,
    /// Number of patches, 1 to 1,000,000. Default 3,000.
    pub count: usize,
    /// What they show. Default 10 counts.
    pub images: LatticeImages,
    /// Seed of everything random. Default 0.
    pub seed: u64,
}

impl Default for LatticeParams {
    fn default() -> Self {
        Self { size: 28, count: 3000, images: LatticeImages::Counts(10.0), seed: 0 }
    }
}

/// Draws patches of a square lattice about one of its A columns: turned by up to ±0.2 rad, jittered by up to half a pixel, B
/// columns displaced by up to 1.3 px along x or y, each A column with another, weaker element with a chance of 12 %.
///
/// # Shapes
/// `images` count×size×size×1, or ×3 in colour; `goals` as [`LatticeImages`] says; `labels` 1 if the other element sits in
/// the middle; `truth` holds `angle` (rad), `displaced_x` (right) and `displaced_y` (down), in pixels, along the lattice.
///
/// # Errors
/// If a parameter is outside its range.
pub fn lattice(params: &LatticeParams) -> Result<Dataset> {
    let LatticeParams { size, count, images, seed } = *params;
    require((8..=256).contains(&size), "size of a patch", size as f64, "8 to 256")?;
    require((1..=1_000_000).contains(&count), "number of patches", count as f64, "1 to 1000000")?;
    if let LatticeImages::Counts(counts) = images {
        require((0.1..=1e6).contains(&counts), "counts", counts, "0.1 to 1000000")?;
    }
    let rng = |i: usize, stream: u64| {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(2 * i as u64 + stream);
        rng
    };
    let cells: Vec<Cell> = (0..count).map(|i| Cell::new(size, &mut rng(i, 0))).collect();
    let colours = Array4::from_shape_vec((count, size, size, 3), drawn(&cells, size)).map_err(shape)?;
    let grey = colours.sum_axis(ndarray::Axis(3)).insert_axis(ndarray::Axis(3)) + BACKGROUND as f32;
    let grey = grey.mapv(|v| v.min(1.0));
    let unit = |images: Array4<f32>| {
        let channels = images.dim().3;
        Patches::new(images, Scaling::unit(channels))
    };
    let (images, goals) = match images {
        LatticeImages::Counts(counts) => {
            let mut noisy = grey.mapv(f64::from);
            for (i, mut patch) in noisy.outer_iter_mut().enumerate() {
                let mut rng = rng(i, 1);
                for v in &mut patch {
                    // At least the background, so that the mean is above 0.
                    *v = Poisson::new(*v * counts).map_or(0.0, |p| p.sample(&mut rng));
                }
            }
            (Patches::from_stored(noisy.view(), Normalise::Global)?, Some(unit(grey)?))
        }
        LatticeImages::Grey => (unit(grey)?, Some(unit(colours)?)),
        LatticeImages::Colour => (unit(colours)?, None),
    };
    let column = |of: fn(&Cell) -> f64| cells.iter().map(of).collect::<Array1<f64>>();
    Ok(Dataset {
        images: Some(images),
        goals,
        labels: Some(cells.iter().map(|c| i64::from(c.middle_doped)).collect()),
        truth: [
            ("angle".to_owned(), column(|c| c.angle)),
            ("displaced_x".to_owned(), column(|c| c.displaced[0])),
            ("displaced_y".to_owned(), column(|c| c.displaced[1])),
        ]
        .into(),
        ..Dataset::default()
    })
}

fn shape(error: ndarray::ShapeError) -> parsimon_core::Error {
    let what = format!("patches of a lattice ({error})");
    parsimon_core::Error::Range { what, value: 0.0, accepted: "sizes that fit in memory" }
}

/// A column: place right and down of the middle of the patch in pixels, channel, height, σ.
struct Column([f64; 2], usize, f64, f64);

struct Cell {
    angle: f64,
    displaced: [f64; 2],
    middle_doped: bool,
    columns: Vec<Column>,
}

impl Cell {
    fn new(size: usize, rng: &mut ChaCha8Rng) -> Self {
        let angle = rng.gen_range(-TURN..=TURN);
        let along = DISPLACED * rng.gen_range(-1.0..=1.0f64);
        let displaced = if rng.gen_bool(0.5) { [along, 0.0] } else { [0.0, along] };
        let jitter = [0; 2].map(|_| rng.gen_range(-JITTER..=JITTER));
        let reach = (size as f64 / CELL).ceil() as i64 + 1;
        let (sin, cos) = f64::sin_cos(angle);
        let place = |x: f64, y: f64| [cos * x + sin * y + jitter[0], cos * y - sin * x + jitter[1]];
        let (mut columns, mut middle_doped) = (Vec::new(), false);
        for j in -reach..=reach {
            for i in -reach..=reach {
                let (x, y) = (CELL * i as f64, CELL * j as f64);
                let doped = rng.gen_bool(DOPED);
                middle_doped |= doped && (i, j) == (0, 0);
                let (channel, height) = if doped { (2, HEIGHTS[2]) } else { (0, HEIGHTS[0]) };
                columns.push(Column(place(x, y), channel, height, SIGMA[0]));
                let half = 0.5 * CELL;
                let b = place(x + half + displaced[0], y + half + displaced[1]);
                columns.push(Column(b, 1, HEIGHTS[1], SIGMA[1]));
            }
        }
        Self { angle, displaced, middle_doped, columns }
    }
}

/// Patch after patch, (size, size, 3) each.
fn drawn(cells: &[Cell], size: usize) -> Vec<f32> {
    let middle = 0.5 * (size as f64 - 1.0);
    let draw = |cell: &Cell| {
        let mut pixels = vec![0.0f32; size * size * 3];
        for Column([x, y], channel, height, sigma) in &cell.columns {
            let (x, y, reach) = (x + middle, y + middle, 5.0 * sigma);
            let range = |v: f64| {
                let (low, high) = ((v - reach).ceil().max(0.0), (v + reach).floor().min(size as f64 - 1.0));
                (low as usize)..((high + 1.0).max(0.0) as usize).max(low as usize)
            };
            for row in range(y) {
                for column in range(x) {
                    let off = (column as f64 - x).powi(2) + (row as f64 - y).powi(2);
                    pixels[(row * size + column) * 3 + channel] +=
                        (height * (-0.5 * off / (sigma * sigma)).exp()) as f32;
                }
            }
        }
        pixels.iter_mut().for_each(|v| *v = v.min(1.0));
        pixels
    };
    cells.par_iter().flat_map_iter(draw).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(images: LatticeImages, count: usize) -> Dataset {
        lattice(&LatticeParams { count, images, ..LatticeParams::default() }).unwrap()
    }

    #[test]
    fn counts_scatter_about_the_goals_as_counts_do() {
        let data = of(LatticeImages::Counts(20.0), 60);
        let (noisy, clean) = (data.images.unwrap().stored(), data.goals.unwrap());
        let expected = clean.images().mapv(|v| 20.0 * f64::from(v));
        let off = &noisy - &expected;
        assert!((off.mean().unwrap() / expected.mean().unwrap()).abs() < 0.01);
        // The variance of counts is their mean.
        let ratio = off.mapv(|d| d * d).mean().unwrap() / expected.mean().unwrap();
        assert!((ratio - 1.0).abs() < 0.05, "{ratio}");
    }

    #[test]
    fn the_middle_holds_an_a_column_or_the_other_element() {
        let data = of(LatticeImages::Colour, 80);
        let images = data.images.unwrap();
        for (image, label) in images.images().outer_iter().zip(&data.labels.unwrap()) {
            let at = |channel: usize| image[(13, 13, channel)].max(image[(14, 14, channel)]);
            assert_eq!(at(2) > at(0), *label == 1);
        }
        assert!(data.goals.is_none());
        let grey = of(LatticeImages::Grey, 5);
        assert_eq!((grey.images.unwrap().shape().2, grey.goals.unwrap().shape().2), (1, 3));
    }

    #[test]
    fn the_seed_decides_and_bad_ranges_are_refused() {
        assert_eq!(of(LatticeImages::Counts(5.0), 9), of(LatticeImages::Counts(5.0), 9));
        let base = LatticeParams::default();
        for wrong in [
            LatticeParams { size: 4, ..base },
            LatticeParams { count: 0, ..base },
            LatticeParams { images: LatticeImages::Counts(0.0), ..base },
            LatticeParams { images: LatticeImages::Counts(f64::NAN), ..base },
        ] {
            assert!(lattice(&wrong).is_err(), "{wrong:?}");
        }
    }
}
