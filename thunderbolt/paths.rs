// SPDX-License-Identifier: GPL-2.0

//! Paths through the routers, from rings of this host to the peer and back.

use super::{
    bindings,
    bound::Attachment,
    errno,
    hopid::{
        HopId,
        In,
        Out, //
    },
    xdomain::XDomain, //
};
use kernel::{
    error::to_result,
    prelude::*,
    sync::Arc, //
};

/// The rings of this host at the ends of a pair of paths, by their numbers (`hop` of
/// `struct tb_ring`).
#[derive(Clone, Copy)]
pub(crate) struct RingHops {
    /// The ring that sends.
    pub(crate) transmit: c_int,
    /// The ring that receives.
    pub(crate) receive: c_int,
}

/// Two enabled paths, one for each direction; dropping them disables them.
///
/// To be enabled after the rings were started with buffers posted, and dropped before the
/// rings are stopped (`drivers/net/thunderbolt/main.c`, `tbnet_connected_work()`): else
/// credits may be lost and hops never drain.
///
/// # Invariants
///
/// `tb_xdomain_enable_paths()` was successful with these numbers and was not undone. The
/// HopIDs stay taken as long as the paths exist.
pub(crate) struct Paths {
    attachment: Attachment,
    out: Arc<HopId<Out>>,
    r#in: Arc<HopId<In>>,
    rings: RingHops,
}

impl Paths {
    /// Enables both paths. May sleep for seconds: the core's lock is held during hot-plug.
    ///
    /// # Errors
    ///
    /// - `ENXIO`: the cable is gone.
    /// - `ENOMEM`: a HopID or the rings' hops are in use by another path, there are no
    ///   credits left for DMA, or no memory.
    /// - `EIO`: a router did not take the configuration.
    /// - `EOPNOTSUPP`: the connection manager cannot do this, or not once more.
    pub(crate) fn enable(
        attachment: Attachment,
        out: Arc<HopId<Out>>,
        r#in: Arc<HopId<In>>,
        rings: RingHops,
    ) -> Result<Self> {
        if attachment.xdomain().is_unplugged() {
            return Err(ENXIO);
        }
        let raw = attachment.xdomain().as_raw();
        // SAFETY: The XDomain is alive and its domain has not been stopped, as the attachment
        // keeps the service bound.
        to_result(unsafe {
            bindings::tb_xdomain_enable_paths(
                raw,
                out.as_raw(),
                rings.transmit,
                r#in.as_raw(),
                rings.receive,
            )
        })
        // The core's own "not supported" is no errno that programs know.
        .map_err(|error| {
            if error == ENOTSUPP {
                errno::not_supported()
            } else {
                error
            }
        })?;
        // INVARIANT: They were enabled just now.
        let paths = Self {
            attachment,
            out,
            r#in,
            rings,
        };
        paths.check_not_orphaned()?;
        Ok(paths)
    }

    /// Undoes everything if the cable went while we waited for the core's lock.
    ///
    /// The core tears all paths of an XDomain down when it is unplugged, sets `is_unplugged`
    /// before that, and skips later requests to disable paths. Paths that were made after
    /// that would block their hops until the domain goes.
    fn check_not_orphaned(&self) -> Result {
        let xdomain = self.attachment.xdomain();
        if !xdomain.is_unplugged() {
            // An unplug from now on finds the paths.
            return Ok(());
        }
        disable_orphans(xdomain, self.numbers())?;
        Err(ENXIO)
    }

    /// Arguments of `tb_xdomain_disable_paths()`.
    fn numbers(&self) -> [c_int; 4] {
        [
            self.out.as_raw(),
            self.rings.transmit,
            self.r#in.as_raw(),
            self.rings.receive,
        ]
    }
}

impl Drop for Paths {
    fn drop(&mut self) {
        let [out, transmit, r#in, receive] = self.numbers();
        let raw = self.attachment.xdomain().as_raw();
        // SAFETY: By the type invariants; when the XDomain is unplugged the core only counts.
        let result = to_result(unsafe {
            bindings::tb_xdomain_disable_paths(raw, out, transmit, r#in, receive)
        });
        if let Err(error) = result {
            pr_err!("paths {out} (out) and {in} (in) could not be disabled: {error:?}\n", in = r#in);
        }
    }
}

/// Disables paths of an XDomain that is unplugged, which the core refuses to do.
///
/// The core is given a stand-in that is not unplugged and that it otherwise cannot tell from
/// the real one: to find the paths it looks at the domain, the parent and the route
/// (`__tb_disconnect_xdomain_paths()` in `drivers/thunderbolt/tb.c`), the firmware is told
/// link, depth and UUID (`drivers/thunderbolt/icm.c`). It does the same itself when it
/// handles the unplug.
///
/// # Errors
///
/// - `ENOMEM`: no memory, the paths are left alone.
fn disable_orphans(xdomain: &XDomain, [out, transmit, r#in, receive]: [c_int; 4]) -> Result {
    let mut stand_in: KBox<bindings::tb_xdomain> = KBox::init(pin_init::init_zeroed(), GFP_KERNEL)?;
    let real = xdomain.as_raw();
    // SAFETY: The XDomain is alive and these do not change; `stand_in` is not used after the
    // attachment that keeps them valid is gone.
    unsafe {
        stand_in.dev.parent = (*real).dev.parent;
        stand_in.tb = (*real).tb;
        stand_in.route = (*real).route;
        stand_in.remote_uuid = (*real).remote_uuid;
        stand_in.local_uuid = (*real).local_uuid;
        stand_in.link = (*real).link;
        stand_in.depth = (*real).depth;
    }
    // SAFETY: All that is looked at was copied above; nothing keeps the pointer.
    to_result(unsafe {
        bindings::tb_xdomain_disable_paths(&raw mut *stand_in, out, transmit, r#in, receive)
    })
}
