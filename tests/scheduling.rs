//! Scheduling: first come first served, nobody starves, and no wake-up is lost.

#![forbid(unsafe_code)]

mod strands_support;

use std::cell::{Cell, RefCell};
use std::panic::catch_unwind;
use std::rc::Rc;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use runtime::coroutine::{self, Coroutine, JoinHandle, current, park, spawn, spawn_local};
use runtime::{time, yield_now};
use strands_support::*;

#[test]
fn coroutines_run_in_the_order_of_their_spawns_and_of_their_yields() {
    on_one_worker_and_on_two(|| {
        let order = Rc::new(RefCell::new(Vec::new()));
        let all: Vec<_> = (0..5)
            .map(|n| {
                let order = order.clone();
                spawn_local(move || {
                    for turn in 0..3 {
                        order.borrow_mut().push((turn, n));
                        yield_now();
                    }
                })
            })
            .collect();
        pass_until(|| all.iter().all(JoinHandle::is_finished));
        let expected: Vec<_> = (0..3)
            .flat_map(|turn| (0..5).map(move |n| (turn, n)))
            .collect();
        assert_eq!(*order.borrow(), expected);
    });
}

#[test]
fn the_woken_run_in_the_order_of_their_wake_ups() {
    on_one_worker_and_on_two(|| {
        let order = Rc::new(RefCell::new(Vec::new()));
        let parked: Vec<(Coroutine, JoinHandle<()>)> =
            (0..5).map(|n| parked_then_noted(n, &order)).collect();
        for n in [3, 0, 4, 1, 2] {
            parked[n].0.unpark();
        }
        parked
            .into_iter()
            .for_each(|(_, handle)| handle.join().unwrap());
        assert_eq!(*order.borrow(), [3, 0, 4, 1, 2]);
    });
}

fn parked_then_noted(n: usize, order: &Rc<RefCell<Vec<usize>>>) -> (Coroutine, JoinHandle<()>) {
    let (order, known) = (order.clone(), Rc::new(RefCell::new(None)));
    let tell = known.clone();
    let handle = spawn_local(move || {
        *tell.borrow_mut() = Some(current());
        park();
        order.borrow_mut().push(n);
    });
    pass_until(|| known.borrow().is_some());
    let who = known.borrow_mut().take().unwrap();
    (who, handle)
}

#[test]
fn join_runs_its_unstarted_child_next_and_returns_before_the_others_run() {
    for workers in [1, 2] {
        runtime_of(workers).run(|| {
            let order = Rc::new(RefCell::new(Vec::new()));
            let note = |name: &'static str| {
                let order = order.clone();
                move || order.borrow_mut().push(name)
            };
            let early = spawn_local(note("early"));
            let child = spawn_local(note("child"));
            child.join().unwrap();
            note("parent")();
            early.join().unwrap();
            assert_eq!(*order.borrow(), ["child", "parent", "early"]);
        });
    }
}

#[test]
fn a_chain_of_hand_overs_is_bounded_so_a_neighbour_gets_its_turn() {
    on_one_worker_and_on_two(|| {
        let ran = Rc::new(Cell::new(false));
        let runs = ran.clone();
        let neighbour = spawn_local(move || runs.set(true));
        let mut joins = 0;
        while !ran.get() {
            spawn_local(|| ()).join().unwrap();
            joins += 1;
            assert!(joins <= 10_000, "the neighbour starves");
        }
        neighbour.join().unwrap();
    });
}

#[test]
fn timers_and_messages_are_looked_at_however_busy_the_queue_is() {
    on_one_worker_and_on_two(|| {
        let stop = Rc::new(Cell::new(false));
        let busy: Vec<_> = (0..3)
            .map(|_| {
                let stop = stop.clone();
                spawn_local(move || pass_until(|| stop.get()))
            })
            .collect();
        time::sleep(Duration::from_millis(1)); // comes back though the others never rest
        let me = current();
        let thread = thread::spawn(move || me.unpark());
        park();
        stop.set(true);
        busy.into_iter().for_each(|handle| handle.join().unwrap());
        pass_until(|| thread.is_finished());
    });
}

#[test]
fn unpark_before_park_returns_at_once_and_counts_once() {
    on_one_worker_and_on_two(|| {
        let me = current();
        me.unpark();
        me.unpark();
        park();
        let before = time::Instant::now();
        coroutine::park_timeout(Duration::from_millis(2));
        assert!(
            before.elapsed() >= Duration::from_millis(2),
            "two unparks make one token"
        );
    });
}

#[test]
fn a_token_outlasts_other_waits() {
    on_one_worker_and_on_two(|| {
        current().unpark();
        yield_now();
        time::sleep(Duration::from_millis(1));
        assert_eq!(spawn(|| 3).join().unwrap(), 3);
        park();
    });
}

#[test]
fn an_unpark_does_not_end_other_waits() {
    on_one_worker_and_on_two(|| {
        let me = current();
        let pesters = spawn_local(move || {
            for _ in 0..20 {
                me.unpark();
                yield_now();
            }
        });
        let before = time::Instant::now();
        time::sleep(Duration::from_millis(2));
        assert!(before.elapsed() >= Duration::from_millis(2));
        assert_eq!(
            spawn(|| (0..40).map(|_| yield_now()).count())
                .join()
                .unwrap(),
            40
        );
        pesters.join().unwrap();
    });
}

