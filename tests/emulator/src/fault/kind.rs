// SPDX-License-Identifier: MIT OR Apache-2.0

//! The faults by name.

/// What can go wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The frame into the ring is damaged on the way: a payload bit is flipped, the CRC error flag set.
    Crc,
    /// The frame into the ring did not fit: overrun flag.
    Overrun,
    /// The frame into the ring vanishes.
    Drop,
    /// The interrupt message vanishes.
    IrqLost,
    /// A message is sent only on a 0-to-1 edge of the status bit.
    Edge,
    /// A pending status bit is not raised again when it is enabled.
    NoRefire,
    /// After an RX ring stops, one more frame is written to the buffer that was next, `ms=` later.
    LateDma,
    /// A credit that the host grants while its return path is down is lost.
    CreditLost,
    /// The host's TX rings may send `n=` frames before any grant, whether or not somebody listens.
    InitialCredits,
    /// The host's TX rings with flow control never get a credit.
    NoCredit,
    /// Credits left over survive when the receiving ring closes.
    StaleCredit,
    /// The pending bit of a path entry sticks if its ring was stopped before the path.
    StickyPending,
    /// Control packets to the host arrive `ms=` late.
    ControlDelay,
    /// Control packets to the host vanish.
    ControlDrop,
    /// Control packets to the host arrive with a wrong CRC.
    ControlCorrupt,
    /// Inter-domain answers and errors to the host wait until it owes none itself, and `ms=` more.
    ControlApart,
    /// The link of the host's port needs `ms=` to train.
    SlowTrain,
    /// The host interface is gone: reads give all ones, nothing else happens.
    Removed,
}

/// Every kind with its name, the keys it knows and what a person should know.
pub(super) const KINDS: [(Kind, &str, &str, &str); 18] = [
    (
        Kind::Crc,
        "crc",
        "ring nth every rate count",
        "CRC error in frames into the host",
    ),
    (
        Kind::Overrun,
        "overrun",
        "ring nth every rate count",
        "overrun flag on frames into the host",
    ),
    (
        Kind::Drop,
        "drop",
        "ring nth every rate count",
        "frames into the host vanish",
    ),
    (
        Kind::IrqLost,
        "irq-lost",
        "ring dir nth every rate count",
        "MSI-X messages vanish",
    ),
    (
        Kind::Edge,
        "edge",
        "",
        "MSI-X only on a 0-to-1 edge of the status bit",
    ),
    (
        Kind::NoRefire,
        "no-refire",
        "",
        "pending status not raised again on unmask",
    ),
    (
        Kind::LateDma,
        "late-dma",
        "ring ms",
        "a frame is written after the RX ring stopped",
    ),
    (
        Kind::CreditLost,
        "credit-lost",
        "ring",
        "credits granted while the return path is down are lost",
    ),
    (
        Kind::InitialCredits,
        "initial-credits",
        "ring n",
        "n frames may leave before any grant",
    ),
    (
        Kind::NoCredit,
        "no-credit",
        "ring",
        "TX with flow control never gets a credit",
    ),
    (
        Kind::StaleCredit,
        "stale-credit",
        "ring",
        "credits survive when the receiver closes",
    ),
    (
        Kind::StickyPending,
        "sticky-pending",
        "port",
        "pending sticks if the ring stopped before the path",
    ),
    (
        Kind::ControlDelay,
        "ctl-delay",
        "ms nth every rate count",
        "control packets to the host come late",
    ),
    (
        Kind::ControlDrop,
        "ctl-drop",
        "nth every rate count",
        "control packets to the host vanish",
    ),
    (
        Kind::ControlCorrupt,
        "ctl-corrupt",
        "nth every rate count",
        "control packets with a wrong CRC",
    ),
    (
        Kind::ControlApart,
        "ctl-apart",
        "ms",
        "answers to the host wait until it has sent its own",
    ),
    (
        Kind::SlowTrain,
        "slow-train",
        "port ms",
        "the link needs ms to come up",
    ),
    (
        Kind::Removed,
        "removed",
        "",
        "the host interface is gone: reads give all ones",
    ),
];

impl Kind {
    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        KINDS.iter().find(|k| k.0 == self).map_or("", |k| k.1)
    }
}

/// All names, each with the keys it knows, separated by spaces: for tests that try all of them.
pub fn names() -> impl Iterator<Item = (&'static str, &'static str)> {
    KINDS.iter().map(|(_, name, keys, _)| (*name, *keys))
}

/// What `fault help` prints.
pub fn help() -> String {
    let rows = KINDS
        .iter()
        .map(|(_, name, keys, what)| format!("  {name:<16} {what} [{keys}]\n"));
    "set NAME HOST [KEY=VALUE …], clear [NAME [HOST]], list; HOST may be *\n".to_string()
        + &rows.collect::<String>()
        + "keys: port=1|2 ring=N dir=tx|rx nth=N every=N rate=0..1 count=N ms=N n=N\n"
}
