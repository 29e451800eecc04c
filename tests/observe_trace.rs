//! Looking inside by numbers, by a timeline and by a debugger.

mod support;

use std::backtrace::Backtrace;
use std::collections::{HashMap, HashSet};
use std::io::{Read, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, mpsc};

use runtime::observe::trace::{self, Trace};
use runtime::time::{Duration, sleep};
use runtime::{
    Builder, Metrics, channel, coroutine, observe, spawn, spawn_blocking, spawn_local, yield_now,
};
use serde_json::Value;
use support::child;

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
            let never_starts = spawn_local(|| ()); // no other worker takes it
            waits.cancel();
            never_starts.cancel();
            waits.join().unwrap_err();
            never_starts.join().unwrap_err();
            drop(spawn(coroutine::park)); // is cancelled at the end
        });
        assert_eq!((metrics.spawned, metrics.finished), (6, 6), "{metrics:?}");
        assert_eq!((metrics.panicked, metrics.cancelled), (1, 3), "{metrics:?}");
        assert_eq!((metrics.live, metrics.stacks_in_use), (0, 0), "{metrics:?}");
        assert!(metrics.stacks_max > 0, "{metrics:?}");
    }
}

#[test]
fn every_turn_and_every_wake_up_is_counted() {
    const N: u64 = 1_000;
    let metrics = counted(1, || (0..N).for_each(|_| yield_now()));
    assert_eq!(metrics.switches, N + 1);
    assert_eq!((metrics.wakes_local, metrics.wakes_remote), (0, 0));

    let metrics = counted(1, || {
        let before = observe::metrics();
        spawn(|| ()).join().unwrap(); // on a new stack: goes to the worker and comes back
        spawn(|| ()).join().unwrap(); // on the caller's own turn
        let children = [spawn(|| ()), spawn(|| ())];
        yield_now(); // the second begins where the first ends
        children.into_iter().for_each(|child| child.join().unwrap());
        let since = observe::metrics() - before;
        assert_eq!(
            (since.spawned, since.finished, since.wakes_local),
            (4, 4, 1)
        );
    });
    assert_eq!(metrics.switches, 1 + 2 + 1 + 3);

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

// ---- Traces ------------------------------------------------------------------------------------------

/// There is one trace at a time.
static TRACING: Mutex<()> = Mutex::new(());

/// The trace of a runtime of this name, with so many workers, that runs `f`.
fn traced(name: &str, workers: usize, f: impl FnOnce()) -> Trace {
    let _alone = TRACING.lock().unwrap_or_else(|e| e.into_inner());
    trace::start();
    let runtime = Builder::new().workers(workers).name(name).build().unwrap();
    runtime.run(f);
    drop(runtime);
    trace::stop()
}

/// A bit of everything that is recorded.
fn busy() {
    let (numbers, received) = channel::bounded(1);
    let producer = named("producer", move || {
        (0..20).for_each(|n| numbers.send(n).unwrap());
    });
    let consumer = named("consumer", move || received.iter().sum::<u32>());
    let sleeper = named("sleeper", || sleep(Duration::from_millis(1)));
    let cancelled = named("cancelled", coroutine::park);
    yield_now();
    cancelled.cancel();
    spawn_blocking(|| ()).join().unwrap();
    let (mut reader, mut writer) = runtime::io::pipe().unwrap();
    let reads = named("reader", move || {
        reader.read_exact(&mut [0]).unwrap();
    });
    yield_now();
    sleeper.join().unwrap();
    writer.write_all(b"x").unwrap();
    reads.join().unwrap();
    assert_eq!(consumer.join().unwrap(), 190);
    producer.join().unwrap();
    cancelled.join().unwrap_err();
}

fn named<T: Send + 'static>(
    name: &str,
    f: impl FnOnce() -> T + Send + 'static,
) -> coroutine::JoinHandle<T> {
    coroutine::Builder::new().name(name).spawn(f).unwrap()
}

