//! A section on the terminal: claim, what is run, the numbers, the verdict and why.
#![forbid(unsafe_code)]

use std::io::{self, Write};
use std::path::Path;

use crate::environment::Environment;
use crate::experiments;
use crate::report::{Effort, Layout, Report, Section};
use crate::text::claims::claims;
use crate::text::lanes::{lanes, traced};
use crate::text::matrix::matrix;
use crate::text::table::table;
use crate::text::versus::versus;
use crate::text::{COLUMNS, Paint, Palette, hanging, paint_of, word};

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

    /// What comes, and how long it takes.
    pub fn tour(&mut self, sections: usize, effort: Effort) -> io::Result<()> {
        let took = match effort {
            Effort::Quick => format!("about {sections} seconds"),
            Effort::Standard => "about a minute".to_owned(),
            Effort::Full => format!("up to {sections} minutes"),
        };
        self.hanging("Tour     ", &format!("{sections} sections, {took}"))?;
        self.out.flush()
    }

    /// Two reports side by side; each with the name of its file.
    pub fn versus(&mut self, reports: [(&str, &Report); 2]) -> io::Result<()> {
        self.lines(&versus(self.palette, reports))?;
        self.out.flush()
    }

    /// Everything that the demo can measure: a name and a claim each.
    pub fn catalogue(&mut self) -> io::Result<()> {
        let headings = ["Sections, each a property", "\nScenarios, each a program"];
        for (heading, is_scenario) in headings.into_iter().zip([false, true]) {
            writeln!(self.out, "{}", self.palette.bold(heading))?;
            let group = experiments::ALL.iter();
            for experiment in group.filter(|one| one.is_scenario() == is_scenario) {
                self.hanging(&format!("{:<15}", experiment.name()), experiment.claim())?;
            }
        }
        self.out.flush()
    }

    /// One section.
    pub fn section(&mut self, section: &Section) -> io::Result<()> {
        self.rule(&section.name)?;
        self.hanging("Claim    ", &section.claim)?;
        for (index, sentence) in section.method.iter().enumerate() {
            self.hanging(if index == 0 { "Run      " } else { "         " }, sentence)?;
        }
        for metric in &section.metrics {
            let name = metric.name.replace('_', " ");
            self.hanging("Column   ", &format!("{name}: {}", metric.meaning))?;
        }
        writeln!(self.out)?;
        let lines = match section.layout {
            Layout::List => table(&section.metrics, &section.rows),
            Layout::Matrix => matrix(&section.metrics, &section.rows),
        };
        self.lines(&lines)?;
        writeln!(self.out)?;
        for timeline in &section.timelines {
            self.lines(&lanes(timeline))?;
            writeln!(self.out)?;
        }
        for trace in &section.traces {
            self.lines(&traced(trace))?;
            writeln!(self.out)?;
        }
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

    /// The code of a section: for one that is run alone.
    pub fn code(&mut self, section: &Section) -> io::Result<()> {
        for excerpt in &section.code {
            self.hanging("Code     ", &format!("{}:{}", excerpt.file, excerpt.line))?;
            writeln!(self.out)?;
            for line in excerpt.code.lines() {
                // Code is not wrapped at its spaces; a line that is too long is cut where the terminal would.
                let chars: Vec<char> = line.chars().collect();
                let pieces = chars.chunks(COLUMNS - 2);
                for piece in pieces {
                    writeln!(self.out, "  {}", piece.iter().collect::<String>())?;
                }
                if chars.is_empty() {
                    writeln!(self.out)?;
                }
            }
            writeln!(self.out)?;
        }
        self.out.flush()
    }

    /// What the sections say about the claims of the comparison; of those that were run, or, for the `whole`
    /// text, of all.
    pub fn comparison(&mut self, sections: &[Section], whole: bool) -> io::Result<()> {
        let lines = claims(self.palette, sections, whole);
        if lines.is_empty() {
            return Ok(());
        }
        self.rule("comparison")?;
        self.lines(&lines)?;
        self.out.flush()
    }

    /// A file that was written. Its path is not wrapped, so that it can be copied.
    pub fn written(&mut self, path: &Path) -> io::Result<()> {
        writeln!(self.out, "Written: {}", path.display())?;
        self.out.flush()
    }

    /// A line at the end, after an empty one.
    pub fn remark(&mut self, text: &str) -> io::Result<()> {
        writeln!(self.out)?;
        self.hanging("", text)?;
        self.out.flush()
    }

    fn rule(&mut self, name: &str) -> io::Result<()> {
        let rule = "=".repeat(COLUMNS.saturating_sub(name.len() + 4));
        let line = self.palette.bold(&format!("== {name} {rule}"));
        writeln!(self.out, "\n{line}")
    }

    fn lines(&mut self, lines: &[String]) -> io::Result<()> {
        for line in lines {
            writeln!(self.out, "{line}")?;
        }
        Ok(())
    }

    fn verdict(&mut self, section: &Section) -> io::Result<()> {
        let Some(verdict) = &section.verdict else {
            return self.painted(Palette::red, "Verdict  ", "none: too little was measured");
        };
        self.painted(
            paint_of(verdict.outcome),
            "Verdict  ",
            word(verdict.outcome),
        )?;
        self.hanging("Why      ", &verdict.why)
    }

    fn hanging(&mut self, head: &str, text: &str) -> io::Result<()> {
        self.painted(Palette::plain, head, text)
    }

    fn painted(&mut self, paint: Paint, head: &str, text: &str) -> io::Result<()> {
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
    use crate::report::{self, Outcome, Verdict};

    fn section(verdict: Option<Verdict>) -> Section {
        Section {
            claim: "a claim of many words ".repeat(20),
            method: vec!["a".into(), "b".into()],
            verdict,
            cautions: vec!["virtual machine".into()],
            failures: vec!["thread: refused".into()],
            ..report::tests::section("switch")
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
