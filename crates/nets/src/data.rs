use std::sync::Arc;

use crate::{Compute, Error, Matrix, Result, matrix};

/// Numbers on the host, row by row, of which no gradient is wanted; copies share them.
#[derive(Debug, Clone)]
pub struct Data<'a> {
    values: Values<'a>,
    columns: usize,
}

#[derive(Debug, Clone)]
enum Values<'a> {
    Shared(Arc<Vec<f32>>),
    Lent(&'a [f32]),
}

impl<'a> Data<'a> {
    /// Rows of so many columns.
    ///
    /// # Errors
    /// If the values do not fill whole rows.
    pub fn new(values: Vec<f32>, columns: usize) -> Result<Self> {
        check(values.len(), columns)?;
        Ok(Self { values: Values::Shared(Arc::new(values)), columns })
    }

    /// As [`Data::new`], of values that are somebody else's.
    ///
    /// # Errors
    /// As [`Data::new`].
    pub fn lent(values: &'a [f32], columns: usize) -> Result<Self> {
        check(values.len(), columns)?;
        Ok(Self { values: Values::Lent(values), columns })
    }

    /// Rows and columns.
    pub fn shape(&self) -> (usize, usize) {
        (self.values().len() / self.columns, self.columns)
    }

    /// Row by row.
    pub fn values(&self) -> &[f32] {
        match &self.values {
            Values::Shared(values) => values,
            Values::Lent(values) => values,
        }
    }

    /// The same for as long as it is needed: what is lent is copied.
    pub(crate) fn keep(&self) -> Data<'static> {
        let values = match &self.values {
            Values::Shared(values) => values.clone(),
            Values::Lent(values) => Arc::new(values.to_vec()),
        };
        Data { values: Values::Shared(values), columns: self.columns }
    }

    /// The same on a device.
    ///
    /// # Errors
    /// If the device fails.
    pub fn on<D: Compute>(&self, device: &D) -> Result<Matrix<D>> {
        let (rows, columns) = self.shape();
        matrix(device, self.values().to_vec(), rows, columns)
    }
}

fn check(values: usize, columns: usize) -> Result<()> {
    if columns == 0 || !values.is_multiple_of(columns) {
        let what = "values of rows".to_owned();
        return Err(Error::Shape { what, found: vec![values], expected: vec![columns] });
    }
    Ok(())
}
