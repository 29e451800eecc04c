//! One request for one page, over a socket that may be a thread's or a coroutine's.
//!
//! [`Model`] is all that the two differ in. What is read is bounded: so much, for so long.
#![forbid(unsafe_code)]

use std::io::{self, Read, Write};
use std::net::{self, SocketAddr, ToSocketAddrs};
use std::time::{Duration, Instant};

use runtime::net as coroutines;

use super::address::Url;

/// The largest answer that is read.
const ANSWER_MAX: usize = 4 << 20;
const HEADERS_MAX: usize = 64;

/// Whose sockets are used.
pub trait Model {
    /// A connection.
    type Stream: Read + Write;

    /// Connects to one of the addresses.
    ///
    /// # Errors
    /// The system's; `TimedOut`.
    fn connect(address: &SocketAddr, patience: Duration) -> io::Result<Self::Stream>;

    /// From now on a read or write takes no longer than this.
    ///
    /// # Errors
    /// The system's.
    fn limit(stream: &Self::Stream, patience: Duration) -> io::Result<()>;

    /// The addresses of a host.
    ///
    /// # Errors
    /// The resolver's.
    fn resolve(host: &str, port: u16) -> io::Result<Vec<SocketAddr>>;
}

/// std's sockets, which block their thread.
#[derive(Debug)]
pub struct OfThreads;

/// The runtime's, which park their coroutine.
#[derive(Debug)]
pub struct OfCoroutines;

impl Model for OfThreads {
    type Stream = net::TcpStream;

    fn connect(address: &SocketAddr, patience: Duration) -> io::Result<net::TcpStream> {
        net::TcpStream::connect_timeout(address, patience)
    }

    fn limit(stream: &net::TcpStream, patience: Duration) -> io::Result<()> {
        stream.set_read_timeout(Some(patience))?;
        stream.set_write_timeout(Some(patience))
    }

    fn resolve(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        Ok((host, port).to_socket_addrs()?.collect())
    }
}

impl Model for OfCoroutines {
    type Stream = coroutines::TcpStream;

    fn connect(address: &SocketAddr, patience: Duration) -> io::Result<coroutines::TcpStream> {
        coroutines::TcpStream::connect_timeout(address, patience)
    }

    fn limit(stream: &coroutines::TcpStream, patience: Duration) -> io::Result<()> {
        stream.set_read_timeout(Some(patience))?;
        stream.set_write_timeout(Some(patience))
    }

    fn resolve(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        // An address needs no resolver, which only threads can wait for.
        if let Ok(ip) = host.parse() {
            return Ok(vec![SocketAddr::new(ip, port)]);
        }
        let host = host.to_owned();
        let resolved = runtime::spawn_blocking(move || OfThreads::resolve(&host, port)).join();
        resolved.unwrap_or_else(|_| Err(io::Error::other("the resolver failed")))
    }
}

/// What came back.
#[derive(Debug, PartialEq)]
pub enum Answer {
    /// A page; its links are worth looking for.
    Page(Vec<u8>),
    /// Something that is there and is no HTML.
    Other,
    /// Look there instead.
    Redirect(String),
}

/// Asks for `url`, for no longer than `patience`.
///
/// # Errors
/// In words, why there is no page: no connection, too slow, another status than 200, broken off, no HTTP.
pub fn fetch<M: Model>(url: &Url, patience: Duration) -> Result<Answer, String> {
    let deadline = Instant::now() + patience;
    let text = |error: io::Error| match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
            format!("no answer within {} s", patience.as_secs_f32())
        }
        _ => error.to_string(),
    };
    let mut stream = connect::<M>(url, deadline).map_err(text)?;
    let request = format!(
        "GET {} HTTP/1.1\r\nHost: {}\r\nUser-Agent: demo-web-crawler\r\nAccept: text/html\r\nConnection: close\r\n\r\n",
        url.target(),
        url.authority()
    );
    M::limit(&stream, left(deadline).map_err(text)?).map_err(text)?;
    stream.write_all(request.as_bytes()).map_err(text)?;
    let mut answer = Vec::with_capacity(4096);
    loop {
        if let Some(complete) = parse(&answer, false)? {
            return Ok(complete);
        }
        M::limit(&stream, left(deadline).map_err(text)?).map_err(text)?;
        let mut chunk = [0; 2048];
        match stream.read(&mut chunk) {
            Ok(0) => {
                let complete = parse(&answer, true)?;
                return complete.ok_or_else(|| "broken off in the middle".to_owned());
            }
            Ok(length) => answer.extend_from_slice(&chunk[..length]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(text(error)),
        }
        if answer.len() > ANSWER_MAX {
            return Err(format!("longer than {} MiB", ANSWER_MAX >> 20));
        }
    }
}

fn left(deadline: Instant) -> io::Result<Duration> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() {
        return Err(io::ErrorKind::TimedOut.into());
    }
    Ok(left)
}

