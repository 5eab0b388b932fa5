// SPDX-License-Identifier: MIT OR Apache-2.0

//! Hosts on which races are likely.

use super::{APART_LONG, LIMIT, builder, connected, ours, with_tool};
use anyhow::{Result, ensure};
use lab::{Host, Lab};

/// Two hosts with our module and `guest-tool`, in whose kernels anything may be interrupted anywhere.
/// What they free is cleared, so that whoever follows a pointer in it is noticed.
///
/// The workers of the core come late to their turn beside the racers, so that its responses wait long
/// among those who expect an answer: answers are kept apart from them.
///
/// # Errors
/// They do not come up or do not find each other.
pub(crate) fn start_race() -> Result<Lab> {
    let racing = builder()?.smp(2).kernel_arg("preempt=full init_on_free=1");
    let lab = connected(with_tool(racing.driver(ours()?))?.start()?)?;
    lab.fault(APART_LONG)?;
    Ok(lab)
}

/// Takes the driver away from a service of the peer and gives it back, so many times. To the driver each
/// is an unplug and a plug, only much quicker. Whoever else runs is interrupted by it.
///
/// # Errors
/// The kernel does not do so, takes too long, or complains.
pub(crate) fn rebind(host: &Host, service: &str, times: u32) -> Result<()> {
    let script = format!(
        "renice -n -10 -p $$; cd /sys/bus/thunderbolt/drivers/thunderbolt_stream && n=0 && \
         while [ $n -lt {times} ]; do echo {service} > unbind; echo {service} > bind; n=$((n+1)); done"
    );
    let output = host.shell(&script).timeout(LIMIT).output()?;
    ensure!(output.stderr.is_empty(), "{output:?}");
    host.flush_klog()?;
    let complaints = lab::complaints(&host.klog(), &[]);
    ensure!(complaints.is_empty(), "{complaints:?}");
    Ok(())
}
