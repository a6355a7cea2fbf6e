use ndarray::Array1;
use parsimon_core::{Axis, Image, Metadata, Scene, Sites};
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use crate::Result;
use crate::error::require;
use crate::scan::{Column, Scan, count, expose, stream};

/// Atomic numbers of carbon, nitrogen and silicon.
const SPECIES: [u8; 3] = [6, 7, 14];
/// Signal of an atom goes as Z to this power (annular dark field).
const Z_EXPONENT: f64 = 1.7;

/// A graphene sheet with silicon and nitrogen in place of some carbon atoms, by annular dark-field STEM.
#[derive(Debug, Clone, PartialEq)]
pub struct GrapheneParams {
    /// Rows of the image, 32 to 16384. Default 512.
    pub height: usize,
    /// Columns of the image, 32 to 16384. Default 512.
    pub width: usize,
    /// Pixel size in nm, above 0. Default 0.0125.
    pub pixel: f64,
    /// Bond length in nm; at least 4 pixels. Default 0.142.
    pub bond: f64,
    /// Angle of the sheet, counter-clockwise, in radians; 0 puts one bond of each atom upright. Default 0.1.
    pub rotation: f64,
    /// Fraction of atoms replaced by silicon, 0 to 0.1; two silicon atoms are never within two bonds. Default 0.015.
    pub silicon: f64,
    /// Fraction of atoms replaced by nitrogen, 0 to 0.5. Default 0.03.
    pub nitrogen: f64,
    /// How much the bonds at a silicon atom are longer, as a fraction, 0 to 0.3; the displacement of the carbon
    /// around decays as exp(−(r − bond)/bond). Default 0.15.
    pub strain: f64,
    /// Standard deviation of an atom in nm, above 0. Default 0.036.
    pub atom: f64,
    /// Mean counts at the top of a carbon atom, above 0, at most 10⁸. Default 30.
    pub dose: f64,
    /// Background as a fraction of a carbon atom, 0 to 10. Default 0.25.
    pub background: f64,
    /// Slow drift of the scan over the image in pixels, 0 to 20. Default 1.
    pub drift: f64,
    /// Random shift of each row along x (standard deviation, pixels), 0 to 5. Default 0.1.
    pub jitter: f64,
    /// Seed of everything random. Default 0.
    pub seed: u64,
}

impl Default for GrapheneParams {
    fn default() -> Self {
        Self {
            height: 512,
            width: 512,
            pixel: 0.0125,
            bond: 0.142,
            rotation: 0.1,
            silicon: 0.015,
            nitrogen: 0.03,
            strain: 0.15,
            atom: 0.036,
            dose: 30.0,
            background: 0.25,
            drift: 1.0,
            jitter: 0.1,
            seed: 0,
        }
    }
}

impl GrapheneParams {
    fn check(&self) -> Result<()> {
        let side = |side: usize| (32..=16384).contains(&side);
        require(side(self.height), "height of the image", self.height as f64, "32 to 16384 pixels")?;
        require(side(self.width), "width of the image", self.width as f64, "32 to 16384 pixels")?;
        let positive = |v: f64| v.is_finite() && v > 0.0;
        require(positive(self.pixel), "pixel size", self.pixel, "finite numbers above 0 nm")?;
        let bond = self.bond / self.pixel;
        require(positive(self.bond) && bond >= 4.0, "bond length", self.bond, "4 pixels and more, in nm")?;
        let atom = self.atom / self.bond;
        require(atom > 0.0 && atom <= 2.0, "width of an atom", self.atom, "above 0 up to two bonds, in nm")?;
        require(self.dose > 0.0 && self.dose <= 1e8, "dose", self.dose, "above 0 up to 10⁸ counts")?;
        require(self.rotation.is_finite(), "rotation", self.rotation, "finite angles in radians")?;
        let ranges = [
            ("fraction of silicon", self.silicon, 0.0..=0.1, "0 to 0.1"),
            ("fraction of nitrogen", self.nitrogen, 0.0..=0.5, "0 to 0.5"),
            ("strain", self.strain, 0.0..=0.3, "0 to 0.3"),
            ("background", self.background, 0.0..=10.0, "0 to 10"),
            ("drift", self.drift, 0.0..=20.0, "0 to 20 pixels"),
            ("jitter", self.jitter, 0.0..=5.0, "0 to 5 pixels"),
        ];
        ranges
            .into_iter()
            .try_for_each(|(name, value, range, accepted)| require(range.contains(&value), name, value, accepted))
    }
}

