//! Faults on stacks, each test bearing its id: overflows are explained, all other faults left to whom they belong,
//! and signals handled at any depth. What stacks are made of is in `stack_memory`.

mod support;

use std::ffi::{c_int, c_void};
use std::hint::black_box;
use std::io;
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicUsize, Ordering};
use std::thread;

use runtime::generator::Generator;
use runtime::{Builder, coroutine};
use support::foreign::{c_function, on_foreign_thread};
use support::{GUARDS, child, recurse};

/// Runs `f` in a coroutine called 'parser', on a stack of 64 KiB, and waits for it.
fn in_parser<T: 'static>(f: impl FnOnce() -> T + 'static) -> coroutine::Result<T> {
    coroutine::Builder::new()
        .name("parser")
        .spawn_local(f)
        .unwrap()
        .join()
}

// ---- Overflows are reported ------------------------------------------------------------------------

#[test]
fn st1_infinite_recursion_is_reported_by_name_and_aborts() {
    for guard in GUARDS {
        let end = child().guarded(guard).run(|_| {
            runtime::run(|| in_parser(|| recurse(0))).unwrap();
        });
        end.overflowed("parser", 64)
            .says("\n  spawned at tests/stack_faults.rs:")
            .says(".stack_size(131072)\n  ")
            .says(" calls were on it, the innermost with a frame of ")
            .says("recurse, "); // with its path where it is not inlined
    }
}

#[test]
fn st1_a_frame_of_a_mebibyte_is_named_and_the_size_that_it_would_have_fitted_into() {
    #[inline(never)]
    fn makes_a_large_frame() {
        let mut frame = [0_u8; 1 << 20];
        black_box(&mut frame);
    }
    for workers in [1, 2] {
        let end = child().given(workers).run(|given| {
            let workers = given.parse().unwrap();
            let runtime = Builder::new().workers(workers).build().unwrap();
            runtime.run(|| in_parser(makes_a_large_frame)).unwrap();
        });
        end.overflowed("parser", 64)
            .says(&format!(".stack_size({})", 2 << 20));
        let report: Vec<&str> = end
            .stderr
            .lines()
            .skip_while(|line| !line.contains("calls were on it"))
            .collect();
        let (_, bytes) = report[0].split_once("with a frame of ").unwrap();
        let bytes = bytes.strip_suffix(" bytes:").unwrap().parse().unwrap();
        assert!((1 << 20..(1 << 20) + 4096).contains(&bytes), "{end}");
        assert!(report[1].ends_with("makes_a_large_frame"), "{end}");
    }
}

#[test]
fn st1_infinite_recursion_on_another_workers_thread_is_reported_too() {
    for guard in GUARDS {
        let end = child().guarded(guard).run(|_| {
            static STARTED: AtomicBool = AtomicBool::new(false);
            Builder::new().workers(2).build().unwrap().run(|| {
                let elsewhere = coroutine::Builder::new().name("stolen");
                let _child = elsewhere.spawn(|| {
                    STARTED.store(true, Ordering::Relaxed);
                    recurse(0)
                });
                // Never yields, so that the child cannot start here.
                while !STARTED.load(Ordering::Relaxed) || black_box(true) {
                    std::hint::spin_loop();
                }
            });
        });
        end.overflowed("stolen", 64);
    }
}

#[test]
fn st1_the_report_names_who_runs_on_the_stack_now() {
    let end = child().run(|_| {
        runtime::run(|| {
            (0..100).for_each(|_| in_parser(|| ()).unwrap());
            coroutine::spawn(|| recurse(0)).join()
        })
        .unwrap();
    });
    end.overflowed("<unnamed>", 64).never_says("parser");
}

#[test]
fn st1_the_first_coroutine_is_reported_too_with_the_size_it_has() {
    let end = child().run(|_| {
        Builder::new()
            .stack_size(100_000)
            .name("first")
            .build()
            .unwrap()
            .run(|| recurse(0));
    });
    end.overflowed("first", 100).says(".stack_size(204800)");
}

/// Resumes a generator that recurses without end.
fn overflow_generator() {
    let mut generator = Generator::<(), (), u64>::new(|_, ()| recurse(0));
    black_box(generator.resume(()));
}

#[test]
fn st1_the_overflow_of_a_generator_is_reported_in_a_coroutine() {
    child()
        .run(|_| runtime::run(overflow_generator))
        .overflowed("generator", 64);
}

#[test]
fn st1_the_overflow_of_a_generator_is_reported_on_a_plain_thread() {
    child()
        .run(|_| overflow_generator())
        .overflowed("generator", 64);
}

#[test]
fn st6_the_overflow_of_a_generator_is_reported_on_a_thread_that_std_did_not_start() {
    let end = child().run(|_| {
        runtime::run(|| ());
        on_foreign_thread(overflow_generator);
    });
    end.overflowed("generator", 64);
}

