//! What the demo writes besides the terminal, and what it does where it cannot.

use std::collections::BTreeSet;
use std::fs;
use std::net::TcpListener;

use rustix::process::{Signal, kill_process};
use serde_json::Value;

use super::*;

/// A directory that no other test uses, empty.
fn directory(name: &str) -> PathBuf {
    let path = path(name);
    let _ = fs::remove_dir_all(&path);
    fs::create_dir_all(&path).unwrap();
    path
}

#[test]
fn one_run_writes_report_json_and_csv() {
    let directory = directory("outputs");
    let file = |name: &str| directory.join(name).to_str().unwrap().to_owned();
    let (html, json, csv) = (file("r.html"), file("r.json"), file("r.csv"));
    let files = ["--report", &html, "--json", &json, "--csv", &csv];
    let output = demo(&[&["run", "scheduling", "--quick"][..], &files].concat());
    assert!(output.status.success(), "{}", stderr(&output));
    for name in [&html, &json, &csv] {
        let line = format!("Written: {name}");
        assert!(stdout(&output).contains(&line), "{}", stdout(&output));
    }

    let page = fs::read_to_string(html).unwrap();
    assert!(page.starts_with("<!DOCTYPE html>") && page.ends_with("</html>\n"));
    assert!(page.contains("<svg") && page.contains("prefers-color-scheme: dark"));
    for loads in [
        "<script",
        "<link",
        "<img",
        "src=",
        "href=\"http",
        "url(",
        "@import",
    ] {
        assert!(!page.contains(loads), "{loads}");
    }

    // What its trace saw has a figure and a text there, and the text is on the terminal, too.
    let (_, drawn) = page.split_once("as observe::trace saw them").unwrap();
    let (figure, text) = drawn.split_once("<details>").unwrap();
    let (text, _) = text.split_once("</details>").unwrap();
    for name in ["worker-0", "worker-1", "main", "producer", "hog"] {
        // One for each of two formats.
        assert_eq!(figure.matches(&format!(">{name}</text>")).count(), 2);
        for text in [text, stdout(&output)] {
            let is_lane = |line: &str| {
                let line = line.trim_start_matches("<summary>The same as text</summary><pre>");
                line.trim_start().starts_with(name) && line.contains('#')
            };
            assert!(text.lines().any(is_lane), "{name}: {text}");
        }
    }

    let json: Value = serde_json::from_slice(&fs::read(json).unwrap()).unwrap();
    is_a_look_inside(&json["sections"][0]["traces"][0]);
    let rows = json["sections"][0]["rows"].as_array().unwrap();
    let csv = fs::read_to_string(csv).unwrap();
    assert!(csv.starts_with("section,label,body,"));
    assert_eq!(csv.lines().count(), 1 + rows.len());
    fs::remove_dir_all(directory).unwrap();
}

/// Whether that is the trace of `scheduling`, whatever the machine did meanwhile.
fn is_a_look_inside(trace: &Value) {
    let lanes = trace["lanes"].as_array().unwrap();
    let documented = [
        (trace, "title, lanes, wake_ups, text"),
        (&lanes[0], "name, body, spans"),
        (&lanes[0]["spans"][0], "from, to, state"),
        (&trace["wake_ups"][0], "at, from, to"),
    ];
    for (object, expected) in documented {
        assert_eq!(fields(object), names(expected));
    }
    let lane = |name: &str| {
        let found = lanes.iter().position(|lane| lane["name"] == name);
        found.unwrap_or_else(|| panic!("no lane {name}: {trace}"))
    };
    let spans = |lane: &Value| -> Vec<(u64, u64, String)> {
        let spans = lane["spans"].as_array().unwrap().iter();
        let number = |value: &Value| value.as_u64().unwrap();
        let span = |span: &Value| {
            let state = span["state"].as_str().unwrap();
            (number(&span["from"]), number(&span["to"]), state.to_owned())
        };
        spans.map(span).collect()
    };
    assert!(lane("worker-0") < lane("worker-1") && lane("runtime-blocking") < lane("main"));
    for lane in lanes {
        let is_thread = lane["body"] == "thread";
        for pair in spans(lane).windows(2) {
            let (before, after) = (&pair[0], &pair[1]);
            // What a coroutine does follows without a gap.
            assert!(
                before.1 == after.0 || is_thread && before.1 < after.0,
                "{lane}"
            );
        }
    }
    let hog = spans(&lanes[lane("hog")]);
    assert_eq!(hog[0].2, "ready", "{hog:?}");
    let computes = |span: &(u64, u64, String)| span.2 == "runs" && span.1 - span.0 >= 2_000_000;
    assert!(hog.iter().any(computes), "{hog:?}");

    let has_woken = |from: &str, to: &str| {
        let mut wake_ups = trace["wake_ups"].as_array().unwrap().iter();
        wake_ups.any(|wake_up| wake_up["from"] == lane(from) && wake_up["to"] == lane(to))
    };
    for name in ["hog", "producer", "ticker", "reader"] {
        assert!(has_woken("main", name), "{name}: {trace}");
    }
    assert!(has_woken("hog", "consumer"), "{trace}");
    // One of them has to wait for the other now and then.
    let [there, back] = [("producer", "consumer"), ("consumer", "producer")];
    assert!(
        has_woken(there.0, there.1) || has_woken(back.0, back.1),
        "{trace}"
    );
}

