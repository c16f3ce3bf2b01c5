//! How a simulated device behaves beyond its registers, as data: slow, silent, late or wrong now and then.

use std::time::Duration;

use super::dice::Dice;

/// The manner of one device. By default it answers at once and rightly.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Manner {
    /// What chance begins with: the same seed and the same requests give the same faults.
    pub seed: u64,
    /// Time that it takes to answer.
    pub delay: Duration,
    /// Up to so much longer, by chance.
    pub jitter: Duration,
    /// When it does not answer at all.
    pub silence: Option<Silence>,
    /// Answers that end in their middle; a TCP connection is closed there.
    pub drop: Option<Often>,
    /// Answers that come when nobody waits for them any more.
    pub late: Option<Late>,
    /// Answers that are exceptions.
    pub exceptions: Option<Exceptions>,
    /// Answers that are wrong.
    pub wrong: Option<Wrongs>,
}

/// Silent from `after` on for `lasts`, and again each `every`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Silence {
    /// Time from the start to the first silence.
    pub after: Duration,
    /// How long it lasts.
    pub lasts: Duration,
    /// Time from the start of one to the start of the next.
    pub every: Duration,
}

/// How often something happens.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Often {
    /// With every n-th request; 0 is never.
    Every(u32),
    /// With this probability, 0 to 1.
    Chance(f64),
}

/// Late answers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Late {
    /// How often.
    pub often: Often,
    /// How long after the request.
    pub after: Duration,
}

/// Exceptions that the registers give no reason for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Exceptions {
    /// How often.
    pub often: Often,
    /// Which (Application Protocol V1.1b3, section 7).
    pub code: u8,
}

/// Wrong answers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Wrongs {
    /// How often.
    pub often: Often,
    /// Which, in turn.
    pub kinds: &'static [Wrong],
}

/// What is wrong with an answer. What a framing does not have is right there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Wrong {
    /// Another transaction identifier (Modbus TCP).
    Transaction,
    /// Another unit.
    Unit,
    /// Another function.
    Function,
    /// A byte count that is too great by two for the bytes that follow.
    CountTooGreat,
    /// A byte count that is too small by two.
    CountTooSmall,
    /// One register or byte of bits less than asked for, its byte count right.
    Less,
    /// One register or byte of bits more than asked for, its byte count right.
    More,
    /// The frame lacks its last bytes.
    Short,
    /// Bytes behind the frame that belong to none.
    Long,
    /// The frame twice.
    Double,
    /// Right, but a byte at a time with pauses.
    Bytewise,
    /// A length of 0 in the header (Modbus TCP).
    LengthNull,
    /// A length of 65535 in the header (Modbus TCP).
    LengthHuge,
}

impl Wrong {
    /// All.
    pub const ALL: [Wrong; 13] = [
        Wrong::Transaction,
        Wrong::Unit,
        Wrong::Function,
        Wrong::CountTooGreat,
        Wrong::CountTooSmall,
        Wrong::Less,
        Wrong::More,
        Wrong::Short,
        Wrong::Long,
        Wrong::Double,
        Wrong::Bytewise,
        Wrong::LengthNull,
        Wrong::LengthHuge,
    ];
}

/// What a device does with a request.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Reply {
    /// It neither answers nor does what was asked.
    Never,
    /// It answers after this time.
    After(Duration, How),
    /// It answers after this time, and listens meanwhile.
    Late(Duration),
}

/// How it answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// As it should.
    Right,
    /// With this exception, and does nothing.
    Exception(u8),
    /// The answer ends in its middle.
    Cut,
    /// Wrongly.
    Wrong(Wrong),
}

/// How far a device has come: what chance and counting need to go on.
#[derive(Debug, Clone)]
pub struct Course {
    dice: Dice,
    tally: Tally,
}

/// What a device was asked and how it answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    /// Requests that came, whatever became of them.
    pub requests: u64,
    /// Not answered.
    pub silent: u64,
    /// Ended in the middle.
    pub cut: u64,
    /// Came late.
    pub late: u64,
    /// Answered by an exception that the registers give no reason for.
    pub exceptions: u64,
    /// Answered wrongly.
    pub wrong: u64,
}

impl std::ops::Add for Tally {
    type Output = Tally;

    fn add(self, other: Tally) -> Tally {
        Tally {
            requests: self.requests + other.requests,
            silent: self.silent + other.silent,
            cut: self.cut + other.cut,
            late: self.late + other.late,
            exceptions: self.exceptions + other.exceptions,
            wrong: self.wrong + other.wrong,
        }
    }
}

impl Tally {
    /// Requests that were not answered as they should.
    pub fn faulty(&self) -> u64 {
        self.silent + self.cut + self.late + self.exceptions + self.wrong
    }
}

impl Manner {
    /// A device that was asked nothing yet.
    pub fn begin(&self) -> Course {
        Course { dice: Dice::new(self.seed), tally: Tally::default() }
    }

