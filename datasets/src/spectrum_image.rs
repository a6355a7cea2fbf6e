use std::collections::BTreeMap;

use ndarray::{Array1, Array2, Array3, ArrayView1, Axis as Dim};
use parsimon_core::{Axis, Dataset, Image, Sites, Spectra, SpectrumImage};
use rand::Rng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

use crate::Result;
use crate::endmembers::{ENERGIES, MOST, names, spectrum};
use crate::error::require;
use crate::scan::{count, stream};

/// Size of a pixel in nm.
const PIXEL: f64 = 2.0;
/// Where the particle stands, as fractions of height and width, and its radius as a fraction of the smaller of the two.
const PARTICLE: (f64, [f64; 2], f64) = (0.27, [0.35, 0.65], 0.17);
/// Where grains begin and the gradient ends, as a fraction of the height; the greatest share of the gradient.
const GRAINS: f64 = 0.55;
const GRADIENT: f64 = 0.4;
/// Diffusion length as a fraction of the width.
const DIFFUSION: f64 = 1.0 / 16.0;

/// A spectrum image whose endmembers and abundances are known.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SpectrumImageParams {
    /// Rows, 16 to 256. Default 64.
    pub height: usize,
    /// Columns, 16 to 256. Default 64.
    pub width: usize,
    /// Channels from 10 to 210 eV, 64 to 1024. Default 256.
    pub channels: usize,
    /// Endmembers R, 2 to 8. Default 4.
    pub endmembers: usize,
    /// Mean counts of a pixel, all channels together, above 0 up to 10⁹. Default 10,000.
    pub dose: f64,
    /// Whether counts are drawn; else the image holds their expectations. Default true.
    pub noisy: bool,
    /// Greatest abundance of any endmember in any pixel, above 0.5 up to 1; below 1 no pixel is pure. Default 1.
    pub purest: f64,
    /// Seed of everything random. Default 0.
    pub seed: u64,
}

impl Default for SpectrumImageParams {
    fn default() -> Self {
        Self { height: 64, width: 64, channels: 256, endmembers: 4, dose: 1e4, noisy: true, purest: 1.0, seed: 0 }
    }
}

/// A spectrum image and what it is made of.
#[derive(Debug, Clone, PartialEq)]
pub struct Mixture {
    /// Counts, H×W×L, or what is expected of them.
    pub image: SpectrumImage,
    /// Spectra of the pure materials in counts, R×L.
    pub endmembers: Spectra,
    /// What the endmembers look like, R.
    pub names: Vec<&'static str>,
    /// Shares of the endmembers, H×W×R; 0 and more, 1 in sum over R.
    pub abundances: Array3<f64>,
}

impl Mixture {
    /// Its pixels as samples, with the sum of their counts as micrograph; `a1` to `aR` of the truth are the abundances, the label is
    /// that of the greatest.
    ///
    /// # Errors
    /// Never with a mixture that [`spectrum_image`] made.
    pub fn into_dataset(self) -> Result<Dataset> {
        let [y, x, _] = self.image.axes().map(Clone::clone);
        let (height, width, _) = self.image.values().dim();
        let micrograph = Image::calibrated(self.image.values().sum_axis(Dim(2)), y, x)?;
        let shares = |r: usize| self.abundances.index_axis(Dim(2), r).iter().copied().collect::<Array1<f64>>();
        let truth: BTreeMap<String, Array1<f64>> =
            (0..self.names.len()).map(|r| (format!("a{}", r + 1), shares(r))).collect();
        let greatest = |shares: ArrayView1<'_, f64>| {
            let most = shares.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1));
            most.map_or(-1, |(r, _)| r as i64)
        };
        let labels = self.abundances.lanes(Dim(2)).into_iter().map(greatest).collect();
        Ok(Dataset {
            spectra: Some(self.image.into_spectra()),
            endmembers: Some(self.endmembers),
            labels: Some(labels),
            sites: Some(Sites::grid((height, width))),
            micrograph: Some(micrograph),
            truth,
            ..Dataset::default()
        })
    }
}

