use crate::{Error, Result};

/// Two sites that are neighbours, and the boundary that runs between them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pair {
    /// The one.
    pub a: usize,
    /// The other.
    pub b: usize,
    /// Length of their common side, in pixels.
    pub side: f64,
}

/// Which of N sites, of several kinds, are neighbours.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct NeighbourGraph {
    kinds: Vec<i64>,
    pairs: Vec<Pair>,
}

impl NeighbourGraph {
    /// A graph of sites of these kinds.
    ///
    /// # Errors
    /// If a pair is of one site or of one that does not exist, or a side is negative, NaN or infinite.
    pub fn new(kinds: Vec<i64>, pairs: Vec<Pair>) -> Result<Self> {
        let sites = kinds.len();
        for (i, &Pair { a, b, side }) in pairs.iter().enumerate() {
            if a == b || a.max(b) >= sites {
                let what = format!("site of pair {i} ({a}, {b})");
                let accepted = "two different sites, numbered from 0 to one below their number";
                return Err(Error::Range { what, value: a.max(b) as f64, accepted });
            }
            if !(side.is_finite() && side >= 0.0) {
                return Err(Error::Range { what: format!("side of pair {i}"), value: side, accepted: "0 and more" });
            }
        }
        Ok(Self { kinds, pairs })
    }

    /// Number of sites.
    pub fn sites(&self) -> usize {
        self.kinds.len()
    }

    /// Kind of each site.
    pub fn kinds(&self) -> &[i64] {
        &self.kinds
    }

    /// The pairs, each once.
    pub fn pairs(&self) -> &[Pair] {
        &self.pairs
    }

    /// The middle length of a side, in pixels; none without pairs.
    pub fn median_side(&self) -> Option<f64> {
        let mut sides: Vec<f64> = self.pairs.iter().map(|p| p.side).collect();
        let middle = sides.len() / 2;
        if sides.is_empty() { None } else { Some(*sides.select_nth_unstable_by(middle, f64::total_cmp).1) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_that_are_none_are_rejected() {
        let graph =
            |a, b, side| NeighbourGraph::new(vec![0; 3], vec![Pair { a: 0, b: 1, side: 1.0 }, Pair { a, b, side }]);
        assert_eq!(graph(1, 2, 2.0).unwrap().median_side(), Some(2.0));
        for (a, b, side) in [(1, 1, 1.0), (0, 3, 1.0), (0, 2, -1.0), (0, 2, f64::NAN)] {
            assert!(graph(a, b, side).unwrap_err().to_string().contains("pair 1"), "{a} {b} {side}");
        }
        assert_eq!(NeighbourGraph::default().median_side(), None);
    }
}
