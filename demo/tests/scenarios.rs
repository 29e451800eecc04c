//! The scenarios as their users run them: each on its default, on given input, and on bad input.
#![forbid(unsafe_code)]

use std::process::{Command, Output, Stdio};

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
    let rows = section["rows"].as_array().expect("rows");
    let row = rows.iter().find(|row| row["label"] == label);
    let row = row.unwrap_or_else(|| panic!("no row `{label}` in {section}"));
    let median = row["values"][metric]["median"].as_f64();
    median.unwrap_or_else(|| panic!("no `{metric}` in {row}"))
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
