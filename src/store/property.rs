//! The outbox against a reference model: any steps, in any order, with a crash between any two of them.
//!
//! Cheap to add to: a new way of the store is a field of [`Case`] or a [`Step`], and where it may lose or
//! reorder something a line in `world.rs` that says so.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

pub(super) mod engine;
mod model;
mod world;

use std::sync::Arc;

use proptest::prelude::*;

use crate::model::*;
use world::{NAMES, World};

/// How the store is set up, and what happens to it.
#[derive(Clone)]
struct Case {
    always: bool,
    in_order: bool,
    /// 64 KiB in memory, so that the oldest must go.
    little_memory: bool,
    /// 128 KiB on the disk.
    little_disk: bool,
    steps: Vec<Step>,
}

impl std::fmt::Debug for Case {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Case { always, in_order, little_memory, little_disk, steps } = self;
        write!(f, "always {always}, in order {in_order}, ")?;
        write!(f, "little memory {little_memory}, little disk {little_disk}")?;
        steps.iter().try_for_each(|step| write!(f, "\n    {step:?}"))
    }
}

/// What can also happen while the disk is being written.
#[derive(Debug, Clone, Copy)]
enum North {
    Accept(Kind),
    /// A reader takes what there is, so many milliseconds after the last one did.
    Take(usize, u16),
    /// Of what it was given; true: as sent.
    Settle(usize, u8, bool),
    Rewind(usize),
    Attach(usize),
    Detach(usize),
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    /// So many samples.
    Small(u8),
    /// A long text that does not compress: fills memory and disk.
    Text,
    /// So many samples that three such batches make two blocks.
    Many,
}

#[derive(Debug, Clone)]
enum Step {
    North(North),
    /// The writer's turn: `due` what waits is to be written, `chores` cursors and bounds are due.
    Turn {
        due: bool,
        chores: bool,
        meanwhile: Vec<North>,
    },
    /// All that waits is older than it may be.
    TooOld,
    /// After so many operations so many fail on the disk.
    Break {
        after: u8,
        times: u8,
        full: bool,
    },
    Heal,
    /// A clean stop and the next start.
    Stop,
    /// The process dies and starts again, on a disk that works or not.
    Crash {
        heal: bool,
    },
    /// Readers that nobody took up are forgotten.
    Forget,
}

fn directory() -> Arc<Directory> {
    let device = |i: u32| Device::plain(DeviceId(i), &format!("d{i}"), "l");
    let tag = |i: u32| {
        Tag::plain(
            TagId(i),
            DeviceId(i / 3),
            &format!("d{}/t{i}", i / 3),
            if i % 3 == 2 { DataType::Text } else { DataType::U32 },
        )
    };
    Arc::new(Directory::new("g", "n", (0..2).map(device).collect(), (0..6).map(tag).collect()))
}

/// Batch number `n`; no two are the same.
fn batch(n: u32, kind: Kind) -> Batch {
    let device = n % 2;
    let at = |i: u32| Timestamp(1_700_000_000_000_000 + i64::from(n) * 10_000 + i64::from(i));
    let number = |i: u32| Sample::good(TagId(device * 3 + i % 2), Value::U32(n), at(i));
    let samples = match kind {
        Kind::Small(samples) => (0..samples.into()).map(number).collect(),
        Kind::Many => (0..1500).map(number).collect(),
        Kind::Text => {
            let mut state = n | 1;
            let mut letter = || {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                char::from(b'!' + (state >> 26) as u8)
            };
            let text: String = (0..12_000).map(|_| letter()).collect();
            vec![Sample::good(TagId(device * 3 + 2), Value::Text(text.into()), at(0))]
        }
    };
    Batch { device: DeviceId(device), state: DeviceState::Alive, samples }
}

