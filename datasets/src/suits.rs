/// A suit of playing cards; its number is its label.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Suit {
    /// ♠, label 0.
    Spades,
    /// ♣, label 1.
    Clubs,
    /// ♦, label 2.
    Diamonds,
    /// ♥, label 3.
    Hearts,
}

impl Suit {
    /// The four suits in the order of their labels.
    pub const ALL: [Self; 4] = [Self::Spades, Self::Clubs, Self::Diamonds, Self::Hearts];

    /// 0 spades, 1 clubs, 2 diamonds, 3 hearts.
    pub fn label(self) -> i64 {
        self as i64
    }

    /// Whether the point (`x` to the right, `y` up) lies in the upright suit, which reaches from −1 to 1 in `y`.
    pub fn contains(self, x: f64, y: f64) -> bool {
        let x = x.abs();
        match self {
            Self::Spades => leaf(x, -(y - 0.17) / 0.83) || stem(x, y),
            Self::Clubs => club(x, y) || stem(x, y),
            // Sides a little hollow, as printed on cards.
            Self::Diamonds => y.abs() <= 1.0 && x <= 0.76 * (1.0 - y.abs()) * (1.0 - 0.12 * y.abs()),
            Self::Hearts => leaf(x, y),
        }
    }
}

fn disc(x: f64, y: f64, centre_x: f64, centre_y: f64, radius: f64) -> bool {
    (x - centre_x).powi(2) + (y - centre_y).powi(2) <= radius * radius
}

/// Radius of the lobes of a heart, and the height of their centres.
const LOBE: (f64, f64) = (0.47, 0.53);
/// Radius of the arc that leads from a lobe down to the tip.
const FLANK: f64 = 2.2;

/// A heart with its tip at (0,−1) and its top at 1: two lobes, and flanks that are arcs tangent to them.
fn leaf(x: f64, y: f64) -> bool {
    let (lobe, height) = LOBE;
    let centre = 0.44;
    if disc(x, y, centre, height, lobe) {
        return true;
    }
    // The flank's centre is FLANK from the tip and FLANK − lobe from the lobe's centre: inner tangency.
    let (dx, dy) = (centre, height + 1.0);
    let distance = dx.hypot(dy);
    let near = FLANK - lobe;
    let along = (distance * distance + FLANK * FLANK - near * near) / (2.0 * distance);
    let across = (FLANK * FLANK - along * along).sqrt();
    let flank_x = (dx * along - dy * across) / distance;
    let flank_y = -1.0 + (dy * along + dx * across) / distance;
    // Above the line between the flank's centre and the lobe's the lobes alone bound the heart.
    let below = (y - height) * (centre - flank_x) <= (x - centre) * (height - flank_y);
    below && y <= height + 0.12 && disc(x, y, flank_x, flank_y, FLANK)
}

/// Three leaves and what joins them.
fn club(x: f64, y: f64) -> bool {
    disc(x, y, 0.0, 0.58, 0.42) || disc(x, y, 0.45, -0.13, 0.42) || (x <= 0.2 && (-0.35..=0.4).contains(&y))
}

/// The foot of a spade or a club, flared towards the bottom.
fn stem(x: f64, y: f64) -> bool {
    (-1.0..=-0.2).contains(&y) && x <= 0.07 + 0.3 * ((-y - 0.2) / 0.8).powi(3)
}
