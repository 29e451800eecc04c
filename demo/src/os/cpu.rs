//! Pinning: which CPU the calling thread may run on.
#![forbid(unsafe_code)]

use std::fs;
use std::io;
use std::marker::PhantomData;

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// The calling thread tied to one CPU; dropping the pin gives back the CPUs it had before.
///
/// Threads and processes that are started meanwhile inherit the pin.
#[derive(Debug)]
pub struct Pin {
    before: CpuSet,
    // Dropped on another thread, it would set that thread's CPUs: not `Send`.
    of_this_thread: PhantomData<*const ()>,
}

impl Pin {
    /// Ties the calling thread to `cpu`.
    ///
    /// # Errors
    /// The system's: EINVAL if `cpu` does not exist or is not allowed here.
    pub fn to(cpu: usize) -> io::Result<Pin> {
        let before = sched_getaffinity(None)?;
        let mut only = CpuSet::new();
        only.set(cpu);
        sched_setaffinity(None, &only)?;
        Ok(Pin {
            before,
            of_this_thread: PhantomData,
        })
    }
}

impl Drop for Pin {
    fn drop(&mut self) {
        // These CPUs were allowed a moment ago. If an administrator has just taken them away, the
        // kernel has chosen others itself, and there is nothing left to restore.
        let _ = sched_setaffinity(None, &self.before);
    }
}

/// The CPUs that the calling thread may use, in ascending order.
///
/// # Errors
/// The system's.
pub fn allowed_cpus() -> io::Result<Vec<usize>> {
    let set = sched_getaffinity(None)?;
    Ok((0..CpuSet::MAX_CPU)
        .filter(|&cpu| set.is_set(cpu))
        .collect())
}

/// Whether two CPUs are hardware threads of one core; `false` when the system does not tell.
pub fn share_a_core(one: usize, other: usize) -> bool {
    let siblings = |cpu: usize| {
        fs::read_to_string(format!(
            "/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list"
        ))
        .ok()
    };
    one != other && siblings(one).is_some() && siblings(one) == siblings(other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pin_holds_one_cpu_and_gives_the_others_back() {
        let before = allowed_cpus().unwrap();
        let last = *before.last().unwrap();
        let pin = Pin::to(last).unwrap();
        assert_eq!(allowed_cpus().unwrap(), [last]);
        drop(pin);
        assert_eq!(allowed_cpus().unwrap(), before);
    }

    #[test]
    fn a_cpu_that_does_not_exist_is_an_error() {
        assert!(Pin::to(CpuSet::MAX_CPU - 1).is_err());
    }

    #[test]
    fn a_cpu_is_not_its_own_sibling() {
        assert!(!share_a_core(0, 0));
    }
}
