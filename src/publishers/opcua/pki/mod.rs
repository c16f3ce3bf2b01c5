//! Certificates: the server's own, and whom it trusts. Files and pure checks; nothing here names the OPC UA library.

mod check;
mod folder;
mod own;
mod x509;

pub(crate) use check::{Fault, check, check_uri, check_user};
pub(crate) use folder::{Folder, Kept, Part, Trust, cap, private_folder, read, write};
pub(crate) use own::{Identity, bracketed, ensure, load, now, renew};
pub(crate) use x509::Certificate;
