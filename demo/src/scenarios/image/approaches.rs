//! Five ways through a folder of pictures. Each calls `each` after every picture, in the thread that asked, with who did
//! it and how long that one computed: by these, one sees how the work was divided, however busy the machine is.
#![forbid(unsafe_code)]

use std::io::{self, Read, Write};
use std::path::PathBuf;
use std::sync::{Arc, mpsc};
use std::thread;

use runtime::{Builder, coroutine};
use rustix::thread::gettid;
use rustix::time::{ClockId, clock_gettime};

use super::pictures::make_thumbnail;
use crate::experiments::panicked;
use crate::os;

/// What is to be done.
#[derive(Debug)]
pub struct Batch {
    /// The pictures.
    pub pictures: Vec<PathBuf>,
    /// Where their thumbnails go.
    pub output: PathBuf,
    /// How many CPUs there are for it.
    pub cpus: usize,
}

impl Batch {
    /// Makes the thumbnail of the picture of this number.
    ///
    /// # Errors
    /// As of [`make_thumbnail`].
    pub fn try_make(&self, number: usize) -> Result<(), String> {
        make_thumbnail(&self.pictures[number], &self.output)
    }

    /// The same where it is known which of them are broken.
    fn make(&self, number: usize) -> Work {
        let before = clock_gettime(ClockId::ThreadCPUTime);
        let _ = self.try_make(number);
        let after = clock_gettime(ClockId::ThreadCPUTime);
        let ns = (after.tv_sec - before.tv_sec) * 1_000_000_000 + after.tv_nsec - before.tv_nsec;
        Work {
            who: gettid().as_raw_nonzero().get(),
            cpu_ns: ns.unsigned_abs(),
        }
    }

    /// The numbers of the pictures that fall to one of `cpus` units: every so-manieth.
    fn share(&self, unit: usize) -> impl Iterator<Item = usize> {
        (unit..self.pictures.len()).step_by(self.cpus)
    }
}

/// One picture's work.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Work {
    /// The thread, by the kernel's number: of processes each has one.
    pub who: i32,
    /// How long it computed.
    pub cpu_ns: u64,
}

impl Work {
    fn to_bytes(self) -> [u8; 12] {
        let mut bytes = [0; 12];
        bytes[..4].copy_from_slice(&self.who.to_ne_bytes());
        bytes[4..].copy_from_slice(&self.cpu_ns.to_ne_bytes());
        bytes
    }

    fn of_bytes(bytes: [u8; 12]) -> Work {
        let [a, b, c, d, rest @ ..] = bytes;
        Work {
            who: i32::from_ne_bytes([a, b, c, d]),
            cpu_ns: u64::from_ne_bytes(rest),
        }
    }
}

/// A way through a batch.
pub type Approach = fn(&Arc<Batch>, &mut dyn FnMut(Work)) -> io::Result<()>;

/// One picture after the other.
pub fn sequential(batch: &Arc<Batch>, each: &mut dyn FnMut(Work)) -> io::Result<()> {
    (0..batch.pictures.len()).for_each(|number| each(batch.make(number)));
    Ok(())
}

// excerpt: threads
/// A thread for each CPU.
pub fn threads(batch: &Arc<Batch>, each: &mut dyn FnMut(Work)) -> io::Result<()> {
    thread::scope(|scope| {
        let (done, all_done) = mpsc::channel();
        for unit in 0..batch.cpus {
            let done = done.clone();
            thread::Builder::new().spawn_scoped(scope, move || {
                for number in batch.share(unit) {
                    let _ = done.send(batch.make(number));
                }
            })?;
        }
        drop(done);
        all_done.iter().for_each(each);
        Ok(())
    })
}
// excerpt: end

// excerpt: processes
/// A process for each CPU; what is done goes through a pipe.
pub fn processes(batch: &Arc<Batch>, each: &mut dyn FnMut(Work)) -> io::Result<()> {
    let (mut all_done, mut done) = io::pipe()?;
    let mut work = |unit| {
        let mut share = batch.share(unit);
        // Small enough that the kernel keeps the bytes of one together.
        let told = share.try_for_each(|number| done.write_all(&batch.make(number).to_bytes()));
        told.is_err().into()
    };
    let children: Vec<_> = (0..batch.cpus)
        .map(|unit| os::fork(|| work(unit)))
        .collect::<io::Result<_>>()?;
    drop(done); // the children's copies are what keeps the pipe open
    let mut work = [0; 12];
    while let Ok(()) = all_done.read_exact(&mut work) {
        each(Work::of_bytes(work));
    }
    children.into_iter().try_for_each(os::Child::wait)
}
// excerpt: end

/// Decoders put their tables on the stack. What is not touched costs nothing.
const STACK_BYTES: usize = 1 << 20;

// excerpt: coroutines
/// A coroutine for each picture, all on one worker.
pub fn coroutines(batch: &Arc<Batch>, each: &mut dyn FnMut(Work)) -> io::Result<()> {
    Builder::new().build()?.run(|| {
        let spawn = |number| {
            let batch = Arc::clone(batch);
            let builder = coroutine::Builder::new().stack_size(STACK_BYTES);
            builder.spawn(move || batch.make(number))
        };
        let handles = (0..batch.pictures.len()).map(spawn);
        for handle in handles.collect::<io::Result<Vec<_>>>()? {
            each(handle.join().map_err(panicked)?);
        }
        Ok(())
    })
}
// excerpt: end

// excerpt: offloaded
/// The same worker, which leaves the work to threads, one for each CPU, and only waits for it.
pub fn offloaded(batch: &Arc<Batch>, each: &mut dyn FnMut(Work)) -> io::Result<()> {
    Builder::new()
        .blocking_threads(batch.cpus)
        .build()?
        .run(|| {
            let spawn = |number| {
                let batch = Arc::clone(batch);
                runtime::spawn_blocking(move || batch.make(number))
            };
            let handles: Vec<_> = (0..batch.pictures.len()).map(spawn).collect();
            for handle in handles {
                each(handle.join().map_err(panicked)?);
            }
            Ok(())
        })
}
// excerpt: end

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cleanup::Cleanup;
    use crate::scenarios::image::pictures::{generate, list};
    use std::fs;

    #[test]
    fn a_record_survives_the_pipe() {
        let work = Work {
            who: 7,
            cpu_ns: 1 << 40,
        };
        assert_eq!(Work::of_bytes(work.to_bytes()), work);
    }

    #[test]
    fn every_way_makes_every_thumbnail() {
        let scratch = Cleanup::default().scratch().unwrap();
        generate(scratch.path(), 3, 24, 16).unwrap();
        // `processes` needs a process with one thread: tests/scenarios.rs runs it.
        let ways: [(Approach, bool); 4] = [
            (sequential, false),
            (threads, true),
            (coroutines, false),
            (offloaded, true),
        ];
        for (approach, is_divided) in ways {
            let output = scratch.path().join("output");
            fs::create_dir(&output).unwrap();
            let batch = Arc::new(Batch {
                pictures: list(scratch.path()).unwrap(),
                output: output.clone(),
                cpus: 2,
            });
            let mut done = Vec::new();
            approach(&batch, &mut |work| done.push(work)).unwrap();
            assert_eq!((done.len(), list(&output).unwrap().len()), (3, 3));
            let alone = done.iter().all(|work| work.who == done[0].who);
            // Of a pool one thread may do all of it.
            assert!(alone || is_divided);
            fs::remove_dir_all(&output).unwrap();
        }
    }
}
