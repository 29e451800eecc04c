//! The text under test: every claim of the classic comparison, and which section answers it.
//!
//! ```text
//!                  process        thread              coroutine
//!   memory space   its own        shared ...          shared ...      9 features x 3 = 27 cells
//!   isolation      high ...       medium              low
//!   ...
//!   prose          "a process switch is expensive because ..."        9 sentences
//!   scenarios      "web crawler: coroutines"                          5
//!   glimpse        "two hellos that wait a second take a second"      1
//!   takeaways      "processes isolate, at a higher cost"              3
//! ```
//!
//! A claim belongs to one section, which gives an [`Answer`] to it: the verdict, the value measured, and why.
//! [`standing`] finds it again for the table at the end of a run.
#![forbid(unsafe_code)]

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::report::{Body, Outcome, Section};

/// Where in the text a claim stands. In the JSON, and as text, its id: `"isolation/thread"`,
/// `"prose/user-space"`, `"scenario/web-crawler"`, `"glimpse"`, `"takeaway/process"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum Place {
    /// A cell of the table: a feature of one of the three approaches.
    Cell(Feature, Body),
    /// A sentence of the prose.
    Prose(Prose),
    /// A line of the table of scenarios.
    Scenario(Scenario),
    /// The code glimpse.
    Glimpse,
    /// What is to be remembered of one of the three.
    Takeaway(Body),
}

/// The lines of the comparison table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Feature {
    MemorySpace,
    Isolation,
    Scheduling,
    SwitchCost,
    Creation,
    Scalability,
    Communication,
    Preemption,
    UseCase,
}

impl Feature {
    /// All, in the order of the table.
    pub const ALL: [Feature; 9] = [
        Feature::MemorySpace,
        Feature::Isolation,
        Feature::Scheduling,
        Feature::SwitchCost,
        Feature::Creation,
        Feature::Scalability,
        Feature::Communication,
        Feature::Preemption,
        Feature::UseCase,
    ];

    /// As the text names it.
    pub fn name(self) -> &'static str {
        match self {
            Feature::MemorySpace => "memory space",
            Feature::Isolation => "isolation",
            Feature::Scheduling => "scheduling",
            Feature::SwitchCost => "context switch cost",
            Feature::Creation => "creation overhead",
            Feature::Scalability => "scalability",
            Feature::Communication => "communication",
            Feature::Preemption => "preemption",
            Feature::UseCase => "use case",
        }
    }
}

/// The sentences of the prose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Prose {
    /// Why a process switch is expensive.
    ProcessSwitch,
    /// Threads have stacks and thread-locals of their own.
    ThreadOwns,
    /// Threads run in parallel.
    ThreadsParallel,
    /// A coroutine pauses and resumes.
    Pausable,
    /// Coroutines live in user space.
    UserSpace,
    /// They take very little memory.
    LittleMemory,
    /// There can be thousands.
    Thousands,
    /// Switching them needs no kernel.
    NoKernel,
    /// They must yield.
    ExplicitYield,
}

/// The scenarios.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scenario {
    ImagePipeline,
    WebCrawler,
    Shell,
    Untrusted,
    Http10k,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Cell(feature, body) => {
                write!(f, "{}/{}", feature.name().replace(' ', "-"), body.name())
            }
            Place::Prose(prose) => f.write_str(match prose {
                Prose::ProcessSwitch => "prose/process-switch",
                Prose::ThreadOwns => "prose/thread-owns",
                Prose::ThreadsParallel => "prose/threads-parallel",
                Prose::Pausable => "prose/pausable",
                Prose::UserSpace => "prose/user-space",
                Prose::LittleMemory => "prose/little-memory",
                Prose::Thousands => "prose/thousands",
                Prose::NoKernel => "prose/no-kernel",
                Prose::ExplicitYield => "prose/explicit-yield",
            }),
            Place::Scenario(scenario) => f.write_str(match scenario {
                Scenario::ImagePipeline => "scenario/image-pipeline",
                Scenario::WebCrawler => "scenario/web-crawler",
                Scenario::Shell => "scenario/shell",
                Scenario::Untrusted => "scenario/untrusted",
                Scenario::Http10k => "scenario/http-10k",
            }),
            Place::Glimpse => f.write_str("glimpse"),
            Place::Takeaway(body) => write!(f, "takeaway/{}", body.name()),
        }
    }
}

