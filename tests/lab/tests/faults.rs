// SPDX-License-Identifier: MIT OR Apache-2.0

//! The fault matrix: whatever goes wrong, while whatever goes on, with our module or the one in C at
//! the other end. In each cell every byte that arrives is right, an end of file means that all
//! arrived, nobody is left hanging, and files that are opened afterwards work.
//!
//! `make faults` runs all cells (`FAULTS=all`) and prints a table; without it a subset runs. `FAULTS`
//! may also be a word that names of cells must contain.

mod books;
mod matrix {
    pub(crate) mod activity;
    pub(crate) mod trouble;
}
mod product;

use anyhow::{Context as _, Result, bail, ensure};
use books::{Ending, Line};
use lab::stream::{End, HopIds};
use lab::{Driver, Job, Lab};
use matrix::activity::Activity;
use matrix::trouble::{Trouble, pull};
use product::{CONNECT, builder, load, ours, usual_faults, wait_ready, with_tool};
use std::time::{Duration, Instant};

/// A call that is blocked when the trouble is over comes back within this time, or after a signal.
const PATIENCE: Duration = Duration::from_secs(5);

struct Cell {
    trouble: Trouble,
    activity: Activity,
    rust_peer: bool,
}

impl Cell {
    fn name(&self) -> String {
        let peer = if self.rust_peer { "Rust" } else { "C" };
        format!("{} {:?} {peer}", self.trouble.name(), self.activity)
    }

    /// The cells to run: all, those with a word in their names, or one for each trouble and one for
    /// each activity.
    fn selected() -> Vec<Self> {
        let wanted = std::env::var("FAULTS").ok();
        let mut cells = Vec::new();
        for rust_peer in [true, false] {
            for (row, trouble) in Trouble::all().into_iter().enumerate() {
                for (column, activity) in Activity::ALL.into_iter().enumerate() {
                    let cell = Self {
                        trouble: trouble.clone(),
                        activity,
                        rust_peer,
                    };
                    let takes_part = match wanted.as_deref() {
                        Some("all") => true,
                        Some(word) => cell.name().contains(word),
                        None => rust_peer && row % Activity::ALL.len() == column,
                    };
                    if takes_part {
                        cells.push(cell);
                    }
                }
            }
        }
        cells
    }

    fn start_lab(&self) -> Result<Lab> {
        let peer = if self.rust_peer { ours()? } else { Driver::C };
        let builder = builder()?.driver(ours()?).driver_on("b", peer).net();
        let lab = with_tool(builder)?.start()?;
        // Faults of the emulator make the core itself complain; of its own, not of our functions.
        lab.allow_log("nhi_|tb_ring_|ring_interrupt|thunderbolt_net|tb_cfg_|tb_domain");
        usual_faults(&lab)?;
        lab.wait_connected(CONNECT)?;
        Ok(lab)
    }

    fn run(&self, lab: &Lab, seed: u64) -> Result<String> {
        let (a, b) = streams(lab)?;
        let mut jobs = self.activity.start((&a, &b), seed)?;
        std::thread::sleep(Duration::from_millis(300));
        self.trouble.happen(lab, self.removable())?;
        let mut said = Vec::new();
        for job in &mut jobs {
            if self.trouble.kills_peer() && job_is_gone(job) {
                continue;
            }
            said.push(end_of(job)?);
        }
        self.check(&said)?;
        if self.activity == Activity::Unloading {
            reload(lab)?;
        }
        let begin = Instant::now();
        let failed = self.recover(lab)?;
        let waited = begin.elapsed().as_millis();
        let said: Vec<_> = said.iter().map(words).collect();
        let mut row = vec![said.join(" + "), format!("works again after {waited} ms")];
        row.extend(failed.iter().map(|why| format!("before: {why}")));
        Ok(row.join("; "))
    }

    /// The hosts whose interfaces can be removed. The driver in C does not survive it (A-08), and without
    /// our module the core leaves the peer's device behind (`Documentation/robustness.rst`), which it
    /// gets over by luck, on the own kernel.
    fn removable(&self) -> &'static [&'static str] {
        match (self.rust_peer, self.activity) {
            (true, Activity::Unloading) => &["b"],
            (true, _) => &["a", "b"],
            (false, _) => &["a"],
        }
    }

    /// What must be right in the books, whatever has happened. The C driver hands out what is
    /// damaged and keeps quiet about what is missing (A-05, A-03): its readers are not judged.
    fn check(&self, said: &[Said]) -> Result<()> {
        let lines = || said.iter().flat_map(|said| &said.lines);
        for reader in lines().filter(|line| !line.is_writer) {
            let from_peer = self.rust_peer || self.activity == Activity::Reading;
            if !from_peer {
                continue;
            }
            // Frames have no numbers: that one has vanished is noticed at the end of the session, by
            // its size. Until then the reader gets what follows the gap.
            let gap = self.trouble.name() == "drop";
            let wrong = matches!(reader.ending, Ending::Wrong(_));
            ensure!(gap || !wrong, "{reader:?}");
            let writer = lines().find(|it| it.is_writer && it.session == reader.session);
            if let (Some(writer), Ending::End) = (writer, reader.ending)
                && self.rust_peer
            {
                ensure!(
                    reader.bytes >= writer.bytes,
                    "end of file too early: {reader:?} of {writer:?}"
                );
            }
        }
        Ok(())
    }

    /// Fresh files work, without a reload: what was in the way the first times.
    fn recover(&self, lab: &Lab) -> Result<Vec<String>> {
        let mut failed = Vec::new();
        while failed.len() < 3 {
            match self.try_again(lab) {
                Ok(()) => return Ok(failed),
                Err(error) => failed.push(format!("{error:#}").replace('\n', " ")),
            }
            if self.tunnel_may_leak() {
                pull(lab)?;
            }
        }
        bail!("not usable again: {}", failed.join("; "))
    }

    /// The C driver keeps the paths of a stream whose service goes while it is open, and cannot open it
    /// again (A-06) until the core takes them down, which it does when the cable is pulled.
    fn tunnel_may_leak(&self) -> bool {
        !self.rust_peer && self.activity == Activity::Unloading
    }

    fn try_again(&self, lab: &Lab) -> Result<()> {
        let (a, b) = streams(lab)?;
        // Sessions that nobody has read wait for who reads next, one after the other. Damage may have left
        // nothing of one but its end, so that only a reader who finds none shows that all were read.
        lab.on_all(|host| {
            let drain = "for d in /dev/tbstream*; do for i in $(seq 20); do \
                         timeout 1 cat $d > /dev/null; case $? in 124|143) break; esac; done; done";
            host.run(drain).map(drop)
        })?;
        lab.transfer(&a, &b, 100_000)?;
        lab.transfer(&b, &a, 100_000)
    }
}

