//! Images with known atoms.

use ndarray::Array2;
use parsimon_core::Image;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::{Poisson, StandardNormal};

/// y, x, height, σ.
pub type Atom = [f64; 4];

/// The atoms without noise on a constant level.
pub fn render(shape: (usize, usize), atoms: &[Atom], level: f64) -> Array2<f64> {
    let mut values = Array2::from_elem(shape, level);
    for &[y0, x0, height, sigma] in atoms {
        let reach = 6.0 * sigma;
        let span = |c: f64, n: usize| ((c - reach).max(0.0) as usize)..((c + reach).max(0.0) as usize + 1).min(n);
        for y in span(y0, shape.0) {
            for x in span(x0, shape.1) {
                let r2 = (y as f64 - y0).powi(2) + (x as f64 - x0).powi(2);
                values[[y, x]] += height * (-r2 / (2.0 * sigma * sigma)).exp();
            }
        }
    }
    values
}

/// Adds normal noise of this standard deviation.
pub fn noisy(mut values: Array2<f64>, sd: f64, seed: u64) -> Image {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    values.mapv_inplace(|v| v + sd * rng.sample::<f64, _>(StandardNormal));
    Image::new(values).unwrap()
}

/// Counts at this dose per unit, with a little row noise of the scan.
pub fn counted(mut values: Array2<f64>, dose: f64, row_noise: f64, seed: u64) -> Image {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    for mut row in values.rows_mut() {
        let offset = row_noise * rng.sample::<f64, _>(StandardNormal);
        row.mapv_inplace(|v| rng.sample::<f64, _>(Poisson::new((dose * v).max(1e-9)).unwrap()) / dose + offset);
    }
    Image::new(values).unwrap()
}

/// A perovskite along [100]: strong A columns at the corners, weak B columns near the centres of the cells,
/// displaced by up to `shift` pixels; the cell tilted and strained a little.
pub fn perovskite(shape: (usize, usize), cell: f64, shift: f64, seed: u64) -> Vec<Atom> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let (h, w) = (shape.0 as f64, shape.1 as f64);
    let mut atoms = Vec::new();
    for (m, n) in (-2..200).flat_map(|m| (-20..200).map(move |n| (f64::from(m), f64::from(n)))) {
        let (y, x) = (cell * (m + 0.02 * n), 1.02 * cell * (n - 0.02 * m));
        if y < -cell || y > h + cell || x < -cell || x > w + cell {
            continue;
        }
        let mut off = || rng.gen_range(-shift..=shift);
        atoms.push([y + 0.2 * off(), x + 0.2 * off(), 1.0, 0.13 * cell]);
        atoms.push([y + 0.5 * cell + off(), x + 0.51 * cell + off(), 0.5, 0.12 * cell]);
    }
    atoms
}

/// Atoms at least `margin` inside.
pub fn inside(atoms: &[Atom], shape: (usize, usize), margin: f64) -> Vec<Atom> {
    let within = |v: f64, n: usize| v >= margin && v <= (n - 1) as f64 - margin;
    atoms.iter().filter(|a| within(a[0], shape.0) && within(a[1], shape.1)).copied().collect()
}

/// Precision, recall and root mean square distance of `found` against `truth`, matched one to one within 1 px.
/// Sites within 1 px of the `margin` of the truth count neither for nor against.
pub fn score(found: &[[f64; 2]], truth: &[Atom], shape: (usize, usize), margin: f64) -> (f64, f64) {
    let within = |v: f64, n: usize| v >= margin && v <= (n - 1) as f64 - margin;
    let mut free = vec![true; truth.len()];
    let (mut hits, mut wrong, mut squares) = (0usize, 0usize, 0.0);
    for p in found {
        let apart = |a: &Atom| (a[0] - p[0]).hypot(a[1] - p[1]);
        let near = (0..truth.len()).filter(|&i| free[i]).min_by(|&i, &j| apart(&truth[i]).total_cmp(&apart(&truth[j])));
        match near.filter(|&i| apart(&truth[i]) <= 1.0) {
            Some(i) => {
                free[i] = false;
                if within(truth[i][0], shape.0) && within(truth[i][1], shape.1) {
                    hits += 1;
                    squares += apart(&truth[i]).powi(2);
                }
            }
            None => wrong += usize::from(within(p[0], shape.0) && within(p[1], shape.1)),
        }
    }
    let missed =
        (0..truth.len()).filter(|&i| free[i] && within(truth[i][0], shape.0) && within(truth[i][1], shape.1)).count();
    let f1 = 2.0 * hits as f64 / (2 * hits + wrong + missed) as f64;
    (f1, (squares / hits as f64).sqrt())
}
