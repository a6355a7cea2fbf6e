use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};

use indicatif::{ProgressBar, ProgressStyle};

use crate::Progress;

/// A progress bar on the terminal, quiet elsewhere, that also stops training when a flag is raised.
#[derive(Debug)]
pub struct Bar<'a> {
    bar: ProgressBar,
    stop: &'a AtomicBool,
}

impl<'a> Bar<'a> {
    /// A bar with this label; training stops after the epoch in which `stop` becomes true.
    pub fn new(label: &str, stop: &'a AtomicBool) -> Self {
        let style = ProgressStyle::with_template("{prefix} [{bar:30}] {pos}/{len} epochs, {eta} left  {msg}");
        let bar = ProgressBar::new(0).with_prefix(label.to_owned());
        Self { bar: bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar())), stop }
    }

    /// Shows an epoch.
    pub fn show<M>(&self, progress: &Progress<'_, M>) -> ControlFlow<()> {
        self.bar.set_length(progress.total as u64);
        self.bar.set_position(progress.done as u64);
        if let Some(last) = progress.state.history.last() {
            let held_out = last.test.map_or(String::new(), |t| format!(", held out {:.2}", t.loss));
            self.bar.set_message(format!("−ELBO {:.2}{held_out}", last.train.loss));
        }
        if self.stop.load(Ordering::Relaxed) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }
}

impl Drop for Bar<'_> {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
