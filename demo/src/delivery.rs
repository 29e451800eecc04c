//! How two units hand bytes to each other: the ends of a way, and round trips over it.
//!
//! ```text
//!   by reference   shared variable, channel, shared memory: the right to use the bytes is passed on
//!   by copying     pipe, socketpair, Unix socket: into the kernel, and out of it
//! ```
//!
//! Who is given bytes reads one of each cache line before he hands them back.
#![forbid(unsafe_code)]

use std::cell::{Cell, RefCell};
use std::hint::black_box;
use std::io::{self, PipeReader, PipeWriter, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread;
use std::time::{Duration, Instant};
use std::{array, fs};

use runtime::channel;

use crate::experiments::panicked;
use crate::link::{Between, Futex, Link};
use crate::os::{self, SharedWords};

/// One of two ends that hand bytes to each other. The one that pings begins.
pub trait End: Send {
    /// Hands the bytes over, and waits until they come back.
    ///
    /// # Errors
    /// The system's, or that the other end is gone.
    fn ping(&mut self) -> io::Result<()>;

    /// Waits for the bytes, and hands them back.
    ///
    /// # Errors
    /// As of [`End::ping`].
    fn pong(&mut self) -> io::Result<()>;
}

/// Both, the pinging one first.
pub type Ends = (Box<dyn End>, Box<dyn End>);

/// Marks a message: it is new. Ones that stay where they are cannot be told from old ones otherwise.
fn stamp(bytes: &mut [u8]) {
    let stamp = bytes.first().map_or(0, |first| first.wrapping_add(1));
    for end in [0, bytes.len().saturating_sub(1)] {
        if let Some(byte) = bytes.get_mut(end) {
            *byte = stamp;
        }
    }
}

/// Reads one byte of each cache line.
fn read(bytes: &[u8]) {
    const LINE: usize = 64;
    let sum = bytes
        .iter()
        .step_by(LINE)
        .map(|&byte| u64::from(byte))
        .sum::<u64>();
    black_box(sum);
}

/// Bytes through the kernel.
struct Stream<R, W> {
    from_other: R,
    to_other: W,
    bytes: Vec<u8>,
}

// excerpt: ends
impl<R: Read + Send, W: Write + Send> End for Stream<R, W> {
    fn ping(&mut self) -> io::Result<()> {
        stamp(&mut self.bytes);
        self.to_other.write_all(&self.bytes)?;
        self.receive()
    }

    fn pong(&mut self) -> io::Result<()> {
        self.receive()?;
        self.to_other.write_all(&self.bytes)
    }
}
// excerpt: end

impl<R: Read, W> Stream<R, W> {
    fn receive(&mut self) -> io::Result<()> {
        self.from_other.read_exact(&mut self.bytes)?;
        read(&self.bytes);
        Ok(())
    }
}

/// Two pipes.
///
/// # Errors
/// The system's, here and below.
pub fn pipes(size: usize, _: &Path) -> io::Result<Ends> {
    let ((from_first, to_second), (from_second, to_first)) = (io::pipe()?, io::pipe()?);
    let end = |from_other: PipeReader, to_other: PipeWriter| {
        let bytes = vec![0; size];
        Box::new(Stream {
            from_other,
            to_other,
            bytes,
        })
    };
    Ok((end(from_second, to_second), end(from_first, to_first)))
}

fn sockets(size: usize, first: UnixStream, second: UnixStream) -> io::Result<Ends> {
    let end = |socket: UnixStream| -> io::Result<Box<dyn End>> {
        Ok(Box::new(Stream {
            from_other: socket.try_clone()?,
            to_other: socket,
            bytes: vec![0; size],
        }))
    };
    Ok((end(first)?, end(second)?))
}

/// Two sockets without a name.
///
/// # Errors
/// The system's.
pub fn socketpair(size: usize, _: &Path) -> io::Result<Ends> {
    let (first, second) = UnixStream::pair()?;
    sockets(size, first, second)
}

/// Two sockets that met by a name in `scratch`.
///
/// # Errors
/// The system's.
pub fn unix_socket(size: usize, scratch: &Path) -> io::Result<Ends> {
    let path = scratch.join("communication.socket");
    let listener = UnixListener::bind(&path)?;
    let first = UnixStream::connect(&path)?;
    let (second, _) = listener.accept()?;
    fs::remove_file(&path)?;
    sockets(size, first, second)
}

/// A variable of two threads, and whose turn it is to use it.
pub struct Variable {
    me: usize,
    shared: Arc<Shared>,
}

struct Shared {
    /// Whose turn it is, and the bytes.
    state: Mutex<(usize, Vec<u8>)>,
    turned: Condvar,
}

impl Variable {
    /// Both ends.
    ///
    /// # Errors
    /// The system's, or none.
    pub fn pair(size: usize, _: &Path) -> io::Result<Ends> {
        let shared = Arc::new(Shared {
            state: Mutex::new((0, vec![0; size])),
            turned: Condvar::new(),
        });
        let [first, second] = array::from_fn(|me| {
            let shared = Arc::clone(&shared);
            Box::new(Variable { me, shared })
        });
        Ok((first, second))
    }

    fn use_in_turn(&self) {
        let mut state = self.await_turn();
        read(&state.1);
        stamp(&mut state.1);
        state.0 = 1 - self.me;
        self.shared.turned.notify_one();
    }

    fn await_turn(&self) -> MutexGuard<'_, (usize, Vec<u8>)> {
        let Shared { state, turned } = &*self.shared;
        let state = state.lock().unwrap_or_else(PoisonError::into_inner);
        let is_others = |state: &mut (usize, Vec<u8>)| state.0 != self.me;
        turned
            .wait_while(state, is_others)
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl End for Variable {
    fn ping(&mut self) -> io::Result<()> {
        self.use_in_turn();
        read(&self.await_turn().1);
        Ok(())
    }

    fn pong(&mut self) -> io::Result<()> {
        self.use_in_turn();
        Ok(())
    }
}

/// Two channels between threads; the block of memory moves from owner to owner.
pub struct Channel {
    from_other: mpsc::Receiver<Vec<u8>>,
    to_other: mpsc::SyncSender<Vec<u8>>,
    /// What this end has for the first ping; later what it was given.
    bytes: Vec<u8>,
}

impl Channel {
    /// Both ends.
    ///
    /// # Errors
    /// The system's, or none.
    pub fn pair(size: usize, _: &Path) -> io::Result<Ends> {
        let ((to_second, from_first), (to_first, from_second)) =
            (mpsc::sync_channel(1), mpsc::sync_channel(1));
        let first = Channel {
            from_other: from_second,
            to_other: to_second,
            bytes: vec![0; size],
        };
        let second = Channel {
            from_other: from_first,
            to_other: to_first,
            bytes: Vec::new(),
        };
        Ok((Box::new(first), Box::new(second)))
    }

    fn send(&mut self) -> io::Result<()> {
        stamp(&mut self.bytes);
        let sent = self.to_other.send(std::mem::take(&mut self.bytes));
        sent.map_err(|_| io::ErrorKind::BrokenPipe.into())
    }

    fn receive(&mut self) -> io::Result<()> {
        self.bytes = self
            .from_other
            .recv()
            .map_err(|_| io::ErrorKind::UnexpectedEof)?;
        read(&self.bytes);
        Ok(())
    }
}

impl End for Channel {
    fn ping(&mut self) -> io::Result<()> {
        self.send()?;
        self.receive()
    }

    fn pong(&mut self) -> io::Result<()> {
        self.receive()?;
        self.send()
    }
}

/// Memory that two processes share, and a futex that says whose turn it is to use it.
pub struct SharedMemory {
    turn: Futex,
    memory: Arc<SharedWords>,
}

impl SharedMemory {
    /// Both ends.
    ///
    /// # Errors
    /// The system's, or none.
    pub fn pair(size: usize, _: &Path) -> io::Result<Ends> {
        let memory = Arc::new(SharedWords::of_bytes(size)?);
        let (first, second) = Futex::pair(Between::Processes)?;
        let end = |turn| {
            let memory = Arc::clone(&memory);
            Box::new(SharedMemory { turn, memory })
        };
        Ok((end(first), end(second)))
    }

    fn read(&self) {
        const LINE: usize = 16;
        let words = self.memory.iter().step_by(LINE);
        black_box(words.fold(0u32, |sum, word| {
            sum.wrapping_add(word.load(Ordering::Relaxed))
        }));
    }

    fn stamp(&self) {
        // Relaxed, as in `read`: the futex's word hands over what is written here.
        let stamp = self.memory[0].load(Ordering::Relaxed).wrapping_add(1);
        self.memory[0].store(stamp, Ordering::Relaxed);
        self.memory[self.memory.len() - 1].store(stamp, Ordering::Relaxed);
    }
}

impl End for SharedMemory {
    fn ping(&mut self) -> io::Result<()> {
        self.stamp();
        self.turn.hand_over()?;
        self.turn.await_turn()?;
        self.read();
        Ok(())
    }

    fn pong(&mut self) -> io::Result<()> {
        self.turn.await_turn()?;
        self.read();
        self.turn.hand_over()
    }
}

fn time_trips(ping: &mut dyn End, trips: u64) -> io::Result<Duration> {
    // Once before the clock starts: then the other end is up.
    ping.ping()?;
    let start = Instant::now();
    (0..trips).try_for_each(|_| ping.ping())?;
    Ok(start.elapsed())
}

/// So many round trips to a second thread.
///
/// # Errors
/// The system's, or that of an end.
pub fn between_threads((mut ping, mut pong): Ends, trips: u64) -> io::Result<Duration> {
    let serve = move || (0..=trips).try_for_each(|_| pong.pong());
    thread::scope(|scope| {
        let second = thread::Builder::new().spawn_scoped(scope, serve)?;
        let took = time_trips(&mut *ping, trips)?;
        second.join().map_err(panicked)??;
        Ok(took)
    })
}

/// So many round trips to a forked process.
///
/// # Errors
/// As of [`between_threads`].
pub fn between_processes((mut ping, mut pong): Ends, trips: u64) -> io::Result<Duration> {
    let serve = move || (0..=trips).try_for_each(|_| pong.pong()).is_err().into();
    let child = os::fork(serve)?;
    let took = time_trips(&mut *ping, trips)?;
    child.wait()?;
    Ok(took)
}

/// Two coroutines that use one variable in turns, so many each.
///
/// # Errors
/// If one of them panicked.
pub fn by_variable(size: usize, trips: u64) -> io::Result<Duration> {
    // excerpt: coroutines
    let shared = Rc::new((Cell::new(0), RefCell::new(vec![0; size])));
    let turns = |me: usize| {
        let shared = Rc::clone(&shared);
        move || {
            let (turn, bytes) = &*shared;
            for _ in 0..trips {
                while turn.get() != me {
                    runtime::yield_now();
                }
                let bytes = &mut bytes.borrow_mut();
                read(bytes);
                stamp(bytes);
                turn.set(1 - me);
            }
        }
    };
    // excerpt: end
    let start = Instant::now();
    let second = runtime::spawn_local(turns(1));
    turns(0)();
    second.join().map_err(panicked)?;
    Ok(start.elapsed())
}

/// Two coroutines that send each other one block of memory, so many times each.
///
/// # Errors
/// As of [`by_variable`].
pub fn by_channel(size: usize, trips: u64) -> io::Result<Duration> {
    let gone = || io::Error::from(io::ErrorKind::BrokenPipe);
    let (to_second, from_first) = channel::bounded::<Vec<u8>>(1);
    let (to_first, from_second) = channel::bounded::<Vec<u8>>(1);
    let mut bytes = vec![0; size];
    let start = Instant::now();
    let second = runtime::spawn_local(move || {
        for mut bytes in from_first.iter() {
            read(&bytes);
            stamp(&mut bytes);
            if to_first.send(bytes).is_err() {
                return;
            }
        }
    });
    for _ in 0..trips {
        stamp(&mut bytes);
        to_second.send(bytes).map_err(|_| gone())?;
        bytes = from_second.recv().map_err(|_| gone())?;
        read(&bytes);
    }
    drop(to_second);
    second.join().map_err(panicked)?;
    Ok(start.elapsed())
}

#[cfg(test)]
mod tests {
    use super::*;

    type Make = fn(usize, &Path) -> io::Result<Ends>;

    #[test]
    fn a_stamp_changes_the_first_and_the_last_byte() {
        let stamped = |mut bytes: Vec<u8>| {
            stamp(&mut bytes);
            bytes
        };
        assert_eq!(stamped(vec![1, 5, 9]), [2, 5, 2]);
        assert_eq!(stamped(vec![255]), [0]);
        assert!(stamped(vec![]).is_empty());
    }

    #[test]
    fn every_way_delivers_every_size() {
        let scratch = std::env::temp_dir().join(format!("communication-{}", std::process::id()));
        fs::create_dir_all(&scratch).unwrap();
        let ways: [Make; 6] = [
            Variable::pair,
            Channel::pair,
            pipes,
            socketpair,
            unix_socket,
            SharedMemory::pair,
        ];
        for (way, size) in ways
            .into_iter()
            .flat_map(|way| [1, 4096, 1 << 17].map(|size| (way, size)))
        {
            between_threads(way(size, &scratch).unwrap(), 3).unwrap();
        }
        fs::remove_dir(&scratch).unwrap();
        runtime::run(|| {
            for size in [1, 4096, 1 << 17] {
                by_variable(size, 3).unwrap();
                by_channel(size, 3).unwrap();
            }
        });
    }
}
