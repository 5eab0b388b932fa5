// SPDX-License-Identifier: MIT OR Apache-2.0

//! What in a kernel log means that a test has failed.

use regex::Regex;
use std::fmt;
use std::sync::LazyLock;

/// Lines kept of a report: enough for a lockdep report's first chain or a call trace.
const CONTEXT: usize = 40;

/// Each of these in a line is the kernel complaining about itself.
static COMPLAINTS: LazyLock<Regex> = LazyLock::new(|| {
    let patterns = [
        r"\bWARNING: ",
        r"\bBUG: ",
        r"\bkernel BUG at ",
        r"\bOops: ",
        r"\bOops\b.*\[#\d+\]",
        r"general protection fault",
        r"unable to handle ",
        r"Unable to handle ",
        r"\bKASAN: ",
        r"\bKCSAN: ",
        r"\bKFENCE: ",
        r"\bUBSAN: ",
        r"possible circular locking dependency",
        r"possible recursive locking",
        r"inconsistent lock state",
        r"suspicious RCU usage",
        r"\bINFO: .* blocked (?:for more than|in I/O wait for more than) ",
        r"soft lockup",
        r"hard LOCKUP",
        r"\brcu: INFO: .*stall",
        r"self-detected stall",
        r"\bkmemleak: \d+ new suspected memory leaks",
        r"\bDMA-API: ",
        r"Kernel panic - not syncing",
        r"workqueue lockup",
        r"refcount_t: ",
        r"list_(?:add|del) corruption",
        r"scheduling while atomic",
        r"sleeping function called from invalid context",
    ];
    Regex::new(&patterns.join("|")).expect("the patterns are constant")
});

/// Lines that look like a complaint and are not one, each with its reason.
static HARMLESS: &[(&str, &str)] = &[
    // The debugging aid says at boot that it is on.
    (
        "DMA-API: preallocated \\d+ debug entries",
        "DMA-API debugging tells its size",
    ),
    (
        "DMA-API: debugging enabled by kernel config",
        "DMA-API debugging tells that it is on",
    ),
];

static HARMLESS_SET: LazyLock<regex::RegexSet> = LazyLock::new(|| {
    regex::RegexSet::new(HARMLESS.iter().map(|(pattern, _)| pattern)).expect("constant patterns")
});

/// A report of the kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Complaint {
    /// The line that gave it away.
    pub line: String,
    /// That line and what follows, as far as it belongs to it.
    pub text: String,
}

impl fmt::Display for Complaint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// All complaints in `log` that no pattern of `allowed` matches. A pattern is held against the
/// whole report, so the name of a function in its call trace will do.
pub fn complaints(log: &str, allowed: &[Regex]) -> Vec<Complaint> {
    let lines: Vec<&str> = log.lines().collect();
    let starts: Vec<usize> = (0..lines.len())
        .filter(|n| is_complaint(lines[*n]))
        .collect();
    let reports = starts.iter().enumerate().map(|(n, start)| {
        let next = starts.get(n + 1).copied().unwrap_or(lines.len());
        let end = next.min(start + CONTEXT);
        let last = (*start..end).find(|n| lines[*n].contains("---[ end trace"));
        let end = last.map_or(end, |last| last + 1);
        Complaint {
            line: lines[*start].to_owned(),
            text: lines[*start..end].join("\n"),
        }
    });
    reports
        .filter(|report| !allowed.iter().any(|regex| regex.is_match(&report.text)))
        .collect()
}

fn is_complaint(line: &str) -> bool {
    COMPLAINTS.is_match(line) && !HARMLESS_SET.is_match(line)
}

/// The panic that has ended the running kernel, if one has: an older one is followed by the
/// first line of the kernel that was booted after it.
pub(crate) fn panic_line(log: &str) -> Option<&str> {
    let at = log.rfind("Kernel panic - not syncing")?;
    if log[at..].contains("] Linux version ") {
        return None;
    }
    let start = log[..at].rfind('\n').map_or(0, |n| n + 1);
    log[start..].lines().next()
}

