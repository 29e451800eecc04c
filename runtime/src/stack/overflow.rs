//! Stack overflow: what is otherwise a bare "Segmentation fault", explained.
//!
//! ```text
//! coroutine 'parser' (id 7) overflowed its 64 KiB stack
//!   spawned at src/main.rs:12:5
//!   give it more: coroutine::Builder::new().stack_size(131072)
//!   412 calls were on it, the innermost with a frame of 144 bytes:
//!     parser::expression, 409 times
//!     parser::parse
//! ```
//!
//! The size is twice what there was; or, if a single frame larger than a page was being made, what that would have
//! fitted into.
//!
//! | the fault                                                        | what happens                 |
//! |------------------------------------------------------------------|------------------------------|
//! | in a slot's guard, and the stack pointer is in the same slot     | this report, SIGABRT         |
//! | anything else: wild pointer, a thread's own stack, another guard | the handler that was there before us: std's, the user's, or the default |
//!
//! Only addresses decide: the kernel's code for the fault differs with the kind of guard. Where the
//! processor's registers are unknown to us, the fault's address alone does.
//!
//! The handler runs on the thread's alternate stack (sigaltstack(2)), in the middle of anything: it
//! takes no lock and allocates nothing. std gives each of its threads an alternate stack; for a
//! thread that std did not start, [`AltStack`] does.

use std::{
    ffi::{c_int, c_void},
    fmt, io,
    marker::PhantomData,
    ptr,
};

use super::{Label, layout::Slot, overflow_calls, registry};
use crate::{
    seam::sync::Once,
    sys::{
        memory::{self, Span},
        signal::{self, Fault, Info},
    },
};

/// Usable bytes of an [`AltStack`]: the kernel's frame takes 3,128 bytes, previous handlers the rest.
const ALT_STACK_BYTES: usize = 64 << 10;

/// Makes overflows explain themselves, from now on and in the whole process.
///
/// Handlers installed earlier get every other fault; one installed later decides itself what it
/// passes on to us.
pub(crate) fn install() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let hooked = signal::hook_memory_faults(on_fault);
        debug_assert!(hooked.is_ok(), "{hooked:?}");
    });
}

extern "C" fn on_fault(signal: c_int, info: *mut Info, context: *mut c_void) {
    // SAFETY: the kernel calls this, installed for memory faults only, with its own arguments; or a
    // handler that chains to us does, with the same.
    let fault = unsafe { signal::fault(info, context) };
    match fault.and_then(|fault| Some((fault, overflowed(fault)?))) {
        Some((fault, slot)) => {
            report(slot, fault.probes_down_to);
            if let Some(stack_pointer) = fault.stack_pointer {
                let lowest = fault.probes_down_to.unwrap_or(stack_pointer);
                overflow_calls::report(slot, stack_pointer, lowest);
            }
            signal::abort()
        }
        // SAFETY: our own arguments, and nothing follows.
        None => unsafe { signal::chain(signal, info, context) },
    }
}

/// The slot whose stack grew into its guard, if that is what the fault means.
fn overflowed(fault: Fault) -> Option<Slot> {
    let slot = registry::slot_around(fault.address)?;
    let in_guard = fault.address < slot.usable().start;
    let runs_there = fault
        .stack_pointer
        .is_none_or(|pointer| (slot.limit..=slot.top()).contains(&pointer));
    (in_guard && runs_there).then_some(slot)
}

fn report(slot: Slot, probes_down_to: Option<usize>) {
    let header = ptr::with_exposed_provenance::<*const Label>(slot.base());
    // SAFETY: somebody runs on the slot, so it is out and mapped, and what lies there was written by
    // `Stack::set_label` on this thread, or is zero from the first.
    let label = unsafe { header.read_volatile() };
    // SAFETY: `Stack::set_label` demands that the label lives as long as it is set.
    let label = unsafe { label.as_ref() };
    let mut text = Text::new();
    // Text swallows what does not fit, so this does not fail.
    let wanted = probes_down_to.map(|lowest| slot.base().saturating_sub(lowest));
    let _ = explain(&mut text, label, slot.layout.usable_bytes, wanted);
    signal::write_stderr(text.as_bytes());
}

