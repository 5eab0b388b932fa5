// SPDX-License-Identifier: MIT OR Apache-2.0

//! What open streams cost in memory.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::PathBuf;
use std::thread::sleep;
use std::time::Duration;

/// Time for what was freed to be free, and for what works in the background to have done so.
const SETTLE: Duration = Duration::from_millis(200);

/// Opens devices and writes a byte to each, so that its rings are there; prints kB of free memory
/// that went.
pub(crate) fn of_open(devices: &[PathBuf]) -> io::Result<String> {
    let before = settled_free()?;
    let mut open = Vec::new();
    for device in devices {
        let mut file = OpenOptions::new().read(true).write(true).open(device)?;
        file.write_all(&[1])?;
        open.push(file);
    }
    let after = settled_free()?;
    Ok(format!("kib {}", before.saturating_sub(after)))
}

/// kB of free memory, without page cache and slabs that could be given back.
fn settled_free() -> io::Result<u64> {
    fs::write("/proc/sys/vm/drop_caches", "3")?;
    sleep(SETTLE);
    let text = fs::read_to_string("/proc/meminfo")?;
    parse(&text).ok_or_else(|| io::Error::other("/proc/meminfo is not understood"))
}

fn parse(text: &str) -> Option<u64> {
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("MemFree:"))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    #[test]
    fn free_memory_is_found() {
        let text = "MemTotal:  100 kB\nMemFree:   42 kB\n";
        assert_eq!(super::parse(text), Some(42));
    }
}
