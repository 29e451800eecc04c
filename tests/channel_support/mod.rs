//! A channel as three queues: the values in it, the senders that wait, the receivers that wait.
#![forbid(unsafe_code)]

use std::collections::VecDeque;

/// How sending or receiving ended. A value is its number, which is also that of who came with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    Sent,
    Got(usize),
    /// There was no room, or no value.
    MustWait,
    /// The other side was gone.
    Disconnected,
}
use Outcome::*;

#[derive(Default)]
pub struct Model {
    pub capacity: Option<usize>,
    pub values: VecDeque<usize>,
    /// Those who wait, first come first; senders with a value that bears their number.
    pub senders: VecDeque<usize>,
    pub receivers: VecDeque<usize>,
    /// Ends that nobody waits with.
    pub idle_senders: usize,
    pub idle_receivers: usize,
    /// Who has waited and has been told what, in this step.
    pub told: Vec<(usize, Outcome)>,
}

impl Model {
    pub fn has_room(&self) -> bool {
        self.capacity
            .is_none_or(|capacity| self.values.len() < capacity)
    }

    pub fn send(&mut self, value: usize) -> Outcome {
        if let Some(receiver) = self.receivers.pop_front() {
            self.told.push((receiver, Got(value)));
        } else if self.idle_receivers == 0 {
            return Disconnected;
        } else if self.has_room() {
            self.values.push_back(value);
        } else {
            return MustWait;
        }
        Sent
    }

    pub fn recv(&mut self) -> Outcome {
        let value = self.values.pop_front();
        if value.is_none() && self.senders.is_empty() {
            return if self.idle_senders == 0 {
                Disconnected
            } else {
                MustWait
            };
        }
        let value = value.unwrap_or_else(|| self.serve_sender());
        while self.has_room() && !self.senders.is_empty() {
            let moved = self.serve_sender();
            self.values.push_back(moved);
        }
        Got(value)
    }

    fn serve_sender(&mut self) -> usize {
        let sender = self.senders.pop_front().unwrap();
        self.told.push((sender, Sent));
        sender
    }

    /// A side that is gone is noticed by the other.
    pub fn rest(&mut self) {
        if self.idle_senders + self.senders.len() == 0 {
            let all = self.receivers.drain(..);
            self.told
                .extend(all.map(|receiver| (receiver, Disconnected)));
        }
        if self.idle_receivers + self.receivers.len() == 0 {
            self.values.clear();
            let all = self.senders.drain(..);
            self.told.extend(all.map(|sender| (sender, Disconnected)));
        }
    }
}
