//! What a debugger needs to find the coroutines of a process, also in a core file and without debug information.
//!
//! ```text
//!   LAYOUT ─► registry ─► slab ─► slot ─► label: who runs there ─► task: state, why parked
//!                                   └───► context: where its stack pointer was saved
//! ```
//!
//! Read by `gdb/runtime-gdb.py`, which knows the order of these words; the first one tells a later order from this one.
#![forbid(unsafe_code)]

use std::mem::offset_of;

use crate::context;
use crate::seam::sync::real::atomic::AtomicPtr;
use crate::stack::{self, Label};
use crate::task::{Task, WaitReason};

/// Where everything is. Numbers are bytes.
#[repr(C)]
pub(crate) struct Layout {
    magic: [u8; 8],
    registry: AtomicPtr<()>,
    /// Of a slab: its start, its end, usable bytes and guard bytes of a slot, the next slab.
    slab: [usize; 5],
    /// Colours of a slot's base, bytes each, and bytes above the base.
    base: [usize; 3],
    /// Size of a context's header.
    context_bytes: usize,
    /// Of a label: number, address of the name, place of the spawn.
    label: [usize; 3],
    /// Of a task: label, token, reason to wait.
    task: [usize; 3],
    /// The reasons, by their numbers, each with its length.
    reasons: &'static [&'static str],
}

#[used]
static LAYOUT: Layout = Layout {
    magic: *b"coro-2\0\0",
    registry: AtomicPtr::new(stack::registry_for_debugger().0),
    slab: stack::registry_for_debugger().1,
    base: stack::BASE_BYTES,
    context_bytes: context::HEADER_BYTES,
    label: [
        offset_of!(Label, id),
        offset_of!(Label, name),
        offset_of!(Label, spawned_at),
    ],
    task: [
        offset_of!(Task, label),
        offset_of!(Task, token),
        offset_of!(Task, wait_reason),
    ],
    reasons: &WaitReason::WORDS,
};

/// Keeps the linker from dropping it: somebody has asked for it.
pub(crate) fn keep() {
    std::hint::black_box(&LAYOUT);
}
