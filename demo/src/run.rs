//! One run: sections one after the other, each printed as soon as it is known, then what all of them say.
#![forbid(unsafe_code)]

use std::io;
use std::time::Instant;

use crate::cleanup::Cleanup;
use crate::environment::Environment;
use crate::experiments::Experiment;
use crate::options::Options;
use crate::outputs::Outputs;
use crate::present::Printer;
use crate::progress::Progress;
use crate::quantity::with_unit;
use crate::report::{Effort, Report, Section, Unit};
use crate::section;

/// What is to be measured.
pub struct Run {
    /// The sections, in order.
    pub experiments: Vec<&'static dyn Experiment>,
    /// How much of each.
    pub effort: Effort,
    /// What the user asked of them.
    pub options: Options,
    /// Whether it is the tour of all sections, which ends in the whole comparison.
    pub is_tour: bool,
}

impl Run {
    /// Measures, prints and writes. Returns whether everything could be measured.
    ///
    /// # Errors
    /// What kept the results from being shown or written, of which one is told; the others are tried nevertheless.
    pub fn measure(
        &self,
        outputs: Outputs,
        cleanup: &Cleanup,
        mut printer: Printer,
    ) -> io::Result<bool> {
        let begun = Instant::now();
        let progress = Progress::on_stderr();
        let mut printed = printer.machine(&Environment::look(true));
        if self.is_tour {
            printed = printed.and_then(|()| printer.tour(self.experiments.len(), self.effort));
        }
        let mut sections = Vec::new();
        for (index, experiment) in self.experiments.iter().enumerate() {
            if printed.is_err() && outputs.is_empty() {
                // Nobody would ever see the rest.
                break;
            }
            progress.section(experiment.name(), index, self.experiments.len());
            let section =
                section::measure(*experiment, self.effort, &self.options, cleanup, &progress);
            printed = printed.and_then(|()| printer.section(&section));
            sections.push(section);
        }
        let took_ns = begun.elapsed().as_nanos() as f64;
        let printed = printed.and_then(|()| self.conclude(&mut printer, &sections, took_ns));
        let complete = sections.iter().all(|section| section.failures.is_empty());
        let report = Report {
            demo: env!("CARGO_PKG_VERSION").to_owned(),
            mode: self.effort,
            sections,
        };
        let written = outputs.write(&report, self.is_tour, cleanup)?;
        printed?;
        for path in written {
            printer.written(&path)?;
        }
        Ok(complete)
    }

    fn conclude(
        &self,
        printer: &mut Printer,
        sections: &[Section],
        took_ns: f64,
    ) -> io::Result<()> {
        if let [only] = sections {
            printer.code(only)?;
        }
        printer.comparison(sections, self.is_tour)?;
        let count = sections.len();
        let sections = if count == 1 { "section" } else { "sections" };
        let took = with_unit(Unit::Nanoseconds, took_ns);
        printer.remark(&format!("{count} {sections} in {took}."))
    }
}
