//! A store without its thread, driven step by step, and compared with the model after each.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::model::{Left, Model, Owed, gaps};
use super::{Case, North, Step, batch, directory, engine};
use crate::model::{Class, Clock, Timestamp};
use crate::store::known::Known;
use crate::store::outbox::{Outbox, Rules, Take};
use crate::store::shared::Shared;
use crate::store::writer::Writer;
use crate::store::{Durability, Next, Options, Replay, Settled, WhenFull};
use crate::telemetry::StoreStats;

/// Two durable readers and one that is not.
pub(super) const NAMES: [&str; 3] = ["a", "b", "ua"];
const START: i64 = 1_700_000_000_000_000;
const HOUR: Duration = Duration::from_secs(3600);

/// Why something may be lost in a step.
#[derive(Clone, Copy, PartialEq)]
enum Cause {
    Accepted,
    /// Only what it was given and what is nowhere any more.
    Rewound,
    /// The writer had its turn: `true` where the disk failed or all was to be too old.
    Turn(bool),
    Never,
}

/// The side of the pollers and publishers; all that may happen while the disk is being written.
struct Side {
    case: Case,
    shared: Arc<Shared>,
    model: Model,
    handles: [Option<u64>; 3],
    now: tokio::time::Instant,
    number: u32,
    /// The writer is in its turn.
    turn: Option<Cause>,
}

pub(super) struct World {
    folder: tempfile::TempDir,
    side: Rc<RefCell<Side>>,
    writer: Option<Writer>,
    case: Case,
    runs: i64,
    broke: bool,
}

impl Side {
    fn apply(&mut self, north: &North) {
        match *north {
            North::Accept(kind) => {
                let made = batch(self.number, kind);
                self.number += 1;
                let mut outbox = self.shared.outbox();
                let seq = outbox.next_seq;
                self.model.accepted.add(seq, made.clone());
                outbox.accept(Arc::new(made), Class::Normal, Instant::now());
                drop(outbox);
                self.check(Cause::Accepted);
            }
            North::Take(reader, after) => drop(self.take(reader, Duration::from_millis(after.into()))),
            North::Settle(reader, which, sent) => {
                let how = if sent { Settled::Sent } else { Settled::Rejected };
                self.settle(reader, usize::from(which), how);
            }
            North::Rewind(reader) => {
                let Some(serial) = self.handles[reader] else { return };
                let mut outbox = self.shared.outbox();
                outbox.rewind(serial);
                let next = outbox.next_seq;
                drop(outbox);
                self.owed(reader).rewound(next);
                self.check(Cause::Rewound);
            }
            North::Attach(reader) => self.attach(reader),
            North::Detach(reader) => {
                let Some(serial) = self.handles[reader].take() else { return };
                self.shared.outbox().detach(serial);
                match reader {
                    2 => drop(self.model.readers.remove(NAMES[2])),
                    _ => self.owed(reader).attached = false,
                }
                self.check(Cause::Never);
            }
        }
    }

    fn owed(&mut self, reader: usize) -> &mut Owed {
        self.model.readers.get_mut(NAMES[reader]).expect("it was attached")
    }

    fn attach(&mut self, reader: usize) {
        let durable = reader < 2;
        if !durable {
            self.apply(&North::Detach(reader));
        }
        let mut outbox = self.shared.outbox();
        let next = outbox.next_seq;
        self.handles[reader] = Some(outbox.attach(NAMES[reader], durable, None).0);
        drop(outbox);
        let owed = self.model.readers.entry(NAMES[reader]).or_insert_with(|| Owed::new(durable, next));
        (owed.attached, owed.absent) = (true, false);
        owed.rewound(next);
        self.check(Cause::Rewound);
    }

