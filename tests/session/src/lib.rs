// SPDX-License-Identifier: GPL-2.0

//! The protocol of a stream, compiled from the files of the module, and its proof.

#[path = "../../../stream"]
#[allow(dead_code, reason = "the module uses all of it, a test does not")]
#[rustfmt::skip]
mod stream {
    pub(crate) mod close;
    pub(crate) mod session;
}

#[cfg(test)]
mod explore;
#[cfg(test)]
mod hostile;
#[cfg(test)]
mod proof;
#[cfg(test)]
mod random;
#[cfg(test)]
mod unit;

/// The explorer against sources with one bug each.
#[cfg(test)]
#[allow(clippy::duplicate_mod, reason = "the same explorer for each")]
mod planted {
    include!(concat!(env!("OUT_DIR"), "/planted.rs"));
}

#[cfg(test)]
mod tests {
    use super::proof::must_hold;

    macro_rules! explorations {
        ($($test:ident: $name:literal,)*) => {$(
            #[test]
            fn $test() {
                must_hold($name);
            }
        )*};
    }

    explorations! {
        one_way: "one way",
        conversations: "conversations",
        all_modes: "all modes",
        partial_reads: "partial reads",
        late_close: "late close",
        late_close_conversations: "late close, conversations",
        late_close_to_c: "late close to C",
        damage: "damage",
        damage_both_ways: "damage both ways",
        damaged_stop: "damaged stop",
        damaged_stop_between_sessions: "damaged stop between sessions",
        killed_writers: "killed writers",
        killed_writers_late_close: "killed writers, late close",
        killed_writers_unknown_peers: "killed writers, unknown peers",
        lost_frames: "lost frames",
        cable_pulled: "cable pulled",
        unknown_peers: "unknown peers",
        one_unknown: "one unknown",
        c_reads: "C reads",
        c_writes: "C writes",
        c_both: "C both",
    }
}
