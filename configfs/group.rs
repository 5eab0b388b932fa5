// SPDX-License-Identifier: GPL-2.0

//! ConfigFS directories below a subsystem that is somebody else's.
//!
//! C header: [`include/linux/configfs.h`](srctree/include/linux/configfs.h)
//!
//! A staging place for what `kernel::configfs` lacks: a mode for each attribute, an owner that
//! keeps the module loaded while an attribute is open, and the data of a directory that is
//! being removed. All `unsafe` of the directory tree is here and in [`file`].

mod file;

pub(crate) use self::file::{
    Attribute,
    File,
    Files,
    Writable, //
};
use crate::thunderbolt::{
    bindings,
    driver::THIS_MODULE, //
};
use core::{
    cell::UnsafeCell,
    marker::PhantomData,
    ptr, //
};
use kernel::{
    container_of,
    error::to_result,
    prelude::*,
    sync::{
        Arc,
        Completion, //
    }, //
};

/// What a directory is about.
pub(crate) trait Directory: Sized + Send + Sync + 'static {
    /// Attributes of the directory, and whether `mkdir` works in it.
    const TYPE: Type<Self>;

    /// `rmdir` was called, the directory is no longer visible. Runs under the mutex of the
    /// subsystem (`su_mutex`), as [`Parent::make`] does.
    fn removed(&self) {}
}

/// A directory in which `mkdir` works.
pub(crate) trait Parent: Directory {
    /// What is made.
    type Child: Directory;

    /// `mkdir` of `name`.
    ///
    /// # Errors
    ///
    /// Any: it is the one of mkdir(2).
    fn make(&self, name: &CStr) -> Result<Self::Child>;
}

/// The C structure that says what a directory can do.
///
/// # Invariants
///
/// It is used for items of `Group<D>` only.
#[repr(transparent)]
pub(crate) struct Type<D>(bindings::config_item_type, PhantomData<D>);

impl<D: Directory> Type<D> {
    const ITEM_OPERATIONS: &'static bindings::configfs_item_operations =
        &bindings::configfs_item_operations {
            release: Some(Group::<D>::release),
            allow_link: None,
            drop_link: None,
        };

    /// A directory with these files.
    pub(crate) const fn leaf<const N: usize>(files: &'static Files<D, N>) -> Self {
        let mut this = Self::new(ptr::null());
        // Files are only read, whatever the C type says.
        this.0.ct_attrs = ptr::from_ref(files).cast_mut().cast();
        this
    }

    /// A directory without files of its own, for directories.
    pub(crate) const fn parent() -> Self
    where
        D: Parent,
    {
        Self::new(Group::<D>::OPERATIONS)
    }

    const fn new(operations: *const bindings::configfs_group_operations) -> Self {
        Self(
            bindings::config_item_type {
                ct_owner: THIS_MODULE,
                ct_item_ops: Self::ITEM_OPERATIONS,
                ct_group_ops: operations,
                ct_attrs: ptr::null_mut(),
                ct_bin_attrs: ptr::null_mut(),
            },
            PhantomData,
        )
    }
}

/// A directory, allocated by us, counted by configfs.
///
/// # Invariants
///
/// In a `KBox` whose raw pointer belongs to the reference count of `group`; `release` frees it.
#[repr(C)]
struct Group<D> {
    group: UnsafeCell<bindings::config_group>,
    data: D,
    /// To be told when this is freed.
    freed: Option<Arc<Completion>>,
}

impl<D: Directory> Group<D> {
    /// In a constant, for an address that stays.
    const TYPE: &'static Type<D> = &D::TYPE;

    /// Makes one with a reference count of one.
    ///
    /// # Errors
    ///
    /// - `ENOMEM`: no memory.
    fn allocate(
        name: &CStr,
        data: D,
        freed: Option<Arc<Completion>>,
    ) -> Result<*mut bindings::config_group> {
        let this = KBox::new(
            Self {
                group: UnsafeCell::new(pin_init::zeroed()),
                data,
                freed,
            },
            GFP_KERNEL,
        )?;
        // INVARIANT: `release()` gets it back.
        let group = KBox::into_raw(this).cast::<bindings::config_group>();
        // SAFETY: It is zeroed and stays where it is; the name is copied. Nobody writes to the
        // type, whatever C says.
        unsafe {
            bindings::config_group_init_type_name(
                group,
                name.as_char_ptr(),
                ptr::from_ref(Self::TYPE).cast(),
            );
            if (*group).cg_item.ci_name.is_null() {
                // There was no memory for a long name, which C does not say.
                bindings::config_item_put(&raw mut (*group).cg_item);
                return Err(ENOMEM);
            }
        }
        Ok(group)
    }

