//! Whatever is done to a stream, in whatever order, no byte is lost and none invented.
//!
//! One model for TCP, Unix streams and pipes: two ends, two directions. A script of single reads and writes, each
//! bounded by a timeout, cancelled, or left alone, and of half-closes runs against it; the model counts what each call
//! says that it did. Byte *i* of a direction has a value of its own, so order is checked with every read. At the end
//! the rest is read: as much as was said to be written.

use std::io::{self, ErrorKind, Read, Write};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use proptest::prelude::*;
use proptest::sample::select;
use runtime::coroutine::JoinHandle;
use runtime::io::{PipeReader, PipeWriter, pipe};
use runtime::net::{Shutdown, TcpListener, TcpStream, UnixStream};
use runtime::time;

/// A call that finds nothing to do waits at most so long.
const PATIENCE: Duration = Duration::from_micros(500);

/// One end of a stream.
trait End: Send + Sync {
    fn read(&self, buffer: &mut [u8]) -> io::Result<usize>;
    fn write(&self, bytes: &[u8]) -> io::Result<usize>;
    /// No more is written here.
    fn finish(&self);
    /// Bounds each wait by the socket's own timeout; false: it has none.
    fn set_timeout(&self, timeout: Option<Duration>) -> bool;
}

macro_rules! socket_end {
    ($Stream:ty) => {
        impl End for $Stream {
            fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
                Read::read(&mut &*self, buffer)
            }
            fn write(&self, bytes: &[u8]) -> io::Result<usize> {
                Write::write(&mut &*self, bytes)
            }
            fn finish(&self) {
                self.shutdown(Shutdown::Write).unwrap();
            }
            fn set_timeout(&self, timeout: Option<Duration>) -> bool {
                self.set_read_timeout(timeout).unwrap();
                self.set_write_timeout(timeout).unwrap();
                true
            }
        }
    };
}

socket_end!(TcpStream);
socket_end!(UnixStream);

/// An end of two pipes, one each way.
struct Pipes {
    from: PipeReader,
    to: Mutex<Option<Arc<PipeWriter>>>,
}

impl End for Pipes {
    fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        (&self.from).read(buffer)
    }
    fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        let to = self.to.lock().unwrap().clone();
        (&*to.unwrap()).write(bytes)
    }
    fn finish(&self) {
        *self.to.lock().unwrap() = None;
    }
    fn set_timeout(&self, _timeout: Option<Duration>) -> bool {
        false
    }
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Tcp,
    Unix,
    Pipes,
}

/// Two connected ends, with buffers that are soon full. (TCP's for receiving is left: small, its window closes, and
/// opens again by timers of a fifth of a second.)
fn ends(kind: Kind) -> [Arc<dyn End>; 2] {
    match kind {
        Kind::Tcp => {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let server = listener.accept().unwrap().0;
            for end in [&client, &server] {
                let options = socket2::SockRef::from(end);
                options.set_send_buffer_size(1).unwrap();
                end.set_nodelay(true).unwrap();
            }
            [Arc::new(client), Arc::new(server)]
        }
        Kind::Unix => {
            let (one, other) = UnixStream::pair().unwrap();
            for end in [&one, &other] {
                let options = socket2::SockRef::from(end);
                options.set_send_buffer_size(1).unwrap();
            }
            [Arc::new(one), Arc::new(other)]
        }
        Kind::Pipes => {
            let ((from_a, to_a), (from_b, to_b)) = (pipe().unwrap(), pipe().unwrap());
            let end = |from, to| -> Arc<dyn End> {
                let to = Mutex::new(Some(Arc::new(to)));
                Arc::new(Pipes { from, to })
            };
            [end(from_a, to_b), end(from_b, to_a)]
        }
    }
}

/// How a call is kept from waiting for ever.
#[derive(Clone, Copy, Debug)]
enum Bound {
    /// By `time::timeout` around it.
    Timeout,
    /// By the socket's own, which is an error.
    Socket,
    /// Cancelled when the others have had so many turns.
    Cancelled(u8),
}

/// One call each way, side by side, then perhaps an end.
#[derive(Clone, Debug)]
struct Step {
    /// Which end writes; the other one reads.
    writer: usize,
    write: Option<(usize, Bound)>,
    read: Option<(usize, Bound)>,
    finish: bool,
}

