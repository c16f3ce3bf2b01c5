//! The whole TOML as data: files, secrets, places; no meaning.
