// SPDX-License-Identifier: MIT OR Apache-2.0

//! Answers a client's messages by asking a [`Device`].

use super::channel::{Channel, MAX_FILES};
use super::wire::{Access, Body, Command, Header, MAX_MESSAGE, multi_writes};
use std::fs::File;
use std::io;
use std::os::unix::net::UnixStream;

const EINVAL: u32 = 22;
const ENOTSUP: u32 = 95;
/// `VFIO_DEVICE_FLAGS_RESET | VFIO_DEVICE_FLAGS_PCI`.
const DEVICE_FLAGS: u32 = 1 | 2;
/// `VFIO_REGION_INFO_FLAG_READ | VFIO_REGION_INFO_FLAG_WRITE`.
const REGION_FLAGS: u32 = 1 | 2;
/// `VFIO_IRQ_INFO_EVENTFD | VFIO_IRQ_INFO_NORESIZE`.
const IRQ_FLAGS: u32 = 1 | 1 << 3;
/// BAR 0 to 5, ROM, config space, VGA.
const REGIONS: u32 = 9;
/// INTx, MSI, MSI-X, error, request.
const IRQS: u32 = 5;
/// MSI-X among them.
const MSIX: u32 = 2;
/// Region of the PCI configuration space.
pub const CONFIG_REGION: u32 = 7;

/// A PCI device with MSI-X. None of its methods can fail towards the guest: hardware ignores what it
/// does not understand.
pub trait Device {
    /// Size of a region in bytes, 0 when there is none.
    fn region_size(&self, region: u32) -> u64;
    /// Number of MSI-X vectors.
    fn vectors(&self) -> u32;
    /// The guest reads.
    fn read(&mut self, region: u32, offset: u64, data: &mut [u8]);
    /// The guest writes.
    fn write(&mut self, region: u32, offset: u64, data: &[u8]);
    /// `size` bytes of guest memory at `address` are in `file` at `offset`.
    ///
    /// # Errors
    /// When they cannot be mapped; the client is told.
    fn map(&mut self, address: u64, size: u64, file: File, offset: u64) -> io::Result<()>;
    /// Guest memory is gone.
    fn unmap(&mut self, address: u64, size: u64);
    /// Machine reset.
    fn reset(&mut self);
    /// The `count` vectors from `start` get these event files in order; those for which there is no
    /// file are off. A count of 0 means all are off.
    fn set_vectors(&mut self, start: u32, count: u32, files: Vec<File>);
}

/// A client and what it has sent.
#[derive(Debug)]
pub struct Client {
    channel: Channel,
    body: Vec<u8>,
}

impl Client {
    /// Takes over a connection.
    pub fn new(socket: UnixStream) -> Self {
        Self {
            channel: Channel::new(socket),
            body: Vec::new(),
        }
    }

    /// The socket, to wait for it.
    pub fn socket(&self) -> &UnixStream {
        self.channel.socket()
    }

    /// Answers what the client has sent, waiting for something if there is nothing; `false` when it
    /// is gone.
    ///
    /// # Errors
    /// When the socket fails or the client makes no sense.
    pub fn serve(&mut self, device: &mut dyn Device) -> io::Result<bool> {
        if !self.channel.receive()? {
            return Ok(false);
        }
        while let Some(header) = self.channel.next(&mut self.body)? {
            self.handle(device, header)?;
        }
        Ok(true)
    }

    fn handle(&mut self, device: &mut dyn Device, header: Header) -> io::Result<()> {
        let body = Body(&self.body);
        if header.command() == Command::RegionWrite && !header.wants_reply() {
            // What streams are made of: no answer, so none is built.
            if write(device, body).is_none() {
                log::error!("a write without its data");
            }
            return Ok(());
        }
        let files = match header.command() {
            Command::DmaMap | Command::SetIrqs => self.channel.take_files(),
            _ => Vec::new(),
        };
        let reply = answer(device, &header, body, files);
        if header.wants_reply() {
            return self
                .channel
                .send(&reply.unwrap_or_else(|errno| header.error(errno)));
        }
        if let Err(errno) = reply {
            let command = header.command();
            log::error!("{command:?} failed with errno {errno}, unnoticed by the client");
        }
        Ok(())
    }
}

