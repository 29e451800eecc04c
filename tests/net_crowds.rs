//! Ten thousand connections at a time: idle beside one that is not, and all at once.
//!
//! A process may seldom have twice as many descriptors, so server and clients are two:
//!
//! ```text
//!   test ── starts ──► itself: the server, with its limit raised ── starts ──► itself: the clients
//! ```

mod net_support;

use std::env;
use std::io::{self, Read, Write};
use std::net::{self, SocketAddr};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use net_support::*;
use runtime::Builder;
use runtime::net::TcpStream;
use runtime::process::Command;

const CROWD: usize = 10_000;
/// What a process has open beside the crowd.
const BESIDE: u64 = 200;
/// In the clients' process: where the server is.
const SERVER: &str = "NET_CROWDS_SERVER";
/// They take all there is of the machine.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// Plays this process's part of `test`: the clients', the server's, or that of whoever starts them.
fn play(test: &str, server: fn(), clients: fn(SocketAddr)) {
    if let Ok(address) = env::var(SERVER) {
        return clients(address.parse().unwrap());
    }
    let hard = raise_limit();
    if hard < CROWD as u64 + BESIDE {
        println!("skipped: RLIMIT_NOFILE allows no more than {hard} descriptors");
        return;
    }
    let _turn = ONE_AT_A_TIME.lock();
    in_own_process(test, server);
}

/// Has this process, and those it starts, open as many descriptors as it may; returns their number.
fn raise_limit() -> u64 {
    // SAFETY: all zeroes are limits; the kernel writes, then reads them, during the calls.
    unsafe {
        let mut limits: libc::rlimit = std::mem::zeroed();
        assert_eq!(libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limits), 0);
        limits.rlim_cur = limits.rlim_max;
        assert_eq!(libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limits), 0);
        limits.rlim_max
    }
}

/// Has `answer` talk on every connection, each in a coroutine of its own, until the clients of `test` have ended, well.
fn serve(test: &'static str, answer: fn(TcpStream) -> io::Result<()>) {
    let (listener, address) = listener();
    let acceptor = runtime::spawn(move || {
        for stream in listener.into_incoming() {
            let stream = stream.unwrap();
            runtime::spawn(move || answer(stream));
        }
    });
    let clients = Command::new(env::current_exe().unwrap())
        .args(["--exact", test, "--test-threads", "1", "--nocapture"])
        .env(SERVER, address.to_string())
        .status();
    assert!(clients.unwrap().success());
    acceptor.cancel();
}

const AT_ONCE: &str = "ten_thousand_connections_are_echoed_at_once";

#[test]
fn ten_thousand_connections_are_echoed_at_once() {
    play(
        AT_ONCE,
        || {
            raise_limit();
            runtime::run(|| serve(AT_ONCE, echo));
        },
        |address| {
            raise_limit();
            runtime::run(|| {
                let clients: Vec<_> = (0..CROWD)
                    .map(|id| runtime::spawn(move || TcpStream::connect(address).map(|s| (id, s))))
                    .collect();
                // All are connected before the first says anything.
                let connected: Vec<_> = clients
                    .into_iter()
                    .map(|one| one.join().unwrap().unwrap())
                    .collect();
                let talking: Vec<_> = connected
                    .into_iter()
                    .map(|(id, stream)| runtime::spawn(move || talk(id, stream)))
                    .collect();
                talking.into_iter().for_each(|one| one.join().unwrap());
            });
        },
    );
}

fn talk(id: usize, mut stream: TcpStream) {
    for round in 0..3u64 {
        let mut message = [0; 64];
        message[..8].copy_from_slice(&id.to_le_bytes());
        message[8..16].copy_from_slice(&round.to_le_bytes());
        stream.write_all(&message).unwrap();
        expect(&stream, &message);
    }
    // A reset leaves no port occupied for a minute, as 10,000 orderly ends do.
    stream.set_linger(Some(Duration::ZERO)).unwrap();
}

const IDLE: &str = "so11_ten_thousand_idle_connections_take_no_turns_of_an_active_one";

/// The turns that the server's coroutines have had.
static TURNS: AtomicU64 = AtomicU64::new(0);

/// What asks for their number.
const TURNS_PLEASE: &[u8] = b"?";

