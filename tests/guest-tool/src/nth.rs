// SPDX-License-Identifier: MIT OR Apache-2.0

//! One system call again and again, with its first, second, third … allocation failing, until it
//! needs no more. Needs a kernel with fault injection (`/proc/self/fail-nth`).

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::PathBuf;

/// `O_NONBLOCK`.
const NONBLOCK: i32 = 0o4000;
/// No call needs that many.
const LIMIT: u32 = 2000;

/// What is done.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Call {
    /// mkdir(2), taken back if it has worked.
    #[command(name = "mkdir")]
    MakeDirectory { path: PathBuf },
    /// open(2), reading and writing.
    Open { path: PathBuf },
    /// A value written to an attribute.
    Store {
        path: PathBuf,
        #[arg(allow_hyphen_values = true)]
        value: String,
    },
    /// A file read whole.
    Show { path: PathBuf },
}

impl Call {
    fn run(&self) -> io::Result<()> {
        match self {
            Self::MakeDirectory { path } => fs::create_dir(path),
            Self::Open { path } => OpenOptions::new()
                .read(true)
                .write(true)
                .custom_flags(NONBLOCK)
                .open(path)
                .map(drop),
            Self::Store { path, value } => OpenOptions::new()
                .write(true)
                .open(path)?
                .write_all(value.as_bytes()),
            Self::Show { path } => fs::read(path).map(drop),
        }
    }

    fn take_back(&self) -> io::Result<()> {
        match self {
            Self::MakeDirectory { path } => fs::remove_dir(path),
            _ => Ok(()),
        }
    }
}

/// Fails every allocation of a call once; prints how many there were and what the call said.
///
/// # Errors
/// The kernel cannot do it, the call fails without a failed allocation, or fails for ever.
pub(crate) fn fail_each(call: &Call) -> io::Result<()> {
    let switch = File::options()
        .read(true)
        .write(true)
        .open("/proc/self/fail-nth")?;
    let mut said: BTreeMap<String, u32> = BTreeMap::new();
    for nth in 1..LIMIT {
        switch.write_all_at(nth.to_string().as_bytes(), 0)?;
        let result = call.run();
        let left = left(&switch);
        switch.write_all_at(b"0", 0)?;
        if result.is_ok() {
            call.take_back()?;
        }
        if left > 0 {
            result?;
            println!("{} allocations: {said:?}", nth - 1);
            return Ok(());
        }
        let words = match result {
            Ok(()) => "survived".into(),
            Err(error) => error
                .raw_os_error()
                .map_or_else(|| error.to_string(), |errno| format!("errno {errno}")),
        };
        *said.entry(words).or_default() += 1;
    }
    Err(io::Error::other(format!("no end after {LIMIT}: {said:?}")))
}

/// What is left of the count. If the reading itself is hit, the call was not.
fn left(switch: &File) -> u32 {
    let mut text = [0; 16];
    switch.read_at(&mut text, 0).map_or(1, |length| {
        let text = String::from_utf8_lossy(&text[..length]);
        text.trim().parse().unwrap_or(1)
    })
}
