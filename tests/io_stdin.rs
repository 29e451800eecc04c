//! Standard input, whatever it is: each test starts itself again with the input in question.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use runtime::io::stdin;
use runtime::time;

const CHILD: &str = "IO_STDIN_CHILD";

/// Starts this test again with `input` as its standard input; `None` in the child, where the caller goes on.
fn started_with(test: &str, input: impl Into<Stdio>) -> Option<Child> {
    if std::env::var_os(CHILD).is_some() {
        return None;
    }
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--test-threads", "1", "--nocapture"])
        .env(CHILD, "1")
        .stdin(input)
        .stdout(Stdio::piped())
        .spawn();
    Some(child.unwrap())
}

/// Waits until the child has said `text` on a line of its own.
fn hears(child: &mut Child, text: &str) {
    let stdout = child.stdout.as_mut().unwrap();
    let mut line = Vec::new();
    let mut byte = [0];
    loop {
        let got = stdout.read(&mut byte).unwrap();
        assert_eq!(got, 1, "the child has ended and never said {text:?}");
        if byte == *b"\n" {
            if String::from_utf8_lossy(&line).ends_with(text) {
                return;
            }
            line.clear();
        } else {
            line.push(byte[0]);
        }
    }
}

fn ends_well(mut child: Child) {
    // Drained, lest it block.
    let mut rest = String::new();
    let mut stdout = child.stdout.take().unwrap();
    stdout.read_to_string(&mut rest).unwrap();
    let status = child.wait().unwrap();
    assert!(status.success() && rest.contains("1 passed"), "{rest}");
}

fn is_nonblocking(fd: impl AsFd) -> bool {
    // SAFETY: takes numbers.
    let flags = unsafe { libc::fcntl(fd.as_fd().as_raw_fd(), libc::F_GETFL) };
    flags & libc::O_NONBLOCK != 0
}

fn says(text: &str) {
    println!("\n{text}");
    io::stdout().flush().unwrap();
}

fn line() -> String {
    let mut line = String::new();
    stdin().read_line(&mut line).unwrap();
    line
}

/// In the child: reads two lines, the second in pieces, while another coroutine runs, and then the end.
fn reads_while_others_run() {
    runtime::run(|| {
        says("ready");
        let first = runtime::spawn(line);
        while !first.is_finished() {
            time::sleep(Duration::from_millis(1)); // a worker that is blocked would not come here
            says("beat");
        }
        assert_eq!(first.join().unwrap(), "first\n");
        says("first");
        // A wait that ends early costs nothing of the line.
        while time::timeout(Duration::from_millis(1), || assert_eq!(line(), "second\n")).is_err() {}
        says("second");
    });
}

/// What the parent does meanwhile, with its side of the same.
fn talks(mut child: Child, mut to: impl Write, parents: impl AsFd) {
    hears(&mut child, "ready");
    hears(&mut child, "beat");
    hears(&mut child, "beat");
    assert!(!is_nonblocking(&parents), "RE14: while it waits");
    to.write_all(b"first\n").unwrap();
    hears(&mut child, "first");
    to.write_all(b"sec").unwrap();
    to.write_all(b"ond\n").unwrap();
    hears(&mut child, "second");
    assert!(!is_nonblocking(&parents), "RE14: afterwards");
    drop(to);
    ends_well(child);
}

#[test]
fn re14_a_pipe_is_read_while_others_run_and_stays_blocking() {
    let (from, to) = io::pipe().unwrap();
    let parents = from.try_clone().unwrap();
    let test = "re14_a_pipe_is_read_while_others_run_and_stays_blocking";
    match started_with(test, from) {
        Some(child) => talks(child, to, parents),
        None => reads_while_others_run(),
    }
}

#[test]
fn re14_a_socket_is_read_while_others_run_and_stays_blocking() {
    let (from, to) = UnixStream::pair().unwrap();
    let parents = from.try_clone().unwrap();
    let test = "re14_a_socket_is_read_while_others_run_and_stays_blocking";
    match started_with(test, OwnedFd::from(from)) {
        Some(child) => talks(child, to, parents),
        None => reads_while_others_run(),
    }
}

#[test]
fn re14_a_terminal_is_read_while_others_run_and_stays_blocking() {
    let test = "re14_a_terminal_is_read_while_others_run_and_stays_blocking";
    if std::env::var_os(CHILD).is_some() {
        assert!(stdin().is_terminal());
        return reads_while_others_run();
    }
    let (keyboard, screen) = terminal();
    let parents = screen.try_clone().unwrap();
    let child = started_with(test, screen).unwrap();
    talks(child, keyboard, parents);
}

