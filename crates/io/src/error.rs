use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

/// Result of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// Why a file could not be read or written; every message is one line that names the file and the reason.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Error {
    /// The operating system refused to read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The file could not be written; what was there before is untouched.
    #[error("cannot write {}: {source}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The content is that of no format this crate reads.
    #[error("cannot read {}: {reason}", path.display())]
    UnknownFormat {
        /// The file.
        path: PathBuf,
        /// What was found instead.
        reason: String,
    },
    /// The file is damaged, or holds something its format allows and this crate does not read.
    #[error("cannot read {} as {format}: {reason}", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// The format its content shows.
        format: &'static str,
        /// What is wrong.
        reason: String,
    },
    /// The file is sound and holds something else than was asked for.
    #[error("{} holds {found}, expected {expected}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What it holds.
        found: String,
        /// What was asked for.
        expected: String,
    },
    /// The values do not form the data type they should.
    #[error("{}: {source}", path.display())]
    Data {
        /// The file.
        path: PathBuf,
        /// Which invariant they break.
        source: parsimon_core::Error,
    },
    /// A description of a raw file that makes no sense.
    #[error("raw description `{text}`: {reason}")]
    RawLayout {
        /// The description.
        text: String,
        /// What is wrong with it.
        reason: String,
    },
}

/// One line of at most 300 characters, whatever a reader has to say.
pub(crate) fn one_line(reason: impl std::fmt::Display) -> String {
    let text = reason.to_string();
    let words: Vec<&str> = text.split_whitespace().collect();
    words.join(" ").chars().filter(|c| !c.is_control()).take(300).collect()
}

impl Error {
    pub(crate) fn read(path: &Path, source: io::Error) -> Self {
        Self::Read { path: path.to_owned(), source }
    }

    pub(crate) fn write(path: &Path, source: io::Error) -> Self {
        Self::Write { path: path.to_owned(), source }
    }

    pub(crate) fn format(path: &Path, format: &'static str, reason: impl std::fmt::Display) -> Self {
        Self::Format { path: path.to_owned(), format, reason: one_line(reason) }
    }

    pub(crate) fn content(path: &Path, found: impl Into<String>, expected: impl Into<String>) -> Self {
        Self::Content { path: path.to_owned(), found: found.into(), expected: expected.into() }
    }

    pub(crate) fn data(path: &Path, source: parsimon_core::Error) -> Self {
        Self::Data { path: path.to_owned(), source }
    }
}
