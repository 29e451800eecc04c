//! What a scenario may be told on the command line, and what it was told.
//!
//! ```text
//!   demo run image-pipeline --input DIR
//!      │ Choice { name: "input", value: "DIR", .. }    declared by Experiment::options
//!      v
//!   Options ── Experiment::check     makes no sense: exit status 2, nothing is run
//!      │
//!      ├────── Experiment::alone     it does its work on this input, in the demo's own process
//!      └────── Lab::options          or it is compared, each body in a helper that gets the same options
//! ```
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::Path;

/// An option that a scenario understands: `--name VALUE`, or `--name` alone.
///
/// Two scenarios may have an option of the same name; then it means the same to both.
#[derive(Clone, Copy, Debug)]
pub struct Choice {
    /// Its name, without the dashes.
    pub name: &'static str,
    /// What its value is called in the help; empty if it takes none.
    pub value: &'static str,
    /// One line of help.
    pub help: &'static str,
}

/// The options that were given, by name.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Options(BTreeMap<String, OsString>);

impl Options {
    /// Adds one; an option without a value has an empty one.
    pub fn insert(&mut self, name: &str, value: OsString) {
        self.0.insert(name.to_owned(), value);
    }

    /// Whether the option was given.
    pub fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// Its value as a path.
    pub fn path(&self, name: &str) -> Option<&Path> {
        self.0.get(name).map(Path::new)
    }

    /// Its value as text; `None` if it was not given.
    ///
    /// # Errors
    /// A sentence for the user, if it is no Unicode.
    pub fn text(&self, name: &str) -> Result<Option<&str>, String> {
        let text = |value: &'_ OsString| value.to_str().is_some();
        match self.0.get(name) {
            Some(value) if !text(value) => {
                Err(format!("the value of --{name} is not valid Unicode"))
            }
            value => Ok(value.and_then(|value| value.to_str())),
        }
    }

    /// Those that `choices` has, which is all that one scenario may see.
    pub fn of(&self, choices: &[Choice]) -> Options {
        let known = |name: &str| choices.iter().any(|choice| choice.name == name);
        let kept = self.0.iter().filter(|(name, _)| known(name));
        Options(
            kept.map(|(name, value)| (name.clone(), value.clone()))
                .collect(),
        )
    }

    /// All, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &OsStr)> {
        self.0
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_os_str()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scenario_sees_its_own_options_only() {
        const INPUT: Choice = Choice {
            name: "input",
            value: "DIR",
            help: "",
        };
        let mut options = Options::default();
        options.insert("input", "pictures".into());
        options.insert("listen", "".into());
        let own = options.of(&[INPUT]);
        assert_eq!(own.path("input"), Some(Path::new("pictures")));
        assert_eq!(own.text("input"), Ok(Some("pictures")));
        assert_eq!(own.text("listen"), Ok(None));
        assert!(options.has("listen") && !own.has("listen"));
        assert_eq!(own.iter().count(), 1);
    }
}