/// The stream of all cells, made where it is not there.
fn streams(lab: &Lab) -> Result<(End<'_>, End<'_>)> {
    let make = |host: &str| lab.host(host).create_stream(1, "data", HopIds::Auto);
    let there = |host: &str| -> Result<Option<End<'_>>> {
        let dir = lab
            .host(host)
            .run("ls -d /sys/kernel/config/thunderbolt/stream/*/data 2>/dev/null; true")?;
        if dir.is_empty() {
            return Ok(None);
        }
        let index = lab.host(host).run(&format!("cat {dir}/index"))?;
        Ok(Some(End {
            host: lab.host(host),
            device: format!("/dev/tbstream{index}"),
            dir,
        }))
    };
    let mut ends = Vec::new();
    for host in ["a", "b"] {
        ends.push(there(host)?.map_or_else(|| make(host), Ok)?);
    }
    for end in &ends {
        wait_ready(end)?;
    }
    let b = ends.pop().context("two ends")?;
    Ok((ends.pop().context("two ends")?, b))
}

/// Loads our module on host a, unless it could not be unloaded.
fn reload(lab: &Lab) -> Result<()> {
    let a = lab.host("a");
    if a.run("lsmod")?.contains("thunderbolt_stream") {
        return Ok(());
    }
    load(a)
}

/// What a job has said, and whether a signal was needed.
struct Said {
    lines: Vec<Line>,
    interrupted: bool,
}

fn end_of(job: &mut Job<'_>) -> Result<Said> {
    let mut interrupted = false;
    if job.wait(PATIENCE).is_err() {
        interrupted = true;
        job.kill("TERM").context("a call cannot be interrupted")?;
    }
    let text = job.wait(PATIENCE)?.text();
    Ok(Said {
        lines: books::parse(&text)?,
        interrupted,
    })
}

fn job_is_gone(job: &mut Job<'_>) -> bool {
    job.running().is_err()
}

fn words(said: &Said) -> String {
    let lines = said.lines.iter().map(|line| {
        let kind = if line.is_writer { "w" } else { "r" };
        format!("{kind} {} {}", line.bytes, line.ending)
    });
    let mut all: Vec<_> = lines.collect();
    all.dedup();
    if said.interrupted {
        all.push("interrupted".into());
    }
    all.join(", ")
}

#[test]
fn whatever_goes_wrong() -> Result<()> {
    let cells = Cell::selected();
    ensure!(!cells.is_empty(), "FAULTS names no cell");
    let mut lab: Option<(bool, Lab)> = None;
    let mut failed = Vec::new();
    for (seed, cell) in cells.iter().enumerate() {
        if lab.as_ref().is_none_or(|(peer, _)| *peer != cell.rust_peer) {
            if let Some((_, lab)) = lab.take() {
                lab.finish()?;
            }
            lab = Some((cell.rust_peer, cell.start_lab()?));
        }
        let Some((_, running)) = &lab else {
            bail!("there is a lab")
        };
        let outcome = cell.run(running, seed as u64);
        let problems = running.problems();
        match outcome {
            Ok(said) if problems.is_empty() => println!("| {} | {said} |", cell.name()),
            outcome => {
                let why = outcome.unwrap_or_else(|error| format!("{error:#}"));
                println!("| {} | FAILED: {why} {problems:?} |", cell.name());
                failed.push(cell.name());
                // The next cell begins with hosts of its own.
                drop(std::panic::catch_unwind(std::panic::AssertUnwindSafe(
                    || {
                        drop(lab.take());
                    },
                )));
            }
        }
    }
    if let Some((_, lab)) = lab.take() {
        lab.finish()?;
    }
    ensure!(
        failed.is_empty(),
        "{} cells of {}: {failed:?}",
        failed.len(),
        cells.len()
    );
    println!("{} cells", cells.len());
    Ok(())
}
