//! How runtimes end, each test bearing its id of FAULTS: with whatever left waiting, wherever they are dropped, and
//! a thousand times over. Nobody is lost, and nothing is kept.

mod support;

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use runtime::net::TcpListener;
use runtime::{Builder, Runtime, coroutine, time};
use support::{child, os, panic_text};

/// Far beyond any test.
const AN_HOUR: Duration = Duration::from_secs(3600);

// ---- The end ---------------------------------------------------------------------------------------

/// Counts the values that are alive.
struct Alive(Arc<AtomicUsize>);

impl Alive {
    fn new(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Alive(count.clone())
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Leaves coroutines behind that wait in every way there is, and some that have not started.
fn leave_all_kinds_waiting(alive: &Arc<AtomicUsize>) {
    let waits: [fn(); 8] = [
        || coroutine::sleep(AN_HOUR),
        coroutine::park,
        || coroutine::park_timeout(AN_HOUR),
        || {
            drop(
                TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
                    .unwrap()
                    .accept(),
            )
        },
        || drop(coroutine::spawn(coroutine::park).join()),
        || runtime::scope(|s| drop(s.spawn(coroutine::park))),
        || _ = time::timeout(AN_HOUR, || time::timeout(AN_HOUR, coroutine::park)),
        || loop {
            runtime::yield_now();
        },
    ];
    for wait in waits.into_iter().cycle().take(80) {
        let counts = Alive::new(alive);
        coroutine::spawn(move || {
            let _counts = counts;
            wait();
        });
    }
    (0..3).for_each(|_| runtime::yield_now());
    for _ in 0..10 {
        let counts = Alive::new(alive);
        coroutine::spawn(move || drop(counts));
    }
}

#[test]
fn pr5_the_end_of_run_unwinds_whoever_waits_and_gives_everything_back() {
    for workers in [1, 2] {
        let end = child().given(workers).run(|workers| {
            let workers = workers.parse().unwrap();
            let alive = Arc::new(AtomicUsize::new(0));
            let held_before = os::held();
            let mut mappings = Vec::new();
            for _ in 0..20 {
                let runtime = Builder::new().workers(workers).build().unwrap();
                runtime.run(|| leave_all_kinds_waiting(&alive));
                assert_eq!(
                    alive.load(Ordering::Relaxed),
                    0,
                    "all are unwound when `run` returns"
                );
                runtime.run(|| leave_all_kinds_waiting(&alive));
                assert_eq!(
                    alive.load(Ordering::Relaxed),
                    0,
                    "and when it returns again"
                );
                let metrics = runtime.metrics();
                assert_eq!(metrics.spawned, metrics.finished);
                drop(runtime);
                os::until(|| os::held() == held_before);
                mappings.push(os::mappings());
            }
            // The first rounds may leave something with malloc and the C library's cache of stacks.
            assert!(mappings[19] <= mappings[4] + 2, "{mappings:?}");
        });
        end.returned().never_says("leaked");
    }
}

/// A runtime with ten coroutines that have started and wait, outside of `run`.
fn half_run(alive: &Arc<AtomicUsize>) -> Runtime {
    let runtime = Builder::new().build().unwrap();
    for _ in 0..10 {
        let counts = Alive::new(alive);
        runtime.spawn(move || {
            let _counts = counts;
            coroutine::park();
        });
    }
    runtime.run_ready();
    runtime
}

#[test]
fn pr5_a_dropped_runtime_unwinds_whom_run_ready_has_started() {
    for place in ["a thread", "a coroutine of another"] {
        let end = child().given(place).run(|place| {
            let alive = Arc::new(AtomicUsize::new(0));
            let before = os::held();
            match place {
                "a thread" => drop(half_run(&alive)),
                _ => runtime::run(|| drop(half_run(&alive))),
            }
            assert_eq!(alive.load(Ordering::Relaxed), 0);
            assert_eq!(os::held(), before);
        });
        end.returned().never_says("leaked");
    }
}

#[test]
fn pr5_a_runtime_dropped_by_a_panic_unwinds_whom_run_ready_has_started() {
    for place in ["a thread", "a coroutine of another"] {
        let end = child().given(place).run(|place| {
            let alive = Arc::new(AtomicUsize::new(0));
            let panics = || {
                let _runtime = half_run(&alive);
                panic!("on purpose");
            };
            let text = match place {
                "a thread" => panic_text(panics),
                _ => runtime::run(|| panic_text(panics)),
            };
            assert_eq!(text, "on purpose");
            assert_eq!(alive.load(Ordering::Relaxed), 0);
            assert!(!thread::panicking());
        });
        end.returned().never_says("leaked");
    }
}

#[test]
fn pr5_a_runtime_dropped_by_a_coroutine_of_its_own_does_not_hang() {
    let end = child().run(|_| {
        let runtime = Arc::new(
            Builder::new()
                .workers(2)
                .grace(Duration::from_millis(50))
                .build()
                .unwrap(),
        );
        let (also, (tells, told)) = (runtime.clone(), std::sync::mpsc::channel());
        runtime.spawn(move || {
            while Arc::strong_count(&also) > 1 {
                runtime::yield_now();
            }
            drop(also);
            tells.send(()).unwrap();
        });
        drop(runtime);
        told.recv().unwrap();
    });
    end.returned();
}

#[test]
fn pr5_whoever_refuses_to_end_is_reported_by_name_and_leaked_after_the_grace() {
    let end = child().run(|_| {
        let alive = Arc::new(AtomicUsize::new(0));
        let runtime = Builder::new()
            .grace(Duration::from_millis(20))
            .build()
            .unwrap();
        runtime.run(|| {
            let counts = Alive::new(&alive);
            let stubborn = coroutine::Builder::new().name("stubborn");
            stubborn
                .spawn(move || {
                    let _counts = counts;
                    coroutine::shield(|| {
                        loop {
                            coroutine::park();
                        }
                    })
                })
                .unwrap();
            runtime::yield_now();
        });
        assert_eq!(alive.load(Ordering::Relaxed), 1, "never freed alive");
        assert_eq!(runtime.run(|| coroutine::spawn(|| 7).join().unwrap()), 7);
    });
    end.returned()
        .says("coroutine 'stubborn' (id ")
        .says("its stack is leaked");
}

// ---- Many lives --------------------------------------------------------------------------------------

fn live_once(workers: usize) {
    let runtime = Builder::new().workers(workers).build().unwrap();
    runtime.run(|| {
        let children: Vec<_> = (0..5)
            .map(|_| coroutine::spawn(runtime::yield_now))
            .collect();
        coroutine::spawn(coroutine::park);
        children.into_iter().for_each(|one| one.join().unwrap());
    });
}

#[test]
fn pr6_a_thousand_runtimes_after_each_other_leave_nothing_behind() {
    for workers in [1, 2] {
        let end = child().given(workers).run(|workers| {
            let workers = workers.parse().unwrap();
            (0..100).for_each(|_| live_once(workers));
            let (held_before, mappings, resident) =
                (os::held(), os::mappings(), os::resident_bytes());
            (0..1_000).for_each(|_| live_once(workers));
            os::until(|| os::held() == held_before);
            assert!(
                os::mappings() <= mappings + 2,
                "{} and now {}",
                mappings,
                os::mappings()
            );
            let growth = os::resident_bytes().saturating_sub(resident);
            assert!(growth < 512 << 10, "{growth} bytes");
        });
        end.returned();
    }
}

#[test]
fn pr6_two_runtimes_at_once_are_apart() {
    let run = |name: &str| {
        let runtime = Builder::new().workers(2).name(name).build().unwrap();
        runtime.run(|| {
            let children: Vec<_> = (0..100).map(|n| coroutine::spawn(move || n)).collect();
            let inner: i32 = runtime::run(|| coroutine::spawn(|| 1).join().unwrap());
            let sum: i32 = children.into_iter().map(|one| one.join().unwrap()).sum();
            (sum + inner, coroutine::current().name().map(str::to_owned))
        })
    };
    thread::scope(|s| {
        let threads: Vec<_> = ["a", "b", "c"]
            .map(|name| (name, s.spawn(move || run(name))))
            .into();
        for (name, thread) in threads {
            assert_eq!(thread.join().unwrap(), (4_951, Some(name.to_owned())));
        }
    });
}