    /// # Safety
    ///
    /// `item` must be that of a `Group<D>` that is not freed during `'a`.
    unsafe fn from_item<'a>(item: *mut bindings::config_item) -> &'a Self {
        // SAFETY: By the safety requirements of this function; `group` comes first.
        unsafe { &*container_of!(item, bindings::config_group, cg_item).cast() }
    }

    /// # Safety
    ///
    /// Only for configfs: `item` must be that of a `Group<D>` whose last reference has gone.
    unsafe extern "C" fn release(item: *mut bindings::config_item) {
        // SAFETY: By the safety requirements of this function and the type invariants.
        let mut this = unsafe {
            KBox::from_raw(container_of!(item, bindings::config_group, cg_item).cast::<Self>())
        };
        let freed = this.freed.take();
        drop(this);
        if let Some(freed) = freed {
            freed.complete_all();
        }
    }
}

impl<D: Parent> Group<D> {
    const OPERATIONS: &'static bindings::configfs_group_operations =
        &bindings::configfs_group_operations {
            make_group: Some(Self::make_group),
            drop_item: Some(Self::drop_item),
            make_item: None,
            disconnect_notify: None,
            is_visible: None,
            is_bin_visible: None,
        };

    /// # Safety
    ///
    /// Only for configfs: `group` must be that of a `Group<D>`, `name` a string.
    unsafe extern "C" fn make_group(
        group: *mut bindings::config_group,
        name: *const c_char,
    ) -> *mut bindings::config_group {
        // SAFETY: By the safety requirements of this function.
        let (parent, name) = unsafe {
            (
                Self::from_item(&raw mut (*group).cg_item),
                CStr::from_char_ptr(name),
            )
        };
        let made = parent
            .data
            .make(name)
            .and_then(|data| Group::<D::Child>::allocate(name, data, None));
        match made {
            Ok(child) => child,
            Err(error) => error.to_ptr(),
        }
    }

    /// # Safety
    ///
    /// Only for configfs: `item` must have been made by [`Self::make_group`], and not dropped
    /// yet.
    unsafe extern "C" fn drop_item(
        _group: *mut bindings::config_group,
        item: *mut bindings::config_item,
    ) {
        // SAFETY: By the safety requirements of this function; the reference that
        // `make_group()` returned is put after the last use.
        unsafe {
            Group::<D::Child>::from_item(item).data.removed();
            bindings::config_item_put(item);
        }
    }
}

/// A directory below that of the Thunderbolt core; dropping it removes it.
///
/// While there are directories below it, the module cannot be unloaded: configfs holds a
/// reference to the owner of each.
///
/// # Invariants
///
/// `group` is registered, and one reference to it is ours.
pub(crate) struct Registration {
    group: *mut bindings::config_group,
    freed: Arc<Completion>,
}

// SAFETY: Any thread may unregister it.
unsafe impl Send for Registration {}

// SAFETY: There is nothing that could be done with a `&Registration`.
unsafe impl Sync for Registration {}

impl Registration {
    /// Makes the directory `name`.
    ///
    /// Nothing that can fail may come after it when a module is initialised: who makes a
    /// directory in it meanwhile would keep it.
    ///
    /// # Errors
    ///
    /// - `ENOMEM`: no memory.
    pub(crate) fn new<D: Parent>(name: &CStr, data: D) -> Result<Self> {
        let freed = Arc::pin_init(Completion::new(), GFP_KERNEL)?;
        let group = Group::allocate(name, data, Some(freed.clone()))?;
        // SAFETY: It was initialised just now.
        let registered = to_result(unsafe { bindings::tb_configfs_register_group(group) });
        if let Err(error) = registered {
            // SAFETY: The only reference is ours.
            unsafe { bindings::config_item_put(&raw mut (*group).cg_item) };
            return Err(error);
        }
        Ok(Self { group, freed })
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        // SAFETY: By the type invariants.
        unsafe {
            bindings::tb_configfs_unregister_group(self.group);
            bindings::config_item_put(&raw mut (*self.group).cg_item);
        }
        // A mkdir(2) that failed just now may have been the last one to use it.
        self.freed.wait_for_completion();
    }
}
