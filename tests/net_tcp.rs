//! TCP behaves as std's, and a wait is a coroutine's, not its worker's.

mod net_support;

use std::io::{self, ErrorKind, IoSlice, IoSliceMut, Read, Write};
use std::net;
use std::os::fd::{AsFd, AsRawFd, IntoRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use net_support::*;
use runtime::net::{Shutdown, TcpListener, TcpStream, ToSocketAddrs};

#[test]
fn a_hundred_connections_are_served_at_once() {
    on_one_worker_and_on_two(|| {
        let (listener, address) = listener();
        let server = runtime::spawn(move || {
            let serving: Vec<_> = listener
                .incoming()
                .take(100)
                .map(|stream| runtime::spawn(move || echo(stream.unwrap())))
                .collect();
            serving
                .into_iter()
                .for_each(|one| one.join().unwrap().unwrap());
        });
        let clients: Vec<_> = (0..100u8)
            .map(|id| {
                runtime::spawn(move || {
                    let mut stream = TcpStream::connect(address).unwrap();
                    for round in 0..50 {
                        stream.write_all(&[id, round]).unwrap();
                        expect(&stream, &[id, round]);
                    }
                })
            })
            .collect();
        clients.into_iter().for_each(|one| one.join().unwrap());
        server.join().unwrap();
    });
}

#[test]
fn a_writer_waits_for_its_reader_and_no_byte_is_lost() {
    on_one_worker_and_on_two(|| {
        const BYTES: usize = 20_000_000;
        let (mut from, mut to) = pair();
        let writer = runtime::spawn(move || {
            let all: Vec<u8> = (0..BYTES).map(|i| (i % 251) as u8).collect();
            to.write_all(&all).unwrap();
        });
        let mut got = Vec::new();
        from.read_to_end(&mut got).unwrap();
        writer.join().unwrap();
        assert_eq!(got.len(), BYTES);
        assert!(
            got.iter()
                .enumerate()
                .all(|(i, &byte)| byte == (i % 251) as u8)
        );
    });
}

#[test]
fn coroutines_and_plain_threads_talk_over_our_sockets_on_both_ends() {
    on_one_worker_and_on_two(|| {
        let (ours, theirs) = pair();
        let plain = thread::spawn(move || echo(theirs));
        for round in 0..100u8 {
            (&ours).write_all(&[round]).unwrap();
            expect(&ours, &[round]);
        }
        ours.shutdown(Shutdown::Write).unwrap();
        assert_eq!((&ours).read(&mut [0]).unwrap(), 0);
        plain.join().unwrap().unwrap();
    });
}

#[test]
fn a_plain_thread_alone_uses_them_as_stds() {
    let (listener, address) = listener();
    let server = thread::spawn(move || echo(listener.accept().unwrap().0));
    let stream = TcpStream::connect(address).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_millis(5)))
        .unwrap();
    let error = (&stream).read(&mut [0]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::WouldBlock);
    (&stream).write_all(b"ping").unwrap();
    stream.set_read_timeout(None).unwrap();
    expect(&stream, b"ping");
    drop(stream);
    server.join().unwrap().unwrap();
}

#[test]
fn a_socket_carried_from_one_runtime_into_the_next_goes_on_there() {
    let (stream, mut peer) = runtime::run(|| {
        let (stream, mut peer) = pair_with_std();
        let waits = stream.try_clone().unwrap();
        let reader = runtime::spawn(move || {
            expect(&waits, b"first");
            waits
        });
        let_the_others_run();
        peer.write_all(b"first").unwrap();
        (reader.join().unwrap(), peer)
    });
    assert!(
        !is_registered(&stream),
        "the first runtime has forgotten it"
    );
    runtime::run(move || {
        let reader = runtime::spawn(move || expect(&stream, b"second"));
        let_the_others_run();
        peer.write_all(b"second").unwrap();
        reader.join().unwrap();
    });
}

#[test]
fn a_read_timeout_says_would_block_and_the_stream_goes_on() {
    on_one_worker_and_on_two(|| {
        let (stream, mut peer) = pair_with_std();
        let timeout = Duration::from_millis(20);
        // Set on one handle, it holds for the other, as in std: it belongs to the socket.
        stream
            .try_clone()
            .unwrap()
            .set_read_timeout(Some(timeout))
            .unwrap();
        assert_eq!(stream.read_timeout().unwrap(), Some(timeout));
        for _ in 0..2 {
            let begun = Instant::now();
            let error = (&stream).read(&mut [0]).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::WouldBlock);
            assert!(begun.elapsed() >= timeout);
        }
        peer.write_all(b"late").unwrap();
        expect(&stream, b"late");
        let zero = stream.set_read_timeout(Some(Duration::ZERO)).unwrap_err();
        assert_eq!(zero.kind(), ErrorKind::InvalidInput);
    });
}

