//! Finds atoms in images, to a fraction of a pixel.
