//! Values that are made once, by the first that needs them, while the others wait.
//!
//! ```text
//!   empty ──get_or_init──► made by A ──done──► there, for all; those who wait are let go
//!                            │  ▲
//!           fails, panics,   └──┘  the next that waits makes it; one that only waits for it goes on waiting
//!           is cancelled
//! ```
#![forbid(unsafe_code)]

use std::convert::Infallible;
use std::fmt;
use std::time::{Duration, Instant};

use super::fault::{self, Fault};
use super::strand::Strand;
use crate::lock::{Guard, Lock};
use crate::seam::clock;
use crate::seam::sync::real::OnceLock;
use crate::task::{Holder, WaitReason};
use crate::wait::{self, WaitQueue};

/// A place for a value that is made when it is first needed, once.
///
/// As [`std::sync::OnceLock`], but whoever waits for the one that makes it lets others run. If making it fails, panics
/// or is cancelled, the place stays empty, and the next that waits, or comes, tries in its turn.
///
/// Cost of a look at a value that is there: one load.
///
/// ```
/// use runtime::{sync::OnceCell, time::{self, Duration}};
///
/// static CONFIG: OnceCell<String> = OnceCell::new();
///
/// fn config() -> &'static str {
///     CONFIG.get_or_init(|| {
///         time::sleep(Duration::from_millis(1)); // reads it from somewhere; those who come now wait
///         "verbose".to_owned()
///     })
/// }
///
/// runtime::run(|| {
///     let other = runtime::spawn(config);
///     assert_eq!(config(), "verbose");
///     assert_eq!(other.join().unwrap(), "verbose");
/// });
/// ```
pub struct OnceCell<T> {
    value: OnceLock<T>,
    turns: Turns,
}

/// Whose turn it is to make the value, and who waits.
struct Turns {
    /// Who makes it. Written under the lock.
    maker: Holder,
    state: Lock<State>,
}

struct State {
    /// Those who would make it themselves, by who they are.
    makers: WaitQueue<Strand>,
    /// Those who would not.
    watchers: WaitQueue<()>,
}

/// What those who wait are told: it is there.
const DONE: u8 = 0;
/// Or that it is their turn to make it.
const TURN: u8 = 1;

/// How one that wants the value comes to it.
enum Way {
    There,
    Make,
}

impl<T> OnceCell<T> {
    const_fn! {
        /// An empty place.
        pub const fn new() -> Self {
            OnceCell {
                value: OnceLock::new(),
                turns: Turns {
                    maker: Holder::nobody(),
                    state: Lock::new(State {
                        makers: WaitQueue::new(),
                        watchers: WaitQueue::new(),
                    }),
                },
            }
        }
    }

    /// The value, if it is there. Never waits.
    #[inline]
    pub fn get(&self) -> Option<&T> {
        self.value.get()
    }

    /// The value, without a look at who else may want it: nobody.
    pub fn get_mut(&mut self) -> Option<&mut T> {
        self.value.get_mut()
    }

    /// The value; if there is none, `make` makes it, or somebody else does meanwhile, and is waited for.
    ///
    /// # Panics
    /// With what `make` panics with; the place stays empty then. If `make` itself asks this place for its value: it
    /// would wait for itself.
    ///
    /// Unwinds if the coroutine is cancelled or a [`timeout`](crate::time::timeout) around it passes, while it waits.
    #[inline]
    #[track_caller]
    pub fn get_or_init(&self, make: impl FnOnce() -> T) -> &T {
        match self.get_or_try_init(|| Ok::<T, Infallible>(make())) {
            Ok(value) => value,
            Err(never) => match never {},
        }
    }

    /// The value; if there is none, `make` tries to make it. If that fails, the next one may try.
    ///
    /// # Errors
    /// Those of `make`. Not somebody else's: then it is this one's turn.
    ///
    /// # Panics
    /// As [`get_or_init`](Self::get_or_init).
    ///
    /// ```
    /// use runtime::sync::OnceCell;
    ///
    /// let number = OnceCell::new();
    /// assert!(number.get_or_try_init(|| "seven".parse::<i32>()).is_err());
    /// assert_eq!(number.get_or_try_init(|| "7".parse::<i32>()), Ok(&7));
    /// ```
    #[inline]
    #[track_caller]
    pub fn get_or_try_init<E>(&self, make: impl FnOnce() -> Result<T, E>) -> Result<&T, E> {
        match self.get() {
            Some(value) => Ok(value),
            None => self.make(make),
        }
    }