impl From<Place> for String {
    fn from(place: Place) -> String {
        place.to_string()
    }
}

impl TryFrom<String> for Place {
    type Error = String;

    fn try_from(id: String) -> Result<Place, String> {
        let known = CLAIMS.iter().map(|claim| claim.place);
        known
            .into_iter()
            .find(|place| place.to_string() == id)
            .ok_or_else(|| format!("the comparison has no claim `{id}`"))
    }
}

/// One claim of the text.
#[derive(Clone, Copy, Debug)]
pub struct Claim {
    /// Where it stands.
    pub place: Place,
    /// What the text says there.
    pub text: &'static str,
    /// The section that answers it.
    pub section: &'static str,
}

/// What a section's measurements say about one claim.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Answer {
    /// Which claim.
    pub claim: Place,
    /// The judgement in one word.
    pub outcome: Outcome,
    /// What was measured, for the table's cell: `"2.37 us"`, `"4.2 KiB; 1,000,000 alive"`. Up to
    /// [`VALUE_MAX`] characters.
    pub value: String,
    /// Why, in a sentence or two; if the outcome is `depends`, on what.
    pub why: String,
}

/// The most characters of [`Answer::value`], two lines of a cell on a terminal of 100 columns.
pub const VALUE_MAX: usize = 48;

impl Answer {
    /// An answer to the claim at `place`.
    pub fn new(
        place: Place,
        outcome: Outcome,
        value: impl Into<String>,
        why: impl Into<String>,
    ) -> Answer {
        Answer {
            claim: place,
            outcome,
            value: value.into(),
            why: why.into(),
        }
    }
}

/// What a run has to say about a claim.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Standing<'a> {
    /// Its section has judged it.
    Answered(&'a Answer),
    /// Its section was run, and could not judge it.
    Unanswered,
    /// Its section was not run.
    NotRun,
}

/// What the run of `sections` has to say about `claim`.
pub fn standing<'a>(sections: &'a [Section], claim: &Claim) -> Standing<'a> {
    let mut answers = sections.iter().flat_map(|section| &section.answers);
    match answers.find(|answer| answer.claim == claim.place) {
        Some(answer) => Standing::Answered(answer),
        None if sections.iter().any(|section| section.name == claim.section) => {
            Standing::Unanswered
        }
        None => Standing::NotRun,
    }
}

/// The verdicts of a run, counted: `"Of 45 claims 20 are confirmed, ..."`.
pub fn tally(sections: &[Section]) -> String {
    let standings: Vec<Standing<'_>> = CLAIMS
        .iter()
        .map(|claim| standing(sections, claim))
        .collect();
    let with = |outcome| {
        let is = |standing: &&Standing<'_>| matches!(standing, Standing::Answered(answer) if answer.outcome == outcome);
        standings.iter().filter(is).count()
    };
    let without = |standing| standings.iter().filter(|other| **other == standing).count();
    let (confirmed, refuted) = (with(Outcome::Confirmed), with(Outcome::Refuted));
    let depends = with(Outcome::Depends);
    let (unanswered, not_run) = (without(Standing::Unanswered), without(Standing::NotRun));
    let mut text = format!(
        "Of {} claims {confirmed} are confirmed, {refuted} refuted, {depends} depend",
        CLAIMS.len()
    );
    if unanswered > 0 {
        text.push_str(&format!(", {unanswered} could not be judged here"));
    }
    if not_run > 0 {
        text.push_str(&format!(", {not_run} belong to sections that were not run"));
    }
    text.push('.');
    text
}

