// SPDX-License-Identifier: MIT OR Apache-2.0

//! Sessions whose bytes say which session they belong to and where in it: whatever arrives can be
//! told right from wrong without knowing what was sent.
//!
//! Each session ends in one line on standard output, for the books of the test:
//! `w SESSION ACCEPTED END` of a writer and `r SESSION DELIVERED END` of a reader. END is `end`,
//! `stop` (it stopped early, as planned), `killed`, `error N` (an errno), `fsync N`, or `wrong AT`.

use crate::random::Random;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::FileExt as _;
use std::thread::sleep;
use std::time::Duration;

/// What each session begins with: magic, number, seed.
const HEADER: usize = 16;
const MAGIC: [u8; 4] = *b"TBSS";
/// The session that tells readers that no other follows.
pub(crate) const LAST: u32 = u32::MAX;

/// The bytes of a session from `offset` on.
fn fill(seed: u64, session: u32, offset: u64, bytes: &mut [u8]) {
    let key = Random::mix(seed ^ (u64::from(session) << 32));
    for (at, byte) in (offset..).zip(bytes.iter_mut()) {
        *byte = if at < HEADER as u64 {
            header(seed, session)[at as usize]
        } else {
            let word = Random::mix(key.wrapping_add(at / 8));
            word.to_le_bytes()[(at % 8) as usize]
        };
    }
}

fn header(seed: u64, session: u32) -> [u8; HEADER] {
    let mut header = [0; HEADER];
    header[..4].copy_from_slice(&MAGIC);
    header[4..8].copy_from_slice(&session.to_le_bytes());
    header[8..].copy_from_slice(&seed.to_le_bytes());
    header
}

/// How a session ended, in the words of the books.
fn end(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(errno) => format!("error {errno}"),
        None => format!("error {error}"),
    }
}

/// In the progress of a writer: he has written all and closes, killed or not.
const CLOSING: u64 = 1 << 63;

/// Writes one session. After each write the bytes accepted so far are stored in `progress`, if
/// there is one, and [`CLOSING`] in the end: a writer that is killed cannot tell.
pub(crate) fn write(
    device: &str,
    seed: u64,
    session: u32,
    bytes: u64,
    progress: Option<&str>,
) -> io::Result<()> {
    let progress = progress.map(|path| File::options().write(true).open(path));
    let progress = progress.transpose()?;
    let mut random = Random::new(seed ^ u64::from(session));
    let mut accepted = 0;
    let outcome = write_all(device, seed, session, bytes, &mut random, |so_far, flag| {
        accepted = so_far;
        let store = |file: &File| file.write_all_at(&(so_far | flag).to_le_bytes(), 0);
        progress.as_ref().map_or(Ok(()), store)
    });
    let how = match outcome {
        Ok(how) => how,
        Err(error) => end(&error),
    };
    println!("w {session} {accepted} {how}");
    Ok(())
}

fn write_all(
    device: &str,
    seed: u64,
    session: u32,
    bytes: u64,
    random: &mut Random,
    mut accepted: impl FnMut(u64, u64) -> io::Result<()>,
) -> io::Result<String> {
    let mut stream = OpenOptions::new().write(true).open(device)?;
    let mut block = vec![0; 1 << (9 + random.below(11))];
    let mut at = 0;
    while at < bytes {
        let length = (bytes - at).min(1 + random.below(block.len() as u64)) as usize;
        let block = &mut block[..length];
        fill(seed, session, at, block);
        let mut done = 0;
        while done < length {
            done += stream.write(&block[done..])?;
            accepted(at + done as u64, 0)?;
        }
        at += length as u64;
        random.pause();
    }
    // Half of all programs want to know.
    if random.below(2) == 0
        && let Err(error) = stream.sync_all()
    {
        return Ok(end(&error).replace("error", "fsync"));
    }
    accepted(at, CLOSING)?;
    Ok("end".to_owned())
}

/// Reads one session to its end, or up to `limit` bytes. Gives its number if it said one.
pub(crate) fn read(device: &str, seed: u64, limit: u64) -> io::Result<Option<u32>> {
    let mut check = Check::new(seed);
    let how = match File::open(device) {
        Ok(mut stream) => read_all(&mut stream, limit, &mut check),
        Err(error) => end(&error),
    };
    let name = check.session.map_or("?".into(), |n| n.to_string());
    println!("r {name} {} {how}", check.at);
    Ok(check.session)
}

