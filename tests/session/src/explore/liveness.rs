// SPDX-License-Identifier: GPL-2.0

//! From every state: if both ends go on reading and closing, everything comes to an end, everybody
//! learns what he has to learn, and every byte has found its reader.

use super::super::stream::session::Access;
use super::super::stream::session::Error;
use super::super::stream::session::PeerKind;
use super::super::stream::session::WriteState;
use super::ghost::Ghost;
use super::world::End;
use super::world::World;
use super::Config;

const READ: Access = Access {
    read: true,
    write: false,
};
const WRITE: Access = Access {
    read: false,
    write: true,
};

/// More sessions than `config` can start.
fn sweeps(config: &Config) -> usize {
    let opens: usize = config
        .sides
        .iter()
        .map(|side| usize::from(side.opens))
        .sum();
    2 * opens + 8
}

/// More exchanges than any state has frames, on the way or due.
fn rounds(config: &Config) -> usize {
    sweeps(config) + 4 * (config.tx + config.rx)
}

/// Checks all of it, in a copy of `world`.
pub(super) fn check(world: &World, config: &Config) -> Result<(), String> {
    let mut world = world.clone();
    world.send_closes(config.tx)?;
    let pulled = config.pulls > 0;
    settle_down(&mut world, config)?;
    for end in 0..2 {
        check_files(&world, end, pulled)?;
        // Frames that vanish may be noticed a session later only, and a C peer counts nothing.
        if config.only_rust() && config.losses == 0 {
            check_missed(&world, end)?;
        }
    }
    close_all(&mut world, config)?;
    if !world.plugged {
        world.plug(config)?;
    }
    for _ in 0..sweeps(config) {
        let first = read_one_session(&mut world, 0, config)?;
        if !read_one_session(&mut world, 1, config)? && !first {
            return check_rest(&mut world, config, pulled);
        }
    }
    Err("readers find ever new sessions".into())
}

/// Delivers and reads all that can be, without opening or closing a file.
fn settle_down(world: &mut World, config: &Config) -> Result<(), String> {
    for _ in 0..rounds(config) {
        let mut changed = false;
        for end in 0..2 {
            if world.may_deliver(end, config) {
                world.deliver(end, false)?;
                world.send_closes(config.tx)?;
                changed = true;
            }
            if matches!(&world.ends[end], End::Rust(rust) if rust.session.flush_wanted()) {
                world.flush(end);
                world.send_closes(config.tx)?;
                changed = true;
            }
            for place in 0..config.sides[end].files {
                while world.read(end, place, u32::MAX, config)? {
                    world.send_closes(config.tx)?;
                    changed = true;
                }
            }
        }
        if !changed {
            return Ok(());
        }
    }
    Err("frames go to and fro for ever".into())
}

/// Nothing is under way any more: whoever still waits must have somebody to wait for.
fn check_files(world: &World, end: usize, pulled: bool) -> Result<(), String> {
    let End::Rust(rust) = &world.ends[end] else {
        return Ok(());
    };
    let incoming = &world.ghosts[1 - end];
    let damaged = world.ghosts.iter().any(Ghost::damaged);
    let quiet = world.wire[1 - end].is_empty();
    let data = rust.has_data();
    for file in rust.files.iter().flatten() {
        let poll = rust.session.poll(&file.token, data, true);
        let dead = poll.hangup;
        if file.access.read && dead && !poll.readable {
            return Err("reader of a dead connection hangs".into());
        }
        let own = file.own.and_then(|own| incoming.epochs.get(&own));
        let writers = writers_of(world, 1 - end, file.own);
        let over = own.is_some_and(|own| (own.sealed || !writers) && !own.close_lost);
        if over && quiet && !dead && !damaged && !poll.end {
            return Err(format!("reader of session {:?} hangs at its end", file.own));
        }
        if !file.access.write || dead || pulled || damaged || !quiet {
            continue;
        }
        let write = rust.session.write(&file.token);
        let Some(mine) = world.ghosts[end].epochs.get(&file.token.outbound) else {
            continue;
        };
        let gone = match &world.ends[1 - end] {
            End::Rust(peer) => {
                peer.session.peer() == PeerKind::Marks
                    && (mine.abandoned
                        || (file.access.read && own.is_some_and(|own| own.duplex && own.sealed)))
            }
            End::C(c) => {
                let heard = !incoming.close_lost();
                !c.is_open() && c.period > 0 && mine.c_closed && heard && mine.accepted > 0
            }
        };
        if gone && write != WriteState::Error(Error::Pipe) {
            return Err(format!("writer is told {write:?}, its reader is gone"));
        }
    }
    Ok(())
}

