//! The scenarios as their users run them: each on its default, on given input, and on bad input.
#![forbid(unsafe_code)]

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{self, Child, Command, Output, Stdio};
use std::thread;

use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use serde_json::Value;

fn demo(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_demo"))
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .expect("the demo starts")
}

/// The only section of a quick run of `scenario` with these options, and the exit status.
fn quick(scenario: &str, options: &[&str]) -> (Value, Option<i32>) {
    let output = demo(&[&["run", scenario, "--quick", "--json", "-"], options].concat());
    let stderr = String::from_utf8_lossy(&output.stderr);
    let json: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{scenario} {options:?}: {error}\n{stderr}"));
    (json["sections"][0].clone(), output.status.code())
}

/// As [`quick`], for what is expected to be measured: there is a verdict and no failure.
fn measured(scenario: &str, options: &[&str]) -> Value {
    let (section, status) = quick(scenario, options);
    assert_eq!(section["failures"].to_string(), "[]");
    assert_eq!(status, Some(0));
    assert!(section["verdict"].is_object(), "{section}");
    section
}

fn median(section: &Value, label: &str, metric: &str) -> f64 {
    value(section, label, metric, "median")
}

/// One of `median`, `p5` and `p95`.
fn value(section: &Value, label: &str, metric: &str, part: &str) -> f64 {
    let rows = section["rows"].as_array().expect("rows");
    let row = rows.iter().find(|row| row["label"] == label);
    let row = row.unwrap_or_else(|| panic!("no row `{label}` in {section}"));
    let value = row["values"][metric][part].as_f64();
    value.unwrap_or_else(|| panic!("no `{metric}` in {row}"))
}

/// What serves until it is told to end, which it is at the end of the test at the latest.
struct Server(Child);

impl Server {
    fn send(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.0), signal).unwrap();
    }

    fn wait(&mut self) -> Option<i32> {
        self.0.wait().unwrap().code()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts it; returns it and the first line that it says.
fn serving(arguments: &[&str]) -> (Server, String) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_demo"))
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the demo starts");
    let mut line = String::new();
    let stdout = child.stdout.as_mut().expect("it is piped");
    BufReader::new(stdout).read_line(&mut line).unwrap();
    (Server(child), line)
}

/// The demo's complaint and its exit status.
fn refused(arguments: &[&str]) -> (String, Option<i32>) {
    let output = demo(arguments);
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    (stderr, output.status.code())
}

/// An empty directory in the tests' own that no other test uses.
fn folder(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{}-{name}", process::id()));
    let _ = fs::remove_dir_all(&path);
    fs::create_dir(&path).unwrap();
    path
}

#[test]
fn hello_takes_two_naps_in_turn_and_each_model_at_least_one() {
    let section = measured("hello", &[]);
    let nap_ns = 20e6;
    let both = |label| median(&section, label, "both_said");
    assert!(both("one after the other") >= 2.0 * nap_ns);
    for label in ["two coroutines", "two threads", "two processes"] {
        assert!(both(label) >= nap_ns, "{label}");
    }
}

#[test]
fn http_10k_serves_by_each_model_and_a_coroutine_takes_the_least_memory() {
    let section = measured("http-10k", &[]);
    let memory = |model| median(&section, &format!("{model} per connection"), "own_memory");
    assert!(memory("coroutine") < memory("thread"));
    assert!(memory("thread") < memory("process"));
    for model in ["coroutine", "thread", "process"] {
        // Where others have the CPU, most of the short windows may see no answer.
        let label = format!("{model} per connection");
        let rate = value(&section, &label, "requests", "p95");
        assert!(rate > 0.0, "{model}");
    }
    let answers = section["answers"].as_array().unwrap();
    let claims: Vec<_> = answers
        .iter()
        .map(|answer| answer["claim"].as_str())
        .collect();
    assert!(claims.contains(&Some("scenario/http-10k")), "{claims:?}");
}

#[test]
fn http_10k_answers_for_real_until_it_is_told_to_end() {
    for model in ["coroutine", "thread", "process"] {
        let listen = [
            "run",
            "http-10k",
            "--listen",
            "127.0.0.1:0",
            "--model",
            model,
        ];
        let (mut child, line) = serving(&listen);
        let address = line.split('/').nth(2).unwrap_or_else(|| panic!("{line}"));
        let mut stream = TcpStream::connect(address).unwrap();
        for _ in 0..2 {
            stream
                .write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
                .unwrap();
            let mut answer = [0; 78];
            stream.read_exact(&mut answer).unwrap();
            assert!(answer.starts_with(b"HTTP/1.1 200"), "{model}");
            assert!(answer.ends_with(b"Hello, World!"), "{model}");
        }
        child.send(Signal::INT);
        child.wait();
        // Whoever served the connection has gone with the demo, or it would still be open.
        assert_eq!(stream.read(&mut [0]).unwrap_or(0), 0, "{model}");
    }
}

