use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use parsimon_core::Embedding;

/// A directory for results, found writable before any work begins.
#[derive(Debug)]
pub struct Output {
    folder: PathBuf,
}

impl Output {
    /// Creates the directory if need be, and tries to write in it.
    pub fn new(folder: &Path) -> Result<Self> {
        std::fs::create_dir_all(folder).with_context(|| format!("{}: cannot create", folder.display()))?;
        tempfile::NamedTempFile::new_in(folder).with_context(|| format!("{}: cannot write there", folder.display()))?;
        Ok(Self { folder: folder.to_owned() })
    }

    /// A subdirectory.
    pub fn sub(&self, name: &str) -> Result<Self> {
        Self::new(&self.folder.join(name))
    }

    /// Path of a file in it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// The directory.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Replaces a file by these bytes, or leaves it as it was.
    pub fn write(&self, name: &str, bytes: &[u8]) -> Result<()> {
        Ok(parsimon_io::write_atomically(&self.path(name), |out| std::io::Write::write_all(out, bytes))?)
    }

    /// Writes latents.
    pub fn latents(&self, name: &str, latents: &Embedding) -> Result<()> {
        Ok(parsimon_io::write_latents(&self.path(name), latents)?)
    }
}

/// Fails unless the directory of a file to be written is there and writable.
pub fn writable(file: &Path) -> Result<()> {
    let folder = match file.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    Output::new(folder).map(drop).with_context(|| format!("{}: cannot be written", file.display()))
}
