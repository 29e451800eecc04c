//! The memory of stacks, each test bearing its id of FAULTS: sizes, a million of them, guards where the kernel has none
//! to give, what the next owner finds, and what fits on the smallest.

mod support;

use std::cell::Cell;
use std::hint::black_box;
use std::io::{self, ErrorKind};
use std::net::ToSocketAddrs as _;
use std::ptr;
use std::rc::Rc;
use std::time::Duration;

use runtime::Builder;
use runtime::coroutine::{self, JoinHandle};
use support::{child, os, panic_text, recurse, text_of, touch_stack};

/// Runs `f` in a coroutine called 'parser', on a stack of 64 KiB, and waits for it.
fn in_parser<T: 'static>(f: impl FnOnce() -> T + 'static) -> coroutine::Result<T> {
    coroutine::Builder::new()
        .name("parser")
        .spawn_local(f)
        .unwrap()
        .join()
}

// ---- Sizes -----------------------------------------------------------------------------------------

#[test]
fn st11_odd_sizes_of_stack_and_guard_are_rounded_up() {
    for bytes in [0, 1, 4095, 4097, 33_333, (64 << 10) + 1] {
        let runtime = Builder::new()
            .stack_size(bytes)
            .guard_size(bytes)
            .build()
            .unwrap();
        let answer = runtime.run(|| {
            let sized = coroutine::Builder::new().stack_size(bytes);
            sized.spawn(|| touch_stack(20 << 10)).unwrap().join()
        });
        assert_ne!(answer.unwrap(), 0, "{bytes}");
    }
}

#[test]
fn st11_absurd_sizes_are_errors_and_the_runtime_goes_on() {
    for bytes in [
        usize::MAX,
        usize::MAX - 4095,
        isize::MAX as usize,
        (isize::MAX as usize) + 1,
        1 << 50,
    ] {
        let (stack, guard) = (
            Builder::new().stack_size(bytes),
            Builder::new().guard_size(bytes),
        );
        assert_eq!(
            stack.build().unwrap_err().kind(),
            ErrorKind::InvalidInput,
            "{bytes}"
        );
        assert_eq!(
            guard.build().unwrap_err().kind(),
            ErrorKind::InvalidInput,
            "{bytes}"
        );
        runtime::run(|| {
            let error = coroutine::Builder::new()
                .stack_size(bytes)
                .spawn(|| ())
                .unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
            assert!(error.to_string().contains(&bytes.to_string()), "{error}");
            assert_eq!(runtime::spawn(|| 7).join().unwrap(), 7);
        });
    }
}

#[test]
fn st11_a_stack_beyond_the_address_space_allowed_is_an_error_that_names_the_limit() {
    let end = child().run(|_| {
        os::limit_address_space(256 << 20);
        runtime::run(|| {
            for bytes in [1 << 29, 1 << 34, 1 << 36] {
                let error = coroutine::Builder::new()
                    .stack_size(bytes)
                    .spawn(|| ())
                    .unwrap_err();
                assert_eq!(error.kind(), ErrorKind::OutOfMemory, "{error}");
                assert!(error.to_string().contains("RLIMIT_AS"), "{error}");
                assert_eq!(runtime::spawn(|| 7).join().unwrap(), 7);
            }
        });
        let runtime = Builder::new().stack_size(1 << 34).build().unwrap();
        let text = panic_text(|| runtime.run(|| ()));
        assert!(text.contains("RLIMIT_AS"), "{text}");
    });
    end.returned();
}

// ---- Very many -------------------------------------------------------------------------------------

/// Spawns `count` coroutines and lets each of them run until it parks.
fn park_many(count: usize) -> Vec<JoinHandle<()>> {
    let parked = Rc::new(Cell::new(0));
    let spawn_one = |_| {
        let parked = parked.clone();
        coroutine::spawn_local(move || {
            parked.set(parked.get() + 1);
            drop(parked);
            coroutine::park();
        })
    };
    let crowd: Vec<_> = (0..count).map(spawn_one).collect();
    while parked.get() < count {
        runtime::yield_now();
    }
    crowd
}

