// SPDX-License-Identifier: MIT OR Apache-2.0

//! QEMU's command line.

use crate::spec::HostSpec;
use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// Files of one host in the lab's directory.
#[derive(Debug, Clone)]
pub(crate) struct Files {
    dir: PathBuf,
    host: String,
}

impl Files {
    pub(crate) fn new(dir: &Path, host: &str) -> Self {
        Self {
            dir: dir.to_owned(),
            host: host.to_owned(),
        }
    }

    fn file(&self, what: &str) -> PathBuf {
        self.dir.join(format!("{}.{what}", self.host))
    }

    pub(crate) fn kernel_log(&self) -> PathBuf {
        self.file("klog")
    }

    pub(crate) fn qemu_log(&self) -> PathBuf {
        self.file("qemu.log")
    }

    pub(crate) fn agent(&self) -> PathBuf {
        self.file("agent")
    }

    pub(crate) fn qmp(&self) -> PathBuf {
        self.file("qmp")
    }

    pub(crate) fn shell(&self) -> PathBuf {
        self.file("shell")
    }

    pub(crate) fn initramfs(&self) -> PathBuf {
        self.file("initramfs")
    }

    pub(crate) fn disk(&self) -> PathBuf {
        self.file("disk")
    }

    /// Where the plugin that counts instructions answers.
    pub(crate) fn counter(&self) -> PathBuf {
        self.file("insn")
    }

    /// Where the emulator listens for this host.
    pub(crate) fn vfio(&self) -> PathBuf {
        self.dir.join(usb4_emulator::api::vfio_socket(&self.host))
    }
}

/// The host interface as QEMU's `-device` wants it.
fn nhi_device(files: &Files) -> Value {
    json!({
        "driver": "vfio-user-pci",
        "id": "nhi",
        "bus": "slot1",
        "socket": {"type": "unix", "path": files.vfio()},
    })
}

/// The whole command for a host.
pub(crate) fn command(spec: &HostSpec, files: &Files, initramfs: &Path) -> Result<Vec<String>> {
    let mut words = spec.qemu.clone();
    let mut add = |option: &str, value: String| words.extend([format!("-{option}"), value]);
    add("name", format!("{0},process=tbs-{0}", spec.name));
    add("nodefaults", String::new());
    add("no-user-config", String::new());
    add("display", "none".into());
    // What the machine does not have need not be probed.
    add(
        "machine",
        "q35,memory-backend=ram,sata=off,smbus=off,vmport=off,hpet=off".into(),
    );
    // vfio-user hands the memory to the emulator as a file.
    let size = u64::from(spec.memory_mib) << 20;
    let ram = json!({"qom-type": "memory-backend-memfd", "id": "ram", "size": size, "share": true});
    add("object", ram.to_string());
    add("m", format!("{}M", spec.memory_mib));
    add("smp", spec.smp.to_string());
    if spec.accel == "kvm" {
        add("accel", "kvm".into());
        add("cpu", "host".into());
    } else {
        // With ERMS or FSRM the kernel copies by `rep movsb`, which TCG does byte by byte.
        add("accel", "tcg,thread=multi".into());
        add("cpu", "qemu64".into());
    }
    add("kernel", text(&spec.image)?);
    add("initrd", text(initramfs)?);
    add("append", kernel_command_line(spec));

    // Appended: the log of a host that is killed and started again goes on.
    let log = escaped(&files.kernel_log())?;
    add("chardev", format!("file,id=klog,append=on,path={log}"));
    add("serial", "chardev:klog".into());
    add("chardev", socket("qmp", &files.qmp())?);
    add("mon", "chardev=qmp,mode=control".into());
    add("device", "virtio-serial-pci".into());
    add("chardev", socket("agent", &files.agent())?);
    add(
        "device",
        "virtserialport,chardev=agent,name=org.qemu.guest_agent.0".into(),
    );
    add("chardev", socket("shell", &files.shell())?);
    add("device", "virtconsole,chardev=shell".into());
    add("device", "virtio-rng-pci".into());
    if let Some(image) = &spec.debian {
        let file = json!({"driver": "file", "node-name": "debian", "read-only": true,
            "filename": text(image)?, "locking": "off"});
        add("blockdev", file.to_string());
        add(
            "device",
            "virtio-blk-pci,drive=debian,serial=tbs-debian".into(),
        );
    }
    if spec.disk_mib.is_some() {
        let file = json!({"driver": "file", "node-name": "disk", "filename": text(&files.disk())?});
        add("blockdev", file.to_string());
        add("device", "virtio-blk-pci,drive=disk,serial=disk".into());
    }
    if let Some(share) = &spec.share {
        let path = escaped(share)?;
        let how = "mount_tag=lab,security_model=none,multidevs=remap";
        add("virtfs", format!("local,path={path},{how}"));
    }
    if let Some(plugin) = &spec.counter {
        let (plugin, socket) = (escaped(plugin)?, escaped(&files.counter())?);
        add("plugin", format!("{plugin},socket={socket}"));
    }
    if spec.nhi {
        // In a slot of its own, as in real machines.
        add("device", "pcie-root-port,id=slot1,chassis=1,slot=1".into());
        add("device", nhi_device(files).to_string());
    }
    words.retain(|word| !word.is_empty());
    Ok(words)
}

