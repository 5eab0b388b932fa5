// SPDX-License-Identifier: GPL-2.0

//! KUnit: the whole data path, from a vector of bytes through a [`Writer`](super::Writer) or a
//! [`Reader`](super::Reader), with a fake device.

use kernel::{
    bindings,
    iov::{
        IovIterDest,
        IovIterSource, //
    },
    prelude::*,
    types::Opaque, //
};

use crate::thunderbolt::errno::shut_down;

use super::{
    fake::FakePort,
    registers::{
        Status,
        FRAME_SIZE, //
    },
    Config,
    Pdf,
    Reader,
    Rx,
    Source,
    Tx, //
};

const DATA: Pdf = Pdf { sof: 1, eof: 2 };
const CLOSE: Pdf = Pdf { sof: 1, eof: 3 };

/// Rings of so many slots, without anything that needs hardware.
fn config(ring_size: u32) -> Config {
    Config {
        ring_size,
        throttling: 0,
        busy_poll: false,
        spin_us: 0,
        plain: DATA,
        sof_mask: 1 << DATA.sof,
        eof_mask: 1 << DATA.eof | 1 << CLOSE.eof,
    }
}

/// Byte `i` of all data in these tests.
fn pattern(i: usize) -> u8 {
    // CAST: Any byte will do.
    (i * 7 + i / 256) as u8
}

fn bytes(count: usize) -> Result<KVVec<u8>> {
    let mut bytes = KVVec::with_capacity(count, GFP_KERNEL)?;

    for i in 0..count {
        bytes.push(pattern(i), GFP_KERNEL)?;
    }
    Ok(bytes)
}

/// Reads from `bytes` as if user space had written them.
fn with_source<R>(bytes: &[u8], f: impl FnOnce(&mut Source<'_, '_>) -> R) -> R {
    let iter = Opaque::<bindings::iov_iter>::uninit();
    let vec = bindings::kvec {
        iov_base: bytes.as_ptr().cast_mut().cast(),
        iov_len: bytes.len(),
    };

    // SAFETY: Both outlive the use of the iterator, which only reads `bytes`.
    unsafe {
        bindings::iov_iter_kvec(iter.get(), bindings::ITER_SOURCE, &vec, 1, bytes.len());
        f(&mut Source::new(IovIterSource::from_raw(iter.get())))
    }
}