/// The objects of a trace's JSON, each a map.
fn objects(trace: &Trace) -> Vec<Value> {
    let mut json = Vec::new();
    trace.write_json(&mut json).unwrap();
    let mut json: Value = serde_json::from_slice(&json).unwrap();
    match json["traceEvents"].take() {
        Value::Array(objects) => objects,
        other => panic!("{other}"),
    }
}

#[test]
fn a_traces_json_parses_is_monotone_for_each_worker_and_every_arrow_has_both_ends() {
    for workers in [1, 2] {
        let trace = traced("json", workers, busy);
        let objects = objects(&trace);
        let tracks: HashMap<u64, &str> = objects
            .iter()
            .filter(|object| object["name"] == "thread_name")
            .map(|object| {
                (
                    object["tid"].as_u64().unwrap(),
                    object["args"]["name"].as_str().unwrap(),
                )
            })
            .collect();
        assert!(tracks.values().any(|name| *name == "json-0"), "{tracks:?}");

        let mut latest = HashMap::new();
        let mut arrows: HashMap<u64, Vec<(&str, f64)>> = HashMap::new();
        let mut slices: HashMap<u64, Vec<(f64, f64)>> = HashMap::new();
        let place = |object: &Value| (object["tid"].to_string(), object["ts"].to_string());
        let of_phase = |phase| objects.iter().filter(move |object| object["ph"] == phase);
        let instants: HashSet<_> = of_phase("i").map(place).collect();
        for object in objects.iter().filter(|object| object["ph"] != "M") {
            let (track, ts) = (
                object["tid"].as_u64().unwrap(),
                object["ts"].as_f64().unwrap(),
            );
            assert!(tracks.contains_key(&track), "{object}");
            let before = latest.insert(track, ts);
            assert!(before.is_none_or(|before| before <= ts), "{object}");
            match object["ph"].as_str().unwrap() {
                "X" => {
                    let end = ts + object["dur"].as_f64().unwrap();
                    slices.entry(track).or_default().push((ts, end));
                }
                phase @ ("s" | "f") => {
                    let id = object["id"].as_u64().unwrap();
                    arrows.entry(id).or_default().push((phase, ts));
                    // The viewers drop an end that lies in no slice. Microseconds are not exact in binary.
                    let near = |&(from, to): &(f64, f64)| from - 1e-4 <= ts && ts <= to + 1e-4;
                    assert!(slices[&track].iter().any(near), "{object}");
                    // An instant that has happened there would be taken for what the arrow leads to.
                    assert!(
                        phase == "s" || !instants.contains(&place(object)),
                        "{object}"
                    );
                }
                phase => assert_eq!(phase, "i"),
            }
        }
        assert!(arrows.len() > 10, "{}", arrows.len());
        for (id, ends) in arrows {
            let [("s", from), ("f", to)] = ends[..] else {
                panic!("arrow {id}: {ends:?}")
            };
            assert!(from <= to, "arrow {id}: {ends:?}");
        }
    }
}

#[test]
fn a_trace_tells_who_ran_why_it_stopped_and_who_woke_it() {
    for workers in [1, 2] {
        let trace = traced("who", workers, busy);
        let turns: Vec<_> = trace
            .turns()
            .filter(|turn| turn.worker.starts_with("who-"))
            .collect();
        let stops = |name: &str| -> Vec<&str> {
            let mut turns: Vec<_> = turns
                .iter()
                .filter(|turn| turn.name == Some(name))
                .collect();
            turns.sort_by_key(|turn| turn.from);
            turns.iter().map(|turn| turn.stop).collect()
        };
        assert_eq!(stops("sleeper"), ["sleep", "ended"]);
        if workers == 1 {
            // On another worker it may find the byte there when it comes to read.
            assert_eq!(stops("reader"), ["readable", "ended"]);
        }
        assert!(stops("consumer").contains(&"receive") || stops("producer").contains(&"send"));
        assert_eq!(stops("cancelled").last(), Some(&"cancelled"));
        assert_eq!(stops("who").last(), Some(&"ended"), "the first coroutine");
        // On one worker nobody runs beside another, but for a child on top of its parent.
        for pair in turns
            .windows(2)
            .filter(|pair| pair[0].worker == pair[1].worker)
        {
            let (a, b) = (&pair[0], &pair[1]);
            assert!(b.from >= a.to || b.to <= a.to, "{a:?} {b:?}");
        }
        let text = objects(&trace)
            .iter()
            .map(Value::to_string)
            .collect::<String>();
        let by_descriptor = ["wakes reader: descriptor", "\"descriptors\""];
        for expected in by_descriptor.into_iter().filter(|_| workers == 1).chain([
            "wakes sleeper: timer",
            "cancels cancelled",
            "blocking call",
            "\"timers\"",
            "tests/observe_trace.rs:",
        ]) {
            assert!(text.contains(expected), "{expected}: {text}");
        }
    }
}

