//! What happens at the limits, each test bearing its id of FAULTS: memory, mappings, threads and descriptors that have
//! run out, numbers of workers that cannot be, and calls where there is no coroutine. Each is answered by an
//! error or a panic that says which limit was hit, and the runtime goes on.

mod support;

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use std::{cell::Cell, io};

use runtime::coroutine::{self, JoinHandle};
use runtime::net::ToSocketAddrs;
use runtime::{Builder, WORKERS_MAX};
use support::{GUARDS, child, os, panic_text, text_of};

// ---- Memory and mappings --------------------------------------------------------------------------------------

const ROOM: u64 = 256 << 20;

fn usual() -> coroutine::Builder {
    coroutine::Builder::new()
}

fn sized() -> coroutine::Builder {
    coroutine::Builder::new().stack_size(1 << 20)
}

/// Spawns coroutines that do nothing until the system refuses one. `count_max`: room for so many handles
/// is made before, lest their list be what finds no memory.
fn spawn_until_refused(
    count_max: usize,
    builder: fn() -> coroutine::Builder,
) -> (Vec<JoinHandle<()>>, io::Error) {
    let mut crowd = Vec::with_capacity(count_max);
    loop {
        match builder().spawn(|| ()) {
            Ok(one) => crowd.push(one),
            Err(error) => return (crowd, error),
        }
        assert!(crowd.len() < count_max, "nobody is refused");
    }
}

/// Cancels all of them and waits for them.
fn end_all(crowd: Vec<JoinHandle<()>>) {
    crowd.iter().for_each(JoinHandle::cancel);
    crowd
        .into_iter()
        .for_each(|one| assert!(one.join().is_err()));
}

#[test]
fn st10_where_each_guard_is_a_mapping_the_last_one_is_an_error_that_names_the_limit() {
    let end = child().guarded("madv_guard").run(|_| {
        let mappings_max = std::fs::read_to_string("/proc/sys/vm/max_map_count").unwrap();
        let stacks_max = mappings_max.trim().parse::<usize>().unwrap() / 2;
        runtime::run(|| {
            let (crowd, error) = spawn_until_refused(stacks_max, usual);
            assert!(crowd.len() > stacks_max - 1_000, "{}", crowd.len());
            assert_eq!(error.kind(), ErrorKind::OutOfMemory);
            assert!(error.to_string().contains("vm.max_map_count"), "{error}");
            println!("stacks={}", crowd.len());
            crowd.into_iter().for_each(|one| one.join().unwrap());
            coroutine::spawn(|| ()).join().unwrap();
        });
    });
    end.returned();
}

#[test]
fn ex1_spawn_returns_the_error_when_memory_is_gone_and_whoever_was_spawned_runs() {
    for guard in GUARDS {
        for kind in ["usual", "sized"] {
            let end = child().guarded(guard).given(kind).run(|kind| {
                let builder = if kind == "usual" { usual } else { sized };
                os::limit_address_space(ROOM);
                runtime::run(|| {
                    for _ in 0..2 {
                        let (crowd, error) = spawn_until_refused(20_000, builder);
                        println!("{kind}={}", crowd.len());
                        assert_eq!(error.kind(), ErrorKind::OutOfMemory, "{error}");
                        assert!(error.to_string().contains("RLIMIT_AS"), "{error}");
                        crowd.into_iter().for_each(|one| one.join().unwrap());
                    }
                });
            });
            let least = if kind == "usual" { 1_500 } else { 90 };
            assert!(end.returned().figure::<usize>(kind) >= least, "{end}");
        }
    }
}

/// Spawns coroutines that park until the system refuses one, and checks that each of them comes to park.
fn park_as_many_as_can_be(builder: fn() -> coroutine::Builder) {
    os::limit_address_space(ROOM);
    runtime::run(|| {
        let parked = Rc::new(Cell::new(0));
        let mut crowd = Vec::with_capacity(20_000);
        let refused = loop {
            let counts = parked.clone();
            let parks = move || {
                counts.set(counts.get() + 1);
                coroutine::park();
            };
            match builder().spawn_local(parks) {
                Ok(one) => crowd.push(one),
                Err(error) => break error,
            }
            assert!(crowd.len() < 20_000, "nobody is refused");
        };
        (0..3).for_each(|_| runtime::yield_now());
        assert_eq!(refused.kind(), ErrorKind::OutOfMemory);
        assert_eq!(parked.get(), crowd.len(), "of those that were spawned");
        end_all(crowd);
        coroutine::spawn(|| ()).join().unwrap();
    });
}

#[test]
fn ex1_all_that_were_spawned_before_the_error_can_be_alive_at_once() {
    child().run(|_| park_as_many_as_can_be(usual)).returned();
}

#[test]
fn ex1_all_with_stacks_of_their_own_size_can_be_alive_at_once() {
    child().run(|_| park_as_many_as_can_be(sized)).returned();
}

