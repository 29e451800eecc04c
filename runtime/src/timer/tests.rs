use super::*;
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

#[test]
fn any_sequence_of_calls_agrees_with_a_sorted_map() {
    let base = Instant::now();
    let mut random = 0x2545_f491_4f6c_dd1d_u64;
    for _ in 0..50 {
        let (mut timers, mut model) = (Timers::new(base), BTreeMap::new());
        for step in 0..2000u64 {
            random = random
                .wrapping_mul(6364136223846793005)
                .wrapping_add(1442695040888963407);
            let draw = random >> 33;
            match draw % 4 {
                0 | 1 => {
                    let deadline = at(base, draw % 10_007);
                    let key = timers.insert(deadline, step);
                    model.insert((deadline, step), key);
                }
                2 => {
                    let chosen = model.iter().nth(draw as usize % model.len().max(1));
                    if let Some((&(deadline, step), &key)) = chosen {
                        assert_eq!(timers.cancel(key), Some(step));
                        model.remove(&(deadline, step));
                    }
                }
                _ => {
                    let earliest = model.first_key_value().map(|(&(deadline, _), _)| deadline);
                    assert_eq!(timers.next_deadline(), earliest);
                    if let Some(now) = earliest {
                        let fired = pop_due(&mut timers, now).expect("due");
                        assert!(
                            model.remove(&(now, fired)).is_some(),
                            "a timer of that deadline"
                        );
                    }
                }
            }
            assert_eq!(timers.len(), model.len());
        }
    }
}

/// Deadlines from nanoseconds to centuries away, and a clock that goes on by steps as different.
#[test]
fn far_and_near_timers_agree_with_a_sorted_map() {
    let base = Instant::now();
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    let mut draw = move || {
        random = random
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        random >> 20
    };
    for _ in 0..100 {
        let (mut timers, mut model) = (Timers::new(base), BTreeMap::new());
        let mut now = 0u64;
        for step in 0..2000u64 {
            match draw() % 8 {
                0..4 => {
                    let nanos = now.saturating_add(draw() >> (draw() % 44));
                    let key = timers.insert(at(base, nanos), step);
                    model.insert((nanos, step), key);
                }
                4 | 5 => {
                    let chosen = model.iter().nth(draw() as usize % model.len().max(1));
                    if let Some((&(nanos, step), &key)) = chosen {
                        assert_eq!(timers.cancel(key), Some(step));
                        assert_eq!(timers.cancel(key), None);
                        model.remove(&(nanos, step));
                    }
                }
                6 => now += draw() >> (4 + draw() % 40),
                _ => {
                    let mut due = Vec::new();
                    timers.take_due(at(base, now), usize::MAX, &mut due);
                    let later = model.split_off(&(now + 1, 0));
                    let deadlines = due.iter().map(|step| {
                        let (&(nanos, _), _) =
                            model.iter().find(|((_, s), _)| s == step).expect("due");
                        nanos
                    });
                    assert!(deadlines.is_sorted(), "the earliest first");
                    assert_eq!(due.len(), model.len(), "all that are due, once");
                    model = later;
                    let next = timers.next_deadline();
                    let earliest = model
                        .first_key_value()
                        .map(|(&(nanos, _), _)| at(base, nanos));
                    assert!(next <= earliest && next.is_some() == earliest.is_some());
                    assert!(next.is_none_or(|next| next > at(base, now)), "progress");
                    if model.len() <= COMPARED_MAX {
                        assert_eq!(next, earliest, "few are exact, however far");
                    }
                }
            }
            assert_eq!(timers.len(), model.len());
        }
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
