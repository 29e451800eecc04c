//! Sockets from the number of a descriptor that somebody else has made, as a service manager hands it over.

use std::os::fd::{FromRawFd, OwnedFd, RawFd};

use super::{TcpListener, TcpStream, UdpSocket, UnixDatagram, UnixListener, UnixStream};

macro_rules! from_raw_fd {
    ($($Ours:ident),*) => {$(
        impl FromRawFd for $Ours {
            unsafe fn from_raw_fd(fd: RawFd) -> Self {
                // SAFETY: our caller keeps the very contract that is asked of us here: the descriptor is open, and
                // nobody else owns it.
                unsafe { OwnedFd::from_raw_fd(fd) }.into()
            }
        }
    )*};
}

from_raw_fd!(
    TcpListener,
    TcpStream,
    UdpSocket,
    UnixDatagram,
    UnixListener,
    UnixStream
);
