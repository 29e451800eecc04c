//! As much of JSON as reports need: objects, lists, texts and numbers, written in order.
#![forbid(unsafe_code)]

use std::fmt::Write;

/// An object that is being written.
pub(super) struct Json(String);

/// A list that is being written.
pub(super) struct List(String);

impl Json {
    pub(super) fn new() -> Self {
        Json("{".into())
    }

    fn key(&mut self, key: &str) {
        if self.0.len() > 1 {
            self.0.push(',');
        }
        quote(&mut self.0, key);
        self.0.push(':');
    }

    pub(super) fn number(&mut self, key: &str, value: u64) {
        self.key(key);
        self.0.push_str(&value.to_string());
    }

    pub(super) fn number_or_null(&mut self, key: &str, value: Option<u64>) {
        match value {
            Some(value) => self.number(key, value),
            None => self.option(key, None),
        }
    }

    pub(super) fn text(&mut self, key: &str, value: &str) {
        self.key(key);
        quote(&mut self.0, value);
    }

    /// A text, or null.
    pub(super) fn option(&mut self, key: &str, value: Option<&str>) {
        self.key(key);
        match value {
            Some(value) => quote(&mut self.0, value),
            None => self.0.push_str("null"),
        }
    }

    pub(super) fn object(&mut self, key: &str, value: Json) {
        self.key(key);
        self.0.push_str(&value.end());
    }

    /// A list of these, each of which `write` adds.
    pub(super) fn list<T>(&mut self, key: &str, items: &[T], write: impl Fn(&T, &mut List)) {
        self.key(key);
        let mut list = List("[".into());
        items.iter().for_each(|item| write(item, &mut list));
        self.0.push_str(&list.0);
        self.0.push(']');
    }

    pub(super) fn end(mut self) -> String {
        self.0.push('}');
        self.0
    }
}

impl List {
    fn next(&mut self) {
        if self.0.len() > 1 {
            self.0.push(',');
        }
    }

    pub(super) fn text(&mut self, value: &str) {
        self.next();
        quote(&mut self.0, value);
    }

    pub(super) fn object(&mut self, value: Json) {
        self.next();
        self.0.push_str(&value.end());
    }
}

/// RFC 8259, section 7.
fn quote(out: &mut String, text: &str) {
    out.push('"');
    let mut left = text;
    // None of these is a part of a longer character.
    while let Some(at) = left
        .bytes()
        .position(|byte| byte < b' ' || byte == b'"' || byte == b'\\')
    {
        out.push_str(&left[..at]);
        match left.as_bytes()[at] {
            b'"' => out.push_str("\\\""),
            b'\\' => out.push_str("\\\\"),
            b'\n' => out.push_str("\\n"),
            byte => {
                let _ = write!(out, "\\u{byte:04x}"); // to a String: cannot fail
            }
        }
        left = &left[at + 1..];
    }
    out.push_str(left);
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_quoted_as_the_standard_demands() {
        let mut json = Json::new();
        json.text("a\"b", "line\nbell\u{7} \\ ü");
        json.option("none", None);
        json.list("list", &[1, 2], |n, list: &mut List| {
            list.text(&n.to_string())
        });
        assert_eq!(
            json.end(),
            "{\"a\\\"b\":\"line\\nbell\\u0007 \\\\ ü\",\"none\":null,\"list\":[\"1\",\"2\"]}"
        );
    }
}