    /// Gives what the reader got; whoever is not there comes first.
    fn take(&mut self, reader: usize, after: Duration) -> Option<u64> {
        let Some(serial) = self.handles[reader] else {
            self.attach(reader);
            return None;
        };
        self.now += after;
        let mut outbox = self.shared.outbox();
        let took = outbox.take(serial, self.now);
        let sure = reader < 2 && outbox.rules.reader.durability == Durability::Always && !outbox.disk_down;
        drop(outbox);
        let (seq, live, got) = match took {
            Take::Give(Next::Live(seq, batch)) => (seq.0, true, batch),
            Take::Give(Next::History(seq, batch)) => (seq.0, false, batch),
            Take::Wait(_) => {
                self.check(Cause::Never);
                return None;
            }
        };
        let model = &mut self.model;
        let owed = model.readers.get_mut(NAMES[reader]).expect("it was attached");
        let history = owed.history(&model.accepted);
        owed.gives(seq, live, &got, &model.accepted);
        if live && self.case.in_order {
            assert_eq!(history, None, "in order: {seq} is live and was given before history");
        }
        if sure && owed.durable {
            // Who is given it in `always` may rely on it.
            owed.safe.insert(seq);
        }
        self.check(Cause::Never);
        Some(seq)
    }

    fn settle(&mut self, reader: usize, which: usize, how: Settled) {
        let Some(serial) = self.handles[reader] else { return };
        let owed = self.owed(reader);
        let Some(seq) = owed.given.iter().nth(which % owed.given.len().max(1)).copied() else { return };
        owed.given.remove(&seq);
        owed.done.insert(seq, how);
        self.shared.outbox().settle(serial, seq, how);
        self.check(Cause::Never);
    }

    fn check(&mut self, cause: Cause) {
        let outbox = self.shared.outbox();
        let (memory, disk) = (self.case.little_memory, self.case.little_disk);
        let turn = self.turn;
        for (name, owed) in &mut self.model.readers {
            let place = outbox.place(name).expect("the outbox knows the reader");
            let (given, safe) = (owed.given.clone(), owed.safe.clone());
            let lost = owed.compare(name, place, outbox.next_seq, &self.model.accepted);
            let may = |cause: Cause| match cause {
                Cause::Accepted => memory && lost.is_disjoint(&safe),
                Cause::Turn(trouble) => trouble || disk || memory && lost.is_disjoint(&safe),
                Cause::Rewound => true,
                Cause::Never => false,
            };
            let may = lost.is_empty() || may(cause) || turn.is_some_and(may);
            assert!(may, "{name}: {lost:?} are lost without a reason (given {given:?}, safe {safe:?})");
        }
    }
}

