//! Weights in and out of safetensors files.

use std::collections::{BTreeMap, HashMap};

use safetensors::tensor::{Dtype, SafeTensors, TensorView};

use crate::dense::shape;
use crate::{Compute, Error, Matrix, Parameters, Result, matrix};

/// Named arrays of f32, as a safetensors file holds them.
pub type Arrays = BTreeMap<String, (Vec<usize>, Vec<f32>)>;

/// The bytes of a safetensors file with these arrays and remarks.
///
/// # Errors
/// If an array does not fit its shape.
pub fn encode(arrays: &Arrays, remarks: &BTreeMap<String, String>) -> Result<Vec<u8>> {
    let bytes: Vec<(&String, &Vec<usize>, Vec<u8>)> =
        arrays.iter().map(|(n, (s, v))| (n, s, v.iter().flat_map(|x| x.to_le_bytes()).collect())).collect();
    let views = bytes.iter().map(|(name, shape, raw)| {
        let view = TensorView::new(Dtype::F32, (*shape).clone(), raw);
        view.map(|v| ((*name).clone(), v)).map_err(|e| Error::Weights(format!("`{name}`: {e}")))
    });
    let views = views.collect::<Result<Vec<_>>>()?;
    let remarks: HashMap<String, String> = remarks.clone().into_iter().collect();
    let remarks = (!remarks.is_empty()).then_some(remarks);
    safetensors::serialize(views, remarks).map_err(|e| Error::Weights(e.to_string()))
}

/// The arrays and remarks of a safetensors file.
///
/// # Errors
/// If the bytes are damaged, or hold a type other than f32.
pub fn decode(bytes: &[u8]) -> Result<(Arrays, BTreeMap<String, String>)> {
    let damaged = |e: safetensors::SafeTensorError| Error::Weights(format!("not a sound safetensors file: {e}"));
    let (_, header) = SafeTensors::read_metadata(bytes).map_err(damaged)?;
    let remarks = header.metadata().clone().unwrap_or_default().into_iter().collect();
    let mut arrays = Arrays::new();
    for (name, view) in SafeTensors::deserialize(bytes).map_err(damaged)?.tensors() {
        if view.dtype() != Dtype::F32 {
            return Err(Error::Weights(format!("`{name}` holds {:?}, expected F32", view.dtype())));
        }
        let (raw, _) = view.data().as_chunks::<4>();
        arrays.insert(name, (view.shape().to_vec(), raw.iter().map(|&b| f32::from_le_bytes(b)).collect()));
    }
    Ok((arrays, remarks))
}

/// The parameters of a model as arrays.
pub fn collect<D: Compute>(model: &dyn Parameters<D>) -> Arrays {
    let mut arrays = Arrays::new();
    model.visit("", &mut |name, parameter: &Matrix<D>| {
        let (rows, columns) = shape(parameter);
        arrays.insert(name, (vec![rows, columns], parameter.as_vec()));
    });
    arrays
}

/// Sets the parameters of a model from arrays of the same names and shapes.
///
/// # Errors
/// If one is missing, has another shape, or holds a value that is not finite; the model is then unchanged.
pub fn restore<D: Compute>(model: &mut dyn Parameters<D>, arrays: &Arrays) -> Result<()> {
    let mut outcome = Ok(());
    model.visit("", &mut |name, parameter: &Matrix<D>| {
        let (rows, columns) = shape(parameter);
        let problem = match arrays.get(&name) {
            None => Some(Error::Weights(format!("`{name}` is missing"))),
            Some((found, _)) if *found != [rows, columns] => {
                Some(Error::Shape { what: format!("`{name}`"), found: found.clone(), expected: vec![rows, columns] })
            }
            Some((_, values)) if values.iter().any(|v| !v.is_finite()) => {
                Some(Error::Weights(format!("`{name}` holds values that are NaN or infinite")))
            }
            Some(_) => None,
        };
        if let Some(problem) = problem.filter(|_| outcome.is_ok()) {
            outcome = Err(problem);
        }
    });
    outcome?;
    let mut outcome = Ok(());
    model.visit_mut("", &mut |name, parameter: &mut Matrix<D>| {
        let (rows, columns) = shape(parameter);
        let values = arrays.get(&name).map(|(_, v)| v.clone()).unwrap_or_default();
        match matrix(parameter.device(), values, rows, columns) {
            Ok(new) => *parameter = new,
            Err(e) => outcome = Err(e),
        }
    });
    outcome
}

#[cfg(test)]
mod tests {
    use dfdx::tensor::Cpu;
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    use super::*;
    use crate::{Activation, Dense};

    fn layer(seed: u64) -> Dense<Cpu> {
        Dense::new(&Cpu::default(), 3, 2, Activation::Tanh, &mut ChaCha8Rng::seed_from_u64(seed)).unwrap()
    }

    #[test]
    fn weights_survive_the_file() {
        let remarks = BTreeMap::from([("epoch".to_owned(), "7".to_owned())]);
        let bytes = encode(&collect(&layer(0)), &remarks).unwrap();
        let (arrays, found) = decode(&bytes).unwrap();
        let mut other = layer(1);
        restore(&mut other, &arrays).unwrap();
        assert_eq!(collect(&other), collect(&layer(0)));
        assert_eq!(found, remarks);
    }

    #[test]
    fn damaged_files_are_rejected() {
        let bytes = encode(&collect(&layer(0)), &BTreeMap::new()).unwrap();
        for cut in 0..bytes.len() {
            assert!(decode(&bytes[..cut]).is_err(), "cut at {cut}");
        }
    }

    #[test]
    fn missing_misshapen_and_nan_arrays_leave_the_model_unchanged() {
        let whole = collect(&layer(0));
        let name = whole.keys().next().unwrap().clone();
        for change in ["missing", "shape", "nan"] {
            let mut arrays = whole.clone();
            match change {
                "missing" => drop(arrays.remove(&name)),
                "shape" => arrays.get_mut(&name).unwrap().0.reverse(),
                _ => arrays.get_mut(&name).unwrap().1[0] = f32::NAN,
            }
            let mut model = layer(1);
            if change == "shape" && arrays == whole {
                continue;
            }
            assert!(restore(&mut model, &arrays).is_err(), "{change}");
            assert_eq!(collect(&model), collect(&layer(1)));
        }
    }
}