    /// What it does with a request that comes at this time after its start.
    pub fn reply(&self, now: Duration, course: &mut Course) -> Reply {
        course.tally.requests += 1;
        // Each is thrown for each time, so that one fault does not move another.
        let after = self.delay + self.jitter.mul_f64(course.dice.share());
        let drop = course.happens(self.drop);
        let late = course.happens(self.late.map(|l| l.often));
        let exception = course.happens(self.exceptions.map(|e| e.often));
        let wrong = course.happens(self.wrong.map(|w| w.often));
        let tally = &mut course.tally;
        if self.silence.is_some_and(|s| s.covers(now)) {
            tally.silent += 1;
            return Reply::Never;
        }
        if drop {
            tally.cut += 1;
            return Reply::After(after, How::Cut);
        }
        match (self.late, self.exceptions, self.wrong) {
            (Some(by), ..) if late => {
                tally.late += 1;
                Reply::Late(by.after)
            }
            (_, Some(exceptions), _) if exception => {
                tally.exceptions += 1;
                Reply::After(after, How::Exception(exceptions.code))
            }
            (_, _, Some(Wrongs { kinds, .. })) if wrong && !kinds.is_empty() => {
                let turn = usize::try_from(tally.wrong).unwrap_or(0) % kinds.len();
                tally.wrong += 1;
                Reply::After(after, kinds.get(turn).map_or(How::Right, |kind| How::Wrong(*kind)))
            }
            _ => Reply::After(after, How::Right),
        }
    }
}

impl Course {
    /// What was asked and answered until now.
    pub fn tally(&self) -> Tally {
        self.tally
    }

    fn happens(&mut self, often: Option<Often>) -> bool {
        match often {
            None => false,
            Some(Often::Every(n)) => n > 0 && self.tally.requests.is_multiple_of(u64::from(n)),
            Some(Often::Chance(chance)) => self.dice.share() < chance,
        }
    }
}

impl Silence {
    fn covers(&self, now: Duration) -> bool {
        let Some(since) = now.checked_sub(self.after) else { return false };
        // A period of nothing would be a silence without end.
        let phase = since.as_nanos().checked_rem(self.every.as_nanos()).unwrap_or(0);
        phase < self.lasts.as_nanos()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replies(manner: &Manner, times: u64) -> Vec<Reply> {
        let mut course = manner.begin();
        (0..times).map(|t| manner.reply(Duration::from_secs(t), &mut course)).collect()
    }

    #[test]
    fn a_silence_comes_ends_and_comes_again() {
        let s = Duration::from_secs;
        let silence = Some(Silence { after: s(20), lasts: s(8), every: s(40) });
        let manner = Manner { delay: s(1), silence, ..Manner::default() };
        let replies = replies(&manner, 120);
        let silent: Vec<_> = (0..120).filter(|t| replies[*t] == Reply::Never).collect();
        assert_eq!(silent, [20..28, 60..68, 100..108].into_iter().flatten().collect::<Vec<_>>());
        assert_eq!(replies[0], Reply::After(s(1), How::Right));
    }

    #[test]
    fn without_faults_a_device_always_answers() {
        let right = Reply::After(Duration::ZERO, How::Right);
        assert!(replies(&Manner::default(), 1000).iter().all(|reply| *reply == right));
    }

    #[test]
    fn every_fifth_is_every_fifth_and_wrongs_come_in_turn() {
        let after = Duration::from_millis(700);
        let late = Some(Late { often: Often::Every(5), after });
        let wrong = Some(Wrongs { often: Often::Every(2), kinds: &[Wrong::Short, Wrong::Long] });
        let replies = replies(&Manner { late, wrong, ..Manner::default() }, 12);
        let at = |how| Reply::After(Duration::ZERO, how);
        let (right, short, long) = (How::Right, How::Wrong(Wrong::Short), How::Wrong(Wrong::Long));
        let hows = [right, short, right, long, right, short, right, long, right, right, right, short];
        for (number, (reply, how)) in replies.iter().zip(hows).enumerate() {
            let expected = if number % 5 == 4 { Reply::Late(after) } else { at(how) };
            assert_eq!(*reply, expected, "{number}");
        }
    }

    #[test]
    fn chance_repeats_with_its_seed_and_keeps_its_share() {
        let exceptions = Some(Exceptions { often: Often::Chance(0.02), code: 4 });
        let manner = |seed| Manner { seed, exceptions, jitter: Duration::from_secs(1), ..Manner::default() };
        let (one, again, other) =
            (replies(&manner(1), 10_000), replies(&manner(1), 10_000), replies(&manner(2), 10_000));
        assert_eq!(one, again);
        assert_ne!(one, other);
        let share = one.iter().filter(|r| matches!(r, Reply::After(_, How::Exception(4)))).count();
        assert!((150..250).contains(&share), "{share}");
        let longest =
            one.iter().filter_map(|r| if let Reply::After(t, _) = r { Some(*t) } else { None }).max();
        assert!((900..1000).contains(&longest.unwrap().as_millis()), "{longest:?}");
    }
}
