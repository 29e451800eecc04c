//! HTTP by httparse, which knows nothing of us, over our sockets and under clients that know nothing of us either.

mod net_support;

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net;
use std::thread;

use net_support::*;
use runtime::net::TcpStream;

/// Serves one connection: answers each request with its method, path and body, until the peer has ended.
fn serve(mut stream: TcpStream) -> io::Result<()> {
    let mut buffer = Vec::new();
    loop {
        // More requests than one may be there, or the next one's beginning.
        let Some((request, parsed)) = parse(&buffer)? else {
            let mut chunk = [0; 512];
            match stream.read(&mut chunk)? {
                0 if buffer.is_empty() => return Ok(()),
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                got => buffer.extend_from_slice(&chunk[..got]),
            }
            continue;
        };
        buffer.drain(..parsed);
        let length = request.len();
        let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{request}");
        stream.write_all(answer.as_bytes())?;
    }
}

/// The first request of `buffer` and how long it is there, if it is complete.
fn parse(buffer: &[u8]) -> io::Result<Option<(String, usize)>> {
    let mut headers = [httparse::EMPTY_HEADER; 16];
    let mut request = httparse::Request::new(&mut headers);
    let invalid = |error| io::Error::new(io::ErrorKind::InvalidData, error);
    let head = match request.parse(buffer).map_err(invalid)? {
        httparse::Status::Complete(head) => head,
        httparse::Status::Partial => return Ok(None),
    };
    let body = request
        .headers
        .iter()
        .find(|header| header.name.eq_ignore_ascii_case("content-length"))
        .map_or(0, |header| {
            String::from_utf8_lossy(header.value).parse().unwrap()
        });
    let Some(bytes) = buffer.get(head..head + body) else {
        return Ok(None);
    };
    let (method, path) = (request.method.unwrap(), request.path.unwrap());
    let answer = format!("{method} {path} {}", String::from_utf8_lossy(bytes));
    Ok(Some((answer, head + body)))
}

/// A client's side of one answer.
fn answer(stream: &mut impl BufRead) -> String {
    let mut line = String::new();
    stream.read_line(&mut line).unwrap();
    assert_eq!(line, "HTTP/1.1 200 OK\r\n");
    let mut length = 0;
    loop {
        line.clear();
        stream.read_line(&mut line).unwrap();
        match line.split_once(": ") {
            Some(("Content-Length", value)) => length = value.trim().parse().unwrap(),
            _ => break,
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).unwrap();
    String::from_utf8(body).unwrap()
}

#[test]
fn requests_one_by_one_in_pieces_and_in_a_row_are_answered_in_order() {
    on_one_worker_and_on_two(|| {
        let (listener, address) = listener();
        let clients: Vec<_> = (0..4)
            .map(|id| {
                thread::spawn(move || {
                    let stream = net::TcpStream::connect(address).unwrap();
                    stream.set_nodelay(true).unwrap();
                    let mut answers = BufReader::new(&stream);
                    // One by one, kept alive.
                    for round in 0..50 {
                        let request = format!("GET /{id}/{round} HTTP/1.1\r\nHost: x\r\n\r\n");
                        (&stream).write_all(request.as_bytes()).unwrap();
                        assert_eq!(answer(&mut answers), format!("GET /{id}/{round} "));
                    }
                    // SO10: a byte at a time.
                    let request = b"POST /slow HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello";
                    for byte in request {
                        (&stream).write_all(&[*byte]).unwrap();
                    }
                    assert_eq!(answer(&mut answers), "POST /slow hello");
                    // In a row.
                    let request = "PUT /p HTTP/1.1\r\nContent-Length: 1\r\n\r\n!".repeat(30);
                    (&stream).write_all(request.as_bytes()).unwrap();
                    for _ in 0..30 {
                        assert_eq!(answer(&mut answers), "PUT /p !");
                    }
                })
            })
            .collect();
        let serving: Vec<_> = listener
            .incoming()
            .take(clients.len())
            .map(|stream| runtime::spawn(move || serve(stream.unwrap())))
            .collect();
        serving
            .into_iter()
            .for_each(|one| one.join().unwrap().unwrap());
        clients.into_iter().for_each(|one| one.join().unwrap());
    });
}
