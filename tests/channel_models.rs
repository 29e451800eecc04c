//! Channels against a plain model of them: a queue of values, and two of those who wait.
//!
//! Random scripts run on one worker, where whoever comes first is served first, and after each step all have come to rest:
//! so the model tells who has got what. For where the order is open see `channel_crowds`. SY1, SY2, SY5.

#![forbid(unsafe_code)]

mod channel_support;
mod strands_support;

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use channel_support::Model;
use channel_support::Outcome::{self, *};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use runtime::channel::{Receiver, Sender, bounded, unbounded};
use runtime::coroutine::{JoinHandle, spawn_local};
use strands_support::*;

const FLAVOURS: [Option<usize>; 4] = [Some(0), Some(1), Some(3), None];

#[derive(Clone, Debug)]
enum Step {
    /// Somebody comes, with an end of its own, and waits if it must.
    Send,
    Recv,
    /// Or with a timeout of zero.
    TrySend(bool),
    TryRecv(bool),
    /// One of those who wait is cancelled.
    Cancel(usize),
    /// Who has waited longest is served, and before it runs also cancelled, earlier or later: it has what it was given.
    ServeReceiverAndCancel(bool),
    ServeSenderAndCancel(bool),
    CloneSender,
    CloneReceiver,
    DropSender,
    DropReceiver,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => Just(Step::Send),
        6 => Just(Step::Recv),
        4 => any::<bool>().prop_map(Step::TrySend),
        4 => any::<bool>().prop_map(Step::TryRecv),
        2 => any::<usize>().prop_map(Step::Cancel),
        2 => any::<bool>().prop_map(Step::ServeReceiverAndCancel),
        2 => any::<bool>().prop_map(Step::ServeSenderAndCancel),
        1 => Just(Step::CloneSender),
        1 => Just(Step::CloneReceiver),
        1 => Just(Step::DropSender),
        1 => Just(Step::DropReceiver),
    ];
    prop::collection::vec(step, 0..40)
}

/// How often each value was dropped.
type Drops = Rc<RefCell<Vec<usize>>>;

struct Value(usize, Drops);

impl Drop for Value {
    fn drop(&mut self) {
        self.1.borrow_mut()[self.0] += 1;
    }
}

/// The channel, and those who came to it.
struct Subject {
    senders: Vec<Sender<Value>>,
    receivers: Vec<Receiver<Value>>,
    drops: Drops,
    /// Who has been told what since the last look.
    told: Rc<RefCell<Vec<(usize, Outcome)>>>,
    /// By their numbers.
    visitors: Vec<Option<JoinHandle<()>>>,
}

impl Subject {
    /// A new number, and the value that bears it.
    fn value(&mut self) -> (usize, Value) {
        let id = self.number();
        self.drops.borrow_mut()[id] = 0;
        (id, Value(id, self.drops.clone()))
    }

    /// A number of one that comes without a value.
    fn number(&mut self) -> usize {
        self.visitors.push(None);
        self.drops.borrow_mut().push(1);
        self.visitors.len() - 1
    }

    fn visit(&mut self, id: usize, f: impl FnOnce() -> Outcome + 'static) {
        let told = self.told.clone();
        self.visitors[id] = Some(spawn_local(move || {
            let outcome = f();
            told.borrow_mut().push((id, outcome));
        }));
    }

    /// Cancels one that waits.
    fn cancel(&mut self, id: usize) {
        let visitor = self.visitors[id].take().unwrap();
        visitor.cancel();
        assert!(visitor.join().is_err(), "{id} was cancelled");
    }

    /// Has `id` served by `f` and cancelled, in this order or the other, before it runs.
    fn serve_and_cancel<T>(&mut self, id: usize, early: bool, f: impl FnOnce(&mut Self) -> T) -> T {
        let visitor = self.visitors[id].take().unwrap();
        if early {
            visitor.cancel();
        }
        let outcome = f(self);
        visitor.cancel();
        assert!(visitor.join().is_ok(), "{id} was served");
        outcome
    }

    fn try_send(&mut self, timed: bool) -> (usize, Outcome) {
        let (id, value) = self.value();
        let s = &self.senders[0];
        let outcome = if timed {
            s.send_timeout(value, Duration::ZERO)
                .map_err(|error| (error.is_timeout(), error.into_inner()))
        } else {
            s.try_send(value)
                .map_err(|error| (error.is_full(), error.into_inner()))
        };
        match outcome {
            Ok(()) => (id, Sent),
            Err((full, back)) => {
                assert_eq!(back.0, id);
                (id, if full { MustWait } else { Disconnected })
            }
        }
    }

    fn try_recv(&self, timed: bool) -> Outcome {
        let r = &self.receivers[0];
        let outcome = if timed {
            r.recv_timeout(Duration::ZERO)
                .map_err(|error| error.is_timeout())
        } else {
            r.try_recv().map_err(|error| error.is_empty())
        };
        match outcome {
            Ok(value) => Got(value.0),
            Err(true) => MustWait,
            Err(false) => Disconnected,
        }
    }
}

