//! A model of one worker: the token table of `runtime::park`, a queue, and a place for the one that
//! runs next. It knows no stacks and no switches, so what it predicts is the order alone.

use std::collections::VecDeque;

use proptest::prelude::*;

/// What a coroutine does at one step.
#[derive(Clone, Debug)]
pub enum Op {
    Yield,
    Park,
    /// Unparks one of those that have ever started.
    Unpark(usize),
    Spawn(Program),
    /// Joins one of its children that it has not joined.
    Join(usize),
    /// Cancels one of its children that it has not joined.
    Cancel(usize),
}

pub type Program = Vec<Op>;

/// Programs of up to `depth` generations; without `waits`, none that could wait for ever.
pub fn program(depth: u32, waits: bool) -> BoxedStrategy<Program> {
    let weight = u32::from(waits);
    let children = if depth == 0 {
        Just(Vec::new()).boxed()
    } else {
        program(depth - 1, true)
    };
    let op = prop_oneof![
        4 => Just(Op::Yield),
        3 * weight => Just(Op::Park),
        4 => (0..16_usize).prop_map(Op::Unpark),
        5 => children.prop_map(Op::Spawn),
        3 * weight => (0..4_usize).prop_map(Op::Join),
        2 => (0..4_usize).prop_map(Op::Cancel),
    ];
    prop::collection::vec(op, 0..10).boxed()
}

