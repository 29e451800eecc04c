//! Child processes: std's `Command`, with waits that let others run, and children that see what they were given only.

mod net_support;
mod strands_support;
mod support;

use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::sync::OnceLock;
use std::time::Duration;

use runtime::coroutine::{Cancelled, spawn, spawn_local};
use runtime::net::TcpListener;
use runtime::process::{Child, Command, Stdio};
use runtime::time::{Elapsed, sleep, timeout};
use runtime::yield_now;
use strands_support::{Tally, on_one_worker_and_on_two};
use support::{child, os, recurse};

/// In coroutines, and on a plain thread.
fn everywhere(claim: fn()) {
    on_one_worker_and_on_two(claim);
    claim();
}

fn shell(script: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", script]);
    command
}

/// A child that ends when its stdin does.
fn cat() -> Child {
    let mut command = Command::new("cat");
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    command.spawn().unwrap()
}

#[test]
fn a_command_takes_stds_settings() {
    everywhere(|| {
        let mut command = shell("echo $0 $1 $ONE $TWO; pwd; exit 3");
        command
            .args(["zero", "first"])
            .env_clear()
            .envs([("ONE", "1"), ("TWO", "2")])
            .env_remove("TWO")
            .env("PATH", "/usr/bin:/bin")
            .current_dir("/");
        let output = command.output().unwrap();
        assert_eq!(
            String::from_utf8(output.stdout).unwrap(),
            "zero first 1\n/\n"
        );
        assert_eq!(output.status.code(), Some(3));
        assert_eq!(command.get_program(), "sh");
        assert_eq!(command.get_args().last().unwrap(), "first");
        assert_eq!(shell("exit 4").status().unwrap().code(), Some(4));
    });
}

#[test]
fn a_program_that_is_not_there_is_stds_error() {
    everywhere(|| {
        let missing = Command::new("/nowhere/at/all").spawn().unwrap_err();
        assert_eq!(missing.kind(), ErrorKind::NotFound);
        assert!(
            shell("true")
                .current_dir("/nowhere/at/all")
                .status()
                .is_err()
        );
    });
}

#[test]
fn output_takes_what_nobody_has_redirected_and_leaves_the_command_as_it_was() {
    everywhere(|| {
        let mut command = shell("cat; echo out; echo err >&2");
        let output = command.output().unwrap();
        assert_eq!(
            (&*output.stdout, &*output.stderr),
            (&b"out\n"[..], &b"err\n"[..])
        );
        command.stderr(Stdio::null());
        let output = command.output().unwrap();
        assert_eq!(
            (&*output.stdout, &*output.stderr),
            (&b"out\n"[..], &b""[..])
        );
        assert!(shell("true").spawn().unwrap().stdout.is_none(), "inherited");
    });
}

#[test]
fn output_reads_both_streams_at_a_time() {
    everywhere(|| {
        // More than a pipe holds, on one stream first, on the other after.
        let floods =
            "head -c 300000 /dev/zero; head -c 300000 /dev/zero >&2; head -c 300000 /dev/zero";
        let output = shell(floods).output().unwrap();
        assert_eq!(
            (output.stdout.len(), output.stderr.len()),
            (600_000, 300_000)
        );
    });
}