fn north() -> impl Strategy<Value = North> {
    let kind =
        prop_oneof![6 => (0_u8..4).prop_map(Kind::Small), 2 => Just(Kind::Text), 1 => Just(Kind::Many)];
    let reader = || 0..NAMES.len();
    prop_oneof![
        8 => kind.prop_map(North::Accept),
        8 => (reader(), prop_oneof![Just(0), Just(50), Just(2000)]).prop_map(|(r, ms)| North::Take(r, ms)),
        6 => (reader(), 0_u8..4, prop::bool::weighted(0.8)).prop_map(|(r, w, sent)| North::Settle(r, w, sent)),
        1 => reader().prop_map(North::Rewind),
        1 => reader().prop_map(North::Attach),
        1 => reader().prop_map(North::Detach),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let meanwhile = prop_oneof![2 => Just(Vec::new()), 1 => prop::collection::vec(north(), 1..6)];
    prop_oneof![
        24 => north().prop_map(Step::North),
        8 => (any::<bool>(), any::<bool>(), meanwhile)
            .prop_map(|(due, chores, meanwhile)| Step::Turn { due, chores, meanwhile }),
        1 => Just(Step::Stop),
        1 => any::<bool>().prop_map(|heal| Step::Crash { heal }),
        1 => (0_u8..6, 1_u8..8, prop::bool::weighted(0.3))
            .prop_map(|(after, times, full)| Step::Break { after, times, full }),
        1 => Just(Step::Heal),
        1 => prop_oneof![Just(Step::TooOld), Just(Step::Forget)],
    ]
}

fn case(most: usize) -> impl Strategy<Value = Case> {
    let flags = (any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>());
    (flags, prop::collection::vec(step(), 1..most)).prop_map(
        |((always, in_order, little_memory, little_disk), steps)| Case {
            always,
            in_order,
            little_memory,
            little_disk,
            steps,
        },
    )
}

fn run(case: &Case, sled: bool) {
    let mut world = World::new(case, sled);
    for step in &case.steps {
        world.step(step);
    }
    world.finish();
}

/// So many cases, or `PROPTEST_CASES`.
fn config(cases: u32) -> ProptestConfig {
    let mut config = ProptestConfig { max_shrink_iters: 4000, ..ProptestConfig::default() };
    if std::env::var_os("PROPTEST_CASES").is_none() {
        config.cases = cases;
    }
    config
}

proptest! {
    #![proptest_config(config(400))]

    #[test]
    fn the_outbox_does_what_the_model_does(case in case(80)) {
        run(&case, false);
    }
}

proptest! {
    #![proptest_config(config(12))]

    #[test]
    fn the_outbox_does_what_the_model_does_on_sled(case in case(30)) {
        run(&case, true);
    }
}

// ---- what it found ----

const SMALL: Step = Step::North(North::Accept(Kind::Small(1)));
const SPILL: Step = Step::Turn { due: true, chores: false, meanwhile: Vec::new() };

fn found(little_memory: bool, steps: Vec<Step>) {
    run(&Case { always: false, in_order: false, little_memory, little_disk: false, steps }, false);
}

#[test]
fn a_read_error_while_the_folder_opens_costs_no_block() {
    let settled = Step::Turn { due: true, chores: false, meanwhile: vec![North::Settle(0, 0, false)] };
    let chores = Step::Turn { due: false, chores: true, meanwhile: Vec::new() };
    for after in 0..12 {
        let torn = Step::Break { after, times: 1, full: false };
        let take = Step::North(North::Take(0, 0));
        found(false, vec![SMALL, SMALL, take, settled.clone(), chores.clone(), torn, Step::Stop]);
    }
}

#[test]
fn a_write_that_is_cut_off_leaves_no_block_without_its_names() {
    let other = Step::Turn { due: true, chores: false, meanwhile: vec![North::Accept(Kind::Small(1))] };
    found(
        false,
        vec![SMALL, SMALL, SMALL, other, Step::Break { after: 0, times: 1, full: false }, Step::Stop],
    );
}

#[test]
fn a_new_reader_whose_first_cursor_fails_is_not_owed_what_was_before_it() {
    let steps = |times| {
        let torn = Step::Break { after: 0, times, full: false };
        vec![SMALL, SPILL, Step::North(North::Attach(1)), torn, Step::Stop]
    };
    (1..4).for_each(|times| found(false, steps(times)));
}

#[test]
fn what_went_to_the_disk_is_lost_with_a_count_to_a_reader_in_memory_that_rewinds() {
    let text = || Step::North(North::Accept(Kind::Text));
    let taken = Step::Turn { due: false, chores: false, meanwhile: vec![North::Take(2, 0)] };
    let rewound = Step::Turn { due: true, chores: false, meanwhile: vec![North::Rewind(2)] };
    let take = Step::North(North::Take(2, 0));
    found(true, vec![text(), text(), SMALL, text(), SMALL, taken, SMALL, rewound, take]);
}

#[test]
fn what_was_given_when_its_block_went_is_written_again_at_a_stop() {
    found(false, vec![SMALL, SMALL, SPILL, Step::North(North::Take(0, 0)), Step::TooOld, Step::Stop]);
}

#[test]
fn a_segment_that_could_not_be_removed_does_not_bring_back_what_was_done_with() {
    let turn = |due, meanwhile| Step::Turn { due, chores: !due, meanwhile };
    let settle = vec![North::Settle(1, 0, false)];
    let take = |reader| Step::North(North::Take(reader, 0));
    let torn = Step::Break { after: 2, times: 1, full: false };
    let steps = vec![
        SMALL,
        turn(true, vec![North::Take(1, 0)]),
        SMALL,
        take(1),
        turn(false, Vec::new()),
        torn,
        Step::North(North::Detach(0)),
        turn(true, settle),
        Step::TooOld,
        take(0),
    ];
    found(false, steps);
}

#[test]
fn the_number_of_a_segment_that_lingers_is_not_taken_for_another() {
    let mut steps = vec![SMALL; 10];
    let torn = Step::Break { after: 0, times: 2, full: false };
    steps.extend([SPILL, torn, Step::North(North::Take(0, 0)), Step::TooOld, SMALL, Step::Stop]);
    found(false, steps);
}