/// The last `count` lines.
pub fn tail(text: &str, count: usize) -> &str {
    let starts = text
        .trim_end()
        .rmatch_indices('\n')
        .nth(count.saturating_sub(1));
    starts.map_or(text, |(at, _)| &text[at + 1..])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn regex(pattern: &str) -> Regex {
        Regex::new(pattern).expect("a pattern")
    }

    #[test]
    fn every_kind_of_report_is_seen() {
        for line in [
            "[    1.0] WARNING: CPU: 0 PID: 1 at drivers/thunderbolt/nhi.c:600 tb_ring_stop+0x1/0x2",
            "[    1.0] WARNING: possible circular locking dependency detected",
            "[    1.0] WARNING: inconsistent lock state",
            "[    1.0] WARNING: suspicious RCU usage",
            "[    1.0] BUG: unable to handle page fault for address: 0000",
            "[    1.0] BUG: KASAN: slab-use-after-free in f+0x1/0x2",
            "[    1.0] BUG: KCSAN: data-race in f / g",
            "[    1.0] Oops: Oops: 0000 [#1] SMP",
            "[    1.0] Oops: general protection fault, probably for non-canonical address",
            "[    1.0] UBSAN: array-index-out-of-bounds in a.c:1:2",
            "[    1.0] INFO: task dd:123 blocked for more than 30 seconds.",
            "[    1.0] watchdog: BUG: soft lockup - CPU#0 stuck for 26s!",
            "[    1.0] rcu: INFO: rcu_preempt self-detected stall on CPU",
            "[    1.0] rcu: INFO: rcu_sched detected stalls on CPUs/tasks:",
            "[    1.0] kmemleak: 2 new suspected memory leaks (see /sys/kernel/debug/kmemleak)",
            "[    1.0] DMA-API: thunderbolt 0000:01:00.0: device driver has pending DMA allocations",
            "[    1.0] Kernel panic - not syncing: Fatal exception",
            "[    1.0] refcount_t: underflow; use-after-free.",
        ] {
            assert_eq!(complaints(line, &[]).len(), 1, "{line}");
        }
    }

    #[test]
    fn what_a_healthy_kernel_says_is_no_report() {
        let log = "[    0.0] Linux version 7.3.4\n\
            [    0.1] DMA-API: preallocated 65536 debug entries\n\
            [    0.1] DMA-API: debugging enabled by kernel config\n\
            [    0.2] rcu: Hierarchical RCU implementation.\n\
            [    0.3] kmemleak: Kernel memory leak detector initialized\n\
            [    0.4] thunderbolt_stream: loading out-of-tree module taints kernel.\n\
            [    0.5] debugging: no BUG here";
        assert_eq!(complaints(log, &[]), []);
    }

    #[test]
    fn a_report_ends_where_it_ends_and_can_be_allowed_by_its_trace() {
        let log = "[1] WARNING: CPU: 0 PID: 1 at a.c:1\n[1] RIP: 0010:tb_ring_stop+0x1\n\
            [1] ---[ end trace 0000 ]---\n[2] innocent\n\
            [3] WARNING: CPU: 0 PID: 1 at b.c:1\n[3] RIP: 0010:other+0x1\n";
        let all = complaints(log, &[]);
        assert_eq!(all.len(), 2);
        assert!(!all[0].text.contains("innocent"));
        let left = complaints(log, &[regex("tb_ring_stop")]);
        assert_eq!(left.len(), 1);
        assert!(left[0].text.contains("other"));
    }

    #[test]
    fn one_allowed_report_does_not_hide_the_next() {
        let log = "[1] BUG: first\n[1] BUG: second\n";
        assert_eq!(complaints(log, &[regex("first")]).len(), 1);
    }

    #[test]
    fn a_panic_counts_until_the_next_boot() {
        let log = "[ 1.0] x\n[ 1.1] Kernel panic - not syncing: no\n[ 1.2] ---[ end\n";
        assert_eq!(
            panic_line(log),
            Some("[ 1.1] Kernel panic - not syncing: no")
        );
        assert_eq!(
            panic_line(&format!("{log}[    0.000000] Linux version 7.3.4\n")),
            None
        );
    }

    #[test]
    fn the_tail_is_the_last_lines() {
        assert_eq!(tail("a\nb\nc\n", 2), "b\nc\n");
        assert_eq!(tail("a\nb", 5), "a\nb");
    }
}