fn check(capacity: Option<usize>, steps: &[Step]) {
    let (s, r) = capacity.map_or_else(unbounded, bounded);
    let mut it = Subject {
        senders: vec![s],
        receivers: vec![r],
        drops: Drops::default(),
        told: Rc::default(),
        visitors: Vec::new(),
    };
    let mut model = Model {
        capacity,
        idle_senders: 1,
        idle_receivers: 1,
        ..Model::default()
    };
    for step in steps {
        take(&mut it, &mut model, step);
    }
    while it.senders.pop().is_some() {
        model.idle_senders -= 1;
    }
    take(&mut it, &mut model, &Step::DropSender);
    while it.receivers.pop().is_some() {
        model.idle_receivers -= 1;
    }
    take(&mut it, &mut model, &Step::DropReceiver);
    assert!(it.drops.borrow().iter().all(|&drops| drops == 1));
}

fn take(it: &mut Subject, model: &mut Model, step: &Step) {
    let (can_send, can_recv) = (model.idle_senders > 0, model.idle_receivers > 0);
    match *step {
        Step::Send if can_send => {
            let (s, (id, value)) = (it.senders[0].clone(), it.value());
            it.visit(id, move || match s.send(value) {
                Ok(()) => Sent,
                Err(back) => {
                    assert_eq!(back.0.0, id);
                    Disconnected
                }
            });
            match model.send(id) {
                MustWait => model.senders.push_back(id),
                outcome => model.told.push((id, outcome)),
            }
        }
        Step::Recv if can_recv => {
            let (r, id) = (it.receivers[0].clone(), it.number());
            it.visit(id, move || r.recv().map_or(Disconnected, |v| Got(v.0)));
            match model.recv() {
                MustWait => model.receivers.push_back(id),
                outcome => model.told.push((id, outcome)),
            }
        }
        Step::TrySend(timed) if can_send => {
            let (id, outcome) = it.try_send(timed);
            assert_eq!(outcome, model.send(id), "{step:?}");
        }
        Step::TryRecv(timed) if can_recv => {
            assert_eq!(it.try_recv(timed), model.recv(), "{step:?}");
        }
        Step::Cancel(place) => {
            let waiting = model.senders.iter().chain(&model.receivers);
            let waiting: Vec<usize> = waiting.copied().collect();
            if let Some(&id) = waiting.get(place % waiting.len().max(1)) {
                it.cancel(id);
                model.senders.retain(|&other| other != id);
                model.receivers.retain(|&other| other != id);
            }
        }
        Step::ServeReceiverAndCancel(early) if can_send && !model.receivers.is_empty() => {
            let receiver = model.receivers[0];
            let (id, outcome) = it.serve_and_cancel(receiver, early, |it| it.try_send(false));
            assert_eq!(outcome, model.send(id), "{step:?}");
        }
        Step::ServeSenderAndCancel(early) if can_recv && !model.senders.is_empty() => {
            let sender = model.senders[0];
            let outcome = it.serve_and_cancel(sender, early, |it| it.try_recv(false));
            assert_eq!(outcome, model.recv(), "{step:?}");
        }
        Step::CloneSender if can_send => {
            it.senders.push(it.senders[0].clone());
            model.idle_senders += 1;
        }
        Step::CloneReceiver if can_recv => {
            it.receivers.push(it.receivers[0].clone());
            model.idle_receivers += 1;
        }
        Step::DropSender => model.idle_senders -= usize::from(it.senders.pop().is_some()),
        Step::DropReceiver => model.idle_receivers -= usize::from(it.receivers.pop().is_some()),
        _ => {} // nobody is there who could
    }
    model.rest();
    let_the_others_run();
    compare(it, model, step);
}

fn compare(it: &Subject, model: &mut Model, step: &Step) {
    let mut told = std::mem::take(&mut *it.told.borrow_mut());
    let mut expected = std::mem::take(&mut model.told);
    told.sort();
    expected.sort();
    assert_eq!(told, expected, "{step:?}");
    let len = model.values.len();
    let looks = (len, len == 0, !model.has_room());
    if let Some(s) = it.senders.first().filter(|_| model.idle_receivers > 0) {
        assert_eq!((s.len(), s.is_empty(), s.is_full()), looks, "{step:?}");
    }
    if let Some(r) = it.receivers.first() {
        assert_eq!((r.len(), r.is_empty(), r.is_full()), looks, "{step:?}");
    }
    for (id, &drops) in it.drops.borrow().iter().enumerate() {
        let kept = model.values.contains(&id) || model.senders.contains(&id);
        assert_eq!(drops, usize::from(!kept), "{step:?}: value {id}");
    }
}

/// So many random scripts for each flavour, all in one runtime.
#[test]
fn sy1_sy2_sy5_a_channel_is_a_queue_of_values_and_two_of_those_who_wait() {
    for capacity in FLAVOURS {
        let config = ProptestConfig {
            cases: if cfg!(debug_assertions) { 300 } else { 10_000 },
            failure_persistence: None,
            ..ProptestConfig::default()
        };
        let runtime = runtime_of(1);
        let outcome = TestRunner::new(config).run(&steps(), |steps| {
            runtime.run(|| check(capacity, &steps));
            Ok(())
        });
        outcome.unwrap_or_else(|failure| panic!("capacity {capacity:?}: {failure}"));
    }
}
