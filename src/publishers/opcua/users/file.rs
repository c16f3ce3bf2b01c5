//! The users file: names, roles, hashes and certificates; changed by `fieldgate user`, read by the running gateway.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::hash;
use crate::publishers::opcua::config::{Role, is_user_name};
use crate::publishers::opcua::pki::{self, Certificate};

/// A user.
#[derive(Clone, PartialEq)]
pub struct Account {
    /// User name.
    pub name: String,
    /// What it may do.
    pub role: Role,
    pub(crate) proof: Proof,
}

/// With what a user shows who it is.
#[derive(Clone, PartialEq)]
pub(crate) enum Proof {
    /// The password of this hash: argon2id, in the PHC string format.
    Password(String),
    /// The private key of this certificate.
    Certificate(Box<Certificate>),
}

// The hash is not for logs.
impl std::fmt::Debug for Account {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({})", self.name, self.role.name())
    }
}

impl Proof {
    /// A new password; argon2 takes its time.
    pub(crate) fn password(password: &str) -> Result<Proof, String> {
        if password.chars().count() < SHORTEST {
            return Err(format!("the password is too short: {SHORTEST} characters at least"));
        }
        if password.len() > LONGEST {
            return Err(format!("the password is too long: {LONGEST} bytes at most"));
        }
        hash::make(password).map(Proof::Password)
    }

    /// A file with a certificate, DER or PEM. Whether it is good for a log-in is looked at then.
    pub(crate) fn certificate(file: &Path) -> Result<Proof, String> {
        let read = pki::read(file).and_then(|bytes| Certificate::from_file(&bytes));
        let read = read.ok_or_else(|| format!("{} is no certificate in DER or PEM", file.display()))?;
        Ok(Proof::Certificate(Box::new(read)))
    }

    /// The thumbprint of the certificate.
    pub(crate) fn thumbprint(&self) -> Option<String> {
        match self {
            Proof::Password(_) => None,
            Proof::Certificate(certificate) => Some(certificate.thumbprint()),
        }
    }

    /// When the certificate ends, in seconds since 1970.
    pub(crate) fn ends(&self) -> Option<u64> {
        match self {
            Proof::Password(_) => None,
            Proof::Certificate(certificate) => Some(certificate.validity().1),
        }
    }
}

#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Content {
    #[serde(default)]
    user: Vec<Row>,
}

/// A user as it is written: with a hash or a certificate (PEM).
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    name: String,
    role: Role,
    hash: Option<String>,
    certificate: Option<String>,
}

impl Row {
    fn account(&self) -> Option<Account> {
        let proof = match (&self.hash, &self.certificate) {
            (Some(hash), None) if hash::is_one(hash) => Proof::Password(hash.clone()),
            (None, Some(pem)) => Proof::Certificate(Box::new(Certificate::from_file(pem.as_bytes())?)),
            _ => return None,
        };
        is_user_name(&self.name).then(|| Account { name: self.name.clone(), role: self.role, proof })
    }

    fn of(account: &Account) -> Option<Row> {
        let (hash, certificate) = match &account.proof {
            Proof::Password(hash) => (Some(hash.clone()), None),
            Proof::Certificate(certificate) => (None, Some(certificate.pem()?)),
        };
        Some(Row { name: account.name.clone(), role: account.role, hash, certificate })
    }
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
    let mut users: Vec<Account> = Vec::with_capacity(content.user.len());
    for row in &content.user {
        match row.account() {
            Some(account) if twin(&users, &account).is_none() => users.push(account),
            _ => {
                return Err(format!(
                    "{}: the user {:?} has a bad name, is there twice, or has neither an argon2id hash of ours nor a certificate of its own: remove and add it anew",
                    path.display(),
                    row.name
                ));
            }
        }
    }
    match users.len() {
        0..=MOST => Ok(users),
        _ => Err(format!("{}: more than {MOST} users", path.display())),
    }
}

/// One of these with the same name or certificate.
fn twin<'a>(users: &'a [Account], account: &Account) -> Option<&'a Account> {
    let same = |proof: &Proof| matches!(proof, Proof::Certificate(_)) && *proof == account.proof;
    users.iter().find(|user| user.name == account.name || same(&user.proof))
}

/// Adds a user with a password, who must be new.
pub fn add(path: &Path, name: &str, role: Role, password: &str) -> Result<(), String> {
    insert(path, &Account { name: name.to_owned(), role, proof: Proof::password(password)? })
}

