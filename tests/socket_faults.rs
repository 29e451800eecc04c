//! The faults of sockets and of names, each test bearing its id.

mod net_support;

use std::fs::File;
use std::io::{ErrorKind, IoSlice, Read, Write};
use std::net;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use net_support::*;
use runtime::coroutine::sleep;
use runtime::net::{Shutdown, TcpListener, TcpStream, ToSocketAddrs};

#[test]
fn so1_without_descriptors_accept_pauses_and_serves_again_after_a_close() {
    in_own_process(
        "so1_without_descriptors_accept_pauses_and_serves_again_after_a_close",
        || {
            on_one_worker_and_on_two(|| {
                let (listener, address) = listener();
                let mut client = net::TcpStream::connect(address).unwrap();
                client.write_all(b"x").unwrap();
                let hoard = take_every_descriptor();
                let server = runtime::spawn(move || {
                    expect(listener.accept().unwrap().0, b"x");
                    listener
                });
                let used = cpu_time();
                sleep(Duration::from_millis(400));
                let used = cpu_time() - used;
                assert!(!server.is_finished());
                assert!(
                    used < Duration::from_millis(200),
                    "it spins: {used:?} of 400 ms"
                );
                drop(hoard);
                drop(server.join().unwrap());
            });
        },
    );
}

#[test]
fn so2_a_peer_that_reset_before_the_accept_does_no_harm() {
    on_one_worker_and_on_two(|| {
        let (listener, address) = listener();
        let gone = net::TcpStream::connect(address).unwrap();
        reset_on_close(&gone);
        drop(gone);
        let mut well = net::TcpStream::connect(address).unwrap();
        well.write_all(b"x").unwrap();
        let (first, _) = listener.accept().unwrap();
        assert_eq!(
            (&first).read(&mut [0]).unwrap_err().kind(),
            ErrorKind::ConnectionReset
        );
        assert_eq!(
            first.peer_addr().unwrap_err().kind(),
            ErrorKind::NotConnected
        );
        expect(listener.accept().unwrap().0, b"x");
    });
}

#[test]
fn so3_a_connect_is_refused_late_or_cancelled() {
    on_one_worker_and_on_two(|| {
        let (_bound, refuses) = bound_only();
        let error = TcpStream::connect(refuses).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);

        let (_full, silent) = deaf();
        let (begun, patience) = (Instant::now(), Duration::from_millis(30));
        let error = TcpStream::connect_timeout(&silent, patience).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        assert!(begun.elapsed() >= patience);
        let zero = TcpStream::connect_timeout(&silent, Duration::ZERO).unwrap_err();
        assert_eq!(zero.kind(), ErrorKind::InvalidInput);

        let waits = runtime::spawn(move || TcpStream::connect(silent).is_ok());
        let_the_others_run();
        waits.cancel();
        assert!(waits.join().is_err());
    });
}

#[test]
fn so3_a_plain_threads_connect_is_refused_or_late_too() {
    let (_bound, refuses) = bound_only();
    let error = TcpStream::connect(refuses).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
    let (_full, silent) = deaf();
    let error = TcpStream::connect_timeout(&silent, Duration::from_millis(10)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TimedOut);
}

#[test]
fn so3_signals_do_not_disturb_a_connect() {
    in_own_process("so3_signals_do_not_disturb_a_connect", || {
        handle_sigusr1(0);
        runtime::run(|| {
            let (listener, address) = listener();
            let stop = Arc::new(AtomicBool::new(false));
            let hail = hail_of_signals(Arc::clone(&stop));
            for _ in 0..300 {
                let stream = TcpStream::connect(address).unwrap();
                assert_eq!(stream.peer_addr().unwrap(), address);
                drop(listener.accept().unwrap());
            }
            stop.store(true, Ordering::Relaxed);
            assert!(hail.join().unwrap() > 0);
        });
    });
}

#[test]
fn so3_a_connection_that_meets_itself_is_refused() {
    runtime::run(|| {
        // A port on which nobody listens and that connecting sockets are given, as this one was.
        let (listener, address) = listener();
        let client = net::TcpStream::connect(address).unwrap();
        let free = client.local_addr().unwrap();
        reset_on_close(&client);
        drop((client, listener));
        // They come round in some order, each after 14,000 connects or so.
        let met_itself = (0..200_000).any(|_| {
            let error = TcpStream::connect(free).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
            // The system's refusal has a number, ours has not.
            error.raw_os_error().is_none()
        });
        assert!(met_itself);
    });
}

#[test]
fn so4_a_new_sockets_first_readiness_is_not_taken_for_the_connection() {
    on_one_worker_and_on_two(|| {
        let (listener, address) = listener();
        let accepts = runtime::spawn(move || listener.incoming().take(200).all(|s| s.is_ok()));
        let clients: Vec<_> = (0..200)
            .map(|_| {
                runtime::spawn(move || {
                    // A connect that ended too early would find no peer yet.
                    TcpStream::connect(address).unwrap().peer_addr().unwrap()
                })
            })
            .collect();
        clients
            .into_iter()
            .for_each(|one| assert_eq!(one.join().unwrap(), address));
        assert!(accepts.join().unwrap());
        // And what was never connected says so, without a wait.
        let (bound, _) = bound_only();
        let error = (&TcpStream::from(bound)).read(&mut [0]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotConnected);
    });
}

