//! An open file, as [`std::fs::File`].
//!
//! ```text
//!   read(&mut buffer) ── job: read(2) into `spare` ──► thread
//!   copy out of it  ◄───────── `spare`, count ──────────┘
//! ```
//!
//! A job cannot borrow the caller's buffer: the caller may unwind while the thread still writes. So the file keeps
//! a buffer that goes with the job and comes back.
#![forbid(unsafe_code)]

use std::fmt;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

use super::{Metadata, OpenOptions, Permissions};
use crate::blocking::{IfBegun, offload};
use crate::home;
use crate::seam::sync::{Arc, Mutex, lock};

/// Most bytes that one job reads or writes; a call may bring fewer than asked for, as ever.
const CHUNK: usize = 256 << 10;

/// Most bytes that one job of a read to the end brings: some milliseconds of a disk.
const TO_END: u64 = 8 << 20;

/// An open file, as [`std::fs::File`]: `&File` reads, writes and seeks too, and all handles share one position.
///
/// Dropping it closes it. See the [module](crate::fs) for what a cancellation does.
///
/// ```
/// use std::io::Read;
///
/// let mut first = [0; 4];
/// runtime::run(|| runtime::fs::File::open("/proc/self/exe")?.read_exact(&mut first)).unwrap();
/// assert_eq!(&first, b"\x7fELF");
/// ```
pub struct File {
    io: Arc<std::fs::File>,
    if_begun: IfBegun,
    /// What the last job has worked with; empty while one is under way.
    spare: Mutex<Vec<u8>>,
}

impl File {
    /// Opens a file for reading.
    ///
    /// # Errors
    /// As [`std::fs::File::open`].
    #[track_caller]
    pub fn open<P: AsRef<Path>>(path: P) -> io::Result<File> {
        OpenOptions::new().read(true).open(path)
    }

    /// Opens a file for writing; makes it if it is missing, empties it if not.
    ///
    /// # Errors
    /// As [`std::fs::File::create`].
    #[track_caller]
    pub fn create<P: AsRef<Path>>(path: P) -> io::Result<File> {
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true).open(path)
    }

    /// Makes a file and opens it for reading and writing; an error if it is there.
    ///
    /// # Errors
    /// As [`std::fs::File::create_new`].
    #[track_caller]
    pub fn create_new<P: AsRef<Path>>(path: P) -> io::Result<File> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create_new(true).open(path)
    }

    /// Starts with no options, as [`std::fs::File::options`].
    pub fn options() -> OpenOptions {
        OpenOptions::new()
    }

    /// Waits until contents and metadata are on the disk.
    ///
    /// # Errors
    /// Those of fsync(2).
    #[track_caller]
    pub fn sync_all(&self) -> io::Result<()> {
        self.call(std::fs::File::sync_all)
    }

    /// Waits until the contents are on the disk, and the metadata that it takes to read them.
    ///
    /// # Errors
    /// Those of fdatasync(2).
    #[track_caller]
    pub fn sync_data(&self) -> io::Result<()> {
        self.call(std::fs::File::sync_data)
    }

    /// Cuts it off, or fills it up with zeros.
    ///
    /// # Errors
    /// Those of ftruncate(2).
    #[track_caller]
    pub fn set_len(&self, size: u64) -> io::Result<()> {
        self.call(move |io| io.set_len(size))
    }

    /// What is known about it.
    ///
    /// # Errors
    /// Those of fstat(2).
    #[track_caller]
    pub fn metadata(&self) -> io::Result<Metadata> {
        self.call(std::fs::File::metadata)
    }

    /// Changes who may do what with it.
    ///
    /// # Errors
    /// Those of fchmod(2).
    #[track_caller]
    pub fn set_permissions(&self, permissions: Permissions) -> io::Result<()> {
        self.call(move |io| io.set_permissions(permissions))
    }

    /// A second handle with a descriptor of its own, and the same position.
    ///
    /// # Errors
    /// `EMFILE`: no descriptor is left.
    pub fn try_clone(&self) -> io::Result<File> {
        Ok(File::with(self.io.try_clone()?, self.if_begun))
    }

    /// The std file. While a call that was left goes on in it, a second handle of it.
    ///
    /// # Errors
    /// `EMFILE`: no descriptor is left for that second handle.
    pub fn into_std(self) -> io::Result<std::fs::File> {
        match Arc::try_unwrap(self.io) {
            Ok(io) => Ok(io),
            Err(io) => io.try_clone(),
        }
    }

    fn with(io: std::fs::File, if_begun: IfBegun) -> Self {
        File {
            io: Arc::new(io),
            if_begun,
            spare: Mutex::new(Vec::new()),
        }
    }

    #[track_caller]
    fn call<T: Send + 'static>(
        &self,
        f: impl FnOnce(&std::fs::File) -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let io = Arc::clone(&self.io);
        offload(self.if_begun, move || f(&io))?
    }

    /// Runs a call that works with bytes of its own, `length` of them, and returns what it returns. `before` and
    /// `after` it the caller has access to them.
    #[track_caller]
    fn call_with_bytes(
        &self,
        length: usize,
        before: impl FnOnce(&mut [u8]),
        f: impl FnOnce(&std::fs::File, &mut [u8]) -> io::Result<usize> + Send + 'static,
        after: impl FnOnce(&[u8]),
    ) -> io::Result<usize> {
        let mut bytes = std::mem::take(&mut *lock(&self.spare));
        if bytes.len() < length {
            bytes.resize(length, 0);
        }
        before(&mut bytes[..length]);
        let io = Arc::clone(&self.io);
        let (bytes, outcome) = offload(self.if_begun, move || {
            let outcome = f(&io, &mut bytes[..length]);
            (bytes, outcome)
        })?;
        if let Ok(count) = &outcome {
            after(&bytes[..*count]);
        }
        *lock(&self.spare) = bytes;
        outcome
    }
}

