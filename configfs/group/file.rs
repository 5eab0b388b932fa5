// SPDX-License-Identifier: GPL-2.0

//! Files in ConfigFS directories, each with its own mode.

use super::{
    Directory,
    Group, //
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
    fmt::{
        self,
        Write, //
    },
    page::PAGE_SIZE,
    prelude::*,
    str::Formatter, //
};

/// Most bytes that an attribute can show (`SIMPLE_ATTR_SIZE` in `fs/configfs/file.c` is at
/// least this on every page size).
const MAX_SHOWN: usize = if PAGE_SIZE < 4096 { PAGE_SIZE } else { 4096 };

/// A file in a directory.
pub(crate) trait Attribute {
    /// The directory it is in.
    type Directory: Directory;

    /// Name of the file.
    const NAME: &'static CStr;

    /// Writes what read(2) gets.
    ///
    /// # Errors
    ///
    /// Those of `out`: it did not fit into 4096 bytes.
    fn show(directory: &Self::Directory, out: &mut dyn Write) -> fmt::Result;
}

/// A file that can be written as well.
pub(crate) trait Writable: Attribute {
    /// Takes what write(2) wrote, in one piece.
    ///
    /// # Errors
    ///
    /// Any: it is the one of write(2).
    fn store(directory: &Self::Directory, text: &CStr) -> Result;
}

/// The C structure of a file.
///
/// # Invariants
///
/// Its functions are only called with the item of a `Group<D>`.
#[repr(transparent)]
pub(crate) struct File<D>(UnsafeCell<bindings::configfs_attribute>, PhantomData<D>);

// SAFETY: configfs only reads it; nothing else gets at it.
unsafe impl<D> Sync for File<D> {}

impl<D: Directory> File<D> {
    /// A file with mode 0444.
    pub(crate) const fn read_only<A: Attribute<Directory = D>>() -> Self {
        Self::with_mode::<A>(0o444, None)
    }

    /// A file with mode 0644.
    pub(crate) const fn read_write<A: Writable<Directory = D>>() -> Self {
        Self::with_mode::<A>(0o644, Some(Self::store::<A>))
    }

    const fn with_mode<A: Attribute<Directory = D>>(
        mode: bindings::umode_t,
        store: Option<
            unsafe extern "C" fn(*mut bindings::config_item, *const c_char, usize) -> isize,
        >,
    ) -> Self {
        Self(
            UnsafeCell::new(bindings::configfs_attribute {
                ca_name: kernel::str::as_char_ptr_in_const_context(A::NAME),
                ca_owner: THIS_MODULE,
                ca_mode: mode,
                show: Some(Self::show::<A>),
                store,
            }),
            PhantomData,
        )
    }

    /// # Safety
    ///
    /// Only for configfs: `item` must be that of a `Group<D>`, `page` a page to write to.
    unsafe extern "C" fn show<A: Attribute<Directory = D>>(
        item: *mut bindings::config_item,
        page: *mut c_char,
    ) -> isize {
        // SAFETY: By the safety requirements of this function.
        let (group, buffer) = unsafe {
            (
                Group::<D>::from_item(item),
                core::slice::from_raw_parts_mut(page, MAX_SHOWN),
            )
        };
        let mut out = Formatter::new(buffer);
        match A::show(&group.data, &mut out) {
            // CAST: At most `MAX_SHOWN`.
            Ok(()) => out.bytes_written() as isize,
            Err(fmt::Error) => EIO.to_errno() as isize,
        }
    }

    /// # Safety
    ///
    /// Only for configfs: `item` must be that of a `Group<D>`, `text` a string of `count` bytes
    /// with a 0 behind them.
    unsafe extern "C" fn store<A: Writable<Directory = D>>(
        item: *mut bindings::config_item,
        text: *const c_char,
        count: usize,
    ) -> isize {
        // SAFETY: By the safety requirements of this function (`fill_write_buffer()` puts the
        // 0 there; there may be others before).
        let (group, text) = unsafe { (Group::<D>::from_item(item), CStr::from_char_ptr(text)) };
        match A::store(&group.data, text) {
            // CAST: At most a page.
            Ok(()) => count as isize,
            Err(error) => error.to_errno() as isize,
        }
    }
}

/// The files of a directory, in a `static`.
///
/// # Invariants
///
/// An array of pointers with a null behind it, as C wants to have it.
#[repr(C)]
pub(crate) struct Files<D: 'static, const N: usize> {
    files: [&'static File<D>; N],
    end: *const File<D>,
}

// SAFETY: Nobody writes to it.
unsafe impl<D, const N: usize> Sync for Files<D, N> {}

impl<D, const N: usize> Files<D, N> {
    /// Makes a list.
    pub(crate) const fn new(files: [&'static File<D>; N]) -> Self {
        Self {
            files,
            end: ptr::null(),
        }
    }
}
