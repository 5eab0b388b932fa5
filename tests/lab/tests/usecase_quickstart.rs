// SPDX-License-Identifier: MIT OR Apache-2.0

//! The quick-start of the README on two hosts with nothing loaded and nothing configured. And that
//! no recipe of the documentation is without a test.

mod product;
mod usecase;

use anyhow::{Result, bail, ensure};
use lab::{Driver, Lab, Recipe, Root};
use product::{LIMIT, ours};
use std::time::{Duration, Instant};
use usecase::{LONG, checkout, page, push_tree};

/// What the emulated host interface needs as soon as its driver is there: it wakes nobody by PME.
const STAY_AWAKE: &str = "for i in $(seq 600); do for f in /sys/bus/pci/drivers/thunderbolt/*/power/control; \
    do [ -e $f ] && echo on > $f && exit; done; sleep 0.1; done; exit 1";

#[test]
fn sixty_seconds_to_the_first_byte() -> Result<()> {
    let Driver::Module(module) = ours()? else {
        bail!("the driver in C comes with its kernel: nothing to install");
    };
    let recipe = Recipe::read(&checkout("README.md"), "quickstart")?;
    let lab = Lab::builder().root(Root::Debian).load_nothing().start()?;
    let (a, b) = (lab.host("a"), lab.host("b"));
    lab.on_all(|host| {
        push_tree(host, "tools")?;
        host.push(&module, "/thunderbolt_stream.ko")
    })?;
    let begin = Instant::now();
    let mut jobs = Vec::new();
    for host in [a, b] {
        recipe.run("install", host, LIMIT)?;
        jobs.push(recipe.start("make", host)?);
        host.run(STAY_AWAKE)?;
    }
    for job in &mut jobs {
        let output = job.wait(LONG)?.check()?;
        ensure!(output.text() == "/dev/tbstream0", "{output:?}");
    }
    let mut reader = recipe.start("read", b)?;
    recipe.run("write", a, LIMIT)?;
    let output = reader.wait(LIMIT)?.check()?;
    let took = begin.elapsed();
    println!(
        "from nothing to the first byte: {:.1} s",
        took.as_secs_f64()
    );
    ensure!(output.text() == "hello", "{output:?}");
    ensure!(took < Duration::from_secs(60), "it took {took:?}");
    // Ours and not the driver in C: that has no such attribute.
    a.run("test -e /sys/kernel/config/thunderbolt/stream/*/data/state")?;
    recipe.finish()?;
    wrong_use(&lab)?;
    lab.finish()
}

/// Again, it finds what is there; what it cannot do, it says.
fn wrong_use(lab: &Lab) -> Result<()> {
    let a = lab.host("a");
    ensure!(a.run("/tools/tbstream-quickstart")? == "/dev/tbstream0");
    for (words, code, saying) in [
        ("'a b'", 2, "Usage"),
        ("one two", 2, "Usage"),
        ("-x", 2, "Usage"),
        ("longer-than-8", 1, "longer than 8 bytes"),
        ("-t soon", 1, "no number"),
        (
            "-t 1 alone",
            1,
            "in vain after 1 s: the stream alone on the other host (waiting",
        ),
        ("-t 1 -p 0-7.0", 1, "in vain after 1 s: a peer"),
    ] {
        let output = a
            .shell(&format!("/tools/tbstream-quickstart {words}"))
            .output()?;
        let all = output.error_text();
        ensure!(
            output.code == code && all.contains(saying),
            "{words}: {output:?}"
        );
        ensure!(output.stdout.is_empty(), "{words}: {output:?}");
    }
    Ok(())
}

/// Each test runs all blocks of the recipes that it names (`Recipe::finish`); here, that each recipe
/// is named.
#[test]
fn every_recipe_has_a_test() -> Result<()> {
    let mut sources = String::new();
    for entry in std::fs::read_dir(checkout("tests/lab/tests"))? {
        let path = entry?.path();
        if path
            .file_name()
            .is_some_and(|name| name.to_string_lossy().starts_with("usecase_"))
        {
            sources += &std::fs::read_to_string(path)?;
        }
    }
    for page in [page(), checkout("README.md")] {
        let names = Recipe::names(&page)?;
        ensure!(!names.is_empty(), "{} has no recipes", page.display());
        for name in names {
            ensure!(
                sources.contains(&format!("\"{name}\"")),
                "recipe `{name}` has no test"
            );
        }
    }
    Ok(())
}