/// An atom of the sheet: its place in pixels of a perfect scan, its place without strain, its species.
#[derive(Debug, Clone, Copy)]
struct Atom {
    y: f64,
    x: f64,
    unstrained: [f64; 2],
    species: u8,
}

/// An annular dark-field image of doped graphene, and all that is known of its atoms.
///
/// An atom is a Gaussian of height `dose · (Z/6)^1.7`, sampled by the probe, on a constant background. Around silicon
/// the carbon atoms move outwards. The scan drifts slowly and its rows jitter; counts are Poisson.
///
/// # Shapes
/// `sites` are all atoms whose centre lies in the image, row by row from the top. Their positions are where the atoms
/// appear in the image: strain and drift included, row jitter and counting noise not. `truth` holds `species`, the
/// atomic number (6 carbon, 7 nitrogen, 14 silicon), and `displacement_y` and `displacement_x`, how far strain moved
/// the atom, in pixels (y down).
///
/// # Errors
/// If a parameter is outside its range.
pub fn graphene(params: &GrapheneParams) -> Result<Scene> {
    params.check()?;
    let (height, width) = (params.height as f64, params.width as f64);
    let mut rng = stream(params.seed, 0);
    let scan = Scan::new(params.height, params.drift, params.jitter, &mut rng);
    let sigma = params.atom / params.pixel;
    let mut atoms = sheet(params, 6.0 * sigma + params.drift);
    dope(&mut atoms, params, &mut rng);
    strain(&mut atoms, params);

    let seen = |atom: &Atom| {
        let (y, x) = scan.appear(atom.y, atom.x);
        let peak = params.dose * (f64::from(atom.species) / f64::from(SPECIES[0])).powf(Z_EXPONENT);
        (*atom, Column { y, x, sigma_y: sigma, sigma_x: sigma, peak })
    };
    let mut known: Vec<(Atom, Column)> = atoms.iter().map(seen).collect();
    known.sort_by(|(_, p), (_, q)| p.y.total_cmp(&q.y).then(p.x.total_cmp(&q.x)));
    let drawn: Vec<Column> = known.iter().map(|&(_, column)| column).collect();
    let background = params.background * params.dose;
    let mut counts = expose(&drawn, (params.height, params.width), &scan, |_, _| background);
    count(&mut counts, params.seed, 1);

    known.retain(|(_, c)| (0.0..=height - 1.0).contains(&c.y) && (0.0..=width - 1.0).contains(&c.x));
    let axis = |name| Axis::new(name, params.pixel, 0.0, "nm");
    let metadata = Metadata {
        title: "doped graphene".into(),
        stored_as: "float64".into(),
        extra: [("seed".to_owned(), params.seed.to_string())].into(),
    };
    let truth = |of: fn(&Atom) -> f64| known.iter().map(|(atom, _)| of(atom)).collect::<Array1<f64>>();
    Ok(Scene {
        image: Image::calibrated(counts, axis("y"), axis("x"))?.with_metadata(metadata),
        sites: Sites::new(known.iter().map(|(_, column)| column.site()).collect())?,
        truth: [
            ("species".to_owned(), truth(|a| a.species.into())),
            ("displacement_y".to_owned(), truth(|a| a.y - a.unstrained[0])),
            ("displacement_x".to_owned(), truth(|a| a.x - a.unstrained[1])),
        ]
        .into(),
    })
}

/// Perfect graphene that covers the image and `margin` pixels around it.
fn sheet(params: &GrapheneParams, margin: f64) -> Vec<Atom> {
    let (height, width) = (params.height as f64, params.width as f64);
    let bond = params.bond / params.pixel;
    let (sin, cos) = params.rotation.sin_cos();
    // Dopants just outside still strain what is inside.
    let margin = margin + 4.0 * bond;
    let half = 0.5 * height.hypot(width) + margin;
    // Rectangular cell of four atoms: √3 bonds along x, 3 bonds along y.
    let (cell_x, cell_y) = (3f64.sqrt() * bond, 3.0 * bond);
    let basis = [(0.0, 0.0), (0.0, 1.0), (0.5, 1.5), (0.5, 2.5)];
    let (cells_x, cells_y) = ((half / cell_x).ceil() as i64 + 1, (half / cell_y).ceil() as i64 + 1);
    let cells = (-cells_y..=cells_y).flat_map(|i| (-cells_x..=cells_x).map(move |j| (i, j)));
    cells
        .flat_map(|cell| basis.map(|site| (cell, site)))
        .filter_map(|((i, j), (bx, by))| {
            let (right, up) = ((j as f64 + bx) * cell_x, i as f64 * cell_y + by * bond);
            let y = 0.5 * (height - 1.0) - (sin * right + cos * up);
            let x = 0.5 * (width - 1.0) + cos * right - sin * up;
            let inside = (-margin..=height + margin).contains(&y) && (-margin..=width + margin).contains(&x);
            inside.then_some(Atom { y, x, unstrained: [y, x], species: SPECIES[0] })
        })
        .collect()
}

