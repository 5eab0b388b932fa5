// SPDX-License-Identifier: GPL-2.0

//! Actions as short words, so that a whole history fits in a line of a log and can be replayed.
//!
//! The end, a letter, and what belongs to it: `0oRW` opens for both at end 0, `0c1` closes the file
//! at place 1, `0k1` kills its writer, `1w0:5` and `1r0:5` write and read 5 bytes, `0s` sends CLOSE, `0f` flushes; a frame of
//! end 0 is delivered (`0d`), damaged (`0x`) or lost (`0l`); `pull` and `plug` are the cable.

use std::fmt;
use std::str::FromStr;

use super::super::stream::session::Access;
use super::Action;

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Open(end, access) => {
                let read = if access.read { "R" } else { "" };
                let write = if access.write { "W" } else { "" };
                write!(f, "{end}o{read}{write}")
            }
            Self::Close(end, place) => write!(f, "{end}c{place}"),
            Self::Kill(end, place) => write!(f, "{end}k{place}"),
            Self::Write(end, place, size) => write!(f, "{end}w{place}:{size}"),
            Self::Read(end, place, size) => write!(f, "{end}r{place}:{size}"),
            Self::SendClose(end) => write!(f, "{end}s"),
            Self::Deliver(end) => write!(f, "{end}d"),
            Self::Damage(end) => write!(f, "{end}x"),
            Self::Lose(end) => write!(f, "{end}l"),
            Self::Flush(end) => write!(f, "{end}f"),
            Self::Pull => f.write_str("pull"),
            Self::Plug => f.write_str("plug"),
        }
    }
}

impl FromStr for Action {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        match word {
            "pull" => return Ok(Self::Pull),
            "plug" => return Ok(Self::Plug),
            _ => {}
        }
        parse(word).ok_or_else(|| format!("no action: {word}"))
    }
}

fn parse(word: &str) -> Option<Action> {
    let (end, rest) = word.split_at_checked(1)?;
    let (letter, rest) = rest.split_at_checked(1)?;
    let end = match end {
        "0" => 0,
        "1" => 1,
        _ => return None,
    };
    let numbers = || {
        let (place, size) = rest.split_once(':')?;
        Some((place.parse().ok()?, size.parse().ok()?))
    };
    Some(match (letter, rest) {
        ("o", "R" | "W" | "RW") => Action::Open(
            end,
            Access {
                read: rest.starts_with('R'),
                write: rest.ends_with('W'),
            },
        ),
        ("c", place) => Action::Close(end, place.parse().ok()?),
        ("k", place) => Action::Kill(end, place.parse().ok()?),
        ("w", _) => numbers().map(|(place, size)| Action::Write(end, place, size))?,
        ("r", _) => numbers().map(|(place, size)| Action::Read(end, place, size))?,
        ("s", "") => Action::SendClose(end),
        ("d", "") => Action::Deliver(end),
        ("x", "") => Action::Damage(end),
        ("l", "") => Action::Lose(end),
        ("f", "") => Action::Flush(end),
        _ => return None,
    })
}

/// A history in one line.
pub(in super::super) fn line(path: &[Action]) -> String {
    let words: Vec<String> = path.iter().map(Action::to_string).collect();
    words.join(" ")
}

/// Reads what [`line`] wrote.
pub(in super::super) fn actions(line: &str) -> Result<Vec<Action>, String> {
    line.split_whitespace().map(Action::from_str).collect()
}
