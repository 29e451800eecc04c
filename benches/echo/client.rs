//! The load: so many keep-alive connections, each with one request in flight.
//!
//! One epoll loop, the same for every server. A connection that has its answer sends the next request at once,
//! so the server decides the pace (a closed loop), and on one shared core every microsecond it saves is shown.
#![deny(unsafe_code)]

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use super::MESSAGE_BYTES;
use crate::common::sys::{Epoll, reset_on_close};

/// Connections to one server.
pub struct Load {
    epoll: Epoll,
    connections: Vec<Connection>,
}

struct Connection {
    stream: TcpStream,
    /// Bytes of the current answer still to come.
    missing: usize,
}

impl Load {
    pub fn connect(server: SocketAddr, connections: usize) -> io::Result<Self> {
        let epoll = Epoll::new(1024)?;
        let connections = (0..connections)
            .map(|token| {
                let connection = Connection::open(server)?;
                epoll.add(&connection.stream, token)?;
                Ok(connection)
            })
            .collect::<io::Result<_>>()?;
        Ok(Load { epoll, connections })
    }

    /// How long it takes to have `requests` answered. All connections are idle before and after.
    pub fn run(&mut self, requests: u64) -> io::Result<Duration> {
        let since = Instant::now();
        let mut to_send = requests;
        for connection in &mut self.connections {
            if to_send > 0 {
                to_send -= 1;
                connection.request()?;
            }
        }
        let mut answered = 0;
        while answered < requests {
            let mut failed = None;
            self.epoll.wait(|token| {
                let connection = &mut self.connections[token];
                match connection.receive() {
                    Ok(false) => {}
                    Ok(true) => {
                        answered += 1;
                        if to_send > 0 {
                            to_send -= 1;
                            failed = connection.request().err().or(failed.take());
                        }
                    }
                    Err(error) => failed = Some(error),
                }
            })?;
            if let Some(error) = failed {
                return Err(error);
            }
        }
        Ok(since.elapsed())
    }
}

impl Connection {
    /// Connects and has one request answered, so that the server has taken the connection: a thousand at
    /// once would overflow its backlog of 128, and a dropped SYN is sent again only after a second.
    fn open(server: SocketAddr) -> io::Result<Self> {
        let mut stream = TcpStream::connect(server)?;
        stream.set_nodelay(true)?;
        // Many samples make many connections: without this, their ports would stay taken for a minute.
        reset_on_close(&stream)?;
        stream.write_all(&[b'x'; MESSAGE_BYTES])?;
        stream.read_exact(&mut [0; MESSAGE_BYTES])?;
        stream.set_nonblocking(true)?;
        Ok(Connection { stream, missing: 0 })
    }

    fn request(&mut self) -> io::Result<()> {
        self.missing = MESSAGE_BYTES;
        self.stream.write_all(&[b'x'; MESSAGE_BYTES])
    }

    /// Takes what has come in; says whether the answer is complete.
    fn receive(&mut self) -> io::Result<bool> {
        let mut buffer = [0; MESSAGE_BYTES];
        match self.stream.read(&mut buffer[..self.missing])? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            length => {
                self.missing -= length;
                Ok(self.missing == 0)
            }
        }
    }
}