/// Nobody waits for a session that came whole and was dropped.
fn check_missed(world: &World, end: usize) -> Result<(), String> {
    let End::Rust(rust) = &world.ends[end] else {
        return Ok(());
    };
    let incoming = &world.ghosts[1 - end];
    for file in rust.files.iter().flatten().filter(|file| !file.told) {
        let Some(number) = file.missed.filter(|number| incoming.whole(*number)) else {
            continue;
        };
        if world.wire[1 - end].is_empty() && !rust.session.poll(&file.token, false, true).readable {
            return Err(format!("reader waits, but session {number} was dropped"));
        }
    }
    Ok(())
}

/// Is there a file that keeps session `number` of end `end` open?
fn writers_of(world: &World, end: usize, number: Option<u64>) -> bool {
    match &world.ends[end] {
        End::Rust(rust) => {
            let all = rust.session.peer() == PeerKind::Legacy;
            let mut files = rust.files.iter().flatten();
            files.any(|file| (all || file.access.write) && Some(file.token.outbound) == number)
        }
        End::C(c) => c.is_open() && Some(c.period) == number,
    }
}

/// Closes all files, writers first.
fn close_all(world: &mut World, config: &Config) -> Result<(), String> {
    for writers in [true, false] {
        for end in 0..2 {
            for place in 0..config.sides[end].files {
                let writes = match &world.ends[end] {
                    End::Rust(rust) => rust.files[place].as_ref().map(|file| file.access.write),
                    End::C(c) => c.files[place].as_ref().map(|file| file.access.write),
                };
                if writes == Some(writers) {
                    world.close(end, place, config)?;
                    world.send_closes(config.tx)?;
                    settle_down(world, config)?;
                }
            }
        }
    }
    Ok(())
}

/// Opens for reading, reads all there is, closes. Returns whether there was a session.
fn read_one_session(world: &mut World, end: usize, config: &Config) -> Result<bool, String> {
    world.open(end, READ)?;
    world.send_closes(config.tx)?;
    settle_down(world, config)?;
    let found = match &world.ends[end] {
        End::Rust(rust) => rust
            .files
            .iter()
            .flatten()
            .any(|file| file.ended || file.told),
        End::C(c) => c.closed,
    };
    world.close(end, 0, config)?;
    world.send_closes(config.tx)?;
    settle_down(world, config)?;
    Ok(found)
}

/// All is read and closed: nothing is left, nothing was lost, and the next session can begin.
fn check_rest(world: &mut World, config: &Config, pulled: bool) -> Result<(), String> {
    for end in 0..2 {
        let lost = world.ghosts.iter().any(Ghost::close_lost);
        let damaged = world.ghosts.iter().any(Ghost::damaged);
        for (number, epoch) in &world.ghosts[end].epochs {
            let excused = epoch.abandoned || damaged || epoch.c_closed || pulled || lost;
            if epoch.taken != epoch.accepted && !excused {
                return Err(format!(
                    "session {number}: {} of {} bytes read in the end",
                    epoch.taken, epoch.accepted
                ));
            }
        }
        if lost {
            continue;
        }
        if config.only_rust() && !world.wire[end].is_empty() {
            return Err(format!("left on the cable: {:?}", world.wire[end]));
        }
        let End::Rust(rust) = &world.ends[end] else {
            continue;
        };
        if rust.session.close_due() || (rust.session.discarding() && !damaged) {
            return Err("not at rest".into());
        }
        if !rust.rx.is_empty() {
            return Err(format!("left in the ring: {:?}", rust.rx));
        }
        if config.only_rust() && !damaged && !rust.session.at_rest() {
            return Err("at rest, but does not say so".into());
        }
        world.open(end, WRITE)?;
        if let End::Rust(rust) = &world.ends[end] {
            let state = rust.files[0]
                .as_ref()
                .map(|file| rust.session.write(&file.token));
            if state != Some(WriteState::Go) {
                return Err(format!("a fresh writer is told {state:?}"));
            }
        }
    }
    Ok(())
}
