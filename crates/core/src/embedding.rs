use ndarray::{Array1, Array2, Axis};

use crate::patches::check_finite;
use crate::{Error, Result};

/// One latent of every sample: its mean and, if the model is probabilistic, its standard deviation.
#[derive(Debug, Clone, PartialEq)]
pub struct Column {
    /// `angle` (rad), `dx`, `dy` (half-widths of the patch), `scale`, `z1`, `z2`, …, `p1`, ….
    pub name: String,
    /// Mean of each sample.
    pub mean: Array1<f32>,
    /// Standard deviation of each sample.
    pub sd: Option<Array1<f32>>,
}

/// What a model says about N samples: named columns of N numbers, and a class if it has classes.
#[derive(Debug, Clone, PartialEq)]
pub struct Embedding {
    len: usize,
    columns: Vec<Column>,
    class: Option<Array1<i64>>,
}

impl Embedding {
    /// An embedding of `len` samples, yet without columns.
    pub fn new(len: usize) -> Self {
        Self { len, columns: Vec::new(), class: None }
    }

    /// Adds a column at the end.
    ///
    /// # Errors
    /// If the name is taken, a length is not that of the embedding, or a value is not finite.
    pub fn push(&mut self, name: &str, mean: Array1<f32>, sd: Option<Array1<f32>>) -> Result<()> {
        if self.columns.iter().any(|c| c.name == name) {
            return Err(Error::DuplicateColumn(name.to_owned()));
        }
        for values in std::iter::once(&mean).chain(&sd) {
            if values.len() != self.len {
                let what = format!("column `{name}`");
                return Err(Error::Length { what, found: values.len(), expected: self.len });
            }
            check_finite(&format!("column `{name}`"), values.view())?;
        }
        self.columns.push(Column { name: name.to_owned(), mean, sd });
        Ok(())
    }

    /// Sets the class of each sample.
    ///
    /// # Errors
    /// If the length is not that of the embedding.
    pub fn set_class(&mut self, class: Array1<i64>) -> Result<()> {
        if class.len() != self.len {
            return Err(Error::Length { what: "class".into(), found: class.len(), expected: self.len });
        }
        self.class = Some(class);
        Ok(())
    }

    /// Some of the samples, in the order of `rows`.
    ///
    /// # Errors
    /// If a row is not there.
    pub fn select(&self, rows: &[usize]) -> Result<Self> {
        if let Some(&row) = rows.iter().find(|&&r| r >= self.len) {
            let what = "row of the latents".to_owned();
            return Err(Error::Range { what, value: row as f64, accepted: "0 to one below their number" });
        }
        let pick = |values: &Array1<f32>| values.select(Axis(0), rows);
        let column = |c: &Column| Column { name: c.name.clone(), mean: pick(&c.mean), sd: c.sd.as_ref().map(pick) };
        let class = self.class.as_ref().map(|c| c.select(Axis(0), rows));
        Ok(Self { len: rows.len(), columns: self.columns.iter().map(column).collect(), class })
    }

    /// Number of samples.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are no samples.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The columns in order.
    pub fn columns(&self) -> &[Column] {
        &self.columns
    }

    /// The class of each sample, if the model has classes.
    pub fn class(&self) -> Option<&Array1<i64>> {
        self.class.as_ref()
    }

