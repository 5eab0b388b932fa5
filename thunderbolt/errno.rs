// SPDX-License-Identifier: GPL-2.0

//! Error numbers that the kernel crate of Linux 7.2 has no names for.

use kernel::{
    bindings,
    prelude::*, //
};

/// File name too long.
pub(crate) fn name_too_long() -> Error {
    from_number(bindings::ENAMETOOLONG)
}

/// Operation not supported.
pub(crate) fn not_supported() -> Error {
    from_number(bindings::EOPNOTSUPP)
}

/// Protocol error.
pub(crate) fn protocol() -> Error {
    from_number(bindings::EPROTO)
}

/// Cannot send after shutdown.
pub(crate) fn shut_down() -> Error {
    from_number(bindings::ESHUTDOWN)
}

fn from_number(number: u32) -> Error {
    // CAST: Error numbers are below 4096.
    Error::from_errno(-(number as c_int))
}