/// One token goes round between a coroutine and a thread; a lost wake-up would end the game.
#[test]
fn sc2_a_wake_up_from_a_foreign_thread_is_never_lost() {
    on_one_worker_and_on_two(|| {
        const ROUNDS: usize = 20_000;
        let ball = Tally::default();
        let (theirs, me) = (ball.clone(), current());
        let thread = thread::spawn(move || {
            for round in 0..ROUNDS {
                while theirs.get() != 2 * round + 1 {
                    thread::yield_now();
                }
                theirs.add();
                me.unpark();
            }
        });
        for round in 0..ROUNDS {
            ball.add();
            while ball.get() != 2 * round + 2 {
                park();
            }
        }
        pass_until(|| thread.is_finished());
    });
}

#[test]
fn sc2_coroutines_of_two_workers_wake_each_other_without_loss() {
    runtime_of(2).run(|| {
        const ROUNDS: usize = 20_000;
        let ball = Tally::default();
        let (theirs, first) = (ball.clone(), current());
        let (tell, who) = mpsc::channel();
        let other = spawn(move || {
            tell.send((current(), thread::current().id())).unwrap();
            for round in 0..ROUNDS {
                while theirs.get() != 2 * round + 1 {
                    park();
                }
                theirs.add();
                first.unpark();
            }
        });
        // This worker stays here, so the other one takes it.
        let (second, its_thread) = who.recv().unwrap();
        assert_ne!(its_thread, thread::current().id());
        for round in 0..ROUNDS {
            ball.add();
            second.unpark();
            while ball.get() != 2 * round + 2 {
                park();
            }
        }
        other.join().unwrap();
    });
}

#[test]
fn sc2_waking_one_that_has_finished_does_nothing() {
    on_one_worker_and_on_two(|| {
        let child = spawn(current);
        let gone = child.join().unwrap();
        (0..10).for_each(|_| gone.unpark());
        let late = gone.clone();
        let thread = thread::spawn(move || (0..10).for_each(|_| late.unpark()));
        pass_until(|| thread.is_finished());
        // Its record and stack serve others now, who must not notice.
        let others: Vec<_> = (0..10)
            .map(|_| spawn(|| coroutine::park_timeout(Duration::from_millis(1))))
            .collect();
        others.into_iter().for_each(|other| other.join().unwrap());
        assert_eq!(gone.name(), None);
    });
}

#[test]
fn sc2_many_wakers_of_one_coroutine_lead_to_one_run_at_a_time() {
    on_one_worker_and_on_two(|| {
        let me = current();
        let threads: Vec<_> = (0..4)
            .map(|_| {
                let me = me.clone();
                thread::spawn(move || (0..1000).for_each(|_| me.unpark()))
            })
            .collect();
        while !threads.iter().all(|thread| thread.is_finished()) {
            coroutine::park_timeout(Duration::from_micros(100));
        }
        // At most one token is left, however many calls there were.
        coroutine::park_timeout(Duration::ZERO);
        let before = time::Instant::now();
        let_the_others_run();
        coroutine::park_timeout(Duration::ZERO);
        coroutine::park_timeout(Duration::from_millis(1));
        assert!(before.elapsed() >= Duration::from_millis(1));
    });
}

#[test]
fn sc9_spawns_nest_ten_thousand_deep() {
    on_one_worker_and_on_two(|| {
        fn nest(depth: u32) -> u32 {
            if depth == 0 {
                0
            } else {
                spawn(move || nest(depth - 1)).join().unwrap() + 1
            }
        }
        assert_eq!(nest(10_000), 10_000);
    });
}

#[test]
fn sc9_destructors_may_spawn() {
    on_one_worker_and_on_two(|| {
        let ran = Tally::default();
        let tally = ran.clone();
        let spawns = move || {
            let tally = tally.clone();
            OnDrop::new(move || drop(spawn(move || tally.add())))
        };
        let (plain, unwound, result) = (spawns(), spawns(), spawns());
        spawn(move || drop(plain)).join().unwrap();
        let panicked = spawn(move || {
            let _unwound = unwound;
            panic!("unwinds");
        });
        assert!(panicked.join().is_err());
        drop(spawn(move || result));
        assert!(passes_in_time(|| ran.get() == 3));
    });
}

#[test]
fn sc9_a_hundred_thousand_live_coroutines_cost_a_page_each_and_little_more() {
    const ALL: usize = 100_000;
    let name = "sc9_a_hundred_thousand_live_coroutines_cost_a_page_each_and_little_more";
    in_own_process(name, || {
        runtime::run(|| {
            let before = resident_bytes();
            let begun = Tally::default();
            let all: Vec<_> = (0..ALL)
                .map(|_| {
                    let begun = begun.clone();
                    spawn(move || {
                        begun.add();
                        park();
                    })
                })
                .collect();
            pass_until(|| begun.get() == ALL);
            let each = (resident_bytes() - before) / ALL;
            // Unoptimised frames are larger, and may need a second page.
            let most = if cfg!(debug_assertions) {
                4700 + 4096
            } else {
                4700
            };
            assert!(each <= most, "{each} bytes each");
            all.iter().for_each(JoinHandle::cancel);
            all.into_iter()
                .for_each(|child| assert!(child.join().is_err()));
        });
    })
    .well();
}

/// Memory and page tables of this process.
fn resident_bytes() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let kilobytes = |key: &str| -> usize {
        let line = status.lines().find(|line| line.starts_with(key)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    };
    (kilobytes("VmRSS:") + kilobytes("VmPTE:")) * 1024
}

#[test]
fn calls_that_need_a_coroutine_say_so_outside() {
    let calls: [fn(); 5] = [
        yield_now,
        park,
        || drop(current()),
        || drop(spawn(|| ())),
        || coroutine::park_timeout(Duration::ZERO),
    ];
    for call in calls {
        let said = text(&*catch_unwind(call).unwrap_err());
        assert!(said.contains("runtime::run"), "{said}");
    }
}
