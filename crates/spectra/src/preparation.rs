use std::ops::Range;

use ndarray::{Array1, Array3, ArrayView2, Axis as Dim};
use parsimon_core::{Axis, Metadata, Spectra, SpectrumImage};

use crate::error::shaped;
use crate::{Background, Crop, Error, KeenanKotula, PoissonScaling, Result, Step};
use crate::{anscombe, anscombe_inverse};

/// What some steps did to a spectrum image, as is needed to go back.
#[derive(Debug, Clone, PartialEq)]
pub struct Preparation {
    /// Height, width and channels of the prepared image.
    shape: (usize, usize, usize),
    axes: [Axis; 3],
    metadata: Metadata,
    undo: Vec<Undo>,
}

/// What a step did to the values.
#[derive(Debug, Clone, PartialEq)]
enum Undo {
    Divided(Array1<f64>),
    Weighted(KeenanKotula),
    Rooted,
    Subtracted(Background),
}

impl Undo {
    fn name(&self) -> &'static str {
        match self {
            Self::Divided(_) => "normalise",
            Self::Weighted(_) | Self::Rooted => "poisson",
            Self::Subtracted(_) => "background",
        }
    }

    fn part(&mut self, pixels: &[usize], channels: &Range<usize>) {
        match self {
            Self::Divided(divisors) => *divisors = divisors.select(Dim(0), pixels),
            Self::Weighted(weights) => *weights = weights.part(pixels, channels.clone()),
            Self::Rooted => {}
            Self::Subtracted(background) => *background = background.part(pixels),
        }
    }
}

/// Takes the steps one after another; the image they end with, and the way back.
///
/// [`Spectra`] are a column of pixels. Crops may stand anywhere. Bins come before all other steps, Poisson scalings are of
/// counts (only crops and bins come before), and backgrounds come before Poisson scalings if at all.
///
/// # Shapes
/// H×W×L → h×w×l.
///
/// # Errors
/// If the order is another, or as the steps by themselves.
pub fn apply(steps: &[Step], data: impl Into<SpectrumImage>) -> Result<(SpectrumImage, Preparation)> {
    let Preparing { image, undo } =
        steps.iter().try_fold(Preparing { image: data.into(), undo: Vec::new() }, Preparing::take)?;
    let preparation = Preparation {
        shape: image.values().dim(),
        axes: image.axes().map(Clone::clone),
        metadata: image.metadata.clone(),
        undo,
    };
    Ok((image, preparation))
}

/// An image after the steps so far.
struct Preparing {
    image: SpectrumImage,
    undo: Vec<Undo>,
}

impl Preparing {
    fn take(mut self, step: &Step) -> Result<Self> {
        self.check_order(step)?;
        match step {
            Step::Crop(crop) => return self.crop(crop),
            Step::Bin(bin) => self.image = bin.apply(self.image)?,
            Step::Normalise(normalise) => {
                let (image, divisors) = by_spectrum(self.image, |spectra| normalise.apply(spectra))?;
                self.image = image;
                self.undo.push(Undo::Divided(divisors));
            }
            Step::Poisson(PoissonScaling::Anscombe) => {
                let (image, ()) = by_spectrum(self.image, |spectra| Ok((anscombe(spectra)?, ())))?;
                self.image = image;
                self.undo.push(Undo::Rooted);
            }
            Step::Poisson(PoissonScaling::KeenanKotula) => {
                let (image, weights) = by_spectrum(self.image, |spectra| {
                    let weights = KeenanKotula::find(&spectra)?;
                    Ok((weights.scale(spectra)?, weights))
                })?;
                self.image = image;
                self.undo.push(Undo::Weighted(weights));
            }
            Step::Background(law) => {
                let above = Crop { energy: law.kept(), ..Crop::default() };
                let (pixels, channels) = kept(&above, &self.image)?;
                self.undo.iter_mut().for_each(|undo| undo.part(&pixels, &channels));
                let (image, background) = by_spectrum(self.image, |spectra| law.subtract(spectra))?;
                self.image = image;
                self.undo.push(Undo::Subtracted(background));
            }
        }
        Ok(self)
    }

