//! Counts the allocations of a thread; the program that uses it names it as its allocator.
#![expect(unsafe_code, reason = "an allocator cannot be written without; no part of the gateway")]
#![allow(missing_docs, dead_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

pub struct Counting;

thread_local! {
    static COUNT: Cell<u64> = const { Cell::new(0) };
}

fn bump() {
    // While a thread ends there is nothing to count.
    let _ = COUNT.try_with(|count| count.set(count.get() + 1));
}

/// Allocations of this thread while it runs; growing counts as one.
pub fn allocations<T>(run: impl FnOnce() -> T) -> (u64, T) {
    let before = allocations_so_far();
    let done = run();
    (allocations_so_far() - before, done)
}

/// All of this thread.
pub fn allocations_so_far() -> u64 {
    COUNT.with(Cell::get)
}

// SAFETY: all is done by the system's allocator; only a number is counted beside it.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        bump();
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        bump();
        // SAFETY: as above.
        unsafe { System.realloc(at, layout, size) }
    }
}
