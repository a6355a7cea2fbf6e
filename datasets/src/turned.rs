use std::f64::consts::PI;

use ndarray::{Array1, Array4};
use parsimon_core::{Dataset, Patches};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::Result;
use crate::error::require;

/// How far images are turned and shifted.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TurnedParams {
    /// Largest turn either way in rad, 0 to π. Default π.
    pub rotation: f64,
    /// Largest shift in either direction in half-widths of the image made, 0 to 1. Default 0.1.
    pub shift: f64,
    /// Pixels of background around each image, 0 to 1024, so that what is shifted is not cut off. Default 0.
    pub margin: usize,
    /// Seed of everything random. Default 0.
    pub seed: u64,
}

impl Default for TurnedParams {
    fn default() -> Self {
        Self { rotation: PI, shift: 0.1, margin: 0, seed: 0 }
    }
}

/// The samples of a dataset, goals with them, each turned counter-clockwise about the centre of its image and shifted, with 0 where nothing
/// was; values lie between pixels linearly. `truth` gains `angle` (rad), `dx` (right) and `dy` (down, half-widths). Images whose
/// pose is known already can be shifted further, not turned.
///
/// # Errors
/// If a parameter is outside its range, there are no images, or images are to be turned whose angle or shift is known.
pub fn turned(data: &Dataset, params: &TurnedParams) -> Result<Dataset> {
    require((0.0..=PI).contains(&params.rotation), "largest turn", params.rotation, "0 to π")?;
    require((0.0..=1.0).contains(&params.shift), "largest shift", params.shift, "0 to 1")?;
    let Some(patches) = &data.images else {
        return Err(parsimon_core::Error::Empty { what: "images", shape: vec![0] }.into());
    };
    require(params.margin <= 1024, "margin", params.margin as f64, "0 to 1024 pixels")?;
    // The same pixels would be another share of goals of another size.
    let size = |patches: &Patches| (patches.shape().0, patches.shape().1);
    let alike = data.goals.as_ref().is_none_or(|goals| size(goals) == size(patches));
    let what = "margin around images whose goals have another size";
    require(alike || params.margin == 0, what, params.margin as f64, "0 pixels")?;
    let known = ["angle", "dx", "dy"].into_iter().find(|name| data.truth.contains_key(*name));
    if let Some(name) = known.filter(|_| params.rotation > 0.0) {
        return Err(parsimon_core::Error::DuplicateColumn(name.to_owned()).into());
    }
    let mut rng = ChaCha8Rng::seed_from_u64(params.seed);
    let n = patches.len();
    let mut draw = |most: f64| -> Array1<f64> { (0..n).map(|_| rng.gen_range(-most..=most)).collect() };
    let (angle, dx, dy) = (draw(params.rotation), draw(params.shift), draw(params.shift));
    let made = |patches: &Patches| {
        let images = patches.images();
        let (_, height, width, channels) = images.dim();
        let (before_y, before_x) = (0.5 * (height as f64 - 1.0), 0.5 * (width as f64 - 1.0));
        let (height, width) = (height + 2 * params.margin, width + 2 * params.margin);
        let half = 0.5 * (height.max(width).max(2) - 1) as f64;
        let (mid_y, mid_x) = (0.5 * (height as f64 - 1.0), 0.5 * (width as f64 - 1.0));
        let made = Array4::from_shape_fn((n, height, width, channels), |(i, row, column, c)| {
            let (x, y) = (column as f64 - mid_x - half * dx[i], row as f64 - mid_y - half * dy[i]);
            let (sin, cos) = angle[i].sin_cos();
            let (x, y) = (cos * x - sin * y + before_x, sin * x + cos * y + before_y);
            let (left, top) = (x.floor(), y.floor());
            let at = |right: f64, down: f64| {
                let (px, py) = (left + right, top + down);
                let inside = px >= 0.0 && py >= 0.0;
                let pixel = if inside { images.get((i, py as usize, px as usize, c)) } else { None };
                let weight = (1.0 - (x - px).abs()) * (1.0 - (y - py).abs());
                weight * pixel.map_or(0.0, |v| f64::from(*v))
            };
            (at(0.0, 0.0) + at(1.0, 0.0) + at(0.0, 1.0) + at(1.0, 1.0)).clamp(0.0, 1.0) as f32
        });
        Patches::new(made, patches.scaling().clone())
    };
    let (images, goals) = (Some(made(patches)?), data.goals.as_ref().map(made).transpose()?);
    let mut truth = data.truth.clone();
    let (_, height, width, _) = patches.images().dim();
    let half = |margin: usize| (height.max(width).max(2) + 2 * margin - 1) as f64;
    let smaller = half(0) / half(params.margin);
    let with =
        |name: &str, more: Array1<f64>| data.truth.get(name).map_or(more.clone(), |known| known * smaller + more);
    let (dx, dy) = (with("dx", dx), with("dy", dy));
    truth.entry("angle".to_owned()).or_insert(angle);
    truth.extend([("dx".to_owned(), dx), ("dy".to_owned(), dy)]);
    Ok(Dataset { images, goals, truth, ..data.clone() })
}

