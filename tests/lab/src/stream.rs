// SPDX-License-Identifier: MIT OR Apache-2.0

//! Streams between two hosts: created through ConfigFS as a person would, used with `dd`.

use crate::host::Host;
use crate::job::Job;
use crate::lab::Lab;
use anyhow::{Context as _, Result, ensure};
use std::time::Duration;

/// The stream driver's ConfigFS directory.
pub const STREAMS: &str = "/sys/kernel/config/thunderbolt/stream";
/// Time for a peer's service to appear, a ring to start, an HopID to be announced.
const SETTLE: Duration = Duration::from_secs(20);
/// How long a reader or writer of test data may take.
const TRANSFER: Duration = Duration::from_secs(120);

/// One end of a stream.
#[derive(Debug, Clone)]
pub struct End<'a> {
    /// The host.
    pub host: &'a Host,
    /// Its device, `/dev/tbstreamX`.
    pub device: String,
    /// Its ConfigFS directory.
    pub dir: String,
}

/// HopIDs to configure: automatic, or the ones given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HopIds {
    /// `-1` in both files.
    Auto,
    /// These.
    Manual {
        /// In HopID.
        input: u16,
        /// Out HopID.
        output: u16,
    },
}

impl HopIds {
    /// What the other end needs.
    pub fn reversed(self) -> Self {
        match self {
            Self::Auto => Self::Auto,
            Self::Manual { input, output } => Self::Manual {
                input: output,
                output: input,
            },
        }
    }

    fn words(self) -> (String, String) {
        match self {
            Self::Auto => ("-1".into(), "-1".into()),
            Self::Manual { input, output } => (input.to_string(), output.to_string()),
        }
    }
}

impl Host {
    /// Name of the stream service that the peer behind `route` offers (`0-1.0` for route 1 of
    /// domain 0), as soon as it is there.
    ///
    /// # Errors
    /// It does not appear.
    pub fn stream_service(&self, route: u8) -> Result<String> {
        let script = format!(
            "while :; do for s in /sys/bus/thunderbolt/devices/0-{route}.*; do \
             key=; [ ! -e \"$s/key\" ] || read -r key < \"$s/key\"; \
             [ \"$key\" = stream ] && echo \"${{s##*/}}\" && exit; done; sleep 0.1; done"
        );
        let output = self.shell(&script).timeout(SETTLE).output();
        Ok(output.context("the peer's stream service")?.check()?.text())
    }

    /// Creates a stream towards the peer behind `route`.
    ///
    /// # Errors
    /// The service does not appear, or the driver refuses.
    pub fn create_stream(&self, route: u8, name: &str, hop_ids: HopIds) -> Result<End<'_>> {
        let dir = format!("{STREAMS}/{}/{name}", self.stream_service(route)?);
        let (input, output) = hop_ids.words();
        let index = self.run(&format!(
            "mkdir -p {dir} && echo {input} > {dir}/in_hopid && echo {output} > {dir}/out_hopid \
             && cat {dir}/index"
        ))?;
        Ok(End {
            host: self,
            device: format!("/dev/tbstream{index}"),
            dir,
        })
    }
}

impl<'a> End<'a> {
    /// Whether both are the same end of the same stream.
    fn is(&self, other: &End<'_>) -> bool {
        (self.host.name(), &self.device) == (other.host.name(), &other.device)
    }

    /// An attribute of the stream.
    ///
    /// # Errors
    /// There is none of this name, or the guest does not answer.
    pub fn attribute(&self, name: &str) -> Result<String> {
        self.host.run(&format!("cat {}/{name}", self.dir))
    }

    /// Changes an attribute of the stream.
    ///
    /// # Errors
    /// The driver refuses.
    pub fn set(&self, name: &str, value: &str) -> Result<()> {
        self.host
            .run(&format!("echo {value} > {}/{name}", self.dir))
            .map(drop)
    }

    /// Removes the stream.
    ///
    /// # Errors
    /// The driver refuses.
    pub fn remove(&self) -> Result<()> {
        self.host.run(&format!("rmdir {}", self.dir)).map(drop)
    }

