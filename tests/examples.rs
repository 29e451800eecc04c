//! Each example of `runtime/examples` does what its header says.
//!
//! `cargo test` builds them; asked for this target alone Cargo does not, and then they are built here.

use std::env;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use tungstenite::protocol::WebSocket;
use tungstenite::{Error, Message};

/// The program, of the same profile as this test.
fn example(name: &str) -> Command {
    let test = env::current_exe().unwrap();
    let profile = test.parent().unwrap().parent().unwrap();
    let program: PathBuf = profile.join("examples").join(name);
    if !program.exists() {
        let profile = match profile.file_name().unwrap().to_str().unwrap() {
            "debug" => "dev",
            other => other,
        };
        let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let built = Command::new(cargo)
            .args(["build", "--quiet", "--package", "runtime"])
            .args(["--example", name, "--profile", profile])
            .status();
        assert!(built.unwrap().success());
    }
    Command::new(program)
}

/// What it says on standard output, to its end, which must be a good one.
#[track_caller]
fn says(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}\n{stderr}", output.status);
    String::from_utf8(output.stdout).unwrap()
}

/// A server that runs until it is interrupted.
struct Server {
    child: Child,
    stdout: BufReader<ChildStdout>,
    address: String,
}

impl Server {
    fn start(name: &str) -> Self {
        let mut command = example(name);
        command.arg("127.0.0.1:0").stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        let address = line.trim().strip_prefix("listening on ").unwrap();
        let address = address.trim_start_matches("http://").trim_end_matches('/');
        Server {
            address: address.to_owned(),
            child,
            stdout,
        }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(&self.address).unwrap();
        // A server that hangs is a failure of the test, not of the whole run.
        stream
            .set_read_timeout(Some(Duration::from_secs(30)))
            .unwrap();
        stream
    }

