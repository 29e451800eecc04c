//! What a user types: bytes into lines and keys, a line into the commands of a pipeline.
//!
//! ```text
//!   bytes ── Keyboard ──> Line("sort | uniq"), Interrupt (Ctrl-C), End (Ctrl-D)
//!   line  ── commands ──> [["sort"], ["uniq"]]
//! ```
#![forbid(unsafe_code)]

/// A longer line is cut.
const LINE_MAX: usize = 4 << 10;

/// What was typed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Typed {
    /// A line, without its end.
    Line(String),
    /// Ctrl-C.
    Interrupt,
    /// Ctrl-D on an empty line.
    End,
}

/// Where telnet's commands begin, and how far one has come.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
enum Telnet {
    #[default]
    Outside,
    Command,
    Option,
}

/// Turns bytes, of a terminal, of netcat or of telnet, into what was typed.
#[derive(Debug, Default)]
pub struct Keyboard {
    line: Vec<u8>,
    telnet: Telnet,
    after_return: bool,
}

impl Keyboard {
    /// Takes a byte; returns what is complete with it.
    pub fn press(&mut self, byte: u8) -> Option<Typed> {
        const IAC: u8 = 255;
        const INTERRUPT_PROCESS: u8 = 244;
        const WILL: u8 = 251;
        match self.telnet {
            Telnet::Outside => {}
            Telnet::Command => {
                self.telnet = match byte {
                    WILL..=254 => Telnet::Option,
                    _ => Telnet::Outside,
                };
                return (byte == INTERRUPT_PROCESS).then(|| self.interrupt());
            }
            Telnet::Option => {
                self.telnet = Telnet::Outside;
                return None;
            }
        }
        // A line ends by a return, a line feed, or both; telnet has a zero for the second.
        let after_return = std::mem::take(&mut self.after_return);
        match byte {
            IAC => self.telnet = Telnet::Command,
            0x03 => return Some(self.interrupt()),
            0x04 if self.line.is_empty() => return Some(Typed::End),
            0x08 | 0x7f => drop(self.line.pop()),
            b'\n' | 0 if after_return => {}
            b'\r' | b'\n' => {
                self.after_return = byte == b'\r';
                let line = String::from_utf8_lossy(&self.line).into_owned();
                self.line.clear();
                return Some(Typed::Line(line));
            }
            b'\t' | b' '.. if self.line.len() < LINE_MAX => self.line.push(byte),
            _ => {}
        }
        None
    }

    fn interrupt(&mut self) -> Typed {
        self.line.clear();
        Typed::Interrupt
    }
}

/// The commands of `line`, each a list of words; quotes keep blanks and bars together.
///
/// # Errors
/// What is wrong, for the user.
pub fn commands(line: &str) -> Result<Vec<Vec<String>>, &'static str> {
    let mut commands = vec![Vec::new()];
    let mut word: Option<String> = None;
    let mut quote = None;
    let end_word = |commands: &mut Vec<Vec<String>>, word: &mut Option<String>| {
        let last = commands.last_mut();
        last.into_iter()
            .for_each(|command| command.extend(word.take()));
    };
    for c in line.chars() {
        match (quote, c) {
            (Some(mark), _) if c == mark => quote = None,
            (Some(_), _) => word.get_or_insert_default().push(c),
            (None, '\'' | '"') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, '|') => {
                end_word(&mut commands, &mut word);
                commands.push(Vec::new());
            }
            (None, _) if c.is_whitespace() => end_word(&mut commands, &mut word),
            (None, _) => word.get_or_insert_default().push(c),
        }
    }
    end_word(&mut commands, &mut word);
    match &commands[..] {
        _ if quote.is_some() => Err("a quote is not closed"),
        [only] if only.is_empty() => Ok(Vec::new()),
        _ if commands.iter().any(Vec::is_empty) => Err("a command is missing beside |"),
        _ => Ok(commands),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(bytes: &[u8]) -> Vec<Typed> {
        let mut keyboard = Keyboard::default();
        bytes
            .iter()
            .filter_map(|&byte| keyboard.press(byte))
            .collect()
    }

    #[test]
    fn lines_end_by_whatever_the_client_sends() {
        let line = |text: &str| Typed::Line(text.to_owned());
        assert_eq!(
            typed(b"a\nb\r\nc\r\0d\re"),
            [line("a"), line("b"), line("c"), line("d")]
        );
        assert_eq!(typed(b"ab\x7f\x08c\n\n"), [line("c"), line("")]);
        assert_eq!(typed(b"half\x03whole\n"), [Typed::Interrupt, line("whole")]);
        assert_eq!(typed(b"a\x04\n\x04"), [line("a"), Typed::End]);
        assert_eq!(typed(&[b'x'; 10_000]), []);
        // Telnet: DO ECHO, then "interrupt process".
        assert_eq!(
            typed(b"a\xff\xfd\x01b\n\xff\xf4"),
            [line("ab"), Typed::Interrupt]
        );
        assert_eq!(typed("gr\u{fc}n\n".as_bytes()), [line("gr\u{fc}n")]);
    }

    #[test]
    fn a_line_falls_into_commands_and_words() {
        assert_eq!(
            commands("echo 'a | b'  \"c d\" | wc -l"),
            Ok(vec![
                vec!["echo".into(), "a | b".into(), "c d".into()],
                vec!["wc".into(), "-l".into()]
            ])
        );
        assert_eq!(
            commands("a''b \"\""),
            Ok(vec![vec!["ab".into(), String::new()]])
        );
        assert_eq!(commands("  "), Ok(vec![]));
        for wrong in ["a |", "| a", "a || b", "|", "echo 'a", "\""] {
            assert!(commands(wrong).is_err(), "{wrong}");
        }
    }
}