#[test]
fn a_write_timeout_ends_a_write_to_a_peer_that_does_not_read() {
    on_one_worker_and_on_two(|| {
        let (mut stream, peer) = pair_with_std();
        stream
            .set_write_timeout(Some(Duration::from_millis(10)))
            .unwrap();
        let error = stream.write_all(&vec![0; 50_000_000]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::WouldBlock);
        drop(peer);
    });
}

#[test]
fn an_enclosing_timeout_bounds_a_read_and_costs_no_byte() {
    on_one_worker_and_on_two(|| {
        let (mut stream, mut peer) = pair_with_std();
        let late = runtime::time::timeout(Duration::from_millis(10), || stream.read(&mut [0; 8]));
        assert!(late.is_err());
        peer.write_all(b"kept").unwrap();
        expect(&mut stream, b"kept");
    });
}

#[test]
fn peek_leaves_the_bytes_and_waits_for_them() {
    on_one_worker_and_on_two(|| {
        let (stream, mut peer) = pair_with_std();
        let sender = runtime::spawn(move || {
            peer.write_all(b"abc").unwrap();
            peer
        });
        let mut seen = [0; 8];
        let got = stream.peek(&mut seen).unwrap();
        assert_eq!(&seen[..got], b"abc");
        expect(&stream, b"abc");
        drop(sender.join().unwrap());
        assert_eq!(stream.peek(&mut seen).unwrap(), 0);
    });
}

#[test]
fn a_buffer_without_room_returns_at_once() {
    runtime::run(|| {
        let (mut stream, _silent) = pair_with_std();
        assert_eq!(stream.read(&mut []).unwrap(), 0);
        assert_eq!(stream.read_vectored(&mut []).unwrap(), 0);
        assert_eq!(stream.write(&[]).unwrap(), 0);
        assert_eq!(stream.write_vectored(&[IoSlice::new(&[])]).unwrap(), 0);
    });
}

#[test]
fn several_buffers_are_written_and_read_as_one() {
    on_one_worker_and_on_two(|| {
        let (mut from, mut to) = pair();
        let many = vec![*b"xy"; 3_000];
        let slices: Vec<_> = many.iter().map(|piece| IoSlice::new(piece)).collect();
        // More than the kernel takes at a time: it takes what it can.
        let sent = to.write_vectored(&slices).unwrap();
        assert!(sent > 0 && sent <= 2 * 1024, "{sent}");
        drop(to);
        let (mut head, mut tail) = ([0; 3], [0; 4_000]);
        let buffers = &mut [IoSliceMut::new(&mut head), IoSliceMut::new(&mut tail)];
        assert_eq!(from.read_vectored(buffers).unwrap(), sent);
        assert_eq!((&head, &tail[..2]), (b"xyx", &b"yx"[..]));
    });
}

#[test]
fn a_stream_that_always_has_data_gives_way_to_the_others() {
    runtime::run(|| {
        let (mut stream, mut peer) = pair_with_std();
        peer.write_all(&[7; 10_000]).unwrap();
        let ran = Arc::new(AtomicBool::new(false));
        let other = Arc::clone(&ran);
        let other = runtime::spawn(move || other.store(true, Ordering::Relaxed));
        let mut byte = [0];
        for _ in 0..1_000 {
            stream.read_exact(&mut byte).unwrap();
        }
        assert!(ran.load(Ordering::Relaxed));
        other.join().unwrap();
    });
}

