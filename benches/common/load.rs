//! The load: so many keep-alive connections, each with one request in flight.
//!
//! One epoll loop, the same for every server. A connection that has its answer sends the next request at once,
//! so the server decides the pace (a closed loop), and on one shared core every microsecond it saves is shown.
//! On a core of its own a load that is [`busy`](Load::busy) never sleeps, so that no server pays for waking it.
#![deny(unsafe_code)]

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use super::sys::{Epoll, reset_on_close};

/// What is said: one request, and the end of its answer, by which the first one shows how long they are.
#[derive(Clone, Copy)]
pub struct Talk {
    pub request: &'static [u8],
    pub answer_ends: &'static [u8],
}

/// Longest answer.
const ANSWER_MAX: usize = 1024;

/// So many connect before their first requests are answered, by which the server shows that it has taken them: a
/// thousand would overflow its backlog of 128, and a dropped SYN is sent again only after a second.
const AT_ONCE: usize = 64;

/// Connections to one server.
pub struct Load {
    epoll: Epoll,
    talk: Talk,
    connections: Vec<Connection>,
    busy: bool,
}

struct Connection {
    stream: TcpStream,
    answer_bytes: usize,
    /// Bytes of the current answer still to come.
    missing: usize,
    /// When the current request went out, where that is asked for.
    since: Instant,
}

/// How long each of many requests took.
pub struct Latencies(Vec<u32>);

impl Latencies {
    fn new(requests: u64) -> Self {
        Latencies(Vec::with_capacity(requests as usize))
    }

    fn add(&mut self, latency: Duration) {
        self.0
            .push(u32::try_from(latency.as_nanos()).unwrap_or(u32::MAX));
    }

    /// The time within which 99 of 100 were answered, in microseconds.
    pub fn p99_us(mut self) -> f64 {
        let at = self.0.len() * 99 / 100;
        let (_, p99, _) = self.0.select_nth_unstable(at);
        f64::from(*p99) / 1e3
    }
}

impl Load {
    pub fn connect(server: SocketAddr, connections: usize, talk: Talk) -> io::Result<Self> {
        let epoll = Epoll::new(1024)?;
        let mut all = Vec::with_capacity(connections);
        while all.len() < connections {
            let some: Vec<TcpStream> = (all.len()..connections)
                .take(AT_ONCE)
                .map(|_| ask(server, talk))
                .collect::<io::Result<_>>()?;
            for stream in some {
                let connection = Connection::answered(stream, talk)?;
                epoll.add(&connection.stream, all.len())?;
                all.push(connection);
            }
        }
        Ok(Load {
            epoll,
            talk,
            connections: all,
            busy: false,
        })
    }

    /// From here on it asks for answers all the time, and takes its core for that.
    pub fn busy(mut self) -> Self {
        self.busy = true;
        self
    }

    /// How long it takes to have `requests` answered. All connections are idle before and after.
    pub fn run(&mut self, requests: u64) -> io::Result<Duration> {
        self.exchange(requests, None)
    }

    /// The same, and how long each took. Costs two looks at the clock a request.
    pub fn run_timed(&mut self, requests: u64) -> io::Result<(Duration, Latencies)> {
        let mut latencies = Latencies::new(requests);
        let time = self.exchange(requests, Some(&mut latencies))?;
        Ok((time, latencies))
    }

    fn exchange(
        &mut self,
        requests: u64,
        mut latencies: Option<&mut Latencies>,
    ) -> io::Result<Duration> {
        let (talk, timed) = (self.talk, latencies.is_some());
        let since = Instant::now();
        let mut to_send = requests;
        for connection in &mut self.connections {
            if to_send > 0 {
                to_send -= 1;
                connection.request(talk, timed)?;
            }
        }
        let mut answered = 0;
        while answered < requests {
            let mut failed = None;
            self.epoll.wait(self.busy, |token| {
                let connection = &mut self.connections[token];
                match connection.receive() {
                    Ok(false) => {}
                    Ok(true) => {
                        answered += 1;
                        if let Some(latencies) = &mut latencies {
                            latencies.add(connection.since.elapsed());
                        }
                        if to_send > 0 {
                            to_send -= 1;
                            failed = connection.request(talk, timed).err().or(failed.take());
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
    /// Takes the answer to the first request.
    fn answered(mut stream: TcpStream, talk: Talk) -> io::Result<Self> {
        let answer_bytes = answer_bytes(&mut stream, talk.answer_ends)?;
        stream.set_nonblocking(true)?;
        Ok(Connection {
            stream,
            answer_bytes,
            missing: 0,
            since: Instant::now(),
        })
    }

    fn request(&mut self, talk: Talk, timed: bool) -> io::Result<()> {
        self.missing = self.answer_bytes;
        if timed {
            self.since = Instant::now();
        }
        self.stream.write_all(talk.request)
    }

    /// Takes what has come in; says whether the answer is complete.
    fn receive(&mut self) -> io::Result<bool> {
        let mut buffer = [0; ANSWER_MAX];
        match self.stream.read(&mut buffer[..self.missing])? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            length => {
                self.missing -= length;
                Ok(self.missing == 0)
            }
        }
    }
}

/// Connects, and sends the first request.
fn ask(server: SocketAddr, talk: Talk) -> io::Result<TcpStream> {
    let mut stream = TcpStream::connect(server)?;
    stream.set_nodelay(true)?;
    // Many samples make many connections: without this, their ports would stay taken for a minute.
    reset_on_close(&stream)?;
    stream.write_all(talk.request)?;
    Ok(stream)
}

/// Reads one answer, which `ends` with that; returns its length.
fn answer_bytes(stream: &mut TcpStream, ends: &[u8]) -> io::Result<usize> {
    let mut answer = Vec::new();
    let mut buffer = [0; ANSWER_MAX];
    while !answer.ends_with(ends) {
        match stream.read(&mut buffer)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            length => answer.extend_from_slice(&buffer[..length]),
        }
        assert!(
            answer.len() <= ANSWER_MAX,
            "not the answer that was expected: {}",
            String::from_utf8_lossy(&answer)
        );
    }
    Ok(answer.len())
}
