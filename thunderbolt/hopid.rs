// SPDX-License-Identifier: GPL-2.0

//! HopIDs of an XDomain as owned values.

use super::{
    bindings,
    bound::Attachment,
    xdomain::XDomain, //
};
use core::marker::PhantomData;
use kernel::prelude::*;

/// Smallest HopID for paths between hosts; the ones below are for the control channel
/// (`TB_PATH_MIN_HOPID` in `drivers/thunderbolt/tb.h`).
pub(crate) const MIN_HOPID: u32 = 8;

/// Where automatic allocation begins: 8 is left to thunderbolt-net, which takes the lowest
/// one when its interface is brought up and cannot live with another one at the other end.
pub(crate) const FIRST_AUTOMATIC_HOPID: u32 = MIN_HOPID + 1;

/// Frames from the peer.
pub(crate) enum In {}

/// Frames to the peer.
pub(crate) enum Out {}

/// A direction: [`In`] or [`Out`].
pub(crate) trait Direction {
    /// Largest HopID in this direction.
    fn max(xdomain: &XDomain) -> u32;

    /// Takes the lowest free one that is at least `hopid`.
    fn allocate(xdomain: &XDomain, hopid: c_int) -> c_int;

    /// Gives one back.
    ///
    /// # Safety
    ///
    /// `hopid` must be a result of [`Self::allocate`] that was not released since.
    unsafe fn release(xdomain: &XDomain, hopid: c_int);
}

impl Direction for In {
    fn max(xdomain: &XDomain) -> u32 {
        xdomain.max_in_hopid()
    }

    fn allocate(xdomain: &XDomain, hopid: c_int) -> c_int {
        // SAFETY: The XDomain is alive; the ID allocator has its own lock.
        unsafe { bindings::tb_xdomain_alloc_in_hopid(xdomain.as_raw(), hopid) }
    }

    unsafe fn release(xdomain: &XDomain, hopid: c_int) {
        // SAFETY: The XDomain is alive; by the safety requirements of this function the
        // HopID is allocated, so this does not warn.
        unsafe { bindings::tb_xdomain_release_in_hopid(xdomain.as_raw(), hopid) }
    }
}

impl Direction for Out {
    fn max(xdomain: &XDomain) -> u32 {
        xdomain.max_out_hopid()
    }

    fn allocate(xdomain: &XDomain, hopid: c_int) -> c_int {
        // SAFETY: As in `In::allocate()`.
        unsafe { bindings::tb_xdomain_alloc_out_hopid(xdomain.as_raw(), hopid) }
    }

    unsafe fn release(xdomain: &XDomain, hopid: c_int) {
        // SAFETY: As in `In::release()`.
        unsafe { bindings::tb_xdomain_release_out_hopid(xdomain.as_raw(), hopid) }
    }
}

/// A HopID that is ours until this value is dropped.
///
/// # Invariants
///
/// `hopid` was allocated from the XDomain of `attachment` and has not been released.
pub(crate) struct HopId<D: Direction> {
    attachment: Attachment,
    hopid: c_int,
    _direction: PhantomData<fn() -> D>,
}

impl<D: Direction> HopId<D> {
    /// Takes exactly `hopid`.
    ///
    /// # Errors
    ///
    /// - `EINVAL`: not in [`MIN_HOPID`]..=maximum of the XDomain.
    /// - `EBUSY`: somebody has it: another stream, thunderbolt-net, ...
    /// - `ENOMEM`: no memory.
    pub(crate) fn exact(attachment: &Attachment, hopid: u32) -> Result<Self> {
        if hopid < MIN_HOPID || hopid > D::max(attachment.xdomain()) {
            return Err(EINVAL);
        }
        match Self::at_least(attachment, hopid) {
            // Another one is released by its drop.
            Ok(got) if got.get() == hopid => Ok(got),
            Ok(_) => Err(EBUSY),
            Err(error) if error == ENOSPC => Err(EBUSY),
            Err(error) => Err(error),
        }
    }

    /// Takes the lowest free one, beginning at [`FIRST_AUTOMATIC_HOPID`].
    ///
    /// # Errors
    ///
    /// - `ENOSPC`: none is free.
    /// - `ENOMEM`: no memory.
    pub(crate) fn automatic(attachment: &Attachment) -> Result<Self> {
        if FIRST_AUTOMATIC_HOPID > D::max(attachment.xdomain()) {
            return Err(ENOSPC);
        }
        Self::at_least(attachment, FIRST_AUTOMATIC_HOPID)
    }