fn connect<M: Model>(url: &Url, deadline: Instant) -> io::Result<M::Stream> {
    let mut refusal = io::Error::new(io::ErrorKind::NotFound, "the host has no address");
    for address in M::resolve(url.host(), url.port())? {
        match M::connect(&address, left(deadline)?) {
            Ok(stream) => return Ok(stream),
            Err(error) => refusal = error,
        }
    }
    Err(refusal)
}

/// The answer in `bytes`; `None` if some of it is still to come. `is_all`: nothing more will.
fn parse(bytes: &[u8], is_all: bool) -> Result<Option<Answer>, String> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut response = httparse::Response::new(&mut headers);
    let head = match response.parse(bytes) {
        Ok(httparse::Status::Complete(head)) => head,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(error) => return Err(format!("no HTTP: {error}")),
    };
    let header = |name: &str| {
        let mut headers = response.headers.iter();
        let found = headers.find(|header| header.name.eq_ignore_ascii_case(name))?;
        std::str::from_utf8(found.value).ok().map(str::trim)
    };
    match response.code.unwrap_or(0) {
        200 => {}
        301 | 302 | 303 | 307 | 308 => {
            let target = header("location").ok_or("redirected to nowhere")?;
            return Ok(Some(Answer::Redirect(target.to_owned())));
        }
        code => return Err(format!("status {code}")),
    }
    let body = &bytes[head..];
    let is_html = header("content-type").is_none_or(|kind| kind.starts_with("text/html"));
    if !is_html {
        return Ok(Some(Answer::Other));
    }
    let is_chunked =
        header("transfer-encoding").is_some_and(|coding| coding.eq_ignore_ascii_case("chunked"));
    let body = if is_chunked {
        unchunk(body)?
    } else if let Some(length) = header("content-length") {
        let length: usize = length.parse().map_err(|_| "a length that is no number")?;
        body.get(..length).map(<[u8]>::to_vec)
    } else {
        is_all.then(|| body.to_vec())
    };
    Ok(body.map(Answer::Page))
}

/// A body that came in chunks; `None` if the last one is not there yet.
fn unchunk(mut bytes: &[u8]) -> Result<Option<Vec<u8>>, String> {
    let mut body = Vec::new();
    loop {
        let (start, length) = match httparse::parse_chunk_size(bytes) {
            Ok(httparse::Status::Complete((start, length))) => (start, length as usize),
            Ok(httparse::Status::Partial) => return Ok(None),
            Err(_) => return Err("a broken chunk".to_owned()),
        };
        if length == 0 {
            return Ok(Some(body));
        }
        let end = start.checked_add(length).filter(|&end| end <= ANSWER_MAX);
        let end = end.ok_or("a chunk that is too long")?;
        // Behind it stands the end of a line.
        let (Some(chunk), Some(rest)) = (bytes.get(start..end), bytes.get(end + 2..)) else {
            return Ok(None);
        };
        body.extend_from_slice(chunk);
        bytes = rest;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OK: &str = "HTTP/1.1 200 OK\r\n";

    #[test]
    fn a_page_is_complete_by_length_by_chunks_or_by_the_end() {
        let page = |text: &str| Ok(Some(Answer::Page(text.as_bytes().to_vec())));
        let by_length = format!("{OK}Content-Length: 3\r\n\r\nabcd");
        assert_eq!(parse(by_length.as_bytes(), false), page("abc"));
        let chunks =
            format!("{OK}Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1;x=y\r\nc\r\n0\r\n\r\n");
        assert_eq!(parse(chunks.as_bytes(), false), page("abc"));
        for cut in 1..chunks.len() - 5 {
            assert_eq!(parse(&chunks.as_bytes()[..cut], false), Ok(None), "{cut}");
        }
        let by_end = format!("{OK}\r\nabc");
        assert_eq!(parse(by_end.as_bytes(), false), Ok(None));
        assert_eq!(parse(by_end.as_bytes(), true), page("abc"));
    }

    #[test]
    fn what_is_no_page_says_so() {
        let why = |text: &str| parse(text.as_bytes(), true).unwrap_err();
        assert_eq!(why("HTTP/1.1 404 Not Found\r\n\r\n"), "status 404");
        assert!(why("SSH-2.0-x\r\n").starts_with("no HTTP"));
        assert!(why("HTTP/1.1 302 Found\r\n\r\n").contains("nowhere"));
        assert!(why(&format!("{OK}Content-Length: x\r\n\r\n")).contains("length"));
        assert!(why(&format!("{OK}Transfer-Encoding: chunked\r\n\r\nzz\r\n")).contains("chunk"));
        assert!(
            why(&format!(
                "{OK}Transfer-Encoding: chunked\r\n\r\nffffffffffff\r\n"
            ))
            .contains("long")
        );
        let image = format!("{OK}Content-Type: image/png\r\n\r\n");
        assert_eq!(parse(image.as_bytes(), false), Ok(Some(Answer::Other)));
        let moved = "HTTP/1.1 301 Moved\r\nLocation: /x \r\n\r\n";
        assert_eq!(
            parse(moved.as_bytes(), false),
            Ok(Some(Answer::Redirect("/x".into())))
        );
    }
}