    #[cold]
    #[track_caller]
    fn make<E>(&self, make: impl FnOnce() -> Result<T, E>) -> Result<&T, E> {
        if let Way::Make = self.way() {
            let turn = Turn { turns: &self.turns };
            let value = make()?;
            let kept = self.value.set(value);
            debug_assert!(kept.is_ok(), "one makes it at a time");
            turn.done();
        }
        Ok(self
            .get()
            .expect("it was made, and nobody can take it away"))
    }

    /// Puts the value there, unless there is one. Waits for one that is being made.
    ///
    /// # Errors
    /// The value, if there was one already.
    ///
    /// # Panics
    /// As [`get_or_init`](Self::get_or_init).
    ///
    /// ```
    /// use runtime::sync::OnceCell;
    ///
    /// let name = OnceCell::new();
    /// assert_eq!(name.set("first"), Ok(()));
    /// assert_eq!(name.set("second"), Err("second"));
    /// ```
    #[track_caller]
    pub fn set(&self, value: T) -> Result<(), T> {
        let mut value = Some(value);
        self.get_or_init(|| value.take().expect("this is called once"));
        value.map_or(Ok(()), Err)
    }

    /// Waits until the value is there, without making it.
    ///
    /// # Panics
    /// Unwinds if the coroutine is cancelled or a [`timeout`](crate::time::timeout) around it passes.
    ///
    /// ```
    /// use runtime::sync::OnceCell;
    ///
    /// runtime::run(|| {
    ///     let answer = OnceCell::new();
    ///     runtime::scope(|s| {
    ///         s.spawn(|| assert_eq!(*answer.wait(), 42));
    ///         answer.set(42).unwrap();
    ///     });
    /// });
    /// ```
    #[track_caller]
    pub fn wait(&self) -> &T {
        loop {
            if let Some(value) = self.wait_until(None) {
                return value;
            }
        }
    }

    /// Waits until the value is there, `duration` at most.
    ///
    /// # Panics
    /// As [`wait`](Self::wait).
    #[track_caller]
    pub fn wait_timeout(&self, duration: Duration) -> Option<&T> {
        self.wait_until(clock::after(duration))
    }

    /// Waits until the value is there, or until `deadline`.
    ///
    /// # Panics
    /// As [`wait`](Self::wait).
    #[track_caller]
    pub fn wait_deadline(&self, deadline: Instant) -> Option<&T> {
        self.wait_until(Some(deadline))
    }

    /// Takes the value out. The place is empty then, and can be used once more.
    pub fn take(&mut self) -> Option<T> {
        self.value.take()
    }

    /// The value, if there was one.
    pub fn into_inner(self) -> Option<T> {
        self.value.into_inner()
    }

    #[track_caller]
    fn wait_until(&self, deadline: Option<Instant>) -> Option<&T> {
        if self.get().is_none() {
            let state = self.turns.state.lock();
            if self.get().is_none() {
                // Who leaves takes nothing away from anybody.
                let leave = |_: Guard<'_, State>, _| ();
                wait::wait(
                    state,
                    |state| &mut state.watchers,
                    (),
                    WaitReason::Once.on(&raw const self.turns.maker),
                    deadline,
                    leave,
                );
            }
        }
        self.get()
    }

    /// Waits until the value is there, or to be made by whoever calls.
    #[track_caller]
    fn way(&self) -> Way {
        let me = Strand::current();
        let turns = &self.turns;
        let state = turns.state.lock();
        // Under the lock: the value comes before its maker goes.
        if self.get().is_some() {
            return Way::There;
        }
        let maker = turns.maker();
        if maker.is_nobody() {
            turns.maker.set(me.number());
            return Way::Make;
        }
        if maker.is(me) {
            drop(state);
            would_wait_for_itself();
        }
        let leave = |state: Guard<'_, State>, told| {
            if told == Some(TURN) {
                turns.pass_on(state);
            }
        };
        let told = wait::wait(
            state,
            |state| &mut state.makers,
            me,
            WaitReason::Once.on(&raw const turns.maker),
            None,
            leave,
        );
        if told == Some(TURN) {
            Way::Make
        } else {
            Way::There
        }
    }
}

