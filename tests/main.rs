//! Tests that cross crates: conformance of every model, recovery of known poses, the way from image to latents.

mod conditions;
mod conformance;
mod denoising;
mod gradients;
mod invariance;
mod mixtures;
mod objects;
mod physics;
mod pipeline;
mod poses;
mod settings;
mod tidy;
