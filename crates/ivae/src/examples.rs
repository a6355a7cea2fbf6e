use std::ops::Range;
use std::sync::OnceLock;

use ndarray::{Array1, Array3, ArrayView1, ArrayView2, Axis};
use parsimon_core::{NeighbourGraph, Patches};
use parsimon_nets::{Compute, Data};
use rand::SeedableRng;
use rand::seq::index::sample;
use rand_chacha::ChaCha8Rng;

use crate::alignment::{Alignment, LANDMARKS};
use crate::centring::Centred;
use crate::model::NetResult;
use crate::physics::Neighbours;
use crate::views::Views;
use crate::{Error, Ivae, Params, Result};

/// What a model is trained on: patches, and what is known of them.
#[derive(Debug, Clone)]
pub struct Examples<'a> {
    pub(crate) patches: &'a Patches,
    goals: Option<&'a Patches>,
    pub(crate) labels: Option<ArrayView1<'a, i64>>,
    pub(crate) factors: Option<ArrayView2<'a, f32>>,
    pub(crate) neighbours: Option<Neighbours>,
    /// Rows trained on, which are turned against each other beforehand, and the seed that chooses landmarks among them.
    pub(crate) trained: Range<usize>,
    pub(crate) seed: u64,
    /// How far each of them is turned, in steps from angle to angle, once it is known.
    turns: OnceLock<Vec<f32>>,
}

impl<'a> From<&'a Patches> for Examples<'a> {
    fn from(patches: &'a Patches) -> Self {
        Self {
            patches,
            goals: None,
            labels: None,
            factors: None,
            neighbours: None,
            trained: 0..0,
            seed: 0,
            turns: OnceLock::new(),
        }
    }
}

impl<'a> From<&Examples<'a>> for Examples<'a> {
    fn from(examples: &Examples<'a>) -> Self {
        examples.clone()
    }
}

/// Some rows of [`Examples`].
#[derive(Debug, Clone)]
pub(crate) struct Batch<'a> {
    /// Values of the pixels, (rows, pixels·channels).
    pub(crate) data: Data<'a>,
    /// The same about the middle of the objects, if the encoder looks at them so.
    centred: Option<Centred>,
    /// What is to be decoded, where that is something else.
    goal: Option<Data<'a>>,
    /// What the model is told of each, (rows, inputs of the condition).
    pub(crate) conditions: Vec<f32>,
    /// How far each is turned, in steps from angle to angle, if that is known.
    pub(crate) turns: Option<Vec<f32>>,
}

impl Batch<'_> {
    pub(crate) fn rows(&self) -> usize {
        self.data.shape().0
    }

    /// What the encoder looks at.
    pub(crate) fn seen(&self) -> &Data<'_> {
        self.centred.as_ref().map_or(&self.data, |c| &c.patches)
    }

    /// How far each object lay off what the encoder sees, (right, down) in half-widths.
    pub(crate) fn off(&self) -> Option<&[[f32; 2]]> {
        self.centred.as_ref().map(|c| c.off.as_slice())
    }

    /// What is to be decoded.
    pub(crate) fn goal(&self) -> &Data<'_> {
        self.goal.as_ref().unwrap_or(&self.data)
    }

    /// Rows with the condition of its patch appended to each; equally many belong to each patch, one patch after the other.
    pub(crate) fn told<'b>(&self, rows: Data<'b>) -> NetResult<Data<'b>> {
        let ((n, columns), width) = (rows.shape(), self.conditions.len() / self.rows());
        if width == 0 {
            return Ok(rows);
        }
        let each = n / self.rows();
        let mut joined = Vec::with_capacity(n * (columns + width));
        for (i, row) in rows.values().chunks_exact(columns).enumerate() {
            joined.extend_from_slice(row);
            joined.extend_from_slice(&self.conditions[i / each * width..][..width]);
        }
        Data::new(joined, columns + width)
    }
}

impl<'a> Examples<'a> {
    /// Patches with labels, factors (N×K) or both, on which a model is conditioned.
    pub fn conditioned(
        patches: &'a Patches,
        labels: Option<ArrayView1<'a, i64>>,
        factors: Option<ArrayView2<'a, f32>>,
    ) -> Self {
        Self { labels, factors, ..Self::from(patches) }
    }

    /// The same, of which a model should make these patches in place of the ones it sees: without noise, in colour, ….
    pub fn towards(self, goals: &'a Patches) -> Self {
        Self { goals: Some(goals), ..self }
    }

    /// The same, of sites that are neighbours as this graph says.
    pub fn beside(self, graph: &NeighbourGraph) -> Self {
        Self { neighbours: Some(Neighbours::new(graph)), ..self }
    }