fn read_all(stream: &mut File, limit: u64, check: &mut Check) -> String {
    let mut random = Random::new(limit ^ check.seed);
    let mut block = vec![0; 1 << (9 + random.below(11))];
    while check.at < limit {
        let most = (limit - check.at).min(block.len() as u64) as usize;
        match stream.read(&mut block[..most]) {
            Ok(0) => return "end".into(),
            Ok(count) => {
                if let Err(at) = check.take(&block[..count]) {
                    return format!("wrong {at}");
                }
            }
            Err(error) => return end(&error),
        }
        random.pause();
    }
    "stop".into()
}

/// What a reader has seen of a session.
struct Check {
    seed: u64,
    session: Option<u32>,
    head: [u8; HEADER],
    at: u64,
}

impl Check {
    const fn new(seed: u64) -> Self {
        Self {
            seed,
            session: None,
            head: [0; HEADER],
            at: 0,
        }
    }

    /// Takes what comes next; the error is where it is not what it should be.
    fn take(&mut self, mut bytes: &[u8]) -> Result<(), u64> {
        while self.session.is_none() && !bytes.is_empty() {
            self.head[self.at as usize] = bytes[0];
            bytes = &bytes[1..];
            self.at += 1;
            if self.at == HEADER as u64 {
                let number = u32::from_le_bytes(self.head[4..8].try_into().map_err(|_| 4_u64)?);
                if self.head != header(self.seed, number) {
                    return Err(0);
                }
                self.session = Some(number);
            }
        }
        let Some(session) = self.session else {
            return Ok(());
        };
        let mut expected = vec![0; bytes.len()];
        fill(self.seed, session, self.at, &mut expected);
        let wrong = expected.iter().zip(bytes).position(|(a, b)| a != b);
        if let Some(wrong) = wrong {
            return Err(self.at + wrong as u64);
        }
        self.at += bytes.len() as u64;
        Ok(())
    }
}

/// Reads session after session until [`LAST`]; some only in part.
pub(crate) fn read_many(device: &str, seed: u64) -> io::Result<()> {
    let mut random = Random::new(!seed);
    loop {
        let limit = if random.below(6) == 0 {
            random.size()
        } else {
            u64::MAX
        };
        if read(device, seed, limit)? == Some(LAST) {
            return Ok(());
        }
        random.pause();
    }
}

/// Writes sessions from `first` on until `stop` exists; some writers are killed.
pub(crate) fn write_many(device: &str, seed: u64, first: u32, stop: &str) -> io::Result<()> {
    let tool = std::env::current_exe()?;
    let progress = format!("/tmp/.progress-{seed}");
    let mut random = Random::new(seed.rotate_left(20));
    for session in first.. {
        if std::path::Path::new(stop).exists() {
            break;
        }
        std::fs::write(&progress, [0; 8])?;
        let words = [
            seed.to_string(),
            session.to_string(),
            random.size().to_string(),
        ];
        let mut child = std::process::Command::new(&tool)
            .args(["write", device])
            .args(words)
            .arg(&progress)
            .stdout(std::process::Stdio::piped())
            .spawn()?;
        if random.below(6) == 0 {
            sleep(Duration::from_millis(random.below(60)));
            child.kill()?;
        }
        // It may have been killed when it had said all.
        let line = child.wait_with_output()?.stdout;
        if line.ends_with(b"\n") {
            io::stdout().write_all(&line)?;
        } else {
            let bytes = std::fs::read(&progress)?;
            let accepted = bytes.try_into().map_or(0, u64::from_le_bytes);
            let how = if accepted & CLOSING == 0 {
                "killed"
            } else {
                "end"
            };
            println!("w {session} {} {how}", accepted & !CLOSING);
        }
        io::stdout().flush()?;
        random.pause();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(session: u32, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        fill(7, session, 0, &mut bytes);
        bytes
    }

    #[test]
    fn what_was_sent_is_right_however_it_is_cut() {
        for step in [1, 5, 16, 17, 4096] {
            let mut check = Check::new(7);
            for part in bytes(3, 10_000).chunks(step) {
                check.take(part).expect("right");
            }
            assert_eq!((check.session, check.at), (Some(3), 10_000));
        }
    }

    #[test]
    fn anything_else_is_wrong() {
        let right = bytes(3, 10_000);
        let without = |from: usize, to: usize| [&right[..from], &right[to..]].concat();
        let flipped = {
            let mut flipped = right.clone();
            flipped[5000] ^= 4;
            flipped
        };
        let tests = [
            (flipped, 5000),
            (without(4096, 8192), 4096),
            (without(0, 1), 0),
            ([&right[..4096], &bytes(4, 4096)].concat(), 4096),
            ([&right[..4096], &right[..]].concat(), 4096),
        ];
        for (sent, at) in tests {
            assert_eq!(Check::new(7).take(&sent), Err(at));
        }
        assert_eq!(Check::new(8).take(&right), Err(0), "another stream's");
    }
}
