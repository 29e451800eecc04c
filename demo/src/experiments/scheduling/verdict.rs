//! What `scheduling` concludes: the kernel's part.
#![forbid(unsafe_code)]

use super::{
    CALLS, CALLS_ROW, CROWD, ORDERS, ORDERS_ROW, PAUSES, PAUSES_ROW, SWITCHES, TASKS, TASKS_ROW,
    VOLUNTARY_ROW,
};
use crate::comparison::{Answer, Feature, Place, Prose};
use crate::quantity::grouped;
use crate::report::{Body, Findings, Outcome, Verdict};

/// The kernel's part in the running of the three.
pub(super) struct Parts {
    coroutine: Part,
    thread: Part,
    process: Part,
    /// Kernel threads that [`CROWD`] coroutines add.
    tasks: f64,
    pauses: f64,
}

struct Part {
    orders: f64,
    /// The kernel's context switches for each hand-over.
    switches: f64,
    /// System calls for each, if they could be counted.
    calls: Option<f64>,
}

impl Parts {
    pub(super) fn of(findings: Findings<'_>) -> Option<Parts> {
        let part = |body| {
            Some(Part {
                orders: findings.of(ORDERS_ROW, body, ORDERS)?,
                switches: findings.of(VOLUNTARY_ROW, body, SWITCHES)?,
                calls: findings.of(CALLS_ROW, body, CALLS),
            })
        };
        Some(Parts {
            coroutine: part(Body::Coroutine)?,
            thread: part(Body::Thread)?,
            process: part(Body::Process)?,
            tasks: findings.of(TASKS_ROW, Body::Coroutine, TASKS)?,
            pauses: findings.of(PAUSES_ROW, Body::Coroutine, PAUSES)?,
        })
    }
}

impl Part {
    /// A hand-over goes through the kernel's scheduler each time, or hardly ever.
    fn is_by_kernel(&self) -> bool {
        self.switches >= 0.5
    }

    fn is_in_user_space(&self) -> bool {
        self.switches < 0.1 && self.calls.is_none_or(|calls| calls < 0.1)
    }

    fn calls(&self) -> String {
        self.calls
            .map_or_else(|| "uncounted".to_owned(), |calls| format!("{calls:.2}"))
    }

    /// `1.00 switches, 2.00 system calls each`.
    fn value(&self) -> String {
        format!(
            "{:.2} switches, {} system calls each",
            self.switches,
            self.calls()
        )
    }
}

fn when(is_so: bool) -> Outcome {
    if is_so {
        Outcome::Confirmed
    } else {
        Outcome::Refuted
    }
}

fn orders(count: f64) -> String {
    match count as u64 {
        1 => "one order in every run".to_owned(),
        more => format!("{} orders", grouped(more)),
    }
}

pub(super) fn verdict(parts: &Parts) -> Verdict {
    let Parts {
        coroutine,
        thread,
        process,
        ..
    } = parts;
    let by_kernel = thread.is_by_kernel() && process.is_by_kernel();
    Verdict {
        outcome: when(by_kernel && coroutine.is_in_user_space() && coroutine.orders == 1.0),
        why: format!(
            "for each hand-over the kernel counts {:.2} context switches between processes, {:.2} between threads, {:.2} \
             between coroutines, and {}, {} and {} system calls. Three that tick beside each other did it in: processes \
             {}, threads {}, coroutines {}. The kernel chooses by time and load; the coroutines' runtime by who came \
             first, and nobody else intervenes.",
            process.switches,
            thread.switches,
            coroutine.switches,
            process.calls(),
            thread.calls(),
            coroutine.calls(),
            orders(process.orders),
            orders(thread.orders),
            orders(coroutine.orders),
        ),
    }
}

pub(super) fn answers(parts: &Parts) -> Vec<Answer> {
    let Parts {
        coroutine,
        thread,
        process,
        ..
    } = parts;
    let by_kernel = |body, part: &Part| {
        Answer::new(
            Place::Cell(Feature::Scheduling, body),
            when(part.is_by_kernel()),
            part.value(),
            format!(
                "the kernel switches at each hand-over; three that compute ticked in {}",
                orders(part.orders)
            ),
        )
    };
    vec![
        by_kernel(Body::Process, process),
        by_kernel(Body::Thread, thread),
        Answer::new(
            Place::Cell(Feature::Scheduling, Body::Coroutine),
            when(coroutine.is_in_user_space() && coroutine.orders == 1.0),
            coroutine.value(),
            format!(
                "the runtime chooses, first come, first served: {}",
                orders(coroutine.orders)
            ),
        ),
        Answer::new(
            Place::Prose(Prose::Pausable),
            when(parts.pauses > 0.0),
            format!("paused {} times in one loop", grouped(parts.pauses as u64)),
            "a loop was left and entered again at each round, and its variables kept their values",
        ),
        Answer::new(
            Place::Prose(Prose::UserSpace),
            // The runtime may start a thread of its own meanwhile, to watch over them.
            when(parts.tasks <= 1.0 && coroutine.is_in_user_space()),
            format!("{CROWD} of them add {} kernel threads", parts.tasks),
            format!(
                "the kernel knows the thread that they run on and none of them; a hand-over takes {} system calls",
                coroutine.calls()
            ),
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::experiments::Experiment;
    use crate::experiments::scheduling::Scheduling;
    use crate::experiments::specimen::{assert_answers_all, value};
    use crate::report::Row;

    fn rows(calls: Option<f64>, coroutine_switches: f64, coroutine_orders: f64) -> Vec<Row> {
        let of = |body, orders, switches, calls: Option<f64>| {
            let calls = calls.map(|calls| value(CALLS_ROW, body, CALLS, calls));
            [
                value(ORDERS_ROW, body, ORDERS, orders),
                value(VOLUNTARY_ROW, body, SWITCHES, switches),
            ]
            .into_iter()
            .chain(calls)
        };
        of(
            Body::Coroutine,
            coroutine_orders,
            coroutine_switches,
            calls.map(|_| 0.0),
        )
        .chain(of(Body::Thread, 9.0, 1.0, calls))
        .chain(of(Body::Process, 10.0, 1.0, calls))
        .chain([
            value(TASKS_ROW, Body::Coroutine, TASKS, 0.0),
            value(PAUSES_ROW, Body::Coroutine, PAUSES, 1_000.0),
        ])
        .collect()
    }

    #[test]
    fn coroutines_that_the_kernel_switches_or_reorders_refute() {
        let outcome = |rows: &[Row]| {
            Scheduling
                .judge(Findings(rows))
                .map(|verdict| verdict.outcome)
        };
        assert_eq!(
            outcome(&rows(Some(2.0), 0.0, 1.0)),
            Some(Outcome::Confirmed)
        );
        assert_eq!(outcome(&rows(None, 0.0, 1.0)), Some(Outcome::Confirmed));
        assert_eq!(outcome(&rows(Some(2.0), 1.0, 1.0)), Some(Outcome::Refuted));
        assert_eq!(outcome(&rows(Some(2.0), 0.0, 3.0)), Some(Outcome::Refuted));
        assert_eq!(outcome(&[]), None);
    }

    #[test]
    fn each_claim_of_the_section_is_answered() {
        let answers = assert_answers_all(&Scheduling, &rows(Some(2.0), 0.0, 1.0));
        assert!(
            answers
                .iter()
                .all(|answer| answer.outcome == Outcome::Confirmed)
        );
        assert_answers_all(&Scheduling, &rows(None, 0.0, 1.0));
    }
}
