//! A progress bar on stderr while something is measured; silent unless stderr is a terminal.
#![forbid(unsafe_code)]

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// The bar. It is drawn when a helper reports, never by a clock of its own: a thread that draws would
/// disturb what is being measured.
#[derive(Debug)]
pub struct Progress(ProgressBar);

impl Progress {
    /// A bar that shows nothing yet.
    pub fn on_stderr() -> Progress {
        let bar = ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::stderr());
        bar.set_style(
            ProgressStyle::with_template("{prefix:<22} [{bar:24}] {msg}")
                .expect("the template is a constant with known fields")
                .progress_chars("##-"),
        );
        Progress(bar)
    }

    /// A bar that never shows anything.
    #[cfg(test)]
    pub fn hidden() -> Progress {
        Progress(ProgressBar::hidden())
    }

    /// A new section begins: the `index`th of `count`, counted from 0.
    pub fn section(&self, name: &str, index: usize, count: usize) {
        self.0.set_prefix(format!("{}/{count} {name}", index + 1));
    }

    /// `done` of `total` steps of `what` are done.
    pub fn show(&self, what: &str, done: u64, total: u64) {
        self.0.set_length(total);
        self.0.set_position(done);
        self.0.set_message(what.to_owned());
    }

    /// Takes the bar off the terminal, so that a table can be printed.
    pub fn clear(&self) {
        self.0.finish_and_clear();
        self.0.reset();
    }
}
