// SPDX-License-Identifier: GPL-2.0

//! The C driver of Linux 7.3, as far as its peer can tell.
//!
//! Rings live from first open to last close, what is unread in them is lost; the last close sends
//! one CLOSE whatever happened before, unless the TX ring is full; CLOSE that is *read* ends reading
//! and writing until all files are closed.

use std::collections::VecDeque;

use super::super::stream::session::Access;
use super::super::stream::session::Frame;
use super::ghost::Ghost;
use super::ghost::Item;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct CFile {
    pub(super) access: Access,
    /// Session of the peer that it has read of.
    pub(super) own: Option<u64>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct CEnd {
    pub(super) files: Vec<Option<CFile>>,
    pub(super) rx: VecDeque<Item<Frame>>,
    /// Counts the periods in which it was open.
    pub(super) period: u64,
    pub(super) closed: bool,
}

impl CEnd {
    pub(super) fn new(files: usize) -> Self {
        Self {
            files: vec![None; files],
            rx: VecDeque::new(),
            period: 0,
            closed: false,
        }
    }

    pub(super) fn is_open(&self) -> bool {
        self.files.iter().any(Option::is_some)
    }

    pub(super) fn open(&mut self, place: usize, access: Access, mine: &mut Ghost) {
        if !self.is_open() {
            self.period += 1;
            self.closed = false;
        }
        self.files[place] = Some(CFile { access, own: None });
        let epoch = mine.epoch(self.period);
        epoch.used |= access.write;
    }

    /// Returns whether a frame may be queued, `free` slots given.
    pub(super) fn may_write(&self, place: usize, free: usize) -> bool {
        let writes = self.files[place]
            .as_ref()
            .is_some_and(|file| file.access.write);
        writes && !self.closed && free > 0
    }

    pub(super) fn read(&mut self, place: usize, max: u32, peer: &mut Ghost) -> Result<(), String> {
        if self.closed {
            return Ok(());
        }
        let Some(file) = self.files[place].as_mut() else {
            return Ok(());
        };
        let Some(head) = self.rx.front_mut() else {
            return Ok(());
        };
        if matches!(head.frame, Frame::Close(_)) {
            let epoch = peer.epoch(head.epoch);
            if head.end && epoch.taken != epoch.accepted && !epoch.c_closed {
                return Err(format!(
                    "C reader: end of file inside session {}",
                    head.epoch
                ));
            }
            let excused = epoch.c_closed || file.own.is_some_and(|own| peer.epoch(own).c_closed);
            if file.own.is_some_and(|own| own != head.epoch) && !excused {
                return Err(format!(
                    "C reader of {:?}: mark of {}",
                    file.own, head.epoch
                ));
            }
            self.rx.pop_front();
            self.closed = true;
            return Ok(());
        }
        let len = head.len.min(max);
        let group = (0, self.period);
        peer.take(head.epoch, (head.offset, len), group, &mut file.own, false)?;
        head.offset += u64::from(len);
        head.len -= len;
        if head.len == 0 {
            self.rx.pop_front();
        }
        Ok(())
    }

    /// Closes a file; returns whether that was the last one, so that CLOSE has to be sent.
    pub(super) fn close(&mut self, place: usize) -> bool {
        self.files[place] = None;
        let last = !self.is_open();
        if last {
            self.rx.clear();
        }
        last
    }
}
