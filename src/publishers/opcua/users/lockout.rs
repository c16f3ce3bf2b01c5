//! Who has to wait after wrong passwords: by user and address, by address, and slowly by user. Pure and bounded.

use std::collections::{HashMap, HashSet};
use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, Instant};

/// Wrong passwords of one key since the last right one.
#[derive(Debug, Clone, Copy)]
struct Wrong {
    count: u32,
    last: Instant,
    until: Instant,
}

/// Counters of one kind, at most [`Counters::MOST`]; the one that was touched longest ago goes first.
#[derive(Debug)]
struct Counters<K> {
    entries: HashMap<K, Wrong>,
    /// Wrong ones that cost nothing.
    free: u32,
    /// Longest lock.
    longest: Duration,
}

impl<K: Hash + Eq + Clone> Counters<K> {
    const MOST: usize = 1024;
    /// The first lock; each further wrong password doubles it.
    const FIRST: Duration = Duration::from_secs(1);
    /// After this long without a wrong one all is forgotten.
    const FORGOTTEN: Duration = Duration::from_secs(3600);

    fn new(free: u32, longest: Duration) -> Self {
        Counters { entries: HashMap::new(), free, longest }
    }

    fn locked(&self, key: &K, now: Instant) -> Option<Duration> {
        let left = self.entries.get(key)?.until.saturating_duration_since(now);
        (!left.is_zero()).then_some(left)
    }

    fn wrong(&mut self, key: K, now: Instant) -> Duration {
        if self.entries.len() >= Self::MOST && !self.entries.contains_key(&key) {
            let oldest = self.entries.iter().min_by_key(|(_, wrong)| wrong.last).map(|(key, _)| key.clone());
            if let Some(oldest) = oldest {
                self.entries.remove(&oldest);
            }
        }
        let entry = self.entries.entry(key).or_insert(Wrong { count: 0, last: now, until: now });
        if now.saturating_duration_since(entry.last) > Self::FORGOTTEN {
            entry.count = 0;
        }
        entry.count = entry.count.saturating_add(1);
        entry.last = now;
        let lock = match entry.count.checked_sub(self.free + 1) {
            None => Duration::ZERO,
            Some(doubled) => Self::FIRST.saturating_mul(1 << doubled.min(16)).min(self.longest),
        };
        entry.until = now + lock;
        lock
    }
}

/// The state of all locks.
#[derive(Debug)]
pub(in crate::publishers::opcua) struct Lockout {
    pairs: Counters<(String, IpAddr)>,
    addresses: Counters<IpAddr>,
    users: Counters<String>,
    /// Where a user has logged in from: others' guesses never lock these out.
    known: HashSet<(String, IpAddr)>,
}

impl Lockout {
    /// Most places that users are known from.
    const KNOWN: usize = 1024;

    pub(in crate::publishers::opcua) fn new() -> Lockout {
        Lockout {
            pairs: Counters::new(4, Duration::from_secs(900)),
            addresses: Counters::new(30, Duration::from_secs(60)),
            users: Counters::new(100, Duration::from_secs(60)),
            known: HashSet::new(),
        }
    }

    /// How long this user has to wait at this address.
    pub(in crate::publishers::opcua) fn locked(
        &self,
        user: &str,
        at: IpAddr,
        now: Instant,
    ) -> Option<Duration> {
        let pair = key(user, at);
        let slowly = || match self.known.contains(&pair) {
            true => None,
            false => self.users.locked(&pair.0, now).max(self.addresses.locked(&pair.1, now)),
        };
        self.pairs.locked(&pair, now).max(slowly())
    }

    /// A wrong password, for a user that there is or not; gives the lock that follows.
    pub(in crate::publishers::opcua) fn wrong(&mut self, user: &str, at: IpAddr, now: Instant) -> Duration {
        let pair = key(user, at);
        self.addresses.wrong(pair.1, now);
        self.users.wrong(pair.0.clone(), now);
        self.pairs.wrong(pair, now)
    }

