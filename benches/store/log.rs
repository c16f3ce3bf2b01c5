//! A plain log: blocks with length and CRC32C, one fdatasync a commit, a file thrown away when it is delivered.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use fieldgate::model::Batch;

use crate::block::{pack, unpack};
use crate::contender::Contender;

/// As large as a segment of the store.
const FULL: u64 = 8 << 20;

pub(crate) struct Log {
    folder: PathBuf,
    /// Numbers of the files, the oldest first; the last is written to.
    files: Vec<u64>,
    tail: Option<(File, u64)>,
    /// In the oldest file: what was delivered in this run.
    done: u64,
}

impl Log {
    pub(crate) fn open(folder: &Path) -> Log {
        fs::create_dir_all(folder).unwrap();
        let number = |e: fs::DirEntry| e.file_name().to_str().and_then(|n| n.parse().ok());
        let mut files: Vec<u64> =
            fs::read_dir(folder).unwrap().filter_map(|e| e.ok().and_then(number)).collect();
        files.sort_unstable();
        let mut log = Log { folder: folder.to_owned(), files, tail: None, done: 0 };
        // A torn tail is cut off; all before it was sealed.
        if let Some(last) = log.files.last().copied() {
            let mut end = 0;
            log.blocks(last, &mut |_, next| {
                end = next;
                true
            });
            let file = File::options().write(true).open(log.path(last)).unwrap();
            file.set_len(end).unwrap();
            log.tail = Some((file, end));
        }
        log
    }

    fn path(&self, number: u64) -> PathBuf {
        self.folder.join(number.to_string())
    }

    /// Visits the blocks of one file with the place behind each, until one is not whole.
    fn blocks(&self, number: u64, visit: &mut dyn FnMut(&[u8], u64) -> bool) {
        let mut file = std::io::BufReader::new(File::open(self.path(number)).unwrap());
        let (mut head, mut at) = ([0; 8], 0);
        let mut block = Vec::new();
        while file.read_exact(&mut head).is_ok() {
            let (length, crc) = head.split_at(4);
            let length = u32::from_le_bytes(length.try_into().unwrap());
            block.resize(length as usize, 0);
            if file.read_exact(&mut block).is_err()
                || crc32c::crc32c(&block) != u32::from_le_bytes(crc.try_into().unwrap())
            {
                return;
            }
            at += 8 + u64::from(length);
            if !visit(&block, at) {
                return;
            }
        }
    }
}

impl Contender for Log {
    fn commit(&mut self, batches: Vec<Batch>) {
        let block = pack(&batches);
        if self.tail.as_ref().is_none_or(|(_, length)| *length >= FULL) {
            let number = self.files.last().map_or(0, |n| n + 1);
            let file = File::create(self.path(number)).unwrap();
            File::open(&self.folder).unwrap().sync_all().unwrap();
            self.files.push(number);
            self.tail = Some((file, 0));
        }
        let (file, at) = self.tail.as_mut().unwrap();
        let mut bytes = (block.len() as u32).to_le_bytes().to_vec();
        bytes.extend_from_slice(&crc32c::crc32c(&block).to_le_bytes());
        bytes.extend_from_slice(&block);
        file.write_all_at(&bytes, *at).unwrap();
        file.sync_data().unwrap();
        *at += bytes.len() as u64;
    }

    fn drain(&mut self, most: u64, deliver: &mut dyn FnMut(&Batch)) {
        let cursor = File::create(self.folder.join("cursor")).unwrap();
        let mut kept = Instant::now();
        let mut left = most;
        let mut done = self.done;
        for number in self.files.clone() {
            self.blocks(number, &mut |block, next| {
                if next <= done {
                    return true;
                }
                done = next;
                for batch in unpack(block) {
                    left = left.saturating_sub(batch.samples.len() as u64);
                    deliver(&batch);
                }
                if kept.elapsed() >= Duration::from_secs(1) {
                    kept = Instant::now();
                    let place = format!("{number:020} {next:020}");
                    (&cursor).write_all(place.as_bytes()).unwrap();
                    cursor.sync_data().unwrap();
                }
                left > 0
            });
            if left == 0 {
                self.done = done;
                return;
            }
            done = 0;
            fs::remove_file(self.path(number)).unwrap();
            self.files.retain(|n| *n != number);
        }
        (self.tail, self.done) = (None, 0);
    }
}
