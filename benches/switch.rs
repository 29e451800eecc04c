//! Handing control to a partner by name: a generator's resume and suspend, and park and unpark back and forth.
//!
//! ```text
//!   driver: hand(ball) ; wait          partner: wait ; hand(ball) back        one lap = 2 hand-overs
//! ```
//!
//! `yield` shows the switch when everybody is runnable; here the partner sleeps until it is named. The raw
//! pair is the floor: a resume and a suspend hand control over twice, so one hand-over is half a pair.
//!
//! `cargo bench --bench switch`, or with `-- switch/generator` one of the two.
#![deny(unsafe_code)]

mod common;

use std::hint::black_box;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Instant;

use runtime::generator::{Generator, GeneratorState};

use common::report::Target::Open;
use common::{Bench, Contest, NS, Station, peers};

fn main() {
    let mut bench = Bench::new();
    if bench.selects("switch/generator") {
        resume(&mut bench, "switch/generator");
    }
    if bench.selects("switch/park_unpark") {
        hand_over(&mut bench, "switch/park_unpark");
    }
    bench.finish();
}

/// A resume and the suspend that answers it: what the runtime's generator adds to the raw pair.
fn resume(bench: &mut Bench, title: &str) {
    let mut generator = Generator::<(), (), ()>::new(|yielder, ()| {
        loop {
            yielder.suspend(());
        }
    });
    let contest = Contest::new(title, NS, "resume and suspend")
        .with("ours", move |pairs| {
            let start = Instant::now();
            for _ in 0..pairs {
                assert_eq!(black_box(generator.resume(())), GeneratorState::Yielded(()));
            }
            start.elapsed()
        })
        .with("raw pair", peers::raw_pair());
    let Some(table) = contest.run(bench) else {
        return;
    };
    bench.report.ratio(&table, "ours", "raw pair", Open);
}

fn hand_over(bench: &mut Bench, title: &str) {
    let mut raw = peers::raw_pair();
    let contest = Contest::new(title, NS, "hand-over")
        .station("ours", ours())
        .with("raw half pair", move |switches| raw(switches) / 2)
        .station("tokio", tokio())
        .station("may", may())
        .station("threads", threads());
    let Some(table) = contest.run(bench) else {
        return;
    };
    for peer in ["raw half pair", "tokio", "may", "threads"] {
        bench.report.ratio(&table, "ours", peer, Open);
    }
}

/// Who has the ball. A park may return early, so each side looks here before it goes on.
#[derive(Default)]
struct Ball(AtomicU8);

const DRIVER: u8 = 0;
const PARTNER: u8 = 1;
const NOBODY: u8 = 2;

impl Ball {
    fn give(&self, to: u8) {
        // Release: pairs with the Acquire in `holder`, for the thread that plays on another CPU.
        self.0.store(to, Ordering::Release);
    }

    fn holder(&self) -> u8 {
        // Acquire: pairs with the Release in `give`.
        self.0.load(Ordering::Acquire)
    }
}

fn ours() -> Station {
    use runtime::coroutine;

    Station::open(2, |requests| {
        runtime::run(move || {
            let ball = Arc::new(Ball::default());
            let introduced = Arc::new(OnceLock::new());
            let driver = coroutine::current();
            let partner = coroutine::spawn({
                let (ball, introduced) = (Arc::clone(&ball), Arc::clone(&introduced));
                move || {
                    let _ = introduced.set(coroutine::current());
                    while ball.holder() != NOBODY {
                        if ball.holder() == PARTNER {
                            ball.give(DRIVER);
                            driver.unpark();
                        }
                        coroutine::park();
                    }
                }
            });
            while introduced.get().is_none() {
                coroutine::yield_now();
            }
            let other = introduced.get().expect("the partner has just set it");
            requests.serve(|| {
                ball.give(PARTNER);
                other.unpark();
                while ball.holder() != DRIVER {
                    coroutine::park();
                }
            });
            ball.give(NOBODY);
            other.unpark();
            partner.join().expect("the partner does not panic");
        });
    })
}

/// A task cannot be unparked by name; its nearest is a `Notify` for each side.
fn tokio() -> Station {
    use tokio::sync::Notify;

    Station::open(2, |mut requests| {
        let driver = async move {
            let ball = Arc::new(Ball::default());
            let [to_driver, to_partner] = [(); 2].map(|()| Arc::new(Notify::new()));
            let partner = tokio::spawn({
                let (ball, to_driver, to_partner) = (
                    Arc::clone(&ball),
                    Arc::clone(&to_driver),
                    Arc::clone(&to_partner),
                );
                async move {
                    while ball.holder() != NOBODY {
                        if ball.holder() == PARTNER {
                            ball.give(DRIVER);
                            to_driver.notify_one();
                        }
                        to_partner.notified().await;
                    }
                }
            });
            while let Some(laps) = requests.start() {
                for _ in 0..laps {
                    ball.give(PARTNER);
                    to_partner.notify_one();
                    while ball.holder() != DRIVER {
                        to_driver.notified().await;
                    }
                }
                requests.finish();
            }
            ball.give(NOBODY);
            to_partner.notify_one();
            partner.await.expect("the partner does not panic");
        };
        peers::tokio_current_thread().block_on(async {
            tokio::spawn(driver)
                .await
                .expect("the driver does not panic")
        });
    })
}

fn may() -> Station {
    use may::coroutine;

    peers::may_one_worker();
    Station::open(2, |requests| {
        let driver = may::go!(move || {
            let ball = Arc::new(Ball::default());
            let driver = coroutine::current();
            let partner = may::go!({
                let ball = Arc::clone(&ball);
                move || {
                    while ball.holder() != NOBODY {
                        if ball.holder() == PARTNER {
                            ball.give(DRIVER);
                            driver.unpark();
                        }
                        coroutine::park();
                    }
                }
            });
            requests.serve(|| {
                ball.give(PARTNER);
                partner.coroutine().unpark();
                while ball.holder() != DRIVER {
                    coroutine::park();
                }
            });
            ball.give(NOBODY);
            partner.coroutine().unpark();
            partner.join().expect("the partner does not panic");
        });
        driver.join().expect("the driver does not panic");
    })
}

fn threads() -> Station {
    Station::open(2, |requests| {
        let ball = Arc::new(Ball::default());
        let driver = thread::current();
        let partner = thread::spawn({
            let ball = Arc::clone(&ball);
            move || {
                while ball.holder() != NOBODY {
                    if ball.holder() == PARTNER {
                        ball.give(DRIVER);
                        driver.unpark();
                    }
                    thread::park();
                }
            }
        });
        requests.serve(|| {
            ball.give(PARTNER);
            partner.thread().unpark();
            while ball.holder() != DRIVER {
                thread::park();
            }
        });
        ball.give(NOBODY);
        partner.thread().unpark();
        partner.join().expect("the partner does not panic");
    })
}
