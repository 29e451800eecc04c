//! Time: never early, no overflow, and `timeout` bounds what knows nothing of it.

#![forbid(unsafe_code)]

mod strands_support;

use std::cell::Cell;
use std::panic::catch_unwind;
use std::rc::Rc;
use std::thread;
use std::time::{Duration, Instant};

use runtime::coroutine::{self, park, spawn, spawn_local};
use runtime::process::Command;
use runtime::time::{self, Elapsed, deadline, interval, sleep, sleep_until, timeout};
use runtime::yield_now;
use strands_support::*;

const LONG: Duration = Duration::from_secs(3600);

#[test]
fn ti1_no_duration_or_instant_is_too_short_or_too_long() {
    on_one_worker_and_on_two(|| {
        sleep(Duration::ZERO);
        sleep(Duration::from_nanos(1));
        let past = Instant::now();
        sleep(Duration::from_millis(1));
        sleep_until(past);
        coroutine::park_timeout(Duration::ZERO);
        assert_eq!(timeout(Duration::ZERO, || 1), Ok(1), "it never suspended");
        assert_eq!(
            timeout(Duration::MAX, || sleep(Duration::from_micros(1))),
            Ok(())
        );
        assert_eq!(timeout(Duration::ZERO, || sleep(LONG)), Err(Elapsed));
        assert_eq!(deadline(past, || sleep(LONG)), Err(Elapsed));
        assert!(catch_unwind(|| interval(Duration::ZERO)).is_err());
        let _ = interval(Duration::MAX);
    });
}

#[test]
fn ti1_the_longest_durations_are_for_ever() {
    on_one_worker_and_on_two(|| {
        let far = Instant::now() + Duration::from_secs(60 * 60 * 24 * 365 * 100);
        let sleepers = [
            spawn_local(|| sleep(Duration::MAX)),
            spawn_local(|| coroutine::park_timeout(Duration::MAX)),
            spawn_local(move || sleep_until(far)),
            spawn_local(|| {
                interval(Duration::MAX).tick();
            }),
            spawn_local(|| timeout(Duration::MAX, park).unwrap()),
        ];
        sleep(Duration::from_millis(3));
        for sleeper in sleepers {
            assert!(!sleeper.is_finished());
            sleeper.cancel();
            assert!(sleeper.join().is_err());
        }
    });
}

#[test]
fn ti2_ten_thousand_random_timers_are_never_early() {
    on_one_worker_and_on_two(|| {
        let mut random = 0x9e37_79b9_7f4a_7c15_u64;
        let sleepers: Vec<_> = (0..10_000)
            .map(|_| {
                random = random
                    .wrapping_mul(6364136223846793005)
                    .wrapping_add(1442695040888963407);
                let duration = Duration::from_nanos((random >> 33) % 50_000_000);
                spawn(move || {
                    let before = Instant::now();
                    sleep(duration);
                    before.elapsed() >= duration
                })
            })
            .collect();
        assert!(sleepers.into_iter().all(|sleeper| sleeper.join().unwrap()));
    });
}

#[test]
fn sleepers_wake_in_the_order_of_their_deadlines() {
    on_one_worker_and_on_two(|| {
        let start = Instant::now();
        let (tell, told) = std::sync::mpsc::channel();
        let sleepers: Vec<_> = [5, 1, 4, 2, 3]
            .map(|n| {
                let tell = tell.clone();
                spawn_local(move || {
                    sleep_until(start + n * Duration::from_millis(2));
                    tell.send(n).unwrap();
                })
            })
            .into_iter()
            .collect();
        sleepers
            .into_iter()
            .for_each(|sleeper| sleeper.join().unwrap());
        assert_eq!(told.try_iter().collect::<Vec<_>>(), [1, 2, 3, 4, 5]);
    });
}

/// Those whom timers wake go first. A crowd whose timers are always due, and whose children end every round early (a
/// stack of unusual size goes back at once), must leave some turns to the others all the same.
#[test]
fn sleepers_that_are_always_due_starve_nobody() {
    on_one_worker_and_on_two(|| {
        let done = Rc::new(Cell::new(false));
        let crowd: Vec<_> = (0..100)
            .map(|_| {
                let done = done.clone();
                spawn_local(move || {
                    while !done.get() {
                        sleep(Duration::from_nanos(1));
                        let child = coroutine::Builder::new().stack_size(128 << 10);
                        child.spawn_local(|| ()).unwrap().join().unwrap();
                    }
                })
            })
            .collect();
        for _ in 0..20 {
            yield_now();
        }
        done.set(true);
        crowd
            .into_iter()
            .for_each(|sleeper| sleeper.join().unwrap());
    });
}