#[test]
fn ex1_plain_spawn_panics_with_the_same_text_and_the_runtime_goes_on() {
    let end = child().run(|_| {
        os::limit_address_space(ROOM);
        runtime::run(|| {
            let (crowd, error) = spawn_until_refused(20_000, usual);
            for text in [
                panic_text(|| coroutine::spawn(|| ())),
                panic_text(|| coroutine::spawn_local(|| ())),
            ] {
                assert!(text.contains("cannot spawn a coroutine"), "{text}");
                assert!(text.contains(&error.to_string()), "{text}");
            }
            let text = panic_text(|| runtime::scope(|s| drop(s.spawn(|| ()))));
            assert!(text.contains("RLIMIT_AS"), "{text}");
            crowd.into_iter().for_each(|one| one.join().unwrap());
            coroutine::spawn(|| ()).join().unwrap();
        });
    });
    end.returned();
}

/// Fills the memory with coroutines of the calling worker, which has all stacks then, and lets them end.
fn have_all_stacks() {
    let mut crowd = Vec::with_capacity(20_000);
    while let Ok(one) = coroutine::Builder::new().spawn_local(coroutine::park) {
        crowd.push(one);
        assert!(crowd.len() < 20_000, "nobody is refused");
    }
    runtime::yield_now();
    end_all(crowd);
}

#[test]
fn ex1_with_several_workers_spawn_returns_the_error_and_the_runtime_goes_on() {
    let end = child().run(|_| {
        let runtime = Builder::new().workers(2).build().unwrap();
        os::limit_address_space(ROOM / 4);
        runtime.run(|| {
            (0..3).for_each(|_| have_all_stacks());
            coroutine::spawn_local(|| ()).join().unwrap();
        });
    });
    end.returned();
}

#[test]
fn ex1_a_worker_that_can_have_no_stack_leaves_coroutines_to_those_that_have_some() {
    let end = child().run(|_| {
        let runtime = Builder::new().workers(2).build().unwrap();
        os::limit_address_space(ROOM / 4);
        runtime.run(|| {
            have_all_stacks();
            for _ in 0..1_000 {
                let crowd: Vec<_> = (0..10).map(|_| coroutine::spawn(|| ())).collect();
                crowd.into_iter().for_each(|one| {
                    one.join()
                        .unwrap_or_else(|payload| panic!("{}", text_of(&*payload)))
                });
            }
        });
    });
    end.returned();
}

// ---- Coroutines, where they are bounded ---------------------------------------------------------------

/// What would be touched beyond the memory there is has no error to be had from the system: so a bound of our own.
#[test]
fn ex4_one_coroutine_more_than_the_bound_is_refused_and_when_one_has_ended_another_can_be() {
    const MOST: usize = 100;
    for workers in [1, 2] {
        let bounded = Builder::new().workers(workers).max_coroutines(MOST);
        let runtime = Arc::new(bounded.build().unwrap());
        let outside = Arc::clone(&runtime);
        runtime.run(move || {
            let park: fn() = coroutine::park;
            // The first is one of them.
            let mut crowd: Vec<_> = (1..MOST).map(|_| coroutine::spawn(park)).collect();
            for _ in 0..3 {
                let captured = Rc::new(());
                let inside = captured.clone();
                let refused = usual().spawn_local(|| drop(inside)).unwrap_err();
                assert_eq!(refused.kind(), ErrorKind::QuotaExceeded);
                assert!(refused.to_string().contains("max_coroutines"), "{refused}");
                assert_eq!(Rc::strong_count(&captured), 1, "the closure is dropped");
                let sized = sized().spawn(park).unwrap_err();
                assert_eq!(sized.to_string(), refused.to_string());
                for text in [
                    panic_text(|| coroutine::spawn(park)),
                    panic_text(|| runtime::scope(|s| drop(s.spawn(park)))),
                    panic_text(|| outside.spawn(park)),
                ] {
                    assert!(text.contains(&refused.to_string()), "{text}");
                }
                end_all(vec![crowd.pop().unwrap()]);
                crowd.push(loop {
                    // One that another worker has ended may not be counted yet.
                    match usual().spawn(park) {
                        Ok(another) => break another,
                        Err(_) => runtime::yield_now(),
                    }
                });
            }
            end_all(crowd);
            let sum: usize = (0..10 * MOST)
                .map(|n| coroutine::spawn(move || n).join().unwrap())
                .sum();
            assert_eq!(sum, (0..10 * MOST).sum());
        });
    }
    let none = Builder::new().max_coroutines(0).build().unwrap_err();
    assert_eq!(none.kind(), ErrorKind::InvalidInput);
}

// ---- Threads and descriptors -----------------------------------------------------------------------

#[test]
fn ex2_workers_that_cannot_start_are_an_error_and_those_that_did_are_joined() {
    for scarce in ["threads", "memory"] {
        let end = child().given(scarce).run(|scarce| {
            drop(Builder::new().workers(2).build().unwrap());
            match scarce {
                "threads" => _ = os::limit_threads(3),
                _ => os::limit_address_space(9 << 20),
            }
            let before = (os::threads(), os::descriptors());
            let error = Builder::new().workers(16).build().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::WouldBlock, "{error}");
            os::until(|| (os::threads(), os::descriptors()) == before);
            assert_eq!(runtime::run(|| runtime::spawn(|| 7).join().unwrap()), 7);
            println!("{error}");
        });
        let text = &end.returned().stdout;
        assert!(
            text.contains("RLIMIT_NPROC") && text.contains("thread"),
            "the limit is named: {end}"
        );
    }
}

