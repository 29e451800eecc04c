//! All runtimes of the process, for reports that are asked for from outside.
#![forbid(unsafe_code)]

use crate::home::Shared;
use crate::seam::sync::Arc;
use crate::seam::sync::real::{Mutex, lock};

static RUNTIMES: Mutex<Vec<Arc<Shared>>> = Mutex::new(Vec::new());

/// Takes in a runtime that has been built.
pub(crate) fn enter(shared: &Arc<Shared>) {
    lock(&RUNTIMES).push(shared.clone());
}

/// Forgets one that goes.
pub(crate) fn leave(shared: &Arc<Shared>) {
    lock(&RUNTIMES).retain(|it| !Arc::ptr_eq(it, shared));
}

/// Those that are there.
pub(super) fn all() -> Vec<Arc<Shared>> {
    lock(&RUNTIMES).clone()
}
