// SPDX-License-Identifier: MIT OR Apache-2.0

//! The same system calls from many threads, as fast as they can. What they return does not matter.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

/// On what.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Target {
    /// read(2) that does not wait, of a file that each thread opens once.
    Read { device: PathBuf },
    /// mkdir(2) of a directory and one in it, and rmdir(2).
    Directories { path: PathBuf },
}

impl Target {
    fn until(&self, stop: &AtomicBool) -> u64 {
        let mut rounds = 0;
        let mut file = None;
        while !stop.load(Ordering::Relaxed) {
            match self {
                Self::Read { device } => read(device, &mut file),
                Self::Directories { path } => make_and_remove(path),
            }
            rounds += 1;
        }
        rounds
    }
}

fn read(device: &Path, file: &mut Option<File>) {
    match file {
        Some(open) => drop(open.read(&mut [0; 16])),
        None => {
            let mut options = OpenOptions::new();
            options.read(true).custom_flags(libc::O_NONBLOCK);
            *file = options.open(device).ok();
        }
    }
}

fn make_and_remove(path: &Path) {
    let inner = path.join("hammer");
    for result in [
        fs::create_dir(path),
        fs::create_dir(&inner),
        fs::remove_dir(&inner),
        fs::remove_dir(path),
    ] {
        // Others do the same: it is there already, or gone.
        drop(result);
    }
}

/// So many threads for so long. Prints how many rounds they made.
pub(crate) fn run(target: &Target, threads: usize, lasts: Duration) -> io::Result<String> {
    let stop = AtomicBool::new(false);
    let rounds: u64 = thread::scope(|scope| {
        let running: Vec<_> = (0..threads)
            .map(|_| scope.spawn(|| target.until(&stop)))
            .collect();
        thread::sleep(lasts);
        stop.store(true, Ordering::Relaxed);
        running.into_iter().filter_map(|it| it.join().ok()).sum()
    });
    Ok(format!("rounds {rounds}"))
}