/// The claims outside the table, by the part of the text that they stand in, with its heading.
pub fn lists() -> [(&'static str, Vec<&'static Claim>); 4] {
    let of = |is_part: fn(Place) -> bool| CLAIMS.iter().filter(move |claim| is_part(claim.place));
    [
        (
            "What the prose says",
            of(|place| matches!(place, Place::Prose(_))).collect(),
        ),
        (
            "What it recommends",
            of(|place| matches!(place, Place::Scenario(_))).collect(),
        ),
        (
            "The code glimpse",
            of(|place| place == Place::Glimpse).collect(),
        ),
        (
            "The takeaways",
            of(|place| matches!(place, Place::Takeaway(_))).collect(),
        ),
    ]
}

/// The columns of the table, in the text's order.
pub const COLUMNS: [Body; 3] = [Body::Process, Body::Thread, Body::Coroutine];

/// The claim at `place`.
pub fn claim_at(place: Place) -> &'static Claim {
    let mut claims = CLAIMS.iter();
    claims
        .find(|claim| claim.place == place)
        .expect("every place has its claim: a test looks")
}

const fn cell(feature: Feature, body: Body, text: &'static str, section: &'static str) -> Claim {
    let place = Place::Cell(feature, body);
    Claim {
        place,
        text,
        section,
    }
}

const fn prose(prose: Prose, text: &'static str, section: &'static str) -> Claim {
    let place = Place::Prose(prose);
    Claim {
        place,
        text,
        section,
    }
}

const fn scenario(scenario: Scenario, text: &'static str, section: &'static str) -> Claim {
    let place = Place::Scenario(scenario);
    Claim {
        place,
        text,
        section,
    }
}

const fn takeaway(body: Body, text: &'static str, section: &'static str) -> Claim {
    let place = Place::Takeaway(body);
    Claim {
        place,
        text,
        section,
    }
}

use Body::{Coroutine, Process, Thread};

