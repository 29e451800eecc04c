//! A station: one contender's runtime on a thread of its own, set up once, that measures when asked.
//!
//! ```text
//!   contest                 station's thread
//!   time(iterations) ------> requests.start() -> Some(1)       one lap to warm caches up, not timed
//!                            requests.finish()
//!                            requests.start() -> Some(laps)    the clock runs
//!                            requests.finish()
//!             <------------  duration of `iterations`
//! ```
//!
//! Between two requests the thread sleeps in a channel of std, and the whole runtime on it with it. So
//! contenders take turns within milliseconds, while a million coroutines are set up only once.
#![forbid(unsafe_code)]

use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

/// The outside: asks for measurements.
pub struct Station {
    orders: Option<Sender<u64>>,
    answers: Receiver<Duration>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Station {
    /// Starts a thread that runs `contender`, which serves [`Requests`] until there are none.
    /// One of its laps makes `per_lap` iterations.
    pub fn open(per_lap: usize, contender: impl FnOnce(Requests) + Send + 'static) -> Self {
        let (orders, inbox) = channel();
        let (outbox, answers) = channel();
        let requests = Requests {
            inbox,
            outbox,
            per_lap: per_lap as u64,
            laps_made: 0,
            order: None,
        };
        let thread = thread::spawn(move || contender(requests));
        Station {
            orders: Some(orders),
            answers,
            thread: Some(thread),
        }
    }

    /// How long `iterations` take; whole laps are run, and the time is scaled to what was asked.
    pub fn time(&mut self, iterations: u64) -> Duration {
        let orders = self.orders.as_ref().expect("open until dropped");
        orders
            .send(iterations)
            .expect("the contender serves until it is told to stop");
        self.answers
            .recv()
            .expect("the contender answers each request")
    }
}

impl Drop for Station {
    fn drop(&mut self) {
        drop(self.orders.take());
        let ended = self.thread.take().expect("joined once").join();
        // A second panic would abort and hide the first.
        if ended.is_err() && !thread::panicking() {
            panic!("a contender failed");
        }
    }
}

/// The inside: what a contender is asked to do.
pub struct Requests {
    inbox: Receiver<u64>,
    outbox: Sender<Duration>,
    per_lap: u64,
    laps_made: u64,
    order: Option<Order>,
}

struct Order {
    iterations: u64,
    laps: u64,
    warm: bool,
    since: Instant,
}

impl Requests {
    /// The number of laps to make now, until there is nothing more to measure.
    pub fn start(&mut self) -> Option<u64> {
        let order = match self.order.as_mut() {
            Some(order) => order,
            None => {
                let iterations = self.inbox.recv().ok()?;
                let laps = iterations.div_ceil(self.per_lap).max(1);
                self.order.insert(Order {
                    iterations,
                    laps,
                    warm: false,
                    since: Instant::now(),
                })
            }
        };
        let laps = if order.warm { order.laps } else { 1 };
        self.laps_made += laps;
        order.since = Instant::now();
        Some(laps)
    }

    /// Says that the laps are done.
    pub fn finish(&mut self) {
        self.finish_counted(|laps, per_lap| laps * per_lap);
    }

    /// Says so where a lap may hold more or less than it should: `made` counts the iterations, while the
    /// clock is stopped.
    pub fn finish_counted(&mut self, made: impl FnOnce(u64, u64) -> u64) {
        let order = self.order.as_mut().expect("finish follows start");
        if !order.warm {
            order.warm = true;
            return;
        }
        let elapsed = order.since.elapsed();
        let made = made(order.laps, self.per_lap) as f64;
        let time = elapsed.mul_f64(order.iterations as f64 / made);
        self.order = None;
        // Nobody listens any more when the contest failed meanwhile; that failure is the one to show.
        let _ = self.outbox.send(time);
    }

    /// Serves all requests with a lap that is an ordinary function.
    pub fn serve(mut self, mut lap: impl FnMut()) {
        while let Some(laps) = self.start() {
            for _ in 0..laps {
                lap();
            }
            self.finish();
        }
    }

    /// Laps made so far, the ones to warm up included.
    pub fn laps_made(&self) -> u64 {
        self.laps_made
    }
}
