//! `spawn_blocking`: what blocks runs on a bounded pool of threads, for coroutines and for plain threads.

mod strands_support;
mod support;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::Duration;

use runtime::coroutine::{self, Cancelled, spawn, spawn_local};
use runtime::future::block_on;
use runtime::time::{Elapsed, sleep, timeout};
use runtime::{Builder, Runtime, spawn_blocking, yield_now};
use strands_support::{Tally, let_the_others_run, on_one_worker_and_on_two, text};
use support::{child, os};

/// A runtime whose pool is small.
fn with_pool(threads: usize, queue: usize) -> Runtime {
    let builder = Builder::new()
        .blocking_threads(threads)
        .blocking_queue(queue);
    builder.build().unwrap()
}

/// A job that has begun and does not end before the sender goes.
fn busy() -> (runtime::blocking::JoinHandle<()>, mpsc::Sender<()>) {
    let (release, released) = mpsc::channel::<()>();
    let (begin, begun) = mpsc::channel();
    let job = spawn_blocking(move || {
        begin.send(()).unwrap();
        let _ = released.recv();
    });
    begun.recv().unwrap();
    (job, release)
}

#[test]
fn a_job_blocks_a_thread_of_its_own_and_the_worker_goes_on() {
    on_one_worker_and_on_two(|| {
        let (tell, told) = mpsc::channel();
        let job = spawn_blocking(move || (thread::current().id(), told.recv().unwrap()));
        spawn_local(move || tell.send(7).unwrap());
        let (there, value) = job.join().unwrap();
        assert_eq!(value, 7);
        assert_ne!(there, thread::current().id());
    });
}

#[test]
fn a_plain_thread_submits_joins_and_awaits_too() {
    assert_eq!(spawn_blocking(|| 7).join().unwrap(), 7);
    assert_eq!(block_on(spawn_blocking(|| 7)).unwrap(), 7);
    let (job, release) = busy();
    let outcome = timeout(Duration::from_millis(1), || job.join());
    assert!(matches!(outcome, Err(Elapsed)));
    drop(release);
    // Submitted by a coroutine, joined by a thread.
    let job = runtime::run(|| spawn_blocking(|| 7));
    assert!(
        matches!(job.join(), Ok(7) | Err(_)),
        "the run may end first"
    );
    let runtime = with_pool(1, 1);
    let job = runtime.run(|| spawn_blocking(|| 7));
    assert_eq!(job.join().unwrap(), 7);
}

#[test]
fn ex5_a_job_that_panics_is_an_error_for_its_joiner_and_the_pool_goes_on() {
    let runtime = with_pool(1, 9);
    runtime.run(|| {
        let job = spawn_blocking(|| panic!("on purpose"));
        assert_eq!(text(&*job.join().unwrap_err()), "on purpose");
        drop(spawn_blocking(|| panic!("and nobody joins")));
        struct PanicsInDrop;
        impl Drop for PanicsInDrop {
            fn drop(&mut self) {
                panic!("and this one is dropped by the thread");
            }
        }
        // Held until nobody waits for it, or its value would be dropped with the handle, here.
        let (let_go, held) = mpsc::channel();
        drop(spawn_blocking(move || {
            held.recv().unwrap();
            PanicsInDrop
        }));
        let_go.send(()).unwrap();
        assert_eq!(spawn_blocking(|| 7).join().unwrap(), 7);
    });
}

#[test]
fn ex5_no_more_threads_than_the_bound_run_jobs_and_all_jobs_run() {
    let runtime = with_pool(3, 1000);
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    runtime.run(|| {
        let jobs: Vec<_> = (0..300)
            .map(|n| {
                let (now, most) = (now.clone(), most.clone());
                spawn_blocking(move || {
                    most.fetch_max(now.fetch_add(1, Ordering::AcqRel) + 1, Ordering::AcqRel);
                    thread::yield_now();
                    now.fetch_sub(1, Ordering::AcqRel);
                    n
                })
            })
            .collect();
        let sum: usize = jobs.into_iter().map(|job| job.join().unwrap()).sum();
        assert_eq!(sum, (0..300).sum());
    });
    assert!((1..=3).contains(&most.load(Ordering::Acquire)));
    // And as many as the bound do run at a time.
    runtime.run(|| {
        let all = Arc::new(Barrier::new(3));
        let jobs = [(); 3].map(|()| {
            let all = all.clone();
            spawn_blocking(move || {
                all.wait();
            })
        });
        jobs.into_iter().for_each(|job| job.join().unwrap());
    });
}

