//! The invariant variational autoencoder: VAE, rVAE, tVAE, trVAE and scale in one model.
