//! Coroutines and futures: a coroutine waits for anybody's future, anybody's executor for a coroutine.

#![forbid(unsafe_code)]

mod strands_support;

use std::future::{poll_fn, ready};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, mpsc};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::Duration;

use runtime::coroutine::{self, Cancelled, JoinHandle, spawn, spawn_local};
use runtime::future::block_on;
use runtime::generator::{Generator, GeneratorState};
use runtime::time::{Elapsed, sleep, timeout};
use runtime::yield_now;
use strands_support::*;

/// A future that is pending until somebody opens it.
#[derive(Clone, Default)]
struct Gate(Arc<Mutex<GateState>>);

#[derive(Default)]
struct GateState {
    open: bool,
    polls: usize,
    waker: Option<Waker>,
}

impl Gate {
    fn open(&self) {
        let waker = {
            let mut state = self.0.lock().unwrap();
            state.open = true;
            state.waker.take()
        };
        waker.into_iter().for_each(Waker::wake);
    }

    fn polls(&self) -> usize {
        self.0.lock().unwrap().polls
    }
}

impl Future for Gate {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let mut state = self.0.lock().unwrap();
        state.polls += 1;
        if state.open {
            return Poll::Ready(());
        }
        state.waker = Some(context.waker().clone());
        Poll::Pending
    }
}

/// A waker that counts how often it is called.
#[derive(Default)]
struct Calls(AtomicUsize);

