//! Who holds a byte lock. The system does not tell it of locks of open file descriptions; but it
//! shows them with each descriptor, of those processes into which one may look.

use std::fs;
use std::os::unix::fs::MetadataExt;

/// A file, by device and inode.
pub(crate) type Identity = (u64, u64);

/// pids of other processes that have a lock on that byte of the file. It looks at all descriptors
/// of all processes, so it is for messages only.
pub(crate) fn holders(file: Identity, byte: u64) -> Vec<u32> {
    let own = std::process::id();
    let pids = names("/proc").into_iter().filter_map(|name| name.parse().ok());
    pids.filter(|&pid| pid != own && holds(pid, file, byte)).collect()
}

fn holds(pid: u32, file: Identity, byte: u64) -> bool {
    names(&format!("/proc/{pid}/fdinfo")).iter().any(|fd| {
        let shown = fs::read_to_string(format!("/proc/{pid}/fdinfo/{fd}")).unwrap_or_default();
        shown.lines().any(|line| covers(line, byte))
            && fs::metadata(format!("/proc/{pid}/fd/{fd}"))
                .is_ok_and(|found| (found.dev(), found.ino()) == file)
    })
}

/// Whether a line tells of a lock on the byte, as
/// `lock: 1: OFDLCK ADVISORY WRITE -1 00:1b:1234 2048 2048`.
fn covers(line: &str, byte: u64) -> bool {
    let words: Vec<&str> = line.split_whitespace().collect();
    let [lock, _, kind, .., from, to] = words[..] else { return false };
    let end = if to == "EOF" { Ok(u64::MAX) } else { to.parse() };
    let (Ok(from), Ok(end)) = (from.parse::<u64>(), end) else { return false };
    lock == "lock:" && kind == "OFDLCK" && (from..=end).contains(&byte)
}

fn names(directory: &str) -> Vec<String> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().into_string().ok()).collect()
}