#[test]
fn ex5_beyond_the_bound_of_the_queue_the_submitter_waits_for_room_in_order() {
    for queue in [0, 1, 2] {
        with_pool(1, queue).run(|| {
            let (job, release) = busy();
            let (tell, told) = mpsc::channel();
            let submitters: Vec<_> = (0..5)
                .map(|n| {
                    let tell = tell.clone();
                    spawn_local(move || spawn_blocking(move || tell.send(n).unwrap()))
                })
                .collect();
            let_the_others_run();
            let through = submitters.iter().filter(|one| one.is_finished()).count();
            assert_eq!(through, queue, "the others wait");
            drop(release);
            job.join().unwrap();
            for submitter in submitters {
                submitter.join().unwrap().join().unwrap();
            }
            assert_eq!(told.try_iter().collect::<Vec<_>>(), [0, 1, 2, 3, 4]);
        });
    }
}

#[test]
fn ex5_a_submitter_cancelled_while_it_waits_for_room_takes_its_job_back() {
    with_pool(1, 0).run(|| {
        let (job, release) = busy();
        let dropped = Tally::default();
        let captured = dropped.on_drop();
        let submitter = spawn_local(move || {
            drop(spawn_blocking(move || {
                let _captured = captured;
                unreachable!("withdrawn");
            }))
        });
        yield_now();
        let late = timeout(Duration::from_millis(1), || {
            spawn_blocking(|| unreachable!())
        });
        assert_eq!(late.map(drop), Err(Elapsed));
        submitter.cancel();
        assert!(submitter.join().unwrap_err().is::<Cancelled>());
        assert_eq!(dropped.get(), 1);
        drop(release);
        job.join().unwrap();
        assert_eq!(spawn_blocking(|| 7).join().unwrap(), 7);
    });
}

#[test]
fn a_cancelled_waiter_leaves_and_the_job_goes_on() {
    on_one_worker_and_on_two(|| {
        let (release, released) = mpsc::channel::<()>();
        let (ended, has_ended) = mpsc::channel();
        let waits = spawn_local(move || {
            let job = spawn_blocking(move || {
                let _ = released.recv();
                ended.send(()).unwrap();
            });
            job.join().unwrap();
        });
        yield_now();
        waits.cancel();
        assert!(waits.join().unwrap_err().is::<Cancelled>());
        drop(release);
        has_ended.recv().unwrap();
        let (job, release) = busy();
        let outcome = timeout(Duration::from_millis(1), || job.join());
        assert!(matches!(outcome, Err(Elapsed)));
        drop(release);
    });
}

#[test]
fn a_job_that_has_not_begun_may_be_withdrawn_and_one_that_has_may_not() {
    with_pool(1, 9).run(|| {
        let (job, release) = busy();
        let dropped = Tally::default();
        let captured = dropped.on_drop();
        let waits = spawn_blocking(move || drop(captured));
        waits.cancel();
        assert_eq!(dropped.get(), 1, "at once");
        assert!(waits.is_finished());
        assert!(waits.join().unwrap_err().is::<Cancelled>());
        job.cancel();
        assert!(!job.is_finished());
        drop(release);
        job.join().unwrap();
    });
}

#[test]
fn a_handle_is_a_future_in_tokio_and_is_told_of_a_panic() {
    let executor = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    executor.block_on(async {
        assert_eq!(spawn_blocking(|| 7).await.unwrap(), 7);
        let panics = spawn_blocking(|| panic!("on purpose")).await;
        assert_eq!(text(&*panics.unwrap_err()), "on purpose");
    });
}

#[test]
fn a_job_may_use_the_runtimes_own_calls_as_a_plain_thread() {
    on_one_worker_and_on_two(|| {
        let me = coroutine::current();
        let job = spawn_blocking(move || {
            sleep(Duration::from_millis(1));
            me.unpark();
            spawn_blocking(|| 7).join().unwrap()
        });
        coroutine::park();
        assert_eq!(job.join().unwrap(), 7);
    });
}

#[test]
fn ex5_at_the_end_what_has_not_begun_never_does_and_what_runs_is_waited_for() {
    let ended = Tally::default();
    let also = ended.clone();
    let runtime = with_pool(1, 9);
    let (running, waiting) = runtime.run(move || {
        let (begin, begun) = mpsc::channel();
        let running = spawn_blocking(move || {
            begin.send(()).unwrap();
            // Long enough for an end that does not wait to be over by then; one that waits passes however long it is.
            thread::sleep(Duration::from_millis(20));
            also.add();
        });
        begun.recv().unwrap();
        (running, spawn_blocking(|| unreachable!("it never begins")))
    });
    drop(runtime);
    assert_eq!(ended.get(), 1, "waited for");
    running.join().unwrap();
    assert!(waiting.join().unwrap_err().is::<Cancelled>());
}