#[test]
fn so5_writing_to_a_closed_peer_is_an_error_and_no_signal() {
    in_own_process(
        "so5_writing_to_a_closed_peer_is_an_error_and_no_signal",
        || {
            // std ignores SIGPIPE at start; with the default action a signal would end this process.
            // SAFETY: takes numbers only.
            unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
            on_one_worker_and_on_two(|| {
                type Send = fn(&TcpStream) -> std::io::Result<usize>;
                let plain: Send = |mut stream| stream.write(b"x");
                let vectored: Send = |mut stream| stream.write_vectored(&[IoSlice::new(b"x")]);
                for send in [plain, vectored] {
                    let (stream, peer) = pair_with_std();
                    drop(peer);
                    assert_eq!(
                        send(&stream).unwrap(),
                        1,
                        "the first is answered by the reset"
                    );
                    let error = loop {
                        match send(&stream) {
                            Ok(_) => runtime::yield_now(),
                            Err(error) => break error,
                        }
                    };
                    assert_eq!(error.kind(), ErrorKind::BrokenPipe);
                }
            });
        },
    );
}

#[test]
fn so6_each_half_closes_alone() {
    on_one_worker_and_on_two(|| {
        let (stream, peer) = pair_with_std();
        make_it_known_to_the_reactor(&stream);
        peer.shutdown(Shutdown::Write).unwrap();
        assert_eq!((&stream).read(&mut [0]).unwrap(), 0);
        (&stream).write_all(b"still heard").unwrap();
        expect(&peer, b"still heard");

        let (stream, mut other) = pair_with_std();
        stream.shutdown(Shutdown::Write).unwrap();
        assert_eq!(other.read(&mut [0]).unwrap(), 0);
        let reader = runtime::spawn(move || {
            expect(&stream, b"still hears");
            (&stream).write(b"x").unwrap_err().kind()
        });
        let_the_others_run();
        other.write_all(b"still hears").unwrap();
        assert_eq!(reader.join().unwrap(), ErrorKind::BrokenPipe);
    });
}

#[test]
fn so7_a_reset_is_told_after_the_bytes_that_came_before_it() {
    on_one_worker_and_on_two(|| {
        let (stream, mut peer) = pair_with_std();
        make_it_known_to_the_reactor(&stream);
        peer.write_all(b"last words").unwrap();
        reset_on_close(&peer);
        drop(peer);
        sleep(Duration::from_millis(5));
        expect(&stream, b"last words");
        let error = (&stream).read(&mut [0]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
        assert_eq!((&stream).read(&mut [0]).unwrap(), 0, "told once");
    });
}

#[test]
fn so8_our_own_shutdown_wakes_reader_writer_and_acceptor() {
    on_one_worker_and_on_two(|| {
        let (stream, _peer) = pair_with_std();
        let stream = Arc::new(stream);
        let (reads, writes) = (Arc::clone(&stream), Arc::clone(&stream));
        let reader = runtime::spawn(move || (&*reads).read(&mut [0]));
        let writer = runtime::spawn(move || (&*writes).write_all(&vec![0; 50_000_000]));
        let_the_others_run();
        stream.shutdown(Shutdown::Both).unwrap();
        assert_eq!(reader.join().unwrap().unwrap(), 0);
        assert_eq!(
            writer.join().unwrap().unwrap_err().kind(),
            ErrorKind::BrokenPipe
        );

        let (listener, _) = listener();
        let listener = Arc::new(listener);
        let accepts = Arc::clone(&listener);
        let acceptor = runtime::spawn(move || accepts.accept().map(drop));
        let_the_others_run();
        // SAFETY: takes numbers only.
        assert_eq!(
            // SAFETY: takes numbers; the descriptor is open.
            unsafe { libc::shutdown(listener.as_raw_fd(), libc::SHUT_RDWR) },
            0
        );
        let error = acceptor.join().unwrap().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
    });
}

#[test]
fn st15_names_are_looked_up_off_the_worker_and_off_the_small_stack() {
    runtime::run(|| {
        let small = runtime::coroutine::Builder::new().stack_size(1);
        let looks_up = move || {
            let turns = Arc::new(AtomicUsize::new(0));
            let counts = Arc::clone(&turns);
            let neighbour = runtime::spawn(move || counts.fetch_add(1, Ordering::Relaxed));
            let literal = ("127.0.0.1", 1).to_socket_addrs().unwrap();
            assert_eq!(
                turns.load(Ordering::Relaxed),
                0,
                "a literal is converted on the spot"
            );
            // Only a look-up that is done before we park lets nobody run.
            let others_ran = (0..1_000).any(|_| {
                let mut found = ("localhost", 1).to_socket_addrs().unwrap();
                assert!(found.all(|address| address.ip().is_loopback()));
                turns.load(Ordering::Relaxed) == 1
            });
            assert!(others_ran, "a look-up waits elsewhere");
            neighbour.join().unwrap();
            literal.count() == 1
        };
        assert!(small.spawn(looks_up).unwrap().join().unwrap());
        assert!(TcpListener::bind("localhost:0").is_ok());
    });
}

/// Lowers the limit and opens files up to it.
fn take_every_descriptor() -> Vec<File> {
    let limit = libc::rlimit {
        rlim_cur: 128,
        rlim_max: 128,
    };
    // SAFETY: the kernel reads `limit` during the call.
    assert_eq!(
        // SAFETY: the kernel reads the limit, which outlives the call.
        unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) },
        0
    );
    std::iter::from_fn(|| File::open("/dev/null").ok()).collect()
}
