//! The server: one function for a connection, and three ways to run as many of it as there are connections.
//!
//! ```text
//!   accept ──> serve(connection)      in a coroutine     of the worker that accepts
//!                                     in a thread        of its own
//!                                     in a process       forked for it
//! ```
#![forbid(unsafe_code)]

use std::io::{self, Read, Write};
use std::net::TcpListener;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use runtime::{coroutine, net, time};
use rustix::process::{WaitOptions, wait};

use crate::limits::{name_refusal, room_for_threads};
use crate::os::{self, SharedWords};
use crate::report::Body;

/// What is answered to every request.
pub const ANSWER: &[u8] =
    b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 13\r\n\r\nHello, World!";
const BAD: &[u8] = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";

/// A connection may be silent for so long.
const PATIENCE: Duration = Duration::from_secs(60);
/// After a refusal to accept, before the next try.
const PAUSE: Duration = Duration::from_millis(10);
/// The longest request.
const REQUEST_MAX: usize = 16 << 10;

// excerpt: serve
/// One connection: request by request, until the client has no more or sends something else.
pub fn serve(mut stream: impl Read + Write) -> io::Result<()> {
    // Most of the time a connection waits: what it holds then should be small.
    let mut buffer = vec![0; 512];
    let mut filled = 0;
    loop {
        while let Ok(Some(length)) = request(&buffer[..filled]) {
            stream.write_all(ANSWER)?;
            buffer.copy_within(length..filled, 0);
            filled -= length;
        }
        if request(&buffer[..filled]).is_err() || filled == REQUEST_MAX {
            return stream.write_all(BAD);
        }
        if filled == buffer.len() {
            buffer.resize(2 * filled, 0);
        }
        match stream.read(&mut buffer[filled..])? {
            0 => return Ok(()),
            length => filled += length,
        }
    }
}
// excerpt: end

/// The length of the request that `bytes` begin with, if all of it is there. None of ours has a body.
fn request(bytes: &[u8]) -> Result<Option<usize>, httparse::Error> {
    let mut headers = [httparse::EMPTY_HEADER; 32];
    match httparse::Request::new(&mut headers).parse(bytes)? {
        httparse::Status::Complete(length) => Ok(Some(length)),
        httparse::Status::Partial => Ok(None),
    }
}

/// What a server has to say for itself.
#[derive(Debug, Default)]
pub struct Journal(Mutex<Option<String>>);

impl Journal {
    /// Why it had to turn a connection away, the first time that it did.
    pub fn refusal(&self) -> Option<String> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Keeps the first reason only: those that follow follow from it.
    fn turned_away(&self, why: impl FnOnce() -> String) {
        let refusal = self.0.lock();
        refusal
            .unwrap_or_else(PoisonError::into_inner)
            .get_or_insert_with(why);
    }
}

// excerpt: coroutines
/// Accepts for ever, in the calling coroutine.
pub fn coroutine_per_connection(listener: TcpListener, journal: &Journal) -> io::Result<()> {
    let listener = net::TcpListener::from(listener);
    loop {
        let taken = listener.accept().and_then(|(stream, _)| {
            stream.set_nodelay(true)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            // A connection that fails is the client's business.
            coroutine::Builder::new().spawn(move || drop(serve(&stream)))
        });
        if let Err(error) = taken {
            journal.turned_away(|| name_refusal(Body::Coroutine, &error));
            time::sleep(PAUSE);
        }
    }
}
// excerpt: end

// excerpt: threads
/// Accepts for ever, in the calling thread.
pub fn thread_per_connection(listener: &TcpListener, journal: &Journal) -> io::Result<()> {
    let (room, why) = room_for_threads().unwrap_or((u64::MAX, String::new()));
    let alive = Arc::new(AtomicU64::new(0));
    loop {
        let taken = listener.accept().and_then(|(stream, _)| {
            stream.set_nodelay(true)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            if alive.load(Ordering::Relaxed) >= room {
                return Err(io::Error::other(why.clone()));
            }
            // Relaxed: it counts, and hands no data over.
            let counted = Arc::clone(&alive);
            alive.fetch_add(1, Ordering::Relaxed);
            let thread = thread::Builder::new().spawn(move || {
                let _ = serve(&stream);
                counted.fetch_sub(1, Ordering::Relaxed);
            });
            if thread.is_err() {
                alive.fetch_sub(1, Ordering::Relaxed);
            }
            thread
        });
        if let Err(error) = taken {
            journal.turned_away(|| name_refusal(Body::Thread, &error));
            thread::sleep(PAUSE);
        }
    }
}
// excerpt: end

