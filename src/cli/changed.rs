//! Whether the files of a configuration have changed, for `fieldgate run --reload-on-change`; looked at once a second.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::file::compile;

/// What tells whether a file is another; none where it is not there.
type Stamp = Option<(SystemTime, u64, u64)>;

/// The file and those that it names. By looking, since that works on every file system, and through links that are
/// turned to another folder.
#[derive(Debug)]
pub(super) struct Changed {
    config: PathBuf,
    files: Vec<PathBuf>,
    /// As they were taken on.
    known: Vec<Stamp>,
    /// As they were at the last look.
    last: Vec<Stamp>,
}

impl Changed {
    /// From how the files are now.
    pub(super) fn new(config: &Path) -> Changed {
        let mut changed =
            Changed { config: config.to_owned(), files: Vec::new(), known: Vec::new(), last: Vec::new() };
        changed.begin_anew();
        changed
    }

    /// Whether there is another configuration since the last one that was told; not while it is being written, which
    /// is as long as two looks differ, nor while the file is away. Blocking.
    pub(super) fn look(&mut self) -> bool {
        let now = stamps(&self.files);
        let rests = now == self.last;
        self.last.clone_from(&now);
        let is_there = now.first().is_some_and(Option::is_some);
        if !rests || !is_there || now == self.known {
            return false;
        }
        self.begin_anew();
        true
    }

    /// Another configuration may name other files. One that cannot be read whole names those that it did before, too.
    fn begin_anew(&mut self) {
        let mut files = vec![self.config.clone()];
        let compiled = compile(&self.config);
        let named = compiled.iter().flat_map(|compiled| compiled.files().skip(1));
        let is_whole = compiled.as_ref().is_ok_and(|compiled| compiled.plan.is_ok());
        let before = self.files.drain(..).filter(|_| !is_whole);
        for file in named.chain(before) {
            if !files.contains(&file) {
                files.push(file);
            }
        }
        self.known = stamps(&files);
        self.last.clone_from(&self.known);
        self.files = files;
    }
}

fn stamps(files: &[PathBuf]) -> Vec<Stamp> {
    let stamp = |file: &PathBuf| {
        let meta = fs::metadata(file).ok()?;
        Some((meta.modified().ok()?, meta.len(), meta.ino()))
    };
    files.iter().map(stamp).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "profiles = [\"p/*.toml\"]\n[node]\ngroup = \"g\"\nname = \"n\"\n";

    struct Site(tempfile::TempDir);

    impl Site {
        fn new() -> Site {
            let site = Site(tempfile::tempdir().unwrap());
            fs::create_dir(site.path("p")).unwrap();
            site.write("p/one.toml", "");
            site.write("p/two.toml", "");
            site.write("gw.toml", GOOD);
            site
        }

        fn path(&self, name: &str) -> PathBuf {
            self.0.path().join(name)
        }

        /// Never twice with the same stamp, as a file of another length.
        fn write(&self, name: &str, text: &str) {
            fs::write(self.path(name), text).unwrap();
        }
    }

    /// How many of these looks tell of a change.
    fn told(changed: &mut Changed, looks: usize) -> usize {
        (0..looks).filter(|_| changed.look()).count()
    }

    #[test]
    fn a_change_is_told_once_and_only_when_it_rests() {
        let site = Site::new();
        let mut changed = Changed::new(&site.path("gw.toml"));
        assert_eq!(told(&mut changed, 3), 0);
        for n in 1..5 {
            site.write("gw.toml", &format!("{GOOD}{}", "#".repeat(n)));
            assert!(!changed.look(), "it is being written");
        }
        assert_eq!(told(&mut changed, 3), 1);
    }

    #[test]
    fn what_the_file_names_is_looked_at_also_when_a_mistake_hides_it() {
        let site = Site::new();
        let mut changed = Changed::new(&site.path("gw.toml"));
        site.write("p/one.toml", "# one\n");
        assert_eq!(told(&mut changed, 3), 1);
        site.write("gw.toml", "no toml");
        assert_eq!(told(&mut changed, 3), 1, "a wrong file is told, too");
        for n in 1..5 {
            site.write("gw.toml", &format!("{GOOD}wrong = 1\n{}", "#".repeat(n)));
            assert_eq!(told(&mut changed, 3), 1);
        }
        assert_eq!(changed.files.len(), 3, "each once, however often it is wrong");
        site.write("p/one.toml", "# another one\n");
        assert_eq!(told(&mut changed, 3), 1);
    }

    #[test]
    fn a_file_that_is_away_is_waited_for() {
        let site = Site::new();
        let mut changed = Changed::new(&site.path("gw.toml"));
        fs::rename(site.path("gw.toml"), site.path("old")).unwrap();
        assert_eq!(told(&mut changed, 3), 0);
        fs::rename(site.path("old"), site.path("gw.toml")).unwrap();
        assert_eq!(told(&mut changed, 3), 0, "the same one");
        site.write("gw.toml", &format!("{GOOD}# new\n"));
        assert_eq!(told(&mut changed, 3), 1);
    }
}
