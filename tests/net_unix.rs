//! Unix sockets behave as std's, and a wait is a coroutine's, not its worker's.

mod net_support;

use std::fs;
use std::io::{ErrorKind, IoSlice, IoSliceMut, Read, Write};
use std::os::fd::{AsFd, AsRawFd, IntoRawFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{self, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use net_support::*;
use runtime::net::{Shutdown, UnixDatagram, UnixListener, UnixStream};
use runtime::time;

// A multiple of the kernel's tick, which it rounds to, at any of the usual rates.
const SHORT: Duration = Duration::from_millis(20);

/// A directory that goes with the test.
struct Directory(PathBuf);

impl Directory {
    fn new() -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("runtime-net-unix-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// An abstract address that nobody else has.
fn abstract_address() -> SocketAddr {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    SocketAddr::from_abstract_name(format!("net_unix {} {number}", std::process::id())).unwrap()
}

fn pair_with_std() -> (UnixStream, net::UnixStream) {
    let (ours, theirs) = net::UnixStream::pair().unwrap();
    (ours.into(), theirs)
}

fn echo(mut stream: UnixStream) {
    let mut buffer = [0; 64];
    while let got @ 1.. = stream.read(&mut buffer).unwrap() {
        stream.write_all(&buffer[..got]).unwrap();
    }
}

#[test]
fn connections_to_a_path_and_to_an_abstract_name_are_served_at_once() {
    on_one_worker_and_on_two(|| {
        let directory = Directory::new();
        let path = directory.file("listener");
        let abstracted = abstract_address();
        let listeners = [
            UnixListener::bind(&path).unwrap(),
            UnixListener::bind_addr(&abstracted).unwrap(),
        ];
        let named = listeners[0].local_addr().unwrap();
        assert_eq!(named.as_pathname(), Some(&*path));
        for (listener, address) in listeners.into_iter().zip([named, abstracted]) {
            let server = runtime::spawn(move || {
                let serving: Vec<_> = (&listener)
                    .into_iter()
                    .take(20)
                    .map(|stream| runtime::spawn(move || echo(stream.unwrap())))
                    .collect();
                serving.into_iter().for_each(|one| one.join().unwrap());
            });
            let clients: Vec<_> = (0..20u8)
                .map(|id| {
                    let address = address.clone();
                    runtime::spawn(move || {
                        let mut stream = UnixStream::connect_addr(&address).unwrap();
                        for round in 0..20 {
                            stream.write_all(&[id, round]).unwrap();
                            expect(&stream, &[id, round]);
                        }
                    })
                })
                .collect();
            clients.into_iter().for_each(|one| one.join().unwrap());
            server.join().unwrap();
        }
    });
}

#[test]
fn a_writer_waits_for_its_reader_and_no_byte_is_lost() {
    on_one_worker_and_on_two(|| {
        const BYTES: usize = 5_000_000;
        let (mut from, mut to) = UnixStream::pair().unwrap();
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
fn several_buffers_are_written_and_read_as_one_and_none_at_once() {
    on_one_worker_and_on_two(|| {
        let (mut from, mut to) = UnixStream::pair().unwrap();
        let many = vec![*b"xy"; 3_000];
        let slices: Vec<_> = many.iter().map(|piece| IoSlice::new(piece)).collect();
        // SO10: more than the kernel takes at a time.
        assert_eq!(to.write_vectored(&slices).unwrap(), 2 * 1024);
        let (mut head, mut tail) = ([0; 3], [0; 4_000]);
        let buffers = &mut [IoSliceMut::new(&mut head), IoSliceMut::new(&mut tail)];
        assert_eq!(from.read_vectored(buffers).unwrap(), 2 * 1024);
        assert_eq!((&head, &tail[..2]), (b"xyx", &b"yx"[..]));
        assert_eq!(from.read(&mut []).unwrap(), 0);
        assert_eq!(from.read_vectored(&mut []).unwrap(), 0);
        assert_eq!(to.write(&[]).unwrap(), 0);
    });
}

#[test]
fn so12_descriptors_sent_along_are_closed_and_hide_no_byte_behind_them() {
    on_one_worker_and_on_two(|| {
        for _ in 0..20 {
            let (stream, peer) = pair_with_std();
            let reader = runtime::spawn(move || {
                let mut all = Vec::new();
                (&stream).read_to_end(&mut all).unwrap();
                all
            });
            let_the_others_run();
            // Both parts are there before the reader wakes, and its first read stops between them.
            let (mut gone, passed) = std::io::pipe().unwrap();
            send_along(&peer, b"before", &passed);
            drop(passed);
            (&peer).write_all(b"behind").unwrap();
            // Nothing more comes before it has read both; then the end.
            while unread(&peer) > 0 {
                runtime::yield_now();
            }
            drop(peer);
            assert_eq!(reader.join().unwrap(), b"beforebehind");
            assert_eq!(gone.read(&mut [0]).unwrap(), 0, "closed, not kept");
        }
    });
}

/// Sends `bytes` with a duplicate of `fd` (`SCM_RIGHTS`).
fn send_along(stream: &net::UnixStream, bytes: &[u8], fd: impl AsFd) {
    let mut control = [0u64; 3]; // CMSG_SPACE of one descriptor, aligned
    // SAFETY: a message of one buffer and one control message, all of which outlive the call; the control message
    // fits the 24 bytes, which are aligned for it.
    let sent = unsafe {
        let mut part = libc::iovec {
            iov_base: bytes.as_ptr().cast_mut().cast(),
            iov_len: bytes.len(),
        };
        let mut message: libc::msghdr = std::mem::zeroed();
        (message.msg_iov, message.msg_iovlen) = (&raw mut part, 1);
        message.msg_control = control.as_mut_ptr().cast();
        message.msg_controllen = libc::CMSG_SPACE(4) as _;
        let header = libc::CMSG_FIRSTHDR(&raw const message);
        (*header).cmsg_level = libc::SOL_SOCKET;
        (*header).cmsg_type = libc::SCM_RIGHTS;
        (*header).cmsg_len = libc::CMSG_LEN(4) as _;
        let data = libc::CMSG_DATA(header).cast::<i32>();
        data.write_unaligned(fd.as_fd().as_raw_fd());
        libc::sendmsg(stream.as_raw_fd(), &raw const message, 0)
    };
    assert_eq!(sent, bytes.len() as isize);
}

/// How many bytes that were sent by `stream` nobody has read yet (`SIOCOUTQ`).
fn unread(stream: &net::UnixStream) -> i32 {
    let mut bytes = 0;
    // SAFETY: the kernel writes one number during the call.
    let asked = unsafe { libc::ioctl(stream.as_raw_fd(), libc::TIOCOUTQ, &raw mut bytes) };
    assert_eq!(asked, 0);
    bytes
}

#[test]
fn so12_a_path_too_long_or_in_use_and_a_file_left_behind_are_errors() {
    runtime::run(|| {
        let directory = Directory::new();
        let long = directory.file(&"x".repeat(200));
        for error in [
            UnixListener::bind(&long).unwrap_err(),
            UnixStream::connect(&long).unwrap_err(),
            UnixDatagram::bind(&long).unwrap_err(),
            UnixStream::connect("with\0in").unwrap_err(),
        ] {
            assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
        }
        let path = directory.file("stale");
        let error = UnixStream::connect(&path).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
        drop(UnixListener::bind(&path).unwrap());
        let error = UnixStream::connect(&path).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
        let error = UnixListener::bind(&path).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AddrInUse);
        fs::remove_file(&path).unwrap();
        drop(UnixListener::bind(&path).unwrap());
    });
}

#[test]
fn a_connect_waits_for_room_in_the_queue_and_may_be_cancelled() {
    on_one_worker_and_on_two(|| {
        let address = abstract_address();
        let listener = UnixListener::bind_addr(&address).unwrap();
        // SAFETY: takes numbers. A queue for one connection from now on.
        assert_eq!(unsafe { libc::listen(listener.as_raw_fd(), 0) }, 0);
        let _first = UnixStream::connect_addr(&address).unwrap();
        let again = || time::timeout(SHORT, || UnixStream::connect_addr(&address));
        assert!(again().is_err(), "there is no room");
        let name = address.clone();
        let waits = runtime::spawn(move || UnixStream::connect_addr(&name).unwrap());
        let_the_others_run();
        assert!(!waits.is_finished());
        let accepted = [(); 2].map(|()| listener.accept().unwrap());
        assert!(accepted.iter().all(|(_, peer)| peer.is_unnamed()));
        expect_talk(&waits.join().unwrap(), &accepted[1].0);
    });
}

fn expect_talk(mut one: &UnixStream, other: &UnixStream) {
    one.write_all(b"ping").unwrap();
    expect(other, b"ping");
}

#[test]
fn so7_a_peer_that_closed_with_unread_data_is_an_error_behind_the_bytes() {
    on_one_worker_and_on_two(|| {
        let (stream, mut peer) = pair_with_std();
        (&stream).write_all(b"unread").unwrap();
        peer.write_all(b"last words").unwrap();
        drop(peer);
        expect(&stream, b"last words");
        let error = (&stream).read(&mut [0]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
        assert_eq!((&stream).read(&mut [0]).unwrap(), 0, "told once");
    });
}

#[test]
fn so5_writing_to_a_closed_peer_is_an_error_and_no_signal() {
    in_own_process(
        "so5_writing_to_a_closed_peer_is_an_error_and_no_signal",
        || {
            // SAFETY: takes numbers. std ignores SIGPIPE at start; now a signal would end this process.
            unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
            on_one_worker_and_on_two(|| {
                let (mut stream, peer) = pair_with_std();
                drop(peer);
                let error = stream.write(b"x").unwrap_err();
                assert_eq!(error.kind(), ErrorKind::BrokenPipe);
                let error = stream.write_vectored(&[IoSlice::new(b"x")]).unwrap_err();
                assert_eq!(error.kind(), ErrorKind::BrokenPipe);
                let (one, other) = UnixDatagram::pair().unwrap();
                drop(other);
                let error = one.send(b"x").unwrap_err();
                assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
            });
        },
    );
}

#[test]
fn so6_so8_shutdowns_end_one_direction_or_wake_both() {
    on_one_worker_and_on_two(|| {
        let (one, other) = UnixStream::pair().unwrap();
        let one = Arc::new(one);
        one.shutdown(Shutdown::Write).unwrap();
        assert_eq!((&other).read(&mut [0]).unwrap(), 0);
        (&other).write_all(b"still heard").unwrap();
        expect(&*one, b"still heard");
        let (reads, writes) = (Arc::clone(&one), other);
        let reader = runtime::spawn(move || (&*reads).read(&mut [0]));
        let writer = runtime::spawn(move || {
            let error = (&writes).write_all(&vec![0; 10_000_000]).unwrap_err();
            error.kind()
        });
        let_the_others_run();
        one.shutdown(Shutdown::Both).unwrap();
        reader.join().unwrap().unwrap();
        assert_eq!(writer.join().unwrap(), ErrorKind::BrokenPipe);

        let listener = Arc::new(UnixListener::bind_addr(&abstract_address()).unwrap());
        let accepts = Arc::clone(&listener);
        let acceptor = runtime::spawn(move || accepts.accept().map(drop));
        let_the_others_run();
        // SAFETY: takes numbers; the descriptor is open.
        let done = unsafe { libc::shutdown(listener.as_raw_fd(), libc::SHUT_RDWR) };
        assert_eq!(done, 0);
        let error = acceptor.join().unwrap().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
    });
}

#[test]
fn a_sender_of_datagrams_waits_for_room_connected_or_not() {
    on_one_worker_and_on_two(|| {
        let address = abstract_address();
        let receiver = UnixDatagram::bind_addr(&address).unwrap();
        let connected = UnixDatagram::unbound().unwrap();
        connected.connect_addr(&address).unwrap();
        let peer = connected.peer_addr().unwrap();
        assert_eq!(peer.as_abstract_name(), address.as_abstract_name());
        let free = UnixDatagram::unbound().unwrap();
        connected.set_nonblocking(true).unwrap();
        let mut queued = 0;
        while connected.send(b"x").is_ok() {
            queued += 1;
        }
        connected.set_nonblocking(false).unwrap();

        for sender in [&connected, &free] {
            sender.set_write_timeout(Some(SHORT)).unwrap();
        }
        let errors = [connected.send(b"y"), free.send_to_addr(b"y", &address)];
        for error in errors {
            assert_eq!(error.unwrap_err().kind(), ErrorKind::WouldBlock);
        }
        for sender in [&connected, &free] {
            sender.set_write_timeout(None).unwrap();
        }
        assert!(time::timeout(SHORT, || connected.send(b"y")).is_err());
        assert!(time::timeout(SHORT, || free.send_to_addr(b"y", &address)).is_err());
        free.set_nonblocking(true).unwrap();
        assert!(free.send_to_addr(b"y", &address).is_err());
        free.set_nonblocking(false).unwrap();

        let (one, other) = (
            runtime::spawn(move || connected.send(b"z").unwrap()),
            runtime::spawn(move || free.send_to_addr(b"z", &address).unwrap()),
        );
        let_the_others_run();
        assert!(!one.is_finished() && !other.is_finished());
        let mut datagram = [0; 8];
        for _ in 0..queued {
            assert_eq!(receiver.recv(&mut datagram).unwrap(), 1);
            assert_eq!(datagram[0], b'x', "nothing was sent that said it was not");
        }
        for _ in 0..2 {
            assert_eq!(receiver.recv(&mut datagram).unwrap(), 1);
            assert_eq!(datagram[0], b'z');
        }
        assert_eq!((one.join().unwrap(), other.join().unwrap()), (1, 1));
    });
}

#[test]
fn datagrams_go_by_path_and_their_sender_is_told() {
    on_one_worker_and_on_two(|| {
        let directory = Directory::new();
        let paths = ["a", "b"].map(|name| directory.file(name));
        let [here, there] = [0, 1].map(|i: usize| UnixDatagram::bind(&paths[i]).unwrap());
        let (back, to) = (paths[0].clone(), paths[1].clone());
        let answers = runtime::spawn(move || {
            let mut datagram = [0; 8];
            let (length, sender) = there.recv_from(&mut datagram).unwrap();
            assert_eq!((length, sender.as_pathname()), (4, Some(&*back)));
            there.connect(&back).unwrap();
            there.send(b"").unwrap();
            there.shutdown(Shutdown::Write).unwrap();
            there.send(b"x").unwrap_err().kind()
        });
        let_the_others_run();
        here.send_to(b"ping", &to).unwrap();
        assert_eq!(here.recv(&mut [0; 8]).unwrap(), 0, "an empty one is no end");
        assert_eq!(answers.join().unwrap(), ErrorKind::BrokenPipe);
        let error = here.send_to(b"x", directory.file("nobody")).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
        assert_eq!(here.local_addr().unwrap().as_pathname(), Some(&*paths[0]));
    });
}

#[test]
fn timeouts_and_cancellation_end_a_read_and_cost_no_byte() {
    on_one_worker_and_on_two(|| {
        let (stream, mut peer) = pair_with_std();
        stream.set_read_timeout(Some(SHORT)).unwrap();
        let error = (&stream).read(&mut [0]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::WouldBlock);
        stream.set_read_timeout(None).unwrap();
        assert!(time::timeout(SHORT, || (&stream).read(&mut [0])).is_err());
        let clone = stream.try_clone().unwrap();
        let reader = runtime::spawn(move || (&clone).read(&mut [0]).is_ok());
        let_the_others_run();
        reader.cancel();
        assert!(reader.join().is_err());
        peer.write_all(b"kept").unwrap();
        expect(&stream, b"kept");
    });
}

#[test]
fn every_kind_is_registered_for_its_life_and_goes_into_std_and_back() {
    runtime::run(|| {
        let (stream, mut peer) = pair_with_std();
        stream.set_read_timeout(Some(SHORT)).unwrap();
        assert!((&stream).read(&mut [0]).is_err());
        assert!(is_registered(&stream));
        let std = net::UnixStream::from(stream);
        assert!(!is_registered(&std));
        assert_eq!(std.read_timeout().unwrap(), Some(SHORT));
        let ours = UnixStream::from(std);
        assert_eq!(ours.read_timeout().unwrap(), Some(SHORT));
        peer.write_all(b"x").unwrap();
        expect(&ours, b"x");
        let number = ours.as_raw_fd();
        assert_eq!(OwnedFd::from(ours).into_raw_fd(), number);
        // SAFETY: into_raw_fd has just made the descriptor ours; it goes to one owner.
        let ours = unsafe { <UnixStream as std::os::fd::FromRawFd>::from_raw_fd(number) };
        assert!(format!("{ours:?}").contains("UnixStream"));
        assert!(ours.take_error().unwrap().is_none());
        assert!(ours.local_addr().unwrap().is_unnamed() && ours.peer_addr().unwrap().is_unnamed());

        let listener = UnixListener::bind_addr(&abstract_address()).unwrap();
        assert!(time::timeout(SHORT, || listener.accept().is_ok()).is_err());
        assert!(is_registered(&listener));
        let std = net::UnixListener::from(listener);
        assert!(!is_registered(&std));
        let listener = UnixListener::from(std).try_clone().unwrap();
        listener.set_nonblocking(true).unwrap();
        let error = listener.accept().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::WouldBlock);

        let (one, other) = UnixDatagram::pair().unwrap();
        assert!(time::timeout(SHORT, || one.recv(&mut [0]).is_ok()).is_err());
        let one = UnixDatagram::from(net::UnixDatagram::from(one));
        other.send(b"x").unwrap();
        assert_eq!(one.recv(&mut [0]).unwrap(), 1);
    });
}

#[test]
fn plain_threads_use_them_as_stds() {
    let address = abstract_address();
    let listener = UnixListener::bind_addr(&address).unwrap();
    let server = thread::spawn(move || echo(listener.accept().unwrap().0));
    let stream = UnixStream::connect_addr(&address).unwrap();
    stream.set_read_timeout(Some(SHORT)).unwrap();
    let error = (&stream).read(&mut [0]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::WouldBlock);
    (&stream).write_all(b"ping").unwrap();
    stream.set_read_timeout(None).unwrap();
    expect(&stream, b"ping");
    drop(stream);
    server.join().unwrap();
}
