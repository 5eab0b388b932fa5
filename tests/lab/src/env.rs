// SPDX-License-Identifier: MIT OR Apache-2.0

//! What `scripts/setup` has prepared: QEMU, kernels, file systems.

use anyhow::{Context as _, Result, bail, ensure};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Path below the checkout.
const FILE: &str = "build/lab-env.json";
const SCHEMA: u32 = 1;

/// The contents of `build/lab-env.json`.
#[derive(Debug, Clone, Deserialize)]
pub struct Env {
    schema: u32,
    /// How to start QEMU.
    pub qemu: Qemu,
    /// By name: `own`, `debug`, `stock`; only those that were made.
    pub kernels: BTreeMap<String, KernelFiles>,
    /// Image of the Debian root, if it was made.
    pub debian_image: Option<PathBuf>,
    /// `kvm` where a probe guest has booted with it, else `tcg`.
    pub accel: String,
    /// Frequency of an emulated guest's time stamp counter in kHz, if it was measured.
    #[serde(default)]
    pub tsc_khz: Option<u64>,
    /// The file this was read from.
    #[serde(skip)]
    pub path: PathBuf,
}

/// How to start QEMU.
#[derive(Debug, Clone, Deserialize)]
pub struct Qemu {
    /// First words of the command.
    pub program: Vec<String>,
    /// Variables that it needs.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// As it says itself.
    pub version: String,
}

/// A kernel that guests can boot.
#[derive(Debug, Clone, Deserialize)]
pub struct KernelFiles {
    /// `uname -r`.
    pub release: String,
    /// What QEMU loads.
    pub image: PathBuf,
    /// The initramfs made for it.
    pub initramfs: PathBuf,
    /// Tree to build modules against.
    #[serde(default)]
    pub kdir: Option<PathBuf>,
}

impl Env {
    /// Finds and reads the file: `TBS_LAB_ENV`, or `build/lab-env.json` in a directory above the
    /// current one, above this package or above this program.
    ///
    /// # Errors
    /// There is none (`scripts/setup` makes it) or it is not understood.
    pub fn load() -> Result<Self> {
        if let Some(path) = std::env::var_os("TBS_LAB_ENV") {
            return Self::read(Path::new(&path));
        }
        let starts = [
            std::env::current_dir().ok(),
            std::env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from),
            std::env::current_exe().ok(),
        ];
        let path = starts.iter().flatten().find_map(|start| find_above(start));
        let path = path.with_context(|| format!("there is no {FILE} yet: run scripts/setup"))?;
        Self::read(&path)
    }

    fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("cannot read {}: run scripts/setup", path.display()))?;
        let mut env: Self = serde_json::from_str(&text)
            .with_context(|| format!("{} is damaged: run scripts/setup", path.display()))?;
        ensure!(
            env.schema == SCHEMA,
            "{} is of another version ({}): run scripts/setup",
            path.display(),
            env.schema
        );
        ensure!(
            !env.qemu.program.is_empty(),
            "{} names no QEMU",
            path.display()
        );
        env.path = path.to_owned();
        Ok(env)
    }

    /// The files of a kernel by name.
    ///
    /// # Errors
    /// It was not made.
    pub fn kernel(&self, name: &str) -> Result<&KernelFiles> {
        let how = if name == "own" {
            String::new()
        } else {
            format!(" --kernel {name}")
        };
        let Some(files) = self.kernels.get(name) else {
            bail!("there is no kernel `{name}` here: run scripts/setup{how}");
        };
        for file in [&files.image, &files.initramfs] {
            ensure!(
                file.exists(),
                "{} is gone: run scripts/setup{how}",
                file.display()
            );
        }
        Ok(files)
    }

    /// The Debian image.
    ///
    /// # Errors
    /// It was not made.
    pub fn debian(&self) -> Result<&Path> {
        match &self.debian_image {
            Some(image) if image.exists() => Ok(image),
            _ => bail!("there is no Debian image here: run scripts/setup --debian"),
        }
    }

    /// Where the files of failed labs are kept: `build/lab-failures` of the checkout, or beside
    /// the file if that is not in a directory `build`.
    pub fn failures_dir(&self) -> PathBuf {
        self.path
            .parent()
            .unwrap_or(Path::new("."))
            .join("lab-failures")
    }
}

fn find_above(start: &Path) -> Option<PathBuf> {
    start
        .ancestors()
        .map(|dir| dir.join(FILE))
        .find(|path| path.exists())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(text: &str) -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join(FILE);
        std::fs::create_dir_all(path.parent().expect("build")).expect("a directory");
        std::fs::write(&path, text).expect("space");
        (dir, path)
    }

    const GOOD: &str = r#"{"schema": 1, "root": "/r", "cache": "/c",
        "qemu": {"program": ["/q", "-L", "/d"], "env": {"A": "b"}, "version": "11.1.3"},
        "kernels": {"own": {"release": "7.3.4", "image": "/none", "kdir": "/k",
            "source": "/s", "initramfs": "/i", "modules": "/m"}},
        "debian_image": null, "accel": "tcg"}"#;

    #[test]
    fn a_good_file_is_found_from_below() {
        let (dir, path) = write(GOOD);
        let below = dir.path().join("tests/lab/src");
        std::fs::create_dir_all(&below).expect("a directory");
        assert_eq!(find_above(&below), Some(path.clone()));
        let env = Env::read(&path).expect("good");
        assert_eq!(env.qemu.program.len(), 3);
        assert_eq!(env.failures_dir(), dir.path().join("build/lab-failures"));
    }

    #[test]
    fn what_is_missing_is_said_in_one_line_with_the_remedy() {
        let (_dir, path) = write(GOOD);
        let env = Env::read(&path).expect("good");
        for error in [
            env.kernel("debug").expect_err("not made"),
            env.kernel("own").expect_err("files gone"),
            env.debian().expect_err("not made"),
            Env::read(Path::new("/nowhere")).expect_err("no file"),
        ] {
            let line = error.to_string();
            assert!(
                line.contains("run scripts/setup") && !line.contains('\n'),
                "{line}"
            );
        }
    }

    #[test]
    fn another_schema_is_refused() {
        let (_dir, path) = write(&GOOD.replace("\"schema\": 1", "\"schema\": 2"));
        assert!(Env::read(&path).is_err());
    }
}
