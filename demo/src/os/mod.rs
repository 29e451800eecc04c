//! The few system calls that have no safe wrapper elsewhere: the only `unsafe` of the demo.
//!
//! | file      | call                       | why the wrapper is safe                                 |
//! |-----------|----------------------------|---------------------------------------------------------|
//! | `process` | fork, posix_spawn, waitpid | refuses to fork where a second thread is                |
//! | `doom`    | malloc, free, a null write | breaks only a process that was forked to be broken      |
//! | `assault` | fork, ptrace               | one that ends at once, one that touches no memory       |
//! | `confine` | close_range, seccomp, ...  | takes away only, and only from the calling process      |
//! | `memory`  | mmap `MAP_SHARED`          | hands out atomics only, so two processes may both write |
//! | `stack`   | mmap, mprotect, madvise    | nothing but the top of each stack is ever touched       |
//! | `perf`    | perf_event_open            | gives a descriptor, and reads are of eight bytes        |
//! | `trace`   | ptrace, waitpid            | asks for stops only, reads and writes no memory         |
//! | `usage`   | getrusage                  | reads counters into a place of its own                  |
//! | `cpu`     | sched_setaffinity          | safe already; here so that a pin is always undone       |
//!
//! Everything else goes through `rustix`, which needs no `unsafe`.

mod assault;
mod confine;
mod cpu;
mod doom;
mod memory;
mod perf;
mod process;
mod stack;
mod trace;
mod usage;

pub use assault::{fork_once, trace_other};
pub use confine::{Bounds, Purpose, close_other_descriptors, confine, confinement_missing};
pub use cpu::{Pin, allowed_cpus, share_a_core};
pub use doom::{
    Doomed, HeapBlock, HeapNeighbour, UNPREPARED, fork_doomed, heap_neighbours, null_write,
};
pub use memory::SharedWords;
pub use perf::{Counter, Miss};
pub use process::{Child, End, die_with_parent, fork, spawn_program};
pub use stack::{BareStacks, STACK_BYTES};
pub use trace::system_calls;
pub use usage::{Usage, Whose};
