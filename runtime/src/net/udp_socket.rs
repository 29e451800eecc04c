//! UDP, as [`std::net::UdpSocket`].

#![forbid(unsafe_code)]

use std::io;
use std::net::{self, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::addr::{ToSocketAddrs, first_that};
use super::bind;
use super::common::{socket, timeouts};
use super::socket::Socket;
use crate::park::WaitReason;
use crate::pollable::handle;
use crate::reactor::Interest;

/// A UDP socket: datagrams to and from whom one likes, as [`std::net::UdpSocket`].
///
/// A receipt that has to wait parks the coroutine, on a plain thread it blocks the thread. A cancellation or an
/// enclosing `timeout` ends the wait by unwinding; a datagram that was taken from the socket is returned.
///
/// # Errors
/// A datagram that nobody received may come back as an error of a later call: after a [`connect`](UdpSocket::connect),
/// `ConnectionRefused`. One longer than 65,507 bytes, or than the way allows, is refused (`EMSGSIZE`).
///
/// # Cost
/// One system call for each datagram, and one more when a receipt has to wait: an empty socket is known by `EAGAIN`
/// only, as a datagram says nothing of those behind it.
///
/// ```
/// use runtime::net::UdpSocket;
///
/// runtime::run(|| -> std::io::Result<()> {
///     let (server, client) = (UdpSocket::bind("127.0.0.1:0")?, UdpSocket::bind("127.0.0.1:0")?);
///     let address = server.local_addr()?;
///     runtime::spawn(move || {
///         let mut datagram = [0; 1500];
///         let (length, sender) = server.recv_from(&mut datagram)?; // waits, and the client runs
///         server.send_to(&datagram[..length], sender)
///     });
///     client.send_to(b"echo", address)?;
///     let mut answer = [0; 1500];
///     assert_eq!(client.recv_from(&mut answer)?, (4, address));
///     Ok(())
/// })
/// # .unwrap();
/// ```
pub struct UdpSocket {
    socket: Socket<net::UdpSocket>,
}

handle!(UdpSocket { socket: Socket<net::UdpSocket> });
socket!(UdpSocket);
timeouts!(UdpSocket);

impl UdpSocket {
    /// A socket at `address` (port 0: one that is free, see [`local_addr`](UdpSocket::local_addr)).
    ///
    /// # Errors
    /// That of the last address tried: `AddrInUse`, `AddrNotAvailable`, `PermissionDenied`, ...
    pub fn bind<A: ToSocketAddrs>(address: A) -> io::Result<Self> {
        let io = first_that(address, net::UdpSocket::bind)?;
        let socket = Socket::fresh(io)?;
        Ok(Self { socket })
    }

    /// A socket at an address that others bind in this way too (`SO_REUSEPORT`). The kernel gives each sender to
    /// one of them, always the same as long as their number does not change.
    ///
    /// # Errors
    /// As [`bind`](UdpSocket::bind); `AddrInUse` also if a socket was bound there otherwise, or by another user.
    pub fn bind_reuse_port<A: ToSocketAddrs>(address: A) -> io::Result<Self> {
        let io = first_that(address, bind::datagrams)?;
        let socket = Socket::new(io);
        Ok(Self { socket })
    }

    /// Waits for a datagram, puts it into `buffer`, and returns its length and sender. What does not fit is lost;
    /// a length of 0 is an empty datagram, not an end.
    ///
    /// # Errors
    /// `WouldBlock`: the [read timeout](UdpSocket::set_read_timeout) has passed. Else those of recvfrom(2).
    #[track_caller]
    pub fn recv_from(&self, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        self.receive(|io| io.recv_from(buffer))
    }

    /// As [`recv_from`](UdpSocket::recv_from), but the datagram stays for the next call.
    #[track_caller]
    pub fn peek_from(&self, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        self.receive(|io| io.peek_from(buffer))
    }

    /// Sends a datagram to `address`, the first of them if it stands for several.
    ///
    /// # Errors
    /// Those of sendto(2), such as `EMSGSIZE`; `InvalidInput`: `address` stands for none.
    #[track_caller]
    pub fn send_to<A: ToSocketAddrs>(&self, datagram: &[u8], address: A) -> io::Result<usize> {
        let mut found = address.to_socket_addrs()?;
        let Some(address) = found.next() else {
            let what = "no addresses to send data to";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, what));
        };
        self.send_by(|io| io.send_to(datagram, address))
    }

    /// Makes `address` the one that [`send`](UdpSocket::send) sends to, and from which alone datagrams are received.
    ///
    /// # Errors
    /// That of the last address tried.
    pub fn connect<A: ToSocketAddrs>(&self, address: A) -> io::Result<()> {
        first_that(address, |address| self.io().connect(address))
    }

    /// Waits for a datagram of the connected peer and returns its length; else as
    /// [`recv_from`](UdpSocket::recv_from).
    #[track_caller]
    pub fn recv(&self, buffer: &mut [u8]) -> io::Result<usize> {
        self.receive(|io| io.recv(buffer))
    }

    /// As [`recv`](UdpSocket::recv), but the datagram stays for the next call.
    #[track_caller]
    pub fn peek(&self, buffer: &mut [u8]) -> io::Result<usize> {
        self.receive(|io| io.peek(buffer))
    }

    /// Sends a datagram to the connected peer.
    ///
    /// # Errors
    /// Those of send(2): `ConnectionRefused` if nobody received an earlier one, `EDESTADDRREQ` without a peer.
    #[track_caller]
    pub fn send(&self, datagram: &[u8]) -> io::Result<usize> {
        self.send_by(|io| io.send(datagram))
    }

    /// The address of the peer.
    ///
    /// # Errors
    /// `NotConnected` without one.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.io().peer_addr()
    }

    /// The address of this socket.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.io().local_addr()
    }

    fn io(&self) -> &net::UdpSocket {
        self.socket.io()
    }

    #[track_caller]
    fn receive<R>(&self, attempt: impl FnMut(&net::UdpSocket) -> io::Result<R>) -> io::Result<R> {
        let reason = WaitReason::Readable;
        self.socket
            .perform(Interest::Read, reason, attempt, |_| false)
    }

    #[track_caller]
    fn send_by(
        &self,
        attempt: impl FnMut(&net::UdpSocket) -> io::Result<usize>,
    ) -> io::Result<usize> {
        let reason = WaitReason::Writable;
        self.socket
            .perform(Interest::Write, reason, attempt, |_| false)
    }
}

