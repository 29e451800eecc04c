//! A Unix listener, as [`std::os::unix::net::UnixListener`].

#![forbid(unsafe_code)]

use std::io;
use std::os::unix::net::{self, SocketAddr};
use std::path::Path;

use super::common::socket;
use super::patience;
use super::socket::Socket;
use super::unix_stream::UnixStream;
use crate::pollable::handle;
use crate::sys;

/// A socket that takes connections of this machine in, as [`std::os::unix::net::UnixListener`].
///
/// Several coroutines may accept from one listener; each connection goes to one of them. The file stays when the
/// listener is dropped: remove it, or the next `bind` says `AddrInUse`.
///
/// ```
/// use runtime::net::{UnixListener, UnixStream};
/// use std::io::{Read, Write};
/// use std::os::{linux::net::SocketAddrExt, unix::net::SocketAddr};
///
/// runtime::run(|| -> std::io::Result<()> {
///     // An abstract name leaves no file behind.
///     let address = SocketAddr::from_abstract_name(format!("greeter {}", std::process::id()))?;
///     let listener = UnixListener::bind_addr(&address)?;
///     runtime::spawn(move || listener.accept()?.0.write_all(b"hello"));
///     let mut greeting = String::new();
///     UnixStream::connect_addr(&address)?.read_to_string(&mut greeting)?;
///     assert_eq!(greeting, "hello");
///     Ok(())
/// })
/// # .unwrap();
/// ```
pub struct UnixListener {
    socket: Socket<net::UnixListener>,
}

handle!(UnixListener { socket: Socket<net::UnixListener> });
socket!(UnixListener);

impl UnixListener {
    /// Makes the file `path` and listens there.
    ///
    /// # Errors
    /// `AddrInUse`: something is there, perhaps the file of a listener that is gone. `InvalidInput`: the path has
    /// more than 107 bytes, or one that is 0. `PermissionDenied`, `NotFound`: of its directory.
    pub fn bind<P: AsRef<Path>>(path: P) -> io::Result<Self> {
        Self::fresh(net::UnixListener::bind(path)?)
    }

    /// Listens at `address`, which may be an abstract one; else as [`bind`](UnixListener::bind).
    pub fn bind_addr(address: &SocketAddr) -> io::Result<Self> {
        Self::fresh(net::UnixListener::bind_addr(address)?)
    }

    fn fresh(io: net::UnixListener) -> io::Result<Self> {
        let socket = Socket::fresh(io)?;
        Ok(Self { socket })
    }

    /// Waits for a connection; returns it with the address of its peer, which seldom has a name.
    ///
    /// Where no descriptor is left, it waits until one is, as [`TcpListener::accept`](super::TcpListener::accept).
    ///
    /// # Errors
    /// `InvalidInput` when the socket does not listen (any more).
    #[track_caller]
    pub fn accept(&self) -> io::Result<(UnixStream, SocketAddr)> {
        let (io, peer) = patience::accept(&self.socket, sys::socket::accept_unix)?;
        Ok((UnixStream::fresh(io)?, peer))
    }

    /// The connections as they come, for ever: [`accept`](UnixListener::accept) in a loop.
    pub fn incoming(&self) -> UnixIncoming<'_> {
        UnixIncoming { listener: self }
    }

    /// The address on which it listens.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.io().local_addr()
    }
}

/// An endless iterator of connections, made by [`UnixListener::incoming`]; std has it as
/// [`std::os::unix::net::Incoming`].
#[derive(Debug)]
pub struct UnixIncoming<'a> {
    listener: &'a UnixListener,
}

impl Iterator for UnixIncoming<'_> {
    type Item = io::Result<UnixStream>;

    #[track_caller]
    fn next(&mut self) -> Option<Self::Item> {
        Some(self.listener.accept().map(|(stream, _peer)| stream))
    }
}

impl std::iter::FusedIterator for UnixIncoming<'_> {}

impl<'a> IntoIterator for &'a UnixListener {
    type Item = io::Result<UnixStream>;
    type IntoIter = UnixIncoming<'a>;

    fn into_iter(self) -> UnixIncoming<'a> {
        self.incoming()
    }
}
