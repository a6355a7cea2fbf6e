//! What pushes places apart, Σⱼ qᵢⱼ² (yᵢ − yⱼ) with qᵢⱼ = 1/(1 + |yᵢ − yⱼ|²), in N log N: far rows act from their
//! common centre.
//!
//! Places are halved across their longer side, again and again, down to blocks that fill a few registers. A block meets
//! a cell as one if the cell is small for its distance from all of the block, else row by row; all its rows share that
//! list, so the sum over it is plain arithmetic on lanes (Barnes 1990, J. Comput. Phys. 87, 161; Barnes & Hut 1986,
//! Nature 324, 446).

use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

/// Rows of a block.
pub(super) const LANES: usize = 16;
/// Blocks that one thread halves alone.
const ALONE: usize = 64;

/// A number for each row of a block.
type Lanes = [f32; LANES];

/// A part of the rows, at least one. Its first half follows it, its second half follows that.
#[derive(Debug, Clone, Copy)]
struct Cell<const D: usize> {
    first: usize,
    blocks: usize,
    rows: f32,
    centre: [f32; D],
    low: [f32; D],
    high: [f32; D],
}

/// Rows that act from one place.
#[derive(Debug, Clone, Copy)]
struct Source<const D: usize> {
    place: [f32; D],
    rows: f32,
}

/// What acts on a block.
#[derive(Debug, Clone, Copy)]
struct Push<const D: usize> {
    force: [Lanes; D],
    sum: Lanes,
}

/// Rows by where they are.
#[derive(Debug, Clone)]
pub(super) struct Cells<const D: usize> {
    /// Rows, block after block; all but the last are full.
    order: Vec<u32>,
    slots: Vec<u32>,
    blocks: Vec<[Lanes; D]>,
    cells: Vec<Cell<D>>,
    pushes: Vec<Push<D>>,
}

impl<const D: usize> Cells<D> {
    /// Cells for so many rows.
    pub(super) fn new(rows: usize) -> Self {
        let blocks = rows.div_ceil(LANES);
        let mut cells = Vec::with_capacity(2 * blocks);
        halve(0, blocks, &mut cells);
        let order: Vec<u32> = (0..rows as u32).collect();
        let nothing = Push { force: [[0.0; LANES]; D], sum: [0.0; LANES] };
        Self {
            slots: order.clone(),
            order,
            blocks: vec![[[0.0; LANES]; D]; blocks],
            cells,
            pushes: vec![nothing; blocks],
        }
    }

    /// Groups the rows anew; between two times, cells grow as their rows move apart.
    pub(super) fn group(&mut self, places: &[[f32; D]]) {
        split(&mut self.order, places);
        for (slot, row) in self.order.iter().enumerate() {
            self.slots[*row as usize] = slot as u32;
        }
    }

    /// Pushes between all rows, and Σᵢ Σⱼ≠ᵢ qᵢⱼ. A cell acts as one if its width is below `coarseness` of its distance.
    pub(super) fn push(&mut self, places: &[[f32; D]], coarseness: f32) -> f64 {
        self.measure(places);
        let (cells, blocks, rows) = (&self.cells, &self.blocks, self.order.len());
        let pushes = self.pushes.par_iter_mut().zip(blocks).enumerate();
        let sums: Vec<f64> = pushes
            .map_init(Vec::new, |sources, (block, (push, places))| {
                let filled = LANES.min(rows - block * LANES);
                sources.clear();
                list(cells, blocks, rows, block, coarseness, sources);
                Arch::new().dispatch(Meeting { places, filled, sources, push });
                push.sum[..filled].iter().map(|s| f64::from(*s)).sum()
            })
            .collect();
        sums.iter().sum()
    }

    /// Σⱼ qᵢⱼ² (yᵢ − yⱼ) on a row.
    pub(super) fn on(&self, row: usize) -> [f32; D] {
        let slot = self.slots[row] as usize;
        let force = &self.pushes[slot / LANES].force;
        std::array::from_fn(|d| force[d][slot % LANES])
    }

    /// Places of blocks, centres and sizes of cells.
    fn measure(&mut self, places: &[[f32; D]]) {
        for (block, rows) in self.blocks.iter_mut().zip(self.order.chunks(LANES)) {
            for lane in 0..LANES {
                // Beyond the last row it is there again, and not counted.
                let place = places[rows[lane.min(rows.len() - 1)] as usize];
                (0..D).for_each(|d| block[d][lane] = place[d]);
            }
        }
        for at in (0..self.cells.len()).rev() {
            let mut cell = self.cells[at];
            if cell.blocks == 1 {
                let filled = LANES.min(self.order.len() - cell.first * LANES);
                cell.rows = filled as f32;
                for (d, lanes) in self.blocks[cell.first].iter().enumerate() {
                    cell.centre[d] = lanes[..filled].iter().sum::<f32>() / cell.rows;
                    cell.low[d] = lanes.iter().fold(f32::INFINITY, |low, v| low.min(*v));
                    cell.high[d] = lanes.iter().fold(f32::NEG_INFINITY, |high, v| high.max(*v));
                }
            } else {
                let (a, b) = (self.cells[at + 1], self.cells[at + 2 * (cell.blocks / 2)]);
                cell.rows = a.rows + b.rows;
                for d in 0..D {
                    cell.centre[d] = (a.rows * a.centre[d] + b.rows * b.centre[d]) / cell.rows;
                    cell.low[d] = a.low[d].min(b.low[d]);
                    cell.high[d] = a.high[d].max(b.high[d]);
                }
            }
            self.cells[at] = cell;
        }
    }
}

