//! What a process has once: the stock of mailboxes, and the panic hook.

use crate::home;
use crate::mailbox::Mailbox;
use crate::observe::trace::flight::report_after_panic;
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

/// Sees to it that nothing suspends inside the panic hook: the process would not survive another panic meanwhile.
///
/// Once: whoever sets a hook at the same time could lose it. One that is set later goes without.
pub(super) fn wrap_panic_hook() {
    static ONCE: Once = Once::new();
    if std::thread::panicking() {
        return; // the hook cannot be changed now; the next runtime will
    }
    ONCE.call_once(|| {
        let hook = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            home::in_hook(|| {
                hook(panic);
                report_after_panic();
            });
        }));
    });
}
