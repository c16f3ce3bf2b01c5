//! What the benches of the whole gateway share: a Modbus TCP slave whose registers change with every read.
#![allow(dead_code)]

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// When the slave wrote its last answer.
pub(crate) type LastAnswer = Arc<Mutex<Instant>>;

/// Starts a slave on a free loopback port. It answers every read of registers; every register counts
/// its reads, so that each poll brings a change of each tag.
pub(crate) async fn slave() -> std::io::Result<(SocketAddr, LastAnswer)> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let last = LastAnswer::new(Mutex::new(Instant::now()));
    let stamp = last.clone();
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let stamp = stamp.clone();
            tokio::spawn(async move {
                let _ = socket.set_nodelay(true);
                let (mut request, mut count) = ([0; 12], 0_u16);
                while socket.read_exact(&mut request).await.is_ok() {
                    count = count.wrapping_add(1);
                    let registers = u16::from_be_bytes([request[10], request[11]]);
                    let mut answer = request[..4].to_vec();
                    answer.extend_from_slice(&(3 + registers * 2).to_be_bytes());
                    answer.extend_from_slice(&[request[6], request[7], (registers * 2) as u8]);
                    for _ in 0..registers {
                        answer.extend_from_slice(&count.to_be_bytes());
                    }
                    if socket.write_all(&answer).await.is_err() {
                        return;
                    }
                    *stamp.lock().unwrap() = Instant::now();
                }
            });
        }
    });
    Ok((address, last))
}

/// A configuration of so many tags, 100 a device, all read at `period`.
pub(crate) fn config(slave: SocketAddr, broker: SocketAddr, tags: usize, period: &str, rest: &str) -> String {
    let mut text = format!(
        "node = {{ group = \"bench\", name = \"gateway\" }}\n\
         scan = {{ all = \"{period}\" }}\n\
         {rest}\n\
         [[publish.sparkplug]]\nname = \"cloud\"\nbroker = \"mqtt://{broker}\"\n\
         [[link.modbus-tcp]]\nname = \"net\"\nhost = \"{}\"\nport = {}\n",
        slave.ip(),
        slave.port()
    );
    for device in 0..tags.div_ceil(100) {
        text += &format!("[[device]]\nname = \"device-{device}\"\nlink = \"net\"\nunit = {}\n", device + 1);
        text += "[device.tag]\n";
        for tag in 0..(tags - device * 100).min(100) {
            text += &format!("tag-{tag} = {{ at = \"holding:{tag}\", type = \"u16\" }}\n");
        }
    }
    text
}
