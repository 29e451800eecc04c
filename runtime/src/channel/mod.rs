//! Channels: values that go from one coroutine or thread to another. The API is that of crossbeam-channel 0.5.
//!
//! | to have ...                                | make                                   |
//! |--------------------------------------------|----------------------------------------|
//! | room for any number of values              | [`unbounded`]                          |
//! | room for so many; senders wait for more    | [`bounded`]                            |
//! | sender and receiver meet                   | [`bounded`]`(0)`                       |
//! | a message at some time, or again and again | [`after`], [`at`], [`tick`], [`never()`] |
//! | the first of several                       | [`select!`](crate::select), [`Select`] |
//!
//! ```
//! use runtime::channel::bounded;
//!
//! runtime::run(|| {
//!     let (numbers, input) = bounded(4);
//!     let (output, squares) = bounded(4);
//!     runtime::spawn(move || (1..=3).try_for_each(|n| numbers.send(n)));
//!     runtime::spawn(move || input.iter().try_for_each(|n: u32| output.send(n * n)));
//!     assert_eq!(squares.iter().collect::<Vec<_>>(), [1, 4, 9]);
//! });
//! ```
//!
//! Everything works between coroutines of one worker, of several workers and of several runtimes, and plain OS threads,
//! through the same objects; senders and receivers can be cloned, sent and shared. A coroutine that has to wait lets
//! others run; a plain thread blocks. A program written for crossbeam-channel needs another path, and nothing else.
//!
//! - **First in, first out**: of values, and of those who wait. What is sent goes straight to the one that has waited
//!   longest.
//! - **Nothing is lost.** Who sends and is told of an error gets the value back. One that a receiver cannot take any more,
//!   because it is cancelled, goes to the next, or back into the channel, as the oldest; two that are given back at the
//!   same moment, by receivers of different workers, may change places. A receive that is complete is not traded for a timeout.
//! - With the last sender the channel ends, when it is empty; with the last receiver at once, and what is in it is
//!   dropped.
//! - Waiting allocates nothing. What is used on one worker alone takes no atomic read-modify-write to send and to
//!   receive, after some 30 operations.

mod chan;
mod error;
mod iter;
mod macros;
#[cfg(all(test, any(loom, shuttle)))]
mod model;
mod operation;
mod receiver;
mod recv;
mod select;
mod send;
mod sender;
mod slot;
mod state;
mod timer;
mod waiting;

use crate::seam::sync::Arc;
use chan::Channel;

pub use crate::{select, select_biased};
pub use error::{
    ReadyTimeoutError, RecvError, RecvTimeoutError, SelectTimeoutError, SendError,
    SendTimeoutError, TryReadyError, TryRecvError, TrySelectError, TrySendError,
};
pub use iter::{IntoIter, Iter, TryIter};
pub use receiver::Receiver;
pub use select::{Select, SelectedOperation};
pub use sender::Sender;
pub use timer::{after, at, never, tick};

#[doc(hidden)]
pub use macros::internal;

/// A channel with room for `capacity` values; who wants to send more waits. With zero, sender and receiver meet.
///
/// The room is made when it is needed: a large capacity costs nothing by itself.
///
/// ```
/// use runtime::channel::{TrySendError, bounded};
///
/// let (sender, receiver) = bounded(1);
/// sender.send("first").unwrap();
/// assert_eq!(sender.try_send("second"), Err(TrySendError::Full("second")));
/// assert_eq!(receiver.recv(), Ok("first"));
/// ```
///
/// A rendezvous:
///
/// ```
/// use runtime::channel::bounded;
///
/// runtime::run(|| {
///     let (sender, receiver) = bounded(0);
///     runtime::spawn(move || sender.send(7)); // waits for the receiver
///     assert_eq!(receiver.recv(), Ok(7));
/// });
/// ```
pub fn bounded<T>(capacity: usize) -> (Sender<T>, Receiver<T>) {
    ends(Some(capacity))
}

/// A channel with room for as many values as memory holds. Sending never waits.
///
/// ```
/// use runtime::channel::unbounded;
///
/// let (sender, receiver) = unbounded();
/// (0..1000).for_each(|n| sender.send(n).unwrap());
/// assert_eq!(receiver.len(), 1000);
/// ```
pub fn unbounded<T>() -> (Sender<T>, Receiver<T>) {
    ends(None)
}

fn ends<T>(capacity: Option<usize>) -> (Sender<T>, Receiver<T>) {
    let channel = Arc::new(Channel::new(capacity));
    (Sender::of(channel.clone()), Receiver::of(channel))
}
