//! glibc's list of a thread's destructors: where its head is, and how to put one in front.

use std::ffi::{c_int, c_void};

use super::Link;
use crate::seam::sync::real::atomic::{AtomicUsize, Ordering};

type Destructor = extern "C" fn(*const c_void);

// SAFETY: the Itanium C++ ABI gives the signature of the first, and glibc has it since 2.18. The second is in every
// program and library, and only its address is taken.
unsafe extern "C" {
    fn __cxa_thread_atexit_impl(
        run: Destructor,
        object: *const c_void,
        library: *const c_void,
    ) -> c_int;
    static __dso_handle: c_void;
}

/// Puts a destructor at the head of the calling thread's list; false if that is refused.
pub(super) fn register(run: Destructor, object: *const c_void) -> bool {
    // SAFETY: `run` is called once, with the object; the handle keeps the library loaded that `run` is in.
    unsafe { __cxa_thread_atexit_impl(run, object, &raw const __dso_handle) == 0 }
}

/// An entry of the list, as glibc has it since it has the list.
#[repr(C)]
#[derive(Clone, Copy)]
struct Node {
    run: usize,
    object: *const c_void,
    library: usize,
    next: Link,
}

/// Which word of the C library's thread-local memory the head is; or one of these.
static PLACE: AtomicUsize = AtomicUsize::new(NOT_LOOKED);
const NOT_LOOKED: usize = usize::MAX;
const NOWHERE: usize = usize::MAX - 1;

/// Where the head of the calling thread's list lies.
pub(super) fn head() -> Option<*const Link> {
    let memory = Memory::of_this_thread()?;
    let mut place = PLACE.load(Ordering::Relaxed);
    if place == NOT_LOOKED {
        // Whoever else looks at the same time finds the same.
        let found = if fails() { None } else { memory.find_head() };
        place = found.unwrap_or(NOWHERE);
        PLACE.store(place, Ordering::Relaxed);
    }
    (place < memory.words).then(|| memory.start.wrapping_add(place).cast())
}

/// The environment can have it not be found, to test what is done then: `RUNTIME_FAIL=destructor_list`.
fn fails() -> bool {
    let failures = std::env::var("RUNTIME_FAIL").unwrap_or_default();
    failures
        .split(',')
        .any(|failure| failure == "destructor_list")
}

/// The C library's own thread-locals, of the calling thread.
struct Memory {
    start: *const usize,
    words: usize,
}

impl Memory {
    /// The block that `errno` is in; so it is found also where the C library is a part of the program.
    fn of_this_thread() -> Option<Self> {
        // SAFETY: takes nothing, returns an address.
        let errno = unsafe { libc::__errno_location() };
        let mut search = Search {
            errno: errno.addr(),
            found: None,
        };
        // SAFETY: `look` keeps the contract of the callback, and takes `search` for what it is.
        unsafe { libc::dl_iterate_phdr(Some(look), (&raw mut search).cast()) };
        search.found
    }

    /// The one word that two registrations both change, and to what they have registered.
    fn find_head(&self) -> Option<usize> {
        extern "C" fn nothing(_: *const c_void) {}
        static OBJECTS: [u8; 2] = [0; 2];
        let objects = [0, 1].map(|n| (&raw const OBJECTS[n]).cast());
        let [mut before, mut between, mut after] = [(); 3].map(|()| Vec::with_capacity(self.words));
        self.read(&mut before);
        register(nothing, objects[0]).then_some(())?;
        self.read(&mut between);
        register(nothing, objects[1]).then_some(())?;
        self.read(&mut after);

        let has_changed = |&n: &usize| before[n] != between[n] && between[n] != after[n];
        let mut changed = (0..self.words).filter(has_changed);
        let (Some(place), None) = (changed.next(), changed.next()) else {
            return None;
        };
        let nodes = [between[place], after[place]].map(std::ptr::with_exposed_provenance::<Node>);
        if nodes
            .iter()
            .any(|node| node.is_null() || !node.is_aligned())
        {
            return None;
        }
        // SAFETY: a variable of the C library that changes to another address whenever a destructor is registered,
        // alone among all its variables, has that of what it keeps of the destructor: four words, until it runs.
        let [first, second] = nodes.map(|node| unsafe { node.read_volatile() });
        let as_expected = [first.object, second.object] == objects
            && first.next.addr() == before[place]
            && second.next.addr() == between[place];
        as_expected.then_some(place)
    }

    fn read(&self, words: &mut Vec<usize>) {
        for n in 0..self.words {
            // SAFETY: inside the block, aligned, and this thread's.
            words.push(unsafe { self.start.wrapping_add(n).read_volatile() });
        }
    }
}

/// Which library has `errno` among its thread-locals?
struct Search {
    errno: usize,
    found: Option<Memory>,
}

/// Looks at one library; returns whether it is the one.
///
/// # Safety
/// As dl_iterate_phdr(3) calls it: `info` is valid during the call, and `search` is the `Search` that it was given.
unsafe extern "C" fn look(info: *mut libc::dl_phdr_info, _: usize, search: *mut c_void) -> c_int {
    // SAFETY: dl_iterate_phdr(3) gives a valid `info` with that many headers; `search` is the one above.
    let (info, headers, search) = unsafe {
        let info = &*info;
        let headers = std::slice::from_raw_parts(info.dlpi_phdr, info.dlpi_phnum.into());
        (info, headers, &mut *search.cast::<Search>())
    };
    let start = info.dlpi_tls_data.cast_const().cast::<usize>();
    let tls = headers.iter().find(|header| header.p_type == libc::PT_TLS);
    let bytes = tls.map_or(0, |header| header.p_memsz as usize);
    if start.is_aligned() && (start.addr()..start.addr() + bytes).contains(&search.errno) {
        let words = bytes / size_of::<usize>();
        search.found = Some(Memory { start, words });
    }
    c_int::from(search.found.is_some())
}
