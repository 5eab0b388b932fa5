// SPDX-License-Identifier: MIT OR Apache-2.0

//! `lab shell`: this terminal becomes the host's console.

use anyhow::{Context as _, Result, ensure};
use lab::Host;
use rustix::termios::{OptionalActions, Termios, isatty, tcgetattr, tcgetwinsize, tcsetattr};
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

/// Ctrl-]
const LEAVE: u8 = 0x1d;

pub(crate) fn shell(host: &Host) -> Result<()> {
    ensure!(host.is_running(), "host {} is not running", host.name());
    fit_console(host);
    let socket = host.shell_socket();
    let console = UnixStream::connect(&socket)
        .with_context(|| format!("the console of host {} is not there", host.name()))?;
    eprintln!("host {}: Ctrl-] leaves", host.name());
    let raw = RawTerminal::set();
    let left = talk(console);
    drop(raw);
    eprintln!();
    left
}

/// Both ways until the user leaves or the host ends.
fn talk(mut console: UnixStream) -> Result<()> {
    let mut from_host = console.try_clone()?;
    let leaving = Arc::new(AtomicBool::new(false));
    let left = Arc::clone(&leaving);
    // A prompt may have been printed long ago.
    console.write_all(b"\r")?;
    let printer = thread::spawn(move || -> Result<()> {
        let mut bytes = [0; 4096];
        loop {
            let count = from_host.read(&mut bytes)?;
            if count == 0 {
                if !left.load(Ordering::Relaxed) {
                    // The loop below waits for a key.
                    eprint!("\r\nthe host has ended; press a key\r\n");
                }
                return Ok(());
            }
            let mut out = std::io::stdout().lock();
            out.write_all(&bytes[..count])?;
            out.flush()?;
        }
    });
    let mut keys = std::io::stdin().lock();
    let mut bytes = [0; 4096];
    loop {
        let count = keys.read(&mut bytes)?;
        let typed = &bytes[..count];
        let end = typed.iter().position(|key| *key == LEAVE);
        let sent = console.write_all(&typed[..end.unwrap_or(count)]);
        if count == 0 || end.is_some() || sent.is_err() || printer.is_finished() {
            break;
        }
    }
    leaving.store(true, Ordering::Relaxed);
    console.shutdown(std::net::Shutdown::Both).ok();
    printer.join().unwrap_or(Ok(()))
}

/// Tells the guest this terminal's size and kind; a console has no way to ask.
fn fit_console(host: &Host) {
    let Ok(size) = tcgetwinsize(std::io::stdout()) else {
        return;
    };
    if size.ws_row > 0 && size.ws_col > 0 {
        let (rows, columns) = (size.ws_row, size.ws_col);
        let _ = host.run(&format!("stty -F /dev/hvc0 rows {rows} cols {columns}"));
    }
}

/// This terminal without line editing, echo and signals, until dropped.
struct RawTerminal(Option<Termios>);

impl RawTerminal {
    fn set() -> Self {
        let stdin = std::io::stdin();
        if !isatty(&stdin) {
            return Self(None);
        }
        let before = tcgetattr(&stdin).ok();
        if let Some(mut raw) = before.clone() {
            raw.make_raw();
            let _ = tcsetattr(&stdin, OptionalActions::Now, &raw);
        }
        Self(before)
    }
}

impl Drop for RawTerminal {
    fn drop(&mut self) {
        if let Some(before) = &self.0 {
            let _ = tcsetattr(std::io::stdin(), OptionalActions::Now, before);
        }
    }
}
