//! What all kinds of sockets have in common, written once.
//!
//! | here          | gives                                                        | to                       |
//! |---------------|--------------------------------------------------------------|--------------------------|
//! | `Socket`      | a life before and after as one of std's, clones, timeouts    | what follows             |
//! | `handle!`     | clones, conversions from and into std's type and descriptors | every kind, pipes too    |
//! | `socket!`     | the pending error, calls that do not wait                    | every kind of socket     |
//! | `timeouts!`   | bounds for reads and writes                                  | all that is no listener  |
//! | `by_value!`   | `Read`, `Write` as they are for a reference                  | streams, ends of a pipe  |
//!
//! So a kind is one file with what only it can do.

#![forbid(unsafe_code)]

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use socket2::SockRef;

use super::socket::Socket;
use crate::reactor::Interest;
use crate::sys::descriptor;

impl<T: AsFd + From<OwnedFd>> Socket<T> {
    /// Takes a new descriptor of ours, which nobody has set anything of.
    pub(crate) fn fresh(io: T) -> io::Result<Self> {
        descriptor::set_nonblocking(io.as_fd(), true)?;
        Ok(Self::new(io))
    }

    /// Takes over what was one of std's: makes it non-blocking, for all its clones, and keeps its timeouts.
    pub(crate) fn adopt(io: T) -> Self {
        let socket = Self::fresh(io).expect("an open descriptor can be made non-blocking");
        let io = SockRef::from(socket.io());
        // What is no socket has no timeouts.
        let timeouts = [
            (Interest::Read, io.read_timeout()),
            (Interest::Write, io.write_timeout()),
        ];
        for (interest, timeout) in timeouts {
            if let Ok(Some(timeout)) = timeout {
                socket.options().set_timeout(interest, Some(timeout));
            }
        }
        socket
    }

    /// Gives it back as std has it: blocking, unless the user asked for the contrary.
    pub(crate) fn release(self) -> T {
        let (io, options) = self.into_parts();
        descriptor::set_nonblocking(io.as_fd(), options.non_blocking())
            .expect("an open descriptor can be made blocking");
        io
    }

    pub(crate) fn try_clone(&self) -> io::Result<Self> {
        let io = self.io().as_fd().try_clone_to_owned()?;
        Ok(self.another(io.into()))
    }

    pub(super) fn set_timeout(
        &self,
        interest: Interest,
        timeout: Option<Duration>,
    ) -> io::Result<()> {
        if timeout.is_some_and(|timeout| timeout.is_zero()) {
            return Err(zero_timeout());
        }
        // The kernel keeps it for a later life as a std socket; it plays no part in non-blocking calls, so the
        // waiting is ours.
        let io = SockRef::from(self.io());
        match interest {
            Interest::Read => io.set_read_timeout(timeout)?,
            Interest::Write => io.set_write_timeout(timeout)?,
        }
        self.options().set_timeout(interest, timeout);
        Ok(())
    }
}

#[cold]
pub(super) fn zero_timeout() -> io::Error {
    let what = "cannot set a 0 duration timeout";
    io::Error::new(io::ErrorKind::InvalidInput, what)
}

/// Clones and conversions of `$Ours { socket: Socket<$Std> }`.
macro_rules! handle {
    ($Ours:ident, $Std:ty) => {
        impl $Ours {
            /// A second handle of the same, with a descriptor of its own; it closes when the last is dropped.
            ///
            /// Timeouts and the like, where it has them, are set for all handles.
            ///
            /// # Errors
            /// `EMFILE`, `ENFILE`: no descriptor is left.
            pub fn try_clone(&self) -> ::std::io::Result<Self> {
                let socket = self.socket.try_clone()?;
                Ok(Self { socket })
            }
        }

        impl From<$Std> for $Ours {
            /// Makes it non-blocking, for all its clones, and takes its timeouts over.
            fn from(io: $Std) -> Self {
                let socket = $crate::net::socket::Socket::adopt(io);
                Self { socket }
            }
        }

        impl From<$Ours> for $Std {
            /// Makes it blocking again, for all its clones (unless `set_nonblocking` asked for the contrary).
            fn from(ours: $Ours) -> Self {
                ours.socket.release()
            }
        }

        impl From<::std::os::fd::OwnedFd> for $Ours {
            /// As from std's type.
            fn from(fd: ::std::os::fd::OwnedFd) -> Self {
                <$Std>::from(fd).into()
            }
        }

        impl From<$Ours> for ::std::os::fd::OwnedFd {
            /// As into std's type.
            fn from(ours: $Ours) -> Self {
                <$Std>::from(ours).into()
            }
        }

        impl ::std::os::fd::IntoRawFd for $Ours {
            fn into_raw_fd(self) -> ::std::os::fd::RawFd {
                ::std::os::fd::OwnedFd::from(self).into_raw_fd()
            }
        }

        impl ::std::os::fd::AsFd for $Ours {
            fn as_fd(&self) -> ::std::os::fd::BorrowedFd<'_> {
                self.socket.io().as_fd()
            }
        }

        impl ::std::os::fd::AsRawFd for $Ours {
            fn as_raw_fd(&self) -> ::std::os::fd::RawFd {
                self.socket.io().as_raw_fd()
            }
        }

        impl ::std::fmt::Debug for $Ours {
            fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                self.socket.io().fmt(f)
            }
        }
    };
}