    /// The patches.
    pub fn patches(&self) -> &'a Patches {
        self.patches
    }

    /// Fails unless a model can be trained on them.
    pub(crate) fn check_known(&self, params: &Params, terms: bool) -> Result<()> {
        let asked = terms || params.boundary.is_some();
        if self.neighbours.is_none() && asked {
            let (what, accepted) =
                ("neighbours of the sites", "a graph of them, because terms of physics speak of them");
            return Err(Error::Parameter { what, value: "missing".into(), accepted });
        }
        if let Some(found) = self.neighbours.as_ref().map(Neighbours::sites).filter(|n| *n != self.patches.len()) {
            let what = "graph of neighbours".to_owned();
            return Err(parsimon_core::Error::Length { what, found, expected: self.patches.len() }.into());
        }
        if let Some(neighbours) = self.neighbours.as_ref().filter(|_| asked)
            && !neighbours.within(&self.trained)
        {
            let (what, accepted) = ("neighbours of the sites", "a graph that joins sites that are trained on");
            return Err(Error::Parameter { what, value: "none".into(), accepted });
        }
        match (params.goal_channels, self.goals) {
            (Some(_), None) => Err(Error::Parameter {
                what: "goals",
                value: "missing".into(),
                accepted: "as many as patches, because the model decodes something else than it sees",
            }),
            (None, Some(_)) => Err(Error::Parameter {
                what: "goals",
                value: "given".into(),
                accepted: "none, because the model has no channels for them",
            }),
            _ => Ok(()),
        }
    }

    /// Whether a model of these parameters can be given them.
    ///
    /// # Errors
    /// If patches or goals differ in size from the model's, or what it is conditioned on is missing or of another kind.
    pub fn check(&self, params: &Params) -> Result<()> {
        let (found, expected) = (self.patches.shape(), params.size);
        if found != expected {
            return Err(Error::Size { found, expected });
        }
        if let (Some(goals), expected) = (self.goals, params.decoded())
            && (goals.shape() != expected || goals.len() != self.patches.len())
        {
            let (found, expected) = ((goals.len(), goals.shape()), (self.patches.len(), expected));
            return Err(Error::Goals { found, expected });
        }
        params.condition.rows(self.patches.len(), self.labels, self.factors).map(|_| ())
    }

    /// What tells these data from others of their shape: the number of rows, and a checksum of patches, goals, labels,
    /// factors and neighbours.
    pub fn fingerprint(&self) -> String {
        let mut hash = crc32fast::Hasher::new();
        let images = |patches: &Patches, hash: &mut crc32fast::Hasher| {
            patches.images().iter().for_each(|v| hash.update(&v.to_le_bytes()));
        };
        images(self.patches, &mut hash);
        self.goals.into_iter().for_each(|goals| images(goals, &mut hash));
        // What stands between keeps numbers of one from counting as numbers of the next.
        hash.update(b"labels");
        self.labels.iter().flatten().for_each(|label| hash.update(&label.to_le_bytes()));
        hash.update(b"factors");
        self.factors.iter().flatten().for_each(|factor| hash.update(&factor.to_le_bytes()));
        hash.update(b"neighbours");
        self.neighbours.iter().for_each(|neighbours| neighbours.checksum(&mut hash));
        format!("{} rows, checksum {:08x}", self.patches.len(), hash.finalize())
    }

    /// Mean of what is decoded over the rows it is trained on, (H, W, C).
    pub(crate) fn mean(&self) -> Array3<f32> {
        let images = self.goals.unwrap_or(self.patches).images();
        let mut sum = Array3::<f64>::zeros((images.dim().1, images.dim().2, images.dim().3));
        for row in self.trained.clone() {
            sum.zip_mut_with(&images.index_axis(Axis(0), row), |sum, v| *sum += f64::from(*v));
        }
        sum.mapv(|sum| (sum / self.trained.len().max(1) as f64) as f32)
    }

    /// Some rows; `check` has found them to be of the model's kind.
    pub(crate) fn batch(&self, params: &Params, rows: &[usize]) -> NetResult<Batch<'a>> {
        self.batch_seen(params, rows, params.centred)
    }

    /// The same, seen about the middle of the objects or not.
    fn batch_seen(&self, params: &Params, rows: &[usize], centred: bool) -> NetResult<Batch<'a>> {
        let ((h, w, c), expected) = (self.patches.shape(), params.size);
        if (h, w, c) != expected || self.goals.is_some_and(|goals| goals.shape() != params.decoded()) {
            let what = "patches or goals of a batch".to_owned();
            let (found, expected) = (vec![h, w, c], vec![expected.0, expected.1, expected.2]);
            return Err(parsimon_nets::Error::Shape { what, found, expected });
        }
        if let Some(row) = rows.iter().find(|row| **row >= self.patches.len()) {
            let (what, accepted) = ("row of a batch", "rows of the data");
            return Err(parsimon_nets::Error::Parameter { what, value: row.to_string(), accepted });
        }
        let labels: Option<Array1<i64>> =
            self.labels.map(|l| rows.iter().filter_map(|row| l.get(*row).copied()).collect());
        let factors = self.factors.map(|f| f.select(Axis(0), rows));
        let conditions =
            params.condition.rows(rows.len(), labels.as_ref().map(|l| l.view()), factors.as_ref().map(|f| f.view()));
        let conditions = conditions.map_err(|e| parsimon_nets::Error::Device(e.to_string()))?;
        let goal = self.goals.map(|goals| gather(goals, rows)).transpose()?;
        let data = gather(self.patches, rows)?;
        let centred = if centred { Some(Centred::of(&data, params.size)?) } else { None };
        Ok(Batch { data, centred, goal, conditions, turns: None })
    }

    /// How far some rows are turned, if all are among those to be aligned.
    pub(crate) fn turns<D: Compute>(
        &self,
        model: &Ivae<D>,
        views: &Views,
        rows: &[usize],
    ) -> NetResult<Option<Vec<f32>>> {
        if views.angles == 1 || rows.iter().any(|row| !self.trained.contains(row)) {
            return Ok(None);
        }
        let all = match self.turns.get() {
            Some(all) => all,
            None => {
                let found = self.align(model, views)?;
                self.turns.get_or_init(|| found)
            }
        };
        Ok(rows.iter().map(|row| all.get(row - self.trained.start).copied()).collect())
    }

    fn align<D: Compute>(&self, model: &Ivae<D>, views: &Views) -> NetResult<Vec<f32>> {
        let count = self.trained.len();
        let landmarks = sample(&mut ChaCha8Rng::seed_from_u64(self.seed), count, count.min(LANDMARKS));
        let landmarks: Vec<usize> = landmarks.into_iter().map(|i| self.trained.start + i).collect();
        let log_prior = model.params().log_prior_of_turns();
        // Objects to be looked for in several places are compared about their middles.
        let params = model.params();
        let centred = params.centred || params.views().is_some_and(|grid| grid.shifts > 1);
        let some = |rows: &[usize]| self.batch_seen(params, rows, centred);
        let views = &views.about_the_middle();
        let alignment = Alignment::new(views, &log_prior, some(&landmarks)?.seen())?;
        let rows: Vec<usize> = self.trained.clone().collect();
        let blocks = rows.chunks(LANDMARKS).map(|rows| alignment.turns(some(rows)?.seen()));
        Ok(blocks.collect::<NetResult<Vec<_>>>()?.concat())
    }
}

