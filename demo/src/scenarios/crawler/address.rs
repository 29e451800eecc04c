//! Addresses of pages: as much of RFC 3986 as links in pages use, of one scheme, `http`.
//!
//! | reference in `http://a/b/c?d` | names                                |
//! |-------------------------------|--------------------------------------|
//! | `e`, `./e`                    | `http://a/b/e`                       |
//! | `../e`, `/e`                  | `http://a/e`                         |
//! | `?e`                          | `http://a/b/c?e`                     |
//! | `#e`, nothing                 | the page itself                      |
//! | `//e/f`                       | `http://e/f`                         |
//! | `https://...`, `mailto:...`   | nothing that this crawler can fetch  |
#![forbid(unsafe_code)]

use std::fmt;

/// The address of a page. Two that are written differently but name the same are equal.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Url {
    host: String,
    port: u16,
    /// Path and query.
    target: String,
}

/// Why a text is no address that can be fetched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unfit {
    /// It is `https`.
    Https,
    /// It is of another scheme.
    Scheme(String),
    /// It is nonsense.
    Malformed,
}

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unfit::Https => f.write_str("https is not supported, only http"),
            Unfit::Scheme(scheme) => write!(f, "`{scheme}:` is not supported, only http"),
            Unfit::Malformed => f.write_str("no address; one looks like http://host:port/path"),
        }
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}{}", self.authority(), self.target)
    }
}

impl Url {
    /// The address that `text` is.
    ///
    /// # Errors
    /// Why it is none.
    pub fn parse(text: &str) -> Result<Url, Unfit> {
        let (scheme, rest) = split_scheme(text).ok_or(Unfit::Malformed)?;
        check_scheme(scheme)?;
        let rest = rest.strip_prefix("//").ok_or(Unfit::Malformed)?;
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, target) = rest.split_at(end);
        let (host, port) = split_port(authority)?;
        let mut url = Url {
            host: host.to_ascii_lowercase(),
            port,
            target: String::new(),
        };
        url.set_target(target)?;
        Ok(url)
    }

    /// What `reference` names in the page of this address.
    ///
    /// # Errors
    /// Why it names nothing that can be fetched.
    pub fn join(&self, reference: &str) -> Result<Url, Unfit> {
        let reference = reference.trim_matches(|c: char| c.is_ascii_whitespace());
        if let Some((scheme, _)) = split_scheme(reference) {
            check_scheme(scheme)?;
            return Url::parse(reference);
        }
        if reference.starts_with("//") {
            return Url::parse(&format!("http:{reference}"));
        }
        let (path, query) = self.path_and_query();
        let target = match reference.chars().next() {
            None | Some('#') => format!("{path}{query}"),
            Some('/') => reference.to_owned(),
            Some('?') => format!("{path}{reference}"),
            Some(_) => {
                let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
                format!("{folder}/{reference}")
            }
        };
        let mut url = self.clone();
        url.set_target(&target)?;
        Ok(url)
    }

    /// Host and port, which politeness counts by; the port is left out if it is 80.
    pub fn authority(&self) -> String {
        match self.port {
            80 => self.host.clone(),
            port => format!("{}:{port}", self.host),
        }
    }

    /// The host to connect to, an address of IPv6 without its brackets.
    pub fn host(&self) -> &str {
        let host = self.host.strip_prefix('[');
        host.and_then(|host| host.strip_suffix(']'))
            .unwrap_or(&self.host)
    }

    /// The port to connect to.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// What to ask for there: path and query.
    pub fn target(&self) -> &str {
        &self.target
    }

    fn path_and_query(&self) -> (&str, &str) {
        let end = self.target.find('?').unwrap_or(self.target.len());
        self.target.split_at(end)
    }

    /// Takes a path with a query over, without the fragment, and without `.` and `..`.
    fn set_target(&mut self, text: &str) -> Result<(), Unfit> {
        let text = text.split('#').next().unwrap_or("");
        let end = text.find('?').unwrap_or(text.len());
        let (path, query) = text.split_at(end);
        let target = format!("{}{query}", without_dots(path));
        // A blank, or a byte that no request line may hold, is written as its number.
        self.target = String::with_capacity(target.len());
        for byte in target.bytes() {
            match byte {
                0..=32 | 127.. | b'"' | b'<' | b'>' => {
                    self.target.push_str(&format!("%{byte:02X}"));
                }
                _ => self.target.push(byte.into()),
            }
        }
        Ok(())
    }
}