/// What every kind of socket can be asked and told.
macro_rules! socket {
    ($Ours:ident) => {
        impl $Ours {
            /// The socket's pending error (`SO_ERROR`), which reading clears.
            pub fn take_error(&self) -> ::std::io::Result<Option<::std::io::Error>> {
                self.socket.io().take_error()
            }

            /// With true, a call that would wait fails with `WouldBlock` instead; for every clone.
            pub fn set_nonblocking(&self, nonblocking: bool) -> ::std::io::Result<()> {
                self.socket.options().set_non_blocking(nonblocking);
                Ok(())
            }
        }
    };
}

/// Bounds for the waits of single calls.
macro_rules! timeouts {
    ($Ours:ident) => {
        impl $Ours {
            /// Bounds the wait of each read or receipt; `None`: no bound. One that had to wait so long in vain
            /// fails with `WouldBlock`, as std's does on Unix.
            ///
            /// To bound a whole conversation rather than each call, use [`time::timeout`](crate::time::timeout).
            ///
            /// # Errors
            /// `InvalidInput` for a duration of zero.
            pub fn set_read_timeout(
                &self,
                timeout: Option<::std::time::Duration>,
            ) -> ::std::io::Result<()> {
                self.socket
                    .set_timeout($crate::reactor::Interest::Read, timeout)
            }

            /// Bounds the wait of each write or dispatch; otherwise as `set_read_timeout`.
            ///
            /// # Errors
            /// `InvalidInput` for a duration of zero.
            pub fn set_write_timeout(
                &self,
                timeout: Option<::std::time::Duration>,
            ) -> ::std::io::Result<()> {
                self.socket
                    .set_timeout($crate::reactor::Interest::Write, timeout)
            }

            /// What `set_read_timeout` has set.
            pub fn read_timeout(&self) -> ::std::io::Result<Option<::std::time::Duration>> {
                Ok(self
                    .socket
                    .options()
                    .timeout($crate::reactor::Interest::Read))
            }

            /// What `set_write_timeout` has set.
            pub fn write_timeout(&self) -> ::std::io::Result<Option<::std::time::Duration>> {
                Ok(self
                    .socket
                    .options()
                    .timeout($crate::reactor::Interest::Write))
            }
        }
    };
}

/// `Read` or `Write` for the type as it is for a reference to it.
macro_rules! by_value {
    (Read for $Ours:ident) => {
        impl ::std::io::Read for $Ours {
            fn read(&mut self, buffer: &mut [u8]) -> ::std::io::Result<usize> {
                (&*self).read(buffer)
            }

            fn read_vectored(
                &mut self,
                buffers: &mut [::std::io::IoSliceMut<'_>],
            ) -> ::std::io::Result<usize> {
                (&*self).read_vectored(buffers)
            }
        }
    };
    (Write for $Ours:ident) => {
        impl ::std::io::Write for $Ours {
            fn write(&mut self, bytes: &[u8]) -> ::std::io::Result<usize> {
                (&*self).write(bytes)
            }

            fn write_vectored(
                &mut self,
                buffers: &[::std::io::IoSlice<'_>],
            ) -> ::std::io::Result<usize> {
                (&*self).write_vectored(buffers)
            }

            fn flush(&mut self) -> ::std::io::Result<()> {
                Ok(())
            }
        }
    };
}

pub(crate) use {by_value, handle, socket, timeouts};
