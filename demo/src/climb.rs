//! Growing a population of parked units, step by step, until it is large enough or something refuses.
//!
//! ```text
//!   units   0 ─ 10 ───── 100 ─────────── 1,000 ─────────────── ...
//!              │  row    │  row          │  row
//!              └ ten     └ ten steps     └ ten steps, each a sample: time, own memory, the system's memory
//!                steps
//! ```
//!
//! Nothing is released in between, so every unit is new and every row shows what the units **since the row
//! above** took each. One unit is made before counting begins and is not counted, so that what only the first
//! one costs (a region for stacks, a library's tables) is left out.
#![forbid(unsafe_code)]

use std::io;
use std::time::Duration;

use crate::lab::Lab;
use crate::limits::name_refusal;
use crate::memory;
use crate::quantity::{grouped, with_unit};
use crate::report::{Body, Row, Unit};
use crate::stats::Summary;

/// Metric: nanoseconds from the call that creates a unit until it is parked.
pub const TIME: &str = "time";
/// Metric: bytes of the unit's own pages and page tables.
pub const OWN: &str = "own_memory";
/// Metric: bytes by which the system's available memory fell, which includes the kernel's own.
pub const ALL: &str = "with_kernel";

/// A crowd of parked units of one kind.
pub trait Population {
    /// Adds up to `count` units and waits until all that were made are parked.
    fn grow(&mut self, count: u64) -> Growth;

    /// How many more units may be asked for, and what bounds them; `None` if a refusal does no harm.
    fn room(&self) -> Option<(u64, String)> {
        None
    }

    /// Bytes of the units' own pages and page tables: all of them, or a figure that rises as all do.
    ///
    /// # Errors
    /// The system's.
    fn own_bytes(&self) -> io::Result<u64>;
}

/// What came of an attempt to add units.
#[derive(Debug)]
pub struct Growth {
    /// How long it took until they were parked.
    pub took: Duration,
    /// Units that were made, and what refused the next one.
    pub refused: Option<(u64, io::Error)>,
}

/// How far to climb.
#[derive(Clone, Copy, Debug)]
pub struct Goal {
    /// Whose population it is.
    pub body: Body,
    /// The numbers of units at which a row is made, ascending, each at least [`STEPS`] more than the last.
    pub rungs: &'static [u64],
    /// A generous guess of what one unit takes of the system's memory.
    pub unit_bytes: u64,
}

/// Steps between two rungs, each a sample.
const STEPS: u64 = 10;
/// Below so many units in a step the change of the system's memory is noise.
const STEP_FOR_SYSTEM: u64 = 90;
/// What is never touched: an eighth of what was available at the start, and this much at least.
const RESERVE_BYTES_MIN: u64 = 512 << 20;

/// Grows `population` from rung to rung and reports a row for each.
///
/// Stops where the system refuses a unit or where memory would become scarce; the remaining rungs are
/// reported as skipped, with the reason and the limit's name.
///
/// # Errors
/// If memory cannot be read from `/proc`, or the first unit is refused.
pub fn climb(lab: &mut Lab, goal: &Goal, population: &mut dyn Population) -> io::Result<()> {
    let reserve = (memory::available_bytes()? / 8).max(RESERVE_BYTES_MIN);
    let mut alive = 0;
    if let Some((_, error)) = population.grow(1).refused {
        return Err(error);
    }
    let mut stop = None;
    for &rung in goal.rungs {
        match &stop {
            None => stop = step_up(lab, goal, population, &mut alive, rung, reserve)?,
            Some(why) => lab.row(skipped(goal.body, rung, why)),
        }
    }
    Ok(())
}

