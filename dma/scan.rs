// SPDX-License-Identifier: GPL-2.0

//! Finding out what has arrived in an RX ring.

use kernel::sync::atomic::{
    Relaxed,
    Release, //
};

use super::{
    frame::{
        Arrival,
        Damage,
        Frame, //
    },
    interrupt::Delivery,
    registers::Pdf,
    rx::Rx,
    rx_indices::RxIndices,
    slots::Port, //
};

/// Frames to look at before the lock is given up for a moment.
const SCAN_BATCH: u32 = 64;

/// Frames one behind the other that `visit` is told of in one go.
struct Run {
    first: Frame,
    slot: u32,
    frames: u32,
}

impl<P: Port> Rx<P> {
    /// Looks for frames that arrived; calls `visit` for each, in order, once for a run of intact
    /// ones with the PDFs [`Config::plain`](super::Config::plain). Returns how many there were.
    ///
    /// `visit` is called under the ring's lock: it must not sleep, nor call this ring.
    pub(crate) fn scan_new(&self, visit: &mut dyn FnMut(&Arrival<'_>)) -> u32 {
        let mut total = 0;

        loop {
            let found = self.scan_batch(visit);

            total += found;
            if found < SCAN_BATCH {
                break;
            }
        }
        // Somebody was sent by the ticker, after a time without interrupts, and found something.
        let ticked = self.queue().take_tick();
        if total != 0 && ticked && self.context.delivery() != Delivery::None {
            self.context.interrupt_was_lost();
        }
        total
    }

    fn scan_batch(&self, visit: &mut dyn FnMut(&Arrival<'_>)) -> u32 {
        let mut state = self.state.lock();
        let Some(indices) = &mut state.indices else {
            return 0;
        };
        let (mut found, mut bytes) = (0, 0);
        let mut run: Option<Run> = None;

        while found < SCAN_BATCH {
            let Some((slot, status)) = indices.scan() else {
                break;
            };
            let frame = Frame::new(status);

            found += 1;
            bytes += frame.length as u64;
            if let Some(entry) = self.arrived.get(slot as usize) {
                entry.store(status.into_raw(), Relaxed);
            }
            let plain = frame.damage.is_none() && frame.pdf == self.plain;
            if let (Some(run), true) = (&mut run, plain) {
                run.frames += 1;
                continue;
            }
            self.show(indices, run.take(), visit);
            let new = Run {
                first: frame,
                slot,
                frames: 1,
            };
            if plain {
                run = Some(new);
            } else {
                self.count_oddities(&frame);
                self.show(indices, Some(new), visit);
            }
        }
        self.show(indices, run, visit);
        if found != 0 {
            self.stats().frames.add(u64::from(found));
            self.stats().bytes.add(bytes);
            // Pairs with the load in `pending()`: who sees the number sees the entries.
            let scanned = self.scanned.load(Relaxed).wrapping_add(found);
            self.scanned.store(scanned, Release);
        }
        found
    }

    fn show(&self, indices: &RxIndices<P>, run: Option<Run>, visit: &mut dyn FnMut(&Arrival<'_>)) {
        let Some(run) = run else {
            return;
        };

        visit(&Arrival {
            frame: run.first,
            frames: run.frames,
            memory: &self.memory,
            port: indices.port(),
            slot: run.slot,
        });
    }

    fn count_oddities(&self, frame: &Frame) {
        let Pdf { sof, eof } = frame.pdf;

        match frame.damage {
            Some(Damage::Crc) => self.stats().crc_errors.add(1),
            Some(Damage::Overrun) => self.stats().overruns.add(1),
            None if self.sof_mask >> sof & self.eof_mask >> eof & 1 == 0 => {
                self.stats().unknown_pdfs.add(1)
            }
            None => {}
        }
    }
}

#[cfg(CONFIG_THUNDERBOLT_STREAM_KUNIT_TEST)]
#[kernel::macros::kunit_tests(thunderbolt_stream_dma_scan)]
mod tests {
    use kernel::prelude::*;

    use super::{
        super::{
            registers::Status,
            Config, //
        },
        *, //
    };

    const DATA: Pdf = Pdf { sof: 1, eof: 2 };
    const CLOSE: Pdf = Pdf { sof: 1, eof: 3 };
    const CONFIG: Config = Config {
        ring_size: 256,
        throttling: 0,
        busy_poll: false,
        spin_us: 0,
        plain: DATA,
        sof_mask: 1 << DATA.sof,
        eof_mask: 1 << DATA.eof | 1 << CLOSE.eof,
    };

    #[test]
    fn runs_end_with_whatever_is_not_plain() -> Result {
        let (rx, _reader) = Rx::fake(&CONFIG)?;
        let mut seen = KVec::new();

        for (frames, pdf, flags) in [
            (3, DATA, 0),
            (2, CLOSE, 0),
            (2, DATA, 0),
            (1, DATA, Status::CRC_ERROR),
            (100, DATA, 0),
        ] {
            rx.with_port(|port| port.complete(frames, |_| Status::received(9, pdf, flags)));
        }
        let found = rx.scan_new(&mut |arrival| {
            // It would show in the comparison if one were missing.
            let _ = seen.push((arrival.frames, arrival.slot), GFP_KERNEL);
        });

        assert_eq!(found, 108);
        assert_eq!(rx.stats().crc_errors.get(), 1);
        // 64 frames are looked at in one go.
        let runs = [(3, 0), (1, 3), (1, 4), (2, 5), (1, 7), (56, 8), (44, 64)];
        assert_eq!(seen.as_slice(), &runs);
        Ok(())
    }
}