/// `wanted`: what would have been in use after the frame that was being made, if that is known.
fn explain(
    out: &mut impl fmt::Write,
    label: Option<&Label>,
    stack_bytes: usize,
    wanted: Option<usize>,
) -> fmt::Result {
    let stack_kib = stack_bytes >> 10;
    match label {
        Some(label) => {
            let name = label.name().unwrap_or("<unnamed>");
            let name = shortened(name, Text::BYTES_MAX / 4);
            let id = label.id.get();
            writeln!(
                out,
                "\ncoroutine '{name}' (id {id}) overflowed its {stack_kib} KiB stack"
            )?;
            let at = label.spawned_at;
            let file = shortened(at.file(), Text::BYTES_MAX / 4);
            writeln!(out, "  spawned at {file}:{}:{}", at.line(), at.column())?;
        }
        None => writeln!(out, "\na coroutine overflowed its {stack_kib} KiB stack")?,
    }
    // For what the frame's function calls.
    const BESIDE: usize = 16 << 10;
    let wanted = wanted.and_then(|wanted| wanted.checked_add(BESIDE)?.checked_next_power_of_two());
    let more = stack_bytes.saturating_mul(2).max(wanted.unwrap_or(0));
    writeln!(
        out,
        "  give it more: coroutine::Builder::new().stack_size({more})"
    )
}

/// The first `bytes_max` bytes of `text`, or a little less: no character is cut in two.
fn shortened(text: &str, bytes_max: usize) -> &str {
    &text[..text.floor_char_boundary(bytes_max)]
}

/// A piece of text of bounded length, on the stack; what does not fit is dropped.
struct Text {
    bytes: [u8; Self::BYTES_MAX],
    len: usize,
}

impl Text {
    const BYTES_MAX: usize = 1024;

    fn new() -> Self {
        Self {
            bytes: [0; Self::BYTES_MAX],
            len: 0,
        }
    }

    fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

impl fmt::Write for Text {
    fn write_str(&mut self, part: &str) -> fmt::Result {
        let room = &mut self.bytes[self.len..];
        let part = shortened(part, room.len()).as_bytes();
        room[..part.len()].copy_from_slice(part);
        self.len += part.len();
        Ok(())
    }
}

/// An alternate signal stack for a thread that had none. It belongs to the thread that made it.
#[derive(Debug)]
pub(crate) struct AltStack {
    /// Guard and stack; `None` if the thread had one already.
    mapping: Option<Mapping>,
    /// What it had before: none, or one that was too small.
    before: Option<Span>,
    _of_this_thread: PhantomData<*const ()>,
}

#[derive(Clone, Copy, Debug)]
struct Mapping {
    guard: Span,
    stack: Span,
}

impl AltStack {
    /// Sees to it that this thread can run the overflow handler while its stack is full, and whatever handler takes
    /// `room_bytes`, which are less than 64 KiB.
    ///
    /// # Errors
    /// No memory for 64 KiB and a guard.
    pub(crate) fn ensure(room_bytes: usize) -> io::Result<Self> {
        let before = signal::alternate_stack()?;
        let mapping = match before {
            Some(stack) if stack.bytes >= room_bytes => None,
            _ => Some(Mapping::new()?),
        };
        if let Some(Mapping { stack, .. }) = mapping {
            // SAFETY: fresh memory that nobody knows of, kept until `drop`, which is on this thread
            // and takes it out first.
            unsafe { signal::set_alternate_stack(Some(stack))? };
        }
        Ok(Self {
            mapping,
            before,
            _of_this_thread: PhantomData,
        })
    }
}

impl Drop for AltStack {
    fn drop(&mut self) {
        let Some(mapping) = self.mapping else { return };
        match signal::alternate_stack() {
            // SAFETY: the handlers that could run on it have returned: this code runs on the
            // thread's own stack. The one of before is its owner's, std's say, for as long as the thread.
            Ok(Some(current)) if current == mapping.stack => unsafe {
                if signal::set_alternate_stack(self.before).is_ok() {
                    mapping.unmap();
                }
            },
            // Somebody has put another in its place, which may come back to ours: keep it.
            _ => {}
        }
    }
}

impl Mapping {
    fn new() -> io::Result<Self> {
        let page_bytes = memory::page_bytes();
        let bytes = ALT_STACK_BYTES.next_multiple_of(page_bytes);
        let start = memory::reserve(page_bytes + bytes)?.get();
        let guard = Span {
            start,
            bytes: page_bytes,
        };
        let stack = Span {
            start: start + page_bytes,
            bytes,
        };
        // SAFETY: the lowest page of a mapping that nobody knows of yet. Without a guard the handler
        // would still work, so a refusal of both kinds is no reason to go without a stack.
        let _ = unsafe { memory::guard(&[guard]).or_else(|_| memory::deny(guard)) };
        Ok(Self { guard, stack })
    }

