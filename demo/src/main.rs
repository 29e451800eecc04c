//! The demo: coroutines, OS threads and forked processes side by side, each claim measured and judged.
//!
//! ```text
//!   arguments, options
//!    │
//!   cli ──> run ──> section ──> conduct ──> helper process: lab ──> experiments::{switch, creation, ...}
//!            │       │            │                                  │ baseline, coroutine, thread, process
//!            │       │            └─ cleanup (Ctrl-C), progress      └─ link, delivery, race, climb, crowd, memory, limits, os
//!            │       └─ report (claim, rows, verdict, excerpt, figure) + environment
//!            │          comparison (the text, and its answers)
//!            ├─ present, text (terminal)
//!            └─ outputs ──> serde_json, csv, html ──> draw (SVG)
//!   cli ──> compare ──> text
//! ```
//!
//! Reading order: `experiments` (what an experiment is, how to add one) -> one experiment -> `lab` (where it
//! runs) -> `stats` -> `conduct` and `cleanup` -> `report` -> `text` and `present` -> `html`
//! and `draw`. The only `unsafe` is in `os`.

mod arguments;
mod cleanup;
mod cli;
mod climb;
mod compare;
mod comparison;
mod conduct;
mod crowd;
mod csv;
mod delivery;
mod draw;
mod environment;
mod excerpt;
mod experiments;
mod figure;
mod html;
mod lab;
mod limits;
mod link;
mod matrix;
mod memory;
mod options;
mod os;
mod outputs;
mod present;
mod progress;
mod quantity;
mod race;
mod report;
mod run;
mod scenarios;
mod section;
mod stats;
mod text;

use std::env;
use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    // First of all, because `creation` times it: a program that ends at once.
    if env::args_os()
        .nth(1)
        .is_some_and(|argument| argument == experiments::NOTHING)
    {
        return ExitCode::SUCCESS;
    }
    cli::execute(arguments::Cli::parse())
}
