//! SIGQUIT: who cannot ask a program from inside presses Ctrl-\ and gets a dump of all runtimes on standard error.
//!
//! A thread of its own waits for the signal, so that the workers may be as busy, or as stuck, as they like.
#![forbid(unsafe_code)]

use std::io::{self, Write};
use std::os::fd::AsFd;

use super::registry;
use crate::seam::sync::real::{Mutex, atomic::Ordering, lock};
use crate::sys::signal::SIGQUIT;
use crate::sys::signal_watch::Watch;
use crate::sys::socket;
use crate::threads::HELPERS;

/// Sees to it that a SIGQUIT writes a dump, from now on.
///
/// # Errors
/// `EMFILE`, `EAGAIN`: no descriptor or no thread is left.
pub(crate) fn install() -> io::Result<()> {
    static INSTALLED: Mutex<bool> = Mutex::new(false);
    let mut installed = lock(&INSTALLED);
    if !*installed {
        let watch = Watch::new([SIGQUIT].into_iter())?;
        let thread = std::thread::Builder::new().name("runtime-sigquit".into());
        thread.spawn(move || serve(&watch))?;
        HELPERS.fetch_add(1, Ordering::Relaxed);
        *installed = true;
    }
    Ok(())
}

fn serve(watch: &Watch) {
    loop {
        // A wait that fails is not worth a report of its own: the next one tells.
        let _ = socket::wait(watch.as_fd(), false, None);
        if watch.take() != 0 {
            let dump = super::dump::of(&registry::all());
            let text = format!("SIGQUIT: {} coroutines\n{dump}", dump.coroutines.len());
            let _ = io::stderr().write_all(text.as_bytes());
        }
    }
}
