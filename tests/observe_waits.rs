//! Looking inside: dumps, deadlocks and the stacks that coroutines touch.
//!
//! That *all wait* is told only in a process without other threads, and libtest has some: so such a test
//! forks first. The child has one thread, and no runtime yet.

mod support;

use std::io::Read;
use std::os::fd::AsRawFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process;
use std::sync::Arc;

use runtime::channel::{Receiver, Sender, bounded, unbounded};
use runtime::net::{TcpListener, TcpStream};
use runtime::observe::{self, Dump, State};
use runtime::sync::{Event, Mutex, RwLock};
use runtime::time::{self, Duration};
use runtime::{Builder, Runtime, coroutine, spawn_blocking};
use support::{child, text_of};

const WORKERS: [usize; 2] = [1, 2];

fn runtime(workers: usize) -> Runtime {
    Builder::new().workers(workers).build().unwrap()
}

/// Calls `f` in a forked child, which has one thread, and leaves as it does.
fn alone(f: impl FnOnce()) {
    // SAFETY: the child calls no more than a test does; what other threads may have locked, libtest's output, it leaves
    // alone.
    match unsafe { libc::fork() } {
        0 => {
            let outcome = catch_unwind(AssertUnwindSafe(f));
            let code = if outcome.is_ok() { 0 } else { 99 };
            // SAFETY: ends the process at once.
            unsafe { libc::_exit(code) }
        }
        forked => {
            let mut status = 0;
            // SAFETY: waitpid(2) writes the status of our own child.
            assert_eq!(unsafe { libc::waitpid(forked, &mut status, 0) }, forked);
            assert_eq!(status, 0);
        }
    }
}

