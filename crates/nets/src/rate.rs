use std::time::{Duration, Instant};

use rayon::prelude::*;

use crate::Activation;
use crate::blocks::{Finish, Panels, Start, product};

/// Best rate of the crate's matrix products in f32, in multiplications and additions a second on all threads: blocks of
/// 264×128 by 128×128, as in a decoder, that stay in the cache, for `span` and with nothing else to do.
pub fn product_rate(span: Duration) -> f64 {
    const SIZES: (usize, usize, usize) = (264, 128, 128);
    const ROUND: usize = 40;
    let (m, k, n) = SIZES;
    let threads = rayon::current_num_threads();
    let weight = Panels::new(&vec![0.5; k * n], k, n);
    let mut blocks = vec![(vec![0.25; m * k], vec![0.0; m * n]); threads];
    let (begin, mut best) = (Instant::now(), 0.0f64);
    while begin.elapsed() < span {
        let round = Instant::now();
        blocks.par_iter_mut().with_max_len(1).for_each(|(a, c)| {
            for _ in 0..ROUND {
                product(a, &weight, Start::Zero, (c, &mut []), Finish::Activate(Activation::Identity));
            }
        });
        best = best.max((2 * m * k * n * ROUND * threads) as f64 / round.elapsed().as_secs_f64());
    }
    best
}
