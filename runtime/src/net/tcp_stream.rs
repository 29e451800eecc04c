//! A TCP connection, as [`std::net::TcpStream`].

#![forbid(unsafe_code)]

use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::net::{self, Shutdown, SocketAddr};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use socket2::SockRef;

use super::addr::{ToSocketAddrs, first_that};
use super::common::{socket, timeouts};
use super::socket::{Socket, zero_timeout};
use crate::park::WaitReason;
use crate::pollable::{by_value, handle};
use crate::reactor::Interest;
use crate::seam::clock;
use crate::sys;
use crate::sys::socket::Progress;

/// A TCP connection: bytes both ways, as [`std::net::TcpStream`].
///
/// A read or write that has to wait parks the coroutine and lets others run; on a plain thread it
/// blocks the thread. `&TcpStream` reads and writes too, so one coroutine may read while another
/// writes. Dropping it closes the connection.
///
/// A cancellation or the end of an enclosing `timeout` ends a wait by unwinding; bytes that a read
/// has taken from the socket are returned, never lost to it.
///
/// # Cost
/// One recv(2) or send(2) for a call that finds the socket ready. One that waits adds two stack
/// switches and its share of the worker's epoll_wait(2); the first wait of a socket registers it.
pub struct TcpStream {
    socket: Socket<net::TcpStream>,
}

handle!(TcpStream { socket: Socket<net::TcpStream> });
socket!(TcpStream);
timeouts!(TcpStream);
by_value!(Read for TcpStream);
by_value!(Write for TcpStream);

impl TcpStream {
    /// Opens a connection to `address`; where it stands for several, they are tried in turn.
    ///
    /// # Errors
    /// That of the last address tried: `ConnectionRefused`, `TimedOut` (after the kernel's own two
    /// minutes), `NetworkUnreachable`, ... `ConnectionRefused` also for the accident that a
    /// connection to a free local port gets this very port as its own and meets itself, which
    /// std would return as a success.
    #[track_caller]
    pub fn connect<A: ToSocketAddrs>(address: A) -> io::Result<Self> {
        first_that(address, |address| Self::connect_until(&address, None))
    }

    /// Opens a connection to `address` within `timeout`.
    ///
    /// # Errors
    /// `TimedOut` when the time is over, `InvalidInput` when it is zero, else as
    /// [`connect`](TcpStream::connect).
    #[track_caller]
    pub fn connect_timeout(address: &SocketAddr, timeout: Duration) -> io::Result<Self> {
        if timeout.is_zero() {
            return Err(zero_timeout());
        }
        Self::connect_until(address, clock::after(timeout))
    }

    #[track_caller]
    fn connect_until(address: &SocketAddr, deadline: Option<Instant>) -> io::Result<Self> {
        let (io, progress) = sys::socket::connect(address)?;
        let stream = Self::of(io);
        if progress == Progress::UnderWay {
            if !stream.socket.wait_connected(deadline)? {
                return Err(io::Error::new(
                    io::ErrorKind::TimedOut,
                    "connection timed out",
                ));
            }
            // Once: reading SO_ERROR clears it.
            if let Some(error) = stream.take_error()? {
                return Err(error);
            }
        }
        if address.ip().is_loopback() && stream.local_addr()? == *address {
            return Err(met_itself());
        }
        Ok(stream)
    }

    /// Takes a descriptor that is non-blocking already.
    pub(super) fn of(io: net::TcpStream) -> Self {
        Self {
            socket: Socket::new(io),
        }
    }

    fn io(&self) -> &net::TcpStream {
        self.socket.io()
    }

