# SPDX-License-Identifier: MIT OR Apache-2.0
# shellcheck shell=bash
#
# What is not a step of its own: checks beforehand, QEMU, KVM, lab-env.json, tidying up.

# Oldest cargo that the userspace crates build with, as in Cargo.toml.
CARGO_MIN=1.85

# Oldest QEMU with vfio-user.
QEMU_MIN=10.1

# at_least VERSION MINIMUM
at_least() {
	[ "$(printf '%s\n%s\n' "$1" "$2" | sort -V | head -n 1)" = "$2" ]
}

check_cargo() {
	local version
	version=$(cargo --version 2>/dev/null | awk '{ print $2 }') || true
	[ -n "$version" ] || die "cargo is missing: install Rust $CARGO_MIN or newer"
	at_least "$version" "$CARGO_MIN" || die "cargo $version is too old: the lab needs Rust $CARGO_MIN or newer"
}

# shellcheck disable=SC2154  # kernels and want_debian are the options, set in setup
#
# Better now than after ten minutes. In MiB, with room for packages while they unpack.
check_space() {
	local want=0 free name
	[ -e "$CACHE/$(root_name)" ] || want=$((want + 3000))
	name=$(source_name 2>/dev/null || true)
	[ -n "$name" ] && [ -e "$CACHE/$name" ] || want=$((want + 2200))
	for name in "${kernels[@]}"; do
		name=$(kernel_name "$name")
		[ -n "$name" ] && [ -e "$CACHE/$name" ] || want=$((want + 1500))
	done
	[ "$want_debian" = no ] || [ -e "$CACHE/$(debian_name)" ] || want=$((want + 2000))
	free=$(($(df --output=avail -k "$CACHE" | tail -n 1) / 1024))
	[ "$free" -ge "$want" ] ||
		die "not enough disk space in $CACHE: $want MiB are needed, $free MiB are free (TBS_CACHE= puts it elsewhere)"
}

update_pins() {
	apt_update "$CACHE/logs/update.log"
	rm -f "$CACHE/source.pin" "$CACHE/stock.pin"
}

# Sets QEMU_ARGV, QEMU_DATA, QEMU_MODULES and QEMU_VERSION.
find_qemu() {
	local lib=$ROOT/usr/lib/x86_64-linux-gnu
	if [ -n "${QEMU:-}" ]; then
		QEMU_ARGV=("$(command -v -- "$QEMU")") || die "QEMU=$QEMU is no program"
		QEMU_DATA='' QEMU_MODULES=''
	else
		# An ordinary process of this machine, with the root's loader and libraries: so it
		# sees this machine's files and sockets, and needs no privileges.
		QEMU_DATA=$ROOT/usr/share/qemu
		QEMU_MODULES=$lib/qemu
		QEMU_ARGV=("$lib/ld-linux-x86-64.so.2" --library-path "$lib" "$ROOT/usr/bin/qemu-system-x86_64"
			-L "$QEMU_DATA" -L "$ROOT/usr/share/seabios")
	fi
	QEMU_VERSION=$(qemu --version 2>/dev/null | sed -n 's/^QEMU emulator version \([0-9.]*\).*/\1/p') || true
	[ -n "$QEMU_VERSION" ] || die "QEMU does not start: ${QEMU_ARGV[0]}"
	at_least "$QEMU_VERSION" "$QEMU_MIN" || die "QEMU $QEMU_VERSION is too old: the lab needs $QEMU_MIN or newer"
}

qemu() {
	QEMU_MODULE_DIR=$QEMU_MODULES "${QEMU_ARGV[@]}" "$@"
}

# probe_guest ARGUMENT...: starts a guest with its console in $CACHE/tmp.probe until PATTERN
# (the last argument) appears there; fails when it does not within 20 s.
probe_guest() {
	local pattern=${*: -1} console pid tries=0 rc=1
	console=$(tmp_path probe)
	rm -f "$console"
	QEMU_MODULE_DIR=$QEMU_MODULES "${QEMU_ARGV[@]}" "${@:1:$#-1}" -M q35 -m 512 -nodefaults -display none \
		-no-reboot -serial "file:$console" -kernel "$(kernel_image own)" \
		-initrd "$CACHE/$(initramfs_name own)" -append 'console=ttyS0 panic=-1' \
		>/dev/null 2>&1 </dev/null &
	pid=$!
	while [ $((tries += 1)) -le 200 ] && kill -0 "$pid" 2>/dev/null; do
		if grep -qs -- "$pattern" "$console"; then
			rc=0
			break
		fi
		sleep 0.1
	done
	kill -KILL "$pid" 2>/dev/null || true
	wait "$pid" 2>/dev/null || true
	return "$rc"
}

# Sets ACCEL and TSC_KHZ as probe_machine found them, if it did since this machine booted.
known_machine() {
	local boot=
	ACCEL='' TSC_KHZ=''
	[ -e "$CACHE/machine.$(id -u)" ] || return
	read -r boot ACCEL TSC_KHZ <"$CACHE/machine.$(id -u)" || true
	[ "$boot" = "$(cat /proc/sys/kernel/random/boot_id)" ] || { ACCEL='' TSC_KHZ='' && return 1; }
}

