use std::borrow::Cow;
use std::collections::BTreeMap;

use ndarray::{Array1, Array2};

use crate::{Error, Image, Patches, Result, Sites, Spectra};

/// Samples for training and what is known of them: the content of a DATA file.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Dataset {
    /// Small images.
    pub images: Option<Patches>,
    /// What a model should make of the images, such as the same without noise or in colour.
    pub goals: Option<Patches>,
    /// Spectra; with `images`, the two are pairs.
    pub spectra: Option<Spectra>,
    /// Spectra of the pure materials, R×L, that `spectra` are mixed of; their shares are `a1` to `aR` of the truth.
    pub endmembers: Option<Spectra>,
    /// Class of each sample; −1 if unknown.
    pub labels: Option<Array1<i64>>,
    /// Continuous targets, N×K.
    pub targets: Option<Array2<f32>>,
    /// Where in a micrograph each sample is from.
    pub sites: Option<Sites>,
    /// The micrograph.
    pub micrograph: Option<Image>,
    /// Further known numbers of each sample, such as `angle` (rad) or `shear`.
    pub truth: BTreeMap<String, Array1<f64>>,
}

impl Dataset {
    /// Number of samples.
    ///
    /// # Errors
    /// If there are neither images nor spectra, or the parts differ in length.
    pub fn samples(&self) -> Result<usize> {
        let images = self.images.as_ref().map(Patches::len);
        let spectra = self.spectra.as_ref().map(|s| s.values().nrows());
        let Some(expected) = images.or(spectra) else {
            return Err(Error::NoSamples);
        };
        let named = [
            ("goals", self.goals.as_ref().map(Patches::len)),
            ("spectra", spectra),
            ("labels", self.labels.as_ref().map(Array1::len)),
            ("targets", self.targets.as_ref().map(Array2::nrows)),
            ("sites", self.sites.as_ref().map(Sites::len)),
        ];
        let truth = self.truth.iter().map(|(name, v)| (name.as_str(), Some(v.len())));
        for (name, found) in named.into_iter().chain(truth) {
            if let Some(found) = found.filter(|&f| f != expected) {
                return Err(Error::Length { what: format!("`{name}`"), found, expected });
            }
        }
        if let Some(endmembers) = &self.endmembers {
            let (found, expected) = (channels(endmembers), self.spectra.as_ref().map_or(0, channels));
            if found != expected {
                return Err(Error::Length { what: "a row of `endmembers`".to_owned(), found, expected });
            }
        }
        Ok(expected)
    }

    /// The samples as patches: the images, or if there are none the spectra as [`Patches::from_spectra`] has them.
    ///
    /// # Shapes
    /// N×H×W×C; spectra N×1×L×1.
    ///
    /// # Errors
    /// If there are neither images nor spectra.
    pub fn samples_as_patches(&self) -> Result<Cow<'_, Patches>> {
        match (&self.images, &self.spectra) {
            (Some(images), _) => Ok(Cow::Borrowed(images)),
            (None, Some(spectra)) => Patches::from_spectra(spectra).map(Cow::Owned),
            (None, None) => Err(Error::NoSamples),
        }
    }
}

fn channels(spectra: &Spectra) -> usize {
    spectra.values().ncols()
}

/// An image whose every site is known.
#[derive(Debug, Clone, PartialEq)]
pub struct Scene {
    /// The image as a microscope would give it.
    pub image: Image,
    /// The true sites.
    pub sites: Sites,
    /// Known numbers of each site, such as `sublattice`, `domain` or `polarisation_x`.
    pub truth: BTreeMap<String, Array1<f64>>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Axis, Scaling};
    use ndarray::{Array4, array};

    #[test]
    fn parts_of_different_length_are_told_apart_by_name() {
        let images = Patches::new(Array4::zeros((3, 2, 2, 1)), Scaling::unit(1)).unwrap();
        let mut data = Dataset { images: Some(images), ..Dataset::default() };
        assert_eq!(data.samples(), Ok(3));
        data.labels = Some(array![0, 1]);
        assert!(data.samples().unwrap_err().to_string().contains("`labels` has length 2, expected 3"));
        assert_eq!(Dataset::default().samples(), Err(Error::NoSamples));
        let of = |channels| Spectra::new(Array2::zeros((3, channels)), Axis::new("energy", 1.0, 0.0, "eV")).unwrap();
        data = Dataset { spectra: Some(of(5)), endmembers: Some(of(5)), ..Dataset::default() };
        assert_eq!(data.samples(), Ok(3));
        data.endmembers = Some(of(4));
        assert!(data.samples().unwrap_err().to_string().contains("a row of `endmembers` has length 4, expected 5"));
    }

    #[test]
    fn images_come_before_spectra_and_nothing_is_told() {
        let images = Patches::new(Array4::zeros((3, 2, 2, 1)), Scaling::unit(1)).unwrap();
        let spectra = Spectra::new(Array2::from_elem((3, 4), 7.0), Axis::uncalibrated("energy")).unwrap();
        let pairs = Dataset { images: Some(images.clone()), spectra: Some(spectra.clone()), ..Dataset::default() };
        assert!(matches!(pairs.samples_as_patches(), Ok(Cow::Borrowed(found)) if *found == images));
        let alone = Dataset { images: None, ..pairs };
        assert_eq!(alone.samples_as_patches().unwrap().into_owned(), Patches::from_spectra(&spectra).unwrap());
        let said = Dataset::default().samples_as_patches().unwrap_err().to_string();
        assert!(said.contains("neither images nor spectra"), "{said}");
    }
}
