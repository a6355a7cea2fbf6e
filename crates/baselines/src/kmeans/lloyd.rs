//! Starts and rounds of k-means over rows in f32; what f32 cannot tell is computed in f64.

use ndarray::{Array1, Array2, ArrayView1, ArrayView2, Axis};
use rand::Rng;
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

use crate::kernels::dots;
use crate::neighbours::squared_distances;
use crate::products::{BLOCK, part};

/// Products of numbers from 0 to 2 that are lost below the range of f32, all together.
const LOST: f64 = 1e-30;

/// Rows about their mean, in units in which their largest number is 1 to 2.
pub(super) struct Centred<'a> {
    rows: ArrayView2<'a, f64>,
    mean: ArrayView1<'a, f64>,
    unit: f64,
    /// Rows in f32, one after the other, and their squares.
    values: Vec<f32>,
    squares: Vec<f32>,
    /// Rounding in f32 of |x|²/2 + |c|²/2 − x·c at worst, as a part of |x|²/2 + |c|²/2: of the numbers, of D products,
    /// of their sums, and of what is added to them.
    rounding: f64,
}

/// What a part of the rows adds to its clusters, or takes from them.
struct Change {
    sums: Array2<f64>,
    counts: Vec<i64>,
    moved: usize,
}

impl<'a> Centred<'a> {
    pub(super) fn new(rows: ArrayView2<'a, f64>, mean: ArrayView1<'a, f64>) -> Self {
        let off =
            |row: ArrayView1<'_, f64>| row.iter().zip(mean).fold(0.0, |most: f64, (v, m)| most.max((v - m).abs()));
        let largest = rows.axis_iter(Axis(0)).into_par_iter().map(off).reduce(|| 0.0, f64::max);
        // The exponent alone: a power of two, by which division is exact.
        let power = f64::from_bits(largest.to_bits() & f64::INFINITY.to_bits());
        let unit = if power >= f64::MIN_POSITIVE { power } else { 1.0 };
        let d = rows.ncols();
        let mut out = Self {
            rows,
            mean,
            unit,
            values: vec![0.0; rows.len()],
            squares: Vec::new(),
            rounding: (d + 8) as f64 * f64::from(f32::EPSILON),
        };
        let mut values = std::mem::take(&mut out.values);
        values.par_chunks_mut(d).enumerate().with_min_len(BLOCK).for_each(|(i, narrow)| {
            narrow.iter_mut().zip(out.row(i)).for_each(|(narrow, v)| *narrow = v as f32);
        });
        out.squares = values.par_chunks(d).with_min_len(BLOCK).map(|row| row.iter().map(|v| v * v).sum()).collect();
        out.values = values;
        out
    }

    /// What the numbers were divided by.
    pub(super) fn unit(&self) -> f64 {
        self.unit
    }

    /// Mean square of a number.
    pub(super) fn variance(&self) -> f64 {
        self.squares.iter().map(|s| f64::from(*s)).sum::<f64>() / self.values.len() as f64
    }

    fn row(&self, i: usize) -> impl Iterator<Item = f64> {
        let part = 1.0 / self.unit;
        self.rows.row(i).into_iter().zip(self.mean).map(move |(v, m)| (v - m) * part)
    }

    fn square_to(&self, i: usize, point: impl Iterator<Item = f64>) -> f64 {
        self.row(i).zip(point).map(|(a, b)| (a - b) * (a - b)).sum()
    }

    /// Squared distances of all rows to `points` of theirs, (N, points).
    fn squared_distances(&self, points: &[usize]) -> Vec<f32> {
        let (d, k) = (self.mean.len(), points.len());
        let chosen: Vec<f32> = points.iter().flat_map(|p| &self.values[p * d..][..d]).copied().collect();
        let close = (8.0 * self.rounding) as f32;
        let mut out = vec![0.0; self.squares.len() * k];
        let blocks = out.par_chunks_mut(BLOCK * k).zip(self.values.par_chunks(BLOCK * d)).enumerate();
        blocks.for_each(|(block, (out, rows))| {
            dots(rows, d, &chosen, out);
            for (i, out) in (block * BLOCK..).zip(out.chunks_exact_mut(k)) {
                for (v, p) in out.iter_mut().zip(points) {
                    let squares = self.squares[i] + self.squares[*p];
                    *v = squares - 2.0 * *v;
                    if *v <= close * squares {
                        *v = self.square_to(i, self.row(*p)) as f32;
                    }
                }
            }
        });
        out
    }

