// SPDX-License-Identifier: MIT OR Apache-2.0

//! The books of streams: what writers say they gave away against what readers say they got, and
//! against what the module says it lost. `guest-tool` writes the lines (its `session.rs`).

#![allow(dead_code, reason = "every test program uses a part of it")]

use anyhow::{Context as _, Result, ensure};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// The session that tells readers that no other follows.
pub(crate) const LAST: u32 = u32::MAX;
/// What a killed writer may have given away without having noted it: one block.
const UNNOTED: u64 = 1 << 19;

/// How a file's session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Ending {
    /// As it should: closed after the last byte; end of file.
    End,
    /// A reader that had enough.
    Stop,
    /// SIGKILL.
    Killed,
    /// An errno of open, read or write.
    Error(i32),
    /// An errno of fsync.
    Sync(i32),
    /// These are not the bytes of the session, from here on.
    Wrong(u64),
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::End => f.write_str("end"),
            Self::Stop => f.write_str("stop"),
            Self::Killed => f.write_str("killed"),
            Self::Error(errno) => write!(f, "errno {errno}"),
            Self::Sync(errno) => write!(f, "fsync errno {errno}"),
            Self::Wrong(at) => write!(f, "WRONG at {at}"),
        }
    }
}

/// One line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) is_writer: bool,
    /// `None` of a reader that got too little to know.
    pub(crate) session: Option<u32>,
    pub(crate) bytes: u64,
    pub(crate) ending: Ending,
}

/// Reads the lines of a writer or a reader.
///
/// # Errors
/// One is none.
pub(crate) fn parse(text: &str) -> Result<Vec<Line>> {
    let line = |text: &str| {
        let words: Vec<&str> = text.split(' ').collect();
        let [kind, session, bytes, how, rest @ ..] = &words[..] else {
            return None;
        };
        let number = || rest.first()?.parse().ok();
        let ending = match *how {
            "end" => Ending::End,
            "stop" => Ending::Stop,
            "killed" => Ending::Killed,
            "error" => Ending::Error(number()?),
            "fsync" => Ending::Sync(number()?),
            "wrong" => Ending::Wrong(rest.first()?.parse().ok()?),
            _ => return None,
        };
        Some(Line {
            is_writer: *kind == "w",
            session: session.parse().ok(),
            bytes: bytes.parse().ok()?,
            ending,
        })
    };
    text.lines()
        .map(|text| line(text).with_context(|| format!("`{text}` is no line of the books")))
        .collect()
}

/// What the module of both ends says of one direction, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Reported {
    /// The writer's `tx_errors`: accepted, not sent.
    pub(crate) not_sent: u64,
    /// The reader's `rx_dropped`: received, nobody there to read.
    pub(crate) not_read: u64,
    /// Lost on the way, because a fault of the emulator has eaten or damaged frames.
    pub(crate) eaten: u64,
}

impl Reported {
    const fn all(self) -> u64 {
        self.not_sent + self.not_read + self.eaten
    }
}

/// The result, for a person.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Summary {
    pub(crate) sessions: usize,
    pub(crate) whole: usize,
    pub(crate) accepted: u64,
    pub(crate) delivered: u64,
    pub(crate) reported: u64,
    pub(crate) endings: BTreeMap<String, usize>,
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            sessions,
            whole,
            accepted,
            delivered,
            reported,
            endings,
        } = self;
        write!(
            f,
            "{sessions} sessions, {whole} read to their end; {accepted} bytes accepted, {delivered} \
             delivered, {reported} reported lost;"
        )?;
        endings
            .iter()
            .try_for_each(|(how, count)| write!(f, " {how}: {count},"))
    }
}

