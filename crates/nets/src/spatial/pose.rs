use super::POSE;
use crate::maths::dot;

/// Where the object of one row lies.
pub(super) struct Pose {
    cos: f32,
    sin: f32,
    dx: f32,
    dy: f32,
    shrink: f32,
}

impl Pose {
    pub(super) fn new(placed: &[f32]) -> Self {
        let (sin, cos) = placed[0].sin_cos();
        Self { cos, sin, dx: placed[1], dy: placed[2], shrink: (-placed[3]).exp() }
    }

    /// Object coordinates of pixels: q = e^−λ R(−γ) (p − Δ).
    pub(super) fn object(&self, pixels: impl Iterator<Item = [f32; 2]>, qx: &mut [f32], qy: &mut [f32]) {
        for ((p, qx), qy) in pixels.zip(qx).zip(qy) {
            let (x, y) = (p[0] - self.dx, p[1] - self.dy);
            *qx = (self.cos * x - self.sin * y) * self.shrink;
            *qy = (self.sin * x + self.cos * y) * self.shrink;
        }
    }

    /// Gradient of γ, Δx, Δy, λ from that of the object coordinates.
    pub(super) fn gradient(&self, q: (&[f32], &[f32]), dq: (&[f32], &[f32])) -> [f32; POSE] {
        let (along_x, along_y): (f32, f32) = (dq.0.iter().sum(), dq.1.iter().sum());
        let turn = dot(dq.1, q.0) - dot(dq.0, q.1);
        let grow = -(dot(dq.0, q.0) + dot(dq.1, q.1));
        let right = -(self.cos * along_x + self.sin * along_y) * self.shrink;
        let down = (self.sin * along_x - self.cos * along_y) * self.shrink;
        [turn, right, down, grow]
    }
}
