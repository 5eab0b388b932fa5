// SPDX-License-Identifier: GPL-2.0

//! Where the protocol ([`Session`]) and the rings meet.
//!
//! Frames are looked at by whoever comes first (a reader, a writer that waits, `poll(2)`, the
//! worker); [`Channel::scan`] tells the session of each once, in order. What the session then
//! wants done at an end of a ring (drop frames that nobody will read, send a CLOSE frame) is done
//! by who is inside the ring's [`Gate`](super::gate::Gate), or goes in for it.

use super::{
    close::Close,
    failure::Failure,
    rings::{
        Rings,
        CLOSE, //
    },
    session::{
        Access,
        FileToken,
        Frame,
        PeerKind,
        Session,
        Settled,
        Wake, //
    },
    totals::Totals,
};
use crate::{
    dma::{
        self,
        Arrival,
        Reader,
        WaitQueue, //
    },
    thunderbolt::random::random, //
};
use kernel::{
    new_spinlock,
    prelude::*,
    sync::{
        Arc,
        SpinLock, //
    },
};

/// The data path of one stream.
#[pin_data]
pub(super) struct Channel {
    #[pin]
    shared: SpinLock<Shared>,
    /// Readers, and files polled for input. Outlives all rings.
    pub(super) rx_queue: Arc<WaitQueue>,
    /// Writers, and files polled for output.
    pub(super) tx_queue: Arc<WaitQueue>,
}

/// What `Channel::shared` protects. Taken inside the locks of `dma/`, which must not be taken
/// inside it.
pub(super) struct Shared {
    pub(super) session: Session,
    /// The session's connection is up. It may be without rings while nobody needs them.
    pub(super) up: bool,
    /// The rings of that connection.
    pub(super) current: Option<Arc<Rings>>,
    /// Those of the one before, stopped: what they brought can still be read.
    pub(super) last: Option<Arc<Rings>>,
    /// Counts changes that are no frames: whoever waits looks at everything again.
    pub(super) news: u64,
    /// Bytes that the TX ring has sent, as far as the session knows.
    sent: u64,
    /// The connection is about to go: nothing more is accepted.
    pub(super) closing: bool,
    /// Why there is no connection although there could be one.
    pub(super) failure: Failure,
    /// What earlier rings have done.
    pub(super) totals: Totals,
}

impl Shared {
    /// The rings that are to be read from.
    pub(super) fn readable(&self) -> Option<&Arc<Rings>> {
        if self.up {
            self.current.as_ref()
        } else {
            self.last.as_ref()
        }
    }

    /// Whether the session is about the frames of these rings.
    pub(super) fn is_about(&self, rings: &Rings) -> bool {
        self.readable()
            .is_some_and(|it| core::ptr::eq(&**it, rings))
    }

    /// Tells the session what the TX ring has sent.
    fn note_sent(&mut self, rings: &Rings, sent: u64) -> Wake {
        let bytes = sent.saturating_sub(self.sent);
        let current = self
            .current
            .as_ref()
            .is_some_and(|it| core::ptr::eq(&**it, rings));
        if !current || bytes == 0 {
            return Wake::default();
        }
        self.sent = sent;
        self.session.completed(bytes)
    }
}

impl Channel {
    /// # Errors
    ///
    /// - `ENOMEM`: no memory.
    pub(super) fn new() -> Result<impl PinInit<Self>> {
        let rx_queue = Arc::pin_init(WaitQueue::new(), GFP_KERNEL)?;
        let tx_queue = Arc::pin_init(WaitQueue::new(), GFP_KERNEL)?;
        let mut session = Session::new();
        session.set_epoch(random());
        Ok(pin_init!(Self {
            shared <- new_spinlock!(Shared {
                session,
                up: false,
                current: None,
                last: None,
                news: 0,
                sent: 0,
                closing: false,
                failure: Failure::new(),
                totals: Totals::default(),
            }),
            rx_queue,
            tx_queue,
        }))
    }

