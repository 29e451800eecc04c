//! Memory as the kernel sees it: reserve address space, guard it, give pages back.
//!
//! Everything here works on [`Span`]s of whole pages. Three of the calls come in batches, because a
//! system call for each of a million stacks is most of what a cold stack costs:
//!
//! ```text
//! guard, populate, discard  [Span, Span, ..] --process_madvise(self)--> all of them, one call
//!                                            \-- refused (Linux < 6.15) --> madvise, one by one
//! ```
//!
//! Sources: mmap(2), madvise(2), process_madvise(2), mprotect(2), mincore(2).

use std::{error::Error, fmt, io, num::NonZeroUsize};

/// `MADV_GUARD_INSTALL`, Linux 6.13: touching the range is a SIGSEGV, without a mapping of its own.
const MADV_GUARD_INSTALL: libc::c_int = 102;
/// `PIDFD_SELF_THREAD_GROUP`, Linux 6.14: this process, without opening a descriptor for it.
const PIDFD_SELF: libc::c_int = -10_001;

/// A range of whole pages; laid out as the kernel's `struct iovec`, so a slice of them is a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub(crate) struct Span {
    pub(crate) start: usize,
    pub(crate) bytes: usize,
}

const _: () = assert!(
    size_of::<Span>() == size_of::<libc::iovec>()
        && align_of::<Span>() == align_of::<libc::iovec>()
        && std::mem::offset_of!(Span, bytes) == std::mem::offset_of!(libc::iovec, iov_len)
);

/// Bytes of a page, a power of two.
pub(crate) fn page_bytes() -> usize {
    // SAFETY: sysconf(3) reads a constant of the process; _SC_PAGESIZE is always known.
    let bytes = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    usize::try_from(bytes).expect("a page size is positive")
}

/// Reserves `bytes` of private, zeroed, writable address space; pages come with the first touch.
///
/// # Errors
/// `ENOMEM` and `EAGAIN` as the kernel gives them, with the limits named that stand behind them.
pub(crate) fn reserve(bytes: usize) -> io::Result<NonZeroUsize> {
    let access = libc::PROT_READ | libc::PROT_WRITE;
    let kind = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
    // SAFETY: without MAP_FIXED and with a null hint the kernel picks an unused range, so no memory
    // that anybody knows of changes.
    let start = unsafe { libc::mmap(std::ptr::null_mut(), bytes, access, kind, -1, 0) };
    if start == libc::MAP_FAILED {
        let remedy = "address space for stacks is limited by RLIMIT_AS (ulimit -v), \
                      vm.overcommit_memory = 2, vm.max_map_count and, after mlockall, RLIMIT_MEMLOCK";
        return Err(refused(
            io::Error::last_os_error(),
            format!("reserve {bytes} bytes"),
            remedy,
        ));
    }
    NonZeroUsize::new(start as usize)
        .ok_or_else(|| io::Error::other("mmap reserved the null page (vm.mmap_min_addr is 0)"))
}

/// Gives a reserved range back.
///
/// # Safety
/// `span` lies within one range from [`reserve`], and nothing refers to any of it any more.
pub(crate) unsafe fn unmap(span: Span) -> io::Result<()> {
    // SAFETY: the caller owns the range and gives it up.
    check(unsafe { libc::munmap(span.start as *mut libc::c_void, span.bytes) })
}

/// Keeps huge pages off `span`: one touched byte must cost one small page. Kernels built without
/// huge pages refuse, and need no telling.
pub(crate) fn forbid_huge_pages(span: Span) {
    // SAFETY: this advice changes which page sizes the kernel picks later, never a byte of memory.
    let _ = unsafe { madvise(span, libc::MADV_NOHUGEPAGE) };
}

