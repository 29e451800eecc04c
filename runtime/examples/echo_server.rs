//! A server as in a textbook on blocking sockets: a loop that accepts, a coroutine for each connection.
//!
//! ```sh
//! cargo run -p runtime --example echo_server              # on 127.0.0.1:7007, or the address given
//! nc 127.0.0.1 7007                                       # in another terminal, several at a time
//! ```
//!
//! See each line come back, however many talk at once. Ctrl-C ends it in order: connections that are open are
//! cancelled, and it says how many there have been.

use std::cell::Cell;
use std::io::{self, Read, Write};

use runtime::net::{TcpListener, TcpStream};
use runtime::{signal, spawn_local};

fn main() -> io::Result<()> {
    let address = std::env::args().nth(1);
    runtime::run(|| {
        let listener = TcpListener::bind(address.as_deref().unwrap_or("127.0.0.1:7007"))?;
        println!("listening on {}", listener.local_addr()?);
        let server = spawn_local(move || serve(&listener));
        signal::ctrl_c()?;
        server.cancel();
        let _ = server.join();
        println!("served {} connections", SERVED.get());
        Ok(())
    }) // whoever still talks is cancelled here, and its connection closed
}

fn serve(listener: &TcpListener) -> io::Result<()> {
    loop {
        let (stream, _peer) = listener.accept()?;
        SERVED.set(SERVED.get() + 1);
        spawn_local(move || {
            // It is this one's affair alone, how its connection ends.
            if let Err(error) = echo(&stream) {
                eprintln!("{error}");
            }
        });
    }
}

fn echo(mut stream: &TcpStream) -> io::Result<()> {
    let mut buffer = [0; 4096];
    loop {
        match stream.read(&mut buffer)? {
            0 => return Ok(()),
            length => stream.write_all(&buffer[..length])?,
        }
    }
}

thread_local! {
    // All coroutines of a worker share its thread-locals.
    static SERVED: Cell<u32> = const { Cell::new(0) };
}
