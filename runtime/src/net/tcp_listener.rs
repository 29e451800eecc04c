//! A TCP listener, as [`std::net::TcpListener`].

#![forbid(unsafe_code)]

use std::io;
use std::net::{self, SocketAddr};
use std::os::fd::AsFd;

use socket2::SockRef;

use super::addr::{ToSocketAddrs, first_that};
use super::bind;
use super::common::socket;
use super::patience;
use super::socket::Socket;
use super::tcp_stream::TcpStream;
use crate::pollable::handle;
use crate::sys;

/// A socket that takes connections in, as [`std::net::TcpListener`].
///
/// Several coroutines may accept from one listener; each connection goes to one of them.
pub struct TcpListener {
    socket: Socket<net::TcpListener>,
}

handle!(TcpListener { socket: Socket<net::TcpListener> });
socket!(TcpListener);

impl TcpListener {
    /// Listens on `address` (port 0: one that is free, see [`local_addr`](TcpListener::local_addr)).
    ///
    /// Up to 4,096 connections may wait to be accepted (or `net.core.somaxconn`, if that is less); std has 128.
    ///
    /// # Errors
    /// That of the last address tried: `AddrInUse`, `AddrNotAvailable`, `PermissionDenied`, ...
    pub fn bind<A: ToSocketAddrs>(address: A) -> io::Result<Self> {
        let io = first_that(address, net::TcpListener::bind)?;
        bind::lengthen_queue(&io)?;
        let socket = Socket::fresh(io)?;
        Ok(Self { socket })
    }

    /// Listens on `address` beside others that are bound in this way too (`SO_REUSEPORT`). The kernel gives each new
    /// connection to one of them.
    ///
    /// So with one listener for each worker, connections are accepted and served on all of them, and no queue and no
    /// lock is shared. One that ends takes the connections in its queue with it.
    ///
    /// # Errors
    /// As [`bind`](TcpListener::bind); `AddrInUse` also if somebody listens there otherwise, or another user.
    ///
    /// ```
    /// use runtime::net::{TcpListener, TcpStream};
    /// use std::io::{Read, Write};
    ///
    /// # fn main() -> std::io::Result<()> {
    /// const WORKERS: usize = 2;
    /// runtime::Builder::new().workers(WORKERS).build()?.run(|| {
    ///     let first = TcpListener::bind_reuse_port("127.0.0.1:0")?;
    ///     let address = first.local_addr()?;
    ///     let mut listeners = vec![first];
    ///     while listeners.len() < WORKERS {
    ///         listeners.push(TcpListener::bind_reuse_port(address)?);
    ///     }
    ///     for listener in listeners {
    ///         runtime::spawn(move || {
    ///             // What is accepted here stays on this worker.
    ///             for stream in listener.into_incoming() {
    ///                 runtime::spawn_local(move || stream?.write_all(b"hello"));
    ///             }
    ///         });
    ///     }
    ///     let mut greeting = String::new();
    ///     TcpStream::connect(address)?.read_to_string(&mut greeting)?;
    ///     assert_eq!(greeting, "hello");
    ///     Ok(())
    /// })
    /// # }
    /// ```
    pub fn bind_reuse_port<A: ToSocketAddrs>(address: A) -> io::Result<Self> {
        let io = first_that(address, bind::listener)?;
        let socket = Socket::new(io);
        Ok(Self { socket })
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
    #[track_caller]
    pub fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        let (io, peer) = patience::accept(&self.socket, |io| sys::socket::accept(io.as_fd()))?;
        Ok((TcpStream::of(io), peer))
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

    /// The same, by value: the listener closes with the iterator.
    pub fn into_incoming(self) -> IntoIncoming {
        IntoIncoming { listener: self }
    }

    /// The address on which it listens.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.io().local_addr()
    }

    /// Sets how many hops the packets of its connections may take (`IP_TTL`).
    pub fn set_ttl(&self, ttl: u32) -> io::Result<()> {
        self.io().set_ttl(ttl)
    }

    /// How many hops the packets of its connections may take.
    pub fn ttl(&self) -> io::Result<u32> {
        self.io().ttl()
    }

    /// Whether a listener on an IPv6 address leaves IPv4 connections to others (`IPV6_V6ONLY`). That is decided when
    /// it is bound, so std's `set_only_v6` can do nothing any more and is not here.
    pub fn only_v6(&self) -> io::Result<bool> {
        SockRef::from(self.io()).only_v6()
    }

    fn io(&self) -> &net::TcpListener {
        self.socket.io()
    }
}

/// An endless iterator of connections, made by [`TcpListener::incoming`].
#[derive(Debug)]
pub struct Incoming<'a> {
    listener: &'a TcpListener,
}

impl Iterator for Incoming<'_> {
    type Item = io::Result<TcpStream>;

    #[track_caller]
    fn next(&mut self) -> Option<Self::Item> {
        Some(self.listener.accept().map(|(stream, _peer)| stream))
    }
}

impl std::iter::FusedIterator for Incoming<'_> {}

/// An endless iterator of connections, made by [`TcpListener::into_incoming`].
#[derive(Debug)]
pub struct IntoIncoming {
    listener: TcpListener,
}

impl Iterator for IntoIncoming {
    type Item = io::Result<TcpStream>;

    #[track_caller]
    fn next(&mut self) -> Option<Self::Item> {
        self.listener.incoming().next()
    }
}

impl std::iter::FusedIterator for IntoIncoming {}