/// Both ends of a pseudoterminal: what is written to the first is typed at the second.
fn terminal() -> (File, OwnedFd) {
    let mut name = [0; 128];
    // SAFETY: takes numbers, but for the name, which has room for 128 bytes; the descriptor is new and nobody else's.
    let keyboard = unsafe {
        let fd = libc::posix_openpt(libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC);
        assert!(fd >= 0, "{}", io::Error::last_os_error());
        assert_eq!(libc::grantpt(fd), 0);
        assert_eq!(libc::unlockpt(fd), 0);
        assert_eq!(libc::ptsname_r(fd, name.as_mut_ptr(), name.len()), 0);
        File::from_raw_fd(fd)
    };
    // SAFETY: the kernel reads the name, which it ended with a 0.
    let screen = unsafe {
        let flags = libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC;
        let fd = libc::open(name.as_ptr(), flags);
        assert!(fd >= 0, "{}", io::Error::last_os_error());
        OwnedFd::from_raw_fd(fd)
    };
    (keyboard, screen)
}

#[test]
fn re4_a_file_is_read_to_its_end_line_by_line() {
    const LINES: usize = 100_000;
    let test = "re4_a_file_is_read_to_its_end_line_by_line";
    if std::env::var_os(CHILD).is_some() {
        runtime::run(|| {
            let mut lines = stdin().lines();
            for number in 0..LINES {
                assert_eq!(lines.next().unwrap().unwrap(), format!("line {number}"));
            }
            // Without an end of its own, and not in UTF-8.
            let error = lines.next().unwrap().unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidData);
            assert!(lines.next().is_none() && lines.next().is_none());
        });
        return;
    }
    let path = std::env::temp_dir().join(format!("runtime-io-stdin-{}", std::process::id()));
    let mut text: Vec<u8> = (0..LINES)
        .flat_map(|number| format!("line {number}\r\n").into_bytes())
        .collect();
    text.extend(b"the last \xff");
    fs::write(&path, text).unwrap();
    let file = File::open(&path).unwrap();
    fs::remove_file(&path).unwrap();
    // Not in memory any more, where the file system has a disk.
    // SAFETY: takes numbers.
    unsafe {
        libc::fsync(file.as_raw_fd());
        libc::posix_fadvise(file.as_raw_fd(), 0, 0, libc::POSIX_FADV_DONTNEED);
    }
    ends_well(started_with(test, file).unwrap());
}

#[test]
fn re4_nothing_a_directory_and_zeroes_without_end() {
    let test = "re4_nothing_a_directory_and_zeroes_without_end";
    if std::env::var_os(CHILD).is_some() {
        runtime::run(|| {
            let mut some = vec![1; 100_000];
            match stdin().read(&mut some) {
                Ok(0) => says("the end"),
                Ok(got) => assert!(some[..got].iter().all(|&byte| byte == 0)),
                Err(error) => assert_eq!(error.kind(), io::ErrorKind::IsADirectory),
            }
        });
        return;
    }
    for path in ["/dev/null", "/", "/dev/zero"] {
        ends_well(started_with(test, File::open(path).unwrap()).unwrap());
    }
}

#[test]
fn several_readers_get_whole_lines_and_each_line_one_reader() {
    let test = "several_readers_get_whole_lines_and_each_line_one_reader";
    let (from, mut to) = io::pipe().unwrap();
    let Some(mut child) = started_with(test, from) else {
        return on_two_workers(|| {
            let readers: Vec<_> = (0..4)
                .map(|_| runtime::spawn(|| stdin().lines().map(|line| line.unwrap()).collect()))
                .collect();
            let gives_up = runtime::spawn(line);
            says("ready");
            gives_up.cancel();
            // Cancelled, or it was faster and has got a line, or the end.
            let taken = gives_up.join().is_ok_and(|line| !line.is_empty());
            let mut lines: Vec<String> = Vec::new();
            for reader in readers {
                lines.extend::<Vec<String>>(reader.join().unwrap());
            }
            lines.sort();
            let count = lines.len() + usize::from(taken);
            lines.dedup();
            assert_eq!((count, lines.len()), (1000, 1000 - usize::from(taken)));
            assert!(lines.iter().all(|line| line.len() == 40));
        });
    };
    hears(&mut child, "ready");
    for number in 0..1000 {
        to.write_all(format!("{number:040}\n").as_bytes()).unwrap();
    }
    drop(to);
    ends_well(child);
}

fn on_two_workers(claim: fn()) {
    let runtime = runtime::Builder::new().workers(2).build().unwrap();
    runtime.run(claim);
}

#[test]
fn what_lines_have_left_in_the_buffer_is_read_first() {
    let test = "what_lines_have_left_in_the_buffer_is_read_first";
    let (from, mut to) = io::pipe().unwrap();
    let Some(child) = started_with(test, from) else {
        // On a plain thread.
        assert_eq!(line(), "head\n");
        let mut rest = String::new();
        stdin().read_to_string(&mut rest).unwrap();
        assert_eq!(rest, "and the rest");
        return;
    };
    to.write_all(b"head\nand the rest").unwrap();
    drop(to);
    ends_well(child);
}
