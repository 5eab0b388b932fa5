// SPDX-License-Identifier: MIT OR Apache-2.0

//! What is told and kept of a lab that has failed.

use crate::klog::tail;
use crate::lab::Lab;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Lines of each kernel log that are printed.
const KLOG_LINES: usize = 80;
/// What a guest says of its streams, and where its tasks sleep (which some kernels do not tell).
const GUEST: &str =
    "for f in /sys/kernel/config/thunderbolt/stream/*/*/state; do echo $f: $(cat $f); done; \
    cat /sys/kernel/debug/thunderbolt_stream/*; for p in /proc/[0-9]*; do stack=$(cat $p/stack); \
    [ -z \"$stack\" ] || echo \"${p#/proc/} $(cat $p/comm)
$stack\"; done 2>&1";
/// How long it may take to say so; one that has crashed says nothing.
const GUEST_LIMIT: Duration = Duration::from_secs(15);
/// Lines of that that are printed.
const GUEST_LINES: usize = 60;
/// Lines of the trace that are printed.
const TRACE_LINES: usize = 120;

/// All that is known of a lab. What cannot be had says why in its place.
#[derive(Debug)]
pub(crate) struct Report {
    lab: String,
    dir: PathBuf,
    kept: PathBuf,
    problems: Vec<String>,
    klogs: Vec<(String, String)>,
    /// Name of a file, its contents, and how many of its last lines are printed.
    parts: Vec<(&'static str, String, usize)>,
}

impl Report {
    pub(crate) fn of(lab: &Lab, problems: &[String]) -> Self {
        let klogs = lab
            .hosts
            .iter()
            .map(|host| (host.name().to_owned(), host.klog()))
            .collect();
        let mut parts = Vec::new();
        if let Some(emulator) = &lab.emulator {
            let or_why =
                |result: anyhow::Result<String>| result.unwrap_or_else(|e| format!("{e:#}"));
            let trace = lab.trace().map(|lines| lines.join("\n"));
            let stats = lab
                .stats()
                .and_then(|stats| Ok(serde_json::to_string_pretty(&stats)?));
            parts.push(("trace.txt", or_why(trace), TRACE_LINES));
            parts.push(("routers.txt", or_why(lab.router_state()), usize::MAX));
            parts.push(("stats.json", or_why(stats), usize::MAX));
            parts.push(("emulator.log", emulator.log(), KLOG_LINES));
        }
        let guests = lab.hosts.iter().map(|host| {
            let said = host.shell(GUEST).timeout(GUEST_LIMIT).output();
            let said = said.map_or_else(|e| format!("{e:#}"), |output| output.text());
            format!("host {}\n{said}\n", host.name())
        });
        parts.push(("guests.txt", guests.collect(), GUEST_LINES));
        Self {
            lab: lab.name.clone(),
            dir: lab.dir.clone(),
            kept: lab.failures_dir.join(file_name(&lab.name)),
            problems: problems.to_vec(),
            klogs,
            parts,
        }
    }

    /// Copies the logs and the parts to where they are kept, in place of what an earlier
    /// failure of the same name has left there.
    pub(crate) fn keep(&self) -> PathBuf {
        let _ = fs::remove_dir_all(&self.kept);
        if let Err(error) = self.copy_to(&self.kept) {
            eprintln!(
                "lab: cannot keep the files in {}: {error}",
                self.kept.display()
            );
        }
        self.kept.clone()
    }

    fn copy_to(&self, target: &Path) -> std::io::Result<()> {
        fs::create_dir_all(target)?;
        for entry in fs::read_dir(&self.dir)?.flatten() {
            let name = entry.file_name();
            let log = name.to_string_lossy().ends_with("log");
            if log && entry.file_type()?.is_file() {
                fs::copy(entry.path(), target.join(name))?;
            }
        }
        for (name, text, _) in &self.parts {
            fs::write(target.join(name), text)?;
        }
        fs::write(target.join("report.txt"), self.to_string())
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "======== lab {} has failed ========", self.lab)?;
        for (host, text) in &self.klogs {
            writeln!(
                f,
                "-------- kernel log of host {host}, the last lines --------"
            )?;
            writeln!(f, "{}", tail(text, KLOG_LINES).trim_end())?;
        }
        for (name, text, lines) in &self.parts {
            writeln!(f, "-------- {name} --------")?;
            writeln!(f, "{}", tail(text, *lines).trim_end())?;
        }
        for problem in &self.problems {
            writeln!(f, "-------- problem --------\n{problem}")?;
        }
        write!(
            f,
            "======== all files of lab {}: {} ========",
            self.lab,
            self.kept.display()
        )
    }
}

/// A name as a file name.
fn file_name(name: &str) -> String {
    let plain = |c: char| {
        if c.is_ascii_alphanumeric() || "._-".contains(c) {
            c
        } else {
            '-'
        }
    };
    let name: String = name.chars().map(plain).collect();
    name.trim_start_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_report_tells_what_it_knows_and_keeps_it() {
        let dir = tempfile::tempdir().expect("a directory");
        let kept = dir.path().join("kept");
        fs::write(dir.path().join("a.klog"), "all of it").expect("space");
        fs::write(dir.path().join("a.agent"), "a socket").expect("space");
        let report = Report {
            lab: "test".into(),
            dir: dir.path().to_owned(),
            kept: kept.clone(),
            problems: vec!["host a: BUG".into()],
            klogs: vec![("a".into(), "first line\n".repeat(300))],
            parts: vec![("trace.txt", "1 a READ".into(), 10)],
        };
        let text = report.to_string();
        assert_eq!(text.matches("first line").count(), KLOG_LINES);
        assert!(text.contains("1 a READ") && text.contains("host a: BUG"));
        assert_eq!(report.keep(), kept);
        assert_eq!(
            fs::read_to_string(kept.join("a.klog")).expect("kept"),
            "all of it"
        );
        assert!(kept.join("report.txt").exists() && !kept.join("a.agent").exists());
    }

    #[test]
    fn names_of_tests_become_file_names() {
        assert_eq!(file_name("transfer::one way"), "transfer--one-way");
        assert_eq!(file_name("../x"), "-x");
    }
}