    /// Greedy k-means++: of a few rows drawn by the square of their distance to the centres so far, the one that helps most.
    pub(super) fn apart(&self, k: usize, rng: &mut ChaCha8Rng) -> Vec<usize> {
        let rows = self.squares.len();
        let trials = 2 + (k as f64).ln() as usize;
        let mut chosen = vec![rng.gen_range(0..rows)];
        let mut nearest = self.squared_distances(&chosen);
        while chosen.len() < k {
            let total: f64 = nearest.iter().map(|v| f64::from(*v)).sum();
            let drawn: Vec<usize> = (0..trials)
                .map(|_| {
                    let mut left = rng.gen_range(0.0..1.0) * total;
                    let place = nearest.iter().position(|v| {
                        left -= f64::from(*v);
                        left < 0.0
                    });
                    // Rounding, or rows that are all centres already: any row that is none.
                    place.or_else(|| (0..rows).find(|i| !chosen.contains(i))).unwrap_or(0)
                })
                .collect();
            let distances = self.squared_distances(&drawn);
            let after = |t: usize| -> f64 {
                distances.chunks_exact(trials).zip(&nearest).map(|(d, n)| f64::from(d[t].min(*n))).sum()
            };
            let best = (0..trials).min_by(|a, b| after(*a).total_cmp(&after(*b))).unwrap_or(0);
            nearest.iter_mut().zip(distances.chunks_exact(trials)).for_each(|(n, d)| *n = n.min(d[best]));
            chosen.push(drawn[best]);
        }
        chosen
    }

    /// Lloyd's rounds from these rows as centres, and how many they were.
    ///
    /// A row whose own centre is nearer than any other can have come is not looked at.
    ///
    /// Reference: Hamerly 2010, SIAM Data Mining.
    pub(super) fn moved(&self, seeds: &[usize], rounds: usize, still: f64) -> (Array2<f64>, usize) {
        let (k, d, n) = (seeds.len(), self.mean.len(), self.squares.len());
        let mut centres = Array2::zeros((k, d));
        for (mut centre, seed) in centres.outer_iter_mut().zip(seeds) {
            centre.assign(&self.row(*seed).collect::<Array1<f64>>());
        }
        let mut places = vec![Place::UNKNOWN; n];
        let (mut sums, mut counts) = (Array2::<f64>::zeros((k, d)), vec![0i64; k]);
        let mut steps = vec![0.0; k];
        let part = part(n);
        for round in 1..=rounds {
            let round_of = Round::new(&centres, &steps, self.rounding);
            let parts = places.par_chunks_mut(part).enumerate();
            let parts: Vec<Change> = parts.map(|(p, places)| self.assigned(p * part, places, &round_of)).collect();
            if parts.iter().all(|p| p.moved == 0) {
                return (centres, round);
            }
            for part in parts.iter().filter(|p| p.moved > 0) {
                sums += &part.sums;
                counts.iter_mut().zip(&part.counts).for_each(|(c, more)| *c += more);
            }
            if counts.contains(&0) {
                self.refill(&mut places, &mut sums, &mut counts);
            }
            let mut step = 0.0;
            for (c, count) in counts.iter().enumerate().filter(|(_, count)| **count > 0) {
                let new = &sums.row(c) / *count as f64;
                let square = (&new - &centres.row(c)).mapv(|v| v * v).sum();
                steps[c] = square.sqrt();
                step += square;
                centres.row_mut(c).assign(&new);
            }
            if step <= still {
                return (centres, round);
            }
        }
        (centres, rounds)
    }

    /// Gives each cluster without rows the row that may be farthest from its own centre, by the bounds that are known, of
    /// clusters with more than one.
    fn refill(&self, places: &mut [Place], sums: &mut Array2<f64>, counts: &mut [i64]) {
        let mut order: Vec<usize> = (0..places.len()).collect();
        order.sort_by(|a, b| places[*a].upper.total_cmp(&places[*b].upper));
        for c in 0..counts.len() {
            while counts[c] == 0 {
                let Some(row) = order.pop() else { return };
                let from = places[row].class;
                if counts[from] < 2 {
                    continue;
                }
                for (j, v) in self.row(row).enumerate() {
                    sums[(from, j)] -= v;
                    sums[(c, j)] += v;
                }
                places[row] = Place { class: c, ..Place::UNKNOWN };
                (counts[from], counts[c]) = (counts[from] - 1, 1);
            }
        }
    }

