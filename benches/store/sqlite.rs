//! SQLite, WAL and synchronous=FULL: a row a sample, or a packed block a commit.

use std::path::Path;
use std::time::{Duration, Instant};

use fieldgate::model::*;
use rusqlite::{Connection, params};

use crate::block::{pack, unpack};
use crate::contender::Contender;
use crate::feed::{DEVICES, TAGS, path};

pub(crate) struct Sqlite {
    db: Connection,
    rows: bool,
    next: i64,
}

/// A row a sample; paths are kept once, as in the store's dictionary.
const ROWS: &str = "CREATE TABLE IF NOT EXISTS tags(id INTEGER PRIMARY KEY, path TEXT NOT NULL UNIQUE);
    CREATE TABLE IF NOT EXISTS samples(id INTEGER PRIMARY KEY, batch INTEGER NOT NULL, device INTEGER NOT NULL,
        state INTEGER NOT NULL, tag INTEGER NOT NULL, at INTEGER NOT NULL, quality INTEGER NOT NULL, value REAL);";
const BLOCKS: &str = "CREATE TABLE IF NOT EXISTS samples(id INTEGER PRIMARY KEY, bytes BLOB NOT NULL);";

impl Sqlite {
    pub(crate) fn open(folder: &Path, rows: bool) -> Sqlite {
        std::fs::create_dir_all(folder).unwrap();
        let db = Connection::open(folder.join("samples.db")).unwrap();
        let mode: String = db.query_row("PRAGMA journal_mode=WAL", [], |row| row.get(0)).unwrap();
        assert_eq!(mode, "wal");
        db.execute_batch("PRAGMA synchronous=FULL").unwrap();
        db.execute_batch(if rows { ROWS } else { BLOCKS }).unwrap();
        if rows {
            let tags: i64 = db.query_row("SELECT count(*) FROM tags", [], |row| row.get(0)).unwrap();
            if tags == 0 {
                db.execute_batch("BEGIN").unwrap();
                for tag in 0..DEVICES * TAGS {
                    db.execute("INSERT INTO tags VALUES(?, ?)", params![tag, path(tag)]).unwrap();
                }
                db.execute_batch("COMMIT").unwrap();
            }
        }
        let next = db.query_row("SELECT coalesce(max(id), 0) + 1 FROM samples", [], |row| row.get(0));
        Sqlite { next: next.unwrap(), db, rows }
    }

    /// What comes after `done`, for at most a second and `most` samples. Gives the last one's number.
    fn some(&self, done: i64, most: u64, deliver: &mut dyn FnMut(&Batch)) -> (i64, u64) {
        let began = Instant::now();
        let (mut last, mut samples) = (done, 0);
        let full = |samples: u64| samples >= most || began.elapsed() >= Duration::from_secs(1);
        if !self.rows {
            let mut found =
                self.db.prepare("SELECT id, bytes FROM samples WHERE id > ? ORDER BY id").unwrap();
            let mut found = found.query([done]).unwrap();
            while !full(samples)
                && let Some(row) = found.next().unwrap()
            {
                last = row.get(0).unwrap();
                for batch in unpack(row.get_ref(1).unwrap().as_blob().unwrap()) {
                    samples += batch.samples.len() as u64;
                    deliver(&batch);
                }
            }
            return (last, samples);
        }
        let mut found = self
            .db
            .prepare("SELECT id, batch, device, state, tag, at, quality, value FROM samples WHERE id > ? ORDER BY id")
            .unwrap();
        let mut found = found.query([done]).unwrap();
        let mut open: Option<(i64, i64, Batch)> = None;
        loop {
            let row = found.next().unwrap();
            let number: Option<i64> = row.map(|row| row.get(1).unwrap());
            if let Some((id, _, batch)) = open.take_if(|(_, n, _)| Some(*n) != number) {
                last = id;
                samples += batch.samples.len() as u64;
                deliver(&batch);
                if full(samples) {
                    return (last, samples);
                }
            }
            let (Some(row), Some(number)) = (row, number) else { return (last, samples) };
            assert_eq!(row.get::<_, i64>(6).unwrap(), 192, "the feed makes good samples");
            let value = Value::F32(row.get::<_, f64>(7).unwrap() as f32);
            let sample = Sample::good(TagId(row.get(4).unwrap()), value, Timestamp(row.get(5).unwrap()));
            let id = row.get(0).unwrap();
            let (last_id, _, batch) = open.get_or_insert_with(|| {
                let alive = row.get::<_, i64>(3).unwrap() == 1;
                let state = if alive { DeviceState::Alive } else { DeviceState::Unknown };
                (id, number, Batch { device: DeviceId(row.get(2).unwrap()), state, samples: Vec::new() })
            });
            *last_id = id;
            batch.samples.push(sample);
        }
    }
}

impl Contender for Sqlite {
    fn commit(&mut self, batches: Vec<Batch>) {
        let way = self.db.transaction().unwrap();
        if self.rows {
            let mut insert = way.prepare("INSERT INTO samples VALUES(?, ?, ?, ?, ?, ?, ?, ?)").unwrap();
            for batch in &batches {
                let (first, state) = (self.next, i64::from(batch.state == DeviceState::Alive));
                for sample in &batch.samples {
                    let Some(Value::F32(value)) = sample.value else { panic!("the feed makes floats") };
                    let row = params![
                        self.next,
                        first,
                        batch.device.0,
                        state,
                        sample.tag.0,
                        sample.at.0,
                        192,
                        f64::from(value)
                    ];
                    insert.execute(row).unwrap();
                    self.next += 1;
                }
            }
        } else {
            way.execute("INSERT INTO samples VALUES(?, ?)", params![self.next, pack(&batches)]).unwrap();
            self.next += 1;
        }
        way.commit().unwrap();
    }

    fn drain(&mut self, most: u64, deliver: &mut dyn FnMut(&Batch)) {
        let (mut done, mut left) = (0, most);
        while left > 0 {
            let (last, samples) = self.some(done, left, deliver);
            if samples == 0 {
                return;
            }
            // One transaction a second: what is deleted is delivered.
            self.db.execute("DELETE FROM samples WHERE id <= ?", [last]).unwrap();
            (done, left) = (last, left.saturating_sub(samples));
        }
    }
}
