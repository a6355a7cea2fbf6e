use ndarray::{Array1, Array2, Array4, ArrayView2, ArrayView4, Axis};
use parsimon_core::{BoxError, Embed, Embedding, Generate, Patches};

use crate::{Error, Result};

/// What a model says about N rows.
#[derive(Debug, Clone, PartialEq)]
pub struct RowEmbedding {
    /// A number for each name of the model, (N, names).
    pub columns: Array2<f64>,
    /// Standard deviations of the columns, if the model has any.
    pub deviations: Option<Array2<f64>>,
    /// Class of each row, −1 if it has none, of a model with classes.
    pub classes: Option<Array1<i64>>,
}

impl RowEmbedding {
    /// Columns alone.
    pub fn of(columns: Array2<f64>) -> Self {
        Self { columns, deviations: None, classes: None }
    }
}

/// What a method has learnt from rows of numbers.
pub trait RowModel {
    /// Numbers in a row, D.
    fn width(&self) -> usize;

    /// Names of the columns of the embedding.
    fn names(&self) -> Vec<String>;

    /// Columns and classes of rows; those of the fit, or further ones.
    ///
    /// # Shapes
    /// (N, D).
    ///
    /// # Errors
    /// If there are no rows, they are not D numbers wide, or one of these is NaN, infinite or beyond ±1e140; of a factorisation, if
    /// one is negative.
    fn embed_rows(&self, rows: ArrayView2<'_, f64>) -> Result<RowEmbedding>;

    /// Rows that stand for the columns or classes: components, endmembers, centres, as many as there are; (K, D).
    fn patterns(&self) -> Option<Array2<f64>> {
        None
    }

    /// Rows of columns, of a model that can go back.
    ///
    /// # Shapes
    /// (N, names) → (N, D).
    ///
    /// # Errors
    /// If the model cannot go back, there are not as many columns as names, or one holds NaN or an infinity.
    fn rows_of(&self, _columns: ArrayView2<'_, f64>) -> Result<Array2<f64>> {
        Err(Error::OneWay)
    }

    /// Whether [`RowModel::rows_of`] goes back.
    fn goes_back(&self) -> bool {
        false
    }

    /// Numbers that were fitted, if they can be counted; if nothing else is said, those of the patterns.
    fn parameters(&self) -> Option<usize> {
        self.patterns().map(|p| p.len())
    }
}

/// A model of rows that are patches.
#[derive(Debug, Clone, PartialEq)]
pub struct OnPatches<M> {
    model: M,
    shape: (usize, usize, usize),
}

impl<M: RowModel> OnPatches<M> {
    pub(crate) fn new(model: M, shape: (usize, usize, usize)) -> Self {
        Self { model, shape }
    }

    /// The model of their rows.
    pub fn model(&self) -> &M {
        &self.model
    }

    fn images(&self, rows: Array2<f64>) -> Array4<f32> {
        let (h, w, c) = self.shape;
        let width = w * c;
        Array4::from_shape_fn((rows.nrows(), h, w, c), |(n, y, x, z)| rows[(n, y * width + x * c + z)] as f32)
    }
}

impl<M: RowModel> Embed for OnPatches<M> {
    fn embed(&self, data: &Patches) -> std::result::Result<Embedding, BoxError> {
        if data.shape() != self.shape {
            return Err(Error::Shape { found: data.shape(), expected: self.shape }.into());
        }
        let found = self.model.embed_rows(of_images(data.images()).view())?;
        let mut embedding = Embedding::new(data.len());
        let narrow = |column: ndarray::ArrayView1<'_, f64>| column.mapv(|v| v as f32);
        for (k, name) in self.model.names().iter().enumerate() {
            let sd = found.deviations.as_ref().map(|sd| narrow(sd.column(k)));
            embedding.push(name, narrow(found.columns.column(k)), sd).map_err(Error::Core)?;
        }
        if let Some(classes) = found.classes {
            embedding.set_class(classes).map_err(Error::Core)?;
        }
        Ok(embedding)
    }

    fn generator(&self) -> Option<&dyn Generate> {
        if self.model.goes_back() { Some(self) } else { None }
    }

    fn patterns(&self) -> Option<Array4<f32>> {
        self.model.patterns().map(|rows| self.images(rows))
    }

