//! Tensors, layers and the hot operations behind the device trait.
