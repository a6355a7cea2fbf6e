//! Small images of one asymmetric object in a known pose.

use ndarray::{Array1, Array4};
use parsimon_core::{Patches, Scaling};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Poses and images of the object.
pub struct Objects {
    pub patches: Patches,
    pub angle: Array1<f64>,
    pub dx: Array1<f64>,
    pub dy: Array1<f64>,
    pub scale: Array1<f64>,
}

/// Half-widths of the uniform distributions of a pose.
#[derive(Clone, Copy, Default)]
pub struct Spread {
    pub angle: f64,
    pub shift: f64,
    pub scale: f64,
}

/// `n` images of `side`² pixels and `channels` channels: three unequal blobs, posed as the decoder's convention says
/// (angle counter-clockwise on the screen, dx to the right, dy down, half-widths of the patch).
pub fn objects(n: usize, side: usize, channels: usize, spread: Spread, seed: u64) -> Objects {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut draw = |half: f64| -> Array1<f64> { (0..n).map(|_| half * rng.gen_range(-1.0..1.0)).collect() };
    let (angle, dx, dy) = (draw(spread.angle), draw(spread.shift), draw(spread.shift));
    let scale = draw(spread.scale).mapv(f64::exp);
    let blobs = [(-0.35, 0.1, 1.0), (0.3, 0.2, 0.8), (0.25, -0.4, 0.6)];
    let at = |i: usize| 2.0 * i as f64 / (side - 1) as f64 - 1.0;
    let images = Array4::from_shape_fn((n, side, side, channels), |(i, row, column, channel)| {
        let (x, y) = (at(column) - dx[i], at(row) - dy[i]);
        let (sin, cos) = angle[i].sin_cos();
        let (qx, qy) = ((cos * x - sin * y) / scale[i], (sin * x + cos * y) / scale[i]);
        let blob = |(bx, by, height): (f64, f64, f64)| {
            height * (-((qx - bx).powi(2) + (qy - by).powi(2)) / (2.0 * 0.16f64.powi(2))).exp()
        };
        let value: f64 = blobs.iter().skip(channel).map(|&b| blob(b)).sum();
        value.min(1.0) as f32
    });
    let patches = Patches::new(images, Scaling::unit(channels)).unwrap();
    Objects { patches, angle, dx, dy, scale }
}