#[test]
fn the_tour_writes_its_report_where_it_is_started_and_ctrl_c_takes_it_away() {
    let directory = directory("tour");
    let child = command(&["--csv", "figures.csv"])
        .current_dir(&directory)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    first_child(child.id());
    let names = || -> BTreeSet<String> {
        let entries = fs::read_dir(&directory).unwrap();
        let name = |entry: fs::DirEntry| entry.file_name().into_string().unwrap();
        entries.map(|entry| name(entry.unwrap())).collect()
    };
    let both = ["demo-report.html", "figures.csv"].map(String::from);
    assert_eq!(names(), BTreeSet::from(both));
    kill_process(pid_of(&child), Signal::INT).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130));
    assert_eq!(names(), BTreeSet::new());
    fs::remove_dir_all(directory).unwrap();
}

#[test]
fn a_report_that_cannot_be_written_is_refused_before_the_tour_begins() {
    let directory = directory("refused");
    fs::create_dir(directory.join("demo-report.html")).unwrap();
    let output = command(&["--json", "figures.json"])
        .current_dir(&directory)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(output.stdout.is_empty());
    let message = stderr(&output);
    assert!(
        message.contains("cannot write demo-report.html") && message.contains("--report"),
        "{message}"
    );
    // The other file had been made by then.
    assert!(!directory.join("figures.json").exists());
    fs::remove_dir_all(directory).unwrap();
}

#[test]
fn two_outputs_cannot_share_a_target() {
    let file = path("shared.txt");
    let name = file.to_str().unwrap();
    for target in [name, "-"] {
        let output = demo(&["run", "hello", "--json", target, "--csv", target]);
        assert_eq!(output.status.code(), Some(2), "{target}");
        assert!(
            stderr(&output).contains("two things"),
            "{}",
            stderr(&output)
        );
        assert!(output.stdout.is_empty() && !file.exists(), "{target}");
    }
}

/// The fields that the README's table whose head begins with `head` documents.
fn documented(readme: &str, head: &str) -> BTreeSet<String> {
    let head = format!("| {head} |");
    let lines = readme.lines().skip_while(|line| !line.starts_with(&head));
    let rows = lines.skip(2).take_while(|line| line.starts_with('|'));
    let fields = |row: &str| -> Vec<String> {
        let first = row.split('|').nth(1).unwrap_or_default();
        first
            .split('`')
            .skip(1)
            .step_by(2)
            .map(String::from)
            .collect()
    };
    rows.flat_map(fields).collect()
}

/// Those of a list, as `{name, unit, ...}` in the text of a table's cell.
fn names(list: &str) -> BTreeSet<String> {
    list.split(", ").map(String::from).collect()
}

fn fields(json: &Value) -> BTreeSet<String> {
    json.as_object()
        .expect("an object")
        .keys()
        .cloned()
        .collect()
}