#[test]
fn an_address_in_use_is_named_and_one_that_makes_no_sense_is_refused() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let (why, status) = refused(&["run", "http-10k", "--listen", &address]);
    assert_eq!(status, Some(1), "{why}");
    assert!(why.contains(&address) && why.contains("in use"), "{why}");
    for senseless in [
        ["--listen", "localhost:80"],
        ["--listen", "0.0.0.0:0"],
        ["--listen", "/tmp/socket"],
        ["--model", "thread"],
    ] {
        let (why, status) = refused(&[&["run", "http-10k"], &senseless[..]].concat());
        assert_eq!(status, Some(2), "{why}");
    }
}

#[test]
fn image_pipeline_compares_five_ways_and_leaves_nothing_behind() {
    let section = measured("image-pipeline", &[]);
    for label in [
        "threads",
        "processes",
        "coroutines, one worker",
        "coroutines, spawn_blocking",
    ] {
        assert!(median(&section, label, "speed_up") > 0.0, "{label}");
    }
    assert_eq!(median(&section, "coroutines, one worker", "cpus"), 1.0);
}

#[test]
fn image_pipeline_takes_a_folder_and_names_the_picture_that_is_broken() {
    let folder = folder("pictures");
    let output = folder.join("thumbnails");
    image::RgbImage::from_pixel(40, 30, image::Rgb([200, 100, 0]))
        .save_with_format(folder.join("good.png"), image::ImageFormat::Png)
        .unwrap();
    fs::write(
        folder.join("broken.jpg"),
        b"\xff\xd8\xff and then nothing of use",
    )
    .unwrap();
    let (folder_text, output_text) = (folder.to_str().unwrap(), output.to_str().unwrap());
    let options = ["--input", folder_text, "--output", output_text];
    let (section, status) = quick("image-pipeline", &options);
    assert_eq!(status, Some(1));
    let failures = section["failures"].to_string();
    assert!(
        failures.contains("broken.jpg") && !failures.contains("good.png"),
        "{failures}"
    );
    assert!(section["verdict"].is_object(), "{section}");
    let thumbnail = fs::read(output.join("good.png.thumbnail.jpg")).unwrap();
    assert_eq!(image::load_from_memory(&thumbnail).unwrap().width(), 40);
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn image_pipeline_refuses_a_folder_without_pictures_and_one_that_is_not_there() {
    let empty = folder("empty");
    for (input, why_part) in [
        (empty.to_str().unwrap(), "no pictures"),
        ("/no/such/folder", "No such file"),
    ] {
        let (why, status) = refused(&["run", "image-pipeline", "--input", input]);
        assert_eq!(status, Some(2), "{why}");
        assert!(why.contains(why_part) && why.contains(input), "{why}");
    }
    fs::remove_dir_all(empty).unwrap();
}

#[test]
fn web_crawler_finds_every_page_by_each_model() {
    let section = measured("web-crawler", &[]);
    let crawl = |label| median(&section, label, "crawl");
    for label in ["coroutines", "threads"] {
        assert!(crawl(label) < crawl("one page after the other"), "{label}");
    }
}

/// A site with everything that goes wrong; returns its address. It is there until the test program ends.
fn troubled_site() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        let mut silent = Vec::new();
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut line = String::new();
            BufReader::new(&stream).read_line(&mut line).unwrap();
            let answer = match line.split(' ').nth(1).unwrap_or("") {
                "/" => {
                    "HTTP/1.1 200 OK\r\n\r\n<a href=a>a</a> <a href=silent>b</a> <a href=cut>c</a> <a href=garbage>d</a> \
                     <a href=gone>e</a> <a href='https://127.0.0.1/'>f</a> <a href=/>g</a> <a href=fine>h</a>"
                }
                "/fine" => "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
                "/a" => "HTTP/1.1 302 Found\r\nLocation: /b\r\n\r\n",
                "/b" => "HTTP/1.1 302 Found\r\nLocation: /a\r\n\r\n",
                "/cut" => "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n<p>",
                "/garbage" => "what?\r\n\r\n",
                "/silent" => {
                    silent.push(stream);
                    continue;
                }
                _ => "HTTP/1.1 404 Not Found\r\n\r\n",
            };
            // A client that has read its fill may have gone.
            let _ = stream.write_all(answer.as_bytes());
        }
    });
    format!("http://{address}/")
}

