// SPDX-License-Identifier: MIT OR Apache-2.0

//! The columns of the matrix: what goes on meanwhile.

use crate::product::{TOOL, UNLOAD};
use anyhow::Result;
use lab::Job;
use lab::stream::{End, STREAMS};

/// What goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Activity {
    Idle,
    Reading,
    Writing,
    Both,
    Opening,
    Closing,
    Directories,
    Unloading,
    BesideNet,
}

/// What each session of a cell carries: too much for rings, so that there is always somebody at it.
const BYTES: u64 = 6_000_000;

impl Activity {
    pub(crate) const ALL: [Self; 9] = [
        Self::Idle,
        Self::Reading,
        Self::Writing,
        Self::Both,
        Self::Opening,
        Self::Closing,
        Self::Directories,
        Self::Unloading,
        Self::BesideNet,
    ];

    /// The commands at ours (host a) and at its peer (host b). Their lines are for the books.
    fn commands(self, (a, b): (&End<'_>, &End<'_>), seed: u64) -> (Vec<String>, Vec<String>) {
        let to_end = u64::MAX;
        let write = |end: &End<'_>, session| {
            format!("{TOOL} write {} {seed} {session} {BYTES}", end.device)
        };
        let read = |end: &End<'_>| format!("{TOOL} read {} {seed} {to_end}", end.device);
        let hold = |end: &End<'_>| format!("exec 3<>{}; sleep 2", end.device);
        match self {
            Self::Idle => (vec![hold(a)], vec![hold(b)]),
            Self::Reading => (vec![read(a)], vec![write(b, 1)]),
            Self::Writing => (vec![write(a, 1)], vec![read(b)]),
            Self::Both => (vec![read(a), write(a, 1)], vec![read(b), write(b, 2)]),
            Self::BesideNet => {
                let net = |own, other| {
                    format!(
                        "ip addr replace 10.0.0.{own}/24 dev thunderbolt0; ip link set thunderbolt0 up; \
                         ping -c 3 -s 9000 -W 1 10.0.0.{other} > /dev/null; ip link set thunderbolt0 down"
                    )
                };
                (vec![net(1, 2), write(a, 1)], vec![net(2, 1), read(b)])
            }
            Self::Opening => {
                let many = format!(
                    "for i in 1 2 3 4 5 6 7 8 9; do {TOOL} write {} {seed} $i 5000; done",
                    a.device
                );
                (
                    vec![many],
                    vec![format!("for i in 1 2 3; do {}; done", read(b))],
                )
            }
            // Less than a ring, which nobody empties before the trouble is over.
            Self::Closing => (
                vec![format!("{TOOL} write {} {seed} 1 800000", a.device)],
                vec![format!("sleep 1; {}", read(b))],
            ),
            Self::Directories => {
                let made = format!(
                    "d={STREAMS}/$(basename $(dirname {}))/more; for i in 1 2 3 4 5 6 7 8; do \
                     mkdir $d && echo -1 > $d/in_hopid; sleep 0.1; rmdir $d; done 2>/dev/null; true",
                    a.dir
                );
                (vec![made, write(a, 1)], vec![read(b)])
            }
            Self::Unloading => {
                let unload = format!("sleep 0.3; {UNLOAD} || {{ sleep 3; {UNLOAD}; }}");
                (vec![unload, write(a, 1)], vec![read(b)])
            }
        }
    }

    /// Starts it.
    pub(crate) fn start<'a>(self, ends: (&End<'a>, &End<'a>), seed: u64) -> Result<Vec<Job<'a>>> {
        let (ours, theirs) = self.commands(ends, seed);
        let theirs = theirs.iter().map(|command| ends.1.host.spawn(command));
        let mut jobs: Vec<_> = theirs.collect::<Result<_>>()?;
        for command in &ours {
            jobs.push(ends.0.host.spawn(command)?);
        }
        Ok(jobs)
    }
}
