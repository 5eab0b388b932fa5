// SPDX-License-Identifier: GPL-2.0

//! Device nodes `/dev/tbstreamX`: file operations and their registration, nothing else.
//!
//! C headers: [`include/linux/miscdevice.h`](srctree/include/linux/miscdevice.h),
//! [`include/linux/fs.h`](srctree/include/linux/fs.h)
//!
//! `kernel::miscdevice` has no poll, splice, fsync, names at run time, or data per device.

use super::{
    file::{
        OpenFile,
        Patience,
        Told, //
    },
    poll::Polled,
    session::Access,
    Stream, //
};
use crate::{
    dma::Source,
    thunderbolt::{
        bindings,
        driver::THIS_MODULE, //
    },
};
use kernel::{
    container_of,
    error::{
        from_result,
        to_result, //
    },
    iov::{
        IovIterDest,
        IovIterSource, //
    },
    prelude::*,
    str::CString,
    sync::Arc,
    task::Task,
    types::Opaque, //
};

/// The node of a stream; dropping it removes it. Files that are open stay so.
///
/// # Invariants
///
/// `misc` is registered, with [`OPERATIONS`] and a name that `name` keeps.
#[pin_data(PinnedDrop)]
pub(super) struct Node {
    #[pin]
    misc: Opaque<bindings::miscdevice>,
    name: CString,
    stream: Arc<Stream>,
}

// SAFETY: Nodes may be registered by one task and removed by another.
unsafe impl Send for Node {}
// SAFETY: The C structure is only used by the core of misc devices, which locks it.
unsafe impl Sync for Node {}

impl Node {
    /// Makes the node of a stream, mode 0600.
    ///
    /// # Errors
    ///
    /// - `EBUSY`: no minor number is free.
    /// - `ENOMEM`: no memory.
    pub(super) fn new(stream: Arc<Stream>) -> Result<Pin<KBox<Self>>> {
        let name = CString::try_from_fmt(fmt!("tbstream{}", stream.index()))?;
        KBox::try_pin_init(
            try_pin_init!(Self {
                name,
                stream,
                misc <- Opaque::try_ffi_init(|misc| Self::register(misc, name)),
            }),
            GFP_KERNEL,
        )
    }

    /// Fills in the C structure and registers it.
    fn register(misc: *mut bindings::miscdevice, name: &CStr) -> Result {
        // SAFETY: `Opaque::try_ffi_init()` gives us a pointer that is valid for writing.
        unsafe {
            misc.write(pin_init::zeroed());
            (*misc).minor = bindings::MISC_DYNAMIC_MINOR as c_int;
            (*misc).name = name.as_char_ptr();
            (*misc).fops = &raw const OPERATIONS.0;
            (*misc).mode = 0o600;
        }
        // SAFETY: The structure is complete and pinned, and is deregistered before it or its
        // name goes.
        to_result(unsafe { bindings::misc_register(misc) })
    }
}

#[pinned_drop]
impl PinnedDrop for Node {
    fn drop(self: Pin<&mut Self>) {
        // SAFETY: By the type invariants it is registered. No open is under way when this
        // returns (`misc_mtx` in `drivers/char/misc.c`).
        unsafe { bindings::misc_deregister(self.misc.get()) };
    }
}

/// What files of a node can do; their `private_data` is an [`OpenFile`] from `open` to `release`.
static OPERATIONS: Operations = Operations(bindings::file_operations {
    owner: THIS_MODULE,
    open: Some(open),
    flush: Some(flush),
    release: Some(release),
    read_iter: Some(read_iter),
    write_iter: Some(write_iter),
    poll: Some(poll),
    fsync: Some(fsync),
    llseek: Some(bindings::noop_llseek),
    splice_read: Some(bindings::copy_splice_read),
    splice_write: Some(splice_write),
    ..pin_init::zeroed()
});

/// The C structure, which nobody changes.
#[repr(transparent)]
struct Operations(bindings::file_operations);

// SAFETY: It is only read.
unsafe impl Sync for Operations {}

