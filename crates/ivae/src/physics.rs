//! Terms of physics: what is asked of the latents of sites that are neighbours.

use std::sync::Arc;

use dfdx::tensor::{Merge, OwnedTape, PutTape, SplitTape, Tape};
use dfdx::tensor_ops::{GatherTo, TryAdd, TryMatMul, TryMul};
use parsimon_core::NeighbourGraph;
use parsimon_nets::{Compute, Rows, matrix, values};
use parsimon_objective::{Boundary, Neighbouring, Physics, Schedule};
use parsimon_train::{Loss, Step};
use rand::Rng;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::encoder::Encoder;
use crate::examples::Batch;
use crate::model::{NetResult, failed};
use crate::views::View;
use crate::{Error, Examples, Ivae, Params, Result};

/// What boundaries in the maps of latents cost: [`Boundary`] with its weight.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BoundaryCost {
    /// Nats per site and usual side; above 0.
    pub weight: f32,
    /// Latents whose maps are meant; default all content.
    #[serde(default)]
    pub latents: Vec<String>,
    /// What counts as a boundary, in spreads of the latents; above 0, default 1.
    pub width: f32,
    /// Share of the epochs up to which it costs nothing, and from which it costs all; 0 to 1, default 0.2 and 0.5.
    pub rise: (f64, f64),
}

impl BoundaryCost {
    /// Of this weight, all else by default.
    pub fn new(weight: f32) -> Self {
        Self { weight, latents: Vec::new(), width: 1.0, rise: (0.2, 0.5) }
    }

    pub(crate) fn check(&self, params: &Params) -> Result<()> {
        let bad = |what, value: String, accepted| Err(Error::Parameter { what, value, accepted });
        for (what, value) in [("weight of boundaries", self.weight), ("width of boundaries", self.width)] {
            if !(value.is_finite() && value > 0.0) {
                return bad(what, value.to_string(), "finite numbers above 0");
            }
        }
        let (from, until) = self.rise;
        if !(0.0 <= from && from <= until && until <= 1.0) {
            return bad("rise of the cost of boundaries", format!("{from} to {until}"), "0 to 1, not falling");
        }
        let columns = params.columns();
        for (i, name) in self.latents.iter().enumerate() {
            let value = || format!("`{name}`");
            if !columns.contains(name) || self.latents[..i].contains(name) {
                return bad("latent whose boundaries cost", value(), "latents the model has, each once");
            }
            if name == "angle" && params.prior.symmetry > 1 {
                return bad("latent whose boundaries cost", value(), "others where a part of a turn changes nothing");
            }
        }
        Ok(())
    }

    fn term<D: Compute>(&self, content: &[String]) -> Term<D> {
        let latents = if self.latents.is_empty() { content } else { &self.latents }.to_vec();
        let (from, until) = self.rise;
        let schedule = Schedule { weight: self.weight, from, until };
        Term { physics: Arc::new(Boundary { latents, width: self.width }), schedule }
    }
}

/// A term of physics and its weight.
#[derive(Debug, Clone)]
pub struct Term<D: Compute> {
    /// The term.
    pub physics: Arc<dyn Physics<D>>,
    /// Its weight over the training.
    pub schedule: Schedule,
}

/// The terms that the parameters name.
pub(crate) fn terms<D: Compute>(params: &Params) -> Vec<Term<D>> {
    let columns = params.columns();
    let content = &columns[columns.len() - params.latent..];
    params.boundary.iter().map(|b| b.term(content)).collect()
}

/// Neighbours of each site.
#[derive(Debug, Clone)]
pub(crate) struct Neighbours {
    /// Neighbours and sides in units of a usual one, site after site.
    all: Vec<(usize, f32)>,
    /// Where those of each site begin, and where the last end.
    starts: Vec<usize>,
    /// Kind of each site.
    kinds: Vec<i64>,
}

