//! The scheduler against a model of it: random trees of coroutines that yield, park, unpark, spawn, join
//! and cancel.
//!
//! On one worker everything is determined, so the [`model`](strands_support::model) must predict the whole trace. On two workers what is
//! left to check is what no order may change: everyone ends once, with the outcome it earned.

#![forbid(unsafe_code)]

mod strands_support;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use proptest::prelude::*;
use runtime::coroutine::{self, Cancelled, Coroutine, JoinHandle};
use strands_support::model::{Event, Model, Op, Program, program};
use strands_support::*;

// ---- The runtime, one worker ---------------------------------------------------------------------

/// What the coroutines of one run share.
#[derive(Default)]
struct Board {
    trace: RefCell<Vec<Event>>,
    started: RefCell<Vec<Coroutine>>,
    spawned: Cell<usize>,
    over: Cell<bool>,
    dropped: Tally,
}

impl Board {
    fn note(&self, event: Event) {
        if !self.over.get() {
            self.trace.borrow_mut().push(event);
        }
    }

    fn take_id(&self) -> usize {
        self.spawned.replace(self.spawned.get() + 1)
    }
}

fn obey(board: &Rc<Board>, id: usize, program: &Program) {
    board.started.borrow_mut().push(coroutine::current());
    let mut children: Vec<(usize, JoinHandle<()>)> = Vec::new();
    for (step, op) in program.iter().enumerate() {
        board.note(Event::Begins { id, step });
        match op {
            Op::Yield => coroutine::yield_now(),
            Op::Park => coroutine::park(),
            Op::Unpark(place) => {
                let started = board.started.borrow();
                started[place % started.len()].unpark();
            }
            Op::Spawn(program) => children.push(spawn(board, program.clone())),
            Op::Join(_) | Op::Cancel(_) if children.is_empty() => {}
            Op::Join(place) => {
                let (child, handle) = children.remove(place % children.len());
                let finished = was_not_cancelled(handle.join());
                board.note(Event::Joined {
                    id,
                    child,
                    finished,
                });
            }
            Op::Cancel(place) => children[place % children.len()].1.cancel(),
        }
    }
}

fn was_not_cancelled(outcome: coroutine::Result<()>) -> bool {
    outcome
        .inspect_err(|payload| assert!(payload.is::<Cancelled>()))
        .is_ok()
}

fn spawn(board: &Rc<Board>, program: Program) -> (usize, JoinHandle<()>) {
    let (id, ours, dropped) = (board.take_id(), board.clone(), board.dropped.on_drop());
    let handle = coroutine::spawn_local(move || {
        let _dropped = dropped;
        obey(&ours, id, &program);
    });
    (id, handle)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn one_worker_does_what_the_model_does_step_by_step(program in program(4, false)) {
        let runtime = runtime_of(1);
        let board = Rc::new(Board::default());
        let id = board.take_id();
        runtime.run(|| {
            obey(&board, id, &program);
            board.over.set(true);
        });
        let (trace, spawned) = Model::run(&program);
        if let Some(trace) = trace {
            prop_assert_eq!(&*board.trace.borrow(), &trace);
        }
        // At the end some are spawned by the last steps of those that are being cancelled.
        let metrics = runtime.metrics();
        prop_assert!(board.spawned.get() >= spawned);
        prop_assert_eq!(board.dropped.get(), board.spawned.get() - 1);
        prop_assert_eq!(metrics.spawned as usize, board.spawned.get());
        prop_assert_eq!(metrics.finished, metrics.spawned);
    }
}

// ---- The runtime, two workers --------------------------------------------------------------------

/// What the coroutines of one run share, on several threads.
#[derive(Default)]
struct Crowd {
    started: Mutex<Vec<Coroutine>>,
    spawned: Tally,
    dropped: Tally,
    begun: Tally,
    completed: Tally,
    joined: Tally,
}

/// Returns its number of children, for its joiner to see.
fn obey_among_many(crowd: &Arc<Crowd>, program: &Program) -> usize {
    crowd.begun.add();
    crowd.started.lock().unwrap().push(coroutine::current());
    let mut children: Vec<(bool, usize, JoinHandle<usize>)> = Vec::new();
    for op in program {
        match op {
            Op::Yield => coroutine::yield_now(),
            Op::Park => coroutine::park_timeout(Duration::from_micros(100)),
            Op::Unpark(place) => {
                let target = {
                    let started = crowd.started.lock().unwrap();
                    started[place % started.len()].clone()
                };
                target.unpark();
            }
            Op::Spawn(program) => {
                children.push((
                    false,
                    spawns_in(program),
                    spawn_among_many(crowd, program.clone()),
                ));
            }
            Op::Join(_) | Op::Cancel(_) if children.is_empty() => {}
            Op::Join(place) => {
                let (cancelled, expected, handle) = children.remove(place % children.len());
                match handle.join() {
                    Ok(spawns) => assert_eq!(spawns, expected, "its own result"),
                    Err(payload) => assert!(cancelled && payload.is::<Cancelled>()),
                }
                crowd.joined.add();
            }
            Op::Cancel(place) => {
                let place = place % children.len();
                children[place].0 = true;
                children[place].2.cancel();
            }
        }
    }
    crowd.completed.add();
    spawns_in(program)
}

fn spawns_in(program: &Program) -> usize {
    program
        .iter()
        .filter(|op| matches!(op, Op::Spawn(_)))
        .count()
}

fn spawn_among_many(crowd: &Arc<Crowd>, program: Program) -> JoinHandle<usize> {
    crowd.spawned.add();
    let (ours, dropped) = (crowd.clone(), crowd.dropped.on_drop());
    coroutine::spawn(move || {
        let _dropped = dropped;
        obey_among_many(&ours, &program)
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn on_two_workers_everyone_ends_once_with_the_outcome_it_earned(program in program(4, true), patience in 0..20_usize) {
        let runtime = runtime_of(2);
        let crowd = Arc::new(Crowd::default());
        runtime.run(|| {
            let root = spawn_among_many(&crowd, program);
            for _ in 0..patience {
                coroutine::yield_now();
            }
            // The end of the run may come at any time.
            drop(root);
        });
        let metrics = runtime.metrics();
        prop_assert_eq!(metrics.spawned, metrics.finished);
        prop_assert_eq!(metrics.spawned as usize, crowd.spawned.get() + 1);
        prop_assert_eq!(crowd.dropped.get(), crowd.spawned.get());
        prop_assert!(crowd.begun.get() <= crowd.spawned.get());
        prop_assert!(crowd.completed.get() <= crowd.begun.get());
        prop_assert!(crowd.joined.get() <= crowd.spawned.get());
    }
}
