//! A spectrum image that is never held: from an NPY file, block by block, through PCA and k-means.

use std::collections::HashSet;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use ndarray::{Array1, Array2};
use parsimon_baselines::{IncrementalPca, MiniBatchKMeans, RowModel};
use parsimon_io::NpyRows;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::StandardNormal;

const PHASES: usize = 4;
const NOISE: f64 = 0.2;

/// Phase of a pixel: stripes, so that a batch of rows has all of them.
fn phase(x: usize, width: usize) -> usize {
    PHASES * x / width
}

/// Peaks of the phases on one background; a pixel has its own, in an amount that varies down the image. What the amounts do to
/// the squared distance of a pixel from the mean of its phase, in the mean, comes back.
fn write_image(path: &Path, (h, w, l): (usize, usize, usize)) -> std::io::Result<f64> {
    let spectra = Array2::from_shape_fn((PHASES, l), |(p, e)| {
        let peak = |centre: f64| (-0.5 * ((e as f64 / l as f64 - centre) / 0.02).powi(2)).exp();
        peak(0.15 + 0.2 * p as f64) + 0.5 * peak(0.9 - 0.1 * p as f64) + (-2.0 * e as f64 / l as f64).exp()
    });
    let header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({h}, {w}, {l}), }}\n");
    let mut file = BufWriter::new(File::create(path)?);
    file.write_all(b"\x93NUMPY\x01\x00")?;
    file.write_all(&(header.len() as u16).to_le_bytes())?;
    file.write_all(header.as_bytes())?;
    let mut rng = ChaCha8Rng::seed_from_u64(0);
    let amounts = Array1::from_shape_fn(h, |y| 1.0 + 0.2 * (7.0 * y as f64 / h as f64).sin());
    for amount in &amounts {
        for x in 0..w {
            for v in spectra.row(phase(x, w)) {
                let noise: f64 = rng.sample(StandardNormal);
                file.write_all(&((amount * v + NOISE * noise) as f32).to_le_bytes())?;
            }
        }
    }
    file.flush()?;
    Ok(amounts.var(0.0) * spectra.iter().map(|v| v * v).sum::<f64>() / PHASES as f64)
}

/// Seconds of the two methods, after their results have been looked at.
fn stream(size: (usize, usize, usize), batch: usize) -> [Duration; 2] {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("image.npy");
    let of_amounts = write_image(&path, size).unwrap();
    let (h, w, l) = size;

    let start = Instant::now();
    let mut rows = NpyRows::open(&path).unwrap();
    assert_eq!((rows.rows(), rows.width()), (h * w, l));
    let mut state = None;
    while let Some(block) = rows.next_block(batch).unwrap() {
        state = Some(IncrementalPca::params(PHASES).fit_batch(state.as_ref(), block.view()).unwrap());
    }
    let pca = state.unwrap().pca().unwrap();
    let of_pca = start.elapsed();
    // Three directions between four phases, one of their amount; what is left is the noise.
    let left = pca.explained_variance().sum() * (1.0 / pca.explained_variance_ratio().sum() - 1.0);
    let noise = NOISE * NOISE * (l - PHASES) as f64;
    assert!((left / noise - 1.0).abs() < 0.02, "{left} {noise}");
    assert!(pca.explained_variance()[PHASES - 1] > 5.0 * NOISE * NOISE, "{}", pca.explained_variance());

    let start = Instant::now();
    let mut rows = NpyRows::open(&path).unwrap();
    let mut state = None;
    while let Some(block) = rows.next_block(batch).unwrap() {
        state = Some(MiniBatchKMeans::params(PHASES).fit_batch(state.as_ref(), block.view()).unwrap());
    }
    let clusters = state.unwrap().k_means();
    let of_clusters = start.elapsed();
    let mut rows = NpyRows::open(&path).unwrap();
    let mut counts = Array2::<usize>::zeros((PHASES, PHASES));
    let mut place = 0;
    while let Some(block) = rows.next_block(batch).unwrap() {
        for class in clusters.embed_rows(block.view()).unwrap().classes.unwrap() {
            counts[(phase(place % w, w), class as usize)] += 1;
            place += 1;
        }
    }
    let class_of = |p: usize| (0..PHASES).max_by_key(|c| counts[(p, *c)]).unwrap();
    let classes: HashSet<usize> = (0..PHASES).map(class_of).collect();
    assert_eq!(classes.len(), PHASES, "each phase has a class of its own: {counts}");
    let right: usize = (0..PHASES).map(|p| counts[(p, class_of(p))]).sum();
    assert!(right as f64 > 0.999 * (h * w) as f64, "{counts}");
    let (per_row, expected) = (clusters.inertia() / (h * w) as f64, NOISE * NOISE * l as f64 + of_amounts);
    assert!(per_row > 0.9 * expected && per_row < 1.1 * expected, "{per_row} {expected}");
    [of_pca, of_clusters]
}

#[test]
fn a_spectrum_image_goes_through_in_blocks() {
    stream((64, 64, 512), 1000);
}

/// Writes 2 GiB; for its memory, run it alone under `/usr/bin/time -v` with `--ignored`.
#[test]
#[ignore = "writes 2 GiB and takes minutes"]
fn a_spectrum_image_of_2_gib_goes_through_in_blocks() {
    let [pca, clusters] = stream((1024, 1024, 512), 4096);
    eprintln!("incremental PCA {:.1} s, mini-batch k-means {:.1} s", pca.as_secs_f64(), clusters.as_secs_f64());
}
