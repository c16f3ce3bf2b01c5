//! Who may log in at the OPC UA server: the users file, its hashes and certificates, and the locks after wrong passwords.

pub mod file;
pub(super) mod hash;
pub(super) mod lockout;

pub use file::Account;
pub(crate) use file::Proof;
