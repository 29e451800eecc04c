//! Futures: where a coroutine meets code that was written for `async`.
//!
//! ```text
//!   block_on(future)                    whoever completes it, on any thread
//!     poll ──► Pending                    wake ──► woken = true ──► unpark
//!     park until woken  ◄────────────────────────────────────────────┘
//!     poll ──► Ready(output)
//! ```
//!
//! The other direction, `async` code that waits for a coroutine, is
//! [`JoinHandle`](crate::coroutine::JoinHandle), which is a future.
//!
//! **A wake-up of ours is told from everybody else's by a flag**, not by the park token alone: a `poll` is anyone's
//! code, and may itself wait for a lock or a socket of this crate. Such a wait would consume the token, and with it a
//! wake-up that was meant for us.
#![forbid(unsafe_code)]

use std::pin::pin;
use std::task::{Context, Poll, Wake, Waker};

use crate::coroutine::yield_now;
use crate::home;
use crate::park::{self, WaitReason};
use crate::seam::sync::atomic::{AtomicBool, Ordering};
use crate::seam::sync::{Arc, thread};

/// Waits for `future` and returns its output: the coroutine parks while it is pending, on a plain thread the thread
/// blocks.
///
/// Any future will do that is not tied to a runtime of its own: those of `futures`, `async-channel`, the channels of
/// tokio, a [`JoinHandle`](crate::coroutine::JoinHandle). Tokio's sockets and timers want tokio's reactor: enter it
/// around the call (`tokio::runtime::Handle::enter`).
///
/// Cost: one allocation, for the waker; a poll and two stack switches for each wake-up.
///
/// # Panics
/// With whatever the future panics with. Unwinds, and drops the future, if the coroutine is
/// [cancelled](crate::coroutine::JoinHandle::cancel) or a [`timeout`](crate::time::timeout) around it passes while it
/// waits.
///
/// ```
/// use runtime::future::block_on;
///
/// runtime::run(|| {
///     let six = runtime::spawn(|| 6);
///     let answer = block_on(async { six.await.unwrap() * 7 });
///     assert_eq!(answer, 42);
/// });
/// assert_eq!(block_on(async { 7 }), 7); // a plain thread
/// ```
#[track_caller]
pub fn block_on<F: IntoFuture>(future: F) -> F::Output {
    let mut future = pin!(future.into_future());
    loop {
        let call = Call::of_caller();
        let waker = Waker::from(Arc::clone(&call));
        let mut context = Context::from_waker(&waker);
        loop {
            if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
                return output;
            }
            // A generator around us may have been suspended by the poll, and resumed by another coroutine: the future
            // must be told whom to wake now.
            if !call.wakes_caller() {
                break;
            }
            if call.take() {
                give_way();
                continue;
            }
            while !call.take() {
                park::park(WaitReason::Future.alone());
            }
        }
    }
}

/// A future that wakes itself while it is polled asks to be polled again, but after others have had their turn: that is
/// how `async` code yields.
fn give_way() {
    match home::current() {
        Some(_) => yield_now(),
        None => {
            park::check();
            thread::yield_now();
        }
    }
}

/// What a waker wakes.
struct Call {
    // Any thread.
    woken: AtomicBool,
    caller: Waker,
}

impl Call {
    fn of_caller() -> Arc<Self> {
        Arc::new(Call {
            woken: AtomicBool::new(false),
            caller: park::unparker().into_waker(),
        })
    }

    fn wakes_caller(&self) -> bool {
        park::unparker().into_waker().will_wake(&self.caller)
    }

    /// Takes a wake-up, if one has come.
    fn take(&self) -> bool {
        // Acquire: pairs with the Release in `wake_by_ref`, so what the waker has done is the poll's to see.
        self.woken.swap(false, Ordering::Acquire)
    }
}

impl Wake for Call {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // Release: pairs with the Acquire in `take`. Who finds it set need not call: whoever set it does.
        if !self.woken.swap(true, Ordering::Release) {
            self.caller.wake_by_ref();
        }
    }
}
