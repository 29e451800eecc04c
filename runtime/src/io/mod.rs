//! Pipes, standard input, and any descriptor that can be waited for.
//!
//! | to ...                                         | call                                |
//! |------------------------------------------------|-------------------------------------|
//! | have a channel of bytes, also to a process     | [`pipe`]                            |
//! | read what the user types, or a file or pipe    | [`stdin`]                           |
//! | use a descriptor of another crate              | [`Watched`]; [`wait`] for once      |
//! | read and write one stream in two coroutines    | [`split`]                           |
//! | pass on all that comes                         | [`copy`]                            |
//!
//! All of it blocks the thread on a plain thread, and is ended by cancellation and timeouts in a coroutine, like the
//! sockets of [`net`](crate::net).
//!
//! **Descriptors that others share stay as they are.** `O_NONBLOCK` belongs to the open file, not to one descriptor
//! of it: set on the standard input of a program, it is set for the shell that started it, and for whatever runs
//! there next. So [`stdin`] and [`Watched`] never set it; they wait until the descriptor is ready, and then read or
//! write once.

#![forbid(unsafe_code)]

mod copy;
mod pipe;
mod split;
mod stdin;
mod watched;

pub use crate::reactor::Interest;
pub use copy::copy;
pub use pipe::{PipeReader, PipeWriter, pipe};
pub use split::{ReadHalf, WriteHalf, split};
pub use stdin::{Lines, Stdin, stdin};
pub use watched::{Watched, wait};
