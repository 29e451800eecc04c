//! How guards are put in: as page-table entries, or, where the kernel refuses, as mappings.
//!
//! | kind      | call                           | costs                     | ends at                  |
//! |-----------|--------------------------------|---------------------------|--------------------------|
//! | `Advised` | `madvise(MADV_GUARD_INSTALL)`  | a page-table entry        | memory                   |
//! | `Denied`  | `mprotect(PROT_NONE)`          | two mappings for a stack  | about 32,700 stacks      |
//!
//! `Denied` is for kernels before 6.13 and for locked memory (mlockall(2)). A process that has used
//! up its mappings cannot even allocate memory any more: brk(2) and mmap(2) fail alike (seen: an
//! abort in the first `Vec` that had to grow). So the last few are left to the rest of the process.

use std::io;

use crate::{
    seam::sync::{
        Once,
        real::atomic::{AtomicUsize, Ordering::Relaxed},
    },
    sys::{
        memory::{self, Span},
        process::report,
    },
};

/// Mappings of a denied guard and the stack above it.
const MAPPINGS_EACH: usize = 2;
/// Mappings that guards leave to the rest of the process: a hello world has 30.
const MAPPINGS_SPARED: usize = 192;

/// Guards in this process that are mappings.
static DENIED: AtomicUsize = AtomicUsize::new(0);

/// How guards are put in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Guarding {
    /// No mappings of their own.
    Advised,
    /// Each guard splits the mapping in two.
    Denied,
}

impl Guarding {
    /// What to try first. The environment can force the fall-back, so that it can be tested on a
    /// kernel that needs none: `RUNTIME_FAIL=madv_guard`.
    pub(super) fn at_start() -> Self {
        let failures = std::env::var("RUNTIME_FAIL").unwrap_or_default();
        if failures.split(',').any(|failure| failure == "madv_guard") {
            report_fall_back("RUNTIME_FAIL=madv_guard");
            return Self::Denied;
        }
        Self::Advised
    }
}

/// Puts in all `guards` as page-table entries; `false` if the kernel refuses.
///
/// # Safety
/// As for [`memory::guard`].
pub(super) unsafe fn advise(guards: &[Span]) -> bool {
    // SAFETY: passed on.
    let outcome = unsafe { memory::guard(guards) };
    outcome
        .inspect_err(|refusal| report_fall_back(&refusal.to_string()))
        .is_ok()
}

/// Puts in one guard as a mapping.
///
/// # Errors
/// `ENOMEM`, naming `vm.max_map_count`, when few mappings are left.
///
/// # Safety
/// As for [`memory::deny`].
pub(super) unsafe fn deny(guard: Span) -> io::Result<()> {
    // Relaxed, here and below: a count, which orders nothing; a few too many do not matter.
    let denied = DENIED.fetch_add(1, Relaxed) + 1;
    let outcome = if denied > denied_max(memory::mappings_max()) {
        Err(memory::out_of_memory())
    } else {
        // SAFETY: passed on.
        unsafe { memory::deny(guard) }
    };
    outcome.map_err(|cause| {
        forget_denied(1);
        let remedy = "without MADV_GUARD_INSTALL (Linux 6.13, memory not locked) each stack takes \
                      two mappings: raise vm.max_map_count (sysctl), or run fewer coroutines";
        memory::refused(cause, format!("guard stack number {denied}"), remedy)
    })
}

/// Says that `count` denied guards have been unmapped.
pub(super) fn forget_denied(count: usize) {
    DENIED.fetch_sub(count, Relaxed);
}

fn denied_max(mappings_max: usize) -> usize {
    mappings_max.saturating_sub(MAPPINGS_SPARED) / MAPPINGS_EACH
}

/// One line for the whole process.
#[cold]
fn report_fall_back(reason: &str) {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        report(&format!(
            "runtime: MADV_GUARD_INSTALL refused ({reason}): stack guards by mprotect, \
             two mappings for each stack (limit: vm.max_map_count)"
        ));
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn st10_denied_guards_end_where_the_default_limit_does_but_spare_a_few_mappings() {
        assert_eq!(denied_max(65_530), 32_669);
        assert_eq!(denied_max(100), 0);
    }
}