/// A panic stays where it is (no `panic=`): the log shows it, the lab reports it, and to the
/// other host it is a peer that says nothing any more.
fn kernel_command_line(spec: &HostSpec) -> String {
    let mut words = vec![
        "console=ttyS0".to_owned(),
        "tsc=reliable".into(),
        "no_timer_check".into(),
        "nokaslr".into(),
        "mitigations=off".into(),
        "rcupdate.rcu_expedited=1".into(),
        "random.trust_cpu=on".into(),
        format!("tbs.host={}", spec.name),
    ];
    if let Some(khz) = spec.tsc_khz {
        // Else the kernel measures it, for a while, and wrongly on a busy machine. HZ is 250.
        words.extend([format!("tsc_early_khz={khz}"), format!("lpj={}", khz * 4)]);
    }
    if spec.debian.is_some() {
        words.push("tbs.root=debian".into());
    }
    words.extend(spec.kernel_args.iter().cloned());
    words.join(" ")
}

fn socket(id: &str, path: &Path) -> Result<String> {
    Ok(format!(
        "socket,id={id},server=on,wait=off,path={}",
        escaped(path)?
    ))
}

fn text(path: &Path) -> Result<String> {
    let text = path
        .to_str()
        .with_context(|| format!("{} is no UTF-8", path.display()))?;
    Ok(text.to_owned())
}

/// A comma in an option's value is written twice.
fn escaped(path: &Path) -> Result<String> {
    Ok(text(path)?.replace(',', ",,"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec() -> HostSpec {
        HostSpec {
            smp: 2,
            kernel_args: vec!["extra=1".into()],
            ..HostSpec::example()
        }
    }

    fn line(spec: &HostSpec) -> String {
        let files = Files::new(Path::new("/run/x"), "a");
        command(spec, &files, Path::new("/i"))
            .expect("UTF-8")
            .join(" ")
    }

    #[test]
    fn an_emulated_machine_never_copies_by_rep_movsb() {
        assert!(line(&spec()).contains("-cpu qemu64"));
        let kvm = HostSpec {
            accel: "kvm".into(),
            ..spec()
        };
        assert!(line(&kvm).contains("-cpu host"));
    }

    #[test]
    fn the_command_has_what_was_chosen() {
        let line = line(&spec());
        assert!(line.starts_with("ld qemu -name a"));
        assert!(line.contains("-smp 2") && line.contains("extra=1") && line.contains("tbs.host=a"));
        assert!(line.contains(r#""path":"/run/x/a.vfio""#), "{line}");
        assert!(!line.contains("-no-reboot"), "a guest may reboot");
        assert!(!line.contains("  "), "no empty words");
        let without = HostSpec {
            nhi: false,
            ..spec()
        };
        assert!(!self::line(&without).contains("vfio-user-pci"));
    }

    #[test]
    fn commas_in_paths_are_doubled() {
        assert_eq!(escaped(Path::new("/a,b")).expect("UTF-8"), "/a,,b");
    }
}