/// An echo, but for the one question.
fn count_or_echo(mut stream: TcpStream) -> io::Result<()> {
    let mut buffer = [0; 4096];
    loop {
        let got = match stream.read(&mut buffer)? {
            0 => return Ok(()),
            got => &buffer[..got],
        };
        if got == TURNS_PLEASE {
            stream.write_all(&TURNS.load(Ordering::Relaxed).to_le_bytes())?;
        } else {
            stream.write_all(got)?;
        }
    }
}

#[test]
fn so11_ten_thousand_idle_connections_take_no_turns_of_an_active_one() {
    play(
        IDLE,
        || {
            raise_limit();
            let runtime = Builder::new().embedded(true).build().unwrap();
            let serving = runtime.spawn(|| serve(IDLE, count_or_echo));
            while !serving.is_finished() {
                wait_readable(&runtime, runtime.next_deadline());
                TURNS.fetch_add(runtime.run_ready() as u64, Ordering::Relaxed);
            }
            serving.join().unwrap();
        },
        |address| {
            raise_limit();
            let connect = || net::TcpStream::connect(address).unwrap();
            let active = connect();
            active.set_nodelay(true).unwrap();
            let turns = |mut stream: &net::TcpStream| {
                let mut count = [0; 8];
                stream.write_all(TURNS_PLEASE).unwrap();
                stream.read_exact(&mut count).unwrap();
                u64::from_le_bytes(count)
            };
            let ask = || {
                let before = turns(&active);
                let p99 = p99(&active);
                (turns(&active) - before, p99)
            };
            let (alone, p99_alone) = ask();
            let mut idle: Vec<_> = (0..CROWD).map(|_| connect()).collect();
            // Accepted in order, so all are when the last is answered; and none has been forgotten.
            let last = idle.last_mut().unwrap();
            last.write_all(b"x").unwrap();
            expect(&*last, b"x");
            let (crowded, p99_crowded) = ask();
            // The times are for who reads this. On a machine where others run they prove nothing.
            println!(
                "{REQUESTS} requests: {alone} turns alone, {crowded} beside {CROWD}; p99 {p99_alone:?}, {p99_crowded:?}"
            );
            // A turn for each. Those of the call of `run_ready` that answers are not counted yet: it makes so many at most.
            let uncounted = 1024;
            for turns in [alone, crowded] {
                assert!(turns.abs_diff(REQUESTS) <= uncounted, "{turns} turns");
            }
            for stream in idle.iter_mut().step_by(1000) {
                stream.write_all(b"y").unwrap();
                expect(&*stream, b"y");
            }
            idle.iter().for_each(reset_on_close);
        },
    );
}

const BATCHES: u64 = 10;
const REQUESTS: u64 = BATCHES * 200;

/// The 99th percentile of a request's time; of several batches the best.
fn p99(mut stream: &net::TcpStream) -> Duration {
    let mut request = || -> io::Result<Duration> {
        let (begun, mut answer) = (Instant::now(), [0; 64]);
        stream.write_all(&[7; 64])?;
        stream.read_exact(&mut answer)?;
        Ok(begun.elapsed())
    };
    let batch = |_| {
        let mut times: Vec<_> = (0..REQUESTS / BATCHES)
            .map(|_| request().unwrap())
            .collect();
        times.sort();
        times[times.len() * 99 / 100]
    };
    (0..BATCHES).map(batch).min().unwrap()
}

#[test]
fn so10_what_comes_a_byte_at_a_time_is_answered_and_keeps_nobody_waiting() {
    on_one_worker_and_on_two(|| {
        let (listener, address) = listener();
        let server = runtime::spawn(move || {
            let serving: Vec<_> = listener
                .incoming()
                .take(2)
                .map(|stream| runtime::spawn(move || echo(stream.unwrap())))
                .collect();
            serving
                .into_iter()
                .for_each(|one| one.join().unwrap().unwrap());
        });
        // One that sends a byte whenever another has had an answer.
        let [mut slow, mut fast] = [(); 2].map(|()| net::TcpStream::connect(address).unwrap());
        let clients = std::thread::spawn(move || {
            for byte in b"a line, a byte at a time" {
                slow.write_all(&[*byte]).unwrap();
                fast.write_all(b"whole").unwrap();
                expect(&fast, b"whole");
            }
            expect(&slow, b"a line, a byte at a time");
        });
        server.join().unwrap();
        clients.join().unwrap();
    });
}
