//! Who ran when, as lanes of characters; a trace, which has a text of its own.
#![forbid(unsafe_code)]

use super::{COLUMNS, hanging, width};
use crate::figure::{Lane, Timeline, Trace};
use crate::quantity::with_unit;
use crate::report::Unit;

/// A timeline, as wide as the terminal.
///
/// ```text
///   three coroutines, one worker                  0 .. 12.0 ms, a character 140 us
///   A  ####--------####--------####--------
///   B  ----####--------####--------####----
///   C  --------####--------####--------|###
/// ```
///
/// `#`: ran at least half of the time that the character stands for; `+`: for less; `|`: did something at
/// one moment of it.
pub fn lanes(timeline: &Timeline) -> Vec<String> {
    let names: Vec<String> = timeline
        .lanes
        .iter()
        .map(|lane| lane.name.clone())
        .collect();
    const NAME_MAX: usize = 24;
    let name_width = width(&names).min(NAME_MAX);
    let cells = COLUMNS - 2 - name_width - 2;
    let end = timeline.end().max(1);
    let time = |ns: f64| with_unit(Unit::Nanoseconds, ns);
    let scale = format!(
        "{} (0 .. {}, a character {})",
        timeline.title,
        time(end as f64),
        time(end as f64 / cells as f64)
    );
    let mut lines = hanging("  ", &scale);
    for lane in &timeline.lanes {
        let name: String = lane.name.chars().take(name_width).collect();
        lines.push(format!(
            "  {name:<name_width$}  {}",
            drawn(lane, end, cells)
        ));
    }
    lines
}

/// A trace: its own text below its title.
pub fn traced(trace: &Trace) -> Vec<String> {
    let mut lines = hanging("  ", &trace.title);
    for line in trace.text.lines() {
        lines.push(format!("  {line}").chars().take(COLUMNS).collect());
    }
    lines
}

fn drawn(lane: &Lane, end: u64, cells: usize) -> String {
    let cell_ns = end as f64 / cells as f64;
    let cell_of = |at: u64| ((at as f64 / cell_ns) as usize).min(cells - 1);
    let mut ran = vec![0.0; cells];
    let mut ticked = vec![false; cells];
    for &(from, to) in &lane.spans {
        if from == to {
            ticked[cell_of(from)] = true;
        }
        for (cell, ran) in ran
            .iter_mut()
            .enumerate()
            .take(cell_of(to) + 1)
            .skip(cell_of(from))
        {
            let begin = cell as f64 * cell_ns;
            let inside = (to as f64).min(begin + cell_ns) - (from as f64).max(begin);
            *ran += inside.max(0.0);
        }
    }
    let character = |(ran, ticked): (f64, bool)| match () {
        () if ticked => '|',
        () if ran >= cell_ns / 2.0 => '#',
        () if ran > 0.0 => '+',
        () => '-',
    };
    ran.into_iter().zip(ticked).map(character).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Body;

    #[test]
    fn lanes_show_who_ran_when_and_fit_the_terminal() {
        let lane = |name: &str, spans: &[(u64, u64)]| Lane {
            name: name.into(),
            spans: spans.to_vec(),
        };
        let timeline = Timeline {
            title: "two threads".into(),
            body: Body::Thread,
            lanes: vec![
                lane("A", &[(0, 500), (999, 1000)]),
                lane("B", &[(500, 999), (1000, 1000)]),
            ],
        };
        let lines = lanes(&timeline);
        assert_eq!(lines.len(), 3);
        assert!(lines.iter().all(|line| line.chars().count() <= COLUMNS));
        assert!(
            lines[0].contains("two threads (0 .. 1.00 us"),
            "{}",
            lines[0]
        );
        let (a, b) = (&lines[1][5..], &lines[2][5..]);
        assert!(a.starts_with("###") && a.ends_with("--+"), "{a}");
        assert!(b.starts_with("---") && b.ends_with("##|"), "{b}");
        assert_eq!(a.len(), COLUMNS - 5);
    }

    #[test]
    fn a_trace_is_its_text_cut_to_the_terminal() {
        let trace = Trace {
            title: "two workers".into(),
            lanes: vec![],
            wake_ups: vec![],
            text: format!("main  {}\n# runs", "#".repeat(COLUMNS)),
        };
        let lines = traced(&trace);
        assert_eq!(lines[0], "  two workers");
        assert!(lines[1].starts_with("  main  ##") && lines[1].len() == COLUMNS);
        assert_eq!(lines[2], "  # runs");
    }

    #[test]
    fn a_timeline_of_nothing_is_its_title() {
        let timeline = Timeline {
            title: "none".into(),
            body: Body::Thread,
            lanes: vec![],
        };
        assert_eq!(lanes(&timeline).len(), 1);
    }
}