#[test]
fn st2_a_frame_larger_than_the_stack_is_reported() {
    #[inline(never)]
    fn large_frame() -> u8 {
        let mut frame = [1_u8; 1 << 20];
        black_box(&mut frame)[77]
    }
    for guard in GUARDS {
        let end = child().guarded(guard).run(|_| {
            runtime::run(|| in_parser(large_frame)).unwrap();
        });
        end.overflowed("parser", 64);
    }
}

#[test]
fn st3_recursion_of_c_code_is_reported() {
    for guard in GUARDS {
        let end = child().guarded(guard).run(|_| {
            const SOURCE: &str = "
                int recurse_in_c(int depth) {
                    volatile char frame[200];
                    frame[depth % 200] = 1;
                    return recurse_in_c(depth + 1) + frame[(depth + 1) % 200];
                }";
            let function = c_function(SOURCE, "recurse_in_c");
            // SAFETY: the function is what the source says.
            let function: extern "C" fn(c_int) -> c_int = unsafe { std::mem::transmute(function) };
            runtime::run(|| in_parser(move || function(0))).unwrap();
        });
        end.overflowed("parser", 64);
    }
}

#[test]
fn st4_a_guard_stops_a_foreign_frame_of_its_size_and_is_stepped_over_by_a_larger_one() {
    // The frame touches its lowest byte only, and no page before: 170 KiB below the top of a stack is the
    // middle of another one, two and a half slots of 68 KiB away.
    const SOURCE: &str = "
        char one_large_frame(void) {
            volatile char frame[170 * 1024];
            frame[0] = 1;
            return frame[0];
        }";
    for guard_kib in [4, 172] {
        let end = child().given(guard_kib).run(|guard_kib| {
            let guard_kib: usize = guard_kib.parse().unwrap();
            let function = c_function(SOURCE, "one_large_frame");
            // SAFETY: the function is what the source says.
            let function: extern "C" fn() -> i8 = unsafe { std::mem::transmute(function) };
            let runtime = Builder::new().guard_size(guard_kib << 10).build().unwrap();
            let hit = runtime.run(move || {
                // Stacks are handed out upwards: these lie below the one that the frame is on.
                let neighbours: Vec<_> =
                    (0..8).map(|_| coroutine::spawn(coroutine::park)).collect();
                runtime::yield_now();
                let hit = in_parser(move || function());
                drop(neighbours);
                hit.unwrap()
            });
            println!("hit={hit}");
        });
        match guard_kib {
            // The limit that `Builder::guard_size` documents: nobody notices.
            4 => assert_eq!(end.returned().figure::<i8>("hit"), 1),
            _ => drop(end.overflowed("parser", 64)),
        }
    }
}

#[test]
fn st6_an_overflow_on_a_thread_that_std_did_not_start_is_reported() {
    for guard in GUARDS {
        let end = child().guarded(guard).run(|_| {
            on_foreign_thread(|| drop(runtime::run(|| in_parser(|| recurse(0)))));
        });
        end.overflowed("parser", 64);
    }
}

// ---- All other faults are not ours -----------------------------------------------------------------

fn wild_write() {
    let nowhere = ptr::without_provenance_mut::<u8>(0x1234_5000);
    // SAFETY: none: nothing is mapped there, and the fault is what the test is about.
    unsafe { black_box(nowhere).write_volatile(1) };
}

#[test]
fn st5_the_overflow_of_a_threads_own_stack_is_left_to_std() {
    let end = child().run(|_| {
        runtime::run(|| ());
        let thread = thread::Builder::new().name("plain".into());
        let _ = thread.spawn(|| recurse(0)).unwrap().join();
    });
    end.died_of(libc::SIGABRT)
        .says("thread 'plain'")
        .says("has overflowed its stack")
        .never_says("coroutine");
}

#[test]
fn st5_a_wild_pointer_in_a_coroutine_is_a_plain_segmentation_fault() {
    for guard in GUARDS {
        let end = child().guarded(guard).run(|_| {
            runtime::run(|| in_parser(wild_write)).unwrap();
        });
        end.faulted_silently();
    }
}

fn overflow() {
    black_box(recurse(0));
}

type Action = extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void);

/// Installs a handler of the user's, as C programs do; returns the one before.
fn handle(signal: c_int, handler: Action) -> libc::sigaction {
    // SAFETY: all zeroes is a sigaction; the handler fits its flags; the kernel writes `old` during the call.
    unsafe {
        let mut new: libc::sigaction = std::mem::zeroed();
        let mut old: libc::sigaction = std::mem::zeroed();
        new.sa_sigaction = handler as *const () as usize;
        new.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
        assert_eq!(
            libc::sigaction(signal, &new, &mut old),
            0,
            "{}",
            io::Error::last_os_error()
        );
        old
    }
}

