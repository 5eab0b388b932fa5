// SPDX-License-Identifier: GPL-2.0

//! Copies the protocol's sources once per planted bug and generates a test for each.

#[path = "src/planted.rs"]
mod planted;

use std::env;
use std::fs;
use std::path::Path;
use std::path::PathBuf;

const FILES: [&str; 5] = [
    "close.rs",
    "session.rs",
    "session/inbound.rs",
    "session/outbound.rs",
    "session/types.rs",
];

fn main() {
    let here = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("set by cargo"));
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("set by cargo"));
    let sources = here.join("../../stream");
    println!("cargo::rerun-if-changed=src/planted.rs");
    for file in FILES {
        println!("cargo::rerun-if-changed={}", sources.join(file).display());
    }
    let modules: String = planted::PLANTED
        .iter()
        .map(|bug| {
            plant(bug, &sources, &out.join(bug.name));
            module(bug, &here.join("src"), &out.join(bug.name))
        })
        .collect();
    fs::write(out.join("planted.rs"), modules).expect("OUT_DIR is writable");
}

/// Writes the sources with `bug` to `to`.
fn plant(bug: &planted::Planted, from: &Path, to: &Path) {
    fs::create_dir_all(to.join("session")).expect("OUT_DIR is writable");
    for file in FILES {
        let mut text = fs::read_to_string(from.join(file)).expect("a source of the module");
        if file == bug.file {
            let places = text.matches(bug.from).count();
            assert_eq!(places, 1, "{}: `{}` in {file}", bug.name, bug.from);
            text = text.replace(bug.from, bug.to);
        }
        fs::write(to.join(file), text).expect("OUT_DIR is writable");
    }
}

/// A module with those sources, the explorer, and a test.
fn module(bug: &planted::Planted, src: &Path, sources: &Path) -> String {
    let name = bug.name;
    let found_by = bug.found_by;
    format!(
        "#[allow(clippy::all)]
        mod {name} {{
            #[path = {sources:?}]
            #[allow(dead_code, unused)]
            mod stream {{ pub(crate) mod close; pub(crate) mod session; }}
            #[path = {explore:?}]
            #[allow(dead_code)]
            mod explore;
            #[path = {proof:?}]
            #[allow(dead_code)]
            mod proof;
            #[test]
            fn is_found() {{ proof::must_find({name:?}, {found_by:?}); }}
        }}\n",
        explore = src.join("explore/mod.rs"),
        proof = src.join("proof.rs"),
    )
}
