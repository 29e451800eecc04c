//! Generators: bare asymmetric coroutines, without a scheduler.
//!
//! ```
//! let squares = runtime::generator::r#gen(|y| {
//!     for n in 1.. {
//!         y.suspend(n * n);
//!     }
//! });
//! assert_eq!(squares.take(4).collect::<Vec<u64>>(), [1, 4, 9, 16]);
//! ```
//!
//! A generator has a stack of its own and runs on the caller's turn, inside [`resume`](Generator::resume), as
//! a function call does. It works on any thread, in a coroutine or not. If its body waits, for a socket say,
//! then whoever resumed it waits, with it.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::marker::PhantomData;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, Location, catch_unwind, resume_unwind};
use std::rc::Rc;
use std::thread::panicking;

use crate::context::{Context, RawGenerator, RawYielder};
use crate::home;
use crate::id::Id;
use crate::interrupts::Frame;
use crate::park;
use crate::seam::sync::thread_local;
use crate::stack::overflow::{self, AltStack};
use crate::stack::{Label, StackConfig, Stacks};
use crate::sys::process::report;
use crate::sys::thread_end::{self, Mark};
use crate::sys::walk;
use crate::task::Payload;
use crate::time::watch_frame;

/// What a [`resume`](Generator::resume) has brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GeneratorState<Out, Ret> {
    /// It has suspended itself with this value.
    Yielded(Out),
    /// It has returned this.
    Complete(Ret),
}

/// A function that can suspend itself in the middle, and be resumed there, many times.
///
/// `In` goes in with each resume, `Out` comes out with each suspension, `Ret` at the end. Dropped before its
/// end, it unwinds from where it is suspended. It stays on its thread.
///
/// ```
/// use runtime::generator::{Generator, GeneratorState::{Complete, Yielded}};
///
/// let mut average = Generator::new(|y, first: f64| {
///     let (mut sum, mut count) = (first, 1.0);
///     while count < 3.0 {
///         sum += y.suspend(sum / count);
///         count += 1.0;
///     }
///     "enough"
/// });
/// assert_eq!(average.resume(10.0), Yielded(10.0));
/// assert_eq!(average.resume(20.0), Yielded(15.0));
/// assert_eq!(average.resume(0.0), Complete("enough"));
/// ```
pub struct Generator<In, Out, Ret>
where
    In: 'static,
    Out: 'static,
    Ret: 'static,
{
    raw: Option<Raw<In, Out, Ret>>,
    held: Held,
    /// When it was suspended; no thread-local that it may borrow has gone while this holds.
    suspended: Mark,
    meeting: Rc<Meeting>,
    label: Box<Label>,
}

type Raw<In, Out, Ret> = RawGenerator<In, Out, Result<Ret, Payload>>;

/// What a generator and its yielder both look at.
struct Meeting {
    /// Where the generator was resumed; [`NOWHERE`] while it is being dropped.
    resumed_at: Cell<Place>,
    /// Where it is being dropped.
    dropped_at: Cell<Place>,
    /// How often it has been made to unwind.
    raised: Cell<u32>,
    /// The addresses of its stack.
    stack: Range<usize>,
}

/// A worker and a context; see [`home::place`].
type Place = (*const (), Option<Context>);

/// Where nobody is.
const NOWHERE: Place = (std::ptr::without_provenance(1), None);

/// The payload that unwinds a generator when it is dropped.
struct Dropped;

/// So often may a body swallow that before it is given up.
const SWALLOWED_MAX: u32 = 1000;

/// What belongs to the stack of a suspended generator, not to the strand that will resume it: the timeouts and
/// shields that the body is inside of.
#[derive(Default)]
struct Held {
    frames: Vec<Frame>,
    shields: u32,
}

/// A generator's own end: what its body suspends through.
pub struct Yielder<In, Out> {
    raw: RawYielder<In, Out>,
    meeting: Rc<Meeting>,
    not_send: PhantomData<*mut ()>,
}

thread_local! {
    /// Stacks of this thread's generators.
    static STACKS: RefCell<Stacks> = RefCell::new(Stacks::new(StackConfig::default()));
    /// Lets an overflow be reported that happens here.
    static ALTERNATE: Option<AltStack> = {
        overflow::install();
        AltStack::ensure(0).ok()
    };
}

