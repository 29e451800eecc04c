//! Pipes, as [`std::io::pipe`].

#![forbid(unsafe_code)]

use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::process::Stdio;

use crate::park::WaitReason;
use crate::pollable::{Bound, Pollable, by_value, handle};
use crate::reactor::Interest;

/// Makes a pipe: what is written to its second end is read from its first, as [`std::io::pipe`].
///
/// It holds 64 KiB (pipe(7)); a writer waits when it is full, a reader when it is empty. Reading returns 0 when every
/// writer is gone.
///
/// # Errors
/// `EMFILE`, `ENFILE`: no descriptors are left.
///
/// ```
/// use std::io::{Read, Write};
///
/// runtime::run(|| -> std::io::Result<()> {
///     let (mut from, mut to) = runtime::io::pipe()?;
///     runtime::spawn(move || to.write_all(b"hello"));
///     let mut all = String::new();
///     from.read_to_string(&mut all)?; // waits, and the writer runs
///     assert_eq!(all, "hello");
///     Ok(())
/// })
/// # .unwrap();
/// ```
pub fn pipe() -> io::Result<(PipeReader, PipeWriter)> {
    let (from, to) = io::pipe()?;
    let (from, to) = (Pollable::fresh(from)?, Pollable::fresh(to)?);
    Ok((PipeReader { pipe: from }, PipeWriter { pipe: to }))
}

/// The end of a [`pipe`] that is read from, as [`std::io::PipeReader`].
///
/// # Cost
/// One read(2), and one more when it has to wait: an empty pipe is known by `EAGAIN` only, since a writer may have
/// chosen to send packets (`O_DIRECT`), of which each read takes one.
pub struct PipeReader {
    pipe: Pollable<io::PipeReader>,
}

/// The end of a [`pipe`] that is written to, as [`std::io::PipeWriter`].
///
/// Writing to a pipe that nobody reads any more is the error `BrokenPipe`, and a `SIGPIPE` where that is not ignored:
/// Rust programs ignore it.
pub struct PipeWriter {
    pipe: Pollable<io::PipeWriter>,
}

handle!(PipeReader { pipe: Pollable<io::PipeReader> });
handle!(PipeWriter { pipe: Pollable<io::PipeWriter> });
by_value!(Read for PipeReader);
by_value!(Write for PipeWriter);

impl PipeReader {
    #[track_caller]
    fn receive(
        &self,
        room: usize,
        attempt: impl FnMut(&io::PipeReader) -> io::Result<usize>,
    ) -> io::Result<usize> {
        if room == 0 {
            return Ok(0);
        }
        let reason = WaitReason::Readable;
        self.pipe.perform(Interest::Read, reason, attempt)
    }
}

impl Read for &PipeReader {
    /// As [`std::io::PipeReader`]; a buffer without room returns at once.
    #[track_caller]
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.receive(buffer.len(), |mut io| io.read(buffer))
    }

    #[track_caller]
    fn read_vectored(&mut self, buffers: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        let room = buffers.iter().map(|buffer| buffer.len()).sum();
        self.receive(room, |mut io| io.read_vectored(buffers))
    }
}

impl PipeWriter {
    #[track_caller]
    fn send(
        &self,
        offered: usize,
        attempt: impl FnMut(&io::PipeWriter) -> io::Result<usize>,
    ) -> io::Result<usize> {
        if offered == 0 {
            return Ok(0);
        }
        self.pipe.perform_within(
            Bound::Endless,
            Interest::Write,
            WaitReason::Writable,
            attempt,
            |&sent| sent < offered,
        )
    }
}

impl Write for &PipeWriter {
    #[track_caller]
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.send(bytes.len(), |mut io| io.write(bytes))
    }

    #[track_caller]
    fn write_vectored(&mut self, buffers: &[IoSlice<'_>]) -> io::Result<usize> {
        // As many as the kernel takes at a time; std offers it no more.
        let offered = buffers.iter().map(|buffer| buffer.len()).sum();
        self.send(offered, |mut io| io.write_vectored(buffers))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl From<PipeReader> for Stdio {
    /// A child reads from it, and finds it blocking.
    fn from(ours: PipeReader) -> Self {
        io::PipeReader::from(ours).into()
    }
}

impl From<PipeWriter> for Stdio {
    /// A child writes to it, and finds it blocking.
    fn from(ours: PipeWriter) -> Self {
        io::PipeWriter::from(ours).into()
    }
}
