//! The reactor driven by hand: the test is kernel's peer, waiter and worker in one.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

use super::*;
use crate::seam::sync::atomic::{AtomicU64, Ordering, fence};
use crate::seam::sync::thread;
use crate::sys::epoll::Events;

const NOW: Option<Duration> = Some(Duration::ZERO);

/// A registered end of a pair, as a socket of `net` is made: the source drops first.
struct Watched {
    source: Source,
    io: UnixStream,
}

impl Watched {
    fn new(reactor: &Arc<Reactor>) -> (Self, UnixStream) {
        let (io, peer) = UnixStream::pair().unwrap();
        io.set_nonblocking(true).unwrap();
        let source = Source::new();
        source.register(io.as_fd(), reactor).unwrap();
        (Self { source, io }, peer)
    }

    /// Finds it dry, as a read that says EAGAIN would, and waits.
    fn enlist(&self, interest: Interest) -> Enlisted {
        let side = self.source.side(interest);
        side.spend(side.edges());
        self.source.enlist(interest).unwrap()
    }
}

/// A reactor whose first edges (everything is writable at first) have been taken.
fn reactor_with(count: usize) -> (Arc<Reactor>, Vec<(Watched, UnixStream)>) {
    let reactor = Reactor::new().unwrap();
    let pairs = (0..count).map(|_| Watched::new(&reactor)).collect();
    assert_eq!(reactor.poll(NOW).unwrap(), 0);
    (reactor, pairs)
}

/// What the kernel tells at this moment, not dispatched.
fn batch_of(reactor: &Reactor) -> Batch {
    let mut batch = Batch::new(16);
    reactor.epoll.wait(&mut batch, NOW).unwrap();
    batch
}

#[test]
fn re1_whoever_waits_for_a_dropped_source_is_woken_and_told() {
    let (reactor, mut pairs) = reactor_with(1);
    let (watched, _peer) = pairs.remove(0);
    let enlisted = watched.enlist(Interest::Read);
    // The waiter's own end of the record, as a borrowed descriptor's wait would have it.
    let waiter = Source::of(Arc::clone(watched.source.record()));
    assert!(!waiter.is_over(enlisted) && !waiter.is_gone());
    drop(watched);
    assert!(waiter.is_over(enlisted) && waiter.is_gone());
    assert_eq!(reactor.registrations(), 0);
}

#[test]
fn re2_stale_event_never_wakes_the_new_owner_of_the_place() {
    let (reactor, mut pairs) = reactor_with(1);
    let (old, mut peer) = pairs.remove(0);
    peer.write_all(b"for the old one").unwrap();
    let stale = batch_of(&reactor);
    assert_eq!(stale.iter().count(), 1);
    // Another thread would do this between the kernel's answer and the dispatch.
    drop((old, peer));
    let (new, _peer) = Watched::new(&reactor);
    let enlisted = new.enlist(Interest::Read);
    let mut wakes = Vec::new();
    reactor.dispatch(&stale, &mut wakes);
    assert!(wakes.is_empty() && !new.source.is_over(enlisted));
}

#[test]
fn re3_a_duplicate_that_outlives_the_socket_makes_no_more_events() {
    let (reactor, mut pairs) = reactor_with(1);
    let (watched, mut peer) = pairs.remove(0);
    let mut duplicate = watched.io.try_clone().unwrap();
    drop(watched);
    peer.write_all(b"bytes for the duplicate").unwrap();
    assert_eq!(batch_of(&reactor).iter().count(), 0);
    assert_eq!(duplicate.read(&mut [0; 64]).unwrap(), 23);
}

#[test]
fn re7_readiness_that_comes_between_eagain_and_the_wait_is_not_lost() {
    const ROUNDS: u64 = if cfg!(debug_assertions) {
        200_000
    } else {
        1_000_000
    };
    let (_reactor, pairs) = reactor_with(1);
    let source = &pairs[0].0.source;
    // Bytes sent, edges told, bytes received. One byte at a time: were its edge lost, no other
    // would make up for it.
    let (sent, told, received) = (&AtomicU64::new(0), &AtomicU64::new(0), &AtomicU64::new(0));
    thread::scope(|scope| {
        // The kernel: first the byte is there, then the edge is told.
        scope.spawn(move || {
            let mut wakes = Vec::new();
            for round in 1..=ROUNDS {
                sent.store(round, Ordering::Release);
                source.record().signal(Events::BYTES, None);
                fence(Ordering::SeqCst);
                source.record().wake_listed(Events::BYTES, &mut wakes);
                wakes.clear();
                told.store(round, Ordering::Release);
                wait_until(|| received.load(Ordering::Acquire) >= round);
            }
        });
        let side = source.side(Interest::Read);
        for round in 0..ROUNDS {
            loop {
                let edges = side.edges();
                if sent.load(Ordering::Acquire) > round {
                    break received.store(round + 1, Ordering::Release);
                }
                // The way back from the system call, on which the edge may overtake us.
                (0..round % 16).for_each(|_| std::hint::spin_loop());
                side.spend(edges);
                if let Ok(enlisted) = source.enlist(Interest::Read) {
                    wait_until(|| {
                        let all_told = told.load(Ordering::Acquire) > round;
                        let over = source.is_over(enlisted);
                        if all_told && !over {
                            received.store(ROUNDS, Ordering::Release); // lets the kernel end
                            panic!("the edge of byte {round} was lost");
                        }
                        over
                    });
                }
            }
        }
    });
}

