//! Semaphore and reader-writer lock against plain models of them: random visitors that come, try, leave and are
//! cancelled.
//!
//! Each visitor is a coroutine that waits for what it wants, and holds it until it is told to let go. After each step
//! all have come to rest, so the model, a queue and a count, tells who holds what and who waits. SY5.

#![forbid(unsafe_code)]

mod strands_support;

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use runtime::coroutine::{self, Coroutine, JoinHandle, park, spawn_local};
use runtime::sync::{RwLock, Semaphore};
use strands_support::*;

/// What one can want of the subject, and how it holds it.
trait Subject: 'static {
    type Want: Copy + std::fmt::Debug + 'static;

    fn new() -> Self;
    /// Waits for it, says so, and holds it until it is unparked.
    fn visit(&self, want: Self::Want, holds: &dyn Fn());
    /// Whether it can be had at once; gives it back.
    fn try_now(&self, want: Self::Want) -> bool;
    /// By the model: `want` goes together with what is held.
    fn fits(held: &[Self::Want], want: Self::Want) -> bool;
}

const PERMITS: usize = 4;

impl Subject for Semaphore {
    type Want = usize;

    fn new() -> Self {
        Semaphore::new(PERMITS)
    }

    fn visit(&self, want: usize, holds: &dyn Fn()) {
        let _permit = self.acquire_many(want);
        holds();
        park();
    }

    fn try_now(&self, want: usize) -> bool {
        self.try_acquire_many(want).is_some()
    }

    fn fits(held: &[usize], want: usize) -> bool {
        held.iter().sum::<usize>() + want <= PERMITS
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Access {
    Read,
    Write,
}

impl Subject for RwLock<()> {
    type Want = Access;

    fn new() -> Self {
        RwLock::new(())
    }

    fn visit(&self, want: Access, holds: &dyn Fn()) {
        if want == Access::Read {
            let _reader = self.read();
            holds();
            park();
        } else {
            let _writer = self.write();
            holds();
            park();
        }
    }

    fn try_now(&self, want: Access) -> bool {
        match want {
            Access::Read => self.try_read().is_some(),
            Access::Write => self.try_write().is_some(),
        }
    }

    fn fits(held: &[Access], want: Access) -> bool {
        held.is_empty() || want == Access::Read && !held.contains(&Access::Write)
    }
}

#[derive(Clone, Debug)]
enum Step<W> {
    /// Somebody comes.
    Come(W),
    /// Somebody tries.
    Try(W),
    /// One of those who hold it lets go, or one of those who wait is cancelled, or one of all of them.
    LetGo(usize),
    CancelWaiter(usize),
    CancelAny(usize),
}

fn steps<W: Clone + std::fmt::Debug + 'static>(
    want: impl Strategy<Value = W> + Clone + 'static,
) -> impl Strategy<Value = Vec<Step<W>>> {
    let step = prop_oneof![
        4 => want.clone().prop_map(Step::Come),
        2 => want.prop_map(Step::Try),
        3 => any::<usize>().prop_map(Step::LetGo),
        1 => any::<usize>().prop_map(Step::CancelWaiter),
        1 => any::<usize>().prop_map(Step::CancelAny),
    ];
    prop::collection::vec(step, 0..40)
}

/// The model: who holds it, and who waits, in their order.
struct Model<S: Subject> {
    held: Vec<(usize, S::Want)>,
    queue: VecDeque<(usize, S::Want)>,
}

impl<S: Subject> Model<S> {
    fn fits(&self, want: S::Want) -> bool {
        let held: Vec<S::Want> = self.held.iter().map(|&(_, want)| want).collect();
        S::fits(&held, want)
    }

    fn serve(&mut self) {
        while let Some(&(id, want)) = self.queue.front() {
            if !self.fits(want) {
                break;
            }
            self.held.push((id, want));
            self.queue.pop_front();
        }
    }

