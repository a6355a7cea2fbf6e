use ndarray::{Array4, ArrayView4, Axis as Dim};

use crate::{Error, Normalise, Range, Result, Scaling, Sites, Spectra};

/// Small images of equal size and channels, in \[0,1\], each with the site it came from.
///
/// # Shapes
/// N×H×W×C, all at least 1; `sites`, if there are any, number N.
#[derive(Debug, Clone, PartialEq)]
pub struct Patches {
    images: Array4<f32>,
    scaling: Scaling,
    sites: Option<Sites>,
}

impl Patches {
    /// Patches that are in \[0,1\] already, with the scaling that leads back to stored values.
    ///
    /// # Errors
    /// If a dimension is zero, a value is not finite or lies outside \[0,1\], or the scaling does not fit the shape.
    pub fn new(images: Array4<f32>, scaling: Scaling) -> Result<Self> {
        if images.is_empty() {
            return Err(Error::Empty { what: "patches", shape: images.shape().to_vec() });
        }
        check_finite("patches", images.view())?;
        if let Some(&value) = images.iter().find(|v| !(0.0..=1.0).contains(*v)) {
            let what = "value of a patch".to_owned();
            return Err(Error::Range { what, value: value.into(), accepted: "0 to 1" });
        }
        scaling.check(images.dim().0, images.dim().3)?;
        Ok(Self { images, scaling, sites: None })
    }

    /// Patches from stored values, brought to \[0,1\] as `how` says.
    ///
    /// # Errors
    /// If a dimension is zero or a value is not finite.
    pub fn from_stored(values: ArrayView4<'_, f64>, how: Normalise) -> Result<Self> {
        if values.is_empty() {
            return Err(Error::Empty { what: "patches", shape: values.shape().to_vec() });
        }
        check_finite("patches", values)?;
        let scaling = Scaling::find(values, how);
        Self::new(scaling.to_unit(values), scaling)
    }

    /// Spectra as images of one row; within \[0,1\] they are taken as they are, else divided by the greatest value of all.
    ///
    /// 0 stays 0 even if no value reaches it: mixtures of spectra and the noise of counts begin there. Only if values are below 0,
    /// the least becomes 0.
    ///
    /// # Shapes
    /// N×L becomes N×1×L×1.
    ///
    /// # Errors
    /// As [`Patches::new`], which finite spectra never meet.
    pub fn from_spectra(spectra: &Spectra) -> Result<Self> {
        let values = spectra.values().insert_axis(Dim(1)).insert_axis(Dim(3));
        if values.iter().all(|v| (0.0..=1.0).contains(v)) {
            return Self::new(values.mapv(|v| v as f32), Scaling::unit(1));
        }
        let range = Range::of(values.iter().copied());
        let scaling = Scaling::Global(vec![Range { low: range.low.min(0.0), ..range }]);
        Self::new(scaling.to_unit(values), scaling)
    }

    /// The same patches with the sites they came from.
    ///
    /// # Errors
    /// If there are not exactly as many sites as patches.
    pub fn with_sites(mut self, sites: Sites) -> Result<Self> {
        if sites.len() != self.len() {
            return Err(Error::Length {
                what: "sites of the patches".into(),
                found: sites.len(),
                expected: self.len(),
            });
        }
        self.sites = Some(sites);
        Ok(self)
    }

    /// How many there are; never 0.
    #[expect(clippy::len_without_is_empty, reason = "patches cannot be empty")]
    pub fn len(&self) -> usize {
        self.images.dim().0
    }

    /// Height, width, channels.
    pub fn shape(&self) -> (usize, usize, usize) {
        let (_, h, w, c) = self.images.dim();
        (h, w, c)
    }

    /// The values, N×H×W×C in \[0,1\].
    pub fn images(&self) -> ArrayView4<'_, f32> {
        self.images.view()
    }

    /// How they were brought to \[0,1\].
    pub fn scaling(&self) -> &Scaling {
        &self.scaling
    }

    /// The sites they came from, if they came from an image.
    pub fn sites(&self) -> Option<&Sites> {
        self.sites.as_ref()
    }

    /// Values as stored in the file, N×H×W×C.
    pub fn stored(&self) -> Array4<f64> {
        self.scaling.from_unit(self.images.view())
    }

    /// Some of the patches, in the order of `rows`.
    ///
    /// # Errors
    /// If `rows` is empty or names a patch that is not there.
    pub fn select(&self, rows: &[usize]) -> Result<Self> {
        if rows.is_empty() {
            return Err(Error::Empty { what: "selection of patches", shape: vec![0] });
        }
        if let Some(&row) = rows.iter().find(|&&r| r >= self.len()) {
            let what = "row of the patches".to_owned();
            return Err(Error::Range { what, value: row as f64, accepted: "0 to one below their number" });
        }
        Ok(Self {
            images: self.images.select(Dim(0), rows),
            scaling: self.scaling.select(rows),
            sites: self.sites.as_ref().map(|s| s.select(rows)),
        })
    }
}

