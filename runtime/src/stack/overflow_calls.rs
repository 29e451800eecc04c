//! The calls that have filled a stack, for the report of its overflow.
//!
//! ```text
//!   412 calls were on it, the innermost with a frame of 144 bytes:
//!     parser::expression, 409 times
//!     parser::parse
//! ```
//!
//! This walks the stack by its unwind tables and looks up names, which takes memory and locks of std's: not what a signal
//! handler may do. So it comes last, when the report is out, and whatever goes wrong in here, another fault or a
//! lock that is held by the code that was interrupted, ends the process in the way that it would end anyway.

use std::backtrace::Backtrace;
use std::fmt::Write;
use std::num::NonZeroUsize;

use super::layout::Slot;
use crate::sys::memory;
use crate::sys::signal;
use crate::sys::walk::{self, Call};

/// Room for the unwinder and the symboliser: more than an alternate stack has.
const ROOM_BYTES: usize = 512 << 10;
/// After so many seconds the names do not come any more.
const PATIENCE_S: u32 = 3;
/// Lines of the report.
const LINES_MAX: usize = 8;

/// The rest of this signal handler's life is spent here.
struct Room {
    base: NonZeroUsize,
    limit: NonZeroUsize,
}

// SAFETY: corosensei asks for a guard, 4 KiB at least and both ends aligned to 16. The ends are those of a mapping, of whole
// pages, that is nobody else's and is never unmapped. There is no guard below it: what runs on it takes 22 KiB of 512.
unsafe impl corosensei::stack::Stack for Room {
    fn base(&self) -> NonZeroUsize {
        self.base
    }

    fn limit(&self) -> NonZeroUsize {
        self.limit
    }
}

/// Writes to standard error by which calls the stack of `slot` was filled. In the handler of the fault, whose registers say
/// that the innermost frame was to go down to `lowest`.
pub(super) fn report(slot: Slot, stack_pointer: usize, lowest: usize) {
    signal::abort_whatever_comes(PATIENCE_S);
    let Ok(limit) = memory::reserve(ROOM_BYTES) else {
        return;
    };
    let Some(base) = limit.checked_add(ROOM_BYTES) else {
        return;
    };
    corosensei::on_stack(Room { base, limit }, || {
        let text = describe(slot, stack_pointer, lowest);
        signal::write_stderr(text.as_bytes());
    });
}

fn describe(slot: Slot, stack_pointer: usize, lowest: usize) -> String {
    let mut calls = Vec::new();
    walk::calls(&(0..usize::MAX), |call| calls.push(call));
    let stack = slot.limit..slot.top();
    // Those of the handler lie elsewhere; the kernel's own frame, between them and the rest, ends where the fault was.
    let own = |call: &Call| stack.contains(&call.frame_end) && call.frame_end != stack_pointer;
    let Some(first) = calls.iter().position(own) else {
        return String::new();
    };
    let count = calls[first..].iter().take_while(|call| own(call)).count();
    let bytes = calls[first].frame_end.saturating_sub(lowest);
    let mut text =
        format!("  {count} calls were on it, the innermost with a frame of {bytes} bytes:\n");
    for (name, times) in groups(names()) {
        let _ = match times {
            1 => writeln!(text, "    {name}"),
            _ => writeln!(text, "    {name}, {times} times"),
        };
    }
    text
}

/// The functions that the coroutine was in, innermost first, those that were inlined too.
fn names() -> Vec<String> {
    let trace = Backtrace::force_capture().to_string();
    let mut names: Vec<(String, bool)> = Vec::new();
    for line in trace.lines().map(str::trim) {
        if let Some(place) = line.strip_prefix("at ") {
            if let Some((_, is_handler)) = names.last_mut() {
                *is_handler |= place.contains("runtime/src/stack/overflow.rs");
            }
        } else {
            let name = line.split_once(": ").map_or(line, |(_number, name)| name);
            let is_handler = name.contains("stack::overflow::on_fault");
            names.push((name.to_owned(), is_handler));
        }
    }
    // Below the handler lies what the kernel has laid there to return by.
    let handler = names.iter().rposition(|(_, is_handler)| *is_handler);
    let own = names
        .into_iter()
        .skip(handler.map_or(0, |handler| handler + 2));
    own.map(|(name, _)| name).collect()
}

/// Each with how often it follows itself; some, the innermost.
fn groups(names: Vec<String>) -> Vec<(String, usize)> {
    let mut groups: Vec<(String, usize)> = Vec::new();
    for name in names {
        match groups.last_mut() {
            Some((last, times)) if *last == name => *times += 1,
            _ => groups.push((name, 1)),
        }
        if groups.len() > LINES_MAX {
            groups.pop();
            break;
        }
    }
    groups
}
