//! Signals: whoever waits is told, by coroutines and plain threads, in storms too; what they did before is restored.
//!
//! They belong to the process, so each test has one of its own.

mod net_support;
mod strands_support;
mod support;

use std::io::ErrorKind;
use std::io::{Read, Write};
use std::process;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use runtime::coroutine::{Cancelled, spawn, spawn_local};
use runtime::process::Command;
use runtime::signal::{self, SIGINT, SIGTERM, SIGUSR1, SIGUSR2, Signals};
use runtime::time::{Elapsed, timeout};
use runtime::yield_now;
use strands_support::on_one_worker_and_on_two;
use support::{child, os};

/// Sends a signal to this thread: it has been delivered when this returns.
fn raise(signal: i32) {
    // SAFETY: takes a number.
    assert_eq!(unsafe { libc::raise(signal) }, 0);
}

/// Sends a signal to this process: any thread may get it, soon.
fn send(signal: i32) {
    // SAFETY: takes numbers.
    assert_eq!(unsafe { libc::kill(process::id() as i32, signal) }, 0);
}

/// Has the signal watched for the rest of the process: one that was sent may come when its waiter has gone.
fn watch_for_ever(signal: i32) {
    std::mem::forget(Signals::new([signal]).unwrap());
}

/// What a signal does now.
fn disposition(signal: i32) -> usize {
    // SAFETY: all zeroes is a sigaction; with a null new value the call only fills it in.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        assert_eq!(
            libc::sigaction(signal, std::ptr::null(), &raw mut action),
            0
        );
        action.sa_sigaction
    }
}

/// In coroutines, and on a plain thread.
fn everywhere(claim: fn()) {
    on_one_worker_and_on_two(claim);
    claim();
}

#[test]
fn a_waiter_gets_the_signals_of_its_set_and_no_others() {
    let end = child().run(|_| {
        everywhere(|| {
            let mut both = Signals::new([SIGUSR1, SIGUSR2, SIGUSR1]).unwrap();
            let mut one = Signals::new([SIGUSR2].iter()).unwrap();
            assert_eq!(both.try_next(), None);
            raise(SIGUSR2);
            raise(SIGUSR1);
            assert_eq!([both.next(), both.next()], [Some(SIGUSR1), Some(SIGUSR2)]);
            assert_eq!(one.next(), Some(SIGUSR2), "each watcher has its own");
            assert_eq!((both.try_next(), one.try_next()), (None, None));
        });
    });
    end.returned();
}

#[test]
fn while_it_waits_others_run_and_a_signal_ends_the_wait() {
    let end = child().run(|_| {
        on_one_worker_and_on_two(|| {
            let mut signals = Signals::new([SIGUSR1]).unwrap();
            let waits = spawn_local(move || signals.next());
            yield_now();
            assert!(!waits.is_finished());
            raise(SIGUSR1);
            assert_eq!(waits.join().unwrap(), Some(SIGUSR1));
        });
        let mut signals = Signals::new([SIGUSR1]).unwrap();
        let raises = thread::spawn(|| {
            thread::sleep(Duration::from_millis(2));
            raise(SIGUSR1);
        });
        assert_eq!(signals.next(), Some(SIGUSR1), "on a plain thread");
        raises.join().unwrap();
    });
    end.returned();
}

#[test]
fn signals_that_came_before_they_were_taken_are_one() {
    let end = child().run(|_| {
        everywhere(|| {
            let mut signals = Signals::new([SIGUSR1]).unwrap();
            (0..100).for_each(|_| raise(SIGUSR1));
            assert_eq!(signals.next(), Some(SIGUSR1));
            assert_eq!(signals.try_next(), None);
        });
    });
    end.returned();
}

#[test]
fn cancellations_and_timeouts_end_the_wait_and_lose_no_signal() {
    let end = child().run(|_| {
        everywhere(|| {
            let mut signals = Signals::new([SIGUSR1]).unwrap();
            let outcome = timeout(Duration::from_millis(1), || signals.next());
            assert_eq!(outcome, Err(Elapsed));
            raise(SIGUSR1);
            assert_eq!(signals.next(), Some(SIGUSR1));
        });
        on_one_worker_and_on_two(|| {
            let mut signals = Signals::new([SIGUSR1]).unwrap();
            let waits = spawn(move || signals.next());
            runtime::time::sleep(Duration::from_millis(1));
            waits.cancel();
            assert!(waits.join().unwrap_err().is::<Cancelled>());
        });
    });
    end.returned();
}

