# SPDX-License-Identifier: MIT OR Apache-2.0
# shellcheck shell=bash
#
# Steps "initramfs for NAME" and "Debian image": what runs in the guests.

# Bump when the recipes below change in a way that their data does not show.
INITRAMFS_RECIPE=1
DEBIAN_RECIPE=2

# Programs of the root that go into the initramfs, besides busybox with all its applets.
# GNU dd, because tests mean its conv= and iflag= options. Not more: an emulated processor
# unpacks 80 MB/s, and kmod or sha256sum alone bring 8 MB of libraries, to do nothing
# better here than the applets.
INITRAMFS_PROGRAMS=(/usr/sbin/qemu-ga /usr/bin/dd /usr/bin/dash)

# Modules that a guest with the distribution's kernel loads while booting.
BOOT_MODULES=(
	virtio_pci virtio_blk virtio_net virtio_console virtio_rng
	configfs 9pnet_virtio 9p erofs loop overlay
)

# Modules that tests load when they want to. The own kernels take all of theirs.
STOCK_MODULES=(
	thunderbolt thunderbolt_net thunderbolt_dma_test thunderbolt_stream ext4 vivid kunit
)

DEBIAN_PACKAGES=(
	bash coreutils tar gzip xz-utils zstd findutils grep sed procps psmisc util-linux mount
	kmod udev systemd iproute2 iputils-ping ethtool netcat-openbsd socat rsync iperf3 fio strace
	e2fsprogs python3 file busybox-static qemu-guest-agent v4l-utils
	gstreamer1.0-tools gstreamer1.0-plugins-base gstreamer1.0-plugins-good
	# Not the packages without "core": those exclude each other.
	initramfs-tools-core dracut-core
)

guest_files() {
	printf '%s\n' "$GUEST"/{init,lab-init,shutdown,guest.sh} "$CHECKOUT/scripts/lib/fill-initramfs"
}

initramfs_name() {
	local kernel files
	kernel=$(kernel_name "$1")
	[ -n "$kernel" ] || return 0
	mapfile -t files < <(guest_files)
	printf 'initramfs-%s-%s.cpio\n' "$1" "$({
		printf '%s\n' "$INITRAMFS_RECIPE" "$kernel" "$(root_name)" "${INITRAMFS_PROGRAMS[@]}" \
			"${BOOT_MODULES[@]}" "${STOCK_MODULES[@]}"
		cat "${files[@]}"
	} | hash_stdin)"
}

initramfs_build() {
	local name=$1 dir out log=$CACHE/logs/initramfs-$1.log kernel release result
	result=$CACHE/$(initramfs_name "$name")
	kernel=$CACHE/$(kernel_name "$name")
	release=$(cat "$kernel/release")
	dir=$(tmp_path initramfs)
	out=$(tmp_path initramfs.cpio)
	mkdir -p "$dir"
	run_logged 'files' "$log" - in_root "$CHECKOUT/scripts/lib/fill-initramfs" "$dir" "$GUEST" \
		"$kernel/modules" "$release" "$name" "${INITRAMFS_PROGRAMS[*]}" \
		"${BOOT_MODULES[*]}" "${STOCK_MODULES[*]}" || die_log "$log" "making the initramfs failed"
	{
		# mknod needs privileges, an entry in an archive does not. The kernel opens the
		# console before there is a devtmpfs.
		cpio_node dev 040755 0 0
		cpio_node dev/console 020600 5 1
		cpio_node dev/null 020666 1 3
		cpio_node 'TRAILER!!!' 0 0 0
		# shellcheck disable=SC2016
		in_root sh -c 'cd "$0" && find . -mindepth 1 | LC_ALL=C sort |
			cpio --quiet -o -H newc -R 0:0 --renumber-inodes' "$dir"
	} >"$out" || die "packing the initramfs failed"
	remove_tree "$dir"
	mv -T "$out" "$result"
}

# cpio_node NAME OCTAL-MODE MAJOR MINOR: one entry without contents of a newc archive.
cpio_node() {
	printf '070701%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X' \
		0 "$((8#$2))" 0 0 1 0 0 0 0 "$3" "$4" $((${#1} + 1)) 0
	printf '%s\0' "$1"
	# The name ends on a multiple of four; the header has 110 bytes.
	local pad=$(((4 - (110 + ${#1} + 1) % 4) % 4))
	[ $pad -eq 0 ] || head -c $pad /dev/zero
}

debian_name() {
	printf 'debian-%s.erofs\n' "$(printf '%s\n' "$DEBIAN_RECIPE" "$SUITE" "$ROOT_PREFERENCES" \
		"${DEBIAN_PACKAGES[@]}" "${DPKG_OPTIONS[@]}" | hash_stdin)"
}

debian_build() {
	local log=$CACHE/logs/debian.log sources out include mode=unshare
	need_mmdebstrap
	! is_root || mode=root
	sources=$(tmp_path debian-sources.list)
	root_sources >"$sources"
	out=$(tmp_path debian)
	include=$(IFS=,; printf '%s' "${DEBIAN_PACKAGES[*]}")
	debootstrap_args minbase
	# shellcheck disable=SC2016  # $1 is the hooks' own
	run_logged 'packages' "$log" root_far "${DEBOOTSTRAP[@]}" "--mode=$mode" --format=tar \
		"--include=$include" \
		'--customize-hook=mkdir -p "$1/lab" "$1/mnt" && rm -f "$1/etc/hostname"' \
		'--customize-hook=rm -rf "$1"/var/cache/apt/*.bin "$1"/var/lib/apt/lists/*' \
		"$SUITE" "$out.tar" "$sources" || bootstrap_failed "$log" 'making the Debian image'
	# Not compressed: an emulated processor would have to unpack it, the host's page
	# cache holds it once for all guests.
	run_logged 'image' "$log.erofs" - in_root mkfs.erofs -L tbs-debian -T 0 --tar=f "$out.erofs" "$out.tar" ||
		die_log "$log.erofs" "making the image failed"
	rm -f "$out.tar"
	mv -T "$out.erofs" "$CACHE/$(debian_name)"
}
