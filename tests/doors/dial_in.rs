//! The gateway listens, and modems dial in.

use super::*;

use tokio::net::TcpStream;

/// A modem with a device behind it.
async fn modem(port: u16, says: &'static [u8]) -> TcpStream {
    // Nobody listens before the link was opened for the first time.
    for _ in 0..1000 {
        if let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)).await {
            stream.write_all(says).await.unwrap();
            return stream;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("nobody listens at {port}");
}

fn listening(port: u16, identity: &str) -> ModbusTcp {
    link(&format!(
        "listen = \"127.0.0.1:{port}\"\nidentity = \"{identity}\"\nconnect-timeout = \"5s\"\ntimeout = \"300ms\""
    ))
}

/// Waits until the far end has closed it.
async fn closed(mut stream: TcpStream) -> bool {
    let end = tokio::time::timeout(Duration::from_secs(5), stream.read_to_end(&mut Vec::new())).await;
    end.is_ok()
}

#[tokio::test]
async fn two_modems_at_one_address_are_told_apart_by_what_they_say_first() {
    let port = closed_port().await;
    let (mut one, mut two) = (listening(port, "PUMP-1"), listening(port, "0x0102"));
    let modems = tokio::spawn(async move {
        tokio::spawn(device(modem(port, b"\x01\x02").await, 2, b""));
        tokio::spawn(device(modem(port, b"PUMP-1\r\n").await, 1, b""));
    });
    let (first, second) = tokio::join!(one.connect(), two.connect());
    assert_eq!((first, second), (Ok(()), Ok(())), "{} {}", one.trouble(), two.trouble());
    assert_eq!(value(&mut one).await, Ok(1));
    assert_eq!(value(&mut two).await, Ok(2));
    modems.await.unwrap();
}

#[tokio::test]
async fn a_modem_that_dials_in_anew_takes_the_place_of_its_older_connection() {
    let port = closed_port().await;
    let mut link = listening(port, "PUMP-1");
    let older = tokio::spawn(async move { modem(port, b"PUMP-1").await });
    link.connect().await.unwrap();
    let older = older.await.unwrap();
    // The modem was switched off: the older connection is open still, and nobody is there any more.
    tokio::spawn(device(modem(port, b"PUMP-1").await, 9, b""));
    assert_eq!(value_at_last(&mut link).await, 9);
    // Three time-outs in a row would have ended the older one as well.
    let mut asked = Vec::new();
    tokio::time::timeout(Duration::from_secs(5), { older }.read_to_end(&mut asked)).await.unwrap().unwrap();
    assert!(asked.len() < 3 * 12, "{} bytes were sent to nobody", asked.len());
}

#[tokio::test]
async fn an_identity_said_again_is_no_part_of_an_answer() {
    let port = closed_port().await;
    let mut link = listening(port, "PUMP-1");
    tokio::spawn(async move { device(modem(port, b"PUMP-1").await, 7, b"PUMP-1").await });
    for _ in 0..5 {
        assert_eq!(value(&mut link).await, Ok(7), "{}", link.trouble());
    }
}

#[tokio::test]
async fn who_does_not_say_who_it_is_is_thrown_out() {
    let port = closed_port().await;
    let table = format!("listen = \"127.0.0.1:{port}\"\nidentity = \"PUMP-1\"\nconnect-timeout = \"20ms\"");
    let mut link = link(&table);
    assert_eq!(link.connect().await, Err(Fault::NotConnected));
    assert!(
        link.trouble()
            .starts_with(&format!("nobody with identity `PUMP-1` has dialled in to 127.0.0.1:{port}")),
        "{}",
        link.trouble()
    );
    assert!(closed(modem(port, b"GET / HTTP/1.1\r\n").await).await);
    // So many may think about it; one more is closed at once, and the right one gets in when there is room.
    let mut silent = Vec::new();
    for _ in 0..64 {
        silent.push(modem(port, b"PUMP").await);
    }
    assert!(closed(modem(port, b"PUMP").await).await);
    drop(silent);
    let right = tokio::spawn(async move {
        loop {
            device(modem(port, b"PUMP-1").await, 3, b"").await;
        }
    });
    assert_eq!(value_at_last(&mut link).await, 3);
    right.abort();
}

#[tokio::test]
async fn without_an_identity_anybody_is_taken() {
    let port = closed_port().await;
    let mut link = link(&format!("listen = \"127.0.0.1:{port}\"\nconnect-timeout = \"5s\""));
    tokio::spawn(async move { device(modem(port, b"").await, 4, b"").await });
    assert_eq!(value(&mut link).await, Ok(4), "{}", link.trouble());
}

#[tokio::test]
async fn a_link_that_is_loaded_anew_listens_at_its_address_at_once() {
    let port = closed_port().await;
    let mut link = listening(port, "PUMP-1");
    let first = tokio::spawn(async move { modem(port, b"PUMP-1").await });
    link.connect().await.unwrap();
    drop(first.await.unwrap());
    let keys = format!("listen = \"127.0.0.1:{port}\"\nidentity = \"PUMP-2\"\nconnect-timeout = \"5s\"");
    load(&mut link, &keys);
    let next = tokio::spawn(async move {
        loop {
            // The listener of before may still take a connection, and closes it.
            device(modem(port, b"PUMP-2").await, 2, b"").await;
        }
    });
    assert_eq!(link.connect().await, Ok(()), "{}", link.trouble());
    assert_eq!(value_at_last(&mut link).await, 2);
    next.abort();
}

#[tokio::test]
async fn the_port_is_let_go_with_the_last_link() {
    let port = closed_port().await;
    let (mut one, mut two) = (listening(port, "PUMP-1"), listening(port, "PUMP-2"));
    for (link, says) in [(&mut one, b"PUMP-1"), (&mut two, b"PUMP-2")] {
        let modem = tokio::spawn(async move { modem(port, says).await });
        link.connect().await.unwrap();
        drop(modem.await.unwrap());
    }
    drop(one);
    assert!(TcpListener::bind(("127.0.0.1", port)).await.is_err());
    drop(two);
    for _ in 0..1000 {
        if TcpListener::bind(("127.0.0.1", port)).await.is_ok() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("{port} is still taken");
}
