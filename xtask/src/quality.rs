use std::fmt::Write;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use clap::Parser;
use dfdx::tensor::Cpu;
use parsimon_core::Patches;
use parsimon_ivae::Noise;
use parsimon_report::figures::{Line, Steps, losses};
use parsimon_train::Bar;

use crate::args::{self, BenchArgs, Cli, TrainArgs};
use crate::output::Output;
use crate::{STOP, bench, plan};

/// What is trained: its name and its options.
const WAYS: [(&str, &[&str]); 2] = [("parsimon", &[]), ("parsimon --exact", &["--exact"])];

const SEEDS: u64 = 3;
const PEER: &str = "pyroVED";

/// Held-out −ELBO of one training against its seconds.
struct Curve {
    name: &'static str,
    seed: u64,
    /// (seconds, −ELBO) after each epoch.
    points: Vec<[f64; 2]>,
}

/// Trains on a data file in several ways, and draws how good they are after how many seconds.
pub fn run(args: &BenchArgs, file: &Path, machine: &str) -> Result<()> {
    let out = Output::new(&args.out)?;
    let dataset = parsimon_io::read_dataset(file)?;
    let data = dataset.images.with_context(|| format!("{}: holds no images", file.display()))?;
    if let Some(python) = &args.peer_python {
        bench::check_peer(python, "numpy, torch, pyroved")?;
    }
    let mut curves = Vec::new();
    for (name, options) in WAYS {
        for seed in 0..SEEDS {
            curves.push(report(Curve { name, seed, points: ours(&data, file, options, args.epochs, seed)? }));
        }
    }
    if let Some(python) = &args.peer_python {
        curves.push(report(Curve { name: PEER, seed: 0, points: peer(python, file, args.epochs)? }));
    }
    out.write("quality.csv", csv(&curves)?.as_bytes())?;
    out.write("quality.md", table(&curves, file, machine)?.as_bytes())?;
    let drawn: Vec<Line<'_>> = curves.iter().map(|c| Line { name: c.name, points: c.points.clone() }).collect();
    let label = "−ELBO of patches held out (nats)";
    let figure = losses(&drawn, Steps::Logarithmic, "training time (s)", label, "How good after how long")?;
    out.write("quality.png", &figure.png()?)?;
    println!("wrote {} and {}", out.path("quality.md").display(), out.path("quality.png").display());
    Ok(())
}

fn report(curve: Curve) -> Curve {
    if let Some([seconds, loss]) = curve.points.last() {
        println!("{}, seed {}: {loss:.2} nats after {seconds:.1} s", curve.name, curve.seed);
    }
    curve
}

/// Trains as the command line does.
fn ours(data: &Patches, file: &Path, options: &[&str], epochs: usize, seed: u64) -> Result<Vec<[f64; 2]>> {
    let (file, epochs, seed) = (file.to_string_lossy(), epochs.to_string(), seed.to_string());
    let line = ["cargo xtask", "train", "ivae", &file, "--out", ".", "--epochs", &epochs, "--seed", &seed];
    let cli = Cli::try_parse_from(line.into_iter().chain(options.iter().copied()))?;
    let args::Command::Train(TrainArgs { training, .. }) = cli.command else { bail!("`train` is no training") };
    let params = plan::params(&training, data, data.scaling(), Noise::Bernoulli, None)?;
    let options = plan::options(&training, data.len(), 60, 100, 1);
    let bar = Bar::new("training", &STOP);
    let fitted = parsimon_ivae::train(&Cpu::default(), &params, data, &options, None, |p| bar.show(p))?;
    let point = |e: &parsimon_train::Epoch| e.test.map(|t| [e.seconds, f64::from(t.loss)]);
    fitted.state.history.iter().map(|e| point(e).context("no patch is held out of so few")).collect()
}

