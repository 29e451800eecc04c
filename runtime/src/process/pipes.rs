//! Our ends of a child's pipes.
//!
//! A pipe has two open file descriptions, one for each end, so ours may be non-blocking without the child noticing.
#![forbid(unsafe_code)]

use std::fmt;
use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, IntoRawFd, OwnedFd, RawFd};
use std::process::Stdio;

use crate::park::WaitReason;
use crate::pollable::Pollable;
use crate::reactor::Interest;

/// The three types, which differ in their names and directions only.
macro_rules! ends {
    ($($(#[$attribute:meta])* $name:ident)*) => {$(
        $(#[$attribute])*
        ///
        /// A call that has to wait parks the coroutine; on a plain thread it blocks the thread. `&` of it will do as well.
        pub struct $name {
            pipe: Pollable<File>,
        }

        impl $name {
            pub(super) fn of(pipe: std::process::$name) -> io::Result<Self> {
                let pipe = Pollable::fresh(File::from(OwnedFd::from(pipe)))?;
                Ok($name { pipe })
            }
        }

        impl From<$name> for OwnedFd {
            /// Makes it blocking again.
            fn from(end: $name) -> Self {
                end.pipe.release().into()
            }
        }

        impl From<$name> for Stdio {
            /// For another child, which gets it blocking.
            fn from(end: $name) -> Self {
                OwnedFd::from(end).into()
            }
        }

        impl IntoRawFd for $name {
            fn into_raw_fd(self) -> RawFd {
                OwnedFd::from(self).into_raw_fd()
            }
        }

        impl AsFd for $name {
            fn as_fd(&self) -> BorrowedFd<'_> {
                self.pipe.io().as_fd()
            }
        }

        impl AsRawFd for $name {
            fn as_raw_fd(&self) -> RawFd {
                self.as_fd().as_raw_fd()
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_tuple(stringify!($name)).field(&self.as_raw_fd()).finish()
            }
        }
    )*};
}

ends! {
    /// Our end of a child's stdin: what is written here, it reads. Dropping it ends its input.
    ChildStdin
    /// Our end of a child's stdout: what it writes can be read here.
    ChildStdout
    /// Our end of a child's stderr: what it writes can be read here.
    ChildStderr
}

macro_rules! readable {
    ($($name:ident)*) => {$(
        impl Read for &$name {
            #[track_caller]
            fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
                read(&self.pipe, |mut pipe| pipe.read(buffer))
            }

            #[track_caller]
            fn read_vectored(&mut self, buffers: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
                read(&self.pipe, |mut pipe| pipe.read_vectored(buffers))
            }
        }

        impl Read for $name {
            #[track_caller]
            fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
                (&*self).read(buffer)
            }

            #[track_caller]
            fn read_vectored(&mut self, buffers: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
                (&*self).read_vectored(buffers)
            }
        }
    )*};
}

readable!(ChildStdout ChildStderr);

#[track_caller]
fn read(
    pipe: &Pollable<File>,
    attempt: impl FnMut(&File) -> io::Result<usize>,
) -> io::Result<usize> {
    pipe.perform(Interest::Read, WaitReason::Readable, attempt)
}

impl Write for &ChildStdin {
    /// # Errors
    /// `BrokenPipe` when the child has closed its end.
    #[track_caller]
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let reason = WaitReason::Writable;
        self.pipe
            .perform(Interest::Write, reason, |mut pipe| pipe.write(bytes))
    }

    #[track_caller]
    fn write_vectored(&mut self, buffers: &[IoSlice<'_>]) -> io::Result<usize> {
        let reason = WaitReason::Writable;
        self.pipe.perform(Interest::Write, reason, |mut pipe| {
            pipe.write_vectored(buffers)
        })
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Write for ChildStdin {
    #[track_caller]
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        (&*self).write(bytes)
    }

    #[track_caller]
    fn write_vectored(&mut self, buffers: &[IoSlice<'_>]) -> io::Result<usize> {
        (&*self).write_vectored(buffers)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
