// SPDX-License-Identifier: MIT OR Apache-2.0

//! What data goes over.

use std::fs::{File, OpenOptions};
use std::io;
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// How long the other end of a connection may take to listen.
const PATIENCE: Duration = Duration::from_secs(10);

/// A device or pipe (`/dev/tbstream0`), two FIFOs, one for each direction (`/tmp/in,/tmp/out`), or
/// a TCP connection (`connect:10.0.0.2:7000`, `listen:7000`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Wire {
    Path(PathBuf),
    Pair { input: PathBuf, output: PathBuf },
    Connect(String),
    Listen(u16),
}

impl FromStr for Wire {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(address) = text.strip_prefix("connect:") {
            return Ok(Self::Connect(address.to_owned()));
        }
        if let Some(port) = text.strip_prefix("listen:") {
            let port = port.parse().map_err(|_| format!("`{port}` is no port"))?;
            return Ok(Self::Listen(port));
        }
        Ok(match text.split_once(',') {
            Some((input, output)) => Self::Pair {
                input: input.into(),
                output: output.into(),
            },
            None => Self::Path(text.into()),
        })
    }
}

/// The two directions of an open wire.
#[derive(Debug)]
pub(crate) struct Open {
    pub(crate) input: File,
    pub(crate) output: File,
}

impl Open {
    /// Both directions through one file.
    fn both(file: File) -> io::Result<Self> {
        let input = file.try_clone()?;
        Ok(Self {
            input,
            output: file,
        })
    }
}

impl Wire {
    /// Opens both directions.
    pub(crate) fn open(&self) -> io::Result<Open> {
        match self {
            Self::Path(path) => Open::both(read_write(path)?),
            Self::Pair { input, output } => Ok(Open {
                input: read_write(input)?,
                output: read_write(output)?,
            }),
            Self::Connect(address) => Open::both(connect(address)?),
            Self::Listen(port) => Open::both(accept(*port)?),
        }
    }

    /// Opens it to read only.
    pub(crate) fn open_input(&self) -> io::Result<File> {
        match self {
            Self::Path(path) => File::open(path),
            _ => self.open().map(|open| open.input),
        }
    }

    /// Opens it to write only.
    pub(crate) fn open_output(&self) -> io::Result<File> {
        match self {
            Self::Path(path) => OpenOptions::new().write(true).open(path),
            _ => self.open().map(|open| open.output),
        }
    }
}

/// A FIFO that is opened like this does not wait for its other end.
fn read_write(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).open(path)
}

fn connect(address: &str) -> io::Result<File> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match TcpStream::connect(address) {
            Ok(stream) => return quick(stream),
            Err(error) if Instant::now() > deadline => return Err(error),
            Err(_) => sleep(Duration::from_millis(20)),
        }
    }
}

fn accept(port: u16) -> io::Result<File> {
    quick(TcpListener::bind(("0.0.0.0", port))?.accept()?.0)
}

fn quick(stream: TcpStream) -> io::Result<File> {
    stream.set_nodelay(true)?;
    Ok(File::from(OwnedFd::from(stream)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wires_have_names() {
        assert_eq!(
            "/dev/tbstream0".parse(),
            Ok(Wire::Path("/dev/tbstream0".into()))
        );
        assert_eq!("listen:7".parse(), Ok(Wire::Listen(7)));
        assert_eq!("connect:a:7".parse(), Ok(Wire::Connect("a:7".into())));
        let pair = Wire::Pair {
            input: "a".into(),
            output: "b".into(),
        };
        assert_eq!("a,b".parse(), Ok(pair));
        assert!("listen:x".parse::<Wire>().is_err());
    }
}