/// Energy losses of R materials, mixed linearly:
///
/// ```text
/// X(y,x,E) ~ Poisson( Σᵣ a(y,x,r) mᵣ(E) ),
/// m(E) = plasmon + B (E/50 eV)⁻ʳ + Σ edges: onset (logistic) · (E/Eₑ)⁻ˢ · (1 + white line + fading ripples).
/// ```
///
/// Materials 0 and 1 lie side by side and diffuse into each other, as erfc does. In the upper part a gradient of the last
/// material grows downwards, and a sphere of material 2 (1, if there are two) stands in it: sharp at its rim, pure in its
/// middle. Below are grains with sharp boundaries: pure ones of materials 3 and up (of all, if there are no more than three),
/// and others that show what was there. Each material is pure somewhere. With `purest` below 1 what a material has above it goes
/// to the others, in proportion to what they have, and where they have nothing to the next material: corners of the simplex are
/// empty, its edges and faces are not, so that the endmembers can still be told.
///
/// Materials differ in how much they scatter; all are brought to counts by one factor, such that the mean over the pixels is the
/// dose. The spectra are like those of silicon, silica, aluminium, … in plasmons and edges, but no reference of them.
///
/// # Shapes
/// H×W×L; 2 nm pixels, energy in eV from 10 to 210.
///
/// # Errors
/// If a parameter is outside its range.
pub fn spectrum_image(params: &SpectrumImageParams) -> Result<Mixture> {
    let SpectrumImageParams { height, width, channels, endmembers, dose, noisy, purest, seed } = *params;
    require((16..=256).contains(&height), "height of the image", height as f64, "16 to 256 pixels")?;
    require((16..=256).contains(&width), "width of the image", width as f64, "16 to 256 pixels")?;
    require((64..=1024).contains(&channels), "number of channels", channels as f64, "64 to 1024")?;
    require((2..=MOST).contains(&endmembers), "number of endmembers", endmembers as f64, "2 to 8")?;
    require(dose > 0.0 && dose <= 1e9, "dose", dose, "above 0 up to 10⁹ counts in a pixel")?;
    require(purest > 0.5 && purest <= 1.0, "greatest abundance", purest, "above 0.5 up to 1")?;

    let mut abundances = mixed(params, &mut stream(seed, 0));
    for mut shares in abundances.lanes_mut(Dim(2)) {
        // More than half: there is one such material at most, and no other becomes one.
        let Some(most) = shares.iter().position(|a| *a > purest) else { continue };
        let more = shares[most] - purest;
        shares[most] = 0.0;
        let rest = shares.sum();
        if rest > 0.0 {
            shares.mapv_inplace(|a| a * ((more + rest) / rest));
        } else {
            shares[(most + 1) % endmembers] = more;
        }
        shares[most] = purest;
    }
    let scale = (ENERGIES[1] - ENERGIES[0]) / (channels - 1) as f64;
    let energy = Axis::new("energy", scale, ENERGIES[0], "eV");
    let energies: Array1<f64> = (0..channels).map(|i| energy.value(i as f64)).collect();
    let mut pure = Array2::zeros((endmembers, channels));
    pure.outer_iter_mut().enumerate().for_each(|(r, mut row)| row.assign(&spectrum(r, &energies)));
    let pixels = (height * width) as f64;
    let shares = abundances.sum_axis(Dim(0)).sum_axis(Dim(0)) / pixels;
    pure *= dose / shares.dot(&pure.sum_axis(Dim(1)));

    let mut values = Array2::zeros((height * width, channels));
    values.axis_iter_mut(Dim(0)).into_par_iter().enumerate().for_each(|(pixel, mut row)| {
        for (r, spectrum) in pure.outer_iter().enumerate() {
            row.scaled_add(abundances[(pixel / width, pixel % width, r)], &spectrum);
        }
    });
    if noisy {
        count(&mut values, seed, 1);
    }
    let nm = |name| Axis::new(name, PIXEL, 0.0, "nm");
    let spectra = Spectra::new(values, energy.clone())?;
    Ok(Mixture {
        image: SpectrumImage::from_spectra(spectra, (height, width), nm("y"), nm("x"))?,
        endmembers: Spectra::new(pure, energy)?,
        names: names(endmembers),
        abundances,
    })
}

