//! A program that is built with `panic = "abort"`; `pa6_..` of `process_faults` runs it, one word at a time.

use runtime::generator::Generator;
use runtime::{coroutine, time};

fn main() {
    match std::env::args().nth(1).as_deref() {
        Some("runs") => runtime::run(|| assert_eq!(runtime::spawn(|| 7).join().unwrap(), 7)),
        Some("leaves") => leaves_three_behind(),
        Some("drops") => drops_a_runtime(),
        Some("generates") => drops_a_generator(),
        Some("cancels") => runtime::run(|| {
            let parked = runtime::spawn(coroutine::park);
            runtime::yield_now();
            parked.cancel();
            println!("joined: {}", parked.join().is_err());
        }),
        Some("bounds") => runtime::run(|| {
            let bounded = time::timeout(time::Duration::from_millis(1), coroutine::park);
            println!("bounded: {}", bounded.is_err());
        }),
        Some("panics") => runtime::run(|| drop(runtime::spawn(|| panic!("on purpose")).join())),
        word => panic!("not a word that I know: {word:?}"),
    }
    println!("ended");
}

struct Local;

impl Drop for Local {
    fn drop(&mut self) {
        println!("unwound");
    }
}

fn park_three() {
    for _ in 0..3 {
        runtime::spawn(|| {
            let _local = Local;
            coroutine::park();
        });
    }
    runtime::yield_now();
}

fn leaves_three_behind() {
    let grace = time::Duration::from_millis(50);
    let runtime = runtime::Builder::new().grace(grace).build().unwrap();
    runtime.run(park_three);
    println!("returned");
}

fn drops_a_runtime() {
    let runtime = runtime::Builder::new().build().unwrap();
    runtime.spawn(park_three);
    runtime.run_ready();
    drop(runtime);
}

fn drops_a_generator() {
    let mut generator = Generator::<(), (), ()>::new(|y, ()| {
        let _local = Local;
        y.suspend(());
    });
    generator.resume(());
    drop(generator);
}
