// SPDX-License-Identifier: MIT OR Apache-2.0

//! `lab up`, `lab down`.

use super::args::Up;
use anyhow::Result;
use lab::{Builder, Detached, Host, Lab};
use std::time::Instant;

pub(crate) fn up(detached: &Detached, choices: &Up) -> Result<()> {
    let start = Instant::now();
    let lab = detached.start(builder(choices))?;
    let names: Vec<_> = lab.hosts().iter().map(Host::name).collect();
    let name = detached.name();
    println!(
        "lab {name}: {} up after {:.1} s",
        names.join(", "),
        start.elapsed().as_secs_f64()
    );
    Ok(())
}

fn builder(choices: &Up) -> Builder {
    let mut builder = Lab::builder()
        .hosts(usize::from(choices.hosts))
        .kernel(choices.kernel)
        .driver(choices.driver.clone())
        .root(choices.root)
        .smp(choices.smp)
        .link(choices.link)
        .delay_ns(choices.delay_ns);
    if let Some(factor) = choices.moderation {
        builder = builder.moderation(factor);
    }
    for (host, driver) in &choices.driver_on {
        builder = builder.driver_on(host, driver.clone());
    }
    for host in &choices.intel {
        builder = builder.intel(host);
    }
    for cable in &choices.unplugged {
        builder = builder.unplugged(cable);
    }
    for words in &choices.append {
        builder = builder.kernel_arg(words);
    }
    for (from, to) in &choices.file {
        builder = builder.extra_file(from, to);
    }
    if let Some(size) = choices.mem {
        builder = builder.memory_mib(size);
    }
    if let Some(limit) = choices.gbps {
        builder = builder.gbps(limit);
    }
    if let Some(dir) = &choices.share {
        builder = builder.share(dir);
    }
    if choices.net {
        builder = builder.net();
    }
    if choices.load_nothing {
        builder = builder.load_nothing();
    }
    if choices.no_nhi {
        builder = builder.without_nhi();
    }
    builder
}

pub(crate) fn down(detached: &Detached) -> Result<()> {
    let name = detached.name();
    if detached.health().is_none() {
        println!("there is no lab {name}");
        return Ok(());
    }
    detached.down()?;
    println!("lab {name}: down");
    Ok(())
}

pub(crate) fn down_all() -> Result<()> {
    Detached::all()?.iter().try_for_each(down)
}
