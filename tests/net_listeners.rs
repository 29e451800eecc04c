//! Listeners: several on one port, long queues, owned iterators; and what closing says to a peer.

mod net_support;

use std::io::{ErrorKind, Read, Write};
use std::net;
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd};
use std::time::Duration;

use net_support::*;
use runtime::net::{Shutdown, TcpListener, TcpStream};

#[test]
fn listeners_that_share_a_port_take_every_connection_between_them() {
    on_one_worker_and_on_two(|| {
        let first = TcpListener::bind_reuse_port("127.0.0.1:0").unwrap();
        let address = first.local_addr().unwrap();
        let second = TcpListener::bind_reuse_port(address).unwrap();
        let error = TcpListener::bind(address).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AddrInUse);
        let acceptors = [first, second].map(|listener| {
            runtime::spawn(move || {
                for stream in listener.into_incoming() {
                    let stream = stream.unwrap();
                    runtime::spawn_local(move || echo(stream));
                }
            })
        });
        for round in 0..50u8 {
            let mut stream = TcpStream::connect(address).unwrap();
            stream.write_all(&[round]).unwrap();
            expect(&stream, &[round]);
        }
        acceptors.iter().for_each(|acceptor| acceptor.cancel());
        assert!(acceptors.map(|acceptor| acceptor.join().is_err()) == [true; 2]);
        let error = TcpStream::connect(address).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused, "both closed");
    });
}

#[test]
fn more_connections_than_stds_queue_has_room_for_wait_in_ours() {
    runtime::run(|| {
        let limit = std::fs::read_to_string("/proc/sys/net/core/somaxconn");
        let limit: u32 = limit.map_or(128, |limit| limit.trim().parse().unwrap());
        for listener in [
            TcpListener::bind("127.0.0.1:0").unwrap(),
            TcpListener::bind_reuse_port("127.0.0.1:0").unwrap(),
        ] {
            assert_eq!(queue_length(&listener), limit.min(4096));
        }
    });
}

/// Of a listener, the kernel tells it in this place (tcp_get_info in its net/ipv4/tcp.c).
fn queue_length(listener: &TcpListener) -> u32 {
    // SAFETY: all zeroes is a value of this struct of numbers; the kernel writes at most `length` bytes to it.
    let info = unsafe {
        let mut info: libc::tcp_info = std::mem::zeroed();
        let mut length = size_of_val(&info) as libc::socklen_t;
        let place = (&raw mut info).cast();
        let fd = listener.as_raw_fd();
        let asked = libc::getsockopt(fd, libc::SOL_TCP, libc::TCP_INFO, place, &raw mut length);
        assert_eq!(asked, 0);
        info
    };
    info.tcpi_sacked
}

#[test]
fn a_listener_on_ipv6_says_whether_it_takes_ipv4_too() {
    runtime::run(|| match TcpListener::bind("[::1]:0") {
        Ok(listener) => assert!(listener.only_v6().unwrap(), "::1 is no address of IPv4"),
        Err(error) => println!("skipped: no IPv6 on the loopback: {error}"),
    });
}

#[test]
fn a_linger_of_zero_resets_and_none_ends_in_order() {
    on_one_worker_and_on_two(|| {
        let (stream, mut peer) = pair_with_std();
        assert_eq!(stream.linger().unwrap(), None);
        stream.set_linger(Some(Duration::ZERO)).unwrap();
        assert_eq!(stream.linger().unwrap(), Some(Duration::ZERO));
        drop(stream);
        let error = peer.read(&mut [0]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
        let (stream, mut peer) = pair_with_std();
        drop(stream);
        assert_eq!(peer.read(&mut [0]).unwrap(), 0);
    });
}

#[test]
fn a_descriptors_number_is_all_that_is_needed_to_go_on() {
    runtime::run(|| {
        let listener = net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        // SAFETY: `into_raw_fd` has given the descriptor up.
        let listener = unsafe { TcpListener::from_raw_fd(listener.into_raw_fd()) };
        let client = runtime::spawn(move || {
            let stream = net::TcpStream::connect(address).unwrap();
            // SAFETY: as above.
            let mut stream = unsafe { TcpStream::from_raw_fd(stream.into_raw_fd()) };
            stream.write_all(b"x").unwrap();
            stream.shutdown(Shutdown::Write).unwrap();
            stream.read(&mut [0]).unwrap()
        });
        let (stream, _) = listener.accept().unwrap();
        assert_ne!(stream.as_raw_fd(), listener.as_raw_fd());
        expect(&stream, b"x");
        drop(stream);
        assert_eq!(client.join().unwrap(), 0);
    });
}