/// Adds a user, who must be new.
pub(crate) fn insert(path: &Path, account: &Account) -> Result<(), String> {
    let name = &account.name;
    if !is_user_name(name) {
        return Err(format!(
            "{name:?} is no name for a user: write 1 to 128 characters without a space at an end, and not ANONYMOUS"
        ));
    }
    change(path, |users| {
        match twin(users, account) {
            Some(user) if user.name == *name => {
                return Err(format!(
                    "there is a user {name:?}: `passwd` and `certificate` change how it logs in"
                ));
            }
            Some(user) => return Err(taken(&user.name)),
            None if users.len() >= MOST => return Err(format!("there are {MOST} users: remove one")),
            None => users.push(account.clone()),
        }
        Ok(())
    })
}

/// Gives a user another password, another role, or both.
pub fn set(path: &Path, name: &str, role: Option<Role>, password: &str) -> Result<(), String> {
    replace(path, name, role, &Proof::password(password)?)
}

/// Gives a user something else to log in with, and with a role another role.
pub(crate) fn replace(path: &Path, name: &str, role: Option<Role>, proof: &Proof) -> Result<(), String> {
    change(path, |users| {
        let place = users.iter().position(|user| user.name == name).ok_or_else(|| unknown(name))?;
        let mut user = users.remove(place);
        user.proof = proof.clone();
        user.role = role.unwrap_or(user.role);
        if let Some(other) = twin(users, &user) {
            return Err(taken(&other.name));
        }
        users.insert(place, user);
        Ok(())
    })
}

fn taken(by: &str) -> String {
    format!("the user {by:?} logs in with this certificate: each user needs its own")
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
    let mut users = read(path)?;
    with(&mut users)?;
    let rows = users.iter().map(Row::of).collect::<Option<_>>();
    let content = Content { user: rows.ok_or_else(|| failed("write", &"a certificate has no PEM"))? };
    let text = toml::to_string(&content).map_err(|error| failed("write", &error))?;
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
        let Proof::Password(hash) = &second[0].proof else { panic!("a password") };
        assert!(hash::check("horse correct", Some(hash)));
        assert_eq!((second[0].role, &second[1]), (Role::Observer, &first[1]));
        remove(&at, "op").unwrap();
        assert!(remove(&at, "op").unwrap_err().contains("no user"));
        assert_eq!(read(&at).unwrap().len(), 1);
    }

    #[test]
    fn a_user_has_a_password_or_a_certificate_that_no_other_user_has() {
        let folder = tempfile::tempdir().unwrap();
        let at = path(folder.path());
        let certificate = |name: &str| {
            let file = folder.path().join(name);
            fs::write(&file, rcgen::generate_simple_self_signed([name.to_owned()]).unwrap().cert.der())
                .unwrap();
            Proof::certificate(&file).unwrap()
        };
        let (ann, bob) = (certificate("ann"), certificate("bob"));
        let account = |name: &str, proof: &Proof| Account {
            name: name.into(),
            role: Role::Operator,
            proof: proof.clone(),
        };
        insert(&at, &account("ann", &ann)).unwrap();
        add(&at, "op", Role::Operator, "correct horse").unwrap();
        assert!(insert(&at, &account("eve", &ann)).unwrap_err().contains("\"ann\" logs in with"));
        assert!(replace(&at, "op", None, &ann).unwrap_err().contains("\"ann\" logs in with"));
        assert!(read(&at).unwrap()[0].proof == ann);
        replace(&at, "op", Some(Role::Engineer), &bob).unwrap();
        replace(&at, "ann", None, &Proof::password("battery staple").unwrap()).unwrap();
        let now = read(&at).unwrap();
        assert!(now[0].name == "ann" && now[0].proof.thumbprint().is_none());
        assert!(now[1] == Account { role: Role::Engineer, ..account("op", &bob) });
        assert_eq!(now[1].proof.thumbprint().unwrap().len(), 40);
        let text = fs::read_to_string(&at).unwrap();
        fs::write(&at, text.replace("role = \"engineer\"", "role = \"engineer\"\nhash = \"x\"")).unwrap();
        assert!(read(&at).unwrap_err().contains("anew"), "both");
        fs::write(folder.path().join("no.der"), "no").unwrap();
        assert!(Proof::certificate(&folder.path().join("no.der")).is_err());
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
