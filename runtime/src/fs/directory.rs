//! Directories: what is in them, a batch at a time.
#![forbid(unsafe_code)]

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use super::{FileType, Metadata, call};
use crate::blocking::{IfBegun, offload};
use crate::seam::sync::Arc;

/// Entries that one job brings; the kernel gives about as many at a time.
const BATCH: usize = 256;

/// Lists a directory. As [`std::fs::read_dir`]; the entries come 256 with a job.
///
/// # Errors
/// As [`std::fs::read_dir`], also from the iterator.
///
/// ```
/// let names = runtime::run(|| runtime::fs::read_dir("/proc/self/fd")?.map(|entry| Ok(entry?.file_name())).collect());
/// let names: std::io::Result<Vec<_>> = names;
/// assert!(names.unwrap().iter().any(|name| name == "0"));
/// ```
#[track_caller]
pub fn read_dir<P: AsRef<Path>>(path: P) -> io::Result<ReadDir> {
    let path = path.as_ref().to_owned();
    call(move || {
        let mut read = ReadDir {
            source: Some(std::fs::read_dir(path)?),
            batch: VecDeque::new(),
        };
        read.batch = read.source.as_mut().map(next_batch).unwrap_or_default();
        Ok(read)
    })
}

/// The entries of a directory, but for `.` and `..`.
pub struct ReadDir {
    /// None: at its end.
    source: Option<std::fs::ReadDir>,
    batch: VecDeque<io::Result<DirEntry>>,
}

fn next_batch(source: &mut std::fs::ReadDir) -> VecDeque<io::Result<DirEntry>> {
    let entries = source.by_ref().take(BATCH);
    entries.map(|entry| entry.map(DirEntry::look_at)).collect()
}

impl Iterator for ReadDir {
    type Item = io::Result<DirEntry>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.batch.is_empty() {
            let mut source = self.source.take()?;
            let brings = offload(IfBegun::Finish, move || {
                let batch = next_batch(&mut source);
                (source, batch)
            });
            match brings {
                Ok((source, batch)) if !batch.is_empty() => {
                    (self.source, self.batch) = (Some(source), batch);
                }
                Ok(_) => return None,
                Err(error) => return Some(Err(error)),
            }
        }
        self.batch.pop_front()
    }
}

impl fmt::Debug for ReadDir {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ReadDir").field(&self.source).finish()
    }
}

/// One entry of a directory.
#[derive(Clone)]
pub struct DirEntry {
    entry: Arc<std::fs::DirEntry>,
    /// As the directory itself tells it, which most file systems do.
    file_type: Option<FileType>,
}

impl DirEntry {
    /// On a thread that may block.
    fn look_at(entry: std::fs::DirEntry) -> Self {
        DirEntry {
            file_type: entry.file_type().ok(),
            entry: Arc::new(entry),
        }
    }

    /// Its path: that of the directory, as it was given, and its name.
    pub fn path(&self) -> PathBuf {
        self.entry.path()
    }

    /// Its name.
    pub fn file_name(&self) -> OsString {
        self.entry.file_name()
    }

    /// What it is; a link is a link. Costs nothing: it came with the batch.
    ///
    /// # Errors
    /// As [`std::fs::DirEntry::file_type`].
    #[track_caller]
    pub fn file_type(&self) -> io::Result<FileType> {
        match self.file_type {
            Some(file_type) => Ok(file_type),
            None => Ok(self.metadata()?.file_type()),
        }
    }

    /// What is known about it; about the link, if it is one.
    ///
    /// # Errors
    /// As [`std::fs::DirEntry::metadata`].
    #[track_caller]
    pub fn metadata(&self) -> io::Result<Metadata> {
        let entry = Arc::clone(&self.entry);
        call(move || entry.metadata())
    }
}

impl fmt::Debug for DirEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.entry.fmt(f)
    }
}