    fn at_least(attachment: &Attachment, hopid: u32) -> Result<Self> {
        let hopid = c_int::try_from(hopid).map_err(|_| EINVAL)?;
        let got = D::allocate(attachment.xdomain(), hopid);
        if got < 0 {
            return Err(Error::from_errno(got));
        }
        // INVARIANT: It was allocated just now.
        Ok(Self {
            attachment: attachment.clone(),
            hopid: got,
            _direction: PhantomData,
        })
    }

    /// The number.
    pub(crate) fn get(&self) -> u32 {
        self.hopid.unsigned_abs()
    }

    /// The number as C has it.
    pub(super) fn as_raw(&self) -> c_int {
        self.hopid
    }
}

impl<D: Direction> Drop for HopId<D> {
    fn drop(&mut self) {
        // SAFETY: By the type invariants.
        unsafe { D::release(self.attachment.xdomain(), self.hopid) };
    }
}

#[cfg(CONFIG_THUNDERBOLT_STREAM_KUNIT_TEST)]
#[kunit_tests(thunderbolt_stream_hopid)]
mod tests {
    use super::*;
    use crate::thunderbolt::fake::{
        Fake,
        MAX_IN,
        MAX_OUT, //
    };

    fn exact<D: Direction>(attachment: &Attachment, hopid: u32) -> Result<u32> {
        HopId::<D>::exact(attachment, hopid).map(|hopid| hopid.get())
    }

    #[test]
    fn ranges() -> Result {
        let fake = Fake::new()?;
        let attachment = fake.attach()?;
        for hopid in [
            0,
            1,
            7,
            MAX_IN + 1,
            5000,
            0x7fff_ffff,
            0x8000_0000,
            u32::MAX,
        ] {
            assert!(exact::<In>(&attachment, hopid) == Err(EINVAL));
        }
        for hopid in [0, 7, MAX_OUT + 1, u32::MAX] {
            assert!(exact::<Out>(&attachment, hopid) == Err(EINVAL));
        }
        for hopid in MIN_HOPID..=MAX_IN {
            assert!(exact::<In>(&attachment, hopid) == Ok(hopid));
        }
        for hopid in MIN_HOPID..=MAX_OUT {
            assert!(exact::<Out>(&attachment, hopid) == Ok(hopid));
        }
        Ok(())
    }

    #[test]
    fn taken_until_dropped() -> Result {
        let fake = Fake::new()?;
        let attachment = fake.attach()?;
        let nine = HopId::<In>::exact(&attachment, 9)?;
        assert!(exact::<In>(&attachment, 9) == Err(EBUSY));
        assert!(exact::<Out>(&attachment, 9) == Ok(9));
        // The last one: nothing above it could be taken instead.
        let last = HopId::<In>::exact(&attachment, MAX_IN)?;
        assert!(exact::<In>(&attachment, MAX_IN) == Err(EBUSY));
        drop(nine);
        assert!(exact::<In>(&attachment, 9) == Ok(9));
        drop(last);
        assert!(exact::<In>(&attachment, MAX_IN) == Ok(MAX_IN));
        Ok(())
    }

    #[test]
    fn automatic_leaves_the_first() -> Result {
        let fake = Fake::new()?;
        let attachment = fake.attach()?;
        let mut taken = KVec::new();
        for expected in FIRST_AUTOMATIC_HOPID..=MAX_IN {
            let hopid = HopId::<In>::automatic(&attachment)?;
            assert_eq!(hopid.get(), expected);
            taken.push(hopid, GFP_KERNEL)?;
        }
        assert!(HopId::<In>::automatic(&attachment).err() == Some(ENOSPC));
        assert!(exact::<In>(&attachment, MIN_HOPID) == Ok(MIN_HOPID));
        drop(taken.remove(1));
        assert_eq!(HopId::<In>::automatic(&attachment)?.get(), 10);
        Ok(())
    }

    #[test]
    fn none_while_unbinding() -> Result {
        let fake = Fake::new()?;
        let bound = fake.bound()?;
        let attachment = bound.attach()?;
        bound.close();
        assert!(bound.attach().err() == Some(ENXIO));
        let hopid = HopId::<In>::exact(&attachment, 9)?;
        drop(attachment);
        drop(hopid);
        // Would not return if something was still attached.
        bound.wait_until_unused();
        Ok(())
    }
}
