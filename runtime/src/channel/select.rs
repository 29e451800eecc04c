//! Selecting among a number of operations that is known only when the program runs.

use std::fmt;
use std::ptr;
use std::time::{Duration, Instant};

use super::error::{
    ReadyTimeoutError, RecvError, SelectTimeoutError, SendError, TryReadyError, TrySelectError,
};
use super::operation::{Chosen, Operation};
use super::waiting::{Aim, ENTRIES_MAX, Entry, Patience, first_of};
use super::{Receiver, Sender};
use crate::coroutine::JoinHandle;
use crate::seam::clock;
use crate::seam::sync::thread;
use crate::sync::Event;

/// A choice among operations: sends, receives, events, ends of coroutines. The first that is ready is selected.
///
/// If several are, one of them at random; with [`new_biased`](Self::new_biased), the one that was added first. A
/// channel operation is ready also when it would fail because the other side is gone.
///
/// [`select!`](crate::select) does the same for a fixed list, and completes what was selected.
///
/// ```
/// use runtime::channel::{Select, unbounded};
///
/// runtime::run(|| {
///     let channels: Vec<_> = (0..3).map(|_| unbounded()).collect();
///     let sender = channels[1].0.clone();
///     runtime::spawn(move || sender.send("hello"));
///
///     let mut select = Select::new();
///     for (_, receiver) in &channels {
///         select.recv(receiver);
///     }
///     let selected = select.select(); // waits
///     assert_eq!(selected.index(), 1);
///     assert_eq!(selected.recv(&channels[1].1), Ok("hello"));
/// });
/// ```
pub struct Select<'a> {
    entries: Vec<Entry<'a>>,
    next_index: usize,
    is_biased: bool,
}

// SAFETY: it refers to channels, events and handles, on which it does what takes no `&T`: it counts, and it moves values
// from one place in the channel to another. It drops none, and to get at one takes the sender or receiver itself, which is
// `Sync` only if the values are `Send`. Nodes and waiters, which are a thread's, are in it only during a call.
unsafe impl Send for Select<'_> {}
// SAFETY: as above; a shared one can only be cloned.
unsafe impl Sync for Select<'_> {}

impl<'a> Select<'a> {
    /// A choice among nothing yet.
    pub fn new() -> Self {
        Select {
            entries: Vec::new(),
            next_index: 0,
            is_biased: false,
        }
    }

    /// The same, which among several that are ready selects the one that was added first.
    pub fn new_biased() -> Self {
        Select {
            is_biased: true,
            ..Select::new()
        }
    }

    /// Adds to send by `sender`. Returns its number: 0, 1, 2, ...
    ///
    /// # Panics
    /// If there are 65,535 operations already.
    pub fn send<T>(&mut self, sender: &'a Sender<T>) -> usize {
        self.add(sender)
    }

    /// Adds to receive by `receiver`. Returns its number.
    ///
    /// # Panics
    /// As [`send`](Self::send).
    #[track_caller]
    pub fn recv<T>(&mut self, receiver: &'a Receiver<T>) -> usize {
        self.add(receiver)
    }

    /// Adds to wait until `event` is set. Returns its number. Once selected, nothing is left to be done.
    ///
    /// # Panics
    /// As [`send`](Self::send).
    ///
    /// ```
    /// use runtime::{channel::{Select, unbounded}, sync::Event};
    ///
    /// let (_sender, receiver) = unbounded::<u8>();
    /// let stop = Event::new();
    /// stop.set();
    /// let mut select = Select::new();
    /// select.recv(&receiver);
    /// let stopped = select.event(&stop);
    /// assert_eq!(select.select().index(), stopped);
    /// ```
    pub fn event(&mut self, event: &'a Event) -> usize {
        self.add(event)
    }

    /// Adds to wait until a coroutine has finished: [`JoinHandle::join`] does not wait then. Returns its number.
    ///
    /// One select at a time may wait for a coroutine.
    ///
    /// # Panics
    /// As [`send`](Self::send). The wait does if another select waits for the same coroutine.
    ///
    /// ```
    /// use runtime::channel::{Select, after};
    /// use runtime::time::Duration;
    ///
    /// runtime::run(|| {
    ///     let child = runtime::spawn(|| 6 * 7);
    ///     let too_late = after(Duration::from_secs(9));
    ///     let mut select = Select::new();
    ///     let finished = select.join(&child);
    ///     select.recv(&too_late);
    ///     assert_eq!(select.select().index(), finished);
    ///     assert_eq!(child.join().unwrap(), 42);
    /// });
    /// ```
    pub fn join<T>(&mut self, handle: &'a JoinHandle<T>) -> usize {
        self.add(handle)
    }

