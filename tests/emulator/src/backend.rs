// SPDX-License-Identifier: MIT OR Apache-2.0

//! One host as QEMU sees it: a PCI function whose registers are the fabric's.

use crate::fabric::MessageSink;
use crate::nhi::interrupt::VECTORS;
use crate::nhi::registers::BAR0_SIZE;
use crate::pci::{BAR2_SIZE, CONFIG_SIZE, PciConfig};
use crate::shared::Shared;
use crate::vfio::server::{CONFIG_REGION, Client, Device};
use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::net::UnixListener;
use std::sync::{Arc, Mutex, PoisonError};

const BAR0: u32 = 0;
const BAR2: u32 = 2;

/// Event file descriptors of the vectors that the guest uses.
type Vectors = Arc<Mutex<Vec<Option<File>>>>;

/// Sends interrupt messages through event file descriptors.
struct EventMessages {
    vectors: Vectors,
}

impl MessageSink for EventMessages {
    fn send(&mut self, vector: u8) {
        let vectors = self.vectors.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(Some(mut event)) = vectors.get(usize::from(vector)).map(Option::as_ref) {
            if let Err(error) = event.write_all(&1_u64.to_ne_bytes()) {
                log::error!("interrupt vector {vector} is lost: {error}");
            }
        }
    }
}

/// The device of one host, for one VM.
struct HostDevice {
    shared: Arc<Shared>,
    host: usize,
    intel: bool,
    pci: PciConfig,
    vectors: Vectors,
}

impl HostDevice {
    fn new(shared: Arc<Shared>, host: usize, intel: bool) -> Self {
        Self {
            shared,
            host,
            intel,
            pci: PciConfig::new(intel),
            vectors: Arc::default(),
        }
    }

    fn is_removed(&self) -> bool {
        self.shared.with(|fabric, _| fabric.is_removed(self.host))
    }

    fn ignored(&self) {
        self.shared
            .with(|fabric, _| fabric.count_ignored(self.host));
    }
}

/// The socket of one host, and its VM when there is one.
pub struct HostSocket {
    shared: Arc<Shared>,
    host: usize,
    intel: bool,
    listener: UnixListener,
    vm: Option<(Client, HostDevice)>,
}

impl HostSocket {
    /// Host number `host` at `listener`.
    pub fn new(shared: Arc<Shared>, host: usize, intel: bool, listener: UnixListener) -> Self {
        Self {
            shared,
            host,
            intel,
            listener,
            vm: None,
        }
    }

    /// What to wait for: the VM's next message, or a VM.
    pub fn fd(&self) -> BorrowedFd<'_> {
        match &self.vm {
            Some((client, _)) => client.socket().as_fd(),
            None => self.listener.as_fd(),
        }
    }

    /// There is something to read.
    pub fn serve(&mut self) {
        let outcome = match &mut self.vm {
            None => self.accept().map(|()| true),
            Some((client, device)) => client.serve(device),
        };
        match outcome {
            Ok(true) => return,
            Ok(false) => {}
            Err(error) => log::warn!("host {}: {error}", self.host),
        }
        self.vm = None;
        self.shared
            .with(|fabric, now| fabric.disconnect(now, self.host));
    }

    fn accept(&mut self) -> io::Result<()> {
        let (socket, _) = self.listener.accept()?;
        let device = HostDevice::new(Arc::clone(&self.shared), self.host, self.intel);
        let messages = Box::new(EventMessages {
            vectors: Arc::clone(&device.vectors),
        });
        self.shared
            .with(|fabric, now| fabric.connect(now, self.host, messages));
        self.vm = Some((Client::new(socket), device));
        Ok(())
    }
}

/// BAR 0 knows aligned 32-bit accesses only; the driver makes no others.
fn register_offset(offset: u64, length: usize) -> Option<u32> {
    (length == 4 && offset % 4 == 0 && offset < BAR0_SIZE).then_some(offset as u32)
}

impl Device for HostDevice {
    fn region_size(&self, region: u32) -> u64 {
        match region {
            BAR0 => BAR0_SIZE,
            BAR2 => BAR2_SIZE,
            CONFIG_REGION => CONFIG_SIZE,
            _ => 0,
        }
    }

