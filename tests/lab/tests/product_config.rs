// SPDX-License-Identifier: MIT OR Apache-2.0

//! The ConfigFS tree: names, values, modes and errors are those of the driver in C (with A-13 and
//! A-14 corrected), and both ends come to the same HopIDs.

mod product;

use anyhow::{Result, ensure};
use lab::Host;
use lab::stream::{End, HopIds, STREAMS, create_pair, make_data, sha256};
use product::{LIMIT, MIB, pair, replug, start, unplug, wait_ready, wait_until};

/// Writes `value` and gives what the shell says, nothing if it works.
fn store(end: &End<'_>, name: &str, value: &str) -> Result<String> {
    let command = format!("echo '{value}' > {}/{name}", end.dir);
    let output = end.host.shell(&command).output()?;
    Ok(output.error_text())
}

fn refused(end: &End<'_>, name: &str, value: &str, why: &str) -> Result<()> {
    let said = store(end, name, value)?;
    ensure!(said.contains(why), "{value} > {name}: `{said}`, not {why}");
    Ok(())
}

fn taken(end: &End<'_>, name: &str, value: &str, shown: &str) -> Result<()> {
    let said = store(end, name, value)?;
    ensure!(said.is_empty(), "{value} > {name}: {said}");
    let now = end.attribute(name)?;
    ensure!(now == shown, "{value} > {name} shows {now}, not {shown}");
    Ok(())
}

const INVALID: &str = "Invalid argument";
const RANGE: &str = "out of range";
const BUSY: &str = "busy";

#[test]
fn settings_have_the_ranges_of_the_c_driver() -> Result<()> {
    let lab = start()?;
    let (a, b) = pair(&lab, "data", HopIds::Auto)?;
    let shown = |name: &str| a.attribute(name);
    ensure!(shown("ring_size")? == "256" && shown("throttling")? == "8192");
    ensure!(shown("busy_poll")? == "0" && shown("index")? == "0");
    let modes = a.host.run(&format!(
        "stat -c %a {0}/ring_size {0}/index {0}/state",
        a.dir
    ))?;
    ensure!(modes == "644\n444\n444", "{modes}");
    let node = a
        .host
        .run(&format!("stat -c '%a %t' {}; cat /proc/misc", a.device))?;
    ensure!(node.starts_with("600 a"), "{node}");
    ensure!(node.contains("tbstream0"), "{node}");
    for value in ["31", "4097", "x", "", "-1"] {
        refused(&a, "ring_size", value, INVALID)?;
    }
    refused(&a, "ring_size", "99999999999", RANGE)?;
    refused(&a, "throttling", "16776961", INVALID)?;
    refused(&a, "busy_poll", "2", INVALID)?;
    refused(&a, "index", "1", "denied")?;
    for (ring, throttling) in [
        ("32", "0"),
        ("0x40", "16776960"),
        ("4096", "256"),
        ("256", "8192"),
    ] {
        let number = if ring == "0x40" { "64" } else { ring };
        taken(&a, "ring_size", ring, number)?;
        taken(&a, "throttling", throttling, throttling)?;
        // The rings are there since the last transfer: the store has taken them down.
        wait_ready(&a)?;
        lab.transfer(&a, &b, MIB + 1)?;
        lab.transfer(&b, &a, MIB + 1)?;
    }
    let _holder = a.host.spawn(&format!("exec 3<{}; sleep 100", a.device))?;
    a.wait_open()?;
    for (name, value) in [
        ("ring_size", "64"),
        ("throttling", "0"),
        ("busy_poll", "1"),
        ("in_hopid", "-1"),
        ("out_hopid", "0"),
    ] {
        refused(&a, name, value, BUSY)?;
    }
    lab.finish()
}

#[test]
fn busy_polling_moves_data_as_well() -> Result<()> {
    let lab = start()?;
    let (a, b) = pair(&lab, "data", HopIds::Auto)?;
    for end in [&a, &b] {
        taken(end, "busy_poll", "on", "1")?;
        wait_ready(end)?;
    }
    lab.transfer(&a, &b, 4 * MIB)?;
    lab.transfer(&b, &a, 4 * MIB)?;
    lab.finish()
}

/// A-13 rows a to d and g: all of this makes the C driver refuse its own value, forget what it owns,
/// or warn. `Lab::finish` looks for warnings.
#[test]
fn hop_ids_are_owned() -> Result<()> {
    let lab = start()?;
    let (a, b) = pair(
        &lab,
        "one",
        HopIds::Manual {
            input: 10,
            output: 10,
        },
    )?;
    taken(&a, "in_hopid", "10", "10")?;
    for value in ["3", "7", "9999", "2147483647"] {
        refused(&a, "in_hopid", value, INVALID)?;
        ensure!(
            a.attribute("in_hopid")? == "10",
            "{value} was refused, and 10 lost"
        );
    }
    refused(&a, "out_hopid", "99999999999", RANGE)?;
    refused(&a, "out_hopid", "ten", INVALID)?;
    let two = a.host.create_stream(1, "two", HopIds::Auto)?;
    refused(&two, "in_hopid", "10", BUSY)?;
    let (input, output) = (two.attribute("in_hopid")?, two.attribute("out_hopid")?);
    ensure!(
        input != "10" && output != "10",
        "{input} {output} are taken"
    );
    taken(&a, "in_hopid", "0", "0")?;
    taken(&two, "in_hopid", "10", "10")?;
    two.remove()?;
    taken(&a, "in_hopid", "10", "10")?;
    wait_ready(&a)?;
    // While a file is open the directory goes, and a new one of the same name comes.
    let mut holder = a.host.spawn(&format!("exec 3<{}; sleep 2", a.device))?;
    a.wait_open()?;
    a.remove()?;
    let again = a.host.create_stream(
        1,
        "one",
        HopIds::Manual {
            input: 10,
            output: 10,
        },
    )?;
    ensure!(again.attribute("in_hopid")? == "10");
    holder.wait(LIMIT)?;
    std::thread::sleep(std::time::Duration::from_secs(4));
    wait_ready(&again)?;
    wait_ready(&b)?;
    lab.transfer(&again, &b, MIB)?;
    lab.transfer(&b, &again, MIB)?;
    lab.finish()
}

