// SPDX-License-Identifier: MIT OR Apache-2.0

//! A host that boots into nothing but an initramfs, made with our hooks by initramfs-tools and by
//! dracut, backs its disk up to the other host and restores it.

mod product;
mod usecase;

use anyhow::{Result, bail, ensure};
use lab::stream::sha256;
use lab::{Driver, Host, Lab, Recipe, Root};
use product::{CONNECT, LIMIT, ours};
use std::path::{Path, PathBuf};
use usecase::{LONG, checkout, push_tree, recipe};

/// Of the disk, in MiB.
const DISK: u64 = 16;

/// The lab's agent for an initramfs, which knows nothing of labs. `$1` starts it there.
const AGENT: &str = r#"#!/bin/sh
[ "$1" != prereqs ] || exit 0
for port in /sys/class/virtio-ports/*; do
    read -r name <$port/name
    [ "$name" = org.qemu.guest_agent.0 ] || continue
    : >/run/qga.conf
    QGA_CONF=/run/qga.conf qemu-ga -m virtio-serial -p /dev/${port##*/} -t /run -f /run/qga.pid -l /run/qga.log &
done
:
"#;

/// How the agent gets into one made by initramfs-tools. The lab's kernel unpacks nothing: no compression.
const FOR_INITRAMFS_TOOLS: &str = r#"set -e
cat > /etc/initramfs-tools/hooks/zz-lab <<'END'
#!/bin/sh
[ "$1" != prereqs ] || exit 0
. /usr/share/initramfs-tools/hook-functions
copy_exec /usr/sbin/qemu-ga
for program in env stat head grep; do copy_exec /usr/bin/$program; done
:
END
cp /lab-agent /etc/initramfs-tools/scripts/init-top/zz-lab
chmod +x /etc/initramfs-tools/hooks/zz-lab /etc/initramfs-tools/scripts/init-top/zz-lab
printf '#!/bin/sh\nexec cat\n' > /usr/bin/uncompressed
chmod +x /usr/bin/uncompressed
echo COMPRESS=uncompressed > /etc/initramfs-tools/conf.d/lab
"#;

/// The same for dracut; without systemd, as small as can be.
const FOR_DRACUT: &str = r#"set -e
mkdir -p /usr/lib/dracut/modules.d/99lab
cp /lab-agent /usr/lib/dracut/modules.d/99lab/agent.sh
cat > /usr/lib/dracut/modules.d/99lab/module-setup.sh <<'END'
check() { return 0; }
depends() { :; }
install() {
    inst_multiple qemu-ga env stat head grep
    inst_hook cmdline 01 "$moddir/agent.sh"
}
END
cat > /etc/dracut.conf.d/lab.conf <<'END'
compress=cat
omit_dracutmodules+=" systemd systemd-initrd systemd-udevd dracut-systemd "
END
"#;

/// Has an initramfs made in a Debian guest, by the page's commands.
fn make(recipe_name: &str, prepare: &str, to: &Path) -> Result<()> {
    let Driver::Module(module) = ours()? else {
        bail!("the hooks are for a module");
    };
    let lab = Lab::builder()
        .hosts(1)
        .root(Root::Debian)
        .memory_mib(1536)
        .without_nhi()
        .start()?;
    let a = lab.host("a");
    a.run("mkdir -p /boot /lib/modules/$(uname -r)/updates")?;
    a.push(&module, "/tmp/thunderbolt_stream.ko")?;
    a.run("cp /tmp/*.ko /lib/modules/$(uname -r)/updates/ && depmod")?;
    push_tree(a, "tools")?;
    a.write("/lab-agent", AGENT)?;
    a.run("chmod +x /lab-agent")?;
    a.run(prepare)?;
    let recipe = recipe(recipe_name)?;
    let output = recipe.run("make", a, LONG * 2)?;
    println!("{}\n{}", output.text(), output.error_text());
    a.pull("/boot/initrd-rescue.img", to)?;
    println!("{recipe_name}: {} KiB", std::fs::metadata(to)?.len() >> 10);
    recipe.finish()?;
    lab.finish()
}

/// The rescue system's host interface has nobody to keep it awake.
fn prepare_rescue(a: &Host) -> Result<()> {
    a.shell("until ls /sys/bus/pci/drivers/thunderbolt/*/power/control; do sleep 0.1; done")
        .timeout(LIMIT)
        .output()?
        .check()?;
    a.run("for f in /sys/bus/pci/drivers/thunderbolt/*/power/control; do echo on > $f; done")?;
    a.run("ln -s vda /dev/sda && ! ls -d /sys/class/net/[!l]*")
        .map(drop)
}

fn rescue(initramfs: &Path) -> Result<()> {
    let lab = Lab::builder()
        .root(Root::Debian)
        .driver(ours()?)
        .initramfs_on("a", initramfs)
        .kernel_arg("tbstream.rescue")
        .disk_mib(DISK)
        .start()?;
    let (a, b) = (lab.host("a"), lab.host("b"));
    prepare_rescue(a)?;
    lab.wait_connected(CONNECT)?;
    push_tree(b, "tools")?;
    let recovery = recipe("recovery")?.shell_on("a", "sh");
    b.run(&format!(
        "truncate -s {DISK}M /srv/first.img && mkfs.ext4 -q -d /etc /srv/first.img && cp /srv/first.img /srv/host-a.img"
    ))?;

    restore(a, b, &recovery)?;
    // The rescue system says so on its console, for the person before it.
    a.expect_log("The stream rescue is /dev/tbstream0", LIMIT)?;
    b.run("rm /srv/host-a.img")?;
    let mut reader = recovery.start("backup-reader", b)?;
    recovery.run("backup-writer", a, LONG)?;
    reader.wait(LONG)?.check()?;
    ensure!(
        sha256(b, "/srv/host-a.img")? == sha256(b, "/srv/first.img")?,
        "the backup is different"
    );
    a.run("dd if=/dev/zero of=/dev/sda bs=1M count=4")?;
    restore(a, b, &recovery)?;
    ensure!(
        sha256(a, "/dev/sda")? == sha256(b, "/srv/first.img")?,
        "the disk is different"
    );
    recovery.finish()?;
    lab.finish()
}

fn restore(a: &Host, b: &Host, recovery: &Recipe) -> Result<()> {
    // The shell of a person is there when the stream is.
    let mut writer = recovery.start("restore-writer", b)?;
    a.run("until [ -e /dev/tbstream ]; do sleep 0.1; done")?;
    recovery.run("restore-reader", a, LONG)?;
    writer.wait(LONG)?.check().map(drop)
}

fn image(name: &str) -> Result<PathBuf> {
    let dir = checkout("build");
    std::fs::create_dir_all(&dir)?;
    Ok(dir.join(format!("{name}-{}.img", std::process::id())))
}

fn from_image(name: &str, prepare: &str) -> Result<()> {
    let image = image(name)?;
    make(name, prepare, &image)?;
    rescue(&image)?;
    std::fs::remove_file(image)?;
    Ok(())
}

#[test]
fn an_initramfs_of_initramfs_tools_backs_up_and_restores() -> Result<()> {
    from_image("recovery-initramfs-tools", FOR_INITRAMFS_TOOLS)
}

#[test]
fn an_initramfs_of_dracut_backs_up_and_restores() -> Result<()> {
    from_image("recovery-dracut", FOR_DRACUT)
}
