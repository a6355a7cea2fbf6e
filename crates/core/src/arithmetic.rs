use std::f32::consts::{PI, TAU};

use ndarray::{Array1, ArrayView1};

use crate::{Column, Embedding, Error, Result};

impl Embedding {
    /// Direction in the content (z1, z2, …) from one class to another: the difference of their means.
    ///
    /// # Shapes
    /// One number for each column of [`Embedding::content`].
    ///
    /// # Errors
    /// If the labels are not as many as the samples, or a class has no sample.
    pub fn direction(&self, labels: ArrayView1<'_, i64>, from: i64, to: i64) -> Result<Array1<f32>> {
        if labels.len() != self.len() {
            return Err(Error::Length { what: "labels".into(), found: labels.len(), expected: self.len() });
        }
        let mean = |class: i64| -> Result<Array1<f32>> {
            let members: Vec<usize> = (0..self.len()).filter(|&i| labels[i] == class).collect();
            if members.is_empty() {
                let what = "class without samples".to_owned();
                return Err(Error::Range { what, value: class as f64, accepted: "classes of the data" });
            }
            let of = |name: &&str| -> Result<f32> {
                let column = &self.column(name)?.mean;
                Ok((members.iter().map(|&i| f64::from(column[i])).sum::<f64>() / members.len() as f64) as f32)
            };
            self.content().iter().map(of).collect()
        };
        Ok(mean(to)? - mean(from)?)
    }

    /// One sample moved along a direction of the content by each of these multiples of it; its pose stays.
    ///
    /// # Errors
    /// If there is no such sample, or the direction has not one number for each content latent.
    pub fn along(&self, row: usize, direction: ArrayView1<'_, f32>, steps: &[f32]) -> Result<Self> {
        let content = self.content();
        if direction.len() != content.len() {
            let what = "direction in the content".to_owned();
            return Err(Error::Length { what, found: direction.len(), expected: content.len() });
        }
        self.moved(
            row,
            steps.len(),
            |_| row,
            |Column { name, mean, .. }, step| {
                let place = content.iter().position(|c| c == name);
                mean[row] + place.map_or(0.0, |place| steps[step] * direction[place])
            },
        )
    }

    /// Samples on the way from one to another, both included, at equal steps; angles go the shorter way round, and stay on
    /// (−π, π]. The class is that of the nearer end.
    ///
    /// # Errors
    /// If there is no such sample.
    pub fn between(&self, from: usize, to: usize, steps: usize) -> Result<Self> {
        self.check_row(to)?;
        let nearer = |step: usize| if 2 * step < steps { from } else { to };
        self.moved(from, steps, nearer, |Column { name, mean, .. }, step| {
            let share = step as f32 / steps.saturating_sub(1).max(1) as f32;
            let way = mean[to] - mean[from];
            if step > 0 && step + 1 == steps {
                return mean[to];
            }
            if name != "angle" {
                return mean[from] + share * way;
            }
            let angle = mean[from] + share * ((way + PI).rem_euclid(TAU) - PI);
            let turned = angle.rem_euclid(TAU);
            if turned > PI { turned - TAU } else { turned }
        })
    }

    fn check_row(&self, row: usize) -> Result<()> {
        if row < self.len() {
            return Ok(());
        }
        Err(Error::Range {
            what: "row of the latents".into(),
            value: row as f64,
            accepted: "0 to one below their number",
        })
    }

    /// Samples made from one, each with the class of the sample that `of` names.
    fn moved(
        &self,
        row: usize,
        count: usize,
        of: impl Fn(usize) -> usize,
        value: impl Fn(&Column, usize) -> f32,
    ) -> Result<Self> {
        self.check_row(row)?;
        let mut found = Self::new(count);
        for column in self.columns() {
            found.push(&column.name, (0..count).map(|step| value(column, step)).collect(), None)?;
        }
        if let Some(class) = self.class() {
            found.set_class((0..count).map(|step| class[of(step)]).collect())?;
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use ndarray::array;

    use super::*;

    fn latents() -> Embedding {
        let mut e = Embedding::new(4);
        e.push("angle", array![3.0, -3.0, 0.0, 0.5], None).unwrap();
        e.push("z1", array![0.0, 2.0, 10.0, 12.0], Some(Array1::ones(4))).unwrap();
        e.push("z2", array![1.0, 1.0, -1.0, -3.0], None).unwrap();
        e.set_class(array![0, 0, 1, 1]).unwrap();
        e
    }

    #[test]
    fn a_direction_leads_from_the_mean_of_one_class_to_that_of_another() {
        let (e, labels) = (latents(), array![0, 0, 1, 1]);
        let direction = e.direction(labels.view(), 0, 1).unwrap();
        assert_eq!(direction, array![10.0, -3.0]);
        let moved = e.along(1, direction.view(), &[0.0, 0.5, 1.0]).unwrap();
        assert_eq!(moved.column("z1").unwrap().mean, array![2.0, 7.0, 12.0]);
        assert_eq!(moved.column("z2").unwrap().mean, array![1.0, -0.5, -2.0]);
        assert_eq!(moved.column("angle").unwrap().mean, array![-3.0, -3.0, -3.0]);
        assert_eq!(moved.class().unwrap(), array![0, 0, 0]);
        assert!(e.direction(labels.view(), 0, 7).unwrap_err().to_string().contains('7'));
        assert!(e.direction(array![0, 1].view(), 0, 1).is_err());
        assert!(e.along(1, array![1.0].view(), &[0.0]).is_err());
        assert!(e.along(4, direction.view(), &[0.0]).unwrap_err().to_string().contains('4'));
    }

    #[test]
    fn the_way_between_two_samples_takes_the_shorter_arc() {
        let way = latents().between(0, 1, 3).unwrap();
        assert_eq!(way.column("z1").unwrap().mean, array![0.0, 1.0, 2.0]);
        let angles = &way.column("angle").unwrap().mean;
        assert!((angles[1].abs() - PI).abs() < 1e-5 && angles[2] == -3.0, "{angles}");
        assert_eq!(latents().between(0, 3, 4).unwrap().class().unwrap(), array![0, 0, 1, 1]);
        assert!(latents().between(0, 9, 3).is_err() && latents().between(9, 0, 3).is_err());
    }
}
