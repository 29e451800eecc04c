//! What the kernel has counted for a thread or a process: page faults.

use std::mem::MaybeUninit;

/// Counts since the thread or process began. Source: getrusage(2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Page faults that were served without reading from a disk.
    pub minor_faults: u64,
}

impl Usage {
    /// The counts of the calling thread.
    pub fn of_thread() -> Usage {
        let mut usage = MaybeUninit::<libc::rusage>::zeroed();
        // SAFETY: the kernel writes one `rusage` to the place that it is given, which is one. It refuses
        // only whom it does not know, or a bad place; and all zeros are a valid `rusage` too.
        let usage = unsafe {
            libc::getrusage(libc::RUSAGE_THREAD, usage.as_mut_ptr());
            usage.assume_init()
        };
        Usage {
            minor_faults: usage.ru_minflt as u64,
        }
    }

    /// What has been added since `before`.
    pub fn since(self, before: Usage) -> Usage {
        Usage {
            minor_faults: self.minor_faults - before.minor_faults,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::hint::black_box;

    #[test]
    fn fresh_pages_are_faults_of_the_thread_that_touches_them() {
        const BYTES: usize = 8 << 20;
        let before = Usage::of_thread();
        drop(black_box(vec![1u8; BYTES]));
        // At least one for each 2 MiB, however large the pages are.
        let huge_pages = (BYTES >> 21) as u64;
        assert!(Usage::of_thread().since(before).minor_faults >= huge_pages);
    }
}
