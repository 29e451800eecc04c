//! Files: std's calls on the blocking pool, for coroutines and plain threads, and what cancellation leaves behind.

mod strands_support;
mod support;

use std::ffi::CString;
use std::fs as std_fs;
use std::io::{BufRead, BufReader, BufWriter, ErrorKind, Read, Seek, SeekFrom, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use runtime::Builder;
use runtime::coroutine::{Cancelled, spawn, spawn_local};
use runtime::fs::{self, File, OpenOptions};
use runtime::time::{Elapsed, timeout};
use runtime::{spawn_blocking, yield_now};
use strands_support::on_one_worker_and_on_two;
use support::{child, os};

/// A directory of the test's own, gone at its end.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("runtime-fs-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std_fs::create_dir(&path).unwrap();
        Scratch(path)
    }

    fn join(&self, name: impl AsRef<Path>) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std_fs::remove_dir_all(&self.0);
    }
}

/// In coroutines, and on a plain thread.
fn everywhere(claim: fn()) {
    on_one_worker_and_on_two(claim);
    claim();
}

#[test]
fn the_functions_that_take_a_path_do_what_stds_do() {
    everywhere(|| {
        let scratch = Scratch::new();
        let (one, two) = (scratch.join("one"), scratch.join("two"));
        fs::write(&one, "text").unwrap();
        assert_eq!(fs::read(&one).unwrap(), b"text");
        assert_eq!(fs::read_to_string(&one).unwrap(), "text");
        assert_eq!(fs::copy(&one, &two).unwrap(), 4);
        assert_eq!(fs::metadata(&two).unwrap().len(), 4);
        fs::rename(&two, scratch.join("three")).unwrap();
        assert!(!fs::exists(&two).unwrap());
        fs::hard_link(&one, &two).unwrap();
        fs::remove_file(&two).unwrap();
        std::os::unix::fs::symlink("one", scratch.join("link")).unwrap();
        assert_eq!(
            fs::read_link(scratch.join("link")).unwrap(),
            Path::new("one")
        );
        let link = fs::symlink_metadata(scratch.join("link")).unwrap();
        assert!(link.file_type().is_symlink());
        assert!(
            fs::canonicalize(scratch.join("link"))
                .unwrap()
                .ends_with("one")
        );
        fs::set_permissions(&one, fs::Permissions::from_mode(0o400)).unwrap();
        assert_eq!(
            fs::metadata(&one).unwrap().permissions().mode() & 0o777,
            0o400
        );
        fs::create_dir(scratch.join("d")).unwrap();
        fs::create_dir_all(scratch.join("d/e/f")).unwrap();
        let full = fs::remove_dir(scratch.join("d")).unwrap_err();
        assert_eq!(full.kind(), ErrorKind::DirectoryNotEmpty);
        fs::remove_dir_all(scratch.join("d")).unwrap();
    });
}

#[test]
fn errors_are_the_systems_own() {
    everywhere(|| {
        let scratch = Scratch::new();
        let missing = scratch.join("missing");
        assert_eq!(
            fs::read(&missing).unwrap_err().raw_os_error(),
            Some(libc::ENOENT)
        );
        assert_eq!(
            File::open(&missing).unwrap_err().kind(),
            ErrorKind::NotFound
        );
        fs::write(&missing, [0xff, 0xfe]).unwrap();
        assert_eq!(
            fs::read_to_string(&missing).unwrap_err().kind(),
            ErrorKind::InvalidData
        );
        let exists = File::create_new(&missing).unwrap_err();
        assert_eq!(exists.kind(), ErrorKind::AlreadyExists);
        let mut text = String::from("kept");
        let mut file = File::open(&missing).unwrap();
        assert_eq!(
            file.read_to_string(&mut text).unwrap_err().kind(),
            ErrorKind::InvalidData
        );
        assert_eq!(text, "kept");
        assert_eq!(
            file.write(b"x").unwrap_err().raw_os_error(),
            Some(libc::EBADF)
        );
        let null = fs::read("a\0b").unwrap_err();
        assert_eq!(null.kind(), ErrorKind::InvalidInput);
        let directory = File::open(&scratch.0).unwrap();
        assert_eq!(
            (&directory).read(&mut [0]).unwrap_err().kind(),
            ErrorKind::IsADirectory
        );
    });
}

