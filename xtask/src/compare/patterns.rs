//! What the columns and classes of a method stand for, in the units of the data.

use anyhow::{Result, anyhow};
use ndarray::{Array1, Array2, Array3, Array4, ArrayView1, ArrayView2, Axis};
use parsimon_core::{Embed, Embedding, Range};

use super::data::Samples;

/// Components, endmembers or centres.
pub struct Patterns {
    /// K×H×W×C: spectra as the file holds them, images in \[0,1\].
    pub values: Array4<f32>,
    /// Whether they are like samples, as centres and endmembers are; components are added up instead, in any amount.
    pub like_samples: bool,
    /// Whether columns are shares of them.
    pub shares: bool,
    /// Maps of the columns of a scan that go with them, of spectra whose scaling was undone.
    pub maps: Option<Array3<f64>>,
    /// H×W×C: what the method makes of columns that are all 0, if components are added to more than nothing, as they are to
    /// the mean of principal components.
    pub origin: Option<Array3<f32>>,
}

impl Patterns {
    /// None if the method has none.
    pub fn of(model: &dyn Embed, embedding: &Embedding, samples: &Samples) -> Result<Option<Self>> {
        let Some(values) = model.patterns() else { return Ok(None) };
        let names: Vec<&str> = embedding.columns().iter().map(|c| c.name.as_str()).collect();
        let columns = embedding.matrix(&names)?.mapv(f64::from);
        let shares = embedding.class().is_none() && are_shares(columns.view());
        let like_samples = embedding.class().is_some() || shares;
        let origin = if like_samples { None } else { origin(model, &names)? };
        let mut found = Self { values, like_samples, shares, maps: None, origin };
        if samples.energy.is_none() {
            found.origin = found.origin.filter(|o| o.iter().any(|v| *v != 0.0));
            return Ok(Some(found));
        }
        let Range { low, high } = samples.patches.scaling().range(0, 0);
        let offset = if like_samples { low } else { 0.0 };
        let shape = found.values.dim();
        let rows = found.values.mapv(|v| offset + f64::from(v) * (high - low));
        let mut rows: Array2<f64> = rows.into_shape_with_order((shape.0, shape.1 * shape.2 * shape.3))?;
        let mut origin = found.origin.take().map(|o| o.mapv(|v| low + f64::from(v) * (high - low)));
        if let Some(prepared) = samples.prepared.as_ref().filter(|p| p.is_linear()) {
            rows = prepared.components(rows.view())?.into_parts().0;
            if let Some(origin) = &mut origin {
                let flat = origin.to_shape((1, origin.len()))?;
                let back = prepared.components(flat.view())?.into_parts().0;
                *origin = back.into_shape_with_order(origin.dim())?;
            }
            if samples.scan.is_some() && !like_samples && columns.ncols() == shape.0 {
                found.maps = Some(prepared.loadings(columns.view())?);
            }
        }
        found.origin = origin.filter(|o| o.iter().any(|v| *v != 0.0)).map(|o| o.mapv(|v| v as f32));
        found.values = rows.mapv(|v| v as f32).into_shape_with_order(shape)?;
        Ok(Some(found))
    }

    /// As rows, if they are spectra whose zero is that of the data.
    pub fn spectra(&self, samples: &Samples) -> Result<Option<Array2<f64>>> {
        let shifted = samples.patches.scaling().range(0, 0).low != 0.0;
        if samples.energy.is_none() || (shifted && !self.like_samples) {
            return Ok(None);
        }
        let (k, length) = (self.values.dim().0, self.values.len() / self.values.dim().0.max(1));
        Ok(Some(self.values.mapv(f64::from).into_shape_with_order((k, length))?))
    }
}

fn origin(model: &dyn Embed, names: &[&str]) -> Result<Option<Array3<f32>>> {
    let Some(generator) = model.generator() else { return Ok(None) };
    let mut zeros = Embedding::new(1);
    names.iter().try_for_each(|name| zeros.push(name, Array1::zeros(1), None))?;
    let sample = generator.generate(&zeros).map_err(|e| anyhow!(e))?;
    Ok(Some(sample.index_axis_move(Axis(0), 0)))
}

/// Whether columns add up to 1 in every row, and none is below 0.
pub fn are_shares(columns: ArrayView2<'_, f64>) -> bool {
    let whole = |row: ArrayView1<'_, f64>| (row.sum() - 1.0).abs() < 1e-3 && row.iter().all(|v| *v >= -1e-6);
    columns.ncols() > 1 && columns.rows().into_iter().all(whole)
}

