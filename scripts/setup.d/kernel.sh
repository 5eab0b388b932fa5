# SPDX-License-Identifier: MIT OR Apache-2.0
# shellcheck shell=bash
#
# Steps "kernel NAME": the guests' kernels.
#
# A build tree (build-*) stays for good: it is the KDIR of the module. There is one for each
# kernel and source, at a path that does not change, because kbuild writes its path into
# what it makes (a copy elsewhere would be built from zero): so a changed option rebuilds
# what depends on it and nothing else. Which configuration is in it says a stamp; another
# checkout with another configuration changes it, and setup here changes it back. What
# guests boot (kernel-*) is a copy, so that nothing changes under a lab that is running.

# Bump when the recipe below changes in a way that its data does not show.
KERNEL_RECIPE=2

# Lines that a build of the own kernel prints; only for "how far".
KERNEL_OBJECTS=2300

# kernel_fragments NAME: the files that the configuration of a kernel is made of.
kernel_fragments() {
	printf '%s\n' "$GUEST/kernel.config"
	[ "$1" != debug ] || printf '%s\n' "$GUEST/kernel-debug.config"
}

# kernel_make NAME: variables that make needs for this kernel and for modules of it.
kernel_make() {
	# KASAN and Rust are together only in a kernel compiled by clang.
	[ "$1" != debug ] || printf 'LLVM=1\n'
}

# kernel_id NAME: "own-KEY", or nothing as long as the source is not known.
kernel_id() {
	local fragments
	if [ "$1" = stock ]; then
		stock_id
		return
	fi
	[ -s "$CACHE/source.pin" ] || return 0
	mapfile -t fragments < <(kernel_fragments "$1")
	printf '%s-%s\n' "$1" "$({
		printf '%s\n' "$KERNEL_RECIPE" "$(root_name)" "$(source_name)" "$(kernel_make "$1")"
		# A changed comment is not a changed kernel.
		grep -h '^CONFIG' "${fragments[@]}"
	} | hash_stdin)"
}

# build_name NAME: the build tree.
build_name() {
	[ ! -s "$CACHE/source.pin" ] || printf 'build-%s-%s\n' "$1" "$(source_name | cut -d- -f2-)"
}

# kernel_ready NAME: made, and the build tree holds the same.
kernel_ready() {
	local id stamp=''
	id=$(kernel_id "$1")
	[ -n "$id" ] && [ -e "$CACHE/kernel-$id" ] || return
	# Its headers are as good as those that a user installs, and can lose what was made for them.
	[ "$1" != stock ] || { compgen -G "$CACHE/kernel-$id/usr/src/*/rust/libkernel.rmeta" >/dev/null; return; }
	read -r stamp <"$CACHE/$(build_name "$1")/.tbs-complete" || return
	[ "$stamp" = "$id" ]
} 2>/dev/null

kernel_name() {
	local id
	id=$(kernel_id "$1")
	[ -z "$id" ] || printf 'kernel-%s\n' "$id"
}

# kernel_image NAME: what QEMU boots.
kernel_image() {
	local file
	for file in vmlinux vmlinuz; do
		[ -e "$CACHE/$(kernel_name "$1")/$file" ] || continue
		printf '%s/%s/%s\n' "$CACHE" "$(kernel_name "$1")" "$file"
		return
	done
}

kernel_far() {
	local n
	n=$(grep -cE '^  [A-Z]' "$1")
	printf '%s of about %s objects' "$n" "$((n > KERNEL_OBJECTS ? n : KERNEL_OBJECTS))"
}

# check_config NAME DIR: Kconfig silently drops what it cannot do. Say what it dropped.
check_config() {
	local fragment line missing=()
	declare -A wanted=()
	while IFS= read -r fragment; do
		while IFS= read -r line; do
			wanted[${line%%=*}]=$line
		done < <(grep '^CONFIG' "$fragment")
	done < <(kernel_fragments "$1")
	for line in "${wanted[@]}"; do
		case $line in
		*=n) ! grep -q "^${line%n}" "$2/.config" || missing+=("$line") ;;
		*) grep -qxF -- "$line" "$2/.config" || missing+=("$line") ;;
		esac
	done
	[ ${#missing[@]} -eq 0 ] || say "    warning: not possible in this kernel: ${missing[*]}"
}

kernel_build() {
	local name=$1 id build out src log=$CACHE/logs/kernel-$1.log release
	if [ "$name" = stock ]; then
		stock_build
		return
	fi
	# Once: somebody may edit the fragment while this runs.
	id=$(kernel_id "$name")
	src=$CACHE/$(source_name)
	build=$CACHE/$(build_name "$name")
	mkdir -p "$build"
	rm -f "$build/.tbs-complete"

	local fragments variables make
	mapfile -t variables < <(kernel_make "$name")
	make=(in_root make -C "$src" "O=$build" "-j${JOBS:-$(nproc)}"
		# The same objects on every machine and at every time.
		KBUILD_BUILD_USER=lab KBUILD_BUILD_HOST=lab 'KBUILD_BUILD_TIMESTAMP=1970-01-01'
		LOCALVERSION= "${variables[@]}")

	mapfile -t fragments < <(kernel_fragments "$name")
	cat "${fragments[@]}" >"$build/.tbs-fragments"
	[ "$(kernel_id "$name")" = "$id" ] || die 'the kernel configuration was edited just now: start again'
	run_logged 'configure' "$log" - "${make[@]}" "KCONFIG_ALLCONFIG=$build/.tbs-fragments" allnoconfig ||
		die_log "$log" "configuring the kernel failed"
	check_config "$name" "$build"
	grep -q '^CONFIG_RUST=y' "$build/.config" || die_log "$log" "this kernel cannot do Rust with the root's tools"
	run_logged 'build' "$log" kernel_far "${make[@]}" vmlinux modules || die_log "$log" "building the kernel failed"

	out=$(tmp_path kernel)
	mkdir -p "$out"
	run_logged 'install' "$log.install" - "${make[@]}" modules_install \
		"INSTALL_MOD_PATH=$out/modules" DEPMOD=true || die_log "$log.install" "installing the modules failed"
	release=$(cat "$build/include/config/kernel.release")
	rm -f "$out/modules/lib/modules/$release/"{build,source}
	in_root depmod -b "$out/modules" "$release"
	# Not the bzImage: QEMU enters the plain ELF file directly (PVH), and the emulated
	# processor has nothing to unpack, which is a large part of the time to boot.
	in_root strip -o "$out/vmlinux" "$build/vmlinux"
	cp "$build/.config" "$out/config"
	printf '%s\n' "$release" >"$out/release"
	printf '%s\n' "$build" >"$out/kdir"
	printf '%s\n' "$src" >"$out/source"
	kernel_make "$name" >"$out/make"
	# Labs may be running from the one that is there; it is the same.
	[ -e "$CACHE/kernel-$id" ] || mv -T "$out" "$CACHE/kernel-$id"
	remove_tree "$out"
	printf '%s\n' "$id" >"$build/.tbs-complete"
}