#[test]
fn ex2_look_ups_share_the_threads_that_can_be_had() {
    let end = child().run(|_| {
        let some = os::limit_threads(1);
        // A watchdog would be the one thread.
        let runtime = Builder::new().stall_after(None).build().unwrap();
        runtime.run(|| {
            let look_up = || {
                ("localhost", 80)
                    .to_socket_addrs()
                    .map(Iterator::collect::<Vec<SocketAddr>>)
            };
            let look_ups: Vec<_> = (0..8).map(|_| coroutine::spawn(look_up)).collect();
            for one in look_ups {
                match one.join().unwrap() {
                    Ok(found) => assert!(some && !found.is_empty()),
                    Err(error) => {
                        assert!(!some && error.kind() == ErrorKind::WouldBlock, "{error}")
                    }
                }
            }
        });
    });
    end.returned();
}

#[test]
fn ex2_without_any_thread_a_look_up_is_an_error_and_the_runtime_goes_on() {
    let end = child().run(|_| {
        os::limit_threads(0);
        runtime::run(|| {
            let error = ("localhost", 80).to_socket_addrs().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::WouldBlock, "{error}");
            assert_eq!(runtime::spawn(|| 7).join().unwrap(), 7);
        });
    });
    end.returned();
}

#[test]
fn ex3_too_few_descriptors_are_an_error_that_names_the_limit_and_nothing_leaks() {
    let end = child().run(|_| {
        drop(Builder::new().workers(2).build().unwrap());
        os::limit(libc::RLIMIT_NOFILE, 24);
        let before = (os::threads(), os::descriptors());
        let error = Builder::new().workers(16).build().unwrap_err();
        os::until(|| (os::threads(), os::descriptors()) == before);
        assert_eq!(runtime::run(|| runtime::spawn(|| 7).join().unwrap()), 7);
        println!("{error}");
    });
    let text = &end.returned().stdout;
    assert!(
        text.contains("os error 24") && text.contains("RLIMIT_NOFILE"),
        "the limit is named: {end}"
    );
}

#[test]
fn sc11_no_worker_and_too_many_are_errors_that_say_how_many_are_possible() {
    for workers in [0, WORKERS_MAX + 1, 10_000, usize::MAX] {
        let error = Builder::new().workers(workers).build().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        let text = error.to_string();
        assert!(
            text.contains(&workers.to_string()) && text.contains("1 to 1024"),
            "{text}"
        );
    }
}

#[test]
fn sc11_any_number_of_workers_up_to_the_most_runs_coroutines() {
    for workers in [1, 2, 16, WORKERS_MAX] {
        let end = child().given(workers).run(|workers| {
            let runtime = Builder::new()
                .workers(workers.parse().unwrap())
                .build()
                .unwrap();
            let sum: usize = runtime.run(|| {
                let children: Vec<_> = (0..2_000).map(|n| coroutine::spawn(move || n)).collect();
                children.into_iter().map(|one| one.join().unwrap()).sum()
            });
            assert_eq!(sum, 1_999_000);
        });
        end.returned();
    }
}

// ---- No coroutine ----------------------------------------------------------------------------------

#[test]
fn a_call_that_needs_a_coroutine_panics_outside_with_what_to_do_instead() {
    let calls: [(&str, fn()); 8] = [
        ("spawn", || drop(coroutine::spawn(|| ()))),
        ("spawn", || drop(coroutine::spawn_local(|| ()))),
        ("spawn", || {
            drop(coroutine::Builder::new().name("x").spawn(|| ()))
        }),
        ("spawn", || runtime::scope(|s| drop(s.spawn(|| ())))),
        ("yield_now", runtime::yield_now),
        ("coroutine::current", || drop(coroutine::current())),
        ("coroutine::park", coroutine::park),
        ("coroutine::park_timeout", || {
            coroutine::park_timeout(Duration::ZERO)
        }),
    ];
    for (name, call) in calls {
        let text = panic_text(call);
        assert!(
            text.starts_with(name) && text.contains("runtime::run(..)"),
            "{name}: {text}"
        );
    }
}

#[test]
fn a_call_that_needs_no_coroutine_works_outside() {
    coroutine::sleep(Duration::from_millis(1));
    assert_eq!(coroutine::shield(|| 7), 7);
    assert_eq!(runtime::scope(|_| 7), 7);
    assert_eq!(
        runtime::time::timeout(Duration::from_secs(3600), || 7),
        Ok(7)
    );
    assert!(
        runtime::time::timeout(Duration::from_millis(1), || coroutine::sleep(Duration::MAX))
            .is_err()
    );
}