/// Cells over the blocks from `first` on.
fn halve<const D: usize>(first: usize, blocks: usize, cells: &mut Vec<Cell<D>>) {
    let zero = [0.0; D];
    cells.push(Cell { first, blocks, rows: 0.0, centre: zero, low: zero, high: zero });
    if blocks > 1 {
        halve(first, blocks / 2, cells);
        halve(first + blocks / 2, blocks - blocks / 2, cells);
    }
}

/// Orders rows so that the blocks of a cell are together in space.
fn split<const D: usize>(order: &mut [u32], places: &[[f32; D]]) {
    let blocks = order.len().div_ceil(LANES);
    if blocks < 2 {
        return;
    }
    let (mut low, mut high) = ([f32::INFINITY; D], [f32::NEG_INFINITY; D]);
    for row in order.iter() {
        for (d, v) in places[*row as usize].iter().enumerate() {
            (low[d], high[d]) = (low[d].min(*v), high[d].max(*v));
        }
    }
    let widest = (0..D).max_by(|a, b| (high[*a] - low[*a]).total_cmp(&(high[*b] - low[*b]))).unwrap_or(0);
    let middle = blocks / 2 * LANES;
    order.select_nth_unstable_by(middle, |a, b| {
        places[*a as usize][widest].total_cmp(&places[*b as usize][widest]).then(a.cmp(b))
    });
    let (left, right) = order.split_at_mut(middle);
    if blocks > ALONE {
        rayon::join(|| split(left, places), || split(right, places));
    } else {
        split(left, places);
        split(right, places);
    }
}

/// What acts on a block beside its own rows: cells that are far from it, rows of the others.
fn list<const D: usize>(
    cells: &[Cell<D>],
    blocks: &[[Lanes; D]],
    rows: usize,
    own: usize,
    coarseness: f32,
    sources: &mut Vec<Source<D>>,
) {
    let places = &blocks[own];
    let low = places.map(|lanes| lanes.iter().fold(f32::INFINITY, |low, v| low.min(*v)));
    let high = places.map(|lanes| lanes.iter().fold(f32::NEG_INFINITY, |high, v| high.max(*v)));
    let near = coarseness * coarseness;
    let mut at = 0;
    while let Some(cell) = cells.get(at) {
        let (mut square, mut width) = (0.0f32, 0.0f32);
        for d in 0..D {
            let off = (low[d] - cell.centre[d]).max(cell.centre[d] - high[d]).max(0.0);
            square += off * off;
            width = width.max(cell.high[d] - cell.low[d]);
        }
        let holds_own = (cell.first..cell.first + cell.blocks).contains(&own);
        if !holds_own && width * width < near * square {
            sources.push(Source { place: cell.centre, rows: cell.rows });
            at += 2 * cell.blocks - 1;
            continue;
        }
        if cell.blocks == 1 && !holds_own {
            let block = &blocks[cell.first];
            let filled = LANES.min(rows - cell.first * LANES);
            sources
                .extend((0..filled).map(|lane| Source { place: std::array::from_fn(|d| block[d][lane]), rows: 1.0 }));
        }
        at += 1;
    }
}

/// A block, of which so many rows are filled, and what acts on it beside them.
struct Meeting<'a, const D: usize> {
    places: &'a [Lanes; D],
    filled: usize,
    sources: &'a [Source<D>],
    push: &'a mut Push<D>,
}

/// 1 for the rows of a block that another of its rows acts on: all but itself.
const OTHERS: [Lanes; LANES] = {
    let mut others = [[1.0; LANES]; LANES];
    let mut row = 0;
    while row < LANES {
        others[row][row] = 0.0;
        row += 1;
    }
    others
};

impl<const D: usize> WithSimd for Meeting<'_, D> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let zero = simd.splat_f32s(0.0);
        for at in 0..LANES / S::F32_LANES {
            let places: [S::f32s; D] = std::array::from_fn(|d| S::as_simd_f32s(&self.places[d]).0[at]);
            let mut met = (zero, [zero; D]);
            for source in self.sources {
                meet(simd, &places, source.place, simd.splat_f32s(source.rows), &mut met);
            }
            // A row that met itself would be the most of a sum over far rows, whose digits f32 would then lose.
            for (row, others) in OTHERS.iter().enumerate().take(self.filled) {
                let place = std::array::from_fn(|d| self.places[d][row]);
                meet(simd, &places, place, S::as_simd_f32s(others).0[at], &mut met);
            }
            S::as_mut_simd_f32s(&mut self.push.sum).0[at] = met.0;
            for (lanes, force) in self.push.force.iter_mut().zip(met.1) {
                S::as_mut_simd_f32s(lanes).0[at] = force;
            }
        }
    }
}

