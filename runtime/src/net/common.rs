//! What kinds of sockets have in common, written once.
//!
//! | here          | gives                                        | to                       |
//! |---------------|----------------------------------------------|--------------------------|
//! | `socket!`     | the pending error, calls that do not wait    | every kind of socket     |
//! | `timeouts!`   | bounds for reads and writes                  | all that is no listener  |
//!
//! Clones and conversions are in `pollable::handle`, since pipes have them too. So a kind is one file with what only it
//! can do.

#![forbid(unsafe_code)]

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

pub(super) use {socket, timeouts};
