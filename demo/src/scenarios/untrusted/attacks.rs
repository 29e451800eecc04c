//! The attacks that the scenario carries: what a program does that nobody trusts.
//!
//! They are run in a process that was forked for it, confined or not: see [`super::stage`].
#![forbid(unsafe_code)]

use std::fs;
use std::hint;
use std::io::{self, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::process::CommandExt;
use std::process::{self, Command};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, test_kill_process};

use crate::os::{self, Doomed};

/// What a neighbour holds dear. The attacker writes 1 to it.
pub static PRECIOUS: AtomicU32 = AtomicU32::new(0);

/// What is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attack {
    Overwrite,
    WildWrite,
    StackOverflow,
    MemoryBomb,
    Spin,
    Sleep,
    Flood,
    Open,
    Connect,
    Fork,
    Execute,
    Signal,
    Trace,
}

/// Whom it is tried on.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// A server that listens.
    pub server: SocketAddr,
    /// The process that observes.
    pub observer: Pid,
}

impl Attack {
    /// All, in the order of the table.
    pub const ALL: [Attack; 13] = [
        Attack::Overwrite,
        Attack::WildWrite,
        Attack::StackOverflow,
        Attack::MemoryBomb,
        Attack::Spin,
        Attack::Sleep,
        Attack::Flood,
        Attack::Open,
        Attack::Connect,
        Attack::Fork,
        Attack::Execute,
        Attack::Signal,
        Attack::Trace,
    ];

    /// What it is called in the table.
    pub fn label(self) -> &'static str {
        match self {
            Attack::Overwrite => "overwrite a neighbour's data",
            Attack::WildWrite => "write to a wild address",
            Attack::StackOverflow => "overflow the stack",
            Attack::MemoryBomb => "take all memory",
            Attack::Spin => "compute for ever",
            Attack::Sleep => "sleep for ever",
            Attack::Flood => "flood the output",
            Attack::Open => "open a file",
            Attack::Connect => "connect to a server",
            Attack::Fork => "fork",
            Attack::Execute => "execute a program",
            Attack::Signal => "signal its parent",
            Attack::Trace => "trace its parent",
        }
    }

    // excerpt: attacks
    /// Tries it. Returns if it can do no more: `Ok` if it had what it wanted.
    pub fn run(self, doomed: Doomed, target: Target) -> io::Result<()> {
        match self {
            Attack::Overwrite => {
                PRECIOUS.store(1, Ordering::Relaxed);
                Ok(())
            }
            Attack::WildWrite => os::null_write(doomed),
            Attack::StackOverflow => Err(io::Error::other(format!("{} deep", descend(0)))),
            Attack::MemoryBomb => loop {
                // Only a little of it is touched: the machine is others' too.
                let mut block = Vec::<u8>::new();
                if block.try_reserve(32 << 20).is_err() {
                    process::abort(); // as Rust does for whoever asks next
                }
                block.push(1);
                hint::black_box(block.leak());
            },
            Attack::Spin => loop {
                hint::spin_loop();
            },
            Attack::Sleep => loop {
                thread::sleep(Duration::from_secs(3_600));
            },
            Attack::Flood => loop {
                io::stdout().write_all(&[b'!'; 4_096])?;
            },
            Attack::Open => fs::read("/etc/passwd").map(drop),
            Attack::Connect => TcpStream::connect(target.server).map(drop),
            Attack::Fork => os::fork_once(doomed),
            Attack::Execute => Err(Command::new("/bin/true").exec()),
            // Signal 0 asks only whether it might.
            Attack::Signal => Ok(test_kill_process(target.observer)?),
            Attack::Trace => os::trace_other(doomed, target.observer),
        }
    }
    // excerpt: end
}

/// Calls itself until there is no stack left.
fn descend(depth: u64) -> u64 {
    let frame = hint::black_box([depth; 64]);
    if depth == u64::MAX {
        return frame[0];
    }
    descend(depth + 1) + hint::black_box(frame)[1]
}