impl World {
    pub(super) fn new(case: &Case, sled: bool) -> World {
        engine::begin(sled);
        let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).expect("a folder");
        let side = Side {
            case: case.clone(),
            shared: Arc::new(Shared::new(Outbox::new(rules(case), 0))),
            model: Model::default(),
            handles: [None; 3],
            now: tokio::time::Instant::from_std(Instant::now()),
            number: 0,
            turn: None,
        };
        let side = Rc::new(RefCell::new(side));
        let mut world = World { folder, side, writer: None, case: case.clone(), runs: 0, broke: false };
        world.open();
        world.side.borrow_mut().attach(0);
        world.side.borrow_mut().attach(2);
        world
    }

    pub(super) fn step(&mut self, step: &Step) {
        match step {
            Step::North(north) => self.side.borrow_mut().apply(north),
            Step::Turn { due, chores, meanwhile } => self.turn(false, *due, *chores, meanwhile),
            Step::TooOld => {
                self.writer().options_mut().max_age = Duration::ZERO;
                self.broke = true;
                self.turn(false, false, true, &[]);
                self.writer().options_mut().max_age = HOUR * 1_000_000;
            }
            Step::Break { after, times, full } => engine::break_it((*after).into(), (*times).into(), *full),
            Step::Heal => engine::heal(),
            Step::Stop => {
                let failed = engine::failed();
                self.turn(true, false, false, &[]);
                let clean = self.writer().is_open() && engine::failed() == failed;
                self.close(clean);
                self.open();
            }
            Step::Crash { heal } => {
                self.close(false);
                if *heal {
                    engine::heal();
                }
                self.open();
            }
            Step::Forget => {
                if self.writer().forget_soon() {
                    self.side.borrow_mut().model.readers.retain(|_, owed| !owed.absent);
                    self.turn(false, false, true, &[]);
                }
            }
        }
    }

    /// With a disk that works and readers that take, all is delivered and nothing stays.
    pub(super) fn finish(&mut self) {
        engine::heal();
        for reader in 0..NAMES.len() {
            self.side.borrow_mut().attach(reader);
        }
        for _ in 0..1000 {
            self.turn(false, true, true, &[]);
            let mut side = self.side.borrow_mut();
            for reader in 0..3 {
                while side.take(reader, HOUR).is_some() {
                    side.settle(reader, 0, Settled::Sent);
                }
            }
            let open = self.writer.as_ref().is_some_and(Writer::is_open);
            let accepted = &side.model.accepted;
            if open && side.model.readers.values().all(|owed| owed.pending(accepted).is_empty()) {
                break;
            }
        }
        let side = self.side.borrow();
        for report in side.shared.outbox().reports(|s| s.at) {
            assert_eq!(report.pending, 0, "{} still waits at the end", report.name);
        }
        assert_eq!(side.shared.outbox().bytes, 0, "memory is given back");
        drop(side);
        self.step(&Step::Stop);
        let all = self.side.borrow().shared.outbox().reports(|s| s.at);
        assert!(all.iter().all(|r| r.pending == 0 && r.dropped == 0), "nothing comes again: {all:?}");
    }

    fn writer(&mut self) -> &mut Writer {
        self.writer.as_mut().expect("it is open")
    }

    fn turn(&mut self, drain: bool, due: bool, chores: bool, meanwhile: &[North]) {
        let Some(mut writer) = self.writer.take() else { return };
        if !writer.is_open() {
            self.try_open(&mut writer);
        }
        let failed = engine::failed();
        let next = self.side.borrow().shared.outbox().next_seq;
        let cause = Cause::Turn(self.broke || self.case.always && failed > 0);
        if writer.is_open() {
            self.side.borrow_mut().turn = Some(cause);
            let (side, steps) = (self.side.clone(), meanwhile.to_vec());
            engine::meanwhile(Some(Box::new(move || {
                steps.iter().for_each(|north| side.borrow_mut().apply(north));
            })));
            writer.turn_now(drain, due, chores);
            engine::meanwhile(None);
            self.broke |= engine::failed() > failed;
        }
        let mut side = self.side.borrow_mut();
        side.turn = None;
        side.check(Cause::Turn(self.broke));
        let side = &mut *side;
        let mut outbox = side.shared.outbox();
        // What was given when its block went by its bounds is in memory only, until it is written again.
        let bounded = self.broke || self.case.little_disk;
        for owed in side.model.readers.values_mut() {
            owed.safe.retain(|seq| !bounded || outbox.block_of(*seq).is_some());
        }
        if writer.is_open() && engine::failed() == failed {
            // A segment that could not be removed comes back at the next start, with cursors of then.
            let folders = std::fs::read_dir(self.folder.path().join("store/segments"));
            let folders =
                folders.map_or(0, |all| all.flatten().filter(|entry| entry.path().is_dir()).count());
            let lingers = folders > writer.segments();
            let all = due || drain || !outbox.unwritten();
            for (name, owed) in side.model.readers.iter_mut().filter(|(_, owed)| owed.durable) {
                if all {
                    let place = outbox.place(name).expect("the outbox knows the reader");
                    let gone = |seq: &u64| place.given.get(seq).is_some_and(|given| given.gone.is_some());
                    let pending = owed.pending(&side.model.accepted);
                    let sure = |seq: &&u64| !gone(seq) && (!bounded || outbox.block_of(**seq).is_some());
                    owed.safe = pending.range(..next).filter(sure).copied().collect();
                }
                if (chores || drain) && !lingers {
                    owed.kept = owed.done.keys().chain(&owed.lost).copied().collect();
                }
            }
        }
        self.writer = Some(writer);
    }

    /// The process ends here; of a clean stop all is expected back.
    fn close(&mut self, clean: bool) {
        let opened = self.writer.take().is_some_and(|writer| writer.is_open());
        let mut side = self.side.borrow_mut();
        let side = &mut *side;
        let outbox = side.shared.outbox();
        for (name, owed) in std::mem::take(&mut side.model.readers) {
            if !owed.durable || !opened {
                // Of a run that could not open the folder nothing is on the disk.
                continue;
            }
            let place = outbox.place(name).expect("the outbox knows the reader");
            let pending = owed.pending(&side.model.accepted);
            let gone = |seq: &u64| place.given.get(seq).is_some_and(|given| given.gone.is_some());
            let gone = pending.iter().copied().filter(gone).collect();
            let all = owed.owed(&side.model.accepted);
            let left =
                Left { owed: all, safe: owed.safe, kept: owed.kept, exactly: clean.then_some(pending), gone };
            side.model.left.insert(name, left);
        }
        side.model.accepted.end_of_run(self.broke);
        side.handles = [None; 3];
    }

    fn open(&mut self) {
        self.runs += 1;
        let clock = Clock::starting_at(Timestamp(START + self.runs * 3_600_000_000));
        let base = clock.now().0 as u64;
        let shared = Arc::new(Shared::new(Outbox::new(rules(&self.case), 0)));
        self.side.borrow_mut().shared = shared.clone();
        let options = Options { path: Some(self.folder.path().join("store")), ..options(&self.case) };
        let stats = Arc::new(StoreStats::default());
        let mut writer = Writer::new(shared, options, Known::new(directory()), clock, stats, 0);
        self.broke = false;
        self.try_open(&mut writer);
        writer.start_at(base);
        self.writer = Some(writer);
    }

    fn try_open(&mut self, writer: &mut Writer) {
        let failed = engine::failed();
        // For want of room the oldest goes at once, before it could be compared.
        engine::has_room();
        writer.try_open();
        let broke = engine::failed() > failed;
        self.broke |= broke;
        if !writer.is_open() {
            return;
        }
        let mut side = self.side.borrow_mut();
        let side = &mut *side;
        let outbox = side.shared.outbox();
        let next = outbox.next_seq;
        let base = writer.base();
        for report in outbox.reports(|s| s.at) {
            let known = side.model.readers.contains_key(&*report.name);
            assert!(known || side.model.left.contains_key(&*report.name), "{} is unknown", report.name);
        }
        for (name, left) in std::mem::take(&mut side.model.left) {
            let Some(place) = outbox.place(name) else {
                left.compare(name, &Default::default());
                continue;
            };
            let back = gaps(place, base, &left.owed, name);
            left.compare(name, &back);
            let owed = side.model.readers.entry(name).or_insert_with(|| {
                let mut owed = Owed::new(true, next);
                (owed.attached, owed.absent) = (false, true);
                owed
            });
            owed.safe = left.safe.intersection(&back).copied().collect();
            owed.left = back;
        }
        drop(outbox);
        side.check(Cause::Never);
    }
}

impl Drop for World {
    fn drop(&mut self) {
        engine::meanwhile(None);
        self.writer = None;
        engine::end();
    }
}

fn memory(case: &Case) -> u64 {
    if case.little_memory { 64 << 10 } else { 64 << 20 }
}

fn options(case: &Case) -> Options {
    Options {
        path: None,
        durability: if case.always { Durability::Always } else { Durability::Spill },
        memory: memory(case),
        max_bytes: if case.little_disk { 128 << 10 } else { 1 << 30 },
        max_age: HOUR * 1_000_000,
        replay: if case.in_order { Replay::InOrder } else { Replay::LiveFirst },
        history_rate: 1000,
        ballast: 0,
        ..Options::default()
    }
}

fn rules(case: &Case) -> Rules {
    Rules {
        memory: memory(case),
        reader: options(case).reader_rules(),
        spools: true,
        when_full: WhenFull::DropOldest,
        share: 0,
        history: false,
        patience: HOUR,
    }
}
