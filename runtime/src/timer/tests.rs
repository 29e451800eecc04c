use super::*;
use proptest::collection::vec;
use proptest::prelude::*;
use std::collections::BTreeMap;

fn pop_due<T>(timers: &mut Timers<T>, now: Instant) -> Option<T> {
    let mut due = Vec::new();
    timers.take_due(now, 1, &mut due);
    due.pop()
}

fn at(base: Instant, n: u64) -> Instant {
    base + Duration::from_nanos(n)
}

#[test]
fn timers_fire_in_order_and_only_when_due() {
    let base = Instant::now();
    let mut timers = Timers::new(base);
    for n in [5, 3, 9, 1, 7] {
        timers.insert(at(base, n), n);
    }
    assert_eq!(timers.next_deadline(), Some(at(base, 1)));
    let due: Vec<_> = std::iter::from_fn(|| pop_due(&mut timers, at(base, 5))).collect();
    assert_eq!(due, [1, 3, 5]);
    assert_eq!(timers.len(), 2);
}

#[test]
fn a_key_that_fired_does_not_cancel_its_successor() {
    let base = Instant::now();
    let mut timers = Timers::new(base);
    let old = timers.insert(base, "old");
    assert_eq!(pop_due(&mut timers, base), Some("old"));
    let new = timers.insert(base, "new");
    assert_eq!(old.index, new.index, "the entry is reused");
    assert_eq!(timers.cancel(old), None);
    assert_eq!(timers.cancel(new), Some("new"));
    assert_eq!(timers.cancel(new), None);
}

/// What is done to the timers. Times are drawn from nanoseconds to centuries, each order of magnitude as often as the next.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// A deadline that long after the present.
    Insert(u64),
    /// One of the pending ones, and again.
    Cancel(prop::sample::Index),
    /// The clock goes on.
    Pass(u64),
    /// So many at the most of what is due.
    Fire(usize),
}

fn time() -> impl Strategy<Value = u64> {
    (any::<u64>(), 0..44_u32).prop_map(|(bits, shift)| (bits >> 20) >> shift)
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => time().prop_map(Step::Insert),
        2 => any::<prop::sample::Index>().prop_map(Step::Cancel),
        1 => time().prop_map(Step::Pass),
        1 => prop_oneof![1..4_usize, Just(usize::MAX)].prop_map(Step::Fire),
    ]
}

/// The timers, and a sorted map from deadline and name to key that must agree with them.
struct Compared {
    base: Instant,
    now: u64,
    timers: Timers<usize>,
    model: BTreeMap<(u64, usize), TimerKey>,
}

impl Compared {
    fn take(&mut self, step: Step, name: usize) {
        match step {
            Step::Insert(delay) => {
                let deadline = self.now.saturating_add(delay);
                let key = self.timers.insert(at(self.base, deadline), name);
                self.model.insert((deadline, name), key);
            }
            Step::Cancel(index) if !self.model.is_empty() => {
                let nth = index.index(self.model.len());
                let (&(deadline, name), &key) = self.model.iter().nth(nth).expect("one of them");
                assert_eq!(self.timers.cancel(key), Some(name));
                assert_eq!(self.timers.cancel(key), None);
                self.model.remove(&(deadline, name));
            }
            Step::Cancel(_) => {}
            Step::Pass(time) => self.now = self.now.saturating_add(time).min(u64::MAX >> 1),
            Step::Fire(max) => self.fire(max),
        }
        assert_eq!(self.timers.len(), self.model.len());
    }

    fn fire(&mut self, max: usize) {
        let mut fired = Vec::new();
        let now = at(self.base, self.now);
        self.timers.take_due(now, max, &mut fired);
        let is_due = |&(deadline, _): &(u64, usize)| deadline <= self.now;
        let due = self.model.keys().copied().take_while(is_due).count();
        assert_eq!(fired.len(), due.min(max), "all that are due, once");
        for name in fired {
            let (&(earliest, _), _) = self.model.first_key_value().expect("due");
            let taken = self.model.remove(&(earliest, name));
            assert!(taken.is_some(), "a timer of the earliest deadline");
        }

        let earliest = self.model.first_key_value();
        let earliest = earliest.map(|(&(deadline, _), _)| at(self.base, deadline));
        let next = self.timers.next_deadline();
        assert!(next <= earliest && next.is_some() == earliest.is_some());
        if max == usize::MAX {
            assert!(next.is_none_or(|next| next > now), "progress");
        }
        if self.model.len() <= COMPARED_MAX {
            assert_eq!(next, earliest, "few are exact, however far");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_sequence_of_calls_agrees_with_a_sorted_map(steps in vec(step(), 1..600)) {
        let base = Instant::now();
        let mut compared = Compared { base, now: 0, timers: Timers::new(base), model: BTreeMap::new() };
        for (name, &step) in steps.iter().enumerate() {
            compared.take(step, name);
        }
        compared.now = u64::MAX >> 1;
        compared.fire(usize::MAX);
    }
}

#[test]
fn timers_that_are_cancelled_leave_nothing_behind() {
    let base = Instant::now();
    let mut timers = Timers::new(base);
    let kept = timers.insert(base, 0);
    for n in 0..10_000 {
        for delay in [1, 1_000_000, 10_000_000_000] {
            let key = timers.insert(at(base, delay), n);
            assert_eq!(timers.cancel(key), Some(n));
        }
    }
    assert_eq!((timers.entries.len(), timers.len()), (2, 1));
    assert!(timers.near.late_capacity() < 100);
    assert_eq!(timers.cancel(kept), Some(0));
    assert_eq!(timers.next_deadline(), None);
}
