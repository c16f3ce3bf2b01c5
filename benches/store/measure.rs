//! What a process and its disk did: counters of the kernel, not of the contender.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Bytes that this process caused to be written (`write_bytes`): whole pages, without the file system's
/// journal, and without what was thrown away before it was written.
pub(crate) fn written_by_process() -> u64 {
    let text = fs::read_to_string("/proc/self/io").unwrap_or_default();
    let field = |name: &str| text.lines().find_map(|l| l.strip_prefix(name)?.trim().parse::<u64>().ok());
    field("write_bytes:").unwrap_or(0).saturating_sub(field("cancelled_write_bytes:").unwrap_or(0))
}

/// Bytes written to the device that has this folder, by whomever, with the journal; `None` where it has none.
pub(crate) fn written_to_device(folder: &Path) -> Option<u64> {
    let device = fs::metadata(folder).ok()?.dev();
    let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
    let text = fs::read_to_string(format!("/sys/dev/block/{major}:{minor}/stat")).ok()?;
    Some(text.split_whitespace().nth(6)?.parse::<u64>().ok()? * 512)
}

/// The most memory that this process ever had, in bytes.
pub(crate) fn peak_memory() -> u64 {
    let text = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = text.lines().find_map(|l| l.strip_prefix("VmHWM:")).unwrap_or_default();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap_or(0) * 1024
}

/// Processor time of this process in seconds, all threads.
pub(crate) fn processor() -> f64 {
    let text = fs::read_to_string("/proc/self/schedstat").unwrap_or_default();
    let own = |text: &str| text.split_whitespace().next().and_then(|n| n.parse::<f64>().ok()).unwrap_or(0.0);
    let threads = fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let all: f64 =
        threads.map(|t| own(&fs::read_to_string(t.path().join("schedstat")).unwrap_or_default())).sum();
    all.max(own(&text)) / 1e9
}

/// What a folder takes on the disk.
pub(crate) fn disk(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .filter_map(|e| Some((e.path(), e.metadata().ok()?)))
        .map(|(path, about)| if about.is_dir() { disk(&path) } else { about.blocks() * 512 })
        .sum()
}