/// `text` with all that differs from run to run, or when this file is edited, replaced.
fn without_figures(text: &str) -> String {
    let mut out = String::new();
    for line in text.lines() {
        let mut line = line.to_owned();
        if let Some((head, _)) = line.split_once(", on worker") {
            line = head.to_owned();
        }
        if let Some((head, _)) = line.split_once(" ago, ") {
            line = head.rsplit_once(' ').unwrap().0.to_owned();
        }
        line = replaced(&line, "0x", |c| c.is_ascii_hexdigit());
        line = replaced(&line, ".rs:", |c| c.is_ascii_digit() || c == ':');
        line = replaced(&line, "coroutine ", |c| c.is_ascii_digit());
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}

/// Those that follow `mark`, wherever it stands, become one `N`.
fn replaced(line: &str, mark: &str, goes: fn(char) -> bool) -> String {
    let mut parts = line.split(mark);
    let mut out = parts.next().unwrap().to_owned();
    for part in parts {
        let rest = part.trim_start_matches(goes);
        out.push_str(mark);
        if rest.len() < part.len() {
            out.push('N');
        }
        out.push_str(rest);
    }
    out
}

/// The report that `run` panics with.
fn report(f: impl FnOnce()) -> String {
    let outcome = catch_unwind(AssertUnwindSafe(f));
    text_of(&*outcome.expect_err("it should have panicked"))
}

fn named(name: &str) -> coroutine::Builder {
    coroutine::Builder::new().name(name)
}

fn line_of(text: &str) -> u32 {
    let at = include_str!("observe_waits.rs")
        .lines()
        .position(|line| line.contains(text));
    at.unwrap() as u32 + 1
}

#[test]
fn sc5_three_coroutines_that_lock_in_a_circle_are_reported_though_a_socket_is_open() {
    for workers in WORKERS {
        let text = report(|| {
            runtime(workers).run(|| {
                let listener = TcpListener::bind("127.0.0.1:0").unwrap();
                let mut here = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
                let _there = listener.accept().unwrap();
                let locks: [Arc<Mutex<()>>; 3] = Default::default();
                let all_hold = Arc::new(runtime::sync::Barrier::new(3));
                for (place, name) in ["a", "b", "c"].into_iter().enumerate() {
                    let (locks, all_hold) = (locks.clone(), all_hold.clone());
                    let locks_two = move || {
                        let _first = locks[place].lock(); // held
                        all_hold.wait();
                        drop(locks[(place + 1) % 3].lock()); // waits
                    };
                    named(name).spawn(locks_two).unwrap();
                }
                let mut buffer = [0; 1];
                here.read_exact(&mut buffer).unwrap(); // for ever
            });
        });
        let golden = "\
deadlock: 3 coroutines wait for each other in a circle
  coroutine N '1': waits for the mutex 0xN at tests/observe_waits.rs:N
    held by coroutine N '2', which locked it at tests/observe_waits.rs:N
    spawned at tests/observe_waits.rs:N
  coroutine N '2': waits for the mutex 0xN at tests/observe_waits.rs:N
    held by coroutine N '3', which locked it at tests/observe_waits.rs:N
    spawned at tests/observe_waits.rs:N
  coroutine N '3': waits for the mutex 0xN at tests/observe_waits.rs:N
    held by coroutine N '1', which locked it at tests/observe_waits.rs:N
    spawned at tests/observe_waits.rs:N
";
        // Whose number is the lowest depends on the workers.
        let names = ["a", "b", "c"];
        let as_told = |first: usize| {
            (0..3).fold(golden.to_owned(), |text, place| {
                text.replace(
                    &format!("'{}'", place + 1),
                    &format!("'{}'", names[(first + place) % 3]),
                )
            })
        };
        let told = without_figures(&text);
        assert!((0..3).any(|first| told == as_told(first)), "{text}");
        for site in ["// held", "// waits", ".spawn(locks_two)"] {
            let site = format!("observe_waits.rs:{}:", line_of(site));
            assert_eq!(text.matches(&site).count(), 3, "{site} in {text}");
        }
    }
}

#[test]
fn sc5_a_receiver_that_nobody_sends_to_any_more_is_reported() {
    let end = child().run(|_| {
        for workers in WORKERS {
            alone(|| {
                let text = report(|| {
                    runtime(workers).run(|| {
                        let (sender, receiver) = bounded::<u8>(0);
                        named("lost")
                            .spawn(move || receiver.recv())
                            .unwrap()
                            .join()
                            .unwrap()
                            .unwrap();
                        drop(sender);
                    });
                });
                eprint!("{}", without_figures(&text));
            });
        }
    });
    end.returned();
    let golden = "\
deadlock: all coroutines wait, 2 of them, and nothing could wake one: no timer, no descriptor, no blocking call, no other \
thread
  coroutine N 'main': waits for the end of coroutine N 'lost' at tests/observe_waits.rs:N
    spawned at tests/observe_waits.rs:N
  coroutine N 'lost': waits for a value from the channel 0xN at tests/observe_waits.rs:N
    its other end may be with coroutine N 'main'
    spawned at tests/observe_waits.rs:N
";
    assert_eq!(end.stderr.matches(golden).count(), WORKERS.len(), "{end}");
}

/// Both offer first, and would take what the other one offers after that.
fn offers_then_takes(offers: Sender<u8>, takes: Receiver<u8>) -> u8 {
    offers.send(1).unwrap(); // offers
    takes.recv().unwrap()
}

#[test]
fn sc5_two_that_both_send_first_are_reported_with_who_may_have_the_other_ends() {
    let end = child().run(|_| {
        for workers in WORKERS {
            alone(|| {
                let text = report(|| {
                    runtime(workers).run(|| {
                        let (to_right, from_left) = bounded(0);
                        let (to_left, from_right) = bounded(0);
                        let left =
                            named("left").spawn(move || offers_then_takes(to_right, from_right));
                        let right =
                            named("right").spawn(move || offers_then_takes(to_left, from_left));
                        left.unwrap().join().unwrap() + right.unwrap().join().unwrap()
                    });
                });
                eprint!("{}", without_figures(&text));
            });
        }
    });
    end.returned();
    let golden = "\
  coroutine N 'left': waits for room in the channel 0xN at tests/observe_waits.rs:N
    its other end may be with coroutine N 'right'
    spawned at tests/observe_waits.rs:N
  coroutine N 'right': waits for room in the channel 0xN at tests/observe_waits.rs:N
    its other end may be with coroutine N 'left'
    spawned at tests/observe_waits.rs:N
  coroutine N 'main': waits for the end of coroutine N 'left' at tests/observe_waits.rs:N
    spawned at tests/observe_waits.rs:N
";
    assert_eq!(end.stderr.matches(golden).count(), WORKERS.len(), "{end}");
}

#[test]
fn sc5_no_alarm_while_another_thread_may_wake_somebody() {
    for workers in WORKERS {
        let (sender, receiver) = unbounded();
        let sends = std::thread::spawn(move || {
            // Longer than the first looks of an idle worker.
            std::thread::sleep(Duration::from_millis(700));
            sender.send(7).unwrap();
        });
        assert_eq!(runtime(workers).run(|| receiver.recv()), Ok(7));
        sends.join().unwrap();
    }
}

#[test]
fn sc5_no_alarm_for_a_circle_that_a_timeout_ends() {
    for workers in WORKERS {
        runtime(workers).run(|| {
            let (a, b) = (Mutex::new(()), Mutex::new(()));
            let ended = time::timeout(Duration::from_millis(1500), || {
                runtime::scope(|s| {
                    for (first, second) in [(&a, &b), (&b, &a)] {
                        s.spawn(move || {
                            let _first = first.lock();
                            time::sleep(Duration::from_millis(1));
                            drop(second.lock());
                        });
                    }
                });
            });
            assert!(ended.is_err());
        });
    }
}

#[test]
fn sc5_a_holder_that_joins_one_who_waits_for_it_is_told_to_the_hook_and_can_be_cancelled() {
    for workers in WORKERS {
        let (tell, told) = std::sync::mpsc::channel();
        let stop = Arc::new(Event::new());
        let set = stop.clone();
        let hook = move |deadlock: &observe::Deadlock| {
            tell.send(deadlock.clone()).unwrap();
            set.set();
        };
        let runtime = Builder::new()
            .workers(workers)
            .on_deadlock(hook)
            .build()
            .unwrap();
        runtime.run(|| {
            let lock = Arc::new(RwLock::new(0));
            let holder = runtime::spawn(move || {
                let _written = lock.write();
                let theirs = lock.clone();
                runtime::spawn(move || *theirs.read()).join()
            });
            stop.wait();
            holder.cancel();
            assert!(holder.join().is_err());
        });
        let deadlock = told.recv().unwrap();
        assert!(deadlock.is_circle);
        let reasons = deadlock
            .coroutines
            .iter()
            .map(|it| it.wait.as_ref().unwrap().reason);
        assert_eq!(reasons.collect::<Vec<_>>(), ["join", "rwlock read"]);
        assert!(told.try_recv().is_err(), "it is told once");
    }
}

#[test]
fn sc5_a_reader_and_a_writer_in_a_circle_are_reported_though_others_go_on() {
    for workers in WORKERS {
        let text = report(|| {
            runtime(workers).run(|| {
                let listener = TcpListener::bind("127.0.0.1:0").unwrap();
                let mut here = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
                let _there = listener.accept().unwrap();
                let locks: [Arc<RwLock<()>>; 2] = Default::default();
                let both_have = Arc::new(runtime::sync::Barrier::new(3));
                // Another one reads the first lock, and has nothing to do with it.
                let (theirs, all_have) = (locks[0].clone(), both_have.clone());
                let goes_on = move || {
                    let _read = theirs.read(); // another reads
                    all_have.wait();
                    loop {
                        time::sleep(Duration::from_millis(1));
                    }
                };
                named("goes on").spawn(goes_on).unwrap();
                let (theirs, all_have) = (locks.clone(), both_have.clone());
                let reads = move || {
                    let _read = theirs[0].read(); // reader locks
                    all_have.wait();
                    drop(theirs[1].read()); // reader waits
                };
                named("reads").spawn(reads).unwrap();
                let writes = move || {
                    let _written = locks[1].write(); // writer locks
                    both_have.wait();
                    drop(locks[0].write()); // writer waits
                };
                named("writes").spawn(writes).unwrap();
                let mut buffer = [0; 1];
                here.read_exact(&mut buffer).unwrap(); // for ever
            });
        });
        let told = without_figures(&text);
        let site = "at tests/observe_waits.rs:N";
        let by = |name: &str| format!("held by coroutine N '{name}', which locked it {site}");
        let reads = format!(
            "  coroutine N 'reads': waits for reading the lock 0xN {site}\n    {}\n    spawned {site}\n",
            by("writes")
        );
        let [reads_first, reads_last] =
            [("reads", "goes on"), ("goes on", "reads")].map(|(first, second)| {
                format!(
                    "  coroutine N 'writes': waits for writing the lock 0xN {site}\n    {}, and {}\n    spawned {site}\n",
                    by(first),
                    by(second)
                )
            });
        let golden = |writes: &str| {
            let head = "deadlock: 2 coroutines wait for each other in a circle\n";
            [
                format!("{head}{reads}{writes}"),
                format!("{head}{writes}{reads}"),
            ]
        };
        let golden = [golden(&reads_first), golden(&reads_last)];
        assert!(golden.iter().flatten().any(|it| *it == told), "{text}");
        for mark in [
            "another reads",
            "reader locks",
            "reader waits",
            "writer locks",
            "writer waits",
        ] {
            let site = format!("observe_waits.rs:{}:", line_of(&format!("// {mark}")));
            assert_eq!(text.matches(&site).count(), 1, "{mark} in {text}");
        }
    }
}

#[test]
fn sc5_one_that_reads_again_behind_a_writer_is_reported() {
    for workers in WORKERS {
        let text = report(|| {
            runtime(workers).run(|| {
                let lock = Arc::new(RwLock::new(()));
                let _read = lock.read();
                let theirs = lock.clone();
                let writes = move || drop(theirs.write());
                named("writes").spawn(writes).unwrap();
                while lock.try_read().is_some() {
                    runtime::yield_now(); // until it waits
                }
                drop(lock.read());
            });
        });
        let golden = "\
deadlock: 2 coroutines wait for each other in a circle
  coroutine N 'main': waits for reading the lock 0xN at tests/observe_waits.rs:N
    behind coroutine N 'writes', which waits to write it at tests/observe_waits.rs:N
    spawned at tests/observe_waits.rs:N
  coroutine N 'writes': waits for writing the lock 0xN at tests/observe_waits.rs:N
    held by coroutine N 'main', which locked it at tests/observe_waits.rs:N
    spawned at tests/observe_waits.rs:N
";
        assert_eq!(without_figures(&text), golden, "{text}");
    }
}

#[test]
fn sc5_no_alarm_where_a_writer_leaves_in_time_or_no_reader_waits_for_it() {
    const LONGER_THAN_TWO_LOOKS: Duration = Duration::from_millis(800);
    for workers in WORKERS {
        runtime(workers).run(|| {
            let (lock, others) = (&RwLock::new(0), &RwLock::new(0));
            runtime::scope(|s| {
                let read = lock.read();
                let leaves = s.spawn(|| lock.write_timeout(LONGER_THAN_TWO_LOOKS).is_none());
                // Two read, and go on; whoever writes waits for both.
                for _ in 0..2 {
                    s.spawn(|| {
                        let _read = others.read();
                        time::sleep(LONGER_THAN_TWO_LOOKS);
                    });
                }
                while lock.try_read().is_some() || others.try_write().is_some() {
                    runtime::yield_now();
                }
                s.spawn(|| *others.write() += 1);
                assert_eq!(*lock.read(), 0); // behind the one that leaves
                drop(read);
                assert!(leaves.join().unwrap());
            });
            assert_eq!(*others.read(), 1);
        });
    }
}

/// Parks with something of its own on the stack.
#[inline(never)]
fn waits_in_a_function_of_its_own(event: &Event) {
    event.wait();
    std::hint::black_box(event);
}

fn seen<'a>(dump: &'a Dump, name: &str) -> &'a observe::CoroutineDump {
    let found = dump
        .coroutines
        .iter()
        .find(|it| it.name.as_deref() == Some(name));
    found.unwrap_or_else(|| panic!("no {name} in {dump}"))
}

