// SPDX-License-Identifier: MIT OR Apache-2.0

//! Much data from one end of a stream to the other.

use crate::bulk::BLOCK;
use crate::pair::{TOOL, TRANSFER};
use crate::said::Said;
use anyhow::Result;
use lab::Job;
use lab::stream::End;

const MIB: u64 = 1 << 20;

/// One direction of one stream.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Flow<'a, 'b> {
    pub(crate) from: &'a End<'b>,
    pub(crate) to: &'a End<'b>,
    pub(crate) bytes: u64,
    pub(crate) block: u64,
    /// The reader stays to the end. With both directions in use the end of one comes only after
    /// the other, and readers must know when to stop.
    pub(crate) to_end: bool,
}

/// Both ends of a flow under way.
pub(crate) struct Running<'b> {
    pub(crate) reader: Job<'b>,
    pub(crate) writer: Job<'b>,
}

/// What both ends said.
pub(crate) struct Done {
    pub(crate) reader: Said,
    pub(crate) writer: Said,
}

impl<'b> Flow<'_, 'b> {
    /// Starts the reader; the C driver loses count of what comes before that.
    pub(crate) fn read(&self) -> Result<Job<'b>> {
        let Self {
            to,
            bytes,
            block,
            to_end,
            ..
        } = self;
        let option = if *to_end { "--to-end" } else { "" };
        let job = to.host.spawn(&format!(
            "exec {TOOL} drain {} {bytes} {block} {option}",
            to.device
        ))?;
        to.wait_open()?;
        Ok(job)
    }

    pub(crate) fn write(&self) -> Result<Job<'b>> {
        let Self {
            from, bytes, block, ..
        } = self;
        from.host.spawn(&format!(
            "exec {TOOL} blast {} {bytes} {block}",
            from.device
        ))
    }
}

impl Running<'_> {
    pub(crate) fn done(mut self) -> Result<Done> {
        let said = |job: &mut Job<'_>| Said::parse(&job.wait(TRANSFER)?.check()?.text());
        Ok(Done {
            reader: said(&mut self.reader)?,
            writer: said(&mut self.writer)?,
        })
    }
}

/// Runs flows at once.
pub(crate) fn run(flows: &[Flow<'_, '_>]) -> Result<Vec<Done>> {
    let readers: Vec<_> = flows.iter().map(Flow::read).collect::<Result<_>>()?;
    let mut running = Vec::new();
    for (flow, reader) in flows.iter().zip(readers) {
        running.push(Running {
            reader,
            writer: flow.write()?,
        });
    }
    running.into_iter().map(Running::done).collect()
}

/// MiB/s of all flows together, from what their readers say.
pub(crate) fn sum_rate(done: &[Done]) -> Result<f64> {
    let mut longest = 0.0_f64;
    let mut mib = 0.0;
    for one in done {
        longest = longest.max(one.reader.get("ns")?);
        mib += one.reader.mib()?;
    }
    Ok(mib / (longest / 1e9))
}

/// A flow of so many MiB.
pub(crate) fn flow<'a, 'b>(
    from: &'a End<'b>,
    to: &'a End<'b>,
    mib: u64,
    to_end: bool,
) -> Flow<'a, 'b> {
    Flow {
        from,
        to,
        bytes: mib * MIB,
        block: BLOCK,
        to_end,
    }
}