/// Cancels all of them and waits for them.
fn end_all(crowd: Vec<JoinHandle<()>>) {
    crowd.iter().for_each(JoinHandle::cancel);
    crowd
        .into_iter()
        .for_each(|one| assert!(one.join().is_err()));
}

#[test]
fn st10_a_million_guarded_stacks_are_fewer_than_100_mappings() {
    let count = if cfg!(debug_assertions) {
        100_000
    } else {
        1_000_000
    };
    let end = child().given(count).run(|count| {
        let count = count.parse().unwrap();
        runtime::run(|| {
            let mappings = os::mappings();
            let memory = os::resident_bytes() + os::page_table_bytes();
            let crowd = park_many(count);
            println!("mappings={}", os::mappings() - mappings);
            println!(
                "bytes={}",
                os::resident_bytes() + os::page_table_bytes() - memory
            );
            end_all(crowd);
        });
    });
    assert!(end.returned().figure::<usize>("mappings") < 100, "{end}");
    // Unoptimized frames need a second page on some stacks: those that begin further down than others.
    let most = if cfg!(debug_assertions) {
        2 * 4_700
    } else {
        4_700
    };
    let bytes_each = end.figure::<usize>("bytes") / count;
    assert!((4_096..=most).contains(&bytes_each), "{bytes_each}");
}

// ---- Kernels and processes that refuse guards by page-table entries ------------------------------------

#[test]
fn st8_a_kernel_without_guard_pages_is_told_once_and_gets_mappings() {
    let end = child().guarded("madv_guard").run(|_| {
        let runtime = Builder::new().workers(2).build().unwrap();
        let mappings_before = os::mappings();
        runtime.run(|| {
            let parked: Vec<_> = (0..200)
                .map(|_| coroutine::spawn_local(coroutine::park))
                .collect();
            runtime::yield_now();
            assert!(
                os::mappings() > mappings_before + 200,
                "each guard is a mapping"
            );
            drop(parked);
        });
    });
    let lines = end
        .returned()
        .stderr
        .matches("MADV_GUARD_INSTALL refused")
        .count();
    assert_eq!(lines, 1, "{end}");
}

#[test]
fn st9_a_process_that_locks_its_memory_can_spawn_and_has_guards() {
    let end = child().run(|_| {
        // SAFETY: takes a number.
        let locked = unsafe { libc::mlockall(libc::MCL_FUTURE) };
        assert_eq!(locked, 0, "{}", io::Error::last_os_error());
        runtime::run(|| {
            let children: Vec<_> = (0..20).map(|n| coroutine::spawn(move || n)).collect();
            let sum: u32 = children
                .into_iter()
                .map(|child| child.join().unwrap())
                .sum();
            println!("sum={sum}");
            in_parser(|| recurse(0))
        })
        .unwrap();
    });
    assert_eq!(
        end.overflowed("parser", 64)
            .says("MADV_GUARD_INSTALL refused")
            .figure::<u32>("sum"),
        190
    );
}

// ---- What is found on a stack ------------------------------------------------------------------------

#[test]
fn st12_a_zeroed_stack_holds_nothing_of_its_last_owner() {
    const SECRET: u64 = 0x5ec2_e75e_c2e7_5ec2;
    #[inline(never)]
    fn leave_secret() -> usize {
        let mut frame = [SECRET; 4096]; // its lowest word is 32 KiB down
        black_box(&mut frame).as_ptr().expose_provenance()
    }
    for zero in [false, true] {
        let runtime = Builder::new().zero_stacks(zero).build().unwrap();
        let found = runtime.run(|| {
            let place = in_parser(leave_secret).unwrap();
            in_parser(move || {
                let here = black_box(0_u8);
                assert!(
                    zero || (&raw const here).addr().abs_diff(place) < 64 << 10,
                    "the stack is used again"
                );
                // SAFETY: stacks stay mapped as long as their runtime, and nobody runs so far down this one.
                unsafe { ptr::with_exposed_provenance::<u64>(place).read_volatile() }
            })
            .unwrap()
        });
        assert_eq!(found, if zero { 0 } else { SECRET }, "zero_stacks({zero})");
    }
}

