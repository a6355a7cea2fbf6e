//! Checkpoints of a run directory: where an interrupted training stands, and what becomes of an earlier one.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use dfdx::tensor::Cpu;
use parsimon_ivae::{Config, Ivae, load_config};
use parsimon_train::{Options, State, load_checkpoint};

use crate::output::Output;

/// Subdirectory of a run that holds the checkpoint, apart from the results of an earlier, finished training.
pub const FOLDER: &str = "checkpoint";

/// Where the checkpoint of an earlier training waits for the end of a new one.
const EARLIER: &str = "checkpoint.earlier";

/// Where the last sound state of a training that failed is kept, if the directory holds the results of an earlier one.
const FAILED: &str = "checkpoint.failed";

/// The checkpoint of an earlier training, which is given up only when a new one has come to its end.
pub struct Earlier {
    checkpoint: PathBuf,
    aside: PathBuf,
    failed: PathBuf,
    is_aside: bool,
}

impl Earlier {
    pub fn new(run: &Output) -> Self {
        Self { checkpoint: run.path(FOLDER), aside: run.path(EARLIER), failed: run.path(FAILED), is_aside: false }
    }

    /// One that is aside already belongs to the results in the directory: a training that was killed left it there.
    pub fn set_aside(&mut self) -> Result<()> {
        if self.aside.exists() {
            self.give_up(&self.checkpoint)?;
        } else if self.checkpoint.exists() {
            std::fs::rename(&self.checkpoint, &self.aside).with_context(|| self.wrong())?;
        }
        self.is_aside = self.aside.exists();
        Ok(())
    }

    /// After a training that failed: puts it back, and says where the last sound state of that training is, if it is not in its
    /// place.
    pub fn put_back(&self) -> Result<Option<&Path>> {
        let mut kept = None;
        if self.is_aside {
            if self.checkpoint.exists() {
                self.give_up(&self.failed)?;
                std::fs::rename(&self.checkpoint, &self.failed).with_context(|| self.wrong())?;
                kept = Some(self.failed.as_path());
            }
            std::fs::rename(&self.aside, &self.checkpoint).with_context(|| self.wrong())?;
        }
        Ok(kept)
    }

    pub fn remove(&self) -> Result<()> {
        self.give_up(&self.failed)?;
        self.give_up(&self.aside)
    }

    fn give_up(&self, folder: &Path) -> Result<()> {
        if folder.exists() {
            std::fs::remove_dir_all(folder).with_context(|| self.wrong())?;
        }
        Ok(())
    }

    fn wrong(&self) -> String {
        format!("{}: cannot replace the checkpoint of an earlier training", self.checkpoint.display())
    }
}

/// Whether a training in this directory has come as far as a checkpoint or an end.
pub fn begun(run: &Output) -> bool {
    [FOLDER, EARLIER, "model.safetensors"].iter().any(|name| run.path(name).exists())
}

/// Epochs that the training of the checkpoint was to have, if there is one.
pub fn epochs(run: &Output) -> Option<usize> {
    load_config(&run.path(FOLDER)).ok().map(|config| config.training.epochs)
}