    /// The column of this name, if there is one.
    pub fn get(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|c| c.name == name)
    }

    /// The column of this name.
    ///
    /// # Errors
    /// If there is none; the message lists those there are.
    pub fn column(&self, name: &str) -> Result<&Column> {
        self.get(name).ok_or_else(|| {
            let present = self.columns.iter().map(|c| c.name.as_str()).collect::<Vec<_>>().join(", ");
            Error::NoColumn { name: name.to_owned(), present }
        })
    }

    /// Names of the content latents (`z1`, `z2`, …), in order.
    pub fn content(&self) -> Vec<&str> {
        let is_content =
            |name: &str| name.strip_prefix('z').is_some_and(|d| !d.is_empty() && d.bytes().all(|b| b.is_ascii_digit()));
        self.columns.iter().map(|c| c.name.as_str()).filter(|n| is_content(n)).collect()
    }

    /// Means of the named columns side by side, N×(number of names).
    ///
    /// # Errors
    /// If a column is missing.
    pub fn matrix(&self, names: &[&str]) -> Result<Array2<f32>> {
        let mut out = Array2::zeros((self.len, names.len()));
        for (name, mut column) in names.iter().zip(out.columns_mut()) {
            column.assign(&self.column(name)?.mean);
        }
        Ok(out)
    }

    /// All means as coordinates in which distances mean something, N×D: a column as it is, but `angle` as a point on the
    /// circle, cos and sin, where angles go beyond a quarter turn and their ends meet.
    pub fn features(&self) -> Array2<f32> {
        let mut columns: Vec<Array1<f32>> = Vec::new();
        for Column { name, mean, .. } in &self.columns {
            if name == "angle" && mean.iter().any(|a| a.abs() > std::f32::consts::FRAC_PI_2) {
                columns.extend([mean.mapv(f32::cos), mean.mapv(f32::sin)]);
            } else {
                columns.push(mean.clone());
            }
        }
        Array2::from_shape_fn((self.len, columns.len()), |(row, column)| columns[column][row])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;

    #[test]
    fn columns_are_named_once_complete_and_finite() {
        let mut e = Embedding::new(2);
        e.push("angle", array![0.0, 1.0], None).unwrap();
        e.push("z1", array![2.0, 3.0], Some(array![0.1, 0.2])).unwrap();
        assert!(matches!(e.push("z1", array![2.0, 3.0], None), Err(Error::DuplicateColumn(_))));
        assert!(matches!(e.push("z2", array![2.0], None), Err(Error::Length { .. })));
        assert!(matches!(e.push("z2", array![f32::NAN, 0.0], None), Err(Error::NotFinite { .. })));
        e.push("zoom", array![0.0, 0.0], None).unwrap();
        assert_eq!(e.content(), ["z1"]);
        assert_eq!(e.matrix(&["z1", "angle"]).unwrap(), array![[2.0, 0.0], [3.0, 1.0]]);
        assert!(e.matrix(&["z9"]).unwrap_err().to_string().contains("angle, z1"));
        assert!(e.set_class(array![1]).is_err());
    }

    #[test]
    fn samples_are_selected_with_all_that_is_theirs() {
        let mut e = Embedding::new(3);
        e.push("z1", array![1.0, 2.0, 3.0], Some(array![0.1, 0.2, 0.3])).unwrap();
        e.set_class(array![5, 6, 7]).unwrap();
        let some = e.select(&[2, 0]).unwrap();
        assert_eq!((some.len(), &some.columns()[0].mean), (2, &array![3.0, 1.0]));
        assert_eq!((some.columns()[0].sd.as_ref(), some.class()), (Some(&array![0.3, 0.1]), Some(&array![7, 5])));
        assert!(e.select(&[3]).unwrap_err().to_string().contains('3'));
    }

    #[test]
    fn angles_that_go_round_become_points_on_a_circle() {
        let with_angles = |angles: Array1<f32>| {
            let mut e = Embedding::new(2);
            e.push("angle", angles, None).unwrap();
            e.push("z1", array![5.0, 6.0], None).unwrap();
            e.features()
        };
        assert_eq!(with_angles(array![-0.5, 1.0]), array![[-0.5, 5.0], [1.0, 6.0]]);
        let round = with_angles(array![3.1, -3.1]);
        assert_eq!(round.dim(), (2, 3));
        assert!((&round.row(0) - &round.row(1)).mapv(f32::abs)[0] < 1e-6, "both ends of the circle have one cosine");
    }
}