    fn leave(&mut self, id: usize) {
        self.held.retain(|&(held, _)| held != id);
        self.queue.retain(|&(waits, _)| waits != id);
        self.serve();
    }
}

fn check<S: Subject>(steps: &[Step<S::Want>]) {
    let subject = Rc::new(S::new());
    // Who said that it holds it, in that order, and has not gone.
    let holders = Rc::new(RefCell::new(Vec::<(usize, Coroutine)>::new()));
    let mut visitors: Vec<Option<JoinHandle<()>>> = Vec::new();
    let mut model = Model::<S> {
        held: Vec::new(),
        queue: VecDeque::new(),
    };
    for step in steps {
        match *step {
            Step::Come(want) => {
                let id = visitors.len();
                let (subject, theirs) = (subject.clone(), holders.clone());
                visitors.push(Some(spawn_local(move || {
                    let ends = theirs.clone();
                    let _end =
                        OnDrop::new(move || ends.borrow_mut().retain(|holder| holder.0 != id));
                    subject.visit(want, &|| {
                        theirs.borrow_mut().push((id, coroutine::current()))
                    });
                })));
                model.queue.push_back((id, want));
                model.serve();
            }
            Step::Try(want) => {
                let expected = model.queue.is_empty() && model.fits(want);
                assert_eq!(subject.try_now(want), expected, "{step:?}");
            }
            Step::LetGo(place) => {
                let Some(&(id, _)) = model.held.get(place % model.held.len().max(1)) else {
                    continue;
                };
                let holder = holders
                    .borrow()
                    .iter()
                    .find(|it| it.0 == id)
                    .map(|it| it.1.clone());
                holder.expect("it was said to hold it").unpark();
                visitors[id].take().unwrap().join().unwrap();
                model.leave(id);
            }
            Step::CancelWaiter(place) => {
                let Some(&(id, _)) = model.queue.get(place % model.queue.len().max(1)) else {
                    continue;
                };
                end(&mut visitors, id);
                model.leave(id);
            }
            Step::CancelAny(place) => {
                let id = place % visitors.len().max(1);
                if visitors.get(id).is_some_and(Option::is_some) {
                    end(&mut visitors, id);
                    model.leave(id);
                }
            }
        }
        let expected: Vec<usize> = model.held.iter().map(|&(id, _)| id).collect();
        let ids = || holders.borrow().iter().map(|it| it.0).collect::<Vec<_>>();
        let agree = passes_within(20, || ids() == expected);
        assert!(agree, "{step:?}: {:?}, {expected:?}", ids());
        let_the_others_run();
        assert_eq!(ids(), expected, "{step:?}");
    }
    for id in 0..visitors.len() {
        end(&mut visitors, id);
    }
    assert!(holders.borrow().is_empty());
}

/// One that holds it lets go by being cancelled where it is parked; one that waits leaves the queue.
fn end(visitors: &mut [Option<JoinHandle<()>>], id: usize) {
    if let Some(visitor) = visitors[id].take() {
        visitor.cancel();
        assert!(visitor.join().is_err());
    }
}

/// SY5: so many random runs, all in one runtime.
fn runs_agree<S: Subject>(want: impl Strategy<Value = S::Want> + Clone + 'static) {
    let config = ProptestConfig {
        cases: if cfg!(debug_assertions) { 300 } else { 10_000 },
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    let runtime = runtime_of(1);
    let outcome = TestRunner::new(config).run(&steps(want), |steps| {
        runtime.run(|| check::<S>(&steps));
        Ok(())
    });
    outcome.unwrap_or_else(|failure| panic!("{failure}"));
}

#[test]
fn sy5_a_semaphore_is_a_count_and_a_queue() {
    // None can always be taken: that is no matter of the queue.
    runs_agree::<Semaphore>(1..=PERMITS);
}

#[test]
fn sy5_a_reader_writer_lock_is_who_is_in_and_a_queue() {
    runs_agree::<RwLock<()>>(prop_oneof![2 => Just(Access::Read), 1 => Just(Access::Write)]);
}
