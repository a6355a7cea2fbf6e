//! Images whose atoms are known.

mod cramer_rao;
mod scene;
mod synthetic;