#[test]
fn a_file_reads_writes_seeks_and_tells_about_itself() {
    everywhere(|| {
        let scratch = Scratch::new();
        let path = scratch.join("file");
        let mut file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .mode(0o600)
            .open(&path)
            .unwrap();
        assert_eq!(file.write(b"").unwrap(), 0);
        file.write_all(b"0123456789").unwrap();
        file.flush().unwrap();
        assert_eq!(file.seek(SeekFrom::Start(2)).unwrap(), 2);
        let mut two = [0; 2];
        file.read_exact(&mut two).unwrap();
        assert_eq!(&two, b"23");
        assert_eq!(file.stream_position().unwrap(), 4);
        file.set_len(6).unwrap();
        let mut rest = Vec::from(*b"rest: ");
        assert_eq!(file.read_to_end(&mut rest).unwrap(), 2);
        assert_eq!(rest, b"rest: 45");
        assert_eq!(file.read(&mut two).unwrap(), 0, "the end");
        assert_eq!(file.read(&mut []).unwrap(), 0);
        file.sync_data().unwrap();
        file.sync_all().unwrap();
        let metadata = file.metadata().unwrap();
        assert_eq!(
            (metadata.len(), metadata.permissions().mode() & 0o777),
            (6, 0o600)
        );
        file.set_permissions(fs::Permissions::from_mode(0o640))
            .unwrap();
        let mut also = file.try_clone().unwrap();
        also.rewind().unwrap();
        file.read_exact(&mut two).unwrap();
        assert_eq!(&two, b"01", "one position for both");
        let mut std_file = file.into_std().unwrap();
        std_file.read_exact(&mut two).unwrap();
        assert_eq!(&two, b"23");
        let mut appends = OpenOptions::new().append(true).open(&path).unwrap();
        appends.write_all(b"!").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"012345!");
        assert!(format!("{appends:?}").contains("file"));
    });
}

#[test]
fn what_is_larger_than_a_job_takes_arrives_whole() {
    everywhere(|| {
        let scratch = Scratch::new();
        let path = scratch.join("large");
        let bytes: Vec<u8> = (0..9_000_000_u32).map(|n| (n % 251) as u8).collect();
        File::create(&path).unwrap().write_all(&bytes).unwrap();
        let mut back = Vec::new();
        assert_eq!(
            File::open(&path).unwrap().read_to_end(&mut back).unwrap(),
            bytes.len()
        );
        assert!(back == bytes);
        let mut back = vec![0; bytes.len()];
        File::open(&path).unwrap().read_exact(&mut back).unwrap();
        assert!(back == bytes);
    });
}

#[test]
fn stds_buffers_stand_on_it() {
    on_one_worker_and_on_two(|| {
        let scratch = Scratch::new();
        let path = scratch.join("lines");
        let mut writer = BufWriter::new(File::create(&path).unwrap());
        (0..1000).for_each(|n| writeln!(writer, "{n}").unwrap());
        writer.into_inner().unwrap().sync_all().unwrap();
        let lines = BufReader::new(File::open(&path).unwrap()).lines();
        let sum: u64 = lines
            .map(|line| line.unwrap().parse::<u64>().unwrap())
            .sum();
        assert_eq!(sum, 499_500);
    });
}

#[test]
fn many_coroutines_use_files_at_once() {
    on_one_worker_and_on_two(|| {
        let scratch = Scratch::new();
        let writers: Vec<_> = (0..50)
            .map(|n| {
                let path = scratch.join(n.to_string());
                spawn(move || {
                    fs::write(&path, vec![n as u8; n]).unwrap();
                    fs::read(&path).unwrap().len()
                })
            })
            .collect();
        let sum: usize = writers.into_iter().map(|one| one.join().unwrap()).sum();
        assert_eq!(sum, (0..50).sum());
    });
}

#[test]
fn a_directory_is_listed_in_batches() {
    everywhere(|| {
        let scratch = Scratch::new();
        for n in 0..600 {
            std_fs::write(scratch.join(n.to_string()), "x").unwrap();
        }
        std_fs::create_dir(scratch.join("directory")).unwrap();
        let entries: Vec<_> = fs::read_dir(&scratch.0)
            .unwrap()
            .map(Result::unwrap)
            .collect();
        let mut names: Vec<_> = entries.iter().map(|entry| entry.file_name()).collect();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), 601);
        let directories = entries
            .iter()
            .filter(|entry| entry.file_type().unwrap().is_dir());
        assert_eq!(directories.count(), 1);
        let file = entries
            .iter()
            .find(|entry| entry.file_name() == "599")
            .unwrap();
        assert_eq!(file.path(), scratch.join("599"));
        assert_eq!(file.metadata().unwrap().len(), 1);
        let missing = fs::read_dir(scratch.join("missing")).unwrap_err();
        assert_eq!(missing.kind(), ErrorKind::NotFound);
    });
}

