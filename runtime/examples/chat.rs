//! A chat room for browsers, over `tungstenite`, a WebSocket library for blocking streams.
//!
//! ```text
//!   browser ──► a coroutine that reads, by tungstenite ──► a text: into the outboxes of all
//!                                   └── answers to pings and closes: into that of this guest
//!   browser ◄── a coroutine that writes ◄── the outbox, a bounded channel
//! ```
//!
//! Two coroutines for each guest, since a chat reads and writes at any time; the channel keeps whole what two would
//! otherwise write at once. All live on one thread, so the room is a plain `RefCell`. Whoever is too slow to read what the
//! others say fills an outbox, and is put out of the room instead of being waited for.
//!
//! ```sh
//! cargo run -p runtime --example chat     # on 127.0.0.1:8088, or the address given
//! xdg-open http://127.0.0.1:8088/         # twice or more often; any browser will do
//! ```
//!
//! See what is typed in one window in all of them. Ctrl-C ends it.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::rc::Rc;
use std::time::Duration;

use runtime::channel::{self, Receiver, Sender};
use runtime::net::{Shutdown, TcpListener, TcpStream};
use runtime::{signal, spawn_local, time};
use tungstenite::handshake::derive_accept_key;
use tungstenite::protocol::frame::Frame;
use tungstenite::protocol::frame::coding::{Data, OpCode};
use tungstenite::protocol::{Role, WebSocket, WebSocketConfig};
use tungstenite::{Message, Utf8Bytes};

const PAGE: &str = include_str!("chat.html");

/// So many messages may wait for a guest.
const BEHIND_MAX: usize = 64;
/// A longer text ends its writer's visit.
const TEXT_MAX: usize = 4096;
/// A browser may take so long to say what it wants.
const PATIENCE: Duration = Duration::from_secs(10);

fn main() -> io::Result<()> {
    let address = std::env::args().nth(1);
    runtime::run(|| {
        let listener = TcpListener::bind(address.as_deref().unwrap_or("127.0.0.1:8088"))?;
        println!("listening on http://{}/", listener.local_addr()?);
        let room = Rc::new(Room::default());
        spawn_local(move || {
            for stream in listener.into_incoming() {
                let room = Rc::clone(&room);
                spawn_local(move || receive(&room, stream?));
            }
            io::Result::Ok(())
        });
        signal::ctrl_c()
    })
}

#[derive(Default)]
struct Room {
    guests: RefCell<BTreeMap<u32, Guest>>,
    /// How many there have been.
    came: Cell<u32>,
}

/// A message as it goes over the wire: made once, whoever many it is for.
type Letter = Rc<[u8]>;

struct Guest {
    stream: Rc<TcpStream>,
    outbox: Sender<Letter>,
}

impl Room {
    fn enter(&self, guest: Guest) -> u32 {
        self.came.set(self.came.get() + 1);
        let number = self.came.get();
        self.guests.borrow_mut().insert(number, guest);
        self.tell_all(&format!("guest {number} has come"));
        number
    }

    fn leave(&self, number: u32) {
        self.guests.borrow_mut().remove(&number);
        self.tell_all(&format!("guest {number} has left"));
    }

    fn tell_all(&self, text: &str) {
        let text = Utf8Bytes::from(text);
        let frame = Frame::message(text, OpCode::Data(Data::Text), true);
        let mut letter = Vec::new();
        frame.format(&mut letter).expect("a vector takes all");
        let letter = Letter::from(letter);
        // Nothing in here waits, so nobody else finds the guests borrowed.
        for guest in self.guests.borrow().values() {
            if guest.outbox.try_send(Rc::clone(&letter)).is_err() {
                // Reading ends now, and with that the visit.
                let _ = guest.stream.shutdown(Shutdown::Both);
            }
        }
    }
}

/// One connection: the page, or a visit.
fn receive(room: &Room, stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let request = time::timeout(PATIENCE, || read_request(&stream));
    let (key, rest) = request.map_err(|_elapsed| io::ErrorKind::TimedOut)??;
    let Some(key) = key else {
        let length = PAGE.len();
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\nContent-Length: {length}\r\n\
             Connection: close\r\n\r\n"
        );
        return (&stream).write_all((head + PAGE).as_bytes());
    };
    let accepted = format!(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Accept: {}\r\n\r\n",
        derive_accept_key(&key)
    );
    (&stream).write_all(accepted.as_bytes())?;
    visit(room, stream, rest);
    Ok(())
}

/// What the browser asks for: a WebSocket, with this key, or else the page. And what it has sent beyond that.
fn read_request(mut stream: &TcpStream) -> io::Result<(Option<Vec<u8>>, Vec<u8>)> {
    let mut bytes = Vec::new();
    while bytes.len() < 8192 {
        let mut more = [0; 1024];
        let got = match stream.read(&mut more)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            got => got,
        };
        bytes.extend_from_slice(&more[..got]);
        let mut headers = [httparse::EMPTY_HEADER; 64];
        let mut request = httparse::Request::new(&mut headers);
        let parsed = request.parse(&bytes);
        let parsed = parsed.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        if let httparse::Status::Complete(length) = parsed {
            let mut headers = request.headers.iter();
            let key = headers.find(|header| header.name.eq_ignore_ascii_case("sec-websocket-key"));
            let key = key.map(|header| header.value.to_vec());
            return Ok((key, bytes.split_off(length)));
        }
    }
    Err(io::ErrorKind::InvalidData.into()) // it does not end
}

/// From the handshake to the end of the connection.
fn visit(room: &Room, stream: TcpStream, early: Vec<u8>) {
    let stream = Rc::new(stream);
    let (outbox, letters) = channel::bounded(BEHIND_MAX);
    let to = Rc::clone(&stream);
    spawn_local(move || deliver(&letters, &to));
    let number = room.enter(Guest {
        stream: Rc::clone(&stream),
        outbox: outbox.clone(),
    });
    let config = WebSocketConfig::default().max_message_size(Some(TEXT_MAX));
    let line = Line { stream, outbox };
    let mut socket = WebSocket::from_partially_read(line, early, Role::Server, Some(config));
    // Pings and closes are answered by tungstenite. An error is the end, the orderly one too.
    while let Ok(message) = socket.read() {
        if let Message::Text(text) = message {
            room.tell_all(&format!("guest {number}: {text}"));
        }
    }
    room.leave(number);
}

/// Writes what is in the outbox, until nobody can put anything there any more, or the guest has gone.
fn deliver(letters: &Receiver<Letter>, mut to: &TcpStream) -> io::Result<()> {
    letters.iter().try_for_each(|letter| to.write_all(&letter))
}

/// What tungstenite takes for a stream.
struct Line {
    stream: Rc<TcpStream>,
    outbox: Sender<Letter>,
}

impl Read for Line {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        (&*self.stream).read(buffer)
    }
}

impl Write for Line {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // All of it or, if the writing coroutine has ended, nothing.
        let sent = self.outbox.send(bytes.into());
        sent.map_err(|_closed| io::ErrorKind::BrokenPipe)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
