use std::collections::BTreeMap;
use std::path::Path;

use parsimon_nets::{Adam, Compute, Moments, weights};

use crate::history::parse_history;
use crate::{Error, Model, Result, State, write_history};

/// Writes weights, optimiser and history as one file, `checkpoint.safetensors`, whole or not at all.
///
/// # Errors
/// If the file cannot be written.
pub fn save_checkpoint<D: Compute, M: Model<D>>(state: &State<M>, folder: &Path) -> Result<()> {
    let path = folder.join(CHECKPOINT);
    let file = |source| Error::File { path: path.clone(), source };
    let mut arrays = weights::collect(&state.model);
    for (name, moments) in &state.adam.moments {
        for (kind, values) in [("first", &moments.first), ("second", &moments.second)] {
            arrays.insert(format!("adam.{kind}{name}"), (vec![values.len()], values.clone()));
        }
    }
    if let Some(average) = &state.average {
        arrays.extend(weights::collect(average).into_iter().map(|(name, array)| (format!("average{name}"), array)));
    }
    let mut history = Vec::new();
    write_history(&mut history, &state.history).map_err(file)?;
    let remarks = BTreeMap::from([
        ("start".to_owned(), state.start.to_string()),
        ("steps".to_owned(), state.adam.steps.to_string()),
        ("learning_rate".to_owned(), state.adam.learning_rate.to_string()),
        ("history".to_owned(), String::from_utf8_lossy(&history).into_owned()),
    ]);
    let bytes = weights::encode(&arrays, &remarks)?;
    let write = |out: &mut parsimon_io::Writer<'_>| std::io::Write::write_all(out, &bytes);
    parsimon_io::write_atomically(&path, write)
        .map_err(|e| Error::Checkpoint { path: path.clone(), reason: e.to_string() })
}

const CHECKPOINT: &str = "checkpoint.safetensors";

/// The state a checkpoint in `folder` holds; `model` gives the form.
///
/// # Errors
/// If there is no checkpoint, it is damaged, or it belongs to a model of another form.
pub fn load_checkpoint<D: Compute, M: Model<D>>(mut model: M, folder: &Path) -> Result<State<M>> {
    let path = folder.join(CHECKPOINT);
    let bytes = std::fs::read(&path).map_err(|source| Error::File { path: path.clone(), source })?;
    let bad = |reason: String| Error::Checkpoint { path: path.clone(), reason };
    let (mut arrays, remarks) = weights::decode(&bytes).map_err(|e| bad(e.to_string()))?;
    weights::restore(&mut model, &arrays).map_err(|e| bad(e.to_string()))?;
    fn number<T: std::str::FromStr>(remarks: &BTreeMap<String, String>, name: &str) -> std::result::Result<T, String> {
        remarks.get(name).and_then(|v| v.parse().ok()).ok_or_else(|| format!("`{name}` is missing or not a number"))
    }
    let mut adam = Adam {
        steps: number(&remarks, "steps").map_err(bad)?,
        learning_rate: number(&remarks, "learning_rate").map_err(bad)?,
        ..Adam::default()
    };
    let names: Vec<String> = weights::collect(&model).into_keys().collect();
    for name in names {
        let mut take = |kind: &str| arrays.remove(&format!("adam.{kind}{name}")).map(|(_, v)| v);
        if let (Some(first), Some(second)) = (take("first"), take("second")) {
            adam.moments.insert(name, Moments { first, second });
        }
    }
    let of_average = |(name, array): (String, _)| Some((name.strip_prefix("average")?.to_owned(), array));
    let averages: weights::Arrays = arrays.into_iter().filter_map(of_average).collect();
    let mut average = None;
    if !averages.is_empty() {
        let mut mean = model.clone();
        weights::restore(&mut mean, &averages).map_err(|e| bad(e.to_string()))?;
        average = Some(mean);
    }
    let start = number(&remarks, "start").map_err(bad)?;
    let history = parse_history(remarks.get("history").map_or("", String::as_str)).map_err(bad)?;
    Ok(State { model, average, adam, history, start })
}