/// Climbs to one rung. Returns why it goes no further, if it does not.
fn step_up(
    lab: &mut Lab,
    goal: &Goal,
    population: &mut dyn Population,
    alive: &mut u64,
    rung: u64,
    reserve: u64,
) -> io::Result<Option<String>> {
    let mut samples = Samples::default();
    let first = *alive;
    let (top, bound) = match population.room() {
        Some((units, why)) if first + units < rung => (first + units, Some(why)),
        _ => (rung, None),
    };
    for step in 1..=STEPS {
        let count = first + (top - first) * step / STEPS - *alive;
        if count == 0 {
            // So little room that some steps have no unit to make.
            continue;
        }
        if let Some(why) = memory_is_short(goal, count, reserve)? {
            lab.row(samples.row(goal.body, *alive, Some(why.clone())));
            return Ok(Some(why));
        }
        let own = population.own_bytes()?;
        let all = memory::available_bytes()?;
        let growth = population.grow(count);
        let made = growth.refused.as_ref().map_or(count, |&(made, _)| made);
        *alive += made;
        if let Some((_, error)) = growth.refused {
            let number = grouped(*alive + 2);
            let why = format!(
                "the system refused unit {number}: {}",
                name_refusal(goal.body, &error)
            );
            lab.row(samples.row(goal.body, *alive, Some(why.clone())));
            return Ok(Some(why));
        }
        samples.add(
            count,
            lab.net_ns(growth.took),
            population.own_bytes()? as f64 - own as f64,
            all as f64 - memory::available_bytes()? as f64,
        );
        lab.progress(&format!("{} units parked", goal.body.name()), *alive, rung);
    }
    lab.row(samples.row(goal.body, *alive, bound.clone()));
    Ok(bound)
}

/// Whether `count` more units could take what must stay free; the answer is the reason.
fn memory_is_short(goal: &Goal, count: u64, reserve: u64) -> io::Result<Option<String>> {
    let available = memory::available_bytes()?;
    let wanted = count * goal.unit_bytes;
    let bytes = |bytes| with_unit(Unit::Bytes, bytes as f64);
    Ok((available < reserve + wanted).then(|| {
        format!(
            "memory: {} more units could take {} of the {} that are left, of which {} stay free",
            grouped(count),
            bytes(wanted),
            bytes(available),
            bytes(reserve)
        )
    }))
}

fn skipped(body: Body, units: u64, why: &str) -> Row {
    Row {
        units: Some(units),
        skipped: Some(why.to_owned()),
        ..Row::new(body.name(), body)
    }
}

/// What the steps to one rung have shown so far, per unit.
#[derive(Debug, Default)]
struct Samples {
    time: Vec<f64>,
    own: Vec<f64>,
    all: Vec<f64>,
}

impl Samples {
    fn add(&mut self, count: u64, ns: f64, own: f64, all: f64) {
        let units = count as f64;
        self.time.push(ns / units);
        self.own.push(own / units);
        if count >= STEP_FOR_SYSTEM {
            self.all.push(all / units);
        }
    }

    fn row(&self, body: Body, units: u64, note: Option<String>) -> Row {
        let mut row = Row {
            units: Some(units),
            note,
            ..Row::new(body.name(), body)
        };
        let metrics = [(TIME, &self.time), (OWN, &self.own), (ALL, &self.all)];
        row.values.extend(
            metrics
                .into_iter()
                .filter_map(|(metric, samples)| Some((metric.to_owned(), Summary::of(samples)?))),
        );
        self.withdraw_the_impossible(&mut row);
        row
    }

