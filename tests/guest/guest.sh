# SPDX-License-Identifier: MIT OR Apache-2.0
# shellcheck shell=sh
#
# What init and lab-init share. For busybox' sh: every external command costs
# milliseconds in an emulated machine, so this does with few.

complain() {
	echo "tbs: $*" >/dev/console
}

# Something that the guest cannot do without is missing: say it, leave a shell.
rescue() {
	complain "$*"
	exec busybox sh -l </dev/console >/dev/console 2>&1
}

# cmdline NAME: the value of NAME= on the kernel command line, in $value.
cmdline() {
	value=
	for word in $command_line; do
		case $word in
		"$1="*) value=${word#*=} ;;
		esac
	done
}

# mount_one TYPE PATH [OPTIONS]: where the kernel has it and it is not there yet.
mount_one() {
	case $mounted in
	*" $2 "*) return 0 ;;
	esac
	mount -t "$1" -o "${3:-nosuid}" "$1" "$2" 2>/dev/null || true
}

mount_kernel_filesystems() {
	mounted=
	[ -r /proc/mounts ] || mount -t proc proc /proc
	while read -r _ where _; do
		mounted="$mounted $where "
	done </proc/mounts
	read -r command_line </proc/cmdline
	mount_one sysfs /sys
	mount_one devtmpfs /dev mode=755
	[ -d /dev/pts ] || mkdir -p /dev/pts /dev/shm
	mount_one devpts /dev/pts mode=620,ptmxmode=666
	mount_one tmpfs /dev/shm mode=1777
	mount_one tmpfs /run mode=755
	mount_one tmpfs /tmp mode=1777
	mount_one debugfs /sys/kernel/debug
	mount_one tracefs /sys/kernel/tracing
	[ ! -d /sys/kernel/config ] || mount_one configfs /sys/kernel/config
	[ ! -d /sys/kernel/security ] || mount_one securityfs /sys/kernel/security
}

# Kernels that have virtio and file systems as modules (the distribution's).
load_boot_modules() {
	[ -s /etc/modules-boot ] || return 0
	while read -r module; do
		modprobe -q "$module" || complain "cannot load $module"
	done </etc/modules-boot
	# configfs may have come with them.
	mount_kernel_filesystems
}

# disk_by_serial SERIAL: the name of the virtio disk; it may appear late.
disk_by_serial() {
	tries=0
	while [ $tries -lt 50 ]; do
		for disk in /sys/block/vd*; do
			[ "$(cat "$disk/serial" 2>/dev/null)" = "$1" ] || continue
			echo "${disk##*/}"
			return 0
		done
		tries=$((tries + 1))
		sleep 0.1
	done
	return 1
}

# agent_port: the device of the virtio-serial port that the agent answers on, in $port.
agent_port() {
	for port in /sys/class/virtio-ports/*; do
		name=
		[ ! -r "$port/name" ] || read -r name <"$port/name"
		[ "$name" = org.qemu.guest_agent.0 ] || continue
		port=${port##*/}
		return 0
	done
	return 1
}

# What runs: the agent, a shell where there is a console for one, the hook.
write_inittab() {
	{
		echo '# Made by lab-init.'
		echo '::ctrlaltdel:/sbin/shutdown -r now'
		if agent_port; then
			# The usual name, for people who look for it.
			mkdir -p /dev/virtio-ports
			ln -sfn "../$port" /dev/virtio-ports/org.qemu.guest_agent.0
			# A configuration of the distribution could forbid guest-exec; QGA_CONF, set by
			# lab-init, keeps it out.
			echo "::respawn:/usr/sbin/qemu-ga -m virtio-serial -p /dev/$port -t /run -f /run/qemu-ga.pid -l /run/qemu-ga.log"
		else
			complain 'no port for the agent'
		fi
		type=0
		[ ! -r /sys/class/tty/ttyS1/type ] || read -r type </sys/class/tty/ttyS1/type
		[ "$type" = 0 ] || echo 'ttyS1::respawn:-/bin/ash'
		if (: </dev/hvc0) 2>/dev/null; then echo 'hvc0::respawn:-/bin/ash'; fi
		cmdline tbs.run
		[ -z "$value" ] || echo "::once:$value"
	} >/etc/inittab
}