// ---- Before and after -------------------------------------------------------------------------------

#[test]
fn what_a_signal_did_before_it_does_after_the_last_watcher() {
    let end = child().run(|_| {
        let first = Signals::new([SIGUSR1, SIGTERM]).unwrap();
        let second = Signals::new([SIGTERM]).unwrap();
        drop(first);
        assert_eq!(disposition(SIGUSR1), libc::SIG_DFL);
        raise(SIGTERM); // the second still watches
        drop(second);
        eprintln!("alive");
        raise(SIGTERM);
    });
    end.died_of(SIGTERM).says("alive");
}

#[test]
fn a_handler_that_was_there_before_is_called_and_restored_and_one_that_came_after_stays() {
    static CALLS: AtomicU64 = AtomicU64::new(0);
    extern "C" fn theirs(_signal: i32) {
        CALLS.fetch_add(1, Ordering::Relaxed);
    }
    let install = |signal| {
        // SAFETY: a function of one argument that only counts.
        unsafe { libc::signal(signal, theirs as *const () as usize) };
    };
    let end = child().run(|_| {
        install(SIGUSR1);
        for round in 1..=3 {
            let mut signals = Signals::new([SIGUSR1]).unwrap();
            raise(SIGUSR1);
            assert_eq!(signals.next(), Some(SIGUSR1));
            assert_eq!(CALLS.load(Ordering::Relaxed), round);
        }
        assert_eq!(disposition(SIGUSR1), theirs as *const () as usize);
        let signals = Signals::new([SIGUSR2]).unwrap();
        install(SIGUSR2);
        drop(signals);
        assert_eq!(disposition(SIGUSR2), theirs as *const () as usize);
    });
    end.returned();
}

/// It was once that both were called in turns, until the stack was full.
#[test]
fn one_that_came_after_us_and_passes_on_to_us_is_called_once_when_we_come_again() {
    type Handler = extern "C" fn(i32, *mut libc::siginfo_t, *mut libc::c_void);
    static CALLS: AtomicU64 = AtomicU64::new(0);
    static BEFORE: AtomicUsize = AtomicUsize::new(0);
    extern "C" fn theirs(signal: i32) {
        CALLS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: what the signal did before is ours, of three arguments, which it passes on and does not look at.
        let before =
            unsafe { std::mem::transmute::<usize, Handler>(BEFORE.load(Ordering::Relaxed)) };
        before(signal, std::ptr::null_mut(), std::ptr::null_mut());
    }
    let end = child().run(|_| {
        let first = Signals::new([SIGUSR1]).unwrap();
        BEFORE.store(disposition(SIGUSR1), Ordering::Relaxed);
        // SAFETY: a function of one argument that counts and passes on.
        unsafe { libc::signal(SIGUSR1, theirs as *const () as usize) };
        drop(first);
        for round in 1..=3 {
            let mut signals = Signals::new([SIGUSR1]).unwrap();
            raise(SIGUSR1);
            assert_eq!(signals.next(), Some(SIGUSR1));
            assert_eq!(signals.try_next(), None);
            assert_eq!(CALLS.load(Ordering::Relaxed), round);
        }
    });
    end.returned();
}

#[test]
fn what_nobody_can_wait_for_is_an_error_and_nothing_is_left_of_the_others() {
    let end = child().run(|_| {
        for signal in [
            0,
            -1,
            65,
            1000,
            libc::SIGKILL,
            libc::SIGSTOP,
            libc::SIGSEGV,
            libc::SIGFPE,
        ] {
            let refused = Signals::new([SIGUSR1, signal]).unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::InvalidInput, "{signal}");
            assert_eq!(disposition(SIGUSR1), libc::SIG_DFL);
        }
        let mut none = Signals::new([0_i32; 0]).unwrap();
        assert_eq!(none.try_next(), None);
    });
    end.returned();
}

#[test]
fn ctrl_c_waits_for_one_and_a_second_one_ends_the_process() {
    let end = child().run(|_| {
        everywhere(|| {
            let raises = thread::spawn(|| {
                while disposition(SIGINT) == libc::SIG_DFL {
                    thread::yield_now();
                }
                raise(SIGINT);
            });
            signal::ctrl_c().unwrap();
            raises.join().unwrap();
        });
        eprintln!("alive");
        raise(SIGINT);
    });
    end.died_of(SIGINT).says("alive");
}

