// SPDX-License-Identifier: GPL-2.0

//! What really happened, kept beside the protocol and never shown to it.

use std::collections::BTreeMap;

/// A frame on the cable or in an RX ring, with where it comes from.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Item<F> {
    pub(super) frame: F,
    /// The writing session: number of a Rust end, open period of a C end.
    pub(super) epoch: u64,
    /// First byte of the frame within its session.
    pub(super) offset: u64,
    /// Bytes of a DATA frame that are not read yet.
    pub(super) len: u32,
    /// It ends `epoch`.
    pub(super) end: bool,
    /// The connection it was sent on: how often the cable could still be pulled then.
    pub(super) connection: u8,
}

/// One session of writers, as seen from outside.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Epoch {
    /// Bytes accepted from its files.
    pub(super) accepted: u64,
    /// The next byte its readers must get.
    pub(super) taken: u64,
    /// A byte before that was never read.
    pub(super) gap: bool,
    /// Those who read it: connection and session as the reading end counts them.
    pub(super) group: Option<(u64, u64)>,
    /// All who had begun to read it have closed.
    pub(super) abandoned: bool,
    /// Its mark was queued for sending.
    pub(super) sealed: bool,
    /// A file that only writes was opened in it, or bytes were accepted.
    pub(super) used: bool,
    /// A file for both was opened in it.
    pub(super) duplex: bool,
    /// A writer of it was killed.
    pub(super) cut: bool,
    /// A frame of it, or its mark, was damaged or cut off by a pulled cable.
    pub(super) damaged: bool,
    /// A DATA frame of it vanished: its readers cannot know before its end.
    pub(super) data_lost: bool,
    /// Its mark vanished: its readers cannot know before the end of the next session.
    pub(super) mark_lost: bool,
    /// The C end closed while it was under way, so that the C driver's defects apply.
    pub(super) c_closed: bool,
    /// Of a C end: it had read our CLOSE, so that its own is an answer.
    pub(super) answer: bool,
    /// Of a C end: its CLOSE found no slot and was never sent.
    pub(super) close_lost: bool,
}

/// The sessions of one writing end.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Ghost {
    pub(super) epochs: BTreeMap<u64, Epoch>,
    /// Of a C end: it closed while a CLOSE of ours was under way to it, or the other way round. Its
    /// next period may find that CLOSE, and ours the answer.
    pub(super) crossed: bool,
    /// A CLOSE was damaged that ended none of its sessions.
    pub(super) stop_damaged: bool,
}

impl Ghost {
    pub(super) fn epoch(&mut self, number: u64) -> &mut Epoch {
        self.epochs.entry(number).or_default()
    }

    /// A C end did not send one of its CLOSE frames: what it sent before and after is one session.
    pub(super) fn close_lost(&self) -> bool {
        self.epochs.values().any(|epoch| epoch.close_lost)
    }

    /// The first mark of the connection vanished and data with it. Nobody has told the reader a
    /// number before, so only the byte count can show it, and that may happen to fit.
    pub(super) fn first_mark_lost(&self) -> bool {
        let first = self.epochs.get(&1).is_some_and(|epoch| epoch.mark_lost);
        first && self.epochs.values().any(|epoch| epoch.data_lost)
    }

    /// Whether readers who have read of `own`, if that is known, may be told that a writer was killed.
    pub(super) fn cut(&self, own: Option<u64>) -> bool {
        self.epochs
            .iter()
            .any(|(number, epoch)| epoch.cut && own.is_none_or(|own| own == *number))
    }

    /// A frame was damaged, here or in another session.
    pub(super) fn damaged(&self) -> bool {
        self.stop_damaged || self.epochs.values().any(|epoch| epoch.damaged)
    }

    /// Nothing happened to it on the way, and nobody has begun to read it.
    pub(super) fn untouched(&self, number: u64) -> bool {
        let epoch = self.epochs.get(&number);
        epoch.is_some_and(|epoch| !epoch.damaged && !epoch.abandoned && epoch.taken == 0)
    }

    /// [`Ghost::untouched`] up to its mark.
    pub(super) fn whole(&self, number: u64) -> bool {
        self.untouched(number) && self.epochs.get(&number).is_some_and(|epoch| epoch.sealed)
    }

    /// A reader of `group`, who has read of session `own` before, gets `len` bytes at `offset` of
    /// session `number`. `told`: it knows that bytes are missing.
    pub(super) fn take(
        &mut self,
        number: u64,
        (offset, len): (u64, u32),
        group: (u64, u64),
        own: &mut Option<u64>,
        told: bool,
    ) -> Result<(), String> {
        let excused = self.epoch(number).c_closed
            || own.is_some_and(|own| self.epoch(own).c_closed)
            || self.epochs.values().any(|epoch| epoch.mark_lost)
            || self.close_lost();
        if own.is_some_and(|own| own != number) && !excused {
            return Err(format!("file reads sessions {own:?} and {number}"));
        }
        own.get_or_insert(number);
        let other = self
            .epochs
            .iter()
            .find(|(other, epoch)| **other != number && epoch.group == Some(group));
        if let Some((other, epoch)) = other {
            if !excused && !epoch.c_closed {
                return Err(format!(
                    "readers {group:?} read sessions {other} and {number}"
                ));
            }
        }
        let epoch = self.epoch(number);
        if epoch.group.is_some_and(|other| other != group) && !excused {
            return Err(format!(
                "session {number} is read by {:?} and {group:?}",
                epoch.group
            ));
        }
        epoch.group = Some(group);
        if offset < epoch.taken && !epoch.c_closed {
            return Err(format!("byte {offset} of session {number} read twice"));
        }
        if offset > epoch.taken && !told && !epoch.c_closed && !epoch.data_lost {
            return Err(format!(
                "bytes {}..{offset} of session {number} skipped silently",
                epoch.taken
            ));
        }
        epoch.gap |= offset > epoch.taken;
        epoch.taken = offset + u64::from(len);
        Ok(())
    }
}
