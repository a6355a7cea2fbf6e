/// Rec. 709 weights of red, green and blue.
const WEIGHTS: [f64; 3] = [0.2126, 0.7152, 0.0722];

/// Luminance of pixels of `channels` numbers each, of which the first three are red, green and blue, and what was done.
///
/// Where all three agree in every pixel the picture is grey, and its values are kept exactly.
pub(crate) fn luminance(samples: &[f64], channels: usize) -> (Vec<f64>, &'static str) {
    let pixels = || samples.chunks_exact(channels.max(3));
    if pixels().all(|p| p[0] == p[1] && p[1] == p[2]) {
        return (pixels().map(|p| p[0]).collect(), "grey stored as RGB");
    }
    let weigh = |p: &[f64]| p.iter().zip(WEIGHTS).map(|(v, w)| v * w).sum();
    (pixels().map(weigh).collect(), "RGB turned into luminance, 0.2126 R + 0.7152 G + 0.0722 B of the stored values")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grey_is_exact_and_colour_is_weighed() {
        assert_eq!(luminance(&[7.0, 7.0, 7.0, 0.0, 9.0, 9.0, 9.0, 255.0], 4), (vec![7.0, 9.0], "grey stored as RGB"));
        let (values, note) = luminance(&[100.0, 0.0, 0.0, 0.0, 100.0, 0.0, 0.0, 0.0, 100.0], 3);
        assert!(note.contains("luminance"));
        for (v, w) in values.iter().zip([21.26, 71.52, 7.22]) {
            assert!((v - w).abs() < 1e-12);
        }
    }
}
