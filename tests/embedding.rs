//! Embedding: a host drives one worker from a loop of its own, and neither misses anything nor spins.

mod net_support;
mod support;

use std::convert::Infallible;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use net_support::{pair, wait_readable};
use runtime::future::block_on;
use runtime::{Builder, Runtime, coroutine, spawn, time};
use support::panic_text;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

fn one_worker() -> Runtime {
    Builder::new().embedded(true).build().unwrap()
}

fn is_readable(runtime: &Runtime) -> bool {
    wait_readable(runtime, Some(Instant::now()))
}

/// A host that knows of nothing but the descriptor and the deadline, until `done`.
fn drive_until(runtime: &Runtime, done: impl Fn() -> bool) {
    while !done() {
        wait_readable(runtime, runtime.next_deadline());
        runtime.run_ready();
    }
}

#[test]
fn a_bare_poll_loop_runs_timers_and_sockets() {
    let runtime = one_worker();
    let conversation = runtime.spawn(|| {
        let (mut client, mut server) = pair();
        let echo = spawn(move || -> io::Result<()> {
            let mut buffer = [0; 4];
            for _ in 0..100 {
                server.read_exact(&mut buffer)?;
                server.write_all(&buffer)?;
            }
            Ok(())
        });
        for n in 0..100_u32 {
            let mut back = [0; 4];
            client.write_all(&n.to_le_bytes()).unwrap();
            client.read_exact(&mut back).unwrap();
            assert_eq!(back, n.to_le_bytes());
        }
        echo.join().unwrap().unwrap();
    });
    let naps = runtime.spawn(|| {
        let start = Instant::now();
        (0..5).for_each(|_| time::sleep(Duration::from_millis(1)));
        start.elapsed()
    });
    drive_until(&runtime, || {
        conversation.is_finished() && naps.is_finished()
    });
    conversation.join().unwrap();
    assert!(naps.join().unwrap() >= Duration::from_millis(5));
}

#[test]
fn what_other_threads_send_makes_the_descriptor_readable_and_none_is_slept_over() {
    let runtime = one_worker();
    let (tell, told) = mpsc::channel();
    let parks = runtime.spawn(move || {
        tell.send(coroutine::current()).unwrap();
        (0..500).for_each(|_| coroutine::park());
    });
    runtime.run_ready();
    let parked = told.recv().unwrap();
    thread::scope(|scope| {
        scope.spawn(|| {
            for n in 0..500 {
                // Returns only if the host has woken for it.
                assert_eq!(runtime.spawn(move || n).join().unwrap(), n);
                parked.unpark();
            }
        });
        // No timers: the deadline is now, or never. Not until the thread has ended too: nobody rings for that.
        drive_until(&runtime, || parks.is_finished());
    });
    parks.join().unwrap();
}

#[test]
fn after_run_ready_the_descriptor_is_silent_until_there_is_something_to_do() {
    let runtime = one_worker();
    assert_eq!(runtime.next_deadline(), None);
    // Without a descriptor registered, and with one.
    for registered in [false, true] {
        if registered {
            runtime.spawn(|| {
                let (client, _server) = pair();
                let _ = (&client).read(&mut [0]);
            });
            drive_until(&runtime, || is_silent(&runtime));
        }
        let answer = runtime.spawn(|| 7);
        assert!(is_readable(&runtime), "the bell has rung");
        assert!(runtime.next_deadline().unwrap() <= Instant::now());
        assert_eq!(runtime.run_ready(), 1);
        assert!(is_silent(&runtime));
        assert_eq!(answer.join().unwrap(), 7);
    }
}

fn is_silent(runtime: &Runtime) -> bool {
    runtime.next_deadline().is_none() && !is_readable(runtime)
}

