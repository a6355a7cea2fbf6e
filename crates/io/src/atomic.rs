use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use crate::{Error, Result};

/// What [`write_atomically`] hands to the code that writes: buffered, seekable.
pub type Writer<'a> = BufWriter<&'a mut File>;

/// Writes a file as a whole or not at all.
///
/// The bytes go to a temporary file in the same directory, which is flushed to the disk and then takes the place of
/// `path` in one step. Whatever fails on the way, an earlier file at `path` stays as it was. Devices and pipes are
/// written directly, a symbolic link stays and its target is replaced.
///
/// # Errors
/// If the directory does not exist or cannot be written, `path` is a directory or read-only, or `write` fails.
pub fn write_atomically(path: &Path, write: impl FnOnce(&mut Writer<'_>) -> io::Result<()>) -> Result<()> {
    replace(path, write).map_err(|source| Error::write(path, source))
}

fn replace(path: &Path, write: impl FnOnce(&mut Writer<'_>) -> io::Result<()>) -> io::Result<()> {
    let target = match fs::metadata(path) {
        Ok(there) if there.is_dir() => return Err(io::Error::other("it is a directory")),
        Ok(there) if there.permissions().readonly() => return Err(io::Error::other("the file there is read-only")),
        Ok(there) if there.is_file() => fs::canonicalize(path)?,
        Ok(_) => return fill(&mut fs::OpenOptions::new().write(true).open(path)?, write),
        Err(_) => path.to_owned(),
    };
    let directory = target.parent().filter(|p| !p.as_os_str().is_empty()).map_or(PathBuf::from("."), Path::to_owned);
    if !directory.is_dir() {
        return Err(io::Error::other(format!("there is no directory {}", directory.display())));
    }
    let mut temporary = builder().tempfile_in(&directory).map_err(|e| io::Error::from(e.kind()))?;
    fill(temporary.as_file_mut(), write)?;
    temporary.as_file().sync_all()?;
    temporary.persist(&target).map_err(|e| e.error)?;
    Ok(())
}

fn fill(file: &mut File, write: impl FnOnce(&mut Writer<'_>) -> io::Result<()>) -> io::Result<()> {
    let mut writer = BufWriter::with_capacity(1 << 16, file);
    write(&mut writer)?;
    writer.flush()
}

/// Temporary files are private by default; a result should be as readable as the user's umask lets it.
fn builder() -> tempfile::Builder<'static, 'static> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(".parsimon-");
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    builder
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failing_write_leaves_the_earlier_file_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.txt");
        write_atomically(&path, |w| w.write_all(b"first")).unwrap();
        let full = |w: &mut Writer<'_>| {
            w.write_all(&[7; 200_000])?;
            Err(io::Error::from(io::ErrorKind::StorageFull))
        };
        let error = write_atomically(&path, full).unwrap_err().to_string();
        assert!(error.contains("a.txt") && error.contains("no storage space"), "{error}");
        assert_eq!(fs::read(&path).unwrap(), b"first");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        write_atomically(&path, |w| w.write_all(b"second")).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"second");
    }

    #[test]
    fn impossible_targets_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let says = |path: &Path| write_atomically(path, |w| w.write_all(b"x")).unwrap_err().to_string();
        assert!(says(folder.path()).contains("is a directory"));
        assert!(says(&folder.path().join("none/a.txt")).contains("there is no directory"));
        let kept = folder.path().join("kept");
        fs::write(&kept, b"old").unwrap();
        let mut permissions = fs::metadata(&kept).unwrap().permissions();
        permissions.set_readonly(true);
        fs::set_permissions(&kept, permissions).unwrap();
        assert!(says(&kept).contains("read-only"));
        assert_eq!(fs::read(&kept).unwrap(), b"old");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_full_disk_is_an_error() {
        let text = write_atomically(Path::new("/dev/full"), |w| w.write_all(b"x")).unwrap_err().to_string();
        assert!(text.contains("cannot write /dev/full: No space left"), "{text}");
    }

    #[cfg(unix)]
    #[test]
    fn links_and_devices_survive_and_results_are_not_private() {
        use std::os::unix::fs::{FileTypeExt, PermissionsExt, symlink};
        let folder = tempfile::tempdir().unwrap();
        let (file, link) = (folder.path().join("file"), folder.path().join("link"));
        fs::write(&file, b"old").unwrap();
        symlink(&file, &link).unwrap();
        write_atomically(&link, |w| w.write_all(b"new")).unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read(&file).unwrap(), b"new");
        let plain = folder.path().join("plain");
        fs::write(&plain, b"").unwrap();
        let mode = |p: &Path| fs::metadata(p).unwrap().permissions().mode();
        assert_eq!(mode(&file), mode(&plain));
        write_atomically(Path::new("/dev/null"), |w| w.write_all(b"x")).unwrap();
        assert!(fs::metadata("/dev/null").unwrap().file_type().is_char_device());
    }
}
