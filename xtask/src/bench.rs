use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use dfdx::tensor::{Cpu, Trace};
use dfdx::tensor_ops::Backward;
use ndarray::Array4;
use parsimon_core::{Patches, Scaling};
use parsimon_ivae::{Inference, Ivae, Params, Prior, ViewGrid};
use parsimon_nets::{Activation, Data, Likelihood, Precision, SpatialDecoder, Target, matrix, product_rate};
use parsimon_train::{Options, fit};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::args::BenchArgs;
use crate::output::Output;

/// What is timed: one epoch, or one pass of the encoder.
struct Case {
    name: &'static str,
    model: Model,
    side: usize,
    rows: usize,
    hidden: usize,
    batch: usize,
    precision: Precision,
    /// Options of the peer's runs.
    peers: &'static [&'static [&'static str]],
}

#[derive(Clone, Copy, PartialEq)]
enum Model {
    Rvae,
    /// Of a tenth of the pixels, as by default; and the same with views, once they are weighed by the decoder.
    Few,
    Views,
    Vae,
    Convolutional,
    Encode,
}

impl Model {
    fn peer(self) -> &'static str {
        match self {
            Self::Rvae | Self::Few | Self::Views => "rvae",
            Self::Vae => "vae",
            Self::Convolutional => "conv",
            Self::Encode => "encode",
        }
    }
}

const EAGER: &[&str] = &[];
const COMPILED: &[&str] = &["--compile"];
const BF16: &[&str] = &["--bf16"];

const BASE: Case = Case {
    name: "rVAE",
    model: Model::Rvae,
    side: 28,
    rows: 2000,
    hidden: 128,
    batch: 100,
    precision: Precision::F32,
    peers: &[EAGER, COMPILED],
};

const CASES: [Case; 10] = [
    BASE,
    Case { name: "rVAE, bf16", precision: Precision::Bf16, peers: &[BF16], ..BASE },
    // Fewer rows, because the peer takes a minute for 2,000.
    Case { name: "rVAE, large", side: 48, rows: 500, hidden: 256, peers: &[EAGER], ..BASE },
    Case { name: "rVAE, few pixels", model: Model::Few, batch: 50, peers: &[], ..BASE },
    Case { name: "rVAE, few pixels, views", model: Model::Views, batch: 50, peers: &[], ..BASE },
    Case { name: "VAE, dense", model: Model::Vae, peers: &[EAGER], ..BASE },
    Case { name: "VAE, convolutional", model: Model::Convolutional, peers: &[EAGER], ..BASE },
    Case { name: "rVAE, few patches", rows: 300, peers: &[EAGER], ..BASE },
    Case { name: "VAE, few patches", model: Model::Vae, rows: 300, peers: &[EAGER], ..BASE },
    Case { name: "encoding", model: Model::Encode, rows: 100_000, batch: 500, peers: &[EAGER], ..BASE },
];

/// Runs of each side; the best counts.
const RUNS: usize = 3;