/// The answer to one message, or an errno.
fn answer(
    device: &mut dyn Device,
    header: &Header,
    body: Body<'_>,
    files: Vec<File>,
) -> Result<Vec<u8>, u32> {
    let echo = body.0;
    match header.command() {
        Command::Version => Ok(header.reply(&version())),
        Command::DmaMap => map(device, body, files).map(|()| header.reply(&[])),
        Command::DmaUnmap => {
            unmap(device, body).ok_or(EINVAL)?;
            Ok(header.reply(echo))
        }
        Command::DeviceInfo => Ok(header.reply(&words(&[16, DEVICE_FLAGS, REGIONS, IRQS]))),
        Command::RegionInfo => region_info(device, body)
            .map(|b| header.reply(&b))
            .ok_or(EINVAL),
        Command::IrqInfo => irq_info(device, body)
            .map(|b| header.reply(&b))
            .ok_or(EINVAL),
        Command::SetIrqs => {
            set_irqs(device, body, files).ok_or(EINVAL)?;
            Ok(header.reply(&[]))
        }
        Command::RegionRead => read(device, body).map(|b| header.reply(&b)).ok_or(EINVAL),
        Command::RegionWrite => {
            let access = write(device, body).ok_or(EINVAL)?;
            Ok(header.reply(&access.bytes()))
        }
        Command::RegionWriteMulti => {
            for (access, data) in multi_writes(body) {
                device.write(access.region, access.offset, data);
            }
            Ok(header.reply(echo.get(..8).unwrap_or(&[])))
        }
        Command::Reset => {
            device.reset();
            Ok(header.reply(&[]))
        }
        Command::Unknown(number) => {
            log::warn!("the client asked for command {number}, which is not supported");
            Err(ENOTSUP)
        }
    }
}

/// Version 0.0 of the protocol: QEMU takes no other.
fn version() -> Vec<u8> {
    let text = format!(
        "{{\"capabilities\":{{\"max_msg_fds\":{MAX_FILES},\"max_data_xfer_size\":{},\
         \"write_multiple\":true}}}}\0",
        MAX_MESSAGE / 2
    );
    [&[0; 4], text.as_bytes()].concat()
}

fn words(values: &[u32]) -> Vec<u8> {
    values.iter().flat_map(|v| v.to_le_bytes()).collect()
}

fn map(device: &mut dyn Device, mut body: Body<'_>, files: Vec<File>) -> Result<(), u32> {
    let fields = (body.u32(), body.u32(), body.u64(), body.u64(), body.u64());
    let (Some(_), Some(_), Some(offset), Some(address), Some(size)) = fields else {
        return Err(EINVAL);
    };
    // ROM comes without a file: nothing that a device should reach.
    let Some(file) = files.into_iter().next() else {
        return Ok(());
    };
    device.map(address, size, file, offset).map_err(|error| {
        log::error!("{error}");
        error
            .raw_os_error()
            .and_then(|n| u32::try_from(n).ok())
            .unwrap_or(EINVAL)
    })
}

fn unmap(device: &mut dyn Device, mut body: Body<'_>) -> Option<()> {
    let (_argsz, _flags) = (body.u32()?, body.u32()?);
    let (address, size) = (body.u64()?, body.u64()?);
    device.unmap(address, size);
    Some(())
}

fn region_info(device: &dyn Device, mut body: Body<'_>) -> Option<Vec<u8>> {
    let (_argsz, _flags, region) = (body.u32()?, body.u32()?, body.u32()?);
    if region >= REGIONS {
        return None;
    }
    let size = device.region_size(region);
    let flags = if size > 0 { REGION_FLAGS } else { 0 };
    let mut info = words(&[32, flags, region, 0]);
    info.extend(size.to_le_bytes());
    info.extend(0_u64.to_le_bytes());
    Some(info)
}

fn irq_info(device: &dyn Device, mut body: Body<'_>) -> Option<Vec<u8>> {
    let (_argsz, _flags, index) = (body.u32()?, body.u32()?, body.u32()?);
    if index >= IRQS {
        return None;
    }
    let (flags, count) = if index == MSIX {
        (IRQ_FLAGS, device.vectors())
    } else {
        (0, 0)
    };
    Some(words(&[16, flags, index, count]))
}

fn set_irqs(device: &mut dyn Device, mut body: Body<'_>, files: Vec<File>) -> Option<()> {
    let (_argsz, _flags, index) = (body.u32()?, body.u32()?, body.u32()?);
    let (start, count) = (body.u32()?, body.u32()?);
    if index == MSIX {
        device.set_vectors(start, count, files);
    }
    Some(())
}

