//! Confinement: what a process gives up before it runs code that nobody trusts. There is no way back.
//!
//! ```text
//!   descriptors      all but the standard three closed
//!   prctl            dies with its parent (by `fork`), gains no privileges, is no one's to look into
//!   rlimits          CPU, memory, no file content, no core dump
//!   landlock         no file at all, or those that a program needs to start, to be read only
//!   rlimit NOFILE    after landlock, which needs a descriptor for each of its rules
//!   seccomp          last: the calls for all of the above are not on its list
//! ```
//!
//! A list of what is allowed rather than of what is not: what the kernel learns tomorrow is not on it.

use std::fs;
use std::io;
use std::path::Path;

use landlock::{
    ABI, Access, AccessFs, CompatLevel, Compatible, Ruleset, RulesetAttr, RulesetCreatedAttr,
    RulesetStatus, path_beneath_rules,
};
use rustix::process::{
    DumpableBehavior, Resource, Rlimit, getpid, set_dumpable_behavior, setrlimit,
};
use rustix::thread::set_no_new_privs;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, apply_filter,
};

/// What the confined process is to do.
#[derive(Clone, Copy, Debug)]
pub enum Purpose<'a> {
    /// Go on with code of this program: it needs memory and its standard streams.
    GoOn,
    /// Execute this program: it needs to be read and started, and so do its libraries and its interpreter.
    Execute(&'a Path),
}

/// What it may take.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Processor time in seconds; then SIGXCPU, and a second later SIGKILL.
    pub cpu_s: u64,
    /// Address space.
    pub memory_bytes: u64,
}

/// Why this system cannot confine anything; `None` if it can.
pub fn confinement_missing() -> Option<String> {
    if !cfg!(target_arch = "x86_64") {
        return Some("there is no list of system calls for this processor".to_owned());
    }
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    if !status.contains("Seccomp:") {
        return Some("the kernel has no seccomp".to_owned());
    }
    let landlock = Ruleset::default()
        .set_compatibility(CompatLevel::HardRequirement)
        .handle_access(AccessFs::from_all(ABI::V1))
        .and_then(Ruleset::create);
    landlock
        .err()
        .map(|error| format!("the kernel has no landlock ({error})"))
}