    fn vectors(&self) -> u32 {
        VECTORS as u32
    }

    fn read(&mut self, region: u32, offset: u64, data: &mut [u8]) {
        match (region, register_offset(offset, data.len())) {
            (BAR0, Some(at)) => {
                let value = self
                    .shared
                    .with(|fabric, now| fabric.read(now, self.host, at));
                data.copy_from_slice(&value.to_le_bytes());
            }
            (CONFIG_REGION, _) if self.is_removed() => data.fill(0xff),
            (CONFIG_REGION, _) => self.pci.read(offset, data),
            (BAR2, _) => data.fill(0),
            _ => {
                data.fill(0);
                self.ignored();
            }
        }
    }

    fn write(&mut self, region: u32, offset: u64, data: &[u8]) {
        let word = data.try_into().map(u32::from_le_bytes);
        match (region, register_offset(offset, data.len()), word) {
            (BAR0, Some(at), Ok(value)) => {
                self.shared
                    .with(|fabric, now| fabric.write(now, self.host, at, value));
            }
            (CONFIG_REGION, ..) => self.pci.write(offset, data),
            // QEMU keeps the MSI-X table.
            (BAR2, ..) => {}
            _ => self.ignored(),
        }
    }

    fn map(&mut self, address: u64, size: u64, file: File, offset: u64) -> io::Result<()> {
        self.shared
            .with(|fabric, _| {
                fabric
                    .memory_mut(self.host)
                    .add(address, size, file, offset)
            })
            .map_err(io::Error::other)
    }

    fn unmap(&mut self, address: u64, size: u64) {
        self.shared
            .with(|fabric, _| fabric.memory_mut(self.host).remove(address, size));
    }

    fn reset(&mut self) {
        self.pci = PciConfig::new(self.intel);
        self.shared.with(|fabric, now| fabric.reset(now, self.host));
    }

    fn set_vectors(&mut self, start: u32, count: u32, files: Vec<File>) {
        let mut vectors = self.vectors.lock().unwrap_or_else(PoisonError::into_inner);
        if count == 0 {
            vectors.clear();
        }
        vectors.resize_with(VECTORS, || None);
        let mut files = files.into_iter();
        for slot in vectors.iter_mut().skip(start as usize).take(count as usize) {
            *slot = files.next();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fabric::{Config, Fabric};

    fn device() -> HostDevice {
        let fabric = Fabric::new(&Config {
            hosts: 2,
            ..Config::default()
        });
        HostDevice::new(Arc::new(Shared::new(fabric).expect("sockets")), 0, false)
    }

    #[test]
    fn accesses_of_any_size_and_place_are_survived() {
        let mut device = device();
        for region in 0..12 {
            for offset in [0, 1, 0x39640, 0x3_fffe, BAR0_SIZE, u64::MAX - 2] {
                for length in [0, 1, 2, 3, 4, 8, 64] {
                    let mut data = vec![0xff; length];
                    device.read(region, offset, &mut data);
                    device.write(region, offset, &data);
                }
            }
        }
        let stats = device.shared.with(|fabric, _| fabric.stats());
        assert!(stats.hosts["a"].mmio_ignored > 0);
    }

    #[test]
    fn vectors_are_switched_one_by_one_and_all_at_once() {
        let mut device = device();
        let file = || File::open("/dev/null").expect("it exists");
        let used = |device: &HostDevice| -> Vec<usize> {
            let vectors = device.vectors.lock().expect("not poisoned");
            vectors
                .iter()
                .enumerate()
                .filter(|(_, v)| v.is_some())
                .map(|(i, _)| i)
                .collect()
        };
        device.set_vectors(3, 1, vec![file()]);
        device.set_vectors(9, 2, vec![file(), file()]);
        device.set_vectors(40, 1, vec![file()]);
        assert_eq!(used(&device), [3, 9, 10]);
        device.set_vectors(3, 1, vec![]);
        assert_eq!(used(&device), [9, 10]);
        device.set_vectors(0, 0, vec![]);
        assert_eq!(used(&device), [0; 0]);
    }
}
