use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use parsimon_core::Embedding;
use tempfile::TempDir;

/// A directory for results. It is made when the first of them is written, so that a command that fails leaves none.
#[derive(Debug)]
pub struct Output {
    folder: PathBuf,
}

impl Output {
    /// Fails at once, before any work, if the directory cannot be written or made.
    pub fn new(folder: &Path) -> Result<Self> {
        let there = folder.ancestors().find(|f| f.exists() && !f.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let wrong = || format!("{}: cannot write there", folder.display());
        tempfile::NamedTempFile::new_in(there).with_context(wrong)?;
        Ok(Self { folder: folder.to_owned() })
    }

    /// A subdirectory.
    pub fn sub(&self, name: &str) -> Self {
        Self { folder: self.folder.join(name) }
    }

    /// Path of a file in it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// The directory.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Makes the directory.
    pub fn create(&self) -> Result<()> {
        fs::create_dir_all(&self.folder).with_context(|| format!("{}: cannot create", self.folder.display()))
    }

    /// Replaces a file by these bytes, or leaves it as it was.
    pub fn write(&self, name: &str, bytes: &[u8]) -> Result<()> {
        self.create()?;
        Ok(parsimon_io::write_atomically(&self.path(name), |out| std::io::Write::write_all(out, bytes))?)
    }

    /// Writes latents.
    pub fn latents(&self, name: &str, latents: &Embedding) -> Result<()> {
        self.create()?;
        Ok(parsimon_io::write_latents(&self.path(name), latents)?)
    }

    /// Writes many files that belong together: all of them, or, if the disk is full say, none.
    pub fn all_or_none(&self, write: impl FnOnce(&Self) -> Result<()>) -> Result<()> {
        self.create()?;
        let wrong = || format!("{}: cannot write there", self.folder.display());
        let aside = TempDir::with_prefix_in(".parsimon-", &self.folder).with_context(wrong)?;
        write(&Self { folder: aside.path().to_owned() })?;
        take_over(aside.path(), &self.folder).with_context(wrong)
    }
}

/// Moves all files of a directory to their places in another on the same disk.
fn take_over(from: &Path, to: &Path) -> std::io::Result<()> {
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let place = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            fs::create_dir_all(&place)?;
            take_over(&entry.path(), &place)?;
        } else {
            fs::rename(entry.path(), place)?;
        }
    }
    Ok(())
}

/// Fails unless a file can be written at this path; makes its directory if need be.
pub fn writable(file: &Path) -> Result<()> {
    let folder = match file.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    Output::new(folder)
        .and_then(|folder| folder.create())
        .with_context(|| format!("{}: cannot be written", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_that_belong_together_come_together() {
        let folder = tempfile::tempdir().unwrap();
        let out = Output::new(&folder.path().join("a/b")).unwrap();
        assert!(!folder.path().join("a").exists(), "nothing is made before something is written");
        let write = |text: &'static [u8], fails: bool| {
            out.all_or_none(|out| {
                out.write("one.txt", text)?;
                out.sub("run").write("two.txt", text)?;
                anyhow::ensure!(!fails, "the disk is full");
                Ok(())
            })
        };
        write(b"first", false).unwrap();
        assert!(write(b"second", true).is_err());
        for name in ["one.txt", "run/two.txt"] {
            assert_eq!(fs::read(out.path(name)).unwrap(), b"first", "{name}");
        }
        write(b"third", false).unwrap();
        assert_eq!(fs::read(out.path("run/two.txt")).unwrap(), b"third");
        assert_eq!(fs::read_dir(out.folder()).unwrap().count(), 2, "nothing temporary is left");
    }
}
