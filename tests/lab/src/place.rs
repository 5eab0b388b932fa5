// SPDX-License-Identifier: MIT OR Apache-2.0

//! Where the files of running labs are. Sockets are among them, and a socket's path must be
//! shorter than 108 bytes, so all is directly below the runtime directory.

use anyhow::{Context as _, Result, ensure};
use rustix::fs::{FlockOperation, flock};
use std::fs::{self, DirBuilder, File};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tempfile::TempDir;

const PREFIX: &str = "tbs-";
/// Locked by the process whose lab it is.
const OWNER: &str = "owner";

/// `$XDG_RUNTIME_DIR`, or `/tmp` without one.
pub(crate) fn runtime_dir() -> PathBuf {
    let named = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    named
        .filter(|dir| dir.is_dir())
        .unwrap_or_else(|| "/tmp".into())
}

/// A directory of this user below the runtime directory, made if it is not there.
fn own_dir(name: &str) -> Result<PathBuf> {
    let user = rustix::process::getuid().as_raw();
    let dir = runtime_dir().join(format!("{PREFIX}{name}-{user}"));
    let made = DirBuilder::new().mode(0o700).recursive(true).create(&dir);
    made.with_context(|| format!("cannot make {}", dir.display()))?;
    // In a directory that all can write to, another user may have been there first.
    let found = fs::symlink_metadata(&dir)?;
    let ours = found.is_dir() && found.uid() == user && found.mode() & 0o022 == 0;
    ensure!(
        ours,
        "{} is not a directory of this user alone",
        dir.display()
    );
    Ok(dir)
}

/// The directory that holds the detached labs, one directory each.
pub(crate) fn detached_labs() -> Result<PathBuf> {
    own_dir("labs")
}

/// The directory that holds the locks of the labs that may run at once.
pub(crate) fn slots() -> Result<PathBuf> {
    own_dir("slots")
}

/// The directory of a lab that belongs to this process.
#[derive(Debug)]
pub(crate) struct OwnedDir {
    dir: TempDir,
    _owner: File,
}

impl OwnedDir {
    pub(crate) fn new() -> Result<Self> {
        sweep();
        let dir = tempfile::Builder::new()
            .prefix(PREFIX)
            .tempdir_in(runtime_dir());
        let dir = dir.context("cannot make a directory for the lab")?;
        let owner = File::create(dir.path().join(OWNER))?;
        flock(&owner, FlockOperation::NonBlockingLockExclusive)?;
        Ok(Self { dir, _owner: owner })
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }
}

/// Removes what processes have left that were killed. Young directories are let be: their
/// owner may be about to lock them.
fn sweep() {
    let Ok(entries) = fs::read_dir(runtime_dir()) else {
        return;
    };
    for entry in entries.flatten() {
        let named = entry.file_name().to_string_lossy().starts_with(PREFIX);
        if named && is_abandoned(&entry.path()) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

fn is_abandoned(dir: &Path) -> bool {
    let Ok(owner) = File::open(dir.join(OWNER)) else {
        return false;
    };
    let age = owner.metadata().and_then(|data| data.modified()).ok();
    let age = age.and_then(|time| time.elapsed().ok()).unwrap_or_default();
    age > Duration::from_secs(60) && flock(&owner, FlockOperation::NonBlockingLockExclusive).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_in_use_or_young_is_not_abandoned() {
        let owned = OwnedDir::new().expect("a directory");
        assert!(!is_abandoned(owned.path()), "young");
        let owner = File::open(owned.path().join(OWNER)).expect("there");
        let old = std::time::SystemTime::now() - Duration::from_secs(3600);
        owner.set_modified(old).expect("our file");
        assert!(!is_abandoned(owned.path()), "locked");
        let OwnedDir { dir, _owner } = owned;
        drop(_owner);
        assert!(is_abandoned(dir.path()), "old and not locked");
        assert!(!is_abandoned(Path::new("/tmp")), "no lab at all");
    }

    #[test]
    fn socket_paths_are_short_enough() {
        let owned = OwnedDir::new().expect("a directory");
        assert!(owned.path().join("a.control.sock").as_os_str().len() < 108);
    }
}
