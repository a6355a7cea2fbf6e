//! What physics asks of latents of neighbouring sites.

use std::collections::BTreeSet;

use dfdx::prelude::SumTo;
use dfdx::tensor::{OwnedTape, Tensor};
use dfdx::tensor_ops::{TryAdd, TryDiv, TryMatMul, TryMul, TrySub};
use parsimon_nets::{Compute, Error, Matrix, Result, Rows, matrix};

use crate::device;

/// Numbers that carry the way back to the encoder.
pub type Traced<D> = Rows<D, OwnedTape<f32, D>>;

/// A mean per site, in nats once it is weighed, that carries the way back to the encoder.
pub type Energy<D> = Tensor<(), f32, D, OwnedTape<f32, D>>;

/// A differentiable term of the loss that speaks of sites and their neighbours.
///
/// Each step it is given some sites with one neighbour each, drawn at random, and adds a weight times what it makes of them
/// to the loss.
pub trait Physics<D: Compute>: std::fmt::Debug + Send + Sync {
    /// The mean of the term over the sites. What is used twice is `retaped` but once, so that the way back is not lost.
    ///
    /// # Errors
    /// If a latent is missing or the device fails.
    fn energy(&self, sites: &Neighbouring<'_, D>) -> Result<Energy<D>>;
}

/// Some sites, each with one of its neighbours.
#[derive(Debug)]
pub struct Neighbouring<'a, D: Compute> {
    /// Names of the latents: angle (rad), dx, dy (half-widths), scale (ln), z1, z2, ….
    pub columns: &'a [String],
    /// Kind of each site, one for both of a pair if the graph joins no others.
    pub kinds: &'a [i64],
    /// Their means at the sites, (sites, latents).
    pub here: Traced<D>,
    /// The same at the neighbours.
    pub there: Traced<D>,
    /// Number of sites this stands for: the sites with a neighbour, and those that have none.
    pub of: usize,
    /// What each pair stands for, so that Σ shares·f/of is, on average, the sum of f over all pairs, in units of a usual side of
    /// theirs, per site, (sites, 1).
    pub shares: Matrix<D>,
}

impl<D: Compute> Neighbouring<'_, D> {
    /// Some latents here and there, (sites, latents). An angle becomes two, its cosine and its sine.
    ///
    /// # Errors
    /// If there is no latent of a name, or the device fails.
    pub fn latents(&self, names: &[impl AsRef<str>]) -> Result<[Traced<D>; 2]> {
        let (all, device_) = (self.columns.len(), self.shares.device());
        let wanted = names.iter().map(|n| if n.as_ref() == "angle" { 2 } else { 1 }).sum();
        // What is taken as it is, and the angle whose cosine and sine are taken: cos γ and sin γ = cos(γ − π/2).
        let (mut plain, mut turned) = (vec![0.0; all * wanted], vec![0.0; all * wanted]);
        let (mut behind, mut circular) = (vec![0.0; wanted], vec![0.0; wanted]);
        let mut to = 0;
        for name in names.iter().map(AsRef::as_ref) {
            let Some(from) = self.columns.iter().position(|c| c == name) else {
                let accepted = "names of latents the model has";
                return Err(Error::Parameter { what: "latent", value: format!("`{name}`"), accepted });
            };
            if name == "angle" {
                for part in 0..2 {
                    (turned[from * wanted + to + part], circular[to + part]) = (1.0, 1.0);
                    behind[to + part] = -std::f32::consts::FRAC_PI_2 * part as f32;
                }
                to += 2;
            } else {
                plain[from * wanted + to] = 1.0;
                to += 1;
            }
        }
        let table = |values: Vec<f32>, rows: usize| matrix(device_, values, rows, wanted);
        let (plain, turned) = (table(plain, all)?, table(turned, all)?);
        let take = |x: &Traced<D>| -> Result<Traced<D>> {
            let x = || -> Traced<D> { x.retaped() };
            let straight = x().try_matmul(plain.clone()).map_err(device)?;
            if circular.iter().all(|c| *c == 0.0) {
                return Ok(straight);
            }
            let rows = self.shares.as_vec().len();
            let each = |row: &[f32]| table(row.repeat(rows), rows);
            let angles = x().try_matmul(turned.clone()).map_err(device)?;
            let waves = angles.try_add(each(&behind)?).map_err(device)?.try_cos().map_err(device)?;
            straight.try_add(waves.try_mul(each(&circular)?).map_err(device)?).map_err(device)
        };
        Ok([take(&self.here)?, take(&self.there)?])
    }

    /// Σ shares·values/of: the sum over all pairs per site, of a value for each pair, (sites, 1).
    ///
    /// # Errors
    /// If the device fails.
    pub fn mean(&self, values: Traced<D>) -> Result<Energy<D>> {
        let weighed = values.try_mul(self.shares.clone()).map_err(device)?;
        weighed.try_sum::<(), _>().map_err(device)?.try_mul(1.0 / self.of.max(1) as f32).map_err(device)
    }
}

