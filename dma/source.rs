// SPDX-License-Identifier: GPL-2.0

//! What a program wants to send: bytes to copy, or pages that may be sent from where they are, by
//! `sendfile(2)` and `splice(2)`.

use core::ptr::{
    self,
    NonNull, //
};

use kernel::{
    bindings,
    iov::IovIterSource, //
};

use super::registers::FRAME_SIZE;

/// What is to be sent.
///
/// # Invariants
///
/// If `lend`, `iter` is made of pages that may be kept by a reference to them.
pub(crate) struct Source<'iter, 'data> {
    iter: &'iter mut IovIterSource<'data>,
    lend: bool,
}

impl<'iter, 'data> Source<'iter, 'data> {
    /// Data that belongs to the caller again once the call returns.
    pub(crate) fn new(iter: &'iter mut IovIterSource<'data>) -> Self {
        // INVARIANT: `lend` is false.
        Self { iter, lend: false }
    }

    /// Data in pages that may be sent from where they are.
    ///
    /// # Safety
    ///
    /// `iter` must be made of pages (`ITER_BVEC`) that may be kept by a reference to them: those of
    /// a pipe may, but for slabs, which have no business there (`skb_splice_from_iter()` in
    /// `net/core/skbuff.c` relies on that too).
    pub(crate) unsafe fn of_pages(iter: &'iter mut IovIterSource<'data>) -> Self {
        // INVARIANT: By the safety requirements of this function.
        Self { iter, lend: true }
    }

    /// Whether whole pages are sent from where they are.
    pub(crate) fn lends(&self) -> bool {
        self.lend
    }

    /// Bytes left.
    pub(crate) fn len(&self) -> usize {
        self.iter.len()
    }

    /// Whether nothing is left.
    pub(crate) fn is_empty(&self) -> bool {
        self.iter.is_empty()
    }

    /// Takes the next frame without copying, if that is allowed and it is all in one page.
    pub(super) fn take_page(&mut self) -> Option<LentPage> {
        let iter = self.iter.as_raw();
        // SAFETY: By the type invariants of `IovIterSource`.
        if !self.lend || unsafe { bindings::iov_iter_single_seg_count(iter) } < FRAME_SIZE {
            return None;
        }
        let (mut page, mut offset) = (ptr::null_mut(), 0);
        // SAFETY: As above; there is room for one page.
        let taken =
            unsafe { bindings::iov_iter_get_pages2(iter, &mut page, FRAME_SIZE, 1, &mut offset) };
        let taken = usize::try_from(taken).ok().filter(|&bytes| bytes > 0)?;
        // INVARIANT: The call has taken a reference for us, by our own invariants. If it is not a
        // whole frame, this is dropped below.
        let lent = LentPage {
            page: NonNull::new(page)?,
            offset,
        };
        if taken < FRAME_SIZE || offset % FRAME_SIZE != 0 {
            // SAFETY: So many bytes were taken from it just now.
            unsafe { self.revert(taken) };
            return None;
        }
        Some(lent)
    }

    /// Copies up to `bytes` bytes to `buffer`. Returns how many could be read.
    ///
    /// # Safety
    ///
    /// `buffer` must be valid for writing as many.
    pub(super) unsafe fn copy_to(&mut self, buffer: NonNull<u8>, bytes: usize) -> usize {
        // SAFETY: By the safety requirements of this function; the source may be read, by the
        // type invariants of `IovIterSource`.
        unsafe { bindings::_copy_from_iter(buffer.as_ptr().cast(), bytes, self.iter.as_raw()) }
    }

    /// Gives `bytes` bytes back.
    ///
    /// # Safety
    ///
    /// So many must have been taken from it.
    pub(super) unsafe fn revert(&mut self, bytes: usize) {
        // SAFETY: By the safety requirements of this function.
        unsafe { self.iter.revert(bytes) };
    }
}

/// A frame full of data in a page that somebody else owns too.
///
/// # Invariants
///
/// We hold a reference to `page`, a part of which are the [`FRAME_SIZE`] bytes at `offset`.
pub(crate) struct LentPage {
    pub(super) page: NonNull<bindings::page>,
    pub(super) offset: usize,
}

// SAFETY: References to pages may be given up by any thread.
unsafe impl Send for LentPage {}

impl Drop for LentPage {
    fn drop(&mut self) {
        let mut page = self.page.as_ptr();

        // SAFETY: By the type invariants we have a reference to give up. May be called from
        // atomic context.
        unsafe { bindings::release_pages(bindings::release_pages_arg { pages: &mut page }, 1) };
    }
}

#[cfg(CONFIG_THUNDERBOLT_STREAM_KUNIT_TEST)]
#[kernel::macros::kunit_tests(thunderbolt_stream_dma_source)]
mod tests {
    use super::{
        super::{
            registers::{
                Pdf,
                Status, //
            },
            Config,
            Tx, //
        },
        *, //
    };
    use kernel::{
        prelude::*,
        types::Opaque, //
    };