#[test]
fn a_conversation_with_a_child_lets_others_run() {
    on_one_worker_and_on_two(|| {
        let mut child = cat();
        let (mut stdin, mut stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let turns = Tally::default();
        let also = turns.clone();
        let neighbour = spawn_local(move || {
            loop {
                also.add();
                yield_now();
            }
        });
        for n in 0..100_u32 {
            let mut back = [0; 4];
            stdin.write_all(&n.to_le_bytes()).unwrap();
            stdout.read_exact(&mut back).unwrap();
            assert_eq!(back, n.to_le_bytes());
        }
        neighbour.cancel();
        assert!(neighbour.join().is_err());
        assert!(turns.get() >= 100, "at each wait");
        drop(stdin);
        assert_eq!(stdout.read(&mut [0]).unwrap(), 0);
        assert!(child.wait().unwrap().success());
    });
}

#[test]
fn more_than_a_pipe_holds_goes_through_while_it_is_read() {
    everywhere(|| {
        let mut child = cat();
        let mut stdin = child.stdin.take().unwrap();
        let bytes: Vec<u8> = (0..500_000_u32).map(|n| (n % 251) as u8).collect();
        let expected = bytes.clone();
        let writes = std::thread::spawn(move || stdin.write_all(&bytes));
        let mut back = Vec::new();
        child.stdout.take().unwrap().read_to_end(&mut back).unwrap();
        assert!(back == expected);
        writes.join().unwrap().unwrap();
        child.wait().unwrap();
    });
}

#[test]
fn many_children_are_waited_for_at_once() {
    on_one_worker_and_on_two(|| {
        let children: Vec<_> = (0..20)
            .map(|n| {
                spawn(move || {
                    shell(&format!("exit {n}"))
                        .status()
                        .unwrap()
                        .code()
                        .unwrap()
                })
            })
            .collect();
        let sum: i32 = children.into_iter().map(|one| one.join().unwrap()).sum();
        assert_eq!(sum, (0..20).sum());
    });
}

#[test]
fn an_end_is_told_however_often_it_is_asked_for() {
    everywhere(|| {
        let mut child = cat();
        assert!(child.id() > 1);
        assert_eq!(child.try_wait().unwrap(), None);
        child.kill().unwrap();
        let ended = child.wait().unwrap();
        assert_eq!(ended.signal(), Some(libc::SIGKILL));
        assert_eq!(child.wait().unwrap(), ended);
        assert_eq!(child.try_wait().unwrap(), Some(ended));
        child.kill().unwrap();
        // One that has ended before anybody waits.
        let mut child = shell("exit 5").stdout(Stdio::piped()).spawn().unwrap();
        child
            .stdout
            .take()
            .unwrap()
            .read_to_end(&mut Vec::new())
            .unwrap();
        sleep(Duration::from_millis(2));
        assert_eq!(child.wait().unwrap().code(), Some(5));
    });
}

#[test]
fn a_wait_closes_the_childs_stdin_first() {
    everywhere(|| assert!(cat().wait().unwrap().success()));
}

#[test]
fn a_write_to_a_child_that_does_not_read_is_an_error() {
    everywhere(|| {
        let mut child = shell("exec <&-; echo closed; cat /dev/null")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        child
            .stdout
            .take()
            .unwrap()
            .read_to_end(&mut Vec::new())
            .unwrap();
        let broken = child.stdin.as_mut().unwrap().write_all(b"x").unwrap_err();
        assert_eq!(broken.kind(), ErrorKind::BrokenPipe);
        child.wait().unwrap();
    });
}

#[test]
fn cancellations_and_timeouts_reach_every_wait_and_the_child_goes_on() {
    on_one_worker_and_on_two(|| {
        let short = Duration::from_millis(1);
        let mut child = cat();
        // `wait` would close it, and the child end.
        let stdin = child.stdin.take().unwrap();
        assert_eq!(
            timeout(short, || child.wait().map(drop).unwrap()),
            Err(Elapsed)
        );
        let mut stdout = child.stdout.take().unwrap();
        assert!(timeout(short, || stdout.read(&mut [0])).is_err());
        let floods = timeout(short, || while (&stdin).write(&[0; 4096]).is_ok() {});
        assert_eq!(floods, Err(Elapsed));
        let reads = spawn_local(move || stdout.read_to_end(&mut Vec::new()).map(|_| stdout));
        yield_now();
        assert_eq!(child.try_wait().unwrap(), None);
        reads.cancel();
        drop(reads.join());
        drop(stdin);
        let waits = spawn_local(move || child.wait_with_output());
        sleep(short);
        waits.cancel();
        let outcome = waits.join();
        assert!(outcome.is_ok() || outcome.unwrap_err().is::<Cancelled>());
        let outcome = timeout(short, || shell("sleep 0.1").output());
        assert!(outcome.is_err());
    });
    let mut child = cat();
    let _stdin = child.stdin.take();
    let outcome = timeout(Duration::from_millis(1), || child.wait().unwrap());
    assert!(outcome.is_err(), "on a plain thread too");
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn a_pipe_of_one_child_becomes_that_of_the_next_blocking_again() {
    everywhere(|| {
        let mut first = shell("sleep 0.01; echo hello")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let between = first.stdout.take().unwrap();
        assert!(is_nonblocking(&between));
        // A `cat` whose stdin says EAGAIN would give up.
        let output = Command::new("cat").stdin(between).output().unwrap();
        assert_eq!(output.stdout, b"hello\n");
        assert!(output.status.success());
        first.wait().unwrap();
        let mut child = cat();
        let stdin = OwnedFd::from(child.stdin.take().unwrap());
        assert!(!is_nonblocking(&stdin));
        drop(stdin);
        child.wait().unwrap();
    });
}

fn is_nonblocking(fd: &impl AsFd) -> bool {
    // SAFETY: takes and returns numbers.
    let flags = unsafe { libc::fcntl(fd.as_fd().as_raw_fd(), libc::F_GETFL) };
    flags & libc::O_NONBLOCK != 0
}

#[test]
fn without_pidfds_the_end_is_looked_for() {
    let end = child().with_env("RUNTIME_FAIL", "pidfd").run(|_| {
        let before = os::descriptors();
        let mut running = cat();
        assert_eq!(os::descriptors(), before + 2, "two pipes, no pidfd");
        assert!(running.wait().unwrap().success());
        everywhere(|| {
            assert_eq!(
                shell("sleep 0.01; exit 6").status().unwrap().code(),
                Some(6)
            );
            assert_eq!(shell("echo x").output().unwrap().stdout, b"x\n");
            let mut child = cat();
            let _stdin = child.stdin.take();
            let outcome = timeout(Duration::from_millis(3), || child.wait().unwrap());
            assert!(outcome.is_err());
            child.kill().unwrap();
            assert_eq!(child.wait().unwrap().signal(), Some(libc::SIGKILL));
        });
    });
    end.returned();
}

#[test]
fn a_child_that_the_system_takes_away_is_an_error_not_a_hang() {
    let end = child().run(|_| {
        // SAFETY: nobody here handles SIGCHLD.
        unsafe { libc::signal(libc::SIGCHLD, libc::SIG_IGN) };
        everywhere(|| {
            let gone = shell("exit 0").status().unwrap_err();
            assert_eq!(gone.raw_os_error(), Some(libc::ECHILD));
        });
    });
    end.returned();
}

// ---- What a child sees ---------------------------------------------------------------------------------

#[test]
fn pr4_a_child_sees_three_descriptors_whatever_the_runtime_has_open() {
    // Those that are still open when it looks: the listing itself is over.
    const LOOKS: &str = "for f in /proc/self/fd/*; do [ -e $f ] && printf '%s ' ${f##*/}; done";
    let end = child().run(|_| {
        // Whoever runs the tests may have let more be inherited.
        let given = std::process::Command::new("sh")
            .args(["-c", LOOKS])
            .output()
            .unwrap();
        static GIVEN: OnceLock<Vec<u8>> = OnceLock::new();
        GIVEN.set(given.stdout).unwrap();
        on_one_worker_and_on_two(|| {
            let (_one, _other) = net_support::pair();
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let accepts = spawn_local(move || listener.accept().map(drop));
            let file = runtime::fs::File::open("/dev/null").unwrap();
            let mut other = cat();
            let _stdin = other.stdin.take();
            let waits = spawn_local(move || other.wait());
            runtime::spawn_blocking(|| ()).join().unwrap();
            sleep(Duration::from_millis(1));
            let seen = shell(LOOKS).output().unwrap().stdout;
            assert_eq!(str::from_utf8(&seen), str::from_utf8(GIVEN.get().unwrap()));
            drop(file);
            accepts.cancel();
            waits.cancel();
        });
    });
    end.returned();
}

#[test]
fn pr2_guards_are_there_in_a_forked_child_and_spawned_ones_do_not_care() {
    for guard in support::GUARDS {
        let end = child().guarded(guard).run(|_| {
            runtime::run(|| {
                // SAFETY: this process has one thread that matters; the child overflows and dies.
                let process = unsafe { libc::fork() };
                if process == 0 {
                    os::limit(libc::RLIMIT_CORE, 0);
                    std::hint::black_box(recurse(0));
                }
                let mut status = 0;
                // SAFETY: the kernel writes `status` during the call.
                let waited = unsafe { libc::waitpid(process, &mut status, 0) };
                assert_eq!(waited, process);
                assert!(libc::WIFSIGNALED(status), "{status:#x}");
                assert_eq!(
                    libc::WTERMSIG(status),
                    libc::SIGABRT,
                    "by the report, on the guard"
                );
                assert!(shell("true").status().unwrap().success());
            });
        });
        end.returned().says("overflowed its 64 KiB stack");
    }
}

#[test]
fn children_leave_no_descriptor_behind() {
    let end = child().run(|_| {
        runtime::run(|| {
            shell("true").output().unwrap();
            let before = os::descriptors();
            for _ in 0..20 {
                let mut child = cat();
                child.stdin.as_mut().unwrap().write_all(b"x").unwrap();
                child.wait_with_output().unwrap();
                drop(shell("exit 0").stdout(Stdio::piped()).spawn().unwrap());
            }
            assert_eq!(os::descriptors(), before);
        });
    });
    end.returned();
}