/// The length of boundaries in latent maps: Σ over pairs of side·(1 − exp(−d²/2w²)) per site, in units of a usual side, where
/// d² = Σ Δ²/variance over latents. A pair counts whole if its latents differ by much more than w times their spread
/// over all sites of its kind, and hardly if by much less; as only spreads count, shrinking the latents is no way out.
///
/// Reference: Biswas et al. 2023, Mach. Learn.: Sci. Technol. 4, 045004, which weighs reconstructions by such a length without
/// a gradient.
#[derive(Debug, Clone, PartialEq)]
pub struct Boundary {
    /// Names of the latents whose maps are meant.
    pub latents: Vec<String>,
    /// w; above 0.
    pub width: f32,
}

/// Keeps the spread of a constant latent from being 0.
const LEAST_VARIANCE: f32 = 1e-6;

impl<D: Compute> Physics<D> for Boundary {
    fn energy(&self, sites: &Neighbouring<'_, D>) -> Result<Energy<D>> {
        let [here, there] = sites.latents(&self.latents)?;
        let rows = sites.shares.as_vec().len();
        let columns = here.as_vec().len() / rows.max(1);
        let device_ = sites.shares.device();
        // Means over all sites of a kind, one and the same in every row of it.
        let kinds: BTreeSet<i64> = sites.kinds.iter().copied().collect();
        let share = |kind: i64| 0.5 / sites.kinds.iter().filter(|k| **k == kind).count() as f32;
        let shares: Vec<f32> = kinds.iter().map(|kind| share(*kind)).collect();
        let of = |kind: &i64, other: &i64, value: f32| if kind == other { value } else { 0.0 };
        let gather =
            kinds.iter().zip(&shares).flat_map(|(k, s)| sites.kinds.iter().map(move |o| of(k, o, *s))).collect();
        let back = sites.kinds.iter().flat_map(|o| kinds.iter().map(move |k| of(k, o, 1.0))).collect();
        let (gather, back) = (matrix(device_, gather, kinds.len(), rows)?, matrix(device_, back, rows, kinds.len())?);
        let over = |x: Traced<D>| -> Result<Traced<D>> {
            let means = gather.retaped::<OwnedTape<f32, D>>().try_matmul(x).map_err(device)?;
            back.retaped::<OwnedTape<f32, D>>().try_matmul(means).map_err(device)
        };
        let mean = over(here.retaped())?.try_add(over(there.retaped())?).map_err(device)?;
        let again = mean.retaped();
        let off = |x: Traced<D>, mean: Traced<D>| x.try_sub(mean).map_err(device)?.try_square().map_err(device);
        let spread = over(off(here.retaped(), mean)?)?.try_add(over(off(there.retaped(), again)?)?);
        let spread = spread.map_err(device)?.try_add(LEAST_VARIANCE).map_err(device)?;
        let apart = here.try_sub(there).map_err(device)?.try_square().map_err(device)?;
        let apart = apart.try_div(spread).map_err(device)?;
        let sum = matrix(device_, vec![-0.5 / (self.width * self.width); columns], columns, 1)?;
        let same = apart.try_matmul(sum).map_err(device)?.try_exp().map_err(device)?;
        sites.mean(same.try_negate().map_err(device)?.try_add(1.0).map_err(device)?)
    }
}

/// A weight that rises over a training.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Schedule {
    /// The weight at last.
    pub weight: f32,
    /// Share of the epochs up to which it is 0.
    pub from: f64,
    /// Share of the epochs from which it is whole; in between it rises in proportion.
    pub until: f64,
}

