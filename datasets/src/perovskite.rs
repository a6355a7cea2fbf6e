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
    /// Standard deviation of a column in nm, above 0. Default 0.05.
    pub column: f64,
    /// Mean counts at the top of an A column, above 0, at most 10⁹. Default 400.
    pub dose: f64,
    /// Height of a B column as a fraction of an A column, 0 to 1. Default 0.42.
    pub contrast: f64,
    /// Background as a fraction of an A column, 0 to 10. Default 0.12.
    pub background: f64,
    /// Spread of the column heights (standard deviation, as a fraction), 0 to 0.2. Default 0.02.
    pub spread: f64,
    /// Mistilt at the right edge: columns there are longer by this fraction and as much lower; none at the left edge.
    /// 0 to 1. Default 0.15.
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
            column: 0.05,
            dose: 400.0,
            contrast: 0.42,
            background: 0.12,
            spread: 0.02,
            tilt: 0.15,
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Error;

    fn distance(scene: &Scene, i: usize, j: usize) -> f64 {
        let sites = scene.sites.as_slice();
        (sites[i].y - sites[j].y).hypot(sites[i].x - sites[j].x)
    }

    /// Sites at least 25 px from every edge.
    fn interior(scene: &Scene) -> Vec<usize> {
        let (h, w) = scene.image.shape();
        let within = |v: f64, end: usize| v > 25.0 && v < end as f64 - 26.0;
        let inside = |s: &parsimon_core::Site| within(s.y, h) && within(s.x, w);
        scene.sites.iter().enumerate().filter(|(_, s)| inside(s)).map(|(i, _)| i).collect()
    }

    /// The demo without noise and background, so that positions can be measured in the image.
    fn clean() -> PerovskiteParams {
        PerovskiteParams { dose: 1e9, background: 0.0, jitter: 0.0, ..PerovskiteParams::default() }
    }

    #[test]
    fn the_demo_is_calibrated_and_has_two_equal_sublattices() {
        let scene = perovskite(&PerovskiteParams::default()).unwrap();
        assert_eq!(scene.image.shape(), (512, 512));
        assert_eq!(scene.image.x().nanometres(), Some(0.0217));
        assert!((1000..=1800).contains(&scene.sites.len()), "{}", scene.sites.len());
        let b = scene.truth["sublattice"].sum() / scene.sites.len() as f64;
        assert!((b - 0.5).abs() < 0.03, "{b}");
        let second = scene.truth["domain"].sum() / scene.sites.len() as f64;
        assert!((0.2..0.5).contains(&second), "{second}");
        assert!(scene.truth.values().all(|t| t.len() == scene.sites.len()));
    }

    #[test]
    fn sites_are_where_the_columns_appear() {
        let scene = perovskite(&clean()).unwrap();
        let values = scene.image.values();
        // The logarithm of a Gaussian is a parabola: its vertex from three pixels.
        let vertex = |a: f64, b: f64, c: f64| 0.5 * (a.ln() - c.ln()) / (a.ln() - 2.0 * b.ln() + c.ln());
        for i in interior(&scene) {
            let site = scene.sites.as_slice()[i];
            let (y, x) = (site.y.round() as usize, site.x.round() as usize);
            let v = |y: usize, x: usize| values[[y, x]];
            let off_y = y as f64 + vertex(v(y - 1, x), v(y, x), v(y + 1, x)) - site.y;
            let off_x = x as f64 + vertex(v(y, x - 1), v(y, x), v(y, x + 1)) - site.x;
            assert!(off_y.abs() < 0.06 && off_x.abs() < 0.06, "site {i} is off by {off_y}, {off_x}");
        }
    }

    #[test]
    fn b_is_off_the_centre_of_its_cage_by_the_polarisation() {
        let params = PerovskiteParams::default();
        let scene = perovskite(&params).unwrap();
        let (of, sites) = (&scene.truth, scene.sites.as_slice());
        let a: Vec<usize> = (0..sites.len()).filter(|&i| of["sublattice"][i] == 0.0).collect();
        let largest = params.displacement * params.tetragonality * params.lattice / params.pixel;
        let mut seen = [0; 2];
        for i in interior(&scene).into_iter().filter(|&i| of["sublattice"][i] == 1.0) {
            let mut cage = a.clone();
            cage.sort_by(|&p, &q| distance(&scene, i, p).total_cmp(&distance(&scene, i, q)));
            let centre =
                |of: fn(&parsimon_core::Site) -> f64| cage[..4].iter().map(|&c| of(&sites[c])).sum::<f64>() / 4.0;
            let (y, x) = (sites[i].y - centre(|s| s.y), sites[i].x - centre(|s| s.x));
            let (py, px) = (of["polarisation_y"][i], of["polarisation_x"][i]);
            assert!((y - py).abs() < 0.05 && (x - px).abs() < 0.05, "site {i}: ({y}, {x}), not ({py}, {px})");
            assert!(py.hypot(px) <= largest + 1e-9);
            let domain = of["domain"][i] as usize;
            assert_eq!(domain == 1, py > 0.0, "domain 1 points down");
            seen[domain] += usize::from(py.hypot(px) > 0.9 * largest);
        }
        assert!(seen[0] > 200 && seen[1] > 100, "{seen:?}");
    }

    #[test]
    fn there_is_one_wall_fewer_than_domains() {
        for domains in [1, 2, 3, 5] {
            let params = PerovskiteParams { domains, ..PerovskiteParams::default() };
            let along: Vec<f64> = (-256..=256).map(|x| params.polarisation(f64::from(x) + 0.25)).collect();
            let walls = along.windows(2).filter(|w| w[0].signum() != w[1].signum()).count();
            assert_eq!(walls, domains - 1);
            assert!(along.iter().all(|p| p.abs() <= 1.0));
        }
        // tanh(1) at a distance of ξ from a wall.
        let params = PerovskiteParams { domains: 2, wall: 1.5, ..PerovskiteParams::default() };
        let xi = 1.5 * params.lattice / params.pixel;
        assert!((params.polarisation(-xi) - 1f64.tanh()).abs() < 1e-12);
    }

    #[test]
    fn tilt_lengthens_columns_to_the_right() {
        let scene = perovskite(&PerovskiteParams { tilt: 0.3, ..PerovskiteParams::default() }).unwrap();
        let end = |left: bool| {
            let widths = scene.sites.iter().filter(|s| (s.x < 60.0) == left && (s.x > 452.0) != left).map(|s| s.width);
            let widths: Vec<f64> = widths.collect();
            widths.iter().sum::<f64>() / widths.len() as f64
        };
        let ratio = (end(false) / end(true)).powi(2);
        assert!((1.2..1.3).contains(&ratio), "{ratio}");
    }

    #[test]
    fn truth_leaves_out_jitter_and_counting() {
        let base = PerovskiteParams { height: 96, width: 96, ..PerovskiteParams::default() };
        let scene = perovskite(&base).unwrap();
        let rough = perovskite(&PerovskiteParams { jitter: 2.0, ..base }).unwrap();
        assert_eq!(scene.sites, rough.sites);
        assert_ne!(scene.image, rough.image);
    }

    #[test]
    fn the_seed_alone_decides() {
        let params = PerovskiteParams { height: 100, width: 70, ..PerovskiteParams::default() };
        let on = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| perovskite(&params)).unwrap()
        };
        assert_eq!(on(1), on(3));
        assert_ne!(perovskite(&PerovskiteParams { seed: 1, ..params.clone() }).unwrap().image, on(1).image);
    }

    #[test]
    fn parameters_out_of_range_are_rejected() {
        type Set = fn(&mut PerovskiteParams, f64);
        let numbers: [(Set, &[f64]); 15] = [
            (|p, v| p.pixel = v, &[0.0, -1.0, f64::INFINITY, 0.2]),
            (|p, v| p.lattice = v, &[0.0, 0.1, f64::INFINITY]),
            (|p, v| p.tetragonality = v, &[0.7, 1.3]),
            (|p, v| p.rotation = v, &[f64::INFINITY]),
            (|p, v| p.displacement = v, &[-0.1, 0.3]),
            (|p, v| p.wall = v, &[0.0, -1.0, f64::INFINITY]),
            (|p, v| p.column = v, &[0.0, -1.0, 1.0]),
            (|p, v| p.dose = v, &[0.0, -1.0, 1e10]),
            (|p, v| p.contrast = v, &[-0.1, 1.1]),
            (|p, v| p.background = v, &[-0.1, 11.0]),
            (|p, v| p.spread = v, &[-0.1, 0.3]),
            (|p, v| p.tilt = v, &[-0.1, 1.1]),
            (|p, v| p.drift = v, &[-1.0, 21.0]),
            (|p, v| p.jitter = v, &[-1.0, 6.0]),
            (|p, v| p.domains = v as usize, &[0.0, 65.0]),
        ];
        for (index, (set, values)) in numbers.iter().enumerate() {
            for &value in values.iter().chain(&[f64::NAN]) {
                let mut params = PerovskiteParams::default();
                set(&mut params, value);
                let error = perovskite(&params).unwrap_err();
                assert!(matches!(error, Error::Parameter { .. }), "parameter {index} = {value}: {error}");
            }
        }
        for side in [0, 31, 16385] {
            assert!(perovskite(&PerovskiteParams { height: side, ..PerovskiteParams::default() }).is_err());
            assert!(perovskite(&PerovskiteParams { width: side, ..PerovskiteParams::default() }).is_err());
        }
    }
}