#[test]
fn web_crawler_reports_circles_silence_and_broken_pages_of_a_real_site() {
    let site = troubled_site();
    let output = demo(&["run", "web-crawler", "--url", &site, "--timeout", "1"]);
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.starts_with("2 pages in "), "{text}");
    for (page, why) in [
        ("b", "redirected in a circle"),
        ("silent", "no answer within 1 s"),
        ("cut", "broken off in the middle"),
        ("garbage", "no HTTP"),
        ("gone", "status 404"),
    ] {
        let line = format!("broken {site}{page}: {why}");
        assert!(text.contains(&line), "{line}\n{text}");
    }
    assert_eq!(text.matches("broken http").count(), 5, "{text}");
    assert!(text.contains("1 https is not supported"), "{text}");
}

#[test]
fn web_crawler_says_what_keeps_it_from_the_first_page() {
    // Nobody listens there any more.
    let address = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let url = format!("http://{address}/");
    let (why, status) = refused(&["run", "web-crawler", "--url", &url]);
    assert_eq!(status, Some(1), "{why}");
    assert!(why.contains(&url) && why.contains("refused"), "{why}");
    for senseless in ["https://127.0.0.1/", "127.0.0.1", "ftp://127.0.0.1/"] {
        let (why, status) = refused(&["run", "web-crawler", "--url", senseless]);
        assert_eq!(status, Some(2), "{why}");
        assert!(why.contains(senseless), "{why}");
    }
}

#[test]
fn shell_serves_a_crowd_by_threads_and_by_coroutines() {
    let section = measured("shell", &[]);
    for model in ["two threads", "two coroutines"] {
        let label = format!("{model} per session");
        assert!(median(&section, &label, "built_in") > 0.0);
        assert!(median(&section, &label, "pipeline") > 0.0);
    }
}

/// A user at a shell.
struct Terminal<S>(S);

impl<S: Read + Write> Terminal<S> {
    fn types(&mut self, line: &str) {
        self.0.write_all(line.as_bytes()).unwrap();
    }

    /// What is said until `end` comes, which is included.
    fn hears(&mut self, end: &str) -> String {
        let mut said = Vec::new();
        while !said.ends_with(end.as_bytes()) {
            let mut byte = [0];
            assert_eq!(
                self.0.read(&mut byte).unwrap(),
                1,
                "{}",
                String::from_utf8_lossy(&said)
            );
            said.extend(byte);
        }
        String::from_utf8(said).unwrap()
    }
}

#[test]
fn shell_gives_two_users_pipelines_history_and_ctrl_c_until_it_is_told_to_end() {
    for model in ["coroutine", "thread"] {
        let folder = folder(&format!("shell-{model}"));
        let path = folder.join("door");
        let address = path.to_str().unwrap();
        let (mut shell, line) = serving(&["run", "shell", "--listen", address, "--model", model]);
        assert!(line.contains(address), "{line}");
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "others may connect: {mode:o}");
        let [mut ann, mut bob] = ["ann", "bob"].map(|name| {
            let mut user = Terminal(UnixStream::connect(&path).unwrap());
            user.hears("name: ");
            user.types(&format!("{name}\n"));
            user.hears(&format!("{name}$ "));
            user
        });
        ann.types("printf 'b\\na\\n' | sort\n");
        assert_eq!(ann.hears("ann$ "), "a\nb\nann$ ");
        ann.types("who\n");
        let who = ann.hears("ann$ ");
        assert!(who.contains("ann ") && who.contains("bob "), "{who}");
        ann.types("history\n");
        assert!(ann.hears("ann$ ").contains("2  who\n"));
        // Two processes, which a Ctrl-C ends.
        bob.types("sh -c 'echo on; exec sleep 1000' | cat\n");
        bob.hears("on\n");
        bob.types("\x03");
        bob.hears("bob$ ");
        bob.types("no-such-program | cat\n");
        assert!(bob.hears("bob$ ").contains("No such file"));
        ann.types("exit\n");
        ann.hears("bye\n");
        // Bob's command goes with the shell, and so does the socket.
        bob.types("sh -c 'echo $$; exec sleep 1000'\n");
        let pid = bob.hears("\n").trim().parse();
        let pid = Pid::from_raw(pid.expect("a number")).unwrap();
        shell.send(Signal::TERM);
        assert_eq!(shell.wait(), Some(0), "{model}");
        assert!(!path.exists());
        // It was killed; whoever has adopted it reaps it soon.
        while test_kill_process(pid).is_ok() && !is_zombie(pid) {
            thread::yield_now();
        }
        fs::remove_dir_all(folder).unwrap();
    }
}

