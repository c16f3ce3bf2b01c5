//! What all servers of a publisher share: one follows another when the certificate is renewed.

use std::fs;
use std::sync::Arc;

use super::auth::Users;
use super::peers::Peers;
use super::setup::{APPROVED, SERVING};
use crate::publishers::opcua::config::{Login, Security, Spec, covers};
use crate::publishers::opcua::pki::{self, Folder, Identity};
use crate::publishers::opcua::users::{Account, Proof, file, hash};
use crate::publishers::publisher::Context;

/// Folders, name and certificate, who may log in, and who is there.
#[derive(Clone)]
pub(super) struct Shared {
    pub(super) folder: Folder,
    pub(super) identity: Identity,
    pub(super) users: Arc<Users>,
    pub(super) peers: Arc<Peers>,
}

impl Shared {
    /// Folders and certificate, made where they are missing. Blocking.
    pub(super) fn prepare(spec: &Spec, cx: &Context) -> Result<Shared, String> {
        let folder = Folder::at(&cx.folder.join("pki"));
        let failed = |why| format!("cannot make the folders in {}: {why}", folder.root().display());
        let unseen = folder.prepare().map_err(failed)?;
        if unseen > 0 {
            tracing::warn!(
                publisher = cx.name,
                certificates = unseen,
                "client certificates that an earlier version accepted unseen are now in pki/rejected: trust those that you know with fieldgate pki trust"
            );
        }
        let identity = Identity::new(spec, &cx.directory.now());
        let peers = Arc::new(Peers::default());
        let users = users(spec, cx, peers.clone())?;
        pki::ensure(&folder, &identity)?;
        let old = [APPROVED, SERVING].map(|name| folder.root().join(name));
        for old in old {
            match fs::remove_dir_all(&old) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(failed(error)),
                _ => {}
            }
        }
        Ok(Shared { folder, identity, users, peers })
    }
}

/// All users: those of the configuration, with their passwords as hashes from now on, and those of the users file.
fn users(spec: &Spec, cx: &Context, peers: Arc<Peers>) -> Result<Arc<Users>, String> {
    let declared = spec.users.iter().map(|user| {
        let proof = match &user.login {
            Login::Password(secret) => {
                let password =
                    secret.reveal().map_err(|why| format!("the password of {}: {why}", user.name))?;
                if password.is_empty() {
                    return Err(format!("the password of {} is empty: write one", user.name));
                }
                Proof::Password(hash::make(&password)?)
            }
            Login::Certificate(file) => {
                Proof::certificate(file).map_err(|why| format!("the certificate of {}: {why}", user.name))?
            }
        };
        Ok(Account { name: user.name.clone(), role: user.role, proof })
    });
    let declared = declared.collect::<Result<_, String>>()?;
    let only = spec.engineer_only.clone();
    for pattern in &only {
        if !cx.directory.now().tags().iter().any(|tag| tag.access.is_writable() && covers(pattern, &tag.path))
        {
            tracing::warn!(
                publisher = cx.name,
                pattern,
                "engineer-only names no tag that can be written: correct it"
            );
        }
    }
    let users = Users::new(declared, file::path(&cx.folder), spec.anonymous, only, peers);
    users.reload()?;
    hash::warm();
    if users.is_empty() && spec.security.iter().any(|one| *one != Security::None) {
        tracing::warn!(
            publisher = cx.name,
            "nobody can log in with a name: add somebody with `fieldgate user add`"
        );
    }
    Ok(Arc::new(users))
}
