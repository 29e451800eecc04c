//! Barriers and wait groups: what is theirs alone. What every primitive does alike is in `sync_matrix`.

#![forbid(unsafe_code)]

mod strands_support;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use runtime::coroutine::{spawn, spawn_local};
use runtime::sync::{Barrier, Mutex, WaitGroup};
use runtime::{scope, yield_now};
use strands_support::*;

const SHORT: Duration = Duration::from_millis(2);

/// SY5: nobody is in a later round than one that is still in an earlier one, and each round has one leader.
#[test]
fn sy5_all_go_on_together_round_after_round() {
    const N: usize = 6;
    const ROUNDS: usize = 100;
    for workers in [1, 2] {
        for threads in [0, 2, N] {
            runtime_of(workers).run(move || {
                let barrier = Arc::new(Barrier::new(N));
                let (came, leaders) = (Arc::new(AtomicUsize::new(0)), Tally::default());
                let visit = || {
                    let (barrier, came, leaders) = (barrier.clone(), came.clone(), leaders.clone());
                    move || {
                        for round in 1..=ROUNDS {
                            came.fetch_add(1, Ordering::Relaxed);
                            if barrier.wait().is_leader() {
                                leaders.add();
                            }
                            assert!(came.load(Ordering::Relaxed) >= round * N);
                        }
                    }
                };
                let on_threads: Vec<_> = (0..threads).map(|_| thread::spawn(visit())).collect();
                let coroutines: Vec<_> = (threads..N).map(|_| spawn(visit())).collect();
                coroutines.into_iter().for_each(|it| it.join().unwrap());
                on_threads.into_iter().for_each(|it| {
                    pass_until(|| it.is_finished());
                    it.join().unwrap();
                });
                assert_eq!(leaders.get(), ROUNDS);
            });
        }
    }
}

#[test]
fn one_that_leaves_a_barrier_does_not_count_and_another_takes_its_place() {
    on_one_worker_and_on_two(|| {
        let barrier = Arc::new(Barrier::new(2));
        let waits = || {
            let theirs = barrier.clone();
            let waits = spawn_local(move || theirs.wait().is_leader());
            let_the_others_run();
            waits
        };
        let cancelled = waits();
        cancelled.cancel();
        assert!(cancelled.join().is_err());
        assert!(barrier.wait_timeout(SHORT).is_none());
        assert!(barrier.try_wait().is_none());
        let first = waits();
        assert!(!first.is_finished());
        assert!(barrier.try_wait().unwrap().is_leader());
        assert!(!first.join().unwrap());
        assert!(Barrier::new(0).wait().is_leader() && Barrier::new(1).wait().is_leader());
        assert_eq!(format!("{barrier:?}"), "Barrier { n: 2, there: 0 }");
    });
}

/// SY2: those who were let go on and are cancelled before they have seen it have passed, and count no more.
#[test]
fn sy2_cancelled_after_the_last_has_come_one_has_passed() {
    on_one_worker_and_on_two(|| {
        let barrier = Arc::new(Barrier::new(3));
        let passed = Tally::default();
        let waiters = [(); 2].map(|()| {
            let (theirs, passed) = (barrier.clone(), passed.clone());
            spawn_local(move || {
                theirs.wait();
                passed.add();
            })
        });
        let_the_others_run();
        barrier.wait();
        waiters.iter().for_each(|it| it.cancel());
        waiters.into_iter().for_each(|it| it.join().unwrap());
        assert_eq!(passed.get(), 2);
        assert!(
            barrier.try_wait().is_none(),
            "the next round begins with nobody"
        );
    });
}

#[test]
fn a_group_is_waited_for_by_several_and_members_may_panic() {
    for workers in [1, 2] {
        runtime_of(workers).run(|| {
            let group = WaitGroup::new();
            let through = Tally::default();
            let members: Vec<_> = (0..10)
                .map(|n| {
                    let (member, through) = (group.clone(), through.clone());
                    spawn(move || {
                        let _member = member;
                        let_the_others_run();
                        through.add();
                        if n % 3 == 0 {
                            std::panic::resume_unwind(Box::new("a member's panic"));
                        }
                    })
                })
                .collect();
            let others = [(); 2].map(|()| {
                let group = group.clone();
                (group, through.clone())
            });
            let [(by_coroutine, seen), (by_thread, seen_there)] = others;
            let coroutine = spawn(move || {
                by_coroutine.wait();
                seen.get()
            });
            let thread = thread::spawn(move || {
                by_thread.wait();
                seen_there.get()
            });
            group.wait();
            assert_eq!(through.get(), 10);
            assert_eq!(coroutine.join().unwrap(), 10);
            assert_eq!(thread.join().unwrap(), 10);
            assert_eq!(
                members.into_iter().filter_map(|it| it.join().err()).count(),
                4
            );
        });
    }
}

#[test]
fn one_whose_time_is_over_is_a_member_again() {
    on_one_worker_and_on_two(|| {
        let (group, log) = (WaitGroup::default(), Mutex::new(Vec::new()));
        let member = group.clone();
        let group = group.wait_timeout(SHORT).unwrap_err();
        let group = group.try_wait().unwrap_err();
        assert_eq!(format!("{group:?}"), "WaitGroup { members: 2 }");
        scope(|s| {
            s.spawn(|| {
                member.wait();
                log.lock().push("the other");
            });
            log.lock().push("we");
            let mut group = group;
            while let Err(member) = group.try_wait() {
                group = member;
                yield_now();
            }
        });
        assert_eq!(log.into_inner(), ["we", "the other"]);
    });
}
