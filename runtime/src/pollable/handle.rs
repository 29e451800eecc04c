//! What every owner of a descriptor has: a life before and after as one of std's, clones, conversions.
//!
//! | here         | gives                                                       | to                                  |
//! |--------------|-------------------------------------------------------------|-------------------------------------|
//! | `Pollable`   | how it becomes non-blocking, and blocking again             | pipes; sockets, which have more     |
//! | `handle!`    | clones, conversions from and into std's type and descriptors| every type that is one in public    |
//! | `by_value!`  | `Read`, `Write` as they are for a reference                 | streams, ends of a pipe             |

#![forbid(unsafe_code)]

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use super::Pollable;
use crate::sys::descriptor::set_nonblocking;

impl<T: AsFd> Pollable<T> {
    /// Takes a descriptor of ours and makes it non-blocking.
    ///
    /// # Errors
    /// Those of ioctl(2): none is expected of one that is open.
    pub(crate) fn fresh(io: T) -> io::Result<Self> {
        set_nonblocking(io.as_fd(), true)?;
        Ok(Self::new(io))
    }

    /// Takes over what was one of std's: makes it non-blocking, for all its clones.
    pub(crate) fn adopt(io: T) -> Self {
        Self::fresh(io).expect("an open descriptor can be made non-blocking")
    }

    /// Gives it back as std has it: blocking.
    pub(crate) fn release(self) -> T {
        let io = self.into_inner();
        set_nonblocking(io.as_fd(), false).expect("an open descriptor can be made blocking");
        io
    }

    /// A second descriptor of the same.
    ///
    /// # Errors
    /// `EMFILE`, `ENFILE`.
    pub(crate) fn try_clone(&self) -> io::Result<Self>
    where
        T: From<OwnedFd>,
    {
        let io = self.io().as_fd().try_clone_to_owned()?;
        Ok(Self::new(io.into()))
    }
}

/// Clones and conversions of `$Ours { $body: $Body<$Std> }`, where `$Body` is `Pollable` or is made of one.
macro_rules! handle {
    ($Ours:ident { $body:ident: $Body:ident<$Std:ty> }) => {
        impl $Ours {
            /// A second handle of the same, with a descriptor of its own; it closes when the last is dropped.
            ///
            /// Timeouts and the like, where it has them, are set for all handles.
            ///
            /// # Errors
            /// `EMFILE`, `ENFILE`: no descriptor is left.
            pub fn try_clone(&self) -> ::std::io::Result<Self> {
                let $body = self.$body.try_clone()?;
                Ok(Self { $body })
            }
        }

        impl From<$Std> for $Ours {
            /// Makes it non-blocking, for all its clones, and takes its timeouts over.
            fn from(io: $Std) -> Self {
                let $body = $Body::adopt(io);
                Self { $body }
            }
        }

        impl From<$Ours> for $Std {
            /// Makes it blocking again, for all its clones (unless `set_nonblocking` asked for the contrary).
            fn from(ours: $Ours) -> Self {
                ours.$body.release()
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
                self.$body.io().as_fd()
            }
        }

        impl ::std::os::fd::AsRawFd for $Ours {
            fn as_raw_fd(&self) -> ::std::os::fd::RawFd {
                self.$body.io().as_raw_fd()
            }
        }

        impl ::std::fmt::Debug for $Ours {
            fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                self.$body.io().fmt(f)
            }
        }
    };
}

/// `Read` or `Write` for the type as it is for a reference to it.
macro_rules! by_value {
    (Read for $Ours:ident) => {
        impl ::std::io::Read for $Ours {
            #[track_caller]
            fn read(&mut self, buffer: &mut [u8]) -> ::std::io::Result<usize> {
                (&*self).read(buffer)
            }

            #[track_caller]
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
            #[track_caller]
            fn write(&mut self, bytes: &[u8]) -> ::std::io::Result<usize> {
                (&*self).write(bytes)
            }

            #[track_caller]
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

pub(crate) use {by_value, handle};