#[test]
fn the_json_has_the_fields_that_the_readme_documents_and_no_other() {
    let readme = concat!(env!("CARGO_MANIFEST_DIR"), "/../README.md");
    let readme = fs::read_to_string(readme).unwrap();
    let output = demo(&["run", "hello", "--quick", "--json", "-"]);
    let json: Value = serde_json::from_slice(&output.stdout).expect("only JSON");
    let section = &json["sections"][0];
    let objects = [
        ("field of the report", &json),
        ("field of a section", section),
        ("field of a row", &section["rows"][0]),
        ("field of `environment`", &section["environment"]),
    ];
    for (head, object) in objects {
        assert_eq!(documented(&readme, head), fields(object), "{head}");
    }
    let golden = [
        (&section["metrics"][0], "name, unit, meaning"),
        (&section["verdict"], "outcome, why"),
        (&section["answers"][0], "claim, outcome, value, why"),
        (&section["code"][0], "file, line, code"),
        (
            &section["rows"][0]["values"]["both_said"],
            "median, p5, p95, n",
        ),
        (&section["figures"][0], "title, kind, x, y, series, marks"),
        (&section["figures"][0]["y"], "name, unit, logarithmic"),
        (&section["figures"][0]["series"][0], "name, body, points"),
        (
            &section["figures"][0]["series"][0]["points"][0],
            "x, y, p5, p95",
        ),
    ];
    for (object, expected) in golden {
        assert_eq!(fields(object), names(expected));
        // Documented in the text of a table's cell, as `{name, unit, ...}`.
        assert!(readme.contains(&format!("{{{expected}}}")), "{expected}");
    }
}

#[test]
fn two_reports_are_set_side_by_side() {
    let (a, b) = (path("a.json"), path("b.json"));
    let [first, second] = [&a, &b].map(|path| path.to_str().unwrap());
    for (file, names) in [(first, &["hello", "switch"][..]), (second, &["hello"])] {
        let options = ["--quick", "--json", file];
        let output = demo(&[&["run"], names, &options].concat());
        assert!(output.status.success(), "{}", stderr(&output));
    }
    let output = demo(&["compare", first, second]);
    assert!(output.status.success(), "{}", stderr(&output));
    let text = stdout(&output);
    assert!(
        text.contains("B / A") && text.contains("two coroutines"),
        "{text}"
    );
    assert!(text.contains("Sections only in A: switch"), "{text}");
    assert!(
        text.lines().all(|line| line.chars().count() <= 100),
        "{text}"
    );
    for file in [a, b] {
        fs::remove_file(file).unwrap();
    }
}

#[test]
fn what_is_no_report_cannot_be_compared_and_the_message_says_why() {
    let file = path("foreign.json");
    let name = file.to_str().unwrap();
    let contents = [
        ("", "no JSON"),
        ("{\"demo\": ", "no JSON"),
        ("[1, 2]", "no report"),
        ("{\"version\": 3}", "no report"),
    ];
    for (content, why) in contents {
        fs::write(&file, content).unwrap();
        let output = demo(&["compare", name, name]);
        assert_eq!(output.status.code(), Some(2), "{content}");
        assert!(output.stdout.is_empty());
        let message = stderr(&output);
        assert!(message.contains(why) && message.contains(name), "{message}");
    }
    fs::remove_file(&file).unwrap();
    for missing in [name, env!("CARGO_TARGET_TMPDIR")] {
        let output = demo(&["compare", missing, missing]);
        assert_eq!(output.status.code(), Some(2));
        assert!(
            stderr(&output).contains("cannot read"),
            "{}",
            stderr(&output)
        );
    }
}

#[test]
fn a_scenario_that_is_run_alone_says_that_it_writes_no_figures() {
    // A site of one empty page, whose server ends with this process.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let _ = stream.read(&mut [0; 4096]);
            let page = "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 0\r\n\r\n";
            let _ = stream.write_all(page.as_bytes());
        }
    });
    let (url, file) = (format!("http://{address}/"), path("alone.json"));
    let files = ["--json", file.to_str().unwrap()];
    let output = demo(&[&["run", "web-crawler", "--url", &url][..], &files].concat());
    assert_eq!(output.status.code(), Some(1));
    assert!(
        stderr(&output).contains("no file was written"),
        "{}",
        stderr(&output)
    );
    assert!(!file.exists());
}
