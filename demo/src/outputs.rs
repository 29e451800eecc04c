//! Where the figures go besides the terminal.
#![forbid(unsafe_code)]

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::cleanup::Cleanup;
use crate::report::Report;

/// Where the JSON goes.
pub enum Sink {
    Nowhere,
    Stdout,
    File(File, PathBuf),
}

impl Sink {
    /// Opens the file before anything is measured, so that a path that cannot be written costs no wait.
    /// What it held before stays until there is something to replace it with.
    pub fn open(json: Option<PathBuf>, cleanup: &Cleanup) -> io::Result<Sink> {
        let Some(path) = json else {
            return Ok(Sink::Nowhere);
        };
        if path == Path::new("-") {
            return Ok(Sink::Stdout);
        }
        let is_new = !path.try_exists().unwrap_or(false);
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path);
        let file = file.map_err(|error| because(&path, &error))?;
        if is_new {
            cleanup.file_made(path.clone());
        }
        Ok(Sink::File(file, path))
    }

    pub fn write(self, report: &Report, cleanup: &Cleanup) -> io::Result<()> {
        let mut text = serde_json::to_string_pretty(report)?;
        text.push('\n');
        match self {
            Sink::Nowhere => Ok(()),
            Sink::Stdout => io::stdout().write_all(text.as_bytes()),
            Sink::File(file, path) => {
                replace(file, text.as_bytes()).map_err(|error| because(&path, &error))?;
                cleanup.file_filled(&path);
                Ok(())
            }
        }
    }
}

fn replace(mut file: File, content: &[u8]) -> io::Result<()> {
    // A device or a pipe has no length to cut.
    if file.metadata()?.is_file() {
        file.set_len(0)?;
    }
    file.write_all(content)
}

fn because(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(
        error.kind(),
        format!("cannot write {}: {error}", path.display()),
    )
}