/// Options; each is std's, with the meaning that ip(7) and ipv6(7) give it.
impl UdpSocket {
    /// Whether datagrams may be sent to a broadcast address (`SO_BROADCAST`).
    pub fn set_broadcast(&self, broadcast: bool) -> io::Result<()> {
        self.io().set_broadcast(broadcast)
    }

    /// What [`set_broadcast`](UdpSocket::set_broadcast) has set.
    pub fn broadcast(&self) -> io::Result<bool> {
        self.io().broadcast()
    }

    /// Whether multicast datagrams come back to this machine's own sockets (`IP_MULTICAST_LOOP`).
    pub fn set_multicast_loop_v4(&self, looped: bool) -> io::Result<()> {
        self.io().set_multicast_loop_v4(looped)
    }

    /// What [`set_multicast_loop_v4`](UdpSocket::set_multicast_loop_v4) has set.
    pub fn multicast_loop_v4(&self) -> io::Result<bool> {
        self.io().multicast_loop_v4()
    }

    /// How many hops a multicast datagram may take (`IP_MULTICAST_TTL`).
    pub fn set_multicast_ttl_v4(&self, ttl: u32) -> io::Result<()> {
        self.io().set_multicast_ttl_v4(ttl)
    }

    /// What [`set_multicast_ttl_v4`](UdpSocket::set_multicast_ttl_v4) has set.
    pub fn multicast_ttl_v4(&self) -> io::Result<u32> {
        self.io().multicast_ttl_v4()
    }

    /// As [`set_multicast_loop_v4`](UdpSocket::set_multicast_loop_v4), for IPv6 (`IPV6_MULTICAST_LOOP`).
    pub fn set_multicast_loop_v6(&self, looped: bool) -> io::Result<()> {
        self.io().set_multicast_loop_v6(looped)
    }

    /// What [`set_multicast_loop_v6`](UdpSocket::set_multicast_loop_v6) has set.
    pub fn multicast_loop_v6(&self) -> io::Result<bool> {
        self.io().multicast_loop_v6()
    }

    /// How many hops a datagram may take (`IP_TTL`).
    pub fn set_ttl(&self, ttl: u32) -> io::Result<()> {
        self.io().set_ttl(ttl)
    }

    /// What [`set_ttl`](UdpSocket::set_ttl) has set.
    pub fn ttl(&self) -> io::Result<u32> {
        self.io().ttl()
    }

    /// Also receives what is sent to the group `multiaddr`, on the interface that has this address.
    pub fn join_multicast_v4(&self, multiaddr: &Ipv4Addr, interface: &Ipv4Addr) -> io::Result<()> {
        self.io().join_multicast_v4(multiaddr, interface)
    }

    /// As [`join_multicast_v4`](UdpSocket::join_multicast_v4), for IPv6, on the interface with this number (0: any).
    pub fn join_multicast_v6(&self, multiaddr: &Ipv6Addr, interface: u32) -> io::Result<()> {
        self.io().join_multicast_v6(multiaddr, interface)
    }

    /// Undoes [`join_multicast_v4`](UdpSocket::join_multicast_v4).
    pub fn leave_multicast_v4(&self, multiaddr: &Ipv4Addr, interface: &Ipv4Addr) -> io::Result<()> {
        self.io().leave_multicast_v4(multiaddr, interface)
    }

    /// Undoes [`join_multicast_v6`](UdpSocket::join_multicast_v6).
    pub fn leave_multicast_v6(&self, multiaddr: &Ipv6Addr, interface: u32) -> io::Result<()> {
        self.io().leave_multicast_v6(multiaddr, interface)
    }
}
