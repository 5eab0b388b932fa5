// SPDX-License-Identifier: MIT OR Apache-2.0

//! Takes commands on the control socket.

use crate::api::{Reply, Request};
use crate::fabric::Fabric;
use crate::fault::{self, Fault, FaultSet, Kind};
use crate::shared::Shared;
use serde::Serialize;
use serde_json::Value;
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Arc;
use std::thread;

/// Longest line of a client in bytes.
const MAX_LINE: u64 = 65_536;

type Outcome = Result<Value, String>;

/// Serves clients until one says [`Request::Quit`].
///
/// # Errors
/// When no more clients can be taken.
pub fn serve(shared: &Arc<Shared>, listener: &UnixListener) -> io::Result<()> {
    let (quit, quitting) = std::sync::mpsc::channel();
    let listener = listener.try_clone()?;
    let shared = Arc::clone(shared);
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let (shared, quit) = (Arc::clone(&shared), quit.clone());
            thread::spawn(move || match talk(&shared, &client) {
                Ok(true) => quit.send(()).unwrap_or_default(),
                Ok(false) => {}
                Err(error) => log::warn!("control client: {error}"),
            });
        }
    });
    quitting.recv().map_err(io::Error::other)
}

/// Answers one client, line by line; `true` when it said quit.
fn talk(shared: &Shared, client: &UnixStream) -> io::Result<bool> {
    let mut reader = BufReader::new(client);
    loop {
        let mut line = String::new();
        if io::Read::take(&mut reader, MAX_LINE).read_line(&mut line)? == 0 {
            return Ok(false);
        }
        let request = serde_json::from_str::<Request>(&line).map_err(|e| e.to_string());
        let is_quit = request == Ok(Request::Quit);
        let outcome = request.and_then(|request| carry_out(shared, request));
        let reply = match outcome {
            Ok(result) => Reply {
                ok: true,
                error: None,
                result,
            },
            Err(error) => Reply {
                ok: false,
                error: Some(error),
                result: Value::Null,
            },
        };
        let mut text = serde_json::to_string(&reply)?;
        text.push('\n');
        let mut stream = client;
        stream.write_all(text.as_bytes())?;
        if is_quit {
            return Ok(true);
        }
    }
}

fn value(result: impl Serialize) -> Outcome {
    serde_json::to_value(result).map_err(|e| e.to_string())
}

fn carry_out(shared: &Shared, request: Request) -> Outcome {
    shared.command(|fabric, now| match request {
        Request::Stats => value(fabric.stats()),
        Request::StatsReset => {
            fabric.reset_stats();
            Ok(Value::Null)
        }
        Request::State => value(fabric.state()),
        Request::Trace { since } => value(fabric.trace.since(since)),
        Request::Cable { cable, plugged } => {
            let index = cable_index(fabric, &cable)?;
            fabric.plug(now, index, plugged);
            Ok(Value::Null)
        }
        Request::Link {
            cable,
            gbps,
            delay_ns,
        } => {
            let index = cable_index(fabric, &cable)?;
            if gbps.is_some_and(|g| !g.is_finite() || g <= 0.0) {
                return Err("the rate must be above 0 Gb/s".into());
            }
            fabric.set_link(now, index, gbps, delay_ns);
            Ok(Value::Null)
        }
        Request::Play { host, seed } => {
            let index = host_index(fabric, &host)?;
            match seed {
                Some(seed) => fabric.play(now, index, seed)?,
                None => fabric.stop_playing(now, index),
            }
            Ok(Value::Null)
        }
        Request::Fault { words } => switch_fault(fabric, now, &words).and_then(value),
        Request::Quit => Ok(Value::Null),
    })
}

fn cable_index(fabric: &Fabric, name: &str) -> Result<usize, String> {
    fabric
        .cable_index(name)
        .ok_or_else(|| format!("no cable `{name}`"))
}

fn host_index(fabric: &Fabric, name: &str) -> Result<usize, String> {
    fabric
        .host_index(name)
        .ok_or_else(|| format!("no host `{name}`"))
}

fn switch_fault(fabric: &mut Fabric, now: u64, words: &[String]) -> Result<String, String> {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words[..] {
        ["help"] => Ok(fault::help()),
        ["list"] => Ok(fabric
            .faults
            .list()
            .iter()
            .map(|f| format!("{f}\n"))
            .collect()),
        ["clear"] => Ok(clear(fabric, now, None, None)),
        ["clear", kind] => Ok(clear(fabric, now, Some(FaultSet::kind(kind)?), None)),
        ["clear", kind, host] => {
            let (kind, host) = (FaultSet::kind(kind)?, host_index(fabric, host)?);
            Ok(clear(fabric, now, Some(kind), Some(host)))
        }
        ["set", ..] => {
            let rest: Vec<String> = words[1..].iter().map(|w| (*w).to_string()).collect();
            let fault = Fault::parse(&rest, |name| fabric.host_index(name))?;
            let text = fault.to_string();
            fabric.set_fault(now, fault);
            Ok(text)
        }
        _ => Err("expected: set NAME HOST [KEY=VALUE …], clear [NAME [HOST]], list or help".into()),
    }
}

fn clear(fabric: &mut Fabric, now: u64, kind: Option<Kind>, host: Option<usize>) -> String {
    let cleared = fabric.clear_faults(now, kind, host);
    format!("{cleared} cleared")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fabric::Config;

    fn ask(shared: &Shared, line: &str) -> Outcome {
        carry_out(
            shared,
            serde_json::from_str(line).map_err(|e| e.to_string())?,
        )
    }

    #[test]
    fn commands_are_carried_out_and_mistakes_explained() {
        let shared = Shared::new(Fabric::new(&Config {
            hosts: 3,
            ..Config::default()
        }))
        .expect("sockets");
        let stats = ask(&shared, r#"{"cmd":"stats"}"#).expect("stats");
        assert_eq!(stats["cables"]["b-c"]["plugged"], true);
        ask(&shared, r#"{"cmd":"cable","cable":"b-c","plugged":false}"#).expect("unplugged");
        let stats = ask(&shared, r#"{"cmd":"stats"}"#).expect("stats");
        assert_eq!(stats["cables"]["b-c"]["plugged"], false);
        let set = ask(
            &shared,
            r#"{"cmd":"fault","words":["set","crc","c","nth=2"]}"#,
        );
        assert_eq!(set, Ok("crc c nth=2 (seen 0, hit 0)".into()));
        let cleared = ask(&shared, r#"{"cmd":"fault","words":["clear","crc","c"]}"#);
        assert_eq!(cleared, Ok("1 cleared".into()));
        for wrong in [
            r#"{"cmd":"cable","cable":"a-c","plugged":false}"#,
            r#"{"cmd":"link","cable":"a-b","gbps":0,"delay_ns":0}"#,
            r#"{"cmd":"fault","words":["set","crc","z"]}"#,
            r#"{"cmd":"fault","words":[]}"#,
            r#"{"cmd":"dance"}"#,
            "nonsense",
        ] {
            assert!(ask(&shared, wrong).is_err(), "{wrong}");
        }
    }
}
