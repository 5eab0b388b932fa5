// SPDX-License-Identifier: GPL-2.0

//! Histories decoded from arbitrary bytes: the fuzz target's function.

use arbitrary::Arbitrary;
use arbitrary::Result;
use arbitrary::Unstructured;

use super::host::Host;
use super::host::Step;
use crate::stream::close::Close;
use crate::stream::session::Access;
use crate::stream::session::Frame;

/// Steps of a history at most, so that no input takes long.
const STEPS: usize = 400;

/// Lets all of it happen, then looks whether an honest peer is served.
pub(crate) fn run(bytes: &[u8]) {
    let mut input = Unstructured::new(bytes);
    let mut host = Host::new();
    for _ in 0..STEPS {
        match step(&mut input) {
            Ok(step) if !input.is_empty() => host.step(step),
            _ => break,
        }
    }
    host.works();
}

fn step(input: &mut Unstructured<'_>) -> Result<Step> {
    let file = |input: &mut Unstructured<'_>| u8::arbitrary(input).map(usize::from);
    Ok(match input.int_in_range(0..=12_u8)? {
        0 | 1 => Step::Arrive(Frame::Data(input.int_in_range(1..=4096)?)),
        2 | 3 => Step::Arrive(Frame::Close(Some(close(input)?))),
        4 => Step::Payload(payload(input)?),
        5 => Step::Arrive(match u8::arbitrary(input)? % 4 {
            0 => Frame::Close(None),
            1 => Frame::Unknown,
            close => Frame::Damaged { close: close == 2 },
        }),
        6 => {
            let [read, write] = <[bool; 2]>::arbitrary(input)?;
            Step::Open(Access { read, write })
        }
        7 => Step::Release(file(input)?),
        8 => Step::Kill(file(input)?),
        9 => Step::Read(file(input)?, input.int_in_range(1..=9000)?),
        10 => Step::Write(file(input)?, input.int_in_range(1..=9000)?),
        11 => Step::Sent(input.int_in_range(0..=20_000)?),
        _ => Step::Link(Option::arbitrary(input)?),
    })
}

/// Mostly numbers that could be meant.
fn number(input: &mut Unstructured<'_>) -> Result<u64> {
    Ok(match u8::arbitrary(input)? {
        near @ 0..=199 => u64::from(near % 8),
        200..=219 => u64::MAX - u64::from(u8::arbitrary(input)? % 2),
        220..=239 => (u64::from(u8::arbitrary(input)?) << 32) | 1,
        _ => u64::arbitrary(input)?,
    })
}

fn close(input: &mut Unstructured<'_>) -> Result<Close> {
    let [end, stop, duplex, query, cut] = <[bool; 5]>::arbitrary(input)?;
    Ok(Close {
        end,
        stop,
        duplex,
        query,
        cut,
        // What the wire cannot say.
        session: number(input)?.max(1),
        answers: number(input)?,
        bytes: number(input)?,
        taken: number(input)?,
    })
}

fn payload(input: &mut Unstructured<'_>) -> Result<Vec<u8>> {
    let length = input.int_in_range(0..=256)?;
    Ok(input.bytes(input.len().min(length))?.to_vec())
}
