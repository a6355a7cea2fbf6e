//! Likelihoods, divergences and the evidence lower bound.
