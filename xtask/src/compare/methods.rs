//! Methods by name, each as a way to represent the same rows.

use anyhow::{Result, bail, ensure};
use linfa::ParamGuard;
use parsimon_baselines::{
    AfterPca, Blu, Dbscan, Fcls, GaussianMixture, Isomap, KMeans, Loss, Method, Nmf, Params, Pca, Som, TSne, Umap,
};
use parsimon_core::Represent;
use parsimon_ivae::IvaeEstimator;
use parsimon_train::Options;

use super::args::{CompareArgs, MethodName};
use super::data::Samples;
use crate::args::{ModelArg, TrainArgs};
use crate::plan::plan;

/// Clusters where the truth does not say how many.
const CLUSTERS: usize = 4;
/// Starts of a mixture: in few columns they cost little.
const STARTS: usize = 20;
/// Rows that make a core of DBSCAN's clusters.
const CORE: usize = 5;
/// Neighbours of Isomap and UMAP, and perplexity of t-SNE, where there are rows enough.
const NEAR: (usize, usize) = (10, 15);
const PERPLEXITY: f64 = 30.0;
/// Units of a self-organising map along a side.
const UNITS: usize = 10;

/// A method ready to be fitted, and in words what was chosen for it.
pub struct Ready {
    pub method: Box<dyn Represent>,
    pub chosen: String,
    /// Whether its classes, if it has any, are meant to be the kinds of samples there are; units of a map are not.
    pub partition: bool,
    /// What is to be said of the choice.
    pub notes: Vec<String>,
}

/// A method with the parameters that the command line gives it, checked against the data where that takes no work.
pub fn ready(name: MethodName, args: &CompareArgs, samples: &Samples) -> Result<Ready> {
    let k = args.components.unwrap_or(args.training.latent);
    let clusters = args.clusters.unwrap_or(match samples.classes() {
        0 | 1 => CLUSTERS,
        n => n,
    });
    let seed = args.training.seed;
    let (height, width, channels) = samples.patches.shape();
    let values = height * width * channels;
    let fitted = samples.train.len();
    let reduced = args.after_pca > 0 && values > args.after_pca;
    let components = |what: &str| format!("{k} {what}");
    // Principal components are of what varies about the mean.
    let most = (if name == MethodName::Pca { fitted - 1 } else { fitted }).min(values);
    let kinds = matches!(name, MethodName::Kmeans | MethodName::Gmm);
    // Of as many rows as components, none could vary.
    let more = if name == MethodName::Gmm { fitted - 1 } else { fitted };
    ensure!(!kinds || (1..=more).contains(&clusters), "{clusters} clusters (--clusters), accepted are 1 to {more}");
    let parts = !kinds && !matches!(name, MethodName::Dbscan | MethodName::Som | MethodName::Vae | MethodName::Ivae);
    ensure!(
        !parts || (1..=most).contains(&k),
        "{}: number of components is {k} (--components), accepted are 1 to {most} for {fitted} samples of {values} values",
        name.title()
    );
    let mixed = matches!(name, MethodName::Fcls | MethodName::Blu);
    ensure!(!mixed || k > 1, "{}: number of endmembers is {k} (--components), accepted are 2 and more", name.title());
    Ok(match name {
        MethodName::Pca => whole(Pca::params(k), components("components"))?,
        MethodName::Nmf => whole(Nmf::params(k).seed(seed), components("components, Frobenius norm"))?,
        MethodName::NmfKl => whole(
            Nmf::params(k).loss(Loss::KullbackLeibler).seed(seed),
            components("components, Kullback–Leibler divergence"),
        )?,
        MethodName::Fcls => whole(Fcls::params(k).seed(seed), components("endmembers"))?,
        MethodName::Blu => whole(Blu::params(k).seed(seed), components("endmembers"))?,
        MethodName::Kmeans => whole(KMeans::params(clusters).seed(seed), format!("{clusters} clusters, 10 starts"))?,
        MethodName::Gmm => {
            let params = GaussianMixture::params(clusters).starts(STARTS).seed(seed);
            after(params, format!("{clusters} full covariances, {STARTS} starts"), reduced, args)?
        }
        MethodName::Dbscan => {
            let chosen = format!("suggested radius, {CORE} rows to a core");
            after(Dbscan::suggested().min_rows(CORE), chosen, reduced, args)?
        }
        MethodName::Isomap => {
            let near = NEAR.0.min(fitted.saturating_sub(1)).max(1);
            let chosen = components(&format!("dimensions, {near} neighbours"));
            after(Isomap::params(k).neighbours(near), chosen, reduced, args)?
        }
        MethodName::Tsne => {
            // Few rows have no neighbourhoods as large as usual.
            let perplexity = PERPLEXITY.min((fitted.saturating_sub(1) as f64 / 3.0).floor()).max(1.0);
            let params = TSne::params().dimensions(k).perplexity(perplexity).seed(seed);
            after(params, components(&format!("dimensions, perplexity {perplexity}")), reduced, args)?
        }
        MethodName::Umap => {
            let near = NEAR.1.min(fitted).max(2);
            let params = Umap::params().dimensions(k).neighbours(near).seed(seed);
            after(params, components(&format!("dimensions, {near} neighbours")), reduced, args)?
        }
        MethodName::Som => {
            let units = whole(Som::params(UNITS, UNITS), format!("{UNITS}×{UNITS} units on a square grid"))?;
            Ready { partition: false, ..units }
        }
        MethodName::Vae => network(ModelArg::Vae, args, samples)?,
        MethodName::Ivae => network(ModelArg::Ivae, args, samples)?,
    })
}

fn whole<M: Method + 'static>(params: Params<M>, chosen: String) -> Result<Ready>
where
    M::Model: 'static,
{
    params.check_ref()?;
    Ok(Ready { method: Box::new(params), chosen, partition: true, notes: Vec::new() })
}

/// The method on the first principal components, where there are many values.
fn after<M: Method + 'static>(params: Params<M>, chosen: String, reduced: bool, args: &CompareArgs) -> Result<Ready>
where
    M::Model: 'static,
{
    if reduced {
        let chosen = format!("{chosen}; of {} principal components", args.after_pca);
        whole(AfterPca::params(args.after_pca, params), chosen)
    } else {
        whole(params, chosen)
    }
}

/// A network with the parameters and the training that `train` would give it.
fn network(model: ModelArg, args: &CompareArgs, samples: &Samples) -> Result<Ready> {
    if args.training.boundary().is_some() {
        bail!("compare knows no neighbours, which --boundary needs; use `experiment`");
    }
    let mut training = args.training.clone();
    if model == ModelArg::Vae {
        training.invariances = None;
    }
    let train = TrainArgs {
        model,
        data: args.data.clone(),
        out: args.out.clone(),
        training,
        condition: Vec::new(),
        resume: false,
    };
    let wait = train.training.patience;
    ensure!(wait.is_none(), "compare holds rows out of every method as a whole, and leaves none for --patience");
    let planned = plan(&train, &samples.patches, &parsimon_core::Dataset::default())?;
    // The rows that are held out are held out of the method as a whole.
    let options = Options { holdout: 0.0, ..planned.options };
    let kind = if planned.params.invariances.none() { "none".into() } else { planned.params.invariances.to_string() };
    let chosen = format!("{} latents, invariances {kind}, {} epochs", planned.params.latent, options.epochs);
    let method = Box::new(IvaeEstimator { params: planned.params, options });
    Ok(Ready { method, chosen, partition: true, notes: planned.notes })
}
