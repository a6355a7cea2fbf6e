use ndarray::Array1;
use parsimon_core::{Axis, Image, Metadata, Scene, Sites};
use rand_distr::{Distribution, Normal};

use crate::Result;
use crate::error::require;
use crate::scan::{Column, Scan, count, expose, stream};

/// A ferroelectric perovskite ABO₃ seen along a pseudo-cubic axis by HAADF-STEM; oxygen is not seen.
///
/// The defaults are the demo image: PbTiO₃ with 180° domains.
#[derive(Debug, Clone, PartialEq)]
pub struct PerovskiteParams {
    /// Rows of the image, 32 to 16384. Default 512.
    pub height: usize,
    /// Columns of the image, 32 to 16384. Default 512.
    pub width: usize,
    /// Pixel size in nm, above 0. Default 0.0217.
    pub pixel: f64,
    /// Lattice parameter a in nm; at least 6 pixels. Default 0.39.
    pub lattice: f64,
    /// Tetragonality c/a, 0.8 to 1.25. Default 1.06.
    pub tetragonality: f64,
    /// Angle of the crystal, counter-clockwise, in radians; 0 puts the polar axis c upright. Default 0.06.
    pub rotation: f64,
    /// Off-centring of B against its cage of A, in units of c, 0 to 0.2. Default 0.085.
    pub displacement: f64,
    /// Domains side by side across the image, 1 to 64: one wall fewer. Default 3.
    pub domains: usize,
    /// ξ of a wall, in units of a: the polarisation goes as tanh(distance / ξ); above 0. Default 1.
    pub wall: f64,
    /// Standard deviation of a column in nm, above 0. Default 0.056.
    pub column: f64,
    /// Mean counts at the top of an A column, above 0, at most 10⁹. Default 220.
    pub dose: f64,
    /// Height of a B column as a fraction of an A column, 0 to 1. Default 0.42.
    pub contrast: f64,
    /// Background as a fraction of an A column, 0 to 10. Default 0.12.
    pub background: f64,
    /// Spread of the column heights (standard deviation, as a fraction), 0 to 0.2. Default 0.02.
    pub spread: f64,
    /// Mistilt at the right edge: columns there are longer by this fraction and as much lower; none at the left edge.
    /// 0 to 1. Default 0.2.
    pub tilt: f64,
    /// Slow drift of the scan over the image in pixels, 0 to 20. Default 1.5.
    pub drift: f64,
    /// Random shift of each row along x (standard deviation, pixels), 0 to 5. Default 0.1.
    pub jitter: f64,
    /// Seed of everything random. Default 0.
    pub seed: u64,
}

impl Default for PerovskiteParams {
    fn default() -> Self {
        Self {
            height: 512,
            width: 512,
            pixel: 0.0217,
            lattice: 0.39,
            tetragonality: 1.06,
            rotation: 0.06,
            displacement: 0.085,
            domains: 3,
            wall: 1.0,
            column: 0.056,
            dose: 220.0,
            contrast: 0.42,
            background: 0.12,
            spread: 0.02,
            tilt: 0.2,
            drift: 1.5,
            jitter: 0.1,
            seed: 0,
        }
    }
}

impl PerovskiteParams {
    fn check(&self) -> Result<()> {
        let side = |side: usize| (32..=16384).contains(&side);
        require(side(self.height), "height of the image", self.height as f64, "32 to 16384 pixels")?;
        require(side(self.width), "width of the image", self.width as f64, "32 to 16384 pixels")?;
        require((1..=64).contains(&self.domains), "number of domains", self.domains as f64, "1 to 64")?;
        let positive = |v: f64| v.is_finite() && v > 0.0;
        require(positive(self.pixel), "pixel size", self.pixel, "finite numbers above 0 nm")?;
        let cell = self.lattice / self.pixel;
        require(positive(self.lattice) && cell >= 6.0, "lattice parameter", self.lattice, "6 pixels and more, in nm")?;
        require(positive(self.wall), "wall width", self.wall, "finite numbers above 0, in units of a")?;
        let column = self.column / self.lattice;
        require(
            column > 0.0 && column <= 1.0,
            "column width",
            self.column,
            "above 0 up to the lattice parameter, in nm",
        )?;
        require(self.dose > 0.0 && self.dose <= 1e9, "dose", self.dose, "above 0 up to 10⁹ counts")?;
        require(self.rotation.is_finite(), "rotation", self.rotation, "finite angles in radians")?;
        let ranges = [
            ("tetragonality", self.tetragonality, 0.8..=1.25, "0.8 to 1.25"),
            ("displacement", self.displacement, 0.0..=0.2, "0 to 0.2, in units of c"),
            ("contrast of B to A", self.contrast, 0.0..=1.0, "0 to 1"),
            ("background", self.background, 0.0..=10.0, "0 to 10"),
            ("spread of the column heights", self.spread, 0.0..=0.2, "0 to 0.2"),
            ("tilt", self.tilt, 0.0..=1.0, "0 to 1"),
            ("drift", self.drift, 0.0..=20.0, "0 to 20 pixels"),
            ("jitter", self.jitter, 0.0..=5.0, "0 to 5 pixels"),
        ];
        ranges
            .into_iter()
            .try_for_each(|(name, value, range, accepted)| require(range.contains(&value), name, value, accepted))
    }

    /// Polarisation along c, from −1 to 1, at a distance from the centre of the image along a, in pixels.
    fn polarisation(&self, along_a: f64) -> f64 {
        let spacing = self.width as f64 / self.domains as f64;
        let xi = self.wall * self.lattice / self.pixel;
        let walls = (1..self.domains).map(|wall| (wall as f64 - 0.5 * self.domains as f64) * spacing);
        walls.fold(1.0, |p, wall| -p * ((along_a - wall) / xi).tanh())
    }
}