#[test]
fn a_child_process_has_none_of_it() {
    let end = child().run(|_| {
        on_one_worker_and_on_two(|| {
            let _signals = Signals::new([SIGUSR1]).unwrap();
            let output = Command::new("sh")
                .args(["-c", "kill -USR1 $$"])
                .output()
                .unwrap();
            assert_eq!(
                std::os::unix::process::ExitStatusExt::signal(&output.status),
                Some(SIGUSR1)
            );
        });
    });
    end.returned();
}

#[test]
fn watchers_that_come_and_go_use_the_same_descriptors() {
    let end = child().run(|_| {
        runtime::run(|| {
            drop([Signals::new([SIGUSR1]), Signals::new([SIGUSR2])]);
            let before = os::descriptors();
            for _ in 0..100 {
                let mut signals = [
                    Signals::new([SIGUSR1]).unwrap(),
                    Signals::new([SIGUSR1]).unwrap(),
                ];
                raise(SIGUSR1);
                assert!(signals.iter_mut().all(|one| one.next() == Some(SIGUSR1)));
            }
            assert_eq!(os::descriptors(), before);
        });
    });
    end.returned();
}

// ---- Storms ------------------------------------------------------------------------------------------

/// Of each of two threads, three times over: a million and more. A debug build takes its time.
const STORM: u64 = if cfg!(debug_assertions) {
    40_000
} else {
    170_000
};

/// Two threads send, and count before they do. Whoever is told of a signal reads the count; so that what it reads
/// last is all of it means that after the last signal it was told once more: no wake-up was lost.
fn storm(sent: Arc<AtomicU64>) -> impl FnOnce() {
    let senders = [SIGUSR1, SIGUSR1].map(|signal| {
        let sent = sent.clone();
        thread::spawn(move || {
            for _ in 0..STORM {
                sent.fetch_add(1, Ordering::AcqRel);
                send(signal);
            }
        })
    });
    || {
        senders
            .into_iter()
            .for_each(|sender| sender.join().unwrap())
    }
}

#[test]
fn pr3_in_a_storm_of_signals_no_wake_up_is_lost() {
    let end = child().run(|_| {
        watch_for_ever(SIGUSR1);
        everywhere(|| {
            let sent = Arc::new(AtomicU64::new(0));
            let mut signals = Signals::new([SIGUSR1]).unwrap();
            let ends = storm(sent.clone());
            let mut seen = 0;
            while seen < 2 * STORM {
                assert_eq!(signals.next(), Some(SIGUSR1)); // hangs if the last one is lost
                seen = sent.load(Ordering::Acquire);
            }
            ends();
        });
    });
    end.returned();
}

#[test]
fn pr3_each_signal_of_a_long_sequence_wakes_its_waiter() {
    let end = child().run(|_| {
        watch_for_ever(SIGUSR1);
        on_one_worker_and_on_two(|| {
            let mut signals = Signals::new([SIGUSR1]).unwrap();
            let (go, gone) = std::sync::mpsc::channel();
            let sender = thread::spawn(move || gone.into_iter().for_each(send));
            for _ in 0..STORM / 10 {
                go.send(SIGUSR1).unwrap();
                assert_eq!(signals.next(), Some(SIGUSR1)); // hangs if one is lost
            }
            drop(go);
            sender.join().unwrap();
        });
    });
    end.returned();
}

#[test]
fn pr3_sockets_children_and_switches_stand_a_storm() {
    let end = child().run(|_| {
        watch_for_ever(SIGUSR1);
        on_one_worker_and_on_two(|| {
            let _watched = Signals::new([SIGUSR1]).unwrap();
            let over = Arc::new(AtomicBool::new(false));
            let also = over.clone();
            let storms = thread::spawn(move || {
                while !also.load(Ordering::Relaxed) {
                    send(SIGUSR1);
                }
            });
            let (mut client, mut server) = net_support::pair();
            let echoes = spawn(move || {
                let mut buffer = [0; 64];
                for _ in 0..500 {
                    server.read_exact(&mut buffer).unwrap();
                    server.write_all(&buffer).unwrap();
                }
            });
            let mut buffer = [7; 64];
            for _ in 0..500 {
                client.write_all(&buffer).unwrap();
                client.read_exact(&mut buffer).unwrap();
                spawn(yield_now).join().unwrap();
            }
            echoes.join().unwrap();
            let output = Command::new("echo").arg("x").output().unwrap();
            assert_eq!(output.stdout, b"x\n");
            assert_eq!(runtime::fs::read("/dev/null").unwrap(), b"");
            over.store(true, Ordering::Relaxed);
            storms.join().unwrap();
        });
    });
    end.returned();
}
