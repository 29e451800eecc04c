//! Files, as in [`std::fs`], on threads where they may block.
//!
//! epoll cannot wait for a file: it is always "ready", and then the read takes what the disk takes. So each call is a
//! job for the [pool](crate::spawn_blocking) of the runtime, and the coroutine parks until it is done. On a plain
//! thread it is std's call itself.
//!
//! ```
//! use std::io::{Read, Seek, SeekFrom, Write};
//! use runtime::fs;
//!
//! runtime::run(|| -> std::io::Result<()> {
//!     let path = std::env::temp_dir().join(format!("runtime-doc-{}", std::process::id()));
//!     fs::write(&path, "one two")?;
//!     let mut file = fs::OpenOptions::new().read(true).write(true).open(&path)?;
//!     file.seek(SeekFrom::Start(4))?;
//!     file.write_all(b"six")?;
//!     file.rewind()?;
//!     let mut text = String::new();
//!     file.read_to_string(&mut text)?;
//!     assert_eq!(text, "one six");
//!     fs::remove_file(&path)
//! })
//! # .unwrap();
//! ```
//!
//! **Cancellation.** A call that has not begun is withdrawn. One that has:
//!
//! - of a [`File`] that is a regular file, a directory or a disk: is waited for, which takes no longer than the disk
//!   does, and its result is returned, so a file's position always tells what was read and written;
//! - of any other file (a FIFO, a terminal), where it might take for ever, and of the functions here that take a path:
//!   is left. It goes on by itself, and what it would have returned is dropped. For a FIFO or a terminal a thread
//!   is blocked meanwhile: better wait for its descriptor.
//!
//! **Cost**: a call of std's, a copy of the bytes (a thread cannot borrow from a coroutine that may leave), and the way
//! to another thread and back, some 10 us. Large reads and writes share it: wrap small ones in
//! [`BufReader`](std::io::BufReader) and [`BufWriter`](std::io::BufWriter), or use [`read()`] and [`write()`].
#![forbid(unsafe_code)]

mod directory;
mod file;
mod open_options;

use std::io;
use std::path::{Path, PathBuf};

pub use directory::{DirEntry, ReadDir, read_dir};
pub use file::File;
pub use open_options::OpenOptions;
pub use std::fs::{FileType, Metadata, Permissions};

use crate::blocking::{IfBegun, offload};

/// Runs a call that takes what it needs with it.
#[track_caller]
fn call<T, F>(f: F) -> io::Result<T>
where
    T: Send + 'static,
    F: FnOnce() -> io::Result<T> + Send + 'static,
{
    offload(IfBegun::Leave, f)?
}

/// Functions of std's with the same name, that take one path.
macro_rules! of_one_path {
    ($($(#[$attribute:meta])* $name:ident -> $value:ty;)*) => {$(
        $(#[$attribute])*
        ///
        /// # Errors
        #[doc = concat!("As [`std::fs::", stringify!($name), "`].")]
        #[track_caller]
        pub fn $name<P: AsRef<Path>>(path: P) -> io::Result<$value> {
            let path = path.as_ref().to_owned();
            call(move || std::fs::$name(path))
        }
    )*};
}

/// The same with two.
macro_rules! of_two_paths {
    ($($(#[$attribute:meta])* $name:ident($from:ident, $to:ident) -> $value:ty;)*) => {$(
        $(#[$attribute])*
        ///
        /// # Errors
        #[doc = concat!("As [`std::fs::", stringify!($name), "`].")]
        #[track_caller]
        pub fn $name<P: AsRef<Path>, Q: AsRef<Path>>($from: P, $to: Q) -> io::Result<$value> {
            let ($from, $to) = ($from.as_ref().to_owned(), $to.as_ref().to_owned());
            call(move || std::fs::$name($from, $to))
        }
    )*};
}

of_one_path! {
    /// Reads a file from its beginning to its end.
    read -> Vec<u8>;
    /// Reads a file of UTF-8 from its beginning to its end.
    read_to_string -> String;
    /// Makes a directory, whose parent must be there.
    create_dir -> ();
    /// Makes a directory, and those above it that are missing.
    create_dir_all -> ();
    /// Removes a file, or the link to it.
    remove_file -> ();
    /// Removes an empty directory.
    remove_dir -> ();
    /// Removes a directory and all that is in it. Links are removed, not followed. Left in the middle, it goes on.
    remove_dir_all -> ();
    /// What is known about a file; of a link, about what it leads to.
    metadata -> Metadata;
    /// What is known about a file; of a link, about the link itself.
    symlink_metadata -> Metadata;
    /// Whether something is there, links followed.
    exists -> bool;
    /// What a link says.
    read_link -> PathBuf;
    /// The path without links and dots.
    canonicalize -> PathBuf;
}

of_two_paths! {
    /// Copies the contents of a file, and its permissions; returns the number of bytes. Left in the middle, it goes on.
    copy(from, to) -> u64;
    /// Gives a file another name, in place of what had that name before.
    rename(from, to) -> ();
    /// Makes another name for a file.
    hard_link(original, link) -> ();
}

/// Writes `contents` to a file, in place of what was in it; makes the file if it is missing.
///
/// # Errors
/// As [`std::fs::write`].
#[track_caller]
pub fn write<P: AsRef<Path>, C: AsRef<[u8]>>(path: P, contents: C) -> io::Result<()> {
    let (path, contents) = (path.as_ref().to_owned(), contents.as_ref().to_owned());
    call(move || std::fs::write(path, contents))
}

/// Changes who may do what with a file.
///
/// # Errors
/// As [`std::fs::set_permissions`].
#[track_caller]
pub fn set_permissions<P: AsRef<Path>>(path: P, permissions: Permissions) -> io::Result<()> {
    let path = path.as_ref().to_owned();
    call(move || std::fs::set_permissions(path, permissions))
}
