//! The faults of reactor and sockets, each test bearing its id. Those that need a look inside
//! (a stale event, an edge between call and wait) are unit tests of `runtime::reactor`.

mod net_support;

use std::fs::File;
use std::io::{ErrorKind, IoSlice, Read, Write};
use std::net;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use net_support::*;
use runtime::coroutine::sleep;
use runtime::net::{Shutdown, TcpListener, TcpStream, ToSocketAddrs};

#[test]
fn re1_a_waiter_is_woken_by_shutdown_but_not_by_the_close_of_another_handle() {
    on_one_worker_and_on_two(|| {
        let (stream, mut peer) = pair_with_std();
        let (waits, other) = (stream.try_clone().unwrap(), stream.try_clone().unwrap());
        let reader = runtime::spawn(move || {
            let mut byte = [0];
            let first = (&waits).read(&mut byte).unwrap();
            (first, (&waits).read(&mut byte).unwrap())
        });
        let_the_others_run();
        // The connection is open as long as any handle is; only then is a close an end.
        drop(stream);
        let_the_others_run();
        peer.write_all(b"x").unwrap();
        let_the_others_run();
        other.shutdown(Shutdown::Both).unwrap();
        assert_eq!(reader.join().unwrap(), (1, 0));
    });
}

#[test]
fn re2_a_socket_that_takes_over_a_number_in_the_same_batch_gets_only_its_own_bytes() {
    on_one_worker_and_on_two(|| {
        let mut numbers_reused = 0;
        for _ in 0..100 {
            let ((first, mut to_first), (second, mut to_second)) =
                (pair_with_std(), pair_with_std());
            let (third, mut to_third) = pair_with_std();
            let number = second.as_raw_fd();
            let waits = runtime::spawn(move || (&second).read(&mut [0; 8]).is_ok());
            let takes_over = runtime::spawn(move || {
                expect(&first, b"go");
                waits.cancel();
                let _ = waits.join();
                let successor = duplicate_as(&third, number);
                let reused = successor.as_raw_fd() == number;
                let mut got = [0; 8];
                let count = (&successor).read(&mut got).unwrap();
                (reused, got[..count].to_vec())
            });
            let_the_others_run();
            // Both before the worker polls again: two events of one batch.
            to_first.write_all(b"go").unwrap();
            to_second.write_all(b"stale").unwrap();
            let_the_others_run();
            to_third.write_all(b"own").unwrap();
            let (reused, got) = takes_over.join().unwrap();
            assert_eq!(got, b"own");
            numbers_reused += usize::from(reused);
        }
        assert_ne!(numbers_reused, 0, "else this test proves nothing");
    });
}

#[test]
fn re3_the_registration_ends_with_the_socket_though_a_duplicate_lives() {
    on_one_worker_and_on_two(|| {
        let (stream, mut peer) = pair_with_std();
        let duplicate = File::from(stream.as_fd().try_clone_to_owned().unwrap());
        let reader = runtime::spawn(move || {
            expect(&stream, b"x");
            stream
        });
        while !is_registered(&duplicate) {
            runtime::yield_now(); // as soon as it waits
        }
        peer.write_all(b"x").unwrap();
        let stream = reader.join().unwrap();
        assert!(is_registered(&duplicate), "for its life");
        drop(stream);
        assert!(!is_registered(&duplicate));
    });
}

#[test]
fn re6_what_a_partial_read_or_accept_leaves_is_found_without_a_new_event() {
    on_one_worker_and_on_two(|| {
        let (listener, address) = listener();
        let accepts = runtime::spawn(move || {
            (0..3)
                .map(|_| listener.accept().unwrap().0)
                .collect::<Vec<_>>()
        });
        let_the_others_run();
        // Three connections for one edge.
        let clients: Vec<_> = (0..3)
            .map(|_| net::TcpStream::connect(address).unwrap())
            .collect();
        assert_eq!(accepts.join().unwrap().len(), 3);
        drop(clients);

        let (stream, mut peer) = pair_with_std();
        let reads = runtime::spawn(move || {
            let mut byte = [0];
            for expected in b"one by one" {
                (&stream).read_exact(&mut byte).unwrap();
                assert_eq!(byte[0], *expected);
            }
        });
        let_the_others_run();
        peer.write_all(b"one by one").unwrap();
        reads.join().unwrap();
    });
}

#[test]
fn re7_bytes_that_come_while_the_reader_turns_to_wait_are_not_lost() {
    on_one_worker_and_on_two(|| {
        const BYTES: usize = 50_000;
        let (stream, mut peer) = pair_with_std();
        peer.set_nodelay(true).unwrap();
        // From a plain thread, so that bytes come at any moment of the reader's turn.
        let sender = thread::spawn(move || {
            for _ in 0..BYTES {
                peer.write_all(b"x").unwrap();
            }
            peer
        });
        let (mut got, mut buffer) = (0, [0; 16]);
        while got < BYTES {
            got += (&stream).read(&mut buffer).unwrap();
        }
        drop(sender.join().unwrap());
    });
}

#[test]
fn re8_a_hang_up_that_came_while_nobody_waited_is_found() {
    on_one_worker_and_on_two(|| {
        let (stream, peer) = pair_with_std();
        make_it_known_to_the_reactor(&stream);
        drop(peer);
        sleep(Duration::from_millis(5));
        assert_eq!((&stream).read(&mut [0; 8]).unwrap(), 0);
        assert_eq!((&stream).read(&mut [0; 8]).unwrap(), 0, "and for ever");
    });
}

