// SPDX-License-Identifier: MIT OR Apache-2.0

//! The lab itself: machines that boot, commands, files, logs, and that nothing is left behind.
//! Needs what `scripts/setup` makes; without emulator, so that only the lab can be at fault.

use anyhow::{Context as _, Result, ensure};
use lab::{Builder, CommandFailed, Lab};
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

fn machines(count: usize) -> Builder {
    Lab::builder()
        .program(env!("CARGO_BIN_EXE_lab"))
        .hosts(count)
        .without_nhi()
}

fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

#[test]
fn two_hosts_boot_and_know_their_names() -> Result<()> {
    let start = Instant::now();
    let lab = machines(2).start()?;
    println!(
        "two hosts to the agent: {:.2} s",
        start.elapsed().as_secs_f64()
    );
    assert_eq!(lab.host("a").run("hostname")?, "a");
    assert_eq!(lab.host("b").run("hostname")?, "b");
    assert!(lab.find_host("c").is_err());
    assert!(lab.cpu()?.hosts["a"] > 0.1, "booting costs something");
    let dir = lab.dir().to_owned();
    lab.finish()?;
    assert!(!dir.exists(), "nothing is left of a lab that went well");
    Ok(())
}

#[test]
fn commands_have_codes_outputs_input_and_environment() -> Result<()> {
    let lab = machines(1).start()?;
    let a = lab.host("a");
    let start = Instant::now();
    for _ in 0..20 {
        a.exec(["true"]).output()?.check()?;
    }
    println!("a command: {:.1} ms", start.elapsed().as_secs_f64() * 50.0);

    assert_eq!(a.shell("exit 7").output()?.code, 7);
    assert_eq!(a.shell("kill -TERM $$").output()?.code, 128 + 15);
    assert_eq!(a.exec(["/no/such/program"]).output()?.code, 127);

    let output = a
        .shell(r"printf '\377\000\n\200'; printf err >&2")
        .output()?;
    assert_eq!(
        (&output.stdout[..], &output.stderr[..]),
        (&b"\xff\0\n\x80"[..], &b"err"[..])
    );
    let bytes: Vec<u8> = (0..200_000_u32).map(|n| (n * 7 % 256) as u8).collect();
    assert_eq!(a.exec(["cat"]).stdin(bytes.clone()).output()?.stdout, bytes);
    assert_eq!(
        a.shell("echo $X-$HOME")
            .env("X", "a b")
            .env("HOME", "/h")
            .output()?
            .text(),
        "a b-/h"
    );

    let error = a.run("echo out; echo err >&2; exit 3").expect_err("code 3");
    let failed = error
        .downcast_ref::<CommandFailed>()
        .context("the type says why")?;
    assert_eq!(failed.output.code, 3);
    let text = error.to_string();
    for part in ["a: ", "exit 3", "code 3", "stdout: out", "stderr: err"] {
        assert!(text.contains(part), "{part} in {text}");
    }
    lab.finish()
}

#[test]
fn a_time_out_kills_all_that_the_command_started() -> Result<()> {
    let lab = machines(1).start()?;
    let a = lab.host("a");
    let start = Instant::now();
    let command = "echo begun; sleep 1234 & sleep 1234; true";
    let error = a
        .shell(command)
        .timeout(Duration::from_millis(300))
        .output()
        .expect_err("slow");
    assert!(start.elapsed() < seconds(5), "{:?}", start.elapsed());
    let failed = error
        .downcast_ref::<CommandFailed>()
        .context("the type says why")?;
    assert!(failed.timed_out.is_some());
    assert_eq!(failed.output.stdout, b"begun\n", "what it said until then");
    assert_eq!(
        a.run("ps | grep '[s]leep 1234' || true")?,
        "",
        "both are gone"
    );
    assert_ne!(a.run("ps | grep '[b]usybox init'")?, "", "it would be seen");
    lab.finish()
}

#[test]
fn jobs_run_beside_the_test() -> Result<()> {
    let lab = machines(1).start()?;
    let a = lab.host("a");
    let mut short = a.spawn("sleep 0.1; echo done; echo also >&2; exit 5")?;
    let mut long = a.spawn("echo begun; sleep 1000")?;
    assert!(short.running()?);
    let output = short.wait(seconds(10))?;
    assert_eq!(
        (output.code, output.text(), output.error_text()),
        (5, "done".into(), "also".into())
    );
    assert!(!short.running()?);
    short.clean_up()?;

    assert!(
        long.wait(Duration::from_millis(50)).is_err(),
        "it takes longer"
    );
    assert_eq!(long.stdout()?, b"begun\n");
    long.kill("KILL")?;
    assert_eq!(long.wait(seconds(1))?.code, 137);
    lab.finish()
}