/// What pyroVED prints after each epoch.
fn peer(python: &Path, file: &Path, epochs: usize) -> Result<Vec<[f64; 2]>> {
    let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../benches/peers/pyroved_vae.py");
    let threads = rayon::current_num_threads();
    let mut child = Command::new(python)
        .arg(&script)
        .arg(file)
        .args(["--epochs", &epochs.to_string(), "--threads", &threads.to_string()])
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("{} cannot be run", python.display()))?;
    let mut points = Vec::new();
    for line in BufReader::new(child.stdout.take().context("no output")?).lines() {
        let line = line?;
        let numbers: Vec<f64> = line.split_whitespace().filter_map(|w| w.parse().ok()).collect();
        let &[epoch, seconds, loss] = &numbers[..] else { continue };
        points.push([seconds, loss]);
        println!("    {PEER}, epoch {epoch} of {epochs}: {loss:.2} nats after {seconds:.1} s");
    }
    ensure!(child.wait()?.success(), "{} failed on {}", python.display(), script.display());
    ensure!(!points.is_empty(), "{}: no line with epoch, seconds and −ELBO", script.display());
    Ok(points)
}

fn csv(curves: &[Curve]) -> Result<String> {
    let mut text = "name,seed,epoch,seconds,test_loss\n".to_owned();
    for Curve { name, seed, points } in curves {
        for (i, [seconds, loss]) in points.iter().enumerate() {
            writeln!(text, "{name},{seed},{},{seconds},{loss}", i + 1)?;
        }
    }
    Ok(text)
}

/// Last −ELBO of every training, and how soon each was as good as the peer at its end.
fn table(curves: &[Curve], file: &Path, machine: &str) -> Result<String> {
    let last = |c: &Curve| c.points.last().copied().unwrap_or([f64::NAN; 2]);
    let goal = curves.iter().find(|c| c.name == PEER).map(last);
    let file = file.file_name().unwrap_or_default().to_string_lossy();
    let mut text =
        format!("# Held-out −ELBO in nats\n\n{file}, {machine}; seconds of training, without evaluation.\n\n");
    let beside = |with: &str| if goal.is_some() { with.to_owned() } else { String::new() };
    let more = beside(&format!(" as good as {PEER} after s | times as fast |"));
    writeln!(text, "| | seed | at the end | after s |{more}\n|---|---|---|---|{}", beside("---|---|"))?;
    for curve in curves {
        let [seconds, loss] = last(curve);
        let soon =
            goal.and_then(|[spent, goal]| curve.points.iter().find(|p| p[1] <= goal).map(|p| (p[0], spent / p[0])));
        let (then, ratio) = soon.map_or(Default::default(), |(s, r)| (format!("{s:.1}"), format!("{r:.1}")));
        let more = beside(&format!(" {then} | {ratio} |"));
        writeln!(text, "| {} | {} | {loss:.2} | {seconds:.1} |{more}", curve.name, curve.seed)?;
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_says_how_soon_each_was_as_good_as_the_peer() {
        let curve = |name, points: &[[f64; 2]]| Curve { name, seed: 0, points: points.to_vec() };
        let curves = [
            curve("fast", &[[1.0, 99.0], [2.0, 89.0], [3.0, 95.0]]),
            curve("poor", &[[1.0, 99.0]]),
            curve(PEER, &[[50.0, 100.0], [100.0, 90.0]]),
        ];
        let text = table(&curves, Path::new("data/cards3.npz"), "a machine").unwrap();
        assert!(text.contains("| fast | 0 | 95.00 | 3.0 | 2.0 | 50.0 |"), "{text}");
        assert!(text.contains("| poor | 0 | 99.00 | 1.0 |  |  |"), "{text}");
        assert!(text.contains("cards3.npz, a machine;"), "{text}");
        let alone = table(&curves[..2], Path::new("cards3.npz"), "a machine").unwrap();
        assert!(alone.contains("| fast | 0 | 95.00 | 3.0 |\n"), "{alone}");
        assert!(csv(&curves).unwrap().contains("fast,0,2,2,89\n"));
    }
}