#[cfg(test)]
mod tests {
    use parsimon_core::Scaling;

    use super::*;

    /// One bright blob right of the centre.
    fn blob() -> Dataset {
        let value = |(_, y, x, _): (usize, usize, usize, usize)| {
            (-((x as f32 - 16.0).powi(2) + (y as f32 - 10.0).powi(2)) / 4.0).exp()
        };
        let images = Array4::from_shape_fn((40, 21, 21, 1), value);
        Dataset { images: Some(Patches::new(images, Scaling::unit(1)).unwrap()), ..Dataset::default() }
    }

    #[test]
    fn objects_go_where_the_truth_says() {
        let data = turned(&blob(), &TurnedParams { shift: 0.15, ..TurnedParams::default() }).unwrap();
        let images = data.images.unwrap();
        for (i, image) in images.images().axis_iter(ndarray::Axis(0)).enumerate() {
            let sum: f32 = image.sum();
            let mean = |of: fn(usize, usize) -> usize| {
                image.indexed_iter().map(|((y, x, _), v)| v * of(y, x) as f32).sum::<f32>() / sum
            };
            let (angle, dx, dy) = (data.truth["angle"][i], data.truth["dx"][i], data.truth["dy"][i]);
            let (x, y) = (10.0 + 6.0 * angle.cos() + 10.0 * dx, 10.0 - 6.0 * angle.sin() + 10.0 * dy);
            let off = (f64::from(mean(|_, x| x)) - x).hypot(f64::from(mean(|y, _| y)) - y);
            assert!(off < 0.15, "{i}: {off}");
        }
    }

    #[test]
    fn nothing_moves_by_nothing_and_bad_ranges_are_refused() {
        let still = turned(&blob(), &TurnedParams { rotation: 0.0, shift: 0.0, margin: 0, seed: 1 }).unwrap();
        assert_eq!(still.images.unwrap().images(), blob().images.unwrap().images());
        for wrong in [
            TurnedParams { rotation: 4.0, ..TurnedParams::default() },
            TurnedParams { shift: f64::NAN, ..TurnedParams::default() },
            TurnedParams { margin: 1025, ..TurnedParams::default() },
        ] {
            assert!(turned(&blob(), &wrong).is_err());
        }
        assert!(turned(&Dataset::default(), &TurnedParams::default()).is_err());
        let small = Patches::new(Array4::zeros((40, 7, 7, 1)), Scaling::unit(1)).unwrap();
        let unlike = Dataset { goals: Some(small), ..blob() };
        assert!(turned(&unlike, &TurnedParams { margin: 2, ..TurnedParams::default() }).is_err());
        let further = TurnedParams { rotation: 0.0, shift: 0.3, margin: 4, seed: 2 };
        let known = turned(&blob(), &TurnedParams { rotation: 0.3, ..TurnedParams::default() }).unwrap();
        let far = turned(&known, &further).unwrap();
        assert_eq!(far.images.as_ref().unwrap().shape(), (29, 29, 1));
        assert_eq!(far.truth["angle"], known.truth["angle"]);
        for (i, image) in far.images.unwrap().images().axis_iter(ndarray::Axis(0)).enumerate() {
            let column = image.indexed_iter().map(|((_, x, _), v)| v * x as f32).sum::<f32>() / image.sum();
            let x = 14.0 + 6.0 * far.truth["angle"][i].cos() + 14.0 * far.truth["dx"][i];
            assert!((f64::from(column) - x).abs() < 0.15, "{i}: {column} {x}");
        }
        let once = turned(&Dataset { goals: blob().images, ..blob() }, &TurnedParams::default()).unwrap();
        assert_eq!(once.goals, once.images, "goals go with the images");
        assert!(turned(&once, &TurnedParams::default()).unwrap_err().to_string().contains("angle"));
    }
}
