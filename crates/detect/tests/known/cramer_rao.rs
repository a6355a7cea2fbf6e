//! Isolated Gaussians: the error of the position against the least that any unbiased estimate can have.

use crate::scene::{noisy, render};
use parsimon_core::Refinement;
use parsimon_detect::{Params, Polarity, detect};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Cramér–Rao bound of y and x of `A·exp(−r²/2σ²) + b` in white noise, all five parameters unknown: from the inverse
/// of the Fisher matrix `Jᵀ J / noise²` over a square of pixels.
fn bound([y0, x0, height, sigma]: [f64; 4], half: i32, noise: f64) -> [f64; 2] {
    let mut fisher = [[0.0; 5]; 5];
    let (cy, cx) = (y0.round() as i32, x0.round() as i32);
    for (y, x) in (cy - half..=cy + half).flat_map(|y| (cx - half..=cx + half).map(move |x| (y, x))) {
        let (dy, dx) = (f64::from(y) - y0, f64::from(x) - x0);
        let bell = (-(dy * dy + dx * dx) / (2.0 * sigma * sigma)).exp();
        let slope = height * bell / (sigma * sigma);
        let row = [bell, slope * dy, slope * dx, slope * (dy * dy + dx * dx) / sigma, 1.0];
        for a in 0..5 {
            for b in 0..5 {
                fisher[a][b] += row[a] * row[b] / (noise * noise);
            }
        }
    }
    [inverse_diagonal(fisher, 1), inverse_diagonal(fisher, 2)]
}

/// One diagonal element of the inverse, by Gauss–Jordan.
fn inverse_diagonal(mut m: [[f64; 5]; 5], which: usize) -> f64 {
    let mut column = [0.0; 5];
    column[which] = 1.0;
    for i in 0..5 {
        let pivot = m[i][i];
        m[i].iter_mut().for_each(|v| *v /= pivot);
        column[i] /= pivot;
        for j in (0..5).filter(|&j| j != i) {
            let factor = m[j][i];
            let row = m[i];
            m[j].iter_mut().zip(row).for_each(|(v, r)| *v -= factor * r);
            column[j] -= factor * column[i];
        }
    }
    column[which]
}

#[test]
fn the_position_error_is_within_half_as_much_again_of_the_bound() {
    let sigma = 2.2;
    for (noise, seeds) in [(0.02, 6), (0.05, 6), (0.12, 6)] {
        let (mut squares, mut bounds, mut count) = (0.0, 0.0, 0);
        for seed in 0..seeds {
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            let place = |k: i32| 25.0 + 40.0 * f64::from(k);
            let atoms: Vec<[f64; 4]> = (0..36)
                .map(|k| [place(k / 6) + rng.gen_range(-5.0..5.0), place(k % 6) + rng.gen_range(-5.0..5.0), 1.0, sigma])
                .collect();
            let image = noisy(render((250, 250), &atoms, 2.0), noise, 1000 + seed);
            let params = Params { polarity: Polarity::Bright, sigma: Some((1.5, 3.2)), ..Params::default() };
            let sites = detect(&image, &params).unwrap().sites;
            assert_eq!(sites.len(), atoms.len(), "noise {noise}, seed {seed}");
            for atom in &atoms {
                let site = sites.iter().find(|s| (s.y - atom[0]).hypot(s.x - atom[1]) < 2.0).unwrap();
                assert_eq!(site.refinement, Refinement::Converged);
                squares += (site.y - atom[0]).powi(2) + (site.x - atom[1]).powi(2);
                bounds += bound(*atom, 10, noise).iter().sum::<f64>();
                count += 1;
            }
        }
        let (rms, least) = ((squares / f64::from(count)).sqrt(), (bounds / f64::from(count)).sqrt());
        let ratio = rms / least;
        eprintln!("noise {noise}: RMS {rms:.5} px, bound {least:.5} px, ratio {ratio:.3} over {count} atoms");
        assert!((0.8..=1.5).contains(&ratio), "noise {noise}: {ratio}");
    }
}
