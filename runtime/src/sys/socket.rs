//! The socket calls that std does not offer in the shape we need. All others go through
//! `std::net`, on whose types the sockets of `net/` are built.
//!
//! | here              | why not std's                                                        |
//! |-------------------|----------------------------------------------------------------------|
//! | [`connect`]       | std's waits; this one starts and says whether it is still under way  |
//! | [`accept`]        | std's takes a second call to make the new socket non-blocking        |
//! | [`accept_unix`]   | std's does not tell of a shutdown who does not wait                  |
//! | [`send_vectored`] | std's is writev(2), which raises SIGPIPE where that is not ignored   |
//! | [`receive`]       | recvmsg(2): also says that a Unix stream may have more behind it     |
//! | [`wait`]          | ppoll(2): how a plain thread, which has no reactor, waits for one fd |

use std::io::{self, IoSlice, IoSliceMut};
use std::mem;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6, TcpStream};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::net::{self as unix, UnixListener, UnixStream};
use std::time::Duration;

use super::epoll::timespec;

/// Every socket is born so: nothing blocks the worker, nothing leaks into a child.
const BORN: i32 = libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;

/// How far a [`connect`] has come when the call returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    /// The connection stands.
    Done,
    /// The handshake goes on: writable means decided, and then `SO_ERROR` tells how, once.
    UnderWay,
}

/// Makes a TCP socket and starts to connect it to `peer`.
///
/// # Errors
/// Those of socket(2) and connect(2) that come at once: `EMFILE`, `ENETUNREACH`,
/// `EADDRNOTAVAIL` (no local port is left), ...
pub(crate) fn connect(peer: &SocketAddr) -> io::Result<(TcpStream, Progress)> {
    let (name, length) = to_name(peer);
    let family = i32::from(name.ss_family);
    // SAFETY: takes three numbers and no pointer.
    let fd = unsafe { libc::socket(family, libc::SOCK_STREAM | BORN, 0) };
    let stream = TcpStream::from(adopt(fd)?);
    // SAFETY: `name` lives through the call and holds at least `length` initialised bytes.
    let started = unsafe { libc::connect(stream.as_raw_fd(), (&raw const name).cast(), length) };
    if started == 0 {
        return Ok((stream, Progress::Done));
    }
    match io::Error::last_os_error() {
        // Interrupted is not stopped: the handshake goes on, and calling again would say EALREADY.
        error if matches!(error.raw_os_error(), Some(libc::EINPROGRESS | libc::EINTR)) => {
            Ok((stream, Progress::UnderWay))
        }
        error => Err(error),
    }
}

/// Takes one connection from the queue of `listener`, with the address of its peer.
///
/// # Errors
/// `EAGAIN`: the queue is empty. Those of accept(2), among them the pending network errors of the
/// new connection and `EMFILE`.
pub(crate) fn accept(listener: BorrowedFd<'_>) -> io::Result<(TcpStream, SocketAddr)> {
    // SAFETY: all zeroes is a value of this plain C struct: no family, no address.
    let mut name: libc::sockaddr_storage = unsafe { mem::zeroed() };
    let mut length = mem::size_of_val(&name) as libc::socklen_t;
    // SAFETY: the kernel writes at most `length` bytes into `name` and their number into `length`;
    // both are ours alone and outlive the call.
    let fd = unsafe {
        libc::accept4(
            listener.as_raw_fd(),
            (&raw mut name).cast(),
            &raw mut length,
            BORN,
        )
    };
    let stream = TcpStream::from(adopt(fd)?);
    Ok((stream, from_name(&name)?))
}

/// The same for a Unix listener. Its stream comes as std makes it, blocking.
///
/// # Errors
/// `EAGAIN`: the queue is empty. `EINVAL`: the listener was shut down, of which accept(2) itself tells only those who
/// block in it; to others it says `EAGAIN` for ever.
pub(crate) fn accept_unix(listener: &UnixListener) -> io::Result<(UnixStream, unix::SocketAddr)> {
    match listener.accept() {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
            let ended = polled(listener.as_fd(), libc::POLLRDHUP, Some(Duration::ZERO))?;
            Err(if ended & libc::POLLRDHUP != 0 {
                io::Error::from_raw_os_error(libc::EINVAL)
            } else {
                error
            })
        }
        taken => taken,
    }
}

/// What an [`accept`] that failed failed for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// The connection that it took from the queue: gone before we came. The next may be well.
    Connection,
    /// The limit of descriptors or of memory: the connection is in the queue still.
    Resources,
    /// The listener itself, or the caller.
    Listener,
}