/// Where the checkpoint of a run stands, if it was made with the same options but for the epochs.
pub fn resumed(device: &Cpu, config: &Config, run: &Output) -> Result<State<Ivae<Cpu>>> {
    let (folder, checkpoint) = (run.folder().display(), run.path(FOLDER));
    let then = load_config(&checkpoint).with_context(|| format!("{folder}: nothing to resume"))?;
    let Config { training: now, .. } = config;
    ensure!(now.patience.is_none(), "{folder}: a checkpoint does not hold the best model, which --patience needs");
    ensure!(then.scaling == config.scaling, "{folder}: it was trained on data of another scaling");
    if let (Some(was), Some(is)) = (&then.data, &config.data) {
        ensure!(was == is, "{folder}: it was trained on other data: {was}; these are {is}");
    }
    let (was, is) = (&then.version, &config.version);
    ensure!(
        was == is,
        "{folder}: its checkpoint is of parsimon {was}, and this is {is}: bits would differ; begin anew"
    );
    let training = Options { epochs: now.epochs, ..then.training.clone() };
    let same = Config { training, usual: None, data: config.data.clone(), ..then };
    if same != *config {
        let (then, now) = (same.toml()?, config.toml()?);
        let (with, without) = (others(&then, &now), others(&now, &then));
        let how = if with.is_empty() { format!("without {without}") } else { format!("with {with}") };
        bail!("{folder}: it was trained {how}; give the same to resume, but for the epochs");
    }
    let model = Ivae::from_config(device, config)?;
    let state = load_checkpoint(model, &checkpoint)?;
    let done = state.history.len();
    ensure!(chosen(now, done), "{folder}: stopped before a start was chosen; begin anew");
    // A training that was killed while its results were written lacks them only.
    let written = run.path("model.safetensors").exists() && !run.path(EARLIER).exists();
    let left = done < now.epochs || (done == now.epochs && !written);
    ensure!(left, "{folder}: {done} epochs are done already; give more --epochs to go on");
    Ok(state)
}

/// Whether the best of several starts is known after so many epochs: once it has gone on.
fn chosen(options: &Options, epochs: usize) -> bool {
    options.starts == 1 || epochs > options.start_epochs
}

/// Lines of a configuration that another has not.
fn others(then: &str, now: &str) -> String {
    let lines = then.lines().filter(|line| !now.lines().any(|other| other == *line));
    lines.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A run directory whose checkpoint was written by the training named.
    fn bench(name: &str) -> (tempfile::TempDir, Earlier) {
        let folder = tempfile::tempdir().unwrap();
        let earlier = Earlier::new(&Output::new(folder.path()).unwrap());
        write(&earlier, name);
        (folder, earlier)
    }

    fn write(earlier: &Earlier, name: &str) {
        std::fs::create_dir_all(&earlier.checkpoint).unwrap();
        std::fs::write(earlier.checkpoint.join("of"), name).unwrap();
    }

    fn read(earlier: &Earlier) -> String {
        assert!(!earlier.aside.exists(), "nothing is left aside");
        std::fs::read_to_string(earlier.checkpoint.join("of")).unwrap()
    }

    #[test]
    fn a_start_that_has_only_just_ended_is_not_yet_chosen() {
        let options = Options { starts: 3, start_epochs: 5, ..Options::default() };
        assert_eq!([4, 5, 6].map(|epochs| chosen(&options, epochs)), [false, false, true]);
        assert!(chosen(&Options { starts: 1, ..options }, 1));
    }

    #[test]
    fn an_earlier_checkpoint_comes_back_after_a_failure_and_goes_after_a_success() {
        let (_folder, mut earlier) = bench("first");
        earlier.set_aside().unwrap();
        write(&earlier, "second");
        let kept = earlier.put_back().unwrap().unwrap();
        assert_eq!(std::fs::read_to_string(kept.join("of")).unwrap(), "second");
        assert_eq!(read(&earlier), "first");

        earlier.set_aside().unwrap();
        earlier.put_back().unwrap();
        assert_eq!(read(&earlier), "first", "even if the new training wrote none");

        earlier.set_aside().unwrap();
        write(&earlier, "second");
        earlier.remove().unwrap();
        assert_eq!(read(&earlier), "second");
    }

    #[test]
    fn what_a_killed_training_set_aside_is_not_lost() {
        let (folder, mut killed) = bench("finished");
        killed.set_aside().unwrap();
        write(&killed, "killed");
        let mut next = Earlier::new(&Output::new(folder.path()).unwrap());
        next.put_back().unwrap();
        assert_eq!(std::fs::read_to_string(next.checkpoint.join("of")).unwrap(), "killed", "it set nothing aside");
        next.set_aside().unwrap();
        write(&next, "failed");
        next.put_back().unwrap();
        assert_eq!(read(&next), "finished");
    }
}