#[test]
fn ex5_a_job_that_never_ends_is_reported_by_its_place_and_the_runtime_ends() {
    let end = child().run(|_| {
        let runtime = Builder::new()
            .grace(Duration::from_millis(30))
            .build()
            .unwrap();
        runtime.run(|| {
            let waits = spawn(|| {
                let (job, release) = busy();
                std::mem::forget(release);
                job.join()
            });
            (0..3).for_each(|_| yield_now());
            drop(waits);
        });
        drop(runtime);
        println!("ended");
    });
    end.returned()
        .says("a blocking call, submitted at tests/blocking_pool.rs:")
        .says("did not end within the grace period")
        .never_says("coroutine '");
    assert!(end.stdout.contains("ended"), "{end}");
}

#[test]
fn ex5_pr5_threads_end_with_their_runtime() {
    let end = child().run(|_| {
        let before = os::held();
        for _ in 0..5 {
            runtime::run(|| {
                let all = Arc::new(Barrier::new(8));
                let jobs = [(); 8].map(|()| {
                    let all = all.clone();
                    spawn_blocking(move || {
                        all.wait();
                    })
                });
                jobs.into_iter().for_each(|job| job.join().unwrap());
                assert!(os::threads() >= before.1 + 8, "they stay for the next job");
            });
            os::until(|| os::held() == before);
        }
    });
    end.returned();
}

#[test]
fn ex5_a_runtime_dropped_by_its_own_job_does_not_wait_for_that_one() {
    let runtime = Arc::new(with_pool(1, 9));
    let also = runtime.clone();
    let job = runtime.run(|| {
        spawn_blocking(move || {
            while Arc::strong_count(&also) > 1 {
                thread::yield_now();
            }
            drop(also);
        })
    });
    drop(runtime);
    job.join().unwrap();
}

#[test]
fn ex2_jobs_share_the_threads_that_can_be_had() {
    let end = child().run(|_| {
        let some = os::limit_threads(1);
        // A watchdog would be the one thread.
        let runtime = Builder::new().stall_after(None).build().unwrap();
        runtime.run(|| {
            let jobs: Vec<_> = (0..8).map(|n| spawn_blocking(move || n)).collect();
            for (n, job) in jobs.into_iter().enumerate() {
                match job.join() {
                    Ok(value) => assert!(some && value == n),
                    Err(refused) => assert!(!some && text(&*refused).contains("RLIMIT_NPROC")),
                }
            }
        });
    });
    end.returned();
}

#[test]
fn ex2_without_any_thread_a_job_is_refused_and_its_closure_dropped() {
    let end = child().run(|_| {
        os::limit_threads(0);
        runtime::run(|| {
            let dropped = Tally::default();
            let captured = dropped.on_drop();
            let refused = spawn_blocking(move || drop(captured)).join().unwrap_err();
            assert!(text(&*refused).contains("RLIMIT_NPROC"));
            assert_eq!(dropped.get(), 1);
            assert_eq!(spawn(|| 7).join().unwrap(), 7);
        });
    });
    end.returned();
}

#[test]
fn submitters_withdrawers_and_threads_cross_and_every_job_ends_once() {
    let runtime = Builder::new()
        .workers(2)
        .blocking_threads(2)
        .blocking_queue(3)
        .build()
        .unwrap();
    let (ran, dropped) = (Tally::default(), Tally::default());
    let (ran_too, dropped_too) = (ran.clone(), dropped.clone());
    let withdrawn: usize = runtime.run(move || {
        let submitters: Vec<_> = (0..8)
            .map(|worker| {
                let (ran, dropped) = (ran_too.clone(), dropped_too.clone());
                spawn(move || {
                    (0..200)
                        .filter(|n| {
                            let (ran, captured) = (ran.clone(), dropped.on_drop());
                            let job = spawn_blocking(move || {
                                let _captured = captured;
                                ran.add();
                            });
                            if (worker + n) % 3 == 0 {
                                job.cancel();
                            }
                            job.join().is_err()
                        })
                        .count()
                })
            })
            .collect();
        submitters.into_iter().map(|one| one.join().unwrap()).sum()
    });
    assert_eq!((ran.get() + withdrawn, dropped.get()), (1600, 1600));
}
