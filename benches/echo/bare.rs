//! The yardstick: an echo server that is nothing but an epoll loop.
//!
//! One table of connections indexed by token, one buffer, level-triggered readiness; per request one `read`,
//! one `write` and its share of an `epoll_wait`. Whatever a runtime adds shows as a difference to this.
#![deny(unsafe_code)]

use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};

use super::BUFFER_BYTES;
use crate::common::sys::Epoll;

/// The listener's token; connections have their index in the table.
const LISTENER: usize = usize::MAX;

struct Server {
    listener: TcpListener,
    connections: Vec<Option<TcpStream>>,
    free: Vec<usize>,
    buffer: [u8; BUFFER_BYTES],
}

/// Serves for ever.
pub fn serve(listener: TcpListener) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let mut epoll = Epoll::new(1024)?;
    epoll.add(&listener, LISTENER)?;
    let mut server = Server {
        listener,
        connections: Vec::new(),
        free: Vec::new(),
        buffer: [0; BUFFER_BYTES],
    };
    let mut arrived = Vec::new();
    loop {
        epoll.wait(false, |token| match token {
            LISTENER => arrived.extend(server.accept()),
            token => server.echo(token),
        })?;
        for token in arrived.drain(..) {
            epoll.add(
                server.connections[token]
                    .as_ref()
                    .expect("it has just arrived"),
                token,
            )?;
        }
    }
}

impl Server {
    /// Takes one connection; the listener is reported again while there are more.
    fn accept(&mut self) -> Option<usize> {
        let (stream, _) = self.listener.accept().ok()?;
        stream.set_nonblocking(true).ok()?;
        let token = self.free.pop().unwrap_or_else(|| {
            self.connections.push(None);
            self.connections.len() - 1
        });
        self.connections[token] = Some(stream);
        Some(token)
    }

    /// Answers what has come in, or closes the connection; closing also takes it out of the epoll instance.
    fn echo(&mut self, token: usize) {
        let Some(stream) = &mut self.connections[token] else {
            return;
        };
        let answered = match stream.read(&mut self.buffer) {
            Ok(0) => Err(ErrorKind::UnexpectedEof.into()),
            Ok(length) => stream.write_all(&self.buffer[..length]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(()),
            Err(error) => Err(error),
        };
        if answered.is_err() {
            self.connections[token] = None;
            self.free.push(token);
        }
    }
}