fn write(device: &mut dyn Device, mut body: Body<'_>) -> Option<Access> {
    let access = Access::parse(&mut body)?;
    let data = body.take(access.count as usize)?;
    device.write(access.region, access.offset, data);
    Some(access)
}

fn read(device: &mut dyn Device, mut body: Body<'_>) -> Option<Vec<u8>> {
    let access = Access::parse(&mut body)?;
    let count = usize::try_from(access.count)
        .ok()
        .filter(|n| *n < MAX_MESSAGE / 2)?;
    let mut bytes = access.bytes();
    let at = bytes.len();
    bytes.resize(at + count, 0);
    device.read(access.region, access.offset, &mut bytes[at..]);
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Recorder(Vec<String>);

    impl Device for Recorder {
        fn region_size(&self, region: u32) -> u64 {
            if region == 0 { 4096 } else { 0 }
        }
        fn vectors(&self) -> u32 {
            16
        }
        fn read(&mut self, _region: u32, offset: u64, data: &mut [u8]) {
            data.fill(offset as u8);
        }
        fn write(&mut self, region: u32, offset: u64, data: &[u8]) {
            self.0.push(format!("write {region} {offset:#x} {data:?}"));
        }
        fn map(&mut self, address: u64, size: u64, _: File, offset: u64) -> io::Result<()> {
            self.0
                .push(format!("map {address:#x}+{size:#x} {offset:#x}"));
            Err(io::Error::from_raw_os_error(12))
        }
        fn unmap(&mut self, address: u64, size: u64) {
            self.0.push(format!("unmap {address:#x}+{size:#x}"));
        }
        fn reset(&mut self) {
            self.0.push("reset".into());
        }
        fn set_vectors(&mut self, start: u32, count: u32, files: Vec<File>) {
            self.0
                .push(format!("vectors {start}+{count}: {}", files.len()));
        }
    }

    fn ask(device: &mut Recorder, number: u8, body: &[u8]) -> Result<Vec<u8>, u32> {
        let mut header = vec![1, 0, number, 0, 16, 0, 0, 0];
        header.extend([0; 8]);
        let header = Header::parse(&header).expect("a size").expect("enough");
        answer(device, &header, Body(body), Vec::new()).map(|reply| reply[16..].to_vec())
    }

    #[test]
    fn every_command_is_answered_whatever_its_body() {
        let mut device = Recorder::default();
        for number in 0..20 {
            for length in 0..48 {
                for byte in [0, 1, 0xff] {
                    drop(ask(&mut device, number, &vec![byte; length]));
                }
            }
        }
        assert_eq!(ask(&mut device, 11, &[]), Err(ENOTSUP));
        assert_eq!(ask(&mut device, 9, &[0; 3]), Err(EINVAL));
    }

    #[test]
    fn qemu_learns_what_the_device_has() {
        let mut device = Recorder::default();
        let version = ask(&mut device, 1, &[0, 0, 1, 0]).expect("a version");
        assert_eq!(version[..4], [0; 4], "version 0.0");
        assert_eq!(version.last(), Some(&0));
        let region = ask(&mut device, 5, &words(&[32, 0, 0, 0])).expect("region 0");
        assert_eq!(region[16..24], 4096_u64.to_le_bytes());
        let irq = ask(&mut device, 7, &words(&[16, 0, MSIX, 0])).expect("MSI-X");
        assert_eq!(irq, words(&[16, IRQ_FLAGS, MSIX, 16]));
        let read = ask(&mut device, 9, &words(&[0x21, 0, 0, 4])).expect("a read");
        assert_eq!(read[16..], [0x21; 4]);
    }

    #[test]
    fn failures_reach_the_client() {
        let mut device = Recorder::default();
        let file = File::open("/dev/null").expect("it exists");
        let body = [
            &[0; 8][..],
            &[0; 8],
            &0x1000_u64.to_le_bytes(),
            &8_u64.to_le_bytes(),
        ]
        .concat();
        assert_eq!(map(&mut device, Body(&body), vec![file]), Err(12));
        assert_eq!(
            map(&mut device, Body(&body), vec![]),
            Ok(()),
            "ROM is left out"
        );
        assert_eq!(device.0, ["map 0x1000+0x8 0x0"]);
    }
}
