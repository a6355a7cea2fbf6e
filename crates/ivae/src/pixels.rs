use rand::Rng;

/// So many pixels for each row, at most all, one from each of as many equal stretches of the patch, so that every pixel is
/// as likely as any other and none of the patch is left out.
pub(crate) fn draw_pixels(all: usize, count: usize, rows: usize, rng: &mut impl Rng) -> Vec<u32> {
    let n = count.clamp(1, all);
    let stretch = all as f64 / n as f64;
    let mut draw = |i: usize| (((i as f64 + rng.gen_range(0.0..1.0)) * stretch) as usize).min(all - 1) as u32;
    (0..rows).flat_map(|_| (0..n).map(&mut draw).collect::<Vec<_>>()).collect()
}

/// How many pixels a step decodes: a share of all, but at least 60, because fewer save no time, and their gradients are
/// noise.
pub(crate) fn share_of(all: usize, share: f64) -> usize {
    ((all as f64 * share).round() as usize).max(60).min(all)
}

/// The values of some pixels of each row, equally many in each.
pub(crate) fn pick(data: &[f32], pixels: &[u32], rows: usize, channels: usize) -> Vec<f32> {
    let rows = data.chunks_exact(data.len() / rows).zip(pixels.chunks_exact(pixels.len() / rows));
    rows.flat_map(|(row, pixels)| pixels.iter().flat_map(|p| &row[*p as usize * channels..][..channels]))
        .copied()
        .collect()
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    use super::*;

    #[test]
    fn every_pixel_is_drawn_as_often_as_any_other() {
        let (all, rows) = (290, 20_000);
        let pixels = draw_pixels(all, 73, rows, &mut ChaCha8Rng::seed_from_u64(0));
        assert_eq!(pixels.len(), 73 * rows);
        let mut counts = vec![0.0; all];
        pixels.iter().for_each(|p| counts[*p as usize] += 1.0);
        let expected = (73 * rows) as f64 / all as f64;
        // Five standard deviations of a Poisson count.
        assert!(counts.iter().all(|c: &f64| (c - expected).abs() < 5.0 * expected.sqrt()), "{expected}: {counts:?}");
        assert_eq!(
            draw_pixels(9, 60, 2, &mut ChaCha8Rng::seed_from_u64(0)),
            (0..18).map(|p| p % 9).collect::<Vec<_>>()
        );
        assert_eq!([share_of(290, 0.25), share_of(900, 0.01), share_of(9, 0.5)], [73, 60, 9]);
    }

    #[test]
    fn the_values_picked_are_those_of_the_pixels() {
        let data: Vec<f32> = (0..12).map(|v| v as f32).collect();
        assert_eq!(pick(&data, &[2, 0, 1, 1], 2, 2), [4.0, 5.0, 0.0, 1.0, 8.0, 9.0, 8.0, 9.0]);
    }
}
