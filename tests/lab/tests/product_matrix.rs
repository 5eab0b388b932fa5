// SPDX-License-Identifier: MIT OR Apache-2.0

//! Every size, with every way to write and read it, through every pair of drivers, with automatic and
//! manual HopIDs: what arrives has the same sha256.

mod product;

use anyhow::{Context as _, Result, ensure};
use lab::stream::{End, HopIds};
use lab::{Driver, Host, Lab};
use product::python::{spawn_python, start_debian};
use product::{CONNECT, MIB, TOOL, builder, ours, pair, tool, with_tool};
use std::process::Command;
use std::time::Duration;

/// Around the size of a frame, around that of a ring, and one that outlasts everything.
const SIZES: [u64; 8] = [0, 1, 255, 4095, 4096, 4097, MIB + 1, LARGE];
const LARGE: u64 = 256 * MIB;
/// On a busy machine.
const TRANSFER: Duration = Duration::from_secs(240);
const MANUAL: HopIds = HopIds::Manual {
    input: 11,
    output: 13,
};

/// Programs that write a file into a stream, and read a stream to its end.
#[derive(Debug, Clone, Copy)]
enum Way {
    /// `dd` with block sizes that fit nothing.
    OddBlocks,
    /// `cat`.
    Cat,
    /// System calls of random sizes.
    RandomSizes,
}

impl Way {
    const ALL: [Self; 3] = [Self::OddBlocks, Self::Cat, Self::RandomSizes];

    /// Writes standard input to standard output, the stream.
    fn write(self) -> String {
        match self {
            Self::OddBlocks => "dd bs=12347".into(),
            Self::Cat => "cat".into(),
            Self::RandomSizes => format!("{TOOL} shuffle 1"),
        }
    }

    /// Reads standard input, the stream, to standard output.
    fn read(self) -> String {
        match self {
            Self::OddBlocks => "dd bs=30011".into(),
            Self::Cat => "cat".into(),
            Self::RandomSizes => format!("{TOOL} shuffle 2"),
        }
    }
}

/// A file of each size on both hosts, the same on both.
fn make_files(host: &Host) -> Result<()> {
    host.run(&format!("{TOOL} fill /tmp/{LARGE} {LARGE} 7"))?;
    for size in SIZES.into_iter().filter(|size| *size != LARGE) {
        host.run(&format!("head -c {size} /tmp/{LARGE} > /tmp/{size}"))?;
    }
    Ok(())
}

/// Their checksums, which take a guest ten seconds for the large one.
fn sums() -> Result<Vec<String>> {
    let file = tempfile::NamedTempFile::new()?;
    let path = file.path();
    let script = format!(
        "{} fill {path} {LARGE} 7 && for n in {}; do head -c $n {path} | sha256sum; done",
        tool()?.display(),
        SIZES.map(|size| size.to_string()).join(" "),
        path = path.display(),
    );
    let output = Command::new("sh").args(["-ec", &script]).output()?;
    ensure!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout)?;
    Ok(text
        .lines()
        .map(|line| line.chars().take(64).collect())
        .collect())
}

/// One cell of the matrix. A large file is not kept by the reading host but compared with its own
/// as it comes, which is as good as its sha256 and much quicker; with `cat` it is the sha256.
fn cell(from: &End<'_>, to: &End<'_>, size: u64, way: Way, sum: &str) -> Result<()> {
    let judge = match way {
        Way::OddBlocks | Way::RandomSizes if size == LARGE => format!("{TOOL} compare /tmp/{size}"),
        _ => "sha256sum".into(),
    };
    let mut reader = to.host.spawn(&format!(
        "({} 2> /tmp/said || echo failed) < {} | {judge}",
        way.read(),
        to.device
    ))?;
    // What the C driver at either end needs: readers first, no close at once.
    to.wait_open()?;
    let mut writer = from.host.spawn(&format!(
        "({} < /tmp/{size} && sleep 0.3) > {}",
        way.write(),
        from.device
    ))?;
    writer.wait(TRANSFER)?.check()?;
    let got = reader.wait(TRANSFER)?.check()?.text();
    ensure!(judge != "sha256sum" || got.starts_with(sum), "{got}");
    Ok(())
}

fn matrix(peer: Driver, hop_ids: HopIds) -> Result<()> {
    let choices = builder()?.driver(ours()?).driver_on("b", peer);
    let lab = with_tool(choices)?.memory_mib(1024).start()?;
    lab.wait_connected(CONNECT)?;
    let (a, b) = pair(&lab, "data", hop_ids)?;
    lab.on_all(make_files)?;
    for (size, sum) in SIZES.into_iter().zip(&sums()?) {
        for way in Way::ALL {
            for (from, to) in [(&a, &b), (&b, &a)] {
                cell(from, to, size, way, sum)
                    .with_context(|| format!("{size} bytes from {}, {way:?}", from.host.name()))?;
            }
        }
    }
    lab.finish()
}

#[test]
fn between_two_of_ours_with_automatic_hop_ids() -> Result<()> {
    matrix(ours()?, HopIds::Auto)
}

#[test]
fn between_two_of_ours_with_manual_hop_ids() -> Result<()> {
    matrix(ours()?, MANUAL)
}

/// Both directions, which are two of the three pairs.
#[test]
fn between_ours_and_the_c_driver_with_automatic_hop_ids() -> Result<()> {
    matrix(Driver::C, HopIds::Auto)
}

#[test]
fn between_ours_and_the_c_driver_with_manual_hop_ids() -> Result<()> {
    matrix(Driver::C, MANUAL)
}

/// What the tool above does in Rust, once by those who are likelier to do it.
#[test]
fn python_with_random_sizes() -> Result<()> {
    const WRITER: &str = "
import random
random.seed(1)
data = open('/tmp/in', 'rb').read()
fd = os.open(dev, os.O_WRONLY)
at = 0
while at < len(data):
    at += os.write(fd, data[at:at + random.choice([1, 100, 4096, 5000, 70000])])";
    const READER: &str = "
import hashlib, random
random.seed(2)
fd = os.open(dev, os.O_RDONLY)
sum = hashlib.sha256()
while data := os.read(fd, random.choice([1, 99, 4095, 4097, 65536])):
    sum.update(data)
print(sum.hexdigest())";
    let lab: Lab = start_debian()?;
    let (a, b) = pair(&lab, "data", HopIds::Auto)?;
    for size in [0, 1, 4097, MIB + 1] {
        let sum = lab::stream::make_data(a.host, "in", size)?;
        let mut reader = spawn_python(&b, READER)?;
        let mut writer = spawn_python(&a, WRITER)?;
        writer.wait(TRANSFER)?.check()?;
        let got = reader.wait(TRANSFER)?.check()?.text();
        ensure!(got == sum, "{size} bytes: {got}");
    }
    lab.finish()
}
