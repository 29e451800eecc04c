//! `select!`: a choice among a fixed list of operations, and what to do with each.
//!
//! ```text
//!   recv(r) -> v => a,  default => b        @list: one case after the other is put into brackets
//!      [recv (r) (v) (a)]  [default (b)]    @bind: each sender and receiver gets a name
//!         select among [Entry, ..]          @done: one is selected ...
//!         if 0 { let v = recv; a } else ..          ... and completed
//! ```
//!
//! A value to be sent is an expression, worked out when the send has been selected.
#![forbid(unsafe_code)]

/// Waits for the first of several operations that is ready, carries it out, and does what stands behind its arrow.
///
/// If several are ready, one at random. A send or receive is ready also when it fails because the other side is gone.
///
/// | case                        | is ready when                                                               |
/// |-----------------------------|-----------------------------------------------------------------------------|
/// | `recv(r) -> v => ..`        | there is something to receive; `v` is what [`recv`] returns                 |
/// | `send(s, value) -> r => ..` | `value` can be sent; `r` is what [`send`] returns                           |
/// | `event(e) => ..`            | the [`Event`] is set                                                        |
/// | `join(h) => ..`             | the coroutine of the [`JoinHandle`] has finished                            |
/// | `default => ..`             | no other is: the select does not wait                                       |
/// | `default(duration) => ..`   | no other has been for so long                                               |
///
/// `v` and `r` are patterns. `value` is worked out only when its case is selected. Senders, receivers, events and handles are
/// given as values or references, and only borrowed.
///
/// # Panics
/// Unwinds if the coroutine is cancelled or a [`timeout`] around it passes while it waits; nothing was sent or received then.
/// Without a case that could ever be ready it waits for ever.
///
/// ```
/// use runtime::{channel::{bounded, unbounded}, select, time::Duration};
///
/// runtime::run(|| {
///     let (jobs, input) = unbounded();
///     let (output, results) = bounded(0);
///     jobs.send(6).unwrap();
///     let worker = runtime::spawn(move || {
///         let job: u32 = input.recv().unwrap();
///         select! {
///             send(output, job * 7) -> sent => sent.is_ok(),
///             recv(input) -> next => next.is_ok(),
///         }
///     });
///     select! {
///         recv(results) -> result => assert_eq!(result, Ok(42)),
///         default(Duration::from_secs(9)) => panic!("no result"),
///     }
///     assert!(worker.join().unwrap());
/// });
/// ```
///
/// [`recv`]: crate::channel::Receiver::recv
/// [`send`]: crate::channel::Sender::send
/// [`Event`]: crate::sync::Event
/// [`JoinHandle`]: crate::coroutine::JoinHandle
/// [`timeout`]: crate::time::timeout
#[macro_export]
macro_rules! select {
    ($($cases:tt)*) => {
        $crate::__select!(@list false [] [] $($cases)*)
    };
}

