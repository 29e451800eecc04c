//! Looking inside by numbers, by a timeline and by a debugger.

mod support;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc;

use runtime::time::{Duration, sleep};
use runtime::{Builder, Metrics, coroutine, observe, spawn, spawn_blocking, yield_now};

// ---- Metrics -----------------------------------------------------------------------------------------

/// What a runtime with so many workers has counted after `f` was its first coroutine.
fn counted(workers: usize, f: impl FnOnce()) -> Metrics {
    let runtime = Builder::new().workers(workers).build().unwrap();
    runtime.run(f);
    runtime.metrics()
}

#[test]
fn how_coroutines_end_is_counted() {
    for workers in [1, 2] {
        let metrics = counted(workers, || {
            spawn(|| ()).join().unwrap();
            spawn(|| std::panic::resume_unwind(Box::new(())))
                .join()
                .unwrap_err();
            let waits = spawn(coroutine::park);
            let never_starts = spawn(|| ());
            waits.cancel();
            never_starts.cancel();
            waits.join().unwrap_err();
            never_starts.join().unwrap_err();
            drop(spawn(coroutine::park)); // is cancelled at the end
        });
        assert_eq!((metrics.spawned, metrics.finished), (6, 6), "{metrics:?}");
        assert_eq!((metrics.panicked, metrics.cancelled), (1, 3), "{metrics:?}");
        assert_eq!((metrics.live, metrics.stacks_in_use), (0, 0), "{metrics:?}");
        assert!(metrics.stacks_max > 0 && metrics.polls > 0, "{metrics:?}");
    }
}

#[test]
fn every_turn_and_every_wake_up_is_counted() {
    const N: u64 = 1_000;
    let metrics = counted(1, || (0..N).for_each(|_| yield_now()));
    assert_eq!(metrics.switches, N + 1);
    assert_eq!((metrics.wakes_local, metrics.wakes_remote), (0, 0));

    // A child that a join runs on top of itself, and one that starts where another has ended.
    let metrics = counted(1, || {
        spawn(|| ()).join().unwrap();
        let children = [spawn(|| ()), spawn(|| ())];
        yield_now();
        children.into_iter().for_each(|child| child.join().unwrap());
    });
    assert_eq!(metrics.switches, 1 + 1 + 2 + 1);

    let metrics = counted(1, || {
        let parks = coroutine::current();
        let neighbour = spawn(move || (0..N).for_each(|_| (parks.unpark(), yield_now()).1));
        (0..N).for_each(|_| coroutine::park());
        neighbour.join().unwrap();
    });
    assert!((N..=N + 1).contains(&metrics.wakes_local), "{metrics:?}");
    assert_eq!(metrics.wakes_remote, 0);

    let metrics = counted(1, || {
        let parks = coroutine::current();
        let (ask, asked) = mpsc::channel();
        let foreign = std::thread::spawn(move || asked.iter().for_each(|()| parks.unpark()));
        for _ in 0..N {
            ask.send(()).unwrap();
            coroutine::park();
        }
        drop(ask);
        foreign.join().unwrap();
    });
    // One that comes before its park wakes nobody.
    assert!((1..=N).contains(&metrics.wakes_remote), "{metrics:?}");
    assert_eq!(metrics.wakes_local, 0);
}

#[test]
fn levels_are_those_of_the_moment_and_a_difference_keeps_them() {
    let runtime = Builder::new().blocking_threads(1).build().unwrap();
    runtime.run(|| {
        let before = observe::metrics();
        let (release, released) = mpsc::channel::<()>();
        let (begin, begun) = mpsc::channel();
        let blocks = spawn_blocking(move || {
            begin.send(()).unwrap();
            let _ = released.recv();
        });
        begun.recv().unwrap();
        let waits = spawn_blocking(|| ());
        let sleeps = spawn(|| sleep(Duration::MAX / 4));
        yield_now();
        let during = observe::metrics();
        assert_eq!((during.blocking_running, during.blocking_queue), (1, 1));
        assert_eq!((during.blocking_threads, during.timers), (1, 1));
        assert_eq!((during.live, during.stacks_in_use), (2, 2));
        let since = during - before;
        assert_eq!((since.spawned, since.live, since.timers), (1, 2, 1));
        drop(release);
        blocks.join().unwrap();
        waits.join().unwrap();
        sleeps.cancel();
        sleeps.join().unwrap_err();
        let after = observe::metrics();
        assert_eq!((after.timers, after.live, after.stacks_pooled), (0, 1, 1));
    });
    let outside = catch_unwind(AssertUnwindSafe(observe::metrics));
    assert!(outside.is_err());
}

#[test]
fn prometheus_gets_a_type_and_a_sample_for_every_field() {
    let text = counted(2, || spawn(|| ()).join().unwrap())
        .prometheus()
        .to_string();
    let lines: Vec<_> = text.lines().collect();
    for entry in lines.chunks(3) {
        let [help, kind, sample] = entry else {
            panic!("{text}")
        };
        let (name, value) = sample.split_once(' ').unwrap();
        assert!(help.starts_with(&format!("# HELP {name} ")), "{help}");
        let is_count = name.ends_with("_total");
        let expected = if is_count { "counter" } else { "gauge" };
        assert_eq!(*kind, format!("# TYPE {name} {expected}"));
        value.parse::<u64>().unwrap();
    }
    // As many as a `Metrics` has fields.
    let fields = format!("{:?}", Metrics::default()).matches(": ").count();
    assert_eq!(lines.len(), 3 * fields);
    assert!(text.contains("runtime_spawned_total 2\n"), "{text}");
}