/// Abundances, with each material pure somewhere.
fn mixed(params: &SpectrumImageParams, rng: &mut ChaCha8Rng) -> Array3<f64> {
    let SpectrumImageParams { height, width, endmembers, .. } = *params;
    let (h, w) = (height as f64, width as f64);
    let particle = Particle {
        y: PARTICLE.0 * h,
        x: rng.gen_range(PARTICLE.1[0]..PARTICLE.1[1]) * w,
        radius: PARTICLE.2 * h.min(w),
        material: 2.min(endmembers - 1),
    };
    let (middle, slope) = (rng.gen_range(0.45..0.55), rng.gen_range(-0.15..0.15));
    let grains = Grains::new(params, rng);
    let mut abundances = Array3::zeros((height, width, endmembers));
    for y in 0..height {
        for x in 0..width {
            let mut shares = abundances.slice_mut(ndarray::s![y, x, ..]);
            let (y, x) = (y as f64, x as f64);
            if let Some(material) = grains.at(y, x) {
                shares[material] = 1.0;
                continue;
            }
            let right = 0.5 * erfc((middle + slope * (y / h - 0.5) - x / w) / DIFFUSION);
            shares[0] = 1.0 - right;
            shares[1] = right;
            let mut cover = |share: f64, material: usize| {
                shares *= 1.0 - share;
                shares[material] += share;
            };
            if y < GRAINS * h {
                cover(GRADIENT * y / (GRAINS * h), endmembers - 1);
                cover(particle.share(y, x), particle.material);
            }
        }
    }
    abundances
}

/// A sphere in a foil.
struct Particle {
    y: f64,
    x: f64,
    radius: f64,
    material: usize,
}

impl Particle {
    /// How much of the foil it takes up.
    fn share(&self, y: f64, x: f64) -> f64 {
        let off = ((y - self.y).powi(2) + (x - self.x).powi(2)) / (self.radius * self.radius);
        // A little thicker than the foil, so that it is pure in its middle.
        (1.5 * (1.0 - off).max(0.0).sqrt()).min(1.0)
    }
}

/// Grains: the parts of a plane that are nearest to one of the points.
struct Grains {
    begin: f64,
    points: Vec<(f64, f64, Option<usize>)>,
}

impl Grains {
    /// Two rows of grains; each holds every material in question, and one grain that is none.
    fn new(params: &SpectrumImageParams, rng: &mut ChaCha8Rng) -> Self {
        let SpectrumImageParams { height, width, endmembers, .. } = *params;
        let first = if endmembers > 3 { 3 } else { 0 };
        let mut kinds: Vec<Option<usize>> = (first..endmembers).map(Some).chain([None]).collect();
        let begin = GRAINS * height as f64;
        let cell = (0.5 * (height as f64 - begin), width as f64 / kinds.len() as f64);
        let mut points = Vec::with_capacity(2 * kinds.len());
        for row in 0..2 {
            kinds.shuffle(rng);
            for (column, kind) in kinds.iter().enumerate() {
                let mut within = || 0.5 + rng.gen_range(-0.2..0.2);
                let y = begin + (f64::from(row) + within()) * cell.0;
                points.push((y, (column as f64 + within()) * cell.1, *kind));
            }
        }
        Self { begin, points }
    }

