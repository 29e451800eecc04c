//! A site to crawl: pages that link to each other, on several hosts, each answered after a while as if it were far away.
//!
//! ```text
//!   page n links to   4n + 1 .. 4n + 4      a tree, so that every page is found
//!                     7n mod count, 0       pages that are known already
//!                     /moved/n              a redirect to n, of every 50th
//! ```
//!
//! Page 0 also links to two redirects that form a circle, to a page that is missing, and to one that breaks off. What a
//! host is, is told by the port: all of them are this machine.
#![forbid(unsafe_code)]

use std::fmt::Write as _;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use runtime::{net, time};

/// How large a site.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    /// Pages, those that are broken or redirect not counted.
    pub pages: usize,
    /// Hosts that they are spread over.
    pub hosts: usize,
    /// The average time after which a page is answered.
    pub latency: Duration,
}

/// The links of page 0 that lead nowhere.
pub const BROKEN: usize = 3;

/// A site that is not served yet.
pub struct Site {
    size: Size,
    listeners: Vec<TcpListener>,
    hosts: Vec<SocketAddr>,
}

impl Site {
    /// Takes a port for each host.
    ///
    /// # Errors
    /// The system's.
    pub fn new(size: Size) -> io::Result<Site> {
        let bind = |_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
        let listeners = (0..size.hosts).map(bind).collect::<io::Result<Vec<_>>>()?;
        let hosts = listeners
            .iter()
            .map(TcpListener::local_addr)
            .collect::<io::Result<_>>()?;
        Ok(Site {
            size,
            listeners,
            hosts,
        })
    }

    /// Its hosts.
    pub fn hosts(&self) -> impl Iterator<Item = String> {
        self.hosts.iter().map(SocketAddr::to_string)
    }

    /// The address of its first page.
    pub fn start(&self) -> String {
        self.address("page", 0)
    }

    /// How many redirects it has that lead to a page.
    pub fn redirects(&self) -> usize {
        (0..self.size.pages)
            .filter(|&number| has_moved(number))
            .count()
    }

    /// Serves it, in coroutines, until this process ends.
    ///
    /// # Errors
    /// The system's.
    pub fn serve(mut self) -> io::Result<()> {
        runtime::run(|| {
            let listeners = std::mem::take(&mut self.listeners);
            let site = Arc::new(self);
            let hosts: Vec<_> = listeners
                .into_iter()
                .map(|listener| {
                    let site = Arc::clone(&site);
                    runtime::spawn(move || site.accept(&net::TcpListener::from(listener)))
                })
                .collect();
            let ended = hosts.into_iter().map(|host| host.join());
            ended.last();
            Err(io::Error::other("every host has failed"))
        })
    }

    fn accept(self: &Arc<Site>, listener: &net::TcpListener) {
        for stream in listener.incoming().flatten() {
            let site = Arc::clone(self);
            // A client that goes away early is no concern of the site's.
            runtime::spawn(move || drop(site.answer(&stream)));
        }
    }

    fn answer(&self, mut stream: &net::TcpStream) -> io::Result<()> {
        let mut request = [0; 2048];
        let mut filled = 0;
        let target = loop {
            let mut headers = [httparse::EMPTY_HEADER; 16];
            let mut parsed = httparse::Request::new(&mut headers);
            match parsed.parse(&request[..filled]) {
                Ok(httparse::Status::Complete(_)) => break parsed.path.unwrap_or("").to_owned(),
                Ok(httparse::Status::Partial) if filled < request.len() => {}
                _ => return Ok(()),
            }
            match stream.read(&mut request[filled..])? {
                0 => return Ok(()),
                length => filled += length,
            }
        };
        let (kind, number) = split(&target).unwrap_or(("missing", 0));
        time::sleep(self.latency(number));
        stream.write_all(self.response(kind, number).as_bytes())
    }

    /// Between half of the average and one and a half, the same for a page every time.
    fn latency(&self, number: usize) -> Duration {
        let tenths = 5 + number * 7 % 11;
        self.size.latency * tenths as u32 / 10
    }

    fn response(&self, kind: &str, number: usize) -> String {
        let redirect = |to: String| {
            format!("HTTP/1.1 302 Found\r\nLocation: {to}\r\nContent-Length: 0\r\n\r\n")
        };
        match kind {
            "page" if number < self.size.pages => {
                let html = self.html(number);
                format!(
                    "HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\nContent-Length: {}\r\n\r\n{html}",
                    html.len()
                )
            }
            "moved" => redirect(self.address("page", number)),
            "circle" => redirect(format!("/circle/{}", 1 - number.min(1))),
            "cut" => "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n<p>this page ends".to_owned(),
            _ => "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n".to_owned(),
        }
    }

    fn html(&self, number: usize) -> String {
        let mut html = format!(
            "<!doctype html><html><head><title>Page {number}</title><script>var a = '<a href=/script/1>';</script>\
             </head><body><h1>Page {number}</h1><!-- <a href='/comment/1'> -->\n"
        );
        let count = self.size.pages;
        let children = (1..=4).map(|child| 4 * number + child);
        let known = [7 * number % count, 0];
        for (index, link) in children
            .filter(|&child| child < count)
            .chain(known)
            .enumerate()
        {
            let address = self.address("page", link);
            // `write!` to a string does not fail.
            let _ = writeln!(
                html,
                "<p class=\"{index}\">A paragraph about page {link}, as <a href=\"{address}#top\">page {link}</a> has it, \
                 with <em>some</em> words &amp; entities around, so that there is something to read.</p>"
            );
        }
        if has_moved(number) {
            let _ = writeln!(html, "<a href='/moved/{number}'>moved</a>");
        }
        if number == 0 {
            html.push_str("<a href=/circle/0>circle</a> <a href='missing/0'>missing</a> <a href=\"../cut/0\">cut</a>\n");
        }
        html + "</body></html>\n"
    }

    fn address(&self, kind: &str, number: usize) -> String {
        let host = self.hosts[number % self.hosts.len()];
        format!("http://{host}/{kind}/{number}")
    }
}

fn has_moved(number: usize) -> bool {
    number % 50 == 7
}

/// The kind and the number in `/kind/number`.
fn split(target: &str) -> Option<(&str, usize)> {
    let (kind, number) = target.strip_prefix('/')?.split_once('/')?;
    Some((kind, number.parse().ok()?))
}
