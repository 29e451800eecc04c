//! A TCP listener, as [`std::net::TcpListener`].

#![forbid(unsafe_code)]

use std::fmt;
use std::io;
use std::net::{self, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, IntoRawFd, OwnedFd, RawFd};
use std::time::Duration;

use super::addr::{ToSocketAddrs, first_that};
use super::socket::Socket;
use super::tcp_stream::TcpStream;
use crate::park::{self, WaitReason};
use crate::reactor::Interest;
use crate::seam::clock;
use crate::sys::socket::{self, Refused};

/// The first and the longest pause of an `accept` that the process has no descriptor for.
const PAUSE_MIN: Duration = Duration::from_millis(10);
const PAUSE_MAX: Duration = Duration::from_millis(100);

/// A socket that takes connections in, as [`std::net::TcpListener`].
///
/// Several coroutines may accept from one listener; each connection goes to one of them.
pub struct TcpListener {
    socket: Socket<net::TcpListener>,
}

impl TcpListener {
    /// Listens on `address` (port 0: one that is free, see [`local_addr`](TcpListener::local_addr)).
    ///
    /// # Errors
    /// That of the last address tried: `AddrInUse`, `AddrNotAvailable`, `PermissionDenied`, ...
    pub fn bind<A: ToSocketAddrs>(address: A) -> io::Result<Self> {
        first_that(address, net::TcpListener::bind).map(Self::from)
    }

    /// Waits for a connection; returns it with the address of its peer.
    ///
    /// A connection that failed while it stood in the queue (`ECONNABORTED` and the like, see
    /// accept(2)) is passed over. When the process or the system has no descriptor or memory left
    /// for a new one (`EMFILE`, `ENFILE`, `ENOBUFS`, `ENOMEM`), the connections stay in the queue
    /// and the call tries again after pauses of 10 to 100 ms, until something is closed: a server
    /// under too much load gets slower, it neither spins nor ends. std returns these errors.
    ///
    /// # Errors
    /// `InvalidInput` when the socket does not listen (any more).
    pub fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        let mut pause = PAUSE_MIN;
        loop {
            let error = match self.take() {
                Ok((io, peer)) => return Ok((TcpStream::of(io), peer)),
                Err(error) => error,
            };
            match socket::refused(&error) {
                Refused::Connection => {}
                Refused::Resources if !self.socket.options().non_blocking() => {
                    rest(pause);
                    pause = PAUSE_MAX.min(pause * 2);
                }
                _ => return Err(error),
            }
        }
    }

    fn take(&self) -> io::Result<(net::TcpStream, SocketAddr)> {
        // One connection taken says nothing of the queue behind it: never short.
        self.socket.perform(
            Interest::Read,
            WaitReason::Accept,
            |io| socket::accept(io.as_fd()),
            |_| false,
        )
    }

    /// The connections as they come, for ever: [`accept`](TcpListener::accept) in a loop.
    ///
    /// ```
    /// use runtime::net::{TcpListener, TcpStream};
    ///
    /// runtime::run(|| {
    ///     let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    ///     let _client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    ///     for stream in listener.incoming().take(1) {
    ///         println!("{:?}", stream.unwrap());
    ///     }
    /// });
    /// ```
    pub fn incoming(&self) -> Incoming<'_> {
        Incoming { listener: self }
    }

    /// The address on which it listens.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.io().local_addr()
    }

    /// A second handle of the same listener, with a descriptor of its own.
    pub fn try_clone(&self) -> io::Result<Self> {
        let io = self.io().try_clone()?;
        Ok(Self {
            socket: self.socket.another(io),
        })
    }

    /// Sets how many hops the packets of its connections may take (`IP_TTL`).
    pub fn set_ttl(&self, ttl: u32) -> io::Result<()> {
        self.io().set_ttl(ttl)
    }

    /// How many hops the packets of its connections may take.
    pub fn ttl(&self) -> io::Result<u32> {
        self.io().ttl()
    }

    /// The socket's pending error (`SO_ERROR`), which reading clears.
    pub fn take_error(&self) -> io::Result<Option<io::Error>> {
        self.io().take_error()
    }

    /// With true, an accept that would wait fails with `WouldBlock` instead; for every clone.
    pub fn set_nonblocking(&self, nonblocking: bool) -> io::Result<()> {
        self.socket.options().set_non_blocking(nonblocking);
        Ok(())
    }

    fn io(&self) -> &net::TcpListener {
        self.socket.io()
    }
}

/// Parks for `pause`, whoever unparks us meanwhile.
#[cold]
fn rest(pause: Duration) {
    let end = clock::now() + pause;
    while clock::now() < end {
        park::park_until(WaitReason::Accept, Some(end));
    }
}

/// An endless iterator of connections, made by [`TcpListener::incoming`].
#[derive(Debug)]
pub struct Incoming<'a> {
    listener: &'a TcpListener,
}

impl Iterator for Incoming<'_> {
    type Item = io::Result<TcpStream>;

    fn next(&mut self) -> Option<Self::Item> {
        Some(self.listener.accept().map(|(stream, _peer)| stream))
    }
}

impl std::iter::FusedIterator for Incoming<'_> {}

impl From<net::TcpListener> for TcpListener {
    /// Makes the socket non-blocking, for all its clones.
    fn from(io: net::TcpListener) -> Self {
        io.set_nonblocking(true)
            .expect("an open descriptor can be made non-blocking");
        Self {
            socket: Socket::new(io),
        }
    }
}

impl From<TcpListener> for net::TcpListener {
    /// Makes the socket blocking again, for all its clones (unless
    /// [`set_nonblocking`](TcpListener::set_nonblocking) asked for the contrary).
    fn from(listener: TcpListener) -> Self {
        let (io, options) = listener.socket.into_parts();
        io.set_nonblocking(options.non_blocking())
            .expect("an open descriptor can be made blocking");
        io
    }
}

impl From<OwnedFd> for TcpListener {
    /// As from a [`std::net::TcpListener`].
    fn from(fd: OwnedFd) -> Self {
        net::TcpListener::from(fd).into()
    }
}

impl From<TcpListener> for OwnedFd {
    /// As into a [`std::net::TcpListener`].
    fn from(listener: TcpListener) -> Self {
        net::TcpListener::from(listener).into()
    }
}

impl IntoRawFd for TcpListener {
    fn into_raw_fd(self) -> RawFd {
        OwnedFd::from(self).into_raw_fd()
    }
}

impl AsFd for TcpListener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.io().as_fd()
    }
}

impl AsRawFd for TcpListener {
    fn as_raw_fd(&self) -> RawFd {
        self.io().as_raw_fd()
    }
}

impl fmt::Debug for TcpListener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.io().fmt(f)
    }
}
