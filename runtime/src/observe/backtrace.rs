//! Backtraces of coroutines that are suspended: each is resumed for no more than to look at its own stack.
//!
//! The looking is done on another stack, so it takes nothing of a stack that may be nearly full, and touches no page of
//! one that has been small so far. Stacks with the same calls share one [`Backtrace`], whose names
//! are looked up once.
//!
//! The unwinder takes 150 ns for each call. Crowds are parked in a few places, so it is asked once for each of those: where
//! its return addresses were found the others are expected to have the same.
//!
//! ```text
//!   seen:     calls a, b, c, at  base - 1400: a   base - 1312: b   base - 96: c
//!   the next, as deep:           base - 1400: a   base - 1312: b   base - 96: c      the same calls
//! ```
#![forbid(unsafe_code)]

use std::backtrace::Backtrace;
use std::cell::RefCell;
use std::collections::HashMap;

use crate::home::{self, Home};
use crate::seam::sync::{Arc, thread_local};
use crate::stack::Stack;
use crate::sys::walk::{self, Call};

/// Room for the unwinder and the symboliser of std, which take 22 KiB.
const STACK_BYTES: usize = 256 << 10;

/// What is found on the stacks of one worker.
pub(super) struct Looks {
    stack: Stack,
    seen: HashMap<Vec<usize>, Arc<Backtrace>>,
    /// By how deep they are.
    places: HashMap<usize, Vec<Place>>,
    last: Option<Arc<Backtrace>>,
}

/// Where on a stack the return addresses lie by which its calls are known, each by its distance from the base.
struct Place {
    returns: Vec<(usize, usize)>,
    trace: Arc<Backtrace>,
}

/// So many of one depth are known.
const PLACES_MAX: usize = 64;
const WORD_BYTES: usize = size_of::<usize>();

impl Place {
    /// None if return addresses do not lie where they are looked for: on x86_64, a call puts its own right below where the
    /// stack pointer is when it has returned.
    ///
    /// Of the calls from that on in whose frame `here` is: what that one calls is not there at another time.
    fn of(calls: &[Call], here: usize, stack: &Stack, trace: &Arc<Backtrace>) -> Option<Self> {
        let (addresses, word) = (stack.addresses(), stack.words());
        if !cfg!(target_arch = "x86_64") || !addresses.contains(&here) {
            return None;
        }
        let is_above = |call: &&Call| (here + 1..=addresses.end).contains(&call.frame_end);
        let returns = calls.iter().filter(is_above).map(|call| {
            let place = call.frame_end - WORD_BYTES;
            let address = word(place)?;
            let is_the_calls = address.wrapping_sub(call.address) <= 1;
            is_the_calls.then_some((addresses.end - place, address))
        });
        Some(Place {
            returns: returns.collect::<Option<_>>()?,
            trace: trace.clone(),
        })
    }

    fn is_on(&self, stack: &Stack) -> bool {
        let (base, word) = (stack.addresses().end, stack.words());
        let mut returns = self.returns.iter();
        returns.all(|&(distance, address)| word(base - distance) == Some(address))
    }
}

thread_local! {
    static LOOKS: RefCell<Option<Looks>> = const { RefCell::new(None) };
}

/// The backtraces of all suspended coroutines of this worker, and of the one that runs, by their numbers. None if no
/// memory is left for the stack to look from.
pub(super) fn of_all(home: &Home) -> HashMap<u64, Arc<Backtrace>> {
    let mut found = HashMap::new();
    let Ok(stack) = home.stacks.borrow_mut().acquire(STACK_BYTES) else {
        return found;
    };
    LOOKS.replace(Some(Looks {
        stack,
        seen: HashMap::new(),
        places: HashMap::new(),
        last: None,
    }));
    let take = || LOOKS.with_borrow_mut(|looks| looks.as_mut()?.last.take());
    if let Some((_, task)) = home::current() {
        look();
        found.extend(take().map(|trace| (task.id().get(), trace)));
    }
    home.visit_all(look, |task| {
        found.extend(take().map(|trace| (task.id().get(), trace)));
    });
    if let Some(looks) = LOOKS.take() {
        home.stacks.borrow_mut().release(looks.stack);
    }
    found
}

