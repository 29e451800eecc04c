//! Stackful coroutines for Linux: std's blocking API, with a coroutine where std has a thread.
//!
//! A coroutine has a stack of its own, so it can stop in the middle of any function and go on there later. A
//! call that has to wait, for a socket, a timer or another coroutine, stops the coroutine that makes it and
//! lets others of the same thread run. Switching takes nanoseconds, and a parked coroutine a page of memory.
//!
//! ```
//! use std::io::{Read, Write};
//! use runtime::net::{TcpListener, TcpStream};
//! use runtime::time::{self, Duration};
//!
//! runtime::run(|| -> std::io::Result<()> {
//!     let listener = TcpListener::bind("127.0.0.1:0")?;
//!     let address = listener.local_addr()?;
//!     let server = runtime::spawn(move || listener.accept()?.0.write_all(b"hello"));
//!
//!     let mut greeting = String::new();
//!     let answer = time::timeout(Duration::from_secs(9), || TcpStream::connect(address)?.read_to_string(&mut greeting));
//!     assert_eq!(answer.expect("in time")?, 5);
//!     server.join().unwrap()
//! })
//! # .unwrap();
//! ```
//!
//! | to ...                                       | call                                                    |
//! |----------------------------------------------|---------------------------------------------------------|
//! | enter a runtime                              | [`run`]; [`Builder`] for several workers, stack sizes   |
//! | be run by a loop of your own, or by tokio     | [`Builder::embedded`], [`Runtime::run_ready`]           |
//! | start a coroutine, wait for it, cancel it    | [`spawn`], [`spawn_local`], [`coroutine::JoinHandle`]   |
//! | start some that borrow from the caller       | [`scope()`], [`coroutine::join_all`], [`coroutine::race`] |
//! | let others run; stop until somebody calls    | [`yield_now`]; [`coroutine::park`]                      |
//! | sleep, or bound how long anything may take   | [`time::sleep`], [`time::timeout`]                      |
//! | wait for each other                          | [`sync`]                                                |
//! | send each other values; wait for the first   | [`channel`], [`select!`], [`channel::Select`]           |
//! | talk over TCP, UDP and Unix sockets          | [`net`]                                                 |
//! | use pipes, stdin, any descriptor             | [`io`]                                                  |
//! | call what blocks its thread; use files       | [`spawn_blocking`]; [`fs`]                              |
//! | start programs, and wait for them; signals   | [`process`]; [`signal`]                                 |
//! | have a value for each coroutine              | [`coroutine_local!`]                                    |
//! | switch by hand, without a scheduler          | [`generator`]                                           |
//! | wait for a future, or be awaited             | [`future::block_on`]; a `JoinHandle` is a future        |
//! | see where all coroutines are, and why          | [`observe`]                                             |
//!
//! # What holds
//!
//! - A coroutine that has started stays on its worker, a thread, for life: locals need not be `Send`. One that has
//!   not may begin on any worker, if it was [`spawn`]ed; [`spawn_local`] keeps it where it is.
//! - A wake-up is never lost. Whoever can run gets a turn: first come, first served, but for bounded hand-overs
//!   between a child and the one that joins it, and those whom timers wake, who go first, in bounded numbers. After at
//!   most 64 turns the worker polls its messages, timers and descriptors.
//! - [Cancellation](coroutine::JoinHandle::cancel), a [`timeout`](time::timeout) and the end of [`run`] unwind:
//!   destructors run, and may wait. What was complete is returned, never lost.
//! - A panic ends its coroutine, and [`join`](coroutine::JoinHandle::join) returns it; in a scope it ends the scope.
//! - A yield, a park and a wake-up by a timer or descriptor of the own worker take plain loads and stores: no lock of
//!   ours, no atomic read-modify-write. A stack is handed out when a coroutine starts, not when it is spawned.
//! - No `unsafe` is asked of users, but see [the limits](#known-limits).
//!
//! # Reading the code
//!
//! In this order; each file begins with what it is, and draws it.
//!
//! `stack` → `context` → `run_queue` → `task` → `park` → `timer` → `reactor` → `worker` → `coroutine` →
//! `time` → `lock` → `wait` → `sync` → `channel` → `net` → `scope` → `runtime`. Beside the way: `home` before `worker` (what a
//! coroutine sees of its worker), `mailbox` and `injector` (how other threads reach it), `interrupts` (what is raised when), `local`,
//! `generator`, `future`, `threads` and `blocking`, `fs`, `pollable` and
//! `process`, `signal`; `recorder` and `observe` (who looks inside), `debugger` (what gdb reads). `seam` is the door to
//! std's clock and locks, `sys` the one to the system.
//!
//! Only `context` switches stacks. `worker` resumes coroutines, `park` suspends them, and nobody else does, with three
//! exceptions: a join runs a child that has not started on top of the joiner (`Home::run_child`), a dump resumes
//! each for a look at its own stack (`Home::visit`), and a coroutine that ends does so in `worker`. Only `sys` calls libc.
//!
//! ## Walk 1: one `yield_now`
//!
//! Two coroutines, A and B, share a worker. A yields, B runs.
//!
//! ```text
//!   A's stack                  the worker's stack                B's stack
//!   coroutine::yield_now
//!   park::yield_now
//!     Context::suspend ──────► returns from Context::resume
//!                              Worker::turn, back in round
//!                              Home::rotate: A in, B out
//!                              Worker::turn
//!                                Context::resume ───────────────► where it had suspended
//! ```
//!
//! 1. `coroutine::yield_now` asks `home::running` for this thread's worker (`Home`, by one thread-local pointer) and
//!    the context, a stack with a place to continue at, that runs on it. Outside a coroutine there is none: a panic.
//! 2. `park::yield_now` calls `park::suspend`, and that `Context::suspend`: corosensei saves the registers on A's stack and
//!    goes on with those of the worker. All of this is inlined, so the return addresses that the processor predicts
//!    are right. A register carries why: `Suspension::Yielded`.
//! 3. Whoever resumed A goes on. If A is a child at its first suspension, that may be the one that joins it, who puts it
//!    into the queue; else it is the worker: `Context::resume` returns in `Worker::turn`, which returns to the loop of
//!    `Worker::turns`, a round. That sees by `Home::note_suspension` whether a thread-local has come into use that A may borrow.
//!    Who called *that* is `Runtime::run` on the first worker, `Worker::work` on the others.
//! 4. After 64 turns the round ends, and `Worker::poll` comes before the next.
//! 5. `Home::rotate` puts A's context at the end of the `RunQueue`, a ring, and takes B from its head: `RunQueue::rotate`,
//!    which asks `seam::schedule::pick` which one. It does not look at A or B.
//! 6. With tens in the queue it also has the processor fetch the stack of one that comes a few turns later.
//! 7. `Worker::turn` looks at what it has got (`Runnable::look`). B has started before, so it is a context:
//!    `Home::set_current`, `Context::resume`, and B goes on. Had it not, `Worker::start` would give it a stack first.
//! 8. Some turns later A is taken and resumed in the same way. `Context::suspend` returns in `park::yield_now`, which
//!    looks at one bit, `Context::attention`, as it has done before the switch. If set, `raise_if_due` looks whether A
//!    was cancelled or a timeout has passed, and unwinds if so.
//!
//! No atomic operation, no allocation (unless the ring must grow), and no cache line of A's record.
//!
//! ## Walk 2: one `TcpStream::read` that has to wait
//!
//! **It tries first.** `read` calls `TcpStream::receive`, that `Socket::perform`, which knows the timeouts, and that
//! `Pollable::perform_within`, the loop behind every call that waits for a descriptor:
//!
//! 1. `Side::is_dry`: has the socket been found empty, with no event since? Not known yet, so it is worth a try.
//!    `Pollable::give_way` yields at every 64th call that need not wait.
//! 2. `Side::edges` notes how many events there have been; *then* comes recv(2), which says `EAGAIN`; `Side::spend` sets
//!    down that the socket was dry at that count. An event in between has raised the count, so it is not missed.
//! 3. Round again: dry now, so `Pollable::wait`, which asks `Source::enlist` to be woken by the next event.
//!
//! **The first wait registers.** The source has no home, so `enlist` refuses (`Refusal::Homeless`), and
//! `Pollable::register` makes this worker its home: `Source::register`, `Reactor::register`, `Epoll::add`, once in the
//! descriptor's life, edge-triggered, both directions. If bytes have come meanwhile, the kernel tells so at once.
//! The second `enlist` succeeds: `Seats::sit` puts the coroutine where this thread's reactor finds it. (A coroutine of
//! another worker, or a second reader, goes to a list behind a lock instead: `Source::join_list`.)
//!
//! **It parks.** `Pollable::sleep` calls `park::park`, or `park_until` if there is a timeout; both come to
//! `park_coroutine`. That raises what is due; returns at once if a wake-up has come already (`Token::Notified`);
//! otherwise sets `Token::Parked` and suspends, as in the first walk, but for this: it is in no queue.
//!
//! **The worker polls.** After a round it calls `Worker::poll`: messages, timers, then descriptors. If nobody can
//! run, `Worker::sleep` says so to the other threads (`Mailbox::fall_asleep`), looks for work a last time, and waits in
//! `Reactor::poll` until an event, the next timer or the bell: epoll_wait(2), `Epoll::wait`.
//!
//! **The bytes come.** `Reactor::dispatch` finds the source by the event's key (`Table::get`; a key from before the
//! descriptor was closed finds nothing). `Record::signal` counts the event (`Side::count`), takes the coroutine from its
//! seat (`Seats::take`) and calls `Home::wake`: the token becomes `Empty`, and `Home::enqueue` puts the context into the
//! run queue. (To wake a coroutine of another worker, `park::tell` sends a message: `Mailbox::send`, a ring of
//! the bell if that worker sleeps, and there `Home::obey`, which calls the same `Home::wake`.)
//!
//! **It tries again.** `Worker::round` takes it, and `Context::suspend` returns in `park_coroutine`. `Pollable::sleep` sees
//! by the count that an event has come (`Source::is_over`), and the loop calls recv(2) once more: *n* bytes. Fewer than
//! there was room for, so the socket is empty now: `Side::spend_short` says so, and the next read waits without asking
//! the kernel in vain. The cost of such a read: one recv(2), two stack switches, and a share of an epoll_wait(2).
//!
//! # Known limits
//!
//! **Thread-locals are the worker's, not the coroutine's.** All coroutines of a worker share them. A `RefCell` in one,
//! borrowed across a yield, panics in a neighbour; worse is this pattern, which *is unsound under any stackful
//! coroutines*, ours too: keep a pointer to a value on the stack in a thread-local, and restore the previous one on
//! return (the crate scoped-tls does, and others in its manner).
//!
//! ```text
//!   A                                    B                              the thread-local
//!   set(&a), keeps the previous: null                                   &a
//!   yields                               set(&b), keeps &a              &b
//!   returns: restores null, a is gone    yields                         null: B's own is missed
//!                                        returns: restores &a           &a, which is gone
//! ```
//!
//! The compiler cannot see it: no `unsafe` of yours is involved. Do not yield or wait inside such a scope. For your
//! own, use [`coroutine_local!`], which each coroutine has for itself.
//!
//! **A [`std::sync::Mutex`] held across a yield or wait**: the next coroutine of this worker that locks it blocks the
//! *thread*, and with it the one that would unlock it, a deadlock. Unlock first. One that is held when its coroutine
//! is cancelled is poisoned, as by a panic. While some coroutine waits in a destructor in the middle of an
//! unwinding, `std::thread::panicking()` is true for its neighbours on the thread: a lock that one of them
//! releases may be poisoned for nothing, and a true poisoning be missed.
//!
//! **Cancellation unwinds**, from a yield or a wait, like a panic without a message:
//!
//! - a `std::io::BufWriter` cancelled inside a write drops what it holds;
//! - what it unwinds through is left as by a panic: a library that has prepared its buffer for a read may find it
//!   spoilt afterwards. To go on with such an object, bound each wait by `set_read_timeout`, which is an error;
//! - frames of C cannot be unwound: a raise that would cross an `extern "C"` function, in a callback say, aborts the
//!   process. [`coroutine::shield`] holds it off;
//! - a panic in a destructor while it runs aborts, as it does everywhere in Rust;
//! - a `catch_unwind` may swallow it: it is raised again at the next yield or wait. Whoever goes on doing that is
//!   reported by name at the end of [`run`], after the [grace period](Builder::grace), and leaked.
//!
//! **`panic = "abort"`**: nothing can be unwound. `cancel` and `timeout` panic, saying so, and what still waits at the
//! end of [`run`] is leaked, with a report of how many.
//!
//! **A panic hook** does not suspend: a yield in it does nothing, a wait blocks the thread. That holds of the hook that was
//! set when the first [`Runtime`] was built. One that is set later must not yield or wait: the others would run in its
//! middle, where std ends the process if one of them panics, and a cancellation may be raised in it, instead of the panic.
//!
//! **Generators.** One that suspends itself by its own `y.suspend(..)` in a destructor, in the middle of an unwinding, and is
//! dropped then, or does so while it is being dropped, cannot be unwound: it is leaked, with a report, and
//! `std::thread::panicking()` stays true on its thread.
//!
//! **Nobody is preempted.** A coroutine that computes without a yield, or blocks its thread (a file or a name look-up of
//! std's, `std::thread::sleep`), keeps all others of its worker waiting; of
//! those that have not started and came by [`spawn`], other workers help themselves. See [`spawn_blocking`] and [`fs`]. A
//! debug build [says on stderr](observe::stall) who does that, and where.
//!
//! **Stacks do not grow.** 64 KiB is the default, 32 KiB the least; [`Builder::stack_size`] and
//! [`coroutine::Builder::stack_size`] set it. An overflow is reported by name on stderr, and ends the process
//! (SIGABRT). Foreign code that was compiled without stack probes can step over the guard with a frame larger than it,
//! silently: make [`Builder::guard_size`] larger than the largest such frame.
//!
//! **Memory is taken as stacks are touched**, not as they are had. A crowd that touches more than there is meets the
//! kernel's out-of-memory killer, not an error; [`Builder::max_coroutines`] is the bound to set before.
//!
//! **A forked child** cannot use the runtime of its parent: it panics, saying so. Start programs by
//! [`std::process::Command`], or fork before the first runtime.
//!
//! **Destructors of thread-locals** run when a thread ends, and on top of whatever calls [`std::process::exit`]. Whoever
//! was suspended before the first of them may have borrowed, by [`LocalKey::with`](std::thread::LocalKey::with), what it
//! destroys. So once a thread-local is gone that was in use when a generator or a coroutine was last suspended, the
//! generator cannot be resumed, nor the [`Runtime`] of the coroutine be run; nor can, in a process that ends by
//! an `exit` in a coroutine, a destructor yield or wait. That is a panic, which in a destructor of a thread-local aborts
//! the process with its text. Dropped there, a generator is leaked, and of a runtime the coroutines that are left, with a
//! report. With another C library than glibc, every resume of a suspended generator pays for that by a walk of the stack.
//!
//! **Linux only**: epoll, eventfd, madvise. x86_64 and aarch64 are known; elsewhere an overflow is told by the fault's
//! address alone.
#![warn(clippy::all)]

pub mod blocking;
pub mod channel;
mod context;
pub mod coroutine;
mod debugger;
pub mod fs;
pub mod future;
pub mod generator;
mod home;
mod id;
mod idle;
mod injector;
mod interrupts;
pub mod io;
pub mod local;
mod lock;
mod mailbox;
pub mod net;
pub mod observe;
mod park;
mod pollable;
pub mod process;
mod reactor;
mod recorder;
mod run_queue;
mod runtime;
mod scope;
mod seam;
pub mod signal;
mod stack;
pub mod sync;
mod sys;
mod task;
mod threads;
pub mod time;
mod timer;
mod together;
mod wait;
mod worker;

pub use crate::blocking::spawn_blocking;
pub use crate::coroutine::{spawn, spawn_local, yield_now};
pub use crate::observe::Metrics;
pub use crate::runtime::{Builder, Runtime, WORKERS_MAX, run};
pub use crate::scope::scope;

/// The examples of the README, compiled and run with the tests.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct ReadmeDoctests;
