// SPDX-License-Identifier: MIT OR Apache-2.0

//! Rows, their samples, and what they come to.

use serde::Serialize;
use std::collections::BTreeMap;

/// What a row measures.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Row {
    /// Unique name: `one_way_ab`.
    pub(crate) key: String,
    /// For people.
    pub(crate) title: String,
    /// Of its numbers.
    pub(crate) unit: &'static str,
    /// By driver (`c`, `ours`), a sample by round.
    pub(crate) samples: BTreeMap<&'static str, BTreeMap<usize, Number>>,
}

/// A finite number that can be compared, with four digits: times in us, rates, counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Number(i64);

impl Number {
    const SCALE: f64 = 1e4;

    pub(crate) fn value(self) -> f64 {
        self.0 as f64 / Self::SCALE
    }
}

impl From<f64> for Number {
    fn from(value: f64) -> Self {
        Self((value * Self::SCALE).round() as i64)
    }
}

impl Serialize for Number {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(self.value())
    }
}

/// All rows, in the order in which they were first measured.
#[derive(Debug, Default, Serialize)]
#[serde(transparent)]
pub(crate) struct Table(Vec<Row>);

/// Where a sample belongs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct At {
    pub(crate) driver: &'static str,
    pub(crate) round: usize,
}

impl Table {
    /// Notes a sample.
    pub(crate) fn add(&mut self, at: At, key: &str, title: &str, unit: &'static str, sample: f64) {
        let row = match self.0.iter().position(|row| row.key == key) {
            Some(index) => &mut self.0[index],
            None => {
                self.0.push(Row {
                    key: key.to_owned(),
                    title: title.to_owned(),
                    unit,
                    samples: BTreeMap::new(),
                });
                self.0.last_mut().expect("just pushed")
            }
        };
        row.samples
            .entry(at.driver)
            .or_default()
            .insert(at.round, sample.into());
    }

    /// A row by name.
    pub(crate) fn row(&self, key: &str) -> Option<&Row> {
        self.0.iter().find(|row| row.key == key)
    }

    /// Rows whose names begin like this.
    pub(crate) fn like(&self, prefix: &str) -> impl Iterator<Item = &Row> {
        self.0.iter().filter(move |row| row.key.starts_with(prefix))
    }

    pub(crate) fn print(&self) {
        println!(
            "\n{:<46} {:>10} {:<20} {:>10} {:<20} {:>6}  unit",
            "", "C", "[lowest .. highest]", "ours", "[lowest .. highest]", "ratio"
        );
        for row in &self.0 {
            let column = |driver: &str| match row.range(driver) {
                Some((low, median, high)) => {
                    format!("{median:>10.2} {:<20}", format!("[{low:.2} .. {high:.2}]"))
                }
                None => format!("{:>10} {:<20}", "-", ""),
            };
            let ratio = row.ratio().map_or("-".to_owned(), |r| format!("{r:.3}"));
            println!(
                "{:<46} {} {} {ratio:>6}  {}",
                row.title,
                column("c"),
                column("ours"),
                row.unit
            );
        }
    }
}

impl Row {
    fn sorted(&self, driver: &str) -> Vec<f64> {
        let samples = self.samples.get(driver).into_iter().flatten();
        sorted(samples.map(|(_, number)| number.value()))
    }

    /// The median of a driver's samples.
    pub(crate) fn median(&self, driver: &str) -> Option<f64> {
        median(&self.sorted(driver))
    }

    fn range(&self, driver: &str) -> Option<(f64, f64, f64)> {
        let sorted = self.sorted(driver);
        Some((*sorted.first()?, median(&sorted)?, *sorted.last()?))
    }

    /// Ours by C's, the median over the rounds.
    pub(crate) fn ratio(&self) -> Option<f64> {
        ratio_of(self, self)
    }
}

/// Ours in one row by C's in another, round by round; the median of that.
pub(crate) fn ratio_of(ours: &Row, c: &Row) -> Option<f64> {
    let (ours, c) = (ours.samples.get("ours")?, c.samples.get("c")?);
    let ratios = ours.iter().filter_map(|(round, ours)| {
        let c = c.get(round)?.value();
        (c != 0.0).then(|| ours.value() / c)
    });
    median(&sorted(ratios))
}

/// Ours in one row by ours in another, likewise.
pub(crate) fn ratio_within(row: &Row, by: &Row) -> Option<f64> {
    let (row, by) = (row.samples.get("ours")?, by.samples.get("ours")?);
    let ratios = row.iter().filter_map(|(round, number)| {
        let by = by.get(round)?.value();
        (by != 0.0).then(|| number.value() / by)
    });
    median(&sorted(ratios))
}

fn sorted(numbers: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut numbers: Vec<f64> = numbers.collect();
    numbers.sort_by(f64::total_cmp);
    numbers
}

fn median(sorted: &[f64]) -> Option<f64> {
    let middle = sorted.len() / 2;
    let upper = *sorted.get(middle)?;
    if sorted.len() % 2 == 1 {
        return Some(upper);
    }
    Some((sorted[middle - 1] + upper) / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let mut table = Table::default();
        for (round, c, ours) in [(1, 10.0, 20.0), (2, 5.0, 20.0), (3, 40.0, 20.0)] {
            for (driver, sample) in [("c", c), ("ours", ours)] {
                table.add(At { driver, round }, "x", "an x", "MiB/s", sample);
            }
        }
        table
    }

    #[test]
    fn ratios_are_taken_round_by_round() {
        let table = table();
        let row = table.row("x").expect("added");
        assert_eq!(row.ratio(), Some(2.0), "of 2, 4 and 0.5");
        assert_eq!(row.median("c"), Some(10.0));
        assert_eq!(ratio_within(row, row), Some(1.0));
    }

    #[test]
    fn a_median_lies_in_the_middle() {
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[1.0, 3.0]), Some(2.0));
        assert_eq!(median(&[1.0, 3.0, 9.0]), Some(3.0));
    }
}
