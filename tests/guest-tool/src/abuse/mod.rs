// SPDX-License-Identifier: MIT OR Apache-2.0

//! A user without manners: system calls at random on all streams and their directories, from several
//! threads, with memory of every kind. The module must stay as it is, errors must be documented ones,
//! and nobody may hang.

mod arena;
mod call;
mod child;
mod device;
mod late;
mod ring;
mod tally;
mod tree;
mod watch;
mod worker;

use crate::random::Random;
use arena::{Arena, PART, memory_file};
use late::Late;
use std::fs::File;
use std::io;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};
use tally::Tally;
use watch::Watch;
use worker::{Common, Worker};

/// Threads; every third one works on directories.
const THREADS: usize = 6;

/// What to do for how long.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Brings the same calls back, as far as threads allow.
    #[arg(long)]
    seed: u64,
    #[arg(long)]
    seconds: u64,
    /// Directory of the peer's service.
    #[arg(long, default_value = "0-1.0")]
    link: String,
    /// Nobody may be in a call for longer, in seconds; signals come after a fraction of one.
    #[arg(long, default_value_t = 60)]
    limit: u64,
}

/// Abuses, removes all directories, and says what was called.
///
/// # Errors
/// An errno that is not documented, or a thread that does not come back.
pub(crate) fn run(args: &Args) -> io::Result<String> {
    watch::install()?;
    let file = memory_file()?;
    let arenas: Vec<_> = (0..THREADS)
        .map(|_| Arena::new(&file))
        .collect::<io::Result<_>>()?;
    let late = Late::new(arenas.iter().map(Arena::late).collect());
    let faults = late.as_ref().map_or_else(
        |error| format!("no userfaultfd: {error}"),
        |_| "with userfaultfd".into(),
    );
    let common = Common {
        watch: Watch::new(THREADS),
        stop: AtomicBool::new(false),
        link: args.link.clone(),
        files: Mutex::default(),
    };
    let tally = thread::scope(|scope| -> io::Result<Tally> {
        let common = &common;
        if let Ok(late) = late {
            scope.spawn(move || late.run(Random::new(args.seed), &common.stop));
        }
        scope.spawn(|| shorten(&file, Random::new(!args.seed), &common.stop));
        let mut workers = Vec::new();
        for (slot, arena) in arenas.into_iter().enumerate() {
            let worker = Worker::new(common, slot, args.seed, arena)?;
            workers.push(scope.spawn(move || worker.run()));
        }
        let end = Instant::now() + Duration::from_secs(args.seconds);
        while !workers.iter().all(thread::ScopedJoinHandle::is_finished) {
            if Instant::now() >= end {
                common.stop.store(true, Ordering::Relaxed);
            }
            guard(common, args.limit);
            sleep(Duration::from_millis(20));
        }
        let mut all = Tally::default();
        for worker in workers {
            let tally = worker
                .join()
                .map_err(|_| io::Error::other("a thread panicked"))?;
            all.add(&tally?);
        }
        Ok(all)
    })?;
    drop(common);
    tree::clean_up()?;
    print!("{tally}");
    let wrong = tally.undocumented();
    if !wrong.is_empty() {
        return Err(io::Error::other(format!("not documented: {wrong:?}")));
    }
    Ok(format!(
        "abuse: seed {}, {} s, {THREADS} threads, {} calls, {} bytes, {faults}",
        args.seed,
        args.seconds,
        tally.calls(),
        tally.bytes()
    ))
}

/// Ends the process if somebody hangs: a thread that does not come back cannot be joined.
fn guard(common: &Common, limit: u64) {
    if let Err(report) = common.watch.look(limit * 1000) {
        eprintln!("guest-tool: {report}");
        std::process::exit(2);
    }
}

/// Takes pages away under everybody's feet, and gives them back.
fn shorten(file: &File, mut random: Random, stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        let length = random.below(PART as u64 + 1);
        let _ = file.set_len(length);
        sleep(Duration::from_millis(random.below(40)));
        let _ = file.set_len(PART as u64);
        sleep(Duration::from_millis(random.below(100)));
    }
}
