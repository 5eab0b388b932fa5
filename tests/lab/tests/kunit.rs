// SPDX-License-Identifier: MIT OR Apache-2.0

//! The module's own KUnit suites, in a guest: they run when it is loaded.

mod product;

use anyhow::{Result, ensure};
use lab::Lab;
use product::ours;

#[test]
fn all_suites_pass() -> Result<()> {
    let lab = Lab::builder()
        .hosts(1)
        .driver(ours()?)
        .kernel_arg("kunit.enable=1")
        .start()?;
    let host = lab.host("a");
    let suites = host.run("ls /sys/kernel/debug/kunit")?;
    let mut cases = 0;
    for suite in suites.split_whitespace() {
        let results = host.run(&format!("cat /sys/kernel/debug/kunit/{suite}/results"))?;
        let case = |line: &str, word: &str| {
            line.starts_with("    ") && line.trim_start().starts_with(word)
        };
        let failed: Vec<&str> = results
            .lines()
            .filter(|line| line.trim_start().starts_with("not ok"))
            .collect();
        ensure!(failed.is_empty(), "{suite}:\n{results}");
        cases += results.lines().filter(|line| case(line, "ok ")).count();
    }
    println!(
        "{cases} cases in {} suites",
        suites.split_whitespace().count()
    );
    ensure!(cases >= 50, "only {cases} cases ran: {suites}");
    lab.finish()
}
