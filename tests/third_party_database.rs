//! A database over our sockets: PostgreSQL's protocol by postgres-protocol, which does no input and output of its own,
//! with a real server where one is installed.

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use fallible_iterator::FallibleIterator;
use postgres_protocol::message::backend::Message;
use postgres_protocol::message::frontend;
use runtime::net::UnixStream;
use runtime::time;

type Buffer = bytes::BytesMut;

/// A connection, synchronous from its first line to its last.
struct Client {
    stream: UnixStream,
    received: Buffer,
}

impl Client {
    fn connect(directory: &Path) -> io::Result<Self> {
        let stream = UnixStream::connect(directory.join(".s.PGSQL.5432"))?;
        let mut client = Client {
            stream,
            received: Buffer::new(),
        };
        let names = [("user", "postgres"), ("database", "postgres")];
        client.send(|message| frontend::startup_message(names, message))?;
        client.until_ready()?;
        Ok(client)
    }

    fn send(&mut self, write: impl FnOnce(&mut Buffer) -> io::Result<()>) -> io::Result<()> {
        let mut message = Buffer::new();
        write(&mut message)?;
        self.stream.write_all(&message)
    }

    fn receive(&mut self) -> io::Result<Message> {
        loop {
            if let Some(message) = Message::parse(&mut self.received)? {
                return Ok(message);
            }
            let mut chunk = [0; 2048];
            match self.stream.read(&mut chunk)? {
                0 => return Err(ErrorKind::UnexpectedEof.into()),
                got => self.received.extend_from_slice(&chunk[..got]),
            }
        }
    }

    /// What comes up to the server's readiness: the first column of each row.
    fn until_ready(&mut self) -> io::Result<Vec<String>> {
        let mut rows = Vec::new();
        loop {
            match self.receive()? {
                Message::ReadyForQuery(_) => return Ok(rows),
                Message::DataRow(row) => {
                    let range = row.ranges().next()?.flatten().unwrap();
                    rows.push(String::from_utf8_lossy(&row.buffer()[range]).into_owned());
                }
                Message::ErrorResponse(error) => {
                    let text = error
                        .fields()
                        .map(|field| Ok(String::from_utf8_lossy(field.value_bytes()).into_owned()));
                    return Err(io::Error::other(text.collect::<Vec<_>>()?.join(" ")));
                }
                _ => {}
            }
        }
    }

    fn query(&mut self, text: &str) -> io::Result<Vec<String>> {
        self.send(|message| frontend::query(text, message))?;
        self.until_ready()
    }
}

/// A server with data of its own, ended and removed when dropped.
struct Server {
    directory: PathBuf,
    process: Option<Child>,
}

impl Server {
    /// `None`: there is none here, or it does not start, and the reason is printed.
    fn start() -> Option<Self> {
        let programs = programs()?;
        let name = format!("runtime-postgres-{}", std::process::id());
        let mut server = Server {
            directory: env::temp_dir().join(name),
            process: None,
        };
        fs::create_dir(&server.directory).unwrap();
        let user = user_of_servers();
        if let Some((user, group)) = user {
            chown(&server.directory, Some(user), Some(group)).unwrap();
        }
        let data = server.directory.join("data");
        let command = |program: &str| {
            let mut command = Command::new(programs.join(program));
            command.arg("-D").arg(&data).stdin(Stdio::null());
            command.stdout(Stdio::null()).stderr(Stdio::null());
            if let Some((user, group)) = user {
                command.uid(user).gid(group);
            }
            command
        };
        let options = [
            "-A",
            "trust",
            "-U",
            "postgres",
            "-N",
            "--no-locale",
            "-E",
            "UTF8",
        ];
        let made = command("initdb").args(options).status();
        if !made.as_ref().is_ok_and(|status| status.success()) {
            println!("skipped: initdb did not make a database here: {made:?}");
            return None;
        }
        let started = command("postgres")
            .arg("-k")
            .arg(&server.directory)
            .args(["-c", "listen_addresses=", "-F"])
            .spawn();
        server.process = Some(started.unwrap());
        Some(server)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(mut process) = self.process.take() {
            // SAFETY: takes numbers; the process is our child and has not been waited for. SIGQUIT ends it at once.
            unsafe { libc::kill(process.id() as i32, libc::SIGQUIT) };
            process.wait().unwrap();
        }
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// Where the server's programs are.
fn programs() -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let found = env::split_paths(&path).find(|directory| {
        let has = |program: &str| directory.join(program).exists();
        has("initdb") && has("postgres")
    });
    if found.is_none() {
        println!("skipped: no initdb and postgres in PATH");
    }
    found
}

/// The server refuses to run as root. Then it is this user, with this group; for others, who they are.
fn user_of_servers() -> Option<(u32, u32)> {
    // SAFETY: takes nothing, returns a number.
    if unsafe { libc::geteuid() } != 0 {
        return None;
    }
    let users = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let fields = users
        .lines()
        .map(|line| line.split(':').collect::<Vec<_>>());
    let number = |text: &&str| text.parse::<u32>().ok();
    let named = |name: &str| {
        let mut fields = fields.clone().filter(|user| user.first() == Some(&name));
        let user = fields.next()?;
        Some((user.get(2).and_then(number)?, user.get(3).and_then(number)?))
    };
    named("postgres").or_else(|| named("nobody"))
}

#[test]
fn queries_run_side_by_side_and_one_is_given_up() {
    let Some(server) = Server::start() else {
        return;
    };
    let directory = server.directory.clone();
    runtime::run(move || {
        let connect = move || {
            // It takes a while until it listens, and until it says that it is ready.
            for _ in 0..500 {
                match Client::connect(&directory) {
                    Ok(client) => return client,
                    Err(_) => time::sleep(Duration::from_millis(20)),
                }
            }
            panic!("the server does not answer: {:?}", OsStr::new(&directory));
        };
        let mut first = connect();
        assert_eq!(first.query("select 6 * 7").unwrap(), ["42"]);
        let error = first.query("select nonsense").unwrap_err();
        assert!(error.to_string().contains("nonsense"), "{error}");
        drop(first);

        let clients: Vec<_> = (0..4)
            .map(|id| {
                let connect = connect.clone();
                runtime::spawn(move || {
                    let mut client = connect();
                    // Each waits for all: one after the other, they would never end.
                    let lock = format!("select pg_advisory_lock_shared({id})");
                    client.query(&lock).unwrap();
                    let held = "select count(*) from pg_locks where locktype = 'advisory'";
                    while client.query(held).unwrap() != ["4"] {
                        time::sleep(Duration::from_millis(1));
                    }
                    let rows = "select repeat('x', 100) from generate_series(1, 1000)";
                    let rows = client.query(rows).unwrap();
                    assert!(rows.len() == 1000 && rows.iter().all(|row| row.len() == 100));
                    client
                })
            })
            .collect();
        // All are there until the last has looked.
        let clients: Vec<_> = clients.into_iter().map(|one| one.join().unwrap()).collect();
        drop(clients);

        let mut slow = connect();
        let late = time::timeout(Duration::from_millis(20), || {
            slow.query("select pg_sleep(3600)")
        });
        assert!(late.is_err());
        drop(slow);
        assert_eq!(
            connect().query("select 'still there'").unwrap(),
            ["still there"]
        );
    });
}