#[test]
fn a_timeout_bounds_every_kind_of_wait_and_runs_destructors() {
    on_one_worker_and_on_two(|| {
        let waits: [fn(); 6] = [
            park,
            || sleep(LONG),
            || loop {
                yield_now();
            },
            || drop(spawn(park).join()),
            || loop {
                spawn(|| ()).join().unwrap();
            },
            || timeout(LONG, park).unwrap(),
        ];
        for (n, wait) in waits.into_iter().enumerate() {
            let dropped = Tally::default();
            let outcome = timeout(Duration::from_millis(1), || {
                let _local = dropped.on_drop();
                wait();
            });
            assert_eq!((outcome, dropped.get()), (Err(Elapsed), 1), "wait {n}");
        }
    });
}

#[test]
fn what_completes_returns_its_value_however_late() {
    on_one_worker_and_on_two(|| {
        let late = timeout(Duration::from_millis(1), || {
            thread::sleep(Duration::from_millis(3)); // the whole worker
            5
        });
        assert_eq!(late, Ok(5));
        yield_now();
        let shielded = timeout(Duration::from_millis(1), || {
            coroutine::shield(|| sleep(Duration::from_millis(3)))
        });
        assert_eq!(shielded, Ok(()));
        yield_now();
    });
}

#[test]
fn the_outermost_timeout_that_has_passed_wins() {
    on_one_worker_and_on_two(|| {
        let nest = |outer: u64, inner: u64| {
            timeout(Duration::from_millis(outer), || {
                timeout(Duration::from_millis(inner), park)
            })
        };
        assert_eq!(nest(3_600_000, 2), Ok(Err(Elapsed)));
        assert_eq!(nest(2, 3_600_000), Err(Elapsed));
        let both = timeout(Duration::from_millis(1), || {
            timeout(Duration::from_millis(1), || {
                coroutine::shield(|| sleep(Duration::from_millis(4)));
                yield_now();
            })
        });
        assert_eq!(both, Err(Elapsed));
    });
}

#[test]
fn after_an_inner_timeout_the_outer_one_still_holds() {
    on_one_worker_and_on_two(|| {
        let mut rounds = 0;
        let outcome = timeout(Duration::from_millis(5), || {
            loop {
                assert_eq!(timeout(Duration::from_micros(100), park), Err(Elapsed));
                rounds += 1;
            }
        });
        let outcome: Result<(), Elapsed> = outcome;
        assert_eq!(outcome, Err(Elapsed));
        assert!(rounds <= 50);
    });
}

#[test]
fn a_swallowed_timeout_is_raised_again_inside_its_frame_and_never_outside() {
    on_one_worker_and_on_two(|| {
        let outcome = timeout(Duration::from_millis(1), || {
            (0..10).for_each(|_| assert!(catch_unwind(park).is_err()));
            "its value"
        });
        assert_eq!(outcome, Ok("its value"));
        let_the_others_run();
        sleep(Duration::from_millis(2));
    });
}

#[test]
fn cancellation_goes_through_timeouts() {
    on_one_worker_and_on_two(|| {
        let child = spawn_local(|| timeout(LONG, || timeout(LONG, park)).is_err());
        yield_now();
        child.cancel();
        assert!(child.join().is_err(), "not taken for a timeout");
    });
}

#[test]
fn ti3_a_timeout_and_what_it_bounds_may_end_together_a_thousand_times() {
    on_one_worker_and_on_two(|| {
        for round in 0..300 {
            let allowed = Duration::from_micros(100);
            let needed = Duration::from_micros(80 + round % 40);
            let child = spawn(move || sleep(needed));
            let outcome = timeout(allowed, || child.join());
            assert!(matches!(outcome, Ok(Ok(())) | Err(Elapsed)));
        }
        let_the_others_run();
    });
}

#[test]
fn ti3_a_storm_of_cancelled_timers_leaves_none_that_fires() {
    on_one_worker_and_on_two(|| {
        for _ in 0..20_000 {
            assert_eq!(timeout(Duration::from_millis(1), || 1), Ok(1));
        }
        let sleepers: Vec<_> = (0..5_000).map(|_| spawn_local(|| sleep(LONG))).collect();
        let_the_others_run();
        sleepers.iter().for_each(|sleeper| sleeper.cancel());
        assert!(sleepers.into_iter().all(|sleeper| sleeper.join().is_err()));
        sleep(Duration::from_millis(2));
    });
}

