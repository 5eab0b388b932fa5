// SPDX-License-Identifier: MIT OR Apache-2.0

//! Archives in the `newc` format (Documentation/driver-api/early-userspace/buffer-format.rst):
//! the kernel unpacks several of them after each other, so files are added to an initramfs by
//! appending one.

use std::collections::BTreeSet;

const MAGIC: &[u8] = b"070701";
/// Bytes before a name.
const HEADER: usize = 110;
const FILE: u32 = 0o100_000;
const DIRECTORY: u32 = 0o040_755;

/// An archive that is being written.
#[derive(Debug, Default)]
pub(crate) struct Archive {
    bytes: Vec<u8>,
    /// Directories that need not be made.
    directories: BTreeSet<String>,
    entries: u32,
}

impl Archive {
    /// One to be appended to `base`. Directories that `base` has are not made again: where it
    /// has a symbolic link instead (`/lib`), the directory would replace that.
    pub(crate) fn after(base: &[u8]) -> Self {
        Self {
            directories: names(base),
            ..Self::default()
        }
    }

    /// Adds a file that belongs to root, and the directories above it.
    pub(crate) fn file(&mut self, path: &str, mode: u32, contents: &[u8]) {
        let path = path.trim_start_matches('/');
        for (at, _) in path.match_indices('/') {
            let directory = &path[..at];
            if self.directories.insert(directory.to_owned()) {
                self.entry(directory, DIRECTORY, &[]);
            }
        }
        self.entry(path, FILE | (mode & 0o7777), contents);
    }

    /// The finished archive.
    pub(crate) fn finish(mut self) -> Vec<u8> {
        self.entry("TRAILER!!!", 0, &[]);
        self.bytes
    }

    fn entry(&mut self, name: &str, mode: u32, contents: &[u8]) {
        self.entries += 1;
        // Numbers far from those of the archive before: equal ones would mean hard links.
        let inode = 0x4000_0000 + self.entries;
        let size = u32::try_from(contents.len()).expect("files of an initramfs are small");
        let name_size = name.len() as u32 + 1;
        let fields = [inode, mode, 0, 0, 1, 0, size, 0, 0, 0, 0, name_size, 0];
        self.bytes.extend_from_slice(MAGIC);
        for field in fields {
            self.bytes
                .extend_from_slice(format!("{field:08X}").as_bytes());
        }
        self.bytes.extend_from_slice(name.as_bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend_from_slice(contents);
        self.pad();
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

/// The names of all entries in archives after each other; as far as they can be understood.
fn names(mut bytes: &[u8]) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    while let Some((name, rest)) = entry(bytes) {
        names.insert(name.trim_start_matches("./").to_owned());
        bytes = rest;
    }
    names
}

/// The name of the first entry, and what follows it.
fn entry(bytes: &[u8]) -> Option<(&str, &[u8])> {
    // Zeros fill the gap between archives.
    let start = bytes.iter().position(|byte| *byte != 0)?;
    let bytes = &bytes[start..];
    if !bytes.starts_with(MAGIC) {
        return None;
    }
    let field = |n: usize| {
        let text = bytes.get(6 + 8 * n..14 + 8 * n)?;
        usize::from_str_radix(std::str::from_utf8(text).ok()?, 16).ok()
    };
    let (size, name_size) = (field(6)?, field(11)?);
    let name_end = HEADER.checked_add(name_size)?;
    let name = std::str::from_utf8(bytes.get(HEADER..name_end.checked_sub(1)?)?).ok()?;
    let end = name_end
        .next_multiple_of(4)
        .checked_add(size)?
        .next_multiple_of(4);
    Some((name, bytes.get(end..)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;
    use std::process::{Command, Stdio};

    #[test]
    fn names_sizes_and_padding_are_where_the_kernel_looks() {
        let mut archive = Archive::default();
        archive.file("/x/tool", 0o755, b"12345");
        let bytes = archive.finish();
        assert_eq!(bytes.len() % 4, 0);
        let text = String::from_utf8_lossy(&bytes);
        assert_eq!(
            text.matches("070701").count(),
            3,
            "directory, file, trailer"
        );
        let file = text.find("x/tool").expect("the name");
        assert_eq!(&text[file - 110 + 14..file - 110 + 22], "000081ED", "mode");
        assert_eq!(&text[file - 110 + 54..file - 110 + 62], "00000005", "size");
        assert_eq!(&text[(file + 7).next_multiple_of(4)..][..5], "12345");
    }

    #[test]
    fn directories_that_are_there_are_not_made() {
        let mut base = Archive::default();
        base.file("/usr/bin/x", 0o755, b"1234567");
        base.entry("lib", 0o120_777, b"usr/lib");
        let mut base = base.finish();
        base.resize(base.len() + 100, 0);
        let mut more = Archive::after(&base);
        assert!(more.directories.contains("usr/bin") && more.directories.contains("lib"));
        more.file("/lib/new/a", 0o644, b"");
        more.file("/usr/bin/b", 0o644, b"");
        let more = names(&more.finish());
        let more: Vec<&str> = more.iter().map(String::as_str).collect();
        assert_eq!(more, ["TRAILER!!!", "lib/new", "lib/new/a", "usr/bin/b"]);
    }

    #[test]
    fn what_is_no_archive_has_no_names() {
        assert!(names(b"\x28\xb5\x2f\xfd compressed").is_empty());
        assert!(names(b"070701").is_empty());
        assert!(names(&[b"070701".as_slice(), &[b'F'; 200]].concat()).is_empty());
    }

    #[test]
    fn cpio_reads_it() {
        let mut archive = Archive::default();
        archive.file("/d/one", 0o644, b"1");
        archive.file("/d/two", 0o600, b"22");
        let cpio = Command::new("cpio")
            .args(["-t", "--quiet"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn();
        // The program is not needed for anything but this comparison.
        let Ok(mut cpio) = cpio else { return };
        cpio.stdin
            .take()
            .expect("a pipe")
            .write_all(&archive.finish())
            .expect("it reads");
        let output = cpio.wait_with_output().expect("it ends");
        assert_eq!(String::from_utf8_lossy(&output.stdout), "d\nd/one\nd/two\n");
    }
}
