//! Small file systems of a test's own, gone with it whatever becomes of the test.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// How a file system is shut down: with what the journal holds, or (as a power cut does) without.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cut {
    /// The journal goes out first; data that was not written is lost.
    LogFlush = 1,
    /// Nothing goes out any more.
    NoLogFlush = 2,
}

/// A mounted file system.
pub(crate) struct Mount {
    folder: tempfile::TempDir,
    image: Option<PathBuf>,
    mounted: bool,
}

fn succeeds(program: &str, arguments: &[&str], path: &[&Path]) -> bool {
    let mut command = Command::new(program);
    command.args(arguments).args(path).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

impl Mount {
    /// ext4 in a file; `None` where this user may not mount one.
    pub(crate) fn ext4(megabytes: u64) -> Option<Mount> {
        let folder = tempfile::tempdir().unwrap();
        let image = folder.path().join("image");
        File::create(&image).unwrap().set_len(megabytes << 20).unwrap();
        if !succeeds("mkfs.ext4", &["-q", "-F", "-m", "0"], &[&image]) {
            return None;
        }
        let mut mount = Mount { folder, image: Some(image), mounted: false };
        std::fs::create_dir(mount.path()).unwrap();
        mount.mount().then_some(mount)
    }

    /// A file system in memory; `None` where this user may not mount one.
    pub(crate) fn tmpfs(size: &str) -> Option<Mount> {
        let folder = tempfile::tempdir().unwrap();
        let mut mount = Mount { folder, image: None, mounted: false };
        std::fs::create_dir(mount.path()).unwrap();
        let path = mount.path();
        mount.mounted = succeeds("mount", &["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"], &[&path]);
        mount.mounted.then_some(mount)
    }

    /// Where it is mounted.
    pub(crate) fn path(&self) -> PathBuf {
        self.folder.path().join("mount")
    }

    /// ext4 only: mounts it (again).
    pub(crate) fn mount(&mut self) -> bool {
        let image = self.image.clone().unwrap();
        self.mounted = succeeds("mount", &["-o", "loop"], &[&image, &self.path()]);
        self.mounted
    }

    /// As if the power went: what is not on the disk never gets there.
    pub(crate) fn shut_down(&self, how: Cut) {
        super::sync::shut_down(&File::open(self.path()).unwrap(), how as u32);
    }

    /// Gone from the tree, also while files in it are open where `lazy`.
    pub(crate) fn unmount(&mut self, lazy: bool) {
        let done = succeeds("umount", if lazy { &["-l"] } else { &[] }, &[&self.path()]);
        assert!(done, "nobody holds {}", self.path().display());
        self.mounted = false;
    }

    /// `ro` or `rw`, under the feet of those who have files open.
    pub(crate) fn remount(&self, how: &str) -> bool {
        succeeds("mount", &["-o", &format!("remount,{how}")], &[&self.path()])
    }

    /// Another program takes all the room there is; the file that it takes it with.
    pub(crate) fn fill(&self) -> PathBuf {
        let filler = self.path().join("filler");
        let mut file = File::create(&filler).unwrap();
        for piece in [1 << 20, 4096, 512] {
            while std::io::Write::write_all(&mut file, &vec![1; piece]).is_ok() {}
        }
        // What is only in memory takes no room yet.
        let _ = file.sync_all();
        while std::io::Write::write_all(&mut file, &[1; 512]).is_ok() {}
        filler
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        if self.mounted {
            let _ = succeeds("umount", &["-l"], &[&self.path()]);
        }
    }
}