/// # Safety
///
/// Only for the file system: `file` is being opened, `misc_open()` has stored the device.
unsafe extern "C" fn open(_inode: *mut bindings::inode, file: *mut bindings::file) -> c_int {
    from_result(|| {
        // SAFETY: By the safety requirements of this function the device is that of a `Node`,
        // which cannot go away before this returns; nobody else has the file yet.
        let (node, mode, flags) = unsafe {
            let misc = Opaque::cast_from((*file).private_data.cast::<bindings::miscdevice>());
            (
                &*container_of!(misc, Node, misc),
                (*file).f_mode,
                (*file).f_flags,
            )
        };
        let access = Access {
            read: mode & bindings::TBS_FMODE_READ != 0,
            write: mode & bindings::TBS_FMODE_WRITE != 0,
        };
        let open = OpenFile::open(&node.stream, access, flags & bindings::O_NONBLOCK != 0)?;
        // SAFETY: As above. The box is pinned by whoever gets it back: `release()`.
        unsafe {
            (*file).private_data = KBox::into_raw(Pin::into_inner_unchecked(open)).cast();
            (*file).f_mode |= bindings::TBS_FMODE_NOWAIT;
        }
        Ok(0)
    })
}

/// # Safety
///
/// Only for the file system: `file` was opened by [`open`], nobody uses it any more.
unsafe extern "C" fn release(_inode: *mut bindings::inode, file: *mut bindings::file) -> c_int {
    // SAFETY: By the safety requirements of this function; it was pinned all the time.
    let open =
        unsafe { Pin::new_unchecked(KBox::<OpenFile>::from_raw((*file).private_data.cast())) };
    open.close(killed());
    0
}

/// A process closes one of its descriptors of a file, which others may still have open: a shell that waits
/// for the program that it has opened the stream for.
///
/// # Safety
///
/// Only for the file system: `file` was opened by [`open`].
unsafe extern "C" fn flush(file: *mut bindings::file, _owner: bindings::fl_owner_t) -> c_int {
    if killed() {
        // SAFETY: By the safety requirements of this function.
        unsafe { opened(file) }.writer_killed(process().addr());
    }
    0
}

/// What the threads of the current process share; a different address for each process that is alive.
fn process() -> *mut bindings::signal_struct {
    // SAFETY: The current task is valid, and has its `signal` as long as it runs.
    unsafe { (*Task::current_raw()).signal }
}

/// Whether a signal is what ends the current process: it did not get to the end of its work.
fn killed() -> bool {
    let process = process();
    // SAFETY: As in `process()`. The core changes both under a lock (`kernel/signal.c`), hence the
    // volatile reads.
    let (flags, code) = unsafe {
        (
            (&raw const (*process).flags).read_volatile(),
            (&raw const (*process).group_exit_code).read_volatile(),
        )
    };

    // As in the status that `wait(2)` returns: the lower bits are those of a signal.
    flags & bindings::SIGNAL_GROUP_EXIT != 0 && code & 0x7f != 0
}

/// # Safety
///
/// `file` must have been opened by [`open`] and must not be released during `'a`.
unsafe fn opened<'a>(file: *mut bindings::file) -> &'a OpenFile {
    // SAFETY: By the safety requirements of this function.
    unsafe { &*(*file).private_data.cast() }
}

/// How patient a call on this file is.
///
/// # Safety
///
/// `kiocb` must be valid.
unsafe fn patience(kiocb: *mut bindings::kiocb) -> Patience {
    // SAFETY: By the safety requirements of this function. The flags of a file may change
    // under us (`F_SETFL`), hence the volatile read.
    let (nowait, flags) = unsafe {
        (
            (*kiocb).ki_flags as u32 & bindings::TBS_IOCB_NOWAIT != 0,
            (&raw const (*(*kiocb).ki_filp).f_flags).read_volatile(),
        )
    };
    if nowait {
        Patience::NoWait
    } else if flags & bindings::O_NONBLOCK != 0 {
        Patience::NonBlocking
    } else {
        Patience::Wait
    }
}

