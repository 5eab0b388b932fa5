// SPDX-License-Identifier: GPL-2.0

//! What goes on in the rings, for people: `thunderbolt_stream/tbstreamX` in debugfs.

use super::Stream;
use crate::dma::Stats;
use core::convert::Infallible;
use kernel::{
    debugfs::{
        Dir,
        File, //
    },
    fmt,
    prelude::*,
    str::CString,
    sync::Arc, //
};

/// The file of a stream; dropping it removes it.
pub(super) type DebugFile = File<Arc<Stream>>;

/// Makes the file of a stream.
///
/// # Errors
///
/// - `ENOMEM`: no memory.
pub(super) fn file(directory: &Dir, stream: Arc<Stream>) -> Result<Pin<KBox<DebugFile>>> {
    let name = CString::try_from_fmt(fmt!("tbstream{}", stream.index()))?;
    KBox::pin_init(
        directory.read_callback_file::<_, Infallible, _>(&name, stream, &show),
        GFP_KERNEL,
    )
}

/// Writes what is known.
fn show(stream: &Arc<Stream>, out: &mut fmt::Formatter<'_>) -> fmt::Result {
    let Some(rings) = stream.channel.writable() else {
        return out.write_str("no rings\n");
    };
    let (hop, posted, room) = (rings.tx.hop(), rings.tx.outstanding(), rings.tx.room());
    writeln!(out, "tx ring {hop}: {posted} posted, room for {room}")?;
    show_stats(out, rings.tx.stats())?;
    let (hop, unread) = (rings.rx.hop(), rings.rx.pending());
    let spin = rings.rx.spin_ns();
    writeln!(out, "rx ring {hop}: {unread} unread, spins for {spin} ns")?;
    show_stats(out, rings.rx.stats())
}

fn show_stats(out: &mut fmt::Formatter<'_>, stats: &Stats) -> fmt::Result {
    let mut result = Ok(());
    stats.for_each(|name, value| {
        if result.is_ok() {
            result = writeln!(out, "  {name} {value}");
        }
    });
    result
}
