//! What is set when a socket is bound: the length of a listener's queue, and that several share one port.
//!
//! `SO_REUSEPORT` (socket(7)) must be set before bind(2), so std's types, which bind as they are made, cannot do it.

#![forbid(unsafe_code)]

use std::io;
use std::net::{self, SocketAddr};

use socket2::{Domain, SockRef, Socket, Type};

/// How many connections may wait to be accepted; the kernel has no more than `net.core.somaxconn`. Of a burst of
/// 10,000 connects to std's queue of 128, most would be answered after a second, when they are sent again.
const BACKLOG: i32 = 4096;

/// Gives a listener of std's the queue of ours.
pub(super) fn lengthen_queue(listener: &net::TcpListener) -> io::Result<()> {
    SockRef::from(listener).listen(BACKLOG)
}

/// A listener among several.
pub(super) fn listener(address: SocketAddr) -> io::Result<net::TcpListener> {
    let socket = shared(Type::STREAM, address, |socket| {
        // As std: a server that was restarted need not wait until the old connections are forgotten.
        socket.set_reuse_address(true)
    })?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// A UDP socket among several.
pub(super) fn datagrams(address: SocketAddr) -> io::Result<net::UdpSocket> {
    Ok(shared(Type::DGRAM, address, |_| Ok(()))?.into())
}

fn shared(
    kind: Type,
    address: SocketAddr,
    prepare: impl FnOnce(&Socket) -> io::Result<()>,
) -> io::Result<Socket> {
    let kind = kind.nonblocking().cloexec();
    let socket = Socket::new_raw(Domain::for_address(address), kind, None)?;
    prepare(&socket)?;
    socket.set_reuse_port(true)?;
    socket.bind(&address.into())?;
    Ok(socket)
}
