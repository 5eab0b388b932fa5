// SPDX-License-Identifier: MIT OR Apache-2.0

//! A plugin of QEMU that counts the instructions that a guest executes:
//! `-plugin libinsn_plugin.so,socket=PATH`. Whoever connects to the socket gets the number so far, as
//! decimal digits.
//!
//! QEMU's plugin API (`include/plugins/qemu-plugin.h`, version 7, which gives every callback its data) is plain C; the few
//! declarations needed are below. Distributions ship QEMU with the API but without its examples, one
//! of which does the same.

#![allow(unsafe_code, reason = "QEMU's plugin API is C")]

use std::ffi::{CStr, c_char, c_int, c_uint, c_void};
use std::io::Write as _;
use std::os::unix::net::UnixListener;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

/// Version of the API that this is written for; QEMU refuses what it does not support.
#[unsafe(no_mangle)]
pub static qemu_plugin_version: c_int = 7;

/// Instructions executed, of all processors.
static COUNT: AtomicU64 = AtomicU64::new(0);

/// A piece of code that QEMU is translating.
#[repr(C)]
struct Block {
    _opaque: [u8; 0],
}

/// `QEMU_PLUGIN_CB_NO_REGS`: the callback does not look at registers.
const NO_REGISTERS: c_int = 0;

type Executed = unsafe extern "C" fn(vcpu: c_uint, data: *mut c_void);
type Translated = unsafe extern "C" fn(block: *mut Block, data: *mut c_void);

unsafe extern "C" {
    fn qemu_plugin_register_vcpu_tb_trans_cb(id: u64, callback: Translated, data: *mut c_void);
    fn qemu_plugin_tb_n_insns(block: *const Block) -> usize;
    fn qemu_plugin_register_vcpu_tb_exec_cb(
        block: *mut Block,
        callback: Executed,
        flags: c_int,
        data: *mut c_void,
    );
}

/// Called by QEMU when it loads the plugin.
///
/// # Safety
/// `argv` must be `argc` strings.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qemu_plugin_install(
    id: u64,
    _info: *const c_void,
    argc: c_int,
    argv: *const *const c_char,
) -> c_int {
    let words = (0..usize::try_from(argc).unwrap_or(0)).map(|index| {
        // SAFETY: By the safety requirements of this function.
        unsafe { CStr::from_ptr(*argv.add(index)) }.to_string_lossy()
    });
    let path = words
        .filter_map(|word| Some(word.strip_prefix("socket=")?.to_owned()))
        .next();
    let Some(path) = path else {
        eprintln!("insn-plugin: socket=PATH is missing");
        return 1;
    };
    let listener = match UnixListener::bind(&path) {
        Ok(listener) => listener,
        Err(error) => {
            eprintln!("insn-plugin: {path}: {error}");
            return 1;
        }
    };
    thread::spawn(move || answer(&listener));
    // SAFETY: This is QEMU, which has given us the id.
    unsafe { qemu_plugin_register_vcpu_tb_trans_cb(id, translated, null_mut()) };
    0
}

/// Tells whoever asks.
fn answer(listener: &UnixListener) {
    for mut stream in listener.incoming().flatten() {
        // Whoever has gone again did not want to know.
        let _ = write!(stream, "{}", COUNT.load(Ordering::Relaxed));
    }
}

/// # Safety
/// QEMU must be translating `block`.
unsafe extern "C" fn translated(block: *mut Block, _data: *mut c_void) {
    // SAFETY: By the safety requirements of this function. The number of instructions fits a
    // pointer, and is passed as one.
    unsafe {
        let instructions = qemu_plugin_tb_n_insns(block) as *mut c_void;
        qemu_plugin_register_vcpu_tb_exec_cb(block, executed, NO_REGISTERS, instructions);
    }
}

/// # Safety
/// None.
unsafe extern "C" fn executed(_vcpu: c_uint, instructions: *mut c_void) {
    COUNT.fetch_add(instructions as u64, Ordering::Relaxed);
}
