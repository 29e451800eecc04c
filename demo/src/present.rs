//! A section on the terminal: claim, what is run, the numbers, the verdict and why.
#![forbid(unsafe_code)]

use std::io::{self, Write};

use crate::environment::Environment;
use crate::experiments;
use crate::report::{Outcome, Section};
use crate::text::{COLUMNS, Palette, hanging, table};

/// Prints in plain text of at most 100 columns.
pub struct Printer {
    out: Box<dyn Write>,
    palette: Palette,
    /// Cautions about the machine, which need not be repeated under each section.
    said: Vec<String>,
}

impl Printer {
    /// A printer to `out`, coloured as `palette` says.
    pub fn new(out: Box<dyn Write>, palette: Palette) -> Printer {
        Printer {
            out,
            palette,
            said: Vec::new(),
        }
    }

    /// The machine, and why its figures need care: once at the top.
    ///
    /// # Errors
    /// Those of the output, as of all that follow here.
    pub fn machine(&mut self, environment: &Environment) -> io::Result<()> {
        self.hanging("Machine  ", &environment.line())?;
        self.said = environment.cautions();
        for caution in self.said.clone() {
            self.painted(Palette::yellow, "Caution  ", &caution)?;
        }
        self.out.flush()
    }

    /// Everything that the demo can measure: a name and a claim each.
    pub fn catalogue(&mut self) -> io::Result<()> {
        for experiment in experiments::ALL {
            self.hanging(&format!("{:<13}", experiment.name()), experiment.claim())?;
        }
        self.out.flush()
    }

    /// One section.
    pub fn section(&mut self, section: &Section) -> io::Result<()> {
        let palette = self.palette;
        let rule = "=".repeat(COLUMNS - section.name.len() - 4);
        writeln!(
            self.out,
            "\n{}",
            palette.bold(&format!("== {} {rule}", section.name))
        )?;
        self.hanging("Claim    ", &section.claim)?;
        for (index, sentence) in section.method.iter().enumerate() {
            self.hanging(if index == 0 { "Run      " } else { "         " }, sentence)?;
        }
        for metric in &section.metrics {
            let name = metric.name.replace('_', " ");
            self.hanging("Column   ", &format!("{name}: {}", metric.meaning))?;
        }
        writeln!(self.out)?;
        for line in table(&section.metrics, &section.rows) {
            writeln!(self.out, "{line}")?;
        }
        writeln!(self.out)?;
        self.verdict(section)?;
        for caution in &section.cautions {
            if self.said.contains(caution) {
                continue;
            }
            self.painted(Palette::yellow, "Caution  ", caution)?;
        }
        for failure in &section.failures {
            self.painted(Palette::red, "Failed   ", failure)?;
        }
        self.out.flush()
    }

    fn verdict(&mut self, section: &Section) -> io::Result<()> {
        let Some(verdict) = &section.verdict else {
            return self.painted(Palette::red, "Verdict  ", "none: too little was measured");
        };
        let (paint, word): (fn(Palette, &str) -> String, _) = match verdict.outcome {
            Outcome::Confirmed => (Palette::green, "CONFIRMED"),
            Outcome::Refuted => (Palette::red, "REFUTED"),
            Outcome::Depends => (Palette::yellow, "DEPENDS"),
        };
        self.painted(paint, "Verdict  ", word)?;
        self.hanging("Why      ", &verdict.why)
    }

    fn hanging(&mut self, head: &str, text: &str) -> io::Result<()> {
        self.painted(|_, line| line.to_owned(), head, text)
    }

    fn painted(
        &mut self,
        paint: fn(Palette, &str) -> String,
        head: &str,
        text: &str,
    ) -> io::Result<()> {
        for line in hanging(head, text) {
            writeln!(self.out, "{}", paint(self.palette, &line))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::tests::Tape;
    use crate::report::{Layout, Verdict};

    fn section(verdict: Option<Verdict>) -> Section {
        Section {
            name: "switch".into(),
            claim: "a claim of many words ".repeat(20),
            method: vec!["a".into(), "b".into()],
            code: vec![],
            metrics: vec![],
            layout: Layout::List,
            rows: vec![],
            verdict,
            answers: vec![],
            figures: vec![],
            timelines: vec![],
            cautions: vec!["virtual machine".into()],
            failures: vec!["thread: refused".into()],
            environment: Environment::default(),
        }
    }

    fn printed(section: &Section) -> String {
        let tape = Tape::default();
        let palette = Palette::for_output(false);
        Printer::new(Box::new(tape.clone()), palette)
            .section(section)
            .unwrap();
        tape.text()
    }

    #[test]
    fn a_section_shows_claim_run_verdict_and_every_doubt_within_100_columns() {
        let verdict = Verdict {
            outcome: Outcome::Depends,
            why: "because ".repeat(30),
        };
        let text = printed(&section(Some(verdict)));
        let mut heads = text.lines().filter_map(|line| line.split(' ').next());
        for head in ["==", "Claim", "Run", "Verdict", "Why", "Caution", "Failed"] {
            assert!(
                heads.any(|other| other == head),
                "{head} is missing or out of order:\n{text}"
            );
        }
        assert!(
            text.lines().all(|line| line.chars().count() <= COLUMNS),
            "{text}"
        );
        assert!(text.contains("DEPENDS"));
    }

    #[test]
    fn a_section_without_a_verdict_says_so() {
        assert!(printed(&section(None)).contains("Verdict  none"));
    }
}
