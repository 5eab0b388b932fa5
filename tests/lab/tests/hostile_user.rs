// SPDX-License-Identifier: MIT OR Apache-2.0

//! A hostile user on both hosts (`guest-tool abuse`): system calls at random on all streams and
//! their directories, while the cable is pulled and plugged. No report of the kernel, no errno that is
//! not documented, nobody hangs; afterwards a stream works and the module can be unloaded.

mod hostile;
mod product;

use anyhow::{Context as _, Result, ensure};
use hostile::{Before, Random, no_problems, settings, spare_the_core};
use lab::stream::HopIds;
use lab::{Job, Kernel, Lab};
use product::{CONNECT, TOOL, UNLOAD, builder, kernel, ours, pair, with_tool};
use std::time::{Duration, Instant};

/// What a host may have less afterwards: slabs, per-CPU lists and the files in `/tmp`.
const MEMORY_KIB: u64 = 16 << 10;

fn start() -> Result<Lab> {
    let lab = with_tool(builder()?.driver(ours()?).smp(2))?.start()?;
    spare_the_core(&lab)?;
    lab.wait_connected(CONNECT * patience()?)?;
    Ok(lab)
}

/// Factor for time-outs.
fn patience() -> Result<u32> {
    Ok(if kernel()? == Kernel::Debug { 6 } else { 1 })
}

/// Pulls and plugs the cable until the jobs have had their time. Gives how often.
fn hot_plug(lab: &Lab, random: &mut Random, seconds: u64) -> Result<u32> {
    let end = Instant::now() + Duration::from_secs(seconds);
    let mut pulled = 0;
    while Instant::now() < end {
        // Long enough for streams to be ready, or not even for the hosts to find each other.
        let most = [1000, 5000, 10_000][random.below(3) as usize];
        random.pause(most * u64::from(patience()?));
        lab.cable("a-b").unplug()?;
        random.pause(600);
        lab.cable("a-b").plug()?;
        pulled += 1;
        no_problems(lab)?;
    }
    Ok(pulled)
}

fn wait(job: &mut Job<'_>, limit: Duration) -> Result<String> {
    let output = job.wait(limit).context("a hostile user does not end")?;
    Ok(output.check()?.text())
}

#[test]
fn whatever_a_user_calls() -> Result<()> {
    let (seconds, seed) = settings()?;
    println!("hostile user: SECONDS={seconds} SEED={seed}");
    let lab = start()?;
    let limit = 60 * u64::from(patience()?);
    let before = lab
        .hosts()
        .iter()
        .map(Before::of)
        .collect::<Result<Vec<_>>>()?;
    let mut jobs = Vec::new();
    for (number, host) in lab.hosts().iter().enumerate() {
        let link = host.stream_service(1)?;
        let seed = seed.wrapping_add(number as u64);
        jobs.push(host.spawn(&format!(
            "renice -n 19 -p $$ && exec {TOOL} abuse --seed {seed} --seconds {seconds} --link {link} --limit {limit}"
        ))?);
    }
    let pulled = hot_plug(&lab, &mut Random(seed), seconds)?;
    for job in &mut jobs {
        let text = wait(job, Duration::from_secs(2 * limit + seconds))?;
        println!("{text}");
    }
    println!("hostile user: cable pulled {pulled} times");
    no_problems(&lab)?;
    works_as_ever(&lab)?;
    for before in before {
        println!("hostile user: {}", before.check(seconds, MEMORY_KIB)?);
    }
    lab.finish()
}

/// A fresh stream carries data both ways, and the module goes.
fn works_as_ever(lab: &Lab) -> Result<()> {
    lab.wait_connected(CONNECT * patience()?)?;
    let (a, b) = pair(lab, "data", HopIds::Auto)?;
    lab.transfer(&a, &b, 300_000)?;
    lab.transfer(&b, &a, 300_000)?;
    lab.on_all(|host| host.run(UNLOAD))?;
    let left = lab.on_all(|host| host.run("grep ^thunderbolt_stream /proc/modules; true"))?;
    ensure!(left.iter().all(String::is_empty), "still loaded: {left:?}");
    Ok(())
}
