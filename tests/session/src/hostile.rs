// SPDX-License-Identifier: GPL-2.0

//! A caller that keeps the rules, and a peer at the other end of the cable that does not.
//!
//! The peer may send frames of any kind in any order, CLOSE payloads of any bytes among them. What must
//! hold: no panic; a file gets frames of its own connection only; end of file and errors of the
//! connection are for ever; no byte is made up or lost without being counted; the answers that the
//! peer can draw from us are bounded; a fresh connection works.
//!
//! `tests/session/fuzz` runs the same with inputs that coverage guides.

mod host;
mod script;

use proptest::prelude::*;

use super::stream::session::Access;
use super::stream::session::Frame;
use host::Host;
use host::Step;

fn payload() -> impl Strategy<Value = Vec<u8>> {
    let number = || prop_oneof![0..5_u64, any::<u64>(), Just(u64::MAX), Just(u64::MAX - 1)];
    let likely = (any::<u16>(), number(), number(), number(), number()).prop_map(
        |(flags, session, answers, bytes, taken)| {
            let head = *b"TBSC\x01\x00";
            let numbers = [session, answers, bytes, taken].map(u64::to_le_bytes);
            [&head[..], &flags.to_le_bytes(), numbers.as_flattened()].concat()
        },
    );
    prop_oneof![4 => likely, 1 => prop::collection::vec(any::<u8>(), 0..256)]
}

fn step() -> impl Strategy<Value = Step> {
    let file = || any::<u8>().prop_map(usize::from);
    prop_oneof![
        6 => (1..4097_u32).prop_map(|bytes| Step::Arrive(Frame::Data(bytes))),
        4 => payload().prop_map(Step::Payload),
        1 => any::<bool>().prop_map(|close| Step::Arrive(Frame::Damaged { close })),
        1 => Just(Step::Arrive(Frame::Unknown)),
        1 => Just(Step::Arrive(Frame::Close(None))),
        3 => any::<[bool; 2]>().prop_map(|[read, write]| Step::Open(Access { read, write })),
        2 => file().prop_map(Step::Release),
        1 => file().prop_map(Step::Kill),
        6 => (file(), 1..9000_u32).prop_map(|(file, bytes)| Step::Read(file, bytes)),
        4 => (file(), 1..9000_u32).prop_map(|(file, bytes)| Step::Write(file, bytes)),
        3 => (0..20_000_u64).prop_map(Step::Sent),
        1 => any::<Option<bool>>().prop_map(Step::Link),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn a_peer_may_send_what_it_likes(steps in prop::collection::vec(step(), 0..250)) {
        let mut host = Host::new();
        for step in steps {
            host.step(step);
        }
        host.works();
    }
}

/// Seeds and former findings of the fuzz target.
#[test]
fn the_fuzz_target_holds_for_its_corpus() {
    let corpus = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/peer");
    let mut inputs = 0;
    for entry in std::fs::read_dir(&corpus).expect("the corpus") {
        let path = entry.expect("an input").path();
        script::run(&std::fs::read(&path).expect("an input"));
        inputs += 1;
    }
    assert!(inputs > 5, "{inputs} inputs in {}", corpus.display());
}
