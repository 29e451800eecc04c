//! Sockets as in [`std::net`] and [`std::os::unix::net`], where a call that has to wait lets other coroutines run.
//!
//! The types have std's names, methods and errors; [`Read`](std::io::Read) and
//! [`Write`](std::io::Write) are implemented for each and for `&` of each, so code written for
//! std's sockets works once its `use` says `runtime::net`.
//!
//! ```
//! use runtime::net::{TcpListener, TcpStream};
//! use std::io::{Read, Write};
//!
//! runtime::run(|| -> std::io::Result<()> {
//!     let listener = TcpListener::bind("127.0.0.1:0")?;
//!     let address = listener.local_addr()?;
//!
//!     let server = runtime::spawn(move || -> std::io::Result<()> {
//!         let (mut stream, _peer) = listener.accept()?;
//!         let mut request = [0; 4];
//!         stream.read_exact(&mut request)?;
//!         stream.write_all(&request)
//!     });
//!
//!     let mut stream = TcpStream::connect(address)?;
//!     stream.write_all(b"ping")?;
//!     let mut answer = String::new();
//!     stream.read_to_string(&mut answer)?;
//!     assert_eq!(answer, "ping");
//!     server.join().unwrap()
//! })
//! # .unwrap();
//! ```
//!
//! What differs from std:
//!
//! - A wait parks the coroutine, not its worker. On a plain thread it blocks the thread, as in std.
//! - A socket is non-blocking underneath. `From<std::net::..>` makes it so, `Into` undoes it. The
//!   kernel keeps that flag per *socket*, so clones and duplicates made before share the change.
//! - [`ToSocketAddrs`] is this module's: std's has the same name, shape and implementors, but would
//!   look names up on the worker's own thread.
//! - [`TcpListener::accept`] waits where the process has no descriptor left, see there.
//! - Unix sockets are here too, under the addresses that std has for them,
//!   [`std::os::unix::net::SocketAddr`].
//! - Options that std has no method for are set through the crate socket2: `SockRef::from(&stream)`.
//! - A socket stays with the reactor of the worker on which it was first waited for. It may be used
//!   from everywhere; it is fastest used there.

#![deny(unsafe_code)]

mod addr;
mod bind;
mod common;
mod patience;
#[allow(unsafe_code)] // `FromRawFd` is an unsafe trait method
mod raw;
mod socket;
mod tcp_listener;
mod tcp_stream;
mod udp_socket;
mod unix_datagram;
mod unix_listener;
mod unix_stream;

pub use addr::ToSocketAddrs;
pub use std::net::{
    AddrParseError, IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, SocketAddrV4, SocketAddrV6,
};
pub use tcp_listener::{Incoming, IntoIncoming, TcpListener};
pub use tcp_stream::TcpStream;
pub use udp_socket::UdpSocket;
pub use unix_datagram::UnixDatagram;
pub use unix_listener::{UnixIncoming, UnixListener};
pub use unix_stream::UnixStream;