/// The turn to make the value. Passed on if that comes to nothing.
struct Turn<'a> {
    turns: &'a Turns,
}

impl Turn<'_> {
    /// The value is there.
    fn done(self) {
        let turns = self.turns;
        let state = turns.state.lock();
        turns.maker.set(Strand::NOBODY.number());
        wait::release_all(state, |state| &mut state.makers, DONE);
        wait::release_all(turns.state.lock(), |state| &mut state.watchers, DONE);
        std::mem::forget(self);
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        if fault::is_in(Fault::TurnLost) {
            return;
        }
        self.turns.pass_on(self.turns.state.lock());
    }
}

impl Turns {
    #[inline]
    fn maker(&self) -> Strand {
        Strand::of(self.maker.get())
    }

    /// Gives the turn to the one that has waited longest for it.
    fn pass_on(&self, mut state: Guard<'_, State>) {
        self.maker.set(Strand::NOBODY.number());
        let makers = &mut state.makers;
        let wakeup = makers.grant(TURN, |next| self.maker.set(next.number()));
        drop(state);
        if let Some(wakeup) = wakeup {
            wakeup.wake();
        }
    }
}

#[cold]
fn would_wait_for_itself() -> ! {
    panic!(
        "a value is asked for by the one that makes it, which would wait for itself for ever: make it without its own \
         place"
    )
}

impl<T> Default for OnceCell<T> {
    fn default() -> Self {
        OnceCell::new()
    }
}

impl<T> From<T> for OnceCell<T> {
    fn from(value: T) -> Self {
        OnceCell {
            value: OnceLock::from(value),
            ..OnceCell::new()
        }
    }
}

impl<T: fmt::Debug> fmt::Debug for OnceCell<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut cell = f.debug_tuple("OnceCell");
        match self.get() {
            Some(value) => cell.field(value),
            None => cell.field(&format_args!("<empty>")),
        };
        cell.finish()
    }
}

/// Something to be done once, by the first that needs it, while the others wait.
///
/// As [`std::sync::Once`], without poisoning: if it panics or is cancelled, the next one does it.
///
/// ```
/// use runtime::sync::Once;
///
/// static PREPARED: Once = Once::new();
///
/// runtime::run(|| {
///     let prepare = || PREPARED.call_once(|| runtime::yield_now()); // those who come meanwhile wait
///     let other = runtime::spawn(prepare);
///     prepare();
///     other.join().unwrap();
///     assert!(PREPARED.is_completed());
/// });
/// ```
#[derive(Default)]
pub struct Once {
    done: OnceCell<()>,
}

impl Once {
    const_fn! {
        /// Not done yet.
        pub const fn new() -> Self {
            Once {
                done: OnceCell::new(),
            }
        }
    }

    /// Does it by `f`, unless it is done; waits for one that does it. It is done when this returns.
    ///
    /// # Panics
    /// As [`OnceCell::get_or_init`].
    #[inline]
    #[track_caller]
    pub fn call_once(&self, f: impl FnOnce()) {
        self.done.get_or_init(f);
    }

    /// It is done. Never waits.
    #[inline]
    pub fn is_completed(&self) -> bool {
        self.done.get().is_some()
    }

    /// Waits until it is done, without doing it.
    ///
    /// # Panics
    /// As [`OnceCell::wait`].
    #[track_caller]
    pub fn wait(&self) {
        self.done.wait();
    }

    /// Waits until it is done, `duration` at most. Returns whether it is.
    ///
    /// # Panics
    /// As [`OnceCell::wait`].
    #[track_caller]
    pub fn wait_timeout(&self, duration: Duration) -> bool {
        self.done.wait_timeout(duration).is_some()
    }

    /// Waits until it is done, or until `deadline`. Returns whether it is.
    ///
    /// # Panics
    /// As [`OnceCell::wait`].
    #[track_caller]
    pub fn wait_deadline(&self, deadline: Instant) -> bool {
        self.done.wait_deadline(deadline).is_some()
    }
}

impl fmt::Debug for Once {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Once")
            .field("is_completed", &self.is_completed())
            .finish()
    }
}