    /// Asks or changes something under the lock. `f` must not sleep, nor call `dma/`.
    pub(super) fn with<R>(&self, f: impl FnOnce(&mut Shared) -> R) -> R {
        f(&mut self.shared.lock())
    }

    /// The rings to read from, if there are any.
    pub(super) fn readable(&self) -> Option<Arc<Rings>> {
        self.with(|shared| shared.readable().cloned())
    }

    /// The rings to write to, if there are any.
    pub(super) fn writable(&self) -> Option<Arc<Rings>> {
        self.with(|shared| shared.current.clone())
    }

    /// What has changed since the last time; to be asked before looking at anything else.
    pub(super) fn news(&self) -> u64 {
        self.with(|shared| shared.news)
    }

    /// Lets everybody look at everything again.
    pub(super) fn announce(&self) {
        self.with(|shared| shared.news += 1);
        self.wake(Wake {
            readers: true,
            writers: true,
        });
    }

    fn wake(&self, wake: Wake) {
        if wake.readers {
            self.rx_queue.wake();
        }
        if wake.writers {
            self.tx_queue.wake();
        }
    }

    // -- the connection --------------------------------------------------------------------

    /// `rings` are running.
    pub(super) fn connect(&self, rings: Arc<Rings>, peer: PeerKind) {
        let old = self.with(|shared| {
            if !shared.up {
                shared.session.link_up(peer);
            }
            shared.up = true;
            shared.closing = false;
            shared.sent = 0;
            shared.current = Some(rings);
            shared.failure.clear();
            shared.last.take()
        });
        self.bury(old);
        self.announce();
    }

    /// The rings were stopped. Unless the connection stays (`parked`: nothing was under way, and
    /// it goes on with other rings), everybody has to be told.
    pub(super) fn disconnect(&self, rings: &Arc<Rings>, parked: bool) {
        self.note_sent(rings);
        let old = self.with(|shared| {
            shared.totals.add(rings);
            if parked {
                return shared.current.take();
            }
            shared.session.link_down();
            shared.up = false;
            let current = shared.current.take();
            core::mem::replace(&mut shared.last, current)
        });
        self.bury(old);
        self.announce();
    }

    /// The connection goes, with or without rings; files that wait for one are given up.
    pub(super) fn give_up(&self) {
        self.with(|shared| {
            shared.session.link_down();
            shared.up = false;
        });
        self.announce();
    }

    // -- files -----------------------------------------------------------------------------

    /// A file is opened.
    pub(super) fn open(&self, access: Access) -> FileToken {
        if let Some(rings) = self.readable() {
            self.scan(&rings);
            self.settle(&rings);
        }
        self.with(|shared| shared.session.open(access))
    }

    /// A file is closed, by somebody who was `killed` perhaps.
    pub(super) fn release(&self, file: FileToken, killed: bool) {
        let rings = self.readable();
        if let Some(rings) = &rings {
            self.scan(rings);
            self.settle(rings);
        }
        self.with(|shared| {
            if killed {
                shared.session.killed(&file);
            }
            shared.session.release(file);
        });
        if let Some(rings) = &rings {
            self.follow_up(rings);
        }
        // Who else has the file's session open may have to see that.
        self.announce();
    }

    // -- frames ----------------------------------------------------------------------------

    /// Looks for frames that have arrived or left. Does not sleep.
    pub(super) fn scan(&self, rings: &Rings) {
        let mut wake = Wake::default();
        rings.rx.scan_new(&mut |arrival| {
            let new = self.arrived(rings, arrival);
            wake.readers |= new.readers;
            wake.writers |= new.writers;
        });
        self.wake(wake);
        self.note_sent(rings);
        self.follow_up(rings);
    }

    /// Frames of one kind have arrived.
    pub(super) fn arrived(&self, rings: &Rings, arrival: &Arrival<'_>) -> Wake {
        let frame = classify(&arrival.frame, 0, |to| arrival.payload(to));
        self.with(|shared| {
            if !shared.is_about(rings) {
                return Wake::default();
            }
            for _ in 1..arrival.frames {
                shared.session.frame_arrived(frame);
            }
            shared.session.frame_arrived(frame)
        })
    }

