//! TLS by rustls, which knows nothing of us, over our sockets: a handshake, data, and a handshake that is cancelled.

mod net_support;

use std::io::{ErrorKind, Read, Write};
use std::net;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use net_support::*;
use runtime::net::TcpStream;
use runtime::time;
use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection};
use rustls::{Stream, StreamOwned};

/// A certificate of our own making for "localhost", and who trusts it.
static CONFIGS: LazyLock<(Arc<ServerConfig>, Arc<ClientConfig>)> = LazyLock::new(|| {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let certificate = CertificateDer::from(made.cert);
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(certificate.clone()).unwrap();
    let provider = Arc::new(ring::default_provider());
    let server = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    let client = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    (Arc::new(server), Arc::new(client))
});

fn server_side() -> ServerConnection {
    ServerConnection::new(Arc::clone(&CONFIGS.0)).unwrap()
}

fn client_side() -> ClientConnection {
    let name = ServerName::try_from("localhost").unwrap();
    ClientConnection::new(Arc::clone(&CONFIGS.1), name).unwrap()
}

/// Coroutines that encrypt need the stack that threads have for it.
fn with_room<T: Send + 'static>(
    f: impl FnOnce() -> T + Send + 'static,
) -> runtime::coroutine::JoinHandle<T> {
    let builder = runtime::coroutine::Builder::new().stack_size(512 << 10);
    builder.spawn(f).unwrap()
}

/// Sends back what comes, encrypted both ways, to the end.
fn echo_encrypted(stream: TcpStream) {
    let mut stream = StreamOwned::new(server_side(), stream);
    let mut buffer = [0; 4096];
    while let got @ 1.. = stream.read(&mut buffer).unwrap() {
        stream.write_all(&buffer[..got]).unwrap();
    }
    stream.conn.send_close_notify();
    let _ = stream.flush();
}

/// An encrypted conversation, to an end in order.
fn talk(stream: TcpStream) {
    const BYTES: usize = 50_000;
    let stream = Arc::new(stream);
    let mut connection = client_side();
    let mut all = Vec::new();
    let sent: Vec<u8> = (0..BYTES).map(|i| (i % 251) as u8).collect();
    for chunk in sent.chunks(8_000) {
        let mut io = &*stream;
        let mut encrypted = Stream::new(&mut connection, &mut io);
        encrypted.write_all(chunk).unwrap();
        let mut back = vec![0; chunk.len()];
        encrypted.read_exact(&mut back).unwrap();
        all.extend(back);
    }
    assert!(all == sent);
    let mut io = &*stream;
    connection.send_close_notify();
    let mut encrypted = Stream::new(&mut connection, &mut io);
    encrypted.flush().unwrap();
    assert_eq!(encrypted.read(&mut [0]).unwrap(), 0, "an end in order");
}

#[test]
fn a_server_and_its_clients_talk_encrypted() {
    on_one_worker_and_on_two(|| {
        let (listener, address) = listener();
        let server = runtime::spawn(move || {
            let serving: Vec<_> = listener
                .incoming()
                .take(4)
                .map(|stream| with_room(move || echo_encrypted(stream.unwrap())))
                .collect();
            serving.into_iter().for_each(|one| one.join().unwrap());
        });
        let clients: Vec<_> = (0..4)
            .map(|_| with_room(move || talk(TcpStream::connect(address).unwrap())))
            .collect();
        clients.into_iter().for_each(|one| one.join().unwrap());
        server.join().unwrap();
    });
}

#[test]
fn a_handshake_that_takes_too_long_is_ended_and_the_server_goes_on() {
    on_one_worker_and_on_two(|| {
        let (listener, address) = listener();
        let server = with_room(move || {
            let shake_hands = |stream: &mut TcpStream| {
                let mut connection = server_side();
                time::timeout(Duration::from_millis(20), || {
                    connection.complete_io(stream).map(drop)
                })
            };
            // One that says nothing, and one that says the half of it.
            for _ in 0..2 {
                let (mut stream, _) = listener.accept().unwrap();
                assert!(matches!(shake_hands(&mut stream), Err(time::Elapsed)));
            }
            echo_encrypted(listener.accept().unwrap().0);
        });
        let mut silent = net::TcpStream::connect(address).unwrap();
        let mut hello = Vec::new();
        client_side().write_tls(&mut hello).unwrap();
        let mut halting = net::TcpStream::connect(address).unwrap();
        halting.write_all(&hello[..hello.len() / 2]).unwrap();
        let client = with_room(move || talk(TcpStream::connect(address).unwrap()));
        client.join().unwrap();
        server.join().unwrap();
        // Both were closed by the unwinding; what was not read of one makes that a reset or not.
        for stream in [&mut silent, &mut halting] {
            match stream.read(&mut [0]) {
                Ok(got) => assert_eq!(got, 0),
                Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
            }
        }
    });
}

#[test]
fn a_client_that_is_cancelled_in_mid_handshake_leaves_its_worker_free() {
    on_one_worker_and_on_two(|| {
        let (listener, address) = listener();
        let client = with_room(move || {
            let mut stream = TcpStream::connect(address).unwrap();
            client_side().complete_io(&mut stream).map(drop).is_ok()
        });
        let (mut stream, _) = listener.accept().unwrap();
        // It has begun.
        stream.read_exact(&mut [0; 16]).unwrap();
        client.cancel();
        assert!(client.join().is_err());
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).unwrap();
    });
}