    fn parameters(&self) -> Option<usize> {
        self.model.parameters()
    }
}

impl<M: RowModel> Generate for OnPatches<M> {
    fn generate(&self, latents: &Embedding) -> std::result::Result<Array4<f32>, BoxError> {
        let names = self.model.names();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let columns = latents.matrix(&names).map_err(Error::Core)?.mapv(f64::from);
        let rows = self.model.rows_of(columns.view())?;
        Ok(self.images(rows.mapv(|v| v.clamp(0.0, 1.0))))
    }
}

/// Images as rows of numbers, N×(H·W·C).
pub(crate) fn of_images(images: ArrayView4<'_, f32>) -> Array2<f64> {
    let (n, h, w, c) = images.dim();
    let mut out = Array2::zeros((n, h * w * c));
    for (mut row, image) in out.outer_iter_mut().zip(images.outer_iter()) {
        row.iter_mut().zip(image).for_each(|(o, &v)| *o = v.into());
    }
    out
}

/// Fails unless there are rows, and each of their numbers is finite.
fn finite(rows: ArrayView2<'_, f64>) -> Result<()> {
    if rows.is_empty() {
        return Err(Error::Empty { rows: rows.nrows(), columns: rows.ncols() });
    }
    first_not_finite(rows)
}

fn first_not_finite(rows: ArrayView2<'_, f64>) -> Result<()> {
    match rows.axis_iter(Axis(0)).position(|p| p.iter().any(|v| !v.is_finite())) {
        Some(row) => Err(Error::NotFinite { row }),
        None => Ok(()),
    }
}

/// Fails unless the rows may be embedded: [`squarable`], and as wide as those the model knows.
pub(crate) fn fitting(rows: ArrayView2<'_, f64>, width: usize) -> Result<()> {
    if rows.ncols() != width {
        return Err(Error::Width { found: rows.ncols(), expected: width });
    }
    squarable(rows)
}

/// Fails unless there are as many columns as a model has names, all finite; of no rows as well.
pub(crate) fn leading_back(columns: ArrayView2<'_, f64>, names: usize) -> Result<()> {
    if columns.ncols() != names {
        return Err(Error::Columns { found: columns.ncols(), expected: names });
    }
    first_not_finite(columns)
}

/// Fails with the first row that holds a negative number.
pub(crate) fn not_negative(rows: ArrayView2<'_, f64>) -> Result<()> {
    for (row, values) in rows.axis_iter(Axis(0)).enumerate() {
        if let Some(&value) = values.iter().find(|v| **v < 0.0) {
            return Err(Error::Negative { row, value });
        }
    }
    Ok(())
}

/// The largest number whose square, and the sum of many, is one yet.
const LARGEST: f64 = 1e140;

/// Fails unless there are rows, all numbers of which are finite and have squares, of which many may be summed.
pub(crate) fn squarable(rows: ArrayView2<'_, f64>) -> Result<()> {
    finite(rows)?;
    match rows.iter().find(|v| v.abs() > LARGEST) {
        Some(value) => Err(Error::parameter("a number of the rows", format!("{value:e}"), "-1e140 to 1e140")),
        None => Ok(()),
    }
}

/// The same for rows of a fit that takes them as they are: not so small that squares of all of them vanish.
pub(crate) fn measurable(rows: ArrayView2<'_, f64>) -> Result<()> {
    squarable(rows)?;
    let largest = rows.iter().fold(0.0, |largest: f64, v| largest.max(v.abs()));
    if largest > 0.0 && largest < 1.0 / LARGEST {
        let accepted = "1e-140 to 1e140, or 0: rows may have to be in other units";
        return Err(Error::parameter("the largest number of the rows", format!("{largest:e}"), accepted));
    }
    Ok(())
}

/// Fails unless there are so many rows.
pub(crate) fn at_least(rows: ArrayView2<'_, f64>, least: usize) -> Result<()> {
    match rows.nrows() {
        n if n < least => Err(Error::parameter("number of rows", n, format!("at least {least} rows"))),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_measured_by_their_largest_number() {
        for (value, ok) in
            [(0.0, true), (1e-141, false), (1e-139, true), (-1e-141, false), (1e139, true), (-1e141, false)]
        {
            let rows = Array2::from_elem((3, 2), value);
            assert_eq!(measurable(rows.view()).is_ok(), ok, "{value:e}");
            assert_eq!(squarable(rows.view()).is_ok(), f64::abs(value) < 1e140, "{value:e}");
        }
        let error = measurable(Array2::from_elem((1, 1), 3e-200).view()).unwrap_err().to_string();
        assert!(error.contains("is 3e-200, accepted are 1e-140 to 1e140, or 0"), "{error}");
        // Beside a number that has a square, small ones do no harm.
        assert!(measurable(ndarray::array![[1.0, 1e-200]].view()).is_ok());
    }
}
