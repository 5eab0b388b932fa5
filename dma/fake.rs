// SPDX-License-Identifier: GPL-2.0

//! KUnit: rings without hardware.

use kernel::{
    prelude::*,
    sync::Arc, //
};

use super::{
    chunk::Memory,
    interrupt::Context,
    reader::Reader,
    registers::Status,
    rx::Rx,
    slots::{
        Geometry,
        Port, //
    },
    source::LentPage,
    tx::{
        Lost,
        Tx, //
    },
    writer::Writer,
    Config, //
};

/// A ring in plain memory that counts what happens to it.
pub(super) struct FakePort {
    /// Third dword of each descriptor.
    pub(super) memory: KVec<Status>,
    /// Value of each doorbell.
    pub(super) doorbells: KVec<u32>,
    /// How often each slot was posted.
    pub(super) posts: KVec<u32>,
    /// The device's index.
    pub(super) hardware: u32,
    /// Whether the interrupt is masked.
    pub(super) masked: bool,
    /// Pages instead of buffers, by slot.
    pub(super) lent: KVec<Option<LentPage>>,
    /// Refuses pages from now on, as when nothing can be mapped.
    pub(super) refuses_pages: bool,
}

impl FakePort {
    pub(super) fn new(size: u32) -> Result<Self> {
        let mut memory = KVec::new();
        let mut posts = KVec::new();
        let mut lent = KVec::new();

        for _ in 0..size {
            memory.push(Status::from_raw(0), GFP_KERNEL)?;
            posts.push(0, GFP_KERNEL)?;
            lent.push(None, GFP_KERNEL)?;
        }
        Ok(Self {
            memory,
            doorbells: KVec::with_capacity(1024, GFP_KERNEL)?,
            posts,
            hardware: 0,
            masked: false,
            lent,
            refuses_pages: false,
        })
    }

    /// Slots that the doorbell made the device's and that it has not completed.
    pub(super) fn available(&self) -> u32 {
        let end = self.doorbells.last().copied().unwrap_or(0);

        Geometry::new(self.memory.len() as u32).distance(self.hardware, end)
    }

    /// The device completes up to `count` of its slots, each with what `status` says.
    pub(super) fn complete(&mut self, count: u32, mut status: impl FnMut(Status) -> Status) -> u32 {
        let done = count.min(self.available());

        for _ in 0..done {
            let slot = self.hardware as usize;

            assert!(!self.memory[slot].is_completed());
            self.memory[slot] = status(self.memory[slot]);
            self.hardware = Geometry::new(self.memory.len() as u32).advance(self.hardware, 1);
        }
        done
    }
}

impl Port for FakePort {
    fn status(&self, slot: u32) -> Status {
        self.memory[slot as usize]
    }

    fn post(&mut self, slot: u32, status: Status) {
        self.memory[slot as usize] = status;
        self.posts[slot as usize] += 1;
    }

    fn lend(&mut self, slot: u32, page: LentPage) -> bool {
        let accepted = !self.refuses_pages;

        if accepted {
            self.lent[slot as usize] = Some(page);
        }
        accepted
    }

    fn take_back(&mut self, slot: u32) {
        self.lent[slot as usize] = None;
    }

    fn lent(&self) -> u32 {
        self.lent.iter().flatten().count() as u32
    }

    fn doorbell(&mut self, slot: u32) {
        self.doorbells.push(slot, GFP_KERNEL).unwrap();
    }

    fn mask(&mut self) -> bool {
        self.masked = true;
        true
    }

    fn unmask(&mut self) {
        self.masked = false;
    }
}

impl Tx<FakePort> {
    /// A running ring of which the device is a fake.
    pub(super) fn fake(config: &Config) -> Result<(Arc<Self>, Writer<FakePort>)> {
        let geometry = Geometry::new(config.ring_size);
        let port = FakePort::new(geometry.size())?;
        let memory = Arc::new(Memory::new(geometry.size(), 64 << 10)?, GFP_KERNEL)?;
        let (tx, writer) = Self::assemble(port, None, memory, Context::fake()?, geometry, 0)?;

        tx.state.lock().running = true;
        Ok((tx, writer))
    }

    /// Does something to the fake device.
    pub(super) fn with_port<R>(&self, f: impl FnOnce(&mut FakePort) -> R) -> Option<R> {
        self.state.lock().indices.as_mut().map(|i| f(i.port_mut()))
    }

    /// What `stop()` does, but for the ring.
    pub(super) fn stop_fake(&self) -> Lost {
        self.state.lock().running = false;
        self.give_up()
    }
}

impl Rx<FakePort> {
    /// A running ring of which the device is a fake.
    pub(super) fn fake(config: &Config) -> Result<(Arc<Self>, Reader<FakePort>)> {
        let geometry = Geometry::new(config.ring_size);
        let port = FakePort::new(geometry.size())?;
        let memory = Arc::new(Memory::new(geometry.size(), 64 << 10)?, GFP_KERNEL)?;
        let (rx, reader) = Self::assemble(port, None, memory, Context::fake()?, config, 0)?;

        rx.run();
        Ok((rx, reader))
    }

    /// Does something to the fake device.
    pub(super) fn with_port<R>(&self, f: impl FnOnce(&mut FakePort) -> R) -> Option<R> {
        self.state.lock().indices.as_mut().map(|i| f(i.port_mut()))
    }

    /// What `stop()` does, but for the ring.
    pub(super) fn stop_fake(&self) {
        self.state.lock().running = false;
        self.scan_new(&mut |_| {});
        drop(self.state.lock().indices.take());
    }
}