#[test]
fn where_a_coroutine_was_spawned_is_told_whether_it_has_one_turn_or_several() {
    let mut lines = Vec::new();
    let trace = traced("spawned", 2, || {
        runtime::spawn(|| ()).join().unwrap();
        runtime::spawn(yield_now).join().unwrap();
        named("named", || ()).join().unwrap();
        lines.extend([line!() - 3, line!() - 2]);
    });
    let is_turn = |object: &&Value| object["cat"] == "coroutine" && object["name"] != "spawned";
    let objects = objects(&trace);
    let turns: Vec<_> = objects.iter().filter(is_turn).collect();
    assert!(turns.len() >= 4, "{turns:?}");
    let sites: Vec<_> = turns
        .iter()
        .filter_map(|turn| turn["args"]["spawned_at"].as_str())
        .collect();
    assert_eq!(sites.len(), turns.len(), "{turns:?}");
    for line in lines {
        let here = format!("{}:{line}:", file!());
        assert!(sites.iter().any(|site| site.contains(&here)), "{sites:?}");
    }
}

#[test]
fn a_wake_up_from_one_worker_to_another_is_an_arrow_between_their_tracks() {
    let trace = traced("across", 2, || {
        // Each blocks its thread until the other is there: so they are on two workers.
        let both = Arc::new(std::sync::Barrier::new(2));
        let (send, receive) = channel::bounded::<()>(0);
        let theirs = both.clone();
        let receives = spawn(move || {
            theirs.wait();
            (receive.recv().unwrap(), receive.recv().unwrap()).0
        });
        let sends = spawn(move || {
            both.wait();
            send.send(()).unwrap();
            sleep(Duration::from_millis(1));
            send.send(()).unwrap();
        });
        yield_now();
        receives.join().unwrap();
        sends.join().unwrap();
    });
    let objects = objects(&trace);
    let track_of = |phase: &str| -> HashMap<u64, u64> {
        let ends = objects
            .iter()
            .filter(|object| object["ph"] == phase && object["name"] == "wake");
        ends.map(|end| (end["id"].as_u64().unwrap(), end["tid"].as_u64().unwrap()))
            .collect()
    };
    let (from, to) = (track_of("s"), track_of("f"));
    assert!(from.iter().any(|(id, track)| to[id] != *track));
    let mut wake_ups = trace.wake_ups();
    let by_the_other = wake_ups.find(|wake_up| {
        let mut turns = trace.turns();
        let led_to = turns.find(|turn| turn.id == wake_up.id && turn.from == wake_up.turn);
        !wake_up.is_spawn && wake_up.by.is_some() && led_to.unwrap().worker != wake_up.thread
    });
    assert!(by_the_other.is_some());
}