    fn at(&self, y: f64, x: f64) -> Option<usize> {
        let distance = |p: &(f64, f64, Option<usize>)| (p.0 - y).powi(2) + (p.1 - x).powi(2);
        let nearest = self.points.iter().min_by(|a, b| distance(a).total_cmp(&distance(b)));
        nearest.filter(|_| y >= self.begin).and_then(|point| point.2)
    }
}

/// 1 − erf, to within 1.5·10⁻⁷: Abramowitz and Stegun, 7.1.26.
fn erfc(x: f64) -> f64 {
    if x < 0.0 {
        return 2.0 - erfc(-x);
    }
    let t = 1.0 / (1.0 + 0.3275911 * x);
    let terms = [1.061405429, -1.453152027, 1.421413741, -0.284496736, 0.254829592];
    terms.iter().fold(0.0, |sum, term| (sum + term) * t) * (-x * x).exp()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn base() -> SpectrumImageParams {
        SpectrumImageParams { height: 32, width: 40, channels: 100, ..SpectrumImageParams::default() }
    }

    /// Σᵣ a m, pixel after pixel.
    fn expected(mixture: &Mixture) -> Array3<f64> {
        let (h, w, r) = mixture.abundances.dim();
        let flat = mixture.abundances.to_shape((h * w, r)).unwrap();
        let values = flat.dot(&mixture.endmembers.values());
        let channels = values.ncols();
        values.into_shape_with_order((h, w, channels)).unwrap()
    }

    #[test]
    fn abundances_are_shares_and_every_material_is_pure_somewhere() {
        for (endmembers, purest) in [(2, 1.0), (3, 1.0), (5, 0.7), (8, 1.0), (8, 0.55)] {
            for (height, width, seed) in [(16, 16, 0), (16, 256, 1), (256, 16, 2)] {
                let params = SpectrumImageParams { height, width, endmembers, purest, seed, noisy: false, ..base() };
                let abundances = spectrum_image(&params).unwrap().abundances;
                assert!(abundances.iter().all(|a| *a >= 0.0 && *a <= purest + 1e-12));
                assert!(abundances.sum_axis(Dim(2)).iter().all(|sum| (sum - 1.0).abs() < 1e-12));
                for (r, map) in abundances.axis_iter(Dim(2)).enumerate() {
                    let most = map.iter().copied().fold(0.0, f64::max);
                    assert!(most > purest - 1e-3, "{endmembers} {height}×{width}, {r}: {most}");
                }
            }
        }
    }

    #[test]
    fn without_pure_pixels_faces_of_the_simplex_stay_where_they_are() {
        let params = SpectrumImageParams { purest: 0.7, height: 64, width: 64, noisy: false, ..base() };
        let abundances = spectrum_image(&params).unwrap().abundances;
        for map in abundances.axis_iter(Dim(2)) {
            assert!(map.iter().filter(|a| **a == 0.0).count() > 100);
        }
    }

    #[test]
    fn there_are_gradients_and_jumps() {
        let abundances = spectrum_image(&SpectrumImageParams { height: 64, width: 64, ..base() }).unwrap().abundances;
        // The top row is the profile alone: it rises smoothly.
        let profile: Vec<f64> = (0..64).map(|x| abundances[(0, x, 1)]).collect();
        assert!(
            profile.windows(2).all(|p| p[1] >= p[0] && p[1] - p[0] < 0.2)
                && profile[0] < 1e-6
                && profile[63] > 0.999999
        );
        let grains = abundances.slice(ndarray::s![40.., .., 3]);
        let jumps = grains
            .rows()
            .into_iter()
            .flat_map(|row| row.to_vec().windows(2).map(|p| (p[1] - p[0]).abs()).collect::<Vec<_>>());
        assert!(jumps.filter(|j| *j == 1.0).count() > 12);
    }

    #[test]
    fn without_noise_the_image_is_the_product_and_has_the_dose() {
        for (endmembers, purest) in [(2, 0.8), (8, 1.0)] {
            let mixture = spectrum_image(&SpectrumImageParams { endmembers, purest, noisy: false, ..base() }).unwrap();
            let off = &mixture.image.values() - &expected(&mixture);
            assert!(off.iter().all(|d| d.abs() < 1e-9));
            let mean = mixture.image.values().sum() / (32.0 * 40.0);
            assert!((mean / 1e4 - 1.0).abs() < 1e-9, "{mean}");
            assert_eq!(mixture.names.len(), endmembers);
        }
    }

    #[test]
    fn samples_are_the_pixels_with_what_they_are_made_of() {
        let mixture = spectrum_image(&base()).unwrap();
        let data = mixture.clone().into_dataset().unwrap();
        assert_eq!(data.samples().unwrap(), 32 * 40);
        let (pixel, y, x) = (5 * 40 + 7, 5, 7);
        assert_eq!(
            data.spectra.as_ref().unwrap().values().row(pixel),
            mixture.image.values().slice(ndarray::s![y, x, ..])
        );
        assert!((0..4).all(|r| data.truth[&format!("a{}", r + 1)][pixel] == mixture.abundances[(y, x, r)]));
        let label = data.labels.as_ref().unwrap()[pixel] as usize;
        assert!((0..4).all(|r| mixture.abundances[(y, x, r)] <= mixture.abundances[(y, x, label)]));
        assert!(data.sites.unwrap().are_grid(data.micrograph.unwrap().shape()));
    }

    #[test]
    fn counts_are_poisson_about_the_product() {
        for dose in [20.0, 1e5] {
            let mixture = spectrum_image(&SpectrumImageParams { dose, ..base() }).unwrap();
            let counts = mixture.image.values();
            assert!(counts.iter().all(|c| c.fract() == 0.0 && *c >= 0.0));
            let means = expected(&mixture);
            assert!((counts.sum() / means.sum() - 1.0).abs() < 4.0 / means.sum().sqrt());
            let chi = (&counts - &means).mapv(|d| d * d) / &means;
            assert!((chi.mean().unwrap() - 1.0).abs() < 0.08, "{:?}", chi.mean());
        }
    }

    #[test]
    fn the_seed_decides_on_any_number_of_threads() {
        let of = |seed| spectrum_image(&SpectrumImageParams { seed, ..base() }).unwrap();
        let one = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
        assert_eq!(one.install(|| of(3)), of(3));
        assert_ne!(of(3).image, of(4).image);
        assert_ne!(of(3).abundances, of(4).abundances);
    }

    #[test]
    fn the_profile_is_that_of_erfc() {
        for (x, value) in [(0.0, 1.0), (0.5, 0.4795001222), (1.0, 0.1572992070), (-1.0, 1.8427007929), (3.0, 2.209e-5)]
        {
            assert!((erfc(x) - value).abs() < 2e-7, "{x}: {}", erfc(x));
        }
    }

    #[test]
    fn every_rejection() {
        for wrong in [
            SpectrumImageParams { height: 15, ..base() },
            SpectrumImageParams { height: 257, ..base() },
            SpectrumImageParams { width: 0, ..base() },
            SpectrumImageParams { width: 257, ..base() },
            SpectrumImageParams { channels: 63, ..base() },
            SpectrumImageParams { channels: 1025, ..base() },
            SpectrumImageParams { endmembers: 1, ..base() },
            SpectrumImageParams { endmembers: 9, ..base() },
            SpectrumImageParams { dose: 0.0, ..base() },
            SpectrumImageParams { dose: f64::NAN, ..base() },
            SpectrumImageParams { dose: 1e10, ..base() },
            SpectrumImageParams { purest: 0.5, ..base() },
            SpectrumImageParams { purest: 1.1, ..base() },
            SpectrumImageParams { purest: f64::NAN, ..base() },
        ] {
            assert!(spectrum_image(&wrong).is_err(), "{wrong:?}");
        }
    }
}
