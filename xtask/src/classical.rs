//! Times the classical methods, and scikit-learn's and umap-learn's beside them, on the same matrices.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use ndarray::{Array2, ArrayView2, s};
use ndarray_stats::DeviationExt;
use parsimon_baselines::{Dbscan, GaussianMixture, Isomap, KMeans, Nmf, Pca, RowModel, TSne, Umap};
use parsimon_io::{Values, read_arrays, write_npz};
use parsimon_metrics::trustworthiness;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::StandardNormal;

use crate::args::BenchArgs;
use crate::bench::check_peer;
use crate::experiment::found;
use crate::output::Output;

/// Rows of a matrix, and of what Isomap and t-SNE are given.
const ROWS: usize = 5000;
const FEW: usize = 3000;
/// Neighbours of Isomap, UMAP and the trustworthiness.
const NEAR: (usize, usize, usize) = (10, 15, 10);
/// Runs at most, and seconds after which there is no further one.
const RUNS: (usize, f64) = (3, 10.0);

/// What came of a method.
struct Timed {
    name: &'static str,
    /// What the value is.
    score: &'static str,
    seconds: f64,
    value: f64,
}

pub fn run(args: &BenchArgs, machine: &str) -> Result<()> {
    if let Some(python) = &args.peer_python {
        check_peer(python, "numpy, sklearn, umap")?;
    }
    let out = Output::new(&args.out)?;
    let mut text = format!(
        "# Classical methods, seconds of a fit (best of up to {})\n\n{machine}.\n\n| data | method | score | parsimon | \
         seconds | peer | seconds | ratio |\n|---|---|---|---|---|---|---|---|\n",
        RUNS.0
    );
    let mut csv = "data,method,score,value,seconds,peer_value,peer_seconds,ratio\n".to_owned();
    let mut matrices = vec![("rank 20", made())];
    match found(Path::new("digits.npz"), None) {
        Ok(file) => matrices.push(("digits", digits(&file)?)),
        Err(error) => println!("without digits: {error:#}"),
    }
    for (data, x) in matrices {
        let ours = ours(x.view())?;
        let theirs = args.peer_python.as_deref().map(|python| peer(python, x.view())).transpose()?;
        for timed in &ours {
            let Timed { name, score, seconds, value } = timed;
            let peer = theirs.as_ref().and_then(|t| t.iter().find(|p| p.0 == *name));
            let cells = peer.map(|(_, s, v)| (format!("{v:.6}"), format!("{s:.3}"), format!("{:.2}", s / seconds)));
            let (theirs, spent, ratio) = cells.unwrap_or_default();
            println!("{data}, {name}: {seconds:.3} s, {score} {value:.6}; peer {spent} s, {theirs}: {ratio} times");
            writeln!(text, "| {data} | {name} | {score} | {value:.6} | {seconds:.3} | {theirs} | {spent} | {ratio} |")?;
            writeln!(csv, "{data},{name},{score},{value},{seconds},{theirs},{spent},{ratio}")?;
        }
    }
    out.write("classical.csv", csv.as_bytes())?;
    out.write("classical.md", text.as_bytes())?;
    println!("wrote {}", out.path("classical.md").display());
    Ok(())
}

/// Rows of rank 20 with noise, none negative.
fn made() -> Array2<f64> {
    const SIZE: (usize, usize, usize) = (ROWS, 784, 20);
    let mut rng = ChaCha8Rng::seed_from_u64(0);
    let mut normal = |shape| Array2::from_shape_simple_fn(shape, || rng.sample::<f64, _>(StandardNormal));
    let (scores, loadings) = (normal((SIZE.0, SIZE.2)).mapv(f64::abs), normal((SIZE.2, SIZE.1)).mapv(f64::abs));
    let noise = normal((SIZE.0, SIZE.1)) * 0.5;
    (scores.dot(&loadings) + noise).mapv(|v| v.max(0.0))
}

fn digits(file: &Path) -> Result<Array2<f64>> {
    let images = parsimon_io::read_dataset(file)?.images;
    let images = images.with_context(|| format!("{}: holds no images", file.display()))?;
    let n = images.len().min(ROWS);
    let images = images.images().slice(s![..n, .., .., ..]).mapv(f64::from);
    let width = images.len() / n;
    Ok(images.into_shape_with_order((n, width))?)
}

/// The least time of a few runs, and what the last of them gave.
fn best<T>(mut once: impl FnMut() -> Result<T>) -> Result<(f64, T)> {
    let (mut least, mut total) = (f64::INFINITY, 0.0);
    let mut runs = 0;
    loop {
        let begin = Instant::now();
        let made = once()?;
        let spent = begin.elapsed().as_secs_f64();
        (least, total, runs) = (least.min(spent), total + spent, runs + 1);
        if runs == RUNS.0 || total > RUNS.1 {
            return Ok((least, made));
        }
    }
}

