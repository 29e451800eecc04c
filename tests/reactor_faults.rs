//! The faults of the reactor, each test bearing its id. Those that need a look inside (a stale event, an edge between
//! call and wait) are unit tests of `runtime::reactor`; those of sockets are in `socket_faults`.

mod net_support;

use std::fs::File;
use std::io::{Read, Write};
use std::net;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use net_support::*;
use runtime::coroutine::sleep;
use runtime::net::{Shutdown, TcpStream};

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