    fn check_order(&self, step: &Step) -> Result<()> {
        let after = match step {
            Step::Crop(_) | Step::Normalise(_) => None,
            Step::Bin(_) | Step::Poisson(_) => self.undo.last(),
            Step::Background(_) => self.undo.iter().find(|undo| undo.name() == "poisson"),
        };
        match after {
            Some(undo) => Err(Error::Order { step: step.to_string(), after: undo.name() }),
            None => Ok(()),
        }
    }

    fn crop(self, crop: &Crop) -> Result<Self> {
        let Self { image, mut undo } = self;
        let (pixels, channels) = kept(crop, &image)?;
        undo.iter_mut().for_each(|undo| undo.part(&pixels, &channels));
        Ok(Self { image: crop.apply(image)?, undo })
    }
}

impl Preparation {
    /// Whether sums of the prepared spectra are sums of spectra: not after square roots, where components and loadings do not
    /// go back.
    pub fn is_linear(&self) -> bool {
        !self.undo.iter().any(|undo| matches!(undo, Undo::Rooted))
    }

    /// The backgrounds that were subtracted, one after another; of the pixels that remain, row by row.
    pub fn backgrounds(&self) -> impl Iterator<Item = &Background> {
        self.undo.iter().filter_map(|undo| match undo {
            Undo::Subtracted(background) => Some(background),
            _ => None,
        })
    }

    /// Components of the prepared spectra, also a mean or endmembers, as spectra of counts on the calibrated axis.
    ///
    /// Times [`Preparation::loadings`] they give the spectra before they were scaled and normalised; subtracted backgrounds stay
    /// subtracted.
    ///
    /// # Shapes
    /// R×L.
    ///
    /// # Errors
    /// If there are not L channels, a value is not finite, or square roots were taken.
    pub fn components(&self, components: ArrayView2<'_, f64>) -> Result<Spectra> {
        shaped("channels of the components", &[components.ncols()], &[self.shape.2])?;
        let mut values = components.to_owned();
        for undo in self.undo.iter().rev() {
            match undo {
                Undo::Weighted(weights) => values = weights.components(values)?,
                Undo::Rooted => return Err(Error::NotLinear { what: "component" }),
                Undo::Divided(_) | Undo::Subtracted(_) => {}
            }
        }
        let [.., energy] = &self.axes;
        Ok(Spectra::new(values, energy.clone())?)
    }

    /// Loadings of the prepared spectra as maps of loadings of counts.
    ///
    /// # Shapes
    /// N×R → H×W×R.
    ///
    /// # Errors
    /// If there are not N rows, or square roots were taken.
    pub fn loadings(&self, loadings: ArrayView2<'_, f64>) -> Result<Array3<f64>> {
        let mut values = loadings.to_owned();
        for undo in self.undo.iter().rev() {
            match undo {
                Undo::Weighted(weights) => values = weights.loadings(values)?,
                Undo::Divided(divisors) => {
                    shaped("rows of the loadings", &[values.nrows()], &[divisors.len()])?;
                    values *= &divisors.view().insert_axis(Dim(1));
                }
                Undo::Rooted => return Err(Error::NotLinear { what: "loading" }),
                Undo::Subtracted(_) => {}
            }
        }
        self.maps(values.view())
    }

    /// Numbers of each pixel, such as classes or latents, as maps.
    ///
    /// # Shapes
    /// N×R → H×W×R.
    ///
    /// # Errors
    /// If there are not N rows.
    pub fn maps(&self, rows: ArrayView2<'_, f64>) -> Result<Array3<f64>> {
        let (height, width, _) = self.shape;
        shaped("rows of the maps", &[rows.nrows()], &[height * width])?;
        Ok(Array3::from_shape_fn((height, width, rows.ncols()), |(y, x, r)| rows[(y * width + x, r)]))
    }

