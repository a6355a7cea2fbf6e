//! Small images of one asymmetric object in a known pose.

use ndarray::{Array1, Array4};
use parsimon_core::{Patches, Scaling};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Poses and images of the object.
#[derive(Clone)]
pub struct Objects {
    pub patches: Patches,
    pub angle: Array1<f64>,
    pub dx: Array1<f64>,
    pub dy: Array1<f64>,
    pub scale: Array1<f64>,
    /// Height of one of its blobs: what is left when the pose is known.
    pub height: Array1<f64>,
}

/// Half-widths of the uniform distributions of a pose, and of the height.
#[derive(Clone, Copy, Default)]
pub struct Spread {
    pub angle: f64,
    pub shift: f64,
    pub scale: f64,
    pub height: f64,
}

/// Something done to a whole image, about its middle.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Action {
    /// By an angle in rad, counter-clockwise on the screen.
    Turn(f64),
    /// Right and down, in half-widths.
    Shift(f64, f64),
    /// By a factor.
    Scale(f64),
}

/// `n` images of `side`² pixels and `channels` channels: three unequal blobs, posed as the decoder's convention says
/// (angle counter-clockwise on the screen, dx to the right, dy down, half-widths of the patch).
pub fn objects(n: usize, side: usize, channels: usize, spread: Spread, seed: u64) -> Objects {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut draw = |half: f64| -> Array1<f64> { (0..n).map(|_| half * rng.gen_range(-1.0..1.0)).collect() };
    let (angle, dx, dy) = (draw(spread.angle), draw(spread.shift), draw(spread.shift));
    let scale = draw(spread.scale).mapv(f64::exp);
    let height = draw(spread.height) + 0.6;
    let patches = Patches::new(Array4::zeros((n, side, side, channels)), Scaling::unit(channels)).unwrap();
    Objects { patches, angle, dx, dy, scale, height }.drawn()
}

impl Objects {
    /// The same objects after something was done to their images.
    pub fn after(&self, action: Action) -> Self {
        let Self { angle, dx, dy, scale, .. } = self;
        let mut moved = self.clone();
        match action {
            Action::Turn(by) => {
                let (sin, cos) = by.sin_cos();
                (moved.dx, moved.dy) = (dx * cos + dy * sin, dy * cos - dx * sin);
                moved.angle = angle + by;
            }
            Action::Shift(right, down) => (moved.dx, moved.dy) = (dx + right, dy + down),
            Action::Scale(by) => (moved.dx, moved.dy, moved.scale) = (dx * by, dy * by, scale * by),
        }
        moved.drawn()
    }

    /// Their images.
    fn drawn(mut self) -> Self {
        let (side, _, channels) = self.patches.shape();
        let Self { angle, dx, dy, scale, height, .. } = &self;
        let at = |i: usize| 2.0 * i as f64 / (side - 1) as f64 - 1.0;
        let images = Array4::from_shape_fn((angle.len(), side, side, channels), |(i, row, column, channel)| {
            let blobs = [(-0.35, 0.1, 1.0), (0.3, 0.2, 0.8), (0.25, -0.4, height[i])];
            let (x, y) = (at(column) - dx[i], at(row) - dy[i]);
            let (sin, cos) = angle[i].sin_cos();
            let (qx, qy) = ((cos * x - sin * y) / scale[i], (sin * x + cos * y) / scale[i]);
            let blob = |(bx, by, height): (f64, f64, f64)| {
                height * (-((qx - bx).powi(2) + (qy - by).powi(2)) / (2.0 * 0.16f64.powi(2))).exp()
            };
            let value: f64 = blobs.iter().skip(channel).map(|&b| blob(b)).sum();
            value.min(1.0) as f32
        });
        self.patches = Patches::new(images, Scaling::unit(channels)).unwrap();
        self
    }
}