/// Adds `rows`·q and `rows`·q² (y − `from`) to what the rows at places y have met.
#[inline(always)]
fn meet<S: Simd, const D: usize>(
    simd: S,
    places: &[S::f32s; D],
    from: [f32; D],
    rows: S::f32s,
    (sum, force): &mut (S::f32s, [S::f32s; D]),
) {
    let one = simd.splat_f32s(1.0);
    let (mut square, mut off) = (one, [one; D]);
    for d in 0..D {
        off[d] = simd.sub_f32s(places[d], simd.splat_f32s(from[d]));
        square = simd.mul_add_f32s(off[d], off[d], square);
    }
    let q = simd.div_f32s(one, square);
    let all = simd.mul_f32s(rows, q);
    *sum = simd.add_f32s(*sum, all);
    let weight = simd.mul_f32s(all, q);
    for d in 0..D {
        force[d] = simd.mul_add_f32s(weight, off[d], force[d]);
    }
}

#[cfg(test)]
mod tests {
    use rand::{Rng, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    fn random<const D: usize>(n: usize, span: f32) -> Vec<[f32; D]> {
        let mut rng = ChaCha8Rng::seed_from_u64(n as u64);
        (0..n).map(|_| std::array::from_fn(|_| span * rng.gen_range(-1.0f32..1.0).powi(3))).collect()
    }

    /// All pairs, in f64.
    fn oracle<const D: usize>(places: &[[f32; D]]) -> (Vec<[f64; D]>, f64) {
        let mut total = 0.0;
        let mut on = vec![[0.0; D]; places.len()];
        for (i, a) in places.iter().enumerate() {
            for (_, b) in places.iter().enumerate().filter(|(j, _)| *j != i) {
                let off: [f64; D] = std::array::from_fn(|d| f64::from(a[d]) - f64::from(b[d]));
                let q = 1.0 / (1.0 + off.iter().map(|v| v * v).sum::<f64>());
                total += q;
                (0..D).for_each(|d| on[i][d] += q * q * off[d]);
            }
        }
        (on, total)
    }

    fn errors<const D: usize>(n: usize, span: f32, coarseness: f32) -> (f64, f64) {
        let places = random::<D>(n, span);
        let (expected, total) = oracle(&places);
        let mut cells = Cells::new(n);
        cells.group(&places);
        let sum = cells.push(&places, coarseness);
        let (mut off, mut all) = (0.0, 0.0);
        for (i, expected) in expected.iter().enumerate() {
            for (found, expected) in cells.on(i).iter().zip(expected) {
                off += (f64::from(*found) - expected).powi(2);
                all += expected.powi(2);
            }
        }
        ((off / all.max(1e-30)).sqrt(), (sum - total).abs() / total.max(1e-30))
    }

    #[test]
    fn all_pairs_are_met_when_nothing_is_far() {
        for n in [2, 15, 16, 17, 100, 1000] {
            for (force, sum) in [errors::<1>(n, 9.0, 0.0), errors::<2>(n, 9.0, 0.0), errors::<3>(n, 9.0, 0.0)] {
                assert!(force < 1e-5 && sum < 1e-5, "{n} {force} {sum}");
            }
        }
        // Far apart, where what a row would add by itself is nearly all of the sum.
        for n in [2, 8, 17, 40] {
            for span in [1e3, 1e5, 1e8] {
                let all = [errors::<1>(n, span, 0.0), errors::<2>(n, span, 0.0), errors::<3>(n, span, 0.0)];
                assert!(all.iter().all(|(_, sum)| *sum < 1e-5), "{n} {span} {all:?}");
            }
        }
        let mut alone = Cells::<2>::new(1);
        alone.group(&[[3.0, 4.0]]);
        assert_eq!((alone.push(&[[3.0, 4.0]], 0.5), alone.on(0)), (0.0, [0.0, 0.0]));
    }

    #[test]
    fn far_rows_act_from_their_centre_with_little_error() {
        for span in [1e-4, 1.0, 50.0] {
            for (force, sum) in
                [errors::<1>(3000, span, 0.5), errors::<2>(3000, span, 0.5), errors::<3>(3000, span, 0.5)]
            {
                assert!(force < 1e-2 && sum < 6e-3, "{span} {force} {sum}");
            }
        }
    }

    #[test]
    fn rows_at_one_place_do_not_push() {
        let places = vec![[2.0f32, 1.0]; 100];
        let mut cells = Cells::new(100);
        cells.group(&places);
        assert!((cells.push(&places, 0.5) - 9900.0).abs() < 1e-3);
        assert!((0..100).all(|i| cells.on(i) == [0.0, 0.0]));
    }
}
