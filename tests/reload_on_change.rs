//! `fieldgate run --reload-on-change`: what is saved runs, what is wrong changes nothing.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, missing_docs)]

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

const CONFIG: &str = "\
profiles = [\"pump.toml\"]
[node]
group = \"g\"
name = \"n\"
[[link.modbus-tcp]]
name = \"net\"
host = \"127.0.0.1\"
port = 1
[[device]]
name = \"pump\"
link = \"net\"
profile = \"pump\"
";
const PROFILE: &str = "[tag]\nspeed = { at = \"holding:0\", type = \"u16\" }\n";

struct Site {
    folder: tempfile::TempDir,
    gateway: Child,
}

impl Site {
    fn start() -> Site {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("gw.toml"), CONFIG).unwrap();
        fs::write(folder.path().join("pump.toml"), PROFILE).unwrap();
        let log = File::create(folder.path().join("log")).unwrap();
        let gateway = Command::new(env!("CARGO_BIN_EXE_fieldgate"))
            .current_dir(folder.path())
            .args(["run", "gw.toml", "--reload-on-change"])
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let site = Site { folder, gateway };
        site.says("gateway runs");
        site
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// As editors save: whole, under another name first.
    fn save(&self, name: &str, text: &str) {
        fs::write(self.path("draft"), text).unwrap();
        fs::rename(self.path("draft"), self.path(name)).unwrap();
    }

    fn log(&self) -> String {
        read(&self.path("log"))
    }

    fn says(&self, what: &str) {
        let limit = Instant::now() + Duration::from_secs(30);
        while !self.log().contains(what) {
            assert!(Instant::now() < limit, "{what} is not said:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        let _ = self.gateway.kill();
        let _ = self.gateway.wait();
    }
}

fn read(file: &Path) -> String {
    fs::read_to_string(file).unwrap()
}

#[test]
fn a_file_and_what_it_names_are_taken_on_when_they_are_saved() {
    let site = Site::start();
    let level = "[pump.tag]\nlevel = { at = \"holding:1\", type = \"u16\" }\n";
    site.save("pump.toml", &format!("{PROFILE}level = {{ at = \"holding:1\", type = \"u16\" }}\n"));
    site.says("+ tag pump/level");
    site.save("gw.toml", &format!("{CONFIG}{level}"));
    site.says("what ran goes on");
    site.save("gw.toml", &CONFIG.replace("port = 1", "port = 2"));
    site.says("~ link net");
}