#[test]
fn the_next_deadline_is_that_of_the_first_timer() {
    let runtime = one_worker();
    let (long, short) = (Duration::from_secs(3600), Duration::from_secs(60));
    for sleep in [long, short] {
        runtime.spawn(move || time::sleep(sleep));
    }
    let before = Instant::now();
    runtime.run_ready();
    let deadline = runtime.next_deadline().unwrap();
    assert!((before + short..before + long).contains(&deadline));
    assert!(!is_readable(&runtime));
    assert_eq!(runtime.run_ready(), 0);
}

#[test]
fn a_host_gets_its_turn_however_busy_the_coroutines_are() {
    let runtime = one_worker();
    let hogs = runtime.spawn(|| {
        loop {
            runtime::yield_now();
        }
    });
    for _ in 0..3 {
        assert!((1..=1024).contains(&runtime.run_ready()));
        assert!(runtime.next_deadline().unwrap() <= Instant::now());
    }
    hogs.cancel();
    runtime.run_ready();
    assert!(hogs.join().is_err());
    assert_eq!(runtime.next_deadline(), None);
}

#[test]
fn only_a_host_may_drive_and_only_one_worker() {
    let two = Builder::new().workers(2).build().unwrap();
    assert!(panic_text(|| two.run_ready()).contains("one worker"));
    assert!(panic_text(|| two.next_deadline()).contains("one worker"));
    assert!(panic_text(|| two.as_fd()).contains("one worker"));
    let one = one_worker();
    one.run(|| {
        assert!(panic_text(|| one.run_ready()).contains("coroutine of its own"));
        assert!(panic_text(|| one.next_deadline()).contains("coroutine of its own"));
    });
    assert_eq!(one.run_ready(), 0);
}

#[test]
fn several_workers_are_an_error_at_build_for_who_says_that_a_host_will_drive() {
    for workers in [2, 3] {
        // Whichever comes first.
        for builder in [
            Builder::new().embedded(true).workers(workers),
            Builder::new().workers(workers).embedded(true),
        ] {
            let refused = builder.build().unwrap_err();
            assert_eq!(refused.kind(), io::ErrorKind::InvalidInput);
            assert!(refused.to_string().contains("a host drives one"));
        }
    }
    let taken_back = Builder::new().workers(2).embedded(true).embedded(false);
    assert_eq!(taken_back.build().unwrap().run(|| 1), 1);
    // It takes nothing away.
    assert_eq!(one_worker().run(|| 2), 2);
    let unsaid = Builder::new().build().unwrap();
    let answer = unsaid.spawn(|| 3);
    assert_eq!(unsaid.run_ready(), 1);
    assert_eq!(answer.join().unwrap(), 3);
}

#[test]
fn a_runtime_is_driven_from_inside_tokio() {
    let executor = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    executor.block_on(async {
        let runtime = one_worker();
        let (send, mut receive) = tokio::sync::mpsc::channel(4);
        // More than a task of tokio's may receive in one turn of its own.
        let adds = runtime.spawn(move || {
            let (mut client, mut server) = pair();
            time::sleep(Duration::from_millis(1));
            let mut sum = 0_u64;
            while let Some(n) = block_on(receive.recv()) {
                sum += n;
            }
            client.write_all(&sum.to_le_bytes()).unwrap();
            let mut back = [0; 8];
            server.read_exact(&mut back).unwrap();
            u64::from_le_bytes(back)
        });
        tokio::spawn(async move {
            for n in 0..10_000_u64 {
                send.send(n).await.unwrap();
            }
        });
        tokio::select! {
            sum = adds => assert_eq!(sum.unwrap(), (0..10_000).sum()),
            never = drive(&runtime) => match never {},
        }
    });
}

async fn drive(runtime: &Runtime) -> Infallible {
    // SAFETY: tokio asks for a descriptor that stays open and the same: this one is borrowed from the runtime.
    let descriptor =
        unsafe { AsyncFd::register_with_interest(runtime.as_fd(), Interest::READABLE).unwrap() };
    loop {
        runtime.run_ready();
        let deadline = async {
            match runtime.next_deadline() {
                Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            readable = descriptor.readable() => readable.unwrap().clear_ready(),
            () = deadline => {}
        }
    }
}