/// The scheme that `text` begins with, and what follows its colon.
fn split_scheme(text: &str) -> Option<(&str, &str)> {
    let (scheme, rest) = text.split_once(':')?;
    let fits = |c: char| c.is_ascii_alphanumeric() || "+-.".contains(c);
    let starts = scheme.starts_with(|c: char| c.is_ascii_alphabetic());
    (starts && scheme.chars().all(fits)).then_some((scheme, rest))
}

fn check_scheme(scheme: &str) -> Result<(), Unfit> {
    match &*scheme.to_ascii_lowercase() {
        "http" => Ok(()),
        "https" => Err(Unfit::Https),
        other => Err(Unfit::Scheme(other.to_owned())),
    }
}

fn split_port(authority: &str) -> Result<(&str, u16), Unfit> {
    let (host, port) = match authority.rsplit_once(':') {
        // The colons of an address of IPv6 are within brackets.
        Some((host, port)) if !port.ends_with(']') => {
            (host, port.parse().map_err(|_| Unfit::Malformed)?)
        }
        _ => (authority, 80),
    };
    let fits = |c: char| c.is_ascii_alphanumeric() || ".-_[]:".contains(c);
    if host.is_empty() || !host.chars().all(fits) || port == 0 {
        return Err(Unfit::Malformed);
    }
    Ok((host, port))
}

/// `/a/./b/../c` is `/a/c`, and nothing is above `/`.
fn without_dots(path: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    let mut parts = path.strip_prefix('/').unwrap_or(path).split('/').peekable();
    while let Some(part) = parts.next() {
        let is_last = parts.peek().is_none();
        match part {
            "." | ".." => {
                if part == ".." {
                    kept.pop();
                }
                if is_last {
                    kept.push("");
                }
            }
            _ => kept.push(part),
        }
    }
    format!("/{}", kept.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn joined(reference: &str) -> String {
        let base = Url::parse("http://A.example:8080/b/c?d=1#e").unwrap();
        base.join(reference).unwrap().to_string()
    }

    #[test]
    fn references_are_resolved_as_browsers_do() {
        assert_eq!(joined("x"), "http://a.example:8080/b/x");
        assert_eq!(joined("./x/./y"), "http://a.example:8080/b/x/y");
        assert_eq!(joined("../x"), "http://a.example:8080/x");
        assert_eq!(joined("../../../x/.."), "http://a.example:8080/");
        assert_eq!(joined("/x?y#z"), "http://a.example:8080/x?y");
        assert_eq!(joined("?y"), "http://a.example:8080/b/c?y");
        assert_eq!(joined("#z"), "http://a.example:8080/b/c?d=1");
        assert_eq!(joined(""), "http://a.example:8080/b/c?d=1");
        assert_eq!(joined("//other/x"), "http://other/x");
        assert_eq!(joined("http://other"), "http://other/");
        assert_eq!(joined(" a b\n"), "http://a.example:8080/b/a%20b");
        assert_eq!(joined("x?a:b"), "http://a.example:8080/b/x?a:b");
    }

    #[test]
    fn the_same_page_has_one_address() {
        let one = Url::parse("HTTP://Example:80").unwrap();
        let other = Url::parse("http://example/#top").unwrap();
        assert_eq!(one, other);
        let v6 = Url::parse("http://[::1]:81/x").unwrap();
        assert_eq!((v6.host(), v6.port(), v6.target()), ("::1", 81, "/x"));
    }

    #[test]
    fn what_cannot_be_fetched_says_why() {
        assert_eq!(Url::parse("https://a/"), Err(Unfit::Https));
        assert_eq!(
            Url::parse("mailto:a@b"),
            Err(Unfit::Scheme("mailto".into()))
        );
        for text in [
            "",
            "a",
            "/a",
            "http:",
            "http://",
            "http:/a",
            "http://:80/",
            "http://a:99999/",
            "http://a:b/",
            "http://u@a/",
            "http://a:0/",
            "http://a b/",
        ] {
            assert_eq!(Url::parse(text), Err(Unfit::Malformed), "{text}");
        }
    }
}
