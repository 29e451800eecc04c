//! Any descriptor can be waited for, and is left as it was found.

mod net_support;

use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use net_support::*;
use runtime::io::{Interest, Watched, wait};
use runtime::time;

const SHORT: Duration = Duration::from_millis(10);

fn is_nonblocking(fd: impl AsFd) -> bool {
    // SAFETY: takes numbers.
    let flags = unsafe { libc::fcntl(fd.as_fd().as_raw_fd(), libc::F_GETFL) };
    flags & libc::O_NONBLOCK != 0
}

#[test]
fn re14_a_blocking_descriptor_is_read_when_ready_and_stays_blocking() {
    on_one_worker_and_on_two(|| {
        let (from, mut to) = io::pipe().unwrap();
        // As a program that was started with it shares it with its parent.
        let parents = from.try_clone().unwrap();
        let mut from = Watched::new(from);
        let reader = runtime::spawn(move || {
            let mut all = Vec::new();
            from.read_to_end(&mut all).unwrap();
            all
        });
        for round in 0..10u8 {
            let_the_others_run();
            assert!(!is_nonblocking(&parents));
            to.write_all(&[round; 100]).unwrap();
        }
        drop(to);
        assert_eq!(reader.join().unwrap().len(), 1000);
        assert!(!is_nonblocking(&parents));
    });
}

#[test]
fn re14_a_blocking_descriptor_is_written_when_ready_and_never_blocks_the_worker() {
    on_one_worker_and_on_two(|| {
        let (mut from, to) = io::pipe().unwrap();
        let mut to = Watched::new(to);
        // One write of this length would block the thread, and the reader's with it.
        let writer = runtime::spawn(move || {
            to.write_all(&vec![3; 1_000_000]).unwrap();
            to.flush().unwrap();
            to.into_inner()
        });
        let (mut got, mut buffer) = (0, vec![0; 10_000]);
        while got < 1_000_000 {
            wait(&from, Interest::Read).unwrap();
            got += from.read(&mut buffer).unwrap();
        }
        assert!(!is_nonblocking(writer.join().unwrap()));
    });
}

#[test]
fn a_non_blocking_descriptor_is_tried_and_then_waited_for() {
    on_one_worker_and_on_two(|| {
        let (ours, mut peer) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        let mut ours = Watched::new(ours);
        assert!(time::timeout(SHORT, || ours.read(&mut [0; 8])).is_err());
        let sender = thread::spawn(move || peer.write_all(b"hello").map(|()| peer).unwrap());
        expect(&mut ours, b"hello");
        ours.write_all(&[7; 100]).unwrap();
        expect(sender.join().unwrap(), &[7; 100]);
        assert!(is_registered(&ours));
        assert_eq!(ours.read(&mut []).unwrap(), 0);
        let inner = ours.into_inner();
        assert!(!is_registered(&inner));
        assert!(is_nonblocking(&inner), "as it was found");
    });
}

#[test]
fn cancellation_and_timeouts_end_a_wait_and_the_descriptor_goes_on() {
    on_one_worker_and_on_two(|| {
        let (from, mut to) = io::pipe().unwrap();
        assert!(time::timeout(SHORT, || wait(&from, Interest::Read)).is_err());
        assert!(!is_registered(&from), "the wait has gone, and all of it");
        let from = Arc::new(Watched::new(from));
        let waits = Arc::clone(&from);
        let waiter = runtime::spawn(move || waits.wait(Interest::Read).is_ok());
        let_the_others_run();
        waiter.cancel();
        assert!(waiter.join().is_err());
        to.write_all(b"x").unwrap();
        from.wait(Interest::Read).unwrap();
        // Waiting has taken nothing.
        from.wait(Interest::Read).unwrap();
        let read = |mut from: &std::io::PipeReader| from.read(&mut [0; 8]);
        assert_eq!(from.perform(Interest::Read, read).unwrap(), 1);
    });
}

#[test]
fn re5_a_descriptor_that_is_registered_already_is_waited_for_all_the_same() {
    on_one_worker_and_on_two(|| {
        let (stream, peer) = pair_with_std();
        let stream = Arc::new(stream);
        // Reader, watchers of either direction: three registrations of one descriptor.
        let (one, two, three) = (stream.clone(), stream.clone(), stream.clone());
        let reader = runtime::spawn(move || (&*one).read(&mut [0; 1]).unwrap());
        let watcher = runtime::spawn(move || wait(&*two, Interest::Read));
        let_the_others_run();
        let writer = runtime::spawn(move || wait(&*three, Interest::Write));
        writer.join().unwrap().unwrap();
        assert!(!reader.is_finished() && !watcher.is_finished());
        (&peer).write_all(b"both").unwrap();
        assert_eq!(reader.join().unwrap(), 1);
        watcher.join().unwrap().unwrap();
        drop(stream);
        assert!(!is_registered(&peer));
    });
}

#[test]
fn re5_what_epoll_refuses_is_an_error() {
    // In its own, where no other test's epoll is.
    in_own_process("re5_what_epoll_refuses_is_an_error", || {
        runtime::run(|| {
            // SAFETY: takes a number; the descriptor is new and nobody else's.
            let epoll = unsafe { OwnedFd::from_raw_fd(libc::epoll_create1(0)) };
            // An epoll in another one can be waited for.
            assert!(time::timeout(SHORT, || wait(&epoll, Interest::Read)).is_err());
            let mut others = epoll_descriptors().filter(|&number| number != epoll.as_raw_fd());
            let own = others.next().unwrap();
            // SAFETY: open as long as the runtime is, which is longer than this borrow.
            let own = unsafe { std::os::fd::BorrowedFd::borrow_raw(own) };
            let error = wait(own, Interest::Write).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput);
        });
    });
}

