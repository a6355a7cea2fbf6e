use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::{fs, io};

use anyhow::{Context, Result, ensure};
use parsimon_core::Embedding;
use tempfile::TempDir;

use crate::FINISHES;

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
        // The error of the library names the temporary file, which means nothing to the user.
        tempfile::NamedTempFile::new_in(there).map_err(|e| io::Error::from(e.kind())).with_context(wrong)?;
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
        Ok(parsimon_io::write_atomically(&self.path(name), |out| io::Write::write_all(out, bytes))?)
    }

    /// Removes a file; whether it was there.
    pub fn remove(&self, name: &str) -> Result<bool> {
        let path = self.path(name);
        match fs::remove_file(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            removed => removed.map(|()| true).with_context(|| format!("{}: cannot remove", path.display())),
        }
    }

    /// Writes latents.
    pub fn latents(&self, name: &str, latents: &Embedding) -> Result<()> {
        self.create()?;
        Ok(parsimon_io::write_latents(&self.path(name), latents)?)
    }

    /// Writes many files that belong together: first aside, so that a failure or a full disk leaves the earlier ones, and
    /// then each to its place. Should a move fail, the files not yet moved stay aside, and the error says where.
    pub fn all_or_none(&self, write: impl FnOnce(&Self) -> Result<()>) -> Result<()> {
        self.create()?;
        let wrong = || format!("{}: cannot write there", self.folder.display());
        let aside = TempDir::with_prefix_in(".parsimon-", &self.folder)
            .map_err(|e| io::Error::from(e.kind()))
            .with_context(wrong)?;
        write(&Self { folder: aside.path().to_owned() })?;
        let moves = moves(aside.path(), &self.folder)?;
        FINISHES.store(true, Ordering::Relaxed);
        for (from, to) in moves {
            if let Some(folder) = to.parent() {
                fs::create_dir_all(folder).with_context(wrong)?;
            }
            if let Err(error) = fs::rename(from, &to) {
                let rest = aside.keep();
                return Err(error)
                    .with_context(|| format!("{}: cannot write; the rest is in {}", to.display(), rest.display()));
            }
        }
        FINISHES.store(false, Ordering::Relaxed);
        Ok(())
    }
}

/// A name as CSV has it: quoted if it holds a comma or a quote.
pub fn field(name: &str) -> String {
    if name.contains([',', '"']) { format!("\"{}\"", name.replace('"', "\"\"")) } else { name.to_owned() }
}

/// All files of a directory, with their places in another; fails if one cannot go there.
fn moves(from: &Path, to: &Path) -> Result<Vec<(PathBuf, PathBuf)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let place = to.join(entry.file_name());
        let there = fs::metadata(&place).ok();
        let stops = |why: &str| anyhow::anyhow!("{}: cannot write, {why}", place.display());
        if entry.file_type()?.is_dir() {
            ensure!(there.is_none_or(|t| t.is_dir()), stops("it is no directory"));
            found.extend(moves(&entry.path(), &place)?);
        } else {
            ensure!(there.as_ref().is_none_or(|t| !t.is_dir()), stops("it is a directory"));
            ensure!(there.as_ref().is_none_or(|t| !t.permissions().readonly()), stops("the file there is read-only"));
            // As everywhere, a link stays and its target is replaced.
            let place = if there.is_some() { fs::canonicalize(&place)? } else { place };
            found.push((entry.path(), place));
        }
    }
    Ok(found)
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

/// As [`writable`], and none of what is read, which would be gone.
pub fn writable_beside(file: &Path, read: &Path) -> Result<()> {
    let same = || Some(file.canonicalize().ok()? == read.canonicalize().ok()?);
    ensure!(same() != Some(true), "{}: is read from, accepted for --out is another file", file.display());
    writable(file)
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

    #[test]
    fn what_stands_in_the_way_is_found_before_anything_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let out = Output::new(folder.path()).unwrap();
        let write = |text: &'static [u8]| {
            out.all_or_none(|out| {
                out.write("a.txt", text)?;
                out.sub("run").write("b.txt", text)
            })
        };
        fs::write(out.path("run"), b"a file").unwrap();
        assert!(write(b"first").unwrap_err().to_string().contains("no directory"));
        fs::remove_file(out.path("run")).unwrap();
        fs::create_dir_all(out.path("run/b.txt")).unwrap();
        assert!(write(b"first").unwrap_err().to_string().contains("is a directory"));
        fs::remove_dir(out.path("run/b.txt")).unwrap();
        let kept = out.path("run/b.txt");
        fs::write(&kept, b"kept").unwrap();
        let mut permissions = fs::metadata(&kept).unwrap().permissions();
        permissions.set_readonly(true);
        fs::set_permissions(&kept, permissions).unwrap();
        assert!(write(b"first").unwrap_err().to_string().contains("read-only"));
        assert_eq!(fs::read(&kept).unwrap(), b"kept");
        assert!(!out.path("a.txt").exists());
        assert_eq!(fs::read_dir(out.folder()).unwrap().count(), 1, "nothing temporary is left");
    }

    #[cfg(unix)]
    #[test]
    fn links_stay_and_their_targets_are_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let out = Output::new(&folder.path().join("out")).unwrap();
        out.create().unwrap();
        let target = folder.path().join("target");
        fs::write(&target, b"old").unwrap();
        std::os::unix::fs::symlink(&target, out.path("a.txt")).unwrap();
        out.all_or_none(|out| out.write("a.txt", b"new")).unwrap();
        assert!(fs::symlink_metadata(out.path("a.txt")).unwrap().is_symlink());
        assert_eq!(fs::read(&target).unwrap(), b"new");
    }
}
