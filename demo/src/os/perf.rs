//! The processor's own counters: TLB and cache misses, where the machine lets programs see them.
//!
//! Many virtual machines have none, and `kernel.perf_event_paranoid` may forbid them. Source: perf_event_open(2).

use std::io;
use std::os::fd::{FromRawFd, OwnedFd};

/// What is counted, in user mode only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Miss {
    /// Addresses that the first-level TLB for data did not know, on a load.
    Tlb,
    /// Lines that no cache held.
    Cache,
}

/// A count of this thread and of all that it starts from now on; theirs are added when they have ended.
#[derive(Debug)]
pub struct Counter(OwnedFd);

/// `struct perf_event_attr` in its first version, which every kernel understands.
#[repr(C)]
#[derive(Default)]
struct Attributes {
    kind: u32,
    size: u32,
    config: u64,
    sample_period: u64,
    sample_type: u64,
    read_format: u64,
    flags: u64,
    wakeup_events: u32,
    breakpoint_type: u32,
    config1: u64,
}

const _: () = assert!(
    size_of::<Attributes>() == 64,
    "PERF_ATTR_SIZE_VER0: the size that the kernel expects of this version"
);

const HARDWARE: u32 = 0;
const HARDWARE_CACHE: u32 = 3;
const CACHE_MISSES: u64 = 3;
/// The data TLB, on loads, the misses.
const TLB_LOAD_MISSES: u64 = 3 | (1 << 16);
const INHERIT: u64 = 1 << 1;
const EXCLUDE_KERNEL: u64 = 1 << 5;
const EXCLUDE_HYPERVISOR: u64 = 1 << 6;

impl Counter {
    /// Begins to count.
    ///
    /// # Errors
    /// ENOENT, EOPNOTSUPP if this machine has no such counter; EACCES, EPERM if it may not be used.
    pub fn of(miss: Miss) -> io::Result<Counter> {
        let (kind, config) = match miss {
            Miss::Tlb => (HARDWARE_CACHE, TLB_LOAD_MISSES),
            Miss::Cache => (HARDWARE, CACHE_MISSES),
        };
        Counter::open(kind, config)
    }

    fn open(kind: u32, config: u64) -> io::Result<Counter> {
        let attributes = Attributes {
            kind,
            size: size_of::<Attributes>() as u32,
            config,
            flags: INHERIT | EXCLUDE_KERNEL | EXCLUDE_HYPERVISOR,
            ..Attributes::default()
        };
        const CLOSE_ON_EXEC: libc::c_ulong = 1 << 3;
        let (this_thread, any_cpu, no_group) = (0, -1, -1);
        // SAFETY: the attributes are read during the call only, `size` says how long they are, and nothing of ours
        // is written.
        let descriptor = unsafe {
            libc::syscall(
                libc::SYS_perf_event_open,
                &raw const attributes,
                this_thread as libc::pid_t,
                any_cpu as libc::c_int,
                no_group as libc::c_int,
                CLOSE_ON_EXEC,
            )
        };
        if descriptor == -1 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: a fresh descriptor that nobody else knows.
        Ok(Counter(unsafe { OwnedFd::from_raw_fd(descriptor as i32) }))
    }

    /// How many there have been.
    ///
    /// # Errors
    /// The system's.
    pub fn read(&self) -> io::Result<u64> {
        let mut count = [0; 8];
        match rustix::io::read(&self.0, &mut count)? {
            8 => Ok(u64::from_ne_bytes(count)),
            _ => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::os::SharedWords;
    use std::sync::atomic::Ordering;

    #[test]
    fn what_is_counted_grows_where_it_may_be_counted() {
        // The kernel's own count of page faults needs no hardware.
        const SOFTWARE: u32 = 1;
        const PAGE_FAULTS: u64 = 2;
        match Counter::open(SOFTWARE, PAGE_FAULTS) {
            Ok(counter) => {
                let before = counter.read().unwrap();
                SharedWords::new().unwrap()[0].store(1, Ordering::Relaxed);
                assert!(counter.read().unwrap() > before);
            }
            Err(error) => println!("skipped: perf events are not permitted here: {error}"),
        }
    }

    #[test]
    fn a_counter_that_there_is_can_be_read() {
        for miss in [Miss::Tlb, Miss::Cache] {
            match Counter::of(miss) {
                Ok(counter) => assert!(counter.read().is_ok()),
                Err(error) => println!("skipped: no counter of {miss:?}: {error}"),
            }
        }
    }
}
