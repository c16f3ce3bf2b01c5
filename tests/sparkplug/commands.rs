//! What hosts ask for: rebirths and writes.

use super::plant::*;

// tck-id-operational-behavior-data-commands-rebirth-action-1 to -3
#[tokio::test]
async fn many_rebirth_commands_make_few_births_and_bdseq_stays() {
    let folder = tempfile::tempdir().unwrap();
    let (_broker, host, node) = plant(folder.path(), "").await;
    for i in 0..100 {
        host.rebirth().await;
        node.level(f64::from(i));
    }
    host.sees("a rebirth", |h| h.of("NBIRTH", "").len() >= 2).await;
    host.sees("the last level", |h| {
        h.seen().iter().any(|m| m.levels().contains(&(99.0, false)))
            || h.of("DBIRTH", "plc").iter().any(|m| m.levels().contains(&(99.0, false)))
    })
    .await;
    assert!(host.of("NBIRTH", "").len() <= 3, "{:?}", host.kinds());
    assert!(host.of("NBIRTH", "").iter().all(|m| m.bd_seq() == Some(0)));
    host.check();
    node.stop().await;
}

// tck-id-message-flow-device-dcmd-subscribe
#[tokio::test]
async fn a_write_by_name_and_by_alias_reaches_the_gate_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let (_broker, host, mut node) = plant(folder.path(), "").await;
    let value = |v| Some(Raw::Int(v));
    let name = Metric { name: Some("speed".into()), datatype: Some(6), value: value(7), ..Metric::default() };
    host.command("spBv1.0/g/DCMD/n/plc", name).await;
    let alias = Metric { alias: Some(3), value: Some(Raw::Double(8.5)), ..Metric::default() };
    host.command("spBv1.0/g/DCMD/n/plc", alias).await;
    let next = async |node: &mut Node| {
        tokio::time::timeout(Duration::from_secs(20), node.writes.recv()).await.unwrap().unwrap()
    };
    let first = next(&mut node).await;
    assert_eq!((first.tag, &first.value), (SPEED, &Value::U16(7)));
    let second = next(&mut node).await;
    assert_eq!((second.tag, &second.value), (LEVEL, &Value::F64(8.5)));
    // Nobody answers the writes, and data flow all the same.
    node.level(1.0);
    host.sees("data", |h| h.levels() == [(1.0, false)]).await;
    drop((first, second));
    node.stop().await;
}

#[tokio::test]
async fn garbage_is_refused_and_counted_and_does_no_harm() {
    let folder = tempfile::tempdir().unwrap();
    let (_broker, host, mut node) = plant(folder.path(), "").await;
    for junk in [vec![], vec![0xFF; 40], vec![0; 12_000], vec![7; 2 << 20]] {
        host.say("spBv1.0/g/NCMD/n", junk.clone()).await;
        host.say("spBv1.0/g/DCMD/n/plc", junk.clone()).await;
        host.say("spBv1.0/g/DCMD/n/nobody", junk).await;
    }
    let unknown = Metric { name: Some("nonsense".into()), value: Some(Raw::Int(1)), ..Metric::default() };
    host.command("spBv1.0/g/DCMD/n/plc", unknown).await;
    let wrong =
        Metric { name: Some("speed".into()), value: Some(Raw::Text("fast".into())), ..Metric::default() };
    host.command("spBv1.0/g/DCMD/n/plc", wrong).await;
    until("all are refused", || node.cx.stats.refused.get() == 14).await;
    node.level(1.0);
    host.sees("data", |h| h.levels() == [(1.0, false)]).await;
    assert!(node.writes.try_recv().is_err());
    assert_eq!(host.of("NBIRTH", "").len(), 1);
    node.stop().await;
}
