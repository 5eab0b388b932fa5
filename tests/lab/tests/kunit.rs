// SPDX-License-Identifier: MIT OR Apache-2.0

//! The module's own KUnit suites, in a guest: they run when it is loaded.

mod product;

use anyhow::{Context as _, Result, ensure};
use lab::Lab;
use product::ours;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// Where the guest's kernel has what the suites said.
const RESULTS: &str = "/sys/kernel/debug/kunit";

#[test]
fn all_suites_pass() -> Result<()> {
    let lab = Lab::builder()
        .hosts(1)
        .driver(ours()?)
        .kernel_arg("kunit.enable=1")
        .start()?;
    let host = lab.host("a");
    let ran = host.run(&format!("ls {RESULTS}"))?;
    let ran: BTreeSet<&str> = ran.split_whitespace().collect();
    let mut total = 0;
    for suite in suites()? {
        ensure!(ran.contains(suite.as_str()), "{suite} did not run: {ran:?}");
        let results = host.run(&format!("cat {RESULTS}/{suite}/results"))?;
        let cases = passed(&suite, &results)?;
        println!("ok {suite}: {cases} cases");
        total += cases;
    }
    println!("{total} cases passed");
    lab.finish()
}

/// The suites that the module's sources have.
fn suites() -> Result<BTreeSet<String>> {
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut suites = BTreeSet::new();
    for dir in ["configfs", "dma", "stream", "thunderbolt"] {
        collect(&top.join(dir), &mut suites)?;
    }
    ensure!(!suites.is_empty(), "no suite below {}", top.display());
    Ok(suites)
}

fn collect(dir: &Path, suites: &mut BTreeSet<String>) -> Result<()> {
    for entry in fs::read_dir(dir).with_context(|| format!("{}", dir.display()))? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, suites)?;
        } else if path.extension().is_some_and(|end| end == "rs") {
            let text = fs::read_to_string(&path)?;
            let mut rest = text.split("#[kunit_tests(");
            rest.next();
            suites.extend(rest.filter_map(|it| Some(it.split_once(')')?.0.to_owned())));
        }
    }
    Ok(())
}

/// How many cases of a suite have passed, from its KTAP.
///
/// # Errors
/// One has failed, none has run, or fewer than were planned.
fn passed(suite: &str, ktap: &str) -> Result<usize> {
    let failed = ktap
        .lines()
        .any(|line| line.trim_start().starts_with("not ok"));
    ensure!(!failed, "{suite} has failed:\n{ktap}");
    let planned = ktap
        .lines()
        .find_map(|line| line.strip_prefix("    1..")?.parse().ok())
        .unwrap_or(0);
    let cases = ktap
        .lines()
        .filter(|line| line.starts_with("    ok "))
        .count();
    ensure!(
        cases > 0 && cases == planned,
        "{suite}: {cases} of {planned} cases have run:\n{ktap}"
    );
    let closed = ktap
        .lines()
        .any(|line| line.starts_with("ok ") && line.ends_with(suite));
    ensure!(closed, "{suite} was not finished:\n{ktap}");
    Ok(cases)
}

#[test]
fn a_suite_that_fails_or_does_not_run_is_noticed() {
    let ktap = |cases: &str, end: &str| {
        format!("KTAP version 1\n1..1\n    KTAP version 1\n    # Subtest: s\n{cases}{end}")
    };
    let good = ktap("    1..2\n    ok 1 a\n    ok 2 b\n", "ok 1 s\n");
    assert_eq!(passed("s", &good).expect("good"), 2);
    for (bad, why) in [
        (
            ktap("    1..2\n    ok 1 a\n    not ok 2 b\n", "not ok 1 s\n"),
            "a case",
        ),
        (ktap("    1..2\n    ok 1 a\n", "ok 1 s\n"), "one is missing"),
        (ktap("    1..0\n", "ok 1 s\n"), "none"),
        (ktap("    1..1\n    ok 1 a\n", ""), "no end"),
        (String::new(), "nothing"),
    ] {
        assert!(passed("s", &bad).is_err(), "{why}");
    }
}