fn bound() -> impl Strategy<Value = Bound> {
    prop_oneof![
        Just(Bound::Timeout),
        Just(Bound::Socket),
        (0..4u8).prop_map(Bound::Cancelled)
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let length = || select(vec![1, 2, 100, 3_000, 5_000, 20_000, 100_000]);
    let call = || prop::option::weighted(0.7, (length(), bound()));
    (0..2usize, call(), call(), prop::bool::weighted(0.02)).prop_map(
        |(writer, write, read, finish)| Step {
            writer,
            write,
            read,
            finish,
        },
    )
}

/// The byte at place `i` of the direction in which the end `writer` writes.
fn byte(writer: usize, i: usize) -> u8 {
    (i % 251) as u8 ^ if writer == 0 { 0 } else { 0x80 }
}

/// What became of a call: `None` if it was ended before it had done anything.
fn outcome<T>(call: JoinHandle<Option<io::Result<T>>>, bound: Bound) -> Option<T> {
    if let Bound::Cancelled(turns) = bound {
        (0..turns).for_each(|_| runtime::yield_now());
        call.cancel();
    }
    match call.join().ok()?? {
        Ok(done) => Some(done),
        Err(error) if error.kind() == ErrorKind::WouldBlock => None,
        Err(error) => panic!("{error}"),
    }
}

/// Runs `call` in a coroutine of its own, bounded but for a cancellation, which is the caller's.
fn start<T: Send + 'static>(
    end: &Arc<dyn End>,
    bound: Bound,
    call: impl FnOnce(&dyn End) -> io::Result<T> + Send + 'static,
) -> JoinHandle<Option<io::Result<T>>> {
    let end = Arc::clone(end);
    runtime::spawn(move || match bound {
        Bound::Cancelled(_) => Some(call(&*end)),
        // Set for both directions by the caller, where there is one.
        Bound::Socket if end.set_timeout(Some(PATIENCE)) => Some(call(&*end)),
        _ => time::timeout(PATIENCE, || call(&*end)).ok(),
    })
}

fn run(kind: Kind, steps: Vec<Step>) {
    let ends = ends(kind);
    let (mut written, mut read, mut finished) = ([0; 2], [0; 2], [false; 2]);
    for step in steps {
        let (writer, reader) = (step.writer, 1 - step.writer);
        ends.iter().for_each(|end| _ = end.set_timeout(None));
        let writing = step
            .write
            .filter(|_| !finished[writer])
            .map(|(length, bound)| {
                let from = written[writer];
                let bytes: Vec<u8> = (from..from + length).map(|i| byte(writer, i)).collect();
                (
                    start(&ends[writer], bound, move |end| end.write(&bytes)),
                    bound,
                )
            });
        let reading = step.read.map(|(length, bound)| {
            let call = move |end: &dyn End| {
                let mut buffer = vec![0; length];
                let got = end.read(&mut buffer)?;
                buffer.truncate(got);
                Ok(buffer)
            };
            (start(&ends[reader], bound, call), bound)
        });
        if let Some((call, bound)) = writing {
            written[writer] += outcome(call, bound).unwrap_or(0);
        }
        if let Some((call, bound)) = reading
            && let Some(bytes) = outcome(call, bound)
        {
            assert!(!bytes.is_empty() || finished[writer], "an end that is none");
            check(writer, &mut read[writer], &bytes);
        }
        if step.finish && !finished[writer] {
            ends[writer].finish();
            finished[writer] = true;
        }
    }
    for writer in 0..2 {
        let end = &ends[1 - writer];
        end.set_timeout(None);
        if !finished[writer] {
            ends[writer].finish();
        }
        let mut buffer = vec![0; 10_000];
        while let got @ 1.. = end.read(&mut buffer).unwrap() {
            check(writer, &mut read[writer], &buffer[..got]);
        }
        assert_eq!(read[writer], written[writer], "from end {writer}");
    }
}

/// The next bytes of a direction.
fn check(writer: usize, read: &mut usize, bytes: &[u8]) {
    let expected = (*read..).map(|i| byte(writer, i));
    assert!(
        bytes
            .iter()
            .copied()
            .zip(expected)
            .all(|(got, byte)| got == byte)
    );
    *read += bytes.len();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_written_is_read_no_more_and_no_less(
        kind in select(vec![Kind::Tcp, Kind::Unix, Kind::Pipes]),
        workers in 1..=2usize,
        steps in prop::collection::vec(step(), 1..60),
    ) {
        let runtime = runtime::Builder::new().workers(workers).build().unwrap();
        runtime.run(move || run(kind, steps));
    }
}