#[test]
fn re10_a_hang_up_that_nobody_waits_for_uses_no_processor() {
    in_own_process(
        "re10_a_hang_up_that_nobody_waits_for_uses_no_processor",
        || {
            on_one_worker_and_on_two(|| {
                let (stream, peer) = pair_with_std();
                make_it_known_to_the_reactor(&stream);
                reset_on_close(&peer);
                drop(peer);
                let used = cpu_time();
                sleep(Duration::from_millis(400));
                let used = cpu_time() - used;
                assert!(
                    used < Duration::from_millis(200),
                    "it spins: {used:?} of 400 ms"
                );
            });
        },
    );
}

#[test]
fn re11_signals_end_neither_waits_nor_sleeps_early() {
    in_own_process("re11_signals_end_neither_waits_nor_sleeps_early", || {
        for flags in [0, libc::SA_RESTART] {
            handle_sigusr1(flags);
            runtime::run(|| {
                let (stream, mut peer) = pair_with_std();
                let stop = Arc::new(AtomicBool::new(false));
                let hail = hail_of_signals(Arc::clone(&stop));
                let begun = Instant::now();
                sleep(Duration::from_millis(50));
                assert!(begun.elapsed() >= Duration::from_millis(50));
                let sender = thread::spawn(move || {
                    peer.write_all(b"after the hail").unwrap();
                    peer
                });
                expect(&stream, b"after the hail");
                stop.store(true, Ordering::Relaxed);
                assert!(hail.join().unwrap() > 0);
                drop(sender.join().unwrap());
            });
        }
    });
}

#[test]
fn re12_one_socket_is_read_and_written_at_once_and_two_may_read_it() {
    on_one_worker_and_on_two(|| {
        let (stream, mut peer) = pair_with_std();
        let stream = Arc::new(stream);
        let writes = Arc::clone(&stream);
        // The peer does not read, so this one waits, and the readers beside it.
        let writer = runtime::spawn(move || (&*writes).write_all(&vec![1; 20_000_000]));
        let readers = [(); 2].map(|()| {
            let reads = Arc::clone(&stream);
            runtime::spawn(move || {
                let mut byte = [0];
                (&*reads).read_exact(&mut byte).unwrap();
                byte[0]
            })
        });
        let_the_others_run();
        peer.write_all(b"a").unwrap();
        let_the_others_run();
        peer.write_all(b"b").unwrap();
        let mut got = readers.map(|reader| reader.join().unwrap());
        got.sort();
        assert_eq!(&got, b"ab");
        assert!(!writer.is_finished());
        let drain = thread::spawn(move || {
            let mut all = vec![0; 20_000_000];
            peer.read_exact(&mut all).unwrap();
        });
        writer.join().unwrap().unwrap();
        drain.join().unwrap();
    });
}

#[test]
fn re13_an_event_for_a_coroutine_cancelled_in_the_same_batch_is_ignored() {
    on_one_worker_and_on_two(|| {
        for _ in 0..50 {
            let (first, mut to_first) = pair_with_std();
            let (second, mut to_second) = pair_with_std();
            let second = Arc::new(second);
            let reads = Arc::clone(&second);
            let victim = runtime::spawn(move || (&*reads).read(&mut [0; 8]).is_ok());
            let killer = runtime::spawn(move || {
                expect(&first, b"go");
                victim.cancel();
                victim.join()
            });
            let_the_others_run();
            to_first.write_all(b"go").unwrap();
            to_second.write_all(b"both").unwrap();
            // It read before the cancellation came, or it unwound and left every byte.
            if let Err(_cancelled) = killer.join().unwrap() {
                expect(&*second, b"both");
            }
        }
    });
}

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

/// Lets `stream`'s first wait happen, which registers it.
fn make_it_known_to_the_reactor(stream: &TcpStream) {
    stream
        .set_read_timeout(Some(Duration::from_millis(1)))
        .unwrap();
    let error = (&*stream).read(&mut [0]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::WouldBlock);
    assert!(is_registered(stream));
    stream.set_read_timeout(None).unwrap();
}

/// A second handle with the descriptor `number`, or one above if that is taken.
fn duplicate_as(stream: &TcpStream, number: i32) -> TcpStream {
    // SAFETY: takes numbers only; the descriptor is new and known to nobody else.
    let fd = unsafe {
        let fd = libc::fcntl(stream.as_raw_fd(), libc::F_DUPFD_CLOEXEC, number);
        assert!(fd >= 0, "{}", std::io::Error::last_os_error());
        OwnedFd::from_raw_fd(fd)
    };
    TcpStream::from(fd)
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

fn handle_sigusr1(flags: i32) {
    extern "C" fn nothing(_signal: i32) {}
    // SAFETY: all zeroes is a sigaction; the handler does nothing, so it may run at any moment.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = nothing as extern "C" fn(i32) as usize;
        action.sa_flags = flags | libc::SA_ONSTACK;
        assert_eq!(
            libc::sigaction(libc::SIGUSR1, &raw const action, std::ptr::null_mut()),
            0
        );
    }
}

/// Sends the calling thread one signal after another until told to stop; says how many.
fn hail_of_signals(stop: Arc<AtomicBool>) -> thread::JoinHandle<usize> {
    // SAFETY: takes nothing.
    let target = unsafe { libc::pthread_self() };
    thread::spawn(move || {
        let mut sent = 0;
        while !stop.load(Ordering::Relaxed) {
            // SAFETY: the target thread outlives us: it joins this one.
            unsafe { libc::pthread_kill(target, libc::SIGUSR1) };
            sent += 1;
            thread::yield_now();
        }
        sent
    })
}