    /// A right password.
    pub(in crate::publishers::opcua) fn right(&mut self, user: &str, at: IpAddr) {
        let pair = key(user, at);
        self.pairs.entries.remove(&pair);
        if self.known.len() >= Self::KNOWN {
            // Only right passwords come here; to forget costs a wait at worst.
            self.known.clear();
        }
        self.known.insert(pair);
    }
}

/// Long names by their beginning; IPv6 addresses by their network, since one host has all addresses of its /64.
fn key(user: &str, at: IpAddr) -> (String, IpAddr) {
    let at = match at.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & (u128::MAX << 64))),
        v4 => v4,
    };
    (user.chars().take(128).collect(), at)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1));
    const THERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 2));

    fn seconds(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    #[test]
    fn the_fifth_wrong_password_locks_for_a_second_and_each_further_one_twice_as_long() {
        let (mut lockout, now) = (Lockout::new(), Instant::now());
        let locks: Vec<u64> = (0..17).map(|_| lockout.wrong("op", HERE, now).as_secs()).collect();
        assert_eq!(locks, [0, 0, 0, 0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900, 900]);
        assert_eq!(lockout.locked("op", HERE, now), Some(seconds(900)));
        assert_eq!(lockout.locked("op", HERE, now + seconds(900)), None);
        lockout.right("op", HERE);
        assert_eq!(lockout.locked("op", HERE, now), None);
        assert_eq!(lockout.wrong("op", HERE, now), Duration::ZERO);
    }

    #[test]
    fn guessing_elsewhere_or_at_another_user_does_not_lock_an_operator_out() {
        let (mut lockout, now) = (Lockout::new(), Instant::now());
        lockout.right("op", HERE);
        for _ in 0..1000 {
            lockout.wrong("op", THERE, now);
        }
        assert!(lockout.locked("op", THERE, now).is_some());
        assert_eq!(lockout.locked("op", HERE, now), None, "known here");
        for n in 0..100 {
            lockout.wrong(&format!("guess {n}"), HERE, now);
        }
        assert_eq!(lockout.locked("op", HERE, now), None);
        assert!(lockout.locked("another", HERE, now).is_some(), "the address guesses too much");
    }

    #[test]
    fn guessing_from_many_addresses_is_slowed_down_for_a_minute_at_most() {
        let (mut lockout, now) = (Lockout::new(), Instant::now());
        for n in 0..200 {
            lockout.wrong("op", IpAddr::from([10, 1, 0, n]), now);
        }
        assert_eq!(lockout.locked("op", THERE, now), Some(seconds(60)));
        assert_eq!(lockout.locked("other", THERE, now), None);
    }

    #[test]
    fn an_hour_later_all_is_forgotten() {
        let (mut lockout, now) = (Lockout::new(), Instant::now());
        for _ in 0..10 {
            lockout.wrong("op", HERE, now);
        }
        assert_eq!(lockout.wrong("op", HERE, now + seconds(3601)), Duration::ZERO);
    }

    #[test]
    fn the_table_is_bounded_and_forgets_the_oldest() {
        let (mut lockout, now) = (Lockout::new(), Instant::now());
        for n in 0..5000_u64 {
            lockout.wrong(&format!("user {n}"), HERE, now + Duration::from_millis(n));
            lockout.right("op", IpAddr::V6(Ipv6Addr::from_bits(u128::from(n) << 64)));
        }
        assert_eq!(lockout.pairs.entries.len(), 1024);
        assert_eq!(lockout.users.entries.len(), 1024);
        assert!(lockout.pairs.entries.contains_key(&key("user 4999", HERE)));
        assert!(!lockout.pairs.entries.contains_key(&key("user 3000", HERE)));
        assert!(lockout.known.len() <= 1024);
    }

    #[test]
    fn all_addresses_of_an_ipv6_network_and_a_mapped_ipv4_are_one() {
        let at = |text: &str| key("op", text.parse().unwrap()).1;
        assert_eq!(at("2001:db8::1"), at("2001:db8::ffff:1"));
        assert_ne!(at("2001:db8::1"), at("2001:db8:0:1::1"));
        assert_eq!(at("::ffff:10.0.0.1"), HERE);
    }
}
