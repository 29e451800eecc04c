//! The real code under the model checkers, with their threads for those who wait.
//!
//! `RUSTFLAGS="--cfg shuttle" cargo test -p runtime --lib --profile ci --target-dir target/shuttle channel::model`: many
//! random orders, among which each priority inversion of small depth is likely (PCT; Burckhardt et al., 2010). With
//! `--cfg broken_channel` beside it a value that comes too late for its receiver is lost, and the first must fail.
//!
//! `RUSTFLAGS="--cfg loom" LOOM_MAX_PREEMPTIONS=3 cargo test -p runtime --lib --release --target-dir target/loom
//! channel::model`: every order with so many preemptions, and what weak memory makes of it, of two threads.

use super::{Receiver, Sender, bounded, unbounded};

#[cfg(loom)]
use loom::{sync::Arc, sync::atomic::AtomicUsize, thread};
#[cfg(shuttle)]
use shuttle::{sync::Arc, sync::atomic::AtomicUsize, thread};

use crate::seam::sync::atomic::Ordering;

type Role = fn(Sender<usize>, Receiver<usize>) -> (usize, usize);

/// All roles at a time, each with a sender and a receiver: what they have sent they have received.
fn play(make: fn() -> (Sender<usize>, Receiver<usize>), roles: &'static [Role]) {
    let (sender, receiver) = make();
    let totals = Arc::new([AtomicUsize::new(0), AtomicUsize::new(0)]);
    let players: Vec<_> = roles
        .iter()
        .map(|role| {
            let (sender, receiver, totals) = (sender.clone(), receiver.clone(), totals.clone());
            thread::spawn(move || {
                let (sent, received) = role(sender, receiver);
                totals[0].fetch_add(sent, Ordering::AcqRel);
                totals[1].fetch_add(received, Ordering::AcqRel);
            })
        })
        .collect();
    drop(sender);
    players
        .into_iter()
        .for_each(|player| player.join().unwrap());
    let rest: usize = receiver.try_iter().sum();
    let [sent, received] = [0, 1].map(|n| totals[n].load(Ordering::Acquire));
    assert_eq!(sent, received + rest, "none is lost, none is made");
}

fn sends(sender: Sender<usize>, receiver: Receiver<usize>) -> (usize, usize) {
    drop(receiver);
    sender.send(1).unwrap();
    (1, 0)
}

/// Receives all there is, until the last sender is gone.
fn receives(sender: Sender<usize>, receiver: Receiver<usize>) -> (usize, usize) {
    drop(sender);
    (0, receiver.iter().sum())
}

fn receives_in_haste(sender: Sender<usize>, receiver: Receiver<usize>) -> (usize, usize) {
    drop(sender);
    let now = crate::seam::clock::now();
    (0, receiver.recv_deadline(now).unwrap_or(0))
}

fn selects_to_receive(sender: Sender<usize>, receiver: Receiver<usize>) -> (usize, usize) {
    drop(sender);
    let never = super::never::<usize>();
    crate::select! {
        recv(receiver) -> got => (0, got.unwrap_or(0)),
        recv(never) -> _ => unreachable!(),
    }
}

fn selects_to_send(sender: Sender<usize>, receiver: Receiver<usize>) -> (usize, usize) {
    drop(receiver);
    let never = super::never::<usize>();
    crate::select! {
        send(sender, 1) -> sent => (sent.map_or(0, |()| 1), 0),
        recv(never) -> _ => unreachable!(),
    }
}

#[cfg(shuttle)]
fn receives_and_leaves(sender: Sender<usize>, receiver: Receiver<usize>) -> (usize, usize) {
    drop(sender);
    (0, receiver.channel.recv_and_leave().unwrap_or(0))
}

fn rendezvous() -> (Sender<usize>, Receiver<usize>) {
    bounded(0)
}

fn little_room() -> (Sender<usize>, Receiver<usize>) {
    bounded(1)
}

#[cfg(shuttle)]
fn in_many_orders(make: fn() -> (Sender<usize>, Receiver<usize>), roles: &'static [Role]) {
    const SCHEDULES: usize = 20_000;
    /// Steps of which the order matters, at most.
    const DEPTH: usize = 3;
    shuttle::check_pct(move || play(make, roles), SCHEDULES, DEPTH);
}

#[cfg(loom)]
fn in_many_orders(make: fn() -> (Sender<usize>, Receiver<usize>), roles: &'static [Role]) {
    loom::model(move || play(make, &roles[..2]));
}

/// One test for each flavour and cast; of the first, whom loom takes two of.
macro_rules! plays {
    ($($name:ident: $make:ident, [$($role:ident),*];)*) => {$(
        #[test]
        fn $name() {
            in_many_orders($make, &[$($role),*]);
        }
    )*};
}

plays! {
    sc3_rendezvous: rendezvous, [sends, receives, sends, receives];
    sc3_little_room: little_room, [sends, receives, sends, receives];
    sc3_unbounded: unbounded, [sends, receives, sends, receives];
    ti5_rendezvous_in_haste: rendezvous, [sends, receives, receives_in_haste, sends];
    ti5_little_room_in_haste: little_room, [receives_in_haste, sends, receives, sends];
    sc3_rendezvous_of_selects: rendezvous, [selects_to_send, receives, selects_to_receive, sends];
    sc3_selects_with_little_room: little_room, [selects_to_send, selects_to_receive, receives, sends];
    sc3_selects_that_meet: rendezvous, [receives, selects_to_send, selects_to_receive, selects_to_send];
}

#[cfg(shuttle)]
plays! {
    sy2_rendezvous_cancelled: rendezvous, [sends, receives_and_leaves, receives, sends];
    sy2_little_room_cancelled: little_room, [sends, receives_and_leaves, receives, sends];
    sy2_unbounded_cancelled: unbounded, [sends, receives_and_leaves, receives, sends];
}
