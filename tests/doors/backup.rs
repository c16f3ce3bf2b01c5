use super::*;

#[tokio::test]
async fn the_backup_is_used_while_the_first_is_closed_and_the_first_again_after_a_reconnect() {
    let first = closed_port().await;
    let (backup, port) = listener().await;
    let on_backup = tokio::spawn(devices(backup, 2));
    let mut link = link(&format!("host = \"127.0.0.1\"\nport = {first}\nbackup = \"127.0.0.1:{port}\""));
    assert_eq!(value(&mut link).await, Ok(2), "{}", link.trouble());
    assert_eq!(link.address(), format!("127.0.0.1:{port}"));
    let first_address = format!("127.0.0.1:{first}");
    let first = TcpListener::bind(&first_address).await.unwrap();
    tokio::spawn(devices(first, 1));
    assert_eq!(value(&mut link).await, Ok(2), "a connection that works stays");
    on_backup.abort();
    let _ = on_backup.await;
    assert_eq!(value_at_last(&mut link).await, 1);
    assert_eq!(link.address(), first_address);
}

#[tokio::test]
async fn where_neither_can_be_reached_both_are_named() {
    let (first, backup) = (closed_port().await, closed_port().await);
    let mut link = link(&format!("host = \"127.0.0.1\"\nport = {first}\nbackup = \"[::1]:{backup}\""));
    assert_eq!(link.connect().await, Err(Fault::NotConnected));
    for address in [format!("127.0.0.1:{first}"), format!("[::1]:{backup}")] {
        assert!(link.trouble().contains(&address), "{}", link.trouble());
    }
}
