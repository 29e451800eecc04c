//! A contender's server in a process of its own, while the load stays in the bench's.
//!
//! The child says on a line where it listens, [`announce`], and serves until it is killed. What it takes of the
//! machine is read from outside, so that no contender spends anything on telling.
#![forbid(unsafe_code)]

use std::io::{self, BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command};
use std::time::Duration;

use super::child;
use super::machine::{self, Memory, OneCpu};
use super::sys;

/// A server, killed when dropped.
pub struct Server {
    child: Child,
    pub address: SocketAddr,
}

impl Server {
    /// Starts this program again, as the child for `task`.
    pub fn start(task: &str) -> io::Result<Self> {
        Self::from(child::command(task))
    }

    /// The same, kept on this CPU.
    pub fn start_on(cpu: usize, task: &str) -> io::Result<Self> {
        Self::from_on(cpu, child::command(task))
    }

    /// Starts `command`, which serves, and keeps it on this CPU.
    pub fn from_on(cpu: usize, command: Command) -> io::Result<Self> {
        // A child may run where the thread that makes it may.
        let _there = OneCpu::pin_to(cpu);
        Self::from(command)
    }

    /// Starts `command`, which serves.
    pub fn from(mut command: Command) -> io::Result<Self> {
        let mut child = command.spawn()?;
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("piped")).read_line(&mut line)?;
        let mut server = Server {
            child,
            address: SocketAddr::from(([0; 4], 0)),
        };
        server.address = address(&line)
            .ok_or_else(|| io::Error::other(format!("{command:?} did not start: {line:?}")))?;
        Ok(server)
    }

    /// CPU time it has used so far, the kernel's on its behalf included.
    pub fn cpu_time(&self) -> Duration {
        sys::cpu_time_of(self.child.id())
    }

    /// What it takes of the machine's memory.
    pub fn memory(&self) -> Memory {
        machine::memory_of(&self.child.id().to_string())
    }

    /// Closes its standard input, and waits until it has ended for that.
    pub fn end(mut self) -> io::Result<()> {
        drop(self.child.stdin.take());
        self.child.wait().map(drop)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have died by itself, which the client's errors tell about.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// In the child: says where it listens.
pub fn announce(address: SocketAddr) {
    println!("{address}");
}

/// The address at the end of `line`, bare or as a URL.
fn address(line: &str) -> Option<SocketAddr> {
    let word = line.split_whitespace().last()?;
    let word = word.trim_start_matches("http://").trim_end_matches('/');
    word.parse().ok()
}