/// Sorts the errors of accept(2), whose manual page asks to take the first kind as "try again".
///
/// `EOPNOTSUPP` is in its list too but also says, for ever, that this is no stream socket.
pub(crate) fn refused(error: &io::Error) -> Refused {
    match error.raw_os_error() {
        Some(
            libc::ECONNABORTED
            | libc::EPROTO
            | libc::ENOPROTOOPT
            | libc::ENETDOWN
            | libc::ENETUNREACH
            | libc::EHOSTDOWN
            | libc::EHOSTUNREACH
            | libc::ENONET
            | libc::EINTR,
        ) => Refused::Connection,
        Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM) => Refused::Resources,
        _ => Refused::Listener,
    }
}

/// Sends from several buffers as one, without raising `SIGPIPE`; returns how many bytes were taken.
///
/// Buffers beyond the 1,024 that the kernel takes at a time are left for the next call.
pub(crate) fn send_vectored(fd: BorrowedFd<'_>, buffers: &[IoSlice<'_>]) -> io::Result<usize> {
    // SAFETY: all zeroes is a value of this plain C struct: no name, no buffers, no control data.
    let mut message: libc::msghdr = unsafe { mem::zeroed() };
    // std guarantees that an `IoSlice` is laid out as an `iovec`; sendmsg(2) only reads them.
    message.msg_iov = buffers.as_ptr().cast_mut().cast();
    message.msg_iovlen = buffers.len().min(libc::UIO_MAXIOV as usize) as _;
    // SAFETY: `message` outlives the call; its `msg_iovlen` is not above the number of slices behind
    // `msg_iov`, each of which borrows its bytes for the time of this function.
    let sent = unsafe { libc::sendmsg(fd.as_raw_fd(), &raw const message, libc::MSG_NOSIGNAL) };
    usize::try_from(sent).map_err(|_| io::Error::last_os_error())
}