/// One column and what is known of it.
struct Known {
    column: Column,
    sublattice: f64,
    domain: f64,
    polarisation_y: f64,
    polarisation_x: f64,
}

/// An HAADF image of a ferroelectric perovskite with neutral 180° walls, and all that is known of its columns.
///
/// A columns stand on a tetragonal lattice; B columns at the centres of the cells, off by
/// `displacement · c · ∏ tanh((s − s_w)/ξ)` along c, with s the coordinate along a and s_w the walls. Columns are
/// Gaussians sampled by the probe, on a slowly varying background; tilt makes them longer along y and lower towards the
/// right edge. The scan drifts slowly and its rows jitter; counts are Poisson.
///
/// # Shapes
/// `sites` are all columns whose centre lies in the image, row by row from the top. Their positions are where the
/// columns appear in the image: off-centring and drift included, row jitter and counting noise not. `truth` holds
/// `sublattice` (0 A, 1 B), `domain` (0 where the polarisation points along +c, upwards in the default image, else 1),
/// `polarisation_y` and `polarisation_x`: the off-centring of B in its cell, in pixels of the image (y down); at an A
/// column it is the value of the field there.
///
/// # Errors
/// If a parameter is outside its range.
pub fn perovskite(params: &PerovskiteParams) -> Result<Scene> {
    params.check()?;
    let (height, width) = (params.height as f64, params.width as f64);
    let mut rng = stream(params.seed, 0);
    let scan = Scan::new(params.height, params.drift, params.jitter, &mut rng);
    let known = columns(params, &scan, &mut rng);

    let background = params.background * params.dose;
    let thickness = |y: f64, x: f64| background * (1.0 + 0.25 * (x / width - 0.5) - 0.15 * (y / height - 0.5));
    let drawn: Vec<Column> = known.iter().map(|k| k.column).collect();
    let mut counts = expose(&drawn, (params.height, params.width), &scan, thickness);
    count(&mut counts, params.seed, 1);

    let axis = |name| Axis::new(name, params.pixel, 0.0, "nm");
    let metadata = Metadata {
        title: "perovskite".into(),
        stored_as: "float64".into(),
        extra: [("seed".to_owned(), params.seed.to_string())].into(),
    };
    let inside = |k: &&Known| (0.0..=height - 1.0).contains(&k.column.y) && (0.0..=width - 1.0).contains(&k.column.x);
    let seen: Vec<&Known> = known.iter().filter(inside).collect();
    let truth = |of: fn(&Known) -> f64| seen.iter().map(|k| of(k)).collect::<Array1<f64>>();
    Ok(Scene {
        image: Image::calibrated(counts, axis("y"), axis("x"))?.with_metadata(metadata),
        sites: Sites::new(seen.iter().map(|k| k.column.site()).collect())?,
        truth: [
            ("sublattice".to_owned(), truth(|k| k.sublattice)),
            ("domain".to_owned(), truth(|k| k.domain)),
            ("polarisation_y".to_owned(), truth(|k| k.polarisation_y)),
            ("polarisation_x".to_owned(), truth(|k| k.polarisation_x)),
        ]
        .into(),
    })
}

/// Every column that reaches into the image, in the order of y, then x.
fn columns(params: &PerovskiteParams, scan: &Scan, rng: &mut rand_chacha::ChaCha8Rng) -> Vec<Known> {
    let (height, width) = (params.height as f64, params.width as f64);
    let a = params.lattice / params.pixel;
    let c = a * params.tetragonality;
    let (sin, cos) = params.rotation.sin_cos();
    let sigma = params.column / params.pixel;
    let margin = 6.0 * sigma + params.drift;
    let half = 0.5 * height.hypot(width) + margin;
    let (along_a, along_c) = ((half / a).ceil() as i64 + 1, (half / c).ceil() as i64 + 1);
    let normal = |rng: &mut rand_chacha::ChaCha8Rng| Normal::new(0.0, 1.0).map_or(0.0, |n| n.sample(rng));

    let mut known = Vec::new();
    for (i, j) in (-along_c..=along_c).flat_map(|i| (-along_a..=along_a).map(move |j| (i, j))) {
        for b in [false, true] {
            let centre = if b { 0.5 } else { 0.0 };
            let (right, mut up) = ((j as f64 + centre) * a, (i as f64 + centre) * c);
            let field = params.polarisation(right);
            let off = params.displacement * c * field;
            // Drawn for every column, inside or not, so that a larger image has the same crystal in it.
            let strength = (1.0 + params.spread * normal(rng)).max(0.1);
            if b {
                up += off;
            }
            // Counter-clockwise as seen; y points down.
            let place = (0.5 * (height - 1.0) - (sin * right + cos * up), 0.5 * (width - 1.0) + cos * right - sin * up);
            let (y, x) = scan.appear(place.0, place.1);
            let within = |v: f64, end: f64| v >= -margin && v <= end + margin;
            if !within(y, height) || !within(x, width) {
                continue;
            }
            let longer = 1.0 + params.tilt * (x / width).clamp(0.0, 1.0);
            let peak = params.dose * strength * if b { params.contrast } else { 1.0 } / longer;
            known.push(Known {
                column: Column { y, x, sigma_y: sigma * longer, sigma_x: sigma, peak },
                sublattice: f64::from(u8::from(b)),
                domain: f64::from(u8::from(field < 0.0)),
                polarisation_y: -cos * off,
                polarisation_x: -sin * off,
            });
        }
    }
    known.sort_by(|p, q| p.column.y.total_cmp(&q.column.y).then(p.column.x.total_cmp(&q.column.x)));
    known
}