#[test]
fn st12_stacks_that_nobody_needs_give_their_memory_back() {
    const EACH: usize = 40 << 10;
    let end = child().run(|_| {
        let runtime = Builder::new().idle_stacks(16).build().unwrap();
        runtime.run(|| {
            let before = os::resident_bytes();
            let crowd: Vec<_> = (0..1_000)
                .map(|_| {
                    coroutine::spawn(|| {
                        touch_stack(EACH);
                        coroutine::park();
                    })
                })
                .collect();
            runtime::yield_now();
            let busy = os::resident_bytes() - before;
            assert!(busy > 900 * EACH, "{busy}");
            crowd.iter().for_each(coroutine::JoinHandle::cancel);
            crowd.into_iter().for_each(|child| drop(child.join()));
            // At most 16 idle stacks and a batch of 32 keep what they had, and a share for page tables.
            while os::resident_bytes() > before + (16 + 32) * (64 << 10) + (1 << 20) {
                coroutine::sleep(Duration::from_millis(10));
            }
        });
    });
    end.returned();
}

#[test]
fn st14_a_panic_with_a_backtrace_fits_on_the_smallest_stack() {
    for backtrace in ["1", "full"] {
        let end = child().with_env("RUST_BACKTRACE", backtrace).run(|_| {
            runtime::run(|| {
                let small = coroutine::Builder::new().stack_size(1);
                let payload = small
                    .spawn(|| panic!("said by a small one"))
                    .unwrap()
                    .join()
                    .unwrap_err();
                assert_eq!(text_of(&*payload), "said by a small one");
            });
        });
        end.returned()
            .says("said by a small one")
            .says("stack backtrace:");
    }
}

#[test]
fn st15_a_name_is_looked_up_on_another_thread_or_not_at_all() {
    for threads in [1, 0] {
        let end = child().given(threads).run(|threads| {
            let can_be_had = os::limit_threads(threads.parse().unwrap()) && threads != "0";
            // A watchdog would be the one thread.
            let runtime = Builder::new().stall_after(None).build().unwrap();
            runtime.run(|| {
                let small = coroutine::Builder::new().stack_size(1);
                let look_up =
                    || runtime::net::ToSocketAddrs::to_socket_addrs(&("localhost", 80)).is_ok();
                assert_eq!(small.spawn(look_up).unwrap().join().unwrap(), can_be_had);
            });
        });
        end.returned();
    }
}

#[test]
fn st15_a_name_looked_up_in_place_fits_on_the_smallest_stack() {
    let end = child().run(|_| {
        runtime::run(|| {
            let small = coroutine::Builder::new().stack_size(1);
            let look_up = || ("localhost", 80).to_socket_addrs().unwrap().count();
            assert!(small.spawn(look_up).unwrap().join().unwrap() > 0);
        });
    });
    end.returned();
}

#[test]
fn st16_a_protected_stack_faults_when_it_is_used_after_its_coroutine_has_ended() {
    for protect in [false, true] {
        let end = child().given(protect).run(|protect| {
            let runtime = Builder::new()
                .protect_idle_stacks(protect == "true")
                .build()
                .unwrap();
            runtime.run(|| {
                let dangling = in_parser(|| touch_stack(8 << 10)).unwrap();
                runtime::yield_now();
                // SAFETY: none: nobody owns that place any more, which is what the test is about.
                unsafe { ptr::with_exposed_provenance_mut::<u8>(dangling).write_volatile(1) };
            });
        });
        if protect {
            end.faulted_silently()
        } else {
            end.returned()
        };
    }
}
