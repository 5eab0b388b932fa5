// SPDX-License-Identifier: MIT OR Apache-2.0

//! Who reads what: sessions one after the other, late and slow readers, readers that leave.

mod product;

use anyhow::{Context as _, Result, ensure};
use lab::Driver;
use lab::stream::{HopIds, make_data};
use product::python::{spawn_python, start_debian};
use product::{LIMIT, ours, pair, start, start_with, wait_until};
use std::time::{Duration, Instant};

/// with the C driver the second of two sessions in a row may be lost, or cut short by the
/// CLOSE of the one before. Nobody waits for anybody here.
#[test]
fn two_hundred_in_a_row_without_a_pause() -> Result<()> {
    const COUNT: u32 = 200;
    const LONG: Duration = Duration::from_secs(240);
    let lab = start()?;
    let (a, b) = pair(&lab, "data", HopIds::Auto)?;
    let numbers = format!("for i in $(seq 1 {COUNT}); do");
    // Some are empty, most fit into a ring, every twentieth does not.
    a.host.run(&format!(
        "{numbers} n=$((i * 7919 % 50000)); [ $((i % 20)) != 3 ] || n=$((n + 1200000)); \
         [ $((i % 20)) != 1 ] || n=0; head -c $n /dev/urandom > /tmp/s$i; done"
    ))?;
    let mut reader = b.host.spawn(&format!(
        "{numbers} cat {} > /tmp/s$i || exit; done",
        b.device
    ))?;
    let mut writer = a.host.spawn(&format!(
        "{numbers} cat /tmp/s$i > {} || exit; done",
        a.device
    ))?;
    writer.wait(LONG)?.check()?;
    reader.wait(LONG)?.check()?;
    let sums = format!("{numbers} sha256sum < /tmp/s$i; done");
    let (sent, got) = (a.host.run(&sums)?, b.host.run(&sums)?);
    for (i, (sent, got)) in sent.lines().zip(got.lines()).enumerate() {
        ensure!(sent == got, "session {} is another", i + 1);
    }
    ensure!(got.lines().count() == COUNT as usize);
    lab.finish()
}

/// A-03, sequence 2: requests and answers through the same device, each with files of its own. The
/// CLOSE of the one who answers is late, and must not end the next answer.
#[test]
fn requests_and_answers_with_files_of_their_own() -> Result<()> {
    let lab = start()?;
    let (a, b) = pair(&lab, "data", HopIds::Auto)?;
    let device = &b.device;
    let mut server = b.host.spawn(&format!(
        "for i in $(seq 1 15); do exec 3<{device}; read line <&3; exec 3<&-; \
         echo answer $line > {device}; done"
    ))?;
    let answers = a
        .host
        .shell(&format!(
            "for i in $(seq 1 15); do echo $i > {0}; cat {0}; done",
            a.device
        ))
        .timeout(LIMIT)
        .output()?
        .check()?
        .text();
    let expected: Vec<String> = (1..=15).map(|i| format!("answer {i}")).collect();
    ensure!(answers == expected.join("\n"), "{answers}");
    server.wait(LIMIT)?.check()?;
    lab.finish()
}

/// what the writer's close leaves in its ring is delivered, whatever the reader does first,
/// then comes the end. 430 frames fit into both rings, though the reader's has some that it has
/// not given back yet; 511 do not, so that the last write waits for the reader.
#[test]
fn a_slow_reader_gets_all_of_it_and_the_end() -> Result<()> {
    let lab = start()?;
    let (a, b) = pair(&lab, "data", HopIds::Auto)?;
    for (pause, frames) in [("0", 430), ("0.6", 430), ("3", 430), ("2", 489), ("2", 511)] {
        let mut reader = b
            .host
            .spawn(&format!("exec 3<{}; sleep {pause}; wc -c <&3", b.device))?;
        b.wait_open()?;
        let begin = Instant::now();
        a.host.run(&format!(
            "dd if=/dev/zero of={} bs=4096 count={frames}",
            a.device
        ))?;
        let took = begin.elapsed();
        let got = reader.wait(LIMIT)?.check()?.text();
        ensure!(got == (frames * 4096).to_string(), "{frames} frames: {got}");
        ensure!(
            frames > 430 || took < Duration::from_secs(1),
            "{frames} frames: close waited: {took:?}"
        );
    }
    lab.finish()
}