impl<In, Out, Ret> Generator<In, Out, Ret> {
    /// Makes a generator of `body`, which starts with the first resume. Cost: a stack, usually a used one.
    ///
    /// # Panics
    /// When no memory is left for a stack, and in destructors of thread-locals.
    #[track_caller]
    pub fn new<F>(body: F) -> Self
    where
        F: FnOnce(&Yielder<In, Out>, In) -> Ret + 'static,
    {
        let _ = ALTERNATE.try_with(|_| ());
        let stack = STACKS
            .try_with(|stacks| {
                stacks
                    .borrow_mut()
                    .acquire(StackConfig::default().stack_bytes)
            })
            .expect("a generator is made while its thread ends")
            .unwrap_or_else(|error| panic!("cannot make a generator: {error}"));
        let name = Some("generator".into());
        let label = Box::new(Label {
            name: name.map(Box::new),
            id: Id::take_one(),
            spawned_at: Location::caller(),
        });
        // SAFETY: the label is boxed, and stays until the generator's drop has released the stack.
        unsafe { stack.set_label(&raw const *label) };
        let meeting = Rc::new(Meeting {
            resumed_at: Cell::new(NOWHERE),
            dropped_at: Cell::new(NOWHERE),
            raised: Cell::new(0),
            stack: stack.addresses(),
        });
        let yielders = meeting.clone();
        let raw = RawGenerator::new(stack, move |raw, first: Option<In>| {
            let yielder = Yielder {
                raw,
                meeting: yielders,
                not_send: PhantomData,
            };
            let first = first.expect("it is resumed before it is told to end");
            catch_unwind(AssertUnwindSafe(|| body(&yielder, first)))
        });
        Generator {
            raw: Some(raw),
            held: Held::default(),
            suspended: thread_end::mark(),
            meeting,
            label,
        }
    }

    /// Runs the body until it suspends itself or returns. Cost: two stack switches.
    ///
    /// # Panics
    /// With what the body panics with; if it has ended before; and in a destructor of a thread-local, if it was suspended
    /// before another was destroyed.
    #[inline]
    pub fn resume(&mut self, value: In) -> GeneratorState<Out, Ret> {
        if panicking() {
            return self.resume_by_a_call(value);
        }
        self.go_on(value)
    }

    /// Where the resumer may be a destructor that an unwinding runs, which is told by the calls on its stack, and the
    /// switch is none.
    #[cold]
    #[inline(never)]
    fn resume_by_a_call(&mut self, value: In) -> GeneratorState<Out, Ret> {
        self.go_on(value)
    }

    #[inline(always)]
    fn go_on(&mut self, value: In) -> GeneratorState<Out, Ret> {
        let Some(raw) = self.raw.as_mut().filter(|raw| !raw.is_done()) else {
            panic!("a generator is resumed after its end")
        };
        if !self.suspended.holds() && raw.is_suspended() {
            refuse_to_resume();
        }
        let leave = Leave::join(&mut self.held);
        self.meeting.resumed_at.set(home::place());
        let outcome = raw.resume(value);
        self.suspended = thread_end::mark();
        drop(leave);
        match outcome {
            Ok(out) => GeneratorState::Yielded(out),
            Err(Ok(ret)) => GeneratorState::Complete(ret),
            Err(Err(payload)) => resume_unwind(payload),
        }
    }

    /// It has returned or panicked: another resume would panic.
    pub fn is_done(&self) -> bool {
        self.raw.as_ref().is_none_or(RawGenerator::is_done)
    }
}

#[cold]
fn refuse_to_resume() -> ! {
    panic!(
        "a generator is resumed by a destructor of a thread-local, after others have run: what it was suspended with may \
         be gone"
    )
}

/// Takes what the generator holds away from the strand that resumed it.
struct Leave<'a> {
    held: &'a mut Held,
    // What the strand had before.
    depth: usize,
    shields: u32,
}

impl<'a> Leave<'a> {
    /// Gives what a generator holds to the strand that resumes it.
    #[inline]
    fn join(held: &'a mut Held) -> Self {
        let (depth, shields) = park::inside();
        if held.shields > 0 || !held.frames.is_empty() {
            held.join();
        }
        Leave {
            held,
            depth,
            shields,
        }
    }
}

impl Drop for Leave<'_> {
    #[inline]
    fn drop(&mut self) {
        let (depth, shields) = park::inside();
        if depth > self.depth || shields > self.shields {
            self.held.leave(self.depth, self.shields);
        }
    }
}

impl Held {
    #[cold]
    fn join(&mut self) {
        let live = self.frames.iter().filter(|frame| !frame.expired);
        let watched: Vec<_> = live.map(|frame| (frame.id, frame.deadline)).collect();
        park::with_interrupts(|interrupts| {
            interrupts.link(std::mem::take(&mut self.frames));
            interrupts.add_shields(std::mem::take(&mut self.shields));
        });
        watched
            .into_iter()
            .for_each(|(id, deadline)| watch_frame(id, deadline));
        park::attract_attention();
    }

    #[cold]
    fn leave(&mut self, depth: usize, shields: u32) {
        park::with_interrupts(|interrupts| {
            self.frames = interrupts.unlink_from(depth);
            self.shields = interrupts.inside().1.saturating_sub(shields);
            interrupts.remove_shields(self.shields);
        });
        self.frames
            .iter_mut()
            .filter_map(|frame| frame.timer.take())
            .for_each(park::cancel_timer);
    }
}

