// SPDX-License-Identifier: MIT OR Apache-2.0

//! Sessions of random sizes and pauses in two streams, one each way; readers that stop early, writers
//! that are killed, cables pulled and frames lost at random. All from a seed that is printed; the books
//! must balance: bytes accepted = bytes delivered + bytes reported lost. Once a minute and a half the peer is
//! reset, and the books begin anew.
//!
//! `SOAK_SECONDS` (60) and `SOAK_SEED` (the time) are environment variables; `make soak SECONDS=600
//! SEED=1` sets them.

mod books;
mod product;

use anyhow::{Context as _, Result, ensure};
use books::{LAST, Line, Reported};
use lab::stream::{End, HopIds};
use lab::{Job, Lab};
use product::{
    CONNECT, LIMIT, TOOL, drain, pair, read_to_the_last, replug, say_last, start_with_tool, unplug,
    wait_ready,
};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// A number from the environment.
fn setting(name: &str) -> Result<Option<u64>> {
    let text = std::env::var(name).ok();
    let number = text.map(|text| text.parse().with_context(|| format!("{name}: {text}")));
    number.transpose()
}

/// Random numbers that a seed brings back (splitmix64).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let a = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let b = (a ^ (a >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (b ^ (b >> 31)) % limit
    }
}

/// The ends of both streams: a's and b's of the one from a to b, then of the other.
type Ends<'a> = [&'a End<'a>; 4];

/// One direction: a stream that only one host writes to.
struct Way<'a> {
    seed: u64,
    from: &'a End<'a>,
    to: &'a End<'a>,
    writer: Job<'a>,
    reader: Job<'a>,
    /// What had been reported when it began.
    before: Reported,
}

impl<'a> Way<'a> {
    fn start(lab: &Lab, seed: u64, from: &'a End<'a>, to: &'a End<'a>) -> Result<Self> {
        let reader = format!("{TOOL} read-many {} {seed}", to.device);
        let writer = format!("{TOOL} write-many {} {seed} 0 /tmp/stop", from.device);
        Ok(Self {
            seed,
            from,
            to,
            before: reported(lab, from, to)?,
            reader: to.host.spawn(&reader)?,
            writer: from.host.spawn(&writer)?,
        })
    }

    /// One stream for each direction.
    fn start_both(lab: &Lab, seed: u64, ends: Ends<'a>) -> Result<[Self; 2]> {
        let [a1, b1, a2, b2] = ends;
        lab.on_all(|host| host.run("rm -f /tmp/stop").map(drop))?;
        // Nothing is left of other sessions.
        for (from, to) in [(a1, b1), (b2, a2)] {
            drain(from, to)?;
        }
        Ok([
            Self::start(lab, seed, a1, b1)?,
            Self::start(lab, seed.wrapping_add(1), b2, a2)?,
        ])
    }

    /// Lets both come to their end, and gives their books.
    fn finish(&mut self) -> Result<(Vec<Line>, Vec<Line>)> {
        let written = self.writer.wait(LIMIT).context("the writers")?.check()?;
        let mut writers = books::parse(&written.text())?;
        let deadline = Instant::now() + LIMIT;
        let last = format!("{TOOL} write {} {} {LAST} 16", self.from.device, self.seed);
        while self.reader.running()? {
            ensure!(Instant::now() < deadline, "the reader does not end");
            let written = self.from.host.shell(&last).timeout(LIMIT).output()?;
            writers.extend(books::parse(&written.check()?.text())?);
            std::thread::sleep(Duration::from_millis(500));
        }
        let read = self.reader.wait(LIMIT)?.check()?.text();
        Ok((writers, books::parse(&read)?))
    }

    fn reported(&self, lab: &Lab) -> Result<Reported> {
        let now = reported(lab, self.from, self.to)?;
        Ok(Reported {
            not_sent: now.not_sent - self.before.not_sent,
            not_read: now.not_read - self.before.not_read,
            eaten: now.eaten - self.before.eaten,
        })
    }
}

/// What the module and the emulator have reported so far.
fn reported(lab: &Lab, from: &End<'_>, to: &End<'_>) -> Result<Reported> {
    let number =
        |end: &End<'_>, name: &str| -> Result<u64> { Ok(end.attribute(name)?.parse::<u64>()?) };
    let stats = lab.stats()?;
    let drops = |host: &str| -> u64 {
        let rings = stats.hosts[host].rings.iter();
        let data = rings.filter(|(name, _)| !name.ends_with("x0"));
        data.flat_map(|(_, ring)| ring.drops.values()).sum()
    };
    let frames = number(to, "rx_errors")? + drops(to.host.name());
    Ok(Reported {
        not_sent: number(from, "tx_errors")?,
        not_read: number(to, "rx_dropped")?,
        eaten: 4096 * (frames + drops(from.host.name())),
    })
}