impl Wake for Calls {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

fn poll_with<T>(handle: &mut JoinHandle<T>, waker: Arc<Calls>) -> Poll<coroutine::Result<T>> {
    Pin::new(handle).poll(&mut Context::from_waker(&Waker::from(waker)))
}

// ---- A coroutine waits for a future ------------------------------------------------------------------

#[test]
fn a_future_that_is_ready_is_polled_once_and_nobody_parks() {
    on_one_worker_and_on_two(|| {
        let neighbour = spawn_local(|| ());
        assert_eq!(block_on(ready(7)), 7);
        assert!(!neighbour.is_finished(), "no switch");
    });
}

#[test]
fn the_caller_parks_until_the_waker_is_called_and_its_neighbours_run() {
    on_one_worker_and_on_two(|| {
        let gate = Gate::default();
        let also = gate.clone();
        let opens = spawn_local(move || also.open());
        block_on(gate.clone());
        opens.join().unwrap();
        assert_eq!(gate.polls(), 2);
    });
}

#[test]
fn a_waker_called_from_a_thread_or_during_the_poll_is_not_lost() {
    on_one_worker_and_on_two(|| {
        for _ in 0..200 {
            let gate = Gate::default();
            let also = gate.clone();
            let opens = thread::spawn(move || also.open());
            block_on(gate);
            opens.join().unwrap();
        }
        let mut left = 3;
        block_on(poll_fn(|context| {
            context.waker().wake_by_ref();
            left -= 1;
            if left == 0 {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        }));
    });
}

#[test]
fn a_poll_that_waits_itself_does_not_swallow_the_wake_up() {
    on_one_worker_and_on_two(|| {
        let mut polls = 0;
        block_on(poll_fn(|context| {
            polls += 1;
            if polls == 2 {
                return Poll::Ready(());
            }
            context.waker().wake_by_ref();
            // Each of these waits finds the token of that wake-up, and uses it up.
            sleep(Duration::from_millis(1));
            block_on(async { spawn(|| ()).await.unwrap() });
            Poll::Pending
        }));
        assert_eq!(polls, 2);
    });
}

#[test]
fn an_unpark_while_it_waits_polls_nothing_and_stays_for_the_next_park() {
    on_one_worker_and_on_two(|| {
        let gate = Gate::default();
        let also = gate.clone();
        let (tell, told) = mpsc::channel();
        let waits = spawn_local(move || {
            tell.send(coroutine::current()).unwrap();
            block_on(also);
            coroutine::park();
        });
        yield_now();
        told.recv().unwrap().unpark();
        let_the_others_run();
        assert_eq!(gate.polls(), 1);
        gate.open();
        waits.join().unwrap();
    });
}

#[test]
fn a_future_that_wakes_itself_lets_others_run_before_it_is_polled_again() {
    on_one_worker_and_on_two(|| {
        let ran = Tally::default();
        let also = ran.clone();
        spawn_local(move || also.add());
        block_on(poll_fn(|context| {
            context.waker().wake_by_ref();
            if ran.get() == 1 {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        }));
    });
    let always = poll_fn(|context| {
        context.waker().wake_by_ref();
        Poll::<()>::Pending
    });
    let outcome = timeout(Duration::from_millis(1), || block_on(always));
    assert_eq!(outcome, Err(Elapsed), "on a plain thread too");
}

#[test]
fn a_cancellation_and_a_timeout_drop_the_future() {
    on_one_worker_and_on_two(|| {
        let dropped = Tally::default();
        let local = dropped.on_drop();
        let waits = spawn(move || {
            block_on(async {
                let _local = local;
                std::future::pending::<()>().await;
            })
        });
        sleep(Duration::from_millis(1));
        waits.cancel();
        assert!(waits.join().unwrap_err().is::<Cancelled>());
        let local = dropped.on_drop();
        let pending = async {
            let _local = local;
            std::future::pending::<()>().await;
        };
        let outcome = timeout(Duration::from_millis(1), || block_on(pending));
        assert_eq!((outcome, dropped.get()), (Err(Elapsed), 2));
    });
}

#[test]
fn on_a_plain_thread_it_blocks_the_thread() {
    let gate = Gate::default();
    let also = gate.clone();
    let opens = thread::spawn(move || also.open());
    block_on(gate);
    opens.join().unwrap();
    let never = std::future::pending::<()>();
    let outcome = timeout(Duration::from_millis(1), || block_on(never));
    assert_eq!(outcome, Err(Elapsed));
    let runtime = runtime_of(2);
    assert_eq!(block_on(runtime.spawn(|| 7)).unwrap(), 7);
}

#[test]
fn a_generator_suspended_by_a_poll_wakes_whoever_resumes_it_then() {
    on_one_worker_and_on_two(|| {
        let gate = Gate::default();
        let also = gate.clone();
        let mut waits = Generator::new(move |y, ()| {
            let (mut gate, mut first) = (also, true);
            block_on(poll_fn(|context| {
                let polled = Pin::new(&mut gate).poll(context);
                if std::mem::take(&mut first) {
                    y.suspend(());
                }
                polled
            }));
        });
        // Polled by this coroutine, waited for by another.
        assert_eq!(waits.resume(()), GeneratorState::Yielded(()));
        let other = spawn_local(move || waits.resume(()));
        yield_now();
        gate.open();
        assert_eq!(other.join().unwrap(), GeneratorState::Complete(()));
    });
}

// ---- A future that is a coroutine ----------------------------------------------------------------------

#[test]
fn a_join_handle_is_ready_with_what_join_returns() {
    on_one_worker_and_on_two(|| {
        assert_eq!(block_on(spawn(|| 7)).unwrap(), 7);
        let panics = block_on(spawn(|| panic!("on purpose"))).unwrap_err();
        assert_eq!(text(&*panics), "on purpose");
        let parks = spawn(coroutine::park);
        parks.cancel();
        assert!(block_on(parks).unwrap_err().is::<Cancelled>());
        let finished = spawn(|| "done");
        pass_until(|| finished.is_finished());
        assert_eq!(block_on(finished).unwrap(), "done");
    });
}

#[test]
fn a_handle_that_was_polled_wakes_the_last_waker_only_and_may_still_be_joined() {
    on_one_worker_and_on_two(|| {
        let (first, last) = (Arc::new(Calls::default()), Arc::new(Calls::default()));
        let mut parks = spawn_local(coroutine::park);
        assert!(poll_with(&mut parks, first.clone()).is_pending());
        assert!(poll_with(&mut parks, last.clone()).is_pending());
        assert_eq!(Arc::strong_count(&first), 1, "the first is let go");
        parks.cancel();
        pass_until(|| parks.is_finished());
        let called = |calls: &Calls| calls.0.load(Ordering::Relaxed);
        assert_eq!((called(&first), called(&last)), (0, 1));
        assert!(parks.join().is_err());

        let mut parks = spawn_local(coroutine::park);
        assert!(poll_with(&mut parks, first.clone()).is_pending());
        parks.cancel();
        assert!(parks.join().is_err(), "at home");
        assert_eq!(Arc::strong_count(&first), 1);
    });
}

#[test]
fn a_handle_that_was_polled_may_be_joined_from_a_plain_thread() {
    let runtime = runtime_of(2);
    for _ in 0..500 {
        let calls = Arc::new(Calls::default());
        let mut handle = runtime.spawn(|| 7);
        match poll_with(&mut handle, calls) {
            Poll::Ready(value) => assert_eq!(value.unwrap(), 7),
            Poll::Pending => assert_eq!(handle.join().unwrap(), 7),
        }
    }
}

#[test]
fn a_handle_dropped_after_a_poll_lets_go_of_the_waker_and_detaches_the_coroutine() {
    on_one_worker_and_on_two(|| {
        let calls = Arc::new(Calls::default());
        let (ended, has_ended) = mpsc::channel();
        let me = Arc::new(Mutex::new(None));
        let also = me.clone();
        let mut parks = spawn_local(move || {
            *also.lock().unwrap() = Some(coroutine::current());
            coroutine::park();
            ended.send(()).unwrap();
        });
        yield_now();
        assert!(poll_with(&mut parks, calls.clone()).is_pending());
        drop(parks);
        assert_eq!(Arc::strong_count(&calls), 1);
        me.lock().unwrap().take().unwrap().unpark();
        pass_until(|| has_ended.try_recv().is_ok());
    });
}

#[test]
fn a_handle_polled_again_after_it_was_ready_panics() {
    on_one_worker_and_on_two(|| {
        let mut handle = spawn(|| 7);
        assert_eq!(block_on(&mut handle).unwrap(), 7);
        assert!(catch_unwind(AssertUnwindSafe(|| block_on(&mut handle))).is_err());
    });
}

#[test]
fn a_waker_that_panics_harms_nobody() {
    struct Panics;
    impl Wake for Panics {
        fn wake(self: Arc<Self>) {
            panic!("on purpose");
        }
    }
    on_one_worker_and_on_two(|| {
        let mut parks = spawn_local(coroutine::park);
        let waker = Waker::from(Arc::new(Panics));
        assert!(
            Pin::new(&mut parks)
                .poll(&mut Context::from_waker(&waker))
                .is_pending()
        );
        parks.cancel();
        pass_until(|| parks.is_finished());
        assert_eq!(spawn(|| 7).join().unwrap(), 7);
    });
}

#[test]
fn ends_and_polls_of_many_handles_cross_without_a_lost_wake_up() {
    let runtime = runtime_of(2);
    for _ in 0..20 {
        let handles: Vec<_> = (0..100).map(|n| runtime.spawn(move || n)).collect();
        let sum = async {
            let mut sum = 0;
            for handle in handles {
                sum += handle.await.unwrap();
            }
            sum
        };
        assert_eq!(block_on(sum), 4950);
    }
}

// ---- Other people's code ---------------------------------------------------------------------------------

#[test]
fn a_tokio_program_awaits_a_coroutine() {
    let coroutines = runtime_of(2);
    let executor = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    executor.block_on(async {
        let handle = coroutines.spawn(|| {
            sleep(Duration::from_millis(1));
            7
        });
        assert_eq!(handle.await.unwrap(), 7);
        let never = coroutines.spawn(coroutine::park);
        tokio::select! {
            _ = never => panic!("it parks for ever"),
            () = tokio::time::sleep(Duration::from_millis(1)) => {}
        }
    });
}

#[test]
fn a_coroutine_awaits_a_tokio_oneshot_and_a_tokio_timer() {
    on_one_worker_and_on_two(|| {
        let executor = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_time()
            .build()
            .unwrap();
        let (tell, told) = tokio::sync::oneshot::channel();
        executor.spawn(async move {
            tokio::time::sleep(Duration::from_millis(1)).await;
            tell.send(7).unwrap();
        });
        assert_eq!(block_on(told), Ok(7));
        let _inside = executor.enter();
        block_on(tokio::time::sleep(Duration::from_millis(1)));
        drop(_inside);
        executor.shutdown_background();
    });
}

#[test]
fn combinators_of_futures_join_and_select_coroutines() {
    on_one_worker_and_on_two(|| {
        let squares = (1..=10).map(|n| spawn(move || n * n));
        let squares = block_on(futures::future::join_all(squares));
        assert_eq!(squares.into_iter().map(Result::unwrap).sum::<i32>(), 385);
        let never = spawn(coroutine::park);
        match block_on(futures::future::select(never, spawn(|| 7))) {
            futures::future::Either::Left(_) => panic!("it parks for ever"),
            futures::future::Either::Right((value, never)) => {
                assert_eq!(value.unwrap(), 7);
                never.cancel();
                assert!(never.join().is_err());
            }
        }
    });
}

#[test]
fn coroutines_and_a_thread_talk_through_an_async_channel() {
    on_one_worker_and_on_two(|| {
        let (send, receive) = async_channel::bounded(1);
        let also = send.clone();
        let coroutine = spawn(move || (0..100).try_for_each(|n| block_on(also.send(n))));
        let thread = thread::spawn(move || (100..200).try_for_each(|n| block_on(send.send(n))));
        let mut sum = 0;
        while let Ok(n) = block_on(receive.recv()) {
            sum += n;
        }
        assert_eq!(sum, (0..200).sum());
        coroutine.join().unwrap().unwrap();
        thread.join().unwrap().unwrap();
    });
}
