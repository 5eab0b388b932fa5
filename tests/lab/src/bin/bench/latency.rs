// SPDX-License-Identifier: MIT OR Apache-2.0

//! Times of single messages, of opening and closing.

use crate::memory;
use crate::pair::{CONNECT, Ends, Pair, TOOL, TRANSFER, set, stream};
use crate::said::Said;
use crate::table::Table;
use crate::yardstick;
use anyhow::Result;
use lab::stream::End;

/// One kind of round trip.
#[derive(Debug, Clone, Copy)]
struct Trip {
    /// Name in keys, after `rtt`.
    key: &'static str,
    title: &'static str,
    bytes: u32,
    /// As `guest-tool --how`.
    how: &'static str,
}

const SMALL: Trip = Trip {
    key: "64",
    title: "round trip of 64 B",
    bytes: 64,
    how: "blocking",
};
const FRAME: Trip = Trip {
    key: "4k",
    title: "round trip of 4 KiB",
    bytes: 4096,
    how: "blocking",
};
/// What else a full run measures.
const MORE: [Trip; 5] = [
    Trip {
        key: "64k",
        title: "round trip of 64 KiB",
        bytes: 65536,
        how: "blocking",
    },
    Trip {
        key: "64_epoll",
        title: "round trip of 64 B, epoll",
        how: "epoll",
        ..SMALL
    },
    Trip {
        key: "64_uring",
        title: "round trip of 64 B, io_uring",
        how: "uring",
        ..SMALL
    },
    Trip {
        key: "4k_epoll",
        title: "round trip of 4 KiB, epoll",
        how: "epoll",
        ..FRAME
    },
    Trip {
        key: "4k_uring",
        title: "round trip of 4 KiB, io_uring",
        how: "uring",
        ..FRAME
    },
];
const BUSY: [Trip; 2] = [
    Trip {
        key: "64_busy",
        title: "round trip of 64 B, busy_poll",
        ..SMALL
    },
    Trip {
        key: "4k_busy",
        title: "round trip of 4 KiB, busy_poll",
        ..FRAME
    },
];
const LOADED: Trip = Trip {
    key: "64_loaded",
    title: "round trip of 64 B beside a saturated stream",
    ..SMALL
};

/// Guests with one processor each, and an emulator that comes first.
pub(crate) fn all(pair: &Pair<'_>, table: &mut Table) -> Result<()> {
    let lab = pair.boot_realtime()?;
    let ends = stream(&lab, "data")?;
    let first = trip(pair, &ends, SMALL, pair.size.trips, table)?;
    let us = first.get("first")? / 1e3;
    table.add(
        pair.at(),
        "open_cold",
        "open to first answer, first time",
        "us",
        us,
    );
    let second = trip(pair, &ends, FRAME, pair.size.trips, table)?;
    let us = second.get("first")? / 1e3;
    table.add(
        pair.at(),
        "open_warm",
        "open to first answer, again",
        "us",
        us,
    );
    if !pair.size.quick {
        for kind in MORE {
            trip(pair, &ends, kind, pair.size.trips, table)?;
        }
    }
    close(pair, &ends, table)?;
    busy(pair, &ends, table)?;
    if !pair.size.quick {
        yardstick::latency(pair, &lab, table)?;
        let bulk = stream(&lab, "bulk")?;
        loaded(pair, &ends, &bulk, table)?;
    }
    memory::all(pair, &lab, table)?;
    lab.finish()
}

/// Round trips of one kind over a stream.
fn trip(
    pair: &Pair<'_>,
    ends: &Ends<'_>,
    kind: Trip,
    trips: u32,
    table: &mut Table,
) -> Result<Said> {
    let (a, b) = ends;
    let Trip { bytes, how, .. } = kind;
    let mut echo = b.host.spawn(&format!(
        "exec {TOOL} echo --how {how} {} {bytes}",
        b.device
    ))?;
    b.wait_open()?;
    let command = format!("{TOOL} rtt --how {how} {} {bytes} {trips}", a.device);
    let said = Said::parse(
        &a.host
            .shell(&command)
            .timeout(TRANSFER)
            .output()?
            .check()?
            .text(),
    )?;
    if how == "epoll" {
        // The C driver does not tell a poller that the stream has ended.
        echo.kill("KILL")?;
    } else {
        echo.wait(CONNECT)?.check()?;
    }
    note(pair, kind, &said, table)?;
    Ok(said)
}

fn note(pair: &Pair<'_>, kind: Trip, said: &Said, table: &mut Table) -> Result<()> {
    for (name, title) in [("p50", "p50"), ("p99", "p99"), ("p999", "p99.9")] {
        let (key, title) = (
            format!("rtt{}_{name}", kind.key),
            format!("{}, {title}", kind.title),
        );
        table.add(pair.at(), &key, &title, "us", said.get(name)? / 1e3);
    }
    Ok(())
}

fn busy(pair: &Pair<'_>, ends: &Ends<'_>, table: &mut Table) -> Result<()> {
    set((&ends.0, &ends.1), "busy_poll", "1")?;
    for kind in BUSY {
        if kind.bytes == SMALL.bytes || !pair.size.quick {
            trip(pair, ends, kind, pair.size.trips, table)?;
        }
    }
    set((&ends.0, &ends.1), "busy_poll", "0")
}

/// Small messages while another stream between the same hosts carries all that it can.
fn loaded(pair: &Pair<'_>, ends: &Ends<'_>, bulk: &Ends<'_>, table: &mut Table) -> Result<()> {
    const FOR_EVER: u64 = 1 << 40;
    let start = |end: &End<'_>, what: &str| -> Result<String> {
        Ok(format!(
            "exec {TOOL} {what} {} {FOR_EVER} {}",
            end.device,
            1 << 20
        ))
    };
    let mut reader = bulk.1.host.spawn(&start(&bulk.1, "drain")?)?;
    bulk.1.wait_open()?;
    let mut writer = bulk.0.host.spawn(&start(&bulk.0, "blast")?)?;
    bulk.0.wait_open()?;
    trip(pair, ends, LOADED, pair.size.trips / 4, table)?;
    writer.kill("KILL")?;
    reader.kill("KILL")
}

fn close(pair: &Pair<'_>, (a, b): &Ends<'_>, table: &mut Table) -> Result<()> {
    let mut reader = b.host.spawn(&format!("cat {} > /dev/null", b.device))?;
    b.wait_open()?;
    let said = Said::parse(&a.host.run(&format!("{TOOL} close {}", a.device))?)?;
    reader.wait(CONNECT)?.check()?;
    table.add(
        pair.at(),
        "close",
        "last close",
        "us",
        said.get("close")? / 1e3,
    );
    Ok(())
}