fn is_zombie(pid: Pid) -> bool {
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero()));
    stat.is_ok_and(|stat| stat.contains(") Z "))
}

#[test]
fn shell_asks_the_silent_to_leave() {
    let (mut shell, line) = serving(&["run", "shell", "--listen", "127.0.0.1:0", "--idle", "1"]);
    let address = line
        .split([' ', ';'])
        .find(|word| word.starts_with("127."))
        .unwrap();
    let mut user = Terminal(TcpStream::connect(address).unwrap());
    let said = user.hears("bye\n");
    assert!(said.contains("silent for too long"), "{said}");
    shell.send(Signal::INT);
    shell.wait();
}

#[test]
fn shell_refuses_an_address_in_use_and_one_that_is_none() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let (why, status) = refused(&["run", "shell", "--listen", &address]);
    assert_eq!(status, Some(1), "{why}");
    assert!(why.contains(&address) && why.contains("in use"), "{why}");
    // A file that is there is not replaced.
    let (why, status) = refused(&["run", "shell", "--listen", env!("CARGO_MANIFEST_PATH")]);
    assert!(status == Some(1) && why.contains("in use"), "{why}");
    for senseless in [
        &["--listen", "nonsense"][..],
        &["--listen", "0.0.0.0:0"],
        &["--listen", "127.0.0.1:0", "--model", "process"],
        &["--listen", "127.0.0.1:0", "--idle", "never"],
        &["--idle", "5"],
    ] {
        let (why, status) = refused(&[&["run", "shell"], senseless].concat());
        assert_eq!(status, Some(2), "{why}");
    }
}

/// What keeps this system from confining anything: then there is nothing to test, and a line says so.
fn no_sandbox(section: &Value) -> bool {
    let text = section["rows"].to_string();
    let missing = text.contains("NOT SANDBOXED");
    if missing {
        eprintln!("skipped: this kernel has no landlock or no seccomp");
    }
    missing
}

/// The outcome of `attack` in `body`, and whether it did harm.
fn outcome(section: &Value, attack: &str, body: &str) -> (String, bool) {
    let rows = section["rows"].as_array().expect("rows");
    let row = rows
        .iter()
        .find(|row| row["label"] == attack && row["body"] == body);
    let row = row.unwrap_or_else(|| panic!("no row `{attack}` of {body} in {section}"));
    let words = row["words"]["outcome"].as_str().expect("words").to_owned();
    (words, row["values"]["harm"]["median"] == 1.0)
}

#[test]
fn sb1_sb2_sb5_a_confined_process_harms_nobody_and_thread_and_coroutine_do() {
    let section = measured("untrusted", &[]);
    // SB5: they isolate nothing.
    for (attack, thread, coroutine) in [
        ("overwrite a neighbour's data", "overwritten", "overwritten"),
        (
            "write to a wild address",
            "all die: SIGSEGV",
            "all die: SIGSEGV",
        ),
        ("overflow the stack", "all die: SIGABRT", "all die: SIGABRT"),
        ("take all memory", "all die: SIGABRT", "all die: SIGABRT"),
        (
            "compute for ever",
            "goes on, nobody can end it",
            "nobody else runs any more",
        ),
        (
            "sleep for ever",
            "goes on, nobody can end it",
            "nobody else runs any more",
        ),
        (
            "flood the output",
            "floods everybody's output",
            "floods everybody's output",
        ),
        ("open a file", "done as it wanted", "done as it wanted"),
        (
            "execute a program",
            "all are replaced by it",
            "all are replaced by it",
        ),
    ] {
        assert_eq!(
            outcome(&section, attack, "thread"),
            (thread.to_owned(), true)
        );
        assert_eq!(
            outcome(&section, attack, "coroutine"),
            (coroutine.to_owned(), true)
        );
    }
    if no_sandbox(&section) {
        return;
    }
    // SB1: system calls that are not on the list.
    for attack in [
        "open a file",
        "connect to a server",
        "fork",
        "execute a program",
        "signal its parent",
        "trace its parent",
    ] {
        let killed = ("killed: SIGSYS".to_owned(), false);
        assert_eq!(outcome(&section, attack, "process"), killed, "{attack}");
    }
    // SB2: what is used up, and what breaks.
    for (attack, words) in [
        ("overwrite a neighbour's data", "its own copy only"),
        ("write to a wild address", "killed: SIGSEGV"),
        ("overflow the stack", "killed: SIGABRT"),
        ("take all memory", "killed: SIGABRT"),
        ("compute for ever", "killed: SIGXCPU"),
        ("sleep for ever", "killed: out of time"),
        ("flood the output", "killed: 64 KiB written"),
    ] {
        assert_eq!(
            outcome(&section, attack, "process"),
            (words.to_owned(), false)
        );
    }
    assert_eq!(section["verdict"]["outcome"], "confirmed");
}