/// Puts silicon and nitrogen at random places.
fn dope(atoms: &mut [Atom], params: &GrapheneParams, rng: &mut ChaCha8Rng) {
    let bond = params.bond / params.pixel;
    let wanted = |fraction: f64| (fraction * atoms.len() as f64).round() as usize;
    let (silicon, nitrogen) = (wanted(params.silicon), wanted(params.nitrogen));
    let mut order: Vec<usize> = (0..atoms.len()).collect();
    order.shuffle(rng);
    let mut placed: Vec<[f64; 2]> = Vec::with_capacity(silicon);
    let mut free = Vec::with_capacity(order.len());
    for index in order {
        let [y, x] = atoms[index].unstrained;
        let alone = placed.iter().all(|p| (p[0] - y).hypot(p[1] - x) > 2.1 * bond);
        if placed.len() < silicon && alone {
            atoms[index].species = SPECIES[2];
            placed.push([y, x]);
        } else {
            free.push(index);
        }
    }
    for &index in free.iter().take(nitrogen) {
        atoms[index].species = SPECIES[1];
    }
}

/// Moves the atoms around silicon outwards.
fn strain(atoms: &mut [Atom], params: &GrapheneParams) {
    let bond = params.bond / params.pixel;
    let reach = 5.0 * bond;
    let mut silicon: Vec<[f64; 2]> = atoms.iter().filter(|a| a.species == SPECIES[2]).map(|a| a.unstrained).collect();
    silicon.sort_by(|p, q| p[0].total_cmp(&q[0]));
    for atom in atoms.iter_mut() {
        let [y, x] = atom.unstrained;
        let first = silicon.partition_point(|s| s[0] < y - reach);
        for &[sy, sx] in silicon.iter().skip(first).take_while(|s| s[0] <= y + reach) {
            let (dy, dx) = (y - sy, x - sx);
            let distance = dy.hypot(dx);
            if distance < 0.5 * bond || distance > reach {
                continue;
            }
            let push = params.strain * bond * (-(distance - bond) / bond).exp();
            atom.y += push * dy / distance;
            atom.x += push * dx / distance;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Error;

    /// For each site at least 40 px from every edge: its index and the distances to its three nearest neighbours.
    fn bonds(scene: &Scene) -> Vec<(usize, [f64; 3])> {
        let (h, w) = scene.image.shape();
        let sites = scene.sites.as_slice();
        let within = |v: f64, end: usize| v > 40.0 && v < end as f64 - 41.0;
        let inside = (0..sites.len()).filter(|&i| within(sites[i].y, h) && within(sites[i].x, w));
        inside
            .map(|i| {
                let distance = |s: &parsimon_core::Site| (s.y - sites[i].y).hypot(s.x - sites[i].x);
                let mut all: Vec<f64> = sites.iter().map(distance).collect();
                all.sort_by(f64::total_cmp);
                (i, [all[1], all[2], all[3]])
            })
            .collect()
    }

    #[test]
    fn a_perfect_sheet_has_three_equal_bonds() {
        let params = GrapheneParams { silicon: 0.0, nitrogen: 0.0, drift: 0.0, ..GrapheneParams::default() };
        let scene = graphene(&params).unwrap();
        let bond = params.bond / params.pixel;
        let found = bonds(&scene);
        assert!(found.len() > 900);
        assert!(found.iter().flat_map(|(_, b)| b).all(|b| (b - bond).abs() < 1e-9));
        // Two atoms to each cell of area (3√3/2) bond².
        let expected = 512.0 * 512.0 * 4.0 / (27f64.sqrt() * bond * bond);
        assert!((scene.sites.len() as f64 / expected - 1.0).abs() < 0.02, "{} of {expected}", scene.sites.len());
        assert!(scene.truth["species"].iter().all(|&z| z == 6.0));
    }

    #[test]
    fn dopants_have_their_share_and_brightness() {
        let params = GrapheneParams { silicon: 0.02, nitrogen: 0.1, ..GrapheneParams::default() };
        let scene = graphene(&params).unwrap();
        for (z, share, ratio) in [(7.0, 0.1, 1.2996), (14.0, 0.02, 4.2226)] {
            let of: Vec<usize> = (0..scene.sites.len()).filter(|&i| scene.truth["species"][i] == z).collect();
            let found = of.len() as f64 / scene.sites.len() as f64;
            assert!((found / share - 1.0).abs() < 0.35, "Z = {z}: {found}");
            assert!(of.iter().all(|&i| (scene.sites.as_slice()[i].intensity / params.dose - ratio).abs() < 1e-3));
        }
    }

    #[test]
    fn silicon_pushes_its_neighbours_away_and_stands_alone() {
        let params = GrapheneParams { silicon: 0.004, nitrogen: 0.0, drift: 0.0, ..GrapheneParams::default() };
        let scene = graphene(&params).unwrap();
        let bond = params.bond / params.pixel;
        let mut count = 0;
        for (_, b) in bonds(&scene).into_iter().filter(|(i, _)| scene.truth["species"][*i] == 14.0) {
            let mean = b.iter().sum::<f64>() / 3.0 / bond;
            assert!((1.1..1.2).contains(&mean), "{mean}");
            count += 1;
        }
        assert!(count >= 2);
        let moved = |i: usize| scene.truth["displacement_y"][i].hypot(scene.truth["displacement_x"][i]);
        assert!((0..scene.sites.len()).any(|i| moved(i) > 0.14 * bond));
        let none = graphene(&GrapheneParams { strain: 0.0, ..params }).unwrap();
        assert!(none.truth["displacement_x"].iter().all(|&d| d == 0.0));
    }

    #[test]
    fn sites_are_where_the_atoms_appear() {
        let params =
            GrapheneParams { dose: 1e8, background: 0.0, jitter: 0.0, atom: 0.025, ..GrapheneParams::default() };
        let scene = graphene(&params).unwrap();
        let values = scene.image.values();
        let vertex = |a: f64, b: f64, c: f64| 0.5 * (a.ln() - c.ln()) / (a.ln() - 2.0 * b.ln() + c.ln());
        for (i, _) in bonds(&scene) {
            let site = scene.sites.as_slice()[i];
            let (y, x) = (site.y.round() as usize, site.x.round() as usize);
            let v = |y: usize, x: usize| values[[y, x]];
            let off_y = y as f64 + vertex(v(y - 1, x), v(y, x), v(y + 1, x)) - site.y;
            let off_x = x as f64 + vertex(v(y, x - 1), v(y, x), v(y, x + 1)) - site.x;
            assert!(off_y.abs() < 0.02 && off_x.abs() < 0.02, "atom {i} is off by {off_y}, {off_x}");
        }
    }

    #[test]
    fn the_seed_alone_decides() {
        let params = GrapheneParams { height: 90, width: 120, ..GrapheneParams::default() };
        let on = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| graphene(&params)).unwrap()
        };
        assert_eq!(on(1), on(3));
        assert_ne!(graphene(&GrapheneParams { seed: 1, ..params.clone() }).unwrap().image, on(1).image);
    }

    #[test]
    fn parameters_out_of_range_are_rejected() {
        type Set = fn(&mut GrapheneParams, f64);
        let numbers: [(Set, &[f64]); 11] = [
            (|p, v| p.pixel = v, &[0.0, -1.0, f64::INFINITY, 0.1]),
            (|p, v| p.bond = v, &[0.0, 0.01, f64::INFINITY]),
            (|p, v| p.rotation = v, &[f64::INFINITY]),
            (|p, v| p.silicon = v, &[-0.1, 0.2]),
            (|p, v| p.nitrogen = v, &[-0.1, 0.6]),
            (|p, v| p.strain = v, &[-0.1, 0.4]),
            (|p, v| p.atom = v, &[0.0, -1.0, 1.0]),
            (|p, v| p.dose = v, &[0.0, -1.0, 1e9]),
            (|p, v| p.background = v, &[-0.1, 11.0]),
            (|p, v| p.drift = v, &[-1.0, 21.0]),
            (|p, v| p.jitter = v, &[-1.0, 6.0]),
        ];
        for (index, (set, values)) in numbers.iter().enumerate() {
            for &value in values.iter().chain(&[f64::NAN]) {
                let mut params = GrapheneParams::default();
                set(&mut params, value);
                let error = graphene(&params).unwrap_err();
                assert!(matches!(error, Error::Parameter { .. }), "parameter {index} = {value}: {error}");
            }
        }
        for side in [0, 31, 16385] {
            assert!(graphene(&GrapheneParams { height: side, ..GrapheneParams::default() }).is_err());
            assert!(graphene(&GrapheneParams { width: side, ..GrapheneParams::default() }).is_err());
        }
    }
}