impl Neighbours {
    pub(crate) fn new(graph: &NeighbourGraph) -> Self {
        let usual = graph.median_side().filter(|s| *s > 0.0).unwrap_or(1.0);
        let mut of: Vec<Vec<(usize, f32)>> = vec![Vec::new(); graph.sites()];
        for pair in graph.pairs() {
            let side = (pair.side / usual) as f32;
            of[pair.a].push((pair.b, side));
            of[pair.b].push((pair.a, side));
        }
        let mut starts = vec![0];
        starts.extend(of.iter().scan(0, |end, of| {
            *end += of.len();
            Some(*end)
        }));
        Self { all: of.concat(), starts, kinds: graph.kinds().to_vec() }
    }

    /// Whether two of these rows are neighbours.
    pub(crate) fn within(&self, rows: &std::ops::Range<usize>) -> bool {
        rows.clone().any(|site| self.of(site).iter().any(|(other, _)| rows.contains(other)))
    }

    /// Adds what tells them from others to a checksum.
    pub(crate) fn checksum(&self, hash: &mut crc32fast::Hasher) {
        for site in 0..self.sites() {
            hash.update(&self.kinds.get(site).copied().unwrap_or(0).to_le_bytes());
            for (other, side) in self.of(site) {
                hash.update(&(*other as u64).to_le_bytes());
                hash.update(&side.to_le_bytes());
            }
        }
    }

    pub(crate) fn sites(&self) -> usize {
        self.starts.len() - 1
    }

    fn of(&self, site: usize) -> &[(usize, f32)] {
        &self.all[self.starts[site]..self.starts[site + 1]]
    }

    /// Those of the sites that have a neighbour among the rows trained on, with one each, and half the share of the pairs it
    /// stands for: each pair is met from both its ends.
    fn draw(&self, rows: &[usize], trained: &std::ops::Range<usize>, rng: &mut ChaCha8Rng) -> Vec<Drawn> {
        let mut drawn = Vec::with_capacity(rows.len());
        for &site in rows {
            let near: Vec<(usize, f32)> = self.of(site).iter().copied().filter(|(n, _)| trained.contains(n)).collect();
            if !near.is_empty() {
                let (neighbour, side) = near[rng.gen_range(0..near.len())];
                drawn.push(Drawn { site, neighbour, share: 0.5 * side * near.len() as f32 });
            }
        }
        drawn
    }
}

struct Drawn {
    site: usize,
    neighbour: usize,
    share: f32,
}

impl<D: Compute> Ivae<D> {
    /// What the terms of physics add to the loss of rows, if any does; and that sum.
    pub(crate) fn physics(
        &self,
        data: &Examples<'_>,
        rows: &[usize],
        step: Step,
        rng: &mut ChaCha8Rng,
    ) -> NetResult<Option<(Loss<D>, f32)>> {
        let due = |term: &&Term<D>| term.schedule.at(step.done) > 0.0;
        let terms: Vec<&Term<D>> = self.terms.iter().filter(due).collect();
        let Some(neighbours) = data.neighbours.as_ref().filter(|_| !terms.is_empty()) else { return Ok(None) };
        let drawn = neighbours.draw(rows, &data.trained, rng);
        if drawn.is_empty() {
            return Ok(None);
        }
        let both: Vec<usize> = drawn.iter().map(|d| d.site).chain(drawn.iter().map(|d| d.neighbour)).collect();
        let batch = data.batch(self.params(), &both)?;
        let (latents, mut tape) = self.means::<OwnedTape<f32, D>>(&batch)?.split_tape();
        let half = |from: usize| -> NetResult<Rows<D, OwnedTape<f32, D>>> {
            let index = (from..from + drawn.len()).collect();
            let index = self.device().try_tensor_from_vec(index, (drawn.len(),)).map_err(failed)?;
            latents.retaped::<OwnedTape<f32, D>>().try_gather(index).map_err(failed)
        };
        let columns = self.params().columns();
        let shares: Vec<f32> = drawn.iter().map(|d| d.share).collect();
        let kinds: Vec<i64> = drawn.iter().map(|d| neighbours.kinds[d.site]).collect();
        let mut sum: Option<Loss<D>> = None;
        for Term { physics, schedule } in terms {
            let (here, there) = (half(0)?, half(drawn.len())?);
            let (here, there) = ((here.retaped(), here), (there.retaped(), there));
            let shares = matrix(self.device(), shares.clone(), drawn.len(), 1)?;
            let (columns, kinds, of) = (&columns[..], &kinds[..], rows.len());
            let sites = Neighbouring { columns, kinds, here: here.0, there: there.0, of, shares };
            let energy = physics.energy(&sites)?.try_mul(schedule.at(step.done)).map_err(failed)?;
            for (_, ours) in [here.1.split_tape(), there.1.split_tape()] {
                tape = tape.merge(ours);
            }
            sum = Some(match sum {
                Some(sum) => sum.try_add(energy).map_err(failed)?,
                None => energy,
            });
        }
        let Some(sum) = sum else { return Ok(None) };
        let (sum, ours) = sum.split_tape();
        let value = sum.as_vec()[0];
        Ok(Some((sum.put_tape(tape.merge(ours)), value)))
    }

