// SPDX-License-Identifier: MIT OR Apache-2.0

//! Much data: rates, and what they cost.

use crate::flow::{Flow, Running, flow, run, sum_rate};
use crate::pair::{Pair, TOOL, set, stream, streams};
use crate::said::Said;
use crate::table::Table;
use crate::yardstick;
use anyhow::{Context as _, Result};
use lab::stream::End;
use lab::{Cpu, Lab, Stats};

/// Bytes of each system call, where nothing else is said.
pub(crate) const BLOCK: u64 = 1 << 20;
const MIB: u64 = 1 << 20;
/// Size of the file that is sent by sendfile(2), in MiB, and how often.
const FILE_MIB: u64 = 64;

/// Guests with one processor each.
pub(crate) fn one_processor(pair: &Pair<'_>, table: &mut Table) -> Result<()> {
    let lab = pair.boot_timed(table)?;
    let (a, b) = stream(&lab, "data")?;
    one_way(pair, &lab, (&a, &b), "ab", "a to b", table)?;
    one_way(pair, &lab, (&b, &a), "ba", "b to a", table)?;
    both_ways(pair, (&a, &b), "", "one processor", table)?;
    sendfile(pair, (&a, &b), table)?;
    if !pair.size.quick {
        four(pair, &lab, (&a, &b), table)?;
        sweeps(pair, (&a, &b), table)?;
    }
    yardstick::bulk(pair, &lab, table)?;
    lab.finish()
}

/// Guests with two processors each.
pub(crate) fn two_processors(pair: &Pair<'_>, table: &mut Table) -> Result<()> {
    let lab = pair.boot(2)?;
    let (a, b) = stream(&lab, "data")?;
    let flow = |from, to, to_end| flow(from, to, pair.size.mib, to_end);
    let rate = sum_rate(&run(&[flow(&a, &b, true)])?)?;
    table.add(
        pair.at(),
        "one_way_smp2",
        "one way, two processors",
        "MiB/s",
        rate,
    );
    both_ways(pair, (&a, &b), "_smp2", "two processors", table)?;
    lab.finish()
}

fn one_way(
    pair: &Pair<'_>,
    lab: &Lab,
    (from, to): (&End<'_>, &End<'_>),
    key: &str,
    title: &str,
    table: &mut Table,
) -> Result<()> {
    let flow = flow(from, to, pair.size.mib, true);
    let reader = flow.read()?;
    lab.stats_reset()?;
    let before = lab.cpu()?;
    let done = Running {
        writer: flow.write()?,
        reader,
    }
    .done()?;
    let used = lab.cpu()?.since(&before);
    let stats = lab.stats()?;
    let at = pair.at();
    let title_of = |what: &str| format!("{what}, {title}");
    table.add(
        at,
        &format!("one_way_{key}"),
        &title_of("one way"),
        "MiB/s",
        done.reader.rate()?,
    );
    let ends = [("writer", from, &done.writer), ("reader", to, &done.reader)];
    for (role, end, said) in ends {
        let costs = Costs {
            lab: &used,
            stats: &stats,
            said,
            host: end.host.name(),
            mib: pair.size.mib as f64,
        };
        costs.note(pair, key, &title_of(role), role, table)?;
    }
    let emulator = used.emulator / pair.size.mib as f64 * 1024.0;
    table.add(
        at,
        &format!("cpu_emulator_{key}"),
        &title_of("CPU of the emulator"),
        "s/GiB",
        emulator,
    );
    Ok(())
}

/// What one end of a transfer has cost.
struct Costs<'a> {
    lab: &'a Cpu,
    stats: &'a Stats,
    said: &'a Said,
    host: &'a str,
    mib: f64,
}

impl Costs<'_> {
    fn note(
        &self,
        pair: &Pair<'_>,
        key: &str,
        title: &str,
        role: &str,
        table: &mut Table,
    ) -> Result<()> {
        let cpu = self.lab.hosts.get(self.host).context("no such host")?;
        let rings = &self
            .stats
            .hosts
            .get(self.host)
            .context("no such host")?
            .rings;
        // Ring 0 is the control channel.
        let data = || {
            rings
                .iter()
                .filter(|(name, _)| !name.ends_with("x0"))
                .map(|(_, ring)| ring)
        };
        let doorbells: u64 = data().map(|ring| ring.doorbells).sum();
        let interrupts: u64 = data().map(|ring| ring.interrupts).sum();
        let said_mib = self.said.mib()?;
        let busy = self.said.get("busy")? / 1e9 * 1024.0 / said_mib;
        let mut add = |what: &str, title_of: &str, unit, sample| {
            table.add(
                pair.at(),
                &format!("{what}_{role}_{key}"),
                &format!("{title_of}, {title}"),
                unit,
                sample,
            );
        };
        add("cpu", "CPU of QEMU", "s/GiB", cpu * 1024.0 / self.mib);
        add("busy", "busy as the guest sees it", "s/GiB", busy);
        add(
            "doorbells",
            "doorbells",
            "per MiB",
            doorbells as f64 / self.mib,
        );
        add(
            "interrupts",
            "interrupts",
            "per MiB",
            interrupts as f64 / self.mib,
        );
        add(
            "switches",
            "context switches",
            "per MiB",
            self.said.get("switches")? / said_mib,
        );
        add(
            "calls",
            "system calls",
            "per MiB",
            self.said.get("calls")? / said_mib,
        );
        Ok(())
    }
}

