// SPDX-License-Identifier: MIT OR Apache-2.0

//! Directories to the other host, with all that a file is: by tar and a compressor, and by rsync.

mod product;
mod usecase;

use anyhow::{Context as _, Result, ensure};
use lab::{Driver, Host};
use product::ours;
use std::collections::BTreeSet;
use usecase::{LONG, debian, recipe, start, transfer, wait_open};

/// A directory with everything that archives forget.
const MAKE: &str = "mkdir -p /srv/data/sub/empty && cd /srv/data && cp -a /etc/. sub/ \
    && head -c 3M /dev/urandom > random && truncate -s 16M sparse && printf x >> sparse \
    && ln random hard && ln -s ../nowhere sub/dangling && ln -s random soft && mkfifo fifo \
    && printf x > 'a name with spaces' && printf x > 'ünï' && : > empty \
    && chmod 4755 random && chmod 0 empty && chown 1000:1001 sparse && chmod 1777 sub/empty \
    && touch -d '2001-02-03 04:05:06.123456789' soft random && touch -h -d 1999-01-01 sub/dangling \
    && touch -d '2002-03-04 05:06:07.5' sub/empty";

/// All of it as text: kind, mode, owner, links, exact time, target; blocks of the sparse file; sums.
fn list(host: &Host, dir: &str) -> Result<String> {
    host.run(&format!(
        "cd {dir} && find . -not -type d -printf '%P %y %m %U %G %n %T@ %s %l\\n' | sort \
         && find . -type d -printf '%P %m %U %G %T@\\n' | sort \
         && find . -type f | sort | tr '\\n' '\\0' | xargs -0 sha256sum \
         && [ $(stat -c %b sparse) -lt 1000 ] && [ hard -ef random ]"
    ))
}

/// Fails with what is different.
fn same(want: &str, got: &str) -> Result<()> {
    let only = |one: &str, other: &str| -> Vec<String> {
        let other: BTreeSet<&str> = other.lines().collect();
        let lines = one.lines().filter(|line| !other.contains(line));
        lines.map(str::to_owned).take(5).collect()
    };
    ensure!(
        want == got,
        "sent {:#?}, got {:#?}",
        only(want, got),
        only(got, want)
    );
    Ok(())
}

fn archives(peer: Driver) -> Result<()> {
    let lab = start(debian(ours()?, peer))?;
    let (a, b) = (lab.host("a"), lab.host("b"));
    a.run(MAKE)?;
    let want = list(a, "/srv/data")?;
    ensure!(want.lines().count() > 200, "a poor directory: {want}");
    for name in ["tar-gzip", "tar-zstd"] {
        b.run("rm -rf /srv/copy")?;
        let recipe = recipe(name)?;
        transfer(&recipe, ("reader", b), ("writer", a))?;
        same(&want, &list(b, "/srv/copy")?).context(name)?;
        recipe.finish()?;
    }
    let rsync = recipe("rsync")?;
    b.run("rm -rf /srv/copy")?;
    let mut sent = Vec::new();
    // All, nothing, one file.
    for change in ["true", "true", "printf y >> '/srv/data/a name with spaces'"] {
        a.run(change)?;
        let mut server = rsync.start("server", b)?;
        wait_open(b, "/dev/tbstream0")?;
        let output = rsync.run("client", a, LONG)?.text();
        server.wait(LONG)?.check()?;
        same(&list(a, "/srv/data")?, &list(b, "/srv/copy")?).context("rsync")?;
        sent.push(bytes_sent(&output)?);
    }
    println!("rsync has sent {sent:?} bytes");
    ensure!(
        sent[0] > 3 << 20 && sent[1] < 1 << 20 && sent[2] < 1 << 20,
        "{sent:?}"
    );
    rsync.finish()?;
    lab.finish()
}

/// From `sent 1,234 bytes  received …`.
fn bytes_sent(output: &str) -> Result<u64> {
    let line = output.lines().find_map(|line| line.strip_prefix("sent "));
    let number = line.and_then(|line| line.split(' ').next());
    let number = number.map(|number| number.replace(',', ""));
    Ok(number.unwrap_or_default().parse()?)
}

#[test]
fn archives_arrive_whole() -> Result<()> {
    archives(ours()?)
}

#[test]
fn archives_arrive_whole_at_the_c_driver() -> Result<()> {
    archives(Driver::C)
}
