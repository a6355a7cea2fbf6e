//! The parsimon runner: `cargo xtask …`. Argument parsing, printing and file names; no science lives here.
#![allow(clippy::print_stdout, reason = "a command line program talks to its user")]

mod analyze;
mod analyze_args;
mod animate;
mod args;
mod arithmetic;
mod bench;
mod checkpoint;
mod classical;
mod code;
mod compare;
mod dataset;
mod demo;
mod experiment;
mod figures;
mod output;
mod plan;
mod quality;
mod report;
mod train;
mod training_args;

use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};

use clap::Parser;

use args::{Cli, Command};

/// Counts what is allocated, without a limit.
#[global_allocator]
static ALLOCATOR: cap::Cap<mimalloc::MiMalloc> = cap::Cap::new(mimalloc::MiMalloc, usize::MAX);

/// Raised by Ctrl-C: long work stops after its current epoch and keeps what it has.
static STOP: AtomicBool = AtomicBool::new(false);

/// Whether what is being done should come to a good end: an epoch that [`STOP`] makes the last one, files on their way to
/// their places. All else ends at once.
static FINISHES: AtomicBool = AtomicBool::new(false);

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) if error.use_stderr() => {
            // Without clap's usage and tips, which stand under --help, an error is one line like any other.
            let text = error.to_string();
            let reason: Vec<&str> = text.split("\n\n").next().unwrap_or_default().split_whitespace().collect();
            eprintln!("{} (see --help)", reason.join(" "));
            return ExitCode::from(2);
        }
        Err(help) => help.exit(),
    };
    match run(&cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {}", in_one_line(&error));
            ExitCode::FAILURE
        }
    }
}

/// An error and its causes; some errors repeat their cause in their own words.
fn in_one_line(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain().map(|c| c.to_string().replace('\n', " ")) {
        if !text.ends_with(&cause) {
            text += if text.is_empty() { "" } else { ": " };
            text += &cause;
        }
    }
    text
}

fn run(cli: &Cli) -> anyhow::Result<()> {
    if let Some(threads) = cli.threads {
        anyhow::ensure!(threads > 0, "--threads is 0, accepted are whole numbers from 1");
        rayon::ThreadPoolBuilder::new().num_threads(threads).build_global()?;
    }
    ctrlc::set_handler(|| {
        if !FINISHES.load(Ordering::Relaxed) || STOP.swap(true, Ordering::Relaxed) {
            std::process::exit(130);
        }
        eprintln!("finishing what has begun; press Ctrl-C again to stop at once");
    })?;
    // A worker of the pool needs no other thread to hand its small parallel tasks to.
    rayon::scope(|_| match &cli.command {
        Command::Analyze(args) => analyze::run(args),
        Command::Train(args) => train::run(args),
        Command::Encode(args) => code::encode(args),
        Command::Decode(args) => code::decode(args),
        Command::Translate(args) => code::translate(args),
        Command::Attribute(args) => arithmetic::attribute(args),
        Command::Interpolate(args) => arithmetic::interpolate(args),
        Command::Dataset(args) => dataset::run(args),
        Command::Animate(args) => animate::run(args),
        Command::Experiment(args) => experiment::run(args),
        Command::Compare(args) => compare::run(args),
        Command::Bench(args) => bench::run(args),
    })
}
