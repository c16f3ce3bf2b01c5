//! The store itself, through its own doors: `durability = "always"`, one flush a commit.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fieldgate::model::*;
use fieldgate::store::{Durability, Next, Options, Reader, ReaderOptions, Settled, Store};
use fieldgate::telemetry::StoreStats;

use crate::contender::Contender;
use crate::feed;

const LONG: Duration = Duration::from_secs(3600);

pub(crate) struct Ours {
    store: Arc<Store>,
    stats: Arc<StoreStats>,
    reader: Reader,
    runtime: tokio::runtime::Runtime,
    accepted: u64,
}

impl Ours {
    pub(crate) fn open(folder: &Path) -> Ours {
        let options = Options {
            path: Some(folder.to_owned()),
            durability: Durability::Always,
            // The bench says when.
            commit: LONG,
            max_bytes: 64 << 30,
            max_age: LONG * 24 * 36_500,
            // Room that is kept back is no cost of a sample.
            ballast: 0,
            ..Options::default()
        };
        let stats = Arc::new(StoreStats::default());
        let clock = Clock::starting_at(Timestamp(1_800_000_000_000_000));
        let store = Store::open(options, feed::directory(), clock, stats.clone());
        assert_eq!(stats.durable.get(), 1, "a flush is a real sync");
        let reader = store.reader("north", ReaderOptions { durable: true, rules: None });
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        Ours { store, stats, reader, runtime, accepted: 0 }
    }
}

impl Contender for Ours {
    fn commit(&mut self, batches: Vec<Batch>) {
        for batch in batches {
            self.accepted += batch.samples.len() as u64;
            self.store.accept(batch);
        }
        self.store.hurry();
        let began = Instant::now();
        while self.stats.spooled.get() < self.accepted {
            assert!(began.elapsed() < LONG, "it is never written");
            std::thread::sleep(Duration::from_micros(20));
        }
    }

    fn drain(&mut self, most: u64, deliver: &mut dyn FnMut(&Batch)) {
        let mut left = most;
        while left > 0 {
            let all = self.store.readers().iter().all(|r| r.pending == 0);
            if all {
                break;
            }
            // Many between two looks at the report, which walks.
            for _ in 0..1000 {
                let next = self.runtime.block_on(async {
                    tokio::time::timeout(Duration::from_millis(500), self.reader.next()).await
                });
                let Ok(Next::Live(seq, batch) | Next::History(seq, batch)) = next else { break };
                left = left.saturating_sub(batch.samples.len() as u64);
                deliver(&batch);
                self.reader.settle(seq, Settled::Sent);
                if left == 0 {
                    break;
                }
            }
        }
        self.runtime.block_on(self.store.drain(LONG));
    }
}
