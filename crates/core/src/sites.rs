use crate::{Error, Result};

/// What became of the sub-pixel refinement of a site.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refinement {
    /// Not asked for.
    None,
    /// The fit converged inside its window.
    Converged,
    /// The fit failed: position and width are those of the detection.
    Failed,
}

/// One atom (or other blob) in one frame.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Site {
    /// Index of the frame; 0 in a single image.
    pub frame: usize,
    /// Row of the centre, in pixels; the centre of the first pixel is 0.
    pub y: f64,
    /// Column of the centre, in pixels.
    pub x: f64,
    /// Height above the local background (below it for dark atoms: negative), in the values of the image.
    pub intensity: f64,
    /// Standard deviation σ of the blob, in pixels.
    pub width: f64,
    /// From 0 (noise) to 1 (a perfect blob).
    pub quality: f64,
    /// Whether the position is refined.
    pub refinement: Refinement,
}

/// Sites of one image or movie, in a fixed order.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Sites(Vec<Site>);

impl Sites {
    /// Sites in this order.
    ///
    /// # Errors
    /// If a number of any site is NaN or infinite, or a width is negative.
    pub fn new(sites: Vec<Site>) -> Result<Self> {
        for (index, s) in sites.iter().enumerate() {
            let fields =
                [("y", s.y), ("x", s.x), ("intensity", s.intensity), ("width", s.width), ("quality", s.quality)];
            for (name, value) in fields {
                if !value.is_finite() || (name == "width" && value < 0.0) {
                    let what = format!("{name} of site {index}");
                    return Err(Error::Range { what, value, accepted: "finite numbers, widths not below 0" });
                }
            }
        }
        Ok(Self(sites))
    }

    /// One in the middle of every pixel, row by row: where the spectra of a scan are from.
    pub fn grid((height, width): (usize, usize)) -> Self {
        let site = |pixel: usize| Site {
            frame: 0,
            y: (pixel / width) as f64,
            x: (pixel % width) as f64,
            intensity: 0.0,
            width: 0.0,
            quality: 1.0,
            refinement: Refinement::None,
        };
        Self((0..height * width).map(site).collect())
    }

    /// Whether they are those of [`Sites::grid`].
    pub fn are_grid(&self, (height, width): (usize, usize)) -> bool {
        let at = |(pixel, site): (usize, &Site)| (site.y, site.x) == ((pixel / width) as f64, (pixel % width) as f64);
        self.len() == height * width && self.iter().enumerate().all(at)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The sites in order.
    pub fn iter(&self) -> std::slice::Iter<'_, Site> {
        self.0.iter()
    }

    /// The sites as a slice.
    pub fn as_slice(&self) -> &[Site] {
        &self.0
    }

    /// Some of the sites, in the order of `rows`; rows beyond the end are left out.
    pub fn select(&self, rows: &[usize]) -> Self {
        Self(rows.iter().filter_map(|&r| self.0.get(r).copied()).collect())
    }

    /// Positions as (y, x), in pixels.
    pub fn positions(&self) -> Vec<[f64; 2]> {
        self.0.iter().map(|s| [s.y, s.x]).collect()
    }
}

impl<'a> IntoIterator for &'a Sites {
    type Item = &'a Site;
    type IntoIter = std::slice::Iter<'a, Site>;
    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SITE: Site =
        Site { frame: 0, y: 1.5, x: 2.5, intensity: 1.0, width: 2.0, quality: 1.0, refinement: Refinement::None };

    #[test]
    fn numbers_that_are_not_finite_are_rejected() {
        assert!(Sites::new(vec![SITE, Site { y: f64::NAN, ..SITE }]).is_err());
        assert!(Sites::new(vec![Site { width: -1.0, ..SITE }]).is_err());
        assert_eq!(Sites::new(vec![SITE; 3]).unwrap().select(&[2, 0]).len(), 2);
        let grid = Sites::grid((2, 3));
        assert_eq!((grid.positions()[4], grid.len()), ([1.0, 1.0], 6));
        assert!(grid.are_grid((2, 3)) && !grid.are_grid((3, 2)) && !grid.are_grid((2, 2)));
        assert!(!grid.select(&[0, 1, 2, 3, 5, 4]).are_grid((2, 3)) && Sites::default().are_grid((0, 0)));
    }
}
