//! A program written against crossbeam-channel, with another path: a pool of workers with a timeout, a tick and a stop.

#![forbid(unsafe_code)]

use runtime::channel as crossbeam_channel;

use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{
    Receiver, RecvError, RecvTimeoutError, Select, SendError, SendTimeoutError, Sender,
    TryRecvError, TrySendError, after, at, bounded, never, select, select_biased, tick, unbounded,
};

fn worker(jobs: Receiver<u64>, results: Sender<(u64, u64)>, stop: Receiver<()>) -> usize {
    let mut done = 0;
    loop {
        select! {
            recv(jobs) -> job => match job {
                Ok(job) => {
                    done += 1;
                    if results.send((job, (1..=job).product())).is_err() {
                        return done;
                    }
                }
                Err(RecvError) => return done,
            },
            recv(stop) -> _ => return done,
        }
    }
}

fn program() {
    let (jobs, input) = bounded(2);
    let (output, results) = unbounded();
    let (stop, stopped) = bounded::<()>(0);
    let workers: Vec<_> = (0..3)
        .map(|_| {
            let (input, output, stopped) = (input.clone(), output.clone(), stopped.clone());
            thread::spawn(move || worker(input, output, stopped))
        })
        .collect();
    drop((input, output, stopped));
    let feeder = thread::spawn(move || (1..=20).try_for_each(|job| jobs.send(job)));
    let deadline = after(Duration::from_secs(60));
    let ticks = tick(Duration::from_millis(1));
    let (mut sum, mut count) = (0, 0);
    while count < 20 {
        select! {
            recv(results) -> result => {
                let (job, product): (u64, u64) = result.unwrap();
                assert!(product >= job);
                sum += job;
                count += 1
            }
            recv(ticks) -> instant => assert!(instant.unwrap() <= Instant::now()),
            recv(deadline) -> _ => panic!("too late"),
        }
    }
    assert_eq!(sum, 210);
    feeder.join().unwrap().unwrap();
    drop(stop);
    let done: usize = workers.into_iter().map(|it| it.join().unwrap()).sum();
    assert_eq!(done, 20);
}

#[test]
fn a_program_written_for_crossbeam_channel_runs_on_threads_and_beside_coroutines() {
    program();
    let runtime = runtime::Builder::new().workers(2).build().unwrap();
    runtime.run(|| runtime::spawn(program).join().unwrap());
}

#[test]
fn every_form_of_the_macro() {
    let (s, r) = unbounded::<String>();
    let (full, _keep) = bounded::<i32>(0);
    let absent: Option<Receiver<String>> = None;
    // Nothing is ready.
    let outcome = select! {
        recv(r) -> _ => "received",
        send(full, 1) -> _ => "sent",
        recv(absent.as_ref().unwrap_or(&never())) -> _ => "from nowhere",
        default() => "nothing",
    };
    assert_eq!(outcome, "nothing");
    let begun = Instant::now();
    select! {
        recv(&r) -> _ => unreachable!(),
        default(Duration::from_millis(2)) => {}
    }
    assert!(begun.elapsed() >= Duration::from_millis(2));
    select!(default => {});
    select! { default(Duration::from_millis(1)) => () };
    // A value that is not copied goes only if its case is selected.
    let text = String::from("text");
    select! {
        send(s, text,) -> sent => sent.unwrap(),
        recv(r,) -> _ => unreachable!(),
    }
    let mut rounds = 0;
    let got = loop {
        select! {
            recv(r) -> message => { if rounds == 0 { break message } }
            default => unreachable!(),
        }
        rounds += 1;
    };
    assert_eq!(got.as_deref(), Ok("text"));
    drop(s);
    select_biased! {
        recv(r) -> message => assert_eq!(message, Err(RecvError)),
        default => unreachable!(),
    }
    // A receiver may be moved by the case that has received from it.
    let (s, r) = unbounded();
    s.send(1).unwrap();
    select! {
        recv(r) -> message => {
            drop(r);
            assert_eq!(message, Ok(1));
        }
    }
    assert_eq!(s.send(2), Err(SendError(2)));
}

#[test]
fn errors_print_and_convert_as_there() {
    let texts = [
        SendError(1).to_string(),
        TrySendError::Full(1).to_string(),
        TrySendError::from(SendError(1)).to_string(),
        SendTimeoutError::Timeout(1).to_string(),
        SendTimeoutError::from(SendError(1)).to_string(),
        RecvError.to_string(),
        TryRecvError::Empty.to_string(),
        TryRecvError::from(RecvError).to_string(),
        RecvTimeoutError::Timeout.to_string(),
        RecvTimeoutError::from(RecvError).to_string(),
        format!("{:?} {:?}", SendError(1), TrySendError::Full(1)),
    ];
    assert_eq!(
        texts,
        [
            "sending on a disconnected channel",
            "sending on a full channel",
            "sending on a disconnected channel",
            "timed out waiting on send operation",
            "sending on a disconnected channel",
            "receiving on an empty and disconnected channel",
            "receiving on an empty channel",
            "receiving on an empty and disconnected channel",
            "timed out waiting on receive operation",
            "channel is empty and disconnected",
            "SendError(..) Full(..)",
        ]
    );
    fn is_error<T: std::error::Error + Send + Sync + 'static>(_: T) {}
    is_error(SendError(1));
    is_error(crossbeam_channel::TrySelectError);
    is_error(crossbeam_channel::SelectTimeoutError);
    is_error(crossbeam_channel::TryReadyError);
    is_error(crossbeam_channel::ReadyTimeoutError);
}

#[test]
fn handles_are_what_they_are_there() {
    fn is_shared<T: Send + Sync + std::panic::UnwindSafe + std::panic::RefUnwindSafe>(_: &T) {}
    let (s, r) = bounded::<std::cell::Cell<u8>>(1);
    is_shared(&s);
    is_shared(&r);
    assert_eq!(format!("{s:?} {r:?}"), "Sender { .. } Receiver { .. }");
    let mut select = Select::new();
    select.recv(&r);
    assert!(select.clone().try_select().is_err());
    fn is_send<T: Send + Sync>(_: &T) {}
    is_send(&select);
    assert!(s.same_channel(&s.clone()) && r.same_channel(&r.clone()));
    assert!(!never::<u8>().same_channel(&unbounded().1) && never::<u8>().same_channel(&never()));
    let when = Instant::now();
    assert_eq!(at(when).into_iter().next(), Some(when));
}
