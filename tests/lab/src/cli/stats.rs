// SPDX-License-Identifier: MIT OR Apache-2.0

//! `lab stats`: the emulator's counters as tables.

use anyhow::Result;
use lab::{Lab, Stats};
use std::collections::BTreeMap;
use std::io::Write as _;

pub(crate) fn stats(lab: &Lab, json: bool, reset: bool) -> Result<()> {
    let stats = lab.stats()?;
    let mut out = std::io::stdout().lock();
    if json {
        writeln!(out, "{}", serde_json::to_string_pretty(&stats)?)?;
    } else {
        write!(out, "{}", tables(&stats))?;
    }
    if reset {
        lab.stats_reset()?;
    }
    Ok(())
}

fn tables(stats: &Stats) -> String {
    [cables(stats), hosts(stats), ports(stats), rings(stats)]
        .map(|table| table.text())
        .join("\n")
}

fn cables(stats: &Stats) -> Table {
    let mut table = Table::new(&["cable", "plugged", "Gb/s", "delay ns"]);
    for (name, cable) in &stats.cables {
        let plugged = if cable.plugged { "yes" } else { "no" };
        let rate = cable
            .gbps
            .map_or("no limit".to_owned(), |gbps| gbps.to_string());
        table.add([
            name.clone(),
            plugged.into(),
            rate,
            cable.delay_ns.to_string(),
        ]);
    }
    table
}

fn hosts(stats: &Stats) -> Table {
    let mut table = Table::new(&[
        "host",
        "attached",
        "reads",
        "writes",
        "ignored",
        "ctl out",
        "ctl in",
        "malformed",
        "DMA errors",
    ]);
    for (name, host) in &stats.hosts {
        let attached = if host.connected { "yes" } else { "no" };
        let mut row = vec![name.clone(), attached.to_owned()];
        let numbers = [
            host.mmio_reads,
            host.mmio_writes,
            host.mmio_ignored,
            host.control_tx,
            host.control_rx,
            host.control_malformed,
            host.dma_errors,
        ];
        row.extend(numbers.map(|number| number.to_string()));
        table.add(row);
    }
    table
}

fn ports(stats: &Stats) -> Table {
    let mut table = Table::new(&[
        "port",
        "link",
        "lanes",
        "frames out",
        "bytes out",
        "frames in",
        "bytes in",
        "xdomain",
        "drops",
    ]);
    for (name, host) in &stats.hosts {
        for (number, port) in &host.ports {
            let mut row = vec![
                format!("{name} {number}"),
                port.link.clone(),
                port.width.to_string(),
            ];
            let numbers = [
                port.tx_frames,
                port.tx_bytes,
                port.rx_frames,
                port.rx_bytes,
                port.xdomain_packets,
            ];
            row.extend(numbers.map(|number| number.to_string()));
            row.push(causes(&port.drops));
            table.add(row);
        }
    }
    table
}

fn rings(stats: &Stats) -> Table {
    let mut table = Table::new(&[
        "ring",
        "on",
        "frames",
        "bytes",
        "doorbells",
        "interrupts",
        "suppressed",
        "posted",
        "credits",
        "stalls",
        "drops",
    ]);
    for (name, host) in &stats.hosts {
        for (ring, stats) in &host.rings {
            let on = if stats.active { "yes" } else { "no" };
            let mut row = vec![format!("{name} {ring}"), on.to_owned()];
            let numbers = [stats.frames, stats.bytes, stats.doorbells, stats.interrupts];
            row.extend(numbers.map(|number| number.to_string()));
            row.push(causes(&stats.suppressed));
            row.push(stats.posted.to_string());
            row.push(
                stats
                    .credits
                    .map_or("-".to_owned(), |credits| credits.to_string()),
            );
            row.push(causes(&stats.stalls));
            row.push(causes(&stats.drops));
            table.add(row);
        }
    }
    table
}

/// `masked 3, lost 1`; a dash for none.
fn causes(counts: &BTreeMap<String, u64>) -> String {
    let counts = counts.iter().filter(|(_, count)| **count > 0);
    let words: Vec<_> = counts
        .map(|(cause, count)| format!("{cause} {count}"))
        .collect();
    if words.is_empty() {
        "-".to_owned()
    } else {
        words.join(", ")
    }
}

/// Columns as wide as they need to be.
struct Table(Vec<Vec<String>>);

impl Table {
    fn new(head: &[&str]) -> Self {
        Self(vec![head.iter().map(|&word| word.to_owned()).collect()])
    }

    fn add(&mut self, row: impl IntoIterator<Item = String>) {
        self.0.push(row.into_iter().collect());
    }

    fn text(&self) -> String {
        let columns = self.0[0].len();
        let width = |column: usize| self.0.iter().map(|row| row[column].chars().count()).max();
        let widths: Vec<usize> = (0..columns)
            .map(|column| width(column).unwrap_or(0))
            .collect();
        let mut text = String::new();
        for row in &self.0 {
            let cells = row
                .iter()
                .zip(&widths)
                .enumerate()
                .map(|(column, (cell, width))| {
                    // Words to the left, numbers to the right.
                    let number = column > 0 && self.is_number(column);
                    if number {
                        format!("{cell:>width$}")
                    } else {
                        format!("{cell:<width$}")
                    }
                });
            let line = cells.collect::<Vec<_>>().join("  ");
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }

    fn is_number(&self, column: usize) -> bool {
        let numeric = |cell: &String| cell == "-" || cell.parse::<f64>().is_ok();
        self.0.len() > 1 && self.0[1..].iter().all(|row| numeric(&row[column]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lab::{HostStats, RingStats};

    #[test]
    fn a_person_can_read_it() {
        let ring = RingStats {
            active: true,
            frames: 12345,
            suppressed: BTreeMap::from([("masked".to_owned(), 3), ("lost".to_owned(), 0)]),
            ..RingStats::default()
        };
        let host = HostStats {
            rings: BTreeMap::from([("tx1".to_owned(), ring)]),
            ..HostStats::default()
        };
        let stats = Stats {
            hosts: BTreeMap::from([("a".to_owned(), host)]),
            ..Stats::default()
        };
        let text = tables(&stats);
        let lines: Vec<&str> = text.lines().collect();
        let row = lines
            .iter()
            .find(|line| line.starts_with("a tx1"))
            .expect("the ring");
        let words: Vec<&str> = row.split_whitespace().collect();
        assert_eq!(words[2..5], ["yes", "12345", "0"]);
        assert!(row.contains("masked 3") && !row.contains("lost"));
        let head = lines
            .iter()
            .find(|line| line.starts_with("ring"))
            .expect("its head");
        assert_eq!(
            head.find("frames").map(|at| at + 6),
            row.find("12345").map(|at| at + 5)
        );
    }
}