/// From now on this thread is refused to watch the descriptor of this number, as all are when their user has as many
/// watches as `max_user_watches` allows; to lower that would concern the whole machine. False: filters of system calls
/// cannot be had here.
fn refuse_to_watch(number: RawFd) -> bool {
    // What a filter sees of a call: its number, and at 16 the arguments, of 8 bytes each, the lower half first.
    const CALL: u32 = 0;
    const OPERATION: u32 = 24;
    const DESCRIPTOR: u32 = 32;
    let order = |code, k, jf| libc::sock_filter {
        code: code as u16,
        jt: 0,
        jf,
        k,
    };
    let load = |from| order(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, from, 0);
    let unless = |value, skip| order(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, value, skip);
    let end = |by| order(libc::BPF_RET | libc::BPF_K, by, 0);
    let mut filter = [
        load(CALL),
        unless(libc::SYS_epoll_ctl as u32, 5),
        load(OPERATION),
        unless(libc::EPOLL_CTL_ADD as u32, 3),
        load(DESCRIPTOR),
        unless(number as u32, 1),
        end(libc::SECCOMP_RET_ERRNO | libc::ENOSPC as u32),
        end(libc::SECCOMP_RET_ALLOW),
    ];
    let program = libc::sock_fprog {
        len: filter.len() as u16,
        filter: filter.as_mut_ptr(),
    };
    // SAFETY: the first takes numbers; the second reads `program` and the filter behind it, which outlive the call.
    unsafe {
        libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
            && libc::prctl(
                libc::PR_SET_SECCOMP,
                libc::SECCOMP_MODE_FILTER,
                &raw const program,
            ) == 0
    }
}

#[test]
#[cfg(target_endian = "little")]
fn re5_too_many_watches_are_an_error_that_names_the_limit_and_the_runtime_goes_on() {
    let name = "re5_too_many_watches_are_an_error_that_names_the_limit_and_the_runtime_goes_on";
    in_own_process(name, || {
        runtime::run(|| {
            let (mut from, mut to) = runtime::io::pipe().unwrap();
            if !refuse_to_watch(from.as_raw_fd()) {
                println!("skipped: no filter of system calls can be had here");
                return;
            }
            for _ in 0..2 {
                let error = from.read(&mut [0]).unwrap_err();
                assert_eq!(error.kind(), ErrorKind::StorageFull);
                assert!(error.to_string().contains("max_user_watches"), "{error}");
            }
            // What need not wait goes on,
            to.write_all(b"x").unwrap();
            expect(&from, b"x");
            // as do those for whom there is room.
            let another = from.try_clone().unwrap();
            let waits = runtime::spawn_local(move || expect(&another, b"y"));
            let_the_others_run();
            assert!(!waits.is_finished());
            to.write_all(b"y").unwrap();
            waits.join().unwrap();
        });
    });
}

#[test]
fn re4_files_and_devices_are_ready_at_once() {
    on_one_worker_and_on_two(|| {
        for path in ["/proc/self/exe", "/dev/null", "/dev/zero"] {
            let file = File::open(path).unwrap();
            wait(&file, Interest::Read).unwrap();
            let mut watched = Watched::new(file);
            let got = watched.read(&mut [0; 16]).unwrap();
            assert_eq!(got, if path == "/dev/null" { 0 } else { 16 }, "{path}");
            assert!(!is_registered(watched));
        }
        let directory = File::open("/").unwrap();
        let error = Watched::new(directory).read(&mut [0; 16]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::IsADirectory);
    });
}

#[test]
fn re1_a_peer_that_closes_ends_the_wait() {
    on_one_worker_and_on_two(|| {
        let (from, to) = io::pipe().unwrap();
        let waiter = runtime::spawn(move || {
            wait(&from, Interest::Read).unwrap();
            Watched::new(from).read(&mut [0]).unwrap()
        });
        let_the_others_run();
        drop(to);
        assert_eq!(waiter.join().unwrap(), 0);
    });
}

#[test]
fn a_timer_and_a_counter_of_the_kernel_are_waited_for() {
    on_one_worker_and_on_two(|| {
        // SAFETY: takes numbers; the descriptor is new and nobody else's.
        let timer = unsafe { OwnedFd::from_raw_fd(libc::timerfd_create(libc::CLOCK_MONOTONIC, 0)) };
        let soon = libc::itimerspec {
            it_interval: libc::timespec {
                tv_sec: 0,
                tv_nsec: 2_000_000,
            },
            it_value: libc::timespec {
                tv_sec: 0,
                tv_nsec: 2_000_000,
            },
        };
        // SAFETY: the kernel reads `soon` during the call.
        let set = unsafe {
            let fd = timer.as_raw_fd();
            libc::timerfd_settime(fd, 0, &raw const soon, std::ptr::null_mut())
        };
        assert_eq!(set, 0);
        let mut timer = Watched::new(File::from(timer));
        for _ in 0..3 {
            assert_eq!(timer.read(&mut [0; 8]).unwrap(), 8);
        }
    });
}

#[test]
fn a_plain_thread_waits_too() {
    let (from, mut to) = io::pipe().unwrap();
    let late = time::timeout(SHORT, || wait(&from, Interest::Read));
    assert!(late.is_err());
    let writer = thread::spawn(move || to.write_all(b"x").unwrap());
    wait(&from, Interest::Read).unwrap();
    expect(Watched::new(from), b"x");
    writer.join().unwrap();
}