/// Nothing to wait for, or nobody who could park: then std's call does, with the caller's own buffer.
fn goes_direct(length: usize) -> bool {
    length == 0 || home::current().is_none()
}

impl Read for &File {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if goes_direct(buffer.len()) {
            return (&*self.io).read(buffer);
        }
        self.call_with_bytes(
            buffer.len().min(CHUNK),
            |_| (),
            |mut io, bytes| io.read(bytes),
            |bytes| buffer[..bytes.len()].copy_from_slice(bytes),
        )
    }

    fn read_to_end(&mut self, buffer: &mut Vec<u8>) -> io::Result<usize> {
        let mut total = 0;
        loop {
            // As std's, it keeps what it had read when it failed.
            let (bytes, outcome) = self.call(|io| {
                let mut bytes = Vec::new();
                let outcome = io.take(TO_END).read_to_end(&mut bytes);
                Ok((bytes, outcome))
            })?;
            buffer.extend_from_slice(&bytes);
            total += outcome?;
            if (bytes.len() as u64) < TO_END {
                return Ok(total);
            }
        }
    }

    fn read_to_string(&mut self, buffer: &mut String) -> io::Result<usize> {
        let mut bytes = Vec::new();
        self.read_to_end(&mut bytes)?;
        let text = std::str::from_utf8(&bytes).map_err(|_| {
            let what = "stream did not contain valid UTF-8"; // std's words
            io::Error::new(io::ErrorKind::InvalidData, what)
        })?;
        buffer.push_str(text);
        Ok(text.len())
    }
}

impl Write for &File {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if goes_direct(bytes.len()) {
            return (&*self.io).write(bytes);
        }
        let length = bytes.len().min(CHUNK);
        self.call_with_bytes(
            length,
            |own| own.copy_from_slice(&bytes[..length]),
            |mut io, own| io.write(own),
            |_| (),
        )
    }

    /// Does nothing: nothing is held back here. See [`File::sync_all`].
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Seek for &File {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        // It may wait for a read that was left.
        self.call(move |mut io| io.seek(to))
    }
}

impl Read for File {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        (&*self).read(buffer)
    }

    fn read_to_end(&mut self, buffer: &mut Vec<u8>) -> io::Result<usize> {
        (&*self).read_to_end(buffer)
    }

    fn read_to_string(&mut self, buffer: &mut String) -> io::Result<usize> {
        (&*self).read_to_string(buffer)
    }
}

impl Write for File {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        (&*self).write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Seek for File {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        (&*self).seek(to)
    }
}

impl From<std::fs::File> for File {
    /// Looks at what kind of file it is: one fstat(2), right here.
    fn from(io: std::fs::File) -> Self {
        let kind = io.metadata().map(|metadata| metadata.file_type());
        let is_soon_done =
            |kind: std::fs::FileType| kind.is_file() || kind.is_dir() || kind.is_block_device();
        let if_begun = if kind.is_ok_and(is_soon_done) {
            IfBegun::Finish
        } else {
            IfBegun::Leave
        };
        File::with(io, if_begun)
    }
}

impl From<OwnedFd> for File {
    fn from(fd: OwnedFd) -> Self {
        std::fs::File::from(fd).into()
    }
}

impl AsFd for File {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.io.as_fd()
    }
}

impl AsRawFd for File {
    fn as_raw_fd(&self) -> RawFd {
        self.io.as_raw_fd()
    }
}

impl fmt::Debug for File {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.io.fmt(f)
    }
}
