//! The users file: names, roles and hashes; changed by `fieldgate user`, read by the running gateway.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::hash;
use crate::publishers::opcua::config::{Role, is_user_name};

/// A user with the hash of the password.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Account {
    /// User name.
    pub name: String,
    /// What it may do.
    pub role: Role,
    /// argon2id, in the PHC string format.
    pub hash: String,
}

// The hash is not for logs.
impl std::fmt::Debug for Account {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({})", self.name, self.role.name())
    }
}

#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Content {
    #[serde(default)]
    user: Vec<Account>,
}

/// Fewest characters of a password.
pub const SHORTEST: usize = 10;
/// Most bytes of a password.
const LONGEST: usize = 1024;
/// Most users; a file with more is no file of ours.
const MOST: usize = 1000;

/// The file of a publisher, below its own folder.
pub fn path(folder: &Path) -> PathBuf {
    folder.join("users.toml")
}

/// All users; none where there is no file.
pub fn read(path: &Path) -> Result<Vec<Account>, String> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(format!("cannot read {}: {error}", path.display())),
    };
    // The message of the parser could repeat a line, and with it a hash.
    let content: Content = toml::from_str(&text).map_err(|_| {
        format!("{} is damaged: put back a copy, or remove it and add the users anew", path.display())
    })?;
    let mut seen = std::collections::HashSet::new();
    let wrong = content.user.iter().find(|user| {
        !is_user_name(&user.name) || !hash::is_one(&user.hash) || !seen.insert(user.name.as_str())
    });
    match wrong {
        Some(user) => Err(format!(
            "{}: the user {:?} has a bad name, is there twice, or has no argon2id hash of ours: set the password anew",
            path.display(),
            user.name
        )),
        None if content.user.len() > MOST => Err(format!("{}: more than {MOST} users", path.display())),
        None => Ok(content.user),
    }
}

/// Adds a user, who must be new.
pub fn add(path: &Path, name: &str, role: Role, password: &str) -> Result<(), String> {
    if !is_user_name(name) {
        return Err(format!(
            "{name:?} is no name for a user: write 1 to 128 characters without a space at an end, and not ANONYMOUS"
        ));
    }
    let hash = checked(password)?;
    change(path, |users| {
        if users.iter().any(|user| user.name == name) {
            return Err(format!(
                "there is a user {name:?}: change the password with `passwd`, or remove the user first"
            ));
        }
        if users.len() >= MOST {
            return Err(format!("there are {MOST} users: remove one"));
        }
        users.push(Account { name: name.to_owned(), role, hash: hash.clone() });
        Ok(())
    })
}

/// Gives a user another password, another role, or both.
pub fn set(path: &Path, name: &str, role: Option<Role>, password: &str) -> Result<(), String> {
    let hash = checked(password)?;
    change(path, |users| {
        let user = users.iter_mut().find(|user| user.name == name).ok_or_else(|| unknown(name))?;
        user.hash.clone_from(&hash);
        user.role = role.unwrap_or(user.role);
        Ok(())
    })
}

/// Removes a user.
pub fn remove(path: &Path, name: &str) -> Result<(), String> {
    change(path, |users| {
        let before = users.len();
        users.retain(|user| user.name != name);
        if users.len() < before { Ok(()) } else { Err(unknown(name)) }
    })
}

fn unknown(name: &str) -> String {
    format!("there is no user {name:?}: `fieldgate user list` shows them")
}

fn checked(password: &str) -> Result<String, String> {
    if password.chars().count() < SHORTEST {
        return Err(format!("the password is too short: {SHORTEST} characters at least"));
    }
    if password.len() > LONGEST {
        return Err(format!("the password is too long: {LONGEST} bytes at most"));
    }
    hash::make(password)
}

