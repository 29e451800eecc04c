//! How two threads, or two processes, hand control to each other: over pipes and over a futex.
//!
//! ```text
//!   ping:  [hand over]---------->(waits)          pipe:   write one byte, read one byte
//!   pong:  (waits)---->[hand over]---->(waits)    futex:  set the word that says whose turn it is,
//!                                                         wake the other, sleep until it is one's own
//!          |<------- one round trip = two hand-overs ------->|
//! ```
//!
//! Each round trip makes four system calls on one CPU, two on either side, whichever way it goes.
#![forbid(unsafe_code)]

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::io::Errno;
use rustix::thread::futex;

use crate::os::SharedWords;

/// Whether the two ends of a link are in one address space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Between {
    /// Two threads of one process.
    Threads,
    /// Two processes.
    Processes,
}

/// One of two ends that take turns. The end that pings begins.
pub trait Link: Sized + Send + 'static {
    /// What it is made of.
    const NAME: &'static str;

    /// Makes two ends, the pinging one first.
    ///
    /// # Errors
    /// The system's.
    fn pair(between: Between) -> io::Result<(Self, Self)>;

    /// Hands over to the other end and waits for one's turn: one round trip.
    ///
    /// # Errors
    /// The system's; `UnexpectedEof` if the other end is gone, where the link can tell.
    fn ping(&self) -> io::Result<()>;

    /// Waits for one's turn, then hands back.
    ///
    /// # Errors
    /// As of [`Link::ping`].
    fn pong(&self) -> io::Result<()>;

    /// `trips` times [`Link::pong`]: all that the second end has to do.
    ///
    /// # Errors
    /// As of [`Link::ping`].
    fn serve(&self, trips: u64) -> io::Result<()> {
        (0..trips).try_for_each(|_| self.pong())
    }
}

/// Two pipes, one for each direction; one byte is one turn.
#[derive(Debug)]
pub struct Pipe {
    from_other: OwnedFd,
    to_other: OwnedFd,
}

impl Pipe {
    fn hand_over(&self) -> io::Result<()> {
        rustix::io::write(&self.to_other, &[0])?;
        Ok(())
    }

    fn await_turn(&self) -> io::Result<()> {
        match rustix::io::read(&self.from_other, &mut [0u8; 1])? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }
}

impl Link for Pipe {
    const NAME: &'static str = "pipe";

    fn pair(_: Between) -> io::Result<(Pipe, Pipe)> {
        let (from_first, to_second) = rustix::pipe::pipe()?;
        let (from_second, to_first) = rustix::pipe::pipe()?;
        let first = Pipe {
            from_other: from_second,
            to_other: to_second,
        };
        let second = Pipe {
            from_other: from_first,
            to_other: to_first,
        };
        Ok((first, second))
    }

    // excerpt: pipe
    fn ping(&self) -> io::Result<()> {
        self.hand_over()?;
        self.await_turn()
    }

    fn pong(&self) -> io::Result<()> {
        self.await_turn()?;
        self.hand_over()
    }
    // excerpt: end
}

/// A word in shared memory that says whose turn it is, and the kernel's queue behind it.
///
/// It never spins, so that it costs what a sleep and a wake-up cost; a lock in practice spins first.
#[derive(Debug)]
pub struct Futex {
    words: Arc<SharedWords>,
    me: u32,
    flags: futex::Flags,
}

impl Futex {
    fn turn(&self) -> &AtomicU32 {
        &self.words[0]
    }

    /// Makes it the other's turn.
    ///
    /// # Errors
    /// The system's.
    pub fn hand_over(&self) -> io::Result<()> {
        // Release: pairs with the Acquire in `await_turn`, so what was done in this turn is seen in the next.
        self.turn().store(1 - self.me, Ordering::Release);
        futex::wake(self.turn(), self.flags, 1)?;
        Ok(())
    }

    /// Sleeps until it is one's turn.
    ///
    /// # Errors
    /// The system's.
    pub fn await_turn(&self) -> io::Result<()> {
        // Acquire: pairs with the Release in `hand_over`.
        while self.turn().load(Ordering::Acquire) != self.me {
            match futex::wait(self.turn(), self.flags, 1 - self.me, None) {
                // It has become our turn before we slept, or a signal came: look again.
                Ok(()) | Err(Errno::AGAIN | Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

impl Link for Futex {
    const NAME: &'static str = "futex";

    fn pair(between: Between) -> io::Result<(Futex, Futex)> {
        let words = Arc::new(SharedWords::new()?);
        let flags = match between {
            // The kernel then finds the queue by address alone.
            Between::Threads => futex::Flags::PRIVATE,
            Between::Processes => futex::Flags::empty(),
        };
        let end = |me| Futex {
            words: Arc::clone(&words),
            me,
            flags,
        };
        // The turn is 0 in a fresh page: the first end's.
        Ok((end(0), end(1)))
    }

    fn ping(&self) -> io::Result<()> {
        self.hand_over()?;
        self.await_turn()
    }

    fn pong(&self) -> io::Result<()> {
        self.await_turn()?;
        self.hand_over()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;

    fn take_turns<L: Link>(between: Between) {
        const TRIPS: u64 = 100;
        let (ping, pong) = L::pair(between).unwrap();
        let server = thread::spawn(move || pong.serve(TRIPS));
        for _ in 0..TRIPS {
            ping.ping().unwrap();
        }
        server.join().unwrap().unwrap();
    }

    #[test]
    fn two_threads_take_turns_over_pipes() {
        take_turns::<Pipe>(Between::Threads);
    }

    #[test]
    fn two_threads_take_turns_over_a_futex_private_or_shared() {
        take_turns::<Futex>(Between::Threads);
        take_turns::<Futex>(Between::Processes);
    }

    #[test]
    fn a_pipe_tells_that_the_other_end_is_gone() {
        let (ping, pong) = Pipe::pair(Between::Threads).unwrap();
        ping.hand_over().unwrap();
        drop(ping);
        // The turn that was handed over still arrives, and there is nobody to hand it back to.
        assert!(pong.serve(1).is_err());
    }
}