fn both_ways(
    pair: &Pair<'_>,
    (a, b): (&End<'_>, &End<'_>),
    key: &str,
    title: &str,
    table: &mut Table,
) -> Result<()> {
    let mib = pair.size.mib / 2;
    let done = run(&[flow(a, b, mib, false), flow(b, a, mib, false)])?;
    let title = format!("both ways at once, sum, {title}");
    table.add(
        pair.at(),
        &format!("both_ways{key}"),
        &title,
        "MiB/s",
        sum_rate(&done)?,
    );
    Ok(())
}

/// A file in memory: by sendfile(2), and by read(2) and write(2).
fn sendfile(pair: &Pair<'_>, (a, b): (&End<'_>, &End<'_>), table: &mut Table) -> Result<()> {
    let times = (pair.size.mib / FILE_MIB).max(1);
    a.host
        .run(&format!("head -c {} /dev/zero > /tmp/file", FILE_MIB * MIB))?;
    let ours = pair.side.name() == "ours";
    for (key, title, words) in [
        (
            "file_copy",
            "a file by read and write",
            format!("copy /tmp/file {} {times} {BLOCK}", a.device),
        ),
        (
            "file_sendfile",
            "a file by sendfile",
            format!("sendfile /tmp/file {} {times}", a.device),
        ),
    ] {
        // The C driver has no splice_write.
        if key == "file_sendfile" && !ours {
            continue;
        }
        let flow = flow(a, b, times * FILE_MIB, true);
        let reader = flow.read()?;
        let before = a.host.cpu_seconds()?;
        let writer = a.host.spawn(&format!("exec {TOOL} {words}"))?;
        let done = Running { reader, writer }.done()?;
        let cpu = (a.host.cpu_seconds()? - before) * 1024.0 / (times * FILE_MIB) as f64;
        table.add(pair.at(), key, title, "MiB/s", done.reader.rate()?);
        table.add(
            pair.at(),
            &format!("{key}_cpu"),
            &format!("CPU of QEMU, {title}"),
            "s/GiB",
            cpu,
        );
    }
    a.host.run("rm /tmp/file").map(drop)
}

/// Four streams from `a` to `b`, the first of which is there already.
fn four(pair: &Pair<'_>, lab: &Lab, first: (&End<'_>, &End<'_>), table: &mut Table) -> Result<()> {
    let more = streams(lab, &["two", "three", "four"])?;
    let mut flows = vec![flow(first.0, first.1, pair.size.mib / 4, true)];
    flows.extend(
        more.iter()
            .map(|(a, b)| flow(a, b, pair.size.mib / 4, true)),
    );
    let rate = sum_rate(&run(&flows)?)?;
    table.add(
        pair.at(),
        "four_streams",
        "four streams at once, sum",
        "MiB/s",
        rate,
    );
    Ok(())
}

/// Rates by block size and by ring size.
fn sweeps(pair: &Pair<'_>, (a, b): (&End<'_>, &End<'_>), table: &mut Table) -> Result<()> {
    for (block, mib) in [
        (64, 2),
        (1024, 32),
        (4096, 64),
        (16384, 128),
        (65536, 128),
        (262_144, 256),
        (1 << 20, 256),
    ] {
        let flow = Flow {
            block,
            ..flow(a, b, mib, true)
        };
        let rate = sum_rate(&run(&[flow])?)?;
        let title = format!("one way, blocks of {block} bytes");
        table.add(pair.at(), &format!("block_{block}"), &title, "MiB/s", rate);
    }
    for frames in [32, 64, 256, 1024, 4096] {
        set((a, b), "ring_size", &frames.to_string())?;
        let rate = sum_rate(&run(&[flow(a, b, 256, true)])?)?;
        let title = format!("one way, rings of {frames} frames");
        table.add(pair.at(), &format!("ring_{frames}"), &title, "MiB/s", rate);
    }
    set((a, b), "ring_size", "256")
}

/// Instructions, counted by a plugin of QEMU.
pub(crate) fn instructions(pair: &Pair<'_>, table: &mut Table) -> Result<()> {
    const SIZE: u64 = 128;
    let lab = pair.boot_counting()?;
    let (a, b) = stream(&lab, "data")?;
    // What is needed without any data, such as starting the programs.
    let count = |mib: u64| -> Result<[u64; 2]> {
        let count = || -> Result<[u64; 2]> { Ok([a.host.instructions()?, b.host.instructions()?]) };
        let before = count()?;
        run(&[flow(&a, &b, mib, true)])?;
        let after = count()?;
        Ok([after[0] - before[0], after[1] - before[1]])
    };
    count(1)?;
    let least = count(1)?;
    let all = count(SIZE + 1)?;
    for (index, role) in ["writer", "reader"].into_iter().enumerate() {
        let instructions = all[index].saturating_sub(least[index]) as f64 / SIZE as f64;
        let title = format!("guest instructions, {role}");
        table.add(
            pair.at(),
            &format!("instructions_{role}"),
            &title,
            "per MiB",
            instructions,
        );
    }
    lab.finish()
}