    /// Presses Ctrl-C; returns what it says at last.
    fn interrupt(mut self) -> String {
        // SAFETY: takes numbers; the child has not been waited for, so its number is its own.
        let sent = unsafe { libc::kill(self.child.id() as i32, libc::SIGINT) };
        assert_eq!(sent, 0);
        let mut last = String::new();
        self.stdout.read_to_string(&mut last).unwrap();
        assert!(self.child.wait().unwrap().success());
        last
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn hello_counts_in_turns() {
    let said = says(&mut example("hello"));
    let turns: Vec<_> = said
        .lines()
        .map(|line| line.split(" on ").next().unwrap())
        .take(3)
        .collect();
    assert_eq!(turns, ["one 1", "two 1", "three 1"]);
    assert!(said.contains("9 numbers, all on ThreadId(1)"), "{said}");
}

#[test]
fn ping_pong_plays() {
    let said = says(&mut example("ping_pong"));
    assert!(said.starts_with("200000 rallies, "), "{said}");
}

#[test]
fn prime_sieve_finds_primes_and_ends() {
    let said = says(example("prime_sieve").arg("100"));
    assert_eq!(said, "prime number 100 is 541\n");
    for wrong in ["0", "many"] {
        let output = example("prime_sieve").arg(wrong).output().unwrap();
        assert_eq!(output.status.code(), Some(2));
    }
}

#[test]
fn poll_loop_serves_host_and_coroutines() {
    let said = says(&mut example("poll_loop"));
    assert_eq!(said, "3 requests, 5 naps, 1 greeting\n");
}

#[test]
fn inside_tokio_awaits_a_coroutine() {
    let said = says(&mut example("inside_tokio"));
    assert_eq!(said, "the task awaited 5050, on one thread\n");
}

#[test]
fn port_scan_finds_who_listens() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let said = says(example("port_scan").args([port, port].map(|port| port.to_string())));
    assert!(
        said.starts_with(&format!("{port} is open\n1 ports, 1 open, ")),
        "{said}"
    );
}

#[test]
fn http_get_speaks_tls_with_itself() {
    let said = says(&mut example("http_get"));
    assert_eq!(said, "localhost: HTTP/1.1 200 OK, 62 bytes\n");
}

#[test]
fn echo_server_answers_several_at_a_time_and_ends_in_order() {
    let server = Server::start("echo_server");
    let mut streams = [server.connect(), server.connect(), server.connect()];
    for round in 0..3_u8 {
        for stream in &mut streams {
            let mut back = [0; 5];
            stream.write_all(&[round; 5]).unwrap();
            stream.read_exact(&mut back).unwrap();
            assert_eq!(back, [round; 5]);
        }
    }
    let [mut leaves, mut stays, _] = streams;
    leaves.shutdown(Shutdown::Write).unwrap();
    assert_eq!(leaves.read(&mut [0]).unwrap(), 0);
    assert_eq!(server.interrupt(), "served 3 connections\n");
    assert_eq!(stays.read(&mut [0]).unwrap(), 0, "closed by the server");
}

#[test]
fn http_server_answers_requests_however_they_arrive() {
    const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let server = Server::start("http_server");
    let mut stream = server.connect();
    // Three in one piece, and one a byte at a time.
    stream.write_all(&REQUEST.repeat(3)).unwrap();
    for byte in REQUEST {
        stream.write_all(&[*byte]).unwrap();
    }
    stream.shutdown(Shutdown::Write).unwrap();
    let mut answers = String::new();
    stream.read_to_string(&mut answers).unwrap();
    assert_eq!(answers.matches("HTTP/1.1 200 OK").count(), 4);
    assert!(answers.ends_with("Hello, World!"));

    for bad in [&b"what?\r\n\r\n"[..], &[b'x'; 8192]] {
        let mut stream = server.connect();
        stream.write_all(bad).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    }
    server.interrupt();
}

type Guest = WebSocket<TcpStream>;

/// Comes into the room, as the guest of this number.
fn enter(server: &Server, number: u32) -> Guest {
    let url = format!("ws://{}/chat", server.address);
    let (mut guest, response) = tungstenite::client(url, server.connect()).unwrap();
    assert_eq!(response.status(), 101);
    assert_eq!(hears(&mut guest), format!("guest {number} has come"));
    guest
}

fn hears(guest: &mut Guest) -> String {
    guest.read().unwrap().into_text().unwrap().to_string()
}

#[test]
fn chat_gives_a_page_and_tells_everybody_what_one_says() {
    let server = Server::start("chat");
    let mut page = String::new();
    let mut stream = server.connect();
    stream
        .write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        .unwrap();
    stream.read_to_string(&mut page).unwrap();
    let (head, body) = page.split_once("\r\n\r\n").unwrap();
    assert!(
        head.contains(&format!("Content-Length: {}\r\n", body.len())),
        "{head}"
    );
    assert!(body.contains("new WebSocket(`ws://${location.host}/chat`)"));

    let mut one = enter(&server, 1);
    let mut two = enter(&server, 2);
    assert_eq!(hears(&mut one), "guest 2 has come");
    for text in ["hello", "<b>not bold</b> \u{1f600}"] {
        two.send(Message::text(text)).unwrap();
        for guest in [&mut one, &mut two] {
            assert_eq!(hears(guest), format!("guest 2: {text}"));
        }
    }
    one.send(Message::Ping("still there".into())).unwrap();
    assert_eq!(one.read().unwrap(), Message::Pong("still there".into()));
    two.close(None).unwrap();
    assert!(matches!(two.read(), Ok(Message::Close(_))));
    assert!(matches!(two.read(), Err(Error::ConnectionClosed)));
    assert_eq!(hears(&mut one), "guest 2 has left");
    assert_eq!(server.interrupt(), "");
    assert!(one.read().is_err(), "closed by the server");
}

#[test]
fn chat_puts_out_who_does_not_keep_up_and_waits_for_nobody() {
    let server = Server::start("chat");
    let mut talks = enter(&server, 1);
    let _deaf = enter(&server, 2);
    assert_eq!(hears(&mut talks), "guest 2 has come");
    // More than the kernel keeps for the deaf one, and its outbox beside: some thousands.
    let long = "x".repeat(4000);
    let said = format!("guest 1: {long}");
    for _ in 0..100_000 {
        talks.send(Message::text(long.as_str())).unwrap();
        let heard = hears(&mut talks);
        if heard == "guest 2 has left" {
            return;
        }
        assert!(heard == said);
    }
    panic!("guest 2 reads nothing, and is still there");
}