/// The word with the id of the latest child.
const LATEST: usize = 0;
/// The word that tells why a connection was turned away: an error number.
const ERRNO: usize = 1;

/// What a server of processes has to say for itself, to the process that started it.
pub struct SharedJournal(SharedWords);

impl SharedJournal {
    /// Nothing yet.
    ///
    /// # Errors
    /// The system's, if it refuses a page to share.
    pub fn new() -> io::Result<SharedJournal> {
        Ok(SharedJournal(SharedWords::new()?))
    }

    /// The child that serves the latest connection.
    pub fn latest(&self) -> Option<rustix::process::Pid> {
        let pid = self.0[LATEST].load(Ordering::Relaxed);
        rustix::process::Pid::from_raw(pid.try_into().ok()?)
    }

    /// As [`Journal::refusal`].
    pub fn refusal(&self) -> Option<String> {
        let errno = self.0[ERRNO].load(Ordering::Relaxed);
        (errno != 0).then(|| {
            let error = io::Error::from_raw_os_error(errno.cast_signed());
            name_refusal(Body::Process, &error)
        })
    }

    fn note(&self, word: usize, value: i32) {
        let word: &AtomicU32 = &self.0[word];
        word.store(value.cast_unsigned(), Ordering::Relaxed);
    }
}

// excerpt: processes
/// Accepts for ever, in the calling process, which has one thread.
pub fn process_per_connection(listener: &TcpListener, journal: &SharedJournal) -> io::Result<()> {
    loop {
        // Those that have ended meanwhile.
        while let Ok(Some(_)) = wait(WaitOptions::NOHANG) {}
        let taken = listener.accept().and_then(|(stream, _)| {
            stream.set_nodelay(true)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            os::fork(move || serve(&stream).is_err().into())
        });
        match taken {
            Ok(child) => journal.note(LATEST, child.detach().as_raw_nonzero().get()),
            Err(error) => {
                journal.note(ERRNO, error.raw_os_error().unwrap_or(0));
                thread::sleep(PAUSE);
            }
        }
    }
}
// excerpt: end

#[cfg(test)]
mod tests {
    use super::*;

    /// What a client has sent, a few bytes at a time, and what it was answered.
    struct Client<'a> {
        sends: &'a [u8],
        at_once: usize,
        hears: Vec<u8>,
    }

    impl Read for Client<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let length = self.at_once.min(self.sends.len()).min(buffer.len());
            let (now, later) = self.sends.split_at(length);
            buffer[..length].copy_from_slice(now);
            self.sends = later;
            Ok(length)
        }
    }

    impl Write for Client<'_> {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.hears.write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn answers(sends: &[u8], at_once: usize) -> Vec<u8> {
        let mut client = Client {
            sends,
            at_once,
            hears: Vec::new(),
        };
        let mut both = &mut client;
        serve(&mut both).unwrap();
        client.hears
    }

    #[test]
    fn requests_are_answered_one_by_one_however_they_arrive() {
        let two = b"GET / HTTP/1.1\r\nHost: a\r\n\r\nGET /b HTTP/1.1\r\n\r\n";
        for at_once in [1, 7, 1_000] {
            assert_eq!(answers(two, at_once), [ANSWER, ANSWER].concat());
        }
    }

    #[test]
    fn what_is_no_request_and_one_without_end_are_refused() {
        assert_eq!(answers(b"\x01\x02 nonsense\r\n\r\n", 100), BAD);
        let endless = [b"GET / HTTP/1.1\r\nX: ".as_slice(), &[b'a'; 32 << 10]].concat();
        assert_eq!(answers(&endless, 4_096), BAD);
    }
}
