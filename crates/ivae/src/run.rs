use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use ndarray::Array2;
use parsimon_core::{Range, Scaling};
use parsimon_nets::{Compute, weights};
use parsimon_train::Options;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

#[cfg(doc)]
use crate::Examples;
use crate::{Error, Ivae, Params, Result, Usual};

/// Everything needed to rebuild a model and to bring data to it: the content of `config.toml`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Version of parsimon that wrote it.
    pub version: String,
    /// Kind of model; `ivae`.
    pub model: String,
    /// Parameters of the model.
    pub params: Params,
    /// Options of its training.
    pub training: Options,
    /// Scaling of the data.
    pub scaling: ScalingConfig,
    /// What tells the data from others, as [`Examples::fingerprint`] gives it.
    #[serde(default)]
    pub data: Option<String>,
    /// How far off it usually is, once it is trained.
    #[serde(default)]
    pub usual: Option<Usual>,
}

/// [`Scaling`] as the file has it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum ScalingConfig {
    /// Stored values that became 0 and 1, for each channel.
    Global {
        /// Became 0.
        low: Vec<f64>,
        /// Became 1.
        high: Vec<f64>,
    },
    /// Each patch by its own range.
    PerPatch,
}

impl From<&Scaling> for ScalingConfig {
    fn from(scaling: &Scaling) -> Self {
        match scaling {
            Scaling::Global(ranges) => Self::Global {
                low: ranges.iter().map(|r| r.low).collect(),
                high: ranges.iter().map(|r| r.high).collect(),
            },
            Scaling::PerPatch(_) => Self::PerPatch,
        }
    }
}

impl ScalingConfig {
    /// The scaling of `n` patches; per-patch ranges are not known beforehand, so they stay \[0,1\].
    pub fn scaling(&self, n: usize, channels: usize) -> Scaling {
        match self {
            Self::Global { low, high } => {
                Scaling::Global(low.iter().zip(high).map(|(&low, &high)| Range { low, high }).collect())
            }
            Self::PerPatch => Scaling::PerPatch(Array2::from_elem((n, channels), Range::UNIT)),
        }
    }
}

impl Config {
    /// The configuration of a training, but for the fingerprint of its data.
    pub fn new(params: &Params, training: &Options, scaling: &Scaling) -> Self {
        Self {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            model: "ivae".to_owned(),
            params: params.clone(),
            training: training.clone(),
            scaling: scaling.into(),
            data: None,
            usual: None,
        }
    }

    /// Its file, as [`load_config`] reads it.
    ///
    /// # Errors
    /// If it cannot be encoded.
    pub fn toml(&self) -> Result<String> {
        toml::to_string(self).map_err(|e| Error::Run { path: PathBuf::from(CONFIG), reason: e.to_string() })
    }
}

const MODEL: &str = "model.safetensors";
const CONFIG: &str = "config.toml";

impl<D: Compute> Ivae<D> {
    /// The files of a run directory that hold this model: names and contents.
    ///
    /// # Errors
    /// If they cannot be encoded.
    pub fn files(&self, config: &Config) -> Result<[(&'static str, Vec<u8>); 2]> {
        let text = config.toml()?;
        Ok([(CONFIG, text.into_bytes()), (MODEL, weights::encode(&weights::collect(self), &BTreeMap::new())?)])
    }

    /// A model of the form `config` describes, with weights drawn from its seed.
    ///
    /// # Errors
    /// If a parameter is outside its range.
    pub fn from_config(device: &D, config: &Config) -> Result<Self> {
        Self::new(device, &config.params, &mut ChaCha8Rng::seed_from_u64(config.training.seed))
    }

    /// The model in a run directory, and its configuration.
    ///
    /// # Errors
    /// If a file is missing or damaged, or the two do not belong together.
    pub fn load(device: &D, folder: &Path) -> Result<(Self, Config)> {
        let config = load_config(folder)?;
        let mut model = Self::from_config(device, &config)?;
        let path = folder.join(MODEL);
        let run = |reason: String| Error::Run { path: path.clone(), reason };
        let bytes = std::fs::read(&path).map_err(|e| run(e.to_string()))?;
        let (arrays, _) = weights::decode(&bytes).map_err(|e| run(e.to_string()))?;
        weights::restore(&mut model, &arrays).map_err(|e| run(e.to_string()))?;
        Ok((model, config))
    }
}

/// What every version writes.
#[derive(Deserialize)]
struct Head {
    version: String,
    model: String,
}

/// Whether models of a version are read as they were written: those of the same minor version up to this one.
fn understood(version: &str) -> bool {
    let parts = |text: &str| text.split('.').map(|part| part.parse().ok()).collect::<Option<Vec<u64>>>();
    let (Some(version), Some(own)) = (parts(version), parts(env!("CARGO_PKG_VERSION"))) else { return false };
    version.get(..2) == own.get(..2) && version <= own
}

/// The configuration in a run directory.
///
/// # Errors
/// If the file is missing or damaged, is of another kind of model or of another version, or holds a parameter outside its range.
pub fn load_config(folder: &Path) -> Result<Config> {
    let path = folder.join(CONFIG);
    let run = |reason: String| Error::Run { path: path.clone(), reason };
    let text = std::fs::read_to_string(&path).map_err(|e| match e.kind() {
        std::io::ErrorKind::NotFound => run("is missing: no training was finished here".to_owned()),
        _ => run(e.to_string()),
    })?;
    let first_line = |e: toml::de::Error| e.message().to_owned();
    let head: Head = toml::from_str(&text).map_err(|e| run(first_line(e)))?;
    if head.model != "ivae" {
        return Err(run(format!("holds a model of kind `{}`, expected `ivae`", head.model)));
    }
    if !understood(&head.version) {
        let own = env!("CARGO_PKG_VERSION");
        let [major, minor] = [env!("CARGO_PKG_VERSION_MAJOR"), env!("CARGO_PKG_VERSION_MINOR")];
        let accepted = format!("{major}.{minor}.0 to {own}: others may encode differently");
        return Err(run(format!("was written by parsimon {}, accepted are versions {accepted}", head.version)));
    }
    let config: Config = toml::from_str(&text).map_err(|e| run(first_line(e)))?;
    config.params.check().map_err(|e| run(e.to_string()))?;
    config.training.check_ranges().map_err(|e| run(e.to_string()))?;
    if let ScalingConfig::Global { low, high } = &config.scaling {
        let channels = config.params.size.2;
        if low.len() != channels || high.len() != channels || low.iter().chain(high).any(|v| !v.is_finite()) {
            return Err(run(format!("the scaling must hold {channels} finite numbers for each of low and high")));
        }
        if let Some((low, high)) = low.iter().zip(high).find(|(low, high)| low > high) {
            return Err(run(format!("the scaling goes from {low} down to {high}, accepted are rising ranges")));
        }
    }
    Ok(config)
}
