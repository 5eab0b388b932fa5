// SPDX-License-Identifier: GPL-2.0

//! Memory barriers. `kernel::sync::barrier` has them under these names from Linux 7.3 on.

use kernel::bindings;

/// Orders all accesses between CPUs: `smp_mb()`.
pub(super) fn smp_mb() {
    // SAFETY: A barrier may stand anywhere.
    unsafe { bindings::smp_mb() };
}

/// Orders reads of memory that a device writes: `dma_rmb()`.
#[cfg(tbs_linux_7_3)]
pub(super) fn dma_rmb() {
    kernel::sync::barrier::dma_mb(kernel::sync::barrier::Read);
}

/// Orders reads of memory that a device writes: `dma_rmb()`.
#[cfg(not(tbs_linux_7_3))]
pub(super) fn dma_rmb() {
    // Devices are in the outer shareable domain there, which the fence below does not cover.
    #[cfg(target_arch = "aarch64")]
    // SAFETY: What `dma_rmb()` is on this architecture; a barrier may stand anywhere.
    unsafe {
        core::arch::asm!("dmb oshld", options(nostack, preserves_flags))
    };
    // On x86 only the compiler may reorder loads.
    #[cfg(target_arch = "x86_64")]
    core::sync::atomic::compiler_fence(core::sync::atomic::Ordering::SeqCst);
    #[cfg(not(target_arch = "x86_64"))]
    core::sync::atomic::fence(core::sync::atomic::Ordering::SeqCst);
}