#[test]
fn sc7_a_dump_tells_where_each_coroutine_is_and_what_it_waits_for() {
    for workers in WORKERS {
        let runtime = runtime(workers);
        let dump = runtime.run(|| {
            let (done, mutex) = (Arc::new(Event::new()), Arc::new(Mutex::new(())));
            let guard = mutex.lock();
            let waits = {
                let done = done.clone();
                move || waits_in_a_function_of_its_own(&done)
            };
            let waiting = named("waiting").spawn(waits).unwrap();
            let theirs = mutex.clone();
            let locking = named("locking").spawn(move || drop(theirs.lock())).unwrap();
            let sleeping = named("sleeping")
                .spawn(|| time::sleep(Duration::from_secs(60)))
                .unwrap();
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let accepting = named("accepting").spawn(move || listener.accept()).unwrap();
            let dump = loop {
                let dump = observe::dump();
                if dump
                    .coroutines
                    .iter()
                    .filter(|it| it.state == State::Parked)
                    .count()
                    >= 4
                {
                    break dump;
                }
                runtime::yield_now();
            };
            done.set();
            drop(guard);
            waiting.join().unwrap();
            locking.join().unwrap();
            sleeping.cancel();
            accepting.cancel();
            dump
        });
        assert_eq!(dump.busy_workers, [""; 0]);
        assert_eq!(
            seen(&dump, "sleeping").wait.as_ref().unwrap().reason,
            "sleep"
        );
        let accept = seen(&dump, "accepting").wait.as_ref().unwrap();
        assert!(accept.resource.as_ref().unwrap().starts_with("descriptor "));
        let lock = seen(&dump, "locking").wait.as_ref().unwrap();
        assert_eq!(lock.reason, "mutex");
        assert!(lock.holder.as_ref().unwrap().ends_with("'main'"), "{dump}");
        assert_eq!(
            lock.held_since.unwrap().line(),
            line_of("let guard = mutex.lock()")
        );
        assert_eq!(lock.at.line(), line_of("drop(theirs.lock())"));
        let waiting = seen(&dump, "waiting");
        assert_eq!(
            waiting.wait.as_ref().unwrap().at.line(),
            line_of("    event.wait();")
        );
        let own = |line: &String| line.contains("waits_in_a_function_of_its_own");
        assert!(waiting.backtrace.iter().any(own), "{dump}");
        assert!(!dump.to_string().contains("receive_visits"), "{dump}");
        let json = dump.to_json();
        assert!(
            json.contains(r#""name":"locking","state":"parked""#),
            "{json}"
        );
    }
}

#[test]
fn sc7_a_dump_from_a_plain_thread_names_the_worker_that_is_busy() {
    let runtime = Builder::new().workers(2).name("busy").build().unwrap();
    let (begin, begun) = std::sync::mpsc::channel();
    let (end, ended) = std::sync::mpsc::channel::<()>();
    let computes = runtime.spawn(move || {
        begin.send(()).unwrap();
        ended.recv() // blocks the thread
    });
    begun.recv().unwrap();
    let dump = runtime.dump();
    end.send(()).unwrap();
    computes.join().unwrap().unwrap();
    assert_eq!(dump.busy_workers, ["busy/1"]);
    assert!(dump.to_string().contains("worker busy/1 is busy"));
}

#[test]
fn sc7_children_of_a_scope_stand_below_the_one_that_waits_for_them() {
    let text = runtime::run(|| {
        let event = Event::new();
        runtime::scope(|s| {
            s.spawn(|| event.wait());
            runtime::yield_now();
            let text = observe::dump().to_string();
            event.set();
            text
        })
    });
    assert!(text.contains("\n  coroutine "), "{text}");
}

#[test]
fn sc7_sigquit_writes_a_dump_and_the_program_goes_on() {
    let end = child().run(|_| {
        let runtime = Builder::new().dump_on_sigquit(true).build().unwrap();
        runtime.run(|| {
            let event = Arc::new(Event::new());
            let theirs = event.clone();
            let waiting = named("waiting").spawn(move || theirs.wait()).unwrap();
            runtime::yield_now();
            // What is written to stderr from now on comes back to this program.
            let (mut told, teller) = std::io::pipe().unwrap();
            // SAFETY: both are open.
            let redirected = unsafe { libc::dup2(teller.as_raw_fd(), libc::STDERR_FILENO) };
            assert_eq!(redirected, libc::STDERR_FILENO);
            // SAFETY: a signal to this process, which is handled.
            unsafe { libc::kill(process::id() as i32, libc::SIGQUIT) };
            let reading = spawn_blocking(move || {
                let (mut text, mut part) = (String::new(), [0; 4096]);
                while !text.contains("'waiting': waits for the event 0x") {
                    let length = told.read(&mut part).unwrap();
                    text.push_str(&String::from_utf8_lossy(&part[..length]));
                }
                text
            });
            println!("{}", reading.join().unwrap());
            event.set();
            waiting.join().unwrap();
        });
    });
    let end = end.returned();
    assert!(end.stdout.contains("SIGQUIT: 2 coroutines\n"), "{end}");
}

#[test]
fn the_advisor_tells_for_each_place_how_much_was_touched() {
    runtime::run(|| {
        let event = Arc::new(Event::new());
        let theirs = event.clone();
        let deep = named("deep").spawn(move || {
            support::touch_stack(40 << 10);
            theirs.wait();
        });
        let deep = deep.unwrap();
        runtime::yield_now();
        let stacks = observe::stacks();
        let first = &stacks.sites[0];
        assert_eq!(first.spawned_at.line(), line_of(r#"named("deep")"#));
        assert!(
            first.touched_max >= 40 << 10 && first.suggested() == 128 << 10,
            "{stacks}"
        );
        assert!(
            stacks.to_string().contains("KiB  tests/observe_waits.rs:"),
            "{stacks}"
        );
        event.set();
        deep.join().unwrap();
    });
}

fn computes_for(duration: Duration) {
    let begun = std::time::Instant::now();
    while begun.elapsed() < duration {
        std::hint::spin_loop();
    }
}

#[test]
fn sc7_switches_and_time_are_counted_where_that_is_asked_for() {
    const COMPUTES: Duration = Duration::from_millis(8);
    for workers in WORKERS {
        let builder = Builder::new().workers(workers).account_time(true);
        let runtime = builder.build().unwrap();
        let (dump, text) = runtime.run(|| {
            let (ready, done) = (Arc::new(Event::new()), Arc::new(Event::new()));
            let (tell, wait) = (ready.clone(), done.clone());
            let ring = named("ring").spawn_local(move || {
                (0..1203).for_each(|_| runtime::yield_now());
                computes_for(COMPUTES);
                tell.set();
                wait.wait();
            });
            ready.wait();
            let dump = observe::dump();
            done.set();
            ring.unwrap().join().unwrap();
            // The next on the same stack begins at 0.
            let next = named("next").spawn_local(coroutine::park).unwrap();
            runtime::yield_now();
            let after = observe::dump();
            assert_eq!(seen(&after, "next").switches, Some(1), "{after}");
            next.cancel();
            let text = dump.to_string();
            (dump, text)
        });
        let ring = seen(&dump, "ring");
        assert_eq!(ring.switches, Some(1204), "{text}");
        assert!(ring.cpu_time >= Some(COMPUTES), "{text}");
        assert!(text.contains(" of 64 KiB of stack, 1,204 switches, ran for "));
        assert!(dump.to_json().contains(r#""switches":1204,"cpu_time_ns":"#));
    }
    let dump = runtime(1).run(observe::dump);
    assert_eq!(seen(&dump, "main").switches, None);
    assert!(!dump.to_string().contains("switch"), "{dump}");
    assert!(!dump.to_json().contains("switch"), "{dump}");
}

#[test]
fn sc7_the_time_of_a_child_is_not_its_joiners_and_a_turn_that_goes_on_counts() {
    const COMPUTES: Duration = Duration::from_millis(8);
    let begun = std::time::Instant::now();
    let runtime = Builder::new().account_time(true).build().unwrap();
    runtime.run(|| {
        runtime::spawn(|| ()).join().unwrap(); // leaves a stack for the next to be run on
        computes_for(COMPUTES);
        let child = named("child").spawn(move || {
            computes_for(COMPUTES);
            let dump = observe::dump(); // in the first turn of both
            let took = begun.elapsed();
            let [parent, child] = ["main", "child"].map(|name| seen(&dump, name));
            assert_eq!(
                (parent.state, child.state),
                (State::Running, State::Running)
            );
            let [theirs, own] = [parent, child].map(|it| it.cpu_time.unwrap());
            assert!(theirs >= COMPUTES && own >= COMPUTES, "{dump}");
            // One thread: they cannot have had more than there was. Two clocks: a hundredth may be between them.
            assert!(theirs + own <= took + took / 100, "{took:?}: {dump}");
        });
        child.unwrap().join().unwrap();
    });
}

#[test]
fn a_flight_recorder_shows_what_has_led_to_a_deadlock() {
    for (workers, events) in [(1, 64), (2, 64), (1, 0)] {
        let builder = Builder::new().workers(workers);
        let runtime = builder.flight_recorder(events).build().unwrap();
        let text = report(|| {
            runtime.run(|| {
                let (a, b) = (Arc::new(Mutex::new(())), Arc::new(Mutex::new(())));
                let both_hold = Arc::new(runtime::sync::Barrier::new(2));
                for (name, first, second) in [("ab", a.clone(), b.clone()), ("ba", b, a)] {
                    let both_hold = both_hold.clone();
                    let locks_two = move || {
                        let _first = first.lock();
                        both_hold.wait();
                        drop(second.lock());
                    };
                    named(name).spawn(locks_two).unwrap();
                }
                coroutine::park(); // for ever
            });
        });
        let (_, told) = text.split_once("circle\n").unwrap();
        let (_, told) = told.rsplit_once("spawned at tests/").unwrap();
        let Some((_, told)) = told.split_once("the last events of worker ") else {
            assert_eq!(events, 0, "{text}");
            continue;
        };
        assert!(told.contains(", times before now:\n"), "{text}");
        for name in ["'ab' (id ", "'ba' (id "] {
            let mut theirs = told.lines().filter(|line| line.contains(name));
            assert!(
                theirs.any(|line| line.ends_with(" us, and waits: mutex")),
                "{text}"
            );
        }
    }
}

#[test]
fn sc7_those_that_have_not_started_are_in_the_dump_though_all_workers_are_busy() {
    let runtime = Builder::new().workers(2).name("busy").build().unwrap();
    let (begin, begun) = std::sync::mpsc::channel();
    let (ends, end): (Vec<_>, Vec<_>) = (0..2).map(|_| std::sync::mpsc::channel::<()>()).unzip();
    std::thread::scope(|threads| {
        let runtime = &runtime;
        threads.spawn(move || {
            runtime.run(move || {
                let hogs = end.into_iter().map(|ended| {
                    let begin = begin.clone();
                    move || {
                        let fresh: Vec<_> = (0..3).map(|_| runtime::spawn(|| ())).collect(); // fresh
                        let own = runtime::spawn_local(|| ());
                        begin.send(()).unwrap();
                        let _ = ended.recv(); // blocks the thread
                        fresh.into_iter().for_each(|it| it.join().unwrap());
                        own.join().unwrap();
                    }
                });
                let hogs: Vec<_> = hogs.map(runtime::spawn).collect();
                hogs.into_iter().for_each(|hog| hog.join().unwrap());
            });
        });
        (0..2).for_each(|_| begun.recv().unwrap());
        let injected = runtime.spawn(|| ()); // injected
        let dump = runtime.dump();
        drop(ends);
        let _ = injected.join(); // it may be cancelled by the end of `run`
        assert_eq!(dump.busy_workers, ["busy/0", "busy/1"], "{dump}");
        let spawned = |mark: &str| {
            let line = line_of(mark);
            let theirs = dump.coroutines.iter();
            theirs.filter(|it| it.spawned_at.line() == line).count()
        };
        assert_eq!(
            (
                spawned("runtime::spawn(|| ())).collect(); // fresh"),
                spawned("// injected")
            ),
            (6, 1),
            "{dump}"
        );
        for coroutine in &dump.coroutines {
            assert_eq!(
                (coroutine.state, coroutine.worker),
                (State::New, None),
                "{dump}"
            );
            assert!(
                coroutine.wait.is_none() && coroutine.stack.is_none(),
                "{dump}"
            );
        }
        assert!(dump.to_string().contains(": not started, for "), "{dump}");
        assert!(dump.to_json().contains(r#""worker":null"#));
    });
}

/// Functions of the same shape, each with a call to wait in at the same place: told apart by where they return to.
macro_rules! waits_in {
    ($($name:ident = $number:literal),*) => {
        $(#[inline(never)]
        fn $name(event: &Event) {
            event.wait();
            std::hint::black_box($number);
        })*
    };
}

waits_in!(waits_here = 1, waits_there = 2, waits_elsewhere = 3);

#[test]
fn sc7_backtraces_of_a_crowd_are_told_apart() {
    type Waits = fn(&Event);
    let places: [(&str, Waits); 3] = [
        ("waits_here", waits_here),
        ("waits_there", waits_there),
        ("waits_elsewhere", waits_elsewhere),
    ];
    let is_in_a_generator = |n: usize| n.is_multiple_of(2);
    runtime::run(|| {
        let event = Arc::new(Event::new());
        for n in 0..60 {
            let (event, (_, waits)) = (event.clone(), places[n % 3]);
            let waits_somewhere = move || {
                if is_in_a_generator(n) {
                    let body = move |_: &runtime::generator::Yielder<(), ()>| waits(&event);
                    runtime::generator::r#gen(body).for_each(drop);
                } else {
                    waits(&event);
                }
            };
            drop(named(&n.to_string()).spawn_local(waits_somewhere).unwrap());
        }
        runtime::yield_now();
        let dump = observe::dump();
        for n in 0..60 {
            let backtrace = seen(&dump, &n.to_string()).backtrace.join("\n");
            for (place, (function, _)) in places.iter().enumerate() {
                let expected = place == n % 3;
                assert_eq!(backtrace.contains(function), expected, "{n}: {backtrace}");
            }
            let has_one = backtrace.contains("generator");
            assert_eq!(has_one, is_in_a_generator(n), "{n}: {backtrace}");
        }
        event.set();
    });
}
