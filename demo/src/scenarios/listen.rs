//! Where a scenario that serves for real may listen: on this machine, unless told otherwise.
//!
//! | `--listen`            | `--allow-remote` | outcome                                      |
//! |-----------------------|------------------|----------------------------------------------|
//! | `127.0.0.1:8080`      |                  | served                                       |
//! | `/tmp/shell.sock`     |                  | served, to this user alone                   |
//! | `0.0.0.0:8080`        |                  | exit status 2: others could reach it         |
//! | `0.0.0.0:8080`        | given            | served, with a warning                       |
//! | `localhost`, `8080`   |                  | exit status 2: no address                    |
#![forbid(unsafe_code)]

use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;

use crate::options::{Choice, Options};
use crate::report::Body;

/// `--listen ADDR`.
pub const LISTEN: Choice = Choice {
    name: "listen",
    value: "ADDR",
    help: "Serve on ADDR, such as 127.0.0.1:8080, until Ctrl-C",
};

/// `--allow-remote`.
pub const ALLOW_REMOTE: Choice = Choice {
    name: "allow-remote",
    value: "",
    help: "Let --listen take an address that other machines can reach",
};

/// `--model MODEL`.
pub const MODEL: Choice = Choice {
    name: "model",
    value: "MODEL",
    help: "With --listen: what serves a connection; coroutine (the default), thread or, of http-10k, process",
};

/// What `--model` names.
///
/// # Errors
/// A sentence for the user, if it is none of the three.
pub fn model(options: &Options) -> Result<Option<Body>, String> {
    let Some(name) = options.text(MODEL.name)? else {
        return Ok(None);
    };
    let models = [Body::Coroutine, Body::Thread, Body::Process];
    let model = models.into_iter().find(|model| model.name() == name);
    let unknown = || format!("--model {name}: it is coroutine, thread or process");
    model.map(Some).ok_or_else(unknown)
}

/// Where to listen.
#[derive(Clone, Debug, PartialEq)]
pub enum Address {
    /// An IP address and a port; port 0 lets the system choose.
    Tcp(SocketAddr),
    /// The path of a socket.
    Unix(PathBuf),
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Tcp(address) => address.fmt(f),
            Address::Unix(path) => path.display().fmt(f),
        }
    }
}

impl Address {
    /// What `--listen` names; `None` if it was not given.
    ///
    /// # Errors
    /// A sentence for the user, if it is no address, or one that may not be listened on.
    pub fn asked_for(options: &Options) -> Result<Option<Address>, String> {
        let allow_remote = options.has(ALLOW_REMOTE.name);
        let Some(text) = options.text(LISTEN.name)? else {
            return if allow_remote {
                Err("--allow-remote means nothing without --listen".to_owned())
            } else {
                Ok(None)
            };
        };
        if text.contains('/') {
            return Ok(Some(Address::Unix(text.into())));
        }
        let address: SocketAddr = text.parse().map_err(|_| {
            format!(
                "--listen {text}: no address; it takes an IP address and a port, such as 127.0.0.1:8080"
            )
        })?;
        if !address.ip().is_loopback() && !allow_remote {
            return Err(format!(
                "--listen {text}: other machines could reach it; if you want that, add --allow-remote"
            ));
        }
        Ok(Some(Address::Tcp(address)))
    }

    /// Says on stderr that other machines may reach it, if so.
    pub fn warn_if_remote(&self) {
        if self.is_remote() {
            eprintln!("demo: warning: other machines can reach {self}");
        }
    }

    fn is_remote(&self) -> bool {
        matches!(self, Address::Tcp(address) if !address.ip().is_loopback())
    }
}

/// Listens on `address`.
///
/// # Errors
/// The system's, with the address: it is in use, or not this machine's.
pub fn tcp(address: SocketAddr) -> io::Result<TcpListener> {
    TcpListener::bind(address).map_err(|error| cannot_listen(&address, &error))
}

/// `error`, with the address that it is about.
pub fn cannot_listen(address: &dyn fmt::Display, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("cannot listen on {address}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(listen: &str, allow_remote: bool) -> Result<Option<Address>, String> {
        let mut options = Options::default();
        options.insert("listen", listen.into());
        if allow_remote {
            options.insert("allow-remote", "".into());
        }
        Address::asked_for(&options)
    }

    #[test]
    fn only_this_machine_is_listened_to_unless_others_are_let_in() {
        let local = asked("127.0.0.1:0", false).unwrap().unwrap();
        assert!(!local.is_remote());
        assert!(asked("0.0.0.0:0", false).is_err());
        assert!(asked("0.0.0.0:0", true).unwrap().unwrap().is_remote());
        assert!(!asked("[::1]:80", false).unwrap().unwrap().is_remote());
    }

    #[test]
    fn what_is_no_address_is_refused_and_a_path_is_a_socket() {
        for text in ["localhost:80", "80", "", "127.0.0.1", "127.0.0.1:99999"] {
            assert!(asked(text, false).unwrap_err().contains("no address"));
        }
        assert_eq!(
            asked("./x.sock", false),
            Ok(Some(Address::Unix("./x.sock".into())))
        );
        let mut lonely = Options::default();
        lonely.insert("allow-remote", "".into());
        assert!(Address::asked_for(&lonely).is_err());
    }
}