# Sets ACCEL and TSC_KHZ, found out once per boot of this machine.
#
# ACCEL: that /dev/kvm is there proves nothing (it may be there and not work in a machine
# that is itself a guest): a guest has to come up with it.
#
# TSC_KHZ: what an emulated guest measures in its first second or two. With it on the
# kernel command line (tsc_early_khz=, lpj=) guests boot up to half a second faster, and
# do not mismeasure on a busy machine.
probe_machine() {
	local cached line
	cached=$CACHE/machine.$(id -u)
	! known_machine || return 0
	find_qemu
	ACCEL=tcg TSC_KHZ=
	if [ -r /dev/kvm ] && [ -w /dev/kvm ] && probe_guest -accel kvm -cpu host '^tbs: up'; then
		ACCEL=kvm
	elif probe_guest -accel tcg -cpu qemu64 'Refined TSC clocksource calibration'; then
		line=$(grep -o 'calibration: [0-9.]* MHz' "$(tmp_path probe)" | tr -dc 0-9)
		# 2596.137 MHz is 2596137 kHz.
		TSC_KHZ=$line
	fi
	rm -f "$(tmp_path probe)"
	printf '%s %s %s\n' "$(cat /proc/sys/kernel/random/boot_id)" "$ACCEL" "$TSC_KHZ" >"$cached.new"
	mv "$cached.new" "$cached"
}

# json STRING: as a JSON string; null for an empty one.
json() {
	local s=$1
	[ -n "$s" ] || { printf null; return; }
	s=${s//\\/\\\\}
	s=${s//\"/\\\"}
	printf '"%s"' "$s"
}

# json_words FILE: its lines as the inside of a JSON array.
json_words() {
	local line words=()
	while read -r line; do words+=("$(json "$line")"); done <"$1"
	[ ${#words[@]} -eq 0 ] || join ', ' "${words[@]}"
}

# exists NAME: its path, or nothing.
exists() {
	[ -z "$1" ] || [ ! -e "$CACHE/$1" ] || printf '%s/%s\n' "$CACHE" "$1"
}

write_env() {
	local name kernel initramfs entries=() argv=() arg env=''
	find_qemu
	known_machine || true
	for arg in "${QEMU_ARGV[@]}"; do argv+=("$(json "$arg")"); done
	[ -z "$QEMU_MODULES" ] || env="\"QEMU_MODULE_DIR\": $(json "$QEMU_MODULES")"
	for name in own debug stock; do
		kernel=$(exists "$(kernel_name "$name")")
		initramfs=$(exists "$(initramfs_name "$name")")
		if [ -z "$kernel" ] || [ -z "$initramfs" ]; then continue; fi
		entries+=("$(
			cat <<-EOF
				    "$name": {
				      "release": $(json "$(cat "$kernel/release")"),
				      "image": $(json "$(kernel_image "$name")"),
				      "kdir": $(json "$(cat "$kernel/kdir")"),
				      "make": [$(json_words "$kernel/make")],
				      "source": $(json "$(cat "$kernel/source")"),
				      "initramfs": $(json "$initramfs"),
				      "modules": $(json "$kernel/modules")
				    }
			EOF
		)")
	done
	mkdir -p "${ENV_JSON%/*}"
	cat >"$ENV_JSON.$$" <<-EOF
		{
		  "schema": 1,
		  "cache": $(json "$CACHE"),
		  "root": $(json "$ROOT"),
		  "qemu": {
		    "program": [$(join ', ' "${argv[@]}")],
		    "env": {$env},
		    "version": $(json "$QEMU_VERSION"),
		    "data_dir": $(json "$QEMU_DATA")
		  },
		  "kernels": {
		$(join $',\n' "${entries[@]}")
		  },
		  "debian_image": $(json "$(exists "$(debian_name)")"),
		  "accel": $(json "${ACCEL:-tcg}"),
		  "tsc_khz": ${TSC_KHZ:-null}
		}
	EOF
	# Unchanged, it keeps its time: others may depend on it.
	if cmp -s "$ENV_JSON.$$" "$ENV_JSON"; then rm "$ENV_JSON.$$"; else mv "$ENV_JSON.$$" "$ENV_JSON"; fi
}

# join SEPARATOR WORD...
join() {
	local separator=$1 first=${2-}
	shift 2 || return 0
	printf '%s' "$first" "${@/#/$separator}"
}

# The cache remembers what each checkout uses, so that --clean of one keeps the others'.
register_checkout() {
	local name
	mkdir -p "$CACHE/users"
	{
		printf '%s\n' "$CHECKOUT" "$(root_name)" "$(source_name)" "$(debian_name)"
		# Half-built trees are worth keeping too.
		build_name own
		build_name debug
		for name in own debug stock; do
			[[ " ${kernels[*]} " = *" $name "* ]] || [ -n "$(exists "$(kernel_name "$name")")" ] || continue
			kernel_name "$name"
			initramfs_name "$name"
		done
	} >"$CACHE/users/$(printf '%s' "$CHECKOUT" | hash_stdin)"
}

clean_cache() {
	local user path name entry used=$'\n' freed=0
	for user in "$CACHE"/users/*; do
		[ -s "$user" ] || continue
		read -r path <"$user"
		if [ -d "$path/scripts" ]; then used+=$(tail -n +2 "$user")$'\n'; else rm -f "$user"; fi
	done
	for entry in "$CACHE"/{root,source,build,kernel,initramfs,debian,package}-*; do
		[ -e "$entry" ] || continue
		name=${entry##*/}
		[[ $used != *$'\n'"$name"$'\n'* ]] || continue
		say "removing $name"
		remove_tree "$entry"
		freed=$((freed + 1))
	done
	say "$freed unused entries removed from $CACHE"
}
