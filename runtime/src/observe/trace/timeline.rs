//! A timeline as text: who ran when, a column for a share of the time.
#![forbid(unsafe_code)]

use std::collections::HashMap;
use std::fmt;
use std::ops::Range;

use super::{Trace, flow};
use crate::recorder::{Kind, Stop};

/// Coroutines that are shown; the others are counted.
const COROUTINES_MAX: usize = 24;
/// Least columns: room for the times above them.
const COLUMNS_MIN: usize = 24;

/// A trace as text; by [`Trace::timeline`].
#[derive(Debug)]
pub struct Timeline<'a> {
    trace: &'a Trace,
    columns: usize,
    /// The nanoseconds that are shown: from the first event to the end of the last.
    span: Range<u64>,
    rows: Vec<Row>,
    omitted: usize,
}

/// A worker or coroutine: what it did in each share of the time.
#[derive(Debug)]
struct Row {
    title: String,
    cells: Vec<Cell>,
}

/// In a share of the time that has several the last one here is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Cell {
    Nothing,
    /// It waits; or, a worker, sleeps.
    Waits,
    /// It could run.
    Ready,
    Runs,
}

impl<'a> Timeline<'a> {
    pub(super) fn new(trace: &'a Trace, columns: usize) -> Self {
        let columns = columns.max(COLUMNS_MIN);
        let events = || trace.lanes.iter().flat_map(|lane| &lane.events);
        let first = events().map(|entry| entry.event.from).min();
        let last = events().map(|entry| entry.event.to).max();
        let span = first.unwrap_or(0)..last.unwrap_or(0);
        let mut drawing = Drawing {
            trace,
            columns,
            span: span.clone(),
            order: Vec::new(),
            coroutines: HashMap::new(),
        };
        let mut rows: Vec<Row> = drawing.workers();
        drawing.coroutines();
        let omitted = drawing.order.len().saturating_sub(COROUTINES_MAX);
        for id in drawing.order.iter().take(COROUTINES_MAX) {
            let cells = drawing.coroutines.remove(id);
            rows.push(Row {
                title: trace.title_of(*id),
                cells: cells.map(|state| state.cells).unwrap_or_default(),
            });
        }
        Timeline {
            trace,
            columns,
            span,
            rows,
            omitted,
        }
    }
}

/// A coroutine, as far as the drawing has come.
struct State {
    cells: Vec<Cell>,
    /// What it does, and since when.
    now: Cell,
    since: u64,
}

struct Drawing<'a> {
    trace: &'a Trace,
    columns: usize,
    span: Range<u64>,
    /// Coroutines by their first appearance.
    order: Vec<u64>,
    coroutines: HashMap<u64, State>,
}

impl Drawing<'_> {
    fn column(&self, ns: u64) -> usize {
        let (since, all) = (
            ns.saturating_sub(self.span.start),
            self.span.end - self.span.start,
        );
        let share = u128::from(since) * self.columns as u128 / u128::from(all.max(1));
        usize::try_from(share).map_or(self.columns - 1, |column| column.min(self.columns - 1))
    }

    fn paint(&self, cells: &mut [Cell], from: u64, to: u64, what: Cell) {
        for cell in &mut cells[self.column(from)..=self.column(to)] {
            *cell = what.max(*cell);
        }
    }

    fn workers(&self) -> Vec<Row> {
        let lanes = self.trace.lanes.iter().filter(|lane| lane.is_worker);
        lanes
            .map(|lane| {
                let mut cells = vec![Cell::Nothing; self.columns];
                for entry in &lane.events {
                    let what = match entry.event.kind {
                        Kind::Turn(_) => Cell::Runs,
                        Kind::Sleep => Cell::Waits,
                        _ => continue,
                    };
                    self.paint(&mut cells, entry.event.from, entry.event.to, what);
                }
                Row {
                    title: lane.name.clone(),
                    cells,
                }
            })
            .collect()
    }

    /// Follows all coroutines through time.
    fn coroutines(&mut self) {
        // When what becomes of whom, none for a wake-up: each change ends what it did before.
        let mut changes = Vec::new();
        for lane in self.trace.lanes.iter() {
            for entry in &lane.events {
                let event = &entry.event;
                match event.kind {
                    Kind::Turn(stop) => {
                        let then = match stop {
                            Stop::Yielded => Cell::Ready,
                            Stop::Parked(_) => Cell::Waits,
                            Stop::Ended(_) => Cell::Nothing,
                        };
                        changes.push((event.from, event.id, Some(Cell::Runs)));
                        changes.push((event.to, event.id, Some(then)));
                    }
                    Kind::Spawn | Kind::Wake(_) => changes.push((event.from, event.id, None)),
                    _ => {}
                }
            }
        }
        // Whoever is sent a message can run from there, not from when its worker reads it.
        let arrows = flow::arrows(self.trace).into_iter();
        changes.extend(arrows.map(|arrow| (arrow.from.ns, arrow.id, None)));
        changes.sort_by_key(|(ns, ..)| *ns);
        for (ns, id, now) in changes {
            let runs = self.coroutines.get(&id).map(|state| state.now) == Some(Cell::Runs);
            match now {
                Some(now) => self.change(id, ns, now),
                // A wake-up while it still runs comes too early to be seen.
                None if runs => {}
                None => self.change(id, ns, Cell::Ready),
            }
        }
        // What does not change any more lasts until the end.
        for id in self.order.clone() {
            self.change(id, self.span.end, Cell::Nothing);
        }
    }

    fn change(&mut self, id: u64, ns: u64, now: Cell) {
        let columns = self.columns;
        let mut state = self.coroutines.remove(&id).unwrap_or_else(|| {
            self.order.push(id);
            State {
                cells: vec![Cell::Nothing; columns],
                now: Cell::Nothing,
                since: ns,
            }
        });
        self.paint(&mut state.cells, state.since, ns, state.now);
        (state.now, state.since) = (now, ns);
        self.coroutines.insert(id, state);
    }
}

impl fmt::Display for Timeline<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (trace, columns) = (self.trace, self.columns);
        let titles = self.rows.iter().map(|row| row.title.chars().count());
        let width = titles.max().unwrap_or(0).min(32);
        let [start, end] = [self.span.start, self.span.end].map(|ns| format!("{} us", ns / 1000));
        let rest = columns.saturating_sub(start.len());
        writeln!(f, "{:width$}  {start}{end:>rest$}", "")?;
        for row in &self.rows {
            let title: String = row.title.chars().take(width).collect();
            let cells: String = row.cells.iter().map(|cell| cell.as_char()).collect();
            writeln!(f, "{title:width$}  {}", cells.trim_end())?;
        }
        if self.omitted > 0 {
            writeln!(f, "and {} more coroutines", self.omitted)?;
        }
        if trace.lost > 0 {
            writeln!(f, "{} older events were overwritten", trace.lost)?;
        }
        writeln!(
            f,
            "{:width$}  # runs   - could run   . waits, or sleeps",
            ""
        )
    }
}

impl Cell {
    fn as_char(self) -> char {
        match self {
            Cell::Nothing => ' ',
            Cell::Waits => '.',
            Cell::Ready => '-',
            Cell::Runs => '#',
        }
    }
}