/// Runs a shell script as a program that nobody trusts; returns what it said, what is said of it, and the exit status.
fn confined(script: &str, options: &[&str]) -> Option<(String, String, Option<i32>)> {
    let folder = folder(&format!("script-{}", script.len()));
    let path = folder.join("script");
    fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    let program = path.to_str().unwrap();
    let output = demo(&[&["run", "untrusted", "--program", program], options].concat());
    fs::remove_dir_all(folder).unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (said, of_it) = (text(&output.stdout), text(&output.stderr));
    if of_it.contains("NOT SANDBOXED") {
        eprintln!("skipped: this kernel has no landlock or no seccomp");
        return None;
    }
    Some((said, of_it, output.status.code()))
}

#[test]
fn sb3_the_order_of_confinement_leaves_landlock_whole_and_output_to_pipes() {
    // A limit of descriptors would have broken landlock, had it come first; one of file sizes kills who writes to a file.
    let script = "echo hello; ulimit -n; read line < /etc/passwd || echo refused; echo end >&2";
    let Some((said, of_it, status)) = confined(script, &["--args", "a b"]) else {
        return;
    };
    assert!(said.starts_with("hello\n64\n"), "{said}{of_it}");
    assert!(
        said.contains("Permission denied") || said.contains("refused"),
        "{said}"
    );
    assert_eq!(
        (said.ends_with("end\n"), status),
        (true, Some(0)),
        "{said}{of_it}"
    );
}

#[test]
fn a_program_is_told_what_ended_it() {
    // To run another program a shell forks.
    let Some((_, of_it, status)) = confined("/bin/true; echo survived", &[]) else {
        return;
    };
    assert_eq!(status, Some(1));
    assert!(of_it.contains("killed by SIGSYS"), "{of_it}");
    let (_, of_it, status) = confined("exit 7", &[]).expect("as before");
    assert!(
        of_it.contains("ended with status 7") && status == Some(1),
        "{of_it}"
    );
    let (said, of_it, _) = confined("while :; do echo 0123456789; done", &[]).expect("as before");
    assert!(
        of_it.contains("it wrote 64 KiB") && said.len() == 64 << 10,
        "{of_it}"
    );
    let (why, status) = refused(&["run", "untrusted", "--program", "/no/such/program"]);
    assert_eq!(status, Some(2), "{why}");
}

/// Lets `landlock_create_ruleset` fail for this thread and all that it starts, as on a kernel without it.
fn without_landlock() -> bool {
    use seccompiler::{SeccompAction, SeccompFilter, apply_filter};
    const LANDLOCK_CREATE_RULESET: i64 = 444;
    const ENOSYS: u32 = 38;
    let Ok(arch) = std::env::consts::ARCH.try_into() else {
        return false;
    };
    let rules = [(LANDLOCK_CREATE_RULESET, vec![])].into_iter().collect();
    let filter = SeccompFilter::new(
        rules,
        SeccompAction::Allow,
        SeccompAction::Errno(ENOSYS),
        arch,
    );
    let program: seccompiler::BpfProgram = filter.unwrap().try_into().unwrap();
    apply_filter(&program).is_ok()
}

#[test]
fn sb4_a_system_that_cannot_confine_says_so_and_runs_nothing() {
    // A filter is a thread's: the other tests keep their landlock.
    let there = thread::spawn(|| {
        if !without_landlock() {
            eprintln!("skipped: this kernel has no seccomp");
            return;
        }
        let run = [
            "run",
            "untrusted",
            "--program",
            "/bin/echo",
            "--args",
            "hello",
        ];
        let output = demo(&run);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!((output.status.code(), &*output.stdout), (Some(1), &b""[..]));
        assert!(stderr.contains("NOT SANDBOXED"), "{stderr}");
        let output = demo(&[&run[..], &["--allow-unsandboxed"]].concat());
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(
            (output.status.code(), &*output.stdout),
            (Some(0), &b"hello\n"[..])
        );
        assert!(stderr.contains("NOT SANDBOXED"), "{stderr}");
    });
    there.join().unwrap();
}