/// Something goes wrong. Returns what, for the log.
fn trouble(lab: &Lab, random: &mut Random, ends: &[&End<'_>]) -> Result<&'static str> {
    let host = ["a", "b"][random.below(2) as usize];
    // Not `drop`: nothing tells a reader where a frame has vanished before the end of the session.
    // Not ctl-drop: now and then the core puts a request twice whose answer comes as it times out.
    let what = ["cable", "cable", "crc", "overrun", "irq-lost"];
    let what = what[random.below(what.len() as u64) as usize];
    if what == "cable" {
        unplug(lab)?;
        std::thread::sleep(Duration::from_millis(random.below(500)));
        replug(lab, ends)?;
    } else {
        let rate = ["0.001", "0.02", "0.3"][random.below(3) as usize];
        lab.fault(&format!("set {what} {host} rate={rate}"))?;
        std::thread::sleep(Duration::from_millis(random.below(400)));
        lab.fault(&format!("clear {what}"))?;
    }
    Ok(what)
}

fn soak(seconds: u64, seed: u64, quiet: bool) -> Result<()> {
    println!("soak: SECONDS={seconds} SEED={seed}");
    let mut random = Random(seed);
    let lab = start_with_tool()?;
    let (a1, b1) = pair(&lab, "one", HopIds::Auto)?;
    let (a2, b2) = pair(&lab, "two", HopIds::Auto)?;
    let ends = [&a1, &b1, &a2, &b2];
    let resets = if quiet { 0 } else { seconds.div_ceil(90) };
    for life in 0..=resets {
        if life > 0 {
            reset_peer(&lab, &mut random, ends)?;
        }
        let span = Duration::from_secs(seconds / (resets + 1));
        one_life(&lab, &mut random, ends, span, quiet)?;
    }
    lab.finish()
}

/// From one reset of the peer to the next: the books balance.
fn one_life(
    lab: &Lab,
    random: &mut Random,
    ends: Ends<'_>,
    span: Duration,
    quiet: bool,
) -> Result<()> {
    let mut ways = Way::start_both(lab, random.below(u64::MAX), ends)?;
    let end = Instant::now() + span;
    let mut troubles = std::collections::BTreeMap::new();
    while Instant::now() < end {
        std::thread::sleep(Duration::from_millis(200 + random.below(2000)));
        if !quiet {
            let what = trouble(lab, random, &ends)?;
            *troubles.entry(what).or_insert(0) += 1;
        }
    }
    lab.on_all(|host| host.run("touch /tmp/stop").map(drop))?;
    let mut results = Vec::new();
    for way in &mut ways {
        let (writers, readers) = way.finish()?;
        results.push((writers, readers, way.reported(lab)?));
    }
    println!("soak: troubles: {troubles:?}");
    for (writers, readers, reported) in results {
        let summary = books::check(&writers, &readers, reported)?;
        println!("soak: {summary} {reported:?}");
        if quiet {
            let lost = summary.accepted - summary.delivered.min(summary.accepted);
            ensure!(lost <= reported.not_read, "lost without any trouble");
        }
    }
    Ok(())
}

/// The peer is reset in the middle of sessions. What its programs knew is gone, and with it the books; but what
/// host a's reader got must be right, its programs come to an end, and its streams work with the next peer.
fn reset_peer(lab: &Lab, random: &mut Random, ends: Ends<'_>) -> Result<()> {
    let [mut there, mut back] = Way::start_both(lab, random.below(u64::MAX), ends)?;
    std::thread::sleep(Duration::from_millis(500 + random.below(2000)));
    let b = lab.host("b");
    b.reset()?;
    lab.wait_connected(CONNECT)?;
    lab.host("a").run("touch /tmp/stop")?;
    for name in ["one", "two"] {
        b.create_stream(1, name, HopIds::Auto)?;
    }
    for end in ends {
        wait_ready(end)?;
    }
    back.reader.kill("TERM")?;
    let read = books::parse(&back.reader.wait(LIMIT)?.text())?;
    // Its last session may wait for a reader.
    let mut reader = b.spawn(&read_to_the_last(there.to))?;
    let written = books::parse(&there.writer.wait(LIMIT)?.check()?.text())?;
    say_last(there.from)?;
    reader.wait(LIMIT)?.check()?;
    ensure!(!written.is_empty() && !read.is_empty(), "nothing went on");
    let is_wrong = |line: &Line| matches!(line.ending, books::Ending::Wrong(_));
    ensure!(!read.iter().any(is_wrong), "{read:?}");
    println!(
        "soak: the peer was reset: {} sessions written, {} read",
        written.len(),
        read.len()
    );
    Ok(())
}

#[test]
fn the_books_balance_whatever_happens() -> Result<()> {
    let seed = setting("SOAK_SEED")?.map_or_else(now, Ok)?;
    soak(setting("SOAK_SECONDS")?.unwrap_or(60), seed, false)
}

/// Without trouble from outside nothing is missing that somebody was there to read.
#[test]
fn nothing_is_missing_in_quiet_times() -> Result<()> {
    let seed = setting("SOAK_SEED")?.map_or_else(now, Ok)?;
    soak(setting("SOAK_SECONDS")?.unwrap_or(60) / 3, seed, true)
}

fn now() -> Result<u64> {
    Ok(SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs())
}