    /// What the system lacks includes the unit's own pages. Less than these means that it got some from elsewhere
    /// meanwhile (another program, a CPU's list of free pages), so the figure says nothing.
    fn withdraw_the_impossible(&self, row: &mut Row) {
        let (Some(own), Some(all)) = (row.values.get(OWN), row.values.get(ALL)) else {
            return;
        };
        if all.median < own.median {
            row.values.remove(ALL);
            row.note.get_or_insert_with(|| {
                "the system's memory moved too much meanwhile to tell the kernel's share".to_owned()
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::Event;
    use crate::lab::tests::Tape;

    /// Units of 1 us and 4 KiB each, of which the system grants so many; more than `room` are never asked for.
    struct Model {
        alive: u64,
        grants: u64,
        room: Option<u64>,
    }

    impl Population for Model {
        fn grow(&mut self, count: u64) -> Growth {
            let made = count.min(self.grants - self.alive);
            self.alive += made;
            let error = io::Error::from(rustix::io::Errno::AGAIN);
            Growth {
                took: Duration::from_micros(1) * made as u32,
                refused: (made < count).then_some((made, error)),
            }
        }

        fn room(&self) -> Option<(u64, String)> {
            Some((self.room?.saturating_sub(self.alive), "bounded".into()))
        }

        fn own_bytes(&self) -> io::Result<u64> {
            Ok(self.alive * 4096)
        }
    }

    fn rows(grants: u64, room: Option<u64>, unit_bytes: u64) -> Vec<Row> {
        let tape = Tape::default();
        let goal = Goal {
            body: Body::Thread,
            rungs: &[10, 1_000, 10_000],
            unit_bytes,
        };
        let mut model = Model {
            alive: 0,
            grants,
            room,
        };
        climb(&mut tape.lab(Body::Thread), &goal, &mut model).unwrap();
        let rows = tape.events().into_iter().map(|event| match event {
            Event::Row(row) => row,
            other => panic!("{other:?}"),
        });
        rows.collect()
    }

    #[test]
    fn every_rung_has_ten_samples_of_what_a_unit_takes() {
        let rows = rows(u64::MAX, None, 1);
        assert_eq!(
            rows.iter().map(|row| row.units).collect::<Vec<_>>(),
            [Some(10), Some(1_000), Some(10_000)]
        );
        for row in &rows {
            assert_eq!((row.values[OWN].median, row.values[OWN].n), (4096.0, 10));
            assert!(
                (900.0..=1_000.0).contains(&row.values[TIME].median),
                "{row:?}"
            );
        }
        assert!(
            !rows[0].values.contains_key(ALL),
            "too few units to see in the system's memory"
        );
    }

    #[test]
    fn a_refusal_ends_the_climb_and_is_named_on_every_later_rung() {
        let rows = rows(500, None, 1);
        assert_eq!(rows[1].units, Some(499));
        assert!(
            rows[1].note.as_ref().unwrap().contains("refused unit 501"),
            "{rows:?}"
        );
        assert_eq!(rows[2].skipped, rows[1].note);
    }

    #[test]
    fn a_system_figure_below_the_units_own_pages_is_withdrawn() {
        let mut samples = Samples::default();
        samples.add(1_000, 1.0, 4_096_000.0, 5_000_000.0);
        assert_eq!(
            samples.row(Body::Thread, 1_000, None).values[ALL].median,
            5_000.0
        );
        samples.add(1_000, 1.0, 4_096_000.0, -9_000_000.0);
        let row = samples.row(Body::Thread, 1_000, None);
        assert!(
            !row.values.contains_key(ALL) && row.note.is_some(),
            "{row:?}"
        );
    }

    #[test]
    fn no_more_units_are_asked_for_than_there_is_room_for() {
        let rows = rows(501, Some(501), 1);
        assert_eq!((rows[1].units, rows[1].values[OWN].n), (Some(500), 10));
        assert_eq!(rows[1].note.as_deref(), Some("bounded"));
        assert_eq!(rows[2].skipped, rows[1].note);
    }

    #[test]
    fn units_that_memory_cannot_bear_are_not_made() {
        let rows = rows(u64::MAX, None, 1 << 50);
        assert!(
            rows[0].note.as_ref().unwrap().contains("memory"),
            "{rows:?}"
        );
        assert_eq!(rows[0].units, Some(0));
    }

    #[test]
    fn a_first_unit_that_is_refused_is_an_error() {
        let tape = Tape::default();
        let goal = Goal {
            body: Body::Thread,
            rungs: &[10],
            unit_bytes: 1,
        };
        let mut model = Model {
            alive: 0,
            grants: 0,
            room: None,
        };
        assert!(climb(&mut tape.lab(Body::Thread), &goal, &mut model).is_err());
    }
}
