// SPDX-License-Identifier: MIT OR Apache-2.0

//! What the tests of the module share.

#![allow(dead_code, reason = "every test program uses a part of it")]

pub(crate) mod python;
pub(crate) mod race;

use anyhow::{Context as _, Result, ensure};
use lab::stream::{End, HopIds, create_pair, make_data};
use lab::{Builder, Driver, Host, Kernel, Lab};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Time for two hosts to find each other.
pub(crate) const CONNECT: Duration = Duration::from_secs(30);
/// Longest time for anything that should take a moment.
pub(crate) const LIMIT: Duration = Duration::from_secs(30);
/// What `ENXIO` is called in a shell.
pub(crate) const NO_SUCH_DEVICE: &str = "No such device or address";
/// A mebibyte.
pub(crate) const MIB: u64 = 1 << 20;

/// The kernel of the hosts: `TBS_KERNEL`, else the own one. With `debug` the same tests find what
/// others do not see; [`Lab::finish`] looks for leaks then.
///
/// # Errors
/// There is no such kernel.
pub(crate) fn kernel() -> Result<Kernel> {
    std::env::var("TBS_KERNEL").map_or(Ok(Kernel::Own), |name| name.parse())
}

/// Choices for a lab with that kernel.
///
/// # Errors
/// As [`kernel`].
pub(crate) fn builder() -> Result<Builder> {
    Ok(Lab::builder().kernel(kernel()?))
}

/// The module under test: `TBS_MODULE`, or what `scripts/module` has built. `TBS_MODULE=c` is the
/// kernel's driver in C, to see what the tests are worth.
///
/// # Errors
/// There is no such file.
pub(crate) fn ours() -> Result<Driver> {
    if std::env::var_os("TBS_MODULE").is_some_and(|path| path == "c") {
        return Ok(Driver::C);
    }
    let name = match kernel()? {
        Kernel::Own => "module".to_owned(),
        other => format!("module-{}", other.name()),
    };
    let built = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../build")
        .join(name)
        .join("thunderbolt_stream.ko");
    let path = std::env::var_os("TBS_MODULE").map_or(built, PathBuf::from);
    ensure!(
        path.is_file(),
        "the module is not built: {} is missing (scripts/module, or set TBS_MODULE)",
        path.display()
    );
    Ok(Driver::Module(path))
}

/// Two hosts with a cable; our module on both.
///
/// # Errors
/// They do not come up or do not find each other.
pub(crate) fn start() -> Result<Lab> {
    start_with(ours()?, ours()?)
}

/// Two hosts with a cable and these drivers.
///
/// # Errors
/// As [`start`].
pub(crate) fn start_with(a: Driver, b: Driver) -> Result<Lab> {
    connected(builder()?.driver(a).driver_on("b", b).start()?)
}

/// As [`apart`], for hosts that are slow.
const APART_LONG: &str = "set ctl-apart * ms=400";

/// The fault that keeps answers apart, for as long as a host needs to forget its own: the debug kernel
/// is slow.
///
/// # Errors
/// As [`kernel`].
pub(crate) fn apart() -> Result<&'static str> {
    Ok(match kernel()? {
        Kernel::Debug => APART_LONG,
        _ => "set ctl-apart * ms=100",
    })
}

/// Sets the faults that a lab has all the time.
///
/// The core compares answers of the peer with responses of its own that their sender has freed
/// (`Documentation/robustness.rst`). KASAN sees that sooner or later, so that on the debug kernel
/// answers and responses are kept apart.
///
/// # Errors
/// The emulator has ended.
pub(crate) fn usual_faults(lab: &Lab) -> Result<()> {
    if kernel()? == Kernel::Debug {
        lab.fault(apart()?)?;
    }
    Ok(())
}

/// The same lab once its hosts see each other.
fn connected(lab: Lab) -> Result<Lab> {
    usual_faults(&lab)?;
    lab.wait_connected(CONNECT)?;
    Ok(lab)
}

/// `guest-tool` in the guests of [`start_with_tool`].
pub(crate) const TOOL: &str = "/bin/guest-tool";

/// Like [`start`], with `guest-tool` in the guests.
///
/// # Errors
/// As [`start`], or the tool was not built.
pub(crate) fn start_with_tool() -> Result<Lab> {
    connected(with_tool(builder()?.driver(ours()?))?.start()?)
}

/// Adds `guest-tool` to a lab.
///
/// # Errors
/// It was not built.
pub(crate) fn with_tool(builder: Builder) -> Result<Builder> {
    Ok(builder.extra_file(tool()?, TOOL))
}