#[test]
fn a_late_reader_gets_all_of_it_and_the_end() -> Result<()> {
    let lab = start()?;
    let (a, b) = pair(&lab, "data", HopIds::Auto)?;
    for bytes in [1, 100_000, 900_000] {
        let sum = make_data(a.host, "in", bytes)?;
        a.host.run(&format!("cat /tmp/in > {}", a.device))?;
        let got = b.host.run(&format!("sha256sum < {}", b.device))?;
        ensure!(got.starts_with(&sum), "{bytes} bytes: {got}");
    }
    lab.finish()
}

/// a writer whose reader has gone is told, asleep or not, and what it wrote is for nobody.
#[test]
fn a_writer_learns_that_its_reader_has_gone() -> Result<()> {
    let lab = start()?;
    let (a, b) = pair(&lab, "data", HopIds::Auto)?;
    for _ in 0..3 {
        let mut writer = a.host.spawn(&format!("cat /dev/zero > {}", a.device))?;
        b.host
            .run(&format!("head -c 4096 {} > /dev/null", b.device))?;
        let output = writer.wait(Duration::from_secs(3)).context("not told")?;
        ensure!(
            output.code != 0 && output.error_text().contains("Broken pipe"),
            "{output:?}"
        );
        // The next session is another one.
        lab.transfer(&a, &b, 10_000)?;
    }
    lab.finish()
}

/// What a killed writer wrote is read, then comes an error: it need not be all.
#[test]
fn a_killed_writer_is_no_end_of_file() -> Result<()> {
    let lab = start()?;
    let (a, b) = pair(&lab, "data", HopIds::Auto)?;
    for (signal, script) in [
        ("KILL", "(printf some; sleep 100) > DEV"),
        ("INT", "(printf some; sleep 100) > DEV"),
        ("TERM", "exec 3<> DEV; printf some >&3; sleep 100"),
        // The shell has the file open as well, and ends by itself.
        ("", "sh -c 'printf some; kill -SEGV $$' > DEV; true"),
        // One of two who write together.
        (
            "",
            "(sh -c 'exec 3> DEV; kill -KILL $$'; printf some) > DEV",
        ),
    ] {
        let mut reader = b.host.spawn(&format!("cat {}", b.device))?;
        b.wait_open()?;
        let mut writer = a.host.spawn(&script.replace("DEV", &a.device))?;
        if !signal.is_empty() {
            wait_until("the bytes", || Ok(reader.stdout()? == b"some"))?;
            writer.signal(signal)?;
        }
        writer.wait(LIMIT)?;
        let output = reader.wait(LIMIT)?;
        let told = output.error_text().contains("Input/output error");
        ensure!(
            output.code != 0 && told && output.text() == "some",
            "{script}: {output:?}"
        );
        lab.transfer(&a, &b, 10_000)?;
    }
    lab.finish()
}