/// What a trace holds: who began which step, and how its joins ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    Begins {
        id: usize,
        step: usize,
    },
    Joined {
        id: usize,
        child: usize,
        finished: bool,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token {
    Empty,
    Parked,
    Notified,
    Finished,
}

/// Where a coroutine continues.
#[derive(Clone, Copy, Debug)]
enum At {
    Fresh,
    Step,
    Yielded,
    Parking,
    Joining(usize),
}

struct Strand {
    program: Program,
    step: usize,
    at: At,
    token: Token,
    unparked: bool,
    cancelled: bool,
    /// Ended by itself, or by cancellation.
    finished: Option<bool>,
    joiner: Option<usize>,
    children: Vec<usize>,
}

#[derive(Default)]
pub struct Model {
    strands: Vec<Strand>,
    queue: VecDeque<usize>,
    next: Option<usize>,
    started: Vec<usize>,
    trace: Vec<Event>,
    open: bool,
}

impl Model {
    /// The trace up to the end of the first coroutine, unless it is open, and how many were spawned by then.
    ///
    /// A join may run a child that has not started on top of the joiner, as a call, or park the joiner first. The
    /// runtime does not promise which, and one thing tells them apart: where in the queue the joiner comes to stand if
    /// somebody wakes it meanwhile. Then the trace is open.
    pub fn run(program: &Program) -> (Option<Vec<Event>>, usize) {
        let mut model = Model::default();
        model.spawn(program.clone());
        while model.strands[0].finished.is_none() {
            let id = model.next.take().or_else(|| model.queue.pop_front());
            model.turn(id.expect("the first coroutine never parks"));
        }
        ((!model.open).then_some(model.trace), model.strands.len())
    }

    fn spawn(&mut self, program: Program) -> usize {
        self.strands.push(Strand {
            program,
            step: 0,
            at: At::Fresh,
            token: Token::Empty,
            unparked: false,
            cancelled: false,
            finished: None,
            joiner: None,
            children: Vec::new(),
        });
        self.queue.push_back(self.strands.len() - 1);
        self.strands.len() - 1
    }

    /// Runs one coroutine until it suspends or ends.
    fn turn(&mut self, id: usize) {
        loop {
            let at = self.strands[id].at;
            let joined = match at {
                At::Joining(child) => self.strands[child]
                    .finished
                    .map(|finished| (child, finished)),
                _ => None,
            };
            let strand = &mut self.strands[id];
            let cancelled = strand.cancelled;
            match at {
                At::Fresh | At::Yielded if cancelled => return self.finish(id, false),
                At::Fresh => {
                    strand.at = At::Step;
                    self.started.push(id);
                }
                At::Yielded => strand.at = At::Step,
                At::Parking if std::mem::take(&mut strand.unparked) => strand.at = At::Step,
                At::Joining(_) if let Some((child, finished)) = joined => {
                    self.trace.push(Event::Joined {
                        id,
                        child,
                        finished,
                    });
                    strand.at = At::Step;
                }
                At::Parking | At::Joining(_) if cancelled => {
                    if let At::Joining(child) = at {
                        self.strands[child].joiner = None;
                    }
                    return self.finish(id, false);
                }
                At::Parking | At::Joining(_) if strand.token == Token::Notified => {
                    strand.token = Token::Empty;
                }
                At::Parking | At::Joining(_) => {
                    strand.token = Token::Parked;
                    return;
                }
                At::Step if strand.step == strand.program.len() => return self.finish(id, true),
                At::Step => {
                    if self.step(id) {
                        return;
                    }
                }
            }
        }
    }

    /// Begins the next step; true if it suspends.
    fn step(&mut self, id: usize) -> bool {
        let strand = &mut self.strands[id];
        let (step, op) = (strand.step, strand.program[strand.step].clone());
        strand.step += 1;
        self.trace.push(Event::Begins { id, step });
        let chosen =
            |place: usize, among: &[usize]| (!among.is_empty()).then(|| place % among.len());
        match op {
            Op::Yield => {
                strand.at = At::Yielded;
                self.queue.push_back(id);
                return true;
            }
            Op::Park => strand.at = At::Parking,
            Op::Unpark(place) => {
                let target = self.started[place % self.started.len()];
                if self.strands[target].finished.is_none() {
                    self.strands[target].unparked = true;
                    self.wake(target);
                }
            }
            Op::Spawn(program) => {
                let child = self.spawn(program);
                self.strands[id].children.push(child);
            }
            Op::Join(place) => {
                if let Some(place) = chosen(place, &strand.children) {
                    let child = strand.children.remove(place);
                    self.join(id, child);
                }
            }
            Op::Cancel(place) => {
                if let Some(place) = chosen(place, &strand.children) {
                    let child = strand.children[place];
                    self.cancel(child);
                }
            }
        }
        false
    }

    fn join(&mut self, id: usize, child: usize) {
        self.strands[id].at = At::Joining(child);
        if self.strands[child].finished.is_some() {
            return;
        }
        self.strands[child].joiner = Some(id);
        if matches!(self.strands[child].at, At::Fresh) {
            self.queue.retain(|&queued| queued != child);
            self.hand_over(child);
        }
    }

    fn cancel(&mut self, child: usize) {
        let strand = &mut self.strands[child];
        if strand.finished.is_none() && !strand.cancelled {
            strand.cancelled = true;
            self.wake(child);
        }
    }

    fn wake(&mut self, id: usize) {
        if let At::Joining(child) = self.strands[id].at {
            self.open |= self.strands[child].finished.is_none();
        }
        match self.strands[id].token {
            Token::Parked => {
                self.strands[id].token = Token::Empty;
                self.queue.push_back(id);
            }
            Token::Empty => self.strands[id].token = Token::Notified,
            Token::Notified | Token::Finished => {}
        }
    }

    fn hand_over(&mut self, id: usize) {
        let displaced = self.next.replace(id);
        self.open |= displaced.is_some();
        self.queue.extend(displaced);
    }

    fn finish(&mut self, id: usize, finished: bool) {
        let strand = &mut self.strands[id];
        strand.finished = Some(finished);
        strand.token = Token::Finished;
        let Some(joiner) = strand.joiner.take() else {
            return;
        };
        if self.strands[joiner].token == Token::Parked {
            self.strands[joiner].token = Token::Empty;
            self.hand_over(joiner);
        } else {
            self.wake(joiner);
        }
    }
}