    fn add(&mut self, operation: &'a (dyn Operation + 'a)) -> usize {
        let place = self.entries.len();
        assert!(
            place < ENTRIES_MAX,
            "a select has 65,535 operations at the most"
        );
        let index = self.next_index;
        self.entries.push(Entry::new(operation, index, place));
        self.next_index += 1;
        index
    }

    /// Removes the operation with this number. The others keep theirs, and it is not used again.
    ///
    /// # Panics
    /// If there is none with it.
    pub fn remove(&mut self, index: usize) {
        assert!(
            index < self.next_index,
            "index out of bounds; {index} >= {}",
            self.next_index
        );
        let place = self.entries.iter().position(|entry| entry.index == index);
        // In its order, which a biased select goes by.
        self.entries
            .remove(place.expect("no operation with this index"));
        for (place, entry) in self.entries.iter_mut().enumerate() {
            entry.set_place(place);
        }
    }

    /// Selects an operation that is ready. Never waits.
    ///
    /// # Errors
    /// [`TrySelectError`] if none is.
    pub fn try_select(&mut self) -> Result<SelectedOperation<'a>, TrySelectError> {
        self.wait(Patience::None).ok_or(TrySelectError)
    }

    /// Waits until an operation is ready, and selects it.
    ///
    /// # Panics
    /// If there is no operation. Unwinds if the coroutine is cancelled or a [`timeout`](crate::time::timeout) around it
    /// passes while it waits; nothing was sent or received then.
    #[track_caller]
    pub fn select(&mut self) -> SelectedOperation<'a> {
        self.assert_something();
        self.wait(Patience::Forever)
            .expect("a wait without end ends with something")
    }

    /// As [`select`](Self::select), waiting for `timeout` at most.
    ///
    /// # Errors
    /// [`SelectTimeoutError`] if none was ready in time.
    ///
    /// # Panics
    /// As [`select`](Self::select), but for no operations.
    #[track_caller]
    pub fn select_timeout(
        &mut self,
        timeout: Duration,
    ) -> Result<SelectedOperation<'a>, SelectTimeoutError> {
        self.wait(patience(timeout)).ok_or(SelectTimeoutError)
    }

    /// As [`select`](Self::select), waiting until `deadline` at most.
    ///
    /// # Errors
    /// [`SelectTimeoutError`] if none was ready in time.
    ///
    /// # Panics
    /// As [`select`](Self::select), but for no operations.
    #[track_caller]
    pub fn select_deadline(
        &mut self,
        deadline: Instant,
    ) -> Result<SelectedOperation<'a>, SelectTimeoutError> {
        self.wait(Patience::Until(deadline))
            .ok_or(SelectTimeoutError)
    }

    /// The number of an operation that is ready. Somebody else may be faster to make use of that.
    ///
    /// # Errors
    /// [`TryReadyError`] if none is.
    pub fn try_ready(&mut self) -> Result<usize, TryReadyError> {
        self.watch(Patience::None).ok_or(TryReadyError)
    }

    /// Waits until an operation is ready, and returns its number. Somebody else may be faster to make use of that.
    ///
    /// # Panics
    /// As [`select`](Self::select).
    #[track_caller]
    pub fn ready(&mut self) -> usize {
        self.assert_something();
        self.watch(Patience::Forever)
            .expect("a wait without end ends with something")
    }

    /// As [`ready`](Self::ready), waiting for `timeout` at most.
    ///
    /// # Errors
    /// [`ReadyTimeoutError`] if none was ready in time.
    ///
    /// # Panics
    /// As [`select_timeout`](Self::select_timeout).
    #[track_caller]
    pub fn ready_timeout(&mut self, timeout: Duration) -> Result<usize, ReadyTimeoutError> {
        self.watch(patience(timeout)).ok_or(ReadyTimeoutError)
    }

    /// As [`ready`](Self::ready), waiting until `deadline` at most.
    ///
    /// # Errors
    /// [`ReadyTimeoutError`] if none was ready in time.
    ///
    /// # Panics
    /// As [`select_timeout`](Self::select_timeout).
    #[track_caller]
    pub fn ready_deadline(&mut self, deadline: Instant) -> Result<usize, ReadyTimeoutError> {
        self.watch(Patience::Until(deadline))
            .ok_or(ReadyTimeoutError)
    }

    fn assert_something(&self) {
        assert!(
            !self.entries.is_empty(),
            "no operations have been added to `Select`: it would wait for ever"
        );
    }

    #[track_caller]
    fn wait(&mut self, patience: Patience) -> Option<SelectedOperation<'a>> {
        SelectedOperation::first_of(&mut self.entries, self.is_biased, patience)
    }

    #[track_caller]
    fn watch(&mut self, patience: Patience) -> Option<usize> {
        let (place, _) = first_of(&mut self.entries, Aim::Watch, self.is_biased, patience)?;
        Some(self.entries[place].index)
    }
}

