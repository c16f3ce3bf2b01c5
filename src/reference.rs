//! What of `docs/reference` is made from the code, for the tests that hold both together.

/// Fails where the file says anything else; writes it where `FIELDGATE_WRITE_DOCS` is set.
pub(crate) fn says(file: &str, text: &str) {
    let path = format!("{}/docs/reference/{file}", env!("CARGO_MANIFEST_DIR"));
    if std::env::var_os("FIELDGATE_WRITE_DOCS").is_some() {
        std::fs::write(&path, text).unwrap();
    }
    assert_eq!(std::fs::read_to_string(path).unwrap(), text, "FIELDGATE_WRITE_DOCS=1 cargo test reference");
}