// ---- Cancellation ------------------------------------------------------------------------------------

/// A FIFO in a scratch directory.
fn fifo(scratch: &Scratch) -> PathBuf {
    let path = scratch.join("fifo");
    let name = CString::new(path.as_os_str().as_bytes()).unwrap();
    // SAFETY: a string that ends with a zero and outlives the call.
    assert_eq!(unsafe { libc::mkfifo(name.as_ptr(), 0o600) }, 0);
    path
}

#[test]
fn a_call_that_has_not_begun_is_withdrawn() {
    let runtime = Builder::new().blocking_threads(1).build().unwrap();
    runtime.run(|| {
        let (release, released) = mpsc::channel::<()>();
        let busy = spawn_blocking(move || released.recv());
        let scratch = Scratch::new();
        let path = scratch.join("never");
        let also = path.clone();
        let writes = spawn_local(move || fs::write(also, "x"));
        yield_now();
        writes.cancel();
        assert!(writes.join().unwrap_err().is::<Cancelled>());
        let late = timeout(Duration::from_millis(1), || fs::create_dir(&path));
        assert!(matches!(late, Err(Elapsed)));
        drop(release);
        busy.join().unwrap().unwrap_err();
        assert!(!fs::exists(&path).unwrap());
    });
}

#[test]
fn a_call_that_may_take_for_ever_is_left() {
    on_one_worker_and_on_two(|| {
        let scratch = Scratch::new();
        let path = fifo(&scratch);
        // Opening waits for a writer; nobody comes.
        let opens = timeout(Duration::from_millis(1), || File::open(&path));
        assert!(matches!(opens, Err(Elapsed)));
        // The writer lets the first open, which was left, go on as well.
        let mut both = std_fs::File::options()
            .read(true)
            .write(true)
            .open(&path)
            .unwrap();
        let file = File::open(&path).unwrap();
        let reads = timeout(Duration::from_millis(1), || (&file).read(&mut [0; 9]));
        assert!(matches!(reads, Err(Elapsed)), "no byte comes");
        both.write_all(b"for whoever still reads").unwrap();
    });
}

#[test]
fn a_read_of_a_regular_file_that_has_begun_is_returned_and_no_byte_is_lost() {
    on_one_worker_and_on_two(|| {
        let scratch = Scratch::new();
        let path = scratch.join("bytes");
        let bytes: Vec<u8> = (0..100_000_u32).map(|n| (n % 251) as u8).collect();
        std_fs::write(&path, &bytes).unwrap();
        let file = File::open(&path).unwrap();
        let mut back = Vec::new();
        let mut cuts = 0;
        // Time runs out before a read, in the middle of one, or after it.
        for round in 0_u64.. {
            let wait = Duration::from_micros(round * 7 % 60);
            let mut got = 0;
            let outcome = timeout(wait, || {
                let mut buffer = [0; 997];
                got = (&file).read(&mut buffer).unwrap();
                back.extend_from_slice(&buffer[..got]);
                yield_now();
            });
            cuts += u32::from(outcome.is_err());
            if outcome.is_ok() && got == 0 {
                break;
            }
        }
        assert!(back == bytes, "after {cuts} cuts");
    });
}

#[test]
fn ex2_without_any_thread_a_call_is_an_error_and_the_file_is_whole() {
    let end = child().run(|_| {
        let scratch = Scratch::new();
        let path = scratch.join("file");
        std_fs::write(&path, "x").unwrap();
        let readable = fs::Permissions::from_mode(0o777);
        std_fs::set_permissions(&scratch.0, readable.clone()).unwrap();
        std_fs::set_permissions(&path, readable).unwrap();
        os::limit_threads(0);
        runtime::run(|| {
            assert_eq!(fs::read(&path).unwrap_err().kind(), ErrorKind::WouldBlock);
            let file = File::from(std_fs::File::open(&path).unwrap());
            let refused = (&file).read(&mut [0]).unwrap_err();
            assert!(refused.to_string().contains("RLIMIT_NPROC"), "{refused}");
            let mut byte = [0];
            file.into_std().unwrap().read_exact(&mut byte).unwrap();
        });
    });
    end.returned();
}