/// Makes every touch of `spans` a SIGSEGV for as long as they are mapped, whatever is discarded.
///
/// # Errors
/// `EINVAL` before Linux 6.13, and for memory locked by mlockall(2): use [`deny`].
///
/// # Safety
/// The spans are reserved, and nobody expects to read or write any of them.
pub(crate) unsafe fn guard(spans: &[Span]) -> io::Result<()> {
    // SAFETY: the caller's promise covers what this advice does: the ranges become untouchable.
    unsafe { advise(spans, MADV_GUARD_INSTALL) }
}

/// Brings the pages of `spans` into memory, as a write would, without changing what they hold.
///
/// A failure loses nothing but the head start: the first touch then faults as usual.
pub(crate) fn populate(spans: &[Span]) -> io::Result<()> {
    // SAFETY: MADV_POPULATE_WRITE "prefaults page tables writable" and writes nothing (madvise(2)).
    unsafe { advise(spans, libc::MADV_POPULATE_WRITE) }
}

/// Gives the pages of `spans` back; the ranges stay reserved and read as zeros, guards stay put.
///
/// # Errors
/// `EINVAL` for memory locked by mlockall(2), which keeps its pages and its contents.
///
/// # Safety
/// The spans are reserved, and nobody cares for what they hold.
pub(crate) unsafe fn discard(spans: &[Span]) -> io::Result<()> {
    // SAFETY: the caller's promise covers what this advice does: the contents are lost.
    unsafe { advise(spans, libc::MADV_DONTNEED) }
}

/// Makes every touch of `span` a SIGSEGV, at the price of a mapping of its own.
///
/// # Errors
/// `ENOMEM` when the process has no mapping left (`vm.max_map_count`).
///
/// # Safety
/// The span is reserved, and nobody expects to read or write any of it until [`allow`].
pub(crate) unsafe fn deny(span: Span) -> io::Result<()> {
    // SAFETY: as the caller promises.
    unsafe { protect(span, libc::PROT_NONE) }
}

/// Undoes [`deny`].
///
/// # Safety
/// The span is reserved, and no guard that somebody relies upon lies in it.
pub(crate) unsafe fn allow(span: Span) -> io::Result<()> {
    // SAFETY: as the caller promises.
    unsafe { protect(span, libc::PROT_READ | libc::PROT_WRITE) }
}

/// Asks for each page from `start` on whether it is in memory: bit 0 of its byte in `pages`.
pub(crate) fn resident(start: usize, page_bytes: usize, pages: &mut [u8]) -> io::Result<()> {
    let bytes = pages.len() * page_bytes;
    // SAFETY: mincore(2) writes one byte for each page of the range, which is `pages.len()` bytes;
    // it only looks the range up, and answers ENOMEM where nothing is mapped.
    check(unsafe { libc::mincore(start as *mut libc::c_void, bytes, pages.as_mut_ptr()) })
}

/// How many mappings this process may have: `vm.max_map_count`, or its default where unreadable.
pub(crate) fn mappings_max() -> usize {
    let text = std::fs::read_to_string("/proc/sys/vm/max_map_count").unwrap_or_default();
    text.trim().parse().unwrap_or(65_530)
}

/// What the kernel says when memory, or mappings of it, have run out.
pub(crate) fn out_of_memory() -> io::Error {
    io::Error::from_raw_os_error(libc::ENOMEM)
}

/// An error that keeps its errno (`source`) and says which limit was hit and how to raise it.
#[cold]
pub(crate) fn refused(cause: io::Error, attempt: String, remedy: &'static str) -> io::Error {
    let kind = cause.kind();
    let refusal = Refusal {
        attempt,
        cause,
        remedy,
    };
    io::Error::new(kind, refusal)
}

/// See [`refused`].
#[derive(Debug)]
struct Refusal {
    attempt: String,
    cause: io::Error,
    remedy: &'static str,
}

impl fmt::Display for Refusal {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            attempt,
            cause,
            remedy,
        } = self;
        write!(out, "cannot {attempt}: {cause}; {remedy}")
    }
}

impl Error for Refusal {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.cause)
    }
}

