// SPDX-License-Identifier: GPL-2.0

//! What a stream has done: a file with one number for each counter of [`Totals`].

use super::{
    group::{
        Attribute,
        File, //
    },
    stream::StreamDirectory, //
};
use crate::stream::totals::Totals;
use kernel::{
    fmt::{
        self,
        Write, //
    },
    prelude::*, //
};

macro_rules! counters {
    ($($(#[$doc:meta])* $file:ident $attribute:ident $field:ident $name:literal,)*) => {
        $(
            $(#[$doc])*
            struct $attribute;

            impl Attribute for $attribute {
                type Directory = StreamDirectory;
                const NAME: &'static CStr = $name;

                fn show(directory: &StreamDirectory, out: &mut dyn Write) -> fmt::Result {
                    let Totals { $field, .. } = directory.stream().totals();
                    writeln!(out, "{}", $field)
                }
            }

            $(#[$doc])*
            pub(super) static $file: File<StreamDirectory> = File::read_only::<$attribute>();
        )*
    };
}

counters! {
    /// Bytes that arrived.
    RX_BYTES RxBytes rx_bytes c"rx_bytes",
    /// Bytes that arrived when nobody was left to read them.
    RX_DROPPED RxDropped rx_dropped c"rx_dropped",
    /// Frames that were damaged.
    RX_ERRORS RxErrors rx_errors c"rx_errors",
    /// Frames that arrived.
    RX_FRAMES RxFrames rx_frames c"rx_frames",
    /// Bytes given to the hardware.
    TX_BYTES TxBytes tx_bytes c"tx_bytes",
    /// Bytes that the peer had nobody left to read for.
    TX_DROPPED TxDropped tx_dropped c"tx_dropped",
    /// Bytes that were written but not sent.
    TX_ERRORS TxErrors tx_errors c"tx_errors",
    /// Frames given to the hardware.
    TX_FRAMES TxFrames tx_frames c"tx_frames",
}
