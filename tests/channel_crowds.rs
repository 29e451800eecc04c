//! Channels between crowds: on two workers and plain threads the order is open, and what remains is that each value
//! arrives once, and each producer's in its order. SY2, SY5.

#![forbid(unsafe_code)]

mod strands_support;

use std::sync::{Arc, Mutex};
use std::thread;

use runtime::channel::{Receiver, bounded, unbounded};
use runtime::coroutine::{JoinHandle, spawn};
use strands_support::*;

const FLAVOURS: [Option<usize>; 4] = [Some(0), Some(1), Some(3), None];
const EACH: usize = if cfg!(debug_assertions) { 1_000 } else { 5_000 };
/// So many come and go together.
const VICTIMS: usize = 8;

/// Who sent it, and its place among the sender's.
type Numbered = (usize, usize);
type List = Arc<Mutex<Vec<Numbered>>>;

/// Receives until there is no more, and keeps all of it in reach of others, should this one be cancelled.
fn consumer(r: &Receiver<Numbered>, lists: &mut Vec<List>) -> impl FnOnce() + Send + use<> {
    let (r, list) = (r.clone(), List::default());
    lists.push(list.clone());
    move || {
        while let Ok(value) = r.recv() {
            list.lock().unwrap().push(value);
        }
    }
}

/// Coroutines and threads send to as many; if `cancels`, others come to receive and are cancelled, until all is sent.
fn crowd(capacity: Option<usize>, cancels: bool) {
    let (s, r) = capacity.map_or_else(unbounded, bounded);
    let (mut coroutines, mut threads, mut lists) = (Vec::new(), Vec::new(), Vec::new());
    let sent = Tally::default();
    for n in 0..5 {
        let (s, end) = (s.clone(), sent.on_drop());
        let producer = move || {
            let _end = end;
            (0..EACH).for_each(|k| s.send((n, k)).unwrap());
        };
        if n < 3 {
            coroutines.push(spawn(producer));
        } else {
            threads.push(thread::spawn(producer));
        }
    }
    coroutines.extend((0..2).map(|_| spawn(consumer(&r, &mut lists))));
    threads.extend((0..2).map(|_| thread::spawn(consumer(&r, &mut lists))));
    drop(s);
    while cancels && sent.get() < 5 {
        let victims: Vec<_> = (0..VICTIMS)
            .map(|_| spawn(consumer(&r, &mut lists)))
            .collect();
        runtime::yield_now();
        victims.iter().for_each(JoinHandle::cancel);
        for victim in victims {
            let _ = victim.join(); // it may have been faster
        }
    }
    for coroutine in coroutines {
        coroutine.join().unwrap();
    }
    for thread in threads {
        pass_until(|| thread.is_finished());
        thread.join().unwrap();
    }
    let mut all = Vec::new();
    for list in lists {
        let list = list.lock().unwrap();
        // What a cancelled one passes on may come after what was sent later, so only without them is there an order.
        for n in (0..5).filter(|_| !cancels) {
            let of_one = list.iter().filter(|value| value.0 == n);
            assert!(of_one.is_sorted_by(|a, b| a < b), "{capacity:?}: {n}");
        }
        all.extend_from_slice(&list);
    }
    all.sort();
    let sent: Vec<Numbered> = (0..5)
        .flat_map(|n| (0..EACH).map(move |k| (n, k)))
        .collect();
    assert!(all == sent, "{capacity:?}: {} values", all.len());
}

#[test]
fn sy5_each_value_arrives_once_and_in_its_producers_order() {
    for capacity in FLAVOURS {
        runtime_of(2).run(move || crowd(capacity, false));
    }
}

/// What a consumer had been given, and was cancelled before it took it, is passed on.
#[test]
fn sy2_sy5_no_value_goes_with_a_cancelled_consumer() {
    for capacity in FLAVOURS {
        runtime_of(2).run(move || crowd(capacity, true));
    }
}
