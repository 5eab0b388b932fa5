// SPDX-License-Identifier: MIT OR Apache-2.0

//! Path entries: where a frame that enters an adapter with a HopID goes (`struct tb_regs_hop`).

use super::MAX_HOP;

const ENABLE: u32 = 1 << 31;
const PENDING: u32 = 1 << 28;
const COUNTER_ENABLE: u32 = 1 << 23;

/// Where an enabled entry leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hop {
    /// Egress adapter.
    pub adapter: u8,
    /// HopID on the next link; the ring when the adapter is the host interface.
    pub hop: u16,
    /// Counter to use, if any.
    pub counter: Option<usize>,
}

/// What a write did to an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// It leads somewhere now.
    Enabled(u16),
    /// It no longer leads anywhere.
    Disabled(u16),
}

/// The path config space of one adapter: two dwords for each HopID.
#[derive(Debug)]
pub struct PathTable {
    entries: Vec<[u32; 2]>,
}

impl Default for PathTable {
    fn default() -> Self {
        Self {
            entries: vec![[0; 2]; usize::from(MAX_HOP) + 1],
        }
    }
}

impl PathTable {
    /// Reads a dword; `None` outside.
    pub fn read(&self, at: usize) -> Option<u32> {
        self.entries.get(at / 2).map(|entry| entry[at % 2])
    }

    /// Writes a dword. The pending bit is the router's.
    pub fn write(&mut self, at: usize, value: u32) -> Option<Change> {
        let entry = self.entries.get_mut(at / 2)?;
        let hop = (at / 2) as u16;
        if at % 2 == 1 {
            entry[1] = (value & !PENDING) | (entry[1] & PENDING);
            return None;
        }
        let was = std::mem::replace(&mut entry[0], value);
        match (was & ENABLE != 0, value & ENABLE != 0) {
            (false, true) => {
                entry[1] &= !PENDING;
                Some(Change::Enabled(hop))
            }
            // Pointed elsewhere without being disabled first: frames may have somewhere to go now.
            (true, true) if was != value => Some(Change::Enabled(hop)),
            (true, false) => Some(Change::Disabled(hop)),
            _ => None,
        }
    }

    /// Where `hop` leads; `None` when it is disabled or does not exist.
    pub fn lookup(&self, hop: u16) -> Option<Hop> {
        let [low, high] = *self.entries.get(usize::from(hop))?;
        let (adapter, next) = self.target(hop);
        (low & ENABLE != 0).then(|| Hop {
            adapter,
            hop: next,
            counter: (high & COUNTER_ENABLE != 0).then_some((high >> 12 & 0x7ff) as usize),
        })
    }

    /// Egress adapter and HopID of an entry, enabled or not.
    pub fn target(&self, hop: u16) -> (u8, u16) {
        let low = self
            .entries
            .get(usize::from(hop))
            .map_or(0, |entry| entry[0]);
        ((low >> 11 & 0x3f) as u8, (low & 0x7ff) as u16)
    }

    /// Sets the pending bit: frames of the disabled entry are still somewhere in the router.
    pub fn set_pending(&mut self, hop: u16, pending: bool) {
        if let Some(entry) = self.entries.get_mut(usize::from(hop)) {
            entry[1] = if pending {
                entry[1] | PENDING
            } else {
                entry[1] & !PENDING
            };
        }
    }

    /// Numbers and targets of all enabled entries.
    pub fn enabled(&self) -> impl Iterator<Item = (u16, Hop)> {
        (0..=MAX_HOP).filter_map(|hop| Some((hop, self.lookup(hop)?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_leads_where_it_was_pointed() {
        let mut table = PathTable::default();
        assert_eq!(table.lookup(8), None);
        assert_eq!(
            table.write(16, ENABLE | 5 << 11 | 1),
            Some(Change::Enabled(8))
        );
        assert_eq!(
            table.lookup(8),
            Some(Hop {
                adapter: 5,
                hop: 1,
                counter: None
            })
        );
        table.write(17, COUNTER_ENABLE | 3 << 12);
        assert_eq!(table.lookup(8).and_then(|h| h.counter), Some(3));
        let elsewhere = ENABLE | 5 << 11 | 2;
        assert_eq!(table.write(16, elsewhere), Some(Change::Enabled(8)));
        assert_eq!(table.write(16, elsewhere), None, "nothing new");
        assert_eq!(table.write(16, 0), Some(Change::Disabled(8)));
        assert_eq!(table.lookup(8), None);
    }

    #[test]
    fn pending_belongs_to_the_router_and_ends_with_a_new_path() {
        let mut table = PathTable::default();
        table.write(17, PENDING);
        assert_eq!(table.read(17), Some(0));
        table.set_pending(8, true);
        table.write(17, 0);
        assert_eq!(table.read(17), Some(PENDING));
        table.write(16, ENABLE);
        assert_eq!(table.read(17), Some(0));
    }

    #[test]
    fn outside_is_nothing() {
        let mut table = PathTable::default();
        let end = 2 * (usize::from(MAX_HOP) + 1);
        assert_eq!(table.read(end), None);
        assert_eq!(table.write(end, ENABLE), None);
        assert_eq!(table.lookup(MAX_HOP + 1), None);
        table.set_pending(2047, true);
    }
}