/// Checks the books of one direction.
///
/// # Errors
/// The first entry that is wrong.
pub(crate) fn check(writers: &[Line], readers: &[Line], reported: Reported) -> Result<Summary> {
    let written = accounts(writers)?;
    let mut summary = Summary {
        sessions: writers.len(),
        reported: reported.all(),
        ..Summary::default()
    };
    for (kind, line) in (writers.iter().map(|line| ("writer's", line)))
        .chain(readers.iter().map(|line| ("reader's", line)))
    {
        let name = format!("{kind} {}", line.ending);
        *summary.endings.entry(name).or_default() += 1;
    }
    let mut seen = BTreeSet::new();
    for line in readers {
        ensure!(!matches!(line.ending, Ending::Wrong(_)), "{line:?}");
        let Some(session) = line.session else {
            // Too short to have a number: an empty session, or one that broke early.
            summary.delivered += line.bytes;
            continue;
        };
        ensure!(seen.insert(session), "read twice: {line:?}");
        let writer = written
            .get(&session)
            .with_context(|| format!("of nobody: {line:?}"))?;
        check_pair(writer, line)?;
        summary.whole += usize::from(line.ending == Ending::End);
        summary.delivered += line.bytes;
    }
    summary.accepted = writers.iter().map(|line| line.bytes).sum();
    let missing = summary.accepted.saturating_sub(summary.delivered);
    ensure!(
        missing <= reported.all(),
        "{missing} bytes are missing, of which nobody knows: {reported:?}; {summary}"
    );
    let killed = writers.iter().filter(|line| line.ending == Ending::Killed);
    let unnoted = UNNOTED * killed.count() as u64;
    // Where no frame was eaten, the module knows exactly.
    ensure!(
        reported.eaten > 0 || reported.all() <= missing + unnoted,
        "more is reported than is missing ({missing} bytes): {reported:?}; {summary}"
    );
    Ok(summary)
}

fn accounts(writers: &[Line]) -> Result<BTreeMap<u32, &Line>> {
    let mut accounts = BTreeMap::new();
    for line in writers {
        let session = line.session.context("a writer knows its session")?;
        // A last session may have to be tried again.
        let twice = accounts.insert(session, line).is_some() && session != LAST;
        ensure!(!twice, "written twice: {line:?}");
    }
    Ok(accounts)
}

fn check_pair(writer: &Line, reader: &Line) -> Result<()> {
    let slack = match writer.ending {
        Ending::Killed => UNNOTED,
        _ => 0,
    };
    ensure!(
        reader.bytes <= writer.bytes + slack,
        "more than was written: {reader:?} of {writer:?}"
    );
    ensure!(
        reader.ending != Ending::End || reader.bytes >= writer.bytes,
        "end of file too early: {reader:?} of {writer:?}"
    );
    ensure!(
        reader.ending != Ending::End || writer.ending != Ending::Killed,
        "end of file, but the writer was killed: {reader:?} of {writer:?}"
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn books(writers: &str, readers: &str, not_sent: u64) -> Result<Summary> {
        let reported = Reported {
            not_sent,
            ..Reported::default()
        };
        check(&parse(writers)?, &parse(readers)?, reported)
    }

    #[test]
    fn good_books_balance() {
        let writers = "w 0 100 end\nw 1 5000 killed\nw 2 300 error 6\nw 3 40 end";
        let readers = "r 0 100 end\nr 1 6000 error 5\nr 2 200 error 6\nr ? 0 end\nr 3 20 stop";
        let summary = books(writers, readers, 20 + 100).expect("they balance");
        assert_eq!((summary.sessions, summary.whole), (4, 1));
    }

    #[test]
    fn each_kind_of_fraud_is_found() {
        for (writers, readers, why) in [
            ("w 0 100 end", "r 0 99 end", "end of file too early"),
            ("w 0 100 end", "r 0 101 end", "more than was written"),
            ("w 0 100 end", "r 1 100 end", "of nobody"),
            ("w 0 100 end", "r 0 100 end\nr 0 20 stop", "read twice"),
            ("w 0 100 end", "r 0 50 wrong 50", "Wrong"),
            ("w 0 100 killed", "r 0 100 end", "was killed"),
            ("w 0 100 end", "", "of which nobody knows"),
            ("w 0 100 end\nw 0 1 end", "", "written twice"),
            ("w 0 100", "", "no line"),
        ] {
            let error = books(writers, readers, 0).expect_err(why).to_string();
            assert!(error.contains(why), "{error}");
        }
        let error = books("w 0 100 end", "r 0 100 end", 1).expect_err("too much");
        assert!(error.to_string().contains("more is reported"), "{error}");
    }
}
