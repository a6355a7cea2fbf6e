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
            Self::Spades => leaf(x, -(y - 0.2) / 0.8) || stem(x, y),
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

/// Centre and radius of the right lobe of a heart.
const LOBE: (f64, f64, f64) = (0.425, 0.56, 0.44);
/// Centre and radius of the arc from the tip to the right lobe: it starts at the tip and is tangent to the lobe.
const FLANK: (f64, f64, f64) = (-2.058112193, 1.182698835, 3.0);

/// A heart with its tip at (0,−1) and its top at 1: two lobes, and two flanks that meet at the tip.
fn leaf(x: f64, y: f64) -> bool {
    let (lobe_x, lobe_y, radius) = LOBE;
    let (flank_x, flank_y, reach) = FLANK;
    if disc(x, y, lobe_x, lobe_y, radius) {
        return true;
    }
    // Above the line through both centres only the lobes bound the heart.
    let below = (y - lobe_y) * (lobe_x - flank_x) <= (x - lobe_x) * (lobe_y - flank_y);
    below && y >= -1.0 && disc(x, y, flank_x, flank_y, reach)
}

/// Three leaves and what joins them.
fn club(x: f64, y: f64) -> bool {
    disc(x, y, 0.0, 0.6, 0.4) || disc(x, y, 0.5, -0.14, 0.4) || (x <= 0.16 && (-0.35..=0.4).contains(&y))
}

/// The foot of a spade or a club, flared towards the bottom.
fn stem(x: f64, y: f64) -> bool {
    (-1.0..=-0.2).contains(&y) && x <= 0.08 + 0.28 * ((-y - 0.2) / 0.8).powi(2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flanks_start_at_the_tip_and_are_tangent_to_the_lobes() {
        let ((lobe_x, lobe_y, radius), (x, y, reach)) = (LOBE, FLANK);
        assert!((x.hypot(y + 1.0) - reach).abs() < 1e-8);
        assert!(((lobe_x - x).hypot(lobe_y - y) - (reach - radius)).abs() < 1e-8);
    }

    #[test]
    fn suits_fill_their_height_and_are_symmetric_and_whole() {
        let n = 400;
        let at = |i: usize| 1.2 * (2.0 * (i as f64 + 0.5) / n as f64 - 1.0);
        for suit in Suit::ALL {
            let inside: Vec<(usize, usize)> =
                (0..n * n).map(|p| (p / n, p % n)).filter(|&(i, j)| suit.contains(at(j), at(i))).collect();
            let heights = inside.iter().map(|p| at(p.0));
            let (low, high) = heights.fold((9.0f64, -9.0f64), |(l, h), y| (l.min(y), h.max(y)));
            assert!((low + 1.0).abs() < 0.02 && (high - 1.0).abs() < 0.02, "{suit:?} from {low} to {high}");
            assert!(inside.iter().all(|&(i, j)| suit.contains(-at(j), at(i))), "{suit:?}");
            // Walk from one point to its neighbours.
            let mut reached = vec![false; n * n];
            let mut open = vec![inside[0]];
            while let Some((i, j)) = open.pop() {
                if !std::mem::replace(&mut reached[i * n + j], true) {
                    let near = [(i - 1, j), (i + 1, j), (i, j - 1), (i, j + 1)];
                    open.extend(near.into_iter().filter(|&(i, j)| suit.contains(at(j), at(i))));
                }
            }
            assert_eq!(reached.iter().filter(|&&r| r).count(), inside.len(), "{suit:?} is in pieces");
        }
    }

    #[test]
    fn suits_are_told_apart_in_any_position() {
        let n = 120;
        let at = |i: usize| 1.5 * (2.0 * (i as f64 + 0.5) / n as f64 - 1.0);
        let turned = |suit: Suit, turn: usize, p: usize| {
            let (sin, cos) = (turn as f64 * std::f64::consts::TAU / 72.0).sin_cos();
            let (x, y) = (at(p % n), at(p / n));
            suit.contains(cos * x + sin * y, cos * y - sin * x)
        };
        for (a, b) in [(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)].map(|(a, b)| (Suit::ALL[a], Suit::ALL[b])) {
            let upright: Vec<bool> = (0..n * n).map(|p| turned(a, 0, p)).collect();
            let overlap = |turn| {
                let pairs = upright.iter().enumerate().map(|(p, &a)| (a, turned(b, turn, p)));
                let (both, either) =
                    pairs.fold((0, 0), |(n, u), (a, b)| (n + i32::from(a && b), u + i32::from(a || b)));
                f64::from(both) / f64::from(either)
            };
            let best = (0..72).map(overlap).fold(0.0, f64::max);
            assert!(best < 0.85, "{a:?} and {b:?} overlap by {best}");
        }
    }
}