/// Spins a little, then lets other threads have the processor.
fn wait_until(mut done: impl FnMut() -> bool) {
    for turn in 0u32.. {
        if done() {
            return;
        }
        if turn % 64 == 63 {
            thread::yield_now();
        } else {
            std::hint::spin_loop();
        }
    }
}

#[test]
fn re8_re10_a_hang_up_is_told_once_and_remembered() {
    let (reactor, mut pairs) = reactor_with(1);
    let (watched, peer) = pairs.remove(0);
    let side = watched.source.side(Interest::Read);
    side.spend(side.edges());
    drop(peer);
    // Nobody waits; the kernel tells it none the less, but one time only: no spinning.
    let told: Vec<usize> = (0..3)
        .map(|_| {
            let batch = batch_of(&reactor);
            reactor.dispatch(&batch, &mut Vec::new());
            batch.iter().count()
        })
        .collect();
    assert_eq!(told, [1, 0, 0]);
    let refusal = watched.source.enlist(Interest::Read).err();
    assert_eq!(refusal, Some(Refusal::Ready));
    // And reading up to the end does not make it look dry.
    side.spend_short(side.edges());
    assert!(!side.is_dry());
}

#[test]
fn re12_the_directions_are_independent_and_all_readers_wake() {
    let (reactor, mut pairs) = reactor_with(1);
    let (watched, mut peer) = pairs.remove(0);
    while (&watched.io).write(&[0; 65_536]).is_ok() {}
    let writer = watched.enlist(Interest::Write);
    let readers = [(); 2].map(|()| watched.enlist(Interest::Read));
    peer.write_all(b"x").unwrap();
    assert_eq!(reactor.poll(NOW).unwrap(), 2);
    assert!(readers.iter().all(|&reader| watched.source.is_over(reader)));
    assert!(!watched.source.is_over(writer));
    peer.set_nonblocking(true).unwrap();
    while peer.read(&mut [0; 65_536]).is_ok() {}
    assert_eq!(reactor.poll(NOW).unwrap(), 1);
    assert!(watched.source.is_over(writer));
}

#[test]
fn re13_an_event_for_whoever_withdrew_wakes_nobody() {
    let (reactor, mut pairs) = reactor_with(1);
    let (watched, mut peer) = pairs.remove(0);
    let enlisted = watched.enlist(Interest::Read);
    peer.write_all(b"x").unwrap();
    watched.source.withdraw(enlisted);
    assert_eq!(reactor.poll(NOW).unwrap(), 0);
    // The edge itself is not forgotten.
    assert!(!watched.source.side(Interest::Read).is_dry());
}

#[test]
fn a_ring_from_another_thread_ends_an_endless_poll() {
    let (reactor, _) = reactor_with(0);
    for _ in 0..3 {
        let ringer = Arc::clone(&reactor);
        let rings = thread::spawn(move || ringer.ring());
        assert_eq!(reactor.poll(None).unwrap(), 0);
        rings.join().unwrap();
    }
}

#[test]
fn a_closed_reactor_leaves_its_sources_homeless_and_their_waiters_awake() {
    let (reactor, pairs) = reactor_with(2);
    let watched = &pairs[0].0;
    let enlisted = watched.enlist(Interest::Read);
    assert_eq!(reactor.registrations(), 2);
    reactor.close();
    assert_eq!(reactor.registrations(), 0);
    assert_eq!(Arc::strong_count(&reactor), 1, "no source keeps it alive");
    assert!(watched.source.is_over(enlisted) && !watched.source.is_gone());

    let next = Reactor::new().unwrap();
    let side = watched.source.side(Interest::Read);
    side.spend(side.edges());
    let refusal = watched.source.enlist(Interest::Read).err();
    assert_eq!(refusal, Some(Refusal::Homeless));
    watched.source.register(watched.io.as_fd(), &next).unwrap();
    assert_eq!(next.registrations(), 1);
}

#[test]
fn what_epoll_cannot_watch_is_refused_and_leaves_no_entry() {
    let (reactor, _) = reactor_with(0);
    let file = std::fs::File::open("/proc/self/exe").unwrap();
    let error = Source::new().register(file.as_fd(), &reactor).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
    assert_eq!(reactor.registrations(), 0);
}