#[test]
fn every_turn_after_a_wait_has_the_wake_up_that_led_to_it() {
    let trace = traced("led", 1, busy);
    let turns: Vec<_> = trace
        .turns()
        .filter(|turn| turn.worker == "led-0")
        .collect();
    let mut checked = 0;
    for (index, turn) in turns.iter().enumerate() {
        let mut before = turns[..index].iter().filter(|other| other.id == turn.id);
        let led_here = trace
            .wake_ups()
            .filter(|wake_up| wake_up.id == turn.id && wake_up.turn == turn.from);
        let is_spawn: Vec<bool> = led_here.map(|wake_up| wake_up.is_spawn).collect();
        match before.next_back() {
            Some(before) if before.stop == "yielded" => assert!(is_spawn.is_empty(), "{turn:?}"),
            Some(_) => assert_eq!(is_spawn, [false], "{turn:?}: {trace}"),
            None if turn.name == Some("led") => {} // the first coroutine, which nobody spawned
            None => assert_eq!(is_spawn, [true], "{turn:?}"),
        }
        checked += 1;
    }
    assert!(checked > 20, "{checked}");

    let calls: Vec<_> = trace.blocking_calls().collect();
    assert!(calls.iter().any(|call| call.thread == "runtime-blocking"));
    assert!(calls.iter().all(|call| call.from <= call.to));
}

#[test]
fn a_timeline_has_a_line_for_each_worker_and_coroutine() {
    let trace = traced("line", 1, busy);
    let text = trace.timeline(40).to_string();
    for name in [
        "line-0",
        "line ",
        "producer",
        "consumer",
        "sleeper",
        "cancelled",
    ] {
        let line = text.lines().find(|line| line.starts_with(name));
        assert!(
            line.is_some_and(|line| line.contains('#')),
            "{name}:\n{text}"
        );
    }
    let sleeper = text
        .lines()
        .find(|line| line.starts_with("sleeper"))
        .unwrap();
    assert!(sleeper.contains('.'), "{text}");
}

#[test]
fn a_timeline_shows_that_one_could_run_while_another_kept_its_worker() {
    const KEPT: Duration = Duration::from_millis(2);
    const COLUMNS: usize = 1000;
    let trace = traced("kept", 2, || {
        // Each blocks its thread until the other is there: so they are on two workers.
        let both = Arc::new(std::sync::Barrier::new(2));
        let (send, receive) = channel::bounded(1);
        let (release, released) = mpsc::channel();
        let theirs = both.clone();
        let keeps = spawn(move || {
            let builder = coroutine::Builder::new().name("receiver");
            let receiver = builder.spawn_local(move || receive.recv()).unwrap();
            yield_now(); // it has come to its wait
            theirs.wait();
            released.recv().unwrap();
            receiver.join().unwrap().unwrap();
        });
        both.wait();
        send.send(()).unwrap();
        std::thread::sleep(KEPT); // what is traced
        release.send(()).unwrap();
        keeps.join().unwrap();
    });
    let text = trace.timeline(COLUMNS).to_string();
    let receiver = text.lines().find(|line| line.starts_with("receiver"));
    let ready = receiver.unwrap().matches('-').count();
    let share = KEPT.as_secs_f64() / trace.duration().as_secs_f64();
    assert!(ready as f64 >= share * COLUMNS as f64 - 3.0, "{text}");
}

#[test]
fn a_trace_that_nobody_started_is_empty_and_a_second_start_forgets_the_first() {
    let _alone = TRACING.lock().unwrap_or_else(|e| e.into_inner());
    assert!(trace::stop().is_empty());
    trace::start();
    runtime::run(|| named("before", || ()).join().unwrap());
    trace::start();
    runtime::run(|| named("after", || ()).join().unwrap());
    let trace = trace::stop();
    let names: Vec<_> = trace
        .turns()
        .filter_map(|turn| turn.name.map(str::to_owned))
        .collect();
    assert!(
        names.contains(&"after".to_owned()) && !names.contains(&"before".to_owned()),
        "{names:?}"
    );
    assert!(trace::stop().is_empty());
}