    fn note_sent(&self, rings: &Rings) {
        let sent = rings.tx.sent_bytes();
        let wake = self.with(|shared| shared.note_sent(rings, sent));
        self.wake(wake);
    }

    /// Does what the session wants to have done. Does not sleep.
    pub(super) fn follow_up(&self, rings: &Rings) {
        let (drop_frames, send_close) = self.with(|shared| {
            (
                shared.is_about(rings) && shared.session.discarding(),
                shared.session.close_due(),
            )
        });
        if drop_frames {
            self.settle(rings);
        }
        if send_close {
            self.send_closes(rings);
        }
    }

    /// Drops what the session does not want at the head of the RX ring. When somebody else is at
    /// it, he does that before he leaves.
    pub(super) fn settle(&self, rings: &Rings) {
        rings.reader.request();
        self.finish_reading(rings);
    }

    /// To be called after having left the gate of the RX ring.
    pub(super) fn finish_reading(&self, rings: &Rings) {
        while let Some(mut inside) = rings.reader.pending() {
            if let Some(reader) = inside.get() {
                self.settle_head(rings, reader);
                self.empty_if_buried(rings, reader);
            }
        }
    }

    /// The same for who is inside; returns whether there is a frame of data at the head.
    pub(super) fn settle_head(&self, rings: &Rings, reader: &mut Reader) -> bool {
        while let Some(head) = head_of(reader) {
            let settled = self.with(|shared| {
                if shared.is_about(rings) {
                    shared.session.settle(head)
                } else {
                    Settled::Keep
                }
            });
            if settled == Settled::Keep {
                return matches!(head, Frame::Data(_));
            }
            reader.consume();
        }
        false
    }

    /// Sends the CLOSE frames that are due, as far as there are slots. When somebody else is at
    /// the TX ring, he does that before he leaves.
    pub(super) fn send_closes(&self, rings: &Rings) {
        rings.writer.request();
        self.finish_writing(rings);
    }

    /// To be called after having left the gate of the TX ring.
    pub(super) fn finish_writing(&self, rings: &Rings) {
        while let Some(mut inside) = rings.writer.pending() {
            let Some(writer) = inside.get() else {
                return;
            };
            while writer.has_slot() {
                let close = self.with(|shared| {
                    if shared.is_about(rings) {
                        shared.session.take_close()
                    } else {
                        None
                    }
                });
                let Some(close) = close else {
                    break;
                };
                if let Err(error) = writer.push_frame(CLOSE, &close.encode()) {
                    // The ring was stopped: the connection is going, which is an error of its
                    // own to both ends.
                    pr_debug!("a CLOSE frame could not be sent: {error:?}\n");
                    return;
                }
            }
        }
    }
}

/// What is left of the frame at the head of the RX ring, as the session wants to know it.
fn head_of(reader: &mut Reader) -> Option<Frame> {
    let frame = reader.peek()?;
    let offset = reader.offset();
    Some(classify(&frame, offset, |to| reader.payload(to)))
}

/// A frame as the session wants to know it, without the `offset` bytes that were read.
fn classify(frame: &dma::Frame, offset: usize, payload: impl FnOnce(&mut [u8]) -> usize) -> Frame {
    let close = frame.pdf.eof == CLOSE.eof;
    if frame.damage.is_some() {
        Frame::Damaged { close }
    } else if frame.pdf == super::rings::DATA {
        // CAST: At most 4096.
        Frame::Data(frame.length.saturating_sub(offset) as u32)
    } else if frame.pdf == CLOSE {
        let mut bytes = [0; Close::BYTES];
        let length = payload(&mut bytes);
        Frame::Close(bytes.get(..length).and_then(Close::decode))
    } else {
        Frame::Unknown
    }
}
