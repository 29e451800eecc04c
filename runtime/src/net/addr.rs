//! From what a user writes to socket addresses, with names looked up off the worker.
//!
//! std's trait cannot be used: it resolves inside the call, and getaddrinfo(3) blocks the thread for
//! as long as the name server likes, with 12 KiB of stack and more (whatever the configured modules
//! need). So names, and nothing else, go to a plain thread.

#![forbid(unsafe_code)]

use std::io;
use std::net::{self, IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::{iter, option, slice, vec};

use crate::blocking::{self, IfBegun};

/// What [`TcpStream::connect`](super::TcpStream::connect) and the `bind`s take for an address: as
/// [`std::net::ToSocketAddrs`], but a look-up parks the coroutine instead of blocking its worker.
///
/// Addresses, also written out as text (`"127.0.0.1:80"`, `("::1", 80)`), are converted on the
/// spot. A name is looked up by getaddrinfo(3) on the pool of blocking threads, or right here when
/// the caller is a plain thread.
///
/// ```
/// use runtime::net::ToSocketAddrs;
///
/// let found = runtime::run(|| ("localhost", 80).to_socket_addrs()).unwrap();
/// assert!(found.into_iter().all(|address| address.ip().is_loopback()));
/// ```
pub trait ToSocketAddrs {
    /// What the addresses come out of.
    type Iter: Iterator<Item = SocketAddr>;

    /// The addresses in the order in which to try them.
    ///
    /// # Errors
    /// `InvalidInput`: the text is no `host:port`. Whatever the look-up of a name fails with.
    fn to_socket_addrs(&self) -> io::Result<Self::Iter>;
}

/// One address as it is.
macro_rules! itself {
    ($($kind:ty),*) => {$(
        impl ToSocketAddrs for $kind {
            type Iter = option::IntoIter<SocketAddr>;

            fn to_socket_addrs(&self) -> io::Result<Self::Iter> {
                net::ToSocketAddrs::to_socket_addrs(self)
            }
        }
    )*};
}

itself! {
    SocketAddr, SocketAddrV4, SocketAddrV6,
    (IpAddr, u16), (Ipv4Addr, u16), (Ipv6Addr, u16)
}

impl ToSocketAddrs for (&str, u16) {
    type Iter = vec::IntoIter<SocketAddr>;

    fn to_socket_addrs(&self) -> io::Result<Self::Iter> {
        let (host, port) = *self;
        match host.parse::<IpAddr>() {
            Ok(ip) => Ok(vec![SocketAddr::new(ip, port)].into_iter()),
            Err(_) => resolve(host, port),
        }
    }
}

impl ToSocketAddrs for (String, u16) {
    type Iter = vec::IntoIter<SocketAddr>;

    fn to_socket_addrs(&self) -> io::Result<Self::Iter> {
        (self.0.as_str(), self.1).to_socket_addrs()
    }
}

impl ToSocketAddrs for str {
    type Iter = vec::IntoIter<SocketAddr>;

    fn to_socket_addrs(&self) -> io::Result<Self::Iter> {
        if let Ok(address) = self.parse() {
            return Ok(vec![address].into_iter());
        }
        let (host, port) = self
            .rsplit_once(':')
            .ok_or_else(|| invalid("invalid socket address"))?;
        let port = port.parse().map_err(|_| invalid("invalid port value"))?;
        resolve(host, port)
    }
}

impl ToSocketAddrs for String {
    type Iter = vec::IntoIter<SocketAddr>;

    fn to_socket_addrs(&self) -> io::Result<Self::Iter> {
        self.as_str().to_socket_addrs()
    }
}

impl<'a> ToSocketAddrs for &'a [SocketAddr] {
    type Iter = iter::Cloned<slice::Iter<'a, SocketAddr>>;

    fn to_socket_addrs(&self) -> io::Result<Self::Iter> {
        Ok(self.iter().cloned())
    }
}

impl<T: ToSocketAddrs + ?Sized> ToSocketAddrs for &T {
    type Iter = T::Iter;

    fn to_socket_addrs(&self) -> io::Result<Self::Iter> {
        (**self).to_socket_addrs()
    }
}

/// Looks `host` up where it may block.
fn resolve(host: &str, port: u16) -> io::Result<vec::IntoIter<SocketAddr>> {
    let host = host.to_owned();
    blocking::offload(IfBegun::Leave, move || {
        net::ToSocketAddrs::to_socket_addrs(&(host.as_str(), port))
    })?
}

fn invalid(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, what)
}

/// Tries `act` with each address until one succeeds; the error of the last one otherwise.
#[track_caller]
pub(super) fn first_that<T>(
    addresses: impl ToSocketAddrs,
    mut act: impl FnMut(SocketAddr) -> io::Result<T>,
) -> io::Result<T> {
    let mut last = invalid("could not resolve to any addresses");
    for address in addresses.to_socket_addrs()? {
        match act(address) {
            Ok(done) => return Ok(done),
            Err(error) => last = error,
        }
    }
    Err(last)
}
