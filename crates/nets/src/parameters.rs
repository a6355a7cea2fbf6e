use crate::{Compute, Matrix};

/// Something with named, trainable matrices.
pub trait Parameters<D: Compute> {
    /// Shows every matrix with its name below `prefix`, in a fixed order.
    fn visit(&self, prefix: &str, f: &mut dyn FnMut(String, &Matrix<D>));

    /// As [`Self::visit`], to change them.
    fn visit_mut(&mut self, prefix: &str, f: &mut dyn FnMut(String, &mut Matrix<D>));
}