    /// Means of the latents, in the likeliest view, (rows, latents): rad, half-widths, ln scale, content.
    fn means<T: Tape<f32, D> + Merge<T>>(&self, batch: &Batch<'_>) -> NetResult<Rows<D, T>> {
        let placed = match &self.encoder {
            Encoder::Plain(encoder) => self.place(encoder.posterior::<T>(batch)?.mean, 0)?,
            Encoder::Views(encoder) => {
                let seen = encoder.see::<T>(batch)?;
                let (views, log_prior) = (encoder.views.count(), self.params().log_prior_of_views());
                let likeliest = |(b, odds): (usize, &[f32])| {
                    let at = |k: &usize| odds[*k] + log_prior[*k];
                    b * views + (0..views).max_by(|i, j| at(i).total_cmp(&at(j))).unwrap_or(0)
                };
                // The way back of what all views share goes with the odds.
                let (odds, tape) = seen.odds.split_tape();
                let odds = values(&odds);
                let chosen: Vec<usize> = odds.chunks_exact(views).enumerate().map(likeliest).collect();
                let of: Vec<View> = chosen.iter().map(|i| encoder.views.poses[i % views]).collect();
                let index = self.device().try_tensor_from_vec(chosen, (of.len(),)).map_err(failed)?;
                let pose = seen.pose.mean.try_gather(index).map_err(failed)?;
                let pose = self.carried(self.place(pose, 0)?, &of)?;
                let first = self.params().columns().len() - self.params().latent;
                let placed = pose.try_add(self.place(seen.content.mean, first)?).map_err(failed)?;
                let (placed, ours) = placed.split_tape();
                placed.put_tape(ours.merge(tape))
            }
        };
        let places = self.params().places();
        let (inputs, latents) = (self.params().decoder_inputs(), places.len());
        if inputs == latents && self.params().invariances.none() {
            return Ok(placed);
        }
        let mut table = vec![0.0; inputs * latents];
        places.iter().enumerate().for_each(|(latent, (place, _))| table[place * latents + latent] = 1.0);
        placed.try_matmul(matrix(self.device(), table, inputs, latents)?).map_err(failed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dfdx::tensor::Cpu;
    use dfdx::tensor_ops::Backward;
    use parsimon_core::{Pair, Patches, Scaling};
    use parsimon_nets::{Parameters, weights};
    use parsimon_train::Model;
    use rand::SeedableRng;

    use crate::{Inference, ViewGrid};

    const SITES: usize = 12;

    /// What a term adds to the loss has the gradient of its value, by way of every kind of encoder.
    #[test]
    fn the_gradient_reaches_every_encoder() {
        let mut rng = ChaCha8Rng::seed_from_u64(2);
        let images = ndarray::Array4::from_shape_simple_fn((SITES, 9, 9, 1), || rng.gen_range(0.0..1.0));
        let patches = Patches::new(images, Scaling::unit(1)).unwrap();
        let pairs = (1..SITES).map(|b| Pair { a: b - 1, b, side: 1.0 }).collect();
        let graph = NeighbourGraph::new((0..SITES as i64).map(|i| i % 2).collect(), pairs).unwrap();
        let mut data = Examples::from(&patches).beside(&graph);
        data.trained = 0..SITES;
        let rows: Vec<usize> = (0..SITES).collect();
        let base = Params { hidden: vec![8, 6], ..Params::new((9, 9, 1)) };
        let plain = Params { invariances: "none".parse().unwrap(), ..base.clone() };
        let names = ["angle", "dx", "z1", "z2"].map(str::to_owned).to_vec();
        for (params, latents) in [
            (Params { convolutions: vec![3], ..plain.clone() }, Vec::new()),
            (plain, Vec::new()),
            (base.clone(), names.clone()),
            (Params { inference: Inference::Views(ViewGrid::angles(4)), ..base }, names),
        ] {
            let cost = BoundaryCost { latents, rise: (0.0, 0.0), ..BoundaryCost::new(20.0) };
            let with = Params { boundary: Some(cost), ..params.clone() };
            let make = |params: &Params| Ivae::new(&Cpu::default(), params, &mut ChaCha8Rng::seed_from_u64(7)).unwrap();
            let of =
                |model: &Ivae<Cpu>| model.loss(&data, &rows, Step::EXACT, &mut ChaCha8Rng::seed_from_u64(3)).unwrap();
            let gradient = |model: &Ivae<Cpu>| {
                let mut gradients = of(model).0.backward();
                let mut found = weights::collect(model);
                model.visit("", &mut |name, parameter| {
                    gradients.get_or_alloc_mut(parameter).unwrap();
                    found.get_mut(&name).unwrap().1 = gradients.get(parameter).as_vec();
                });
                found
            };
            let model = make(&with);
            let (all, without) = (gradient(&model), gradient(&make(&params)));
            let mut reached = 0.0;
            for (name, (_, values)) in &all {
                let slope: Vec<f32> = values.iter().zip(&without[name].1).map(|(a, b)| a - b).collect();
                let norm = slope.iter().map(|v| v * v).sum::<f32>().sqrt();
                if norm < 1e-3 {
                    continue;
                }
                let moved = |step: f32| {
                    let mut arrays = weights::collect(&model);
                    let to = &mut arrays.get_mut(name).unwrap().1;
                    to.iter_mut().zip(&slope).for_each(|(w, d)| *w += step * d / norm);
                    let mut moved = model.clone();
                    weights::restore(&mut moved, &arrays).unwrap();
                    of(&moved).1.physics
                };
                let found = (moved(2e-3) - moved(-2e-3)) / 4e-3;
                assert!((found - norm).abs() < 0.05 * norm + 0.02, "{params:?}, {name}: {found} {norm}");
                reached += if name.starts_with("encoder0") { norm } else { 0.0 };
            }
            assert!(reached > 0.01, "{params:?}");
        }
    }

    #[test]
    fn draws_stand_for_all_pairs_of_what_is_trained_on() {
        let pair = |a, b, side| Pair { a, b, side };
        let graph = NeighbourGraph::new(vec![0; 4], vec![pair(0, 1, 2.0), pair(1, 2, 4.0), pair(0, 3, 2.0)]).unwrap();
        let neighbours = Neighbours::new(&graph);
        assert_eq!(neighbours.sites(), 4);
        let mut rng = ChaCha8Rng::seed_from_u64(0);
        // Site 3 is held out, so the pairs left are as long as 1 and 2 usual sides.
        let draws = 4000;
        let mut sum = 0.0;
        for _ in 0..draws {
            let drawn = neighbours.draw(&[0, 1, 2], &(0..3), &mut rng);
            assert!(drawn.iter().all(|d| d.neighbour < 3 && d.neighbour != d.site));
            sum += drawn.iter().map(|d| d.share).sum::<f32>();
        }
        assert!((sum / draws as f32 - 3.0).abs() < 0.05, "{}", sum / draws as f32);
        assert!(neighbours.draw(&[3], &(1..3), &mut rng).is_empty());
    }
}
