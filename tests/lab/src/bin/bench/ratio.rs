// SPDX-License-Identifier: MIT OR Apache-2.0

//! The few numbers that it all comes to: ours by the C driver's, of the side, direction or size
//! where it looks worst.

use crate::table::{Row, Table, ratio_of, ratio_within};
use serde::Serialize;
use std::collections::BTreeMap;

/// Ratios by name; those that were not measured are left out.
#[derive(Debug, Default, Serialize)]
#[serde(transparent)]
pub(crate) struct Ratios(BTreeMap<&'static str, f64>);

/// What is asked for of a ratio.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Asked {
    AtLeast(f64),
    AtMost(f64),
    Nothing,
}

const ASKED: [(&str, Asked); 15] = [
    ("one_way", Asked::AtLeast(2.5)),
    ("both_ways", Asked::AtLeast(2.5)),
    ("guest_cpu_per_gib", Asked::AtMost(0.4)),
    ("guest_instructions_per_mib", Asked::Nothing),
    ("doorbells_per_mib", Asked::AtMost(1.0 / 32.0)),
    ("interrupts_per_mib", Asked::AtMost(1.0 / 6.0)),
    ("rtt64_p50", Asked::AtMost(0.7)),
    ("rtt4k_p50", Asked::AtMost(0.7)),
    ("rtt4k_p99", Asked::AtMost(0.8)),
    ("rtt64_p50_busy", Asked::AtMost(0.25)),
    ("sendfile", Asked::AtLeast(3.0)),
    ("close", Asked::AtMost(0.02)),
    ("memory", Asked::AtMost(1.05)),
    ("vs_tbnet_tcp", Asked::AtLeast(4.0)),
    ("vs_pipe", Asked::Nothing),
];

/// Calculates them.
pub(crate) fn all(table: &Table) -> Ratios {
    let ratio = |key: &&str| table.row(key).and_then(Row::ratio);
    let least = |keys: &[&str]| keys.iter().filter_map(ratio).reduce(f64::min);
    let most = |keys: &[&str]| keys.iter().filter_map(ratio).reduce(f64::max);
    let ends = |what: &str| {
        let keys =
            ["writer_ab", "reader_ab", "writer_ba", "reader_ba"].map(|end| format!("{what}_{end}"));
        most(&keys.each_ref().map(String::as_str))
    };
    let between = |ours: &str, c: &str| ratio_of(table.row(ours)?, table.row(c)?);
    let by = |yardstick: &str| {
        let one = |key: &str| ratio_within(table.row(key)?, table.row(yardstick)?);
        ["one_way_ab", "one_way_ba"]
            .into_iter()
            .filter_map(one)
            .reduce(f64::min)
    };
    let found = [
        ("one_way", least(&["one_way_ab", "one_way_ba"])),
        ("both_ways", least(&["both_ways", "both_ways_smp2"])),
        ("guest_cpu_per_gib", ends("cpu")),
        (
            "guest_instructions_per_mib",
            most(&["instructions_writer", "instructions_reader"]),
        ),
        ("doorbells_per_mib", ends("doorbells")),
        ("interrupts_per_mib", ends("interrupts")),
        ("rtt64_p50", ratio(&"rtt64_p50")),
        ("rtt4k_p50", ratio(&"rtt4k_p50")),
        ("rtt4k_p99", ratio(&"rtt4k_p99")),
        ("rtt64_p50_busy", between("rtt64_busy_p50", "rtt64_p50")),
        ("sendfile", between("file_sendfile", "file_copy")),
        ("close", ratio(&"close")),
        ("memory", most(&["memory_32", "memory_256", "memory_4096"])),
        ("vs_tbnet_tcp", by("tcp")),
        ("vs_pipe", by("pipe")),
    ];
    Ratios(
        found
            .into_iter()
            .filter_map(|(name, value)| Some((name, value?)))
            .collect(),
    )
}

impl Ratios {
    pub(crate) fn print(&self) {
        println!("\nours / C driver, where it looks worst");
        for (name, asked) in ASKED {
            let Some(&value) = self.0.get(name) else {
                continue;
            };
            let verdict = match asked {
                Asked::AtLeast(least) if value < least => format!("  >= {least:.4}  MISSED"),
                Asked::AtLeast(least) => format!("  >= {least:.4}"),
                Asked::AtMost(most) if value > most => format!("  <= {most:.4}  MISSED"),
                Asked::AtMost(most) => format!("  <= {most:.4}"),
                Asked::Nothing => String::new(),
            };
            println!("  {name:<28} {value:>9.4}{verdict}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::At;

    #[test]
    fn the_worst_direction_counts() {
        let mut table = Table::default();
        for (key, c, ours) in [("one_way_ab", 100.0, 400.0), ("one_way_ba", 100.0, 300.0)] {
            for (driver, sample) in [("c", c), ("ours", ours)] {
                table.add(At { driver, round: 1 }, key, "", "MiB/s", sample);
            }
        }
        let ratios = all(&table);
        assert_eq!(ratios.0.get("one_way"), Some(&3.0));
        assert_eq!(ratios.0.get("close"), None, "not measured");
    }

    #[test]
    fn every_ratio_has_something_asked_of_it() {
        let names: std::collections::BTreeSet<_> = ASKED.iter().map(|(name, _)| *name).collect();
        assert_eq!(names.len(), ASKED.len());
    }
}