#[test]
fn a_short_read_at_an_urgent_mark_loses_nothing_behind_it() {
    on_one_worker_and_on_two(|| {
        let (stream, mut peer) = pair_with_std();
        let (mut tell, told) = pair();
        let reader = runtime::spawn(move || {
            let mut buffer = [0; 64];
            for _ in 0..10 {
                let mut missing = "beforebehind".len();
                while missing > 0 {
                    let got = (&stream).read(&mut buffer).unwrap();
                    // An urgent byte that nobody took falls back into the stream.
                    missing -= buffer[..got].iter().filter(|&&byte| byte != b'!').count();
                }
                tell.write_all(b"k").unwrap();
            }
        });
        for _ in 0..10 {
            // The reader waits. Both halves are there before it wakes, and its read stops between
            // them; nothing more comes until it has got the second.
            let_the_others_run();
            peer.write_all(b"before").unwrap();
            // SAFETY: the kernel reads one byte of a constant.
            let sent =
                unsafe { libc::send(peer.as_raw_fd(), b"!".as_ptr().cast(), 1, libc::MSG_OOB) };
            assert_eq!(sent, 1);
            peer.write_all(b"behind").unwrap();
            expect(&told, b"k");
        }
        reader.join().unwrap();
    });
}

#[test]
fn the_options_are_the_sockets() {
    runtime::run(|| {
        let (stream, peer) = pair();
        stream.set_nodelay(true).unwrap();
        assert!(stream.nodelay().unwrap());
        stream.set_ttl(42).unwrap();
        assert_eq!(stream.ttl().unwrap(), 42);
        assert_eq!(stream.peer_addr().unwrap(), peer.local_addr().unwrap());
        assert!(stream.take_error().unwrap().is_none());
        assert!(format!("{stream:?}").contains(&peer.local_addr().unwrap().to_string()));
        let (listener, address) = listener();
        listener.set_ttl(43).unwrap();
        assert_eq!(listener.ttl().unwrap(), 43);
        assert!(listener.take_error().unwrap().is_none());
        assert!(format!("{listener:?}").contains(&address.to_string()));
    });
}

#[test]
fn set_nonblocking_turns_waits_into_would_block_and_back() {
    runtime::run(|| {
        let (listener, address) = listener();
        listener.set_nonblocking(true).unwrap();
        assert_eq!(listener.accept().unwrap_err().kind(), ErrorKind::WouldBlock);
        listener.set_nonblocking(false).unwrap();
        let mut peer = net::TcpStream::connect(address).unwrap();
        let (mut stream, _) = listener.accept().unwrap();
        stream.set_nonblocking(true).unwrap();
        for _ in 0..2 {
            assert_eq!(
                stream.read(&mut [0]).unwrap_err().kind(),
                ErrorKind::WouldBlock
            );
        }
        peer.write_all(b"x").unwrap();
        expect(&stream, b"x");
        stream.set_nonblocking(false).unwrap();
        peer.shutdown(Shutdown::Write).unwrap();
        assert_eq!(stream.read(&mut [0]).unwrap(), 0);
    });
}

#[test]
fn into_std_and_back_keeps_the_connection_and_the_timeouts() {
    // A multiple of the kernel's tick, which it rounds to, at any of the usual rates.
    const KEPT: Duration = Duration::from_millis(20);
    runtime::run(|| {
        let (stream, mut peer) = pair_with_std();
        stream.set_read_timeout(Some(KEPT)).unwrap();
        assert_eq!(
            (&stream).read(&mut [0]).unwrap_err().kind(),
            ErrorKind::WouldBlock
        );
        assert!(is_registered(&stream));

        let stds = net::TcpStream::from(stream);
        assert!(!is_registered(&stds));
        assert_eq!(stds.read_timeout().unwrap(), Some(KEPT));
        // SAFETY: takes numbers only.
        let flags = unsafe { libc::fcntl(stds.as_raw_fd(), libc::F_GETFL) };
        assert_eq!(flags & libc::O_NONBLOCK, 0, "a std socket blocks");

        let ours = TcpStream::from(stds);
        assert_eq!(ours.read_timeout().unwrap(), Some(KEPT));
        assert_eq!(
            (&ours).read(&mut [0]).unwrap_err().kind(),
            ErrorKind::WouldBlock
        );
        peer.write_all(b"x").unwrap();
        expect(&ours, b"x");
        let number = ours.as_raw_fd();
        assert_eq!(OwnedFd::from(ours).into_raw_fd(), number);
        // SAFETY: into_raw_fd has just made the descriptor ours; it is used no more.
        assert_eq!(unsafe { libc::close(number) }, 0);
    });
}

#[test]
fn every_descriptor_is_closed_in_an_executed_child() {
    runtime::run(|| {
        let (client, server) = pair();
        let (listener, _) = listener();
        for fd in [client.as_fd(), server.as_fd(), listener.as_fd()] {
            // SAFETY: takes numbers only.
            let flags = unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_GETFD) };
            assert_eq!(flags & libc::FD_CLOEXEC, libc::FD_CLOEXEC);
            // SAFETY: as above.
            let flags = unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_GETFL) };
            assert_eq!(flags & libc::O_NONBLOCK, libc::O_NONBLOCK);
        }
    });
}

