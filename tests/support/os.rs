//! The process as the system sees it: limits to set, figures to read.

use std::fs;
use std::io;

/// Lowers a limit of this process (setrlimit(2)).
pub fn limit(resource: libc::__rlimit_resource_t, value: u64) {
    let limits = libc::rlimit {
        rlim_cur: value,
        rlim_max: value,
    };
    // SAFETY: the kernel reads `limits` during the call.
    let done = unsafe { libc::setrlimit(resource, &limits) };
    assert_eq!(done, 0, "{}", io::Error::last_os_error());
}

/// Lets this process have `bytes` more of address space, and no more.
pub fn limit_address_space(bytes: u64) {
    let now_kib: u64 = status_field("VmSize:");
    limit(libc::RLIMIT_AS, (now_kib << 10) + bytes);
}

/// Lets this process have `count` more threads, and no more.
///
/// The limit counts whatever a user runs, and not at all for root. So root becomes a user whom nobody else is.
/// Anybody else gets no thread more, whatever `count`, which is returned as false.
pub fn limit_threads(count: u64) -> bool {
    // SAFETY: takes nothing, returns a number.
    let (user, process) = unsafe { (libc::geteuid(), libc::getpid()) };
    if user != 0 {
        limit(libc::RLIMIT_NPROC, 1);
        return false;
    }
    limit(libc::RLIMIT_NPROC, threads() as u64 + count);
    // SAFETY: takes a number; glibc does it for all threads.
    let done = unsafe { libc::setuid(1_000_000 + process as libc::uid_t) };
    assert_eq!(done, 0, "{}", io::Error::last_os_error());
    // SAFETY: takes numbers. Whoever changes identity may not look at its own descriptors otherwise.
    unsafe { libc::prctl(libc::PR_SET_DUMPABLE, 1, 0, 0, 0) };
    true
}

/// Processors that this process may use.
pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, |cores| cores.get())
}

/// Mappings of this process.
pub fn mappings() -> usize {
    fs::read_to_string("/proc/self/maps")
        .unwrap()
        .lines()
        .count()
}

/// Threads of this process.
pub fn threads() -> usize {
    status_field("Threads:")
}

/// Open descriptors of this process.
pub fn descriptors() -> usize {
    // The listing itself takes one.
    fs::read_dir("/proc/self/fd").unwrap().count() - 1
}

/// Descriptors and threads of this process.
pub fn held() -> (usize, usize) {
    (descriptors(), threads())
}

/// Memory of this process that is in use.
pub fn resident_bytes() -> usize {
    status_field::<usize>("VmRSS:") << 10
}

/// Memory of this process that page tables take.
pub fn page_table_bytes() -> usize {
    status_field::<usize>("VmPTE:") << 10
}

fn status_field<T: std::str::FromStr>(name: &str) -> T {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix(name))
        .unwrap();
    line.split_whitespace()
        .next()
        .and_then(|number| number.parse().ok())
        .unwrap()
}

/// Waits until `settled`, for what the kernel does after it has told: an ended thread leaves its list a moment
/// after it was joined. If it never settles, the test hangs, which shows.
pub fn until(settled: impl Fn() -> bool) {
    while !settled() {
        std::thread::yield_now();
    }
}

/// Forks. The child runs `body` and exits with what it returns; the parent waits, and returns that.
pub fn fork(body: impl FnOnce() -> u8) -> i32 {
    // SAFETY: the child runs Rust code though other threads of the parent are gone: these tests exist to see
    // what becomes of that; the callers see to it that no other thread holds a lock.
    let process = unsafe { libc::fork() };
    assert!(process >= 0, "{}", io::Error::last_os_error());
    if process == 0 {
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(body));
        // SAFETY: ends the process, without what the parent has registered for its exit.
        unsafe { libc::_exit(outcome.unwrap_or(101).into()) };
    }
    let mut status = 0;
    // SAFETY: the kernel writes `status` during the call.
    let waited = unsafe { libc::waitpid(process, &mut status, 0) };
    assert_eq!(waited, process, "{}", io::Error::last_os_error());
    assert!(
        libc::WIFEXITED(status),
        "the forked child was killed: status {status:#x}"
    );
    libc::WEXITSTATUS(status)
}