    /// The address of the other end.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.io().peer_addr()
    }

    /// The address of this end.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.io().local_addr()
    }

    /// Ends reading, writing or both, for every clone, and wakes whoever waits for it: a read
    /// returns 0, a write fails with `BrokenPipe`.
    pub fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        self.io().shutdown(how)
    }

    /// Reads without consuming: the next read brings the same bytes again.
    #[track_caller]
    pub fn peek(&self, buffer: &mut [u8]) -> io::Result<usize> {
        self.receive(|io| io.peek(buffer), |_| false)
    }

    /// Whether to send small packets at once (`TCP_NODELAY`) or to gather them (Nagle).
    pub fn set_nodelay(&self, nodelay: bool) -> io::Result<()> {
        self.io().set_nodelay(nodelay)
    }

    /// Whether small packets are sent at once.
    pub fn nodelay(&self) -> io::Result<bool> {
        self.io().nodelay()
    }

    /// What becomes of bytes that were written but not yet received by the peer when the last handle is dropped
    /// (`SO_LINGER`): `None`, as at first, sends them in the background.
    ///
    /// Zero drops them and resets the connection. Any longer time has the close **block the thread**, and all
    /// coroutines of its worker, until the peer has received them or the time is over.
    pub fn set_linger(&self, linger: Option<Duration>) -> io::Result<()> {
        SockRef::from(self.io()).set_linger(linger)
    }

    /// What [`set_linger`](TcpStream::set_linger) has set.
    pub fn linger(&self) -> io::Result<Option<Duration>> {
        SockRef::from(self.io()).linger()
    }

    /// Sets how many hops a packet may take (`IP_TTL`).
    pub fn set_ttl(&self, ttl: u32) -> io::Result<()> {
        self.io().set_ttl(ttl)
    }

    /// How many hops a packet may take.
    pub fn ttl(&self) -> io::Result<u32> {
        self.io().ttl()
    }

    #[track_caller]
    fn receive<R>(
        &self,
        attempt: impl FnMut(&net::TcpStream) -> io::Result<R>,
        is_short: impl FnOnce(&R) -> bool,
    ) -> io::Result<R> {
        let reason = WaitReason::Readable;
        self.socket
            .perform(Interest::Read, reason, attempt, is_short)
    }

    #[track_caller]
    fn send(
        &self,
        offered: usize,
        attempt: impl FnMut(&net::TcpStream) -> io::Result<usize>,
    ) -> io::Result<usize> {
        let reason = WaitReason::Writable;
        self.socket
            .perform(Interest::Write, reason, attempt, |&sent| sent < offered)
    }
}

/// Two sides that connect to each other at once are one connection (RFC 9293, 3.5), and here both
/// are the same socket: nobody was listening.
#[cold]
fn met_itself() -> io::Error {
    let what = "nobody listens on this port; the kernel gave it to the connecting socket itself";
    io::Error::new(io::ErrorKind::ConnectionRefused, what)
}

/// Whether a read has emptied the socket. The end (0 bytes) has not: it can be read for ever.
fn is_short(got: usize, room: usize) -> bool {
    0 < got && got < room
}

impl Read for &TcpStream {
    /// As [`std::net::TcpStream`]; a buffer without room returns at once.
    #[track_caller]
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let room = buffer.len();
        if room == 0 {
            return Ok(0);
        }
        self.receive(|mut io| io.read(buffer), |&got| is_short(got, room))
    }

    #[track_caller]
    fn read_vectored(&mut self, buffers: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        let room = buffers.iter().map(|buffer| buffer.len()).sum();
        if room == 0 {
            return Ok(0);
        }
        self.receive(
            |mut io| io.read_vectored(buffers),
            |&got| is_short(got, room),
        )
    }
}

impl Write for &TcpStream {
    /// As [`std::net::TcpStream`]: to a closed peer it is the error `BrokenPipe`, never a signal.
    #[track_caller]
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.is_empty() {
            return Ok(0);
        }
        self.send(bytes.len(), |mut io| io.write(bytes))
    }

    #[track_caller]
    fn write_vectored(&mut self, buffers: &[IoSlice<'_>]) -> io::Result<usize> {
        let offered = buffers.iter().map(|buffer| buffer.len()).sum();
        if offered == 0 {
            return Ok(0);
        }
        self.send(offered, |io| {
            sys::socket::send_vectored(io.as_fd(), buffers)
        })
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
