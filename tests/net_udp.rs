//! UDP behaves as std's, and a receipt that waits is a coroutine's, not its worker's.

mod net_support;

use std::io::ErrorKind;
use std::net;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use net_support::*;
use runtime::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use runtime::time;

const LOOPBACK: &str = "127.0.0.1:0";

/// Two sockets, each connected to the other.
fn connected() -> (UdpSocket, UdpSocket) {
    let sockets = [(); 2].map(|()| UdpSocket::bind(LOOPBACK).unwrap());
    let addresses = [0, 1].map(|i: usize| sockets[i].local_addr().unwrap());
    sockets[0].connect(addresses[1]).unwrap();
    sockets[1].connect(addresses[0]).unwrap();
    let [one, other] = sockets;
    (one, other)
}

#[test]
fn many_clients_are_answered_by_one_socket() {
    on_one_worker_and_on_two(|| {
        let server = UdpSocket::bind(LOOPBACK).unwrap();
        let address = server.local_addr().unwrap();
        let serving = runtime::spawn(move || {
            let mut datagram = [0; 16];
            for _ in 0..200 {
                let (length, sender) = server.recv_from(&mut datagram).unwrap();
                assert_eq!(server.send_to(&datagram[..length], sender).unwrap(), length);
            }
        });
        let clients: Vec<_> = (0..20u8)
            .map(|id| {
                runtime::spawn(move || {
                    let socket = UdpSocket::bind(LOOPBACK).unwrap();
                    for round in 0..10 {
                        socket.send_to(&[id, round], address).unwrap();
                        let mut answer = [0; 16];
                        assert_eq!(socket.recv_from(&mut answer).unwrap(), (2, address));
                        assert_eq!(answer[..2], [id, round]);
                    }
                })
            })
            .collect();
        clients.into_iter().for_each(|one| one.join().unwrap());
        serving.join().unwrap();
    });
}

#[test]
fn so9_an_empty_datagram_is_no_end_and_what_does_not_fit_is_cut_off() {
    on_one_worker_and_on_two(|| {
        let (here, there) = connected();
        let mut datagram = [7; 4];
        let receives = runtime::spawn(move || {
            assert_eq!(here.recv(&mut datagram).unwrap(), 0);
            assert_eq!(here.peek(&mut datagram).unwrap(), 4);
            assert_eq!(&datagram, b"too ");
            assert_eq!(here.recv(&mut datagram).unwrap(), 4);
            // The rest is lost, and no part of the next.
            assert_eq!(here.recv(&mut datagram).unwrap(), 2);
            assert_eq!(&datagram[..2], b"ok");
            // A buffer without room still takes a datagram away.
            assert_eq!(here.recv(&mut []).unwrap(), 0);
            assert_eq!(here.recv(&mut datagram).unwrap(), 1);
        });
        let_the_others_run();
        for datagram in ["", "too long", "ok", "dropped", "x"] {
            assert_eq!(there.send(datagram.as_bytes()).unwrap(), datagram.len());
        }
        receives.join().unwrap();
    });
}

#[test]
fn so9_a_refusal_comes_back_as_an_error_of_the_next_call_and_wakes_who_waits() {
    on_one_worker_and_on_two(|| {
        let (here, there) = connected();
        drop(there);
        here.send(b"to nobody").unwrap();
        let error = here.recv(&mut [0; 8]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);

        let here = Arc::new(here);
        let waits = Arc::clone(&here);
        let receiver = runtime::spawn(move || waits.recv(&mut [0; 8]));
        let_the_others_run();
        here.send(b"to nobody").unwrap();
        let error = receiver.join().unwrap().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
        assert!(here.take_error().unwrap().is_none(), "told once");
    });
}

#[test]
fn so9_too_long_a_datagram_is_refused_and_the_socket_goes_on() {
    runtime::run(|| {
        let (here, there) = connected();
        let error = here.send(&[0; 65_508]).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EMSGSIZE));
        here.send(b"x").unwrap();
        assert_eq!(there.recv(&mut [0; 8]).unwrap(), 1);
        let alone = UdpSocket::bind(LOOPBACK).unwrap();
        let error = alone.send(b"x").unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EDESTADDRREQ));
        let nowhere: &[SocketAddr] = &[];
        let error = alone.send_to(b"x", nowhere).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
    });
}

#[test]
fn timeouts_and_cancellation_end_a_receipt_and_cost_no_datagram() {
    on_one_worker_and_on_two(|| {
        let (here, there) = connected();
        let short = Duration::from_millis(5);
        here.set_read_timeout(Some(short)).unwrap();
        here.set_write_timeout(Some(short)).unwrap();
        assert_eq!(here.read_timeout().unwrap(), Some(short));
        assert_eq!(here.write_timeout().unwrap(), Some(short));
        let error = here.recv(&mut [0; 8]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::WouldBlock);
        here.set_read_timeout(None).unwrap();
        let zero = here.set_write_timeout(Some(Duration::ZERO)).unwrap_err();
        assert_eq!(zero.kind(), ErrorKind::InvalidInput);
        assert!(time::timeout(short, || here.recv_from(&mut [0; 8])).is_err());

        let here = Arc::new(here);
        let waits = Arc::clone(&here);
        let receiver = runtime::spawn(move || waits.recv(&mut [0; 8]).is_ok());
        let_the_others_run();
        receiver.cancel();
        assert!(receiver.join().is_err());
        there.send(b"kept").unwrap();
        assert_eq!(here.recv(&mut [0; 8]).unwrap(), 4);
        here.set_nonblocking(true).unwrap();
        let error = here.peek_from(&mut [0; 8]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::WouldBlock);
    });
}

