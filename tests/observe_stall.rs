//! Coroutines that keep their worker for too long, and the watchdog that tells of them.
//!
//! No test waits for a time: whoever keeps a worker does so until the watchdog has said so.

mod support;

use std::hint::black_box;
use std::io::{Read, Write};
use std::process;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::Duration;

use runtime::observe::stall::{Activity, Stall};
use runtime::{Builder, coroutine, spawn, yield_now};
use support::{child, os};

const AFTER: Duration = Duration::from_millis(100);

fn watched(workers: usize) -> Builder {
    Builder::new().workers(workers).stall_after(AFTER)
}

fn named<T: Send + 'static>(
    name: &str,
    f: impl FnOnce() -> T + Send + 'static,
) -> coroutine::JoinHandle<T> {
    coroutine::Builder::new().name(name).spawn(f).unwrap()
}

/// Whose function's name is looked for.
#[inline(never)]
fn burns_the_processor(until: impl Fn() -> bool) -> u64 {
    let mut n = 0_u64;
    while !until() {
        n = black_box(n.wrapping_mul(31).wrapping_add(1));
    }
    n
}

#[test]
fn sc4_a_hog_is_named_with_what_it_does_and_where_and_the_other_worker_runs_its_children() {
    for workers in [1, 2] {
        let (tell, told) = mpsc::channel();
        let reported = Arc::new(AtomicBool::new(false));
        let seen = reported.clone();
        let hook = move |stall: &Stall| {
            if stall.name.as_deref() == Some("hog") {
                tell.send(stall.clone()).unwrap();
                seen.store(true, Ordering::Relaxed);
            }
        };
        let builder = watched(workers).on_stall(hook).flight_recorder(16);
        let runtime = builder.build().unwrap();
        let (hog, child_ran) = runtime.run(|| {
            let hog = named("hog", move || {
                yield_now(); // an event of its own
                let ran = Arc::new(AtomicBool::new(false));
                let runs = ran.clone();
                let child = spawn(move || runs.store(true, Ordering::Relaxed));
                burns_the_processor(|| {
                    let stolen = workers == 1 || ran.load(Ordering::Relaxed);
                    stolen && reported.load(Ordering::Relaxed)
                });
                let ran = ran.load(Ordering::Relaxed);
                child.join().unwrap();
                (coroutine::current().id().get(), ran)
            });
            hog.join().unwrap()
        });
        assert_eq!(child_ran, workers == 2);
        let stall = told.recv().unwrap();
        assert_eq!(
            (stall.id, &stall.activity),
            (Some(hog), &Activity::Computing),
            "{stall}"
        );
        assert!(stall.duration >= AFTER && stall.worker < workers, "{stall}");
        let events = format!("the last events of worker {}, times before", stall.worker);
        let (_, events) = stall.last_events.split_once(&events).unwrap();
        let own = format!("'hog' (id {hog}) ran for ");
        assert!(events.contains(&own), "{stall}");
        assert!(stall.to_string().ends_with(events.trim_end()), "{stall}");
        let site = stall.spawned_at.unwrap().file();
        assert!(site.ends_with("tests/observe_stall.rs"), "{stall}");
        let functions: Vec<_> = stall
            .backtrace
            .iter()
            .map(|frame| &frame.function)
            .collect();
        assert!(
            functions
                .iter()
                .any(|name| name.contains("burns_the_processor")),
            "{stall}"
        );
        assert!(
            !functions.iter().any(|name| name.contains("coroutine_main")),
            "{stall}"
        );
        assert!(told.try_recv().is_err(), "once");
    }
}

#[test]
fn sc4_the_report_on_stderr_names_the_hog_of_200_ms_and_its_function() {
    for workers in [1, 2] {
        let end = child().given(workers).run(|workers| {
            let workers = workers.parse().unwrap();
            let after = Duration::from_millis(40); // early, lest the watchdog find it gone when the machine is busy
            let builder = Builder::new().workers(workers).stall_after(after);
            builder.build().unwrap().run(|| {
                let begun = process_time();
                let hog = named("hog", move || {
                    burns_the_processor(|| process_time() - begun > Duration::from_millis(200))
                });
                black_box(hog.join().unwrap());
            });
        });
        let end = end.returned();
        end.says("coroutine 'hog' (id ");
        end.says(") has kept worker ");
        end.says(" ms: computing\n  spawned at tests/observe_stall.rs:");
        end.says("burns_the_processor\n        at ");
        end.never_says("coroutine_main");
        end.says("  its neighbours wait meanwhile: let it yield now and then");
        assert_eq!(end.stderr.matches("has kept worker").count(), 1, "{end}");
    }
}

/// The processor time of this process.
fn process_time() -> Duration {
    time_of(libc::CLOCK_PROCESS_CPUTIME_ID)
}

