// SPDX-License-Identifier: GPL-2.0

//! Being bound to a service, and everything that has to end before that does.

use super::{
    service::Service,
    xdomain::{
        Nhi,
        XDomain, //
    }, //
};
use kernel::{
    new_condvar,
    new_mutex,
    prelude::*,
    sync::{
        aref::ARef,
        Arc,
        CondVar,
        Mutex, //
    }, //
};

/// A service that our driver is bound to.
///
/// Rings, HopIDs and paths need the service to stay bound: when unbinding is over, the core
/// may free the native host interface. So each of them holds an [`Attachment`], and the
/// driver's `remove` waits for the last one to be dropped.
#[pin_data]
pub(crate) struct Bound {
    service: ARef<Service>,
    #[pin]
    attachments: Mutex<Attachments>,
    #[pin]
    last_gone: CondVar,
}

/// Who is there.
struct Attachments {
    count: usize,
    /// Unbinding has begun, there will be no new ones.
    closed: bool,
}

impl Bound {
    /// # Errors
    ///
    /// - `ENOMEM`: no memory.
    pub(super) fn new(service: ARef<Service>) -> Result<Arc<Self>> {
        Arc::pin_init(
            pin_init!(Self {
                service,
                attachments <- new_mutex!(Attachments { count: 0, closed: false }),
                last_gone <- new_condvar!(),
            }),
            GFP_KERNEL,
        )
    }

    /// The service.
    pub(crate) fn service(&self) -> &ARef<Service> {
        &self.service
    }

    /// Keeps the service bound as long as what is returned exists.
    ///
    /// # Errors
    ///
    /// - `ENXIO`: it is being unbound.
    pub(crate) fn attach(self: &Arc<Self>) -> Result<Attachment> {
        let mut attachments = self.attachments.lock();
        if attachments.closed {
            return Err(ENXIO);
        }
        attachments.count += 1;
        Ok(Attachment(self.clone()))
    }

    /// Lets nobody attach any more.
    pub(super) fn close(&self) {
        self.attachments.lock().closed = true;
    }

    /// Waits until all that was attached is gone.
    pub(super) fn wait_until_unused(&self) {
        let mut attachments = self.attachments.lock();
        while attachments.count > 0 {
            self.last_gone.wait(&mut attachments);
        }
    }
}

/// Keeps a service bound, and with it its XDomain and native host interface usable.
///
/// Must be dropped soon after the driver's `remove` was called, which waits for that.
pub(crate) struct Attachment(Arc<Bound>);

impl Attachment {
    /// The service.
    pub(crate) fn service(&self) -> &Service {
        self.0.service()
    }

    /// The connection to the peer.
    pub(crate) fn xdomain(&self) -> &XDomain {
        self.service().xdomain()
    }

    /// The native host interface, to allocate rings from.
    pub(crate) fn nhi(&self) -> Nhi<'_> {
        // SAFETY: The service stays bound as long as `self` exists: `driver::Registration`
        // does not return from `remove` before, see `Bound::wait_until_unused()`.
        unsafe { self.xdomain().nhi() }
    }
}

impl Clone for Attachment {
    fn clone(&self) -> Self {
        // Even while unbinding: it waits for `self` anyway.
        self.0.attachments.lock().count += 1;
        Self(self.0.clone())
    }
}

impl Drop for Attachment {
    fn drop(&mut self) {
        let mut attachments = self.0.attachments.lock();
        attachments.count -= 1;
        if attachments.count == 0 {
            self.0.last_gone.notify_all();
        }
    }
}