/// Reads, changes and writes under a lock, so that two commands at a time lose nothing.
fn change(path: &Path, with: impl FnOnce(&mut Vec<Account>) -> Result<(), String>) -> Result<(), String> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let failed =
        |what: &str, error: &dyn std::fmt::Display| format!("cannot {what} {}: {error}", path.display());
    fs::create_dir_all(folder).map_err(|error| failed("make the folder of", &error))?;
    let lock = path.with_extension("lock");
    let lock = private(&lock).and_then(|lock| {
        rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive)?;
        Ok(lock)
    });
    let _lock = lock.map_err(|error| failed("lock", &error))?;
    let mut user = read(path)?;
    with(&mut user)?;
    let text = toml::to_string(&Content { user }).map_err(|error| failed("write", &error))?;
    let draft = path.with_extension("new");
    // One left behind by a broken run may have other rights.
    let _ = fs::remove_file(&draft);
    let written = private(&draft).and_then(|mut file| {
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&draft, path)?;
        File::open(folder)?.sync_all()
    });
    written.map_err(|error| failed("write", &error))
}

/// A file that only its owner can read.
fn private(path: &Path) -> std::io::Result<File> {
    OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn users_are_added_changed_and_removed_in_a_file_that_only_its_owner_reads() {
        let folder = tempfile::tempdir().unwrap();
        let at = path(&folder.path().join("opcua"));
        assert_eq!(read(&at).unwrap(), []);
        add(&at, "op", Role::Operator, "correct horse").unwrap();
        add(&at, "eve", Role::Engineer, "battery staple").unwrap();
        assert!(add(&at, "op", Role::Observer, "another one, longer").unwrap_err().contains("passwd"));
        assert_eq!(fs::metadata(&at).unwrap().permissions().mode() & 0o777, 0o600);
        let text = fs::read_to_string(&at).unwrap();
        assert!(!text.contains("correct horse"));
        let first = read(&at).unwrap();
        assert_eq!(format!("{first:?}"), "[op (operator), eve (engineer)]");
        set(&at, "op", Some(Role::Observer), "horse correct").unwrap();
        let second = read(&at).unwrap();
        assert!(hash::check("horse correct", Some(&second[0].hash)));
        assert_eq!((second[0].role, &second[1]), (Role::Observer, &first[1]));
        remove(&at, "op").unwrap();
        assert!(remove(&at, "op").unwrap_err().contains("no user"));
        assert_eq!(read(&at).unwrap().len(), 1);
    }

    #[test]
    fn short_passwords_and_bad_names_are_refused_and_change_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let at = path(folder.path());
        assert!(add(&at, "op", Role::Operator, "ten chars").unwrap_err().contains("10 characters"));
        assert!(add(&at, "op", Role::Operator, &"x".repeat(1025)).unwrap_err().contains("1024"));
        assert!(add(&at, " op", Role::Operator, "correct horse").is_err());
        assert!(set(&at, "op", None, "correct horse").unwrap_err().contains("no user"));
        assert!(!at.exists());
    }

    #[test]
    fn a_damaged_file_is_told_without_its_content() {
        let folder = tempfile::tempdir().unwrap();
        let at = path(folder.path());
        for text in [
            "user = 7",
            "[[user]]\nname = \"a\"\nrole = \"king\"\nhash = \"$secret\"",
            "[[user]]\nname = \"a\"\nrole = \"operator\"\nhash = \"$secret\"",
        ] {
            fs::write(&at, text).unwrap();
            let why = read(&at).unwrap_err();
            assert!(why.contains("anew") && !why.contains("$secret"), "{why}");
        }
    }

    #[test]
    fn commands_at_the_same_time_lose_no_user() {
        let folder = tempfile::tempdir().unwrap();
        let at = path(folder.path());
        std::thread::scope(|scope| {
            for n in 0..8 {
                let at = at.clone();
                scope.spawn(move || add(&at, &format!("u{n}"), Role::Observer, "correct horse").unwrap());
            }
        });
        assert_eq!(read(&at).unwrap().len(), 8);
    }
}