    /// A reconstruction of the prepared spectra as counts: scalings and norms undone, backgrounds added. What was cropped or
    /// binned stays so.
    ///
    /// # Shapes
    /// N×L → H×W×L.
    ///
    /// # Errors
    /// If the shape differs or a value is not finite.
    pub fn restore(&self, reconstruction: ArrayView2<'_, f64>) -> Result<SpectrumImage> {
        let (height, width, channels) = self.shape;
        shaped("reconstructed spectra", reconstruction.shape(), &[height * width, channels])?;
        let [y, x, energy] = self.axes.clone();
        let mut values = reconstruction.as_standard_layout().into_owned();
        for undo in self.undo.iter().rev() {
            match undo {
                Undo::Divided(divisors) => values *= &divisors.view().insert_axis(Dim(1)),
                Undo::Weighted(weights) => values = weights.restore(values)?,
                Undo::Rooted => values = anscombe_inverse(values),
                Undo::Subtracted(background) => background.add(&mut values, &energy, 1.0)?,
            }
        }
        let restored = SpectrumImage::from_spectra(Spectra::new(values, energy)?, (height, width), y, x)?;
        Ok(restored.with_metadata(self.metadata.clone()))
    }
}

/// Indices of the pixels and channels that a crop keeps.
fn kept(crop: &Crop, image: &SpectrumImage) -> Result<(Vec<usize>, Range<usize>)> {
    let width = image.values().dim().1;
    let [rows, columns, channels] = crop.ranges(image)?;
    let pixels = rows.flat_map(|row| columns.clone().map(move |column| row * width + column)).collect();
    Ok((pixels, channels))
}

