//! Processes that are made to be broken, and the faults that break them.
//!
//! ```text
//!   observer ── fork_doomed ──> child: no core dump, nothing on stderr, a stack of 8 MiB at most
//!      │                           Doomed ── null_write, HeapBlock::overrun
//!      └── Child::end: how it ended
//! ```
//!
//! [`Doomed`] is the licence for what would be a bug anywhere else. Only a child that [`fork_doomed`] has made
//! holds one, so its parent is never the one that breaks.

use std::fs::File;
use std::io;
use std::ptr::NonNull;
use std::slice;

use rustix::process::{
    DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit,
};
use rustix::stdio::dup2_stderr;

use super::{Child, fork};

/// Says that this process was forked to be broken.
#[derive(Clone, Copy, Debug)]
pub struct Doomed(());

/// Forks as [`fork`] does, a child that may break itself and leaves nothing behind when it does.
///
/// # Errors
/// As of [`fork`]. A child that cannot be prepared ends with status [`UNPREPARED`].
pub fn fork_doomed(body: impl FnOnce(Doomed) -> i32) -> io::Result<Child> {
    fork(|| match prepare() {
        Ok(()) => body(Doomed(())),
        Err(_) => UNPREPARED,
    })
}

/// The status of a doomed child that was refused what it needs to be harmless.
pub const UNPREPARED: i32 = 125;

fn prepare() -> io::Result<()> {
    const STACK_MAX: u64 = 8 << 20;
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    setrlimit(Resource::Core, none)?;
    // A core dump that goes to a program, not a file, does not ask for the limit.
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    // Without a limit an endless recursion would take all memory first.
    let stack = getrlimit(Resource::Stack);
    if stack.current.is_none_or(|bytes| bytes > STACK_MAX) {
        let bounded = Rlimit {
            current: Some(STACK_MAX),
            ..stack
        };
        setrlimit(Resource::Stack, bounded)?;
    }
    // What std, the allocator and the runtime have to say about it is expected.
    dup2_stderr(File::options().write(true).open("/dev/null")?)?;
    Ok(())
}

/// Writes a byte to address 0, where nothing is mapped: ends this process by SIGSEGV.
pub fn null_write(_: Doomed) -> ! {
    // SAFETY: one store to an address at which Linux maps nothing (`vm.mmap_min_addr`, and nobody here asks for
    // it), so it changes no memory: the processor faults, and the kernel ends the process. It is written in
    // assembly because Rust gives a null pointer no such meaning.
    #[cfg(target_arch = "x86_64")]
    unsafe {
        std::arch::asm!("mov byte ptr [{0}], 1", in(reg) 0usize, options(nostack));
    }
    // SAFETY: as above.
    #[cfg(target_arch = "aarch64")]
    unsafe {
        std::arch::asm!("strb wzr, [{0}]", in(reg) 0usize, options(nostack));
    }
    // On other processors the signal stands for the fault; on these two nobody comes here.
    let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::SEGV);
    std::process::abort()
}

/// A block of the C library's heap that has the neighbour which [`heap_neighbours`] has given with it.
#[derive(Debug)]
pub struct HeapBlock {
    base: NonNull<u8>,
    /// From its first byte to the neighbour's.
    to_neighbour: usize,
}

/// The block right behind a [`HeapBlock`], filled with a mark.
#[derive(Debug)]
pub struct HeapNeighbour(NonNull<u8>);

/// Larger than what allocators keep ready in lists by size, so that fresh ones are neighbours.
const BLOCK_BYTES: usize = 2_000;
const MARK: u8 = 0x5a;

/// Allocates blocks until two are neighbours; `None` if this allocator gives none. All but the second are leaked.
pub fn heap_neighbours(_: Doomed) -> Option<(HeapBlock, HeapNeighbour)> {
    // What an allocator may keep between two.
    const BETWEEN_MAX: usize = 64;
    let block = || {
        // SAFETY: malloc may be called at any time; `NonNull` tells whether it gave something.
        NonNull::new(unsafe { libc::malloc(BLOCK_BYTES) }.cast::<u8>())
    };
    let mut first = block()?;
    for _ in 0..1_000 {
        let second = block()?;
        let to_neighbour = second.addr().get().wrapping_sub(first.addr().get());
        if (BLOCK_BYTES..=BLOCK_BYTES + BETWEEN_MAX).contains(&to_neighbour) {
            // SAFETY: the block is ours and this large.
            unsafe { libc::memset(second.as_ptr().cast(), MARK.into(), BLOCK_BYTES) };
            let first = HeapBlock {
                base: first,
                to_neighbour,
            };
            return Some((first, HeapNeighbour(second)));
        }
        first = second;
    }
    None
}

impl HeapBlock {
    /// Writes on past the end of the block, over what the allocator keeps before the neighbour, and over the first
    /// bytes of that.
    pub fn overrun(&self, _: Doomed) {
        let bytes = self.to_neighbour + size_of::<u64>();
        // SAFETY: mapped memory of the C library's heap: two blocks that were ours alone and the few bytes between
        // them, in which no Rust object lies. It breaks what malloc relies on, so whoever frees the neighbour
        // ends the process, or worse: that is the purpose, and `Doomed` says that this process is for it.
        unsafe { libc::memset(self.base.as_ptr().cast(), 0, bytes) };
    }
}

impl HeapNeighbour {
    /// Frees the block, as its owner would, and returns whether its content was whole.
    ///
    /// After an overrun the C library finds its records broken and ends the process.
    pub fn free(self) -> bool {
        // SAFETY: `heap_neighbours` has allocated the block and filled it; it is freed by this line only, which takes
        // it. If it was overrun, free may do anything: see `HeapBlock::overrun`.
        unsafe {
            let content = slice::from_raw_parts(self.0.as_ptr(), BLOCK_BYTES);
            let is_whole = content.iter().all(|&byte| byte == MARK);
            libc::free(self.0.as_ptr().cast());
            is_whole
        }
    }
}

// SAFETY: the C library's heap is for all threads, and this is the only handle to the block.
unsafe impl Send for HeapBlock {}