fn ours(x: ArrayView2<'_, f64>) -> Result<Vec<Timed>> {
    let mut timed = Vec::new();
    let mut add = |name, score, seconds, value| timed.push(Timed { name, score, seconds, value });
    let (seconds, pca) = best(|| Ok(Pca::params(20).fit_matrix(x)?))?;
    add("PCA", "explained", seconds, pca.explained_variance_ratio().sum());
    let z = pca.embed_rows(x)?.columns;
    let (seconds, model) = best(|| Ok(KMeans::params(10).fit_matrix(x)?))?;
    add("k-means", "inertia", seconds, model.inertia());
    // One start, as the peer has by default.
    let (seconds, model) = best(|| Ok(GaussianMixture::params(10).starts(1).rounds(100).fit_matrix(z.view())?))?;
    let likelihood = model.log_densities(z.view())?.mean().unwrap_or(f64::NAN);
    add("Gaussian mixture", "log-likelihood of a row", seconds, likelihood);
    let (seconds, model) = best(|| Ok(Nmf::params(10).fit_matrix(x)?))?;
    add("NMF", "residual", seconds, model.residual());
    let radius = radius(z.view());
    let (seconds, model) = best(|| Ok(Dbscan::params(radius).min_rows(5).fit_matrix(z.view())?))?;
    add("DBSCAN", "clusters", seconds, model.clusters() as f64);
    let few = z.slice(s![..z.nrows().min(FEW), ..]);
    let (seconds, model) = best(|| Ok(Isomap::params(2).neighbours(NEAR.0).fit_matrix(few)?))?;
    add("Isomap", "trustworthiness", seconds, trust(few, model.embed_rows(few)?.columns.view())?);
    let (seconds, model) = best(|| Ok(TSne::params().fit_matrix(few)?))?;
    add("t-SNE", "trustworthiness", seconds, trust(few, model.places())?);
    let (seconds, model) = best(|| Ok(Umap::params().neighbours(NEAR.1).fit_matrix(x)?))?;
    add("UMAP", "trustworthiness", seconds, trust(x, model.places())?);
    Ok(timed)
}

/// Three tenths of the median distance of rows that follow each other.
fn radius(z: ArrayView2<'_, f64>) -> f64 {
    let n = z.nrows();
    let distance = |i: usize| z.row(i).l2_dist(&z.row((i + n - 1) % n)).unwrap_or(f64::NAN);
    let mut all: Vec<f64> = (0..n).map(distance).collect();
    all.sort_by(f64::total_cmp);
    0.3 * 0.5 * (all[(n - 1) / 2] + all[n / 2])
}

fn trust(rows: ArrayView2<'_, f64>, places: ArrayView2<'_, f64>) -> Result<f64> {
    Ok(trustworthiness(rows.mapv(|v| v as f32).view(), places.mapv(|v| v as f32).view(), NEAR.2)?)
}

/// Name, seconds and score of each method by the peer; places are scored here, as ours are.
fn peer(python: &Path, x: ArrayView2<'_, f64>) -> Result<Vec<(String, f64, f64)>> {
    let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../benches/peers/sklearn_baselines.py");
    let folder = tempfile::tempdir()?;
    let data = folder.path().join("data.npz");
    write_npz(&data, &[("rows", Values::F64(x.into_dyn()))])?;
    let output = Command::new(python).arg(&script).arg(&data).arg(folder.path()).output();
    let output = output.with_context(|| format!("{} cannot be run", python.display()))?;
    let (text, wrong) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let last = wrong.lines().last().unwrap_or_default();
    ensure!(output.status.success(), "{} failed on {}: {last}", python.display(), script.display());
    let z = Pca::params(20).fit_matrix(x)?.embed_rows(x)?.columns;
    let few = z.slice(s![..z.nrows().min(FEW), ..]);
    text.lines()
        .map(|line| {
            let wrong = || format!("{}: `{line}` is no name, seconds and score", script.display());
            let (name, seconds, score) = said(line).with_context(wrong)?;
            if let Some(score) = score {
                return Ok((name, seconds, score));
            }
            let mut arrays = read_arrays(&folder.path().join(format!("{name}.npy")))?;
            let places = arrays.remove("").with_context(wrong)?.into_dimensionality()?;
            let score = if name == "UMAP" { trust(x, places.view())? } else { trust(few, places.view())? };
            Ok((name, seconds, score))
        })
        .collect()
}

/// Name, seconds and score of a line, the score only where it is no place on a map.
fn said(line: &str) -> Option<(String, f64, Option<f64>)> {
    let [name, seconds, score] = line.split(',').collect::<Vec<_>>()[..] else { return None };
    let score = if score.is_empty() { None } else { Some(score.parse().ok()?) };
    Some((name.to_owned(), seconds.parse().ok()?, score))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_peer_are_read_and_others_refused() {
        assert_eq!(said("PCA,0.25,0.9667"), Some(("PCA".into(), 0.25, Some(0.9667))));
        assert_eq!(said("t-SNE,11.5,"), Some(("t-SNE".into(), 11.5, None)));
        for line in ["PCA,0.25", "PCA,soon,1.0", "PCA,1,good", "", "a,1,2,3"] {
            assert_eq!(said(line), None, "{line}");
        }
    }

    #[test]
    fn the_matrix_is_of_rank_twenty_and_noise_and_never_negative() {
        let x = made();
        assert!(x.dim() == (ROWS, 784) && x.iter().all(|v| *v >= 0.0));
        let explained =
            Pca::params(21).fit_matrix(x.slice(s![..1000, ..])).unwrap().explained_variance_ratio().to_vec();
        assert!(explained[19] > 10.0 * explained[20], "{explained:?}");
    }
}