/// As [`select!`](crate::select), but of several that are ready the one that stands first is selected.
///
/// ```
/// use runtime::{channel::unbounded, select_biased};
///
/// let (urgent, first) = unbounded();
/// let (other, second) = unbounded();
/// other.send(2).unwrap();
/// urgent.send(1).unwrap();
/// let got = select_biased! {
///     recv(first) -> value => value,
///     recv(second) -> value => value,
/// };
/// assert_eq!(got, Ok(1));
/// ```
#[macro_export]
macro_rules! select_biased {
    ($($cases:tt)*) => {
        $crate::__select!(@list true [] [] $($cases)*)
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __select {
    // ---- The list: biased? [cases] [default] what is left -------------------------------------------------
    (@list $biased:tt [] []) => {
        ::std::compile_error!("empty `select!` block")
    };
    (@list $biased:tt [$($cases:tt)*] $default:tt) => {
        $crate::__select!(@bind $biased [] $default (0) $($cases)*)
    };
    (@list $biased:tt $cases:tt $default:tt recv($receiver:expr $(,)?) -> $result:pat => $($rest:tt)*) => {
        $crate::__select!(@body $biased $cases $default {recv ($receiver) () ($result)} $($rest)*)
    };
    (@list $biased:tt $cases:tt $default:tt send($sender:expr, $value:expr $(,)?) -> $result:pat => $($rest:tt)*) => {
        $crate::__select!(@body $biased $cases $default {send ($sender) ($value) ($result)} $($rest)*)
    };
    (@list $biased:tt $cases:tt $default:tt event($event:expr $(,)?) => $($rest:tt)*) => {
        $crate::__select!(@body $biased $cases $default {event ($event) () (_)} $($rest)*)
    };
    (@list $biased:tt $cases:tt $default:tt join($handle:expr $(,)?) => $($rest:tt)*) => {
        $crate::__select!(@body $biased $cases $default {join ($handle) () (_)} $($rest)*)
    };
    (@list $biased:tt $cases:tt [] default $(())? => $($rest:tt)*) => {
        $crate::__select!(@body $biased $cases [] {default () () (_)} $($rest)*)
    };
    (@list $biased:tt $cases:tt [] default($duration:expr $(,)?) => $($rest:tt)*) => {
        $crate::__select!(@body $biased $cases [] {default ($duration) () (_)} $($rest)*)
    };
    (@list $biased:tt $cases:tt [$($default:tt)+] default $($rest:tt)*) => {
        ::std::compile_error!("there can be only one `default` case in a `select!` block")
    };
    (@list $biased:tt $cases:tt $default:tt $kind:ident $arguments:tt => $($rest:tt)*) => {
        ::std::compile_error!(::std::concat!(
            "expected `->` after `", ::std::stringify!($kind), "` case, found `=>`"
        ))
    };
    (@list $biased:tt $cases:tt $default:tt $($rest:tt)*) => {
        ::std::compile_error!(::std::concat!(
            "expected `recv(receiver) -> pattern => ..`, `send(sender, value) -> pattern => ..`, `event(event) => ..`, \
             `join(handle) => ..`, `default => ..` or `default(duration) => ..`, found `",
            ::std::stringify!($($rest)*), "`"
        ))
    };

    // ---- The body of a case: up to a comma, or a block -----------------------------------------------------
    (@body $biased:tt $cases:tt $default:tt $case:tt $body:expr, $($rest:tt)*) => {
        $crate::__select!(@case $biased $cases $default $case ($body) $($rest)*)
    };
    (@body $biased:tt $cases:tt $default:tt $case:tt $body:block $($rest:tt)*) => {
        $crate::__select!(@case $biased $cases $default $case ($body) $($rest)*)
    };
    (@body $biased:tt $cases:tt $default:tt $case:tt $body:expr) => {
        $crate::__select!(@case $biased $cases $default $case ($body))
    };
    (@body $biased:tt $cases:tt $default:tt $case:tt) => {
        ::std::compile_error!("expected an expression after `=>`")
    };
    (@body $biased:tt $cases:tt $default:tt $case:tt $($rest:tt)*) => {
        ::std::compile_error!(::std::concat!(
            "expected an expression and a comma after `=>`, found `", ::std::stringify!($($rest)*), "`"
        ))
    };
    (@case $biased:tt $cases:tt [] {default ($($duration:expr)?) () (_)} $body:tt $($rest:tt)*) => {
        $crate::__select!(@list $biased $cases [($($duration)?) $body] $($rest)*)
    };
    (@case $biased:tt [$($cases:tt)*] $default:tt {$($case:tt)*} $body:tt $($rest:tt)*) => {
        $crate::__select!(@list $biased [$($cases)* [$($case)* $body]] $default $($rest)*)
    };

    // ---- Names: biased? [bound] [default] (number) what is left --------------------------------------------
    (@bind $biased:tt [$($bound:tt)*] $default:tt ($number:expr)
        [$kind:ident ($operand:expr) $value:tt $result:tt $body:tt] $($rest:tt)*) => {
        match $operand {
            ref operand => {
                let operand = $crate::__select!(@typed $kind operand);
                $crate::__select!(@bind $biased
                    [$($bound)* [$kind operand ($number) $value $result $body]] $default ($number + 1) $($rest)*)
            }
        }
    };
    (@typed recv $operand:ident) => {{
        let receiver: &$crate::channel::Receiver<_> = $operand;
        receiver
    }};
    (@typed send $operand:ident) => {{
        let sender: &$crate::channel::Sender<_> = $operand;
        sender
    }};
    (@typed event $operand:ident) => {{
        let event: &$crate::sync::Event = $operand;
        event
    }};
    (@typed join $operand:ident) => {{
        let handle: &$crate::coroutine::JoinHandle<_> = $operand;
        handle
    }};

    // ---- All is known --------------------------------------------------------------------------------------
    (@bind $biased:tt [$([$kind:ident $operand:ident ($number:expr) $value:tt $result:tt $body:tt])*] [] $count:tt) => {{
        let selected = $crate::channel::internal::select(
            &mut [$($crate::channel::internal::$kind($operand, $number)),*],
            $biased,
        );
        $crate::__select!(@complete selected $([$kind $operand ($number) $value $result $body])*)
    }};
    (@bind $biased:tt [$([$kind:ident $operand:ident ($number:expr) $value:tt $result:tt $body:tt])*]
        [($($duration:expr)?) ($default:expr)] $count:tt) => {{
        let selected = $crate::channel::internal::select_for(
            &mut [$($crate::channel::internal::$kind($operand, $number)),*],
            $biased,
            $crate::__select!(@duration $($duration)?),
        );
        match selected {
            ::std::option::Option::None => $default,
            ::std::option::Option::Some(selected) => {
                $crate::__select!(@complete selected $([$kind $operand ($number) $value $result $body])*)
            }
        }
    }};
    (@duration) => {
        ::std::option::Option::None
    };
    (@duration $duration:expr) => {
        ::std::option::Option::Some($duration)
    };

    (@complete $selected:ident) => {
        $crate::channel::internal::none_is_left($selected)
    };
    (@complete $selected:ident [$kind:ident $operand:ident ($number:expr) $value:tt ($result:pat) ($body:expr)] $($rest:tt)*) => {
        if $selected.index() == $number {
            let $result = $crate::__select!(@finish $kind $selected $operand $value);
            $body
        } else {
            $crate::__select!(@complete $selected $($rest)*)
        }
    };
    (@finish recv $selected:ident $receiver:ident ()) => {
        $selected.recv($receiver)
    };
    (@finish send $selected:ident $sender:ident ($value:expr)) => {
        $selected.send($sender, $value)
    };
    (@finish event $selected:ident $event:ident ()) => {
        ::std::mem::drop($selected)
    };
    (@finish join $selected:ident $handle:ident ()) => {
        ::std::mem::drop($selected)
    };
}

/// What `select!` is made of.
#[doc(hidden)]
pub mod internal {
    use super::super::select::patience;
    use super::super::waiting::{Entry, Patience};
    use super::super::{Receiver, SelectedOperation, Sender};
    use crate::coroutine::JoinHandle;
    use crate::sync::Event;
    use std::time::Duration;

    #[inline(always)]
    pub fn recv<T>(receiver: &Receiver<T>, index: usize) -> Entry<'_> {
        Entry::new(receiver, index, index)
    }

    #[inline(always)]
    pub fn send<T>(sender: &Sender<T>, index: usize) -> Entry<'_> {
        Entry::new(sender, index, index)
    }

    #[inline(always)]
    pub fn event(event: &Event, index: usize) -> Entry<'_> {
        Entry::new(event, index, index)
    }

    #[inline(always)]
    pub fn join<T>(handle: &JoinHandle<T>, index: usize) -> Entry<'_> {
        Entry::new(handle, index, index)
    }

    /// Waits for the first.
    #[track_caller]
    pub fn select<'a>(entries: &mut [Entry<'a>], is_biased: bool) -> SelectedOperation<'a> {
        SelectedOperation::first_of(entries, is_biased, Patience::Forever)
            .expect("a wait without end ends with something")
    }

    /// Waits for the first, no longer than `timeout`; not at all if that is none.
    #[track_caller]
    pub fn select_for<'a>(
        entries: &mut [Entry<'a>],
        is_biased: bool,
        timeout: Option<Duration>,
    ) -> Option<SelectedOperation<'a>> {
        let patience = timeout.map_or(Patience::None, patience);
        SelectedOperation::first_of(entries, is_biased, patience)
    }

    /// All cases have been looked at.
    pub fn none_is_left(selected: SelectedOperation<'_>) -> ! {
        unreachable!("a select has no case {}", selected.index())
    }
}
