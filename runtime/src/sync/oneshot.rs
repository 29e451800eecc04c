//! One value, from one that sends it to one that waits for it.
//!
//! ```
//! use runtime::sync::oneshot;
//!
//! runtime::run(|| {
//!     let (answer, question) = oneshot::channel();
//!     runtime::spawn(move || answer.send(6 * 7));
//!     assert_eq!(question.recv(), Ok(42));
//! });
//! ```
#![forbid(unsafe_code)]

use std::fmt;
use std::time::{Duration, Instant};

use crate::lock::{Guard, Lock};
use crate::seam::clock;
use crate::seam::sync::Arc;
use crate::task::WaitReason;
use crate::wait::{self, WaitQueue};

/// The two ends, to be taken to where they are needed. Cost: one allocation.
pub fn channel<T>() -> (Sender<T>, Receiver<T>) {
    let shared = Arc::new(Lock::new(State {
        value: None,
        ends: 2,
        queue: WaitQueue::new(),
    }));
    (
        Sender {
            shared: shared.clone(),
        },
        Receiver { shared },
    )
}

struct State<T> {
    value: Option<T>,
    /// 1: the other one has gone.
    ends: u8,
    /// The receiver, while it waits.
    queue: WaitQueue<()>,
}

/// What the receiver is told: to look again.
const LOOK: u8 = 0;

/// The end that sends. Dropped, it tells the other one that no value will come.
pub struct Sender<T> {
    shared: Arc<Lock<State<T>>>,
}

/// The end that receives.
pub struct Receiver<T> {
    shared: Arc<Lock<State<T>>>,
}

/// No value will come: the sender was dropped without one, or the value was received already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecvError;

/// Why there is no value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TryRecvError {
    /// Not yet.
    Empty,
    /// None will come: see [`RecvError`].
    Disconnected,
}

/// Why there is no value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecvTimeoutError {
    /// The time was over.
    Timeout,
    /// None will come: see [`RecvError`].
    Disconnected,
}

impl<T> Sender<T> {
    /// Sends the value. Never waits.
    ///
    /// # Errors
    /// The value, if the receiver has gone. That it is there does not say that it will look.
    ///
    /// ```
    /// use runtime::sync::oneshot;
    ///
    /// let (sender, receiver) = oneshot::channel();
    /// drop(receiver);
    /// assert_eq!(sender.send("for nobody"), Err("for nobody"));
    /// ```
    pub fn send(self, value: T) -> Result<(), T> {
        let mut state = self.shared.lock();
        if state.ends < 2 {
            return Err(value);
        }
        state.value = Some(value);
        drop(state);
        Ok(()) // our drop wakes the receiver
    }

    /// The receiver has gone: nobody would get the value.
    pub fn is_closed(&self) -> bool {
        self.shared.lock().ends < 2
    }
}

impl<T> Receiver<T> {
    /// Waits for the value.
    ///
    /// # Errors
    /// [`RecvError`], if none will come.
    ///
    /// # Panics
    /// Unwinds if the coroutine is cancelled or a [`timeout`](crate::time::timeout) around it passes.
    #[track_caller]
    pub fn recv(self) -> Result<T, RecvError> {
        loop {
            match self.recv_until(None) {
                Ok(value) => return Ok(value),
                Err(RecvTimeoutError::Disconnected) => return Err(RecvError),
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
    }

    /// The value, if it has come. Never waits.
    ///
    /// # Errors
    /// [`TryRecvError`].
    pub fn try_recv(&mut self) -> Result<T, TryRecvError> {
        self.shared.lock().look()
    }

    /// Waits for the value, `duration` at most. One that comes when the time is just over is received.
    ///
    /// # Errors
    /// [`RecvTimeoutError`]; after a time-out the receiver can be used again.
    ///
    /// # Panics
    /// As [`recv`](Self::recv).
    ///
    /// ```
    /// use runtime::{sync::oneshot::{self, RecvTimeoutError}, time::Duration};
    ///
    /// let (sender, mut receiver) = oneshot::channel();
    /// let early = receiver.recv_timeout(Duration::from_millis(1));
    /// assert_eq!(early, Err(RecvTimeoutError::Timeout));
    /// sender.send('x').unwrap();
    /// assert_eq!(receiver.recv(), Ok('x'));
    /// ```
    #[track_caller]
    pub fn recv_timeout(&mut self, duration: Duration) -> Result<T, RecvTimeoutError> {
        self.recv_until(clock::after(duration))
    }

    /// As [`recv_timeout`](Self::recv_timeout), until `deadline` at most.
    ///
    /// # Errors
    /// As [`recv_timeout`](Self::recv_timeout).
    ///
    /// # Panics
    /// As [`recv`](Self::recv).
    #[track_caller]
    pub fn recv_deadline(&mut self, deadline: Instant) -> Result<T, RecvTimeoutError> {
        self.recv_until(Some(deadline))
    }

    #[track_caller]
    fn recv_until(&self, deadline: Option<Instant>) -> Result<T, RecvTimeoutError> {
        let mut state = self.shared.lock();
        let mut seen = state.look();
        if matches!(seen, Err(TryRecvError::Empty)) {
            // The value stays where it is until it is taken.
            let leave = |_: Guard<'_, State<T>>, _| ();
            wait::wait(
                state,
                |state| &mut state.queue,
                (),
                WaitReason::Oneshot.on(Arc::as_ptr(&self.shared)),
                deadline,
                leave,
            );
            seen = self.shared.lock().look();
        }
        seen.map_err(|error| match error {
            TryRecvError::Empty => RecvTimeoutError::Timeout,
            TryRecvError::Disconnected => RecvTimeoutError::Disconnected,
        })
    }
}

impl<T> State<T> {
    fn look(&mut self) -> Result<T, TryRecvError> {
        self.value.take().ok_or(if self.ends == 2 {
            TryRecvError::Empty
        } else {
            TryRecvError::Disconnected
        })
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.ends -= 1;
        let wakeup = state.queue.grant(LOOK, |()| ());
        drop(state);
        if let Some(wakeup) = wakeup {
            wakeup.wake();
        }
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.ends -= 1;
        let value = state.value.take();
        drop(state);
        drop(value); // the user's: not under the lock
    }
}

impl<T> fmt::Debug for Sender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sender")
            .field("is_closed", &self.is_closed())
            .finish_non_exhaustive()
    }
}

impl<T> fmt::Debug for Receiver<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receiver").finish_non_exhaustive()
    }
}

impl fmt::Display for RecvError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the sender has gone without sending a value")
    }
}

impl fmt::Display for TryRecvError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TryRecvError::Empty => f.write_str("no value has been sent yet"),
            TryRecvError::Disconnected => RecvError.fmt(f),
        }
    }
}

impl fmt::Display for RecvTimeoutError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RecvTimeoutError::Timeout => f.write_str("no value was sent in time"),
            RecvTimeoutError::Disconnected => RecvError.fmt(f),
        }
    }
}

impl std::error::Error for RecvError {}
impl std::error::Error for TryRecvError {}
impl std::error::Error for RecvTimeoutError {}
