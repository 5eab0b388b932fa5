#!/bin/bash
# SPDX-License-Identifier: MIT OR Apache-2.0
#
# Puts streams into an initramfs of dracut: the modules, the script that makes a stream, the one that
# opens a shell when asked to, and what backs up and restores a disk.

# Only where it is asked for: dracut --add tbstream.
check() {
	return 255
}

depends() {
	echo base udev-rules
}

installkernel() {
	hostonly='' instmods thunderbolt thunderbolt_stream
}

# shellcheck disable=SC2154  # moddir is dracut's
install() {
	inst_multiple cat dd ln mkdir mount modprobe setsid sha256sum sleep
	inst_multiple -o e2fsck zstd
	local script
	for script in tbstream-quickstart tbstream-rescue; do
		# dracut's own PATH has no /usr/local.
		inst_simple "$(PATH=$PATH:/usr/local/sbin:/usr/local/bin command -v $script)" "/usr/bin/$script" ||
			return 1
	done
	inst_hook cmdline 99 "$moddir/no-root.sh"
	inst_hook pre-mount 01 "$moddir/rescue.sh"
}
