//! A secret by reference: never in the file, the log or the page.

use std::path::PathBuf;

use serde::Deserialize;

/// `{ file = "…" }`, `{ env = "…" }` or `{ credential = "…" }` (systemd's credentials folder).
#[derive(Debug, Clone, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum Secret {
    /// The first line of this file.
    File(PathBuf),
    /// This environment variable.
    Env(String),
    /// The file of this name in `$CREDENTIALS_DIRECTORY`.
    Credential(String),
}

/// A secret that could not be had. Tells the reference, never the content.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The file or credential cannot be read.
    #[error("cannot read the secret from {path}: {why}")]
    Unreadable {
        /// The path that was tried.
        path: PathBuf,
        /// The system's word.
        why: std::io::Error,
    },
    /// The environment variable is not set.
    #[error("the environment variable {0} is not set")]
    NotSet(String),
    /// Not started by systemd with credentials.
    #[error("$CREDENTIALS_DIRECTORY is not set: the credential {0} needs LoadCredential= in the unit")]
    NoCredentials(String),
}

impl Secret {
    /// Reads the secret now; a trailing line end is cut.
    pub fn reveal(&self) -> Result<String, SecretError> {
        let path = match self {
            Secret::Env(name) => return std::env::var(name).map_err(|_| SecretError::NotSet(name.clone())),
            Secret::File(path) => path.clone(),
            Secret::Credential(name) => match std::env::var_os("CREDENTIALS_DIRECTORY") {
                Some(folder) => PathBuf::from(folder).join(name),
                None => return Err(SecretError::NoCredentials(name.clone())),
            },
        };
        let text = std::fs::read_to_string(&path).map_err(|why| SecretError::Unreadable { path, why })?;
        Ok(text.trim_end_matches(['\r', '\n']).to_owned())
    }
}