impl<In, Out> Yielder<In, Out> {
    /// Suspends the generator: its resume returns `value`, and the next one's argument is returned here.
    ///
    /// # Panics
    /// Unwinds when the generator is dropped instead of resumed. Panics when called by a coroutine of another runtime
    /// that the body runs: the one that resumed the generator cannot go on while that is on the way.
    #[inline]
    pub fn suspend(&self, value: Out) -> In {
        if self.meeting.resumed_at.get() != home::place() {
            self.suspend_while_dropped();
        }
        match self.raw.suspend(value) {
            Some(value) => value,
            None => self.unwind(),
        }
    }

    /// A suspension in the course of the generator's drop, after it was made to unwind.
    #[cold]
    fn suspend_while_dropped(&self) -> ! {
        assert!(
            self.meeting.dropped_at.get() == home::place(),
            "a generator is suspended from inside of something that it runs"
        );
        self.unwind()
    }

    /// Unwinds the generator. If that cannot be, because it is in the middle of an unwinding, or if it has been of no
    /// avail, suspends it for good.
    #[cold]
    fn unwind(&self) -> ! {
        let Meeting { raised, stack, .. } = &*self.meeting;
        raised.set(raised.get() + 1);
        if raised.get() > SWALLOWED_MAX || panicking() && walk::is_unwinding(Some(stack.clone())) {
            // SAFETY: its drop has told it to end: so `suspend` knows, and so did who called this.
            unsafe { self.raw.give_up() }
        }
        resume_unwind(Box::new(Dropped))
    }
}

impl<In, Out, Ret> Drop for Generator<In, Out, Ret> {
    fn drop(&mut self) {
        let Some(mut raw) = self.raw.take() else {
            return;
        };
        let outcome = if raw.is_suspended() {
            // Frames that may borrow thread-locals that are gone, or cannot be unwound, stay as they are.
            if cfg!(panic = "abort") {
                return self.leak(raw, "it cannot unwind without panic = \"unwind\"");
            }
            if !self.suspended.holds() {
                return self.leak(raw, "its thread was ending");
            }
            let Some(outcome) = self.end(&mut raw) else {
                return self.leak(
                    raw,
                    "it suspended itself in a destructor, or went on after its end",
                );
            };
            outcome.map(drop)
        } else if raw.is_done() {
            Ok(())
        } else {
            catch_unwind(AssertUnwindSafe(|| raw.drop_body()))
        };
        let stack = raw.into_stack();
        // While the thread ends the stacks may be gone already; then this one is lost with its slab.
        let _ = STACKS.try_with(|stacks| stacks.borrow_mut().release(stack));
        match outcome {
            Err(payload) if !payload.is::<Dropped>() => resume_unwind(payload),
            _ => {}
        }
    }
}

impl<In, Out, Ret> Generator<In, Out, Ret> {
    /// Unwinds the body from where it is suspended. None if it cannot be.
    fn end(&mut self, raw: &mut Raw<In, Out, Ret>) -> Option<Result<Ret, Payload>> {
        // Its destructors may wait; nothing may be raised there. The strand is asked for again at the end: they may
        // have been carried to another, by a generator around this one.
        park::with_interrupts(|interrupts| interrupts.add_shields(1));
        let leave = Leave::join(&mut self.held);
        self.meeting.resumed_at.set(NOWHERE);
        self.meeting.dropped_at.set(home::place());
        let outcome = raw.end();
        drop(leave);
        park::with_interrupts(|interrupts| interrupts.remove_shields(1));
        outcome
    }

    /// Leaves the body where it is suspended, for ever, and says so.
    #[cold]
    fn leak(&mut self, raw: Raw<In, Out, Ret>, why: &str) {
        report(&format!(
            "a generator made at {} was dropped while it was suspended, and is leaked: {why}",
            self.label.spawned_at
        ));
        let nobody = Label {
            name: None,
            id: self.label.id,
            spawned_at: self.label.spawned_at,
        };
        // What is on the stack refers to the label.
        std::mem::forget((raw, std::mem::replace(&mut self.label, Box::new(nobody))));
    }
}

impl<In, Out, Ret> fmt::Debug for Generator<In, Out, Ret> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Generator")
            .field("done", &self.is_done())
            .finish_non_exhaustive()
    }
}

/// An iterator over what `body` suspends itself with.
///
/// # Panics
/// As [`Generator::new`]; `next` panics with what the body panics with.
#[track_caller]
pub fn r#gen<T, F>(body: F) -> Gen<T>
where
    F: FnOnce(&Yielder<(), T>) + 'static,
    T: 'static,
{
    Gen {
        generator: Generator::new(move |y, ()| body(y)),
    }
}

/// What [`gen`](fn@gen) returns.
#[derive(Debug)]
pub struct Gen<T: 'static> {
    generator: Generator<(), T, ()>,
}

impl<T> Iterator for Gen<T> {
    type Item = T;

    #[inline]
    fn next(&mut self) -> Option<T> {
        if self.generator.is_done() {
            return None;
        }
        match self.generator.resume(()) {
            GeneratorState::Yielded(value) => Some(value),
            GeneratorState::Complete(()) => None,
        }
    }
}
