//! What the socket tests share: runs on one worker and on two, peers, and a look at the kernel's
//! own list of what is registered.
#![allow(dead_code)] // each test target uses its part

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::mem;
use std::net::{self, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use runtime::net::{TcpListener, TcpStream};

/// Runs `claim` as the first coroutine of a runtime with one worker, then of one with two.
pub fn on_one_worker_and_on_two(claim: fn()) {
    for workers in [1, 2] {
        let runtime = runtime::Builder::new().workers(workers).build().unwrap();
        runtime.run(claim);
    }
}

/// A listener on a free port of the loopback and its address.
pub fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// Both ends of a connection, each ours.
pub fn pair() -> (TcpStream, TcpStream) {
    let (listener, address) = listener();
    let client = TcpStream::connect(address).unwrap();
    (client, listener.accept().unwrap().0)
}

/// An end of ours and one of std's, which a plain thread or the test itself plays.
pub fn pair_with_std() -> (TcpStream, net::TcpStream) {
    let listener = net::TcpListener::bind("127.0.0.1:0").unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (client, listener.accept().unwrap().0)
}

/// Reads exactly as many bytes as `expected` has and compares.
pub fn expect(mut stream: impl Read, expected: &[u8]) {
    let mut got = vec![0; expected.len()];
    stream.read_exact(&mut got).unwrap();
    assert_eq!(got, expected);
}

/// Sends back what comes, to the end.
pub fn echo(stream: TcpStream) -> io::Result<()> {
    let mut buffer = [0; 4096];
    loop {
        match (&stream).read(&mut buffer)? {
            0 => return Ok(()),
            got => (&stream).write_all(&buffer[..got])?,
        }
    }
}

/// Lets every other runnable coroutine of this worker run up to its next wait.
pub fn let_the_others_run() {
    for _ in 0..10 {
        runtime::yield_now();
    }
}

/// Whether any epoll instance of this process watches the socket behind `fd`, by whatever number.
pub fn is_registered(fd: impl AsFd) -> bool {
    let copy = File::from(fd.as_fd().try_clone_to_owned().unwrap());
    let inode = format!("ino:{:x} ", copy.metadata().unwrap().ino());
    epoll_descriptors().any(|epoll| {
        let watched = fs::read_to_string(format!("/proc/self/fdinfo/{epoll}"));
        watched.is_ok_and(|watched| watched.contains(&inode))
    })
}

/// The numbers of this process's epoll descriptors.
pub fn epoll_descriptors() -> impl Iterator<Item = i32> {
    fs::read_dir("/proc/self/fd").unwrap().filter_map(|entry| {
        let path = entry.ok()?.path();
        let target = fs::read_link(&path).ok()?;
        let is_epoll = target.as_os_str() == "anon_inode:[eventpoll]";
        let number = path.file_name().unwrap().to_string_lossy().parse();
        is_epoll.then(|| number.unwrap())
    })
}

/// Processor time that this process has used.
pub fn cpu_time() -> Duration {
    // SAFETY: all zeroes is a timespec; the kernel writes to it during the call only.
    let used = unsafe {
        let mut used: libc::timespec = mem::zeroed();
        libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &raw mut used);
        used
    };
    Duration::new(used.tv_sec as u64, used.tv_nsec as u32)
}

/// poll(2): waits until `fd` is readable, or for the deadline; whether it is readable.
pub fn wait_readable(fd: impl AsFd, deadline: Option<Instant>) -> bool {
    let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
    // Rounded up, so that no wait ends before its deadline.
    let ms = left.map_or(-1, |left| left.as_micros().div_ceil(1000) as i32);
    let mut entry = libc::pollfd {
        fd: fd.as_fd().as_raw_fd(),
        events: libc::POLLIN,
        revents: 0,
    };
    // SAFETY: one live entry that is ours alone.
    let told = unsafe { libc::poll(&raw mut entry, 1, ms) };
    assert!(told >= 0, "{}", io::Error::last_os_error());
    told == 1
}

/// Runs `claim` in a process of its own, because it changes what belongs to the process.
///
/// `test` is the calling test's own name; the child is this test program asked for that test only.
pub fn in_own_process(test: &str, claim: fn()) {
    const CHILD: &str = "NET_TEST_CHILD";
    if std::env::var_os(CHILD).is_some() {
        return claim();
    }
    let program = std::env::current_exe().unwrap();
    let child = Command::new(program)
        .args(["--exact", test, "--test-threads", "1", "--nocapture"])
        .env(CHILD, "1")
        .output()
        .unwrap();
    let stdout = String::from_utf8_lossy(&child.stdout);
    let stderr = String::from_utf8_lossy(&child.stderr);
    assert!(
        child.status.success(),
        "{}\n{stdout}\n{stderr}",
        child.status
    );
    assert!(
        stdout.contains("1 passed"),
        "the child ran nothing:\n{stdout}"
    );
    // What it has skipped or measured.
    print!("{stdout}");
}

