//! The shell's door: whoever comes in has a session, of two threads or of two coroutines.
#![forbid(unsafe_code)]

use std::io::{self, Read, Write};
use std::net::{self, Shutdown};
use std::os::unix::net as unix;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use runtime::channel::bounded;
use runtime::sync::Event;
use runtime::{coroutine, net as coroutines, time};

use super::session::{AHEAD_MAX, Hub, read_keyboard};

/// More users are turned away.
const SESSIONS_MAX: usize = 1_000;
/// After a refusal to accept, before the next try.
const PAUSE: Duration = Duration::from_millis(10);
/// Who has sent an end of input may still want to see what its last lines come to.
const GRACE: Duration = Duration::from_secs(5);

/// What is listened on.
pub enum Door {
    Tcp(net::TcpListener),
    Unix(unix::UnixListener),
}

/// What a session is made of.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Model {
    Coroutines,
    Threads,
}

/// One user's connection, taken apart.
struct Line {
    keyboard: Box<dyn Read + Send>,
    screen: Box<dyn Write + Send>,
    notice: Box<dyn Write + Send>,
    hang_up: Box<dyn FnOnce() + Send>,
}

/// The four kinds of streams have the same functions and no trait for them.
macro_rules! line {
    ($stream:expr, $idle:expr) => {{
        let stream = $stream;
        stream.set_read_timeout(Some($idle))?;
        stream.set_write_timeout(Some($idle))?;
        let (screen, notice) = (stream.try_clone()?, stream.try_clone()?);
        let end = stream.try_clone()?;
        Ok(Line {
            keyboard: Box::new(stream),
            screen: Box::new(screen),
            notice: Box::new(notice),
            // An error means that it has ended already.
            hang_up: Box::new(move || drop(end.shutdown(Shutdown::Both))),
        })
    }};
}

/// Accepts for ever; a user who is silent for `idle` has to leave.
///
/// # Errors
/// None that it returns for: it says what went wrong, waits, and goes on.
pub fn serve(door: Door, model: Model, hub: &Arc<Hub>, idle: Duration) -> io::Result<()> {
    let accept: Box<dyn Fn() -> io::Result<Line>> = match (door, model) {
        (Door::Tcp(door), Model::Threads) => Box::new(move || line!(door.accept()?.0, idle)),
        (Door::Unix(door), Model::Threads) => Box::new(move || line!(door.accept()?.0, idle)),
        (Door::Tcp(door), Model::Coroutines) => {
            let door = coroutines::TcpListener::from(door);
            Box::new(move || line!(door.accept()?.0, idle))
        }
        (Door::Unix(door), Model::Coroutines) => {
            let door = coroutines::UnixListener::from(door);
            Box::new(move || line!(door.accept()?.0, idle))
        }
    };
    loop {
        if let Err(error) = accept().and_then(|line| admit(line, model, hub)) {
            eprintln!("shell: a user could not be let in: {error}");
            // Serves either: outside of a coroutine it blocks the thread.
            time::sleep(PAUSE);
        }
    }
}

fn admit(mut line: Line, model: Model, hub: &Arc<Hub>) -> io::Result<()> {
    if hub.sessions() >= SESSIONS_MAX {
        line.screen
            .write_all(b"too many users, try again later\n")?;
        return Ok(());
    }
    let seat = hub.enter();
    let (to_session, typed) = bounded(AHEAD_MAX);
    let over = Arc::new(Event::new());
    let (is_over, foreground) = (Arc::clone(&over), seat.foreground());
    let Line {
        keyboard,
        screen,
        mut notice,
        hang_up,
    } = line;
    let read = move || {
        match read_keyboard(keyboard, &to_session, &foreground) {
            // Who is not there any more cannot be told.
            Some(why) => drop(notice.write_all(why.as_bytes())),
            None => {
                drop(to_session);
                is_over.wait_timeout(GRACE);
            }
        }
        foreground.close();
    };
    let talk = move || {
        // A user who has gone away ends the session too.
        let _ = seat.converse(&typed, screen);
        hang_up();
        over.set();
    };
    // If there is no second unit, the first ends as soon as the connection is dropped here.
    start(model, "keyboard", read)?;
    start(model, "session", talk)
}

// excerpt: start
fn start(model: Model, name: &str, unit: impl FnOnce() + Send + 'static) -> io::Result<()> {
    match model {
        Model::Coroutines => coroutine::Builder::new().name(name).spawn(unit).map(drop),
        Model::Threads => thread::Builder::new()
            .name(name.to_owned())
            .spawn(unit)
            .map(drop),
    }
}
// excerpt: end
