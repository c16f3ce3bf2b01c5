//! Which program holds a serial port: the kernel's list of locks, and the lock files of old.

use std::fmt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// A program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Holder {
    pid: u32,
    name: String,
}

impl Holder {
    /// `None`: there is no such process.
    fn of(pid: u32) -> Option<Holder> {
        let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
        Some(Holder { pid, name: name.trim().to_owned() })
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.pid == std::process::id() {
            return f.write_str("this one, by another link");
        }
        write!(f, "`{}`, process {}", self.name, self.pid)
    }
}

/// Who has locked this file with `flock`, as far as the system tells.
pub(crate) fn by_flock(port: &Path) -> Option<Holder> {
    let file = std::fs::metadata(port).ok()?;
    let (major, minor) = (rustix::fs::major(file.dev()), rustix::fs::minor(file.dev()));
    let locks = std::fs::read_to_string("/proc/locks").ok()?;
    Holder::of(locker(&locks, &format!("{major:02x}:{minor:02x}:{}", file.ino()))?)
}

/// `1: FLOCK  ADVISORY  WRITE 1234 00:06:105 0 EOF`
fn locker(locks: &str, file: &str) -> Option<u32> {
    locks.lines().find_map(|line| {
        let mut words = line.split_whitespace().skip(1);
        // A waiting one has an arrow behind its number.
        let flock = words.next()? == "FLOCK";
        let pid = words.nth(2)?.parse().ok()?;
        (flock && words.next()? == file).then_some(pid)
    })
}

/// Who has left a lock file of the kind that minicom, cu and others use, and still runs.
pub(super) fn by_lock_file(port: &Path) -> Option<Holder> {
    let name = port.file_name()?.to_str()?;
    let text = std::fs::read_to_string(format!("/var/lock/LCK..{name}")).ok()?;
    Holder::of(text.split_whitespace().next()?.parse().ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_locker_of_this_very_file_is_found() {
        let locks = "1: POSIX  ADVISORY  WRITE 11 00:06:105 0 EOF\n\
                     2: FLOCK  ADVISORY  WRITE 12 00:06:106 0 EOF\n\
                     3: -> FLOCK  ADVISORY  WRITE 13 00:06:105 0 EOF\n\
                     4: FLOCK  ADVISORY  WRITE 14 00:06:105 0 EOF\n\
                     5: LEASE\n";
        assert_eq!(locker(locks, "00:06:105"), Some(14));
        assert_eq!(locker(locks, "00:06:107"), None);
    }

    #[test]
    fn a_process_that_is_gone_holds_nothing() {
        assert!(Holder::of(std::process::id()).is_some());
        assert_eq!(Holder::of(u32::MAX), None);
    }
}