impl Schedule {
    /// The weight when a share of the epochs is over.
    pub fn at(&self, done: f64) -> f32 {
        let Self { weight, from, until } = *self;
        if done < from {
            0.0
        } else if done >= until {
            weight
        } else {
            weight * ((done - from) / (until - from)) as f32
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dfdx::tensor::{AsArray, Cpu, Trace};
    use dfdx::tensor_ops::Backward;
    use proptest::prelude::*;

    const SITES: usize = 6;

    /// Two kinds.
    const KINDS: [i64; SITES] = [0, 0, 1, 0, 1, 0];

    /// The definition, in f64; of an angle and a content latent.
    fn length(here: &[f64], there: &[f64], shares: &[f64], width: f64) -> f64 {
        let wide = |x: &[f64]| -> Vec<[f64; 3]> { x.chunks(2).map(|r| [r[0].cos(), r[0].sin(), r[1]]).collect() };
        let (here, there) = (wide(here), wide(there));
        let variance = |kind: i64, c: usize| {
            let of =
                |rows: &[[f64; 3]]| (0..SITES).filter(|i| KINDS[*i] == kind).map(|i| rows[i][c]).collect::<Vec<f64>>();
            let all = [of(&here), of(&there)].concat();
            let mean = all.iter().sum::<f64>() / all.len() as f64;
            all.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / all.len() as f64 + f64::from(LEAST_VARIANCE)
        };
        let pair = |i: usize| {
            let d: f64 = (0..3).map(|c| (here[i][c] - there[i][c]).powi(2) / variance(KINDS[i], c)).sum();
            shares[i] * (1.0 - (-d / (2.0 * width * width)).exp())
        };
        (0..SITES).map(pair).sum::<f64>() / 8.0
    }

    proptest! {
        #[test]
        fn the_boundary_and_its_gradient_follow_the_definition(
            values in proptest::collection::vec(-2.0f32..2.0, 4 * SITES),
            shares in proptest::collection::vec(0.0f32..3.0, SITES),
        ) {
            let cpu = Cpu::default();
            let columns = ["angle".to_owned(), "dx".to_owned(), "z1".to_owned()];
            // dx between the two must be left out.
            let rows = |v: &[f32]| {
                let v = v.chunks(2).flat_map(|r| [r[0], 9.0, r[1]]).collect();
                matrix(&cpu, v, SITES, 3).unwrap()
            };
            let (here, there) = (rows(&values[..2 * SITES]), rows(&values[2 * SITES..]));
            let boundary = Boundary { latents: vec!["angle".into(), "z1".into()], width: 0.8 };
            let sites = Neighbouring {
                columns: &columns,
                kinds: &KINDS,
                here: here.leaky_trace(),
                there: there.leaky_trace(),
                of: 8,
                shares: matrix(&cpu, shares.clone(), SITES, 1).unwrap(),
            };
            let energy = boundary.energy(&sites).unwrap();
            let wide: Vec<f64> = values.iter().map(|v| f64::from(*v)).collect();
            let shares: Vec<f64> = shares.iter().map(|v| f64::from(*v)).collect();
            let at = |v: &[f64]| length(&v[..2 * SITES], &v[2 * SITES..], &shares, 0.8);
            let found: f32 = energy.array();
            prop_assert!((f64::from(found) - at(&wide)).abs() < 1e-4, "{} {}", found, at(&wide));
            let gradients = energy.backward();
            let by: Vec<f32> = [gradients.get(&here).as_vec(), gradients.get(&there).as_vec()].concat();
            let by: Vec<f32> = by.chunks(3).flat_map(|r| [r[0], r[2]]).collect();
            for i in 0..wide.len() {
                let moved = |h: f64| { let mut v = wide.clone(); v[i] += h; at(&v) };
                let slope = (moved(1e-5) - moved(-1e-5)) / 2e-5;
                prop_assert!((f64::from(by[i]) - slope).abs() < 2e-3 * (1.0 + slope.abs()), "{}: {} {}", i, by[i], slope);
            }
        }
    }

    #[test]
    fn latents_the_model_lacks_are_named() {
        let cpu = Cpu::default();
        let rows = || matrix(&cpu, vec![0.0; 2], 2, 1).unwrap();
        let (here, there, columns) = (rows().leaky_trace(), rows().leaky_trace(), ["z1".to_owned()]);
        let sites = Neighbouring { columns: &columns, kinds: &[0, 0], here, there, of: 2, shares: rows() };
        let boundary = Boundary { latents: vec!["dy".into()], width: 1.0 };
        let error = Physics::energy(&boundary, &sites).err().map(|e| e.to_string()).unwrap_or_default();
        assert!(error.contains("`dy`"), "{error}");
    }

    #[test]
    fn the_weight_rises_on_schedule() {
        let rising = Schedule { weight: 2.0, from: 0.25, until: 0.75 };
        assert_eq!([0.0, 0.25, 0.5, 0.75, 1.0].map(|d| rising.at(d)), [0.0, 0.0, 1.0, 2.0, 2.0]);
        assert_eq!(Schedule { weight: 3.0, from: 0.0, until: 0.0 }.at(0.0), 3.0);
    }
}