pub fn run(args: &BenchArgs) -> Result<()> {
    if let Some(file) = &args.quality {
        return crate::quality::run(args, file, &machine());
    }
    if args.classical {
        return crate::classical::run(args, &machine());
    }
    if let Some(python) = &args.peer_python {
        check_peer(python, "torch")?;
    }
    let out = Output::new(&args.out)?;
    let cases = CASES.iter().filter(|c| args.only.as_ref().is_none_or(|word| c.name.contains(word.as_str())));
    let cases: Vec<&Case> = cases.collect();
    let names = || CASES.map(|c| format!("`{}`", c.name)).join(", ");
    ensure!(
        !cases.is_empty(),
        "no case has `{}` in its name; there are {}",
        args.only.clone().unwrap_or_default(),
        names()
    );
    let rate = product_rate(Duration::from_secs(1));
    let share = decoder_rate()? / rate;
    let machine = machine();
    println!("{machine}");
    println!("matrix products {:.0} GFLOP/s; the decoder, all included, {:.0} % of it", rate / 1e9, 100.0 * share);
    let mut csv = "case,side,rows,hidden,batch,seconds,peer,peer_seconds,ratio\n".to_owned();
    let mut table = format!(
        "# Training, seconds of an epoch (best of {RUNS})\n\n{machine}. Matrix products {:.0} GFLOP/s; the decoder, all \
         included, {:.0} % of it.\n\n| case | patch | rows | hidden | batch | parsimon | peer | seconds | ratio |\n\
         |---|---|---|---|---|---|---|---|---|\n",
        rate / 1e9,
        100.0 * share
    );
    for case in cases {
        if case.precision.check().is_err() {
            println!("{}: this CPU has no instructions for it", case.name);
            continue;
        }
        let &Case { name, side, rows, hidden, batch, .. } = case;
        let ours = seconds(case)?;
        let sizes = [side, rows, hidden, batch].map(|n| n.to_string());
        println!("{name}, {side}×{side}, {rows} rows, hidden {hidden}, batch {batch}: {ours:.4} s");
        let mut peers = Vec::new();
        for options in case.peers.iter().filter(|_| args.peer_python.is_some()) {
            let peer = ["torch", options.first().map_or("eager", |o| o.trim_start_matches('-'))].join(" ");
            let theirs = peer_seconds(args.peer_python.as_deref().unwrap_or(Path::new("")), case, options)?;
            println!("    {peer}: {theirs:.4} s, {:.2} times as long", theirs / ours);
            peers.push((peer, theirs.to_string(), format!("{:.3}", theirs / ours), format!("{theirs:.4}")));
        }
        if peers.is_empty() {
            peers.push(Default::default());
        }
        for (peer, theirs, ratio, short) in peers {
            writeln!(csv, "\"{name}\",{},{ours},{peer},{theirs},{ratio}", sizes.join(","))?;
            let patch = format!("{side}×{side}");
            writeln!(
                table,
                "| {name} | {patch} | {rows} | {hidden} | {batch} | {ours:.4} | {peer} | {short} | {ratio} |"
            )?;
        }
    }
    out.write("bench.csv", csv.as_bytes())?;
    out.write("bench.md", table.as_bytes())?;
    println!("wrote {}", out.path("bench.md").display());
    Ok(())
}

/// Fails unless a Python can import these modules.
pub fn check_peer(python: &Path, modules: &str) -> Result<()> {
    let output = Command::new(python).args(["-c", &format!("import {modules}")]).output();
    let output = output.with_context(|| format!("{} cannot be run", python.display()))?;
    let wrong = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{}: {}", python.display(), wrong.lines().last().unwrap_or("fails"));
    Ok(())
}

/// CPU and threads.
fn machine() -> String {
    let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu.lines().find_map(|l| l.strip_prefix("model name")).and_then(|l| l.split(": ").nth(1));
    format!("{}, {} threads", model.unwrap_or(std::env::consts::ARCH), rayon::current_num_threads())
}

/// Best time of one epoch, or of encoding all rows.
fn seconds(case: &Case) -> Result<f64> {
    let cpu = Cpu::default();
    let data = patches(case.rows, case.side)?;
    let base = Params::new((case.side, case.side, 1));
    let params = Params { hidden: vec![case.hidden; 2], ..base };
    let params = match case.model {
        Model::Rvae | Model::Few | Model::Encode => params,
        Model::Views => {
            let prior = Prior { angle: f32::INFINITY, ..params.prior };
            Params { inference: Inference::Views(ViewGrid::angles(16)), prior, ..params }
        }
        Model::Vae => Params { invariances: "none".parse()?, ..params },
        Model::Convolutional => Params { invariances: "none".parse()?, convolutions: vec![32, 64, 64], ..params },
    };
    if case.model == Model::Encode {
        let model = Ivae::new(&cpu, &params, &mut ChaCha8Rng::seed_from_u64(0))?;
        return best(|| {
            model.embedding(&data)?;
            Ok(())
        });
    }
    // The first epoch warms up.
    let some = matches!(case.model, Model::Few | Model::Views);
    let options = Options {
        epochs: RUNS + 1,
        batch: case.batch,
        pixels: if some { 0.1 } else { 1.0 },
        holdout: 0.0,
        precision: case.precision,
        settle: 0.0,
        ..Options::default()
    };
    let make = |rng: &mut ChaCha8Rng| {
        Ivae::new(&cpu, &params, rng).map_err(|e| parsimon_nets::Error::Device(e.to_string()).into())
    };
    let fitted = fit(make, &(&data).into(), case.rows, &options, None, |_| std::ops::ControlFlow::Continue(()))?;
    let spent: Vec<f64> = fitted.state.history.iter().map(|e| e.seconds).collect();
    Ok(spent.windows(2).map(|w| w[1] - w[0]).fold(f64::INFINITY, f64::min))
}

