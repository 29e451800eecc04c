//! Foreign code and foreign threads: C, compiled when the test runs, and threads that std has not started.

use std::ffi::{CString, c_void};
use std::fs;
use std::path::PathBuf;
use std::process::{self, Command};

/// Compiles `source`, loads it, and returns the address of its function `name`. Stays loaded.
///
/// gcc is told not to probe large frames page by page, which some distributions make it do by default.
pub fn c_function(source: &str, name: &str) -> *mut c_void {
    let stem = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}", process::id()));
    let (code, library) = (stem.with_extension("c"), stem.with_extension("so"));
    fs::write(&code, source).unwrap();
    let compiled = Command::new("cc")
        .args([
            "-O1",
            "-fno-optimize-sibling-calls",
            "-fno-stack-clash-protection",
            "-fno-stack-protector",
        ])
        .args(["-shared", "-fPIC", "-o"])
        .args([&library, &code])
        .status()
        .expect("this test needs a C compiler, `cc`");
    assert!(compiled.success());
    let path = CString::new(library.to_str().unwrap()).unwrap();
    // SAFETY: a library of ours without initializers; the path is a C string.
    let handle = unsafe { libc::dlopen(path.as_ptr(), libc::RTLD_NOW) };
    assert!(!handle.is_null());
    let symbol = CString::new(name).unwrap();
    // SAFETY: the handle was just opened, and is never closed.
    let function = unsafe { libc::dlsym(handle, symbol.as_ptr()) };
    assert!(!function.is_null());
    fs::remove_file(code).unwrap();
    fs::remove_file(library).unwrap();
    function
}

/// Runs `body` on a thread that std knows nothing of, and that has no alternate signal stack; waits for it.
pub fn on_foreign_thread(body: fn()) {
    extern "C" fn start(body: *mut c_void) -> *mut c_void {
        // SAFETY: the pointer is the `fn()` below.
        let body = unsafe { std::mem::transmute::<*mut c_void, fn()>(body) };
        body();
        std::ptr::null_mut()
    }
    let mut thread = 0;
    // SAFETY: `start` takes what it is given here; `thread` is written during the call.
    let started =
        unsafe { libc::pthread_create(&mut thread, std::ptr::null(), start, body as *mut c_void) };
    assert_eq!(started, 0);
    // SAFETY: the thread was just started, and is joined once.
    let joined = unsafe { libc::pthread_join(thread, std::ptr::null_mut()) };
    assert_eq!(joined, 0);
}