#[test]
fn two_bound_for_sharing_have_one_port_and_each_sender_one_of_them() {
    on_one_worker_and_on_two(|| {
        let first = UdpSocket::bind_reuse_port(LOOPBACK).unwrap();
        let address = first.local_addr().unwrap();
        let second = UdpSocket::bind_reuse_port(address).unwrap();
        let error = UdpSocket::bind(address).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AddrInUse);
        let serving: Vec<_> = [first, second]
            .map(|socket| {
                runtime::spawn(move || {
                    loop {
                        let mut datagram = [0; 8];
                        let (length, sender) = socket.recv_from(&mut datagram).unwrap();
                        socket.send_to(&datagram[..length], sender).unwrap();
                    }
                })
            })
            .into();
        for _ in 0..20 {
            let client = UdpSocket::bind(LOOPBACK).unwrap();
            client.send_to(b"?", address).unwrap();
            assert_eq!(client.recv_from(&mut [0; 8]).unwrap(), (1, address));
        }
        serving.iter().for_each(|one| one.cancel());
    });
}

#[test]
fn a_group_on_the_loopback_receives_what_is_sent_to_it() {
    runtime::run(|| {
        let group = Ipv4Addr::new(239, 255, 77, 78);
        let member = UdpSocket::bind("0.0.0.0:0").unwrap();
        let port = member.local_addr().unwrap().port();
        // A machine without a route or an interface for it cannot show this.
        if let Err(error) = member.join_multicast_v4(&group, &Ipv4Addr::LOCALHOST) {
            println!("skipped: no multicast on the loopback: {error}");
            return;
        }
        let sender = UdpSocket::bind(LOOPBACK).unwrap();
        sender.set_multicast_loop_v4(true).unwrap();
        sender.set_multicast_ttl_v4(0).unwrap();
        assert!(sender.multicast_loop_v4().unwrap());
        assert_eq!(sender.multicast_ttl_v4().unwrap(), 0);
        socket2::SockRef::from(&sender)
            .set_multicast_if_v4(&Ipv4Addr::LOCALHOST)
            .unwrap();
        sender.send_to(b"all", (group, port)).unwrap();
        assert_eq!(member.recv(&mut [0; 8]).unwrap(), 3);
        member
            .leave_multicast_v4(&group, &Ipv4Addr::LOCALHOST)
            .unwrap();
        let none = member.join_multicast_v6(&Ipv6Addr::LOCALHOST, 0);
        assert!(none.is_err(), "an IPv4 socket joins no IPv6 group");
    });
}

#[test]
fn the_options_are_the_sockets_and_conversions_keep_them() {
    runtime::run(|| {
        let (here, there) = connected();
        here.set_broadcast(true).unwrap();
        here.set_ttl(42).unwrap();
        here.set_read_timeout(Some(Duration::from_millis(20)))
            .unwrap();
        assert_eq!(here.peer_addr().unwrap(), there.local_addr().unwrap());

        let std = net::UdpSocket::from(here);
        assert!(std.broadcast().unwrap());
        let ours = UdpSocket::from(std);
        assert!(ours.broadcast().unwrap());
        assert_eq!(ours.ttl().unwrap(), 42);
        assert_eq!(
            ours.read_timeout().unwrap(),
            Some(Duration::from_millis(20))
        );
        let clone = ours.try_clone().unwrap();
        let ours = UdpSocket::from(OwnedFd::from(ours));
        there.send(b"x").unwrap();
        assert_eq!(ours.recv(&mut [0; 8]).unwrap(), 1);
        there.send(b"yz").unwrap();
        assert_eq!(clone.recv(&mut [0; 8]).unwrap(), 2);
        let text = format!("{ours:?}");
        assert!(text.contains(&ours.local_addr().unwrap().to_string()));

        let v6 = UdpSocket::bind("[::1]:0");
        if let Ok(v6) = v6 {
            v6.set_multicast_loop_v6(false).unwrap();
            assert!(!v6.multicast_loop_v6().unwrap());
        }
    });
}

#[test]
fn a_plain_thread_talks_to_a_coroutine() {
    let (here, there) = connected();
    let echo = thread::spawn(move || {
        let mut datagram = [0; 8];
        let length = there.recv(&mut datagram).unwrap();
        there.send(&datagram[..length]).unwrap();
    });
    runtime::run(move || {
        here.send(b"ping").unwrap();
        assert_eq!(here.recv(&mut [0; 8]).unwrap(), 4);
    });
    echo.join().unwrap();
}