/// Looks at the stack that it is called on. Suspends nowhere.
fn look() {
    let Some((_, context)) = home::running() else {
        return;
    };
    let theirs = context.stack();
    let addresses = theirs.addresses();
    let local = 0_u8;
    let here = (&raw const local).addr();
    LOOKS.with_borrow_mut(|looks| {
        let Some(looks) = looks else { return };
        // This frame is always the same, so it tells how deep the others are. Not on a generator's stack.
        let depth = addresses.end.wrapping_sub(here);
        let known = looks.places.entry(depth).or_default();
        if let Some(place) = known.iter().find(|place| place.is_on(theirs)) {
            looks.last = Some(place.trace.clone());
            return;
        }
        let seen = &mut looks.seen;
        let (trace, place) = looks.stack.run(|| {
            let mut calls = Vec::new();
            walk::calls(&addresses, |call| calls.push(call));
            let by_address = calls.iter().map(|call| call.address).collect();
            let trace = seen
                .entry(by_address)
                .or_insert_with(|| Arc::new(Backtrace::force_capture()));
            (trace.clone(), Place::of(&calls, here, theirs, trace))
        });
        if known.len() < PLACES_MAX {
            known.extend(place);
        }
        looks.last = Some(trace);
    });
}

/// The lines of backtraces, each worked out once.
pub(super) struct Traces(HashMap<*const Backtrace, std::sync::Arc<[String]>>);

impl Traces {
    pub(super) fn new() -> Self {
        Traces(HashMap::new())
    }

    /// Those of `trace`, which is there as long as this is asked.
    pub(super) fn lines(&mut self, trace: Option<&Arc<Backtrace>>) -> std::sync::Arc<[String]> {
        let Some(trace) = trace else {
            return std::sync::Arc::default();
        };
        let known = self.0.entry(Arc::as_ptr(trace));
        known.or_insert_with(|| lines(trace).into()).clone()
    }
}

/// The calls of a backtrace that are the coroutine's own: without those by which it was looked at, and those of the
/// scheduler that had called it. A line each: the function, and where in the program, if that is known.
fn lines(trace: &Backtrace) -> Vec<String> {
    let text = trace.to_string();
    let mut lines: Vec<String> = Vec::new();
    for line in text.lines().map(str::trim) {
        if let Some(place) = line.strip_prefix("at ") {
            if let Some(function) = lines.last_mut() {
                function.push_str(" at ");
                function.push_str(place);
            }
            continue;
        }
        // "12: function", or "function" of one that was inlined there.
        let function = match line.split_once(": ") {
            Some((number, function)) if number.parse::<u32>().is_ok() => function,
            _ => line,
        };
        lines.push(function.to_owned());
    }
    let is_one_of = |line: &String, some: &[&str]| some.iter().any(|&it| line.contains(it));
    let end = lines.iter().position(|line| is_one_of(line, &BELOW));
    lines.truncate(end.unwrap_or(lines.len()));
    // Who waits inside of a generator is called by ours once more.
    let outside = lines.iter().position(|line| is_one_of(line, &GENERATORS));
    let begin = lines[..outside.unwrap_or(lines.len())]
        .iter()
        .rposition(|line| is_one_of(line, &OURS));
    lines.drain(..begin.map_or(0, |last| last + 1));
    while lines.last().is_some_and(|line| is_one_of(line, &STARTS)) {
        lines.pop();
    }
    lines
}

/// By which a coroutine parks, and is looked at. A function that was inlined is known by its name alone, without the path
/// of its module; its file is.
const OURS: [&str; 8] = [
    "runtime::park::",
    "runtime::wait::",
    "runtime::context::",
    "runtime::observe::",
    "runtime/src/park/",
    "runtime/src/wait/",
    "runtime/src/context.rs",
    "runtime/src/observe/",
];

/// By which a generator is run.
const GENERATORS: [&str; 3] = [
    "runtime::generator::",
    "runtime::context::RawGenerator",
    "runtime/src/generator.rs",
];

/// By which the scheduler calls the closure of a coroutine.
const BELOW: [&str; 3] = [
    "runtime::task::record::run",
    "runtime/src/task/record.rs",
    "runtime::worker::coroutine_main",
];

/// What lies between that and the closure.
const STARTS: [&str; 6] = [
    "__rust_try",
    "std::panicking::",
    "library/std/src/panic",
    "library/core/src/panic/",
    "library/core/src/ops/function.rs",
    "runtime/src/scope.rs",
];