/// Does something to every spectrum of an image, and keeps what is said of it.
fn by_spectrum<T>(
    image: SpectrumImage,
    work: impl FnOnce(Spectra) -> Result<(Spectra, T)>,
) -> Result<(SpectrumImage, T)> {
    let (height, width, _) = image.values().dim();
    let [y, x, _] = image.axes().map(Clone::clone);
    let metadata = image.metadata.clone();
    let (spectra, said) = work(image.into_spectra())?;
    Ok((SpectrumImage::from_spectra(spectra, (height, width), y, x)?.with_metadata(metadata), said))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::steps::parse;
    use ndarray::{Array2, s};

    /// Counts of two spectra mixed on 6×5 pixels, on a power law; one pixel is empty.
    fn image() -> SpectrumImage {
        let values = Array3::from_shape_fn((6, 5, 120), |(y, x, e)| {
            let energy = 100.0 + 5.0 * e as f64;
            let peak = |at: f64| 40.0 * (-((energy - at) / 30.0).powi(2)).exp();
            let share = x as f64 / 4.0;
            let empty = (y, x) == (5, 4);
            let sum = 3e4 * energy.powf(-1.5 - 0.1 * y as f64) + share * peak(400.0) + (1.0 - share) * peak(550.0);
            if empty { 0.0 } else { sum }
        });
        let nm = |name| Axis::new(name, 0.5, 0.0, "nm");
        SpectrumImage::new(values, nm("y"), nm("x"), Axis::new("energy", 5.0, 100.0, "eV")).unwrap()
    }

    fn after(text: &str) -> Result<(SpectrumImage, Preparation)> {
        apply(&parse(text)?, image())
    }

    #[test]
    fn what_can_be_undone_is() {
        for (text, counts) in [
            ("crop=0.2..0.5keV,bin=2,poisson", "crop=0.2..0.5keV,bin=2"),
            (
                "bin=3,bin-pixels=2x1,poisson=keenan-kotula,normalise=max,rows=1..3,columns=2..5",
                "bin=3,bin-pixels=2x1,rows=1..3,columns=2..5",
            ),
            ("normalise=300..400eV,rows=..2,crop=0.35keV..", "rows=..2,crop=0.35keV.."),
            ("poisson,crop=150..400,normalise=total", "crop=150..400"),
            ("background=150..300eV", "crop=150eV.."),
            ("normalise=total,background=150..300eV,rows=2..,crop=..500eV,normalise=max", "crop=150..500eV,rows=2.."),
        ] {
            let (image, preparation) = after(text).unwrap();
            let back = preparation.restore(image.spectra().values()).unwrap();
            let (expected, _) = after(counts).unwrap();
            assert_eq!(back.axes(), expected.axes(), "{text}");
            let off = (&back.values() - &expected.values()).iter().fold(0.0, |m: f64, d| m.max(d.abs()));
            assert!(off < 1e-9, "{text}: {off}");
        }
    }

    #[test]
    fn roots_go_back_to_means() {
        let (image, preparation) = after("poisson=anscombe,normalise=max,crop=150..180").unwrap();
        let back = preparation.restore(image.spectra().values()).unwrap();
        let (expected, _) = after("crop=150..180").unwrap();
        // The unbiased inverse takes the root of x for a mean, and gives x + 1/4 at many counts.
        let off = &back.values().slice(s![..5, .., ..]) - &expected.values().slice(s![..5, .., ..]);
        assert!(off.iter().all(|d| (d - 0.25).abs() < 0.05), "{off}");
    }

    #[test]
    fn components_times_loadings_are_counts() {
        let (image, prepared) = after("bin=2,poisson,normalise=total,columns=1..").unwrap();
        let (n, l) = image.spectra().values().dim();
        let loadings = Array2::from_shape_fn((n, 2), |(i, r)| (1 + i + 3 * r) as f64);
        let components = Array2::from_shape_fn((2, l), |(r, j)| (1 + (5 * j + r) % 7) as f64);
        let maps = prepared.loadings(loadings.view()).unwrap();
        let spectra = prepared.components(components.view()).unwrap();
        assert_eq!((spectra.energy().unit.as_str(), spectra.energy().offset), ("eV", 102.5));
        let restored = prepared.restore(loadings.dot(&components).view()).unwrap();
        for ((y, x, e), value) in restored.values().indexed_iter() {
            let product = maps.slice(s![y, x, ..]).dot(&spectra.values().column(e));
            assert!((product - value).abs() < 1e-9 * value.abs().max(1.0));
        }
        assert_eq!(prepared.maps(loadings.view()).unwrap()[(1, 0, 1)], loadings[(4, 1)]);
    }

    #[test]
    fn backgrounds_are_found_where_the_pixels_are() {
        let (_, prepared) = after("background=150..250eV,rows=1..3").unwrap();
        let background = prepared.backgrounds().next().unwrap();
        for (i, exponent) in background.exponents().iter().enumerate() {
            assert!((exponent - [1.6, 1.7][i / 5]).abs() < 1e-3, "{i}: {exponent}");
        }
    }

    #[test]
    fn spectra_are_a_column_of_pixels() {
        let spectra = image().into_spectra();
        let (prepared, _) = apply(&parse("bin=2,poisson").unwrap(), spectra).unwrap();
        assert_eq!(prepared.values().dim(), (30, 1, 60));
    }

    #[test]
    fn every_rejection() {
        for text in [
            "poisson,bin=2",
            "normalise=max,bin-pixels=2",
            "background=150..300,bin=2",
            "normalise=total,poisson",
            "poisson,poisson=anscombe",
            "background=150..300,poisson",
            "poisson,crop=200..,background=200..300",
        ] {
            let error = after(text).unwrap_err();
            assert!(matches!(error, Error::Order { .. }), "{text}: {error}");
        }
        assert!(matches!(after("rows=6.."), Err(Error::Pixels { .. })));
        let (image, prepared) = after("poisson=anscombe").unwrap();
        assert!(!prepared.is_linear() && after("bin=2,poisson,normalise=max").unwrap().1.is_linear());
        let (n, l) = image.spectra().values().dim();
        let ones = |n, l| Array2::<f64>::ones((n, l));
        assert_eq!(prepared.components(ones(2, l).view()), Err(Error::NotLinear { what: "component" }));
        assert_eq!(prepared.loadings(ones(n, 2).view()), Err(Error::NotLinear { what: "loading" }));
        assert!(matches!(prepared.components(ones(2, l + 1).view()), Err(Error::Shape { .. })));
        assert!(matches!(prepared.restore(ones(n, l + 1).view()), Err(Error::Shape { .. })));
        for text in ["normalise=total", "poisson", "crop=200.."] {
            assert!(
                matches!(after(text).unwrap().1.loadings(ones(n + 1, 2).view()), Err(Error::Shape { .. })),
                "{text}"
            );
        }
        let nan = Array2::from_elem((n, l), f64::NAN);
        assert!(matches!(prepared.restore(nan.view()), Err(Error::Core(_))));
    }
}
