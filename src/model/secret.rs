//! A secret by reference: never in the file, the log or the page.

use std::borrow::Cow;
use std::path::PathBuf;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use serde::de::{Deserializer, Error, MapAccess, SeqAccess, Visitor};

/// `{ file = "…" }`, `{ env = "…" }` or `{ credential = "…" }` (systemd's credentials folder).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Secret {
    /// The first line of this file.
    File(PathBuf),
    /// This environment variable.
    Env(String),
    /// The file of this name in `$CREDENTIALS_DIRECTORY`.
    Credential(String),
}

/// What serde says of a secret in clear; never with the secret itself.
pub const IN_CLEAR: &str = "a secret does not belong into this file";

// By hand, because the derived one would repeat a password that was written in clear.
impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Secret, D::Error> {
        struct Reference;
        impl<'de> Visitor<'de> for Reference {
            type Value = Secret;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("{ file = \"…\" }, { env = \"…\" } or { credential = \"…\" }")
            }
            fn visit_str<E: Error>(self, _: &str) -> Result<Secret, E> {
                Err(E::custom(IN_CLEAR))
            }
            fn visit_i64<E: Error>(self, _: i64) -> Result<Secret, E> {
                Err(E::custom(IN_CLEAR))
            }
            fn visit_f64<E: Error>(self, _: f64) -> Result<Secret, E> {
                Err(E::custom(IN_CLEAR))
            }
            fn visit_bool<E: Error>(self, _: bool) -> Result<Secret, E> {
                Err(E::custom(IN_CLEAR))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, _: A) -> Result<Secret, A::Error> {
                Err(A::Error::custom(IN_CLEAR))
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Secret, A::Error> {
                let known = &["file", "env", "credential"];
                let mut secret = None;
                while let Some(key) = map.next_key::<String>()? {
                    if secret.is_some() {
                        return Err(A::Error::custom("a secret has one place: remove all but one key"));
                    }
                    secret = Some(match key.as_str() {
                        "file" => Secret::File(map.next_value()?),
                        "env" => Secret::Env(map.next_value()?),
                        "credential" => Secret::Credential(map.next_value()?),
                        other => return Err(A::Error::unknown_field(other, known)),
                    });
                }
                secret.ok_or_else(|| {
                    A::Error::custom("a secret needs its place: write one of file, env, credential")
                })
            }
        }
        deserializer.deserialize_any(Reference)
    }
}

impl JsonSchema for Secret {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "secret".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "object",
            "x-type": "secret",
            "properties": {
                "file": { "type": "string", "description": "The first line of this file." },
                "env": { "type": "string", "description": "This environment variable." },
                "credential": { "type": "string", "description": "The systemd credential of this name." },
            },
            "minProperties": 1,
            "maxProperties": 1,
            "additionalProperties": false,
        })
    }
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
