//! Mini-batches, optimiser loop, early stop, checkpoints and progress.