    /// Starts a process that reads to the end of the stream into `file`.
    ///
    /// # Errors
    /// The guest does not answer.
    pub fn read_into(&self, file: &str) -> Result<Job<'a>> {
        self.host
            .spawn(&format!("dd if={} of={file} bs=1M", self.device))
    }

    /// Starts a process that reads so many bytes into `file`. With both directions of a stream in
    /// use, an end comes only after both sides have closed: readers must know when to stop.
    ///
    /// # Errors
    /// The guest does not answer.
    pub fn read_bytes_into(&self, file: &str, bytes: u64) -> Result<Job<'a>> {
        self.host
            .spawn(&format!("head -c {bytes} {} > {file}", self.device))
    }

    /// Waits until a process has the device open. The C driver's open returns when its rings run;
    /// it loses count of frames that arrive while they start, so readers go first.
    ///
    /// # Errors
    /// Nobody opens it in time.
    pub fn wait_open(&self) -> Result<()> {
        let script = format!(
            "until ls -l /proc/[0-9]*/fd 2>/dev/null | grep -q '{}$'; do sleep 0.02; done",
            self.device
        );
        let output = self.host.shell(&script).timeout(SETTLE).output();
        output
            .with_context(|| format!("nobody opens {}", self.device))?
            .check()
            .map(drop)
    }

    /// Starts a process that writes `file` into the stream and closes it. It keeps the device open
    /// a moment longer, because the C driver's close loses what has not left by then.
    ///
    /// # Errors
    /// The guest does not answer.
    pub fn write_from(&self, file: &str) -> Result<Job<'a>> {
        self.host.spawn(&format!(
            "(dd if={file} bs=1M; sleep 0.3) > {}",
            self.device
        ))
    }
}

/// Creates a stream at both ends of the cable between `a` and `b`, ends of which are at these routes.
///
/// # Errors
/// As [`Host::create_stream`].
pub fn create_pair<'a>(
    (a, route_a): (&'a Host, u8),
    (b, route_b): (&'a Host, u8),
    name: &str,
    hop_ids: HopIds,
) -> Result<(End<'a>, End<'a>)> {
    let one = a.create_stream(route_a, name, hop_ids)?;
    let other = b.create_stream(route_b, name, hop_ids.reversed())?;
    Ok((one, other))
}

/// Bytes that take a guest a tenth of a second.
const MOST_RANDOM: u64 = 1 << 20;

/// Makes `/tmp/NAME` of random bytes on a host and gives its sha256.
///
/// # Errors
/// The guest has no room or does not answer.
pub fn make_data(host: &Host, name: &str, bytes: u64) -> Result<String> {
    // Random bytes are expensive in a guest: a block of them again and again, each behind its number, so
    // that bytes and blocks that are missing or change places are noticed.
    let block = bytes.min(MOST_RANDOM);
    host.run(&format!(
        "cd /tmp; head -c {block} /dev/urandom > .{name}; at=0; while [ $at -lt {bytes} ]; do echo $at; \
         cat .{name}; at=$((at + {block})); done | head -c {bytes} > {name}; rm .{name}"
    ))?;
    sha256(host, &format!("/tmp/{name}"))
}

/// sha256 of a file in a guest.
///
/// # Errors
/// There is no such file, or the guest does not answer.
pub fn sha256(host: &Host, path: &str) -> Result<String> {
    let text = host
        .shell(&format!("sha256sum < {path}"))
        .timeout(TRANSFER)
        .output()?;
    let text = text.check()?.text();
    let sum = text.split(' ').next().context("no checksum")?;
    Ok(sum.to_owned())
}

impl Lab {
    /// Sends a fresh file of `bytes` random bytes through a stream and compares what arrives.
    ///
    /// # Errors
    /// Either process fails or hangs, or the copy differs.
    pub fn transfer(&self, from: &End<'_>, to: &End<'_>, bytes: u64) -> Result<()> {
        self.transfer_all(&[(from, to, bytes)])
    }

    /// Like [`Lab::transfer`], several at once. Streams may appear twice, once in each direction.
    ///
    /// # Errors
    /// As [`Lab::transfer`].
    pub fn transfer_all(&self, transfers: &[(&End<'_>, &End<'_>, u64)]) -> Result<()> {
        let mut sums = Vec::new();
        for (i, (from, _, bytes)) in transfers.iter().enumerate() {
            sums.push(make_data(from.host, &format!("in{i}"), *bytes)?);
        }
        let mut readers = Vec::new();
        for (i, (_, to, bytes)) in transfers.iter().enumerate() {
            let also_writes = transfers.iter().any(|(from, _, _)| from.is(to));
            let file = format!("/tmp/out{i}");
            readers.push(if also_writes {
                to.read_bytes_into(&file, *bytes)?
            } else {
                to.read_into(&file)?
            });
        }
        for (_, to, _) in transfers {
            to.wait_open()?;
        }
        let mut writers = Vec::new();
        for (i, (from, _, _)) in transfers.iter().enumerate() {
            writers.push(from.write_from(&format!("/tmp/in{i}"))?);
        }
        for job in writers.iter_mut().chain(&mut readers) {
            job.wait(TRANSFER)?.check()?;
        }
        for (i, ((_, to, bytes), want)) in transfers.iter().zip(sums).enumerate() {
            let got = sha256(to.host, &format!("/tmp/out{i}"))?;
            let size = to.host.run(&format!("stat -c %s /tmp/out{i}"))?;
            ensure!(
                got == want,
                "{bytes} bytes to {}: {size} arrived, different",
                to.device
            );
            to.host.run(&format!("rm -f /tmp/out{i}"))?;
        }
        Ok(())
    }
}