/// Closes every descriptor but the standard three.
///
/// For a forked child that never drops what owned them: it has forgotten those it had, and ends by `_exit` or as
/// another program.
pub fn close_other_descriptors() -> io::Result<()> {
    // SAFETY: closing is what nobody else could do for descriptors that a child has inherited without knowing them.
    // That no owner is left is this function's condition, kept by its callers in `scenarios::untrusted`; breaking it
    // would be a descriptor closed twice, an error, since this process opens none for others meanwhile.
    match unsafe { libc::close_range(3, libc::c_uint::MAX, 0) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Gives up everything that `purpose` has no need for, for good.
///
/// # Errors
/// The system's. The process may then be confined in part, and should end.
pub fn confine(purpose: Purpose<'_>, bounds: Bounds) -> io::Result<()> {
    // Of no use to a program that is executed, which the kernel makes dumpable again, but confined it is.
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    set_no_new_privs(true)?;
    let limit = |resource, current, maximum| {
        setrlimit(
            resource,
            Rlimit {
                current: Some(current),
                maximum: Some(maximum),
            },
        )
    };
    limit(Resource::Core, 0, 0)?;
    // The standard streams are pipes, which have no size.
    limit(Resource::Fsize, 0, 0)?;
    limit(Resource::Cpu, bounds.cpu_s, bounds.cpu_s + 1)?;
    limit(Resource::As, bounds.memory_bytes, bounds.memory_bytes)?;
    forbid_files(purpose)?;
    limit(Resource::Nofile, 64, 64)?;
    forbid_calls(purpose)
}

/// Refused, as one that the kernel lacks would be.
fn refused(error: impl std::fmt::Display) -> io::Error {
    io::Error::other(format!("cannot confine: {error}"))
}

fn forbid_files(purpose: Purpose<'_>) -> io::Result<()> {
    let ruleset = Ruleset::default()
        .handle_access(AccessFs::from_all(ABI::V3))
        .and_then(Ruleset::create)
        .map_err(refused)?;
    let ruleset = match purpose {
        Purpose::GoOn => ruleset,
        Purpose::Execute(program) => {
            let read = AccessFs::ReadFile | AccessFs::ReadDir;
            let libraries = [
                "/lib",
                "/lib64",
                "/usr/lib",
                "/usr/lib64",
                "/usr/share/zoneinfo",
            ];
            let settings = ["/etc/ld.so.cache", "/etc/localtime", "/dev/null"];
            // The kernel executes the interpreter of a script, and the loader of a program, for it.
            let loaders = ["/lib64/ld-linux-x86-64.so.2", "/lib/ld-musl-x86_64.so.1"];
            let executed = interpreter(program)
                .into_iter()
                .chain([program.to_owned()])
                .chain(loaders.map(Into::into));
            ruleset
                .add_rules(path_beneath_rules(libraries.iter().chain(&settings), read))
                .and_then(|ruleset| {
                    ruleset.add_rules(path_beneath_rules(executed, read | AccessFs::Execute))
                })
                .map_err(refused)?
        }
    };
    let status = ruleset.restrict_self().map_err(refused)?;
    match status.ruleset {
        RulesetStatus::NotEnforced => Err(refused("landlock is not enforced")),
        RulesetStatus::PartiallyEnforced | RulesetStatus::FullyEnforced => Ok(()),
    }
}

/// What the first line of a script names.
fn interpreter(script: &Path) -> Option<std::path::PathBuf> {
    let mut head = [0; 256];
    let length = io::Read::read(&mut fs::File::open(script).ok()?, &mut head).ok()?;
    let line = head[..length].split(|&byte| byte == b'\n').next()?;
    let line = std::str::from_utf8(line.strip_prefix(b"#!")?).ok()?;
    line.split_whitespace().next().map(Into::into)
}

fn forbid_calls(purpose: Purpose<'_>) -> io::Result<()> {
    let mut rules: Vec<(i64, Vec<SeccompRule>)> =
        calls::BASIC.iter().map(|&call| (call, vec![])).collect();
    // A signal to itself, as of `abort`, and to nobody else.
    let own = getpid().as_raw_nonzero().get() as u64;
    rules.push((libc::SYS_tgkill, vec![only_if(SeccompCmpOp::Eq, own)?]));
    if let Purpose::Execute(_) = purpose {
        rules.extend(calls::PROGRAM.iter().map(|&call| (call, vec![])));
        // A thread, and no process.
        let thread = libc::CLONE_THREAD as u64;
        rules.push((
            libc::SYS_clone,
            vec![only_if(SeccompCmpOp::MaskedEq(thread), thread)?],
        ));
        // Its arguments are beyond the reach of a filter: libraries that are told that the kernel does not have it fall
        // back to clone. The filter that allows it comes first here, the strictest counts.
        rules.push((libc::SYS_clone3, vec![]));
        let unknown = [(libc::SYS_clone3, vec![])].into_iter().collect();
        apply(SeccompFilter::new(
            unknown,
            SeccompAction::Allow,
            SeccompAction::Errno(libc::ENOSYS as u32),
            arch()?,
        ))?;
    }
    apply(SeccompFilter::new(
        rules.into_iter().collect(),
        SeccompAction::KillProcess,
        SeccompAction::Allow,
        arch()?,
    ))
}

fn arch() -> io::Result<seccompiler::TargetArch> {
    std::env::consts::ARCH.try_into().map_err(refused)
}

/// The rule that the first argument, of 32 bits, is what it has to be.
fn only_if(operation: SeccompCmpOp, value: u64) -> io::Result<SeccompRule> {
    let condition = SeccompCondition::new(0, SeccompCmpArgLen::Dword, operation, value);
    condition
        .and_then(|condition| SeccompRule::new(vec![condition]))
        .map_err(refused)
}

fn apply(filter: Result<SeccompFilter, seccompiler::BackendError>) -> io::Result<()> {
    let program: BpfProgram = filter.map_err(refused)?.try_into().map_err(refused)?;
    apply_filter(&program).map_err(refused)
}

/// The system calls that are allowed.
#[cfg(target_arch = "x86_64")]
mod calls {
    use libc::*;

    /// Memory, the standard streams, time, and an end.
    pub const BASIC: &[c_long] = &[
        SYS_read,
        SYS_write,
        SYS_writev,
        SYS_close,
        SYS_mmap,
        SYS_munmap,
        SYS_mremap,
        SYS_mprotect,
        SYS_madvise,
        SYS_brk,
        SYS_rt_sigaction,
        SYS_rt_sigprocmask,
        SYS_rt_sigreturn,
        SYS_sigaltstack,
        SYS_futex,
        SYS_nanosleep,
        SYS_clock_nanosleep,
        SYS_clock_gettime,
        SYS_gettimeofday,
        SYS_sched_yield,
        SYS_restart_syscall,
        SYS_getrandom,
        SYS_getpid,
        SYS_gettid,
        SYS_exit,
        SYS_exit_group,
    ];

    /// What a program and its libraries ask besides, to start and to look around. Landlock says which files.
    pub const PROGRAM: &[c_long] = &[
        SYS_execve,
        SYS_arch_prctl,
        SYS_set_tid_address,
        SYS_set_robust_list,
        SYS_rseq,
        SYS_prlimit64,
        SYS_getrlimit,
        SYS_open,
        SYS_openat,
        SYS_fstat,
        SYS_stat,
        SYS_lstat,
        SYS_newfstatat,
        SYS_statx,
        SYS_fstatfs,
        SYS_statfs,
        SYS_access,
        SYS_faccessat,
        SYS_faccessat2,
        SYS_lseek,
        SYS_pread64,
        SYS_readv,
        SYS_getdents64,
        SYS_readlink,
        SYS_readlinkat,
        SYS_getcwd,
        SYS_fcntl,
        SYS_fadvise64,
        SYS_dup,
        SYS_dup2,
        SYS_dup3,
        SYS_pipe2,
        SYS_ioctl,
        SYS_poll,
        SYS_ppoll,
        SYS_select,
        SYS_pselect6,
        SYS_epoll_create1,
        SYS_epoll_ctl,
        SYS_epoll_wait,
        SYS_epoll_pwait,
        SYS_eventfd2,
        SYS_uname,
        SYS_sysinfo,
        SYS_getuid,
        SYS_geteuid,
        SYS_getgid,
        SYS_getegid,
        SYS_getppid,
        SYS_getpgrp,
        SYS_getrusage,
        SYS_times,
        SYS_time,
        SYS_clock_getres,
        SYS_sched_getaffinity,
        SYS_getcpu,
        SYS_membarrier,
        SYS_alarm,
        SYS_rt_sigpending,
        SYS_rt_sigsuspend,
    ];
}

#[cfg(not(target_arch = "x86_64"))]
mod calls {
    pub const BASIC: &[i64] = &[];
    pub const PROGRAM: &[i64] = &[];
}
