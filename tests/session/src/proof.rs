// SPDX-License-Identifier: GPL-2.0

//! The explorations, within bounds that take seconds.

use super::explore::notation::line;
use super::explore::search;
use super::explore::Config;
use super::explore::Kind;
use super::explore::Report;
use super::explore::Side;
use super::stream::session::Access;
use super::stream::session::PeerKind;

pub(super) const R: Access = Access {
    read: true,
    write: false,
};
pub(super) const W: Access = Access {
    read: false,
    write: true,
};
pub(super) const RW: Access = Access {
    read: true,
    write: true,
};

const MARKS: Kind = Kind::Rust(PeerKind::Marks);
const UNKNOWN: Kind = Kind::Rust(PeerKind::Legacy);

const fn side(kind: Kind, modes: &'static [Access], opens: u8, files: usize, writes: u8) -> Side {
    Side {
        kind,
        modes,
        opens,
        files,
        writes,
    }
}

const fn quiet(sides: [Side; 2]) -> Config {
    Config {
        sides,
        sizes: &[1],
        tx: 2,
        rx: 2,
        late: false,
        damages: 0,
        losses: 0,
        pulls: 0,
        kills: 0,
    }
}

/// Every exploration, by name.
pub(super) fn explorations() -> Vec<(&'static str, Config)> {
    vec![
        (
            "one way",
            quiet([side(MARKS, &[W], 3, 2, 3), side(MARKS, &[R], 3, 2, 0)]),
        ),
        (
            "conversations",
            quiet([side(MARKS, &[RW], 2, 2, 2), side(MARKS, &[RW], 2, 2, 2)]),
        ),
        (
            "all modes",
            quiet([
                side(MARKS, &[R, W, RW], 2, 2, 1),
                side(MARKS, &[R, W, RW], 2, 2, 1),
            ]),
        ),
        (
            "partial reads",
            Config {
                sizes: &[1, 2],
                tx: 3,
                ..quiet([side(MARKS, &[W], 2, 1, 3), side(MARKS, &[R, RW], 3, 2, 0)])
            },
        ),
        (
            "late close",
            Config {
                late: true,
                tx: 3,
                ..quiet([side(MARKS, &[W], 3, 1, 3), side(MARKS, &[R], 2, 1, 0)])
            },
        ),
        (
            "late close, conversations",
            Config {
                late: true,
                ..quiet([side(MARKS, &[RW], 2, 1, 1), side(MARKS, &[RW], 2, 1, 1)])
            },
        ),
        (
            "late close to C",
            Config {
                late: true,
                tx: 3,
                ..quiet([
                    side(UNKNOWN, &[W, R], 2, 1, 2),
                    side(Kind::C, &[R, W], 2, 1, 1),
                ])
            },
        ),
        (
            "damage",
            Config {
                damages: 2,
                ..quiet([side(MARKS, &[W], 3, 1, 2), side(MARKS, &[R], 3, 1, 0)])
            },
        ),
        (
            "damage both ways",
            Config {
                damages: 1,
                ..quiet([side(MARKS, &[RW], 2, 1, 1), side(MARKS, &[R, W], 2, 1, 1)])
            },
        ),
        (
            "damaged stop",
            Config {
                damages: 1,
                ..quiet([side(MARKS, &[R, W], 3, 2, 1), side(MARKS, &[R, W], 2, 2, 2)])
            },
        ),
        (
            "damaged stop between sessions",
            Config {
                damages: 1,
                ..quiet([side(MARKS, &[R, W], 3, 1, 2), side(MARKS, &[R, W], 3, 1, 2)])
            },
        ),
        (
            "lost frames",
            Config {
                losses: 2,
                ..quiet([side(MARKS, &[W], 3, 1, 3), side(MARKS, &[R], 3, 1, 0)])
            },
        ),
        (
            "cable pulled",
            Config {
                pulls: 2,
                ..quiet([
                    side(MARKS, &[W, RW], 2, 1, 1),
                    side(MARKS, &[R, RW], 2, 1, 1),
                ])
            },
        ),
        (
            "killed writers",
            Config {
                kills: 2,
                ..quiet([side(MARKS, &[W, RW], 3, 2, 1), side(MARKS, &[R], 2, 1, 0)])
            },
        ),
        (
            "killed writers, late close",
            Config {
                kills: 2,
                late: true,
                tx: 3,
                ..quiet([side(MARKS, &[W], 3, 1, 2), side(MARKS, &[R], 2, 1, 0)])
            },
        ),
        (
            "killed writers, unknown peers",
            Config {
                kills: 1,
                ..quiet([
                    side(UNKNOWN, &[W, RW], 2, 2, 1),
                    side(UNKNOWN, &[R], 2, 1, 0),
                ])
            },
        ),
        (
            "unknown peers",
            quiet([
                side(UNKNOWN, &[W, RW], 2, 2, 2),
                side(UNKNOWN, &[R, W], 2, 2, 1),
            ]),
        ),
        (
            "one unknown",
            quiet([
                side(MARKS, &[W, RW], 2, 2, 2),
                side(UNKNOWN, &[R, W], 2, 2, 1),
            ]),
        ),
        (
            "C reads",
            quiet([side(UNKNOWN, &[W], 3, 2, 3), side(Kind::C, &[R], 3, 2, 0)]),
        ),
        (
            "C writes",
            quiet([side(UNKNOWN, &[R], 3, 2, 0), side(Kind::C, &[W], 3, 2, 3)]),
        ),
        (
            "C both",
            quiet([
                side(UNKNOWN, &[R, W, RW], 2, 2, 1),
                side(Kind::C, &[R, W, RW], 2, 1, 1),
            ]),
        ),
    ]
}

/// Demands that the exploration `name` finds nothing, within its bounds.
pub(super) fn must_hold(name: &str) {
    let report = run(name);
    assert!(report.violation.is_none(), "{name}: see above");
}

/// Demands that the exploration `name` finds the bug that was planted into the sources.
#[allow(dead_code, reason = "for the copies with a bug")]
pub(super) fn must_find(bug: &str, name: &str) {
    let report = run(name);
    assert!(report.violation.is_some(), "{bug}: not found by {name}");
}

fn run(name: &str) -> Report {
    let all = explorations();
    let Some((_, config)) = all.iter().find(|(other, _)| *other == name) else {
        panic!("no exploration {name}");
    };
    let report = search(config);
    print(name, &report);
    report
}

/// Prints what a search has seen, so that a shrinking state space is noticed.
pub(super) fn print(name: &str, report: &Report) {
    println!(
        "{name}: {} states, {} steps, depth {}",
        report.states, report.steps, report.depth
    );
    if let Some((path, text)) = &report.violation {
        println!("  {text} after {}", line(path));
    }
}
