//! Asking the workers: each looks at its own coroutines, between two turns, and the last one that does hands all of it on.
//!
//! ```text
//!   whoever asks ── Message::Do ──► worker 0: looks ─┐
//!                └─ Message::Do ──► worker 1: looks ─┴─ the last ──► then
//! ```
//!
//! Nobody waits for a worker here. One that is busy answers when it comes round to its messages; one that
//! never does keeps the question from ending, and costs nothing else.
#![forbid(unsafe_code)]

use super::sighting::{Detail, View, look};
use crate::home::{self, Shared};
use crate::seam::sync::Arc;
use crate::seam::sync::real::{Mutex, lock};
use crate::task::{Errand, Message};

/// What is done with the answers.
type Then = Box<dyn FnOnce(&Question) + Send>;

/// Under way.
pub(super) struct Question {
    state: Mutex<Pending>,
}

struct Pending {
    views: Vec<View>,
    missing: usize,
    then: Option<Then>,
}

/// Has each worker of the runtime that is on a thread look at its coroutines, and calls `then` when all have,
/// on the thread of whichever comes last. The caller's own worker looks at once.
pub(super) fn ask(shared: &Arc<Shared>, detail: Detail, then: Then) -> Arc<Question> {
    let asked: Vec<usize> = (0..shared.seats.len())
        .filter(|&index| shared.seats[index].is_occupied())
        .collect();
    let question = Arc::new(Question {
        state: Mutex::new(Pending {
            views: Vec::new(),
            missing: asked.len(),
            then: Some(then),
        }),
    });
    if asked.is_empty() {
        question.end();
    }
    let here = home::here().filter(|home| Arc::ptr_eq(&home.shared, shared));
    for index in asked {
        if here.is_some_and(|home| home.index == index) {
            question.answer(shared, &detail);
        } else {
            let (question, asked, detail) = (question.clone(), shared.clone(), detail.clone());
            let errand: Errand = Box::new(move || question.answer(&asked, &detail));
            let mailbox = shared.seats[index].mailbox;
            mailbox.send(Message::Do(Box::new(errand)));
        }
    }
    question
}

impl Question {
    /// What has been seen so far; the others need not answer any more.
    pub(super) fn take(&self) -> Vec<View> {
        let mut views = std::mem::take(&mut lock(&self.state).views);
        views.sort_by_key(|view| view.worker);
        views
    }

    /// Mailboxes are used again: another runtime's worker may come upon the question.
    fn answer(&self, shared: &Arc<Shared>, detail: &Detail) {
        let Some(home) = home::here().filter(|home| Arc::ptr_eq(&home.shared, shared)) else {
            return;
        };
        let view = look(home, detail);
        let mut state = lock(&self.state);
        state.views.push(view);
        state.missing -= 1;
        let over = state.missing == 0;
        drop(state);
        if over {
            self.end();
        }
    }

    fn end(&self) {
        let then = lock(&self.state).then.take();
        if let Some(then) = then {
            then(self);
        }
    }
}