/// Who ends by himself has written all: with any status, stopped for a while, or with threads that his
/// end kills (the last of them closes the file).
#[test]
fn a_writer_that_ends_by_himself_is_an_end_of_file() -> Result<()> {
    let lab = start_debian()?;
    let (a, b) = pair(&lab, "data", HopIds::Auto)?;
    for script in [
        "fd = os.open(dev, os.O_WRONLY); os.write(fd, b'some'); os._exit(3)",
        "fd = os.open(dev, os.O_WRONLY); os.write(fd, b'some')
if os.fork() == 0: os.kill(os.getppid(), 19); time.sleep(0.2); os.kill(os.getppid(), 18); os._exit(0)
os.wait()",
        "for i in range(8): threading.Thread(target=time.sleep, args=(100,)).start()
fd = os.open(dev, os.O_WRONLY); os.write(fd, b'some'); os._exit(0)",
        "fd = os.open(dev, os.O_WRONLY); os.write(fd, b'some'); pid = os.fork()
if pid == 0: time.sleep(100)
os.kill(pid, 9); os.wait()",
    ] {
        for _ in 0..5 {
            let mut reader = b.host.spawn(&format!("cat {}", b.device))?;
            b.wait_open()?;
            spawn_python(&a, script)?.wait(LIMIT)?;
            let output = reader.wait(LIMIT)?;
            ensure!(
                output.code == 0 && output.text() == "some",
                "{script}: {output:?}"
            );
        }
    }
    lab.finish()
}

/// the C driver's last close takes half a second at least.
#[test]
fn close_does_not_wait() -> Result<()> {
    let lab = start()?;
    let (a, b) = pair(&lab, "data", HopIds::Auto)?;
    let mut reader = b
        .host
        .spawn(&format!("for i in $(seq 1 10); do cat {}; done", b.device))?;
    let begin = Instant::now();
    a.host.run(&format!(
        "for i in $(seq 1 10); do echo $i > {}; done",
        a.device
    ))?;
    let took = begin.elapsed();
    let got = reader.wait(LIMIT)?.check()?.text();
    ensure!(got.split('\n').count() == 10, "{got}");
    ensure!(took < Duration::from_secs(2), "10 sessions: {took:?}");
    lab.finish()
}

/// `fsync` waits for the wire, so `dd conv=fsync` ends only when the reader has made room for all.
#[test]
fn fsync_waits_until_all_is_sent() -> Result<()> {
    let lab = start()?;
    let (a, b) = pair(&lab, "data", HopIds::Auto)?;
    let mut reader = b
        .host
        .spawn(&format!("exec 3<{}; sleep 2; wc -c <&3", b.device))?;
    b.wait_open()?;
    let begin = Instant::now();
    a.host.run(&format!(
        "dd if=/dev/zero of={} bs=4096 count=480 conv=fsync",
        a.device
    ))?;
    ensure!(begin.elapsed() > Duration::from_secs(1), "did not wait");
    ensure!(reader.wait(LIMIT)?.check()?.text() == (480 * 4096).to_string());
    lab.finish()
}

/// With the C driver at the other end: what it can do, when its reader is there first and both
/// sides let each session end. Its own defects are its own.
#[test]
fn one_after_the_other_with_the_c_driver() -> Result<()> {
    let lab = start_with(ours()?, Driver::C)?;
    let (a, b) = pair(&lab, "data", HopIds::Auto)?;
    for round in 0..5 {
        lab.transfer(&a, &b, 50_000 * round + 1)?;
        lab.transfer(&b, &a, 50_000 * round + 1)?;
    }
    lab.finish()
}

/// The C driver's reader leaves early: what it did not take stays in our ring, and must not be the
/// beginning of what its next reader gets (A-03, sequence 3).
#[test]
fn a_c_reader_that_leaves_does_not_spoil_the_next_session() -> Result<()> {
    let lab = start_with(ours()?, Driver::C)?;
    let (a, b) = pair(&lab, "data", HopIds::Auto)?;
    for _ in 0..3 {
        let mut reader = b
            .host
            .spawn(&format!("head -c 4096 {} > /dev/null", b.device))?;
        b.wait_open()?;
        let mut writer = a.host.spawn(&format!("cat /dev/zero > {}", a.device))?;
        reader.wait(LIMIT)?.check()?;
        let told = writer.wait(Duration::from_secs(5)).context("not told")?;
        ensure!(told.code != 0, "{told:?}");
        lab.transfer(&a, &b, 300_000)?;
        lab.transfer(&b, &a, 300_000)?;
    }
    lab.finish()
}
