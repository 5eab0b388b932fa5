// SPDX-License-Identifier: MIT OR Apache-2.0

//! PCI configuration space of the host interface function.

use crate::nhi::interrupt::VECTORS;
use crate::nhi::registers::BAR0_SIZE;
use crate::registers::{Register, RegisterBank};

/// Size of the configuration space in bytes.
pub const CONFIG_SIZE: u64 = 256;
/// Size of BAR 2, which holds the MSI-X table and pending bits, in bytes.
pub const BAR2_SIZE: u64 = 0x1000;
/// Class code: serial bus controller, USB4 host interface (`drivers/thunderbolt/nhi.h`).
const CLASS_USB4: u32 = 0x0c_0340;
/// A device ID that no vendor of host routers uses: `icm_probe()` goes by the device ID alone.
const DEVICE_ID: u32 = 0x5544;
const VENDOR_INTEL: u32 = 0x8086;
const VENDOR_OTHER: u32 = 0x1b36;
const CAPABILITY_MSIX: u32 = 0x11;
const MSIX_AT: u32 = 0x40;

/// The 64 dwords of configuration space.
#[derive(Debug)]
pub struct PciConfig {
    dwords: RegisterBank,
}

impl PciConfig {
    /// Power-on state; the vendor is Intel's where the driver shall take the auto-clear way.
    pub fn new(intel: bool) -> Self {
        let mut dwords = RegisterBank::new((CONFIG_SIZE / 4) as usize);
        let vendor = if intel { VENDOR_INTEL } else { VENDOR_OTHER };
        dwords.define(0, Register::read_only(DEVICE_ID << 16 | vendor));
        // Command: memory, bus master, INTx off. Status: capability list.
        dwords.define(1, Register::read_write(1 << 20, 0x0406));
        dwords.define(2, Register::read_only(CLASS_USB4 << 8));
        dwords.define(3, Register::read_write(0, 0xff));
        dwords.define(4, Register::read_write(0, !(BAR0_SIZE as u32 - 1)));
        dwords.define(6, Register::read_write(0, !(BAR2_SIZE as u32 - 1)));
        dwords.define(11, Register::read_only(0x1100 << 16 | VENDOR_OTHER));
        dwords.define(13, Register::read_only(MSIX_AT));
        dwords.define(15, Register::read_write(0, 0xff));
        Self::define_msix(&mut dwords);
        Self { dwords }
    }

    fn define_msix(dwords: &mut RegisterBank) {
        let at = (MSIX_AT / 4) as usize;
        let table_size = (VECTORS as u32 - 1) << 16;
        dwords.define(
            at,
            Register::read_write(CAPABILITY_MSIX | table_size, 0xc000_0000),
        );
        dwords.define(at + 1, Register::read_only(2));
        dwords.define(at + 2, Register::read_only(0x800 | 2));
    }

    /// Reads bytes; those outside read 0.
    pub fn read(&self, offset: u64, data: &mut [u8]) {
        for (i, byte) in data.iter_mut().enumerate() {
            let at = offset.wrapping_add(i as u64);
            let dword = usize::try_from(at / 4).map_or(0, |n| self.dwords.get(n));
            *byte = dword.to_le_bytes()[(at % 4) as usize];
        }
    }

    /// Writes bytes; those outside and read-only bits are ignored.
    pub fn write(&mut self, offset: u64, data: &[u8]) {
        for (i, byte) in data.iter().enumerate() {
            let at = offset.wrapping_add(i as u64);
            let Ok(index) = usize::try_from(at / 4) else {
                continue;
            };
            let mut bytes = self.dwords.get(index).to_le_bytes();
            bytes[(at % 4) as usize] = *byte;
            self.dwords.write(index, u32::from_le_bytes(bytes));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dword(config: &PciConfig, offset: u64) -> u32 {
        let mut bytes = [0; 4];
        config.read(offset, &mut bytes);
        u32::from_le_bytes(bytes)
    }

    #[test]
    fn it_is_a_usb4_host_interface_with_msix() {
        let config = PciConfig::new(false);
        assert_eq!(dword(&config, 0), 0x5544_1b36);
        assert_eq!(dword(&config, 8) >> 8, 0x0c_0340);
        let at = u64::from(dword(&config, 0x34));
        assert_eq!(dword(&config, at) & 0xff, CAPABILITY_MSIX);
        assert_eq!(dword(&config, at) >> 16 & 0x7ff, 15);
        assert_eq!(dword(&PciConfig::new(true), 0) & 0xffff, VENDOR_INTEL);
    }

    #[test]
    fn bars_tell_their_size() {
        let mut config = PciConfig::new(false);
        config.write(0x10, &[0xff; 4]);
        assert_eq!(dword(&config, 0x10), !(0x4_0000 - 1));
        config.write(0x14, &[0xff; 4]);
        assert_eq!(dword(&config, 0x14), 0, "BAR 1 does not exist");
        config.write(0x12, &[0x34, 0x12]);
        assert_eq!(dword(&config, 0x10), 0x1234_0000, "two bytes written");
    }

    #[test]
    fn accesses_outside_do_nothing() {
        let mut config = PciConfig::new(false);
        config.write(254, &[1; 8]);
        config.write(u64::MAX - 1, &[1; 8]);
        let mut bytes = [9; 8];
        config.read(u64::MAX - 3, &mut bytes);
        config.read(252, &mut bytes);
        assert_eq!(bytes[4..], [0; 4]);
    }
}