#[test]
fn park_timeout_returns_for_the_first_of_wake_up_and_time() {
    on_one_worker_and_on_two(|| {
        let me = coroutine::current();
        let wakes = spawn_local(move || me.unpark());
        coroutine::park_timeout(LONG);
        wakes.join().unwrap();
        let before = Instant::now();
        coroutine::park_timeout(Duration::from_millis(1));
        assert!(before.elapsed() >= Duration::from_millis(1));
    });
}

#[test]
fn an_interval_ticks_on_its_grid_and_does_not_make_up_for_missed_ticks() {
    on_one_worker_and_on_two(|| {
        let period = Duration::from_millis(1);
        let mut ticks = interval(period);
        let first = ticks.tick();
        let after_first = Instant::now();
        assert!(after_first >= first);
        sleep(period * 5);
        let second = ticks.tick();
        assert!(
            second > first && second <= after_first + period,
            "the one that was due"
        );
        let third = ticks.tick();
        assert!(third >= first + period * 5, "the others are skipped");
        for tick in [second, third] {
            let offset = (tick - first).as_nanos() % period.as_nanos();
            assert_eq!(offset, 0, "on the grid");
        }
    });
}

#[test]
fn ti4_a_process_that_was_stopped_catches_up_with_one_tick() {
    let name = "ti4_a_process_that_was_stopped_catches_up_with_one_tick";
    in_own_process(name, || {
        runtime::run(|| {
            let me = std::process::id();
            let script = format!("sleep 0.03; kill -STOP {me}; sleep 0.3; kill -CONT {me}");
            let stops = spawn(move || Command::new("sh").args(["-c", &script]).status());
            let mut ticks = interval(Duration::from_millis(10));
            // When each was due, and when it came.
            let mut told = Vec::new();
            while !stops.is_finished() || told.len() < 10 {
                told.push((ticks.tick(), Instant::now()));
            }
            (0..5).for_each(|_| told.push((ticks.tick(), Instant::now())));
            stops.join().unwrap().unwrap();

            let stopped = Duration::from_millis(250);
            let late = |(due, came): &(Instant, Instant)| came.duration_since(*due) > stopped;
            assert_eq!(
                told.iter().filter(|tick| late(tick)).count(),
                1,
                "one to catch up"
            );
            let caught_up = told.iter().position(late).unwrap();
            let (_, came) = told[caught_up];
            assert!(told[caught_up + 1].0 > came, "the others are skipped");
            assert!(told.is_sorted(), "and the clock never goes back");
            assert!(told.iter().all(|(due, came)| due <= came), "none is early");
        });
    })
    .well();
}

#[test]
fn all_of_it_works_on_a_plain_thread() {
    let before = Instant::now();
    sleep(Duration::from_millis(2));
    assert!(before.elapsed() >= Duration::from_millis(2));
    assert_eq!(
        timeout(Duration::from_millis(1), || sleep(LONG)),
        Err(Elapsed)
    );
    assert_eq!(
        timeout(LONG, || timeout(Duration::from_millis(1), || sleep(LONG))),
        Ok(Err(Elapsed))
    );
    assert_eq!(
        timeout(Duration::from_millis(1), || timeout(LONG, || sleep(LONG))),
        Err(Elapsed)
    );
    assert_eq!(timeout(LONG, || 3), Ok(3));
    let runtime = runtime_of(2);
    let never = runtime.spawn(park);
    let dropped = Tally::default();
    let joined = timeout(Duration::from_millis(1), || {
        let _local = dropped.on_drop();
        never.join()
    });
    assert_eq!((joined.map(|_| ()), dropped.get()), (Err(Elapsed), 1));
    interval(Duration::from_millis(1)).tick();
}

#[test]
fn a_thread_that_only_sleeps_in_the_runtime_is_exact_for_a_lone_sleeper_too() {
    on_one_worker_and_on_two(|| {
        for nanos in [1, 10, 999, 1_000, 1_001, 999_999, 1_000_001] {
            let duration = Duration::from_nanos(nanos);
            let before = time::Instant::now();
            sleep(duration);
            assert!(before.elapsed() >= duration, "{nanos} ns");
        }
    });
}