#[cfg(test)]
mod tests {
    use ndarray::{Array1, s};
    use parsimon_baselines::{KMeans, Nmf, Pca};
    use parsimon_core::{Axis, Patches, Represent, SpectrumImage};
    use parsimon_spectra::apply;
    use parsimon_spectra::steps::parse;

    use super::super::data::made::samples;
    use super::*;

    fn scan(steps: &str, values: Array3<f64>) -> Samples {
        let axis = Axis::uncalibrated;
        let image = SpectrumImage::new(values, axis("y"), axis("x"), axis("energy")).unwrap();
        let steps = if steps.is_empty() { Vec::new() } else { parse(steps).unwrap() };
        let (image, prepared) = apply(&steps, image).unwrap();
        let (h, w, _) = image.values().dim();
        let patches = Patches::from_spectra(&image.into_spectra()).unwrap();
        let scan = Some((h, w, ["y", "x"].map(axis)));
        Samples { energy: Some(axis("energy")), prepared: Some(prepared), scan, ..samples(patches) }
    }

    fn of(method: &dyn Represent, samples: &Samples) -> Patterns {
        let model = method.fit(&samples.patches).unwrap();
        let embedding = model.embed(&samples.patches).unwrap();
        Patterns::of(model.as_ref(), &embedding, samples).unwrap().unwrap()
    }

    #[test]
    fn components_and_maps_of_scaled_counts_multiply_to_the_counts() {
        // No channel without counts, two parts.
        let counts = Array3::from_shape_fn((6, 5, 8), |(y, x, e)| {
            (2 + y) as f64 * (10 + 3 * e) as f64 + if x > 2 { 40.0 * (8 - e) as f64 } else { 0.0 }
        });
        let samples = scan("poisson", counts.clone());
        let found = of(&Nmf::params(2).tolerance(1e-9).rounds(5000), &samples);
        let maps = found.maps.as_ref().unwrap();
        let spectra = found.spectra(&samples).unwrap().unwrap();
        let again = maps.clone().into_shape_with_order((30, 2)).unwrap().dot(&spectra);
        let off = (again.into_shape_with_order((6, 5, 8)).unwrap() - &counts).mapv(f64::abs).sum() / counts.sum();
        assert!(off < 0.01, "{off}");
    }

    #[test]
    fn centres_are_as_the_file_holds_them_and_components_of_shifted_data_are_no_spectra() {
        let values = Array3::from_shape_fn((4, 4, 6), |(y, _, e)| if y < 2 { e as f64 - 2.0 } else { 20.0 - e as f64 });
        let samples = scan("", values.clone());
        let centres = of(&KMeans::params(2), &samples).spectra(&samples).unwrap().unwrap();
        for place in [0, 3] {
            let truth: Array1<f64> = values.slice(s![place, 0, ..]).to_owned();
            let near = centres.rows().into_iter().map(|c| (&c - &truth).mapv(f64::abs).sum()).fold(f64::MAX, f64::min);
            assert!(near < 1e-4, "{near}");
        }
        assert!(of(&Nmf::params(2), &samples).spectra(&samples).unwrap().is_none());
    }

    #[test]
    fn factors_times_the_origin_are_what_components_are_added_to() {
        let counts = Array3::from_shape_fn((6, 5, 8), |(y, x, e)| {
            (2 + y) as f64 * (10 + 3 * e) as f64 + if x > 2 { 40.0 * (8 - e) as f64 } else { 3.0 }
        });
        let samples = scan("poisson,normalise=total", counts.clone());
        let found = of(&Pca::params(1), &samples);
        let factors = samples.factors().unwrap().unwrap();
        let (maps, origin) = (found.maps.as_ref().unwrap(), found.origin.as_ref().unwrap());
        for ((y, x, e), count) in counts.indexed_iter() {
            let sum = maps[(y, x, 0)] * f64::from(found.values[(0, 0, e, 0)]);
            let again = factors[(y, x)] * f64::from(origin[(0, e, 0)]) + sum;
            assert!((again - count).abs() < 1e-2 * count, "{again}, not {count}");
        }
        // Without factors and a shift, parts are all there is.
        let samples = scan("", counts);
        assert!(of(&Nmf::params(2), &samples).origin.is_none() && samples.factors().unwrap().is_none());
    }
}