#[test]
fn files_come_back_as_they_went() -> Result<()> {
    let lab = machines(1).start()?;
    let a = lab.host("a");
    let here = tempfile::tempdir()?;
    let (there, back) = (here.path().join("there"), here.path().join("back"));
    let bytes: Vec<u8> = (0..3_u32 << 20)
        .map(|n| (n ^ n >> 8 ^ n >> 16) as u8)
        .collect();
    std::fs::write(&there, &bytes)?;
    let start = Instant::now();
    a.push(&there, "/tmp/file")?;
    println!("pushing 3 MiB: {:.2} s", start.elapsed().as_secs_f64());
    let start = Instant::now();
    a.pull("/tmp/file", &back)?;
    println!("pulling 3 MiB: {:.2} s", start.elapsed().as_secs_f64());
    ensure!(std::fs::read(&back)? == bytes, "equal");

    a.write("/tmp/script", "#!/bin/sh\necho from a script\n")?;
    assert_eq!(a.read("/tmp/script")?, b"#!/bin/sh\necho from a script\n");
    assert_eq!(a.read_text("/proc/sys/kernel/hostname")?, "a");
    assert_eq!(a.read("/dev/null")?, b"");
    assert!(a.read("/no/such/file").is_err());
    assert!(a.push("/no/such/file", "/tmp/x").is_err());
    lab.finish()
}

#[test]
fn extra_files_are_there_from_boot() -> Result<()> {
    let tool = tempfile::NamedTempFile::new()?;
    std::fs::write(tool.path(), "#!/bin/sh\necho the tool\n")?;
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(tool.path(), mode)?;
    let builder = machines(1).extra_file(tool.path(), "/usr/local/bin/tool");
    let lab = builder.extra_file(tool.path(), "/new/dir/tool").start()?;
    let a = lab.host("a");
    assert_eq!(a.run("tool; /new/dir/tool")?, "the tool\nthe tool");
    assert_eq!(
        a.run("ls /lib/modules")?,
        a.run("uname -r")?,
        "the rest is as it was"
    );
    lab.finish()
}

#[test]
fn a_kernel_that_complains_fails_the_test() -> Result<()> {
    let lab = machines(1).start()?;
    let a = lab.host("a");
    let mark = a.klog_mark();
    a.run("echo '<4>WARNING: test of the lab' >/dev/kmsg")?;
    a.expect_log_after(mark, "test of the .*b", seconds(5))?;
    assert!(
        a.expect_log("not there", Duration::from_millis(50))
            .is_err()
    );
    let problems = lab.problems();
    assert_eq!(problems.len(), 1, "{problems:?}");
    let name = lab.name().to_owned();
    let error = lab.finish().expect_err("it complained").to_string();
    assert!(error.contains("WARNING: test of the lab"), "{error}");
    let kept = lab::Env::load()?.failures_dir().join(&name);
    assert!(std::fs::read_to_string(kept.join("a.klog"))?.contains("test of the lab"));
    assert!(std::fs::read_to_string(kept.join("a.klog"))?.contains("Linux version"));
    assert!(std::fs::read_to_string(kept.join("report.txt"))?.contains("test of the lab"));
    std::fs::remove_dir_all(kept)?;
    Ok(())
}

#[test]
fn a_complaint_that_a_test_expects_is_no_failure() -> Result<()> {
    let lab = machines(1).start()?;
    lab.allow_log("of the lab, expected");
    lab.host("a")
        .run("echo '<4>WARNING: test of the lab, expected' >/dev/kmsg")?;
    lab.finish()
}

#[test]
fn hosts_reboot_vanish_and_come_back() -> Result<()> {
    let lab = machines(1).start()?;
    let a = lab.host("a");
    let boot = || a.read_text("/proc/sys/kernel/random/boot_id");
    let first = boot()?;
    a.reboot()?;
    let second = boot()?;
    assert_ne!(first, second);
    a.reset()?;
    let third = boot()?;
    assert_ne!(second, third);

    a.kill()?;
    assert!(!a.is_running());
    let start = Instant::now();
    let error = a.run("true").expect_err("nobody is there");
    assert!(error.to_string().contains("not running"), "{error:#}");
    assert!(
        start.elapsed() < seconds(2),
        "a dead host is not waited for"
    );
    a.restart()?;
    assert_ne!(boot()?, third);
    assert_eq!(
        a.klog().matches("] Linux version ").count(),
        4,
        "the log has all boots"
    );
    lab.finish()
}

#[test]
fn a_panic_is_told_at_once_and_counts() -> Result<()> {
    let lab = machines(1).start()?;
    let a = lab.host("a");
    let start = Instant::now();
    let error = a
        .run("echo c >/proc/sysrq-trigger; sleep 50")
        .expect_err("a panic");
    assert!(start.elapsed() < seconds(10), "{:?}", start.elapsed());
    assert!(format!("{error:#}").contains("Kernel panic"), "{error:#}");
    let name = lab.name().to_owned();
    assert!(lab.finish().is_err());
    std::fs::remove_dir_all(lab::Env::load()?.failures_dir().join(name))?;
    Ok(())
}

