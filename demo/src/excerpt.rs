//! The lines of an experiment that a reader should see: taken from the file that is compiled, so that what is
//! shown is what was measured.
//!
//! ```text
//!   // excerpt: ring                     Excerpt::of(file!(), include_str!("switch.rs"), "ring")
//!   fn ring(size: usize, ...             ──>  these lines, indented as little as they allow
//!   ...
//!   // excerpt: end
//! ```
#![forbid(unsafe_code)]

use serde::{Deserialize, Serialize};

/// A piece of source code.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Excerpt {
    /// The file, as a path in the repository.
    pub file: String,
    /// The number of its first line.
    pub line: usize,
    /// The lines, separated by `\n`.
    pub code: String,
}

impl Excerpt {
    /// The lines of `source` between `// excerpt: NAME` and the next `// excerpt: end`. `file` is [`file!`] of
    /// the experiment, `source` its `include_str!`.
    ///
    /// # Panics
    /// If the marks are not there, or nothing is between them. A test asks every experiment for its code.
    pub fn of(file: &str, source: &str, name: &str) -> Excerpt {
        let begins = format!("// excerpt: {name}");
        let is_begin = |line: &str| line.trim() == begins;
        let first = source.lines().position(is_begin);
        let first = first.unwrap_or_else(|| panic!("{file} has no line `{begins}`")) + 1;
        let is_end = |line: &&str| line.trim() == "// excerpt: end";
        let lines: Vec<&str> = source
            .lines()
            .skip(first)
            .take_while(|line| !is_end(line))
            .collect();
        let indents = lines.iter().filter(|line| !line.trim().is_empty());
        let indent = indents
            .map(|line| line.len() - line.trim_start().len())
            .min()
            .unwrap_or_else(|| panic!("nothing follows `{begins}` in {file}"));
        let code: Vec<&str> = lines
            .iter()
            .map(|line| line.get(indent..).unwrap_or("").trim_end())
            .collect();
        Excerpt {
            file: file.to_owned(),
            line: first + 1,
            code: code.join("\n").trim_end().to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCE: &str =
        "x\n    // excerpt: a\n    fn a() {\n\n        1\n    }\n    // excerpt: end\nfn b() {}\n";

    #[test]
    fn the_lines_between_the_marks_lose_their_common_indent() {
        let excerpt = Excerpt::of("f.rs", SOURCE, "a");
        assert_eq!(excerpt.code, "fn a() {\n\n    1\n}");
        assert_eq!((excerpt.file.as_str(), excerpt.line), ("f.rs", 3));
    }

    #[test]
    #[should_panic(expected = "no line `// excerpt: b`")]
    fn a_mark_that_is_not_there_is_the_authors_mistake() {
        Excerpt::of("f.rs", SOURCE, "b");
    }
}