/// `guest-tool` where cargo has put it; being static, it runs here as well as in a guest.
///
/// # Errors
/// It was not built.
pub(crate) fn tool() -> Result<PathBuf> {
    let test = std::env::current_exe()?;
    let mut near = test.ancestors().skip(1).take(2);
    near.find_map(|dir| Some(dir.join("guest-tool")).filter(|it| it.is_file()))
        .context(
            "guest-tool is missing: cargo rustc --release -p guest-tool -- -C target-feature=+crt-static",
        )
}

/// A stream between `a` and `b`, ready at both ends.
///
/// # Errors
/// It does not get ready.
pub(crate) fn pair<'a>(lab: &'a Lab, name: &str, hop_ids: HopIds) -> Result<(End<'a>, End<'a>)> {
    let (a, b) = create_pair((lab.host("a"), 1), (lab.host("b"), 1), name, hop_ids)?;
    for end in [&a, &b] {
        wait_ready(end)?;
    }
    Ok((a, b))
}

/// Waits until our driver says that a stream is ready; the one in C has no such attribute.
///
/// # Errors
/// It does not get ready.
pub(crate) fn wait_ready(end: &End<'_>) -> Result<()> {
    let dir = &end.dir;
    let script = format!(
        "[ -e {dir}/state ] || {{ sleep 2; exit; }}; \
         state=; until [ \"${{state#ready}}\" != \"$state\" ]; do sleep 0.05; read -r state < {dir}/state; done"
    );
    end.host.shell(&script).timeout(LIMIT).output()?.check()?;
    Ok(())
}

/// Waits until `what` is true.
///
/// # Errors
/// It does not become true, or cannot be told.
pub(crate) fn wait_until(name: &str, mut what: impl FnMut() -> Result<bool>) -> Result<()> {
    let deadline = Instant::now() + kernel()?.patience(LIMIT);
    while !what()? {
        ensure!(Instant::now() < deadline, "in vain: {name}");
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

/// The command that reads sessions that nobody has read, which wait for who reads next, until the one of
/// [`say_last`].
pub(crate) fn read_to_the_last(end: &End<'_>) -> String {
    format!(
        "until [ \"$(cat {} 2> /dev/null | tail -c 5)\" = last ]; do :; done",
        end.device
    )
}

/// Writes the session that [`read_to_the_last`] waits for.
///
/// # Errors
/// It cannot be written.
pub(crate) fn say_last(end: &End<'_>) -> Result<()> {
    let say = format!("echo last > {}", end.device);
    end.host.run(&say).map(drop)
}

/// Leaves nothing of earlier sessions.
///
/// # Errors
/// They cannot be read.
pub(crate) fn drain(from: &End<'_>, to: &End<'_>) -> Result<()> {
    let mut reader = to.host.spawn(&read_to_the_last(to))?;
    say_last(from)?;
    reader.wait(kernel()?.patience(LIMIT))?.check().map(drop)
}

/// Pulls the cable and waits until both hosts have noticed.
///
/// # Errors
/// One does not notice.
pub(crate) fn unplug(lab: &Lab) -> Result<()> {
    lab.cable("a-b").unplug()?;
    for host in lab.hosts() {
        host.wait_peers(0, LIMIT)?;
    }
    Ok(())
}

/// Plugs the cable in and waits until the ends of a stream are ready again.
///
/// # Errors
/// One is not.
pub(crate) fn replug(lab: &Lab, ends: &[&End<'_>]) -> Result<()> {
    lab.cable("a-b").plug()?;
    lab.wait_connected(CONNECT)?;
    for end in ends {
        end.host.stream_service(1)?;
        wait_ready(end)?;
    }
    Ok(())
}

/// The command that removes all streams of a host and its module.
pub(crate) const UNLOAD: &str = "for d in /sys/kernel/config/thunderbolt/stream/*/*/; do \
    [ -d $d ] && rmdir $d; done; \
    for d in /sys/kernel/config/thunderbolt/stream/*/; do [ -d $d ] && rmdir $d; done; \
    rmmod thunderbolt_stream";

/// Loads our module, which [`Driver::Module`] has put there.
///
/// # Errors
/// It cannot be loaded.
pub(crate) fn load(host: &Host) -> Result<()> {
    host.run("insmod /usr/local/lib/tbs/thunderbolt_stream.ko")
        .map(drop)
}

/// Sends a little through a stream and compares it, with less patience than [`Lab::transfer`].
///
/// # Errors
/// It does not arrive soon, or is different.
pub(crate) fn moves(from: &End<'_>, to: &End<'_>) -> Result<()> {
    let sum = make_data(from.host, "little", 100_000)?;
    let mut reader = to.host.spawn(&format!("sha256sum < {}", to.device))?;
    to.wait_open()?;
    let mut writer = from.write_from("/tmp/little")?;
    writer.wait(Duration::from_secs(10))?.check()?;
    let got = reader.wait(Duration::from_secs(10))?.check()?.text();
    ensure!(got.starts_with(&sum), "different: {got}");
    Ok(())
}