pub(super) fn patience(timeout: Duration) -> Patience {
    clock::after(timeout).map_or(Patience::Forever, Patience::Until)
}

impl Clone for Select<'_> {
    fn clone(&self) -> Self {
        let entries = self.entries.iter().enumerate();
        Select {
            entries: entries
                .map(|(place, entry)| Entry::new(entry.operation, entry.index, place))
                .collect(),
            ..*self
        }
    }
}

impl Default for Select<'_> {
    fn default() -> Self {
        Select::new()
    }
}

impl fmt::Debug for Select<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad("Select { .. }")
    }
}

/// What was selected, to be completed now: by [`send`](Self::send) or [`recv`](Self::recv), if it is that.
///
/// The value, or the room for one, is kept for it meanwhile.
///
/// # Panics
/// When a send or receive is dropped without having been completed; it is given up then.
///
/// ```
/// use runtime::channel::{Select, bounded};
///
/// let (sender, receiver) = bounded(1);
/// let mut select = Select::new();
/// select.send(&sender);
/// select.select().send(&sender, 7).unwrap();
/// assert_eq!(receiver.recv(), Ok(7));
/// ```
#[must_use = "what was selected is to be completed"]
pub struct SelectedOperation<'a> {
    operation: &'a (dyn Operation + 'a),
    index: usize,
    chosen: Chosen,
}

impl<'a> SelectedOperation<'a> {
    #[track_caller]
    pub(super) fn first_of(
        entries: &mut [Entry<'a>],
        is_biased: bool,
        patience: Patience,
    ) -> Option<Self> {
        let (place, chosen) = first_of(entries, Aim::Choose, is_biased, patience)?;
        let entry = &entries[place];
        Some(SelectedOperation {
            operation: entry.operation,
            index: entry.index,
            chosen,
        })
    }
}

impl SelectedOperation<'_> {
    /// Its number.
    #[inline]
    pub fn index(&self) -> usize {
        self.index
    }

    /// Sends `value`. Does not wait.
    ///
    /// # Errors
    /// [`SendError`] with the value, if all receivers are gone.
    ///
    /// # Panics
    /// If `sender` is not the one that was given to the select.
    #[inline]
    pub fn send<T>(self, sender: &Sender<T>, value: T) -> Result<(), SendError<T>> {
        assert!(
            ptr::addr_eq(self.operation, sender),
            "passed a sender that wasn't selected"
        );
        let chosen = self.complete();
        if chosen == Chosen::Ended {
            return Err(SendError(value));
        }
        sender.channel.fulfil(value).map_err(SendError)
    }

    /// Receives. Does not wait, but for a select on the other side that has not yet said what it sends.
    ///
    /// # Errors
    /// [`RecvError`], if all senders are gone.
    ///
    /// # Panics
    /// If `receiver` is not the one that was given to the select.
    #[inline]
    #[track_caller]
    pub fn recv<T>(self, receiver: &Receiver<T>) -> Result<T, RecvError> {
        assert!(
            ptr::addr_eq(self.operation, receiver),
            "passed a receiver that wasn't selected"
        );
        let chosen = self.complete();
        if chosen == Chosen::Ended {
            return Err(RecvError);
        }
        match receiver.channel.collect() {
            Some(value) => Ok(value),
            None => receiver.recv(),
        }
    }

    #[inline]
    pub(super) fn complete(self) -> Chosen {
        let chosen = self.chosen;
        std::mem::forget(self);
        chosen
    }
}

impl Drop for SelectedOperation<'_> {
    #[cold]
    fn drop(&mut self) {
        if !self.operation.is_to_be_completed() {
            return;
        }
        if self.chosen == Chosen::Kept {
            self.operation.give_back();
        }
        if !thread::panicking() {
            panic!("dropped `SelectedOperation` without completing the operation");
        }
    }
}

impl fmt::Debug for SelectedOperation<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad("SelectedOperation { .. }")
    }
}