#[test]
fn a_flight_recorder_shows_what_has_led_to_a_panic() {
    for (workers, events) in [(1, 16), (2, 16), (1, 0)] {
        let end = child().given(format!("{workers} {events}")).run(|given| {
            let (workers, events) = given.split_once(' ').unwrap();
            let builder = Builder::new().workers(workers.parse().unwrap());
            let builder = builder.flight_recorder(events.parse().unwrap());
            let outcome = builder.build().unwrap().run(|| {
                let panics = named("panics", || {
                    sleep(Duration::from_millis(1));
                    panic!("of it")
                });
                panics.join()
            });
            assert!(outcome.is_err());
        });
        let end = end.returned();
        if events == 0 {
            end.never_says("the last events");
            continue;
        }
        end.says("the last events of worker ");
        let (_, events) = end.stderr.split_once("of it\n").unwrap();
        let order = [
            "'panics' (id ",
            " us, and waits: sleep\n",
            "the worker slept for ",
            "was woken by a timer\n",
        ];
        let mut left = events;
        for part in order {
            let found = left.split_once(part);
            (_, left) = found.unwrap_or_else(|| panic!("no {part:?} where it belongs: {end}"));
        }
    }
}

// ---- Debuggers ---------------------------------------------------------------------------------------

#[test]
fn a_backtrace_of_a_coroutine_reaches_the_worker_and_who_runs_it() {
    #[inline(never)]
    fn captures() -> String {
        std::hint::black_box(Backtrace::force_capture().to_string())
    }
    let [beside, below] = runtime::run(|| {
        let beside = spawn(captures);
        yield_now(); // resumed by the worker
        let below = spawn(captures); // by the join
        [beside.join().unwrap(), below.join().unwrap()]
    });
    let this_test = "a_backtrace_of_a_coroutine_reaches_the_worker_and_who_runs_it";
    for backtrace in [&beside, &below] {
        for function in ["captures", "coroutine_main", "round", this_test] {
            assert!(backtrace.contains(function), "{function}: {backtrace}");
        }
    }
    assert!(below.contains("join"), "{below}");
}

/// Says to this program that a debugger looks at it.
const UNDER_GDB: &str = "SUITE_IS_UNDER_GDB";

/// What the debugger is to find: coroutines that wait for this and that, until the process aborts.
fn waits_to_be_looked_at() -> ! {
    #[inline(never)]
    fn waits_in_vain(forever: &channel::Receiver<()>) {
        forever.recv().unwrap();
        std::hint::black_box(());
    }
    let local = |name: &str, f: Box<dyn FnOnce()>| {
        let builder = coroutine::Builder::new().name(name);
        drop(builder.spawn_local(f).unwrap());
    };
    Builder::new().workers(2).build().unwrap().run(|| {
        let (_send, receive) = channel::bounded::<()>(0);
        local("receiver", Box::new(move || waits_in_vain(&receive)));
        local("sleeper", Box::new(|| sleep(Duration::from_secs(1000))));
        local("parked", Box::new(coroutine::park));
        yield_now(); // they are on this worker, so all have come to their waits
        std::process::abort()
    })
}

/// What gdb tells of this program's coroutines after this command, or none without gdb.
fn gdb(program: &Path, arguments: &[&str], first: &str) -> Option<String> {
    let commands = [
        first,
        "info coroutines",
        "coroutine receiver bt",
        "coroutine 999999 bt",
    ];
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/runtime/gdb/runtime-gdb.py");
    let mut gdb = Command::new("gdb");
    gdb.args(["-q", "-nx", "-batch", "-ex", "set debuginfod enabled off"]);
    gdb.args(["-ex", "set confirm off", "-ex", "set width 0"]);
    gdb.arg("-x").arg(script);
    for command in commands {
        gdb.args(["-ex", command]);
    }
    gdb.env(UNDER_GDB, "1")
        .arg("-args")
        .arg(program)
        .args(arguments);
    match gdb.stdin(Stdio::null()).output() {
        Ok(output) => {
            let text = [output.stdout, output.stderr].concat();
            Some(String::from_utf8_lossy(&text).into_owned())
        }
        Err(_) => {
            println!("skipped: gdb is not installed");
            None
        }
    }
}