/// The text, in its own order.
#[rustfmt::skip] // It is a table.
pub const CLAIMS: &[Claim] = &[
    cell(Feature::MemorySpace,   Process,   "its own",                                       "memory-space"),
    cell(Feature::MemorySpace,   Thread,    "shared with its process",                       "memory-space"),
    cell(Feature::MemorySpace,   Coroutine, "shared, in the same thread",                    "memory-space"),
    cell(Feature::Isolation,     Process,   "high: a crash harms nobody else",               "isolation"),
    cell(Feature::Isolation,     Thread,    "medium",                                        "isolation"),
    cell(Feature::Isolation,     Coroutine, "low",                                           "isolation"),
    cell(Feature::Scheduling,    Process,   "by the kernel",                                 "scheduling"),
    cell(Feature::Scheduling,    Thread,    "by the kernel",                                 "scheduling"),
    cell(Feature::Scheduling,    Coroutine, "in user space, cooperative",                    "scheduling"),
    cell(Feature::SwitchCost,    Process,   "high: registers, address space, TLB",           "switch"),
    cell(Feature::SwitchCost,    Thread,    "medium: still a kernel entry",                  "switch"),
    cell(Feature::SwitchCost,    Coroutine, "low: no kernel",                                "switch"),
    cell(Feature::Creation,      Process,   "high",                                          "creation"),
    cell(Feature::Creation,      Thread,    "medium",                                        "creation"),
    cell(Feature::Creation,      Coroutine, "very low",                                      "creation"),
    cell(Feature::Scalability,   Process,   "low: limited",                                  "scalability"),
    cell(Feature::Scalability,   Thread,    "medium",                                        "scalability"),
    cell(Feature::Scalability,   Coroutine, "high: thousands and more",                      "scalability"),
    cell(Feature::Communication, Process,   "IPC: pipes, sockets, shared memory",            "communication"),
    cell(Feature::Communication, Thread,    "shared memory, needs mutex or semaphore",       "communication"),
    cell(Feature::Communication, Coroutine, "shared state",                                  "communication"),
    cell(Feature::Preemption,    Process,   "yes",                                           "preemption"),
    cell(Feature::Preemption,    Thread,    "yes",                                           "preemption"),
    cell(Feature::Preemption,    Coroutine, "no: gives up control itself",                   "preemption"),
    cell(Feature::UseCase,       Process,   "isolation, security",                           "untrusted"),
    cell(Feature::UseCase,       Thread,    "parallel computing",                            "parallelism"),
    cell(Feature::UseCase,       Coroutine, "asynchronous I/O, high concurrency",            "http-10k"),

    prose(Prose::ProcessSwitch,   "A process switch is expensive because registers are saved, the address space changes and the TLB is flushed.", "switch"),
    prose(Prose::ThreadOwns,      "Threads have their own stack and thread-local storage.",                     "memory-space"),
    prose(Prose::ThreadsParallel, "Threads run in parallel on several cores.",                                  "parallelism"),
    prose(Prose::Pausable,        "A coroutine is a function that can pause and resume.",                       "scheduling"),
    prose(Prose::UserSpace,       "A coroutine lives in user space.",                                           "scheduling"),
    prose(Prose::LittleMemory,    "A coroutine takes very little memory: stack and state.",                     "scalability"),
    prose(Prose::Thousands,       "Thousands of coroutines can exist at once.",                                 "scalability"),
    prose(Prose::NoKernel,        "Switching a coroutine needs no kernel context switch and is very fast.",     "switch"),
    prose(Prose::ExplicitYield,   "A coroutine must yield explicitly.",                                         "preemption"),

    scenario(Scenario::ImagePipeline, "Image processing pipeline: threads or processes.",                       "image-pipeline"),
    scenario(Scenario::WebCrawler,    "Web crawler (I/O-bound): coroutines.",                                   "web-crawler"),
    scenario(Scenario::Shell,         "Multi-user terminal shell: threads or coroutines.",                      "shell"),
    scenario(Scenario::Untrusted,     "Running untrusted code: processes (sandbox).",                           "untrusted"),
    scenario(Scenario::Http10k,       "HTTP server with 10,000+ requests at once: coroutines.",                 "http-10k"),

    Claim { place: Place::Glimpse, text: "Two tasks that each say hello after one second, run together, take one second: with coroutines and with threads.", section: "hello" },

    takeaway(Process,   "Processes isolate, at a higher cost.",                                                 "isolation"),
    takeaway(Thread,    "Threads give true parallelism, and need synchronisation.",                             "parallelism"),
    takeaway(Coroutine, "Coroutines give scalable concurrency at minimal overhead, above all for I/O-bound programs.", "http-10k"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_place_has_one_claim_and_an_id_of_its_own() {
        for (index, claim) in CLAIMS.iter().enumerate() {
            let id = claim.place.to_string();
            assert_eq!(Place::try_from(id.clone()), Ok(claim.place));
            assert!(
                CLAIMS[..index]
                    .iter()
                    .all(|other| other.place.to_string() != id)
            );
        }
        for feature in Feature::ALL {
            for body in COLUMNS {
                assert!(!claim_at(Place::Cell(feature, body)).text.is_empty());
            }
        }
        assert_eq!(CLAIMS.len(), 27 + 9 + 5 + 1 + 3);
        assert!(Place::try_from("isolation/baseline".to_owned()).is_err());
    }

    #[test]
    fn every_claim_stands_in_the_table_or_in_a_list() {
        let listed: usize = lists().iter().map(|(_, claims)| claims.len()).sum();
        assert_eq!(Feature::ALL.len() * COLUMNS.len() + listed, CLAIMS.len());
    }
}