/// Fails with the number of values that are not finite and the place of the first.
pub(crate) fn check_finite<T: Copy + Into<f64>, D: ndarray::Dimension>(
    what: &str,
    values: ndarray::ArrayView<'_, T, D>,
) -> Result<()> {
    let count = values.iter().filter(|&&v| !v.into().is_finite()).count();
    if count == 0 {
        return Ok(());
    }
    let dynamic = values.into_dyn();
    let first = dynamic.indexed_iter().find(|&(_, &v)| !v.into().is_finite());
    let first = first.map(|(place, _)| ndarray::Dimension::slice(&place).to_vec()).unwrap_or_default();
    Err(Error::NotFinite { what: what.to_owned(), count, first })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spectra_are_images_of_one_row() {
        let spectra =
            |high| Spectra::new(ndarray::array![[0.0, 0.5], [0.25, high]], crate::Axis::uncalibrated("energy"));
        let counts = Patches::from_spectra(&spectra(40.0).unwrap()).unwrap();
        assert_eq!((counts.len(), counts.shape()), (2, (1, 2, 1)));
        assert_eq!(counts.images()[(1, 0, 1, 0)], 1.0);
        assert!((counts.stored()[(1, 0, 1, 0)] - 40.0).abs() < 1e-6);
        assert_eq!(Patches::from_spectra(&spectra(0.75).unwrap()).unwrap().images()[(1, 0, 1, 0)], 0.75);
    }

    #[test]
    fn spectra_keep_their_zero_unless_values_are_below_it() {
        let of = |values: [f64; 3]| {
            let values = ndarray::Array2::from_shape_vec((1, 3), values.to_vec()).unwrap();
            Patches::from_spectra(&Spectra::new(values, crate::Axis::uncalibrated("energy")).unwrap()).unwrap()
        };
        let cases = [
            ([10.0, 20.0, 40.0], (0.0, 40.0), [0.25, 0.5, 1.0]),
            ([5.0, 5.0, 5.0], (0.0, 5.0), [1.0, 1.0, 1.0]),
            ([-10.0, 0.0, 30.0], (-10.0, 30.0), [0.0, 0.25, 1.0]),
            ([-4.0, -3.0, -2.0], (-4.0, -2.0), [0.0, 0.5, 1.0]),
        ];
        for (values, (low, high), unit) in cases {
            let patches = of(values);
            assert_eq!(patches.scaling(), &Scaling::Global(vec![Range { low, high }]), "{values:?}");
            assert_eq!(patches.images().iter().copied().collect::<Vec<f32>>(), unit);
            assert_eq!(patches.stored().iter().copied().collect::<Vec<f64>>(), values);
        }
    }

    use crate::{Refinement, Site};
    use proptest::prelude::*;

    #[test]
    fn a_nan_a_stray_value_and_a_wrong_site_count_are_rejected() {
        let mut images = Array4::<f32>::zeros((2, 3, 3, 1));
        let good = Patches::new(images.clone(), Scaling::unit(1)).unwrap();
        assert!(matches!(good.with_sites(Sites::default()), Err(Error::Length { .. })));
        assert!(matches!(Patches::new(images.clone(), Scaling::unit(2)), Err(Error::Shape { .. })));
        images[[1, 2, 0, 0]] = 1.5;
        assert!(matches!(Patches::new(images.clone(), Scaling::unit(1)), Err(Error::Range { .. })));
        images[[1, 2, 0, 0]] = f32::NAN;
        let error = Patches::new(images, Scaling::unit(1)).unwrap_err();
        assert_eq!(error, Error::NotFinite { what: "patches".into(), count: 1, first: vec![1, 2, 0, 0] });
    }

    #[test]
    fn selection_keeps_sites_and_scaling_in_step() {
        let stored = Array4::from_shape_fn((3, 2, 2, 1), |(n, y, x, _)| (100 * n + 2 * y + x) as f64);
        let site = |n: usize| Site {
            frame: n,
            y: n as f64,
            x: 0.0,
            intensity: 1.0,
            width: 1.0,
            quality: 1.0,
            refinement: Refinement::None,
        };
        let patches = Patches::from_stored(stored.view(), Normalise::PerPatch).unwrap();
        let patches = patches.with_sites(Sites::new((0..3).map(site).collect()).unwrap()).unwrap();
        let some = patches.select(&[2, 0]).unwrap();
        assert_eq!(some.sites().unwrap().as_slice()[0].frame, 2);
        let off = (some.stored() - stored.select(Dim(0), &[2, 0])).mapv(f64::abs);
        assert!(off.iter().all(|&d| d < 1e-4), "{off}");
        assert!(patches.select(&[3]).is_err());
    }

    proptest! {
        #[test]
        fn scaling_is_invertible(values in proptest::collection::vec(-1e6f64..1e6, 24), per_patch: bool) {
            let stored = Array4::from_shape_vec((3, 2, 2, 2), values).unwrap();
            let how = if per_patch { Normalise::PerPatch } else { Normalise::Global };
            let back = Patches::from_stored(stored.view(), how).unwrap().stored();
            for (a, b) in stored.iter().zip(&back) { prop_assert!((a - b).abs() <= 2e6 * 1e-6, "{} {}", a, b); }
        }
    }
}