    /// Gives each row from the `first` on to its nearest centre, and tells what that changes.
    fn assigned(&self, first: usize, places: &mut [Place], round: &Round<'_>) -> Change {
        let (k, d) = round.centres.dim();
        let mut along = vec![0.0; k];
        let mut change = Change { sums: Array2::zeros((0, 0)), counts: vec![0; k], moved: 0 };
        for (i, place) in (first..).zip(places) {
            let before = place.class;
            if before < k {
                place.upper += round.steps[before];
                place.lower -= round.longest;
                if place.upper < place.lower.max(round.apart[before]) {
                    continue;
                }
            }
            dots(&self.values[i * d..][..d], d, &round.narrow, &mut along);
            *place = self.placed(i, &along, round);
            if place.class == before {
                continue;
            }
            if change.moved == 0 {
                change.sums = Array2::zeros((k, d));
            }
            if before < k {
                change.sums.row_mut(before).iter_mut().zip(self.row(i)).for_each(|(s, v)| *s -= v);
                change.counts[before] -= 1;
            }
            change.sums.row_mut(place.class).iter_mut().zip(self.row(i)).for_each(|(s, v)| *s += v);
            change.counts[place.class] += 1;
            change.moved += 1;
        }
        change
    }

    /// Where a row belongs, by its products `along` the centres in f32; where these leave doubt, by distances in f64.
    ///
    /// |x − c|²/2 = |x|²/2 + |c|²/2 − x·c.
    fn placed(&self, i: usize, along: &[f32], round: &Round<'_>) -> Place {
        let (mut class, mut least, mut second) = (0, f32::INFINITY, f32::INFINITY);
        for (c, (low, dot)) in round.lows.iter().zip(along).enumerate() {
            let off = low - dot;
            if off < least {
                (class, second, least) = (c, least, off);
            } else if off < second {
                second = off;
            }
        }
        let half = 0.5 * f64::from(self.squares[i]);
        let doubt = self.rounding * half + LOST;
        let most = f64::from(least) + 2.0 * round.doubts[class] + doubt;
        let distance = |half: f64| (2.0 * half).max(0.0).sqrt();
        if most < f64::from(second) - doubt {
            return Place { class, upper: distance(half + most), lower: distance(half + f64::from(second) - doubt) };
        }
        // All others are farther than this.
        let mut place = Place { class, upper: f64::INFINITY, lower: distance(half + most) };
        for (c, (low, dot)) in round.lows.iter().zip(along).enumerate() {
            if f64::from(low - dot) - doubt <= most {
                let distance = self.square_to(i, round.centres.row(c).iter().copied()).sqrt();
                if distance < place.upper {
                    place = Place { class: c, upper: distance, lower: place.lower.min(place.upper) };
                } else {
                    place.lower = place.lower.min(distance);
                }
            }
        }
        place
    }
}

/// Where a row belongs, and bounds of its distance to that centre and to all others.
#[derive(Clone, Copy)]
struct Place {
    class: usize,
    upper: f64,
    lower: f64,
}

impl Place {
    const UNKNOWN: Self = Self { class: usize::MAX, upper: f64::INFINITY, lower: f64::NEG_INFINITY };
}

/// Centres of a round, and what they tell of distances.
struct Round<'a> {
    centres: &'a Array2<f64>,
    narrow: Vec<f32>,
    /// |c|²/2 less its doubt.
    lows: Vec<f32>,
    doubts: Vec<f64>,
    /// How far each has moved since the round before, and the farthest of them.
    steps: &'a [f64],
    longest: f64,
    /// Half the distance to the nearest other centre.
    apart: Vec<f64>,
}

impl<'a> Round<'a> {
    fn new(centres: &'a Array2<f64>, steps: &'a [f64], rounding: f64) -> Self {
        let narrow: Vec<f32> = centres.iter().map(|v| *v as f32).collect();
        let halves = narrow.chunks_exact(centres.ncols()).map(|c| 0.5 * c.iter().map(|v| v * v).sum::<f32>());
        let (lows, doubts) = halves
            .map(|half| {
                let doubt = rounding * f64::from(half) + LOST;
                ((f64::from(half) - doubt) as f32, doubt)
            })
            .unzip();
        let mut between = squared_distances(centres.view(), centres.view());
        between.diag_mut().fill(f64::INFINITY);
        let apart = between.map_axis(Axis(1), |row| row.iter().copied().fold(f64::INFINITY, f64::min));
        // Rounded down, for it bounds distances.
        let apart = apart.iter().map(|square| 0.5 * square.sqrt() * (1.0 - 1e-6)).collect();
        let longest = steps.iter().copied().fold(0.0, f64::max);
        Self { centres, narrow, lows, doubts, steps, longest, apart }
    }
}
