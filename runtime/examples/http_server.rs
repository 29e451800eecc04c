//! An HTTP/1.1 server over `httparse`, a parser that knows nothing of sockets, let alone of coroutines.
//!
//! Keep-alive, pipelining, a limit for the size of a request and one for the time that a client may take for it: with
//! a coroutine for each connection these are a loop, an array and a read timeout.
//!
//! ```sh
//! cargo run --release -p runtime --example http_server    # on 127.0.0.1:8080, or the address given
//! curl -i http://127.0.0.1:8080/
//! ```
//!
//! See `Hello, World!`. Ctrl-C ends it. `cargo bench --bench http` measures this very code beside others'.

use std::io::{self, Read, Write};
use std::time::Duration;

use runtime::net::{TcpListener, TcpStream};
use runtime::{signal, spawn};

const HELLO: &[u8] =
    b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 13\r\n\r\nHello, World!";
const BAD: &[u8] = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";

/// A client may be silent for so long.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) fn main() -> io::Result<()> {
    let address = std::env::args().nth(1);
    runtime::run(|| {
        let listener = TcpListener::bind(address.as_deref().unwrap_or("127.0.0.1:8080"))?;
        println!("listening on http://{}/", listener.local_addr()?);
        spawn(move || {
            loop {
                match listener.accept() {
                    Ok((stream, _peer)) => drop(spawn(move || serve(&stream))),
                    Err(error) => eprintln!("accept: {error}"),
                }
            }
        });
        signal::ctrl_c()
    })
}

/// One connection.
fn serve(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    answer(stream)
}

/// Requests, until the client has no more or sends something else. All that this knows of its stream is that it reads
/// and writes as std's do.
pub(crate) fn answer(mut stream: impl Read + Write) -> io::Result<()> {
    let mut buffer = [0; 8192];
    let mut filled = 0;
    let mut answers = Vec::new();
    loop {
        // All requests that are complete are answered by one write.
        let mut parsed = 0;
        loop {
            match request(&buffer[parsed..filled]) {
                Ok(Some(length)) => {
                    parsed += length;
                    answers.extend_from_slice(HELLO);
                }
                Ok(None) => break,
                Err(_) => {
                    answers.extend_from_slice(BAD);
                    return stream.write_all(&answers);
                }
            }
        }
        if !answers.is_empty() {
            stream.write_all(&answers)?;
            answers.clear();
        }
        buffer.copy_within(parsed..filled, 0);
        filled -= parsed;
        if filled == buffer.len() {
            return stream.write_all(BAD); // it does not end
        }
        match stream.read(&mut buffer[filled..])? {
            0 => return Ok(()),
            length => filled += length,
        }
    }
}

/// The length of the request that `bytes` begin with, if all of it is there. One with a body is beyond this example.
fn request(bytes: &[u8]) -> Result<Option<usize>, httparse::Error> {
    let mut headers = [httparse::EMPTY_HEADER; 32];
    match httparse::Request::new(&mut headers).parse(bytes)? {
        httparse::Status::Complete(length) => Ok(Some(length)),
        httparse::Status::Partial => Ok(None),
    }
}
