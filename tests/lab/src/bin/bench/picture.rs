// SPDX-License-Identifier: MIT OR Apache-2.0

//! Pictures for the documentation: horizontal bars, a pair for each row. Nothing that would be worth
//! a plotting library.

use crate::table::Table;
use anyhow::{Context as _, Result};
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

const WIDTH: u32 = 720;
const LABEL: u32 = 250;
/// What a number beside a bar needs.
const NUMBER: u32 = 80;
const BAR: u32 = 13;
const GROUP: u32 = 2 * BAR + 12;
const TOP: u32 = 58;
const COLOURS: [(&str, &str, &str); 2] =
    [("c", "C driver", "#9aa5b1"), ("ours", "ours", "#c2571a")];

/// A picture: file, title, rows by the beginnings of their names.
type Picture = (&'static str, &'static str, &'static [&'static str]);

const PICTURES: [Picture; 4] = [
    (
        "bench-throughput.svg",
        "Throughput in MiB/s (more is better)",
        &[
            "one_way",
            "both_ways",
            "four_streams",
            "file_copy",
            "pipe",
            "tcp",
        ],
    ),
    (
        "bench-latency.svg",
        "Round trips in µs (less is better)",
        &[
            "rtt64_p50",
            "rtt64_p99",
            "rtt4k_p",
            "rtt64k_p50",
            "rtt64_epoll_p50",
            "rtt64_uring_p50",
            "rtt64_busy_p50",
        ],
    ),
    (
        "bench-blocks.svg",
        "One way in MiB/s by block size",
        &["block_"],
    ),
    (
        "bench-rings.svg",
        "One way in MiB/s by ring size",
        &["ring_"],
    ),
];

/// Draws those for which there are rows.
pub(crate) fn draw(dir: &Path, table: &Table) -> Result<()> {
    for (file, title, prefixes) in PICTURES {
        let rows: Vec<_> = prefixes
            .iter()
            .flat_map(|prefix| table.like(prefix))
            .filter(|row| !row.key.ends_with("p999") && matches!(row.unit, "MiB/s" | "us"))
            .map(|row| {
                (
                    row.title.as_str(),
                    COLOURS.map(|(driver, ..)| row.median(driver)),
                )
            })
            .collect();
        if rows.is_empty() {
            continue;
        }
        let path = dir.join(file);
        fs::write(&path, svg(title, &rows))
            .with_context(|| format!("writing {}", path.display()))?;
    }
    Ok(())
}

fn svg(title: &str, rows: &[(&str, [Option<f64>; 2])]) -> String {
    let height = TOP + GROUP * rows.len() as u32 + 6;
    let most = rows
        .iter()
        .flat_map(|(_, values)| values)
        .flatten()
        .copied()
        .fold(0.0, f64::max);
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\" \
         font-family=\"sans-serif\" font-size=\"11\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n\
         <text x=\"8\" y=\"20\" font-size=\"15\">{}</text>\n",
        escaped(title)
    );
    for (index, (_, name, colour)) in COLOURS.iter().enumerate() {
        let x = LABEL + index as u32 * 100;
        bar(&mut text, x, 34, 12.0, colour);
        label(&mut text, x + 18, 44, "start", name);
    }
    for (index, (name, values)) in rows.iter().enumerate() {
        let y = TOP + GROUP * index as u32;
        label(&mut text, LABEL - 8, y + BAR + 4, "end", name);
        for ((value, (_, _, colour)), line) in values.iter().zip(COLOURS).zip(0..) {
            let Some(value) = value else { continue };
            let y = y + line * BAR;
            let length = value / most.max(f64::MIN_POSITIVE) * f64::from(WIDTH - LABEL - NUMBER);
            bar(&mut text, LABEL, y, length, colour);
            label(
                &mut text,
                LABEL + length as u32 + 5,
                y + 10,
                "start",
                &format!("{value:.0}"),
            );
        }
    }
    text + "</svg>\n"
}

fn bar(text: &mut String, x: u32, y: u32, length: f64, colour: &str) {
    let height = BAR - 1;
    let _ = writeln!(
        text,
        "<rect x=\"{x}\" y=\"{y}\" width=\"{length:.1}\" height=\"{height}\" fill=\"{colour}\"/>"
    );
}

fn label(text: &mut String, x: u32, y: u32, anchor: &str, words: &str) {
    let words = escaped(words);
    let _ = writeln!(
        text,
        "<text x=\"{x}\" y=\"{y}\" text-anchor=\"{anchor}\">{words}</text>"
    );
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_are_as_long_as_their_numbers() {
        let text = svg(
            "a < b",
            &[("x", [Some(50.0), Some(100.0)]), ("y", [None, Some(1.0)])],
        );
        assert!(text.contains("a &lt; b"));
        assert!(text.contains("width=\"195.0\"") && text.contains("width=\"390.0\""));
        assert_eq!(
            text.matches("fill=\"#c2571a\"").count(),
            3,
            "two bars and the legend"
        );
        assert_eq!(text.matches("fill=\"#9aa5b1\"").count(), 2);
    }
}