#[test]
fn two_labs_at_once() -> Result<()> {
    let one = machines(1).start()?;
    let two = machines(1).beside_another().start()?;
    assert_ne!(one.dir(), two.dir());
    assert_ne!(one.name(), two.name());
    one.host("a").run("echo one >/tmp/which")?;
    two.host("a").run("echo two >/tmp/which")?;
    assert_eq!(one.host("a").run("cat /tmp/which")?, "one");
    one.finish()?;
    assert_eq!(two.host("a").run("cat /tmp/which")?, "two");
    two.finish()
}

/// Numbers of the processes whose command line has this word in it.
fn processes_with(word: &str) -> Vec<String> {
    let entries = std::fs::read_dir("/proc").expect("procfs").flatten();
    let pids = entries.filter_map(|entry| entry.file_name().into_string().ok());
    pids.filter(|pid| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        pid != &std::process::id().to_string() && String::from_utf8_lossy(&line).contains(word)
    })
    .collect()
}

fn wait_gone(word: &str) -> Result<()> {
    let deadline = Instant::now() + seconds(5);
    while !processes_with(word).is_empty() {
        ensure!(
            Instant::now() < deadline,
            "{word}: {:?}",
            processes_with(word)
        );
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}

#[test]
fn a_test_that_panics_leaves_no_process_and_keeps_the_logs() -> Result<()> {
    let (sender, receiver) = std::sync::mpsc::channel();
    let test = std::thread::Builder::new()
        .name("a panicking test".into())
        .spawn(move || {
            let lab = machines(1).start().expect("it boots");
            let word = lab.dir().to_string_lossy().into_owned();
            assert!(!processes_with(&word).is_empty());
            sender.send(word).expect("somebody waits");
            panic!("as a failing test does");
        })?;
    assert!(test.join().is_err());
    let word = receiver.recv()?;
    wait_gone(&word)?;
    assert!(!PathBuf::from(&word).exists());
    let kept = lab::Env::load()?.failures_dir().join("a-panicking-test");
    assert!(kept.join("a.klog").exists());
    std::fs::remove_dir_all(kept)?;
    Ok(())
}

/// Started by the next test as a process of its own.
#[test]
#[ignore = "waits to be killed"]
fn victim() -> Result<()> {
    let lab = machines(1).beside_another().start()?;
    std::fs::write(
        std::env::var("VICTIM_TELLS")?,
        lab.dir().to_string_lossy().as_bytes(),
    )?;
    std::thread::sleep(seconds(60));
    lab.finish()
}

#[test]
fn a_test_process_that_is_killed_leaves_no_process() -> Result<()> {
    let here = tempfile::tempdir()?;
    let tells = here.path().join("dir");
    let mut victim = Command::new(std::env::current_exe()?)
        .args(["victim", "--exact", "--ignored"])
        .env("VICTIM_TELLS", &tells)
        .spawn()?;
    let deadline = Instant::now() + seconds(60);
    let dir = loop {
        let dir = std::fs::read_to_string(&tells).unwrap_or_default();
        if !dir.is_empty() {
            break dir;
        }
        ensure!(Instant::now() < deadline, "the victim does not start");
        std::thread::sleep(Duration::from_millis(20));
    };
    assert!(!processes_with(&dir).is_empty());
    victim.kill()?;
    victim.wait()?;
    wait_gone(&dir)?;
    std::fs::remove_dir_all(dir)?;
    Ok(())
}

/// With the emulator: what the lab itself adds to it.
#[test]
fn host_interfaces_and_cables_come_and_go() -> Result<()> {
    let lab = Lab::builder()
        .program(env!("CARGO_BIN_EXE_lab"))
        .realtime(50)
        .start()?;
    let (a, b) = (lab.host("a"), lab.host("b"));
    lab.wait_connected(seconds(30))?;
    assert_eq!(a.peers()?, ["0-1"]);
    assert!(lab.cpu()?.emulator >= 0.0);

    lab.cable("a-b").unplug()?;
    lab.wait_connected(seconds(10))?;
    assert_eq!(a.peers()?, [""; 0], "no cable, no peer to wait for");
    lab.cable("a-b").plug()?;
    lab.wait_connected(seconds(30))?;
    assert!(lab.cable("a-c").unplug().is_err());

    b.nhi_remove()?;
    // The kernel keeps the peer's device (0-1) until the next interface is found.
    assert_eq!(
        b.run("ls /sys/bus/thunderbolt/devices | grep domain || true")?,
        ""
    );
    assert!(b.nhi_remove().is_err(), "there is none");
    b.nhi_add()?;
    lab.wait_connected(seconds(60))?;

    b.kill()?;
    a.wait_peers(0, seconds(30))?;
    b.restart()?;
    lab.wait_connected(seconds(60))?;
    assert!(!lab.trace()?.is_empty());
    assert!(lab.stats()?.hosts["a"].control_tx > 0);
    assert!(lab.fault("no such words").is_err());
    lab.finish()
}