/// Offline anything can be written; what is wrong with it is said when the peer comes.
#[test]
fn values_are_checked_when_the_peer_comes() -> Result<()> {
    let lab = start()?;
    let (a, b) = pair(&lab, "data", HopIds::Auto)?;
    unplug(&lab)?;
    for value in ["3", "-7", "100000"] {
        taken(&a, "in_hopid", value, value)?;
    }
    lab.cable("a-b").plug()?;
    lab.wait_connected(product::CONNECT)?;
    a.host.stream_service(1)?;
    wait_until("the stream says what is wrong", || {
        Ok(a.attribute("state")?
            .contains("in_hopid 100000 is out of range"))
    })?;
    let output = a.host.shell(&format!("cat {}", a.device)).output()?;
    ensure!(output.error_text().contains(INVALID), "{output:?}");
    taken(&a, "in_hopid", "-1", &b.attribute("out_hopid")?)?;
    wait_ready(&a)?;
    wait_ready(&b)?;
    lab.transfer(&a, &b, MIB)?;
    lab.finish()
}

/// streams that were made in different orders get the lowest free HopIDs in different orders.
/// The C driver then sends to the wrong stream.
#[test]
fn the_order_of_mkdir_does_not_matter() -> Result<()> {
    let lab = start()?;
    let (host_a, host_b) = (lab.host("a"), lab.host("b"));
    let create = |host: &'static str, name: &str| -> Result<String> {
        Ok(lab.host(host).create_stream(1, name, HopIds::Auto)?.dir)
    };
    // At the same time, so that nobody can adopt what the other end has.
    for name in ["one", "two"] {
        create("a", name)?;
    }
    for name in ["two", "one"] {
        create("b", name)?;
    }
    for name in ["one", "two"] {
        let (from, to) = (end(host_a, name)?, end(host_b, name)?);
        wait_ready(&from)?;
        wait_ready(&to)?;
        let sum = make_data(host_a, name, 5000)?;
        host_a.run(&format!("cat /tmp/{name} > {}", from.device))?;
        host_b.run(&format!("cat {} > /tmp/{name}", to.device))?;
        ensure!(
            sha256(host_b, &format!("/tmp/{name}"))? == sum,
            "{name}: different"
        );
    }
    lab.finish()
}

/// The end of a stream that is there already.
fn end<'a>(host: &'a Host, name: &str) -> Result<End<'a>> {
    let dir = host.run(&format!("echo {STREAMS}/*/{name}"))?;
    let index = host.run(&format!("cat {dir}/index"))?;
    Ok(End {
        host,
        device: format!("/dev/tbstream{index}"),
        dir,
    })
}

/// Automatic HopIDs are asked for again after a replug, with what the peer has then.
#[test]
fn directories_come_before_the_peer() -> Result<()> {
    let lab = start()?;
    let (a, b) = create_pair((lab.host("a"), 1), (lab.host("b"), 1), "data", HopIds::Auto)?;
    unplug(&lab)?;
    // A file that is opened now waits for the peer.
    let mut reader = b.host.spawn(&format!("cat {} | sha256sum", b.device))?;
    b.wait_open()?;
    let sum = make_data(a.host, "in", MIB)?;
    let mut writer = a.host.spawn(&format!("cat /tmp/in > {}", a.device))?;
    replug(&lab, &[&a, &b])?;
    writer.wait(LIMIT)?.check()?;
    let got = reader.wait(LIMIT)?.check()?.text();
    ensure!(got.starts_with(&sum), "{got}");
    lab.finish()
}

#[test]
fn names_are_checked() -> Result<()> {
    let lab = start()?;
    let host = lab.host("a");
    let mkdir = |path: &str| -> Result<String> {
        let output = host.shell(&format!("mkdir {STREAMS}/{path}")).output()?;
        Ok(output.error_text())
    };
    for (path, why) in [
        ("nonsense", INVALID),
        ("0-1", INVALID),
        ("0-1.0junk", INVALID),
        ("00-1.0", INVALID),
    ] {
        let said = mkdir(path)?;
        ensure!(said.contains(why), "mkdir {path}: `{said}`");
    }
    // May be absent now.
    ensure!(mkdir("1-3f.7")?.is_empty());
    ensure!(mkdir("1-3f.7/12345678")?.is_empty());
    ensure!(mkdir("1-3f.7/123456789")?.contains("too long"));
    ensure!(mkdir("1-3f.7/12345678/y")?.contains("permitted"));
    let said = host.shell(&format!("rmdir {STREAMS}/1-3f.7")).output()?;
    ensure!(said.error_text().contains("not empty"), "{said:?}");
    host.run(&format!("rmdir {STREAMS}/1-3f.7/12345678 {STREAMS}/1-3f.7"))?;
    lab.finish()
}