/// Some patches.
fn gather<'a>(data: &'a Patches, rows: &[usize]) -> NetResult<Data<'a>> {
    let (h, w, c) = data.shape();
    let images = data.images();
    if let (Some(all), Some(&first)) = (images.to_slice(), rows.first())
        && rows.iter().enumerate().all(|(i, row)| *row == first + i)
    {
        return Data::lent(&all[first * h * w * c..][..rows.len() * h * w * c], h * w * c);
    }
    let mut values = Vec::with_capacity(rows.len() * h * w * c);
    for &row in rows {
        let image = images.index_axis(Axis(0), row);
        match image.as_slice() {
            Some(image) => values.extend_from_slice(image),
            None => values.extend(image.iter()),
        }
    }
    Data::new(values, h * w * c)
}

#[cfg(test)]
mod tests {
    use ndarray::Array4;
    use parsimon_core::{Pair, Scaling};

    use super::*;

    #[test]
    fn a_fingerprint_tells_data_with_other_labels_factors_or_neighbours_apart() {
        let patches = Patches::new(Array4::zeros((3, 2, 2, 1)), Scaling::unit(1)).unwrap();
        let row = |side: f64, kinds: Vec<i64>| {
            let pairs = [(0, 1), (1, 2)].map(|(a, b)| Pair { a, b, side: if b == 2 { side } else { 1.0 } });
            Examples::from(&patches).beside(&NeighbourGraph::new(kinds, pairs.to_vec()).unwrap()).fingerprint()
        };
        let labels = |label: i64| Array1::from_vec(vec![label, 0, 1]);
        let [zero, one] = [labels(0), labels(1)];
        let of = |labels: &Array1<i64>| Examples::conditioned(&patches, Some(labels.view()), None).fingerprint();
        let all = [
            Examples::from(&patches).fingerprint(),
            of(&zero),
            of(&one),
            row(1.0, vec![0; 3]),
            row(3.0, vec![0; 3]),
            row(1.0, vec![0, 1, 0]),
        ];
        let different: std::collections::BTreeSet<&String> = all.iter().collect();
        assert_eq!(different.len(), all.len(), "{all:?}");
        assert_eq!(row(1.0, vec![0; 3]), all[3]);
    }
}