fn write_stderr(text: &str) {
    // SAFETY: write(2) reads the text during the call, and may be called in a signal handler.
    unsafe { libc::write(libc::STDERR_FILENO, text.as_ptr().cast(), text.len()) };
}

#[test]
fn st7_a_handler_installed_before_ours_gets_all_other_faults() {
    extern "C" fn users(_: c_int, _: *mut libc::siginfo_t, _: *mut c_void) {
        write_stderr("the user's handler\n");
        // SAFETY: ends the process; may be called in a signal handler.
        unsafe { libc::_exit(77) };
    }
    for fault in ["wild", "overflow"] {
        let end = child().given(fault).run(|fault| {
            handle(libc::SIGSEGV, users);
            let wild = fault == "wild";
            runtime::run(|| in_parser(move || if wild { wild_write() } else { overflow() }))
                .unwrap();
        });
        match fault {
            "wild" => assert_eq!(
                end.says("the user's handler").status.code(),
                Some(77),
                "{end}"
            ),
            _ => drop(
                end.overflowed("parser", 64)
                    .never_says("the user's handler"),
            ),
        }
    }
}

#[test]
fn st7_a_handler_installed_after_ours_can_pass_faults_on_to_it() {
    static BEFORE: AtomicPtr<libc::sigaction> = AtomicPtr::new(ptr::null_mut());
    extern "C" fn users(signal: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
        write_stderr("the user's handler\n");
        // SAFETY: set before this handler can be called, and never freed.
        let before = unsafe { (*BEFORE.load(Ordering::Acquire)).sa_sigaction };
        // SAFETY: ours was there before, which is an `Action`.
        let before = unsafe { std::mem::transmute::<usize, Action>(before) };
        before(signal, info, context);
    }
    for fault in ["wild", "overflow"] {
        let end = child().given(fault).run(|fault| {
            runtime::run(|| ());
            let before = Box::leak(Box::new(handle(libc::SIGSEGV, users)));
            BEFORE.store(before, Ordering::Release);
            let wild = fault == "wild";
            runtime::run(|| in_parser(move || if wild { wild_write() } else { overflow() }))
                .unwrap();
        });
        end.says("the user's handler");
        match fault {
            "wild" => end.faulted_silently(),
            _ => end.overflowed("parser", 64),
        };
    }
}

#[test]
fn st7_without_reports_an_overflow_is_a_plain_segmentation_fault() {
    let end = child().run(|_| {
        let runtime = Builder::new().report_overflow(false).build().unwrap();
        runtime.run(|| in_parser(|| recurse(0))).unwrap();
    });
    end.faulted_silently();
}

// ---- Signals ----

#[test]
fn st13_a_signal_can_come_at_any_depth_of_a_stack() {
    static HANDLED: AtomicUsize = AtomicUsize::new(0);
    extern "C" fn users(_: c_int, _: *mut libc::siginfo_t, _: *mut c_void) {
        HANDLED.fetch_add(1, Ordering::Relaxed);
    }
    #[inline(never)]
    fn descend(depth: usize) -> usize {
        // SAFETY: takes a number; the handler is in place.
        unsafe { libc::raise(libc::SIGUSR1) };
        if depth.is_multiple_of(100) && HANDLED.load(Ordering::Relaxed) == depth + 1 {
            write_stderr("as many handled as raised\n");
        }
        if black_box(depth) == usize::MAX {
            0
        } else {
            descend(depth + 1) + black_box(1)
        }
    }
    for thread in ["std's", "foreign"] {
        let end = child().given(thread).run(|thread| {
            handle(libc::SIGUSR1, users);
            let run = || drop(runtime::run(|| in_parser(|| descend(0))));
            if thread == "foreign" {
                on_foreign_thread(run)
            } else {
                run()
            }
        });
        end.overflowed("parser", 64)
            .says("as many handled as raised");
    }
}

#[test]
fn st13_all_handlers_in_a_process_with_a_runtime_run_on_an_alternate_stack() {
    let end = child().run(|_| {
        let runtime = Builder::new().workers(2).build().unwrap();
        runtime.run(|| coroutine::spawn(|| ()).join()).unwrap();
        for signal in 1..=64 {
            // SAFETY: with a null new action, the kernel only writes `action`; all zeroes is one.
            let action = unsafe {
                let mut action: libc::sigaction = std::mem::zeroed();
                libc::sigaction(signal, ptr::null(), &mut action);
                action
            };
            let handled = ![libc::SIG_DFL, libc::SIG_IGN].contains(&action.sa_sigaction);
            assert!(
                !handled || action.sa_flags & libc::SA_ONSTACK != 0,
                "signal {signal}"
            );
        }
    });
    end.returned();
}
