//! HTTPS over `rustls`, a blocking TLS library that reads and writes whatever implements `Read` and `Write`.
//!
//! It gets a [`TcpStream`] of the runtime, and becomes concurrent without knowing it: handshake, requests and all may be
//! bounded by a `timeout`, and hundreds of them share a thread.
//!
//! ```sh
//! cargo run -p runtime --example http_get                                # from a server in this program
//! cargo run -p runtime --example http_get -- example.org www.rust-lang.org # from these, all at once
//! ```
//!
//! See the status line and the length of what each host answers.

use std::error::Error;
use std::io::{self, Read, Write};
use std::sync::Arc;
use std::time::Duration;

use runtime::net::{TcpListener, TcpStream, ToSocketAddrs};
use runtime::time::timeout;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection, StreamOwned,
};

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// A host may take so long, for all of it.
const PATIENCE: Duration = Duration::from_secs(10);

fn main() -> Outcome<()> {
    let hosts: Vec<String> = std::env::args().skip(1).collect();
    runtime::run(|| {
        if hosts.is_empty() {
            return get_from_ourselves();
        }
        let mut roots = RootCertStore::empty();
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
        let config = client(roots);
        let gets: Vec<_> = hosts
            .into_iter()
            .map(|host| {
                let config = config.clone();
                runtime::spawn(move || {
                    let answer = timeout(PATIENCE, || get(&host, (host.as_str(), 443), config));
                    (host, answer)
                })
            })
            .collect();
        for get in gets {
            match get.join().unwrap() {
                (host, Ok(Ok(answer))) => report(&host, &answer),
                (host, Ok(Err(error))) => println!("{host}: {error}"),
                (host, Err(elapsed)) => println!("{host}: {elapsed}"),
            }
        }
        Ok(())
    })
}

fn report(host: &str, answer: &str) {
    let status = answer.lines().next().unwrap_or("nothing");
    println!("{host}: {status}, {} bytes", answer.len());
}

/// What a host answers, all of it.
fn get(host: &str, address: impl ToSocketAddrs, config: Arc<ClientConfig>) -> Outcome<String> {
    let connection = ClientConnection::new(config, ServerName::try_from(host.to_owned())?)?;
    let mut stream = StreamOwned::new(connection, TcpStream::connect(address)?);
    write!(
        stream,
        "GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
    )?;
    let mut answer = Vec::new();
    match stream.read_to_end(&mut answer) {
        // Many servers end without TLS's own farewell; whoever needs to know the end looks at Content-Length.
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {}
        read => drop(read?),
    }
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

fn client(roots: RootCertStore) -> Arc<ClientConfig> {
    let config = ClientConfig::builder();
    Arc::new(config.with_root_certificates(roots).with_no_client_auth())
}

/// Both ends: a server with a certificate that it has signed itself, and a client that trusts it.
fn get_from_ourselves() -> Outcome<()> {
    let signed = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
    let certificate = CertificateDer::from(signed.cert);
    let key = PrivateKeyDer::try_from(signed.signing_key.serialize_der())?;
    let mut roots = RootCertStore::empty();
    roots.add(certificate.clone())?;
    let config = ServerConfig::builder().with_no_client_auth();
    let config = Arc::new(config.with_single_cert(vec![certificate], key)?);

    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let server = runtime::spawn(move || -> Outcome<()> {
        let (stream, _peer) = listener.accept()?;
        let mut stream = StreamOwned::new(ServerConnection::new(config)?, stream);
        let mut request = [0; 1024];
        let _ = stream.read(&mut request)?;
        stream
            .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello")?;
        stream.conn.send_close_notify();
        Ok(stream.flush()?)
    });
    report("localhost", &get("localhost", address, client(roots))?);
    server.join().unwrap()
}
