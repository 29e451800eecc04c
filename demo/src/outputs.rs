//! Where the findings go besides the terminal: JSON, CSV and the HTML report, into files or to stdout.
//!
//! ```text
//!   open ──> measure, a minute or an hour ──> write
//!    │                                         └ what a file held before is replaced
//!    └ a file that cannot be written is found here: nothing is measured, exit status 2
//! ```
#![forbid(unsafe_code)]

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use clap::Args;

use crate::cleanup::Cleanup;
use crate::csv;
use crate::html;
use crate::report::Report;

/// The report that the tour writes unless it is told where.
pub const REPORT: &str = "demo-report.html";

/// The files that are asked for on the command line.
#[derive(Clone, Debug, Default, Args)]
pub struct Wanted {
    /// Write an HTML report to FILE, or to stdout (-), which then carries nothing else
    #[arg(long, global = true, value_name = "FILE")]
    pub report: Option<PathBuf>,

    /// Write the figures as JSON to FILE, or to stdout (-), which then carries nothing else
    #[arg(long, global = true, value_name = "FILE")]
    pub json: Option<PathBuf>,

    /// Write the figures as CSV to FILE, or to stdout (-), which then carries nothing else
    #[arg(long, global = true, value_name = "FILE")]
    pub csv: Option<PathBuf>,
}

impl Wanted {
    /// Whether none was.
    pub fn is_empty(&self) -> bool {
        self.json.is_none() && self.csv.is_none() && self.report.is_none()
    }
}

#[derive(Clone, Copy, Debug)]
enum Format {
    Json,
    Csv,
    Html,
}

/// Where one of them goes.
#[derive(Debug)]
enum Sink {
    Stdout,
    File(File, PathBuf),
}

/// All that is to be written at the end.
#[derive(Debug, Default)]
pub struct Outputs(Vec<(Format, Sink)>);

impl Outputs {
    /// Opens the files before anything is measured, so that a path that cannot be written costs no wait.
    /// What they held before stays until there is something to replace it with.
    ///
    /// # Errors
    /// The system's, with the file's name; or two outputs have one target.
    pub fn open(wanted: Wanted, cleanup: &Cleanup) -> io::Result<Outputs> {
        let mut outputs = Outputs::default();
        let wanted = [
            (Format::Json, wanted.json),
            (Format::Csv, wanted.csv),
            (Format::Html, wanted.report),
        ];
        for (format, path) in wanted {
            if let Some(path) = path {
                let sink = Sink::open(path, cleanup)?;
                outputs.check(&sink)?;
                outputs.0.push((format, sink));
            }
        }
        Ok(outputs)
    }

    /// Refuses a target that is already taken.
    fn check(&self, sink: &Sink) -> io::Result<()> {
        for (_, other) in &self.0 {
            let (is_same, name) = match (sink, other) {
                (Sink::Stdout, Sink::Stdout) => (true, "stdout".to_owned()),
                (Sink::File(one, path), Sink::File(other, _)) => {
                    let (one, other) = (one.metadata()?, other.metadata()?);
                    let is_same =
                        one.is_file() && (one.dev(), one.ino()) == (other.dev(), other.ino());
                    (is_same, path.display().to_string())
                }
                _ => continue,
            };
            if is_same {
                let text = format!("cannot write two things to {name}");
                return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
            }
        }
        Ok(())
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether one of them takes stdout, which then carries nothing else.
    pub fn take_stdout(&self) -> bool {
        self.0.iter().any(|(_, sink)| matches!(sink, Sink::Stdout))
    }

    /// Writes all of them; `whole`: `report` is that of the tour. Returns the files that were written.
    ///
    /// # Errors
    /// The first of the system's; the other outputs are written nevertheless.
    pub fn write(
        self,
        report: &Report,
        whole: bool,
        cleanup: &Cleanup,
    ) -> io::Result<Vec<PathBuf>> {
        let mut written = Vec::new();
        let mut first_error = None;
        for (format, sink) in self.0 {
            match text(format, report, whole).and_then(|text| sink.write(&text, cleanup)) {
                Ok(path) => written.extend(path),
                Err(error) => first_error = first_error.or(Some(error)),
            }
        }
        first_error.map_or(Ok(written), Err)
    }
}

fn text(format: Format, report: &Report, whole: bool) -> io::Result<String> {
    Ok(match format {
        Format::Json => serde_json::to_string_pretty(report)? + "\n",
        Format::Csv => csv::table(report),
        Format::Html => html::page(report, whole),
    })
}

impl Sink {
    fn open(path: PathBuf, cleanup: &Cleanup) -> io::Result<Sink> {
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

    fn write(self, text: &str, cleanup: &Cleanup) -> io::Result<Option<PathBuf>> {
        match self {
            Sink::Stdout => io::stdout().write_all(text.as_bytes()).map(|()| None),
            Sink::File(file, path) => {
                replace(file, text.as_bytes()).map_err(|error| because(&path, &error))?;
                cleanup.file_filled(&path);
                Ok(Some(path))
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
    let advice = if path == Path::new(REPORT) {
        "; --report FILE puts it elsewhere"
    } else {
        ""
    };
    let text = format!("cannot write {}: {error}{advice}", path.display());
    io::Error::new(error.kind(), text)
}