fn time_of(clock: libc::clockid_t) -> Duration {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the kernel writes `time` during the call.
    let done = unsafe { libc::clock_gettime(clock, &mut time) };
    assert_eq!(done, 0);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

#[test]
fn sc4_a_blocking_read_is_named_with_its_system_call() {
    for workers in [1, 2] {
        let (mut reader, writer) = std::io::pipe().unwrap();
        let (tell, told) = mpsc::channel();
        let writer = Mutex::new(writer);
        let hook = move |stall: &Stall| {
            tell.send(stall.clone()).unwrap();
            writer.lock().unwrap().write_all(b"x").unwrap();
        };
        let runtime = watched(workers).on_stall(hook).build().unwrap();
        runtime.run(|| {
            named("reader", move || reader.read_exact(&mut [0]).unwrap())
                .join()
                .unwrap();
        });
        let stall = told.recv().unwrap();
        let Activity::Blocked(call) = &stall.activity else {
            panic!("{stall}")
        };
        assert!(call.starts_with("read(2) on descriptor "), "{stall}");
        assert_eq!(stall.name.as_deref(), Some("reader"), "{stall}");
        assert!(stall.to_string().contains("read"), "{stall}");
    }
}

#[test]
fn sc6_a_std_mutex_that_its_own_worker_holds_is_told_as_a_futex_with_worker_and_name() {
    let end = child().run(|_| {
        let says_and_ends = |stall: &Stall| {
            eprintln!("{stall}");
            process::exit(42);
        };
        let runtime = watched(1).on_stall(says_and_ends).build().unwrap();
        runtime.run(|| {
            let lock = Arc::new(Mutex::new(()));
            let also = lock.clone();
            let _held = lock.lock().unwrap();
            named("second", move || drop(also.lock())).join().unwrap();
        });
    });
    end.returned()
        .says("coroutine 'second' (id ")
        .says(") has kept worker 0 for ")
        .says(" ms: blocked in futex(2)")
        .says("Mutex");
}

#[test]
fn a_coroutine_that_gives_way_is_not_reported_however_long_it_goes_on() {
    for workers in [1, 2] {
        let (tell, told) = mpsc::channel();
        let hook = move |stall: &Stall| tell.send(stall.to_string()).unwrap();
        let runtime = watched(workers).on_stall(hook).build().unwrap();
        runtime.run(|| {
            let begun = process_time();
            while process_time() - begun < 2 * AFTER {
                yield_now();
            }
        });
        drop(runtime);
        assert_eq!(told.try_iter().collect::<String>(), "");
    }
}

#[test]
fn a_machine_that_is_merely_busy_is_no_stall() {
    // A third of what would be one, on a machine on which everybody gets a small part of a processor.
    const WORK: Duration = Duration::from_millis(33);
    let (tell, told) = mpsc::channel();
    let hook = move |stall: &Stall| tell.send(stall.to_string()).unwrap();
    let runtime = watched(1).on_stall(hook).build().unwrap();
    let over = Arc::new(AtomicBool::new(false));
    let crowd: Vec<_> = (0..6 * os::cores())
        .map(|_| {
            let over = over.clone();
            thread::spawn(move || black_box(burns_the_processor(|| over.load(Ordering::Relaxed))))
        })
        .collect();
    runtime.run(|| {
        let begun = time_of(libc::CLOCK_THREAD_CPUTIME_ID);
        burns_the_processor(|| time_of(libc::CLOCK_THREAD_CPUTIME_ID) - begun > WORK);
    });
    over.store(true, Ordering::Relaxed);
    crowd
        .into_iter()
        .for_each(|thread| _ = thread.join().unwrap());
    drop(runtime);
    assert_eq!(told.try_iter().collect::<String>(), "");
}

#[test]
fn the_watchdog_of_an_idle_runtime_sleeps() {
    let end = child().run(|_| {
        let runtime = Builder::new()
            .stall_after(Duration::from_millis(4))
            .build()
            .unwrap();
        runtime.run(|| {
            runtime::time::sleep(Duration::from_millis(20));
            let before = switches_of("stall-watchdog");
            runtime::time::sleep(Duration::from_millis(200));
            println!("switches={}", switches_of("stall-watchdog") - before);
        });
    });
    let switches: u64 = end.returned().figure("switches");
    // 200 if it went on looking.
    assert!(switches <= 4, "{switches}");
}

/// How often the thread of this name has gone to sleep.
fn switches_of(name: &str) -> u64 {
    for task in std::fs::read_dir("/proc/self/task").unwrap() {
        let status = std::fs::read_to_string(task.unwrap().path().join("status")).unwrap();
        let mut lines = status.lines();
        if lines.next() == Some(&format!("Name:\t{name}")) {
            let switches = lines.find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
            return switches.unwrap().trim().parse().unwrap();
        }
    }
    panic!("no thread {name}")
}

#[test]
fn a_runtime_that_is_not_watched_has_no_watchdog_and_one_that_is_ends_it() {
    let end = child().run(|_| {
        let threads = os::threads();
        let unwatched = Builder::new().stall_after(None).build().unwrap();
        assert_eq!(os::threads(), threads);
        let watched = watched(1).build().unwrap();
        assert_eq!(os::threads(), threads + 1);
        drop(watched);
        os::until(|| os::threads() == threads);
        drop(unwatched);
    });
    end.returned();
}
