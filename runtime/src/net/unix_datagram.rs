//! Unix datagrams, as [`std::os::unix::net::UnixDatagram`].

#![forbid(unsafe_code)]

use std::io;
use std::net::Shutdown;
use std::os::unix::net::{self, SocketAddr};
use std::path::Path;

use super::common::{socket, timeouts};
use super::socket::Socket;
use crate::park::WaitReason;
use crate::pollable::handle;
use crate::reactor::Interest;

/// Datagrams between processes of this machine, as [`std::os::unix::net::UnixDatagram`]: in order, none is lost, and
/// who sends to a full queue waits.
///
/// Waits and cancellation are those of a [`UdpSocket`](super::UdpSocket).
///
/// ```
/// use runtime::net::UnixDatagram;
///
/// runtime::run(|| -> std::io::Result<()> {
///     let (here, there) = UnixDatagram::pair()?;
///     runtime::spawn(move || there.send(b"hello"));
///     let mut datagram = [0; 64];
///     assert_eq!(here.recv(&mut datagram)?, 5); // waits, and the sender runs
///     Ok(())
/// })
/// # .unwrap();
/// ```
pub struct UnixDatagram {
    socket: Socket<net::UnixDatagram>,
}

handle!(UnixDatagram { socket: Socket<net::UnixDatagram> });
socket!(UnixDatagram);
timeouts!(UnixDatagram);

impl UnixDatagram {
    /// Makes the file `path` and receives what is sent there. The file stays when the socket is dropped.
    ///
    /// # Errors
    /// As [`UnixListener::bind`](super::UnixListener::bind).
    pub fn bind<P: AsRef<Path>>(path: P) -> io::Result<Self> {
        Self::fresh(net::UnixDatagram::bind(path)?)
    }

    /// Receives what is sent to `address`, which may be an abstract one; else as [`bind`](UnixDatagram::bind).
    pub fn bind_addr(address: &SocketAddr) -> io::Result<Self> {
        Self::fresh(net::UnixDatagram::bind_addr(address)?)
    }

    /// A socket without an address: it can send.
    pub fn unbound() -> io::Result<Self> {
        Self::fresh(net::UnixDatagram::unbound()?)
    }

    /// Two sockets that are connected to each other.
    pub fn pair() -> io::Result<(Self, Self)> {
        let (one, other) = net::UnixDatagram::pair()?;
        Ok((Self::fresh(one)?, Self::fresh(other)?))
    }

    fn fresh(io: net::UnixDatagram) -> io::Result<Self> {
        let socket = Socket::fresh(io)?;
        Ok(Self { socket })
    }

    /// Makes the socket at `path` the one that [`send`](UnixDatagram::send) sends to, and from which alone datagrams
    /// are received.
    ///
    /// # Errors
    /// `NotFound`, `ConnectionRefused`: nobody receives there.
    pub fn connect<P: AsRef<Path>>(&self, path: P) -> io::Result<()> {
        self.io().connect(path)
    }

    /// As [`connect`](UnixDatagram::connect), to `address`, which may be an abstract one.
    pub fn connect_addr(&self, address: &SocketAddr) -> io::Result<()> {
        self.io().connect_addr(address)
    }

    /// Waits for a datagram, puts it into `buffer`, and returns its length and sender. What does not fit is lost.
    ///
    /// # Errors
    /// `WouldBlock`: the [read timeout](UnixDatagram::set_read_timeout) has passed.
    #[track_caller]
    pub fn recv_from(&self, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        self.receive(|io| io.recv_from(buffer))
    }

    /// As [`recv_from`](UnixDatagram::recv_from), without the sender.
    #[track_caller]
    pub fn recv(&self, buffer: &mut [u8]) -> io::Result<usize> {
        self.receive(|io| io.recv(buffer))
    }

    /// Sends a datagram to the socket at `path`; where its queue is full, waits.
    ///
    /// # Errors
    /// `NotFound`, `ConnectionRefused`: nobody receives there. `WouldBlock`: the
    /// [write timeout](UnixDatagram::set_write_timeout) has passed. `EMSGSIZE`: longer than the socket's send buffer.
    ///
    /// # Cost
    /// One system call. No event tells that a full queue has room again, so it is tried again after pauses of 1 to
    /// 100 ms; to a peer that is often slow, [`connect`](UnixDatagram::connect) and [`send`](UnixDatagram::send).
    #[track_caller]
    pub fn send_to<P: AsRef<Path>>(&self, datagram: &[u8], path: P) -> io::Result<usize> {
        let path = path.as_ref();
        self.send_unconnected(|io| io.send_to(datagram, path))
    }

    /// As [`send_to`](UnixDatagram::send_to), to `address`, which may be an abstract one.
    #[track_caller]
    pub fn send_to_addr(&self, datagram: &[u8], address: &SocketAddr) -> io::Result<usize> {
        self.send_unconnected(|io| io.send_to_addr(datagram, address))
    }

    /// Sends a datagram to the connected peer; where its queue is full, waits.
    ///
    /// # Errors
    /// `NotConnected` without a peer, `ConnectionRefused` when it is gone; else as [`send_to`](UnixDatagram::send_to).
    #[track_caller]
    pub fn send(&self, datagram: &[u8]) -> io::Result<usize> {
        self.socket.perform(
            Interest::Write,
            WaitReason::Writable,
            |io| io.send(datagram),
            |_| false,
        )
    }

    /// The address of this socket.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.io().local_addr()
    }

    /// The address of the connected peer.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.io().peer_addr()
    }

    /// Ends receiving, sending or both, for every clone, and wakes whoever waits for it: a receipt returns 0, a
    /// dispatch fails with `BrokenPipe`.
    pub fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        self.io().shutdown(how)
    }

    fn io(&self) -> &net::UnixDatagram {
        self.socket.io()
    }

    #[track_caller]
    fn receive<R>(
        &self,
        attempt: impl FnMut(&net::UnixDatagram) -> io::Result<R>,
    ) -> io::Result<R> {
        let reason = WaitReason::Readable;
        self.socket
            .perform(Interest::Read, reason, attempt, |_| false)
    }

    #[track_caller]
    fn send_unconnected(
        &self,
        attempt: impl FnMut(&net::UnixDatagram) -> io::Result<usize>,
    ) -> io::Result<usize> {
        self.socket
            .persist(Interest::Write, WaitReason::Writable, attempt)
    }
}
