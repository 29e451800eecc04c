//! What a process has once: the stock of mailboxes, and the panic hook that notes who unwinds.

use crate::home;
use crate::mailbox::Mailbox;
use crate::seam::sync::{Once, real};
use crate::task::Message;

/// The mailboxes of a runtime, from the stock of the process; see `mailbox` for why they are never freed.
pub(super) struct Mailboxes(pub(super) Vec<&'static Mailbox<Message>>);

/// Those that no runtime uses.
static STOCK: real::Mutex<Vec<&'static Mailbox<Message>>> = real::Mutex::new(Vec::new());

impl Mailboxes {
    pub(super) fn take(count: usize) -> Self {
        let mut stock = STOCK.lock().unwrap_or_else(|e| e.into_inner());
        let kept = stock.len().saturating_sub(count);
        let mut mailboxes = stock.split_off(kept);
        mailboxes.resize_with(count, || Box::leak(Box::new(Mailbox::new())));
        Mailboxes(mailboxes)
    }

    pub(super) fn give_back(&mut self) {
        STOCK
            .lock()
            .unwrap_or_else(|e| e.into_inner())
            .append(&mut self.0);
    }
}

/// Has the panic hook note who unwinds: see `interrupts`. Once; a hook that is set later goes around it, and
/// panics are then told from a neighbour's as well as can be done without.
pub(super) fn wrap_panic_hook() {
    static ONCE: Once = Once::new();
    if std::thread::panicking() {
        return; // the hook cannot be changed now; the next runtime will
    }
    ONCE.call_once(|| {
        let previous = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| match home::current() {
            Some((_, task)) => {
                task.interrupts.mark_unwinding();
                // Until it is seen that it does not unwind any more.
                task.attract_attention();
                home::in_hook(|| previous(panic));
            }
            None => previous(panic),
        }));
    });
}