    const DATA: Pdf = Pdf { sof: 1, eof: 2 };
    const CONFIG: Config = Config {
        ring_size: 32,
        throttling: 0,
        busy_poll: false,
        spin_us: 0,
        plain: DATA,
        sof_mask: 1 << DATA.sof,
        eof_mask: 1 << DATA.eof,
    };

    /// A page of its own, of which nobody else has a reference.
    struct Whole(NonNull<bindings::page>);

    impl Whole {
        fn new() -> Result<Self> {
            // SAFETY: Any flags and order may be asked for.
            let page = unsafe { bindings::alloc_pages(bindings::GFP_KERNEL, 0) };
            Ok(Self(NonNull::new(page).ok_or(ENOMEM)?))
        }

        fn references(&self) -> i32 {
            // SAFETY: The page is ours. Nobody else changes the count in these tests.
            unsafe { (*self.0.as_ptr())._refcount.counter }
        }
    }

    impl Drop for Whole {
        fn drop(&mut self) {
            // SAFETY: It is ours.
            unsafe { bindings::__free_pages(self.0.as_ptr(), 0) };
        }
    }

    /// `(offset, length)` of each segment, all of the same page.
    fn with_pages<R>(
        page: &Whole,
        segments: &[(u32, u32)],
        f: impl FnOnce(&mut Source<'_, '_>) -> R,
    ) -> Result<R> {
        let mut vec = KVec::new();
        let mut total = 0;
        for &(bv_offset, bv_len) in segments {
            let bv_page = page.0.as_ptr();
            vec.push(
                bindings::bio_vec {
                    bv_page,
                    bv_len,
                    bv_offset,
                },
                GFP_KERNEL,
            )?;
            total += bv_len as usize;
        }
        let iter = Opaque::<bindings::iov_iter>::uninit();
        let count = segments.len();
        // SAFETY: Vector and page outlive the iterator, and the page may be kept by a reference.
        Ok(unsafe {
            bindings::iov_iter_bvec(
                iter.get(),
                bindings::ITER_SOURCE,
                vec.as_ptr(),
                count,
                total,
            );
            f(&mut Source::of_pages(IovIterSource::from_raw(iter.get())))
        })
    }

    #[test]
    fn whole_pages_are_kept_until_they_have_left() -> Result {
        let page = Whole::new()?;
        let (tx, mut writer) = Tx::fake(&CONFIG)?;

        let pushed = with_pages(&page, &[(0, 4096); 3], |s| {
            writer.push(s, DATA, &mut |_| true)
        })??;
        assert_eq!(pushed, 3 * FRAME_SIZE);
        assert_eq!((page.references(), tx.lent()), (4, 3));

        tx.with_port(|port| port.complete(2, Status::completed));
        assert_eq!((tx.lent(), page.references()), (1, 2));

        // What the device never sent goes with the ring.
        drop(writer);
        tx.stop_fake();
        assert_eq!(page.references(), 1);
        Ok(())
    }

    #[test]
    fn parts_of_pages_are_copied() -> Result {
        let page = Whole::new()?;
        let (tx, mut writer) = Tx::fake(&CONFIG)?;
        let segments = [(0, 4096), (8, 4088), (0, 8), (0, 4096), (0, 1)];

        let pushed = with_pages(&page, &segments, |s| writer.push(s, DATA, &mut |_| true))??;
        assert_eq!(pushed, 3 * FRAME_SIZE + 1);
        assert_eq!(tx.outstanding(), 4);
        assert_eq!((tx.lent(), page.references()), (2, 3));
        Ok(())
    }

    #[test]
    fn what_cannot_be_mapped_is_copied() -> Result {
        let page = Whole::new()?;
        let (tx, mut writer) = Tx::fake(&CONFIG)?;

        tx.with_port(|port| port.refuses_pages = true);
        let pushed = with_pages(&page, &[(0, 4096); 2], |s| {
            writer.push(s, DATA, &mut |_| true)
        })??;
        assert_eq!(pushed, 2 * FRAME_SIZE);
        assert_eq!((tx.lent(), page.references()), (0, 1));
        Ok(())
    }

    #[test]
    fn what_is_not_accepted_is_given_back() -> Result {
        let page = Whole::new()?;
        let (tx, mut writer) = Tx::fake(&CONFIG)?;

        with_pages(&page, &[(0, 4096); 2], |s| {
            assert_eq!(writer.push(s, DATA, &mut |_| false), Ok(0));
            assert_eq!(s.len(), 2 * FRAME_SIZE);
        })?;
        assert_eq!((tx.lent(), page.references()), (0, 1));
        Ok(())
    }

    #[test]
    fn a_program_gets_its_memory_back() -> Result {
        let page = Whole::new()?;
        let (tx, mut writer) = Tx::fake(&CONFIG)?;

        with_pages(&page, &[(0, 4096)], |s| {
            let mut copied = Source::new(s.iter);
            writer.push(&mut copied, DATA, &mut |_| true)
        })??;
        assert_eq!((tx.outstanding(), tx.lent(), page.references()), (1, 0, 1));
        Ok(())
    }
}
