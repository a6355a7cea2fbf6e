use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::args::TrainingArgs;

/// Options of `compare`.
#[derive(Debug, Clone, Args)]
pub struct CompareArgs {
    /// Data file as for `train`, or a spectrum image: BCF, DM3, DM4, HyperSpy HDF5
    pub data: PathBuf,
    /// Methods, in the order of the table
    #[arg(long, value_enum, value_delimiter = ',', default_value = "pca,nmf,kmeans,gmm,vae,ivae")]
    pub methods: Vec<MethodName>,
    /// Known classes to score against: `labels`, or another whole number of each sample in the file; of several, their
    /// combinations [default: labels, if there are any]
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    pub truth: Vec<String>,
    /// Components of PCA, NMF and unmixing, and dimensions of maps [default: as many as --latent]
    #[arg(long)]
    pub components: Option<usize>,
    /// Clusters of k-means and mixtures [default: classes of the truth, else 4]
    #[arg(long)]
    pub clusters: Option<usize>,
    /// Principal components that mixtures, DBSCAN and maps are given in place of more values than that; 0: the values themselves
    #[arg(long, default_value_t = 20)]
    pub after_pca: usize,
    /// What is done to spectra first, such as crop=0.25..10keV,bin=2,poisson: crop=FROM..TO, rows=, columns=,
    /// bin=N, bin-pixels=NxM, background=FROM..TO (fitted there, kept from there on), poisson, poisson=anscombe,
    /// normalise=total, max or FROM..TO; without a unit, in that of the axis
    #[arg(long, value_name = "STEPS")]
    pub steps: Option<String>,
    /// Directory for the results
    #[arg(long)]
    pub out: PathBuf,
    /// Training of the networks, whose seed, latents and held-out share are those of all methods
    #[command(flatten)]
    pub training: TrainingArgs,
}

/// What can be compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum MethodName {
    /// Principal components.
    Pca,
    /// Non-negative matrix factorisation.
    Nmf,
    /// The same for counts: Kullback–Leibler divergence.
    NmfKl,
    /// Endmembers at the corners of the data, and fully constrained least squares.
    Fcls,
    /// Bayesian linear unmixing.
    Blu,
    /// k-means.
    Kmeans,
    /// Gaussian mixture with full covariances.
    Gmm,
    /// Density-based clusters.
    Dbscan,
    /// Isometric map.
    Isomap,
    /// t-SNE.
    Tsne,
    /// UMAP.
    Umap,
    /// Self-organising map of 10×10 units.
    Som,
    /// Variational autoencoder without invariances.
    Vae,
    /// Invariant variational autoencoder, of --invariances.
    Ivae,
}

impl MethodName {
    /// Its name in tables and files.
    pub fn id(self) -> String {
        self.to_possible_value().map(|v| v.get_name().to_owned()).unwrap_or_default()
    }

    /// Its name in words.
    pub fn title(self) -> &'static str {
        match self {
            Self::Pca => "PCA",
            Self::Nmf => "NMF",
            Self::NmfKl => "NMF for counts",
            Self::Fcls => "N-FINDR and FCLS",
            Self::Blu => "Bayesian unmixing",
            Self::Kmeans => "k-means",
            Self::Gmm => "Gaussian mixture",
            Self::Dbscan => "DBSCAN",
            Self::Isomap => "Isomap",
            Self::Tsne => "t-SNE",
            Self::Umap => "UMAP",
            Self::Som => "Self-organising map",
            Self::Vae => "VAE",
            Self::Ivae => "Invariant VAE",
        }
    }
}
