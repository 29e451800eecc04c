//! How a file is to be opened, as [`std::fs::OpenOptions`].
#![forbid(unsafe_code)]

use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use super::{File, call};

/// How a file is to be opened, as [`std::fs::OpenOptions`], from which it can be made.
///
/// ```
/// use runtime::fs::OpenOptions;
///
/// let missing = runtime::run(|| OpenOptions::new().read(true).open("/nowhere/at/all"));
/// assert_eq!(missing.unwrap_err().kind(), std::io::ErrorKind::NotFound);
/// ```
#[derive(Clone, Debug)]
pub struct OpenOptions {
    options: std::fs::OpenOptions,
}

/// Setters of std's with the same name.
macro_rules! setters {
    ($($(#[$attribute:meta])* $name:ident: $kind:ty;)*) => {$(
        $(#[$attribute])*
        pub fn $name(&mut self, $name: $kind) -> &mut Self {
            self.options.$name($name);
            self
        }
    )*};
}

impl OpenOptions {
    /// For nothing yet: at least reading, writing or appending must be asked for.
    #[expect(clippy::new_without_default, reason = "as std's")]
    pub fn new() -> Self {
        OpenOptions {
            options: std::fs::OpenOptions::new(),
        }
    }

    setters! {
        /// To read from it.
        read: bool;
        /// To write to it, at its position.
        write: bool;
        /// To write to it, always at its end.
        append: bool;
        /// Empty it first.
        truncate: bool;
        /// Make it if it is missing.
        create: bool;
        /// Make it; an error if it is there.
        create_new: bool;
        /// The permissions of a file that is made, less the umask; 0o666 by default.
        mode: u32;
        /// Further flags of open(2), but for the access mode.
        custom_flags: i32;
    }

    /// Opens the file.
    ///
    /// # Errors
    /// As [`std::fs::OpenOptions::open`].
    #[track_caller]
    pub fn open<P: AsRef<Path>>(&self, path: P) -> io::Result<File> {
        let (options, path) = (self.options.clone(), path.as_ref().to_owned());
        // The look at what it is belongs to the same job.
        call(move || options.open(path).map(File::from))
    }
}

impl From<std::fs::OpenOptions> for OpenOptions {
    fn from(options: std::fs::OpenOptions) -> Self {
        OpenOptions { options }
    }
}