/// Sets a socket option whose value is a plain C struct or number.
pub fn set_option<T>(fd: impl AsFd, level: i32, option: i32, value: T) {
    let length = mem::size_of::<T>() as libc::socklen_t;
    // SAFETY: the kernel reads `length` bytes of `value`, which outlives the call.
    let done = unsafe {
        let value = (&raw const value).cast();
        libc::setsockopt(fd.as_fd().as_raw_fd(), level, option, value, length)
    };
    assert_eq!(done, 0, "{}", io::Error::last_os_error());
}

/// Makes the close of `fd` a reset instead of an orderly end.
pub fn reset_on_close(fd: impl AsFd) {
    let linger = libc::linger {
        l_onoff: 1,
        l_linger: 0,
    };
    set_option(fd, libc::SOL_SOCKET, libc::SO_LINGER, linger);
}

/// A socket bound to a port of the loopback that does not listen yet, and its address: whoever
/// connects is refused, and nobody else can get the port.
pub fn bound_only() -> (OwnedFd, SocketAddr) {
    // SAFETY: takes numbers only; the descriptor is new and known to nobody else.
    let fd = unsafe { OwnedFd::from_raw_fd(libc::socket(libc::AF_INET, libc::SOCK_STREAM, 0)) };
    // SAFETY: all zeroes is an IPv4 address: family 0, port 0; the kernel reads it during the call.
    let bound = unsafe {
        let mut name: libc::sockaddr_in = mem::zeroed();
        name.sin_family = libc::AF_INET as libc::sa_family_t;
        name.sin_addr.s_addr = u32::from_ne_bytes([127, 0, 0, 1]);
        let length = mem::size_of_val(&name) as libc::socklen_t;
        libc::bind(fd.as_raw_fd(), (&raw const name).cast(), length)
    };
    assert_eq!(bound, 0, "{}", io::Error::last_os_error());
    // std's type is but an owner of the descriptor; it asks the kernel for the address.
    let owner = net::TcpListener::from(fd);
    let address = owner.local_addr().unwrap();
    (owner.into(), address)
}

/// An address where a connect neither succeeds nor fails: its queue is full. The connections that
/// fill it come along and must be kept.
pub fn deaf() -> (Vec<OwnedFd>, SocketAddr) {
    let (fd, address) = bound_only();
    // SAFETY: takes two numbers.
    assert_eq!(unsafe { libc::listen(fd.as_raw_fd(), 0) }, 0);
    // A backlog of 0 holds one connection; the next connects find no room and are not answered.
    let first = net::TcpStream::connect(address).unwrap();
    (vec![fd, first.into()], address)
}

/// Lets `stream`'s first wait happen, which registers it.
pub fn make_it_known_to_the_reactor(stream: &TcpStream) {
    stream
        .set_read_timeout(Some(Duration::from_millis(1)))
        .unwrap();
    let error = (&*stream).read(&mut [0]).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
    assert!(is_registered(stream));
    stream.set_read_timeout(None).unwrap();
}

pub fn handle_sigusr1(flags: i32) {
    extern "C" fn nothing(_signal: i32) {}
    // SAFETY: all zeroes is a sigaction; the handler does nothing, so it may run at any moment.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = nothing as extern "C" fn(i32) as usize;
        action.sa_flags = flags | libc::SA_ONSTACK;
        assert_eq!(
            libc::sigaction(libc::SIGUSR1, &raw const action, std::ptr::null_mut()),
            0
        );
    }
}

/// Sends the calling thread one signal after another until told to stop; says how many.
pub fn hail_of_signals(stop: Arc<AtomicBool>) -> thread::JoinHandle<usize> {
    // SAFETY: takes nothing.
    let target = unsafe { libc::pthread_self() };
    thread::spawn(move || {
        let mut sent = 0;
        while !stop.load(Ordering::Relaxed) {
            // SAFETY: the target thread outlives us: it joins this one.
            unsafe { libc::pthread_kill(target, libc::SIGUSR1) };
            sent += 1;
            thread::yield_now();
        }
        sent
    })
}