#[test]
fn each_connection_goes_to_one_of_several_acceptors() {
    on_one_worker_and_on_two(|| {
        let (listener, address) = listener();
        let listener = Arc::new(listener);
        let accepted = Arc::new(AtomicUsize::new(0));
        let acceptors: Vec<_> = (0..4)
            .map(|_| {
                let (listener, accepted) = (Arc::clone(&listener), Arc::clone(&accepted));
                runtime::spawn(move || {
                    for stream in listener.incoming() {
                        let mut byte = [0];
                        stream.unwrap().read_exact(&mut byte).unwrap();
                        if byte == [0] {
                            return;
                        }
                        accepted.fetch_add(1, Ordering::Relaxed);
                    }
                })
            })
            .collect();
        let knock = |byte| {
            TcpStream::connect(address)
                .unwrap()
                .write_all(&[byte])
                .unwrap()
        };
        (0..40).for_each(|_| knock(1));
        (0..4).for_each(|_| knock(0));
        acceptors.into_iter().for_each(|one| one.join().unwrap());
        assert_eq!(accepted.load(Ordering::Relaxed), 40);
    });
}

#[test]
fn a_port_in_use_and_a_text_that_is_no_address_are_errors() {
    runtime::run(|| {
        let (_listener, address) = listener();
        assert_eq!(
            TcpListener::bind(address).unwrap_err().kind(),
            ErrorKind::AddrInUse
        );
        for wrong in ["127.0.0.1", "127.0.0.1:x", "127.0.0.1:70000", "", ":"] {
            let error = TcpStream::connect(wrong).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput, "{wrong}: {error}");
        }
        let none: &[net::SocketAddr] = &[];
        assert_eq!(
            TcpStream::connect(none).unwrap_err().kind(),
            ErrorKind::InvalidInput
        );
    });
}

#[test]
fn of_several_addresses_the_first_that_answers_is_taken() {
    runtime::run(|| {
        let ((_bound, refuses), (_listener, answers)) = (bound_only(), listener());
        let stream = TcpStream::connect(&[refuses, answers][..]).unwrap();
        assert_eq!(stream.peer_addr().unwrap(), answers);
        let error = TcpStream::connect(&[refuses, refuses][..]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
    });
}

#[test]
fn addresses_are_taken_in_every_form_that_std_takes() {
    runtime::run(|| {
        fn same<A: ToSocketAddrs + net::ToSocketAddrs>(address: A) {
            let ours: Vec<_> = ToSocketAddrs::to_socket_addrs(&address).unwrap().collect();
            let stds: Vec<_> = net::ToSocketAddrs::to_socket_addrs(&address)
                .unwrap()
                .collect();
            assert_eq!(ours, stds);
        }
        let (ip4, ip6) = (net::Ipv4Addr::LOCALHOST, net::Ipv6Addr::LOCALHOST);
        same("127.0.0.1:80");
        same("[::1]:80".to_owned());
        same(("::1", 80));
        same(("127.0.0.1".to_owned(), 80));
        same(("localhost", 80));
        same((ip4, 80));
        same((ip6, 80));
        same((net::IpAddr::from(ip4), 80));
        same(net::SocketAddrV4::new(ip4, 80));
        same(net::SocketAddrV6::new(ip6, 80, 0, 0));
        same(&[net::SocketAddr::from((ip4, 80))][..]);
        let borrowed = &"127.0.0.1:80";
        same(borrowed);
    });
}

#[test]
fn a_third_partys_blocking_code_runs_unchanged() {
    // It knows only Read and Write: std's own buffered types and copy.
    fn talk(stream: impl Read + Write) -> io::Result<String> {
        let mut stream = io::BufReader::new(stream);
        io::copy(&mut &b"line\n"[..], stream.get_mut())?;
        let mut line = String::new();
        io::BufRead::read_line(&mut stream, &mut line)?;
        Ok(line)
    }
    on_one_worker_and_on_two(|| {
        let (client, server) = pair();
        let server = runtime::spawn(move || echo(server));
        assert_eq!(talk(&client).unwrap(), "line\n");
        assert_eq!(talk(client).unwrap(), "line\n");
        server.join().unwrap().unwrap();
    });
}