    /// # Safety
    /// Nobody uses the stack any more.
    unsafe fn unmap(self) {
        let (start, bytes) = (self.guard.start, self.guard.bytes + self.stack.bytes);
        // SAFETY: the whole of what `new` reserved; as the caller promises, unused.
        let unmapped = unsafe { memory::unmap(Span { start, bytes }) };
        debug_assert!(unmapped.is_ok(), "{unmapped:?}");
    }
}

#[cfg(test)]
mod tests {
    use super::super::{StackConfig, Stacks};
    use super::*;
    use crate::seam::sync::thread;
    use std::panic::Location;

    fn explained(label: Option<&Label>) -> String {
        let mut text = Text::new();
        explain(&mut text, label, 64 << 10, None).unwrap();
        String::from_utf8(text.as_bytes().to_vec()).unwrap()
    }

    fn label(name: Option<&str>) -> Label {
        Label {
            name: name.map(|name| Box::new(Box::from(name))),
            id: crate::id::Id::of(7),
            spawned_at: Location::caller(),
        }
    }

    #[test]
    fn st1_report_says_who_how_large_from_where_and_what_to_do() {
        let text = explained(Some(&label(Some("parser"))));
        assert!(text.contains("\ncoroutine 'parser' (id 7) overflowed its 64 KiB stack\n"));
        assert!(
            text.contains("spawned at ") && text.contains("overflow.rs:"),
            "{text}"
        );
        assert!(text.contains("stack_size(131072)"), "{text}");
        assert!(explained(Some(&label(None))).contains("'<unnamed>' (id 7)"));
        assert!(explained(None).contains("a coroutine overflowed its 64 KiB stack"));
    }

    #[test]
    fn long_name_is_cut_at_a_character_and_hides_nothing_else() {
        let text = explained(Some(&label(Some(&"ü".repeat(10_000)))));
        assert!(text.len() <= Text::BYTES_MAX);
        assert!(
            text.contains("üü' (id 7)") && text.contains("stack_size("),
            "{text}"
        );
    }

    #[test]
    fn st5_only_a_fault_in_the_guard_of_the_running_stack_is_an_overflow() {
        let mut stacks = Stacks::new(StackConfig::default());
        let (stack, other) = (stacks.acquire(0).unwrap(), stacks.acquire(0).unwrap());
        let fault = |address, pointer| {
            let stack_pointer = Some(pointer);
            overflowed(Fault {
                address,
                stack_pointer,
                probes_down_to: None,
            })
        };
        let slot = stack.slot();
        let (guard, bottom) = (slot.guard().start, slot.usable().start);
        assert_eq!(fault(bottom - 8, bottom), Some(slot), "a push too many");
        assert_eq!(fault(guard, guard), Some(slot), "a probe of a large frame");
        assert_eq!(fault(bottom, bottom), None, "not in the guard");
        assert_eq!(fault(guard, other.slot().base()), None, "another's guard");
        let local = 0_u8;
        assert_eq!(
            fault(guard, &raw const local as usize),
            None,
            "a thread's wild pointer"
        );
        assert_eq!(fault(0, bottom), None, "null pointer");
        stacks.release(stack);
        stacks.release(other);
    }

    #[test]
    fn st6_thread_without_alternate_stack_gets_one_and_gives_it_back() {
        // std's threads have one; take it away, as on a thread that std did not start.
        let ended = thread::spawn(|| {
            let before = signal::alternate_stack().unwrap();
            // SAFETY: no handler runs on it, and it is put back below.
            unsafe { signal::set_alternate_stack(None).unwrap() };
            let ours = AltStack::ensure(0).unwrap();
            let mapping = ours.mapping.unwrap();
            assert_eq!(signal::alternate_stack().unwrap(), Some(mapping.stack));
            let second = AltStack::ensure(ALT_STACK_BYTES).unwrap();
            assert!(second.mapping.is_none(), "one is enough");
            drop(second);
            assert_eq!(signal::alternate_stack().unwrap(), Some(mapping.stack));
            drop(ours);
            assert_eq!(signal::alternate_stack().unwrap(), None);
            // SAFETY: std's stack, which it keeps until the thread ends.
            unsafe { signal::set_alternate_stack(before).unwrap() };
            let roomy = AltStack::ensure(ALT_STACK_BYTES).unwrap();
            assert!(roomy.mapping.is_some(), "std's is smaller");
            drop(roomy);
            assert_eq!(signal::alternate_stack().unwrap(), before);
        });
        ended.join().unwrap();
    }
}