/// Best time of a few runs after one that warms up.
fn best(mut once: impl FnMut() -> Result<()>) -> Result<f64> {
    let mut least = f64::INFINITY;
    for run in 0..=RUNS {
        let begin = Instant::now();
        once()?;
        if run > 0 {
            least = least.min(begin.elapsed().as_secs_f64());
        }
    }
    Ok(least)
}

fn patches(rows: usize, side: usize) -> Result<Patches> {
    let mut rng = ChaCha8Rng::seed_from_u64(0);
    let images = Array4::from_shape_simple_fn((rows, side, side, 1), || rng.gen_range(0.0..1.0f32));
    Ok(Patches::new(images, Scaling::unit(1))?)
}

/// Rate of the matrix products of the decoder of 28×28 pixels with two layers of 128, forward and backward, if all its
/// time were theirs.
fn decoder_rate() -> Result<f64> {
    const ROWS: usize = 100;
    const SIDE: usize = 28;
    const HIDDEN: usize = 128;
    let (cpu, mut rng) = (Cpu::default(), ChaCha8Rng::seed_from_u64(0));
    let size = (SIDE, SIDE, 1);
    let decoder = SpatialDecoder::new(&cpu, size, 2, &[HIDDEN, HIDDEN], Activation::Tanh, &mut rng)?;
    let mut draw =
        |columns: usize| matrix(&cpu, (0..ROWS * columns).map(|_| rng.gen_range(0.0..1.0)).collect(), ROWS, columns);
    let (placed, log_sd) = (draw(6)?, matrix(&cpu, vec![0.0], 1, 1)?);
    let data = Data::new(draw(SIDE * SIDE)?.as_vec(), SIDE * SIDE)?;
    let (weights, likelihood, precision) = (&[1.0; ROWS][..], Likelihood::Bernoulli, Precision::F32);
    let target = Target { data: &data, pixels: None, weights, likelihood, log_sd: &log_sd, precision };
    let once = || {
        decoder.score(placed.leaky_trace(), &target)?.total.backward();
        Ok(())
    };
    let times = (0..5).map(|_| best(once)).collect::<Result<Vec<f64>>>()?;
    let least = times.into_iter().fold(f64::INFINITY, f64::min);
    // Two layers, each with three products of two operations a number.
    Ok((ROWS * SIDE * SIDE * 2 * 3 * 2 * HIDDEN * HIDDEN) as f64 / least)
}

/// The peer's best time of the same case.
fn peer_seconds(python: &Path, case: &Case, options: &[&str]) -> Result<f64> {
    let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../benches/peers/torch_vae.py");
    let numbers = [
        ("--size", case.side),
        ("--n", case.rows),
        ("--hidden", case.hidden),
        ("--batch", case.batch),
        ("--threads", rayon::current_num_threads()),
    ];
    let mut command = Command::new(python);
    command.arg(&script).args(["--model", case.model.peer()]).args(options);
    command.args(numbers.iter().flat_map(|(name, n)| [(*name).to_owned(), n.to_string()]));
    let output = command.output().with_context(|| format!("{} cannot be run", python.display()))?;
    let (text, wrong) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let last = wrong.lines().last().unwrap_or_default();
    ensure!(output.status.success(), "{} failed on {}: {last}", python.display(), script.display());
    let seconds = text.lines().find_map(|l| l.strip_prefix("seconds ")).and_then(|s| s.trim().parse().ok());
    seconds.with_context(|| format!("{}: no line with seconds", script.display()))
}
