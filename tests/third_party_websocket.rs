//! WebSocket by tungstenite, which knows nothing of us, over our sockets: echo, ping and close.

mod net_support;

use std::io::ErrorKind;
use std::time::Duration;

use net_support::*;
use runtime::net::TcpStream;
use tungstenite::protocol::frame::coding::CloseCode;
use tungstenite::protocol::{CloseFrame, WebSocket};
use tungstenite::{Error, Message};

fn connect(address: std::net::SocketAddr) -> WebSocket<TcpStream> {
    let stream = TcpStream::connect(address).unwrap();
    let (socket, response) = tungstenite::client(format!("ws://{address}/chat"), stream).unwrap();
    assert_eq!(response.status(), 101);
    socket
}

/// Sends back what comes, until the peer closes; returns how the peer did so.
fn serve(stream: TcpStream) -> Option<CloseFrame> {
    let mut socket = tungstenite::accept(stream).unwrap();
    let mut closed = None;
    loop {
        match socket.read() {
            Ok(message @ (Message::Text(_) | Message::Binary(_))) => socket.send(message).unwrap(),
            Ok(Message::Close(frame)) => closed = frame,
            Ok(_) => {} // a ping is answered by tungstenite itself
            Err(Error::ConnectionClosed) => return closed,
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
fn messages_are_echoed_pings_answered_and_the_end_agreed_on() {
    on_one_worker_and_on_two(|| {
        let (listener, address) = listener();
        let server = runtime::spawn(move || {
            let serving: Vec<_> = listener
                .incoming()
                .take(8)
                .map(|stream| runtime::spawn(move || serve(stream.unwrap())))
                .collect();
            for one in serving {
                let closed = one.join().unwrap().unwrap();
                assert_eq!(
                    (closed.code, closed.reason.as_str()),
                    (CloseCode::Normal, "bye")
                );
            }
        });
        let clients: Vec<_> = (0..8)
            .map(|id| {
                runtime::spawn(move || {
                    let mut socket = connect(address);
                    for round in 0..20 {
                        let text = Message::text(format!("{id} says {round}"));
                        socket.send(text.clone()).unwrap();
                        assert_eq!(socket.read().unwrap(), text);
                    }
                    let large = Message::binary(vec![id; 300_000]);
                    socket.send(large.clone()).unwrap();
                    assert_eq!(socket.read().unwrap(), large);
                    socket.send(Message::Ping("are you there".into())).unwrap();
                    assert_eq!(
                        socket.read().unwrap(),
                        Message::Pong("are you there".into())
                    );
                    let frame = CloseFrame {
                        code: CloseCode::Normal,
                        reason: "bye".into(),
                    };
                    socket.close(Some(frame)).unwrap();
                    assert!(matches!(socket.read(), Ok(Message::Close(_))));
                    assert!(matches!(socket.read(), Err(Error::ConnectionClosed)));
                })
            })
            .collect();
        clients.into_iter().for_each(|one| one.join().unwrap());
        server.join().unwrap();
    });
}

#[test]
fn a_read_that_is_late_says_so_and_costs_no_message() {
    on_one_worker_and_on_two(|| {
        let (listener, address) = listener();
        let server = runtime::spawn(move || serve(listener.accept().unwrap().0));
        let mut socket = connect(address);
        // An error, which tungstenite knows how to go on after. A `time::timeout` would unwind out of it, and as after
        // any panic its buffer would not be what it thinks.
        let patience = Some(Duration::from_millis(2));
        for round in 0..5 {
            socket.get_ref().set_read_timeout(patience).unwrap();
            match socket.read() {
                Err(Error::Io(error)) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
                other => panic!("nobody has sent anything: {other:?}"),
            }
            socket.get_ref().set_read_timeout(None).unwrap();
            let text = Message::text(format!("round {round}"));
            socket.send(text.clone()).unwrap();
            assert_eq!(socket.read().unwrap(), text);
        }
        socket.close(None).unwrap();
        while socket.read().is_ok() {}
        assert!(server.join().unwrap().is_none());
    });
}

#[test]
fn a_server_that_waits_for_a_message_is_cancelled_and_its_peer_told() {
    on_one_worker_and_on_two(|| {
        let (listener, address) = listener();
        let server = runtime::spawn(move || serve(listener.accept().unwrap().0));
        let mut socket = connect(address);
        socket.send(Message::text("x")).unwrap();
        assert_eq!(socket.read().unwrap(), Message::text("x"));
        server.cancel();
        assert!(server.join().is_err());
        assert!(socket.read().is_err());
    });
}
