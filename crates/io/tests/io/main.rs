//! Every format read back, and every format damaged.

mod bcf;
mod bcf_writer;
mod damage;
mod dm;
mod dm_writer;
mod hyperspy;
mod idx;
mod numpy;
mod pictures;
mod raw;
mod real;
mod tables;

use std::path::PathBuf;

use tempfile::TempDir;

/// A folder that is gone when the test ends.
struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, bytes).unwrap();
        path
    }
}

/// The message, which must be one line that names the file.
fn message<T>(result: parsimon_io::Result<T>, file: &str) -> String {
    let Err(error) = result else { panic!("{file} should have been refused") };
    let text = error.to_string();
    assert!(text.contains(file) && text.lines().count() == 1 && text.len() < 1000, "{text}");
    text
}
