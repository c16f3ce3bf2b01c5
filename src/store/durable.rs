//! The C functions that no crate gives safely: turns `sync_file_range`, which sled calls at the end of a
//! flush, into `fdatasync`; asks the kernel whether its clock is synchronised.
//!
//! `sync_file_range` writes no metadata and does not flush the disk's own cache, so what sled calls
//! flushed is lost in a power cut. The linker takes this definition of the symbol before the C
//! library's, so sled's calls end here. The store proves at its start that they do.
#![allow(unsafe_code)] // The one file: a C symbol can be defined and called in no other way.

use std::ffi::{c_int, c_uint};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

static SYNCS: AtomicU64 = AtomicU64::new(0);

unsafe extern "C" {
    /// POSIX; through the C library and not by a raw system call, since sled reads `errno`.
    fn fdatasync(fd: c_int) -> c_int;
    /// adjtimex(2); the buffer stands for `struct timex`, 208 bytes at most on any Linux.
    fn adjtimex(buffer: *mut [u64; 64]) -> c_int;
}

/// Same signature as in the C library: `off64_t` is 64 bits on every target.
#[unsafe(no_mangle)]
unsafe extern "C" fn sync_file_range(fd: c_int, _offset: i64, _bytes: i64, _flags: c_uint) -> c_int {
    // SAFETY: fdatasync takes any number and answers EBADF where it is no open file.
    let answer = unsafe { fdatasync(fd) };
    if answer == 0 {
        SYNCS.fetch_add(1, Relaxed);
    }
    answer
}

/// How many real syncs there were in this process.
pub(super) fn syncs() -> u64 {
    // Names the function, so that the linker cannot leave its object out.
    std::hint::black_box(sync_file_range as *const ());
    SYNCS.load(Relaxed)
}

/// Whether the kernel holds its clock for synchronised, by whatever service: `STA_UNSYNC` is not set
/// (adjtimex(2)). Where it may not be asked it is not.
pub(super) fn clock_is_synchronised() -> bool {
    const TIME_ERROR: c_int = 5;
    let mut buffer = [0; 64];
    // SAFETY: a `struct timex` of zeros has no `modes`, so it is only read into; the buffer is larger than it.
    let answer = unsafe { adjtimex(&raw mut buffer) };
    (0..TIME_ERROR).contains(&answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_tells_of_its_clock_and_of_nothing_beyond_the_buffer() {
        let mut buffer = [0; 64];
        // SAFETY: as above.
        let answer = unsafe { adjtimex(&raw mut buffer) };
        assert!((-1..=5).contains(&answer));
        assert_eq!(buffer[26..], [0; 38], "208 bytes are enough");
        assert_eq!(clock_is_synchronised(), (0..5).contains(&answer));
    }
}
