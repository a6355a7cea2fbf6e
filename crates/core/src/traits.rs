use ndarray::{Array1, Array4};

use crate::{BoxError, Embedding, Image, Patches, Sites};

/// Finds sites in an image.
pub trait Detect {
    /// Sites of `image`, all with frame 0, in a fixed order.
    ///
    /// # Errors
    /// If the parameters do not fit the image.
    fn detect(&self, image: &Image) -> Result<Sites, BoxError>;
}

/// Turns sites into patches.
pub trait Describe {
    /// Patches of the sites that can have one; each keeps its site. `channels` are aligned images of one shape.
    ///
    /// # Errors
    /// If no site can have a patch, or the channels differ in shape.
    fn describe(&self, channels: &[Image], sites: &Sites) -> Result<Patches, BoxError>;
}

/// A fitted representation: a trained VAE, PCA, …
pub trait Embed {
    /// One row of latents per patch, in order.
    ///
    /// # Errors
    /// If the patches differ in size or channels from those it was fitted on.
    fn embed(&self, data: &Patches) -> Result<Embedding, BoxError>;

    /// The same as a maker of data from latents, if it can go back.
    fn generator(&self) -> Option<&dyn Generate> {
        None
    }

    /// Images that stand for its columns or classes, K×H×W×C: components, endmembers, centres, if it has any.
    fn patterns(&self) -> Option<Array4<f32>> {
        None
    }

    /// Numbers that were fitted, if they can be counted.
    fn parameters(&self) -> Option<usize> {
        None
    }
}

/// A way to represent patches, before it has seen any.
pub trait Represent {
    /// Fits it.
    ///
    /// # Errors
    /// If the data cannot support the parameters.
    fn fit(&self, data: &Patches) -> Result<Box<dyn Embed>, BoxError>;
}

/// Makes data from latents.
pub trait Generate {
    /// Images (N×H×W×C, in \[0,1\]) of the N rows of `latents`; pose columns are honoured.
    ///
    /// # Errors
    /// If a column the model needs is missing.
    fn generate(&self, latents: &Embedding) -> Result<Array4<f32>, BoxError>;
}

/// Tells the class of samples.
pub trait Classify {
    /// One class per row.
    ///
    /// # Errors
    /// If a column the classifier needs is missing.
    fn classify(&self, latents: &Embedding) -> Result<Array1<i64>, BoxError>;
}
