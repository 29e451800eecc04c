//! Pipes of ours behave as std's; `copy` and `split` over them and over sockets.

mod net_support;

use std::cell::Cell;
use std::io::{self, ErrorKind, IoSlice, IoSliceMut, Read, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use net_support::*;
use runtime::io::{PipeReader, PipeWriter, copy, pipe, split};
use runtime::net::{Shutdown, UnixStream};
use runtime::time;

const SHORT: Duration = Duration::from_millis(10);

#[test]
fn a_writer_waits_for_its_reader_and_no_byte_is_lost() {
    on_one_worker_and_on_two(|| {
        const BYTES: usize = 3_000_000;
        let (mut from, mut to) = pipe().unwrap();
        let all: Vec<u8> = (0..BYTES).map(|i| (i % 251) as u8).collect();
        let sent = all.clone();
        let writer = runtime::spawn(move || to.write_all(&sent).unwrap());
        let mut got = Vec::new();
        from.read_to_end(&mut got).unwrap();
        writer.join().unwrap();
        assert!(got == all);
    });
}

#[test]
fn packets_are_read_one_by_one_though_each_read_comes_back_short() {
    on_one_worker_and_on_two(|| {
        let (mut from, to) = pipe().unwrap();
        // SAFETY: takes numbers. Each write is a packet from now on (pipe(7)).
        let set = unsafe {
            let flags = libc::O_DIRECT | libc::O_NONBLOCK;
            libc::fcntl(to.as_raw_fd(), libc::F_SETFL, flags)
        };
        assert_eq!(set, 0);
        let reader = runtime::spawn(move || {
            let mut buffer = [0; 64];
            [(); 3].map(|()| from.read(&mut buffer).unwrap())
        });
        let_the_others_run();
        // All three are there before the reader wakes, by one event.
        for packet in [&b"a"[..], b"bb", b"ccc"] {
            assert_eq!((&to).write(packet).unwrap(), packet.len());
        }
        assert_eq!(reader.join().unwrap(), [1, 2, 3]);
    });
}

#[test]
fn timeouts_and_cancellation_end_a_read_or_write_and_cost_no_byte() {
    on_one_worker_and_on_two(|| {
        let (from, to) = pipe().unwrap();
        assert!(time::timeout(SHORT, || (&from).read(&mut [0])).is_err());
        let also = from.try_clone().unwrap();
        let reader = runtime::spawn(move || (&also).read(&mut [0]).is_ok());
        let_the_others_run();
        reader.cancel();
        assert!(reader.join().is_err());
        (&to).write_all(b"kept").unwrap();
        expect(&from, b"kept");
        let written = Cell::new(0);
        let fill = || written.set(written.get() + (&to).write(&[1; 1000]).unwrap());
        while time::timeout(SHORT, fill).is_ok() {}
        drop(to);
        let mut all = Vec::new();
        (&from).read_to_end(&mut all).unwrap();
        assert_eq!(
            all.len(),
            written.get(),
            "what was said to be written, no more"
        );
    });
}

#[test]
fn several_buffers_none_and_a_reader_that_is_gone() {
    runtime::run(|| {
        let (mut from, mut to) = pipe().unwrap();
        let parts = [IoSlice::new(b"ab"), IoSlice::new(b"cd")];
        assert_eq!(to.write_vectored(&parts).unwrap(), 4);
        let (mut head, mut tail) = ([0; 3], [0; 8]);
        let buffers = &mut [IoSliceMut::new(&mut head), IoSliceMut::new(&mut tail)];
        assert_eq!(from.read_vectored(buffers).unwrap(), 4);
        assert_eq!((&head, tail[0]), (b"abc", b'd'));
        assert_eq!(from.read(&mut []).unwrap(), 0);
        assert_eq!(to.write(&[]).unwrap(), 0);
        drop(from);
        assert_eq!(to.write(b"x").unwrap_err().kind(), ErrorKind::BrokenPipe);
    });
}

#[test]
fn a_child_has_the_other_end_and_finds_it_blocking() {
    runtime::run(|| {
        let (stdin, mut to) = pipe().unwrap();
        let (mut from, stdout) = pipe().unwrap();
        let mut child = Command::new("cat")
            .stdin(Stdio::from(stdin))
            .stdout(Stdio::from(stdout))
            .spawn()
            .unwrap();
        // While cat waits for its input: were that non-blocking, it would end with an error at once.
        to.write_all(b"through a process").unwrap();
        expect(&from, b"through a process");
        drop(to);
        assert_eq!(from.read(&mut [0]).unwrap(), 0);
        assert!(child.wait().unwrap().success());
    });
}

#[test]
fn into_std_and_back_changes_who_waits_and_nothing_else() {
    let (from, to) = pipe().unwrap();
    let (from, to) = (io::PipeReader::from(from), io::PipeWriter::from(to));
    for fd in [from.as_fd(), to.as_fd()] {
        // SAFETY: takes numbers.
        let flags = unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_GETFL) };
        assert_eq!(flags & libc::O_NONBLOCK, 0);
    }
    let (from, to) = (PipeReader::from(from), PipeWriter::from(to));
    // On plain threads.
    let writer = thread::spawn(move || (&to).write_all(b"hello").unwrap());
    let mut all = String::new();
    (&from).read_to_string(&mut all).unwrap();
    assert_eq!(all, "hello");
    writer.join().unwrap();
}

#[test]
fn all_that_comes_is_copied_and_each_half_has_its_owner() {
    on_one_worker_and_on_two(|| {
        let (here, there) = UnixStream::pair().unwrap();
        let (mut read, mut write) = split(there);
        let echo = runtime::spawn(move || {
            let copied = copy(&mut read, &mut write).unwrap();
            assert!(read.get_ref().peer_addr().unwrap().is_unnamed());
            write.get_ref().shutdown(Shutdown::Write).unwrap();
            copied
        });
        let (read, mut write) = split(here);
        let sender = runtime::spawn(move || {
            write.write_all(&vec![5; 1_000_000]).unwrap();
            write.flush().unwrap();
            write.get_ref().shutdown(Shutdown::Write).unwrap();
        });
        let mut back = Vec::new();
        let copied = copy(&mut { read }, &mut back).unwrap();
        assert_eq!((copied, back.len()), (1_000_000, 1_000_000));
        assert_eq!(echo.join().unwrap(), 1_000_000);
        sender.join().unwrap();
    });
}