/// Advises all spans: in one call where the kernel can, else (and for what it left) one by one,
/// which also tells the true errno.
///
/// # Safety
/// As `advice` demands of the spans.
unsafe fn advise(spans: &[Span], advice: libc::c_int) -> io::Result<()> {
    let done = match spans {
        [] | [_] => 0,
        // SAFETY: passed on.
        _ => unsafe { advise_together(spans, advice) },
    };
    for &span in &spans[done..] {
        // SAFETY: passed on.
        unsafe { madvise(span, advice)? };
    }
    Ok(())
}

/// Advises the spans in one system call; returns how many of them, from the front, are done.
///
/// # Safety
/// As `advice` demands of the spans.
unsafe fn advise_together(spans: &[Span], advice: libc::c_int) -> usize {
    let flags: libc::c_uint = 0;
    // SAFETY: `Span` is laid out as iovec (asserted above) and the slice outlives the call; what
    // happens to the ranges is what the caller asked for.
    let bytes = unsafe {
        libc::syscall(
            libc::SYS_process_madvise,
            PIDFD_SELF,
            spans.as_ptr(),
            spans.len(),
            advice,
            flags,
        )
    };
    // A negative answer (old kernel, seccomp) advised nothing; a short one stopped at a failure.
    let mut left = usize::try_from(bytes).unwrap_or(0);
    let whole = spans.iter().take_while(|span| {
        let fits = span.bytes <= left;
        left = left.saturating_sub(span.bytes);
        fits
    });
    whole.count()
}

/// # Safety
/// As `advice` demands of the span.
unsafe fn madvise(span: Span, advice: libc::c_int) -> io::Result<()> {
    // SAFETY: passed on.
    check(unsafe { libc::madvise(span.start as *mut libc::c_void, span.bytes, advice) })
}

/// # Safety
/// The span is reserved, and nobody relies on the access that it loses or on a fault that it gains.
unsafe fn protect(span: Span, access: libc::c_int) -> io::Result<()> {
    // SAFETY: passed on.
    check(unsafe { libc::mprotect(span.start as *mut libc::c_void, span.bytes, access) })
}

fn check(status: libc::c_int) -> io::Result<()> {
    if status == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refused_reservation_names_the_limits_and_keeps_errno() {
        let error = reserve(usize::MAX & !(page_bytes() - 1)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::OutOfMemory);
        assert!(error.to_string().contains("RLIMIT_AS"), "{error}");
        let cause = error.get_ref().and_then(|refusal| refusal.source());
        let cause = cause.and_then(|cause| cause.downcast_ref::<io::Error>());
        assert_eq!(
            cause.and_then(io::Error::raw_os_error),
            Some(libc::ENOMEM),
            "errno is reachable as the source"
        );
    }

    #[test]
    fn discarded_pages_read_as_zeros_and_are_not_resident() {
        let page = page_bytes();
        let start = reserve(4 * page).unwrap().get();
        let spans = [start, start + 2 * page].map(|start| Span { start, bytes: page });
        let mut pages = [0; 4];

        populate(&spans).unwrap();
        resident(start, page, &mut pages).unwrap();
        assert_eq!(
            pages.map(|bits| bits & 1),
            [1, 0, 1, 0],
            "exactly the batch"
        );

        let word = start as *mut u64;
        // SAFETY: the test owns the range, which is mapped until its last line.
        unsafe { word.write_volatile(7) };
        // SAFETY: nobody but the next lines looks at the range.
        unsafe { discard(&spans).unwrap() };
        resident(start, page, &mut pages).unwrap();
        assert_eq!(pages.map(|bits| bits & 1), [0; 4]);
        // SAFETY: as above.
        assert_eq!(unsafe { word.read_volatile() }, 0);

        let bytes = 4 * page;
        // SAFETY: the test is done with the range.
        unsafe { unmap(Span { start, bytes }).unwrap() };
    }
}