/// Reads into several buffers as one; returns how many bytes came, and whether the read was **cut off** by something
/// sent along with them (descriptors, credentials), so that more may lie behind though there was room for it.
///
/// What was sent along is dropped; the kernel closes such descriptors. Buffers beyond 1,024 are left empty.
pub(crate) fn receive(
    fd: BorrowedFd<'_>,
    buffers: &mut [IoSliceMut<'_>],
) -> io::Result<(usize, bool)> {
    // SAFETY: all zeroes is a value of this plain C struct: no name, no buffers, no control data.
    let mut message: libc::msghdr = unsafe { mem::zeroed() };
    // std guarantees that an `IoSliceMut` is laid out as an `iovec`.
    message.msg_iov = buffers.as_mut_ptr().cast();
    message.msg_iovlen = buffers.len().min(libc::UIO_MAXIOV as usize) as _;
    // SAFETY: `message` outlives the call; its `msg_iovlen` is not above the number of slices behind
    // `msg_iov`, each of which has its bytes to itself for the time of this function.
    let got = unsafe { libc::recvmsg(fd.as_raw_fd(), &raw mut message, libc::MSG_CMSG_CLOEXEC) };
    let got = usize::try_from(got).map_err(|_| io::Error::last_os_error())?;
    Ok((got, message.msg_flags & libc::MSG_CTRUNC != 0))
}

/// Blocks this **thread** until `fd` is readable (or writable) or `timeout` passes; `None`: for ever.
///
/// Returns whether it is ready (hung up and failed count as ready). False also after a signal, so
/// the caller compares its deadline with the clock and calls again.
pub(crate) fn wait(fd: BorrowedFd<'_>, write: bool, timeout: Option<Duration>) -> io::Result<bool> {
    let events = if write {
        libc::POLLOUT
    } else {
        libc::POLLIN | libc::POLLRDHUP
    };
    Ok(polled(fd, events, timeout)? != 0)
}

/// ppoll(2) of one descriptor: which of `events` have come, or what comes unasked for. None after a signal.
fn polled(fd: BorrowedFd<'_>, events: i16, timeout: Option<Duration>) -> io::Result<i16> {
    let mut entry = libc::pollfd {
        fd: fd.as_raw_fd(),
        events,
        revents: 0,
    };
    let timeout = timeout.map(timespec);
    let limit = timeout
        .as_ref()
        .map_or(std::ptr::null(), std::ptr::from_ref);
    // SAFETY: one live entry that is ours alone; `limit` is null or points into `timeout`, which
    // outlives the call; a null mask leaves the thread's signals as they are.
    match unsafe { libc::ppoll(&raw mut entry, 1, limit, std::ptr::null()) } {
        0.. => Ok(entry.revents),
        _ => match io::Error::last_os_error() {
            error if error.kind() == io::ErrorKind::Interrupted => Ok(0),
            error => Err(error),
        },
    }
}

/// Takes possession of a descriptor that a call above has just returned.
fn adopt(fd: i32) -> io::Result<OwnedFd> {
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: not negative, so the kernel has just made it for us; nobody else knows its number.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// `address` as the kernel wants it, and how many bytes of it count.
fn to_name(address: &SocketAddr) -> (libc::sockaddr_storage, libc::socklen_t) {
    // SAFETY: all zeroes is a value of this plain C struct: no family, no address.
    let mut name: libc::sockaddr_storage = unsafe { mem::zeroed() };
    let length = match address {
        SocketAddr::V4(v4) => {
            let inet = libc::sockaddr_in {
                sin_family: libc::AF_INET as libc::sa_family_t,
                sin_port: v4.port().to_be(),
                // The octets stand in network order already: kept in memory as they are.
                sin_addr: libc::in_addr {
                    s_addr: u32::from_ne_bytes(v4.ip().octets()),
                },
                sin_zero: [0; 8],
            };
            // SAFETY: `sockaddr_storage` is made to hold, at its start, every kind of address: it is
            // large enough and aligned for each.
            unsafe { (&raw mut name).cast::<libc::sockaddr_in>().write(inet) };
            mem::size_of::<libc::sockaddr_in>()
        }
        SocketAddr::V6(v6) => {
            let inet = libc::sockaddr_in6 {
                sin6_family: libc::AF_INET6 as libc::sa_family_t,
                sin6_port: v6.port().to_be(),
                sin6_flowinfo: v6.flowinfo(),
                sin6_addr: libc::in6_addr {
                    s6_addr: v6.ip().octets(),
                },
                sin6_scope_id: v6.scope_id(),
            };
            // SAFETY: as above.
            unsafe { (&raw mut name).cast::<libc::sockaddr_in6>().write(inet) };
            mem::size_of::<libc::sockaddr_in6>()
        }
    };
    (name, length as libc::socklen_t)
}

/// The address that the kernel wrote into `name`.
fn from_name(name: &libc::sockaddr_storage) -> io::Result<SocketAddr> {
    match i32::from(name.ss_family) {
        libc::AF_INET => {
            // SAFETY: the family says that the kernel wrote a `sockaddr_in`; a storage is large
            // enough and aligned for it.
            let inet = unsafe { &*std::ptr::from_ref(name).cast::<libc::sockaddr_in>() };
            let ip = Ipv4Addr::from(inet.sin_addr.s_addr.to_ne_bytes());
            Ok(SocketAddrV4::new(ip, u16::from_be(inet.sin_port)).into())
        }
        libc::AF_INET6 => {
            // SAFETY: as above, for a `sockaddr_in6`.
            let inet = unsafe { &*std::ptr::from_ref(name).cast::<libc::sockaddr_in6>() };
            let ip = Ipv6Addr::from(inet.sin6_addr.s6_addr);
            let port = u16::from_be(inet.sin6_port);
            Ok(SocketAddrV6::new(ip, port, inet.sin6_flowinfo, inet.sin6_scope_id).into())
        }
        family => Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("the peer's address is of family {family}, not IPv4 or IPv6"),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_survives_the_way_through_the_kernels_form() {
        let v6 = SocketAddrV6::new(Ipv6Addr::new(0xfe80, 0, 0, 0, 1, 2, 3, 4), 65_535, 7, 3);
        for address in [SocketAddr::from(([127, 1, 2, 3], 80)), v6.into()] {
            let (name, _) = to_name(&address);
            assert_eq!(from_name(&name).unwrap(), address);
        }
    }

    #[test]
    fn so2_what_is_wrong_with_one_connection_is_told_from_what_is_wrong_with_all() {
        let kind = |errno| refused(&io::Error::from_raw_os_error(errno));
        for errno in [
            libc::ECONNABORTED,
            libc::EPROTO,
            libc::ENETDOWN,
            libc::EHOSTUNREACH,
        ] {
            assert_eq!(kind(errno), Refused::Connection);
        }
        assert_eq!(kind(libc::EMFILE), Refused::Resources);
        for errno in [libc::EINVAL, libc::EBADF, libc::EOPNOTSUPP, libc::EAGAIN] {
            assert_eq!(kind(errno), Refused::Listener);
        }
    }

    #[test]
    fn so3_the_error_of_a_connect_is_read_once() {
        let unused = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = unused.local_addr().unwrap();
        drop(unused);
        let (stream, progress) = connect(&address).unwrap();
        assert_eq!(progress, Progress::UnderWay);
        assert!(wait(std::os::fd::AsFd::as_fd(&stream), true, None).unwrap());
        let first = stream.take_error().unwrap().map(|error| error.kind());
        assert_eq!(first, Some(io::ErrorKind::ConnectionRefused));
        assert!(stream.take_error().unwrap().is_none());
    }
}
