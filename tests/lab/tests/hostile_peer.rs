// SPDX-License-Identifier: MIT OR Apache-2.0

//! A hostile peer: host b has a well-behaved neighbour a, and a neighbour c that the emulator plays
//! itself (`tests/emulator/src/peer`) and that keeps no rule. Readers of b's streams to c must get
//! nothing but what c sent to that very stream; what goes between a and b must not suffer; no report
//! of the kernel, no hang, memory and log bounded; afterwards all is as ever.

mod hostile;
mod product;

use anyhow::{Result, ensure};
use hostile::{Before, Random, no_problems, settings, spare_the_core};
use lab::stream::{End, HopIds, STREAMS, make_data};
use lab::{Host, Job, Kernel, Lab};
use product::{CONNECT, LIMIT, UNLOAD, builder, kernel, ours, pair, replug, unplug};
use std::time::{Duration, Instant};

/// What host b may have less afterwards.
const MEMORY_KIB: u64 = 16 << 10;

/// Factor for time-outs.
fn patience() -> Result<u32> {
    Ok(if kernel()? == Kernel::Debug { 6 } else { 1 })
}

fn start() -> Result<Lab> {
    let builder = builder()?.driver(ours()?).played().unplugged("b-c");
    let lab = builder.start()?;
    spare_the_core(&lab)?;
    lab.wait_connected(CONNECT * patience()?)?;
    Ok(lab)
}

/// Streams of b to c. Of the first two every HopID is fixed, so that each byte tells whether it is
/// where it belongs; the third one does what the peer wants.
fn streams(host: &Host) -> Result<Vec<End<'_>>> {
    let make = |(name, hopid): (&str, i32)| {
        let dir = format!("{STREAMS}/0-3.0/{name}");
        let index = host.run(&format!(
            "mkdir -p {dir} && echo {hopid} > {dir}/in_hopid && echo {hopid} > {dir}/out_hopid \
             && cat {dir}/index"
        ))?;
        Ok(End {
            host,
            device: format!("/dev/tbstream{index}"),
            dir,
        })
    };
    [("one", 9), ("two", 10), ("auto", -1)]
        .map(make)
        .into_iter()
        .collect()
}

/// Opens and reads again and again; prints bytes that do not belong there.
fn reader<'a>(end: &End<'a>, belongs: &str) -> Result<Job<'a>> {
    end.host.spawn(&format!(
        "while [ ! -e /tmp/stop ]; do timeout 3 cat {}; sleep 0.1; done 2>/dev/null \
         | tr -d '{belongs}' | head -c 64 | od -An -tx1",
        end.device
    ))
}

/// Writes sessions; half of them ask whether all was sent.
fn writer<'a>(end: &End<'a>) -> Result<Job<'a>> {
    end.host.spawn(&format!(
        "while [ ! -e /tmp/stop ]; do \
         timeout 2 dd if=/dev/zero of={0} bs=3000 count=40; \
         timeout 2 dd if=/dev/zero of={0} bs=70000 count=1 conv=fsync; sleep 0.2; \
         done >/dev/null 2>&1",
        end.device
    ))
}

/// Time passes. The neighbour's data flows meanwhile; c's cable is pulled now and then.
fn abuse(
    lab: &Lab,
    (a, b): (&End<'_>, &End<'_>),
    random: &mut Random,
    seconds: u64,
) -> Result<u32> {
    let end = Instant::now() + Duration::from_secs(seconds);
    let mut transfers = 0;
    while Instant::now() < end {
        random.pause(3000);
        if random.below(4) == 0 {
            lab.cable("b-c").unplug()?;
            random.pause(500);
            lab.cable("b-c").plug()?;
        }
        exchange(a, b)?;
        exchange(b, a)?;
        transfers += 2;
        no_problems(lab)?;
    }
    Ok(transfers)
}

/// Sends a little and compares. Host b has much to do: everything may take its time.
fn exchange(from: &End<'_>, to: &End<'_>) -> Result<()> {
    let limit = LIMIT * patience()?;
    let sum = make_data(from.host, "little", 20_000)?;
    let mut reader = to.host.spawn(&format!("sha256sum < {}", to.device))?;
    let mut writer = from
        .host
        .spawn(&format!("cat /tmp/little > {}", from.device))?;
    writer.wait(limit)?.check()?;
    let got = reader.wait(limit)?.check()?.text();
    ensure!(got.starts_with(&sum), "different: {got}");
    Ok(())
}

/// What b's streams have counted.
fn counted(ends: &[End<'_>]) -> Result<String> {
    let mut words = Vec::new();
    for name in [
        "rx_frames",
        "rx_errors",
        "rx_dropped",
        "tx_frames",
        "tx_errors",
    ] {
        let mut sum = 0;
        for end in ends {
            sum += end.attribute(name)?.parse::<u64>()?;
        }
        words.push(format!("{name} {sum}"));
    }
    Ok(words.join(", "))
}

#[test]
fn whatever_a_peer_sends() -> Result<()> {
    let (seconds, seed) = settings()?;
    println!("hostile peer: SECONDS={seconds} SEED={seed}");
    let lab = start()?;
    let (a, b) = pair(&lab, "data", HopIds::Auto)?;
    lab.transfer(&a, &b, 20_000)?;
    let host = lab.host("b");
    let ends = streams(host)?;
    let before = Before::of(host)?;
    let mut readers = [
        reader(&ends[0], r"\011")?,
        reader(&ends[1], r"\012")?,
        reader(&ends[2], r"\010-\037")?,
    ];
    let mut writers = [writer(&ends[1])?, writer(&ends[2])?];
    lab.play("c", Some(seed))?;
    lab.cable("b-c").plug()?;
    let transfers = abuse(&lab, (&a, &b), &mut Random(seed), seconds)?;
    let stats = lab.stats()?;
    println!("hostile peer: {:?}", stats.hosts["c"].peer);
    println!("hostile peer: host b: {}", counted(&ends)?);
    println!("hostile peer: {transfers} transfers between a and b meanwhile");
    lab.cable("b-c").unplug()?;
    lab.play("c", None)?;
    host.run("touch /tmp/stop")?;
    for job in &mut readers {
        let wrong = job.wait(LIMIT * patience()?)?.text();
        ensure!(
            wrong.is_empty(),
            "bytes of another stream, or of none: {wrong}"
        );
    }
    for job in &mut writers {
        job.wait(LIMIT * patience()?)?;
    }
    no_problems(&lab)?;
    println!("hostile peer: {}", before.check(seconds, MEMORY_KIB)?);
    as_ever(&lab, (&a, &b))?;
    lab.finish()
}

/// A peer that keeps the rules comes, data flows, and the module goes.
fn as_ever(lab: &Lab, (a, b): (&End<'_>, &End<'_>)) -> Result<()> {
    unplug(lab)?;
    replug(lab, &[a, b])?;
    lab.transfer(a, b, 300_000)?;
    lab.transfer(b, a, 300_000)?;
    lab.on_all(|host| host.run(UNLOAD))?;
    let left = lab.on_all(|host| host.run("grep ^thunderbolt_stream /proc/modules; true"))?;
    ensure!(left.iter().all(String::is_empty), "still loaded: {left:?}");
    Ok(())
}
