use std::sync::Arc;

use crate::{Compute, Error, Matrix, Result, matrix};

/// Numbers on the host, row by row, of which no gradient is wanted; copies share them.
#[derive(Debug, Clone)]
pub struct Data {
    values: Arc<Vec<f32>>,
    columns: usize,
}

impl Data {
    /// Rows of so many columns.
    ///
    /// # Errors
    /// If the values do not fill whole rows.
    pub fn new(values: Vec<f32>, columns: usize) -> Result<Self> {
        if columns == 0 || !values.len().is_multiple_of(columns) {
            let what = "values of rows".to_owned();
            return Err(Error::Shape { what, found: vec![values.len()], expected: vec![columns] });
        }
        Ok(Self { values: Arc::new(values), columns })
    }

    /// Rows and columns.
    pub fn shape(&self) -> (usize, usize) {
        (self.values.len() / self.columns, self.columns)
    }

    /// Row by row.
    pub fn values(&self) -> &[f32] {
        &self.values
    }

    /// The same on a device.
    ///
    /// # Errors
    /// If the device fails.
    pub fn on<D: Compute>(&self, device: &D) -> Result<Matrix<D>> {
        let (rows, columns) = self.shape();
        matrix(device, self.values.to_vec(), rows, columns)
    }
}