/// # Safety
///
/// Only for the file system: `kiocb` is for a file opened by [`open`], `iter` can be written to.
unsafe extern "C" fn read_iter(
    kiocb: *mut bindings::kiocb,
    iter: *mut bindings::iov_iter,
) -> isize {
    // SAFETY: By the safety requirements of this function.
    let (file, patience, kind, dest) = unsafe {
        (
            opened((*kiocb).ki_filp),
            patience(kiocb),
            u32::from((*iter).iter_type),
            IovIterDest::from_raw(iter),
        )
    };
    let told = match kind {
        bindings::iter_type_ITER_UBUF | bindings::iter_type_ITER_IOVEC => Told::Program,
        _ => Told::Splice,
    };
    from_bytes(file.read(dest, patience, told))
}

/// # Safety
///
/// Only for the file system: `kiocb` is for a file opened by [`open`], `iter` can be read from.
unsafe extern "C" fn write_iter(
    kiocb: *mut bindings::kiocb,
    iter: *mut bindings::iov_iter,
) -> isize {
    // SAFETY: By the safety requirements of this function.
    let (file, patience, kind, iter) = unsafe {
        (
            opened((*kiocb).ki_filp),
            patience(kiocb),
            u32::from((*iter).iter_type),
            IovIterSource::from_raw(iter),
        )
    };
    let mut source = if kind == bindings::iter_type_ITER_BVEC && file.is_splicing() {
        // SAFETY: The task is in `splice_write()` with this file, so that we were called by
        // `iter_file_splice_write()`, whose pages are those of a pipe.
        unsafe { Source::of_pages(iter) }
    } else {
        Source::new(iter)
    };
    file.written_by(process().addr());
    from_bytes(file.write(&mut source, patience))
}

/// Writes what is in a pipe. Of a file, whole pages go out as they are, see [`Source`].
///
/// # Safety
///
/// Only for the file system: `file` was opened by [`open`], the rest is as in C.
unsafe extern "C" fn splice_write(
    pipe: *mut bindings::pipe_inode_info,
    file: *mut bindings::file,
    position: *mut bindings::loff_t,
    length: usize,
    flags: c_uint,
) -> isize {
    // SAFETY: By the safety requirements of this function.
    let open = unsafe { opened(file) };
    open.splicing(|| {
        // SAFETY: As above. It calls `write_iter()`.
        unsafe { bindings::iter_file_splice_write(pipe, file, position, length, flags) }
    })
}

/// What C returns for bytes or an error.
fn from_bytes(result: Result<usize>) -> isize {
    match result {
        // CAST: The file system limits calls to less than 2 GiB.
        Ok(bytes) => bytes as isize,
        Err(error) => error.to_errno() as isize,
    }
}

/// # Safety
///
/// Only for the file system: `file` was opened by [`open`], `table` is null or valid.
unsafe extern "C" fn poll(
    file: *mut bindings::file,
    table: *mut bindings::poll_table_struct,
) -> bindings::__poll_t {
    // SAFETY: By the safety requirements of this function.
    let open = unsafe { opened(file) };
    let channel = &open.user.channel;
    for queue in [&channel.rx_queue, &channel.tx_queue] {
        // SAFETY: By the safety requirements of this function.
        unsafe { queue.poll_wait(file, table) };
    }
    let state = match open.poll() {
        Polled::Never => return bindings::TBS_EPOLLERR,
        Polled::State(state) => state,
    };
    [
        (state.readable, bindings::TBS_EPOLLIN),
        (state.writable, bindings::TBS_EPOLLOUT),
        (state.end, bindings::TBS_EPOLLRDHUP),
        (state.error, bindings::TBS_EPOLLERR),
        (state.hangup, bindings::TBS_EPOLLHUP),
    ]
    .into_iter()
    .filter_map(|(set, bits)| set.then_some(bits))
    .fold(0, |mask, bits| mask | bits)
}

/// # Safety
///
/// Only for the file system: `file` was opened by [`open`].
unsafe extern "C" fn fsync(
    file: *mut bindings::file,
    _start: bindings::loff_t,
    _end: bindings::loff_t,
    _datasync: c_int,
) -> c_int {
    // SAFETY: By the safety requirements of this function.
    let open = unsafe { opened(file) };
    from_result(|| open.sync().map(|()| 0))
}