/// What is to be found in what gdb shows of [`waits_to_be_looked_at`], given how gdb is asked.
fn is_found(said: &str) {
    for (name, state) in [
        ("receiver", "parked: receive "),
        ("sleeper", "parked: sleep "),
        ("parked", "parked: unpark "),
        ("main", "runs on thread "),
    ] {
        let mut lines = said.lines();
        let line = lines.find(|line| line.contains(&format!("  {name} ")));
        let line = line.unwrap_or_else(|| panic!("{name}: {said}"));
        assert!(
            line.contains(state) && line.contains("observe_trace.rs:"),
            "{line}"
        );
    }
    assert!(said.contains("4 coroutines"), "{said}");
    let (_, frames) = said.split_once("'receiver', parked: receive\n").unwrap();
    let (frames, _) = frames.split_once("no coroutine has this number").unwrap();
    for function in ["park", "recv", "waits_in_vain", "coroutine_main"] {
        assert!(frames.contains(function), "{function}: {said}");
    }
    assert!(!frames.contains("Worker"), "{said}");
}

#[test]
fn gdb_lists_coroutines_and_their_frames_in_a_live_process_and_in_a_core_file() {
    if std::env::var_os(UNDER_GDB).is_some() {
        waits_to_be_looked_at();
    }
    let program = std::env::current_exe().unwrap();
    let this_test = "gdb_lists_coroutines_and_their_frames_in_a_live_process_and_in_a_core_file";
    let arguments = ["--exact", this_test, "--nocapture"];
    let Some(said) = gdb(&program, &arguments, "run") else {
        return;
    };
    is_found(&said);

    let place = std::env::temp_dir().join(format!("observe-trace-{}", std::process::id()));
    std::fs::create_dir(&place).unwrap();
    let mut dies = Command::new(&program);
    dies.args(arguments).env(UNDER_GDB, "1").current_dir(&place);
    let status = dies
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .unwrap();
    assert!(!status.success());
    let core = std::fs::read_dir(&place).unwrap().next();
    match core.map(|entry| format!("core-file {}", entry.unwrap().path().display())) {
        Some(core) => is_found(&gdb(&program, &[], &core).unwrap()),
        None => {
            println!("skipped: this system leaves no core file in the directory of the process")
        }
    }
    std::fs::remove_dir_all(place).unwrap();
}

#[test]
fn perfettos_own_trace_processor_accepts_the_json() {
    let trace = traced("perfetto", 2, busy);
    let place = std::env::temp_dir().join(format!("observe-perfetto-{}", std::process::id()));
    std::fs::create_dir(&place).unwrap();
    let [json, query] = ["trace.json", "query.sql"].map(|name| place.join(name));
    trace
        .write_json(std::fs::File::create(&json).unwrap())
        .unwrap();
    let sql = "select 'slices', count(*) from slice; select 'flows', count(*) from flow;
               select 'astray', count(*) from flow join slice on slice.id = slice_in where category <> 'coroutine';
               select 'faults', count(*) from stats where severity in ('error', 'data_loss') and value > 0;";
    std::fs::write(&query, sql).unwrap();
    let mut processor = Command::new("trace_processor_shell");
    match processor.arg("-q").arg(&query).arg(&json).output() {
        Ok(output) => {
            let text = String::from_utf8_lossy(&output.stdout);
            let count = |what: &str| -> u64 {
                let (_, rest) = text.split_once(&format!("\"{what}\",")).unwrap();
                rest.lines().next().unwrap().parse().unwrap()
            };
            assert!(count("slices") > 10 && count("flows") > 10, "{text}");
            assert_eq!((count("faults"), count("astray")), (0, 0), "{text}");
        }
        Err(_) => println!(
            "skipped: no trace_processor_shell on the PATH; https://get.perfetto.dev/trace_processor, saved there as that, is one"
        ),
    }
    std::fs::remove_dir_all(place).unwrap();
}
