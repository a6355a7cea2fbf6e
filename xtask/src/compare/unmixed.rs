//! How well spectra were unmixed whose endmembers and shares are known.

use anyhow::Result;
use ndarray::{Array1, ArrayView2, Axis, concatenate};
use parsimon_core::{Embedding, Spectra};
use parsimon_metrics::{Error, abundance_coverage, abundance_error, match_spectra};

use super::data::Samples;
use super::patterns::Patterns;

/// Standard deviations either side that shares are looked for within.
const DEVIATIONS: f64 = 2.0;

/// Part of the patterns that may be below 0, by noise, of what are to be spectra; of principal components it is about half.
const BELOW: f64 = 0.1;

/// Scores; none where the method or the data have nothing to tell.
#[derive(Debug, Default, PartialEq)]
pub struct Unmixed {
    /// Mean angle of the endmembers in mrad.
    pub angle: Option<f64>,
    /// RMSE of the shares.
    pub error: Option<f64>,
    /// Share of the known shares within two standard deviations.
    pub within: Option<f64>,
}

impl Unmixed {
    pub fn of(patterns: &Patterns, embedding: &Embedding, samples: &Samples) -> Result<Self> {
        let none = Self::default();
        let Some(truth) = samples.known.endmembers.as_ref().map(Spectra::values) else { return Ok(none) };
        let is_shares = patterns.shares;
        let Some(patterns) = patterns.spectra(samples)? else { return Ok(none) };
        let k = patterns.nrows();
        let below: f64 = patterns.iter().filter(|v| **v < 0.0).sum::<f64>().abs();
        if k != truth.nrows() || below > BELOW * patterns.iter().map(|v| v.abs()).sum::<f64>() {
            return Ok(none);
        }
        let matched = match match_spectra(patterns.view(), truth) {
            // A pattern of zeros is like nothing.
            Err(Error::Zero { .. }) => return Ok(none),
            matched => matched?,
        };
        let angle = Some(1e3 * matched.iter().map(|(_, angle)| angle).sum::<f64>() / k as f64);
        let names: Vec<&str> = embedding.columns().iter().map(|c| c.name.as_str()).collect();
        let shares = embedding.matrix(&names)?.mapv(f64::from);
        if names.len() != k || !is_shares {
            return Ok(Self { angle, ..none });
        }
        let known = (1..=k).map(|r| samples.known.truth.get(&format!("a{r}")).map(|a| a.view().insert_axis(Axis(1))));
        let Some(known) = known.collect::<Option<Vec<_>>>() else { return Ok(Self { angle, ..none }) };
        let rows: Vec<usize> = samples.scored().collect();
        let pick = |values: ArrayView2<'_, f64>| values.select(Axis(0), &rows);
        let (shares, known) = (pick(shares.view()), pick(concatenate(Axis(1), &known)?.view()));
        let order: Vec<usize> = matched.iter().map(|(column, _)| *column).collect();
        let error = Some(abundance_error(shares.view(), known.view(), &order)?);
        let sd: Option<Vec<_>> =
            embedding.columns().iter().map(|c| c.sd.as_ref().map(|sd| sd.mapv(f64::from))).collect();
        let coverage = |sd: Vec<Array1<f64>>| -> Result<f64> {
            let sd: Vec<_> = sd.iter().map(|sd| sd.view().insert_axis(Axis(1))).collect();
            let sd = pick(concatenate(Axis(1), &sd)?.view());
            Ok(abundance_coverage(shares.view(), sd.view(), known.view(), &order, DEVIATIONS)?)
        };
        Ok(Self { angle, error, within: sd.map(coverage).transpose()? })
    }
}

#[cfg(test)]
mod tests {
    use parsimon_baselines::{Blu, Fcls, Nmf, Pca};
    use parsimon_core::{Patches, Represent};
    use parsimon_datasets::{SpectrumImageParams, spectrum_image};

    use super::super::data::made::samples;
    use super::*;

    #[test]
    fn what_spectra_are_mixed_of_is_scored() {
        let params = SpectrumImageParams {
            height: 16,
            width: 16,
            channels: 64,
            endmembers: 3,
            ..SpectrumImageParams::default()
        };
        let known = spectrum_image(&params).unwrap().into_dataset().unwrap();
        let spectra = known.spectra.clone().unwrap();
        let samples = Samples {
            energy: Some(spectra.energy().clone()),
            known,
            ..samples(Patches::from_spectra(&spectra).unwrap())
        };
        let of = |method: &dyn Represent| {
            let model = method.fit(&samples.patches).unwrap();
            let embedding = model.embed(&samples.patches).unwrap();
            let patterns = Patterns::of(model.as_ref(), &embedding, &samples).unwrap().unwrap();
            Unmixed::of(&patterns, &embedding, &samples).unwrap()
        };
        let fcls = of(&Fcls::params(3));
        assert!(fcls.angle.unwrap() < 60.0 && fcls.error.unwrap() < 0.1 && fcls.within.is_none(), "{fcls:?}");
        let blu = of(&Blu::params(3).burn_in(300).samples(300));
        assert!(blu.angle < fcls.angle && blu.error < fcls.error && blu.within.unwrap() > 0.85, "{blu:?} {fcls:?}");
        let nmf = of(&Nmf::params(3));
        assert!(nmf.angle.unwrap() > 0.0 && nmf.error.is_none(), "{nmf:?}");
        assert_eq!((of(&Pca::params(3)), of(&Fcls::params(2))), (Unmixed::default(), Unmixed::default()));
    }
}
