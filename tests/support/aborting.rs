//! A build of the runtime that cannot unwind: Cargo is asked for a program with `panic = "abort"`, because
//! the runtime itself must be compiled that way.

use std::env;
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

/// After so many seconds the program hangs for sure, and SIGALRM ends it.
const HANGS_AFTER_S: u32 = 120;

/// The program; built once.
fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(build)
}

/// Builds `without_unwinding.rs`: a few seconds the first time, a moment after.
fn build() -> PathBuf {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("without_unwinding");
    let repository = env!("CARGO_MANIFEST_DIR");
    let manifest = format!(
        "[package]\nname = \"without_unwinding\"\nedition = \"2024\"\n\
         [dependencies]\nruntime = {{ path = \"{repository}/runtime\" }}\n\
         [profile.dev]\npanic = \"abort\"\ndebug = false\n\
         [workspace]\n"
    );
    fs::create_dir_all(directory.join("src")).unwrap();
    fs::write(directory.join("Cargo.toml"), manifest).unwrap();
    fs::write(
        directory.join("src/main.rs"),
        include_str!("without_unwinding.rs"),
    )
    .unwrap();
    fs::copy(
        Path::new(repository).join("Cargo.lock"),
        directory.join("Cargo.lock"),
    )
    .unwrap();
    let target = directory.join("target");
    let built = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(["build", "--quiet", "--offline", "--target-dir"])
        .arg(&target)
        .current_dir(&directory)
        .output()
        .unwrap();
    assert!(
        built.status.success(),
        "{}",
        String::from_utf8_lossy(&built.stderr)
    );
    target.join("debug/without_unwinding")
}

/// Runs the program on one of its words.
pub fn run(word: &str) -> super::End {
    let mut command = Command::new(program());
    command.arg(word);
    // SAFETY: alarm(2) takes a number and may be called between fork and exec, which keeps it.
    unsafe {
        command.pre_exec(|| {
            libc::alarm(HANGS_AFTER_S);
            Ok(())
        });
    }
    let Output {
        status,
        stdout,
        stderr,
    } = command.output().unwrap();
    let [stdout, stderr] = [stdout, stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
    super::End {
        status,
        stdout,
        stderr,
    }
}
