//! What the kernel has counted for a thread or a process: page faults and context switches.

use std::mem::MaybeUninit;
use std::ops::Add;

/// Whose counts are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose {
    /// The calling thread.
    Thread,
    /// All threads of this process.
    Process,
    /// The children of this process that it has waited for.
    Children,
}

/// Counts since the thread or process began. Source: getrusage(2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Page faults that were served without reading from a disk.
    pub minor_faults: u64,
    /// Context switches because it had to wait.
    pub voluntary_switches: u64,
    /// Context switches because another was to run.
    pub involuntary_switches: u64,
}

impl Usage {
    /// The counts of now.
    pub fn of(whose: Whose) -> Usage {
        let who = match whose {
            Whose::Thread => libc::RUSAGE_THREAD,
            Whose::Process => libc::RUSAGE_SELF,
            Whose::Children => libc::RUSAGE_CHILDREN,
        };
        let mut usage = MaybeUninit::<libc::rusage>::zeroed();
        // SAFETY: the kernel writes one `rusage` to the place that it is given, which is one. It refuses
        // only whom it does not know, or a bad place; and all zeros are a valid `rusage` too.
        let usage = unsafe {
            libc::getrusage(who, usage.as_mut_ptr());
            usage.assume_init()
        };
        Usage {
            minor_faults: usage.ru_minflt as u64,
            voluntary_switches: usage.ru_nvcsw as u64,
            involuntary_switches: usage.ru_nivcsw as u64,
        }
    }

    /// What has been added since `before`.
    pub fn since(self, before: Usage) -> Usage {
        Usage {
            minor_faults: self.minor_faults - before.minor_faults,
            voluntary_switches: self.voluntary_switches - before.voluntary_switches,
            involuntary_switches: self.involuntary_switches - before.involuntary_switches,
        }
    }
}

impl Add for Usage {
    type Output = Usage;

    fn add(self, other: Usage) -> Usage {
        Usage {
            minor_faults: self.minor_faults + other.minor_faults,
            voluntary_switches: self.voluntary_switches + other.voluntary_switches,
            involuntary_switches: self.involuntary_switches + other.involuntary_switches,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::os::SharedWords;
    use std::sync::atomic::Ordering;

    #[test]
    fn a_fresh_page_is_a_fault_of_the_thread_that_touches_it() {
        let page = SharedWords::new().unwrap();
        let before = Usage::of(Whose::Thread);
        page[0].store(1, Ordering::Relaxed);
        assert!(Usage::of(Whose::Thread).since(before).minor_faults >= 1);
    }

    #[test]
    fn a_process_has_what_its_thread_has_and_children_are_apart() {
        let (thread, process) = (Usage::of(Whose::Thread), Usage::of(Whose::Process));
        assert!(process.minor_faults >= thread.minor_faults);
        let both = process + Usage::of(Whose::Children);
        assert_eq!(both.since(process), Usage::of(Whose::Children));
    }

    #[test]
    fn a_nap_is_a_voluntary_switch() {
        let before = Usage::of(Whose::Thread);
        std::thread::sleep(std::time::Duration::from_millis(1));
        assert!(Usage::of(Whose::Thread).since(before).voluntary_switches >= 1);
    }
}
