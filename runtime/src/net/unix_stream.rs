//! A Unix stream, as [`std::os::unix::net::UnixStream`].

#![forbid(unsafe_code)]

use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::net::Shutdown;
use std::os::fd::AsFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{self, SocketAddr};
use std::path::Path;

use socket2::{Domain, SockAddr, Type};

use super::common::{socket, timeouts};
use super::patience;
use super::socket::Socket;
use crate::park::WaitReason;
use crate::pollable::{by_value, handle};
use crate::reactor::Interest;
use crate::sys;

/// A connection between two processes of this machine, or within one, as [`std::os::unix::net::UnixStream`].
///
/// Reads, writes, waits and cancellation are those of a [`TcpStream`](super::TcpStream).
///
/// Descriptors that the peer sends along with the bytes (`SCM_RIGHTS`) are closed; no byte is lost to them.
///
/// ```
/// use runtime::net::UnixStream;
/// use std::io::{Read, Write};
///
/// runtime::run(|| -> std::io::Result<()> {
///     let (mut here, mut there) = UnixStream::pair()?;
///     runtime::spawn(move || there.write_all(b"hello"));
///     let mut all = String::new();
///     here.read_to_string(&mut all)?; // waits, and the writer runs
///     assert_eq!(all, "hello");
///     Ok(())
/// })
/// # .unwrap();
/// ```
pub struct UnixStream {
    socket: Socket<net::UnixStream>,
}

handle!(UnixStream { socket: Socket<net::UnixStream> });
socket!(UnixStream);
timeouts!(UnixStream);
by_value!(Read for UnixStream);
by_value!(Write for UnixStream);

impl UnixStream {
    /// Connects to the listener at `path`.
    ///
    /// # Errors
    /// `NotFound`: there is no such file. `ConnectionRefused`: nobody listens there (any more; the file stays when a
    /// listener ends). `InvalidInput`: the path has more than 107 bytes, or one that is 0. `WouldBlock` never: where
    /// the listener's queue is full, it waits.
    ///
    /// # Cost
    /// Three system calls. No event tells that a full queue has room again, so the connect is tried again after
    /// pauses of 1 to 100 ms.
    #[track_caller]
    pub fn connect<P: AsRef<Path>>(path: P) -> io::Result<Self> {
        Self::connect_to(&SockAddr::unix(checked(path.as_ref())?)?)
    }

    /// Connects to the listener at `address`, which may be an abstract one; else as [`connect`](UnixStream::connect).
    #[track_caller]
    pub fn connect_addr(address: &SocketAddr) -> io::Result<Self> {
        Self::connect_to(&to_name(address)?)
    }

    #[track_caller]
    fn connect_to(name: &SockAddr) -> io::Result<Self> {
        let kind = Type::STREAM.nonblocking().cloexec();
        let io = socket2::Socket::new_raw(Domain::UNIX, kind, None)?;
        patience::persist(WaitReason::Connect.on_fd(&io), || None, || io.connect(name))?;
        let socket = Socket::new(io.into());
        Ok(Self { socket })
    }

    /// Two streams that are connected to each other.
    ///
    /// # Errors
    /// `EMFILE`, `ENFILE`: no descriptors are left.
    pub fn pair() -> io::Result<(Self, Self)> {
        let (one, other) = net::UnixStream::pair()?;
        Ok((Self::fresh(one)?, Self::fresh(other)?))
    }

    /// Takes a new descriptor of ours.
    pub(super) fn fresh(io: net::UnixStream) -> io::Result<Self> {
        let socket = Socket::fresh(io)?;
        Ok(Self { socket })
    }

    /// The address of this end.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.io().local_addr()
    }

    /// The address of the other end.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.socket.io().peer_addr()
    }

    /// Ends reading, writing or both, for every clone, and wakes whoever waits for it: a read returns 0, a write
    /// fails with `BrokenPipe`.
    pub fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        self.socket.io().shutdown(how)
    }

    #[track_caller]
    fn receive(&self, buffers: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        let room: usize = buffers.iter().map(|buffer| buffer.len()).sum();
        if room == 0 {
            return Ok(0);
        }
        let attempt = |io: &net::UnixStream| sys::socket::receive(io.as_fd(), buffers);
        let (got, _) = self.socket.perform(
            Interest::Read,
            WaitReason::Readable,
            attempt,
            // A read ends where descriptors were sent along, whatever room there is behind; no event would tell of
            // the bytes there. The end (0 bytes) can be read for ever.
            |&(got, cut_off)| 0 < got && got < room && !cut_off,
        )?;
        Ok(got)
    }

    #[track_caller]
    fn send(&self, buffers: &[IoSlice<'_>]) -> io::Result<usize> {
        let offered: usize = buffers.iter().map(|buffer| buffer.len()).sum();
        if offered == 0 {
            return Ok(0);
        }
        self.socket.perform(
            Interest::Write,
            WaitReason::Writable,
            |io| sys::socket::send_vectored(io.as_fd(), buffers),
            |&sent| sent < offered,
        )
    }
}

impl Read for &UnixStream {
    /// As [`std::os::unix::net::UnixStream`]; a buffer without room returns at once.
    #[track_caller]
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.receive(&mut [IoSliceMut::new(buffer)])
    }

    #[track_caller]
    fn read_vectored(&mut self, buffers: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        self.receive(buffers)
    }
}

impl Write for &UnixStream {
    /// As [`std::os::unix::net::UnixStream`]: to a closed peer it is the error `BrokenPipe`, never a signal.
    #[track_caller]
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.send(&[IoSlice::new(bytes)])
    }

    #[track_caller]
    fn write_vectored(&mut self, buffers: &[IoSlice<'_>]) -> io::Result<usize> {
        self.send(buffers)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// `path`, unless std would refuse it.
fn checked(path: &Path) -> io::Result<&Path> {
    SocketAddr::from_pathname(path).map(|_| path)
}

/// `address` as the kernel wants it.
fn to_name(address: &SocketAddr) -> io::Result<SockAddr> {
    match (address.as_pathname(), address.as_abstract_name()) {
        (Some(path), _) => SockAddr::unix(path),
        (None, Some(name)) => {
            let name = [b"\0", name].concat();
            SockAddr::unix(Path::new(std::ffi::OsStr::from_bytes(&name)))
        }
        (None, None) => SockAddr::unix(""),
    }
}
