//! The C library's syncs, in the hands of the tests: as they are, failing below a folder, or lying.
//!
//! The linker takes these definitions before the C library's, as it does with the store's own
//! `sync_file_range`: so the program itself needs no hook for its tests.
#![allow(unsafe_code)] // A C symbol can be defined and called in no other way.

use std::ffi::{c_int, c_long, c_ulong};
use std::fs::File;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::OnceLock;

/// Set in a child: what sled does as it is shipped is done in the place of `fdatasync`.
pub(crate) const LIES: &str = "FIELDGATE_TEST_SYNC_LIES";

static FAILING: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

unsafe extern "C" {
    fn __errno_location() -> *mut c_int;
    fn ioctl(fd: c_int, request: c_ulong, argument: *const u32) -> c_int;
    fn kill(process: c_int, signal: c_int) -> c_int;
    fn syscall(number: c_long, ...) -> c_long;
}

/// Syncs of files below a folder answer EIO as long as this is there.
pub(crate) struct Fails(PathBuf);

impl Fails {
    pub(crate) fn below(folder: &Path) -> Fails {
        FAILING.lock().unwrap().push(folder.to_owned());
        Fails(folder.to_owned())
    }
}

impl Drop for Fails {
    fn drop(&mut self) {
        FAILING.lock().unwrap().retain(|folder| *folder != self.0);
    }
}

fn fails(fd: c_int) -> bool {
    let failing = FAILING.lock().unwrap();
    let path = || std::fs::read_link(format!("/proc/self/fd/{fd}")).unwrap_or_default();
    !failing.is_empty() && failing.iter().any(|folder| path().starts_with(folder))
}

fn lies() -> bool {
    static LYING: OnceLock<bool> = OnceLock::new();
    *LYING.get_or_init(|| std::env::var_os(LIES).is_some())
}

fn answer(done: rustix::io::Result<()>) -> c_int {
    let Err(error) = done else { return 0 };
    // SAFETY: the C library gives each thread a place for it.
    unsafe { *__errno_location() = error.raw_os_error() };
    -1
}

fn synced(fd: c_int, sync: impl Fn(BorrowedFd<'_>) -> rustix::io::Result<()>) -> c_int {
    if fails(fd) {
        return answer(Err(rustix::io::Errno::IO));
    }
    if lies() {
        let number = if cfg!(target_arch = "x86_64") { 277 } else { 84 };
        // SAFETY: a system call that takes numbers only: wait before, write, wait after.
        return unsafe { syscall(number, fd, 0_i64, 0_i64, 7) } as c_int;
    }
    // SAFETY: the caller has it open, or it is answered with EBADF.
    answer(sync(unsafe { BorrowedFd::borrow_raw(fd) }))
}

#[unsafe(no_mangle)]
extern "C" fn fdatasync(fd: c_int) -> c_int {
    synced(fd, |fd| rustix::fs::fdatasync(fd))
}

#[unsafe(no_mangle)]
extern "C" fn fsync(fd: c_int) -> c_int {
    synced(fd, |fd| rustix::fs::fsync(fd))
}

/// `EXT4_IOC_SHUTDOWN`; 1 flushes the journal first, 2 does not.
pub(crate) fn shut_down(folder: &File, how: u32) {
    // SAFETY: the request reads one number.
    let answer = unsafe { ioctl(folder.as_raw_fd(), 0x8004_587d, &how) };
    assert_eq!(answer, 0, "{}", std::io::Error::last_os_error());
}

/// Stops a process where it is, and returns when none of its threads runs any more.
pub(crate) fn stop(process: u32) {
    // SAFETY: a signal to a child of this test that was not waited for yet.
    unsafe { kill(process as c_int, 19) };
    let stands = |task: std::io::Result<std::fs::DirEntry>| {
        let stat = std::fs::read_to_string(task.unwrap().path().join("stat")).unwrap_or_default();
        // In the middle of a system call (D) it comes back to a stopped process.
        stat.rsplit_once(") ").is_none_or(|(_, rest)| rest.starts_with(['T', 't', 'D']))
    };
    while !std::fs::read_dir(format!("/proc/{process}/task")).unwrap().all(stands) {
        std::thread::yield_now();
    }
}
