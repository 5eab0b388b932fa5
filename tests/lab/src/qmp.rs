// SPDX-License-Identifier: MIT OR Apache-2.0

//! QEMU's machine protocol, as far as a lab needs it.

use crate::json_lines::JsonLines;
use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};
use std::path::Path;
use std::time::{Duration, Instant};

const CALL: Duration = Duration::from_secs(20);

/// A connection. QEMU has one client at a time, so it is not kept.
#[derive(Debug)]
pub(crate) struct Qmp {
    lines: JsonLines,
    events: Vec<Value>,
}

impl Qmp {
    pub(crate) fn connect(socket: &Path) -> Result<Self> {
        let mut qmp = Self {
            lines: JsonLines::connect(socket)?,
            events: Vec::new(),
        };
        qmp.call("qmp_capabilities", json!({}))?;
        Ok(qmp)
    }

    /// Carries out a command.
    pub(crate) fn call(&mut self, command: &str, arguments: Value) -> Result<Value> {
        let deadline = Instant::now() + CALL;
        self.lines.send(
            &json!({"execute": command, "arguments": arguments}),
            deadline,
        )?;
        loop {
            let Some(mut line) = self.lines.receive(deadline)? else {
                bail!("QEMU does not answer {command}");
            };
            if let Some(error) = line.get("error") {
                let text = error
                    .get("desc")
                    .and_then(Value::as_str)
                    .unwrap_or("unknown error");
                bail!("{command}: {text}");
            } else if let Some(answer) = line.get_mut("return") {
                return Ok(answer.take());
            } else if line.get("event").is_some() {
                self.events.push(line);
            }
        }
    }

    /// Waits for an event with this name that `matches`, seen since this connection was made.
    pub(crate) fn wait_event(
        &mut self,
        name: &str,
        matches: impl Fn(&Value) -> bool,
        limit: Duration,
    ) -> Result<()> {
        let deadline = Instant::now() + limit;
        let wanted = |event: &Value| {
            event["event"] == name && matches(event.get("data").unwrap_or(&Value::Null))
        };
        loop {
            if let Some(at) = self.events.iter().position(wanted) {
                self.events.remove(at);
                return Ok(());
            }
            let event = self.lines.receive(deadline)?;
            self.events
                .push(event.with_context(|| format!("{name} did not happen"))?);
        }
    }
}
