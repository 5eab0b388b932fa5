// SPDX-License-Identifier: MIT OR Apache-2.0

//! The emulator's control protocol: one JSON object a line, a [`Request`] in, a [`Reply`] out.
//!
//! It is spoken over the Unix stream socket `control.sock` in the emulator's directory, by any
//! number of clients at once; each line is answered before the next one of that client is read.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// File name of the control socket in the emulator's directory.
pub const CONTROL_SOCKET: &str = "control.sock";

/// File name of the vfio-user socket of a host (`"a"`, `"b"`, …) in the emulator's directory.
pub fn vfio_socket(host: &str) -> String {
    format!("{host}.vfio")
}

/// Name of the n-th host of the chain: `a`, `b`, `c`, …
pub fn host_name(index: usize) -> String {
    char::from(b'a' + u8::try_from(index % 26).unwrap_or(0)).to_string()
}

/// What a client may ask.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "cmd", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Request {
    /// All counters: answered with [`Stats`] as `result`.
    Stats,
    /// Sets the counters back to zero.
    StatsReset,
    /// Ring indices, path entries, adapter states of all hosts as text for a person.
    State,
    /// Trace lines numbered `since` and later: answered with [`TraceLines`].
    Trace {
        /// Number of the first line wanted.
        since: u64,
    },
    /// Plugs or unplugs a cable.
    Cable {
        /// `a-b`, `b-c`, …
        cable: String,
        /// `true` to plug.
        plugged: bool,
    },
    /// Changes a cable's rate limit and delay.
    Link {
        /// `a-b`, `b-c`, …
        cable: String,
        /// Limit in Gb/s for each direction; `None` for no limit.
        gbps: Option<f64>,
        /// Propagation delay in ns.
        delay_ns: u64,
    },
    /// Plays a host that has no VM, as a peer that does not keep the rules; `None` ends that.
    Play {
        /// `b`, `c`, …
        host: String,
        /// Brings back what it does.
        seed: Option<u64>,
    },
    /// Switches faults: the words after `fault`, as a person types them. Answered with text.
    ///
    /// `list` | `set NAME HOST [key=value …]` | `clear [NAME [HOST]]` | `help`
    Fault {
        /// The words.
        words: Vec<String>,
    },
    /// Ends the emulator.
    Quit,
}

/// What the emulator answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Reply {
    /// Whether the request was carried out.
    pub ok: bool,
    /// Why not, one line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// What was asked for; text for a person is a JSON string.
    #[serde(default, skip_serializing_if = "serde_json::Value::is_null")]
    pub result: serde_json::Value,
}

/// All counters, since start or the last [`Request::StatsReset`].
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Stats {
    /// By host name.
    pub hosts: BTreeMap<String, HostStats>,
    /// By cable name.
    pub cables: BTreeMap<String, CableStats>,
}

/// Counters of one host router.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct HostStats {
    /// Whether a VM is attached to the vfio-user socket.
    pub connected: bool,
    /// Trapped 32-bit reads of BAR 0.
    pub mmio_reads: u64,
    /// Trapped 32-bit writes of BAR 0.
    pub mmio_writes: u64,
    /// Accesses that hardware would ignore: bad offset, size or value.
    pub mmio_ignored: u64,
    /// Control packets from the host.
    pub control_tx: u64,
    /// Control packets to the host.
    pub control_rx: u64,
    /// Control packets that could not be understood.
    pub control_malformed: u64,
    /// DMA to or from an address that is no guest RAM.
    pub dma_errors: u64,
    /// What a played host has done, by kind ([`Request::Play`]).
    #[serde(default)]
    pub peer: BTreeMap<String, u64>,
    /// By name: `tx0`, `rx0`, `tx1`, …; rings where nothing ever happened are left out.
    pub rings: BTreeMap<String, RingStats>,
    /// By port, `1` or `2`.
    pub ports: BTreeMap<String, PortStats>,
}

/// Counters of one NHI ring.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct RingStats {
    /// Whether the ring is enabled now.
    pub active: bool,
    /// Frames completed.
    pub frames: u64,
    /// Their payload bytes.
    pub bytes: u64,
    /// Trapped reads of the ring's registers.
    #[serde(default)]
    pub mmio_reads: u64,
    /// Trapped writes of the ring's registers, doorbells included.
    #[serde(default)]
    pub mmio_writes: u64,
    /// Writes of the driver's index.
    pub doorbells: u64,
    /// MSI-X messages sent for this ring.
    pub interrupts: u64,
    /// Unmaskings that raised the interrupt again, because its status was pending.
    #[serde(default)]
    pub refired: u64,
    /// Completions that asked for an interrupt and did not get one of their own: by cause
    /// (`masked`, `moderated`, `pending`, `lost`).
    pub suppressed: BTreeMap<String, u64>,
    /// Frames dropped: by cause (TX: on the way out; RX: on the way in).
    pub drops: BTreeMap<String, u64>,
    /// Descriptors the ring's driver has handed over and the router has not used.
    pub posted: u32,
    /// TX with E2E: frames it may send before the next grant; `None` without E2E.
    pub credits: Option<i64>,
    /// Times a frame had to wait: by cause (`no-credit`, `no-buffer`, `no-path`, `link-down`, `rate`).
    pub stalls: BTreeMap<String, u64>,
}

/// Counters of one USB4 port.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct PortStats {
    /// `down`, `training`, `up`.
    pub link: String,
    /// Lanes in use, 1 or 2; 0 when down.
    pub width: u8,
    /// Frames sent into the cable.
    pub tx_frames: u64,
    /// Bytes sent into the cable.
    pub tx_bytes: u64,
    /// Frames received from the cable.
    pub rx_frames: u64,
    /// Bytes received from the cable.
    pub rx_bytes: u64,
    /// Inter-domain packets passed through, both directions.
    pub xdomain_packets: u64,
    /// Frames and packets dropped here, by cause.
    pub drops: BTreeMap<String, u64>,
}

/// State of one cable.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct CableStats {
    /// Whether it is plugged.
    pub plugged: bool,
    /// Rate limit in Gb/s.
    pub gbps: Option<f64>,
    /// Propagation delay in ns.
    pub delay_ns: u64,
}

/// A piece of the trace.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct TraceLines {
    /// Number of the first line given (older ones may be gone).
    pub first: u64,
    /// Number to ask for next.
    pub next: u64,
    /// The lines: `seconds host event …`.
    pub lines: Vec<String>,
}