/// Writes to `bytes` as if user space read into them.
fn with_dest<R>(bytes: &mut [u8], f: impl FnOnce(&mut IovIterDest<'_>) -> R) -> R {
    let iter = Opaque::<bindings::iov_iter>::uninit();
    let vec = bindings::kvec {
        iov_base: bytes.as_mut_ptr().cast(),
        iov_len: bytes.len(),
    };

    // SAFETY: Both outlive the use of the iterator, which only writes `bytes`.
    unsafe {
        bindings::iov_iter_kvec(iter.get(), bindings::ITER_DEST, &vec, 1, bytes.len());
        f(IovIterDest::from_raw(iter.get()))
    }
}

/// Memory of a user space that a kernel thread does not have: each access is a fault.
const NOWHERE: bindings::iovec = bindings::iovec {
    iov_base: core::ptr::null_mut(),
    iov_len: 5000,
};

/// The device receives frames of so many bytes, continuing the pattern at `*at`.
fn arrive(rx: &Rx<FakePort>, at: &mut usize, lengths: &[usize], pdf: Pdf, flags: u32) {
    for &length in lengths {
        let slot = rx.with_port(|port| port.hardware).unwrap_or(0);
        let (buffer, _) = rx.memory.buffer(slot).unwrap();

        for i in 0..length {
            // SAFETY: The slot is the device's, which is us; a frame fits its buffer.
            unsafe { *buffer.as_ptr().add(i) = pattern(*at + i) };
        }
        *at += length;
        rx.with_port(|port| port.complete(1, |_| Status::received(length, pdf, flags)));
    }
}

/// Reads up to `count` bytes and compares them with the pattern from `at` on.
fn read(reader: &mut Reader<FakePort>, at: usize, count: usize) -> Result<usize> {
    let mut to = bytes(count)?;

    to.iter_mut().for_each(|byte| *byte = 0);
    let copied = with_dest(&mut to, |dest| {
        reader.copy_out(dest).map(|copied| copied.bytes)
    })?;
    for (i, byte) in to.iter().take(copied).enumerate() {
        assert_eq!(*byte, pattern(at + i));
    }
    Ok(copied)
}

fn doorbells(tx: &Tx<FakePort>) -> usize {
    tx.with_port(|port| port.doorbells.len()).unwrap_or(0)
}

#[kernel::macros::kunit_tests(thunderbolt_stream_dma_data_path)]
mod suite {
    use super::*;

    #[test]
    fn data_arrives_in_the_buffers_frame_by_frame() -> Result {
        for count in [1, 4095, 4096, 4097, 100_000] {
            let (tx, mut writer) = Tx::fake(&config(32))?;
            let data = bytes(count)?;

            assert_eq!(
                with_source(&data, |s| writer.push(s, DATA, &mut |_| true))?,
                count
            );
            assert_eq!(tx.outstanding() as usize, count.div_ceil(FRAME_SIZE));
            for (i, &byte) in data.iter().enumerate() {
                let (buffer, _) = tx.memory.buffer((i / FRAME_SIZE) as u32).unwrap();
                // SAFETY: Nobody else uses the buffer.
                assert_eq!(unsafe { *buffer.as_ptr().add(i % FRAME_SIZE) }, byte);
            }
        }
        Ok(())
    }

    #[test]
    fn a_full_ring_takes_what_fits_and_a_close() -> Result {
        let (tx, mut writer) = Tx::fake(&config(256))?;
        let data = bytes(300 * FRAME_SIZE)?;

        let pushed = with_source(&data, |s| {
            let pushed = writer.push(s, DATA, &mut |_| true)?;
            assert_eq!(writer.push(s, DATA, &mut |_| true)?, 0);
            Ok::<_, Error>(pushed)
        })?;
        assert_eq!(pushed, 254 * FRAME_SIZE);
        assert_eq!(tx.room(), 0);
        // 16, then 64 each.
        assert_eq!(doorbells(&tx), 5);

        writer.push_frame(CLOSE, &[0; 256])?;
        assert_eq!(writer.push_frame(CLOSE, &[0; 256]), Err(EAGAIN));
        assert_eq!(tx.outstanding(), 255);
        Ok(())
    }

    #[test]
    fn a_long_write_does_not_ring_for_crumbs() -> Result {
        let (tx, mut writer) = Tx::fake(&config(256))?;
        let data = bytes(400 * FRAME_SIZE)?;

        with_source(&data, |s| {
            let first = writer.push(s, DATA, &mut |_| true)?;
            // As many leave as make two batches and a crumb.
            tx.with_port(|port| port.complete(130, Status::completed));
            let second = writer.push(s, DATA, &mut |_| true)?;

            assert_eq!(first, 254 * FRAME_SIZE);
            assert_eq!(second, 128 * FRAME_SIZE);
            // Somebody who has nothing else to do gets the rest.
            assert_eq!(writer.push(s, DATA, &mut |_| true)?, 2 * FRAME_SIZE);
            Ok(())
        })
    }

    #[test]
    fn what_is_not_accepted_stays_in_the_source() -> Result {
        let (tx, mut writer) = Tx::fake(&config(256))?;
        let data = bytes(100 * FRAME_SIZE)?;

        with_source(&data, |s| {
            // The first batch of 16 goes, the second does not.
            let mut accepted = 0;
            let pushed = writer.push(s, DATA, &mut |bytes| {
                accepted += 1;
                bytes > 0 && accepted < 2
            })?;

            assert_eq!(pushed, 16 * FRAME_SIZE);
            assert_eq!(s.len(), 84 * FRAME_SIZE);
            assert_eq!(tx.outstanding(), 16);
            Ok(())
        })
    }

    #[test]
    fn frames_of_no_length_are_refused() -> Result {
        let (_tx, mut writer) = Tx::fake(&config(32))?;

        assert_eq!(writer.push_frame(CLOSE, &[]), Err(EINVAL));
        assert_eq!(writer.push_frame(CLOSE, &bytes(4097)?), Err(EINVAL));
        assert_eq!(
            with_source(&[], |s| writer.push(s, DATA, &mut |_| true))?,
            0
        );
        Ok(())
    }

    #[test]
    fn a_fault_posts_nothing() -> Result {
        let (tx, mut writer) = Tx::fake(&config(32))?;
        let iter = Opaque::<bindings::iov_iter>::uninit();

        // SAFETY: The vector is static. It is in user space, where reading fails.
        let mut source = unsafe {
            bindings::iov_iter_init(
                iter.get(),
                bindings::ITER_SOURCE,
                &NOWHERE,
                1,
                NOWHERE.iov_len,
            );
            Source::new(IovIterSource::from_raw(iter.get()))
        };
        assert_eq!(writer.push(&mut source, DATA, &mut |_| true), Err(EFAULT));
        assert_eq!(tx.outstanding(), 0);
        assert_eq!(doorbells(&tx), 0);
        Ok(())
    }

    #[test]
    fn after_stop_nothing_is_posted_and_the_loss_is_known() -> Result {
        let (tx, mut writer) = Tx::fake(&config(32))?;
        let data = bytes(5 * FRAME_SIZE + 1)?;

        with_source(&data, |s| writer.push(s, DATA, &mut |_| true))?;
        tx.with_port(|port| port.complete(2, Status::completed));
        let lost = tx.stop_fake();
        assert_eq!(lost.frames, 4);
        assert_eq!(lost.bytes, 3 * FRAME_SIZE as u64 + 1);
        assert_eq!(tx.stats().completed_bytes.get(), 2 * FRAME_SIZE as u64);

        assert_eq!(
            with_source(&data, |s| writer.push(s, DATA, &mut |_| true)),
            Err(shut_down())
        );
        assert_eq!(writer.push_frame(CLOSE, &[0]), Err(shut_down()));
        assert!(!tx.is_running() && tx.outstanding() == 0 && tx.room() == 0);
        // Neither of these waits for ever.
        tx.wait_for_room(&mut || false)?;
        tx.wait_drained(&mut || false)
    }

    #[test]
    fn reads_of_any_size_see_every_byte_once() -> Result {
        for size in [1, 255, 4096, 5000, 20_000] {
            let (rx, mut reader) = Rx::fake(&config(32))?;
            let (mut sent, mut seen) = (0, 0);

            while seen < 200_000 {
                arrive(&rx, &mut sent, &[4096, 1, 4095, 17], DATA, 0);
                rx.scan_new(&mut |_| {});
                while seen < sent {
                    let copied = read(&mut reader, seen, size)?;

                    assert!(copied > 0);
                    seen += copied;
                }
                assert!(reader.peek().is_none() && rx.pending() == 0);
            }
        }
        Ok(())
    }

    #[test]
    fn a_close_is_seen_on_arrival_and_read_in_its_turn() -> Result {
        let (rx, mut reader) = Rx::fake(&config(32))?;
        let mut sent = 0;
        let mut closes = 0;
        let mut payload = [0; 4];

        arrive(&rx, &mut sent, &[100, 200], DATA, 0);
        arrive(&rx, &mut sent, &[256], CLOSE, 0);
        arrive(&rx, &mut sent, &[50], DATA, 0);
        for _ in 0..2 {
            rx.scan_new(&mut |arrival| {
                if arrival.frame.pdf == CLOSE {
                    closes += 1;
                    assert_eq!(arrival.payload(&mut payload), 4);
                }
            });
        }
        assert_eq!(closes, 1);
        assert_eq!(payload, [300, 301, 302, 303].map(pattern));

        assert_eq!(read(&mut reader, 0, 1000)?, 300);
        assert_eq!(reader.peek().map(|frame| frame.pdf), Some(CLOSE));
        reader.consume();
        assert_eq!(read(&mut reader, 556, 1000)?, 50);
        Ok(())
    }

    #[test]
    fn damage_ends_a_read_and_is_an_error_once() -> Result {
        let (rx, mut reader) = Rx::fake(&config(32))?;
        let mut sent = 0;

        arrive(&rx, &mut sent, &[100], DATA, 0);
        arrive(&rx, &mut sent, &[100], DATA, Status::CRC_ERROR);
        arrive(&rx, &mut sent, &[100], DATA, Status::OVERRUN);
        arrive(&rx, &mut sent, &[100], Pdf { sof: 1, eof: 9 }, 0);
        rx.scan_new(&mut |_| {});
        assert_eq!(rx.stats().crc_errors.get(), 1);
        assert_eq!(rx.stats().overruns.get(), 1);
        assert_eq!(rx.stats().unknown_pdfs.get(), 1);

        assert_eq!(read(&mut reader, 0, 1000)?, 100);
        for _ in 0..2 {
            assert_eq!(read(&mut reader, 0, 1000), Err(EIO));
            reader.consume();
        }
        assert_eq!(read(&mut reader, 300, 1000)?, 100);
        Ok(())
    }

    #[test]
    fn what_arrived_before_stop_can_be_read_after_it() -> Result {
        let (rx, mut reader) = Rx::fake(&config(32))?;
        let mut sent = 0;

        arrive(&rx, &mut sent, &[4096; 20], DATA, 0);
        assert_eq!(read(&mut reader, 0, 10)?, 0);
        rx.stop_fake();
        assert_eq!(rx.pending(), 20);
        assert_eq!(read(&mut reader, 0, 5000)?, 5000);
        assert_eq!(read(&mut reader, 5000, 100_000)?, 20 * 4096 - 5000);
        assert!(rx.pending() == 0 && !rx.is_running());
        rx.wait(&mut || false)
    }

    #[test]
    fn a_fault_leaves_the_frame() -> Result {
        let (rx, mut reader) = Rx::fake(&config(32))?;
        let iter = Opaque::<bindings::iov_iter>::uninit();
        let mut sent = 0;

        arrive(&rx, &mut sent, &[4096], DATA, 0);
        rx.scan_new(&mut |_| {});
        // SAFETY: The vector is static. It is in user space, where writing fails.
        let dest = unsafe {
            bindings::iov_iter_init(
                iter.get(),
                bindings::ITER_DEST,
                &NOWHERE,
                1,
                NOWHERE.iov_len,
            );
            IovIterDest::from_raw(iter.get())
        };
        assert!(matches!(reader.copy_out(dest), Err(EFAULT)));
        assert_eq!(read(&mut reader, 0, 5000)?, 4096);
        Ok(())
    }

    #[test]
    fn a_mebibyte_is_given_back_with_four_doorbells() -> Result {
        let (rx, mut reader) = Rx::fake(&config(256))?;
        let (mut sent, mut seen) = (0, 0);

        for _ in 0..2 {
            arrive(&rx, &mut sent, &[4096; 128], DATA, 0);
            rx.scan_new(&mut |_| {});
            seen += read(&mut reader, seen, 1 << 20)?;
        }
        assert_eq!(seen, 1 << 20);
        // And one to begin with.
        assert_eq!(rx.stats().doorbells.get(), 5);
        Ok(())
    }
}
